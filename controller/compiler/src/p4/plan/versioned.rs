//! Tables whose entries exist in versions: what the old policy's packets see until the flip, and the new one's after it.
//!
//! For each key (without its version) there may be an entry of all versions, one of the version that packets see and
//! one of the next version. The rules below bring each key from whatever there is to: one entry that the next version
//! sees, with the desired action, or none; and what packets of the present version see does not change before the flip.

use outplane_p4runtime::entry::{DefaultEntry, Entry, FieldMatch};

use super::cell::{Cell, Odd, delete, rewritten, same};
use super::seen::{Classes, are_apart};
use super::shadow::Shadows;
use super::{Bare, Steps, exactly, for_version, sees};
use crate::entries::Difference;
use crate::program::{ActionKind, Program, Table};
use crate::state::{Change, Desired, Installed};

/// Plans the versioned tables and returns the version that packets see afterwards. `differences`: of the entries.
pub(super) fn plan<'e>(
    program: &Program,
    installed: &'e Installed,
    desired: &'e Desired,
    differences: &[Difference<'e>],
    steps: &mut Steps,
) -> u8 {
    let now = installed.version;
    let next = if now == 1 { 2 } else { 1 };
    let versions = Versions { program, now, next };
    let cells = versions.cells(installed, desired, differences);
    // Before the first policy nothing passes, so there is a policy to show even if it has no entry.
    if now != 0 && cells.iter().all(Cell::is_settled) {
        for cell in &cells {
            cell.tidy(steps);
        }
        return now;
    }
    let changing: Vec<&Cell<'_>> = cells.iter().filter(|cell| !cell.is_settled()).collect();
    if now != 0
        && let Some(changes) = in_place(program, &changing)
    {
        for change in changes {
            match change {
                Change::Delete(_) => steps.clean_up.push(change),
                _ => steps.prepare.push(change),
            }
        }
        for cell in cells.iter().filter(|cell| cell.is_settled()) {
            cell.tidy(steps);
        }
        return now;
    }
    let unseen = Unseen::new(program, now, installed, desired);
    let shadows = Shadows::new(program, next, &cells, installed, desired);
    for cell in &cells {
        let is_done = now != 0 && (unseen.plan(cell, steps) || shadows.plan(cell, steps));
        if !is_done {
            versions.plan(cell, steps);
        }
    }
    steps.flip.push(Change::SetDefault(show(program, next)));
    next
}

/// Most keys that may differ for a plan without a flip: they are compared with each other.
const FEW: usize = 48;

/// The changes of these keys where they stand, if no packet can see more than one of them: each packet
/// sees the whole old policy or the whole new one then, too, and nothing has to settle.
fn in_place(program: &Program, changing: &[&Cell<'_>]) -> Option<Vec<Change>> {
    let changes: Vec<Change> = changing.iter().map(|cell| cell.in_place()).collect::<Option<_>>()?;
    let entries: Vec<&Entry> =
        changing.iter().filter_map(|cell| cell.desired.or(cell.all).or(cell.old)).collect();
    let apart =
        |(place, one): (usize, &&Entry)| entries[..place].iter().all(|other| are_apart(program, one, other));
    (changing.len() <= FEW && entries.iter().enumerate().all(apart)).then_some(changes)
}

/// What packets of one version cannot see, since none of them has a class that it matches: it need not be hidden from
/// them.
struct Unseen<'a> {
    program: &'a Program,
    now: Classes,
    next: Classes,
}

impl<'a> Unseen<'a> {
    fn new(program: &'a Program, now: u8, installed: &Installed, desired: &Desired) -> Self {
        let now = Classes::new(program, &installed.entries, now);
        // Desired entries have no version: any packet sees them.
        Self { program, now, next: Classes::new(program, &desired.entries, 1) }
    }

    /// Changes a key for all versions at once where those that should not see it do not; whether that could be done.
    fn plan(&self, cell: &Cell<'_>, steps: &mut Steps) -> bool {
        if !cell.is_shared() {
            return false;
        }
        match (cell.desired, cell.all) {
            (Some(desired), None) if !self.now.have(self.program, desired) => {
                steps.prepare.push(Change::Insert(desired.clone()));
                true
            }
            (None, Some(all)) if !self.next.have(self.program, all) => {
                steps.clean_up.push(delete(all));
                true
            }
            _ => false,
        }
    }
}

/// The default entry that makes packets see a version.
fn show(program: &Program, version: u8) -> DefaultEntry {
    let action = program.action(ActionKind::SetVersion, &[version.into()]);
    DefaultEntry { table: program.table(Table::PolicyVersion), action: Some(action) }
}

/// The version that packets see, and the one that the plan builds.
struct Versions<'a> {
    program: &'a Program,
    /// 0: none yet, packets see nothing.
    now: u8,
    next: u8,
}

impl Versions<'_> {
    /// One cell for each key under which something is not as it should be, or exists in one version only, by key.
    fn cells<'b>(
        &self,
        installed: &'b Installed,
        desired: &'b Desired,
        differences: &[Difference<'b>],
    ) -> Vec<Cell<'b>> {
        let program = self.program;
        // Installed before desired, under one key.
        let mut all: Vec<(Bare<'_>, bool, Option<FieldMatch>, &Entry)> = Vec::new();
        let mut add = |is_desired: bool, entry: &'b Entry| {
            if program.version_field(entry.key.table).is_some() {
                let (version, bare) = Bare::of(program, &entry.key);
                all.push((bare, is_desired, version, entry));
            }
        };
        for (found, wanted) in differences {
            if let Some(entry) = found {
                add(false, entry);
            }
            if let Some(entry) = wanted {
                add(true, entry);
            }
        }
        // Beside what exists in one version stands what all versions have, as it should be or not.
        for entry in super::versioned(program, &installed.entries) {
            let key = for_version(program, entry, None).key;
            if let (Some(found), Some(wanted)) = (installed.entries.get(&key), desired.entries.get(&key))
                && found == wanted
            {
                add(false, found);
                add(true, wanted);
            }
        }
        all.sort_unstable();
        all.dedup();
        all.chunk_by(|one, other| one.0 == other.0)
            .map(|group| {
                let mut cell = Cell::default();
                for &(_, is_desired, version, entry) in group {
                    if is_desired {
                        cell.desired = Some(entry);
                    } else {
                        self.put(&mut cell, version, entry);
                    }
                }
                cell
            })
            .collect()
    }

    fn put<'b>(&self, cell: &mut Cell<'b>, version: Option<FieldMatch>, entry: &'b Entry) {
        let Some(version) = version else {
            cell.all = Some(entry);
            return;
        };
        let field = self.program.version_field(entry.key.table);
        let is_of = |v: u8| v != 0 && field.is_some_and(|field| version == exactly(field, v));
        if is_of(self.now) {
            cell.old = Some(entry);
        } else if is_of(self.next) {
            cell.new = Some(entry);
        } else {
            let (seen_now, seen_next) = (sees(Some(version), self.now), sees(Some(version), self.next));
            cell.odd.push(Odd { entry, seen_now, seen_next });
        }
    }

    /// The rules, for a plan that flips.
    fn plan(&self, cell: &Cell<'_>, steps: &mut Steps) {
        if self.now == 0 {
            self.plan_unseen(cell, steps);
            return;
        }
        // What the new policy shares with the old one stays as it is.
        if let (Some(desired), Some(all)) = (cell.desired, cell.all)
            && same(desired, all)
        {
            steps.clean_up.extend(rewritten(all, desired));
            steps.clean_up.extend(cell.old.map(delete));
            steps.sweep.extend(cell.new.map(delete));
            steps.sweep.extend(cell.odd.iter().map(|odd| delete(odd.entry)));
            return;
        }

        // Otherwise nothing that the old policy sees may be left for the new one to see.
        let mut pinned = cell.old;
        let odd_shared = cell.odd.iter().filter(|odd| odd.seen_now && odd.seen_next).map(|odd| odd.entry);
        for shared in cell.all.into_iter().chain(odd_shared) {
            if pinned.is_none() {
                let copy = for_version(self.program, shared, Some(self.now));
                steps.clean_up.push(delete(&copy));
                steps.pin.push(Change::Insert(copy));
                pinned = Some(shared);
            }
            steps.restrict.push(delete(shared));
        }
        steps.clean_up.extend(cell.old.map(delete));
        for odd in &cell.odd {
            match (odd.seen_now, odd.seen_next) {
                (true, true) => {}
                (true, false) => steps.clean_up.push(delete(odd.entry)),
                (false, _) => steps.sweep.push(delete(odd.entry)),
            }
        }

        // And the new policy's own entry.
        match (cell.desired, cell.new) {
            (None, new) => steps.sweep.extend(new.map(delete)),
            (Some(desired), Some(new)) => steps.prepare.extend(rewritten(new, desired)),
            (Some(desired), None) => {
                // The old policy has it too, so it may be an entry of all versions at once.
                let settles = pinned.is_some_and(|old| same(old, desired)) && cell.seen_now_does_as(desired);
                let version = if settles { None } else { Some(self.next) };
                steps.prepare.push(Change::Insert(for_version(self.program, desired, version)));
            }
        }
    }

    /// The rules before the first flip: packets see nothing, so entries are of all versions at once.
    fn plan_unseen(&self, cell: &Cell<'_>, steps: &mut Steps) {
        let kept = cell.desired.and(cell.all.or(cell.new));
        match (cell.desired, kept) {
            (Some(desired), Some(kept)) => steps.prepare.extend(rewritten(kept, desired)),
            (Some(desired), None) => {
                steps.prepare.push(Change::Insert(for_version(self.program, desired, None)));
            }
            (None, _) => {}
        }
        steps.sweep.extend(
            cell.installed().filter(|&entry| kept.is_none_or(|kept| kept.key != entry.key)).map(delete),
        );
    }
}
