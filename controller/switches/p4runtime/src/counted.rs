//! What the entries of a switch have counted, as it was read on the way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outplane_compiler::state::{Installed, Origin};
use outplane_p4runtime::entry::{Counter, Key};

/// Readings that wait for whoever takes them.
const MOST: usize = 4;

/// An entry that has counted something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedEntry {
    /// What identifies it.
    pub key: Key,
    /// The rule that it counts for.
    pub origin: Origin,
    /// What it has counted since it was inserted.
    pub counter: Counter,
}

/// All entries of a switch that have counted something, as of one moment. What is not among them has counted nothing, or
/// is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading(pub Vec<CountedEntry>);

impl Reading {
    /// What was read with counters.
    pub fn of(installed: &Installed) -> Self {
        let counted = installed.entries.iter().filter_map(|entry| {
            let counter = *installed.counters.get(&entry.key)?;
            let some = counter.packets > 0 || counter.bytes > 0;
            let origin = Origin::decode(&entry.metadata).filter(|_| some)?;
            Some(CountedEntry { key: entry.key.clone(), origin, counter })
        });
        Self(counted.collect())
    }
}

/// Where readings go whenever a switch is read that is to be compared or changed. Clones share them; the oldest gives way.
#[derive(Clone, Debug, Default)]
pub struct Counted(Arc<Mutex<VecDeque<Reading>>>);

impl Counted {
    pub(crate) fn put(&self, installed: &Installed) {
        let reading = Reading::of(installed);
        let mut readings = self.lock();
        readings.push_back(reading);
        if readings.len() > MOST {
            readings.pop_front();
        }
    }

    /// The readings since the last time, in the order in which they were read.
    pub fn take(&self) -> Vec<Reading> {
        self.lock().drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
