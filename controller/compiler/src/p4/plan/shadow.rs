//! Addresses and ports that get another class, without an entry that has to settle.
//!
//! ```text
//!   prepare    insert above the entry a shadow of it, for the new version alone, with the new class
//!   flip       packets see the shadow
//!   clean up   the entry, which nobody sees, gets the new class
//!   release    delete the shadow: packets see the entry, which says the same
//! ```
//! Three writes, and the entry is of all versions as before. Only where nothing else stands where the shadow comes: two
//! entries of one priority that one packet matches are not in an order.

use std::collections::{HashMap, HashSet};

use outplane_p4runtime::entry::{Entry, FieldMatch, Match};

use super::cell::{Cell, delete, rewritten};
use super::{Steps, for_version};
use crate::p4::space::Space;
use crate::program::Program;
use crate::state::{Change, Desired, Installed};

/// Entries of a priority that a shadow is compared with at most.
const FEW: usize = 64;

/// What a plan has to know to make shadows.
pub(super) struct Shadows<'p> {
    program: &'p Program,
    next: u8,
    /// Entries of class tables, installed and desired, by table and priority.
    standing: HashMap<(u32, i32), Vec<&'p Entry>>,
    /// Tables in which there are entries of others.
    foreign: HashSet<u32>,
}

impl<'p> Shadows<'p> {
    pub(super) fn new(
        program: &'p Program,
        next: u8,
        cells: &[Cell<'_>],
        installed: &'p Installed,
        desired: &'p Desired,
    ) -> Self {
        // Most plans have few, and so few priorities that matter.
        let wanted: HashSet<(u32, i32)> =
            cells.iter().filter_map(Cell::acts_otherwise).map(|(all, _)| above(all)).collect();
        let mut standing: HashMap<(u32, i32), Vec<&Entry>> = HashMap::new();
        if !wanted.is_empty() {
            let tables: HashSet<u32> = wanted.iter().map(|(table, _)| *table).collect();
            for table in tables {
                for entry in installed.entries.of_table(table).chain(desired.entries.of_table(table)) {
                    let place = (table, entry.key.priority);
                    if wanted.contains(&place) {
                        standing.entry(place).or_default().push(entry);
                    }
                }
            }
        }
        let foreign = installed.foreign.keys().copied().collect();
        Self { program, next, standing, foreign }
    }

    /// Changes an entry's action by a shadow, where it may; whether it did.
    pub(super) fn plan(&self, cell: &Cell<'_>, steps: &mut Steps) -> bool {
        let Some((all, desired)) = cell.acts_otherwise() else { return false };
        let table = all.key.table;
        // Other tables count what their entries match.
        let gives_classes =
            self.program.table_of(table).is_some_and(|table| !Space::set_by(table).is_empty());
        if !gives_classes || self.foreign.contains(&table) || !self.is_free(all) {
            return false;
        }
        let mut shadow = for_version(self.program, desired, Some(self.next));
        shadow.key.priority += 1;
        steps.release.push(delete(&shadow));
        steps.prepare.push(Change::Insert(shadow));
        steps.clean_up.extend(rewritten(all, desired));
        true
    }

    fn is_free(&self, entry: &Entry) -> bool {
        let version = self.program.version_field(entry.key.table);
        let standing = self.standing.get(&above(entry)).map_or(&[][..], Vec::as_slice);
        let meets = |other: &&Entry| {
            other.key.matches.iter().filter(|other| Some(other.field) != version).all(|other| {
                let own = entry.key.matches.iter().find(|own| own.field == other.field);
                own.is_none_or(|own| meet(own, other))
            })
        };
        standing.len() <= FEW && !standing.iter().any(meets)
    }
}

/// Where an entry's shadow stands.
fn above(entry: &Entry) -> (u32, i32) {
    (entry.key.table, entry.key.priority.saturating_add(1))
}

/// Whether some value matches both; what cannot be told does.
fn meet(one: &FieldMatch, other: &FieldMatch) -> bool {
    match (one.matches, other.matches) {
        (Match::Ternary { value, mask }, Match::Ternary { value: other, mask: of_other }) => {
            (value ^ other) & mask & of_other == 0
        }
        (Match::Range { low, high }, Match::Range { low: from, high: to }) => low <= to && from <= high,
        _ => true,
    }
}
