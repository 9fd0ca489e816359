//! Cuts a line of numbers where membership in any of the sets changes.

use std::collections::HashMap;

use crate::ranges::{Point, Ranges};

/// The distinct memberships seen, in the order in which they were first seen: the classes before they have ids.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    memberships: Vec<Vec<u32>>,
    index: HashMap<u64, Vec<u32>>,
}

impl Atoms {
    /// Which sets the members of each atom are in, ascending. Never empty.
    pub(super) fn memberships(&self) -> &[Vec<u32>] {
        &self.memberships
    }

    /// `digest` is the XOR of [`mix`] over the membership: looking up costs no copy.
    fn intern(&mut self, digest: u64, membership: &[u32]) -> u32 {
        let candidates = self.index.entry(digest).or_default();
        for atom in candidates.iter() {
            if self.memberships[*atom as usize] == membership {
                return *atom;
            }
        }
        let atom = u32::try_from(self.memberships.len()).expect("fewer than 2^32 atoms fit in memory");
        candidates.push(atom);
        self.memberships.push(membership.to_vec());
        atom
    }
}

/// Spreads a set's number over 64 bits (the finalizer of `SplitMix64`).
pub(super) fn mix(set: u32) -> u64 {
    let mut bits = (u64::from(set) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The line's ranges that are in some set, ascending, each with its atom. Neighbours differ in their atom.
pub(super) fn partition<'a, T: Point + 'a>(
    sets: impl Iterator<Item = &'a Ranges<T>>,
    atoms: &mut Atoms,
) -> Vec<(T, T, u32)> {
    // A set comes in at the low end of each of its ranges and goes out behind the high end.
    let mut events: Vec<(T, u32)> = Vec::new();
    for (set, number) in sets.zip(0u32..) {
        for (low, high) in set.as_slice() {
            events.push((*low, number));
            if let Some(next) = high.next() {
                events.push((next, number));
            }
        }
    }
    events.sort_unstable();

    let mut ranges: Vec<(T, T, u32)> = Vec::new();
    let mut inside: Vec<u32> = Vec::new();
    let mut digest = 0;
    let mut rest = events.as_slice();
    while let Some((at, _)) = rest.first() {
        let (here, after) = rest.split_at(rest.partition_point(|event| event.0 == *at));
        for (_, set) in here {
            digest ^= mix(*set);
            match inside.binary_search(set) {
                Ok(place) => {
                    inside.remove(place);
                }
                Err(place) => inside.insert(place, *set),
            }
        }
        rest = after;
        if inside.is_empty() {
            continue;
        }
        let high = rest.first().and_then(|(next, _)| next.previous()).unwrap_or(T::MAX);
        ranges.push((*at, high, atoms.intern(digest, &inside)));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_where_membership_changes() {
        let sets: Vec<Ranges<u16>> =
            [vec![(10, 20)], vec![(15, 30)], vec![(5, 5), (65_000, u16::MAX)], vec![(10, 14), (31, 31)]]
                .into_iter()
                .map(Ranges::new)
                .collect();
        let mut atoms = Atoms::default();
        let ranges = partition(sets.iter(), &mut atoms);
        let told: Vec<(u16, u16, &[u32])> = ranges
            .iter()
            .map(|(low, high, atom)| (*low, *high, atoms.memberships()[*atom as usize].as_slice()))
            .collect();
        assert_eq!(
            told,
            [
                (5, 5, &[2][..]),
                (10, 14, &[0, 3]),
                (15, 20, &[0, 1]),
                (21, 30, &[1]),
                (31, 31, &[3]),
                (65_000, 65_535, &[2]),
            ]
        );
    }

    #[test]
    fn equal_memberships_are_one_atom() {
        let sets = [Ranges::new(vec![(1u16, 1), (3, 3)]), Ranges::new(vec![(3, 3), (5, 5)])];
        let mut atoms = Atoms::default();
        let ranges = partition(sets.iter(), &mut atoms);
        assert_eq!(ranges, [(1, 1, 0), (3, 3, 1), (5, 5, 2)]);
        let other = [Ranges::new(vec![(7u128, 9)])];
        assert_eq!(partition(other.iter(), &mut atoms), [(7, 9, 0)]);
    }
}
