//! Installed and desired state -> the writes between them, in an order that no packet can see through.
//!
//! Packets see a version of the policy: 1 or 2, in the default action of `policy_version`; 0 is before the first and
//! lets nothing pass. An entry of a versioned table exists in all versions (no match on `version`) or in exactly one.
//! A plan builds the version that packets do not see, flips, and removes the old one (Reitblatt et al., SIGCOMM
//! 2012). Entries that both versions share are not touched, so that an update costs its delta and not the table.
//!
//! ```text
//!   sweep      delete what an interrupted update left and nobody sees
//!   pin        old entries of all versions that the new policy lacks: a copy for the old version alone;
//!              multicast groups and meters that the new state needs
//!   restrict   delete the originals: now they exist in the old version only
//!   prepare    insert what is new, for the new version alone (for all versions where the old one has it too)
//!   flip       one write: packets see the new version
//!   clean up   delete what exists in the old version only; write origins that changed
//!   release    multicast groups and meters that nothing uses any more, shadows (`shadow`)
//! ```
//!
//! Within a step the order does not matter, so its writes may be in flight together; steps without writes are left out.
//! At every moment, also amid a step, packets see the whole old policy until the flip and the whole new one after it.
//! Whatever is left by a plan that was cut short is an installed state like any other: the next plan starts from it,
//! keeps what fits and removes the rest.
//!
//! **Without a flip.** Where no packet can match two of the keys that change, each is written where it stands, in one write
//! that all versions see: a packet meets the old entry or the new one, and nothing else that differs. So a rule that
//! comes or goes mostly costs as many writes as it has entries. And what the packets of one version cannot match, since
//! none of them has the classes for it, need not be hidden from them: it is inserted before the flip, or deleted after it,
//! in all versions at once.
//!
//! **Entries settle.** A new entry exists in its version alone at first. When a later plan flips, it gets a copy that
//! exists in all versions and loses the first one in the clean-up; from then on it costs nothing. So over a sequence of
//! plans an entry that is added, changed or removed costs at most [`WRITES_PER_DIFFERENCE`] writes, now and later
//! together. A copy counts from zero, so an entry's counter starts over when it settles;
//! [`carried`] says what it could begin with instead.
//!
//! Tables without a version (forwarding) are shared by all versions: inserts and modifies happen in the prepare step,
//! deletes in the clean-up.

mod applied;
mod capacity;
mod carry;
mod cell;
mod seen;
mod shadow;
mod summary;
mod undo;
mod unversioned;
mod versioned;

use std::collections::BTreeSet;

use outplane_p4runtime::entry::{Entry, FieldMatch, Key, Match};
use thiserror::Error;

pub use carry::carried;
pub use summary::{Counts, Summary};
pub use undo::undo;

use crate::entries::Entries;
use crate::program::{Program, Table};
use crate::state::{Change, Desired, Installed, Plan, Step};

/// The step that deletes what packets do not see any more.
pub const CLEAN_UP: &str = "clean up";

/// What one difference between two desired states costs at most over all later plans, in writes: an entry that gets
/// another action is pinned, deleted, inserted and its copy deleted; later it settles with an insert and a delete.
pub const WRITES_PER_DIFFERENCE: usize = 6;

/// Why there is no plan. Nothing has been written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A table would overflow on the way.
    #[error("{0}")]
    Capacity(Box<CapacityError>),
    /// Somebody else's entry is where one of ours should be.
    #[error(
        "an entry of another owner is in the way: {entry}{}; remove it, or change the policy so that it is not needed",
        more(*.others)
    )]
    Foreign {
        /// The desired entry, in the program's names.
        entry: String,
        /// How many more there are.
        others: usize,
    },
    /// The desired state contradicts itself: the compiler has a bug.
    #[error("the compiled state is wrong, please report this: {problem}: {entry}")]
    Desired {
        /// What is wrong.
        problem: &'static str,
        /// The entry, in the program's names.
        entry: String,
    },
}

/// A table that would overflow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "table {table} has room for {size} entries and would need {peak} during the update{}: {}",
    foreign_note(*.foreign),
    cure(*.size, *.after)
)]
pub struct CapacityError {
    /// The table.
    pub table: String,
    /// Most entries that it would hold at once, ours and others'.
    pub peak: usize,
    /// Entries that it would hold after the update.
    pub after: usize,
    /// Entries of others among both.
    pub foreign: usize,
    /// Entries that there is room for.
    pub size: u64,
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

fn foreign_note(foreign: usize) -> String {
    if foreign == 0 { String::new() } else { format!(" ({foreign} of them are of other owners)") }
}

fn cure(size: u64, after: usize) -> &'static str {
    if after as u64 > size {
        "make the policy smaller (fewer or wider addresses, ports and rules), or give the switch a program with larger \
         tables"
    } else {
        "old and new policy fit alone but not side by side; apply the change in two smaller ones"
    }
}

/// The writes that lead from `installed` to `desired`, see the module's introduction. The same input gives the same plan.
///
/// # Errors
/// [`PlanError`]: a table overflows on the way, an entry of another owner is in the way, or the desired state is not
/// one (an entry twice, or with a version of its own).
pub fn plan(program: &Program, installed: &Installed, desired: &Desired) -> Result<Plan, PlanError> {
    check(program, desired)?;
    foreign(program, installed, desired)?;
    let mut steps = Steps::default();
    let differences = installed.entries.differences(&desired.entries);
    let to_version = versioned::plan(program, installed, desired, &differences, &mut steps);
    unversioned::plan(program, installed, desired, &differences, &mut steps);
    let plan = Plan { steps: steps.finish(), from_version: installed.version, to_version };
    capacity::check(program, installed, &plan)?;
    Ok(plan)
}

/// The steps under construction, in their order.
#[derive(Debug, Default)]
struct Steps {
    sweep: Vec<Change>,
    pin: Vec<Change>,
    restrict: Vec<Change>,
    prepare: Vec<Change>,
    flip: Vec<Change>,
    clean_up: Vec<Change>,
    release: Vec<Change>,
}

impl Steps {
    fn finish(self) -> Vec<Step> {
        [
            ("sweep", self.sweep),
            ("pin", self.pin),
            ("restrict", self.restrict),
            (carry::PREPARE, self.prepare),
            ("flip", self.flip),
            (CLEAN_UP, self.clean_up),
            ("release", self.release),
        ]
        .into_iter()
        .filter(|(_, changes)| !changes.is_empty())
        .map(|(title, changes)| Step { title, changes })
        .collect()
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many writes it has.
    pub fn len(&self) -> usize {
        self.steps.iter().map(|step| step.changes.len()).sum()
    }

    /// Whether packets will see another version than before.
    pub fn flips(&self) -> bool {
        self.from_version != self.to_version
    }
}

/// The match of an entry that exists in one version only.
fn exactly(field: u32, version: u8) -> FieldMatch {
    FieldMatch { field, matches: Match::Ternary { value: version.into(), mask: u8::MAX.into() } }
}

/// A key without its match on the version: what an entry and its copies have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Bare<'a> {
    table: u32,
    matches: std::borrow::Cow<'a, [FieldMatch]>,
    priority: i32,
}

impl<'a> Bare<'a> {
    /// The key's match on the version, and the rest.
    fn of(program: &Program, key: &'a Key) -> (Option<FieldMatch>, Self) {
        let bare = |matches| Self { table: key.table, matches, priority: key.priority };
        let at = program
            .version_field(key.table)
            .and_then(|field| key.matches.binary_search_by_key(&field, |matched| matched.field).ok());
        let Some(at) = at else { return (None, bare(key.matches.as_slice().into())) };
        // The version is the first field of every table of outplane.p4, so this borrows.
        let rest = match (key.matches.split_first(), at) {
            (Some((_, rest)), 0) => rest.into(),
            _ => [&key.matches[..at], &key.matches[at + 1..]].concat().into(),
        };
        (Some(key.matches[at]), bare(rest))
    }
}

/// Whether packets of a version see an entry with this match on the version. Packets of version 0 see nothing.
fn sees(version: Option<FieldMatch>, packets: u8) -> bool {
    packets != 0
        && version.is_none_or(|version| match version.matches {
            Match::Ternary { value, mask } => u128::from(packets) & mask == value,
            _ => false,
        })
}

/// Whether packets of a version see an entry; those of no version's tables are seen by all but those of version 0.
pub(crate) fn seen(program: &Program, entry: &Entry, packets: u8) -> bool {
    sees(Bare::of(program, &entry.key).0, packets)
}

/// A copy of an entry for one version, or (none) for all.
fn for_version(program: &Program, entry: &Entry, version: Option<u8>) -> Entry {
    let mut copy = entry.clone();
    let Some(field) = program.version_field(entry.key.table) else { return copy };
    let matches = &mut copy.key.matches;
    matches.retain(|matched| matched.field != field);
    if let Some(version) = version {
        let at = matches.partition_point(|matched| matched.field < field);
        matches.insert(at, exactly(field, version));
    }
    copy
}

/// The entries that match on the version. It is the first field of every table of outplane.p4, so of most entries nobody
/// has to ask.
fn versioned<'e>(program: &Program, entries: &'e Entries) -> impl Iterator<Item = &'e Entry> {
    let of_table = |table: &Table| {
        let id = program.table(*table);
        program.version_field(id).map(|version| {
            let matches =
                move |entry: &&Entry| entry.key.matches.iter().any(|matched| matched.field == version);
            let may =
                move |entry: &&Entry| entry.key.matches.first().is_none_or(|first| first.field <= version);
            entries.of_table(id).take_while(may).filter(matches)
        })
    };
    Table::ALL.iter().filter_map(of_table).flatten().collect::<Vec<_>>().into_iter()
}

/// What the compiler promises: every key once, no versions.
fn check(program: &Program, desired: &Desired) -> Result<(), PlanError> {
    let wrong = |problem, entry| PlanError::Desired { problem, entry: program.schema().describe(entry) };
    if let Some(entry) = versioned(program, &desired.entries).next() {
        return Err(wrong("an entry says its version itself", entry));
    }
    desired.entries.twice().map_or(Ok(()), |entry| Err(wrong("an entry is there twice", entry)))
}

/// Entries of others under the keys of desired ones, in whatever version, are in the way: one of both would not be seen.
fn foreign(program: &Program, installed: &Installed, desired: &Desired) -> Result<(), PlanError> {
    if installed.foreign_keys.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<Bare<'_>> =
        installed.foreign_keys.iter().map(|key| Bare::of(program, key).1).collect();
    let mut hit = desired.entries.iter().filter(|entry| keys.contains(&Bare::of(program, &entry.key).1));
    match hit.next() {
        None => Ok(()),
        Some(entry) => {
            Err(PlanError::Foreign { entry: program.schema().describe(entry), others: hit.count() })
        }
    }
}

#[cfg(test)]
mod tests;
