//! Cells of the rate limiter.

use std::collections::{BTreeMap, BTreeSet};

use outplane_intent::model::RateLimit;
use outplane_p4runtime::entry::MeterCell;
use sha2::{Digest, Sha256};

/// A rule with a rate limit: policy, rule and limit.
pub(super) type Limited = (String, String, RateLimit);

/// Which cell limits which rule. A rule's cell follows from its names and its rate, so an update leaves the cells of other
/// rules alone and a changed rate takes a new cell: packets never see a cell whose rate is about to change.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    cells: BTreeMap<Limited, u64>,
}

impl Limiters {
    /// Gives each rule a cell: the one its hash says or the next free one, rules in the order of their hashes. None: there
    /// are more rules than cells.
    pub(super) fn assign(rules: Vec<Limited>, cells: u64) -> Option<Self> {
        let mut hashed: Vec<([u8; 32], Limited)> =
            rules.into_iter().map(|rule| (hash(&rule), rule)).collect();
        hashed.sort_unstable_by(|left, right| left.0.cmp(&right.0).then_with(|| left.1.0.cmp(&right.1.0)));
        if hashed.len() as u64 > cells {
            return None;
        }
        let mut taken = BTreeSet::new();
        let mut assigned = BTreeMap::new();
        for (digest, rule) in hashed {
            let mut cell =
                digest.iter().take(8).fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte)) % cells;
            while !taken.insert(cell) {
                cell = (cell + 1) % cells;
            }
            assigned.insert(rule, cell);
        }
        Some(Self { cells: assigned })
    }

    /// A rule's cell.
    pub(super) fn cell(&self, rule: &Limited) -> Option<u64> {
        self.cells.get(rule).copied()
    }

    /// All cells and their rates, by index.
    pub(super) fn meter_cells(&self, meter: u32) -> Vec<MeterCell> {
        let mut cells: Vec<MeterCell> = self
            .cells
            .iter()
            .map(|((_, _, limit), cell)| {
                let (rate, burst) = (i64::from(limit.packets_per_second), i64::from(limit.burst));
                let index = i64::try_from(*cell).expect("cells are fewer than 2^63");
                MeterCell { meter, index, cir: rate, cburst: burst, pir: rate, pburst: burst }
            })
            .collect();
        cells.sort_unstable();
        cells
    }
}

fn hash((policy, rule, limit): &Limited) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for name in [policy, rule] {
        hasher.update((name.len() as u64).to_be_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.update(limit.packets_per_second.to_be_bytes());
    hasher.update(limit.burst.to_be_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(count: u32) -> Vec<Limited> {
        let limit = |rate| RateLimit { packets_per_second: rate, burst: 1 };
        (0..count)
            .map(|rule| ("FilterPolicy/p".to_owned(), format!("rule-{rule}"), limit(rule + 1)))
            .collect()
    }

    #[test]
    fn every_rule_its_own_cell() {
        let all = rules(1024);
        let limiters = Limiters::assign(all.clone(), 1024).unwrap();
        let cells: BTreeSet<u64> = all.iter().map(|rule| limiters.cell(rule).unwrap()).collect();
        assert_eq!(cells, (0..1024).collect());
        assert!(Limiters::assign(rules(1025), 1024).is_none());
        assert!(Limiters::assign(rules(0), 1024).unwrap().meter_cells(1).is_empty());
    }

    #[test]
    fn the_order_of_rules_does_not_matter() {
        let mut reversed = rules(900);
        reversed.reverse();
        let cells = |rules| Limiters::assign(rules, 1024).unwrap().meter_cells(5);
        assert_eq!(cells(rules(900)), cells(reversed));
        let cell = cells(rules(1))[0];
        assert_eq!((cell.meter, cell.cir, cell.pir, cell.cburst, cell.pburst), (5, 1, 1, 1, 1));
    }
}
