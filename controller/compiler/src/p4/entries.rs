//! Table entries in the order of their keys, in runs that states share.
//!
//! ```text
//!   one state    [ .. ][ .. ][ .. ][ .. ]
//!   another      [ .. ][ .. ]  |   [ .. ]     two entries differ: all runs but one are the same memory
//!                          [ .. ]
//! ```
//! Where a run begins depends on the keys alone: where a table begins, and at keys whose hash says so, one of
//! [`MEAN`] on average. So equal lists have equal runs, however they came about, and whoever compares two lists looks
//! only at the runs that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use outplane_p4runtime::entry::{Entry, Key, Match};

/// How many entries a run has on average.
const MEAN: u64 = 32;

/// Entries by key. Clones share them.
#[derive(Clone, Default)]
pub struct Entries {
    runs: Vec<Arc<Run>>,
    len: usize,
}

/// Some entries of one table that follow each other, and what is known of them once it has been asked for.
#[derive(Debug)]
pub(crate) struct Run {
    entries: Vec<Entry>,
    /// The place of a key that is there twice.
    twice: Option<usize>,
    digest: OnceLock<[u8; 32]>,
    params: OnceLock<Vec<(u32, u32, u16)>>,
}

/// Two lists under one key: what each has there.
pub(crate) type Difference<'e> = (Option<&'e Entry>, Option<&'e Entry>);

impl Run {
    fn new(entries: Vec<Entry>) -> Arc<Self> {
        let twice = entries.windows(2).position(|pair| pair[0].key == pair[1].key).map(|place| place + 1);
        Arc::new(Self { entries, twice, digest: OnceLock::new(), params: OnceLock::new() })
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn table(&self) -> u32 {
        self.first().table
    }

    /// The digest that `make` says, made once.
    pub(crate) fn digest(&self, make: impl FnOnce(&[Entry]) -> [u8; 32]) -> [u8; 32] {
        *self.digest.get_or_init(|| make(&self.entries))
    }

    /// Action, parameter and value of what actions are given, those that fit 16 bits, ascending, each once.
    pub(crate) fn params(&self) -> &[(u32, u32, u16)] {
        self.params.get_or_init(|| {
            let of = |entry: &Entry| {
                let action = entry.action.id;
                let small =
                    |(param, value): &(u32, u128)| Some((action, *param, u16::try_from(*value).ok()?));
                entry.action.params.iter().filter_map(small).collect::<Vec<_>>()
            };
            let mut params: Vec<_> = self.entries.iter().flat_map(of).collect();
            params.sort_unstable();
            params.dedup();
            params
        })
    }

    /// The first and the last key.
    pub(crate) fn ends(&self) -> (&Key, &Key) {
        (self.first(), &self.entries[self.entries.len() - 1].key)
    }

    fn first(&self) -> &Key {
        &self.entries[0].key
    }
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them.
    pub fn iter(&self) -> Iter<'_> {
        Iter { runs: self.runs.iter(), run: [].iter(), left: self.len }
    }

    /// Those of a table.
    pub fn of_table(&self, table: u32) -> impl Iterator<Item = &Entry> {
        self.runs_of(table).iter().flat_map(|run| &run.entries)
    }

    /// The entry under a key.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        let run = self.runs.get(self.run_of(key)?)?;
        let place = run.entries.binary_search_by(|entry| entry.key.cmp(key)).ok()?;
        Some(&run.entries[place])
    }

    /// The list with other entries (or none) under some keys.
    #[must_use]
    pub fn edited(&self, edits: &BTreeMap<Key, Option<Entry>>) -> Self {
        let mut runs: Vec<Arc<Run>> = Vec::with_capacity(self.runs.len());
        let mut kept = 0;
        for dirty in self.dirty(edits) {
            runs.extend_from_slice(&self.runs[kept..dirty.start]);
            kept = dirty.end.min(self.runs.len());
            let low = if dirty.start == 0 { Unbounded } else { Included(self.runs[dirty.start].first()) };
            let high = self.runs.get(dirty.end).map_or(Unbounded, |run| Excluded(run.first()));
            let old = self.runs[dirty.start..kept].iter().flat_map(|run| &run.entries);
            runs.extend(split(merged(old, edits.range::<Key, _>((low, high)))));
        }
        runs.extend_from_slice(&self.runs[kept..]);
        Self::of_runs(runs)
    }

    /// The same list, with the runs of another one where both have the same: comparing the two costs what they differ in
    /// from then on.
    #[must_use]
    pub fn sharing(&self, other: &Self) -> Self {
        let mut theirs = other.runs.iter().peekable();
        let shared = self.runs.iter().map(|run| {
            while theirs.next_if(|their| their.first() < run.first()).is_some() {}
            let same = theirs.peek().filter(|their| Arc::ptr_eq(their, run) || their.entries == run.entries);
            Arc::clone(same.map_or(run, |their| *their))
        });
        Self { runs: shared.collect(), len: self.len }
    }

    /// The places of runs that edits change, those that follow each other as one.
    fn dirty(&self, edits: &BTreeMap<Key, Option<Entry>>) -> Vec<Range<usize>> {
        let mut places = BTreeSet::new();
        for key in edits.keys() {
            let place = self.run_of(key);
            // Where a table begins with it, the run after it may not be one any more.
            let after = place.map_or(0, |place| place + 1);
            let is_first = self.runs.get(after).is_some_and(|run| run.table() == key.table)
                && place.is_none_or(|place| self.runs[place].table() != key.table);
            places.extend(is_first.then_some(after));
            places.insert(place.unwrap_or(0));
            // What becomes of a run's first entry concerns the run before.
            places.extend(
                place.filter(|place| self.runs[*place].first() == key).and_then(|place| place.checked_sub(1)),
            );
        }
        let mut dirty: Vec<Range<usize>> = Vec::new();
        for place in places {
            match dirty.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => dirty.push(place..place + 1),
            }
        }
        dirty
    }

    /// What differs, by key.
    pub(crate) fn differences<'e>(&'e self, other: &'e Self) -> Vec<Difference<'e>> {
        let mut found = Vec::new();
        let (mut left, mut right) = (Cursor::new(self), Cursor::new(other));
        loop {
            if let (Some(one), Some(other)) = (left.whole(), right.whole())
                && (Arc::ptr_eq(one, other) || one.entries == other.entries)
            {
                left.skip();
                right.skip();
                continue;
            }
            match (left.peek(), right.peek()) {
                (None, None) => return found,
                (Some(one), Some(other)) if one.key == other.key => {
                    if one != other {
                        found.push((Some(one), Some(other)));
                    }
                    left.next();
                    right.next();
                }
                (Some(one), other) if other.is_none_or(|other| one.key < other.key) => {
                    found.push((Some(one), None));
                    left.next();
                }
                (_, other) => {
                    found.push((None, other));
                    right.next();
                }
            }
        }
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().map(Arc::as_ref)
    }

    /// An entry whose key another one has, too: no list that should be has one.
    pub(crate) fn twice(&self) -> Option<&Entry> {
        self.runs.iter().find_map(|run| Some(&run.entries[run.twice?]))
    }

    /// The runs of a table.
    fn runs_of(&self, table: u32) -> &[Arc<Run>] {
        let start = self.runs.partition_point(|run| run.table() < table);
        let end = self.runs.partition_point(|run| run.table() <= table);
        &self.runs[start..end]
    }

    /// The place of the run that has a key, or would have it; none before the first one.
    fn run_of(&self, key: &Key) -> Option<usize> {
        self.runs.partition_point(|run| run.first() <= key).checked_sub(1)
    }

    fn of_runs(runs: Vec<Arc<Run>>) -> Self {
        let len = runs.iter().map(|run| run.entries.len()).sum();
        Self { runs, len }
    }
}

/// Entries, both by key, with what edits say under their keys.
fn merged<'e>(
    old: impl Iterator<Item = &'e Entry>,
    edits: impl Iterator<Item = (&'e Key, &'e Option<Entry>)>,
) -> Vec<Entry> {
    let (mut old, mut edits) = (old.peekable(), edits.peekable());
    let mut entries = Vec::new();
    loop {
        match (old.peek(), edits.peek()) {
            (Some(entry), edit) if edit.is_none_or(|(key, _)| entry.key < **key) => {
                entries.push((*entry).clone());
                old.next();
            }
            (_, Some((key, value))) => {
                entries.extend((*value).clone());
                while old.next_if(|entry| entry.key == **key).is_some() {}
                edits.next();
            }
            (_, None) => return entries,
        }
    }
}

/// Sorted entries as runs.
fn split(entries: Vec<Entry>) -> Vec<Arc<Run>> {
    let mut runs = Vec::new();
    let mut run: Vec<Entry> = Vec::new();
    for entry in entries {
        if run.last().is_some_and(|last| begins(&last.key, &entry.key)) {
            runs.push(Run::new(std::mem::take(&mut run)));
        }
        run.push(entry);
    }
    if !run.is_empty() {
        runs.push(Run::new(run));
    }
    runs
}

/// Whether a run begins with a key; what is under one key stays together.
fn begins(before: &Key, key: &Key) -> bool {
    before.table != key.table || before != key && hash(key).is_multiple_of(MEAN)
}

/// A match as numbers: its kind, and what it says.
pub(crate) fn numbers(matches: Match) -> (u32, u128, u128) {
    match matches {
        Match::Exact(value) => (0, value, 0),
        Match::Lpm { value, prefix_len } => (1, value, prefix_len.into()),
        Match::Ternary { value, mask } => (2, value, mask),
        Match::Range { low, high } => (3, low, high),
        Match::Optional(value) => (4, value, 0),
    }
}

/// The same on every machine.
fn hash(key: &Key) -> u64 {
    let mut hash = 0;
    let mut add = |number: u64| hash = (hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    add(u64::from(key.priority.cast_unsigned()));
    for field in &key.matches {
        let (kind, first, second) = numbers(field.matches);
        add(u64::from(field.field) << 8 | u64::from(kind));
        for number in [first, second] {
            #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
            let (low, high) = (number as u64, (number >> 64) as u64);
            add(low ^ high.rotate_left(32));
        }
    }
    // The last multiplication has mixed the upper bits best.
    hash ^ hash >> 32
}

/// A place in a list.
struct Cursor<'e> {
    runs: &'e [Arc<Run>],
    run: usize,
    at: usize,
}

impl<'e> Cursor<'e> {
    fn new(entries: &'e Entries) -> Self {
        Self { runs: &entries.runs, run: 0, at: 0 }
    }

    /// The run that begins here.
    fn whole(&self) -> Option<&'e Arc<Run>> {
        self.runs.get(self.run).filter(|_| self.at == 0)
    }

    fn skip(&mut self) {
        self.run += 1;
    }

    fn peek(&self) -> Option<&'e Entry> {
        self.runs.get(self.run).map(|run| &run.entries[self.at])
    }

    fn next(&mut self) {
        self.at += 1;
        if self.runs.get(self.run).is_some_and(|run| run.entries.len() == self.at) {
            (self.run, self.at) = (self.run + 1, 0);
        }
    }
}

/// Walks over entries, see [`Entries::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'e> {
    runs: std::slice::Iter<'e, Arc<Run>>,
    run: std::slice::Iter<'e, Entry>,
    left: usize,
}

impl<'e> Iterator for Iter<'e> {
    type Item = &'e Entry;

    fn next(&mut self) -> Option<&'e Entry> {
        loop {
            if let Some(entry) = self.run.next() {
                self.left -= 1;
                return Some(entry);
            }
            self.run = self.runs.next()?.entries.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'e> IntoIterator for &'e Entries {
    type Item = &'e Entry;
    type IntoIter = Iter<'e>;

    fn into_iter(self) -> Iter<'e> {
        self.iter()
    }
}

/// In whatever order they are.
impl From<Vec<Entry>> for Entries {
    fn from(mut entries: Vec<Entry>) -> Self {
        entries.sort();
        Self::of_runs(split(entries))
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Vec::from_iter(entries).into()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        let same =
            |(one, other): (&Arc<Run>, &Arc<Run>)| Arc::ptr_eq(one, other) || one.entries == other.entries;
        self.len == other.len
            && self.runs.len() == other.runs.len()
            && self.runs.iter().zip(&other.runs).all(same)
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::entry::{Action, FieldMatch};
    use proptest::prelude::*;

    use super::*;

    fn entry(key: u16, param: u8) -> Entry {
        let matches = vec![FieldMatch { field: 1, matches: Match::Exact(u128::from(key / 4)) }];
        Entry {
            key: Key { table: u32::from(key % 3), matches, priority: i32::from(key % 4) },
            action: Action { id: 1, params: vec![(1, param.into())] },
            metadata: Vec::new(),
        }
    }

    #[test]
    fn equal_runs_become_the_same_memory() {
        let list = |param: u8| {
            (0..1000).map(|key| entry(key, if key == 500 { param } else { 0 })).collect::<Entries>()
        };
        let (one, other) = (list(1), list(2));
        let shared = one.sharing(&other);
        assert_eq!(shared, one);
        let own = shared.runs.iter().zip(&other.runs).filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        assert!(own == 1 && shared.runs.len() > 10, "{own} of {}", shared.runs.len());
        assert_eq!(one.sharing(&Entries::default()), one);
    }

    fn listed(entries: &Entries) -> Vec<Entry> {
        entries.iter().cloned().collect()
    }

    proptest! {
        #[test]
        fn edits_give_what_a_list_from_nothing_is(
            first in proptest::collection::btree_map(0u16..2000, any::<u8>(), 0..600),
            edits in proptest::collection::vec(
                proptest::collection::btree_map(0u16..2000, proptest::option::of(0u8..3), 0..40), 1..6),
        ) {
            let mut model: BTreeMap<Key, Entry> =
                first.into_iter().map(|(key, param)| entry(key, param)).map(|entry| (entry.key.clone(), entry)).collect();
            let mut entries: Entries = model.values().cloned().collect();
            for edit in edits {
                let before = (entries.clone(), model.clone());
                let edit: BTreeMap<Key, Option<Entry>> = edit
                    .into_iter()
                    .map(|(key, param)| (entry(key, 0).key, param.map(|param| entry(key, param))))
                    .collect();
                entries = entries.edited(&edit);
                for (key, value) in edit {
                    match value {
                        Some(value) => _ = model.insert(key, value),
                        None => _ = model.remove(&key),
                    }
                }
                let anew: Entries = model.values().cloned().collect();
                prop_assert_eq!(listed(&entries), model.values().cloned().collect::<Vec<_>>());
                prop_assert!(entries == anew, "equal lists have equal runs");
                prop_assert_eq!(entries.iter().len(), model.len());
                for key in before.1.keys().chain(model.keys()) {
                    prop_assert_eq!(entries.get(key), model.get(key));
                }
                let told: Vec<(Option<Entry>, Option<Entry>)> = before.0
                    .differences(&entries)
                    .into_iter()
                    .map(|(old, new)| (old.cloned(), new.cloned()))
                    .collect();
                let keys: std::collections::BTreeSet<&Key> = before.1.keys().chain(model.keys()).collect();
                let differ = keys
                    .into_iter()
                    .map(|key| (before.1.get(key).cloned(), model.get(key).cloned()))
                    .filter(|(old, new)| old != new);
                prop_assert_eq!(told, differ.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn runs_are_shared_and_of_one_table() {
        let entries: Entries = (0..3000).map(|key| entry(key, 0)).collect();
        let runs = entries.runs().count();
        assert!((40..240).contains(&runs), "{runs} runs");
        assert!(entries.runs().all(|run| run.entries().iter().all(|entry| entry.key.table == run.table())));
        let other = entry(1500, 7);
        let edited = entries.edited(&[(other.key.clone(), Some(other))].into());
        let shared = |run: &Arc<Run>| entries.runs.iter().any(|other| Arc::ptr_eq(run, other));
        assert!(edited.runs.iter().filter(|run| !shared(run)).count() <= 2);
        assert_eq!(entries.differences(&edited).len(), 1);
        assert_eq!(entries.of_table(1).count(), 1000);
    }

    #[test]
    fn a_key_twice_is_found() {
        let once: Entries = (0..3000).map(|key| entry(key, 0)).collect();
        assert_eq!(once.twice(), None);
        let twice: Entries = (0..3000).map(|key| entry(key, 0)).chain([entry(777, 1)]).collect();
        assert_eq!(twice.twice().map(|entry| &entry.key), Some(&entry(777, 0).key));
    }
}
