//! One match-action table: entries, their order, and the lookup for a packet.
//!
//! The lookup is a tuple-space search. Entries that look at the same bits (their [`Shape`]) form a group; within a
//! group an entry is found by one hash lookup of the key's bits, and only range fields are compared one by one.
//! Groups are asked from the highest priority down, until none can hold a better entry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::action::{ActionCall, EntryAction};
use super::direct::Direct;
use ranges::RangeIndex;

mod ranges;

/// Bytes that an entry takes besides what its size depends on.
const ENTRY_BYTES: usize = 320;

/// Keys up to this many fields are looked up without an allocation.
const INLINE_FIELDS: usize = 16;

/// A condition on a range field: `low..=high`, not the whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// Lowest value that matches.
    pub low: u128,
    /// Highest value that matches.
    pub high: u128,
}

/// Which bits of the key an entry looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// One mask a match field, in the P4Info's order; zero for don't-care and for range fields.
    pub masks: Box<[u128]>,
    /// Indices of the range fields that are not don't-care, ascending.
    pub ranges: Box<[u16]>,
}

/// What an entry matches: its shape, and the bits and ranges themselves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matches {
    /// The bits it looks at; shared by all entries of a group once they are in the table.
    pub shape: Arc<Shape>,
    /// A value for each mask of the shape that is not zero, zero outside the mask.
    pub values: Arc<[u128]>,
    /// A range for each index in `shape.ranges`.
    pub ranges: Box<[Range]>,
}

impl Matches {
    /// Whether a key, one value a match field in the P4Info's order, is matched.
    pub fn contains(&self, key: &[u128]) -> bool {
        let masked = self
            .shape
            .masks
            .iter()
            .zip(key)
            .filter(|(mask, _)| **mask != 0)
            .map(|(mask, field)| mask & field);
        masked.eq(self.values.iter().copied()) && self.in_ranges(key)
    }

    fn in_ranges(&self, key: &[u128]) -> bool {
        self.shape.ranges.iter().zip(&self.ranges).all(|(&field, range)| {
            key.get(usize::from(field)).is_some_and(|value| (range.low..=range.high).contains(value))
        })
    }
}

/// A table entry as it is installed. It never changes: a `MODIFY` puts another in its place, which shares `direct`.
#[derive(Debug)]
pub struct Entry {
    /// Entries of a switch are numbered in the order of their insertion, from 1; 0 for default entries.
    pub handle: u64,
    /// What it matches; nothing for a default entry.
    pub matches: Matches,
    /// Larger wins. As written; 0 in tables of exact and LPM fields.
    pub priority: i32,
    /// What it does.
    pub action: EntryAction,
    /// `TableEntry.metadata`.
    pub metadata: Box<[u8]>,
    /// `TableEntry.controller_metadata`.
    pub controller_metadata: u64,
    /// `TableEntry.idle_timeout_ns`; 0 for never.
    pub idle_timeout_ns: i64,
    /// Counter, meter and time of the last hit; outlives a `MODIFY`.
    pub direct: Arc<Direct>,
}

impl Entry {
    /// Bytes that an entry takes, by estimate. Default entries are there anyway: only what varies counts.
    pub(crate) fn cost(&self) -> usize {
        let action = match &self.action {
            EntryAction::Call(call) => call.params.len() * 16,
            EntryAction::Set(set) => {
                set.actions.iter().map(|action| 64 + action.call.params.len() * 16).sum::<usize>() + 64
            }
            EntryAction::None | EntryAction::Member(_) | EntryAction::Group(_) => 0,
        };
        let matches = self.matches.values.len() * 16 + self.matches.ranges.len() * 32;
        let fixed = if self.handle == 0 { 0 } else { ENTRY_BYTES };
        fixed + matches + self.metadata.len() + action
    }
}

impl Entry {
    /// The action of an entry of a direct table; none for entries that name an action profile's members.
    pub fn action(&self) -> Option<&ActionCall> {
        match &self.action {
            EntryAction::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Counts one packet of `bytes` bytes that this entry was the answer for.
    pub fn count(&self, bytes: u64) {
        self.direct.count(bytes);
    }
}

/// What a table says about a packet.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'a> {
    /// An entry matches.
    Hit(&'a Entry),
    /// None does: the default entry.
    Miss(&'a Entry),
}

impl<'a> Lookup<'a> {
    /// Whether an entry matches.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit(_))
    }

    /// The entry that answers, the default entry included.
    pub fn entry(&self) -> &'a Entry {
        match self {
            Self::Hit(entry) | Self::Miss(entry) => entry,
        }
    }

    /// The answering entry's action.
    pub fn action(&self) -> Option<&'a ActionCall> {
        self.entry().action()
    }
}

/// Where an entry stands among those of the same shape and values: high priority first, then by ranges.
type Rank<'a> = (std::cmp::Reverse<i32>, &'a [Range]);

/// Entries of one shape and values, best first.
#[derive(Debug)]
enum Bucket {
    One(Arc<Entry>),
    /// With an index where entries have one range, and a small one.
    Many(Vec<Arc<Entry>>, Option<RangeIndex>),
}

fn rank(entry: &Entry) -> Rank<'_> {
    (std::cmp::Reverse(entry.priority), &entry.matches.ranges)
}

impl Bucket {
    fn entries(&self) -> &[Arc<Entry>] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries, _) => entries,
        }
    }

    fn find(&self, wanted: Rank<'_>) -> Result<usize, usize> {
        self.entries().binary_search_by(|entry| rank(entry).cmp(&wanted))
    }

    fn insert(&mut self, at: usize, entry: Arc<Entry>) {
        if let Self::One(first) = self {
            let mut index = (first.matches.ranges.len() == 1).then(RangeIndex::default);
            index.take_if(|index| !index.put(first));
            *self = Self::Many(vec![first.clone()], index);
        }
        if let Self::Many(entries, index) = self {
            index.take_if(|index| !index.put(&entry));
            entries.insert(at, entry);
        }
    }

    fn replace(&mut self, at: usize, entry: Arc<Entry>) -> Arc<Entry> {
        match self {
            Self::One(first) => std::mem::replace(first, entry),
            Self::Many(entries, index) => {
                index.take_if(|index| !index.put(&entry));
                std::mem::replace(&mut entries[at], entry)
            }
        }
    }

    /// The best entry for a key that has the values.
    fn best(&self, key: &[u128]) -> Option<&Arc<Entry>> {
        match self {
            Self::One(entry) => Some(entry).filter(|entry| entry.matches.in_ranges(key)),
            Self::Many(entries, None) => entries.iter().find(|entry| entry.matches.in_ranges(key)),
            Self::Many(entries, Some(index)) => {
                let field = entries.first()?.matches.shape.ranges.first()?;
                index.find(*key.get(usize::from(*field))?)
            }
        }
    }
}

/// Entries of one shape.
#[derive(Debug)]
struct Group {
    shape: Arc<Shape>,
    buckets: HashMap<Arc<[u128]>, Bucket, RandomState>,
    /// How many entries have which precedence.
    precedences: BTreeMap<i64, usize>,
}

impl Group {
    fn best_precedence(&self) -> i64 {
        self.precedences.last_key_value().map_or(i64::MIN, |(&precedence, _)| precedence)
    }
}

/// A table's entries.
#[derive(Debug)]
pub struct Table {
    groups: HashMap<Arc<Shape>, usize, RandomState>,
    /// Slots are reused through `free`.
    slots: Vec<Group>,
    free: Vec<usize>,
    /// Occupied slots, best precedence first; among equals in the order in which they came to have it.
    order: Vec<(i64, usize)>,
    len: usize,
    by_priority: bool,
    default: Arc<Entry>,
}

impl Table {
    /// An empty table. `by_priority` is whether entries have priorities; in tables without, the longer prefix wins.
    pub fn new(by_priority: bool, default: Arc<Entry>) -> Self {
        Self {
            groups: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            order: Vec::new(),
            len: 0,
            by_priority,
            default,
        }
    }

    /// Entries, the default entry not counted.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entry but the default one.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The default entry.
    pub fn default_entry(&self) -> &Arc<Entry> {
        &self.default
    }

    /// Puts another default entry in place; returns the one that was there.
    pub fn set_default_entry(&mut self, entry: Arc<Entry>) -> Arc<Entry> {
        std::mem::replace(&mut self.default, entry)
    }

    /// Entries in no order that means anything.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.order.iter().flat_map(|&(_, slot)| self.slots[slot].buckets.values().flat_map(Bucket::entries))
    }

    /// The answer for a packet. `key` holds one value a match field, in the P4Info's order; a key with
    /// fewer values matches nothing. Of entries that tie, the choice is fixed but unspecified.
    pub fn lookup(&self, key: &[u128]) -> Lookup<'_> {
        let mut best: Option<(i64, &Arc<Entry>)> = None;
        for &(precedence, slot) in &self.order {
            if best.is_some_and(|(found, _)| found >= precedence) {
                break;
            }
            let Some(entry) = self.slots[slot].find(key) else { continue };
            let precedence = self.precedence(entry.priority, &entry.matches.shape);
            if best.is_none_or(|(found, _)| precedence > found) {
                best = Some((precedence, entry));
            }
        }
        best.map_or_else(|| Lookup::Miss(&self.default), |(_, entry)| Lookup::Hit(entry))
    }

    /// What is compared when several entries match: the priority, or else the bits matched.
    fn precedence(&self, priority: i32, shape: &Shape) -> i64 {
        if self.by_priority {
            i64::from(priority)
        } else {
            shape.masks.iter().map(|mask| i64::from(mask.count_ones())).sum()
        }
    }

    /// The entry with just these matches and this priority.
    pub fn get(&self, matches: &Matches, priority: i32) -> Option<&Arc<Entry>> {
        let group = &self.slots[*self.groups.get(&matches.shape)?];
        let bucket = group.buckets.get(&matches.values)?;
        let at = bucket.find((std::cmp::Reverse(priority), &matches.ranges)).ok()?;
        bucket.entries().get(at)
    }

    /// The entries with just these matches, whatever their priority.
    pub fn with_matches(&self, matches: &Matches) -> impl Iterator<Item = &Arc<Entry>> {
        let group = self.groups.get(&matches.shape).map(|&slot| &self.slots[slot]);
        let bucket = group.and_then(|group| group.buckets.get(&matches.values));
        let entries = bucket.map_or(&[][..], Bucket::entries);
        entries.iter().filter(|entry| entry.matches.ranges == matches.ranges)
    }

    /// Adds an entry, or puts it in the place of the one with its matches and priority, which is returned.
    pub fn put(&mut self, mut entry: Entry) -> Option<Arc<Entry>> {
        if let Some((shape, &slot)) = self.groups.get_key_value(&entry.matches.shape) {
            entry.matches.shape = shape.clone();
            if let Some((values, _)) = self.slots[slot].buckets.get_key_value(&entry.matches.values) {
                entry.matches.values = values.clone();
            }
        }
        self.place(Arc::new(entry))
    }

    /// As [`Table::put`], for an entry that has been in the table before.
    pub fn place(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let slot = self.slot(&entry.matches.shape);
        let precedence = self.precedence(entry.priority, &entry.matches.shape);
        let group = &mut self.slots[slot];
        if let Some(bucket) = group.buckets.get_mut(&entry.matches.values) {
            match bucket.find(rank(&entry)) {
                Ok(at) => return Some(bucket.replace(at, entry)),
                Err(at) => bucket.insert(at, entry),
            }
        } else {
            group.buckets.insert(entry.matches.values.clone(), Bucket::One(entry));
        }
        self.len += 1;
        let before = group.best_precedence();
        *group.precedences.entry(precedence).or_default() += 1;
        self.reorder(slot, before);
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, matches: &Matches, priority: i32) -> Option<Arc<Entry>> {
        let slot = *self.groups.get(&matches.shape)?;
        let precedence = self.precedence(priority, &matches.shape);
        let group = &mut self.slots[slot];
        let bucket = group.buckets.get_mut(&matches.values)?;
        let at = bucket.find((std::cmp::Reverse(priority), &matches.ranges)).ok()?;
        let removed = match bucket {
            Bucket::Many(entries, index) if entries.len() > 1 => {
                let removed = entries.remove(at);
                if let Some(index) = index {
                    index.remove(&removed);
                }
                removed
            }
            _ => match group.buckets.remove(&matches.values)? {
                Bucket::One(entry) => entry,
                Bucket::Many(mut entries, _) => entries.pop()?,
            },
        };
        self.len -= 1;
        let before = group.best_precedence();
        if let Some(count) = group.precedences.get_mut(&precedence) {
            *count -= 1;
            if *count == 0 {
                group.precedences.remove(&precedence);
            }
        }
        self.reorder(slot, before);
        if self.slots[slot].precedences.is_empty() {
            self.groups.remove(&matches.shape);
            self.slots[slot].buckets = HashMap::default();
            self.free.push(slot);
        }
        Some(removed)
    }

    /// The slot of a shape's group, made if there is none.
    fn slot(&mut self, shape: &Arc<Shape>) -> usize {
        if let Some(&slot) = self.groups.get(shape) {
            return slot;
        }
        let group = Group { shape: shape.clone(), buckets: HashMap::default(), precedences: BTreeMap::new() };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot] = group;
            slot
        } else {
            self.slots.push(group);
            self.slots.len() - 1
        };
        self.groups.insert(shape.clone(), slot);
        slot
    }

    /// Puts a group where its best precedence belongs, when that has changed from `before`.
    fn reorder(&mut self, slot: usize, before: i64) {
        let now = self.slots[slot].best_precedence();
        if now == before {
            return;
        }
        if before != i64::MIN {
            let start = self.order.partition_point(|&(precedence, _)| precedence > before);
            if let Some(offset) = self.order[start..].iter().position(|&(_, other)| other == slot) {
                self.order.remove(start + offset);
            }
        }
        if now != i64::MIN {
            let at = self.order.partition_point(|&(precedence, _)| precedence >= now);
            self.order.insert(at, (now, slot));
        }
    }
}

impl Group {
    /// The best entry of this group for a key.
    fn find(&self, key: &[u128]) -> Option<&Arc<Entry>> {
        if key.len() < self.shape.masks.len() {
            return None;
        }
        let fields = self.shape.masks.iter().enumerate().filter(|(_, mask)| **mask != 0);
        let masked = fields.map(|(field, mask)| mask & key[field]);
        let bucket = if self.shape.masks.len() <= INLINE_FIELDS {
            let mut values = [0; INLINE_FIELDS];
            let mut len = 0;
            for (slot, value) in values.iter_mut().zip(masked) {
                *slot = value;
                len += 1;
            }
            self.buckets.get(&values[..len])?
        } else {
            self.buckets.get(masked.collect::<Vec<_>>().as_slice())?
        };
        bucket.best(key)
    }
}

#[cfg(test)]
mod tests;
