//! Sets of ids of bounded size.

use std::collections::{BTreeMap, VecDeque};

use crate::task::TransactionId;
use crate::time::Instant;

/// Remembers until when an id is to be ignored; the oldest ones give way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    until: BTreeMap<TransactionId, Instant>,
    order: VecDeque<TransactionId>,
    bound: usize,
}

impl Memory {
    pub(crate) fn new(bound: usize) -> Self {
        Self { until: BTreeMap::new(), order: VecDeque::new(), bound: bound.max(1) }
    }

    /// Adds an id; whether another one gave way that is still to be remembered.
    pub(crate) fn insert(&mut self, id: TransactionId, until: Instant, now: Instant) -> bool {
        if self.until.insert(id, until).is_some() {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() <= self.bound {
            return false;
        }
        let lost = self.order.pop_front().and_then(|oldest| self.until.remove(&oldest));
        lost.is_some_and(|until| until > now)
    }

    pub(crate) fn has(&self, id: TransactionId, now: Instant) -> bool {
        self.until.get(&id).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Event, NETWORK};

    #[test]
    fn bounded_and_timed() {
        let id = |number| Event::generation(NETWORK, number, "s").id().unwrap();
        let at = Instant::from_nanos;
        let mut memory = Memory::new(2);
        assert!(!memory.insert(id(1), at(10), at(0)));
        assert!(!memory.insert(id(1), at(20), at(0)));
        assert!(!memory.insert(id(2), at(10), at(0)));
        assert!(memory.has(id(1), at(19)) && !memory.has(id(1), at(20)) && !memory.has(id(3), at(0)));
        assert!(memory.insert(id(3), at(10), at(0)), "1 was still of use");
        assert!(!memory.has(id(1), at(0)) && memory.has(id(2), at(0)) && memory.has(id(3), at(0)));
        assert!(!memory.insert(id(4), at(20), at(15)), "2 was not");
    }
}
