//! `outplane probe`: do the switches answer the controllers?

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::task::{BadEvent, Event};
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::intents::Intents;
use outplane_rmdp_node::probes;
use outplane_rmdp_wire::HintOf;
use serde::Serialize;

use crate::awaited::{self, Ended, PATIENCE, SwitchEnd, Waiting, Wish};
use crate::exit::{Exit, Usage};
use crate::node::{self, Node, NodeArguments};
use crate::options::Format;
use crate::output::{self, HEAD, Report, styled};
use crate::progress::Lines;
use crate::{runtime, targets};

/// Arguments of `probe`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// These switches [default: all of the shared configuration and of the newest generation]
    #[arg(value_name = "SWITCH")]
    switches: Vec<String>,
    /// How long to wait for answers, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = targets::seconds)]
    timeout: Option<Duration>,
    /// Do not wait for answers: `outplane tasks` shows them
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    node: NodeArguments,
}

/// What came of it.
#[derive(Serialize)]
struct Probed {
    /// Its number in the log of probes.
    probe: u64,
    /// Nodes that got a hint; the others find the entry by themselves.
    told: usize,
    /// From the append to the last answer.
    seconds: f64,
    /// True if all switches answer.
    answered: bool,
    switches: Vec<SwitchEnd>,
}

/// Appends and waits.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let (probed, exit) = runtime::block_on(probe(arguments, &node, format))??;
    output::print(format, &probed)?;
    Ok(exit)
}

async fn probe(arguments: &Arguments, node: &Node, format: Format) -> anyhow::Result<(Probed, Exit)> {
    let file = node.own("probe")?;
    let ((_, config), network) = tokio::try_join!(node.shared(), node.network())?;
    let switches = switches(arguments, node, &config).await?;
    let signals = runtime::Signals::new()?;
    let (objects, author) = (&node.objects, node::author());
    let (hinter, appended) = tokio::join!(
        Hinter::new(objects, file, &config),
        probes::append(objects, network, &switches, &author)
    );
    let number = appended.context("the log of probes")?;
    let start = Instant::now();
    let told = match hinter {
        Ok(mut hinter) => hinter.hint(HintOf::Probes, number),
        Err(error) => {
            tracing::warn!(%error, "nodes get no hint, they find the entry by themselves");
            0
        }
    };
    let id = |switch: &String| Ok((switch.clone(), Event::probe(network, number, switch).id()?));
    let tasks = switches.iter().map(id).collect::<Result<Vec<_>, BadEvent>>()?;
    let waiting = Waiting { no_wait: arguments.no_wait, timeout: arguments.timeout.unwrap_or(PATIENCE) };
    let lines = Lines::new(format);
    let ended = awaited::wait(objects, (Wish::Answered, None), tasks, waiting, &lines, signals, start).await;
    let Ended { switches, seconds, done: answered, exit } = ended;
    Ok((Probed { probe: number, told, seconds, answered, switches }, exit))
}

/// Those asked for, or all; each is known.
async fn switches(arguments: &Arguments, node: &Node, config: &SharedConfig) -> anyhow::Result<Vec<String>> {
    let intent = Intents::new(node.objects.clone()).newest().await;
    if let Err(error) = &intent {
        tracing::warn!("only the switches of the shared configuration are known: {error}");
    }
    let intent = intent.unwrap_or_default();
    let known: BTreeSet<&String> = config.switches.keys().chain(intent.keys()).collect();
    let list =
        |names: &BTreeSet<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    if known.is_empty() {
        bail!(
            "no switch is known: neither the shared configuration nor the newest generation of the intent has one"
        );
    }
    let asked: BTreeSet<&String> = arguments.switches.iter().collect();
    if let Some(stranger) = asked.difference(&known).next() {
        return Err(Usage(format!("switch `{stranger}` is not known; there are: {}", list(&known))).into());
    }
    let chosen = if asked.is_empty() { known } else { asked };
    Ok(chosen.into_iter().cloned().collect())
}

impl Report for Probed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", styled(HEAD, format_args!("Probe {}", self.probe)))?;
        awaited::text(&self.switches, out)
    }
}
