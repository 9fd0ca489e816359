//! What single edits of a large cluster cost: writes to a switch, milliseconds of compiling and planning.
//!
//! `cargo run --release -p outplane-compiler --example edits [EDITS [SEED]]`
//!
//! `writes`: from a switch that has settled in the state before; `settling too`: from what a switch really holds after all
//! edits before it, where entries that are new settle with the next change (see `plan`).

use std::collections::BTreeMap;
use std::time::Instant;

use outplane_compiler::compile::{Compiled, Options, compile, compile_after};
use outplane_compiler::plan::plan;
use outplane_compiler::program::Program;
use outplane_compiler::rules::{self, RuleChanged};
use outplane_compiler::state::{Change, Desired, Installed, Origin, Plan};
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::testing::{Cluster, EditKind, universe};
use outplane_p4runtime::entry::Entry;

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
    println!("from scratch: {} entries in {:.0} ms", desired(&first).entries.len(), ms(start));

    let mut before = first;
    let mut held = settled(desired(&before));
    let mut costs: Vec<Cost> = Vec::new();
    for _ in 0..edits {
        let kind = cluster.edit();
        let start = Instant::now();
        let after = compile_after(cluster.intent(), &options, &before.numbers).expect("it fits");
        let compiling = ms(start);
        let installed = settled(desired(&before));
        let start = Instant::now();
        let steps = plan(Program::outplane(), &installed, desired(&after)).expect("a plan");
        let planning = ms(start);
        let all = plan(Program::outplane(), &held, desired(&after)).expect("a plan");
        write(&mut held, &all);
        costs.push(Cost {
            kind,
            writes: steps.len(),
            settling: all.len(),
            meaning: meaning(&installed, desired(&after)),
            compiling,
            planning,
        });
        before = after;
    }
    let again = compile_after(cluster.intent(), &options, &before.numbers).expect("it fits");
    assert!(again == before, "after its own numbers an intent is compiled to the same");
    let anew = compile(cluster.intent(), &options).expect("it fits");
    let (carried, scratch) = (desired(&before).entries.len(), desired(&anew).entries.len());
    let part = carried * 1_000 / scratch;
    println!("after {edits} edits: {carried} entries, numbered anew {scratch}: {part} per mille");
    println!("numbers: {} bytes", before.numbers.encode().len());
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
         settling too p50 {:3} p99 {:4}; compile p50 {:.1} ms p99 {:.1}; plan p50 {:.1} ms p99 {:.1}",
        costs.len(),
        writes(50),
        writes(90),
        writes(99),
        writes(100),
        settling(50),
        settling(99),
        times(|cost| cost.compiling, 50),
        times(|cost| cost.compiling, 99),
        times(|cost| cost.planning, 50),
        times(|cost| cost.planning, 99),
    );
}

fn desired(compiled: &Compiled) -> &Desired {
    &compiled.switches[IMPLIED_SWITCH].desired
}

/// A switch that holds this, and nothing that is yet to settle.
fn settled(desired: &Desired) -> Installed {
    let Desired { entries, groups, meters } = desired.clone();
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

/// What a switch holds when a plan has been written.
fn write(held: &mut Installed, plan: &Plan) {
    let entries = std::mem::take(&mut held.entries);
    let mut entries: BTreeMap<_, Entry> =
        entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    for change in plan.steps.iter().flat_map(|step| &step.changes) {
        match change {
            Change::Insert(entry) | Change::Modify(entry) => {
                entries.insert(entry.key.clone(), entry.clone());
            }
            Change::Delete(key) => _ = entries.remove(key),
            // The cluster has neither segments nor limits.
            _ => {}
        }
    }
    held.entries = entries.into_values().collect();
    held.version = plan.to_version;
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
    let of = |entries: &[Entry]| {
        let origins = entries.iter().filter_map(|entry| Origin::decode(&entry.metadata));
        origins.filter(|origin| named.contains(&(origin.policy.clone(), origin.rule.clone()))).count()
    };
    of(&installed.entries).max(of(&desired.entries))
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
