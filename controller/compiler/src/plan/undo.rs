//! The way back, where a switch refuses a write before the flip.

use outplane_p4runtime::entry::Entry;

use super::{Bare, Layout, PlanError, Steps, capacity, for_version, sees, unversioned};
use crate::state::{Change, Desired, Installed, Plan};

pub(super) fn undo(layout: &Layout<'_>, before: &Installed, now: &Installed) -> Result<Plan, PlanError> {
    if now.version != before.version {
        return Ok(Plan { from_version: now.version, to_version: now.version, ..Plan::default() });
    }
    let seen = seen(layout, before);
    if before.version != 0 {
        return super::plan_for(layout, now, &seen);
    }
    // Before the first policy packets see nothing, so whatever was not there goes, and nothing has to be shown.
    let mut steps = Steps::default();
    unversioned::plan(layout, now, &seen, &mut steps);
    let new = now.entries.iter().filter(|entry| {
        layout.version_field(entry.key.table).is_some()
            && before.entries.binary_search_by(|old| old.key.cmp(&entry.key)).is_err()
    });
    steps.sweep.extend(new.map(|entry| Change::Delete(entry.key.clone())));
    let plan = Plan { steps: steps.finish(), ..Plan::default() };
    capacity::check(layout, now, &plan)?;
    Ok(plan)
}

/// What packets see, as a desired state: its plan writes nothing that they could see.
fn seen(layout: &Layout<'_>, installed: &Installed) -> Desired {
    let is_seen = |entry: &&Entry| {
        layout.version_field(entry.key.table).is_none()
            || sees(Bare::of(layout, &entry.key).0, installed.version)
    };
    let mut entries: Vec<_> =
        installed.entries.iter().filter(is_seen).map(|entry| for_version(layout, entry, None)).collect();
    entries.sort();
    entries.dedup_by(|one, other| one.key == other.key);
    Desired { entries, groups: installed.groups.clone(), meters: installed.meters.clone() }
}
