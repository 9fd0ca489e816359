//! `outplane intent rollback`: an earlier generation's policies once more, as a new generation.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use outplane_rmdp_core::object::Generation;
use outplane_rmdp_node::generation::{desired, parsed};
use outplane_rmdp_node::objects::Objects;

use super::diff::{Difference, differences, differing, in_force, without_expired};
use super::{generation, numbers};
use crate::awaited::{PATIENCE, Waiting};
use crate::commands::apply::empty::{Allowed, Guard};
use crate::commands::apply::log;
use crate::compiled;
use crate::exit::Exit;
use crate::expectations::{self, Ignoring};
use crate::input::Input;
use crate::node::{Author, NodeArguments};
use crate::options::Format;
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
    #[command(flatten)]
    ignoring: Ignoring,
    /// Do not wait for the switches
    #[arg(long)]
    no_wait: bool,
    /// Longest time that the switches may take, in seconds [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = crate::targets::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    author: Author,
    #[command(flatten)]
    node: NodeArguments,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let number = arguments.generation;
    let (record, newest) = runtime::block_on(read(&node.objects, number))??;
    // As of now: rules that have expired since do not come back.
    let input = Input::of(parsed(&record)?, Timestamp::now());
    // What the switches have is of the newest generation's numbers.
    let before = newest.numbers.as_deref();
    let compiled = compiled::compile_after(&input, &log::decoded(before))?;
    expectations::require(&input, &compiled, arguments.ignoring)?;
    let guard = Guard::new(&input, Allowed { allow_empty: arguments.allow_empty, allow_shrink: true });
    let after = (without_expired(input.intent.clone(), input.at), input.expectations.clone());
    let mut difference = Difference {
        from: newest.generation,
        to: number,
        changes: differences(&in_force(&newest)?, &after),
        switches: differing(&newest.desired, &desired(&compiled, &input.intent.switches)),
        refused: guard.of_input(),
    };
    if arguments.dry_run {
        if difference.refused.is_none() {
            let refused = runtime::block_on(guard.of_log(&compiled, &node.objects))??;
            difference.refused = refused.into_values().next();
        }
        output::print(format, &difference)?;
        return Ok(if difference.refused.is_some() { Exit::Failed } else { Exit::Done });
    }
    if let Some(refused) = difference.refused {
        bail!(refused);
    }
    if newest.generation == number {
        bail!("generation {number} is the newest already: there is nothing to roll back");
    }
    if difference.changes.is_empty() && difference.switches.is_empty() {
        bail!(
            "generation {}, the newest, says the same as generation {number} does now: there is nothing to roll back",
            newest.generation
        );
    }
    let waiting = Waiting { no_wait: arguments.no_wait, timeout: arguments.timeout.unwrap_or(PATIENCE) };
    // That something differs was looked at.
    log::run(&input, (&compiled, before), (&node, &arguments.author), &guard, (waiting, false), format)
}

/// The generation, and the newest.
async fn read(objects: &Objects, number: u64) -> anyhow::Result<(Generation, Generation)> {
    let newest = numbers(objects).await?.last().copied().unwrap_or_default();
    let (record, newest) = (generation(objects, number).await?, generation(objects, newest).await?);
    // What live sources say is as it is.
    Ok((record.applied(), newest.applied()))
}
