//! Rows by the unit that they come from, the sets that they speak of, and the entries that they come to.
//!
//! ```text
//!   unit  ->  rows  ->  sets, each once  ->  cubes of classes  ->  entries
//! ```
//! When a unit has other rows, those that stay are left alone; a set whose last user speaks of another one becomes that, so
//! that a set that gets one more address is a set that gets one more address.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use outplane_p4runtime::entry::{Entry, FieldMatch, Key};

use crate::addresses::AddressSet;
use crate::classes::Cube;
use crate::p4::rows::{HOPELESS, keys_of};
use crate::p4::terms;
use crate::program::{Program, Table};
use crate::ranges::Ranges;
use crate::rows::content::{Content, Sets4};
use crate::rows::unit::Unit;

pub(super) type RowId = usize;

/// What a set is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Filter,
    Pod,
    Sport,
    Dport,
}

/// A set by its kind and number.
pub(super) type SetRef = (Kind, u32);

/// Sets of a kind, each once.
#[derive(Debug)]
pub(super) struct Sets<S> {
    contents: Vec<Option<Arc<S>>>,
    numbers: HashMap<Arc<S>, u32>,
    uses: Vec<u32>,
    rows: Vec<BTreeSet<RowId>>,
    free: Vec<u32>,
    /// What sets held before, of those that hold something else now. None: nothing.
    before: BTreeMap<u32, Option<Arc<S>>>,
}

impl<S> Default for Sets<S> {
    fn default() -> Self {
        Self {
            contents: Vec::new(),
            numbers: HashMap::new(),
            uses: Vec::new(),
            rows: Vec::new(),
            free: Vec::new(),
            before: BTreeMap::new(),
        }
    }
}

impl<S: Eq + Hash + Ord> Sets<S> {
    /// By how many rows each is used.
    pub(super) fn uses(&self) -> &[u32] {
        &self.uses
    }

    pub(super) fn get(&self, set: u32) -> Option<&Arc<S>> {
        self.contents.get(set as usize)?.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.contents.len()
    }

    /// Those that hold something else than before, and what they held.
    pub(super) fn changed(&self) -> &BTreeMap<u32, Option<Arc<S>>> {
        &self.before
    }

    pub(super) fn order(&self, one: u32, other: u32) -> std::cmp::Ordering {
        self.get(one).cmp(&self.get(other))
    }

    /// Ends an update: numbers that nobody has are free.
    fn settle(&mut self) {
        for set in std::mem::take(&mut self.before).into_keys() {
            if self.contents[set as usize].is_none() {
                self.free.push(set);
            }
        }
    }

    fn put(&mut self, set: u32, content: Option<Arc<S>>) {
        let now = &mut self.contents[set as usize];
        let before = std::mem::replace(now, content.clone());
        if let Some(before) = &before
            && self.numbers.get(before) == Some(&set)
        {
            self.numbers.remove(before);
        }
        if let Some(content) = content {
            self.numbers.insert(content, set);
        }
        self.before.entry(set).or_insert(before);
    }

    /// The number of a set for one more user. `instead`: the number of one that the user has spoken of before; nobody else
    /// may speak of it, then it is used for this one.
    fn number(&mut self, content: &Arc<S>, instead: Option<u32>) -> u32 {
        let known = self.numbers.get(content).copied();
        let set =
            known.or_else(|| instead.filter(|set| self.uses[*set as usize] == 0)).unwrap_or_else(|| {
                self.free.pop().unwrap_or_else(|| {
                    self.contents.push(None);
                    self.uses.push(0);
                    self.rows.push(BTreeSet::new());
                    u32::try_from(self.contents.len() - 1).expect("fewer than 2^32 sets fit in memory")
                })
            });
        if known.is_none() {
            self.put(set, Some(Arc::clone(content)));
        }
        self.uses[set as usize] += 1;
        set
    }

    /// The same; with `known`, only if it has a number.
    fn speak(&mut self, content: &Arc<S>, instead: Option<u32>, known: bool) -> Option<u32> {
        (!known || self.numbers.contains_key(content)).then(|| self.number(content, instead))
    }

    /// Those that nobody speaks of any more hold nothing.
    fn drop_unused(&mut self, released: &BTreeSet<u32>) {
        for set in released {
            if self.uses[*set as usize] == 0 && self.contents[*set as usize].is_some() {
                self.put(*set, None);
            }
        }
    }
}

#[derive(Debug)]
struct Row {
    unit: Arc<Unit>,
    content: Content,
    sets: [Option<SetRef>; 4],
    /// Where its entries are.
    places: Vec<Arc<Place>>,
}

/// What an entry matches, in which table.
pub(super) type Place = (u32, Vec<FieldMatch>);

/// The rows that come to an entry in one place: the first in rank is shown.
#[derive(Debug, Default)]
struct Slot {
    rows: Vec<RowId>,
    /// The priority of the entry that is there.
    shown: Option<i32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) filter: Sets<AddressSet>,
    pub(super) pod: Sets<AddressSet>,
    pub(super) sport: Sets<Ranges<u16>>,
    pub(super) dport: Sets<Ranges<u16>>,
    units: BTreeMap<Arc<Unit>, Vec<RowId>>,
    rows: Vec<Option<Row>>,
    free: Vec<RowId>,
    slots: HashMap<Arc<Place>, Slot>,
    /// By table, how many entries rows come to, those that are not shown too; and how many are shown.
    counts: BTreeMap<u32, (u64, u64)>,
    /// Rows whose entries are to be made again.
    open: BTreeSet<RowId>,
}

/// The place of a row's set that needs a number, and the number that it had there.
type Wanted = (usize, Option<u32>);

/// The cubes of a set.
pub(super) type Cubes<'c> = dyn Fn(SetRef) -> &'c [Cube] + 'c;

impl Store {
    /// Units have other rows. Entries are made by [`Store::expand`], once it is known which cubes sets have.
    pub(super) fn replace(&mut self, units: Vec<(Unit, Vec<Content>)>) {
        let mut released: BTreeSet<SetRef> = BTreeSet::new();
        let mut wanted: Vec<(RowId, Vec<Wanted>)> = Vec::new();
        for (unit, contents) in units {
            let old = self.units.remove(&unit).unwrap_or_default();
            let unit = Arc::new(unit);
            let alike = old.len() == contents.len()
                && old.iter().zip(&contents).all(|(row, content)| {
                    self.rows[*row].as_ref().is_some_and(|row| row.content.is_alike(content))
                });
            let mut rows = Vec::with_capacity(contents.len());
            if !alike {
                for row in &old {
                    self.remove(*row, &mut released);
                }
            }
            for (place, content) in contents.into_iter().enumerate() {
                let row = if alike {
                    let row = old[place];
                    let fields = self.differing(row, &content.sets, &mut released);
                    if let Some(row) = &mut self.rows[row] {
                        row.content = content;
                    }
                    if fields.is_empty() {
                        rows.push(row);
                        continue;
                    }
                    wanted.push((row, fields));
                    row
                } else {
                    let fields = content.sets.places().into_iter().map(|place| (place, None)).collect();
                    let row = self.insert(Row {
                        unit: Arc::clone(&unit),
                        content,
                        sets: [None; 4],
                        places: Vec::new(),
                    });
                    wanted.push((row, fields));
                    row
                };
                self.open.insert(row);
                rows.push(row);
            }
            if !rows.is_empty() {
                self.units.insert(unit, rows);
            }
        }
        // What is there already is taken first, so that nobody is robbed of it.
        for known in [true, false] {
            for (row, fields) in &wanted {
                for (place, instead) in fields {
                    self.speak(*row, *place, *instead, known);
                }
            }
        }
        let of =
            |kind| released.iter().filter(|set| set.0 == kind).map(|set| set.1).collect::<BTreeSet<u32>>();
        self.filter.drop_unused(&of(Kind::Filter));
        self.pod.drop_unused(&of(Kind::Pod));
        self.sport.drop_unused(&of(Kind::Sport));
        self.dport.drop_unused(&of(Kind::Dport));
    }

    /// The places at which a row speaks of other sets than before, with their numbers; they are released.
    fn differing(&mut self, row: RowId, sets: &Sets4, released: &mut BTreeSet<SetRef>) -> Vec<Wanted> {
        let Some(Row { content, sets: numbers, .. }) = &mut self.rows[row] else { return Vec::new() };
        let differing: Vec<usize> = (0..4).filter(|place| !content.sets.same(sets, *place)).collect();
        let before: Vec<(usize, Option<SetRef>)> =
            differing.into_iter().map(|place| (place, numbers[place].take())).collect();
        for (_, set) in &before {
            if let Some(set) = set {
                self.release(row, *set, released);
            }
        }
        before.into_iter().map(|(place, set)| (place, set.map(|set| set.1))).collect()
    }

    fn uses(&mut self, kind: Kind) -> (&mut Vec<u32>, &mut Vec<BTreeSet<RowId>>) {
        match kind {
            Kind::Filter => (&mut self.filter.uses, &mut self.filter.rows),
            Kind::Pod => (&mut self.pod.uses, &mut self.pod.rows),
            Kind::Sport => (&mut self.sport.uses, &mut self.sport.rows),
            Kind::Dport => (&mut self.dport.uses, &mut self.dport.rows),
        }
    }

    fn release(&mut self, row: RowId, (kind, set): SetRef, released: &mut BTreeSet<SetRef>) {
        let speaks = self.rows[row].as_ref().is_some_and(|row| row.sets.contains(&Some((kind, set))));
        let (uses, rows) = self.uses(kind);
        uses[set as usize] -= 1;
        if !speaks {
            rows[set as usize].remove(&row);
        }
        released.insert((kind, set));
    }

    fn remove(&mut self, number: RowId, released: &mut BTreeSet<SetRef>) {
        let Some(row) = &mut self.rows[number] else { return };
        let sets = std::mem::take(&mut row.sets);
        sets.into_iter().flatten().for_each(|set| self.release(number, set, released));
        // Its entries go with the next expansion.
        self.open.insert(number);
        if let Some(row) = &mut self.rows[number] {
            row.content.is_gone = true;
        }
    }

    fn insert(&mut self, row: Row) -> RowId {
        if let Some(number) = self.free.pop() {
            self.rows[number] = Some(row);
            return number;
        }
        self.rows.push(Some(row));
        self.rows.len() - 1
    }

    /// Numbers a set of a row: with `known`, only if it has a number.
    fn speak(&mut self, number: RowId, place: usize, instead: Option<u32>, known: bool) {
        let Some(row) = &self.rows[number] else { return };
        if row.sets[place].is_some() {
            return;
        }
        let Content { stage, sets, .. } = &row.content;
        let found = match (place, sets.addresses(place), sets.ports(place)) {
            (_, Some(content), _) if stage.is_filter() => {
                self.filter.speak(content, instead, known).map(|set| (Kind::Filter, set))
            }
            (_, Some(content), _) => self.pod.speak(content, instead, known).map(|set| (Kind::Pod, set)),
            (2, _, Some(content)) => self.sport.speak(content, instead, known).map(|set| (Kind::Sport, set)),
            (_, _, Some(content)) => self.dport.speak(content, instead, known).map(|set| (Kind::Dport, set)),
            _ => None,
        };
        let Some(set) = found else { return };
        if let Some(row) = &mut self.rows[number] {
            row.sets[place] = Some(set);
        }
        self.uses(set.0).1[set.1 as usize].insert(number);
    }

    /// The rows of a set have other cubes.
    pub(super) fn reopen(&mut self, kind: Kind, set: u32) {
        let rows: Vec<RowId> = self.uses(kind).1[set as usize].iter().copied().collect();
        self.open.extend(rows);
    }

    /// Makes the entries of what has changed, and says what becomes of entries.
    pub(super) fn expand(&mut self, program: &Program, cubes: &Cubes<'_>) -> BTreeMap<Key, Option<Entry>> {
        let mut touched: BTreeSet<Arc<Place>> = BTreeSet::new();
        let open = std::mem::take(&mut self.open);
        for number in &open {
            let Some(row) = &mut self.rows[*number] else { continue };
            let count = &mut self.counts.entry(program.table(terms::table(row.content.stage))).or_default().0;
            *count -= row.places.len() as u64;
            for place in std::mem::take(&mut row.places) {
                if let Some(slot) = self.slots.get_mut(&place) {
                    slot.rows.retain(|row| row != number);
                }
                touched.insert(place);
            }
            if row.content.is_gone {
                self.rows[*number] = None;
                self.free.push(*number);
                continue;
            }
            let (sets, places) = (&row.sets, &mut row.places);
            let cubes = |place: usize| sets[place].map(cubes);
            keys_of(&row.content, program, cubes, |key| places.push(Arc::new((key.table, key.matches))));
            *count += row.places.len() as u64;
            for place in &mut row.places {
                // Those that are there share their memory.
                if let Some((known, _)) = self.slots.get_key_value(place) {
                    *place = Arc::clone(known);
                }
                self.slots.entry(Arc::clone(place)).or_default().rows.push(*number);
                touched.insert(Arc::clone(place));
            }
        }
        let mut edits = BTreeMap::new();
        for place in touched {
            self.show(program, &place, &mut edits);
        }
        edits
    }

    /// Shows the first in rank in one place.
    fn show(&mut self, program: &Program, place: &Arc<Place>, edits: &mut BTreeMap<Key, Option<Entry>>) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        let shown = &mut self.counts.entry(place.0).or_default().1;
        let key = |priority: i32| Key { table: place.0, matches: place.1.clone(), priority };
        if let Some(priority) = slot.shown.take() {
            edits.insert(key(priority), None);
            *shown -= 1;
        }
        let rows = slot.rows.iter().filter_map(|row| self.rows[*row].as_ref());
        let first = rows.max_by_key(|row| (row.content.priority, Reverse((&row.unit, row.content.origin))));
        if let Some(row) = first {
            let Content { stage, priority, effect, metadata, .. } = &row.content;
            let action = terms::action(program, *stage, *effect);
            let entry = Entry { key: key(*priority), action, metadata: metadata.clone() };
            edits.insert(entry.key.clone(), Some(entry));
            slot.shown = Some(*priority);
            *shown += 1;
        } else {
            self.slots.remove(place);
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.counts.values().map(|(_, shown)| shown).sum()
    }

    /// Whether tables are as full as to make one doubt that everything fits.
    pub(super) fn is_full(&self, program: &Program) -> bool {
        self.counts.iter().any(|(table, (all, shown))| {
            let size = program.table_of(*table).map_or(0, |table: Table| program.size(table));
            *all > size.saturating_mul(HOPELESS) || *shown > size
        })
    }

    /// Ends an update.
    pub(super) fn settle(&mut self) {
        self.filter.settle();
        self.pod.settle();
        self.sport.settle();
        self.dport.settle();
    }
}
