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

use super::ancestor::matched;
use super::cover::Cube;
use super::matching::Matching;

/// Of the part of the line that is of some class now: its class now, and its id before (0: none).
pub(super) type Piece = (u32, u16);

/// Who keeps what.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By id of before: who has it now, and how many pieces it has there.
    owners: BTreeMap<u16, (u32, usize)>,
    /// By class: its ids, the one that newcomers get first. Empty: it needs one.
    pub(super) ids: Vec<Vec<u16>>,
}

/// How many ids there may be where there are so many classes.
fn too_many(classes: usize) -> usize {
    classes + classes / 16 + 16
}

impl Kept {
    pub(super) fn new(classes: usize, pieces: impl Iterator<Item = Piece>) -> Self {
        let mut shares: Vec<Piece> = pieces.filter(|(_, before)| *before != 0).collect();
        shares.sort_unstable();
        // The largest piece keeps the id.
        let mut owners: BTreeMap<u16, (usize, u32)> = BTreeMap::new();
        for share in shares.chunk_by(|one, other| one == other) {
            let ((class, before), size) = (share[0], share.len());
            let best = owners.entry(before).or_insert((size, class));
            if size > best.0 {
                *best = (size, class);
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
            owners: owners.into_iter().map(|(id, (size, class))| (id, (class, size))).collect(),
            ids: ids.into_iter().map(|ids| ids.into_iter().map(|(_, id)| id).collect()).collect(),
        };
        // The smallest twins go first: fewest addresses change their id.
        twins.sort_unstable();
        let all = kept.ids.iter().map(|ids| ids.len().max(1)).sum::<usize>();
        for (_, id, _) in twins.into_iter().take(all.saturating_sub(too_many(classes))) {
            kept.give_up(id);
        }
        kept
    }

    /// Who has an id.
    pub(super) fn owner(&self, id: u16) -> Option<u32> {
        self.owners.get(&id).map(|(class, _)| *class)
    }

    /// The ids of a class, the one that newcomers get first.
    pub(super) fn ids_of(&self, class: u32) -> &[u16] {
        self.ids.get(class as usize).map_or(&[], Vec::as_slice)
    }

    /// A class has an id, and so many pieces with it.
    pub(super) fn own(&mut self, id: u16, class: u32, size: usize) {
        let before = self.owners.insert(id, (class, size)).map(|(class, _)| class);
        if let Some(before) = before.filter(|before| *before != class) {
            self.ids[before as usize].retain(|own| *own != id);
        }
        let ids = self.ids_mut(class);
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    /// Those of a class, which may be new.
    fn ids_mut(&mut self, class: u32) -> &mut Vec<u16> {
        if self.ids.len() <= class as usize {
            self.ids.resize(class as usize + 1, Vec::new());
        }
        &mut self.ids[class as usize]
    }

    /// Brings the ids of classes into their order.
    pub(super) fn sort(&mut self, classes: impl IntoIterator<Item = u32>) {
        for class in classes {
            let Some(ids) = self.ids.get_mut(class as usize) else { continue };
            let size = |id: &u16| self.owners.get(id).map_or(0, |(_, size)| *size);
            ids.sort_unstable_by_key(|id| (std::cmp::Reverse(size(id)), *id));
        }
    }

    pub(super) fn sort_all(&mut self) {
        self.sort(0..u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
    }

    /// Whether so many ids say the same that some are to be given up.
    pub(super) fn has_too_many(&self, classes: usize, alive: impl Iterator<Item = u32>) -> bool {
        alive.map(|class| self.ids_of(class).len().max(1)).sum::<usize>() > too_many(classes)
    }

    /// Nobody has an id any more.
    pub(super) fn give_up(&mut self, id: u16) {
        if let Some((class, _)) = self.owners.remove(&id) {
            self.ids[class as usize].retain(|own| *own != id);
        }
    }

    /// These ids, one for each class, and nobody before.
    pub(super) fn anew(ids: &[u16]) -> Self {
        Self { owners: BTreeMap::new(), ids: ids.iter().map(|id| vec![*id]).collect() }
    }

    /// The id of a piece; its class has one.
    pub(super) fn id(&self, (class, before): Piece) -> u16 {
        if self.owners.get(&before).is_some_and(|(owner, _)| *owner == class) {
            before
        } else {
            self.ids[class as usize][0]
        }
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
/// What another id costs for each prefix of the class: source and destination, each changed where it stands.
const MOVE: u64 = 4;
/// Free ids are looked at in blocks of so many.
const BLOCK: u16 = 16;
/// Sets of a newcomer beside whose members it may go, and members looked at of each.
const NEIGHBOURS: (usize, usize) = (8, 16);
/// Free ids that are compared.
const MOST: usize = 96;
/// Empty blocks among them.
const EMPTY: usize = 8;

/// An id whose class is in other sets than those whose cubes match it.
struct Misplaced {
    id: u16,
    class: u32,
    /// How many pieces the class has with this id.
    size: u64,
    /// Sets that match it and that it is not in.
    strange: Vec<u32>,
    /// What cubes cost for the sets that it is in and that do not match it.
    missing: u64,
}

/// Gives ids to newcomers, one after the other.
pub(super) struct Placing<'p> {
    /// The sets of each class.
    pub(super) memberships: &'p [Vec<u32>],
    /// How many rows use each set.
    pub(super) uses: &'p [u32],
    /// The ids of each set's members, ascending.
    pub(super) members: Vec<Vec<u16>>,
    /// The cubes of each set, as far as they are known. They may match others.
    pub(super) covers: Vec<Vec<Cube>>,
    pub(super) matching: Matching,
    /// Ids that are not free.
    pub(super) taken: BTreeSet<u16>,
    /// The sets whose members or cubes have changed, with those that they had.
    pub(super) touched: BTreeMap<u32, (Vec<u16>, Vec<Cube>)>,
}

impl<'p> Placing<'p> {
    pub(super) fn new(
        memberships: &'p [Vec<u32>],
        uses: &'p [u32],
        members: Vec<Vec<u16>>,
        covers: Vec<Vec<Cube>>,
        kept: &Kept,
    ) -> Self {
        let mut matching = Matching::default();
        for (set, cubes) in (0u32..).zip(covers.iter()) {
            for cube in cubes {
                matching.add(*cube, set);
            }
        }
        let taken = kept.owners.keys().copied().chain([0]).collect();
        Self { memberships, uses, members, covers, matching, taken, touched: BTreeMap::new() }
    }

    /// Ids whose classes have left sets, or joined some, while the cubes of these say otherwise, are given up where
    /// another id costs less than other cubes. `old`: 0 and the ids of before, ascending; `doubtful`: the sets whose cubes
    /// do not match just the ids of their members among these.
    pub(super) fn leave(&mut self, kept: &mut Kept, old: &[u16], doubtful: &[u32]) {
        let mut misplaced: Vec<Misplaced> = Vec::new();
        // By set, how many there are.
        let mut strangers: BTreeMap<u32, u64> = BTreeMap::new();
        for id in self.in_doubt(old, doubtful) {
            let Some((class, size)) = kept.owners.get(&id) else { continue };
            let membership = &self.memberships[*class as usize];
            let found = self.matching.sets(id);
            if found == *membership {
                continue;
            }
            let strange: Vec<u32> =
                found.iter().filter(|set| membership.binary_search(set).is_err()).copied().collect();
            let missing = membership.iter().filter(|set| found.binary_search(set).is_err());
            let missing: u64 = missing.map(|set| self.weight(*set)).sum();
            for set in &strange {
                *strangers.entry(*set).or_default() += 1;
            }
            misplaced.push(Misplaced { id, class: *class, size: *size as u64, strange, missing });
        }
        for Misplaced { id, class, size, strange, missing } in misplaced {
            let cut = |set: &u32| self.weight(*set) * self.cut(*set, id) / strangers[set];
            let stays = missing + strange.iter().map(cut).sum::<u64>();
            let moves = MOVE * size;
            let membership = &self.memberships[class as usize];
            // A class with other ids goes to one of these.
            let has_others = kept.ids[class as usize].len() > 1;
            let elsewhere = if has_others { Some(0) } else { self.best(membership).map(|(cost, _)| cost) };
            if stays > moves && elsewhere.is_some_and(|cost| stays > moves + cost) {
                kept.give_up(id);
                self.taken.remove(&id);
                for set in membership {
                    self.touch(*set);
                    self.members[*set as usize].retain(|member| *member != id);
                }
                if !has_others {
                    self.place_one(class, kept);
                }
            }
        }
    }

    /// The ids that some set's cubes may match though they are not of its members, or the other way round.
    fn in_doubt(&self, old: &[u16], doubtful: &[u32]) -> BTreeSet<u16> {
        let mut ids = BTreeSet::new();
        for set in doubtful {
            let (members, cubes) = (&self.members[*set as usize], &self.covers[*set as usize]);
            let matched = matched(cubes, old);
            ids.extend(members.iter().filter(|id| matched.binary_search(id).is_err()));
            ids.extend(matched.iter().filter(|id| members.binary_search(id).is_err()));
        }
        ids
    }

    /// Into how many a cube of the set has to be cut for one id.
    fn cut(&self, set: u32, id: u16) -> u64 {
        let free = self.covers[set as usize].iter().filter(|cube| cube.matches(id));
        let free = free.map(|cube| u64::from(cube.mask.count_zeros())).max().unwrap_or(0);
        let members = self.members[set as usize].len() as u64;
        free.min(u64::from(members.checked_ilog2().unwrap_or(0)) + 1).max(1)
    }

    fn touch(&mut self, set: u32) {
        let (members, covers) = (&self.members[set as usize], &self.covers[set as usize]);
        self.touched.entry(set).or_insert_with(|| (members.clone(), covers.clone()));
    }

    fn weight(&self, set: u32) -> u64 {
        u64::from(self.uses[set as usize])
    }

    /// An id for each newcomer; none where there are too few.
    pub(super) fn place(&mut self, newcomers: &[u32], kept: &mut Kept) -> Option<()> {
        newcomers.iter().try_for_each(|class| self.place_one(*class, kept))
    }

    fn place_one(&mut self, class: u32, kept: &mut Kept) -> Option<()> {
        let membership = &self.memberships[class as usize];
        let (_, id) = self.best(membership)?;
        self.taken.insert(id);
        kept.ids_mut(class).push(id);
        for set in membership {
            self.touch(*set);
            let cubes = &mut self.covers[*set as usize];
            if !cubes.iter().any(|cube| cube.matches(id)) {
                let cube = Cube { value: id, mask: u16::MAX };
                cubes.push(cube);
                self.matching.add(cube, *set);
            }
            let members = &mut self.members[*set as usize];
            if let Err(place) = members.binary_search(&id) {
                members.insert(place, id);
            }
        }
        Some(())
    }

    /// The free id that costs least, with that.
    fn best(&self, membership: &[u32]) -> Option<(u64, u16)> {
        let cost = |id: &u16| {
            let found = self.matching.sets(*id);
            let weight = |set: &u32| self.weight(*set);
            let missing: u64 =
                membership.iter().filter(|set| found.binary_search(set).is_err()).map(weight).sum();
            let strange: u64 =
                found.iter().filter(|set| membership.binary_search(set).is_err()).map(weight).sum();
            missing + STRANGER * strange
        };
        self.candidates(membership).into_iter().map(|id| (cost(&id), id)).min()
    }

    /// Free ids beside the members of the newcomer's smallest sets, and in blocks that are empty.
    fn candidates(&self, membership: &[u32]) -> BTreeSet<u16> {
        let mut smallest: Vec<&Vec<u16>> =
            membership.iter().map(|set| &self.members[*set as usize]).collect();
        smallest.sort_unstable_by_key(|members| (members.len(), *members));
        let mut blocks: BTreeSet<u16> = BTreeSet::new();
        let mut candidates: BTreeSet<u16> = BTreeSet::new();
        let mut look = |block: u16, candidates: &mut BTreeSet<u16>| {
            if blocks.insert(block) {
                let all = block..=block + (BLOCK - 1);
                candidates.extend(all.filter(|id| !self.taken.contains(id)));
            }
        };
        for members in smallest.into_iter().filter(|members| !members.is_empty()).take(NEIGHBOURS.0) {
            for id in members.iter().take(NEIGHBOURS.1) {
                if candidates.len() < MOST {
                    look(id & !(BLOCK - 1), &mut candidates);
                }
            }
        }
        let all_blocks = (0..=u16::MAX / BLOCK).map(|block| block * BLOCK);
        let empty =
            all_blocks.filter(|block| self.taken.range(*block..=*block + (BLOCK - 1)).next().is_none());
        candidates.extend(empty.take(EMPTY));
        if candidates.is_empty() {
            candidates.extend((1..=u16::MAX).find(|id| !self.taken.contains(id)));
        }
        candidates
    }
}
