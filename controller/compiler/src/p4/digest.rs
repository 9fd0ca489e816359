//! A name for a desired state: what it says, hashed.

use outplane_p4runtime::entry::Entry;
use sha2::{Digest, Sha256};

use crate::entries;
use crate::state::Desired;

impl Desired {
    /// SHA-256 over everything in it, each value with its length or in a fixed width: equal digests are equal states, on
    /// every machine. Of the entries it is over the digests of their runs, which states share: what is known of a run is
    /// not computed again.
    pub fn digest(&self) -> [u8; 32] {
        let mut encoder = Encoder(Sha256::new());
        encoder.length(self.entries.len());
        for run in self.entries.runs() {
            encoder.bytes(&run.digest(of_run));
        }
        encoder.length(self.groups.len());
        for group in &self.groups {
            encoder.number(group.id);
            encoder.length(group.ports.len());
            for port in &group.ports {
                encoder.number(*port);
            }
        }
        encoder.length(self.meters.len());
        for cell in &self.meters {
            encoder.number(cell.meter);
            for value in [cell.index, cell.cir, cell.cburst, cell.pir, cell.pburst] {
                encoder.bytes(&value.to_be_bytes());
            }
        }
        encoder.0.finalize().into()
    }
}

fn of_run(entries: &[Entry]) -> [u8; 32] {
    let mut encoder = Encoder(Sha256::new());
    encoder.length(entries.len());
    for entry in entries {
        encoder.entry(entry);
    }
    encoder.0.finalize().into()
}

struct Encoder(Sha256);

impl Encoder {
    fn entry(&mut self, Entry { key, action, metadata }: &Entry) {
        self.number(key.table);
        self.number(key.priority.cast_unsigned());
        self.length(key.matches.len());
        for field in &key.matches {
            self.number(field.field);
            let (kind, first, second) = entries::numbers(field.matches);
            self.number(kind);
            self.bytes(&first.to_be_bytes());
            self.bytes(&second.to_be_bytes());
        }
        self.number(action.id);
        self.length(action.params.len());
        for (param, value) in &action.params {
            self.number(*param);
            self.bytes(&value.to_be_bytes());
        }
        self.length(metadata.len());
        self.bytes(metadata);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn number(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    fn length(&mut self, length: usize) {
        self.bytes(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use outplane_p4runtime::entry::{Action, FieldMatch, Key, Match, MeterCell, MulticastGroup};

    use super::*;
    use crate::entries::Entries;

    fn entry() -> Entry {
        let matches = vec![FieldMatch { field: 1, matches: Match::Ternary { value: 1, mask: 3 } }];
        Entry {
            key: Key { table: 1, matches, priority: 9 },
            action: Action { id: 2, params: vec![(1, 5)] },
            metadata: b"x".to_vec(),
        }
    }

    fn state() -> Desired {
        Desired {
            entries: vec![entry()].into(),
            groups: vec![MulticastGroup { id: 1, ports: vec![1, 2] }],
            meters: vec![MeterCell { meter: 1, index: 2, cir: 3, cburst: 4, pir: 5, pburst: 6 }],
        }
    }

    #[test]
    fn every_part_counts() {
        let other = |change: fn(&mut Entry)| {
            let mut other = entry();
            change(&mut other);
            Desired { entries: vec![other].into(), ..state() }
        };
        let others = [
            other(|entry| entry.key.table += 1),
            other(|entry| entry.key.priority += 1),
            other(|entry| entry.key.matches[0].matches = Match::Range { low: 1, high: 3 }),
            other(|entry| entry.action.params[0].1 += 1),
            other(|entry| entry.metadata.clear()),
            Desired { groups: vec![MulticastGroup { id: 1, ports: vec![1, 2, 3] }], ..state() },
            Desired { meters: vec![MeterCell { pburst: 7, ..state().meters[0] }], ..state() },
            Desired { entries: Entries::default(), ..state() },
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(other.digest(), state().digest(), "change {number}");
        }
        assert_eq!(state().digest(), state().digest());
    }
}
