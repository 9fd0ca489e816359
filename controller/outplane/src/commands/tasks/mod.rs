//! `outplane tasks`: what waits, what ended lately, and the life of one task.

mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Decision, Object, Outcome, Steps};
use outplane_rmdp_core::task::{Event, TransactionId};
use outplane_rmdp_node::Error;
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::{is_placeholder, parsed};
use outplane_rmdp_node::life::{self, Life};
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use crate::clocks;
use crate::exit::Exit;
use crate::node::{Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, columns, styled};
use crate::runtime;
use crate::times;

/// Queued tasks that are listed.
const MOST_QUEUED: usize = 100;

/// Generations, and probes, whose tasks are listed as recent.
const GENERATIONS: usize = 3;

/// Entries of the log of audits that are listed to find the newest, and those that are shown.
const MOST_AUDITS: usize = 10_000;
const RECENT_AUDITS: usize = 5;

/// Generations that recoveries have left, which are passed over: each leaves one.
const MOST_PLACEHOLDERS: usize = 8;

/// Tasks that are listed as recent, of generations and of probes each.
const MOST_RECENT: usize = 200;

/// Arguments of `tasks`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The life of this task [default: a list of pending and recent ones]
    #[arg(value_name = "ID")]
    id: Option<TransactionId>,
    #[command(flatten)]
    node: NodeArguments,
}

/// Pending and recent tasks.
#[derive(Serialize)]
struct Tasks {
    /// False if there are more in the queue than are listed.
    complete: bool,
    pending: Vec<TaskLine>,
    /// Of the newest generations, the newest first, then of the newest probes, then of the newest audits.
    recent: Vec<TaskLine>,
}

/// A task in a line.
#[derive(Serialize)]
pub(crate) struct TaskLine {
    pub(crate) id: String,
    pub(crate) switch: String,
    /// `generation`, `probe`, `audit`; null while only a claim is known.
    pub(crate) kind: Option<String>,
    /// Generation, number of the probe or of the audit.
    pub(crate) occurrence: u64,
    /// `waiting`, `queued`, `claimed`, `failed-attempt`, `done`, `superseded`, `failed`.
    pub(crate) state: &'static str,
    pub(crate) by: Option<String>,
    pub(crate) attempt: u32,
    /// Of the owner of the decision, since it first knew of the task.
    pub(crate) steps: Option<Steps>,
    /// RFC 3339; of the decision.
    pub(crate) decided: Option<String>,
    /// Seconds since then.
    pub(crate) age: Option<f64>,
    /// Report or reason.
    pub(crate) words: Option<String>,
    /// When it was decided.
    #[serde(skip)]
    pub(crate) decided_ms: u64,
    /// The generation that it brings its switch to.
    #[serde(skip)]
    pub(crate) generation: Option<u64>,
}

/// Lists, or tells one.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    match arguments.id {
        Some(id) => output::print(format, &runtime::block_on(story::story(&node, id))??)?,
        None => output::print(format, &runtime::block_on(tasks(&node))??)?,
    }
    Ok(Exit::Done)
}

async fn tasks(node: &Node) -> anyhow::Result<Tasks> {
    let objects = &node.objects;
    let (ids, complete) = life::queued(objects, MOST_QUEUED).await?;
    let mut pending = Vec::new();
    for id in ids {
        let life = Life::read(objects, id).await?;
        // Decided ones are about to be swept.
        if life.decision.is_none() {
            pending.push(TaskLine::of(&life, None));
        }
    }
    let recent = recent(objects, GENERATIONS).await?.lines;
    Ok(Tasks { complete, pending, recent })
}

/// What the newest entries of the logs have come to.
pub(crate) struct Recent {
    pub(crate) lines: Vec<TaskLine>,
    /// The newest generation, if it only takes its number: a recovery has left it, and nobody has to hold anything by it.
    pub(crate) placeholder: Option<u64>,
    /// The newest one that wants something and can be read, and the switches that it names.
    pub(crate) newest: Option<Named>,
    /// The newest of all, if it cannot be read.
    pub(crate) unreadable: Option<Unreadable>,
}

/// A generation that nobody can carry out, so that nobody knows what it wants.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    pub(crate) generation: u64,
    pub(crate) why: String,
}

/// A generation and the switches that it names.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) generation: u64,
    /// By name: the generation that has begun to say what this one says of it, whose task is the switch's.
    pub(crate) switches: BTreeMap<String, u64>,
}

/// The tasks of the newest generations that want something, of as many probes, and of a few audits.
pub(crate) async fn recent(objects: &Objects, generations: usize) -> anyhow::Result<Recent> {
    let numbers = Chain::Generations.numbers(objects, 0).await?;
    clocks::learn(objects);
    let (mut lines, mut placeholder, mut newest, mut wanted) = (Vec::new(), None, None, 0);
    let (mut told, mut unreadable) = (BTreeSet::new(), None);
    'generations: for number in numbers.iter().rev().take(generations + MOST_PLACEHOLDERS) {
        if wanted == generations {
            break;
        }
        let record = match objects.get(&Key::Generation(*number)).await {
            Ok(Some(Object::Generation(record))) => record,
            Ok(_) => continue,
            Err(Error::Object(error)) => {
                if newest.is_none() && placeholder.is_none() && unreadable.is_none() {
                    unreadable = Some(Unreadable { generation: *number, why: error.to_string() });
                }
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if is_placeholder(&record) {
            placeholder = placeholder.or((Some(number) == numbers.last()).then_some(*number));
            continue;
        }
        wanted += 1;
        let (network, since, said) = (record.network, record.since.clone(), record.generation);
        let since = |switch: &String| since.get(switch).copied().unwrap_or(said);
        let loaded = tokio::task::spawn_blocking(move || parsed(&record)).await?;
        // A bad generation has no tasks.
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                if newest.is_none() && placeholder.is_none() && unreadable.is_none() {
                    unreadable = Some(Unreadable { generation: *number, why: error.to_string() });
                }
                continue;
            }
        };
        let mut switches: Vec<String> = loaded.intent.switches.into_keys().collect();
        if switches.is_empty() {
            switches.push(IMPLIED_SWITCH.to_owned());
        }
        newest.get_or_insert_with(|| Named {
            generation: *number,
            switches: switches.iter().map(|switch| (switch.clone(), since(switch))).collect(),
        });
        let is_newest = newest.as_ref().is_some_and(|newest| newest.generation == *number);
        for switch in switches {
            // What says nothing new has no task. What brings a switch to the newest one is told all the same.
            let occurrence = since(&switch);
            if occurrence < *number && !is_newest || !told.insert((switch.clone(), occurrence)) {
                continue;
            }
            if lines.len() >= MOST_RECENT {
                break 'generations;
            }
            let event = Event::generation(network, occurrence, &switch);
            let life = Life::read(objects, event.id()?).await?;
            lines.push(TaskLine::of(&life, Some(&event)));
        }
    }
    let numbers = Chain::Probes.numbers(objects, 0).await?;
    let most = lines.len() + MOST_RECENT;
    for number in numbers.iter().rev().take(generations) {
        let Some(Object::Probe(entry)) = objects.get_readable(&Key::Probe(*number)).await? else { continue };
        for task in entry.tasks()?.into_iter().take(most.saturating_sub(lines.len())) {
            let life = Life::read(objects, task.id()).await?;
            lines.push(TaskLine::of(&life, Some(task.event())));
        }
    }
    let (audits, _) = objects.list_all(&Prefix::Audits, MOST_AUDITS).await?;
    for key in audits.iter().rev().take(RECENT_AUDITS) {
        // One that cannot be read is told where everything of the store is.
        let Ok(Some(Object::Audit(entry))) = objects.get(key).await else { continue };
        let task = entry.task()?;
        let life = Life::read(objects, task.id()).await?;
        lines.push(TaskLine::of(&life, Some(task.event())));
    }
    Ok(Recent { lines, placeholder, newest, unreadable })
}

impl TaskLine {
    fn of(life: &Life, event: Option<&Event>) -> Self {
        let decision = life.decision.as_ref();
        let last = life.attempts.last();
        let event = event
            .or_else(|| decision.map(|decision| &decision.event))
            .or_else(|| life.queued.as_ref().map(|queued| &queued.event));
        let claim = last.map(|attempt| &attempt.claim);
        let (state, words, steps) = match decision.map(|decision| &decision.outcome) {
            Some(Outcome::Done { report, steps }) => ("done", Some(report.clone()), Some(*steps)),
            Some(Outcome::Superseded { by }) => ("superseded", Some(format!("by generation {by}")), None),
            Some(Outcome::Failed { attempts, reason }) => {
                ("failed", Some(format!("after {attempts} attempts: {reason}")), None)
            }
            None => match (last, &life.queued) {
                (Some(attempt), _) => match &attempt.result {
                    Some(result) => ("failed-attempt", Some(result.reason.clone()), None),
                    None => ("claimed", None, None),
                },
                (None, Some(_)) => ("queued", None, None),
                (None, None) => ("waiting", None, None),
            },
        };
        let owner = |decision: &Decision| decision.owner.clone();
        Self {
            id: life.id.to_string(),
            switch: event
                .map(|event| event.switch.clone())
                .or_else(|| claim.map(|claim| claim.switch.clone()))
                .unwrap_or_default(),
            kind: event.map(|event| event.kind.clone()),
            occurrence: event
                .map(|event| event.occurrence)
                .or_else(|| claim.map(|claim| claim.occurrence))
                .unwrap_or(0),
            state,
            by: decision.map(owner).or_else(|| claim.map(|claim| claim.owner.clone())),
            attempt: decision.map(|d| d.attempt).or_else(|| claim.map(|claim| claim.attempt)).unwrap_or(0),
            steps,
            decided: decision.map(|decision| times::time(decision.at_ms)),
            age: decision.map(|decision| times::age(decision.at_ms)),
            words,
            decided_ms: decision.map_or(0, |decision| decision.at_ms),
            generation: decision.and_then(|decision| decision.work.generation()),
        }
    }

    fn state_text(&self) -> String {
        match self.state {
            "done" => styled(GOOD, self.state),
            "failed" | "failed-attempt" => styled(BAD, self.state),
            "superseded" => styled(WARN, self.state),
            state => state.to_owned(),
        }
    }
}

/// A table of tasks.
pub(crate) fn table(out: &mut dyn Write, lines: &[TaskLine]) -> io::Result<()> {
    let rows = lines.iter().map(|line| {
        let ms = |us: u64| format!("{:.1}", Duration::from_micros(us).as_secs_f64() * 1000.0);
        let steps = line.steps.map_or_else(
            || "-".to_owned(),
            |steps| {
                format!("{} / {} / {}", ms(steps.claim_sent_us), ms(steps.claimed_us), ms(steps.executed_us))
            },
        );
        vec![
            line.id.clone(),
            line.switch.clone(),
            format!("{} {}", line.kind.as_deref().unwrap_or("-"), line.occurrence),
            line.state.to_owned(),
            line.by.clone().unwrap_or_else(|| "-".to_owned()),
            line.attempt.to_string(),
            steps,
            line.age.map_or_else(|| "-".to_owned(), times::ago),
        ]
    });
    let head = ["task", "switch", "because of", "state", "by", "attempt", "claim / own / done, ms", "ended"];
    columns(out, &head, &[5], rows)
}

impl Report for Tasks {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, "Pending"))?;
        if self.pending.is_empty() {
            writeln!(out, "  none")?;
        } else {
            table(out, &self.pending)?;
        }
        if !self.complete {
            writeln!(
                out,
                "  {}",
                styled(FAINT, format_args!("and more: the first {MOST_QUEUED} are listed"))
            )?;
        }
        writeln!(out, "\n{}", styled(HEAD, "Of the newest generations, probes and audits"))?;
        if self.recent.is_empty() {
            return writeln!(out, "  none");
        }
        table(out, &self.recent)
    }
}
