//! A cluster that is edited again and again: numbers that are carried on, and what that saves.

use std::collections::BTreeSet;

use outplane_compiler::compile::{Compiled, Options, compile, compile_after};
use outplane_compiler::entries::Entries;
use outplane_compiler::lookup::Lookup;
use outplane_compiler::numbers::{Numbers, NumbersError};
use outplane_compiler::plan::plan;
use outplane_compiler::program::{Field, Program};
use outplane_compiler::rules::{RuleChange, RuleChanged, between};
use outplane_compiler::state::{Change, Desired, Installed};
use outplane_intent::evaluate::{Evaluator, IMPLIED_SWITCH};
use outplane_intent::model::Intent;
use outplane_intent::testing::{Cluster, EditKind, random_intent, random_packets, universe};
use outplane_p4runtime::entry::Entry;
use proptest::prelude::*;

const OPTIONS: fn() -> Options = || Options { at: universe::now() };

fn after(intent: &Intent, before: &Numbers) -> Compiled {
    compile_after(intent, &OPTIONS(), before).expect("it fits")
}

fn desired(compiled: &Compiled) -> &Desired {
    &compiled.switches[IMPLIED_SWITCH].desired
}

/// Entries of one that the other has not.
fn differing(one: &Desired, other: &Desired) -> usize {
    let known: BTreeSet<_> = other.entries.iter().map(|entry| (&entry.key, &entry.action)).collect();
    one.entries.iter().filter(|entry| !known.contains(&(&entry.key, &entry.action))).count()
}

#[test]
fn an_edit_changes_few_entries_and_their_number_stays() {
    let mut cluster = Cluster::new(40, 400, 120, 7);
    let mut before = after(cluster.intent(), &Numbers::default());
    let (mut carried, mut anew) = (0, 0);
    for edit in 0..300 {
        cluster.edit();
        let next = after(cluster.intent(), &before.numbers);
        carried += differing(desired(&next), desired(&before));
        if edit % 20 == 0 {
            let scratch = compile(cluster.intent(), &OPTIONS()).expect("it fits");
            anew += 20 * differing(desired(&scratch), desired(&before));
            let (few, many) = (desired(&scratch).entries.len(), desired(&next).entries.len());
            assert!(many * 100 <= few * 115 + 25_600, "edit {edit}: {many} entries, {few} if numbered anew");
        }
        before = next;
    }
    assert!(carried * 10 < anew, "{carried} entries are new over all edits, and {anew} without numbers");
}

#[test]
fn whoever_reads_the_numbers_arrives_at_the_same() {
    let mut cluster = Cluster::new(10, 100, 40, 3);
    let mut before = Numbers::default();
    for _ in 0..40 {
        cluster.edit();
        let compiled = after(cluster.intent(), &before);
        let read = Numbers::decode(&compiled.numbers.encode()).expect("its own encoding");
        assert_eq!(read, compiled.numbers);
        assert!(after(cluster.intent(), &read) == compiled, "after its own numbers it is the same");
        before = read;
    }
}

#[test]
fn packets_see_the_intent_all_along() {
    for seed in 0..6 {
        let mut cluster = Cluster::new(4, 24, 14, seed);
        let mut before = Numbers::default();
        for edit in 0..60 {
            cluster.edit();
            let compiled = after(cluster.intent(), &before);
            let evaluator = Evaluator::new(cluster.intent());
            let lookup = Lookup::new(Program::outplane(), &desired(&compiled).entries, None);
            for packet in random_packets(seed * 1000 + edit, cluster.intent(), 150) {
                let meant = evaluator.evaluate(None, universe::now(), &packet);
                let entrance = evaluator.entrance(None, &packet);
                let done = lookup.trace(&packet, &entrance, &compiled.segments);
                assert_eq!(
                    (meant.allow, &meant.rule),
                    (done.allow, &done.rule),
                    "seed {seed} edit {edit}: {packet:?}"
                );
            }
            before = compiled.numbers;
        }
    }
}

/// Whatever of a plan has been written: each packet sees the policy before or the one after, as a whole.
#[test]
fn no_packet_sees_a_mix() {
    let program = Program::outplane();
    let (mut without_flip, mut hidden, mut shadows) = (0, 0, 0);
    for seed in 0..4 {
        let mut cluster = Cluster::new(3, 18, 10, seed);
        let mut before = after(cluster.intent(), &Numbers::default());
        let mut held =
            Installed { version: 1, entries: desired(&before).entries.clone(), ..Installed::default() };
        for edit in 0..40 {
            cluster.edit();
            let next = after(cluster.intent(), &before.numbers);
            let steps = plan(program, &held, desired(&next)).expect("a plan");
            without_flip += usize::from(!steps.flips() && !steps.is_empty());
            let packets = random_packets(seed * 1000 + edit, cluster.intent(), 60);
            let evaluator = Evaluator::new(cluster.intent());
            let verdicts = |entries: &Entries, version| -> Vec<(bool, Option<String>)> {
                let lookup = Lookup::new(program, entries, version);
                let trace = |packet| {
                    let trace = lookup.trace(packet, &evaluator.entrance(None, packet), &next.segments);
                    (trace.allow, trace.rule)
                };
                packets.iter().map(trace).collect()
            };
            let (old, new) =
                (verdicts(&held.entries, Some(held.version)), verdicts(&desired(&next).entries, None));
            for step in &steps.steps {
                for change in &step.changes {
                    hidden +=
                        usize::from(steps.flips() && step.title == "prepare" && is_of_all_versions(change));
                    shadows += usize::from(step.title == "release" && matches!(change, Change::Delete(_)));
                    write(&mut held, change, steps.to_version);
                    let now = verdicts(&held.entries, Some(held.version));
                    for ((now, old), new) in now.iter().zip(&old).zip(&new) {
                        assert!(
                            now == old || now == new,
                            "seed {seed} edit {edit}: {now:?}, not {old:?} or {new:?}"
                        );
                    }
                }
            }
            assert_eq!(verdicts(&held.entries, Some(held.version)), new);
            before = next;
        }
    }
    assert!(
        without_flip > 5 && hidden > 100 && shadows > 20,
        "{without_flip} plans without a flip, {hidden} entries nobody sees yet, {shadows} shadows"
    );
}

fn is_of_all_versions(change: &Change) -> bool {
    let program = Program::outplane();
    let Change::Insert(Entry { key, .. }) = change else { return false };
    let version = program.table_of(key.table).and_then(|table| program.field(table, Field::Version));
    version.is_some_and(|version| key.matches.iter().all(|matched| matched.field != version))
}

/// A day of a cluster: whatever was carried on, the tables mean at each hundredth edit what new numbers would make of it.
#[test]
fn a_day_of_edits() {
    const EDITS: usize = 10_000;
    let program = Program::outplane();
    let mut cluster = Cluster::new(5, 30, 14, 8);
    let mut before = after(cluster.intent(), &Numbers::default());
    let mut held =
        Installed { version: 1, entries: desired(&before).entries.clone(), ..Installed::default() };
    let mut writes = 0;
    for edit in 1..=EDITS {
        cluster.edit();
        let next = after(cluster.intent(), &before.numbers);
        let steps = plan(program, &held, desired(&next)).expect("a plan");
        writes += steps.len();
        for change in steps.steps.iter().flat_map(|step| &step.changes) {
            write(&mut held, change, steps.to_version);
        }
        if edit % 100 == 0 {
            let scratch = compile(cluster.intent(), &OPTIONS()).expect("it fits");
            // A rule all of whose packets another one is named for has entries of its own with some numbers only.
            let differs = |change: &&RuleChange| {
                !matches!(change.change, RuleChanged::Rewritten | RuleChanged::Added | RuleChanged::Removed)
            };
            let changes = between(program, &held, desired(&scratch));
            let differing: Vec<_> = changes.rules.iter().filter(differs).collect();
            assert!(differing.is_empty(), "edit {edit}: {differing:?}");
            let evaluator = Evaluator::new(cluster.intent());
            let (one, other) = (
                Lookup::new(program, &held.entries, Some(held.version)),
                Lookup::new(program, &desired(&scratch).entries, None),
            );
            for packet in random_packets(edit as u64, cluster.intent(), 200) {
                let entrance = evaluator.entrance(None, &packet);
                let meant = evaluator.evaluate(None, universe::now(), &packet);
                for lookup in [&one, &other] {
                    let found = lookup.trace(&packet, &entrance, &next.segments);
                    assert_eq!(
                        (found.allow, &found.rule),
                        (meant.allow, &meant.rule),
                        "edit {edit}: {packet:?}"
                    );
                }
            }
            let (few, many) = (desired(&scratch).entries.len(), desired(&next).entries.len());
            assert!(many * 100 <= few * 115 + 25_600, "edit {edit}: {many} entries, {few} if numbered anew");
        }
        before = next;
    }
    println!("{writes} writes for {EDITS} edits");
    let again = plan(program, &held, desired(&before)).expect("a plan");
    assert!(again.is_empty(), "{again:?}");
}

/// One change as a switch takes it.
fn write(held: &mut Installed, change: &Change, to_version: u8) {
    let (key, entry, is_there) = match change {
        Change::Insert(entry) => (&entry.key, Some(entry), false),
        Change::Modify(entry) => (&entry.key, Some(entry), true),
        Change::Delete(key) => (key, None, true),
        Change::SetDefault(_) => {
            held.version = to_version;
            return;
        }
        other => panic!("a cluster without segments and limits has no {other:?}"),
    };
    assert_eq!(held.entries.get(key).is_some(), is_there);
    held.entries = held.entries.edited(&[(key.clone(), entry.cloned())].into());
}

#[test]
fn a_pod_of_a_known_kind_is_its_addresses_and_its_node() {
    let mut cluster = Cluster::new(20, 200, 60, 1);
    let before = after(cluster.intent(), &Numbers::default());
    cluster.edit_of(EditKind::PodAdded);
    let next = after(cluster.intent(), &before.numbers);
    assert!(differing(desired(&next), desired(&before)) <= 8);
}

/// Without a log the switch says the numbers: the same intent gives what it holds, another one little else.
#[test]
fn a_switch_says_the_numbers_of_its_entries() {
    let mut cluster = Cluster::new(20, 200, 60, 5);
    let mut before = after(cluster.intent(), &Numbers::default());
    for _ in 0..30 {
        cluster.edit();
        before = after(cluster.intent(), &before.numbers);
    }
    let Desired { entries, groups, meters } = desired(&before).clone();
    let held = Installed { version: 2, entries, groups, meters, ..Installed::default() };
    let numbers = Numbers::of_installed(Program::outplane(), IMPLIED_SWITCH, &held);
    assert!(*desired(&after(cluster.intent(), &numbers)) == *desired(&before));
    cluster.edit_of(EditKind::NewPort);
    let next = after(cluster.intent(), &numbers);
    assert!(differing(desired(&next), desired(&before)) <= 4);

    let (mut all, mut others) = (0, 0);
    for seed in 0..200 {
        let intent = random_intent(seed);
        let compiled = after(&intent, &Numbers::default());
        for (switch, state) in &compiled.switches {
            let Desired { entries, groups, meters } = state.desired.clone();
            let held = Installed { version: 1, entries, groups, meters, ..Installed::default() };
            let numbers = Numbers::of_installed(Program::outplane(), switch, &held);
            let again = &after(&intent, &numbers).switches[switch].desired;
            let anew = differing(again, &state.desired);
            // What no entry says, since others match before it, is numbered anew.
            assert!(anew * 8 <= state.desired.entries.len(), "seed {seed}, {switch}: {anew} entries are new");
            (all, others) = (all + state.desired.entries.len(), others + anew);
        }
    }
    assert!(others * 200 <= all, "{others} of {all} entries are new");
}

#[test]
fn bytes_that_are_no_numbers() {
    let numbers = after(Cluster::new(3, 20, 9, 1).intent(), &Numbers::default()).numbers.encode();
    assert_eq!(Numbers::decode(b""), Err(NumbersError::Format));
    assert_eq!(Numbers::decode(b"{}"), Err(NumbersError::Format));
    for cut in 4..numbers.len() {
        assert!(Numbers::decode(&numbers[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(Numbers::decode(&[numbers.as_slice(), b"x"].concat()), Err(NumbersError::Long));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the numbers say: they are refused, or the result is right.
    #[test]
    fn numbers_of_anybody(places in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6), seed in 0u64..4) {
        let mut cluster = Cluster::new(3, 20, 9, seed);
        let mut bytes = after(cluster.intent(), &Numbers::default()).numbers.encode();
        for (place, byte) in places {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(numbers) = Numbers::decode(&bytes) {
            cluster.edit();
            let compiled = after(cluster.intent(), &numbers);
            prop_assert!(after(cluster.intent(), &compiled.numbers) == compiled);
            let evaluator = Evaluator::new(cluster.intent());
            let lookup = Lookup::new(Program::outplane(), &desired(&compiled).entries, None);
            for packet in random_packets(seed, cluster.intent(), 100) {
                let meant = evaluator.evaluate(None, universe::now(), &packet).allow;
                let entrance = evaluator.entrance(None, &packet);
                prop_assert_eq!(meant, lookup.trace(&packet, &entrance, &compiled.segments).allow);
            }
        }
    }
}
