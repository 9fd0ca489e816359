//! `outplane apply` through the intent log: appends a generation, and watches the controllers carry it out.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use outplane_compiler::compile::Compiled;
use outplane_compiler::numbers::Numbers;
use outplane_intent::changes::{self, Change};
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::object::{Generation, MAX_GENERATION, PolicyFile};
use outplane_rmdp_core::task::{Event, NetworkId, TransactionId};
use outplane_rmdp_node::blob;
use outplane_rmdp_node::generation::{States, desired};
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::log::{Logged, Tasks, append};
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_wire::HintOf;
use serde::Serialize;

use super::super::intent::diff::without_expired;
use super::compare::{self, Before};
use super::empty::{Guard, said};
use super::unchanged::{self, Same};
use crate::awaited::{self, Ended, SwitchEnd, UNCHANGED, Waiting, Wish};
use crate::exit::Exit;
use crate::input::Input;
use crate::node::{Author, Node};
use crate::options::Format;
use crate::output::{self, FAINT, HEAD, Report, styled};
use crate::overtaken::Overtaken;
use crate::progress::Lines;
use crate::{rules, runtime};

/// What became of a generation.
#[derive(Serialize)]
struct Applied {
    generation: u64,
    /// False: it was appended now.
    unchanged: bool,
    /// What it says otherwise than the generation before it; null where that could not be read.
    changes: Option<Vec<Change>>,
    /// There is none before it that could be carried out.
    #[serde(skip)]
    first: bool,
    /// Nodes that got a hint; the others find the generation by themselves.
    told: usize,
    /// From the append to the last decision.
    seconds: f64,
    /// True if all switches hold the generation.
    converged: bool,
    switches: Vec<SwitchEnd>,
    /// Switches of the generation before it that it does not name any more: they keep what they have.
    left_alone: Vec<String>,
}

/// What the newest generation has numbered, for the next one to be compiled after it.
pub(crate) async fn numbers(node: &Node) -> anyhow::Result<Option<Arc<[u8]>>> {
    Ok(Logged::newest_numbers(&node.objects, node.network().await?).await?)
}

/// Numbers as they are kept; those that cannot be read are none.
pub(crate) fn decoded(numbers: Option<&[u8]>) -> Numbers {
    let numbers = numbers.map_or_else(|| Ok(Numbers::default()), Numbers::decode);
    numbers.unwrap_or_else(|error| {
        tracing::warn!(
            "what the newest generation has numbered cannot be read ({error}): everything is numbered anew"
        );
        Numbers::default()
    })
}

/// Appends and waits. With what was compiled, the numbers that it was compiled after.
pub(crate) fn run(
    input: &Input,
    (compiled, numbers): (&Compiled, Option<&[u8]>),
    (node, author): (&Node, &Author),
    guard: &Guard,
    (waiting, anyway): (Waiting, bool),
    format: Format,
) -> anyhow::Result<Exit> {
    let record = record(input, compiled, node.author(author))?;
    let work = async {
        if let Some(refused) = guard.of_log(compiled, &node.objects).await?.into_values().next() {
            bail!(said(format_args!("{refused}; nothing was appended")));
        }
        if let Some(refused) = guard.of_generation(&node.objects).await? {
            bail!("{refused}; nothing was appended");
        }
        let ((_, config), network) = tokio::try_join!(node.shared(), node.network())?;
        let record = Generation { network, ..record };
        if !anyway {
            if let Some(why) = unchanged::another_network(node, &config, network).await? {
                bail!("{why}; nothing was appended (--anyway appends all the same)");
            }
            if let Some(newest) = unchanged::since(input, &node.objects, &record).await? {
                let (objects, lines, generation) = (&node.objects, Lines::new(format), newest.generation);
                let signals = runtime::Signals::new()?;
                let tasks = tasks(&newest, compiled)?.into_iter();
                let tasks = tasks.map(|(switch, id, _)| (switch, id)).collect();
                let stand = unchanged::stand(objects, (network, generation), tasks, waiting, &lines, signals);
                if let Some((same, exit)) = stand.await? {
                    return Ok(Done::Unchanged(same, exit));
                }
                tracing::info!("generation {generation} says the same, and has failed: it is appended anew");
            }
        }
        let what = (compiled, numbers);
        let tasks = if anyway { Tasks::All } else { Tasks::Changed };
        let (applied, exit) = apply(input, what, (node, &config), (record, tasks), waiting, format).await?;
        Ok(Done::Applied(Box::new(applied), exit))
    };
    match runtime::block_on(work)?? {
        Done::Unchanged(unchanged, exit) => {
            output::print(format, &unchanged)?;
            Ok(exit)
        }
        Done::Applied(applied, exit) => {
            output::print(format, &*applied)?;
            Ok(exit)
        }
    }
}

/// What was done.
enum Done {
    Unchanged(Same, Exit),
    Applied(Box<Applied>, Exit),
}

/// The files as a record of the log, without its network and number.
fn record(input: &Input, compiled: &Compiled, author: String) -> anyhow::Result<Generation> {
    let file = |file: &std::sync::Arc<outplane_intent::reader::SourceFile>| PolicyFile {
        name: file.name().to_owned(),
        text: file.text().to_owned(),
    };
    let record = Generation {
        network: NetworkId::new(u64::MAX),
        generation: u64::MAX,
        files: input.sources.files().iter().map(file).collect(),
        sources: BTreeMap::new(),
        numbers: Some(compiled.numbers.encode().into()),
        desired: desired(compiled, &input.intent.switches),
        since: BTreeMap::new(),
        as_of_ms: input.at.as_millisecond(),
        author,
        at_ms: u64::MAX,
    };
    let bytes: usize = record.files.iter().map(|file| file.name.len() + file.text.len()).sum();
    if bytes > MAX_GENERATION {
        bail!(
            "the files are {bytes} bytes as a generation of the intent log, and at most {MAX_GENERATION} are taken"
        );
    }
    Ok(record)
}

async fn apply(
    input: &Input,
    (compiled, numbers): (&Compiled, Option<&[u8]>),
    (node, config): (&Node, &SharedConfig),
    (record, which): (Generation, Tasks),
    waiting: Waiting,
    format: Format,
) -> anyhow::Result<(Applied, Exit)> {
    let network = record.network;
    addresses(input, compiled, config)?;
    let signals = runtime::Signals::new()?;
    let objects = &node.objects;
    let states = compiled.switches.values().map(|switch| &switch.desired);
    let named = states.map(|state| (blob::name(state), Arc::new(state.clone())));
    // A client appends, and nothing else: what it has compiled the distributors store.
    let (own, states) = match node.if_node() {
        Some(file) => (Some(file), named.collect()),
        None => (None, States::new()),
    };
    let hinter = async {
        match own {
            Some(file) => Hinter::new(objects, file, config).await.map(Some),
            None => Ok(None),
        }
    };
    let (hinter, appended) = tokio::join!(hinter, append(objects, &record, numbers, states, which));
    let tip = appended.context("the intent log")?;
    let (generation, said) = (tip.number(), tip.generation().context("what was appended")?);
    let start = Instant::now();
    let told = match hinter {
        Ok(hinter) => hinter.map_or(0, |mut hinter| hinter.hint(HintOf::Intent, generation)),
        Err(error) => {
            tracing::warn!(%error, "nodes get no hint, they find the generation by themselves");
            0
        }
    };
    let (mut stands, mut open) = (Vec::new(), Vec::new());
    for (switch, id, since) in tasks(said, compiled)? {
        if since < generation && unchanged::is_brought(objects, id, since).await? {
            stands.push(SwitchEnd::stands(switch, id, UNCHANGED, None));
        } else {
            open.push((switch, id));
        }
    }
    let lines = Lines::new(format);
    let wish = (Wish::Converged, Some(Overtaken::new(network, generation)));
    let ended = awaited::wait(objects, wish, open, waiting, &lines, signals, start);
    // Somebody else may have appended since the files were checked: it is the generation before this one that counts.
    let (ended, before) = tokio::join!(ended, before(objects, generation));
    let first = before.as_ref().is_some_and(Option::is_none);
    let left_alone = before.iter().flatten().flat_map(|before| before.left_alone(compiled)).collect();
    let changes = before.map(|before| {
        let before = before.map(|before| before.intent).unwrap_or_default();
        changes::between(&before, &without_expired(input.intent.clone(), input.at))
    });
    let Ended { mut switches, seconds, done: converged, exit } = ended;
    switches.extend(stands);
    switches.sort_by(|one, other| one.switch().cmp(other.switch()));
    Ok((
        Applied {
            generation,
            unchanged: false,
            changes,
            first,
            told,
            seconds,
            converged,
            switches,
            left_alone,
        },
        exit,
    ))
}

/// What brings each switch to a generation: its task, or that of an earlier one that has said the same, and which that is.
fn tasks(said: &Generation, compiled: &Compiled) -> anyhow::Result<Vec<(String, TransactionId, u64)>> {
    let task = |switch: &String| {
        let since = said.since(switch);
        Ok((switch.clone(), Event::generation(said.network, since, switch).id()?, since))
    };
    compiled.switches.keys().map(task).collect()
}

/// The generation before this one, if there is one. It is told to people: without it the files are applied all the same.
async fn before(objects: &Objects, generation: u64) -> Option<Option<Before>> {
    let before = compare::before(objects, generation).await;
    before.inspect_err(|error| tracing::debug!(%error, "what changes is not told")).ok()
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

impl Report for Applied {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, format_args!("Generation {}", self.generation)))?;
        match &self.changes {
            Some(_) if self.first => writeln!(out, "  everything is new")?,
            Some(changes) => rules::changes(changes, out)?,
            None => writeln!(out, "  {}", styled(FAINT, "the generation before it cannot be read"))?,
        }
        awaited::text(&self.switches, out)?;
        compare::left(&self.left_alone, out)
    }
}
