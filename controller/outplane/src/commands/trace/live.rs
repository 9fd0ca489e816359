//! What switches hold now, to judge packets by.

use std::collections::BTreeMap;

use outplane_compiler::compile::Compiled;
use outplane_compiler::entries::Entries;
use outplane_compiler::state::{Desired, Installed};
use outplane_driver_p4runtime::{Options, Target};
use outplane_p4runtime::entry::MulticastGroup;

use crate::runtime;
use crate::switches::{self, Trouble};

/// What a switch holds.
pub(crate) struct Live {
    /// The version of the policy that packets see; 0: none, nothing passes.
    pub(super) version: u8,
    /// Everybody's.
    pub(super) entries: Entries,
    pub(super) groups: Vec<MulticastGroup>,
}

impl From<Installed> for Live {
    fn from(mut installed: Installed) -> Self {
        let entries = installed.entries.iter().chain(&installed.foreign_entries).cloned().collect();
        installed.groups.append(&mut installed.foreign_groups);
        Self { version: installed.version, entries, groups: installed.groups }
    }
}

/// What became of reading them.
#[derive(Default)]
pub(super) struct Found {
    pub(super) live: BTreeMap<String, Live>,
    /// Those that cannot be read, and why.
    pub(super) missing: Vec<(String, String)>,
}

/// Reads them all, for reading only: a running controller is not disturbed.
pub(super) fn read(targets: Vec<Target>, options: &Options, compiled: &Compiled) -> anyhow::Result<Found> {
    let one = |target: Target| {
        let desired = compiled.switches.get(&target.name).map(|state| state.desired.clone());
        of_switch(target, options.clone(), desired.unwrap_or_default())
    };
    let mut found = Found::default();
    for about in runtime::block_on(switches::each(targets, one))? {
        match about.result {
            Some(live) => drop(found.live.insert(about.switch, live)),
            None => found.missing.push((about.switch, about.error.unwrap_or_default())),
        }
    }
    Ok(found)
}

async fn of_switch(target: Target, options: Options, desired: Desired) -> Result<Live, Trouble> {
    Ok(switches::read(target, options, &desired, false).await?.0.into())
}
