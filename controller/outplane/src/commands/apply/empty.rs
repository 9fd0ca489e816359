//! Nothing is no intention: whoever takes the last policy from a switch has to say that it is meant, since without any
//! everything passes.

use std::collections::{BTreeMap, BTreeSet};

use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::state::{Desired, policies};
use outplane_driver_p4runtime::Problem;
use outplane_intent::model::Intent;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::states;
use outplane_rmdp_node::objects::Objects;

use crate::input::Input;
use crate::output::count;

/// How to say that nothing is meant.
const ALLOW: &str = "if that is what you want, say --allow-empty";

/// What is refused unless `--allow-empty` is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// It was said.
    allowed: bool,
    /// The input is refused as it is, whatever switches hold.
    no_objects: Option<String>,
}

impl Guard {
    pub(crate) fn new(input: &Input, allowed: bool) -> Self {
        let nothing = !allowed && input.intent == Intent::default();
        let no_objects = nothing.then(|| {
            format!(
                "the input has no objects{}, and without policies everything passes; {ALLOW}",
                input.skipped()
            )
        });
        Self { allowed, no_objects }
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

    /// Why a switch that holds these policies is not brought to this.
    pub(crate) fn of_switch(&self, has: &BTreeSet<String>, desired: &Desired) -> Option<String> {
        if self.allowed {
            return None;
        }
        let last = || {
            let first = has.first().filter(|_| policies(&desired.entries).is_empty())?.clone();
            Some(said(Problem::LastPolicy { policies: has.len(), first }.to_string()))
        };
        self.of_input().or_else(last)
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
