//! Tables for tests: a list of entries, searched from its start. The first entry that matches wins.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::tables::{Action, DropCounter, Lookup, Table, Tables};
use crate::meter::{Color, Marker};

/// A value, a value under a mask, or a range.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Want {
    Is(u128),
    Masked(u128, u128),
    Between(u128, u128),
}

#[derive(Debug)]
struct Entry {
    table: Table,
    /// Index of the key field, and what it must be.
    wants: Vec<(usize, Want)>,
    action: Action,
    hits: RefCell<(u64, usize)>,
}

#[derive(Debug, Default)]
pub(crate) struct Memory {
    entries: Vec<Entry>,
    version: u8,
    groups: Vec<(u16, Vec<u16>)>,
    limiters: RefCell<Vec<(u16, Marker)>>,
    counters: RefCell<BTreeMap<(DropCounter, usize), (u64, usize)>>,
}

impl Memory {
    /// Empty tables, version 1.
    pub(crate) fn new() -> Self {
        Self { version: 1, ..Self::default() }
    }

    pub(crate) fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// Adds an entry; what is wanted goes by the key's field names.
    pub(crate) fn entry(mut self, table: Table, wants: &[(&str, Want)], action: Action) -> Self {
        let index = |name: &str| table.fields().iter().position(|(field, _)| field.name() == name).unwrap();
        let wants = wants.iter().map(|(name, want)| (index(name), *want)).collect();
        self.entries.push(Entry { table, wants, action, hits: RefCell::default() });
        self
    }

    /// An entry that everything matches.
    pub(crate) fn any(self, table: Table, action: Action) -> Self {
        self.entry(table, &[], action)
    }

    pub(crate) fn group_of(mut self, group: u16, ports: &[u16]) -> Self {
        self.groups.push((group, ports.to_vec()));
        self
    }

    pub(crate) fn limiter(self, limiter: u16, marker: Marker) -> Self {
        self.limiters.borrow_mut().push((limiter, marker));
        self
    }

    /// Packets and bytes of a cell.
    pub(crate) fn cell(&self, counter: DropCounter, index: usize) -> (u64, usize) {
        self.counters.borrow().get(&(counter, index)).copied().unwrap_or_default()
    }

    /// Packets and bytes of the `n`th entry.
    pub(crate) fn counted(&self, n: usize) -> (u64, usize) {
        *self.entries[n].hits.borrow()
    }
}

impl Tables for Memory {
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup {
        assert_eq!(key.len(), table.fields().len(), "{table:?}");
        for (value, (field, bits)) in key.iter().zip(table.fields()) {
            assert!(bits == &128 || value >> bits == 0, "{table:?}.{field} is {value:#x}");
        }
        let matches = |entry: &&Entry| {
            entry.table == table
                && entry.wants.iter().all(|(field, want)| match *want {
                    Want::Is(value) => key[*field] == value,
                    Want::Masked(value, mask) => key[*field] & mask == value,
                    Want::Between(low, high) => (low..=high).contains(&key[*field]),
                })
        };
        if let Some(entry) = self.entries.iter().find(matches) {
            let mut hits = entry.hits.borrow_mut();
            hits.0 += 1;
            hits.1 += bytes;
            return Lookup { hit: true, action: entry.action };
        }
        let action = match table {
            Table::PolicyVersion => Action::SetVersion { version: self.version },
            Table::Flood => Action::Drop,
            _ => Action::NoAction,
        };
        Lookup { hit: false, action }
    }

    fn rate_limiter(&self, limiter: u16, _: usize, now: Duration) -> Option<Color> {
        let mut limiters = self.limiters.borrow_mut();
        limiters.iter_mut().find(|(index, _)| *index == limiter).map(|(_, marker)| marker.mark(now, 1))
    }

    fn count(&self, counter: DropCounter, index: usize, bytes: usize) {
        let mut counters = self.counters.borrow_mut();
        let (frames, sum) = counters.entry((counter, index)).or_default();
        *frames += 1;
        *sum += bytes;
    }

    fn group(&self, group: u16, ports: &mut Vec<u16>) {
        for (id, members) in &self.groups {
            if *id == group {
                ports.extend(members);
            }
        }
    }
}
