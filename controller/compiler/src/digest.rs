//! A name for a desired state: what it says, hashed.

use outplane_p4runtime::entry::Match;
use sha2::{Digest, Sha256};

use crate::state::Desired;

impl Desired {
    /// SHA-256 over everything in it, each value with its length or in a fixed width: equal digests are equal states, on
    /// every machine.
    pub fn digest(&self) -> [u8; 32] {
        let mut encoder = Encoder(Sha256::new());
        encoder.length(self.entries.len());
        for entry in &self.entries {
            encoder.number(entry.key.table);
            encoder.number(entry.key.priority.cast_unsigned());
            encoder.length(entry.key.matches.len());
            for field in &entry.key.matches {
                encoder.number(field.field);
                let (kind, first, second) = match field.matches {
                    Match::Exact(value) => (0, value, 0),
                    Match::Lpm { value, prefix_len } => (1, value, prefix_len.into()),
                    Match::Ternary { value, mask } => (2, value, mask),
                    Match::Range { low, high } => (3, low, high),
                    Match::Optional(value) => (4, value, 0),
                };
                encoder.number(kind);
                encoder.bytes(&first.to_be_bytes());
                encoder.bytes(&second.to_be_bytes());
            }
            encoder.number(entry.action.id);
            encoder.length(entry.action.params.len());
            for (param, value) in &entry.action.params {
                encoder.number(*param);
                encoder.bytes(&value.to_be_bytes());
            }
            encoder.length(entry.metadata.len());
            encoder.bytes(&entry.metadata);
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

struct Encoder(Sha256);

impl Encoder {
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
    use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Key, MeterCell, MulticastGroup};

    use super::*;

    fn state() -> Desired {
        let matches = vec![FieldMatch { field: 1, matches: Match::Ternary { value: 1, mask: 3 } }];
        Desired {
            entries: vec![Entry {
                key: Key { table: 1, matches, priority: 9 },
                action: Action { id: 2, params: vec![(1, 5)] },
                metadata: b"x".to_vec(),
            }],
            groups: vec![MulticastGroup { id: 1, ports: vec![1, 2] }],
            meters: vec![MeterCell { meter: 1, index: 2, cir: 3, cburst: 4, pir: 5, pburst: 6 }],
        }
    }

    #[test]
    fn every_part_counts() {
        let changes: [fn(&mut Desired); 8] = [
            |state| state.entries[0].key.table += 1,
            |state| state.entries[0].key.priority += 1,
            |state| state.entries[0].key.matches[0].matches = Match::Range { low: 1, high: 3 },
            |state| state.entries[0].action.params[0].1 += 1,
            |state| state.entries[0].metadata.clear(),
            |state| state.groups[0].ports.push(3),
            |state| state.meters[0].pburst += 1,
            |state| state.entries.clear(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = state();
            change(&mut other);
            assert_ne!(other.digest(), state().digest(), "change {number}");
        }
        assert_eq!(state().digest(), state().digest());
    }
}
