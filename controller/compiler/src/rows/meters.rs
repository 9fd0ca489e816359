//! Cells of the rate limiter.

use std::collections::BTreeMap;

use outplane_intent::model::RateLimit;
use sha2::Digest;

use super::slots::{self, SlotNumbers};

/// Packets that have a cell of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Limited {
    pub(crate) policy: String,
    pub(crate) rule: String,
    pub(crate) limit: RateLimit,
    pub(crate) packets: Packets,
}

/// Which of the packets that a rule lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Packets {
    /// What it matches by itself.
    Direct,
    /// Replies to that, and errors about it: in a cell of their own, or what asks would take what answers needs.
    Answers,
}

impl Limited {
    /// Packets of a full bucket. That of answers is deeper by a second's packets: those that wait together for what they
    /// ask find room for all their answers, as long as these are not later than that.
    fn burst(&self) -> u32 {
        match self.packets {
            Packets::Direct => self.limit.burst,
            Packets::Answers => self.limit.burst.saturating_add(self.limit.packets_per_second),
        }
    }
}

/// Which cell limits which packets. A rule with its rate keeps the cell that it has had; a changed rate takes a new cell:
/// packets never see a cell whose rate is about to change.
#[derive(Debug, Default)]
pub(crate) struct Limiters {
    cells: BTreeMap<Limited, u64>,
    /// What the next compilation goes on from.
    pub(crate) numbers: SlotNumbers,
}

impl Limiters {
    /// Gives each a cell, see [`slots`]. None: there are more than cells.
    pub(crate) fn assign(rules: Vec<Limited>, cells: u64, before: &SlotNumbers) -> Option<Self> {
        let digests: Vec<[u8; 32]> = rules.iter().map(hash).collect();
        let slots = slots::assign::<8>(&digests, u32::try_from(cells).unwrap_or(u32::MAX), before)?;
        let numbers = slots::numbers(&digests, &slots);
        let cells = rules.into_iter().zip(slots.into_iter().map(u64::from)).collect();
        Some(Self { cells, numbers })
    }

    /// A rule's cell.
    pub(crate) fn cell(&self, rule: &Limited) -> Option<u64> {
        self.cells.get(rule).copied()
    }

    /// All cells and their rates.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (u64, RateLimit)> {
        let rates = self.cells.iter();
        rates.map(|(limited, cell)| (*cell, RateLimit { burst: limited.burst(), ..limited.limit }))
    }
}

/// What stands in [`SlotNumbers`] for a rule's cell of this limit: of what the rule matches by itself, and (if the limit can
/// be that) of answers.
pub(crate) fn cell_digests(policy: &str, rule: &str, limit: RateLimit) -> Vec<u64> {
    let of = |limit, packets| {
        let limited = Limited { policy: policy.to_owned(), rule: rule.to_owned(), limit, packets };
        slots::beginning(&hash(&limited))
    };
    let answered = limit.burst.checked_sub(limit.packets_per_second);
    let answered = answered.map(|burst| of(RateLimit { burst, ..limit }, Packets::Answers));
    [of(limit, Packets::Direct)].into_iter().chain(answered).collect()
}

fn hash(Limited { policy, rule, limit, packets }: &Limited) -> [u8; 32] {
    let mut hasher = slots::named([policy, rule]);
    hasher.update(limit.packets_per_second.to_be_bytes());
    hasher.update(limit.burst.to_be_bytes());
    if *packets == Packets::Answers {
        hasher.update(b"answers");
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rules(count: u32) -> Vec<Limited> {
        let limit = |rate| RateLimit { packets_per_second: rate, burst: 1 };
        (0..count)
            .map(|rule| Limited {
                policy: "FilterPolicy/p".to_owned(),
                rule: format!("rule-{rule}"),
                limit: limit(rule + 1),
                packets: Packets::Direct,
            })
            .collect()
    }

    #[test]
    fn every_rule_its_own_cell() {
        let all = rules(1024);
        let limiters = Limiters::assign(all.clone(), 1024, &SlotNumbers::new()).unwrap();
        let cells: BTreeSet<u64> = all.iter().map(|rule| limiters.cell(rule).unwrap()).collect();
        assert_eq!(cells, (0..1024).collect());
        assert!(Limiters::assign(rules(1025), 1024, &SlotNumbers::new()).is_none());
        assert!(Limiters::assign(rules(0), 1024, &SlotNumbers::new()).unwrap().rates().next().is_none());
    }

    #[test]
    fn the_order_of_rules_does_not_matter() {
        let mut reversed = rules(900);
        reversed.reverse();
        let rates = |rules| {
            let limiters = Limiters::assign(rules, 1024, &SlotNumbers::new()).unwrap();
            limiters.rates().map(|(cell, limit)| (cell, (limit.packets_per_second, limit.burst))).collect()
        };
        let (one, other): (BTreeMap<_, _>, BTreeMap<_, _>) = (rates(rules(900)), rates(reversed));
        assert_eq!(one, other);
        assert_eq!(rates(rules(1)).into_values().collect::<Vec<_>>(), [(1, 1)]);
    }

    #[test]
    fn answers_have_a_deeper_cell_of_their_own() {
        let direct = rules(10).pop().unwrap();
        let answers = Limited { packets: Packets::Answers, ..direct.clone() };
        let limiters =
            Limiters::assign(vec![direct.clone(), answers.clone()], 1024, &SlotNumbers::new()).unwrap();
        assert_ne!(limiters.cell(&direct), limiters.cell(&answers));
        let bursts: BTreeSet<(u32, u32)> =
            limiters.rates().map(|(_, limit)| (limit.packets_per_second, limit.burst)).collect();
        assert_eq!(bursts, [(10, 1), (10, 11)].into());
    }
}
