//! What the entries of a switch have counted, as it was read on the way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outplane_compiler::state::{Installed, Origin};
use outplane_p4runtime::entry::{Counter, Key};

/// Readings of whole switches that wait for whoever takes them,
const MOST: usize = 4;

/// and what else was told.
const MOST_PARTS: usize = 64;

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

/// What was found or made of what entries count, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All entries of a switch that have counted something. What is not among them has counted nothing, or is not there. None
    /// at all: the switch has not our program, so whatever it had counted is gone.
    Whole(Vec<CountedEntry>),
    /// These entries had counted so much. Of others nothing is said.
    Part(Vec<CountedEntry>),
    /// These were just inserted and count from nothing, whatever stood under their keys before.
    Inserted(Vec<CountedEntry>),
    /// These are gone: what stands under their keys later counts from nothing.
    Deleted(Vec<Key>),
}

impl Reading {
    /// What was read with counters, of all that there is.
    pub fn of(installed: &Installed) -> Self {
        let counted = installed.entries.iter().filter_map(|entry| {
            let counter = *installed.counters.get(&entry.key)?;
            let origin =
                Origin::decode(&entry.metadata).filter(|_| counter.packets > 0 || counter.bytes > 0)?;
            Some(CountedEntry { key: entry.key.clone(), origin, counter })
        });
        Self::Whole(counted.collect())
    }

    /// Whether it was read of the switch, and not made of it.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Part(_))
    }

    /// Whether it is of all entries that there are.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    fn is_of_nothing(&self) -> bool {
        matches!(self, Self::Whole(entries) if entries.is_empty())
    }
}

/// Where readings go whenever a switch is read that is to be compared or changed. Clones share them; the oldest gives way.
#[derive(Clone, Debug, Default)]
pub struct Counted(Arc<Mutex<VecDeque<Reading>>>);

impl Counted {
    pub(crate) fn put(&self, installed: &Installed) {
        self.push(Reading::of(installed));
    }

    /// Of some entries.
    pub(crate) fn put_part(&self, entries: Vec<CountedEntry>) {
        if !entries.is_empty() {
            self.push(Reading::Part(entries));
        }
    }

    pub(crate) fn put_inserted(&self, entries: Vec<CountedEntry>) {
        if !entries.is_empty() {
            self.push(Reading::Inserted(entries));
        }
    }

    pub(crate) fn put_deleted(&self, keys: Vec<Key>) {
        if !keys.is_empty() {
            self.push(Reading::Deleted(keys));
        }
    }

    /// The switch has not our program: its entries count anew, whoever writes them.
    pub(crate) fn put_nothing(&self) {
        self.push(Reading::Whole(Vec::new()));
    }

    /// Where there are too many the oldest gives way, but for one of a switch without entries: that it was empty tells what
    /// was written anew since then.
    fn push(&self, reading: Reading) {
        let mut readings = self.lock();
        if reading.is_of_nothing() && readings.back().is_some_and(Reading::is_of_nothing) {
            return;
        }
        let (is_whole, most) = if reading.is_whole() { (true, MOST) } else { (false, MOST_PARTS) };
        readings.push_back(reading);
        let of_kind = |reading: &Reading| reading.is_whole() == is_whole;
        if readings.iter().filter(|reading| of_kind(reading)).count() > most {
            let gives_way = |reading: &Reading| of_kind(reading) && !reading.is_of_nothing();
            let oldest = readings.iter().position(gives_way).unwrap_or(0);
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
        Reading::Whole(vec![CountedEntry { key, origin, counter: Counter { packets, bytes: packets * 100 } }])
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
        assert_eq!(taken, [Reading::Whole(Vec::new()), reading(4), reading(5), reading(6)]);
    }
}
