//! Whether every table has room at every moment of a plan.

use std::collections::BTreeMap;

use super::summary::name_of;
use super::{CapacityError, PlanError};
use crate::program::Program;
use crate::state::{Change, Installed, Plan};

/// What a table holds while the plan runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fill {
    /// Entries after the last step.
    pub now: usize,
    /// Most entries at any moment after an insert; 0 where nothing is inserted.
    pub peak: usize,
    /// Entries of others among both.
    pub foreign: usize,
}

/// Walks the plan and counts. Writes of a step come in any order, so its inserts count before its deletes.
pub(super) fn fills(installed: &Installed, plan: &Plan) -> BTreeMap<u32, Fill> {
    let mut tables: BTreeMap<u32, Fill> = BTreeMap::new();
    for (&table, &foreign) in &installed.foreign {
        tables.insert(table, Fill { now: foreign, peak: 0, foreign });
    }
    for run in installed.entries.runs() {
        tables.entry(run.table()).or_default().now += run.entries().len();
    }
    for step in &plan.steps {
        for change in &step.changes {
            if let Change::Insert(entry) = change {
                let fill = tables.entry(entry.key.table).or_default();
                fill.now += 1;
                fill.peak = fill.peak.max(fill.now);
            }
        }
        for change in &step.changes {
            if let Change::Delete(key) = change {
                let fill = tables.entry(key.table).or_default();
                fill.now = fill.now.saturating_sub(1);
            }
        }
    }
    tables
}

/// Refuses a plan that makes a table fuller than the P4Info says it can be. A switch that already is fuller is no reason
/// to refuse a plan that inserts nothing there.
pub(super) fn check(program: &Program, installed: &Installed, plan: &Plan) -> Result<(), PlanError> {
    // Of several tables that overflow, the one that does most is named.
    let overflowing = fills(installed, plan).into_iter().filter_map(|(table, fill)| {
        let size = program.schema().table(table)?.size;
        (size > 0 && fill.peak as u64 > size).then_some((table, fill, size))
    });
    match overflowing.max_by_key(|&(_, fill, size)| fill.peak as u64 - size) {
        None => Ok(()),
        Some((table, fill, size)) => Err(PlanError::Capacity(Box::new(CapacityError {
            table: name_of(program, table),
            peak: fill.peak,
            after: fill.now,
            foreign: fill.foreign,
            size,
        }))),
    }
}
