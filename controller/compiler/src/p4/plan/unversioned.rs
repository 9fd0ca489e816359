//! What all versions share: forwarding entries, multicast groups, meters.

use std::collections::BTreeMap;

use outplane_p4runtime::entry::Entry;

use super::Steps;
use crate::entries::Difference;
use crate::program::Program;
use crate::state::{Change, Desired, Installed};

/// `differences`: of the entries.
pub(super) fn plan(
    program: &Program,
    installed: &Installed,
    desired: &Desired,
    differences: &[Difference<'_>],
    steps: &mut Steps,
) {
    entries(program, differences, steps);
    groups(installed, desired, steps);
    meters(installed, desired, steps);
}

fn entries(program: &Program, differences: &[Difference<'_>], steps: &mut Steps) {
    let shared = |entry: &Entry| program.version_field(entry.key.table).is_none();
    for difference in differences {
        match *difference {
            (None, Some(entry)) if shared(entry) => steps.prepare.push(Change::Insert(entry.clone())),
            (Some(_), Some(entry)) if shared(entry) => steps.prepare.push(Change::Modify(entry.clone())),
            (Some(old), None) if shared(old) => steps.clean_up.push(Change::Delete(old.key.clone())),
            _ => {}
        }
    }
}

/// Groups are there before flood entries send to them, and go after.
fn groups(installed: &Installed, desired: &Desired, steps: &mut Steps) {
    let mut left: BTreeMap<_, _> = installed.groups.iter().map(|group| (group.id, group)).collect();
    for group in &desired.groups {
        match left.remove(&group.id) {
            None => steps.pin.push(Change::InsertGroup(group.clone())),
            Some(old) if old != group => steps.pin.push(Change::ModifyGroup(group.clone())),
            Some(_) => {}
        }
    }
    steps.release.extend(left.into_keys().map(Change::DeleteGroup));
}

/// Meters limit before entries use them: a cell without rates lets everything through.
fn meters(installed: &Installed, desired: &Desired, steps: &mut Steps) {
    let mut left: BTreeMap<_, _> =
        installed.meters.iter().map(|cell| ((cell.meter, cell.index), cell)).collect();
    for cell in &desired.meters {
        if left.remove(&(cell.meter, cell.index)) != Some(cell) {
            steps.pin.push(Change::SetMeter(*cell));
        }
    }
    steps.release.extend(left.into_keys().map(|(meter, index)| Change::ClearMeter { meter, index }));
}
