//! Classes of addresses that are kept from one intent to the next, and changed where sets have changed.
//!
//! [`Live::update`] does what [`super::Catalog::classify`] does after the numbers of before, and comes to the same ids and
//! cubes; it looks at the addresses that are in other sets than before, and at the sets and ids that these concern.
//!
//! ```text
//!   line      [10.0.0.1 class 7 id 21][10.0.0.2 class 9 id 22] ..    ranges of one class and one id
//!   classes   7: in the sets 3, 12, 40; ids 21
//!   sets      3: members 21, 25, .. ; cubes
//! ```

mod line;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ancestor::{ASKED, digest, near};
use super::carry::{self, Kept, Placing};
use super::cover::{self, Cube};
use super::matching::Matching;
use super::{AddressClasses, ClassRange, MAX_CLASSES, partition, repair};
use crate::addresses::AddressSet;
use line::{Book, Line};

/// A set that holds other addresses than before.
pub(crate) struct SetEdit<'s> {
    pub(crate) set: u32,
    pub(crate) before: &'s AddressSet,
    pub(crate) now: &'s AddressSet,
}

/// What an update has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The sets that have other cubes, with those that they had.
    pub(crate) covers: BTreeMap<u32, Vec<Cube>>,
    /// Where addresses may have another id; in no order.
    pub(crate) v4: Vec<(u32, u32)>,
    pub(crate) v6: Vec<(u128, u128)>,
}

/// See the module.
pub(crate) struct Live {
    v4: Line<u32>,
    v6: Line<u128>,
    book: Book,
    kept: Kept,
    /// By set: the ids of its members, ascending.
    members: Vec<Vec<u16>>,
    covers: Vec<Vec<Cube>>,
    matching: Matching,
    /// 0, and the ids that somebody has.
    taken: BTreeSet<u16>,
    /// Sets by the digest of their members.
    digests: HashMap<u64, BTreeSet<u32>>,
}

/// What becomes of an update that cannot go on from what there is: everything is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// An id that another class has now.
struct Moved {
    id: u16,
    before: Option<u32>,
    now: Option<u32>,
}

impl Live {
    /// Of sets that have been classified.
    pub(crate) fn new(sets: &[&AddressSet], classified: &AddressClasses) -> Self {
        let mut atoms = partition::Atoms::default();
        let v4 = partition::partition(sets.iter().map(|set| &set.v4), &mut atoms);
        let v6 = partition::partition(sets.iter().map(|set| &set.v6), &mut atoms);
        let mut book = Book::new(atoms.memberships());
        // Class 0 of the book is nobody's.
        let v4 = Line::new(super::pieces(&v4, &classified.v4), &mut book);
        let v6 = Line::new(super::pieces(&v6, &classified.v6), &mut book);
        let covers: Vec<Vec<Cube>> = classified.classes.cubes.clone();
        let mut matching = Matching::default();
        for (set, cubes) in (0u32..).zip(&covers) {
            for cube in cubes {
                matching.add(*cube, set);
            }
        }
        let mut live = Self {
            v4,
            v6,
            kept: Kept::default(),
            members: vec![Vec::new(); sets.len()],
            covers,
            matching,
            taken: BTreeSet::from([0]),
            digests: HashMap::new(),
            book,
        };
        let ids: Vec<u16> = live.book.ids().collect();
        for id in ids {
            if let Some((class, size)) = live.book.owner_of(id) {
                live.kept.own(id, class, size);
                live.taken.insert(id);
                for set in live.book.membership(class) {
                    live.members[*set as usize].push(id);
                }
            }
        }
        live.kept.sort_all();
        for set in 0..live.members.len() {
            live.members[set].sort_unstable();
            live.remember(set);
        }
        live
    }

    /// A set's cubes.
    pub(crate) fn cubes(&self, set: u32) -> &[Cube] {
        self.covers.get(set as usize).map_or(&[], Vec::as_slice)
    }

    /// The cubes of all sets; those of `before` have what they say there.
    pub(crate) fn covers(&self, before: &BTreeMap<u32, Vec<Cube>>) -> Vec<Vec<Cube>> {
        let of = |(set, cubes): (u32, &Vec<Cube>)| before.get(&set).unwrap_or(cubes).clone();
        let mut covers: Vec<Vec<Cube>> =
            (0u32..).zip(&self.covers).map(of).filter(|cubes| !cubes.is_empty()).collect();
        covers.sort_unstable();
        covers.dedup();
        covers
    }

    /// The ids of addresses between two, without those of none.
    pub(crate) fn v4(&self, low: u32, high: u32) -> Vec<ClassRange<u32>> {
        self.v4.ids(low, high)
    }

    pub(crate) fn v6(&self, low: u128, high: u128) -> Vec<ClassRange<u128>> {
        self.v6.ids(low, high)
    }

    fn remember(&mut self, set: usize) {
        if !self.members[set].is_empty() {
            let set_number = u32::try_from(set).expect("sets are numbered with 32 bits");
            self.digests.entry(digest(&self.members[set])).or_default().insert(set_number);
        }
    }

    fn forget(&mut self, set: u32, members: &[u16]) {
        if let Some(sets) = self.digests.get_mut(&digest(members)) {
            sets.remove(&set);
        }
    }

    /// Takes in what sets hold now. `uses`: by how many rows each set is used; `order`: the order of sets by what they hold.
    ///
    /// # Errors
    /// [`TooMuch`], and nothing can be asked of it any more but [`Live::covers`] with the covers of `changes`.
    pub(crate) fn update(
        &mut self,
        edits: &[SetEdit<'_>],
        uses: &[u32],
        order: &dyn Fn(u32, u32) -> Ordering,
        changes: &mut Changes,
    ) -> Result<(), TooMuch> {
        self.members.resize(uses.len(), Vec::new());
        self.covers.resize(uses.len(), Vec::new());
        for SetEdit { set, before, now } in edits {
            for (low, high) in
                before.v4.minus(&now.v4).as_slice().iter().chain(now.v4.minus(&before.v4).as_slice())
            {
                self.v4.toggle(*low, *high, *set, &mut self.book);
                changes.v4.push((*low, *high));
            }
            for (low, high) in
                before.v6.minus(&now.v6).as_slice().iter().chain(now.v6.minus(&before.v6).as_slice())
            {
                self.v6.toggle(*low, *high, *set, &mut self.book);
                changes.v6.push((*low, *high));
            }
        }
        for (low, high) in &changes.v4 {
            self.v4.tidy(*low, *high, &mut self.book);
        }
        for (low, high) in &changes.v6 {
            self.v6.tidy(*low, *high, &mut self.book);
        }

        let moved = self.pass_on();
        let (newcomers, classes) = self.newcomers(&moved)?;
        if carry::is_too_much(newcomers.len(), classes) || classes > MAX_CLASSES {
            return Err(TooMuch);
        }
        let old: Vec<u16> = self.taken.iter().copied().collect();
        // Members of before of the sets that have others now.
        let mut known: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        self.move_members(&moved, &mut known);
        let mut effort = cover::Effort::default();
        let doubtful = self.recover(&moved, &known, &old, &mut effort, order, changes);
        // As they are before anybody is placed.
        let mut placing = Placing {
            memberships: self.book.memberships(),
            uses,
            members: std::mem::take(&mut self.members),
            covers: std::mem::take(&mut self.covers),
            matching: std::mem::take(&mut self.matching),
            taken: std::mem::take(&mut self.taken),
            touched: BTreeMap::new(),
        };
        placing.leave(&mut self.kept, &old, &doubtful);
        let placed = placing.place(&newcomers, &mut self.kept);
        let Placing { members, covers, matching, taken, touched, .. } = placing;
        (self.members, self.covers, self.matching, self.taken) = (members, covers, matching, taken);
        let near: BTreeSet<u32> = doubtful.into_iter().collect();
        let mut open = near.clone();
        for (set, (members, cubes)) in touched {
            changes.covers.entry(set).or_insert(cubes);
            open.extend((self.members[set as usize] != members).then_some(set));
            known.entry(set).or_insert(members);
        }
        placed.ok_or(TooMuch)?;
        let taken: Vec<u16> = self.taken.iter().copied().collect();
        for id in taken.iter().filter(|id| old.binary_search(id).is_err()) {
            let strange = |set: &u32| self.members[*set as usize].binary_search(id).is_err();
            open.extend(self.matching.sets(*id).into_iter().filter(strange));
        }
        let mut open: Vec<u32> = open.into_iter().collect();
        open.sort_unstable_by(|one, other| order(*one, *other));
        for set in open {
            let before = &self.covers[set as usize];
            let own = !near.contains(&set);
            let cubes = repair::repair(before, own, &self.members[set as usize], &taken, &mut effort);
            self.cover(set, cubes, changes);
        }
        self.name(&old, changes);
        for (set, members) in known {
            self.forget(set, &members);
            self.remember(set as usize);
        }
        self.book.settle();
        Ok(())
    }

    /// Who has which id now, of those that something has happened to.
    fn pass_on(&mut self) -> Vec<Moved> {
        let mut moved = Vec::new();
        for id in self.book.touched_ids() {
            let (before, owner) = (self.kept.owner(id), self.book.owner_of(id));
            match owner {
                Some((class, size)) => self.kept.own(id, class, size),
                None => self.kept.give_up(id),
            }
            let now = owner.map(|(class, _)| class);
            if owner.is_none() {
                self.taken.remove(&id);
            }
            if before != now {
                moved.push(Moved { id, before, now });
            }
        }
        let classes = self.book.touched_classes();
        self.kept.sort(
            classes.into_iter().chain(moved.iter().flat_map(|moved| [moved.before, moved.now]).flatten()),
        );
        moved
    }

    /// The classes that have no id, in the order of the line, and how many classes there are.
    fn newcomers(&self, moved: &[Moved]) -> Result<(Vec<u32>, usize), TooMuch> {
        let classes = self.book.count();
        if self.kept.has_too_many(classes, self.book.alive()) {
            return Err(TooMuch);
        }
        let concerned =
            self.book.touched_classes().into_iter().chain(moved.iter().filter_map(|moved| moved.before));
        let mut newcomers: Vec<u32> = concerned
            .filter(|class| self.book.is_alive(*class) && self.kept.ids_of(*class).is_empty())
            .collect();
        newcomers.sort_unstable_by_key(|class| self.book.place(*class));
        newcomers.dedup();
        Ok((newcomers, classes))
    }

    /// Sets have the ids of their classes for members.
    fn move_members(&mut self, moved: &[Moved], known: &mut BTreeMap<u32, Vec<u16>>) {
        for Moved { id, before, now } in moved {
            let of = |class: &Option<u32>| class.map_or(&[][..], |class| self.book.membership(class));
            let (left, joined) = (of(before), of(now));
            for set in left.iter().filter(|set| joined.binary_search(set).is_err()) {
                let members = &mut self.members[*set as usize];
                known.entry(*set).or_insert_with(|| members.clone());
                members.retain(|member| member != id);
            }
            for set in joined.iter().filter(|set| left.binary_search(set).is_err()) {
                let members = &mut self.members[*set as usize];
                known.entry(*set).or_insert_with(|| members.clone());
                if let Err(place) = members.binary_search(id) {
                    members.insert(place, *id);
                }
            }
        }
    }

    /// Gives sets that have other members cubes of before, or what they would be without newcomers; which of them do not
    /// match just these.
    fn recover(
        &mut self,
        moved: &[Moved],
        known: &BTreeMap<u32, Vec<u16>>,
        old: &[u16],
        effort: &mut cover::Effort,
        order: &dyn Fn(u32, u32) -> Ordering,
        changes: &mut Changes,
    ) -> Vec<u32> {
        let ancestors = Before::new(self, moved, known);
        let (mut doubtful, mut anew, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for set in known.keys().copied().chain(ancestors.twins()) {
            match ancestors.of(&self.members[set as usize]) {
                Some((ancestor, exact)) => {
                    found.push((set, self.covers[ancestor as usize].clone()));
                    doubtful.extend((!exact).then_some(set));
                }
                None => anew.push(set),
            }
        }
        anew.sort_unstable_by(|one, other| order(*one, *other));
        for set in anew {
            found.push((set, cover::cover(&self.members[set as usize], old, effort)));
        }
        for (set, cubes) in found {
            self.cover(set, cubes, changes);
        }
        doubtful
    }

    /// Gives a set other cubes.
    fn cover(&mut self, set: u32, cubes: Vec<Cube>, changes: &mut Changes) {
        let before = &mut self.covers[set as usize];
        if *before == cubes {
            return;
        }
        for cube in before.iter() {
            self.matching.remove(*cube, set);
        }
        for cube in &cubes {
            self.matching.add(*cube, set);
        }
        let before = std::mem::replace(before, cubes);
        changes.covers.entry(set).or_insert(before);
    }

    /// Gives every range of addresses an id that its class has. `old`: the ids of before that somebody had.
    fn name(&mut self, old: &[u16], changes: &mut Changes) {
        let gone = old.iter().filter(|id| self.kept.owner(**id).is_none() && **id != 0).copied();
        let ids: BTreeSet<u16> = self.book.touched_ids().into_iter().chain(gone).chain([0]).collect();
        for id in ids {
            for class in self.book.holders(id) {
                if self.kept.owner(id) == Some(class) && id != 0 {
                    continue;
                }
                let Some(new) = self.kept.ids_of(class).first().copied() else { continue };
                for (is_v6, low) in self.book.starts(class) {
                    if is_v6 {
                        changes.v6.extend(self.v6.rename(low, id, new, &mut self.book));
                    } else {
                        let low = u32::try_from(low).expect("an IPv4 address");
                        changes.v4.extend(self.v4.rename(low, id, new, &mut self.book));
                    }
                }
            }
        }
        // Sizes count for the next time.
        for id in self.book.touched_ids() {
            match self.book.owner_of(id) {
                Some((class, size)) => self.kept.own(id, class, size),
                None => self.kept.give_up(id),
            }
        }
        self.kept.sort(self.book.touched_classes());
    }
}

/// The sets of before, by what their cubes match of the ids that somebody has still.
struct Before<'l> {
    live: &'l Live,
    known: &'l BTreeMap<u32, Vec<u16>>,
    /// Who had the ids that others have now.
    owners: HashMap<u16, Option<u32>>,
    /// By set: how many of its members are nobody's any more.
    dead: HashMap<u32, usize>,
    /// The sets that have lost some, by what they have left.
    shifted: HashMap<u64, Vec<u32>>,
}

impl<'l> Before<'l> {
    fn new(live: &'l Live, moved: &[Moved], known: &'l BTreeMap<u32, Vec<u16>>) -> Self {
        let owners = moved.iter().map(|moved| (moved.id, moved.before)).collect();
        let gone: BTreeSet<u16> =
            moved.iter().filter(|moved| moved.now.is_none()).map(|moved| moved.id).collect();
        let mut dead: HashMap<u32, usize> = HashMap::new();
        for Moved { before, now, .. } in moved {
            if let (Some(before), None) = (before, now) {
                for set in live.book.membership(*before) {
                    *dead.entry(*set).or_default() += 1;
                }
            }
        }
        let mut before = Self { live, known, owners, dead, shifted: HashMap::new() };
        let mut shifted: HashMap<u64, Vec<u32>> = HashMap::new();
        for set in before.dead.keys() {
            let left: Vec<u16> =
                before.members(*set).iter().filter(|id| !gone.contains(id)).copied().collect();
            shifted.entry(digest(&left)).or_default().push(*set);
        }
        before.shifted = shifted;
        before
    }

    fn members(&self, set: u32) -> &[u16] {
        self.known.get(&set).unwrap_or(&self.live.members[set as usize])
    }

    /// The sets that have the members that others would be left with.
    fn twins(&self) -> Vec<u32> {
        let same = self.shifted.keys().filter_map(|digest| self.live.digests.get(digest)).flatten();
        same.filter(|set| !self.known.contains_key(*set)).copied().collect()
    }

    /// The set of before whose cubes match exactly these members, or else most of them.
    fn of(&self, members: &[u16]) -> Option<(u32, bool)> {
        if members.is_empty() {
            return None;
        }
        let cubes = |set: &u32| &self.live.covers[*set as usize];
        let exact = digest(members);
        let same =
            self.live.digests.get(&exact).into_iter().flatten().filter(|set| !self.dead.contains_key(*set));
        let same = same.chain(self.shifted.get(&exact).into_iter().flatten());
        if let Some(set) = same.min_by_key(|set| (cubes(set).len(), cubes(set))) {
            return Some((*set, true));
        }
        let asked = members.len().div_ceil(ASKED);
        let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
        for id in members.iter().step_by(asked) {
            let owner = self.owners.get(id).copied().unwrap_or_else(|| self.live.kept.owner(*id));
            for set in owner.map_or(&[][..], |class| self.live.book.membership(class)) {
                *votes.entry(*set).or_default() += 1;
            }
        }
        let like = |(set, votes): (u32, usize)| {
            let size = self.members(set).len() - self.dead.get(&set).copied().unwrap_or(0);
            let near = near(votes * asked, size, members.len())?;
            Some((near, Reverse(size), Reverse(cubes(&set)), set))
        };
        votes.into_iter().filter_map(like).max().map(|(.., set)| (set, false))
    }
}
