use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::*;
use crate::state::forwarding::new_direct;

/// A small field, so that random entries and keys meet.
const BITS: u32 = 4;
const FIELDS: usize = 4;
/// The last field is a range.
const RANGE_FIELD: usize = FIELDS - 1;

fn entry(handle: u64, matches: Matches, priority: i32) -> Entry {
    Entry {
        handle,
        matches,
        priority,
        action: EntryAction::Call(ActionCall { id: 1, params: [u128::from(handle)].into() }),
        metadata: Box::default(),
        controller_metadata: 0,
        idle_timeout_ns: 0,
        direct: Arc::new(new_direct(false, false)),
    }
}

fn matches(masks: [u128; FIELDS - 1], bits: [u128; FIELDS - 1], range: Option<(u128, u128)>) -> Matches {
    let mut all_masks = masks.to_vec();
    all_masks.push(0);
    let values: Vec<u128> =
        masks.iter().zip(bits).filter(|(mask, _)| **mask != 0).map(|(mask, bits)| mask & bits).collect();
    Matches {
        shape: Arc::new(Shape {
            masks: all_masks.into(),
            ranges: range.map(|_| u16::try_from(RANGE_FIELD).unwrap()).into_iter().collect(),
        }),
        values: values.into(),
        ranges: range.map(|(low, high)| Range { low, high }).into_iter().collect(),
    }
}

fn table(by_priority: bool) -> Table {
    Table::new(by_priority, Arc::new(entry(0, matches([0; 3], [0; 3], None), 0)))
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(5), ..Config::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Matches, i32),
    Remove(usize),
}

fn any_matches() -> impl Strategy<Value = Matches> {
    let mask = prop_oneof![3 => Just(0), 3 => Just(15), 2 => 1_u128..15];
    let range =
        prop_oneof![Just(None), (0_u128..16, 0_u128..16).prop_map(|(a, b)| Some((a.min(b), a.max(b))))];
    ([mask.clone(), mask.clone(), mask], [0_u128..16, 0_u128..16, 0_u128..16], range)
        .prop_map(|(masks, bits, range)| matches(masks, bits, range))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (any_matches(), 1..6).prop_map(|(matches, priority)| Step::Put(matches, priority)),
        1 => any::<prop::sample::Index>().prop_map(|index| Step::Remove(index.index(1000))),
    ];
    prop::collection::vec(step, 0..80)
}

/// The entries as a list: what the table should hold.
fn run(table: &mut Table, steps: Vec<Step>) -> Vec<(Matches, i32, u64)> {
    let mut list: Vec<(Matches, i32, u64)> = Vec::new();
    for (handle, step) in (1..).zip(steps) {
        match step {
            Step::Put(matches, priority) => {
                let known = list
                    .iter_mut()
                    .find(|(its, its_priority, _)| *its == matches && *its_priority == priority);
                let replaced = table.put(entry(handle, matches.clone(), priority));
                assert_eq!(replaced.map(|entry| entry.handle), known.as_ref().map(|(_, _, handle)| *handle));
                match known {
                    Some((_, _, known)) => *known = handle,
                    None => list.push((matches, priority, handle)),
                }
            }
            Step::Remove(index) if !list.is_empty() => {
                let (matches, priority, handle) = list.remove(index % list.len());
                assert_eq!(table.get(&matches, priority).map(|entry| entry.handle), Some(handle));
                assert_eq!(table.remove(&matches, priority).map(|entry| entry.handle), Some(handle));
                assert!(table.get(&matches, priority).is_none());
                assert!(table.remove(&matches, priority).is_none());
            }
            Step::Remove(_) => {}
        }
        assert_eq!(table.len(), list.len());
    }
    list
}

proptest! {
    #![proptest_config(config(500))]

    /// The tuple-space search finds what a scan of all entries finds. Where several have the highest priority, one
    /// of them.
    #[test]
    fn finds_what_a_scan_finds(steps in steps(), keys in prop::collection::vec(prop::array::uniform4(0_u128..16), 1..20)) {
        let mut table = table(true);
        let list = run(&mut table, steps);
        let mut handles: Vec<u64> = table.entries().map(|entry| entry.handle).collect();
        let mut expected: Vec<u64> = list.iter().map(|(_, _, handle)| *handle).collect();
        handles.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(handles, expected);
        for key in keys {
            let matching = list.iter().filter(|(matches, _, _)| matches.contains(&key));
            let best = matching.clone().map(|(_, priority, _)| *priority).max();
            let candidates: Vec<u64> =
                matching.filter(|(_, priority, _)| Some(*priority) == best).map(|(_, _, handle)| *handle).collect();
            match table.lookup(&key) {
                Lookup::Hit(entry) => prop_assert!(candidates.contains(&entry.handle), "{:?}", candidates),
                Lookup::Miss(entry) => {
                    prop_assert!(candidates.is_empty());
                    prop_assert_eq!(entry.handle, 0);
                }
            }
        }
    }

    /// Without priorities, the longest prefix wins.
    #[test]
    fn longest_prefix_wins(prefixes in prop::collection::btree_set((0..=BITS, 0_u128..16), 0..20), keys in prop::collection::vec(0_u128..16, 1..20)) {
        let mut table = table(false);
        let prefix = |length: u32, bits: u128| {
            let mask = (0xf0_u128 >> length) & 0xf;
            matches([mask, 0, 0], [bits & mask, 0, 0], None)
        };
        for (handle, (length, bits)) in (1..).zip(&prefixes) {
            table.put(entry(handle, prefix(*length, *bits), 0));
        }
        for key in keys {
            let longest = prefixes.iter().filter(|(length, bits)| prefix(*length, *bits).contains(&[key, 0, 0, 0]));
            let longest = longest.map(|(length, _)| *length).max();
            let found = table.lookup(&[key, 0, 0, 0]);
            prop_assert_eq!(found.is_hit().then(|| found.entry().matches.shape.masks[0].count_ones()), longest);
        }
    }
}

proptest! {
    #![proptest_config(config(500))]

    /// Ranges within and beyond 32 bits, at the same and other priorities, overlapping or not.
    #[test]
    fn ranges_are_found(
        ranges in prop::collection::vec((0_u128..300, 0_u128..60, 1..4, prop::bool::weighted(0.02)), 1..60),
        keys in prop::collection::vec(0_u128..400, 1..30),
    ) {
        let mut table = table(true);
        let steps = ranges.into_iter().map(|(low, length, priority, wide)| {
            let high = if wide { 1 << 40 } else { low + length };
            Step::Put(matches([15, 0, 0], [3, 0, 0], Some((low, high))), priority)
        });
        let list = run(&mut table, steps.collect());
        for value in keys {
            let key = [3, 0, 0, value];
            let matching = list.iter().filter(|(matches, _, _)| matches.contains(&key));
            let best = matching.map(|(_, priority, _)| *priority).max();
            let found = table.lookup(&key);
            prop_assert_eq!(found.is_hit().then(|| found.entry().priority), best);
        }
    }
}

#[test]
fn a_short_key_matches_nothing() {
    let mut table = table(true);
    table.put(entry(1, matches([15, 0, 0], [3, 0, 0], None), 1));
    table.put(entry(2, matches([0, 0, 0], [0, 0, 0], None), 1));
    assert!(table.lookup(&[3, 0, 0, 0]).is_hit());
    assert!(!table.lookup(&[3]).is_hit());
    assert!(!table.lookup(&[]).is_hit());
}

#[test]
fn many_fields_need_no_fixed_room() {
    let fields = INLINE_FIELDS * 3;
    let shape = Arc::new(Shape { masks: vec![0xff; fields].into(), ranges: Box::default() });
    let key: Vec<u128> = (0..fields as u128).collect();
    let mut table = table(true);
    table.put(entry(1, Matches { shape, values: key.clone().into(), ranges: Box::default() }, 1));
    assert!(table.lookup(&key).is_hit());
    assert!(!table.lookup(&vec![7; fields]).is_hit());
}

#[test]
fn entries_of_one_shape_share_it() {
    let mut table = table(true);
    for handle in 1..=10 {
        table.put(entry(handle, matches([15, 0, 0], [u128::from(handle), 0, 0], None), 1));
    }
    let shapes: Vec<_> = table.entries().map(|entry| Arc::as_ptr(&entry.matches.shape)).collect();
    assert!(shapes.windows(2).all(|pair| pair[0] == pair[1]));
}
