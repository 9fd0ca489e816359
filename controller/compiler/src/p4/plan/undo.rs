//! The way back, where a switch refuses a write before the flip.

use outplane_p4runtime::entry::Entry;

use super::{PlanError, Steps, capacity, for_version, unversioned};
use crate::program::Program;
use crate::state::{Change, Desired, Installed, Plan};

/// The writes that take back what a plan from `before` had written when it stopped; `now` is what has been read since.
///
/// Packets see the same before, in between and after. Where they see another version by now, it is empty: the update has
/// happened, and the next plan cleans up behind it.
///
/// # Errors
/// As [`super::plan`].
pub fn undo(program: &Program, before: &Installed, now: &Installed) -> Result<Plan, PlanError> {
    if now.version != before.version {
        return Ok(Plan { from_version: now.version, to_version: now.version, ..Plan::default() });
    }
    let seen = seen(program, before);
    if before.version != 0 {
        return super::plan(program, now, &seen);
    }
    // Before the first policy packets see nothing, so whatever was not there goes, and nothing has to be shown.
    let mut steps = Steps::default();
    unversioned::plan(program, now, &seen, &now.entries.differences(&seen.entries), &mut steps);
    let new = now.entries.iter().filter(|entry| {
        program.version_field(entry.key.table).is_some() && before.entries.get(&entry.key).is_none()
    });
    steps.sweep.extend(new.map(|entry| Change::Delete(entry.key.clone())));
    let plan = Plan { steps: steps.finish(), ..Plan::default() };
    capacity::check(program, now, &plan)?;
    Ok(plan)
}

/// What packets see, as a desired state: its plan writes nothing that they could see.
fn seen(program: &Program, installed: &Installed) -> Desired {
    let is_seen = |entry: &&Entry| {
        program.version_field(entry.key.table).is_none() || super::seen(program, entry, installed.version)
    };
    let mut entries: Vec<_> =
        installed.entries.iter().filter(is_seen).map(|entry| for_version(program, entry, None)).collect();
    entries.sort();
    entries.dedup_by(|one, other| one.key == other.key);
    let (groups, meters) = (installed.groups.clone(), installed.meters.clone());
    Desired { entries: entries.into(), groups, meters }
}
