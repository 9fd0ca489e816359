//! A table's entries, arranged so that a packet's key finds its entry fast.
//!
//! A decision tree over the bits of the key. Each node asks one bit and has three branches: entries that want it 0,
//! those that want it 1, and those that do not care, which are looked through in either case. So no entry is there
//! twice, whatever its mask. Branches that cannot hold a better entry than the one found are left out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::{Entry, Match};

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

/// The rank of an entry among those that match: the higher priority, then the lower rank of its origin.
type Rank = (i32, Reverse<u32>);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Index among the entries that the index was made of.
    entry: usize,
    rank: Rank,
    value: Words,
    mask: Words,
    /// Of the table's range field; everything where it has none.
    range: (u128, u128),
}

impl Candidate {
    fn matches(&self, key: Words, in_range: u128) -> bool {
        key[0] & self.mask[0] == self.value[0]
            && key[1] & self.mask[1] == self.value[1]
            && (self.range.0..=self.range.1).contains(&in_range)
    }

    /// What it wants a bit to be; none: it does not care.
    fn wants(&self, (word, bit): Bit) -> Option<bool> {
        (self.mask[word] >> bit & 1 == 1).then(|| self.value[word] >> bit & 1 == 1)
    }
}

/// A bit of a key: word and place in it.
type Bit = (usize, u32);

#[derive(Debug)]
enum Node {
    /// Ascending ranges, which do not overlap.
    Ranges(Vec<Candidate>),
    /// Best rank first.
    List(Vec<Candidate>),
    Split {
        bit: Bit,
        zero: Option<Branch>,
        one: Option<Branch>,
        any: Option<Branch>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    node: usize,
    /// The best rank in it.
    best: Rank,
}

impl Node {
    fn leaf(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_by_key(|candidate| candidate.range);
        if candidates.windows(2).all(|pair| pair[0].range.1 < pair[1].range.0) {
            return Self::Ranges(candidates);
        }
        candidates.sort_by_key(|candidate| Reverse(candidate.rank));
        Self::List(candidates)
    }
}

/// For each entry, the place of its origin's rank; others' entries come last.
fn orders<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<u32> {
    let origins: Vec<Option<Origin>> = entries.map(|entry| Origin::decode(&entry.metadata)).collect();
    let ranks: BTreeSet<_> = origins.iter().flatten().map(Origin::rank).collect();
    let places: BTreeMap<_, u32> = ranks.into_iter().zip(0..).collect();
    origins.iter().map(|origin| origin.as_ref().map_or(u32::MAX, |origin| places[&origin.rank()])).collect()
}

/// Nodes of so many candidates are not split any more.
const FEW: usize = 6;

/// The entries of one table.
#[derive(Debug)]
pub(super) struct Index {
    layout: Layout,
    range: Option<Field>,
    nodes: Vec<Node>,
    root: Option<Branch>,
}

impl Index {
    /// Of those entries that are the table's.
    pub(super) fn new(program: &Program, table: Table, entries: &[&Entry]) -> Self {
        let layout = Layout::new(table);
        let range = table.fields().iter().map(|(field, _)| *field).find(|field| *field == Field::Port);
        let id = program.table(table);
        let mut candidates = Vec::new();
        let own = || entries.iter().enumerate().filter(|(_, entry)| entry.key.table == id);
        let orders = orders(own().map(|(_, entry)| *entry));
        for ((number, entry), order) in own().zip(orders) {
            let matches = |field: Field| program.matched(table, &entry.key.matches, field);
            candidates.push(Candidate {
                entry: number,
                rank: (entry.key.priority, Reverse(order)),
                value: layout.pack(|field| matches(field).map_or(0, value_of)),
                mask: layout.pack(|field| matches(field).map_or(0, |matches| mask_of(table, field, matches))),
                range: match range.and_then(matches) {
                    Some(Match::Range { low, high }) => (low, high),
                    _ => (0, u128::MAX),
                },
            });
        }
        let mut index = Self { layout, range, nodes: Vec::new(), root: None };
        let bits: Vec<Bit> = (0..2).flat_map(|word| (0..u128::BITS).map(move |bit| (word, bit))).collect();
        index.root = index.branch(candidates, &bits);
        index
    }

    /// A branch for some candidates; none for none. `bits` are those that may be asked.
    fn branch(&mut self, candidates: Vec<Candidate>, bits: &[Bit]) -> Option<Branch> {
        let best = candidates.iter().map(|candidate| candidate.rank).max()?;
        let bit = if candidates.len() > FEW { best_bit(&candidates, bits) } else { None };
        let node =
            if let Some(bit) = bit { self.split(candidates, bit, bits) } else { Node::leaf(candidates) };
        self.nodes.push(node);
        Some(Branch { node: self.nodes.len() - 1, best })
    }

    fn split(&mut self, candidates: Vec<Candidate>, bit: Bit, bits: &[Bit]) -> Node {
        // Bits that nobody wants here matter nowhere below.
        let wanted = |other: &Bit| candidates.iter().any(|candidate| candidate.wants(*other).is_some());
        let bits: Vec<Bit> = bits.iter().filter(|other| **other != bit && wanted(other)).copied().collect();
        let (any, fixed): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.wants(bit).is_none());
        let (one, zero): (Vec<_>, Vec<_>) =
            fixed.into_iter().partition(|candidate| candidate.wants(bit) == Some(true));
        let [zero, one, any] = [zero, one, any].map(|candidates| self.branch(candidates, &bits));
        Node::Split { bit, zero, one, any }
    }

    /// The entry that a key hits, by its number.
    pub(super) fn find(&self, values: impl Fn(Field) -> u128) -> Option<usize> {
        let key = self.layout.pack(&values);
        let in_range = self.range.map_or(0, &values);
        let mut best: Option<&Candidate> = None;
        let mut open: Vec<Branch> = self.root.into_iter().collect();
        while let Some(branch) = open.pop() {
            if best.is_some_and(|best| best.rank >= branch.best) {
                continue;
            }
            let found = match &self.nodes[branch.node] {
                Node::Split { bit: (word, bit), zero, one, any } => {
                    let fixed = if key[*word] >> *bit & 1 == 1 { one } else { zero };
                    let mut next = [*fixed, *any];
                    // The better one last, so that it is looked through first.
                    next.sort_by_key(|branch| branch.map(|branch| branch.best));
                    open.extend(next.into_iter().flatten());
                    continue;
                }
                Node::Ranges(candidates) => {
                    let after = candidates.partition_point(|candidate| candidate.range.0 <= in_range);
                    candidates[..after].last().filter(|candidate| candidate.matches(key, in_range))
                }
                Node::List(candidates) => {
                    candidates.iter().find(|candidate| candidate.matches(key, in_range))
                }
            };
            if let Some(found) = found
                && best.is_none_or(|best| found.rank > best.rank)
            {
                best = Some(found);
            }
        }
        best.map(|candidate| candidate.entry)
    }
}

/// The bit after which the fewest candidates are left to look through in the worse case; none: no bit makes them fewer.
fn best_bit(candidates: &[Candidate], bits: &[Bit]) -> Option<Bit> {
    let left = |bit: &Bit| {
        let (mut zero, mut one) = (0, 0);
        for candidate in candidates {
            match candidate.wants(*bit) {
                Some(true) => one += 1,
                Some(false) => zero += 1,
                None => {}
            }
        }
        candidates.len() - usize::min(zero, one)
    };
    let (left, bit) = bits.iter().map(|bit| (left(bit), *bit)).min()?;
    (left < candidates.len()).then_some(bit)
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
            let index = Index::new(program, Table::PodIngress, &entries.iter().collect::<Vec<_>>());
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
        let index = Index::new(program, Table::DportClass, &apart.each_ref());
        for (value, found) in [(0, None), (1, Some(1)), (6, None), (15, Some(0)), (80, Some(2)), (81, None)] {
            assert_eq!(index.find(port(value)), found, "{value}");
        }
        let overlapping = [entry(0, 100, 1), entry(50, 60, 3), entry(55, 200, 2)];
        let index = Index::new(program, Table::DportClass, &overlapping.each_ref());
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
