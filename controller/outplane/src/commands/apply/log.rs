//! `outplane apply` through the intent log: appends a generation, and watches the controllers carry it out.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use outplane_compiler::compile::Compiled;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Generation, MAX_GENERATION, Object, Outcome, PolicyFile};
use outplane_rmdp_core::task::Event;
use outplane_rmdp_node::append::append;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::life::Life;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_wire::HintOf;
use serde::Serialize;

use crate::cli::Format;
use crate::exit::Exit;
use crate::input::Input;
use crate::node::{self, Node};
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, styled};
use crate::progress::{Line, Lines};
use crate::runtime;

/// How long to wait for the switches, if nobody says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// After this long without a task, somebody should be asked why.
const SILENCE: Duration = Duration::from_secs(2);

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Not at all.
    pub(super) no_wait: bool,
    /// At most so long.
    pub(super) timeout: Duration,
}

/// What became of a generation.
#[derive(Serialize)]
struct Applied {
    generation: u64,
    /// Nodes that got a hint; the others find the generation by themselves.
    told: usize,
    /// From the append to the last decision.
    seconds: f64,
    /// True if all switches hold the generation.
    converged: bool,
    switches: Vec<SwitchApplied>,
}

/// What became of it on a switch.
#[derive(Serialize)]
struct SwitchApplied {
    switch: String,
    /// The task's transaction id: `outplane tasks ID` tells its life.
    task: String,
    /// `waiting`, `queued`, `claimed`, `failed-attempt`, `done`, `superseded`, `failed`.
    state: &'static str,
    /// The controller that has it, or had it.
    by: Option<String>,
    /// The newest attempt; 0 before the first.
    attempt: u32,
    /// From the append to when the decision was seen.
    seconds: Option<f64>,
    /// What was written, in words.
    report: Option<String>,
    /// Attempts that failed, with their reasons.
    failed_attempts: Vec<Failed>,
    /// Why it does not hold the generation; null if it does, or if nobody waits.
    error: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    attempt: u32,
    by: String,
    reason: String,
}

/// Appends and waits.
pub(super) fn run(
    input: &Input,
    compiled: &Compiled,
    node: &Node,
    waiting: Waiting,
    format: Format,
) -> anyhow::Result<Exit> {
    let record = record(input)?;
    let applied = runtime::block_on(apply(input, compiled, node, record, waiting, format))??;
    output::print(format, &applied.report)?;
    Ok(applied.exit)
}

struct Ended {
    report: Applied,
    exit: Exit,
}

/// The files as a record of the log, without its number.
fn record(input: &Input) -> anyhow::Result<Generation> {
    let file = |file: &std::sync::Arc<outplane_intent::reader::SourceFile>| PolicyFile {
        name: file.name().to_owned(),
        text: file.text().to_owned(),
    };
    let record = Generation {
        generation: u64::MAX,
        files: input.sources.files().iter().map(file).collect(),
        as_of_ms: input.at.as_millisecond(),
        author: node::author(),
        at_ms: u64::MAX,
    };
    let bytes = Object::Generation(record.clone()).encode().len();
    if bytes > MAX_GENERATION {
        bail!(
            "the files are {bytes} bytes as a generation of the intent log, and at most {MAX_GENERATION} are taken"
        );
    }
    Ok(record)
}

async fn apply(
    input: &Input,
    compiled: &Compiled,
    node: &Node,
    record: Generation,
    waiting: Waiting,
    format: Format,
) -> anyhow::Result<Ended> {
    let (_, config) = node.shared().await?;
    addresses(input, compiled, &config)?;
    let signals = runtime::Signals::new()?;
    let objects = &node.objects;
    let states = compiled.switches.values().map(|switch| &switch.desired);
    let (hinter, appended) =
        tokio::join!(Hinter::new(objects, &node.file, &config), append(objects, &record, states));
    let generation = appended.context("the intent log")?;
    let start = Instant::now();
    let told = match hinter {
        Ok(mut hinter) => hinter.hint(HintOf::Intent, generation),
        Err(error) => {
            tracing::warn!(%error, "nodes get no hint, they find the generation by themselves");
            0
        }
    };
    let lines = Lines::new(format);
    let mut watched = Vec::new();
    for switch in compiled.switches.keys() {
        let id = Event::generation(generation, switch).id()?;
        let line = lines.line(switch);
        watched.push(Watched {
            switch: switch.clone(),
            life: Life::new(id),
            line,
            told: String::new(),
            seen: None,
        });
    }
    let mut interrupted = false;
    if !waiting.no_wait {
        let watch = watch(objects, &mut watched, start);
        tokio::select! {
            ended = watch => ended,
            () = tokio::time::sleep(waiting.timeout) => {}
            () = signals.wait() => interrupted = true,
        }
    }
    let hint = if waiting.no_wait { None } else { why(objects, &watched).await };
    let end = watched.iter().filter_map(|watched| watched.seen).max();
    let seconds = end.unwrap_or_else(|| start.elapsed());
    let converged = watched.iter().all(|watched| watched.state() == "done");
    let patience = waiting.timeout;
    let switches = watched
        .into_iter()
        .map(|watched| watched.applied(waiting.no_wait, interrupted, patience, hint.as_deref()))
        .collect();
    let exit = match (interrupted, converged || waiting.no_wait) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Switch,
    };
    let report = Applied { generation, told, seconds: rounded(seconds), converged, switches };
    Ok(Ended { report, exit })
}

/// Every switch must be found by the controllers.
fn addresses(input: &Input, compiled: &Compiled, config: &SharedConfig) -> anyhow::Result<()> {
    let known = |switch: &&String| {
        input.intent.switches.contains_key(*switch)
            || config.switches.get(*switch).is_some_and(|switch| switch.address.is_some())
    };
    match compiled.switches.keys().find(|switch| !known(switch)) {
        None => Ok(()),
        Some(switch) => bail!(
            "switch `{switch}` has no address: add a Switch object to the files, or give it one in the shared \
             configuration ([switch.{switch}] address = \"HOST:PORT\")"
        ),
    }
}

/// A switch that is waited for.
struct Watched {
    switch: String,
    life: Life,
    line: Line,
    /// The last news that were shown.
    told: String,
    /// When its decision was seen, since the append.
    seen: Option<Duration>,
}

/// Until all are decided.
async fn watch(objects: &Objects, watched: &mut [Watched], start: Instant) {
    let mut pause = LOOK.0;
    loop {
        let mut news = false;
        let mut undecided = 0;
        for one in watched.iter_mut().filter(|one| one.seen.is_none()) {
            match one.life.follow(objects).await {
                Ok(new) => news |= new,
                Err(error) => one.tell(&format!("the store: {error}")),
            }
            if one.life.decision.is_some() {
                one.seen = Some(start.elapsed());
            } else {
                undecided += 1;
            }
            one.news(start.elapsed());
        }
        if undecided == 0 {
            return;
        }
        pause = if news { LOOK.0 } else { (pause * 3 / 2).min(LOOK.1) };
        tokio::time::sleep(pause).await;
    }
}

/// What distributors say is wrong, if a task does not even get into the queue.
async fn why(objects: &Objects, watched: &[Watched]) -> Option<String> {
    if watched.iter().all(|one| one.life.is_known()) {
        return None;
    }
    let (keys, _) = objects.list_all(&Prefix::Statuses, 100).await.ok()?;
    let mut reasons: BTreeMap<String, String> = BTreeMap::new();
    for key in keys {
        let Key::Status(node) = &key else { continue };
        if let Ok(Some(Object::Status(status))) = objects.get(&key).await
            && let Some(alert) = status.alerts.first()
        {
            reasons.insert(node.clone(), alert.clone());
        }
    }
    let reasons: Vec<String> =
        reasons.into_iter().map(|(node, alert)| format!("{node} says: {alert}")).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

impl Watched {
    fn state(&self) -> &'static str {
        match (&self.life.decision, self.life.attempts.last()) {
            (Some(decision), _) => match decision.outcome {
                Outcome::Done { .. } => "done",
                Outcome::Superseded { .. } => "superseded",
                Outcome::Failed { .. } => "failed",
            },
            (None, Some(attempt)) if attempt.result.is_some() => "failed-attempt",
            (None, Some(_)) => "claimed",
            (None, None) if self.life.queued.is_some() => "queued",
            (None, None) => "waiting",
        }
    }

    fn news(&mut self, since: Duration) {
        let attempts = self.life.attempts.len();
        let text = match (&self.life.decision, self.life.attempts.last(), &self.life.queued) {
            (Some(decision), ..) => match &decision.outcome {
                Outcome::Done { .. } => format!("done by {} in {}", decision.owner, millis(since)),
                Outcome::Superseded { by } => format!("superseded by generation {by}"),
                Outcome::Failed { attempts, reason } => format!("failed after {attempts} attempts: {reason}"),
            },
            (None, Some(attempt), _) => match &attempt.result {
                Some(result) => format!("attempt {attempts} by {} failed: {}", result.owner, result.reason),
                None => format!("claimed by {}, attempt {attempts}", attempt.claim.owner),
            },
            (None, None, Some(queued)) => format!("queued by {}", queued.by),
            (None, None, None) if since < SILENCE => "waiting for a distributor".to_owned(),
            (None, None, None) => "no distributor has queued it yet; is one at work?".to_owned(),
        };
        self.tell(&text);
    }

    fn tell(&mut self, text: &str) {
        if self.told != text {
            text.clone_into(&mut self.told);
            self.line.news(text);
        }
    }

    fn applied(
        self,
        no_wait: bool,
        interrupted: bool,
        patience: Duration,
        hint: Option<&str>,
    ) -> SwitchApplied {
        let state = self.state();
        let last = self.life.attempts.last();
        let decision = self.life.decision.as_ref();
        let failed_attempts: Vec<Failed> = self
            .life
            .attempts
            .iter()
            .filter_map(|attempt| attempt.result.as_ref())
            .map(|result| Failed {
                attempt: result.attempt,
                by: result.owner.clone(),
                reason: result.reason.clone(),
            })
            .collect();
        let waited = || {
            let told = if interrupted {
                "when it was interrupted".to_owned()
            } else {
                format!("after {patience:?}")
            };
            match (state, hint) {
                ("waiting", Some(hint)) => format!("no task {told}: {hint}"),
                _ => format!("not decided {told}: {}", self.told),
            }
        };
        let error = match decision.map(|decision| &decision.outcome) {
            Some(Outcome::Done { .. }) => None,
            Some(Outcome::Superseded { by }) => Some(format!("superseded by generation {by}")),
            Some(Outcome::Failed { attempts, reason }) => {
                Some(format!("failed after {attempts} attempts: {reason}"))
            }
            None if no_wait => None,
            None => Some(waited()),
        };
        let report = decision.and_then(|decision| match &decision.outcome {
            Outcome::Done { report, .. } => Some(report.clone()),
            _ => None,
        });
        SwitchApplied {
            task: self.life.id.to_string(),
            state,
            by: decision
                .map(|decision| decision.owner.clone())
                .or_else(|| last.map(|attempt| attempt.claim.owner.clone())),
            attempt: decision
                .map(|decision| decision.attempt)
                .or_else(|| last.map(|attempt| attempt.claim.attempt))
                .unwrap_or(0),
            seconds: self.seen.map(rounded),
            report,
            failed_attempts,
            error,
            switch: self.switch,
        }
    }
}

/// To the tenth of a millisecond.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10_000.0
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

impl Report for Applied {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, format_args!("Generation {}", self.generation)))?;
        for switch in &self.switches {
            let SwitchApplied { switch: name, task, state, by, attempt, seconds, .. } = switch;
            let by = by.as_deref().unwrap_or("nobody");
            match (&switch.error, *state) {
                (None, "done") => {
                    let seconds = seconds.unwrap_or_default();
                    writeln!(
                        out,
                        "  {name}: {} by {by}, attempt {attempt}, in {seconds:.4} s",
                        styled(GOOD, "done")
                    )?;
                }
                (None, state) => writeln!(out, "  {name}: {state}")?,
                (Some(error), "superseded") => writeln!(out, "  {name}: {}", styled(WARN, error))?,
                (Some(error), _) => writeln!(out, "  {name}: {}: {error}", styled(BAD, "not converged"))?,
            }
            for failed in &switch.failed_attempts {
                let Failed { attempt, by, reason } = failed;
                writeln!(out, "    attempt {attempt} by {by} failed: {reason}")?;
            }
            if let Some(report) = &switch.report {
                writeln!(out, "    {}", styled(FAINT, report))?;
            }
            writeln!(out, "    {}", styled(FAINT, format_args!("task {task}")))?;
        }
        Ok(())
    }
}
