//! The line of addresses, in ranges of one class and one id, and the book of what ranges there are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::ClassRange;
use super::super::carry::Piece;
use crate::ranges::Point;

/// The class of what is in no set.
const OUTSIDE: u32 = 0;

/// Where a range begins: IPv4 before IPv6.
pub(super) type Place = (bool, u128);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range<T> {
    high: T,
    class: u32,
    id: u16,
}

/// Ranges by where they begin. Neighbours differ in class or id.
#[derive(Debug, Default)]
pub(super) struct Line<T>(BTreeMap<T, Range<T>>);

/// The classes by the sets that they are in, and how many ranges have which class and id.
#[derive(Debug)]
pub(super) struct Book {
    /// By class; [`OUTSIDE`] is in none.
    memberships: Vec<Vec<u32>>,
    classes: HashMap<Vec<u32>, u32>,
    /// By class, where its ranges begin.
    starts: Vec<BTreeSet<Place>>,
    /// By id, how many ranges of which class have it.
    holders: BTreeMap<u16, BTreeMap<u32, usize>>,
    count: usize,
    free: Vec<u32>,
    touched_ids: BTreeSet<u16>,
    touched_classes: BTreeSet<u32>,
}

impl Book {
    pub(super) fn new(memberships: &[Vec<u32>]) -> Self {
        let memberships: Vec<Vec<u32>> =
            [Vec::new()].into_iter().chain(memberships.iter().cloned()).collect();
        let classes = memberships.iter().cloned().zip(0u32..).collect();
        Self {
            starts: vec![BTreeSet::new(); memberships.len()],
            memberships,
            classes,
            holders: BTreeMap::new(),
            count: 0,
            free: Vec::new(),
            touched_ids: BTreeSet::new(),
            touched_classes: BTreeSet::new(),
        }
    }

    pub(super) fn memberships(&self) -> &[Vec<u32>] {
        &self.memberships
    }

    pub(super) fn membership(&self, class: u32) -> &[u32] {
        &self.memberships[class as usize]
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u16> {
        self.holders.keys().copied().filter(|id| *id != 0)
    }

    /// The class that has most ranges of an id, of several the first on the line; and how many it has.
    pub(super) fn owner_of(&self, id: u16) -> Option<(u32, usize)> {
        let holders = self.holders.get(&id).into_iter().flatten().filter(|(class, _)| **class != OUTSIDE);
        let owner = holders.max_by_key(|(class, size)| (**size, Reverse(self.place(**class))));
        owner.map(|(class, size)| (*class, *size))
    }

    /// The classes that have ranges of an id.
    pub(super) fn holders(&self, id: u16) -> Vec<u32> {
        self.holders
            .get(&id)
            .into_iter()
            .flatten()
            .map(|(class, _)| *class)
            .filter(|class| *class != OUTSIDE)
            .collect()
    }

    pub(super) fn starts(&self, class: u32) -> Vec<Place> {
        self.starts[class as usize].iter().copied().collect()
    }

    /// Where a class is first on the line.
    pub(super) fn place(&self, class: u32) -> Option<Place> {
        self.starts[class as usize].first().copied()
    }

    pub(super) fn is_alive(&self, class: u32) -> bool {
        class != OUTSIDE && !self.starts[class as usize].is_empty()
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn alive(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.starts).skip(1).filter(|(_, starts)| !starts.is_empty()).map(|(class, _)| class)
    }

    pub(super) fn touched_ids(&self) -> Vec<u16> {
        self.touched_ids.iter().copied().filter(|id| *id != 0).collect()
    }

    pub(super) fn touched_classes(&self) -> Vec<u32> {
        self.touched_classes.iter().copied().filter(|class| *class != OUTSIDE).collect()
    }

    /// Ends an update: classes without ranges are no more.
    pub(super) fn settle(&mut self) {
        self.touched_ids.clear();
        for class in std::mem::take(&mut self.touched_classes) {
            if class != OUTSIDE && self.starts[class as usize].is_empty() {
                let membership = std::mem::take(&mut self.memberships[class as usize]);
                self.classes.remove(&membership);
                self.free.push(class);
            }
        }
    }

    /// The class in this set if it was not, and else not in it.
    fn toggled(&mut self, class: u32, set: u32) -> u32 {
        let mut membership = self.memberships[class as usize].clone();
        match membership.binary_search(&set) {
            Ok(place) => _ = membership.remove(place),
            Err(place) => membership.insert(place, set),
        }
        if let Some(class) = self.classes.get(&membership) {
            return *class;
        }
        let class = self.free.pop().unwrap_or_else(|| {
            self.memberships.push(Vec::new());
            self.starts.push(BTreeSet::new());
            u32::try_from(self.starts.len() - 1).expect("fewer than 2^32 classes fit in memory")
        });
        self.memberships[class as usize].clone_from(&membership);
        self.classes.insert(membership, class);
        class
    }

    fn add(&mut self, place: Place, class: u32, id: u16) {
        let starts = &mut self.starts[class as usize];
        self.count += usize::from(class != OUTSIDE && starts.is_empty());
        starts.insert(place);
        *self.holders.entry(id).or_default().entry(class).or_default() += 1;
        self.touched_ids.insert(id);
        self.touched_classes.insert(class);
    }

    fn remove(&mut self, place: Place, class: u32, id: u16) {
        let starts = &mut self.starts[class as usize];
        starts.remove(&place);
        self.count -= usize::from(class != OUTSIDE && starts.is_empty());
        self.touched_ids.insert(id);
        self.touched_classes.insert(class);
        let Some(holders) = self.holders.get_mut(&id) else { return };
        if let Some(size) = holders.get_mut(&class) {
            *size -= 1;
            if *size == 0 {
                holders.remove(&class);
            }
        }
        if holders.is_empty() {
            self.holders.remove(&id);
        }
    }
}

impl<T: Point> Line<T> {
    /// Of pieces by class (the book's are one higher) and id.
    pub(super) fn new(pieces: Vec<(T, T, Piece)>, book: &mut Book) -> Self {
        let mut line = Self(BTreeMap::new());
        for (low, high, (class, id)) in pieces {
            line.insert(low, Range { high, class: class + 1, id }, book);
        }
        line
    }

    fn place(low: T) -> Place {
        (T::BITS > 32, low.value())
    }

    fn insert(&mut self, low: T, range: Range<T>, book: &mut Book) {
        book.add(Self::place(low), range.class, range.id);
        self.0.insert(low, range);
    }

    fn remove(&mut self, low: T, book: &mut Book) -> Option<Range<T>> {
        let range = self.0.remove(&low)?;
        book.remove(Self::place(low), range.class, range.id);
        Some(range)
    }

    /// Makes a range begin here, if one goes on beyond.
    fn split(&mut self, at: T, book: &mut Book) {
        let Some((low, range)) = self.0.range(..at).next_back().map(|(low, range)| (*low, *range)) else {
            return;
        };
        let Some(end) = at.previous().filter(|_| range.high >= at) else { return };
        self.remove(low, book);
        self.insert(low, Range { high: end, ..range }, book);
        self.insert(at, range, book);
    }

    /// Puts addresses into a set, or takes them out of it.
    pub(super) fn toggle(&mut self, low: T, high: T, set: u32, book: &mut Book) {
        self.split(low, book);
        if let Some(next) = high.next() {
            self.split(next, book);
        }
        let mut at = Some(low);
        while let Some(start) = at.filter(|start| *start <= high) {
            let range = self.remove(start, book).unwrap_or_else(|| {
                let next = self.0.range(start..=high).next().and_then(|(next, _)| next.previous());
                Range { high: next.unwrap_or(high), class: OUTSIDE, id: 0 }
            });
            let class = book.toggled(range.class, set);
            self.insert(start, Range { class, ..range }, book);
            at = range.high.next();
        }
    }

    /// Forgets what is in no set, and makes one range of neighbours that agree, between two addresses and beside them.
    pub(super) fn tidy(&mut self, low: T, high: T, book: &mut Book) {
        let first = self.0.range(..low).next_back().map_or(low, |(first, _)| *first);
        let last = high.next().unwrap_or(high);
        let starts: Vec<T> = self.0.range(first..=last).map(|(low, _)| *low).collect();
        let mut before: Option<T> = None;
        for low in starts {
            let range = self.0[&low];
            if range.class == OUTSIDE {
                self.remove(low, book);
                continue;
            }
            let joins = before.filter(|before| {
                let last = self.0[before];
                last.high.next() == Some(low) && (last.class, last.id) == (range.class, range.id)
            });
            match joins {
                Some(start) => {
                    self.remove(low, book);
                    self.remove(start, book);
                    self.insert(start, range, book);
                }
                None => before = Some(low),
            }
        }
    }

    /// Gives the range that begins here another id, if it has this one; where.
    pub(super) fn rename(&mut self, low: T, id: u16, new: u16, book: &mut Book) -> Option<(T, T)> {
        let range = *self.0.get(&low).filter(|range| range.id == id)?;
        self.remove(low, book);
        self.insert(low, Range { id: new, ..range }, book);
        self.tidy(low, range.high, book);
        Some((low, range.high))
    }

    /// The ids of the addresses between two, neighbours of one id as one, without those of none.
    pub(super) fn ids(&self, low: T, high: T) -> Vec<ClassRange<T>> {
        let first = self.0.range(..=low).next_back().map_or(low, |(first, _)| *first);
        let mut found: Vec<ClassRange<T>> = Vec::new();
        for (start, range) in self.0.range(first..=high).filter(|(_, range)| range.high >= low) {
            let (start, end) = ((*start).max(low), range.high.min(high));
            match found.last_mut() {
                Some(last) if last.2 == range.id && last.1.next() == Some(start) => last.1 = end,
                _ => found.push((start, end, range.id)),
            }
        }
        found
    }
}
