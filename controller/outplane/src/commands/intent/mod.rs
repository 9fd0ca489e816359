//! `outplane intent`: the generations of the intent log, what they said, and the way back.

pub(crate) mod diff;
mod history;
mod rollback;
mod show;

use anyhow::{Context as _, bail};
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::objects::Objects;

use crate::exit::Exit;
use crate::options::Format;

/// Arguments of `intent`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// List the generations, the newest first: when, by whom, what they changed, and what became of them
    History(history::Arguments),
    /// Print the policy files of a generation
    Show(show::Arguments),
    /// Say what one generation says otherwise than another, rule by rule
    Diff(diff::Arguments),
    /// Append a generation with the policies of an earlier one, and wait for the switches as `apply` does
    Rollback(rollback::Arguments),
}

/// Does what is asked.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    match &arguments.what {
        What::History(arguments) => history::run(arguments, format),
        What::Show(arguments) => show::run(arguments, format),
        What::Diff(arguments) => diff::run(arguments, format),
        What::Rollback(arguments) => rollback::run(arguments, format),
    }
}

/// The numbers of the generations that the log has, in order.
async fn numbers(objects: &Objects) -> anyhow::Result<Vec<u64>> {
    let numbers = Chain::Generations.numbers(objects, 0).await?;
    if numbers.is_empty() {
        bail!("the intent log has no generation yet: `outplane apply --config FILE` appends one");
    }
    Ok(numbers)
}

/// A generation of the log.
async fn generation(objects: &Objects, number: u64) -> anyhow::Result<Generation> {
    let found = objects.get(&Chain::Generations.key(number)).await;
    match found.with_context(|| format!("generation {number}"))? {
        Some(Object::Generation(record)) => Ok(record),
        _ => bail!(
            "the intent log has no generation {number}: `outplane intent history` lists those that it has \
             (`retention.generations` says how many are kept)"
        ),
    }
}
