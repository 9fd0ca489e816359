//! Ranges of classes as longest-prefix entries, as few as possible.
//!
//! The optimal routing table constructor (Draves, King, Venkatachary, Zill: "Constructing optimal IP routing
//! tables", INFOCOM 1999) over the tree of prefixes in which the ranges differ: first, from the leaves up, the
//! classes that each subtree could have as its own at no extra cost; then, from the root down, an entry wherever the
//! class inherited is none of them.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::ClassRange;
use crate::ranges::Point;

/// The numbers that agree with `value` in their first `length` bits are of this class, unless a longer prefix says
/// otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix<T, C = u16> {
    /// Lowest number of the prefix.
    pub value: T,
    /// Bits of the prefix, 0..=width.
    pub length: u32,
    /// Class, or whatever the ranges carry.
    pub class: C,
}

/// Prefixes for ranges in ascending order; numbers in no range have the default class, and so has a number that no
/// prefix holds.
pub fn longest_prefixes<T: Point, C: Copy + Default + Ord + Hash>(ranges: &[(T, T, C)]) -> Vec<Prefix<T, C>> {
    let mut tree = Tree::default();
    let root = tree.build(T::MIN, 0, ranges);
    let mut prefixes = Vec::new();
    tree.assign(root, T::MIN, 0, C::default(), &mut prefixes);
    prefixes
}

/// How much larger than as few as possible prefixes may be that have been carried on.
fn most(fewest: usize) -> usize {
    fewest + fewest / 16 + 16
}

/// Prefixes for ranges as [`longest_prefixes`] has them, as many of them as can be from `before` (ascending): only where
/// those say another class something is written.
///
/// `fewest`: how few were possible when that was looked at last, and it is returned again: while there are about as many,
/// it is not looked at.
pub fn carried_prefixes<T: Point, C: Copy + Default + Ord + Hash>(
    ranges: &[(T, T, C)],
    before: &[Prefix<T, C>],
    fewest: Option<u32>,
) -> (Vec<Prefix<T, C>>, u32) {
    let count = |prefixes: &Vec<Prefix<T, C>>| u32::try_from(prefixes.len()).unwrap_or(u32::MAX);
    if before.is_empty() {
        let fewest = longest_prefixes(ranges);
        let known = count(&fewest);
        return (fewest, known);
    }
    let mut entries: BTreeMap<(T, u32), C> =
        before.iter().map(|prefix| ((prefix.value, prefix.length), prefix.class)).collect();
    for range in differing(&ranges_of(before), ranges) {
        rewrite(&mut entries, range, &mut |_, _| ());
    }
    let list = |entries: BTreeMap<(T, u32), C>| -> Vec<Prefix<T, C>> {
        entries.into_iter().map(|((value, length), class)| Prefix { value, length, class }).collect()
    };
    if let Some(known) = fewest.filter(|fewest| is_about(entries.len(), *fewest)) {
        return (list(entries), known);
    }
    let fewest = longest_prefixes(ranges);
    let known = count(&fewest);
    if entries.len() > most(fewest.len()) { (fewest, known) } else { (list(entries), known) }
}

/// Whether so many prefixes are still to be compared with what was the fewest some time ago.
pub(crate) fn is_about(count: usize, fewest: u32) -> bool {
    count <= most(fewest as usize) && count as u64 * 16 >= u64::from(fewest) * 15
}

/// Writes another class over a range. `changed` is told what was under each key that is changed.
pub(crate) fn rewrite<T: Point, C: Copy + Default + Eq>(
    entries: &mut BTreeMap<(T, u32), C>,
    (low, high, class): (T, T, C),
    changed: &mut impl FnMut((T, u32), Option<C>),
) {
    // Whatever lies within says another class, or is not seen.
    let within = entries.range((low, 0)..=(high, u32::MAX));
    let within: Vec<(T, u32)> =
        within.map(|(key, _)| *key).filter(|(value, length)| value.prefix(*length).1 <= high).collect();
    for key in within {
        changed(key, entries.remove(&key));
    }
    for (value, length) in blocks(low, high) {
        let around = (0..length).rev().find_map(|length| entries.get(&(value.prefix(length).0, length)));
        if around.copied().unwrap_or_default() != class {
            let key = (value, length);
            changed(key, entries.insert(key, class));
        }
    }
}

/// What prefixes say, as ranges, ascending, without the default class.
pub fn ranges_of<T: Point, C: Copy + Default + Eq>(prefixes: &[Prefix<T, C>]) -> Vec<(T, T, C)> {
    let ends = |prefix: &Prefix<T, C>| {
        let (low, high) = prefix.value.prefix(prefix.length);
        (low, high, prefix.class)
    };
    let mut ranges: Vec<(T, T, C)> = prefixes.iter().map(ends).collect();
    flatten(&mut ranges);
    ranges.retain(|(_, _, class)| *class != C::default());
    ranges
}

/// Ranges that lie within each other as ranges that do not: the innermost counts.
pub(crate) fn flatten<T: Point, C: Copy + Eq>(ranges: &mut Vec<(T, T, C)>) {
    ranges.sort_by_key(|(low, high, _)| (*low, std::cmp::Reverse(*high)));
    let mut flat: Vec<(T, T, C)> = Vec::with_capacity(ranges.len());
    let mut open: Vec<(T, C)> = Vec::new();
    // Where what is not said yet begins.
    let mut at = Some(T::MIN);
    let mut say = |at: &mut Option<T>, end: T, class: C| {
        if let Some(start) = at.filter(|start| *start <= end) {
            match flat.last_mut() {
                Some(last) if last.2 == class && last.1.next() == Some(start) => last.1 = end,
                _ => flat.push((start, end, class)),
            }
            *at = end.next();
        }
    };
    for (low, high, class) in ranges.iter().copied() {
        while let Some((end, of)) = open.last().copied()
            && end < low
        {
            say(&mut at, end, of);
            open.pop();
        }
        if let (Some((_, of)), Some(before)) = (open.last().copied(), low.previous()) {
            say(&mut at, before, of);
        }
        open.push((high, class));
        at = at.map(|at| at.max(low));
    }
    while let Some((end, of)) = open.pop() {
        say(&mut at, end, of);
    }
    *ranges = flat;
}

/// Where two lists of ranges differ: what the second one says there, neighbours of one class as one.
pub(crate) fn differing<T: Point, C: Copy + Default + Eq>(
    before: &[(T, T, C)],
    after: &[(T, T, C)],
) -> Vec<(T, T, C)> {
    let mut cuts: Vec<T> = vec![T::MIN];
    for (low, high, _) in before.iter().chain(after) {
        cuts.push(*low);
        cuts.extend(high.next());
    }
    cuts.sort_unstable();
    cuts.dedup();
    let class_at = |ranges: &mut std::iter::Peekable<std::slice::Iter<'_, (T, T, C)>>, at: T| {
        while ranges.next_if(|range| range.1 < at).is_some() {}
        ranges.peek().filter(|range| range.0 <= at).map_or(C::default(), |range| range.2)
    };
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    let mut found: Vec<(T, T, C)> = Vec::new();
    for (index, low) in cuts.iter().enumerate() {
        let high = cuts.get(index + 1).and_then(|next| next.previous()).unwrap_or(T::MAX);
        let (was, is) = (class_at(&mut before, *low), class_at(&mut after, *low));
        if was != is {
            match found.last_mut() {
                Some(last) if last.2 == is && last.1.next() == Some(*low) => last.1 = high,
                _ => found.push((*low, high, is)),
            }
        }
    }
    found
}

/// A range as prefixes, as few as can be.
fn blocks<T: Point>(low: T, high: T) -> Vec<(T, u32)> {
    let mut blocks = Vec::new();
    let mut at = Some(low);
    while let Some(start) = at.filter(|start| *start <= high) {
        let fits = |length: &u32| {
            let (first, last) = start.prefix(*length);
            first == start && last <= high
        };
        let length = (0..=T::BITS).find(fits).unwrap_or(T::BITS);
        blocks.push((start, length));
        at = start.prefix(length).1.next();
    }
    blocks
}

/// Both spaces' classes in one list of ranges: (filter class, pod class), ascending, without (0, 0).
pub fn overlay<T: Point>(filter: &[ClassRange<T>], pod: &[ClassRange<T>]) -> Vec<(T, T, (u16, u16))> {
    let mut cuts: Vec<T> = Vec::with_capacity(2 * (filter.len() + pod.len()));
    for (low, high, _) in filter.iter().chain(pod) {
        cuts.push(*low);
        cuts.extend(high.next());
    }
    cuts.sort_unstable();
    cuts.dedup();
    let (mut filter, mut pod) = (filter.iter().peekable(), pod.iter().peekable());
    let mut ranges: Vec<(T, T, (u16, u16))> = Vec::with_capacity(cuts.len());
    for (index, low) in cuts.iter().enumerate() {
        let high = cuts.get(index + 1).and_then(|next| next.previous()).unwrap_or(T::MAX);
        while filter.next_if(|range| range.1 < *low).is_some() {}
        while pod.next_if(|range| range.1 < *low).is_some() {}
        let class =
            |range: Option<&&ClassRange<T>>| range.filter(|range| range.0 <= *low).map_or(0, |range| range.2);
        let classes = (class(filter.peek()), class(pod.peek()));
        if classes != (0, 0) {
            ranges.push((*low, high, classes));
        }
    }
    ranges
}

struct Node {
    /// The classes that the subtree could have.
    set: u32,
    /// Both halves; none in a leaf.
    children: Option<(u32, u32)>,
}

struct Tree<C> {
    nodes: Vec<Node>,
    sets: Vec<Vec<C>>,
    /// Of sets of one.
    single: HashMap<C, u32>,
    /// Of the others.
    ids: HashMap<Vec<C>, u32>,
    merged: HashMap<(u32, u32), u32>,
}

impl<C> Default for Tree<C> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            sets: Vec::new(),
            single: HashMap::new(),
            ids: HashMap::new(),
            merged: HashMap::new(),
        }
    }
}

impl<C: Copy + Default + Ord + Hash> Tree<C> {
    fn build<T: Point>(&mut self, value: T, length: u32, ranges: &[(T, T, C)]) -> u32 {
        let (low, high) = value.prefix(length);
        let (set, children) = match ranges {
            [] => (self.one(C::default()), None),
            [(first, last, class)] if *first <= low && high <= *last => (self.one(*class), None),
            _ => {
                let middle = upper_half(high, length);
                let below = ranges.partition_point(|range| range.0 < middle);
                let above = ranges.partition_point(|range| range.1 < middle);
                let left = self.build(low, length + 1, &ranges[..below]);
                let right = self.build(middle, length + 1, &ranges[above..]);
                let set = self.merge(self.nodes[left as usize].set, self.nodes[right as usize].set);
                (set, Some((left, right)))
            }
        };
        self.nodes.push(Node { set, children });
        index(self.nodes.len() - 1)
    }

    fn one(&mut self, class: C) -> u32 {
        *self.single.entry(class).or_insert_with(|| {
            self.sets.push(vec![class]);
            index(self.sets.len() - 1)
        })
    }

    fn set(&mut self, set: Vec<C>) -> u32 {
        if let [class] = set[..] {
            return self.one(class);
        }
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        let id = index(self.sets.len());
        self.sets.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    /// What both could have, else what either could.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == right {
            return left;
        }
        if let Some(id) = self.merged.get(&(left, right)) {
            return *id;
        }
        let (a, b) = (&self.sets[left as usize], &self.sets[right as usize]);
        let mut set: Vec<C> = a.iter().filter(|class| b.binary_search(class).is_ok()).copied().collect();
        if set.is_empty() {
            set = a.iter().chain(b).copied().collect();
            set.sort_unstable();
        }
        let id = self.set(set);
        self.merged.insert((left, right), id);
        id
    }

    fn assign<T: Point>(
        &self,
        node: u32,
        value: T,
        length: u32,
        inherited: C,
        prefixes: &mut Vec<Prefix<T, C>>,
    ) {
        let Node { set, children } = &self.nodes[node as usize];
        let set = &self.sets[*set as usize];
        let class = if set.binary_search(&inherited).is_ok() {
            inherited
        } else {
            // Sets are never empty: leaves have one class, merging loses none.
            let class = set[0];
            prefixes.push(Prefix { value, length, class });
            class
        };
        if let Some((left, right)) = children {
            let (low, high) = value.prefix(length);
            self.assign(*left, low, length + 1, class, prefixes);
            self.assign(*right, upper_half(high, length), length + 1, class, prefixes);
        }
    }
}

/// The lowest number of the upper half of the prefix of this length that ends with `high`.
fn upper_half<T: Point>(high: T, length: u32) -> T {
    high.prefix(length + 1).0
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 2^32 nodes fit in memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(ranges: &[(u32, u32, u16)]) -> Vec<(u32, u32, u16)> {
        longest_prefixes(ranges)
            .into_iter()
            .map(|prefix| (prefix.value, prefix.length, prefix.class))
            .collect()
    }

    #[test]
    fn as_few_as_possible() {
        const NET: u32 = 0x0a00_0000;
        // A /8 with an address of another class in it.
        assert_eq!(
            told(&[(NET, NET + 4, 1), (NET + 5, NET + 5, 2), (NET + 6, NET + 0xff_ffff, 1)]),
            [(NET, 8, 1), (NET + 5, 32, 2)]
        );
        // A hole of class 0 needs saying.
        assert_eq!(
            told(&[(NET, NET + 0x7f_ffff, 1), (NET + 0x80_0001, NET + 0xff_ffff, 1)]),
            [(NET, 8, 1), (NET + 0x80_0000, 32, 0)]
        );
        assert_eq!(told(&[(0, u32::MAX, 3)]), [(0, 0, 3)]);
        assert_eq!(told(&[]), []);
    }

    proptest! {
        #[test]
        fn carried_on_they_say_what_ranges_say(
            lists in proptest::collection::vec(proptest::collection::vec((0u16..300, 0u16..40, 0u16..4), 0..12), 1..6),
        ) {
            let mut before: Vec<Prefix<u16>> = Vec::new();
            let mut fewest = None;
            for list in lists {
                let mut ranges: Vec<(u16, u16, u16)> =
                    list.into_iter().map(|(low, length, class)| (low, low + length, class)).collect();
                let mut end = None;
                ranges.sort_unstable();
                ranges.retain(|(low, high, class)| {
                    let stays = *class != 0 && end.is_none_or(|end| end < *low);
                    if stays {
                        end = Some(*high);
                    }
                    stays
                });
                let (after, known) = carried_prefixes(&ranges, &before, fewest);
                fewest = Some(known);
                let mut told = ranges.clone();
                flatten(&mut told);
                prop_assert_eq!(ranges_of(&after), told);
                prop_assert_eq!(&carried_prefixes(&ranges, &after, fewest).0, &after);
                before = after;
            }
        }
    }

    #[test]
    fn upper_halves() {
        assert_eq!(upper_half(u32::MAX, 0), 0x8000_0000);
        assert_eq!(upper_half(1u32, 31), 1);
        assert_eq!(upper_half(15u128, 125), 12);
    }

    #[test]
    fn two_spaces_in_one_list() {
        let filter = [(10u32, 20, 1), (30, u32::MAX, 2)];
        let pod = [(0u32, 12, 7), (40, 40, 8)];
        assert_eq!(
            overlay(&filter, &pod),
            [
                (0, 9, (0, 7)),
                (10, 12, (1, 7)),
                (13, 20, (1, 0)),
                (30, 39, (2, 0)),
                (40, 40, (2, 8)),
                (41, u32::MAX, (2, 0)),
            ]
        );
    }
}
