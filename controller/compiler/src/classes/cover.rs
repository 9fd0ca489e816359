//! Covers a set of ids by ternary cubes.

use std::ops::RangeInclusive;

/// Matches an id whose bits under the mask are the value's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cube {
    /// Zero outside the mask.
    pub value: u16,
    /// Bits that matter.
    pub mask: u16,
}

impl Cube {
    /// The ids from the lowest to the highest that its leading bits let it match.
    pub(crate) fn block(self) -> RangeInclusive<u16> {
        let free = u16::MAX.checked_shr(self.mask.leading_ones()).unwrap_or(0);
        let low = self.value & !free;
        low..=low | free
    }

    /// Whether it matches this id.
    pub fn matches(self, id: u16) -> bool {
        id & self.mask == self.value
    }
}

/// How much the search for smaller covers may still cost, over all sets of a space.
#[derive(Debug)]
pub(super) struct Effort(u64);

impl Default for Effort {
    fn default() -> Self {
        Self(400_000_000)
    }
}

/// Cubes that match all ids in `on` and no other id in `used`; ids outside `used` may be matched or not. `on` is part of
/// `used`, both ascending.
pub(super) fn cover(on: &[u16], used: &[u16], effort: &mut Effort) -> Vec<Cube> {
    let mut cubes = Vec::new();
    prefix_cover(on, used, Cube { value: 0, mask: 0 }, &mut cubes);
    let cost = (cubes.len() * used.len()) as u64;
    if cubes.len() > 1 && cost <= effort.0 {
        effort.0 -= cost;
        let off = minus(used, on);
        let mut fewer = Vec::new();
        irredundant_cover(on, &off, 16, Cube { value: 0, mask: 0 }, &mut fewer);
        if fewer.len() < cubes.len() {
            cubes = fewer.into_iter().map(|cube| tightened(cube, on)).collect();
        }
    }
    cubes.sort_unstable();
    cubes
}

/// Ids of a block of so many that nobody has may be matched beside the ids that are meant: who comes there is most likely
/// one of them. Farther away others will come.
const NEAR: u16 = 16;

/// The cube with all the bits beyond [`NEAR`] in which the ids that it is for agree.
fn tightened(cube: Cube, on: &[u16]) -> Cube {
    let mut own = within(cube, on);
    let Some(first) = own.next() else { return cube };
    let differ = own.fold(0, |differ, id| differ | (id ^ first));
    let mask = cube.mask | (!differ & !(NEAR - 1));
    Cube { value: first & mask, mask }
}

/// Those of some ids, ascending, that a cube matches: only the block that its leading bits say is looked at.
pub(super) fn within(cube: Cube, ids: &[u16]) -> impl Iterator<Item = u16> + '_ {
    let block = cube.block();
    let start = ids.partition_point(|id| id < block.start());
    let end = ids.partition_point(|id| id <= block.end());
    ids[start..end].iter().copied().filter(move |id| cube.matches(*id))
}

/// Halves the ids from the highest bit on until a half holds ids of one kind only.
fn prefix_cover(on: &[u16], used: &[u16], cube: Cube, cubes: &mut Vec<Cube>) {
    if on.is_empty() {
        return;
    }
    if on.len() == used.len() {
        cubes.push(cube);
        return;
    }
    let bit = 0x8000 >> cube.mask.count_ones();
    let mask = cube.mask | bit;
    let middle = cube.value | bit;
    let (on_0, on_1) = on.split_at(on.partition_point(|id| *id < middle));
    let (used_0, used_1) = used.split_at(used.partition_point(|id| *id < middle));
    prefix_cover(on_0, used_0, Cube { value: cube.value, mask }, cubes);
    prefix_cover(on_1, used_1, Cube { value: middle, mask }, cubes);
}

/// The irredundant sum of products after Minato and Morreale: of both halves first what only that half can have, then
/// what may be matched without looking at the bit. `on` and `off` are ids below 2^bits, ascending.
fn irredundant_cover(on: &[u16], off: &[u16], bits: u32, cube: Cube, cubes: &mut Vec<Cube>) {
    if on.is_empty() {
        return;
    }
    if off.is_empty() || bits == 0 {
        cubes.push(cube);
        return;
    }
    let bit = 1u16 << (bits - 1);
    let halves = |ids: &[u16]| {
        let (low, high) = ids.split_at(ids.partition_point(|id| id & bit == 0));
        (low.to_vec(), high.iter().map(|id| id & !bit).collect::<Vec<u16>>())
    };
    let (on_0, on_1) = halves(on);
    let (off_0, off_1) = halves(off);
    let mask = cube.mask | bit;

    let start = cubes.len();
    irredundant_cover(&common(&on_0, &off_1), &off_0, bits - 1, Cube { value: cube.value, mask }, cubes);
    let middle = cubes.len();
    irredundant_cover(
        &common(&on_1, &off_0),
        &off_1,
        bits - 1,
        Cube { value: cube.value | bit, mask },
        cubes,
    );

    let low_bits = bit - 1;
    let left_by = |ids: &[u16], cubes: &[Cube]| -> Vec<u16> {
        let open = |id: &&u16| !cubes.iter().any(|cube| (**id ^ cube.value) & cube.mask & low_bits == 0);
        ids.iter().filter(open).copied().collect()
    };
    let rest = union(&left_by(&on_0, &cubes[start..middle]), &left_by(&on_1, &cubes[middle..]));
    irredundant_cover(&rest, &union(&off_0, &off_1), bits - 1, cube, cubes);
}

fn common(left: &[u16], right: &[u16]) -> Vec<u16> {
    let (short, long) = if left.len() < right.len() { (left, right) } else { (right, left) };
    short.iter().filter(|id| long.binary_search(id).is_ok()).copied().collect()
}

fn minus(left: &[u16], right: &[u16]) -> Vec<u16> {
    left.iter().filter(|id| right.binary_search(id).is_err()).copied().collect()
}

fn union(left: &[u16], right: &[u16]) -> Vec<u16> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => {
                let next = **a.min(b);
                left.next_if(|id| **id == next);
                right.next_if(|id| **id == next);
                all.push(next);
            }
            (Some(_), None) => {
                all.extend(left.copied());
                return all;
            }
            (None, _) => {
                all.extend(right.copied());
                return all;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Ids in use, with a mark on those in the set; 0 is in use and never in the set.
    fn ids() -> impl Strategy<Value = BTreeSet<(u16, bool)>> {
        let id = prop_oneof![3 => 1u16..64, 1 => any::<u16>().prop_map(|id| id.max(1))];
        proptest::collection::btree_map(id, any::<bool>(), 0..60).prop_map(|ids| ids.into_iter().collect())
    }

    proptest! {
        #[test]
        fn exactly_the_set_among_ids_in_use(ids in ids(), effort in any::<bool>()) {
            let on: Vec<u16> = ids.iter().filter(|(_, marked)| *marked).map(|(id, _)| *id).collect();
            let mut used: Vec<u16> = ids.iter().map(|(id, _)| *id).collect();
            used.insert(0, 0);
            let mut effort = if effort { Effort::default() } else { Effort(0) };
            let cubes = cover(&on, &used, &mut effort);
            for id in &used {
                let matched = cubes.iter().any(|cube| cube.matches(*id));
                prop_assert_eq!(matched, on.contains(id), "{}", id);
            }
            for cube in &cubes {
                prop_assert_eq!(cube.value & !cube.mask, 0);
            }
            prop_assert!(cubes.len() <= on.len());
        }

        #[test]
        fn no_cube_is_redundant(ids in ids()) {
            let on: Vec<u16> = ids.iter().filter(|(_, marked)| *marked).map(|(id, _)| *id).collect();
            let off: Vec<u16> = ids.iter().filter(|(_, marked)| !*marked).map(|(id, _)| *id).collect();
            let mut cubes = Vec::new();
            irredundant_cover(&on, &off, 16, Cube { value: 0, mask: 0 }, &mut cubes);
            for left_out in 0..cubes.len() {
                let covered = on.iter().all(|id| {
                    cubes.iter().enumerate().any(|(index, cube)| index != left_out && cube.matches(*id))
                });
                prop_assert!(!covered, "{:?} without cube {}", cubes, left_out);
            }
        }
    }

    #[test]
    fn known_covers() {
        let all: Vec<u16> = (0..16).collect();
        let odd: Vec<u16> = (0..16).filter(|id| id % 2 == 1).collect();
        let mut effort = Effort::default();
        assert_eq!(cover(&odd, &all, &mut effort), [Cube { value: 1, mask: 0xfff1 }]);
        assert_eq!(cover(&[], &all, &mut effort), []);
        // 1..=15 of 16 ids: four cubes, one for each bit.
        assert_eq!(cover(&all[1..], &all, &mut effort).len(), 4);
        // Ids that nobody has may be matched.
        assert_eq!(cover(&[5], &[0, 5], &mut effort).len(), 1);
    }
}
