//! Whether entries of two compilations match the same packets and do the same with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outplane_p4runtime::entry::{Entry, FieldMatch, Match, MeterCell};

use super::unversioned;
use crate::classes::{ClassRange, Cube, flatten, overlay};
use crate::p4::space::{SPACES, Space};
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Point;
use crate::state::Origin;

/// Which side's numbers: before, after.
type SideOf = usize;
/// A pair of classes that some address, or port, has: before and after.
type Atom = [u16; 2];
/// The sets of a box, by source and destination class, source and destination port class.
type Sets = [u32; 4];

/// The set of a field that is not matched.
const ANY: u32 = 0;
/// Cells that are compared one by one where boxes alone do not tell.
const MOST_CELLS: usize = 200_000;

/// What boxes have in common that are compared with each other: the table, what else is matched (with the place of the
/// priority among the rule's own), and what is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Frame {
    table: u32,
    place: usize,
    matches: Vec<FieldMatch>,
    /// Which of [`Sets`] are matched.
    sets: [bool; 4],
    action: u32,
    arguments: Vec<u128>,
    limit: Option<(i64, i64, i64, i64)>,
}

/// See the module.
pub(super) struct Meaning<'p, 'e> {
    program: &'p Program,
    entries: [Vec<&'e Entry>; 2],
    meters: [BTreeMap<i64, MeterCell>; 2],
    atoms: [Vec<Atom>; SPACES],
    /// By space and side, the classes of atoms, ascending, each with its atom.
    by_class: [[Vec<(u16, u32)>; 2]; SPACES],
    /// Whether each class has the same number on both sides.
    is_same: [bool; SPACES],
    cubes: HashMap<(usize, SideOf, u128, u128), u32>,
    sets: Vec<Vec<u32>>,
    ids: HashMap<Vec<u32>, u32>,
}

impl<'p, 'e> Meaning<'p, 'e> {
    /// By the class tables and limits of both sides.
    pub(super) fn new(program: &'p Program, sides: [(&[&'e Entry], &[MeterCell]); 2]) -> Self {
        let classes = sides.map(|(entries, _)| Contents::new(program, entries));
        let atoms: [Vec<Atom>; SPACES] = std::array::from_fn(|space| atoms(&classes, space));
        let by_class = std::array::from_fn(|space| {
            [0, 1].map(|side: SideOf| {
                let classes = atoms[space].iter().map(|atom| atom[side]);
                let mut classes: Vec<(u16, u32)> = classes.zip(0u32..).collect();
                classes.sort_unstable();
                classes
            })
        });
        let is_same = std::array::from_fn(|space| atoms[space].iter().all(|[before, after]| before == after));
        let limits = sides.map(|(_, meters)| meters.iter().map(|cell| (cell.index, *cell)).collect());
        // The set 0 is that of a field which is not matched; no set of atoms has its number.
        let sets = vec![Vec::new()];
        let (entries, cubes, ids) =
            (sides.map(|(entries, _)| entries.to_vec()), HashMap::new(), HashMap::new());
        Self { program, entries, meters: limits, atoms, by_class, is_same, cubes, sets, ids }
    }

    /// Whether these entries use a number that may mean something else on the other side: of a class, or of a limiter.
    pub(super) fn is_renumbered(&self, entries: &[&Entry]) -> bool {
        let fields = [Field::SrcClass, Field::DstClass, Field::SportClass, Field::DportClass];
        let limited =
            |entry: &&Entry| self.program.action_of(entry.action.id).is_some_and(ActionKind::is_limited);
        let matched = |entry: &&Entry| {
            let table = self.program.table_of(entry.key.table);
            table.is_some_and(|table| {
                fields.iter().any(|field| {
                    let id = self.program.field(table, *field);
                    entry.key.matches.iter().any(|matched| Some(matched.field) == id)
                        && Space::of(table, *field).is_some_and(|space| !self.is_same[space as usize])
                })
            })
        };
        let limits = self.meters[0] != self.meters[1];
        entries.iter().any(|entry| matched(entry) || limits && limited(entry))
    }

    /// Whether both match the same packets and do the same with them, as far as can be told: false where not.
    pub(super) fn same(&mut self, before: &[&Entry], after: &[&Entry]) -> bool {
        let entries = [before, after];
        let mut boxes = [self.boxes(0, before), self.boxes(1, after)];
        let frames: BTreeSet<Frame> = boxes.iter().flat_map(BTreeMap::keys).cloned().collect();
        frames.into_iter().all(|frame| {
            let [one, other] = [0, 1].map(|side: usize| boxes[side].remove(&frame).unwrap_or_default());
            let (one, other) = (self.merged(one), self.merged(other));
            if one == other {
                return true;
            }
            let (Some(one), Some(other)) = (self.cells(&one), self.cells(&other)) else { return false };
            [(0, &other, &one), (1, &one, &other)].into_iter().all(|(side, there, here)| {
                there.difference(here).all(|cell| self.is_decided(side, &frame, entries[side], *cell))
            })
        })
    }

    /// Whether an entry of a higher priority, or of a rule that is named before this one, decides a cell in any case. The
    /// compiler writes none below it there, where it sees that.
    fn is_decided(&self, side: SideOf, frame: &Frame, own: &[&Entry], cell: Sets) -> bool {
        let here = own.iter().filter(|entry| entry.key.table == frame.table);
        let Some(priority) = here.map(|entry| entry.key.priority).max() else { return false };
        let origin = own.first().and_then(|entry| Origin::decode(&entry.metadata));
        let is_named_before = |entry: &Entry| {
            let other = Origin::decode(&entry.metadata);
            other.zip(origin.as_ref()).is_some_and(|(other, own)| other.rank() < own.rank())
        };
        let decides = |entry: &Entry| {
            let table = self.program.table_of(entry.key.table);
            entry.key.table == frame.table
                && (entry.key.priority > priority || entry.key.priority == priority && is_named_before(entry))
                && unversioned(self.program, entry).iter().all(|matched| {
                    let field =
                        table.and_then(|table| Some((table, self.program.field_of(table, matched.field)?)));
                    let found = field.and_then(|(table, field)| {
                        Some((Space::of(table, field)? as usize, place_of(field)?))
                    });
                    match (found, matched.matches) {
                        (Some((space, place)), Match::Ternary { value, mask }) => {
                            let atom = self.atoms[space].get(cell[place] as usize);
                            frame.sets[place]
                                && atom.is_some_and(|atom| u128::from(atom[side]) & mask == value)
                        }
                        _ => frame.matches.contains(matched),
                    }
                })
        };
        self.entries[side].iter().any(|entry| decides(entry))
    }

    /// Boxes by what they have in common. Those that no packet can be in are left out.
    fn boxes(&mut self, side: SideOf, entries: &[&Entry]) -> BTreeMap<Frame, BTreeSet<Sets>> {
        let priorities: BTreeSet<(u32, i32)> =
            entries.iter().map(|entry| (entry.key.table, entry.key.priority)).collect();
        let mut boxes: BTreeMap<Frame, BTreeSet<Sets>> = BTreeMap::new();
        for entry in entries {
            let (frame, sets) = self.frame(side, entry, &priorities);
            let empty = sets
                .iter()
                .zip(frame.sets)
                .any(|(set, matched)| matched && self.sets[*set as usize].is_empty());
            if !empty {
                boxes.entry(frame).or_default().insert(sets);
            }
        }
        boxes
    }

    fn frame(&mut self, side: SideOf, entry: &Entry, priorities: &BTreeSet<(u32, i32)>) -> (Frame, Sets) {
        let (table_id, priority) = (entry.key.table, entry.key.priority);
        let table = self.program.table_of(table_id);
        let (mut matches, mut sets) = (Vec::new(), [ANY; 4]);
        for matched in unversioned(self.program, entry) {
            let field = table.and_then(|table| Some((table, self.program.field_of(table, matched.field)?)));
            let found =
                field.and_then(|(table, field)| Some((Space::of(table, field)? as usize, place_of(field)?)));
            match (found, matched.matches) {
                (Some((space, place)), Match::Ternary { value, mask }) => {
                    sets[place] = self.cube(space, side, value, mask);
                }
                _ => matches.push(matched),
            }
        }
        let kind = self.program.action_of(entry.action.id);
        let limited = kind.is_some_and(ActionKind::is_limited);
        let arguments: Vec<u128> = entry.action.params.iter().map(|(_, value)| *value).collect();
        let limit = arguments.first().filter(|_| limited).and_then(|index| {
            let cell = self.meters[side].get(&i64::try_from(*index).ok()?)?;
            Some((cell.cir, cell.cburst, cell.pir, cell.pburst))
        });
        let place = priorities.range((table_id, i32::MIN)..(table_id, priority)).count();
        let frame = Frame {
            table: table_id,
            place,
            matches,
            sets: sets.map(|set| set != ANY),
            action: entry.action.id,
            arguments: if limited { Vec::new() } else { arguments },
            limit,
        };
        (frame, sets)
    }

    /// The atoms that a cube of a side's classes matches.
    fn cube(&mut self, space: usize, side: SideOf, value: u128, mask: u128) -> u32 {
        if let Some(id) = self.cubes.get(&(space, side, value, mask)) {
            return *id;
        }
        let low = |bits: u128| u16::try_from(bits & u128::from(u16::MAX)).unwrap_or(u16::MAX);
        // No class has the bits beyond.
        let cube = (value == u128::from(low(value))).then(|| Cube { value: low(value), mask: low(mask) });
        let mut set: Vec<u32> = Vec::new();
        if let Some(cube) = cube {
            let (block, classes) = (cube.block(), &self.by_class[space][side]);
            let start = classes.partition_point(|(class, _)| class < block.start());
            let near = classes[start..].iter().take_while(|(class, _)| class <= block.end());
            set.extend(near.filter(|(class, _)| cube.matches(*class)).map(|(_, atom)| *atom));
            set.sort_unstable();
        }
        let id = self.set(set);
        self.cubes.insert((space, side, value, mask), id);
        id
    }

    fn set(&mut self, set: Vec<u32>) -> u32 {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        let id = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set.clone());
        self.ids.insert(set, id);
        id
    }

    /// Boxes that differ in one set alone become one, as long as there are such.
    fn merged(&mut self, mut boxes: BTreeSet<Sets>) -> BTreeSet<Sets> {
        loop {
            let before = boxes.len();
            for place in 0..4 {
                let mut groups: BTreeMap<Sets, BTreeSet<u32>> = BTreeMap::new();
                for one in boxes {
                    let key = std::array::from_fn(|at| if at == place { ANY } else { one[at] });
                    groups.entry(key).or_default().insert(one[place]);
                }
                boxes = groups
                    .into_iter()
                    .map(|(mut key, sets)| {
                        key[place] = self.union(&sets);
                        key
                    })
                    .collect();
            }
            if boxes.len() == before {
                return boxes;
            }
        }
    }

    fn union(&mut self, sets: &BTreeSet<u32>) -> u32 {
        match sets.first() {
            Some(only) if sets.len() == 1 => *only,
            _ => {
                let all: BTreeSet<u32> =
                    sets.iter().flat_map(|set| self.sets[*set as usize].iter().copied()).collect();
                self.set(all.into_iter().collect())
            }
        }
    }

    /// Every combination of atoms; none where they are too many.
    fn cells(&self, boxes: &BTreeSet<Sets>) -> Option<BTreeSet<Sets>> {
        let mut cells = BTreeSet::new();
        let any = [ANY];
        for one in boxes {
            let of = |place: usize| match one[place] {
                ANY => &any[..],
                set => &self.sets[set as usize][..],
            };
            let number = (0..4).try_fold(1usize, |product, place| product.checked_mul(of(place).len()))?;
            if cells.len().checked_add(number)? > MOST_CELLS {
                return None;
            }
            for src in of(0) {
                for dst in of(1) {
                    for sport in of(2) {
                        cells.extend(of(3).iter().map(|dport| [*src, *dst, *sport, *dport]));
                    }
                }
            }
        }
        Some(cells)
    }
}

/// Where a field stands in [`Sets`].
fn place_of(field: Field) -> Option<usize> {
    match field {
        Field::SrcClass => Some(0),
        Field::DstClass => Some(1),
        Field::SportClass => Some(2),
        Field::DportClass => Some(3),
        _ => None,
    }
}

/// The contents of classes: ranges of one class each, ascending.
#[derive(Default)]
struct Contents {
    v4: [Vec<ClassRange<u32>>; SPACES],
    v6: [Vec<ClassRange<u128>>; SPACES],
    /// By protocol.
    ports: [BTreeMap<u128, Vec<ClassRange<u16>>>; SPACES],
}

impl Contents {
    fn new(program: &Program, entries: &[&Entry]) -> Self {
        let mut contents = Self::default();
        for entry in entries {
            let Some(table) = program.table_of(entry.key.table) else { continue };
            let matched = |field| program.matched(table, &entry.key.matches, field);
            for (place, space) in Space::set_by(table).iter().map(|space| *space as usize).enumerate() {
                let class = program.class(&entry.action, place).unwrap_or(0);
                match table {
                    Table::SrcV4Class | Table::DstV4Class => {
                        let (low, high) = ends::<u32>(matched(Field::Address));
                        contents.v4[space].push((low, high, class));
                    }
                    Table::SrcV6Class | Table::DstV6Class => {
                        let (low, high) = ends::<u128>(matched(Field::Address));
                        contents.v6[space].push((low, high, class));
                    }
                    _ => {
                        let (low, high) = ends::<u16>(matched(Field::Port));
                        let protocol = match matched(Field::Protocol) {
                            Some(Match::Ternary { value, .. }) => value,
                            _ => u128::MAX,
                        };
                        contents.ports[space].entry(protocol).or_default().push((low, high, class));
                    }
                }
            }
        }
        contents.v4.iter_mut().for_each(flatten);
        contents.v6.iter_mut().for_each(flatten);
        contents.ports.iter_mut().flat_map(BTreeMap::values_mut).for_each(flatten);
        contents
    }
}

/// The lowest and the highest number of a prefix or a range.
fn ends<T: Point + TryFrom<u128>>(matches: Option<Match>) -> (T, T) {
    let number = |value: u128, otherwise| T::try_from(value).unwrap_or(otherwise);
    match matches {
        Some(Match::Ternary { value, mask }) => number(value, T::MIN).prefix(mask.count_ones().min(T::BITS)),
        Some(Match::Range { low, high }) => (number(low, T::MIN), number(high, T::MAX)),
        Some(Match::Exact(value) | Match::Optional(value)) => (number(value, T::MIN), number(value, T::MIN)),
        Some(Match::Lpm { value, prefix_len }) => number(value, T::MIN).prefix(u32::from(prefix_len)),
        None => (T::MIN, T::MAX),
    }
}

/// The pairs of classes that addresses, or ports, have.
fn atoms([before, after]: &[Contents; 2], space: usize) -> Vec<Atom> {
    // What has no class on either side, and what has no address.
    let mut atoms = BTreeSet::from([[0, 0]]);
    let pair = |(before, after): (u16, u16)| [before, after];
    atoms.extend(overlay(&before.v4[space], &after.v4[space]).into_iter().map(|(_, _, of)| pair(of)));
    atoms.extend(overlay(&before.v6[space], &after.v6[space]).into_iter().map(|(_, _, of)| pair(of)));
    let protocols: BTreeSet<u128> =
        before.ports[space].keys().chain(after.ports[space].keys()).copied().collect();
    for protocol in protocols {
        let of = |side: &Contents| side.ports[space].get(&protocol).cloned().unwrap_or_default();
        atoms.extend(overlay(&of(before), &of(after)).into_iter().map(|(_, _, of)| pair(of)));
    }
    atoms.into_iter().collect()
}
