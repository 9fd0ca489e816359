//! `outplane apply --config --dry-run`: what a new generation would want differently from the newest one.

use std::collections::BTreeMap;
use std::io::{self, Write};

use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::plan::Counts;
use outplane_compiler::program::Program;
use outplane_compiler::rules::{self, RuleChanges};
use outplane_compiler::state::{Change as Update, Desired, Installed, Plan, Step};
use outplane_intent::changes::{self, Change};
use outplane_intent::model::Intent;
use outplane_rmdp_core::object::{Generation, Object};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::generation::{as_of, is_placeholder, states};
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use super::super::intent::diff::without_expired;
use super::empty::{Guard, said};
use super::plan::{self, Show};
use crate::compiled::digest;
use crate::entries::ChangeForm;
use crate::exit::Exit;
use crate::input::Input;
use crate::node::Node;
use crate::options::Format;
use crate::output::{self, FAINT, GOOD, HEAD, Report, WARN, count, styled};
use crate::runtime;
use crate::times;

/// What would be wanted differently.
#[derive(Serialize)]
struct Compared {
    /// The generation that was compared with; null if there is none.
    generation: Option<u64>,
    /// Who appended it.
    author: Option<String>,
    /// RFC 3339.
    appended: Option<String>,
    /// Why `apply` would refuse the input as it is; null if it would not.
    refused: Option<String>,
    /// What the policies say otherwise than that generation.
    changes: Vec<Change>,
    /// Of all switches.
    differences: usize,
    switches: Vec<SwitchCompared>,
    /// Switches of that generation that the policies do not name any more: they keep what they have.
    left_alone: Vec<String>,
}

#[derive(Serialize)]
struct SwitchCompared {
    switch: String,
    /// SHA-256 of what it should hold, as `compile` says it.
    digest: String,
    /// That generation has nothing for it.
    new: bool,
    /// Why `apply` would refuse this; null if it would not.
    refused: Option<String>,
    /// What would become of its rules.
    #[serde(flatten)]
    rules: RuleChanges,
    differences: usize,
    tables: BTreeMap<String, Counts>,
    groups: Counts,
    meters: Counts,
    /// With --entries: every difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<ChangeForm>>,
}

/// Compares; nothing is appended, and no switch is asked.
pub(super) fn run(
    input: &Input,
    compiled: &Compiled,
    chosen: &[String],
    node: &Node,
    guard: &Guard,
    show: Show,
    format: Format,
) -> anyhow::Result<Exit> {
    let objects = &node.objects;
    let work = async {
        tokio::try_join!(
            before(objects, u64::MAX),
            guard.of_log(compiled, objects),
            guard.of_generation(objects)
        )
    };
    let (before, mut refused, shrinks) = runtime::block_on(work)??;
    let intent = before.as_ref().map(|before| before.intent.clone()).unwrap_or_default();
    let mut compared = compared(compiled, chosen, before, show.entries);
    compared.changes = changes::between(&intent, &without_expired(input.intent.clone(), input.at));
    compared.refused = guard.of_input().or(shrinks);
    for switch in &mut compared.switches {
        switch.refused = refused.remove(&switch.switch).map(said);
    }
    output::print(format, &compared)?;
    let is_refused = compared.refused.is_some() || compared.switches.iter().any(|of| of.refused.is_some());
    Ok(if is_refused {
        Exit::Failed
    } else if show.detailed_exitcode && compared.differences > 0 {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// The newest generation that can be carried out.
pub(super) struct Before {
    record: Generation,
    compiled: Compiled,
    /// Without the rules that had expired by its time.
    pub(super) intent: Intent,
}

impl Before {
    /// Its switches that others do not name any more: they keep what they have.
    pub(super) fn left_alone(&self, compiled: &Compiled) -> Vec<String> {
        let left = self.compiled.switches.keys().filter(|name| !compiled.switches.contains_key(*name));
        left.cloned().collect()
    }
}

/// The newest generation below this number that can be carried out, and what it wants.
pub(super) async fn before(objects: &Objects, below: u64) -> anyhow::Result<Option<Before>> {
    let numbers = Chain::Generations.numbers(objects, 0).await?;
    for number in numbers.into_iter().rev().filter(|number| *number < below) {
        let key = Chain::Generations.key(number);
        let Some(Object::Generation(record)) = objects.get_readable(&key).await? else {
            continue;
        };
        // Switches still have what was before a recovery.
        if is_placeholder(&record) {
            continue;
        }
        let record = record.applied();
        let work = move || {
            states(&record).map(|(compiled, intent)| {
                let intent = without_expired(intent, as_of(&record));
                Before { record, compiled, intent }
            })
        };
        match tokio::task::spawn_blocking(work).await? {
            Ok(found) => return Ok(Some(found)),
            // The switches still have what came before.
            Err(error) => tracing::warn!("generation {number} is passed over: {error}"),
        }
    }
    Ok(None)
}

fn compared(compiled: &Compiled, chosen: &[String], before: Option<Before>, entries: bool) -> Compared {
    let left_alone = before.as_ref().map(|before| before.left_alone(compiled)).unwrap_or_default();
    let (record, before) = before.map(|before| (before.record, before.compiled.switches)).unzip();
    let before = before.unwrap_or_default();
    let none = Desired::default();
    let one = |(name, state): (&String, &SwitchState)| {
        let old = before.get(name);
        let was = old.map_or(&none, |old| &old.desired);
        let changes = differences(was, &state.desired);
        let form = |change: &Update| ChangeForm::new(crate::compiled::schema(), "difference", change);
        let forms = entries.then(|| changes.iter().map(form).collect());
        let plan =
            Plan { steps: vec![Step { title: "difference", changes }], from_version: 0, to_version: 0 };
        let summary = plan.summary(Program::outplane());
        SwitchCompared {
            switch: name.clone(),
            digest: digest(state),
            new: old.is_none(),
            refused: None,
            rules: rules::between(Program::outplane(), &shown(was), &state.desired),
            differences: summary.total,
            tables: summary.tables,
            groups: summary.groups,
            meters: summary.meters,
            entries: forms,
        }
    };
    let switches: Vec<_> =
        compiled.switches.iter().filter(|(name, _)| chosen.contains(name)).map(one).collect();
    Compared {
        generation: record.as_ref().map(|record| record.generation),
        appended: record.as_ref().map(|record| times::time(record.at_ms)),
        refused: None,
        changes: Vec::new(),
        author: record.map(|record| record.author),
        differences: switches.iter().map(|switch| switch.differences).sum(),
        left_alone,
        switches,
    }
}

/// A switch that holds this.
fn shown(Desired { entries, groups, meters }: &Desired) -> Installed {
    let (entries, groups, meters) = (entries.clone(), groups.clone(), meters.clone());
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

/// What leads from one desired state to another, each difference once.
fn differences(old: &Desired, new: &Desired) -> Vec<Update> {
    let mut changes = Vec::new();
    for entry in &new.entries {
        match old.entries.get(&entry.key) {
            None => changes.push(Update::Insert(entry.clone())),
            Some(old) if old != entry => changes.push(Update::Modify(entry.clone())),
            Some(_) => {}
        }
    }
    let gone = old.entries.iter().filter(|entry| new.entries.get(&entry.key).is_none());
    changes.extend(gone.map(|entry| Update::Delete(entry.key.clone())));
    for group in &new.groups {
        match old.groups.iter().find(|old| old.id == group.id) {
            None => changes.push(Update::InsertGroup(group.clone())),
            Some(old) if old != group => changes.push(Update::ModifyGroup(group.clone())),
            Some(_) => {}
        }
    }
    let gone = old.groups.iter().filter(|old| new.groups.iter().all(|group| group.id != old.id));
    changes.extend(gone.map(|group| Update::DeleteGroup(group.id)));
    let set = new.meters.iter().filter(|cell| !old.meters.contains(cell));
    changes.extend(set.map(|cell| Update::SetMeter(*cell)));
    for cell in &old.meters {
        let (meter, index) = (cell.meter, cell.index);
        if new.meters.iter().all(|new| (new.meter, new.index) != (meter, index)) {
            changes.push(Update::ClearMeter { meter, index });
        }
    }
    changes
}

/// Switches that policies do not name any more.
pub(super) fn left(switches: &[String], out: &mut dyn Write) -> io::Result<()> {
    for switch in switches {
        let note = "is not in the policies any more: it keeps what it has";
        writeln!(out, "{} {note}", styled(WARN, format_args!("Switch {switch}")))?;
    }
    Ok(())
}

impl Report for Compared {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let with = match (self.generation, &self.author, &self.appended) {
            (Some(generation), Some(author), Some(appended)) => {
                format!("compared with what generation {generation} wants (by {author}, {appended})")
            }
            _ => "there is no generation yet: everything is new".to_owned(),
        };
        writeln!(out, "{with}; the switches were not asked, and nothing was appended")?;
        plan::refusal(self.refused.as_deref(), out)?;
        if self.generation.is_some() {
            crate::rules::changes(&self.changes, out)?;
        }
        for switch in &self.switches {
            let name = styled(HEAD, format_args!("Switch {}", switch.switch));
            let differs = match switch.differences {
                0 => styled(GOOD, "nothing would change"),
                many => count(many, "difference", "differences"),
            };
            let new = if switch.new && self.generation.is_some() { ", which is new" } else { "" };
            writeln!(out, "{name}{new}: {differs}")?;
            plan::refusal(switch.refused.as_deref(), out)?;
            crate::rules::rules(&switch.rules, out)?;
            if switch.entries.is_some() {
                plan::tables(&switch.tables, switch.groups, switch.meters, out)?;
            }
            for change in switch.entries.iter().flatten() {
                writeln!(out, "  {}", change.text())?;
            }
        }
        left(&self.left_alone, out)?;
        if self.switches.is_empty() && self.left_alone.is_empty() {
            writeln!(out, "{}", styled(FAINT, "no switch"))?;
        }
        Ok(())
    }
}
