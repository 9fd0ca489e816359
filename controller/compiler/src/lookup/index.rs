//! A table's entries, arranged so that a packet's key finds its entry fast.
//!
//! Tuple space search (Srinivasan, Suri, Varghese: "Packet classification using tuple space search", SIGCOMM 1999):
//! entries with the same masks are one hash table. A key is looked up in each, those with the highest priorities first,
//! until no other can do better.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::{Entry, FieldMatch, Match};

use crate::program::{Field, Program, Table};
use crate::state::Origin;

/// All fields of a key, side by side: a field does not cross from one word to the next.
type Words = [u128; 2];

/// The place of a table's fields in [`Words`].
#[derive(Debug)]
struct Layout {
    /// Field, word, shift, width.
    fields: Vec<(Field, usize, u32, u32)>,
}

impl Layout {
    fn new(table: Table) -> Self {
        let (mut word, mut shift) = (0, 0);
        let fields = table.fields().iter().map(|(field, bits)| {
            if shift + bits > u128::BITS {
                (word, shift) = (word + 1, 0);
            }
            let place = (*field, word, shift, *bits);
            shift += bits;
            place
        });
        Self { fields: fields.collect() }
    }

    fn pack(&self, values: impl Fn(Field) -> u128) -> Words {
        let mut words = [0; 2];
        for (field, word, shift, bits) in &self.fields {
            words[*word] |= (values(*field) & max_value(*bits)) << shift;
        }
        words
    }
}

/// The rank of an entry among those that match: the higher priority, then the lower place in the order of rules.
type Rank = (i32, Reverse<u32>);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Index among the entries that the index was made of.
    entry: usize,
    rank: Rank,
    /// Of the table's range field; everything where it has none.
    range: (u128, u128),
}

#[derive(Debug, Default)]
struct Bucket {
    /// Best rank first; ascending ranges where they do not overlap.
    candidates: Vec<Candidate>,
    disjoint: bool,
}

impl Bucket {
    fn arrange(&mut self) {
        self.candidates.sort_by_key(|candidate| candidate.range);
        let apart = |pair: &[Candidate]| pair[0].range.1 < pair[1].range.0;
        self.disjoint = self.candidates.windows(2).all(apart);
        if !self.disjoint {
            self.candidates.sort_by_key(|candidate| Reverse(candidate.rank));
        }
    }

    fn best(&self, value: u128) -> Option<&Candidate> {
        let within = |candidate: &&Candidate| (candidate.range.0..=candidate.range.1).contains(&value);
        if self.disjoint {
            let after = self.candidates.partition_point(|candidate| candidate.range.0 <= value);
            self.candidates[..after].last().filter(within)
        } else {
            self.candidates.iter().find(within)
        }
    }
}

#[derive(Debug)]
struct Tuple {
    mask: Words,
    best: Rank,
    buckets: HashMap<Words, Bucket, BuildHasherDefault<WordHasher>>,
}

/// The entries of one table.
#[derive(Debug)]
pub(super) struct Index {
    layout: Layout,
    range: Option<Field>,
    /// Highest rank first.
    tuples: Vec<Tuple>,
}

impl Index {
    /// Of those entries that are the table's.
    pub(super) fn new(program: &Program, table: Table, entries: &[Entry]) -> Self {
        let layout = Layout::new(table);
        let range = table.fields().iter().map(|(field, _)| *field).find(|field| *field == Field::Port);
        let id = program.table(table);
        let mut tuples: HashMap<Words, Tuple> = HashMap::new();
        for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.key.table == id) {
            let order = Origin::decode(&entry.metadata).map_or(u32::MAX, |origin| origin.order);
            let rank = (entry.key.priority, Reverse(order));
            let matches = |field: Field| find(program, table, &entry.key.matches, field);
            let mask =
                layout.pack(|field| matches(field).map_or(0, |matches| mask_of(table, field, matches)));
            let value = layout.pack(|field| matches(field).map_or(0, value_of));
            let range = match range.and_then(matches) {
                Some(Match::Range { low, high }) => (low, high),
                _ => (0, u128::MAX),
            };
            let tuple =
                tuples.entry(mask).or_insert_with(|| Tuple { mask, best: rank, buckets: HashMap::default() });
            tuple.best = tuple.best.max(rank);
            tuple.buckets.entry(value).or_default().candidates.push(Candidate { entry: number, rank, range });
        }
        let mut tuples: Vec<Tuple> = tuples.into_values().collect();
        tuples.sort_by_key(|tuple| (Reverse(tuple.best), tuple.mask));
        for bucket in tuples.iter_mut().flat_map(|tuple| tuple.buckets.values_mut()) {
            bucket.arrange();
        }
        Self { layout, range, tuples }
    }

    /// The entry that a key hits, by its number.
    pub(super) fn find(&self, values: impl Fn(Field) -> u128) -> Option<usize> {
        let key = self.layout.pack(&values);
        let in_range = self.range.map_or(0, &values);
        let mut best: Option<&Candidate> = None;
        for tuple in &self.tuples {
            if best.is_some_and(|best| best.rank >= tuple.best) {
                break;
            }
            let masked = [key[0] & tuple.mask[0], key[1] & tuple.mask[1]];
            let found = tuple.buckets.get(&masked).and_then(|bucket| bucket.best(in_range));
            if let Some(found) = found
                && best.is_none_or(|best| found.rank > best.rank)
            {
                best = Some(found);
            }
        }
        best.map(|candidate| candidate.entry)
    }
}

fn find(program: &Program, table: Table, matches: &[FieldMatch], field: Field) -> Option<Match> {
    let id = program.field(table, field)?;
    matches.iter().find(|own| own.field == id).map(|own| own.matches)
}

fn mask_of(table: Table, field: Field, matches: Match) -> u128 {
    let bits = table.fields().iter().find(|(own, _)| *own == field).map_or(0, |(_, bits)| *bits);
    match matches {
        Match::Exact(_) | Match::Optional(_) => max_value(bits),
        Match::Lpm { prefix_len, .. } => {
            max_value(bits) & !max_value(bits.saturating_sub(u32::from(prefix_len)))
        }
        Match::Ternary { mask, .. } => mask,
        Match::Range { .. } => 0,
    }
}

fn value_of(matches: Match) -> u128 {
    match matches {
        Match::Exact(value)
        | Match::Optional(value)
        | Match::Lpm { value, .. }
        | Match::Ternary { value, .. } => value,
        Match::Range { .. } => 0,
    }
}

/// Mixes words by multiplication: keys here come from compiled tables, nobody chooses them to collide.
#[derive(Default)]
struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed =
                (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.0 = mixed ^ (mixed >> 32);
        }
    }
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::entry::Action;
    use proptest::prelude::*;

    use super::*;
    use crate::program::ActionKind;

    /// Ternary entries of `pod_ingress` over few bits, so that they overlap.
    fn pod_entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (0u16..8, 0u16..8, 0u16..8, 0u16..8, 1i32..5, 0u32..4);
        proptest::collection::vec(entry, 0..40).prop_map(|entries| {
            let program = Program::outplane();
            let ternary = |field, value: u16, mask: u16| {
                let matches = Match::Ternary { value: (value & mask).into(), mask: mask.into() };
                (mask != 0).then_some((field, matches))
            };
            let entry = |(src, src_mask, dst, dst_mask, priority, order): (u16, u16, u16, u16, i32, u32)| {
                let matches =
                    [ternary(Field::SrcClass, src, src_mask), ternary(Field::DstClass, dst, dst_mask)];
                Entry {
                    key: program.key(Table::PodIngress, priority, matches.into_iter().flatten()),
                    action: program.action(ActionKind::IngressPermit, &[]),
                    metadata: Origin { policy: "p".into(), rule: String::new(), order }.encode(),
                }
            };
            entries.into_iter().map(entry).collect()
        })
    }

    fn matches_plainly(program: &Program, entry: &Entry, src: u128, dst: u128) -> bool {
        entry.key.matches.iter().all(|own| {
            let value = match program.field_of(Table::PodIngress, own.field) {
                Some(Field::SrcClass) => src,
                _ => dst,
            };
            matches!(own.matches, Match::Ternary { value: wanted, mask } if value & mask == wanted)
        })
    }

    proptest! {
        #[test]
        fn the_best_of_all_that_match(entries in pod_entries()) {
            let program = Program::outplane();
            let index = Index::new(program, Table::PodIngress, &entries);
            let rank = |number: usize| {
                (entries[number].key.priority, Reverse(Origin::decode(&entries[number].metadata).unwrap().order))
            };
            for (src, dst) in (0..8u128).flat_map(|src| (0..8u128).map(move |dst| (src, dst))) {
                let found = index.find(|field| match field {
                    Field::SrcClass => src,
                    Field::DstClass => dst,
                    _ => 0,
                });
                let best = (0..entries.len())
                    .filter(|number| matches_plainly(program, &entries[*number], src, dst))
                    .map(rank)
                    .max();
                prop_assert_eq!(found.map(rank), best);
            }
        }
    }

    #[test]
    fn ranges_overlapping_and_apart() {
        let program = Program::outplane();
        let entry = |low: u128, high: u128, priority| Entry {
            key: program.key(Table::DportClass, priority, [(Field::Port, Match::Range { low, high })]),
            action: Action { id: 0, params: Vec::new() },
            metadata: Vec::new(),
        };
        let port = |value: u128| move |field: Field| if field == Field::Port { value } else { 6 };
        let apart = [entry(10, 19, 1), entry(1, 5, 1), entry(80, 80, 1)];
        let index = Index::new(program, Table::DportClass, &apart);
        for (value, found) in [(0, None), (1, Some(1)), (6, None), (15, Some(0)), (80, Some(2)), (81, None)] {
            assert_eq!(index.find(port(value)), found, "{value}");
        }
        let overlapping = [entry(0, 100, 1), entry(50, 60, 3), entry(55, 200, 2)];
        let index = Index::new(program, Table::DportClass, &overlapping);
        for (value, found) in [(0, Some(0)), (50, Some(1)), (60, Some(1)), (61, Some(2)), (201, None)] {
            assert_eq!(index.find(port(value)), found, "{value}");
        }
    }

    #[test]
    fn keys_fit_two_words() {
        for table in Table::ALL {
            let layout = Layout::new(*table);
            assert!(
                layout.fields.iter().all(|(_, word, shift, bits)| *word < 2 && shift + bits <= 128),
                "{table}"
            );
        }
    }
}
