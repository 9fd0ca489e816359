//! `outplane intent rollback`: an earlier generation's policies once more, as a new generation.

use anyhow::bail;
use outplane_rmdp_core::object::Generation;
use outplane_rmdp_node::generation::parsed;
use outplane_rmdp_node::objects::Objects;
use std::time::Duration;

use super::diff::difference;
use super::{generation, numbers};
use crate::awaited::{PATIENCE, Waiting};
use crate::cli::Format;
use crate::commands::apply::empty::Guard;
use crate::commands::apply::log;
use crate::compiled;
use crate::exit::Exit;
use crate::input::Input;
use crate::node::NodeArguments;
use crate::output;
use crate::runtime;

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Whose policies are to hold again
    #[arg(value_name = "GENERATION")]
    generation: u64,
    /// Only show what would change, compared with the newest generation
    #[arg(long)]
    dry_run: bool,
    /// Do it even if it takes the last policy from a switch that has some: without policies everything passes
    #[arg(long)]
    allow_empty: bool,
    /// Do not wait for the switches
    #[arg(long)]
    no_wait: bool,
    /// Longest time that the switches may take, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = crate::targets::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let number = arguments.generation;
    let (record, newest, difference) = runtime::block_on(read(&node.objects, number))??;
    if arguments.dry_run {
        output::print(format, &difference)?;
        return Ok(Exit::Done);
    }
    if difference.changes.is_empty() {
        bail!(
            "generation {newest}, the newest, says the same as generation {number}: there is nothing to roll back"
        );
    }
    let loaded = parsed(&record)?;
    let input = Input::of(loaded, jiff::Timestamp::now());
    let compiled = compiled::compile(&input)?;
    let guard = Guard::new(&input, arguments.allow_empty);
    if let Some(refused) = guard.of_input() {
        bail!(refused);
    }
    let waiting = Waiting { no_wait: arguments.no_wait, timeout: arguments.timeout.unwrap_or(PATIENCE) };
    log::run(&input, &compiled, &node, &guard, waiting, format)
}

/// The generation, the number of the newest, and what differs between that and this.
async fn read(objects: &Objects, number: u64) -> anyhow::Result<(Generation, u64, super::diff::Difference)> {
    let newest = numbers(objects).await?.last().copied().unwrap_or_default();
    let record = generation(objects, number).await?;
    let difference = difference(objects, newest, number).await?;
    Ok((record, newest, difference))
}
