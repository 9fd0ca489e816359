//! Classes: numbers for what policies tell apart, so that rules match numbers and not addresses.
//!
//! Two addresses (or ports) are of one class when the same of the given sets hold them. Classes get 16-bit ids;
//! class 0 is "in none of the sets". A set is then a handful of ternary cubes over ids ([`Classes::cubes`]), fewer
//! the better the ids are chosen: sets within sets get blocks of ids aligned to powers of two ([`numbering`]), and ids
//! that nobody has may be matched or not, as it suits ([`cover`]).
//!
//! Ids and cubes are carried on from one intent to the next ([`Before`]): what did not change keeps them
//! ([`carry`], [`repair`]), so that the entries of a switch change as little as the intent.
//!
//! Everything here depends on the sets and the numbers of before alone, not on the order in which sets are added.

mod ancestor;
mod carry;
mod cover;
mod ids;
pub(crate) mod live;
mod matching;
mod numbering;
mod partition;
mod prefixes;
mod repair;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::addresses::AddressSet;
use crate::ranges::{Point, Ranges};
use ancestor::Ancestors;
use carry::Kept;

pub use cover::Cube;
pub(crate) use ids::Ids;
pub use prefixes::{Prefix, carried_prefixes, longest_prefixes, overlay, ranges_of};
pub(crate) use prefixes::{differing, flatten, is_about, rewrite};

/// A set in a [`Catalog`], and later in its [`Classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(u32);

impl SetId {
    /// Its place in the catalog.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Sets to be told apart, each kept once.
#[derive(Debug)]
pub struct Catalog<S> {
    sets: Vec<Arc<S>>,
    ids: HashMap<Arc<S>, SetId>,
}

impl<S> Default for Catalog<S> {
    fn default() -> Self {
        Self { sets: Vec::new(), ids: HashMap::new() }
    }
}

impl<S: Clone + Eq + Hash> Catalog<S> {
    /// The id of a set; equal sets have equal ids.
    ///
    /// # Panics
    /// With 2^32 sets, which fit in no memory.
    pub fn add(&mut self, set: &S) -> SetId {
        if let Some(id) = self.ids.get(set) {
            return *id;
        }
        let id = SetId(u32::try_from(self.sets.len()).expect("fewer than 2^32 sets fit in memory"));
        let set = Arc::new(set.clone());
        self.sets.push(Arc::clone(&set));
        self.ids.insert(set, id);
        id
    }
}

impl<S> Catalog<S> {
    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// A set by its id, shared.
    pub(crate) fn shared(&self, id: SetId) -> Option<Arc<S>> {
        self.sets.get(id.0 as usize).cloned()
    }

    fn order(&self, one: u32, other: u32) -> Ordering
    where
        S: Ord,
    {
        self.sets[one as usize].cmp(&self.sets[other as usize])
    }

    /// A set by its id.
    pub fn get(&self, id: SetId) -> Option<&S> {
        self.sets.get(id.0 as usize).map(Arc::as_ref)
    }
}

/// There are more classes than 16-bit ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooManyClasses {
    /// The sets that each class is in; class 0 is not counted.
    pub classes: Vec<Vec<SetId>>,
}

/// How many classes there can be beside class 0.
pub const MAX_CLASSES: usize = 65_535;

/// The ids of classes and the cubes of sets.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    cubes: Vec<Vec<Cube>>,
    count: usize,
}

impl Classes {
    /// The cubes that match the set's classes, no other class and not class 0. They may overlap. None for a set that
    /// has no members.
    pub fn cubes(&self, set: SetId) -> &[Cube] {
        self.cubes.get(set.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The same, by a set's place in its catalog.
    pub(crate) fn cubes_of(&self, place: u32) -> &[Cube] {
        self.cubes(SetId(place))
    }

    /// How many ids there are in use beside class 0.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The cubes of all sets, ascending, each cover once.
    pub fn covers(&self) -> Vec<Vec<Cube>> {
        let mut covers: Vec<Vec<Cube>> =
            self.cubes.iter().filter(|cubes| !cubes.is_empty()).cloned().collect();
        covers.sort_unstable();
        covers.dedup();
        covers
    }
}

/// Numbers low..=high of one class.
pub type ClassRange<T> = (T, T, u16);

/// Classes of addresses.
#[derive(Clone, Debug, Default)]
pub struct AddressClasses {
    /// Ids and cubes.
    pub classes: Classes,
    /// The classes of IPv4 addresses, ascending, without class 0.
    pub v4: Vec<ClassRange<u32>>,
    /// The classes of IPv6 addresses, ascending, without class 0.
    pub v6: Vec<ClassRange<u128>>,
}

/// Classes of ports.
#[derive(Clone, Debug, Default)]
pub struct PortClasses {
    /// Ids and cubes.
    pub classes: Classes,
    /// The classes of ports, ascending, without class 0.
    pub ports: Vec<ClassRange<u16>>,
}

/// Who had which id, and by which cubes sets were matched: what numbering goes on from. Empty: nothing is numbered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before<'b> {
    /// Of IPv4 addresses, ascending, without class 0.
    pub v4: Vec<ClassRange<u32>>,
    /// Of IPv6 addresses.
    pub v6: Vec<ClassRange<u128>>,
    /// Of ports.
    pub ports: &'b [ClassRange<u16>],
    /// The cubes of each set, ascending; which set that is, follows from the ids.
    pub covers: &'b [Vec<Cube>],
}

impl Catalog<AddressSet> {
    /// Tells all addresses apart by these sets. `uses`: by how many rows each set is used.
    pub fn classify(&self, before: &Before<'_>, uses: &[u32]) -> Result<AddressClasses, TooManyClasses> {
        let mut atoms = partition::Atoms::default();
        let v4 = partition::partition(self.sets.iter().map(|set| &set.v4), &mut atoms);
        let v6 = partition::partition(self.sets.iter().map(|set| &set.v6), &mut atoms);
        let (v4, v6) = (pieces(&v4, &before.v4), pieces(&v6, &before.v6));
        let all = v4.iter().map(|piece| piece.2).chain(v6.iter().map(|piece| piece.2));
        let (kept, classes) = number(&atoms, uses, all, before.covers, &|one, other| self.order(one, other))?;
        Ok(AddressClasses { classes, v4: with_ids(&v4, &kept), v6: with_ids(&v6, &kept) })
    }
}

impl Catalog<Ranges<u16>> {
    /// Tells all ports apart by these sets. `uses`: by how many rows each set is used.
    pub fn classify(&self, before: &Before<'_>, uses: &[u32]) -> Result<PortClasses, TooManyClasses> {
        let mut atoms = partition::Atoms::default();
        let ports = partition::partition(self.sets.iter().map(Arc::as_ref), &mut atoms);
        let ports = pieces(&ports, before.ports);
        let all = ports.iter().map(|piece| piece.2);
        let (kept, classes) = number(&atoms, uses, all, before.covers, &|one, other| self.order(one, other))?;
        Ok(PortClasses { classes, ports: with_ids(&ports, &kept) })
    }
}

/// The order of sets by what they hold: what becomes of one after the other does not depend on their numbers.
type ByContent<'c> = dyn Fn(u32, u32) -> Ordering + 'c;

/// Ids of atoms, and the cubes of all sets over them.
fn number(
    atoms: &partition::Atoms,
    uses: &[u32],
    pieces: impl Iterator<Item = carry::Piece>,
    before: &[Vec<Cube>],
    order: &ByContent<'_>,
) -> Result<(Kept, Classes), TooManyClasses> {
    let memberships = atoms.memberships();
    if memberships.len() > MAX_CLASSES {
        let sets = |membership: &Vec<u32>| membership.iter().map(|set| SetId(*set)).collect();
        return Err(TooManyClasses { classes: memberships.iter().map(sets).collect() });
    }
    let kept = Kept::new(memberships.len(), pieces);
    let newcomers = kept.newcomers();
    let carried = if carry::is_too_much(newcomers.len(), memberships.len()) {
        None
    } else {
        carried(memberships, uses, kept, &newcomers, before, order)
    };
    Ok(carried.unwrap_or_else(|| anew(memberships, uses.len(), order)))
}

/// All ids and cubes anew.
fn anew(memberships: &[Vec<u32>], sets: usize, order: &ByContent<'_>) -> (Kept, Classes) {
    let mut in_order: Vec<u32> = (0u32..).take(sets).collect();
    in_order.sort_unstable_by(|one, other| order(*one, *other));
    let ids = numbering::number(memberships, &in_order);
    let kept = Kept::anew(&ids);
    let members = members(memberships, &kept, sets);
    let taken = taken(&kept);
    let mut effort = cover::Effort::default();
    let mut cubes: Vec<Vec<Cube>> = vec![Vec::new(); sets];
    for set in in_order {
        cubes[set as usize] = cover::cover(&members[set as usize], &taken, &mut effort);
    }
    let classes = Classes { cubes, count: ids.len() };
    (kept, classes)
}

/// Ids and cubes that go on from those of before; none where there are no more ids.
fn carried(
    memberships: &[Vec<u32>],
    uses: &[u32],
    mut kept: Kept,
    newcomers: &[u32],
    before: &[Vec<Cube>],
    order: &ByContent<'_>,
) -> Option<(Kept, Classes)> {
    let old = taken(&kept);
    let members = members(memberships, &kept, uses.len());
    let ancestors = Ancestors::new(before, &old[1..]);
    let mut effort = cover::Effort::default();
    // A set's cubes of before, or what they would be without the newcomers; what has to be looked at again.
    let (mut doubtful, mut anew) = (Vec::new(), Vec::new());
    let mut covers: Vec<Vec<Cube>> = Vec::with_capacity(uses.len());
    for (set, ids) in (0u32..).zip(&members) {
        let (cubes, is_right) = ancestors.of(ids).unwrap_or_else(|| {
            anew.push(set);
            (&[], true)
        });
        covers.push(cubes.to_vec());
        doubtful.extend((!is_right).then_some(set));
    }
    anew.sort_unstable_by(|one, other| order(*one, *other));
    for set in anew {
        covers[set as usize] = cover::cover(&members[set as usize], &old, &mut effort);
    }
    let known: Vec<Vec<u16>> = members.clone();
    let mut placing = carry::Placing::new(memberships, uses, members, covers, &kept);
    placing.leave(&mut kept, &old, &doubtful);
    placing.place(newcomers, &mut kept)?;
    let taken = taken(&kept);
    let strangers: Vec<u16> = taken.iter().filter(|id| old.binary_search(id).is_err()).copied().collect();
    let carry::Placing { members, mut covers, .. } = placing;
    let near = doubtful;
    let mut open = near.clone();
    for (set, ids) in (0u32..).zip(&members) {
        let strange = |id: &u16| {
            ids.binary_search(id).is_err() && covers[set as usize].iter().any(|cube| cube.matches(*id))
        };
        if known[set as usize] != *ids || strangers.iter().any(strange) {
            open.push(set);
        }
    }
    open.sort_unstable_by(|one, other| order(*one, *other));
    open.dedup();
    for set in open {
        let cubes = &mut covers[set as usize];
        let own = near.binary_search(&set).is_err();
        *cubes = repair::repair(cubes, own, &members[set as usize], &taken, &mut effort);
    }
    Some((kept, Classes { cubes: covers, count: taken.len() - 1 }))
}

/// The ids of each set's members, ascending.
fn members(memberships: &[Vec<u32>], kept: &Kept, sets: usize) -> Vec<Vec<u16>> {
    let mut members = vec![Vec::new(); sets];
    for (membership, ids) in memberships.iter().zip(&kept.ids) {
        for set in membership {
            members[*set as usize].extend(ids);
        }
    }
    for ids in &mut members {
        ids.sort_unstable();
    }
    members
}

/// 0 and the ids that somebody has, ascending.
fn taken(kept: &Kept) -> Vec<u16> {
    let mut used: Vec<u16> = kept.ids.iter().flatten().copied().chain([0]).collect();
    used.sort_unstable();
    used
}

/// Ranges of numbers, cut where they have another id before.
type Pieces<T> = Vec<(T, T, carry::Piece)>;

fn pieces<T: Point>(now: &[(T, T, u32)], before: &[ClassRange<T>]) -> Pieces<T> {
    let mut pieces = Vec::with_capacity(now.len());
    let mut rest = before;
    for (low, high, class) in now {
        let mut at = Some(*low);
        while let Some(start) = at.filter(|start| start <= high) {
            rest = &rest[rest.partition_point(|range| range.1 < start)..];
            let (end, id) = match rest.first() {
                Some((from, to, id)) if *from <= start => ((*to).min(*high), *id),
                Some((from, ..)) => (from.previous().unwrap_or(start).min(*high), 0),
                None => (*high, 0),
            };
            pieces.push((start, end, (*class, id)));
            at = end.next();
        }
    }
    pieces
}

/// The pieces with their ids, neighbours of one id as one.
fn with_ids<T: Point>(pieces: &Pieces<T>, kept: &Kept) -> Vec<ClassRange<T>> {
    let mut ranges: Vec<ClassRange<T>> = Vec::with_capacity(pieces.len());
    for (low, high, piece) in pieces {
        let id = kept.id(*piece);
        match ranges.last_mut() {
            Some(last) if last.2 == id && last.1.next() == Some(*low) => last.1 = *high,
            _ => ranges.push((*low, *high, id)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = Vec<Ranges<u16>>> {
        let range = (0u16..200, 0u16..40).prop_map(|(low, length)| (low, low + length));
        let set = proptest::collection::vec(range, 0..5).prop_map(Ranges::new);
        let full = Just(Ranges::full());
        proptest::collection::vec(prop_oneof![20 => set, 1 => full], 0..14)
    }

    fn class_of(ranges: &[ClassRange<u16>], port: u16) -> u16 {
        ranges.iter().find(|(low, high, _)| (*low..=*high).contains(&port)).map_or(0, |range| range.2)
    }

    proptest! {
        #[test]
        fn a_sets_cubes_match_its_members_and_nothing_else(sets in sets()) {
            let mut catalog = Catalog::default();
            let ids: Vec<SetId> = sets.iter().map(|set| catalog.add(set)).collect();
            let classified = catalog.classify(&Before::default(), &vec![1; catalog.len()]).unwrap();
            for (set, id) in sets.iter().zip(ids) {
                let cubes = classified.classes.cubes(id);
                prop_assert!(!cubes.iter().any(|cube| cube.matches(0)), "class 0 is in no set");
                for port in (0..=260).chain([u16::MAX]) {
                    let class = class_of(&classified.ports, port);
                    let matched = cubes.iter().any(|cube| cube.matches(class));
                    prop_assert_eq!(matched, set.contains(port), "port {} of class {}", port, class);
                }
            }
        }

        #[test]
        fn classes_of_addresses_are_prefixes(sets in sets()) {
            let mut catalog = Catalog::default();
            let widen = |set: &Ranges<u16>| {
                let ranges = |shift: u32| set.as_slice().iter().map(move |(low, high)| {
                    (u32::from(*low) << shift, (u32::from(*high) << shift) | ((1 << shift) - 1))
                });
                AddressSet {
                    v4: Ranges::new(ranges(3).collect()),
                    v6: Ranges::new(ranges(0).map(|(low, high)| (u128::from(low), u128::from(high))).collect()),
                }
            };
            for set in &sets {
                catalog.add(&widen(set));
            }
            let classified = catalog.classify(&Before::default(), &vec![1; catalog.len()]).unwrap();
            let prefixes = longest_prefixes(&classified.v4);
            for number in (0u32..2200).chain([u32::MAX]) {
                let longest = prefixes
                    .iter()
                    .filter(|prefix| number.prefix(prefix.length).0 == prefix.value)
                    .max_by_key(|prefix| prefix.length)
                    .map_or(0, |prefix| prefix.class);
                let class = classified
                    .v4
                    .iter()
                    .find(|(low, high, _)| (*low..=*high).contains(&number))
                    .map_or(0, |range| range.2);
                prop_assert_eq!(longest, class, "{}", number);
            }
        }
    }

    #[test]
    fn nested_and_disjoint_sets_are_one_cube_each() {
        let mut catalog = Catalog::default();
        let mut ids = Vec::new();
        for block in 0..8u16 {
            ids.push(catalog.add(&Ranges::new(vec![(block * 1000, block * 1000 + 499)])));
            for inner in 0..5 {
                let low = block * 1000 + inner * 50;
                ids.push(catalog.add(&Ranges::new(vec![(low, low + 20)])));
            }
        }
        let classified = catalog.classify(&Before::default(), &vec![1; catalog.len()]).unwrap();
        assert_eq!(classified.classes.count(), 8 * 6);
        for id in ids {
            assert_eq!(classified.classes.cubes(id).len(), 1);
        }
    }

    #[test]
    fn more_classes_than_ids() {
        let mut catalog: Catalog<AddressSet> = Catalog::default();
        for address in 0..66_000u32 {
            catalog.add(&AddressSet {
                v4: Ranges::new(vec![(address * 2, address * 2)]),
                v6: Ranges::default(),
            });
        }
        assert_eq!(
            catalog.classify(&Before::default(), &vec![1; catalog.len()]).unwrap_err().classes.len(),
            66_000
        );
    }

    #[test]
    fn as_many_classes_as_ids() {
        let mut catalog: Catalog<AddressSet> = Catalog::default();
        for address in 0..65_535u32 {
            catalog.add(&AddressSet {
                v4: Ranges::new(vec![(address * 2, address * 2)]),
                v6: Ranges::default(),
            });
        }
        let classified = catalog.classify(&Before::default(), &vec![1; catalog.len()]).unwrap();
        let mut ids: Vec<u16> = classified.v4.iter().map(|range| range.2).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=u16::MAX));
    }
}
