//! Nothing is no intention: whoever takes the last policy from a switch has to say that it is meant, since without any
//! everything passes. So has whoever pipes in much less than there was: a pipe that ended early looks like that.

use std::collections::BTreeMap;

use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::program::Program;
use outplane_compiler::shrink::{self, Shrunk};
use outplane_compiler::state::{Desired, Installed, policies};
use outplane_driver_p4runtime::Problem;
use outplane_intent::expectation::Expectations;
use outplane_intent::model::Intent;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::{is_placeholder, parsed, states};
use outplane_rmdp_node::objects::Objects;

use crate::commands::check::objects;
use crate::input::Input;
use crate::output::count;

/// How to say that nothing is meant.
const ALLOW: &str = "if that is what you want, say --allow-empty";

/// How to say that much less is meant.
const SHRINK: &str = "it came through a pipe, so a part may be missing; if that is all, say --allow-shrink";

/// What is said about that on the command line.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Allowed {
    /// Apply input without objects, and input that takes the last policy from a switch that has some: without policies
    /// everything passes. Says --allow-shrink, too
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Apply input from a pipe that has much less than there was: of some kind of object (directly: of policies or rules
    /// of a switch) less than half, and three fewer at least, or of a kind of policy none any more
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

/// What is refused unless `--allow-empty` or `--allow-shrink` is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Nothing may be meant.
    allowed: bool,
    /// Less may be missing input: how much there is, by kind.
    counts: Option<BTreeMap<String, usize>>,
    /// The input is refused as it is, whatever switches hold.
    no_objects: Option<String>,
}

impl Guard {
    pub(crate) fn new(input: &Input, allowed: Allowed) -> Self {
        let Allowed { allow_empty: allowed, allow_shrink } = allowed;
        let counts =
            (input.piped && !allow_shrink && !allowed).then(|| counts(&input.intent, &input.expectations));
        let nothing = !allowed && input.intent == Intent::default();
        let no_objects = nothing.then(|| {
            format!(
                "the input has no objects{}, and without policies everything passes; {ALLOW}",
                input.skipped()
            )
        });
        Self { allowed, counts, no_objects }
    }

    /// Whether a switch has to keep most of its policies and rules.
    pub(crate) fn keeps_most(&self) -> bool {
        self.counts.is_some()
    }

    /// Why the input is refused without a look at any switch.
    pub(crate) fn of_input(&self) -> Option<String> {
        self.no_objects.clone()
    }

    /// Why a push of the pipeline into a switch is refused, which empties it.
    pub(crate) fn of_push(&self, switch: &str, desired: &Desired) -> Option<String> {
        let bare = !self.allowed && policies(&desired.entries).is_empty();
        bare.then(|| {
            format!("--force-pipeline empties switch {switch}, and the input has no policy for it; {ALLOW}")
        })
    }

    /// Why a switch that holds this is not brought to that.
    pub(crate) fn of_switch(&self, installed: &Installed, desired: &Desired) -> Option<String> {
        let last = || {
            let has = policies(&installed.entries);
            let first = has.first().filter(|_| policies(&desired.entries).is_empty())?.clone();
            Some(said(Problem::LastPolicy { policies: has.len(), first }))
        };
        let shrinks = || {
            let shrunk = shrink::of_switch(Program::outplane(), installed, desired)?;
            Some(less(Problem::Shrinks(shrunk)))
        };
        let nothing = if self.allowed { None } else { self.of_input().or_else(last) };
        nothing.or_else(|| if self.keeps_most() { shrinks() } else { None })
    }

    /// Why the input is refused beside what the newest generation has that can be carried out: it has much less.
    pub(crate) async fn of_generation(&self, objects: &Objects) -> anyhow::Result<Option<String>> {
        let Some(counts) = &self.counts else { return Ok(None) };
        for number in Chain::Generations.numbers(objects, 0).await?.into_iter().rev() {
            let found = objects.get_readable(&Chain::Generations.key(number)).await?;
            // What a recovery leaves wants nothing, and is no measure.
            let Some(Object::Generation(record)) = found else { continue };
            if is_placeholder(&record) {
                continue;
            }
            let had =
                move || parsed(&record).map(|loaded| self::counts(&loaded.intent, &loaded.expectations));
            let Ok(had) = tokio::task::spawn_blocking(had).await? else { continue };
            return Ok(shrink::between(&had, counts).map(|Shrunk { what, before, after }| {
                less(format_args!("generation {number} has {before} {what}, and the input has {after}"))
            }));
        }
        Ok(None)
    }

    /// Of each switch that would lose its last policy by the intent log: why that is refused.
    pub(crate) async fn of_log(
        &self,
        compiled: &Compiled,
        objects: &Objects,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut refused = BTreeMap::new();
        let is_bare = |state: &SwitchState| policies(&state.desired.entries).is_empty();
        let mut bare: Vec<&String> =
            compiled.switches.iter().filter(|(_, state)| is_bare(state)).map(|(name, _)| name).collect();
        if self.allowed || bare.is_empty() {
            return Ok(refused);
        }
        // A switch that generations leave out keeps what the last one has given it that named it.
        for number in Chain::Generations.numbers(objects, 0).await?.into_iter().rev() {
            if bare.is_empty() {
                break;
            }
            let Some(record) = named(objects, number, &bare).await? else { continue };
            let generation = record.generation;
            // Of one that cannot be carried out switches have nothing.
            let Ok((before, _)) = tokio::task::spawn_blocking(move || states(&record)).await? else {
                continue;
            };
            bare.retain(|name| {
                let Some(state) = before.switches.get(*name) else { return true };
                let had = policies(&state.desired.entries);
                if let Some(first) = had.first() {
                    let policies = count(had.len(), "policy", "policies");
                    let more = if had.len() == 1 { "" } else { ", .." };
                    let text = format!(
                        "switch {name} has {policies} by generation {generation} ({first}{more}), and the input leaves \
                         none, so that everything would pass"
                    );
                    refused.insert((*name).clone(), text);
                }
                false
            });
        }
        Ok(refused)
    }
}

/// Objects and rules by kind.
fn counts(intent: &Intent, expectations: &Expectations) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = objects(intent, expectations)
        .into_iter()
        .map(|(kind, number)| (shrink::plural(kind), number))
        .collect();
    let rules = intent.filters.values().map(|policy| policy.rules.len()).sum();
    counts.insert("rules of FilterPolicies".to_owned(), rules);
    counts
}

/// The cure goes with it.
pub(super) fn less(why: impl std::fmt::Display) -> String {
    format!("{why}; {SHRINK}")
}

/// The cure goes with it.
pub(super) fn said(why: impl std::fmt::Display) -> String {
    format!("{why}; {ALLOW}")
}

/// A generation that has something for one of these switches.
async fn named(objects: &Objects, number: u64, switches: &[&String]) -> anyhow::Result<Option<Generation>> {
    let found = objects.get_readable(&Chain::Generations.key(number)).await?;
    let Some(Object::Generation(record)) = found else { return Ok(None) };
    Ok(switches.iter().any(|switch| record.desired.contains_key(*switch)).then_some(record))
}
