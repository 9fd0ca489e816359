//! `outplane plan`: what `apply` would change.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::numbers::Numbers;
use outplane_compiler::plan::{self, Counts};
use outplane_compiler::program::Program;
use outplane_compiler::rules::{self, RuleChanges};
use outplane_compiler::state::{Installed, Plan};
use outplane_driver_p4runtime::{Options, Read, Target};
use outplane_intent::model::Intent;
use serde::Serialize;

use super::apply::empty::{Allowed, Guard};
use super::apply::log;
use crate::compiled::{self, schema};
use crate::entries::{ChangeForm, table_name};
use crate::exit::Exit;
use crate::expectations::{self, Ignoring};
use crate::input::Input;
use crate::node::{self, Node};
use crate::options::{Format, PolicyFiles};
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, columns, count, grouped, styled, wrapped};
use crate::switches::{self, About, Trouble};
use crate::targets::Targets;
use crate::{input, runtime};

/// What writes are for that change nothing that packets see.
const SETTLES: &str = "no rule changes, nor what serves all: entries that earlier changes left in one version of the policy settle into \
                       all of them, or what nobody sees any more is removed";

/// Arguments of `plan`.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: PolicyFiles,
    #[command(flatten)]
    show: Show,
    #[command(flatten)]
    ignoring: Ignoring,
    /// Plan as if the pipeline was pushed anew, which empties the switch first
    #[arg(long)]
    force_pipeline: bool,
    /// The switches are those of the controllers whose store this file names, a node's own or a client's: what stays as it is
    /// keeps the numbers that the newest generation has [default: `$OUTPLANE_CONFIG`; without it the numbers of the switch]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["address", "no_log"])]
    config: Option<PathBuf>,
    /// Plan what `apply` would write to the switches directly, even if `OUTPLANE_CONFIG` is set
    #[arg(long)]
    no_log: bool,
    #[command(flatten)]
    targets: Targets,
}

/// Where what has a number already has it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbered {
    /// The switch: what a direct `apply` goes on from.
    BySwitch,
    /// The newest generation: what controllers go on from.
    ByLog,
}

/// How a plan is shown.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Show {
    /// Show every write, and how many there are by table
    #[arg(long)]
    pub(crate) entries: bool,
    /// End with 2 if something would change, and 0 only if nothing would
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// The plans of all switches.
#[derive(Serialize)]
pub(crate) struct Plans {
    /// All writes of all switches.
    writes: usize,
    switches: Vec<About<SwitchPlan>>,
}

/// What would change on a switch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SwitchPlan {
    /// SHA-256 of what the switch should hold, as `compile` says it.
    digest: String,
    /// `keep`, or `push`: the switch has another program or none, or a push is forced. A push empties it first.
    pipeline: &'static str,
    /// Why `apply` would refuse this; null if it would not.
    refused: Option<String>,
    pub(crate) writes: usize,
    /// What becomes of rules.
    #[serde(flatten)]
    pub(crate) rules: RuleChanges,
    #[serde(flatten)]
    pub(crate) changes: Changes,
    /// What the switch does not let read, and what is therefore written in any case.
    unreadable: Vec<&'static str>,
    /// Entries of other owners by table; nothing touches them, but a push of the pipeline.
    others: BTreeMap<String, usize>,
    /// With --entries: every write.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<ChangeForm>>,
}

/// A plan in numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Changes {
    /// The version of the policy that packets see before.
    pub(crate) from_version: u8,
    /// And after.
    pub(crate) to_version: u8,
    /// Writes by step, in order.
    pub(crate) steps: Vec<StepForm>,
    /// Writes by table.
    pub(crate) tables: BTreeMap<String, Counts>,
    /// Writes of multicast groups.
    pub(crate) groups: Counts,
    /// Writes of meter cells.
    pub(crate) meters: Counts,
}

/// A step of a plan.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StepForm {
    step: &'static str,
    writes: usize,
}

impl From<plan::Summary> for Changes {
    fn from(summary: plan::Summary) -> Self {
        let step = |(step, writes)| StepForm { step, writes };
        Self {
            from_version: summary.from_version,
            to_version: summary.to_version,
            steps: summary.steps.into_iter().map(step).collect(),
            tables: summary.tables,
            groups: summary.groups,
            meters: summary.meters,
        }
    }
}

/// Reads the switches and plans.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let input = input::load(&arguments.sources)?;
    let targets = arguments.targets.resolve(&input.intent)?;
    let (compiled, numbered) = match numbers_of_log(arguments) {
        Some(numbers) => (compiled::compile_after(&input, &numbers)?, Numbered::ByLog),
        None => (compiled::compile(&input)?, Numbered::BySwitch),
    };
    expectations::require(&input, &compiled, arguments.ignoring)?;
    let (options, guard) = (arguments.targets.options(), Guard::new(&input, Allowed::default()));
    let push = arguments.force_pipeline;
    let plans =
        dry_run(&input, targets, &options, (compiled, numbered), push, &guard, arguments.show, format)?;
    Ok(plans.exit(arguments.show))
}

/// What the newest generation has numbered, where controllers keep the switches.
fn numbers_of_log(arguments: &Arguments) -> Option<Numbers> {
    if arguments.no_log || arguments.targets.has_address() {
        return None;
    }
    let path = arguments.config.clone().or_else(node::from_environment)?;
    let numbers = Node::open(&path).and_then(|node| runtime::block_on(log::numbers(&node))?);
    match numbers {
        Ok(numbers) => Some(log::decoded(numbers.as_deref())),
        Err(error) => {
            tracing::warn!(
                "the newest generation cannot be read ({error:#}): this is what `apply --no-log` would write; controllers may \
                 number otherwise"
            );
            None
        }
    }
}

/// What `plan` and `apply --dry-run` do once they know what is desired.
#[expect(clippy::too_many_arguments, reason = "what both commands have read from their command lines")]
pub(crate) fn dry_run(
    input: &Input,
    targets: Vec<Target>,
    options: &Options,
    (mut compiled, numbered): (Compiled, Numbered),
    force_pipeline: bool,
    guard: &Guard,
    show: Show,
    format: Format,
) -> anyhow::Result<Plans> {
    let intent = Arc::new(input.intent.clone());
    let one = |target: Target| {
        let state = compiled.switches.remove(&target.name).unwrap_or_default();
        let (intent, guard) = (Arc::clone(&intent), guard.clone());
        let (at, entries) = (input.at, show.entries);
        let asked = Asked { intent, at, state, numbered, force_pipeline, guard, entries };
        of_switch(target, options.clone(), asked)
    };
    let switches = runtime::block_on(switches::each(targets, one))?;
    let writes = switches.iter().filter_map(|about| about.result.as_ref()).map(|plan| plan.writes).sum();
    let plans = Plans { writes, switches };
    output::print(format, &plans)?;
    Ok(plans)
}

/// What is asked about a switch.
struct Asked {
    intent: Arc<Intent>,
    at: Timestamp,
    /// What it should hold where it is empty.
    state: SwitchState,
    numbered: Numbered,
    force_pipeline: bool,
    guard: Guard,
    entries: bool,
}

async fn of_switch(target: Target, options: Options, asked: Asked) -> Result<SwitchPlan, Trouble> {
    let Asked { intent, at, state, numbered, force_pipeline, guard, entries } = asked;
    let name = target.name.clone();
    let connection = switches::connect(target, options).await?;
    let push = force_pipeline || connection.cookie().await? != Some(connection.pipeline().cookie);
    let read = if push { Read::default() } else { connection.read_installed(&state.desired, false).await? };
    let (switch, installed) = (name.clone(), read.installed.clone());
    let compiling = move || match numbered {
        Numbered::BySwitch => compiled::for_switch((&intent, at), &switch, &installed, state),
        Numbered::ByLog => state,
    };
    let state =
        tokio::task::spawn_blocking(compiling).await.map_err(|error| Trouble::of(&error.to_string()))?;
    let (digest, desired) = (compiled::digest(&state), state.desired);
    let pushed = if force_pipeline { guard.of_push(&name, &desired) } else { None };
    let refused = pushed.or_else(|| guard.of_switch(&read.installed, &desired));
    let plan = plan::plan(&connection.pipeline().program, &read.installed, &desired)?;
    Ok(SwitchPlan {
        digest,
        refused,
        pipeline: if push { "push" } else { "keep" },
        writes: plan.len(),
        rules: rules::between(&connection.pipeline().program, &read.installed, &desired),
        changes: plan.summary(Program::outplane()).into(),
        unreadable: read.unreadable,
        others: others(&read.installed),
        entries: entries.then(|| changes(&plan)),
    })
}

/// Entries of other owners by table.
pub(crate) fn others(installed: &Installed) -> BTreeMap<String, usize> {
    installed.foreign.iter().map(|(table, entries)| (table_name(schema(), *table), *entries)).collect()
}

fn changes(plan: &Plan) -> Vec<ChangeForm> {
    let step = |step: &'_ outplane_compiler::state::Step| -> Vec<ChangeForm> {
        step.changes.iter().map(|change| ChangeForm::new(schema(), step.title, change)).collect()
    };
    plan.steps.iter().flat_map(step).collect()
}

impl Plans {
    /// How `plan` ends.
    fn exit(&self, show: Show) -> Exit {
        if self.switches.iter().any(|about| about.error.is_some()) {
            Exit::Switch
        } else if show.detailed_exitcode && self.would_change() {
            Exit::Changes
        } else {
            Exit::Done
        }
    }

    /// How `apply --dry-run` ends: as `apply` would where that refuses the input.
    pub(crate) fn exit_of_apply(&self, show: Show) -> Exit {
        let refused = |plan: &SwitchPlan| plan.refused.is_some();
        let mut plans = self.switches.iter().filter_map(|about| about.result.as_ref());
        if plans.any(refused) { Exit::Failed } else { self.exit(show) }
    }

    fn would_change(&self) -> bool {
        let change = |plan: &SwitchPlan| plan.writes > 0 || plan.pipeline == "push";
        self.switches.iter().filter_map(|about| about.result.as_ref()).any(change)
    }
}

impl Report for Plans {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (place, about) in self.switches.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            let name = styled(HEAD, format_args!("Switch {}", about.switch));
            match (&about.result, &about.error) {
                (Some(plan), _) => plan.text(&format!("{name} at {}", about.address), out)?,
                (None, error) => {
                    let error = error.as_deref().unwrap_or_default();
                    let text = format!("{name} at {}: {}: {error}", about.address, styled(BAD, "failed"));
                    wrapped(out, 0, 2, &text)?;
                }
            }
        }
        Ok(())
    }
}

impl SwitchPlan {
    fn text(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let push = self.pipeline == "push";
        if self.writes == 0 && !push {
            writeln!(out, "{name}: {}", styled(GOOD, "nothing would change"))?;
        } else {
            writeln!(out, "{name}: {}", count(self.writes, "write", "writes"))?;
        }
        if push {
            let note = "would be pushed; this empties the switch, of entries of others too";
            writeln!(out, "  {} {note}", styled(WARN, "pipeline"))?;
        }
        refusal(self.refused.as_deref(), out)?;
        crate::rules::rules(&self.rules, out)?;
        if self.writes > 0 && !push && self.rules.rules.is_empty() && self.rules.shared.is_empty() {
            wrapped(out, 2, 4, &styled(FAINT, SETTLES))?;
        }
        self.changes.text(self.entries.is_some(), out)?;
        for (table, entries) in &self.others {
            let entries = count(*entries, "entry", "entries");
            writeln!(out, "  {}", styled(FAINT, format_args!("{table}: {entries} of others, not touched")))?;
        }
        for what in &self.unreadable {
            writeln!(out, "  {}", styled(FAINT, format_args!("{what} cannot be read and are written anew")))?;
        }
        for change in self.entries.iter().flatten() {
            writeln!(out, "  {}", change.text())?;
        }
        Ok(())
    }
}

impl Changes {
    /// The steps, and before them writes by table where every write is asked for.
    pub(crate) fn text(&self, by_table: bool, out: &mut dyn Write) -> io::Result<()> {
        if self.steps.is_empty() {
            return Ok(());
        }
        if by_table {
            tables(&self.tables, self.groups, self.meters, out)?;
        }
        let steps: Vec<String> =
            self.steps.iter().map(|step| format!("{} {}", step.step, grouped(step.writes as u64))).collect();
        let version = if self.from_version == self.to_version {
            format!("packets go on seeing version {}", self.from_version)
        } else {
            format!("packets see version {} after {}", self.to_version, self.from_version)
        };
        writeln!(out, "  {}", styled(FAINT, format_args!("steps: {}; {version}", steps.join(", "))))
    }
}

/// That `apply` would refuse this, and why.
pub(crate) fn refusal(refused: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let Some(why) = refused else { return Ok(()) };
    wrapped(out, 2, 4, &format!("{}: {why}", styled(BAD, "apply would refuse this")))
}

/// Writes by table, in the order of the program; nothing where there are none.
pub(crate) fn tables(
    tables: &BTreeMap<String, Counts>,
    groups: Counts,
    meters: Counts,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows: Vec<(String, Counts)> =
        tables.iter().map(|(name, counts)| (name.clone(), *counts)).collect();
    let place = |name: &str| schema().tables().iter().position(|table| table.alias == name);
    rows.sort_by_key(|(name, _)| place(name));
    rows.push(("multicast groups".to_owned(), groups));
    rows.push(("meters".to_owned(), meters));
    rows.retain(|(_, counts)| counts.total() > 0);
    if rows.is_empty() {
        return Ok(());
    }
    let row = |(name, counts): (String, Counts)| {
        let numbers = [counts.inserts, counts.modifies, counts.deletes].map(|number| grouped(number as u64));
        std::iter::once(name).chain(numbers).collect()
    };
    columns(out, &["table", "insert", "modify", "delete"], &[1, 2, 3], rows.into_iter().map(row))
}

#[cfg(test)]
mod tests {
    use outplane_compiler::rules::{RuleChange, RuleChanged};

    use super::*;

    fn told(rules: RuleChanges) -> String {
        let step = |step, writes| StepForm { step, writes };
        let changes = Changes {
            from_version: 1,
            to_version: 2,
            steps: vec![step("prepare", 2), step("flip", 1), step("clean up", 2)],
            tables: BTreeMap::new(),
            groups: Counts::default(),
            meters: Counts::default(),
        };
        let plan = SwitchPlan {
            digest: String::new(),
            pipeline: "keep",
            refused: None,
            writes: 5,
            rules,
            changes,
            unreadable: Vec::new(),
            others: BTreeMap::new(),
            entries: None,
        };
        let mut out = Vec::new();
        plan.text("core", &mut out).unwrap();
        String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
    }

    /// Where no rule changes, whoever reads of writes is told what for.
    #[test]
    fn writes_that_settle_or_number_anew_say_what_they_are() {
        let settles = told(RuleChanges { rules: Vec::new(), shared: Vec::new() });
        assert!(settles.contains("entries that earlier changes left in one version"), "{settles}");
        let change = |change| RuleChange {
            policy: "FilterPolicy/servers".to_owned(),
            rule: Some("web".to_owned()),
            change,
        };
        let rewritten = told(RuleChanges { rules: vec![change(RuleChanged::Rewritten)], shared: Vec::new() });
        let words =
            "= 1 rule means what it did, with other entries: addresses or ports have other class numbers";
        assert!(rewritten.contains(words), "{rewritten}");
        let changed = told(RuleChanges { rules: vec![change(RuleChanged::Changed)], shared: Vec::new() });
        assert!(!changed.contains("settle") && !changed.contains("class numbers"), "{changed}");
    }
}
