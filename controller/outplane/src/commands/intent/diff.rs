//! `outplane intent diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use anyhow::bail;
use jiff::Timestamp;
use outplane_intent::changes::{self, Change};
use outplane_intent::expectation::Expectations;
use outplane_intent::model::Intent;
use outplane_rmdp_core::object::{DesiredState, Generation};
use outplane_rmdp_node::generation::{as_of, parsed};
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::{generation, numbers};
use crate::exit::Exit;
use crate::node::NodeArguments;
use crate::options::Format;
use crate::output::{self, BAD, HEAD, Report, styled};
use crate::{rules, runtime};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The one that is compared with [default: the one before the other]
    #[arg(value_name = "FROM")]
    from: Option<u64>,
    /// The one that is compared [default: the newest]
    #[arg(value_name = "TO")]
    to: Option<u64>,
    #[command(flatten)]
    node: NodeArguments,
}

/// What differs.
#[derive(Serialize)]
pub(super) struct Difference {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) changes: Vec<Change>,
    /// Switches that should hold something else.
    pub(super) switches: Vec<String>,
    /// Why a rollback would be refused, if it would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

pub(super) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let node = arguments.node.open()?;
    let work = async {
        let numbers = numbers(&node.objects).await?;
        let to = arguments.to.or_else(|| numbers.last().copied()).unwrap_or_default();
        let Some(from) =
            arguments.from.or_else(|| numbers.iter().rev().find(|number| **number < to).copied())
        else {
            bail!("the intent log has no generation before {to} to compare it with");
        };
        difference(&node.objects, from, to).await
    };
    output::print(format, &runtime::block_on(work)??)?;
    Ok(Exit::Done)
}

/// What one says otherwise than another.
async fn difference(objects: &Objects, from: u64, to: u64) -> anyhow::Result<Difference> {
    let (before, after) = (generation(objects, from).await?, generation(objects, to).await?);
    let switches = differing(&before.desired, &after.desired);
    let compare = move || {
        let [before, after] = [in_force(&before)?, in_force(&after)?];
        Ok::<_, anyhow::Error>(differences(&before, &after))
    };
    let changes = tokio::task::spawn_blocking(compare).await??;
    Ok(Difference { from, to, changes, switches, refused: None })
}

/// What a generation says, without the rules that had expired by its time. Takes as long as the policy is large.
pub(crate) fn in_force(record: &Generation) -> anyhow::Result<(Intent, Expectations)> {
    let loaded = parsed(record)?;
    Ok((without_expired(loaded.intent, as_of(record)), loaded.expectations))
}

/// All that differs: the intent first.
pub(crate) fn differences(before: &(Intent, Expectations), after: &(Intent, Expectations)) -> Vec<Change> {
    let mut found = changes::between(&before.0, &after.0);
    found.extend(changes::between_expectations(&before.1, &after.1));
    found
}

/// The rules of a moment.
pub(crate) fn without_expired(mut intent: Intent, at: Timestamp) -> Intent {
    for policy in intent.filters.values_mut() {
        policy.rules.retain(|rule| rule.is_in_force(at));
    }
    intent
}

/// The switches that should hold something else.
pub(crate) fn differing(
    before: &BTreeMap<String, DesiredState>,
    after: &BTreeMap<String, DesiredState>,
) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let is_same = |switch: &&String| match (before.get(*switch), after.get(*switch)) {
        (Some(before), Some(after)) => before.is_same(after),
        (before, after) => before.is_none() && after.is_none(),
    };
    all.into_iter().filter(|switch| !is_same(switch)).cloned().collect()
}

impl Report for Difference {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = format!("From generation {} to {}", self.from, self.to);
        writeln!(out, "{}", styled(HEAD, head))?;
        rules::changes(&self.changes, out)?;
        match self.switches.len() {
            0 => writeln!(out, "  no switch holds anything else for it"),
            _ => writeln!(out, "  switches that hold something else for it: {}", self.switches.join(", ")),
        }?;
        match &self.refused {
            Some(refused) => writeln!(out, "  {} {refused}", styled(BAD, "would be refused:")),
            None => Ok(()),
        }
    }
}
