//! What single edits of a large cluster cost: writes to a switch, milliseconds of compiling and planning.
//!
//! `cargo run --release -p outplane-compiler --example edits [EDITS [SEED]]`
//!
//! `writes`: from a switch that has settled in the state before; `settling too`: from what a switch really holds after all
//! edits before it, where entries that are new settle with the next change (see `plan`).

use std::time::Instant;

use outplane_compiler::compile::{Compiler, Options, Way, compile, compile_after};
use outplane_compiler::entries::Entries;
use outplane_compiler::plan::plan;
use outplane_compiler::program::Program;
use outplane_compiler::rules::{self, RuleChanged};
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::testing::{Cluster, EditKind, universe};
use outplane_intent::touched::Touched;

const NAMESPACES: u32 = 1_000;
const PODS: u32 = 10_000;
const POLICIES: u32 = 3_000;

/// One edit.
#[derive(Clone, Copy)]
struct Cost {
    kind: EditKind,
    writes: usize,
    settling: usize,
    /// Entries of rules that come, go or match other packets.
    meaning: usize,
    comparing: f64,
    compiling: f64,
    planning: f64,
}

fn main() {
    let number = |nth| std::env::args().nth(nth).and_then(|text| text.parse().ok());
    let (edits, seed) = (number(1).unwrap_or(1_000), number(2).unwrap_or(1));
    let options = Options { at: universe::now() };
    let mut cluster = Cluster::new(NAMESPACES, PODS, POLICIES, seed);
    let start = Instant::now();
    let first = compile(cluster.intent(), &options).expect("it fits");
    let entries = first.switches[IMPLIED_SWITCH].desired.entries.len();
    println!("from scratch: {entries} entries in {:.0} ms", ms(start));

    let start = Instant::now();
    let mut compiler = Compiler::of(cluster.intent(), &options, first);
    println!("taking in what was compiled: {:.0} ms", ms(start));
    let mut held = settled(desired(&compiler));
    let mut costs: Vec<Cost> = Vec::new();
    let mut everything = 0;
    for _ in 0..edits {
        let (before, installed) = (cluster.intent().clone(), settled(desired(&compiler)));
        let kind = cluster.edit();
        let start = Instant::now();
        let touched = Touched::between(&before, cluster.intent());
        let comparing = ms(start);
        let start = Instant::now();
        let way = compiler.update(cluster.intent(), &touched, &options).expect("it fits");
        let compiling = ms(start);
        everything += usize::from(way == Way::Everything);
        let start = Instant::now();
        let steps = plan(Program::outplane(), &installed, desired(&compiler)).expect("a plan");
        let planning = ms(start);
        let all = plan(Program::outplane(), &held, desired(&compiler)).expect("a plan");
        held = all.applied(&held);
        costs.push(Cost {
            kind,
            writes: steps.len(),
            settling: all.len(),
            meaning: meaning(&installed, desired(&compiler)),
            comparing,
            compiling,
            planning,
        });
    }
    let again = compile_after(cluster.intent(), &options, &compiler.numbers()).expect("it fits");
    let same =
        again.switches[IMPLIED_SWITCH].desired == *desired(&compiler) && again.numbers == compiler.numbers();
    assert!(same, "after its own numbers an intent is compiled to the same");
    println!("{everything} of {edits} edits were compiled as a whole");
    let anew = compile(cluster.intent(), &options).expect("it fits");
    let scratch = anew.switches[IMPLIED_SWITCH].desired.entries.len();
    let carried = desired(&compiler).entries.len();
    let part = carried * 1_000 / scratch;
    println!("after {edits} edits: {carried} entries, numbered anew {scratch}: {part} per mille");
    println!("numbers: {} bytes", compiler.numbers().encode().len());
    tell("all", costs.iter().copied());
    for kind in EditKind::ALL {
        tell(&format!("{kind:?}"), costs.iter().copied().filter(|cost| cost.kind == kind));
    }
}

fn tell(name: &str, costs: impl Iterator<Item = Cost>) {
    let costs: Vec<Cost> = costs.collect();
    let Some(last) = costs.len().checked_sub(1) else { return };
    let at = |mut numbers: Vec<f64>, percent: usize| {
        numbers.sort_by(f64::total_cmp);
        numbers[(numbers.len() * percent / 100).min(last)]
    };
    let count = |of: fn(&Cost) -> usize| -> Vec<f64> {
        costs.iter().map(|cost| f64::from(u32::try_from(of(cost)).unwrap_or(u32::MAX))).collect()
    };
    let writes = |percent| at(count(|cost| cost.writes), percent);
    let settling = |percent| at(count(|cost| cost.settling), percent);
    let beyond = costs.iter().filter(|cost| cost.writes > 20 + 4 * cost.meaning).count();
    let times = |of: fn(&Cost) -> f64, percent| at(costs.iter().map(of).collect(), percent);
    println!(
        "{name:19} {:5}: writes p50 {:3} p90 {:3} p99 {:4} worst {:5}, beyond 20 + 4 x meaning {beyond}; \
         settling too p50 {:3} p99 {:4}; compare p50 {:.1} ms p99 {:.1}; compile p50 {:.1} ms p99 {:.1}; \
         plan p50 {:.1} ms p99 {:.1}; both p50 {:.1} ms p99 {:.1}",
        costs.len(),
        writes(50),
        writes(90),
        writes(99),
        writes(100),
        settling(50),
        settling(99),
        times(|cost| cost.comparing, 50),
        times(|cost| cost.comparing, 99),
        times(|cost| cost.compiling, 50),
        times(|cost| cost.compiling, 99),
        times(|cost| cost.planning, 50),
        times(|cost| cost.planning, 99),
        times(|cost| cost.compiling + cost.planning, 50),
        times(|cost| cost.compiling + cost.planning, 99),
    );
}

fn desired(compiler: &Compiler) -> &Desired {
    compiler.desired(IMPLIED_SWITCH).expect("the only switch")
}

/// A switch that holds this, and nothing that is yet to settle.
fn settled(desired: &Desired) -> Installed {
    let Desired { entries, groups, meters } = desired.clone();
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

/// Entries of rules that come, go or match other packets, before or after, whichever are more.
fn meaning(installed: &Installed, desired: &Desired) -> usize {
    let changes = rules::between(Program::outplane(), installed, desired);
    let is_meant = |change: &RuleChanged| {
        matches!(change, RuleChanged::Added | RuleChanged::Removed | RuleChanged::Changed)
    };
    let named: std::collections::BTreeSet<(String, String)> = changes
        .rules
        .into_iter()
        .filter(|change| is_meant(&change.change))
        .filter_map(|change| Some((change.policy, change.rule?)))
        .collect();
    let of = |entries: &Entries| {
        let origins = entries.iter().filter_map(|entry| Origin::decode(&entry.metadata));
        origins.filter(|origin| named.contains(&(origin.policy.clone(), origin.rule.clone()))).count()
    };
    of(&installed.entries).max(of(&desired.entries))
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
