use std::collections::BTreeMap;

use super::*;

/// Seeds that a test tries if nobody says otherwise.
const SEEDS: u64 = 2000;
/// Seeds in which each mutant has to be found.
const MUTANT_SEEDS: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What a seed's violations look like, with how to see it again.
fn told(report: &Report) -> String {
    let violations: Vec<_> = report.violations.iter().map(ToString::to_string).collect();
    format!(
        "seed {} breaks invariants, replay with OUTPLANE_SEED={}:\n  {}",
        report.seed,
        report.seed,
        violations.join("\n  ")
    )
}

#[test]
fn invariants_hold_for_every_seed() {
    if let Some(seed) = number("OUTPLANE_SEED") {
        let (report, lines) = trace(seed, None);
        println!("{}", lines.join("\n"));
        assert!(report.violations.is_empty(), "{}", told(&report));
        return;
    }
    let (mut outcomes, mut events, mut requests, mut marks) = ([0; 3], 0, 0, 0);
    let mut counters: BTreeMap<&str, u64> = BTreeMap::new();
    let seeds = number("OUTPLANE_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let report = run(seed, None);
        assert!(report.violations.is_empty(), "{}", told(&report));
        for (sum, count) in outcomes.iter_mut().zip(report.outcomes) {
            *sum += count;
        }
        for (name, count) in report.counters {
            *counters.entry(name).or_default() += count;
        }
        events += report.events;
        requests += report.requests;
        marks += report.marks;
    }
    let [done, superseded, failed] = outcomes;
    println!(
        "{seeds} seeds: {done} done, {superseded} superseded, {failed} failed; {events} events, {requests} requests, {marks} marks"
    );
    println!("{counters:#?}");
    if seeds >= SEEDS {
        // The scenarios reach what they are there for. Nothing in them is foreign, or as much as these bounds.
        let never = ["foreign", "notices_dropped", "memory_full", "deletes_full", "switches_forgotten"];
        let unseen: Vec<_> =
            counters.iter().filter(|(name, count)| **count == 0 && !never.contains(name)).collect();
        assert!(unseen.is_empty() && marks > 0, "never happened in {seeds} seeds: {unseen:?}");
    }
}

#[test]
fn a_seed_gives_one_history() {
    for seed in 0..50 {
        let (first, second) = (trace(seed, None), trace(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
    let different: std::collections::BTreeSet<_> = (0..50).map(|seed| run(seed, None).hash).collect();
    assert_eq!(different.len(), 50);
}

#[test]
fn every_mutant_is_found() {
    let mut found = BTreeMap::new();
    for mutant in Mutant::ALL {
        let broken =
            (0..MUTANT_SEEDS).map(|seed| run(seed, Some(mutant))).find(|run| !run.violations.is_empty());
        let Some(report) = broken else {
            println!("{mutant:?} was not found in {MUTANT_SEEDS} seeds");
            continue;
        };
        println!("{mutant:?}: seed {}: {}", report.seed, report.violations[0]);
        found.insert(mutant, report.violations[0].invariant);
    }
    let missed: Vec<_> = Mutant::ALL.into_iter().filter(|mutant| !found.contains_key(mutant)).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
