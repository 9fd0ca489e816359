//! What a plan does, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::program::Program;
use crate::state::{Change, Plan};

/// Writes of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Inserts.
    pub inserts: usize,
    /// Modifies.
    pub modifies: usize,
    /// Deletes.
    pub deletes: usize,
}

impl Counts {
    /// All of them.
    pub fn total(self) -> usize {
        self.inserts + self.modifies + self.deletes
    }
}

/// A plan in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Version that packets see before.
    pub from_version: u8,
    /// Version that packets see after.
    pub to_version: u8,
    /// Steps in their order: title and number of writes.
    pub steps: Vec<(&'static str, usize)>,
    /// Entries by table name.
    pub tables: BTreeMap<String, Counts>,
    /// Multicast groups.
    pub groups: Counts,
    /// Meter cells: set are modifies, cleared are deletes.
    pub meters: Counts,
    /// All writes, the flip among them.
    pub total: usize,
}

/// What a table is called; its id where the program has no such table.
pub(super) fn name_of(program: &Program, table: u32) -> String {
    program.table_of(table).map_or_else(|| format!("table-{table}"), |table| table.name().to_owned())
}

impl Plan {
    /// Counts by table and kind. The flip is in `total` and `steps` alone.
    pub fn summary(&self, program: &Program) -> Summary {
        let mut summary = Summary {
            from_version: self.from_version,
            to_version: self.to_version,
            steps: self.steps.iter().map(|step| (step.title, step.changes.len())).collect(),
            total: self.len(),
            ..Summary::default()
        };
        let mut tables: BTreeMap<u32, Counts> = BTreeMap::new();
        for change in self.steps.iter().flat_map(|step| &step.changes) {
            match change {
                Change::Insert(entry) => tables.entry(entry.key.table).or_default().inserts += 1,
                Change::Modify(entry) => tables.entry(entry.key.table).or_default().modifies += 1,
                Change::Delete(key) => tables.entry(key.table).or_default().deletes += 1,
                Change::SetDefault(_) => {}
                Change::InsertGroup(_) => summary.groups.inserts += 1,
                Change::ModifyGroup(_) => summary.groups.modifies += 1,
                Change::DeleteGroup(_) => summary.groups.deletes += 1,
                Change::SetMeter(_) => summary.meters.modifies += 1,
                Change::ClearMeter { .. } => summary.meters.deletes += 1,
            }
        }
        summary.tables =
            tables.into_iter().map(|(table, counts)| (name_of(program, table), counts)).collect();
        summary
    }
}
