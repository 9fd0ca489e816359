//! Random states, random interruptions, random order within a step.

use std::collections::BTreeSet;

use outplane_p4runtime::entry::Match;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::model::{self, Shown, Switch, program, shows};
use crate::plan::{WRITES_PER_DIFFERENCE, capacity, for_version, plan, undo};
use crate::state::{Change, Desired, Plan};

/// A desired state of a few keys, so that neighbours in a sequence share many.
fn any_desired() -> impl Strategy<Value = Desired> {
    let segments = btree_map(0u128..6, (0u128..3, 0usize..2), 0..6);
    let classes = btree_map(0u128..4, 0u128..2, 0..4);
    let floods = btree_map(0u128..3, 1u32..4, 0..3);
    let group_ports = vec(vec(1u32..4, 0..3), 4);
    let meters = btree_map(0i64..3, 1i64..3, 0..3);
    (segments, classes, floods, group_ports, meters).prop_map(|(segments, classes, floods, ports, meters)| {
        let entries = segments
            .into_iter()
            .map(|(port, (segment, origin))| model::segment(port, segment, ["a", "b"][origin]))
            .chain(classes.into_iter().map(|(address, class)| model::class(address, class)))
            .chain(floods.iter().map(|(&segment, &group)| model::flood(segment, group.into())))
            .collect();
        let mut used: Vec<u32> = floods.into_values().collect();
        used.sort_unstable();
        used.dedup();
        Desired {
            entries,
            groups: used.into_iter().map(|id| model::group(id, &ports[id as usize])).collect(),
            meters: meters.into_iter().map(|(index, rate)| model::meter(index, rate)).collect(),
        }
    })
}

/// A switch that somebody has had his hands on: entries of all versions, of one, of part of the bits, of a version that
/// never was; but never two that disagree for one packet.
fn any_switch() -> impl Strategy<Value = Switch> {
    let cell = (0u128..3, 0u128..3, any::<bool>(), prop::bits::u8::between(0, 5));
    (0u8..4, btree_map(0u128..6, cell, 0..6)).prop_map(|(version, cells)| {
        let mut entries = Vec::new();
        for (port, (segment, next, odd, which)) in cells {
            let base = model::segment(port, segment, "a");
            let other = model::segment(port, next, "b");
            if which & 1 != 0 {
                entries.push(for_version(program(), &base, None));
            }
            if which & 2 != 0 {
                entries.push(for_version(program(), &base, Some(version)));
            }
            if which & 4 != 0 {
                entries.push(for_version(program(), &other, Some(if version == 1 { 2 } else { 1 })));
            }
            if which & 8 != 0 && odd {
                entries.push(for_version(program(), &other, Some(77)));
            }
            if which & 16 != 0 {
                // Upper bits alone: seen by both versions; lower bits: by one.
                let mask = if odd { 0xf0 } else { 0x03 };
                let mut partial = for_version(program(), &base, Some(version));
                let field = program().version_field(base.key.table).expect("a versioned table");
                for matched in partial.key.matches.iter_mut().filter(|matched| matched.field == field) {
                    matched.matches = Match::Ternary { value: u128::from(version) & mask, mask };
                }
                entries.push(partial);
            }
        }
        Switch::with(version, entries)
    })
}

/// Shuffles like cards, from a seed.
fn shuffled<T>(items: &[T], seed: u64) -> Vec<&T> {
    let mut items: Vec<&T> = items.iter().collect();
    let mut state = seed | 1;
    for at in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).expect("31 bits") % (at + 1);
        items.swap(at, other);
    }
    items
}

/// Runs at most `writes` changes, in random order within each step, and looks at the switch after every one.
fn run(switch: &mut Switch, plan: &Plan, wanted: &Desired, writes: usize, seed: u64) {
    let before = switch.shown();
    let after = shows(wanted);
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).count();
    let check = |shown: &Shown, flipped: bool| {
        if plan.flips() {
            assert_eq!(shown, if flipped { &after } else { &before }, "a mix of old and new");
        } else {
            assert!(*shown == before || *shown == after, "a mix of old and new");
        }
    };
    // Of these tables' keys some packet may see any two.
    assert!(plan.flips() || differing <= 1);
    let mut done = 0;
    let mut flipped = false;
    for (at, step) in plan.steps.iter().enumerate() {
        for change in shuffled(&step.changes, seed.wrapping_add(at as u64)) {
            if done == writes {
                return;
            }
            done += 1;
            switch.apply(change);
            flipped |= matches!(change, Change::SetDefault(_));
            check(&switch.shown(), flipped);
            if flipped {
                assert_eq!(switch.version, plan.to_version);
                for cell in &wanted.meters {
                    assert_eq!(switch.meters.get(&(cell.meter, cell.index)), Some(cell));
                }
            }
        }
    }
    assert_eq!(flipped, plan.flips());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_moment_shows_a_mix(
        start in any_switch(),
        updates in vec((any_desired(), any::<prop::sample::Index>(), any::<bool>(), any::<u64>()), 1..8),
    ) {
        let mut switch = start;
        let mut last = None;
        for (wanted, stop, interrupted, seed) in updates {
            let installed = switch.read();
            let plan = plan(program(), &installed, &wanted).expect("a plan");
            let peaks = capacity::fills(&installed, &plan);
            let writes = if interrupted { stop.index(plan.len() + 1) } else { plan.len() };
            switch.peaks.clear();
            run(&mut switch, &plan, &wanted, writes, seed);
            for (table, &peak) in &switch.peaks {
                prop_assert!(peak <= peaks[table].peak, "held {} at once, {:?} said", peak, peaks[table]);
            }
            last = Some(wanted);
        }
        // Whatever was left, one more plan ends at the desired state, and then there is nothing to do.
        let wanted = last.expect("at least one update");
        let repair = plan(program(), &switch.read(), &wanted).expect("a plan");
        run(&mut switch, &repair, &wanted, usize::MAX, 7);
        prop_assert_eq!(switch.holds(), wanted.clone());
        prop_assert_eq!(switch.shown(), shows(&wanted));
        let again = plan(program(), &switch.read(), &wanted).expect("a plan");
        prop_assert!(again.is_empty(), "{again:?}");
        prop_assert!(!again.flips());
    }

    #[test]
    fn what_was_written_before_the_flip_can_be_taken_back(
        start in any_switch(),
        first in any_desired(),
        wanted in any_desired(),
        (stop, stop_undo, seed) in any::<(prop::sample::Index, prop::sample::Index, u64)>(),
        fresh in any::<bool>(),
    ) {
        let mut switch = start;
        if !fresh {
            switch.run(&plan(program(), &switch.read(), &first).expect("a plan"));
        }
        let before = switch.read();
        let (shown, held) = (switch.shown(), switch.holds());
        let plan = plan(program(), &before, &wanted).expect("a plan");
        run(&mut switch, &plan, &wanted, stop.index(plan.len() + 1), seed);
        if plan.flips() && switch.version == plan.to_version {
            prop_assert!(undo(program(), &before, &switch.read()).expect("a plan").is_empty());
        } else {
            // The way back may be cut short as well.
            for stop in [stop_undo.index(100), usize::MAX] {
                let back = undo(program(), &before, &switch.read()).expect("a plan");
                for change in back.steps.iter().flat_map(|s| shuffled(&s.changes, seed)).take(stop) {
                    switch.apply(change);
                    prop_assert!(!plan.flips() || switch.shown() == shown);
                }
            }
            prop_assert_eq!(switch.shown(), shown);
            if !fresh {
                prop_assert_eq!(switch.holds(), held);
            } else if before.version == 0 {
                prop_assert!(switch.entries.keys().all(|key| before.entries.iter().any(|old| old.key == *key)));
            }
        }
    }

    #[test]
    fn a_sequence_costs_its_differences(updates in vec(any_desired(), 1..30)) {
        let mut switch = Switch::default();
        let mut previous = Desired::default();
        let mut writes = 0;
        let mut bound = 0;
        for wanted in updates {
            let plan = plan(program(), &switch.read(), &wanted).expect("a plan");
            switch.run(&plan);
            writes += plan.len();
            // Adding, removing or changing an entry is one difference, and so is a group or a meter cell.
            let differences = differences(&previous, &wanted);
            bound += differences * WRITES_PER_DIFFERENCE + usize::from(plan.flips());
            prop_assert!(writes <= bound, "{writes} writes for {bound}");
            prop_assert!(differences > 0 || plan.is_empty() || previous == Desired::default());
            previous = wanted;
        }
    }

    #[test]
    fn small_changes_of_a_large_policy_are_cheap(changes in vec((0u128..40, 0u128..3, any::<bool>()), 1..40)) {
        let mut policy: std::collections::BTreeMap<u128, u128> = (0..40).map(|port| (port, 0)).collect();
        let mut switch = Switch::default();
        let mut previous = Desired::default();
        let mut bound = 0;
        let mut writes = 0;
        for (port, segment, keep) in changes {
            if keep { policy.insert(port, segment) } else { policy.remove(&port) };
            let wanted =
                model::desired(policy.iter().map(|(&port, &to)| model::segment(port, to, "a")).collect());
            let plan = plan(program(), &switch.read(), &wanted).expect("a plan");
            switch.run(&plan);
            writes += plan.len();
            bound += differences(&previous, &wanted) * if bound == 0 { 1 } else { WRITES_PER_DIFFERENCE };
            bound += usize::from(plan.flips());
            prop_assert!(writes <= bound, "{writes} writes for {bound}");
            previous = wanted;
        }
    }

    #[test]
    fn the_same_states_give_the_same_plan(switch in any_switch(), wanted in any_desired()) {
        let installed = switch.read();
        prop_assert_eq!(plan(program(), &installed, &wanted), plan(program(), &installed.clone(), &wanted));
    }
}

fn differences(old: &Desired, new: &Desired) -> usize {
    fn count<K: Ord, V: PartialEq>(old: Vec<(K, V)>, new: Vec<(K, V)>) -> usize {
        let mut left: std::collections::BTreeMap<K, V> = old.into_iter().collect();
        let changed = new.into_iter().filter(|(key, value)| left.remove(key).as_ref() != Some(value)).count();
        changed + left.len()
    }
    let entries = |state: &Desired| state.entries.iter().map(|e| (e.key.clone(), e.clone())).collect();
    let groups = |state: &Desired| state.groups.iter().map(|g| (g.id, g.clone())).collect();
    let meters = |state: &Desired| state.meters.iter().map(|m| ((m.meter, m.index), *m)).collect();
    count(entries(old), entries(new)) + count(groups(old), groups(new)) + count(meters(old), meters(new))
}
