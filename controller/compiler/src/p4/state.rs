//! States of a switch, as values: what it should hold, what it holds, and what lies between.

use std::collections::{BTreeMap, BTreeSet};

use outplane_p4runtime::entry::{Counter, DefaultEntry, Entry, Key, MeterCell, MulticastGroup};

use crate::entries::Entries;
pub use crate::origin::Origin;

/// What a switch should hold for one generation of the intent. Versioned tables' entries carry no `version` match here:
/// the plan adds it. Sorted, so that equal states are equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Table entries; each carries its [`Origin`] in `metadata`.
    pub entries: Entries,
    /// Multicast groups, sorted by id.
    pub groups: Vec<MulticastGroup>,
    /// Meter cells, sorted by meter and index.
    pub meters: Vec<MeterCell>,
}

/// What a switch holds, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// The version in the default action of `policy_version`: the one that packets see. 0: none yet.
    pub version: u8,
    /// Entries that are ours (their metadata says so).
    pub entries: Entries,
    /// Groups that are ours: in the desired state, or a flood entry of ours sends to them.
    pub groups: Vec<MulticastGroup>,
    /// Meter cells whose rate is set.
    pub meters: Vec<MeterCell>,
    /// Entries of others: counted by table, for capacity; never touched.
    pub foreign: BTreeMap<u32, usize>,
    /// Keys of others' entries that collide with desired ones would be errors; kept to report them.
    pub foreign_keys: Vec<Key>,
    /// Those of others' entries that can be read whole: packets hit them, too.
    pub foreign_entries: Vec<Entry>,
    /// Others' multicast groups.
    pub foreign_groups: Vec<MulticastGroup>,
    /// What entries of ours have counted, where read.
    pub counters: BTreeMap<Key, Counter>,
}

/// The policies that entries are for, in order; entries that serve all policies are for none.
pub fn policies(entries: &Entries) -> BTreeSet<String> {
    let policies = entries.iter().filter_map(|entry| Some(Origin::decode(&entry.metadata)?.policy));
    policies.filter(|policy| policy != Origin::COMMON).collect()
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// INSERT a table entry.
    Insert(Entry),
    /// MODIFY a table entry's action or metadata.
    Modify(Entry),
    /// DELETE a table entry.
    Delete(Key),
    /// MODIFY a default entry.
    SetDefault(DefaultEntry),
    /// INSERT a multicast group.
    InsertGroup(MulticastGroup),
    /// MODIFY a multicast group.
    ModifyGroup(MulticastGroup),
    /// DELETE a multicast group.
    DeleteGroup(u32),
    /// MODIFY a meter cell.
    SetMeter(MeterCell),
    /// MODIFY a meter cell back to its default: no limit.
    ClearMeter {
        /// The meter's id.
        meter: u32,
        /// Index of the cell.
        index: i64,
    },
}

/// Changes that may be written in any order and in parallel. All of a step are acknowledged before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does, for people: "prepare", "flip", ..
    pub title: &'static str,
    /// The changes.
    pub changes: Vec<Change>,
}

/// The way from installed to desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps in order; empty: nothing to do.
    pub steps: Vec<Step>,
    /// Version that packets see before.
    pub from_version: u8,
    /// Version that packets see after; equal to `from_version` where nothing that is versioned changes.
    pub to_version: u8,
}
