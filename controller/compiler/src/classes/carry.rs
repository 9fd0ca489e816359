//! Ids that stay: who has had one keeps it, and who is new gets one that the cubes of its sets match already.
//!
//! A class of before is the same class now where it holds the same addresses, so ids pass on by what they hold:
//!
//! ```text
//! before   |  7   |    9     |        each piece is of one class before and of one now
//! now      |   a     |   b   |
//! pieces   | 7a | 9a |  9b   |   →   a keeps 7, b keeps 9 (the larger piece), what is new in a becomes 7
//! ```
//! So a class may have several ids, where two have become one; that costs nothing until too many ids say the same
//! ([`too_many`]). An edit that changes nothing changes no id.

use std::collections::{BTreeMap, BTreeSet};

use super::cover::Cube;
use super::matching::Matching;

/// Of the part of the line that is of some class now: its class now, and its id before (0: none).
pub(super) type Piece = (u32, u16);

/// Who keeps what.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By id of before: who has it now.
    owners: BTreeMap<u16, u32>,
    /// By class: its ids, the one that newcomers get first. Empty: it needs one.
    pub(super) ids: Vec<Vec<u16>>,
}

/// How many ids there may be where there are so many classes.
fn too_many(classes: usize) -> usize {
    classes + classes / 16 + 16
}

impl Kept {
    pub(super) fn new(classes: usize, pieces: impl Iterator<Item = Piece>) -> Self {
        let mut shares: BTreeMap<Piece, usize> = BTreeMap::new();
        for (class, before) in pieces.filter(|(_, before)| *before != 0) {
            *shares.entry((class, before)).or_default() += 1;
        }
        // The largest piece keeps the id.
        let mut owners: BTreeMap<u16, (usize, u32)> = BTreeMap::new();
        for ((class, before), size) in &shares {
            let best = owners.entry(*before).or_insert((*size, *class));
            if *size > best.0 {
                *best = (*size, *class);
            }
        }
        let mut ids: Vec<Vec<(usize, u16)>> = vec![Vec::new(); classes];
        for (before, (size, class)) in &owners {
            ids[*class as usize].push((*size, *before));
        }
        let mut twins: Vec<(usize, u16, u32)> = Vec::new();
        for (class, ids) in (0u32..).zip(&mut ids) {
            ids.sort_unstable_by_key(|(size, id)| (std::cmp::Reverse(*size), *id));
            twins.extend(ids.iter().skip(1).map(|(size, id)| (*size, *id, class)));
        }
        let mut kept = Self {
            owners: owners.into_iter().map(|(id, (_, class))| (id, class)).collect(),
            ids: ids.into_iter().map(|ids| ids.into_iter().map(|(_, id)| id).collect()).collect(),
        };
        // The smallest twins go first: fewest addresses change their id.
        twins.sort_unstable();
        let all = kept.ids.iter().map(|ids| ids.len().max(1)).sum::<usize>();
        for (_, id, class) in twins.into_iter().take(all.saturating_sub(too_many(classes))) {
            kept.owners.remove(&id);
            kept.ids[class as usize].retain(|own| *own != id);
        }
        kept
    }

    /// These ids, one for each class, and nobody before.
    pub(super) fn anew(ids: &[u16]) -> Self {
        Self { owners: BTreeMap::new(), ids: ids.iter().map(|id| vec![*id]).collect() }
    }

    /// The id of a piece; its class has one.
    pub(super) fn id(&self, (class, before): Piece) -> u16 {
        if self.owners.get(&before) == Some(&class) { before } else { self.ids[class as usize][0] }
    }

    /// The classes that have none yet.
    pub(super) fn newcomers(&self) -> Vec<u32> {
        (0u32..).zip(&self.ids).filter(|(_, ids)| ids.is_empty()).map(|(class, _)| class).collect()
    }
}

/// Whether so many newcomers among so many classes are better numbered with all others anew than one by one.
pub(super) fn is_too_much(newcomers: usize, classes: usize) -> bool {
    newcomers > MANY || newcomers > FEW && newcomers * 4 > classes || newcomers == classes
}

const MANY: usize = 512;
const FEW: usize = 16;

/// A cube that matches a stranger has to be cut into several.
const STRANGER: u64 = 3;
/// Free ids are looked at in blocks of so many.
const BLOCK: u16 = 16;
/// Sets of a newcomer beside whose members it may go, and members looked at of each.
const NEIGHBOURS: (usize, usize) = (8, 16);
/// Free ids that are compared.
const MOST: usize = 96;
/// Empty blocks among them.
const EMPTY: usize = 8;

/// Gives ids to newcomers, one after the other.
pub(super) struct Placing<'p> {
    /// The sets of each class.
    pub(super) memberships: &'p [Vec<u32>],
    /// How many rows use each set.
    pub(super) uses: &'p [u32],
    /// The ids of each set's members.
    pub(super) members: &'p mut [BTreeSet<u16>],
    /// The cubes of each set, as far as they are known.
    pub(super) covers: &'p mut [Vec<Cube>],
}

impl Placing<'_> {
    /// An id for each newcomer; none where there are too few.
    pub(super) fn place(&mut self, newcomers: &[u32], kept: &mut Kept) -> Option<()> {
        let mut used: BTreeSet<u16> = kept.owners.keys().copied().collect();
        used.insert(0);
        let mut matching = Matching::default();
        for (set, cubes) in (0u32..).zip(self.covers.iter()) {
            cubes.iter().for_each(|cube| matching.add(*cube, set));
        }
        for class in newcomers {
            let membership = &self.memberships[*class as usize];
            let id = self.best(membership, &used, &matching)?;
            used.insert(id);
            kept.ids[*class as usize].push(id);
            for set in membership {
                let cubes = &mut self.covers[*set as usize];
                if !cubes.iter().any(|cube| cube.matches(id)) {
                    let cube = Cube { value: id, mask: u16::MAX };
                    cubes.push(cube);
                    matching.add(cube, *set);
                }
                self.members[*set as usize].insert(id);
            }
        }
        Some(())
    }

    fn best(&self, membership: &[u32], used: &BTreeSet<u16>, matching: &Matching) -> Option<u16> {
        let cost = |id: &u16| {
            let found = matching.sets(*id);
            let weight = |set: &u32| u64::from(self.uses[*set as usize]);
            let missing: u64 = membership.iter().filter(|set| found.binary_search(set).is_err()).map(weight).sum();
            let strange: u64 =
                found.iter().filter(|set| membership.binary_search(set).is_err()).map(weight).sum();
            missing + STRANGER * strange
        };
        let candidates = self.candidates(membership, used);
        candidates.into_iter().map(|id| (cost(&id), id)).min().map(|(_, id)| id)
    }

    /// Free ids beside the members of the newcomer's smallest sets, and in blocks that are empty.
    fn candidates(&self, membership: &[u32], used: &BTreeSet<u16>) -> BTreeSet<u16> {
        let mut smallest: Vec<(usize, u32)> =
            membership.iter().map(|set| (self.members[*set as usize].len(), *set)).collect();
        smallest.sort_unstable();
        let mut blocks: BTreeSet<u16> = BTreeSet::new();
        let mut candidates: BTreeSet<u16> = BTreeSet::new();
        let mut look = |block: u16, candidates: &mut BTreeSet<u16>| {
            if blocks.insert(block) {
                let all = block..=block + (BLOCK - 1);
                candidates.extend(all.filter(|id| !used.contains(id)));
            }
        };
        for (_, set) in smallest.iter().filter(|(members, _)| *members > 0).take(NEIGHBOURS.0) {
            for id in self.members[*set as usize].iter().take(NEIGHBOURS.1) {
                if candidates.len() < MOST {
                    look(id & !(BLOCK - 1), &mut candidates);
                }
            }
        }
        let all_blocks = (0..=u16::MAX / BLOCK).map(|block| block * BLOCK);
        let empty = all_blocks.filter(|block| used.range(*block..=*block + (BLOCK - 1)).next().is_none());
        candidates.extend(empty.take(EMPTY));
        if candidates.is_empty() {
            candidates.extend((1..=u16::MAX).find(|id| !used.contains(id)));
        }
        candidates
    }
}
