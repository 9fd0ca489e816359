//! What the entries of a switch have counted, as it was read on the way.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outplane_compiler::state::{Change, Installed, Origin, Step};
use outplane_p4runtime::entry::{Counter, Key};

/// Readings that wait for whoever takes them.
const MOST: usize = 4;

/// An entry, and what it has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedEntry {
    /// What identifies it.
    pub key: Key,
    /// The rule that it counts for.
    pub origin: Origin,
    /// What it has counted since it was inserted.
    pub counter: Counter,
}

/// All entries of a switch that have counted something, as of one moment, and amid an update some that have not yet. What is
/// not among them has counted nothing, or is not there. None at all: the switch has not our program, so whatever it had counted is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading(pub Vec<CountedEntry>);

impl Reading {
    /// What was read with counters.
    pub fn of(installed: &Installed) -> Self {
        Self::with_new(installed, &HashSet::new())
    }

    /// The same amid an update that deletes entries of these rules: what stands beside them and has counted nothing yet is
    /// among it, so that what it counts later is not taken for what the old ones have counted.
    fn with_new(installed: &Installed, rules: &HashSet<(String, String)>) -> Self {
        let counted = installed.entries.iter().filter_map(|entry| {
            let counter = *installed.counters.get(&entry.key)?;
            let some = counter.packets > 0 || counter.bytes > 0;
            if !some && rules.is_empty() {
                return None;
            }
            let origin = Origin::decode(&entry.metadata)?;
            let rule = (origin.policy, origin.rule);
            let told = some || rules.contains(&rule);
            let origin = Origin { policy: rule.0, rule: rule.1, order: origin.order };
            told.then(|| CountedEntry { key: entry.key.clone(), origin, counter })
        });
        Self(counted.collect())
    }
}

/// The rules of entries that a step deletes.
fn deleted(installed: &Installed, step: &Step) -> HashSet<(String, String)> {
    let keys = step
        .changes
        .iter()
        .filter_map(|change| if let Change::Delete(key) = change { Some(key) } else { None });
    keys.filter_map(|key| installed.entries.get(key))
        .filter_map(|entry| Origin::decode(&entry.metadata))
        .map(|origin| (origin.policy, origin.rule))
        .collect()
}

/// Where readings go whenever a switch is read that is to be compared or changed. Clones share them; the oldest gives way.
#[derive(Clone, Debug, Default)]
pub struct Counted(Arc<Mutex<VecDeque<Reading>>>);

impl Counted {
    pub(crate) fn put(&self, installed: &Installed) {
        self.push(Reading::of(installed));
    }

    /// Before a step deletes entries.
    pub(crate) fn put_before(&self, installed: &Installed, step: &Step) {
        self.push(Reading::with_new(installed, &deleted(installed, step)));
    }

    /// The switch has not our program: its entries count anew, whoever writes them.
    pub(crate) fn put_nothing(&self) {
        self.push(Reading::default());
    }

    /// Where there are too many the oldest gives way, but for one without entries: that it was empty tells what was written
    /// anew since then.
    fn push(&self, reading: Reading) {
        let mut readings = self.lock();
        if reading.0.is_empty() && readings.back().is_some_and(|last| last.0.is_empty()) {
            return;
        }
        readings.push_back(reading);
        if readings.len() > MOST {
            let oldest = readings.iter().position(|reading| !reading.0.is_empty()).unwrap_or(0);
            readings.remove(oldest);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(packets: u64) -> Reading {
        let key = Key { table: 1, matches: Vec::new(), priority: 0 };
        let origin = Origin { policy: "FilterPolicy/edge".to_owned(), rule: "web".to_owned(), order: 0 };
        Reading(vec![CountedEntry { key, origin, counter: Counter { packets, bytes: packets * 100 } }])
    }

    /// What comes after it is counted from nothing, however often the switch is read then.
    #[test]
    fn that_a_switch_was_empty_is_not_forgotten() {
        let counted = Counted::default();
        counted.push(reading(100));
        counted.put_nothing();
        counted.put_nothing();
        for packets in 1..=6 {
            counted.push(reading(packets));
        }
        let taken = counted.take();
        assert_eq!(taken, [Reading::default(), reading(4), reading(5), reading(6)]);
    }
}
