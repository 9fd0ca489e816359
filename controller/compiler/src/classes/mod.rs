//! Classes: numbers for what policies tell apart, so that rules match numbers and not addresses.
//!
//! Two addresses (or ports) are of one class when the same of the given sets hold them. Classes get 16-bit ids;
//! class 0 is "in none of the sets". A set is then a handful of ternary cubes over ids ([`Classes::cubes`]), fewer
//! the better the ids are chosen: sets within sets get blocks of ids aligned to powers of two ([`numbering`]), and ids
//! that nobody has may be matched or not, as it suits ([`cover`]).
//!
//! Everything here depends on the sets and their order alone.

mod cover;
mod numbering;
mod partition;
mod prefixes;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::addresses::AddressSet;
use crate::ranges::{Point, Ranges};

pub use cover::Cube;
pub use prefixes::{Prefix, longest_prefixes, overlay};

/// A set in a [`Catalog`], and later in its [`Classes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(u32);

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

    /// How many classes there are beside class 0.
    pub fn count(&self) -> usize {
        self.count
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

impl Catalog<AddressSet> {
    /// Tells all addresses apart by these sets.
    pub fn classify(&self) -> Result<AddressClasses, TooManyClasses> {
        let mut atoms = partition::Atoms::default();
        let v4 = partition::partition(self.sets.iter().map(|set| &set.v4), &mut atoms);
        let v6 = partition::partition(self.sets.iter().map(|set| &set.v6), &mut atoms);
        let (ids, classes) = number(&atoms, self.sets.len())?;
        Ok(AddressClasses { classes, v4: with_ids(&v4, &ids), v6: with_ids(&v6, &ids) })
    }
}

impl Catalog<Ranges<u16>> {
    /// Tells all ports apart by these sets.
    pub fn classify(&self) -> Result<PortClasses, TooManyClasses> {
        let mut atoms = partition::Atoms::default();
        let ports = partition::partition(self.sets.iter().map(Arc::as_ref), &mut atoms);
        let (ids, classes) = number(&atoms, self.sets.len())?;
        Ok(PortClasses { classes, ports: with_ids(&ports, &ids) })
    }
}

/// Ids of atoms, and the cubes of all sets over them.
fn number(atoms: &partition::Atoms, sets: usize) -> Result<(Vec<u16>, Classes), TooManyClasses> {
    let count = atoms.memberships().len();
    if count > MAX_CLASSES {
        let sets = |membership: &Vec<u32>| membership.iter().map(|set| SetId(*set)).collect();
        return Err(TooManyClasses { classes: atoms.memberships().iter().map(sets).collect() });
    }
    let ids = numbering::number(atoms.memberships(), sets);
    let mut members: Vec<Vec<u16>> = vec![Vec::new(); sets];
    for (membership, id) in atoms.memberships().iter().zip(&ids) {
        for set in membership {
            members[*set as usize].push(*id);
        }
    }
    let mut used: Vec<u16> = ids.clone();
    used.push(0);
    used.sort_unstable();
    let mut effort = cover::Effort::default();
    let cubes = members
        .into_iter()
        .map(|mut ids| {
            ids.sort_unstable();
            cover::cover(&ids, &used, &mut effort)
        })
        .collect();
    Ok((ids, Classes { cubes, count }))
}

fn with_ids<T: Point>(ranges: &[(T, T, u32)], ids: &[u16]) -> Vec<ClassRange<T>> {
    ranges.iter().map(|(low, high, atom)| (*low, *high, ids[*atom as usize])).collect()
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
            let classified = catalog.classify().unwrap();
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
            let classified = catalog.classify().unwrap();
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
        let classified = catalog.classify().unwrap();
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
        assert_eq!(catalog.classify().unwrap_err().classes.len(), 66_000);
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
        let classified = catalog.classify().unwrap();
        let mut ids: Vec<u16> = classified.v4.iter().map(|range| range.2).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(1..=u16::MAX));
    }
}
