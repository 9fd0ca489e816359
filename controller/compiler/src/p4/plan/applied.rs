//! What a switch holds once a plan has been written, without reading it.

use std::collections::BTreeMap;

use outplane_p4runtime::entry::{Entry, Key};

use crate::state::{Change, Installed, Plan};

impl Plan {
    /// What a switch that held `installed` holds when every write of the plan has been taken. What its entries have counted
    /// is not known.
    #[must_use]
    pub fn applied(&self, installed: &Installed) -> Installed {
        let mut entries: BTreeMap<Key, Option<Entry>> = BTreeMap::new();
        let mut after =
            Installed { version: self.to_version, counters: BTreeMap::new(), ..installed.clone() };
        for change in self.steps.iter().flat_map(|step| &step.changes) {
            match change {
                Change::Insert(entry) | Change::Modify(entry) => {
                    entries.insert(entry.key.clone(), Some(entry.clone()));
                }
                Change::Delete(key) => _ = entries.insert(key.clone(), None),
                // The version is the plan's.
                Change::SetDefault(_) => {}
                Change::InsertGroup(group) | Change::ModifyGroup(group) => {
                    after.groups.retain(|other| other.id != group.id);
                    after.groups.push(group.clone());
                }
                Change::DeleteGroup(id) => after.groups.retain(|group| group.id != *id),
                Change::SetMeter(cell) => {
                    after.meters.retain(|other| (other.meter, other.index) != (cell.meter, cell.index));
                    after.meters.push(*cell);
                }
                Change::ClearMeter { meter, index } => {
                    after.meters.retain(|cell| (cell.meter, cell.index) != (*meter, *index));
                }
            }
        }
        after.entries = installed.entries.edited(&entries);
        after.groups.sort_unstable();
        after.meters.sort_unstable();
        after
    }
}
