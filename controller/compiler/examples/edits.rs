//! What single edits of a large cluster cost: writes to a switch, milliseconds of compiling and planning.
//!
//! `cargo run --release -p outplane-compiler --example edits [EDITS [SEED]]`

use std::collections::BTreeMap;
use std::time::Instant;

use outplane_compiler::compile::{Compiled, Options, compile, compile_after};
use outplane_compiler::numbers::Numbers;
use outplane_compiler::plan::plan;
use outplane_compiler::program::Program;
use outplane_compiler::state::{Desired, Installed, Origin};
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::testing::{Cluster, EditKind, universe};

const NAMESPACES: u32 = 1_000;
const PODS: u32 = 10_000;
const POLICIES: u32 = 3_000;

fn main() {
    let number = |nth| std::env::args().nth(nth).and_then(|text| text.parse().ok());
    let (edits, seed) = (number(1).unwrap_or(1_000), number(2).unwrap_or(1));
    let options = Options { at: universe::now() };
    let mut cluster = Cluster::new(NAMESPACES, PODS, POLICIES, seed);
    let start = Instant::now();
    let first = compile(cluster.intent(), &options).expect("it fits");
    println!("from scratch: {} entries in {:.0} ms", desired(&first).entries.len(), ms(start));
    let mut tables: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &desired(&first).entries {
        *tables.entry(Program::outplane().table_of(entry.key.table).expect("ours").name()).or_default() += 1;
    }
    println!("{tables:?}");
    let kinds = |desired: &Desired| {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &desired.entries {
            let table = Program::outplane().table_of(entry.key.table).expect("ours").name();
            let rule = Origin::decode(&entry.metadata).expect("ours").rule;
            *kinds.entry(format!("{table} {}", rule.split('[').next().unwrap_or_default())).or_default() += 1;
        }
        kinds
    };
    println!("numbers: {} bytes", first.numbers.encode().len());

    let mut before = first;
    let mut costs: Vec<(usize, EditKind, f64, usize)> = Vec::new();
    for _ in 0..edits {
        let kind = cluster.edit();
        let start = Instant::now();
        let after = compile_after(cluster.intent(), &options, &before.numbers).expect("it fits");
        let steps = plan(Program::outplane(), &installed(desired(&before)), desired(&after)).expect("a plan");
        let took = ms(start);
        if std::env::var("SHOW").is_ok_and(|wanted| format!("{kind:?}").contains(&wanted)) {
            show(kind, desired(&before), desired(&after));
        }
        costs.push((steps.len(), kind, took, changed(desired(&before), desired(&after))));
        before = after;
    }
    let numbers = Numbers::decode(&before.numbers.encode()).expect("its own encoding");
    assert_eq!(numbers, before.numbers);
    let again = compile_after(cluster.intent(), &options, &numbers).expect("it fits");
    assert!(again == before, "after its own numbers an intent is compiled to the same");
    let anew = compile(cluster.intent(), &options).expect("it fits");
    let (carried, scratch) = (desired(&before).entries.len(), desired(&anew).entries.len());
    println!("after {edits} edits: {carried} entries, numbered anew {scratch}: {:.3}", carried as f64 / scratch as f64);
    println!("carried {:?}", kinds(desired(&before)));
    println!("anew    {:?}", kinds(desired(&anew)));
    println!("usage {:?}", before.switches[IMPLIED_SWITCH].usage.iter().filter(|usage| format!("{:?}", usage.resource).contains("Class")).map(|usage| (format!("{:?}", usage.resource), usage.used)).collect::<Vec<_>>());
    println!("anew  {:?}", anew.switches[IMPLIED_SWITCH].usage.iter().filter(|usage| format!("{:?}", usage.resource).contains("Class")).map(|usage| (format!("{:?}", usage.resource), usage.used)).collect::<Vec<_>>());
    tell("all", costs.iter().copied());
    for kind in EditKind::ALL {
        tell(&format!("{kind:?}"), costs.iter().copied().filter(|cost| cost.1 == kind));
    }
}

fn tell(name: &str, costs: impl Iterator<Item = (usize, EditKind, f64, usize)>) {
    let (mut writes, mut took, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for (each, _, ms, differing) in costs {
        writes.push(each);
        took.push(ms);
        changed.push(differing);
    }
    if writes.is_empty() {
        return;
    }
    writes.sort_unstable();
    changed.sort_unstable();
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| (writes.len() * percent / 100).min(writes.len() - 1);
    println!(
        "{name:20} {:4} edits: writes p50 {} p90 {} p99 {} worst {}; entries p50 {} p99 {}; compile and plan p50 {:.1} ms p99 {:.1} ms",
        writes.len(),
        writes[at(50)],
        writes[at(90)],
        writes[at(99)],
        writes[writes.len() - 1],
        changed[at(50)],
        changed[at(99)],
        took[at(50)],
        took[at(99)],
    );
}

fn desired(compiled: &Compiled) -> &Desired {
    &compiled.switches[IMPLIED_SWITCH].desired
}

/// A switch that has settled in this state.
fn installed(desired: &Desired) -> Installed {
    let Desired { entries, groups, meters } = desired.clone();
    Installed { version: 1, entries, groups, meters, ..Installed::default() }
}

/// Entries that are in one state only, whoever asked for them.
fn changed(before: &Desired, after: &Desired) -> usize {
    let of = |desired: &Desired| -> BTreeMap<_, _> {
        desired.entries.iter().map(|entry| (entry.key.clone(), entry.action.clone())).collect()
    };
    let (before, after) = (of(before), of(after));
    let only = |one: &BTreeMap<_, _>, other: &BTreeMap<_, _>| {
        one.iter().filter(|(key, action)| other.get(*key) != Some(*action)).count()
    };
    let _ = Origin::COMMON;
    only(&before, &after) + only(&after, &before)
}

fn show(kind: EditKind, before: &Desired, after: &Desired) {
    println!("--- {kind:?}");
    let schema = Program::outplane().schema();
    let of = |desired: &Desired| -> BTreeMap<_, _> {
        desired.entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect()
    };
    let (before, after) = (of(before), of(after));
    for (sign, one, other) in [("-", &before, &after), ("+", &after, &before)] {
        for (key, entry) in one {
            if other.get(key).map(|entry| &entry.action) != Some(&entry.action) {
                let origin = Origin::decode(&entry.metadata).map(|origin| format!("{}/{}", origin.policy, origin.rule));
                println!("{sign} {} {}", schema.describe(entry), origin.unwrap_or_default());
            }
        }
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
