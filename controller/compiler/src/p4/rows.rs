//! Rows as entries: a row is an entry for each combination of its sets' cubes and its segments.

use std::collections::BTreeMap;

use outplane_p4runtime::entry::{Entry, Key, Match};

use super::spaces::Spaces;
use super::terms::{action, matching, table, whole};
use crate::capacity::{self, Overflow};
use crate::classes::Cube;
use crate::origin::Origin;
use crate::program::{Field, Program, Table};
use crate::rows::content::Content;
use crate::rows::row::{Row, Rows};
use crate::rows::terms::{Condition, Stage};

/// More entries than this many times a table's size are not even made.
pub(crate) const HOPELESS: u64 = 2;

/// Of which tables the rows come to so many more entries than there is room for that it is not worth making them.
pub(crate) fn hopeless(rows: &Rows, program: &Program, spaces: &Spaces) -> Vec<Overflow> {
    let is_hopeless = |table: Table, entries: u64| entries > program.size(table).saturating_mul(HOPELESS);
    let mut counts: BTreeMap<Table, u64> = BTreeMap::new();
    for row in &rows.all {
        let entries = counts.entry(table(row.stage)).or_default();
        *entries = entries.saturating_add(count(row, spaces));
    }
    if !counts.iter().any(|(table, entries)| is_hopeless(*table, *entries)) {
        return Vec::new();
    }
    let mut users: BTreeMap<Table, BTreeMap<String, u64>> = BTreeMap::new();
    for row in &rows.all {
        let policies = users.entry(table(row.stage)).or_default();
        let entries = policies.entry(rows.origins[row.origin].policy.clone()).or_default();
        *entries = entries.saturating_add(count(row, spaces));
    }
    let usage = users.into_iter().map(|(table, users)| capacity::table_usage(program, table, users));
    usage.filter_map(|usage| usage.overflow("")).collect()
}

/// The entries, sorted by key. Of entries that match the same packets only the first in rank stays.
pub(crate) fn expand(rows: &Rows, program: &Program, spaces: &Spaces) -> Vec<Entry> {
    let metadata: Vec<Vec<u8>> = rows.origins.iter().map(Origin::encode).collect();
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    for row in &rows.all {
        let action = action(program, row.stage, row.effect);
        let place = Place { stage: row.stage, priority: row.priority };
        keys(program, place, &row.segments, &row.conditions, cubes(row, spaces), &mut |key| {
            let (action, metadata) = (action.clone(), metadata[row.origin].clone());
            entries.push((row.origin, Entry { key, action, metadata }));
        });
    }
    entries.sort_unstable_by(|(left_order, left), (right_order, right)| {
        (left.key.table, &left.key.matches)
            .cmp(&(right.key.table, &right.key.matches))
            .then(right.key.priority.cmp(&left.key.priority))
            .then(left_order.cmp(right_order))
    });
    entries.dedup_by(|(_, later), (_, first)| {
        later.key.table == first.key.table && later.key.matches == first.key.matches
    });
    // Without twins their order is that of their keys.
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Every key that a row by itself comes to. `cubes`: of the set at a place.
pub(crate) fn keys_of<'c>(
    content: &Content,
    program: &Program,
    cubes: impl Fn(usize) -> Option<&'c [Cube]>,
    mut found: impl FnMut(Key),
) {
    let cubes = [
        (Field::SrcClass, cubes(0)),
        (Field::DstClass, cubes(1)),
        (Field::SportClass, cubes(2)),
        (Field::DportClass, cubes(3)),
    ];
    let place = Place { stage: content.stage, priority: content.priority };
    keys(program, place, &content.segments, &content.conditions, cubes, &mut found);
}

fn cubes<'s>(row: &Row, spaces: &'s Spaces) -> [(Field, Option<&'s [Cube]>); 4] {
    let addresses = spaces.addresses(row.stage);
    [
        (Field::SrcClass, row.src.map(|set| addresses.cubes(set))),
        (Field::DstClass, row.dst.map(|set| addresses.cubes(set))),
        (Field::SportClass, row.sport.map(|set| spaces.sport.classes.cubes(set))),
        (Field::DportClass, row.dport.map(|set| spaces.dport.classes.cubes(set))),
    ]
}

/// How many entries a row comes to.
fn count(row: &Row, spaces: &Spaces) -> u64 {
    cubes(row, spaces)
        .iter()
        .map(|(_, cubes)| cubes.map_or(1, |cubes| cubes.len() as u64))
        .fold(row.segments.len().max(1) as u64, u64::saturating_mul)
}

/// Where entries stand.
#[derive(Clone, Copy)]
struct Place {
    stage: Stage,
    priority: i32,
}

/// Every key that a row comes to: one for each choice of one cube for each set, and of a segment.
fn keys(
    program: &Program,
    Place { stage, priority }: Place,
    segments: &[u16],
    conditions: &[Condition],
    cubes: [(Field, Option<&[Cube]>); 4],
    found: &mut impl FnMut(Key),
) {
    let table = table(stage);
    let mut choices: Vec<Vec<(Field, Match)>> = Vec::new();
    for (field, cubes) in cubes {
        if let Some(cubes) = cubes {
            let ternary =
                |cube: &Cube| (field, Match::Ternary { value: cube.value.into(), mask: cube.mask.into() });
            choices.push(cubes.iter().map(ternary).collect());
        }
    }
    if !segments.is_empty() {
        choices.push(segments.iter().map(|id| whole(table, Field::Segment, (*id).into())).collect());
    }
    let mut chosen: Vec<(Field, Match)> =
        conditions.iter().map(|condition| matching(table, *condition)).collect();
    product(&choices, &mut chosen, &mut |matches| {
        found(program.key(table, priority, matches.iter().copied()));
    });
}

/// Every choice of one from each list, after what is chosen already.
fn product<T: Copy>(choices: &[Vec<T>], chosen: &mut Vec<T>, found: &mut impl FnMut(&[T])) {
    let Some((first, rest)) = choices.split_first() else {
        found(chosen);
        return;
    };
    for choice in first {
        chosen.push(*choice);
        product(rest, chosen, found);
        chosen.pop();
    }
}
