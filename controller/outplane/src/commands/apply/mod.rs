//! `outplane apply`: the switches to what the policies say; directly, or through the intent log and its controllers.

mod compare;
pub(crate) mod empty;
pub(crate) mod log;
mod unchanged;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use jiff::Timestamp;
use outplane_compiler::compile::{Compiled, SwitchState};
use outplane_compiler::rules::RuleChanges;
use outplane_driver::Lease;
use outplane_driver_p4runtime::{
    Connection, ConvergeOptions, Counted, Options, Progress, Push, Pushed, Report as Converged, Rules,
    Target, WriteOptions,
};
use outplane_intent::deciders;
use outplane_intent::model::Intent;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use self::empty::{Allowed, Guard};
use super::plan::{self, Changes, Numbered, Show};
use crate::alike::{Told, alike};
use crate::awaited::{PATIENCE, Waiting};
use crate::exit::{Exit, Usage};
use crate::expectations::{self, Ignoring};
use crate::input::Input;
use crate::node::{self, Author, Node};
use crate::options::{Format, PolicyFiles};
use crate::output::{self, BAD, FAINT, GOOD, HEAD, Report, WARN, count, styled, wrapped};
use crate::progress::{Line, Lines};
use crate::switches::{self, About, Trouble};
use crate::targets::Targets;
use crate::{compiled, input, rules, runtime};

/// Arguments of `apply`.
#[derive(clap::Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    #[command(flatten)]
    sources: PolicyFiles,
    /// Only show what would change, like `plan`; with --config: compared with the newest generation
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: show every write, and how many there are by table
    #[arg(long, requires = "dry_run")]
    entries: bool,
    /// With --dry-run: end with 2 if something would change (and with 1, as always, if apply would refuse it)
    #[arg(long, requires = "dry_run")]
    detailed_exitcode: bool,
    /// P4Runtime election id; the controller with the highest one may write [default: microseconds since 1970, so that
    /// the latest apply has the highest]
    #[arg(long, value_name = "ID", value_parser = election_id)]
    election_id: Option<u128>,
    /// Where another controller has a higher election id, take one that is higher still
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    allowed: Allowed,
    #[command(flatten)]
    ignoring: Ignoring,
    /// Push the pipeline even if the switch has it; this empties the switch, of entries of others too
    #[arg(long)]
    force_pipeline: bool,
    /// Read the switches again afterwards and make sure that nothing differs
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    author: Author,
    /// Append the policies to the intent log, for the controllers to carry out; FILE is a node's own file or a client's, see
    /// docs/configuration.md [default: `$OUTPLANE_CONFIG`; without it this command writes to the switches itself]
    #[arg(long, value_name = "FILE", conflicts_with_all = DIRECT)]
    config: Option<PathBuf>,
    /// Write to the switches directly, even if `OUTPLANE_CONFIG` is set
    #[arg(long)]
    no_log: bool,
    /// With --config: do not wait for the switches
    #[arg(long)]
    no_wait: bool,
    /// With --config: append a generation although nothing has changed since the newest one, or although all nodes that answer
    /// say that the store is another network's
    #[arg(long, conflicts_with = "dry_run")]
    anyway: bool,
    #[command(flatten)]
    targets: Targets,
}

/// What only makes sense where this command writes to the switches itself.
const DIRECT: [&str; 6] = ["election_id", "take_over", "force_pipeline", "verify", "address", "no_log"];

fn election_id(text: &str) -> Result<u128, String> {
    text.parse()
        .ok()
        .filter(|id| *id > 0)
        .ok_or_else(|| "an election id is a number from 1 to 2^128 - 1".to_owned())
}

/// What became of all switches.
#[derive(Serialize)]
struct Applied {
    /// All writes of all switches that are done.
    writes: usize,
    /// Seconds, from the first connection to the last write.
    seconds: f64,
    switches: Vec<About<SwitchApplied>>,
}

/// What became of a switch.
#[derive(Clone, Debug, Serialize)]
struct SwitchApplied {
    /// SHA-256 of what the switch holds now, as `compile` says it.
    digest: String,
    /// `kept`, `pushed`, or `reconciled`: pushed without emptying the switch.
    pipeline: &'static str,
    writes: usize,
    /// What became of rules.
    #[serde(flatten)]
    rules: RuleChanges,
    #[serde(flatten)]
    changes: Changes,
    /// What the switch does not let read, and what was therefore written in any case.
    unreadable: Vec<&'static str>,
    /// 1, or more if something came in between: the connection broke, somebody else wrote.
    rounds: u32,
    seconds: Seconds,
}

/// Where the time went.
#[derive(Clone, Copy, Debug, Serialize)]
struct Seconds {
    reading: f64,
    planning: f64,
    writing: f64,
    total: f64,
}

impl SwitchApplied {
    fn new(digest: String, report: Converged) -> Self {
        Self {
            digest,
            pipeline: match report.pipeline {
                Pushed::Kept => "kept",
                Pushed::Committed => "pushed",
                Pushed::Reconciled => "reconciled",
            },
            writes: report.plan.total,
            unreadable: report.unreadable,
            rounds: report.rounds,
            seconds: Seconds {
                reading: seconds(report.reading),
                planning: seconds(report.planning),
                writing: seconds(report.written.elapsed),
                total: seconds(report.elapsed),
            },
            rules: report.rules,
            changes: report.plan.into(),
        }
    }
}

/// To the millisecond: more digits would say nothing.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Compiles, connects, writes.
pub(crate) fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Exit> {
    let input = input::load(&arguments.sources)?;
    let guard = Guard::new(&input, arguments.allowed);
    if let Some(refused) = guard.of_input().filter(|_| !arguments.dry_run) {
        bail!(refused);
    }
    for lacks in empty::lacks(&input) {
        tracing::warn!("{lacks}");
    }
    if let Some(path) = arguments.node_file()? {
        let chosen = arguments.targets.names(&input.intent)?;
        let node = Node::open(&path)?;
        let before = runtime::block_on(log::numbers(&node))??;
        let compiled = compiled::compile_after(&input, &log::decoded(before.as_deref()))?;
        expectations::require(&input, &compiled, arguments.ignoring)?;
        if arguments.dry_run {
            return compare::run(&input, &compiled, &chosen, &node, &guard, arguments.show(), format);
        }
        if arguments.targets.is_chosen() {
            return Err(Usage(
                "a generation is the whole intent, so --switch cannot choose a part of it: leave --switch out, or \
                 bind the policies to switches (`appliesTo`); --dry-run takes it, and with --no-log this command \
                 writes to the switch itself"
                    .into(),
            )
            .into());
        }
        let timeout = arguments.targets.timeout().unwrap_or(PATIENCE);
        let waiting = Waiting { no_wait: arguments.no_wait, timeout };
        let (compiled, how) = ((&compiled, before.as_deref()), (waiting, arguments.anyway));
        return log::run(&input, compiled, (&node, &arguments.author), &guard, how, format);
    }
    let targets = arguments.targets.resolve(&input.intent)?;
    let compiled = compiled::compile(&input)?;
    expectations::require(&input, &compiled, arguments.ignoring)?;
    let mut options = arguments.targets.options();
    if arguments.dry_run {
        let (push, show) = (arguments.force_pipeline, arguments.show());
        let plans = plan::dry_run(
            &input,
            targets,
            &options,
            (compiled, Numbered::BySwitch),
            push,
            &guard,
            show,
            format,
        )?;
        return Ok(plans.exit_of_apply(show));
    }
    if arguments.force_pipeline {
        let empties = |target: &Target| {
            let state = compiled.switches.get(&target.name);
            let desired = state.map(|state| state.desired.clone()).unwrap_or_default();
            guard.of_push(&target.name, &desired)
        };
        if let Some(refused) = targets.iter().find_map(empties) {
            bail!(refused);
        }
    }
    options.election_id = arguments.election_id.unwrap_or_else(latest_election_id);
    options.take_over = arguments.take_over;
    warn_of_expiry(&input);
    let applied = runtime::block_on(apply(arguments, &input, &guard, targets, options, compiled, format))??;
    output::print(format, &applied)?;
    Ok(applied.exit())
}

impl Arguments {
    fn show(&self) -> Show {
        Show { entries: self.entries, detailed_exitcode: self.detailed_exitcode }
    }

    /// The node's file, if the policies go through the intent log. What the environment says counts only where nothing
    /// on the command line speaks against it.
    fn node_file(&self) -> anyhow::Result<Option<PathBuf>> {
        let direct = self.no_log
            || self.election_id.is_some()
            || self.take_over
            || self.force_pipeline
            || self.verify
            || self.targets.has_address()
            || self.targets.is_chosen() && !self.dry_run;
        let path = self.config.clone().or_else(|| if direct { None } else { node::from_environment() });
        if path.is_none() && self.author.is_named() {
            return Err(Usage(
                "--author goes with --config: without it nothing is kept of who applied".into(),
            )
            .into());
        }
        if path.is_none() && self.no_wait {
            return Err(Usage(
                "--no-wait goes with --config: without it this command does the work itself".into(),
            )
            .into());
        }
        if path.is_none() && self.anyway {
            return Err(Usage(
                "--anyway goes with --config: without it this command writes what differs in the switches"
                    .into(),
            )
            .into());
        }
        Ok(path)
    }
}

/// Who writes to switches himself and goes leaves nobody there to take a rule away.
fn warn_of_expiry(input: &Input) {
    let rules = input
        .intent
        .filters
        .iter()
        .flat_map(|(name, policy)| policy.rules.iter().map(move |rule| (name, rule)));
    let expiring = rules
        .filter_map(|(name, rule)| Some((rule.expires.filter(|expires| *expires > input.at)?, name, rule)));
    let expiring: Vec<_> = expiring.collect();
    let Some((expires, policy, rule)) = expiring.iter().min_by_key(|(expires, ..)| expires) else { return };
    let more = match expiring.len() {
        1 => String::new(),
        many => format!(", and {} more later", many - 1),
    };
    tracing::warn!(
        "{}, rule {} expires at {expires}{more}, but nobody takes it from the switches then: apply again \
         after that, or give the policies to controllers (--config), who do",
        deciders::filter_policy(policy),
        rule.name
    );
}

pub(super) fn latest_election_id() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros().max(1))
}

async fn apply(
    arguments: &Arguments,
    input: &Input,
    guard: &Guard,
    targets: Vec<Target>,
    options: Options,
    mut compiled: Compiled,
    format: Format,
) -> anyhow::Result<Applied> {
    let start = std::time::Instant::now();
    let cancel = CancellationToken::new();
    let signals = runtime::Signals::new()?;
    let stopper = tokio::spawn({
        let cancel = cancel.clone();
        async move {
            signals.wait().await;
            cancel.cancel();
        }
    });
    let lines = Arc::new(Lines::new(format));
    let guard = Arc::new(guard.clone());
    let push = if arguments.force_pipeline { Push::Always } else { Push::IfDifferent };
    let intent = Arc::new(input.intent.clone());
    let one = |target: Target| {
        let state = compiled.switches.remove(&target.name);
        let job = Job {
            intent: Arc::clone(&intent),
            at: input.at,
            line: lines.line(&target.name),
            target,
            options: options.clone(),
            push,
            verify: arguments.verify,
            allow_empty: arguments.allowed.allow_empty,
            guard: Arc::clone(&guard),
            cancel: cancel.clone(),
        };
        async move {
            let Some(state) = state else {
                return Err(Trouble::of("no policy was compiled for it"));
            };
            job.run(state).await
        }
    };
    let switches = switches::each(targets, one).await;
    stopper.abort();
    let writes =
        switches.iter().filter_map(|about| about.result.as_ref()).map(|applied| applied.writes).sum();
    Ok(Applied { writes, seconds: seconds(start.elapsed()), switches })
}

/// What is to be done with a switch.
struct Job {
    intent: Arc<Intent>,
    at: Timestamp,
    line: Line,
    target: Target,
    options: Options,
    push: Push,
    verify: bool,
    allow_empty: bool,
    guard: Arc<Guard>,
    cancel: CancellationToken,
}

impl Job {
    async fn run(self, state: SwitchState) -> Result<SwitchApplied, Trouble> {
        self.line.say("connecting");
        let connecting = Connection::open(self.target.clone(), switches::pipeline(), self.options.clone());
        let opened = self.cancel.run_until_cancelled(connecting).await;
        let stopped = || Trouble { interrupted: true, ..Trouble::of("stopped before the first write") };
        let mut connection = opened.ok_or_else(stopped)??.with_counted(Counted::default());
        self.line.say("reading");
        let progress = |progress: Progress| self.line.progress(progress);
        let lease = Lease { stop: Some(&self.cancel), ..Lease::OPEN };
        let write = WriteOptions { progress: Some(&progress), lease, ..WriteOptions::default() };
        let (keep_a_policy, keep) = (!self.allow_empty, self.guard.keep());
        let (push, verify, rules) = (self.push, self.verify, Rules::Carry);
        let options = ConvergeOptions { push, verify, keep_a_policy, keep, rules, write };
        let state = self.after_what_it_holds(&connection, state).await?;
        let digest = compiled::digest(&state);
        match connection.apply(&state.desired, options).await.map_err(Trouble::from) {
            Ok(report) => Ok(SwitchApplied::new(digest, report)),
            Err(trouble) if trouble.unwanted => {
                let text =
                    if trouble.shrinks { empty::less(&trouble.text) } else { empty::said(&trouble.text) };
                Err(Trouble { text, ..trouble })
            }
            Err(trouble) => Err(trouble),
        }
    }
}

impl Job {
    /// What the switch should hold, so that little of what it holds has to change.
    async fn after_what_it_holds(
        &self,
        connection: &Connection,
        state: SwitchState,
    ) -> Result<SwitchState, Trouble> {
        let is_emptied = matches!(self.push, Push::Always);
        if is_emptied || connection.cookie().await? != Some(connection.pipeline().cookie) {
            return Ok(state);
        }
        let installed = connection.read_installed(&state.desired, false).await?.installed;
        let (intent, at, switch) = (Arc::clone(&self.intent), self.at, self.target.name.clone());
        let compiling = move || compiled::for_switch((&intent, at), &switch, &installed, state);
        tokio::task::spawn_blocking(compiling).await.map_err(|error| Trouble::of(&error.to_string()))
    }
}

impl Applied {
    fn exit(&self) -> Exit {
        let failed = |about: &About<_>| about.error.is_some() && !about.interrupted;
        if self.switches.iter().any(|about| about.interrupted) {
            Exit::Interrupted
        } else if self.switches.iter().any(|about| about.unwanted) {
            Exit::Failed
        } else if self.switches.iter().any(failed) {
            Exit::Switch
        } else {
            Exit::Done
        }
    }
}

impl Report for Applied {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut told = Told::default();
        for about in &self.switches {
            let name = styled(HEAD, format_args!("Switch {}", about.switch));
            let name = format!("{name} at {}", about.address);
            match (&about.result, &about.error) {
                (Some(applied), _) => applied.text(&name, out)?,
                (None, error) => {
                    let failed =
                        if about.interrupted { styled(WARN, "stopped") } else { styled(BAD, "failed") };
                    let error = error.as_deref().unwrap_or_default();
                    match told.before(&about.switch, alike(error, &[&about.switch])) {
                        Some(first) => writeln!(out, "{name}: {failed}: for the same reason as {first}")?,
                        None => wrapped(out, 0, 2, &format!("{name}: {failed}: {error}"))?,
                    }
                }
            }
        }
        if self.switches.iter().any(|about| about.interrupted) {
            writeln!(out, "Packets see a whole policy everywhere; the next apply repairs what is left.")?;
        }
        Ok(())
    }
}

impl SwitchApplied {
    fn text(&self, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let what = if self.writes == 0 {
            "nothing to change".to_owned()
        } else {
            count(self.writes, "write", "writes")
        };
        writeln!(out, "{name}: {} in {:.3} s", styled(GOOD, what), self.seconds.total)?;
        if self.pipeline != "kept" {
            writeln!(out, "  pipeline {}", self.pipeline)?;
        }
        rules::rules(&self.rules, out)?;
        self.changes.text(false, out)?;
        for what in &self.unreadable {
            writeln!(
                out,
                "  {}",
                styled(FAINT, format_args!("{what} cannot be read and were written anew"))
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_ids_are_positive_and_grow_with_time() {
        assert_eq!(election_id("340282366920938463463374607431768211455"), Ok(u128::MAX));
        for bad in ["0", "-1", "x", "340282366920938463463374607431768211456"] {
            assert!(election_id(bad).is_err(), "{bad}");
        }
        let first = latest_election_id();
        assert!(first > 1_700_000_000_000_000 && latest_election_id() >= first);
    }
}
