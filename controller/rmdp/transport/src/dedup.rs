//! Which tasks were seen, for at least the window, in bounded memory.
//!
//! Two generations: ids go into the current one; when it is a window old it becomes the previous one, and the one
//! before is forgotten. So an id is remembered for one to two windows, at a cost that does not depend on how many there
//! are. When a generation is full, ids are delivered without being remembered, and counted: a copy too many costs an
//! answer from the store, one too few would cost the task.

use std::collections::HashMap;
use std::time::Duration;

use outplane_rmdp_wire::TransactionId;

/// What is remembered of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When the first copy came, nanoseconds.
    pub(crate) arrival: u64,
    /// Whose it was.
    pub(crate) sender: u32,
}

/// What an id was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    /// The first one; it is remembered now.
    First,
    /// The first one, or not: there is no room to remember it.
    Unremembered,
    /// A further one.
    Further {
        /// So many nanoseconds after the first.
        lateness: u64,
        /// The first copy was another sender's.
        of_another: bool,
    },
}

/// Remembers ids.
#[derive(Debug)]
pub(crate) struct Dedup {
    current: HashMap<TransactionId, Seen>,
    previous: HashMap<TransactionId, Seen>,
    /// When the current generation began; none before the first id.
    began: Option<u64>,
    window: u64,
    capacity: usize,
}

impl Dedup {
    /// Remembers for `window` at least, and `capacity` ids a generation at most.
    pub(crate) fn new(window: Duration, capacity: usize) -> Self {
        Self {
            current: HashMap::new(),
            previous: HashMap::new(),
            began: None,
            window: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1),
            capacity,
        }
    }

    /// Notes a copy of a task that is about to be delivered, if it is the first.
    pub(crate) fn note(&mut self, id: TransactionId, sender: u32, now: u64) -> Copy {
        self.advance(now);
        if let Some(seen) = self.current.get(&id).or_else(|| self.previous.get(&id)) {
            return Copy::Further {
                lateness: now.saturating_sub(seen.arrival),
                of_another: seen.sender != sender,
            };
        }
        if self.current.len() >= self.capacity {
            return Copy::Unremembered;
        }
        self.began.get_or_insert(now);
        self.current.insert(id, Seen { arrival: now, sender });
        Copy::First
    }

    /// Forgets what is old enough.
    pub(crate) fn advance(&mut self, now: u64) {
        let Some(began) = self.began else { return };
        let age = now.saturating_sub(began);
        if age < self.window {
            return;
        }
        // Memory goes back after a burst: the new generation starts empty, not with the room of the one before.
        let last = std::mem::take(&mut self.current);
        if age < self.window.saturating_mul(2) {
            // From when it should have been, so that nothing stays longer than two windows.
            self.previous = last;
            self.began = Some(began + self.window);
        } else {
            self.previous = HashMap::new();
            self.began = None;
        }
    }

    /// How many ids are remembered.
    pub(crate) fn len(&self) -> usize {
        self.current.len() + self.previous.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u8) -> TransactionId {
        TransactionId::from_bytes([number; 16])
    }

    #[test]
    fn a_full_generation_delivers_and_forgets_nothing() {
        let mut dedup = Dedup::new(Duration::from_nanos(100), 2);
        assert_eq!(dedup.note(id(1), 1, 10), Copy::First);
        assert_eq!(dedup.note(id(2), 1, 11), Copy::First);
        assert_eq!(dedup.note(id(3), 1, 12), Copy::Unremembered);
        assert_eq!(dedup.note(id(3), 2, 13), Copy::Unremembered);
        assert_eq!(dedup.note(id(1), 2, 14), Copy::Further { lateness: 4, of_another: true });
        assert_eq!(dedup.note(id(1), 2, 15), Copy::Further { lateness: 5, of_another: true });
        assert_eq!(dedup.note(id(3), 1, 110), Copy::First);
        assert_eq!(dedup.note(id(1), 1, 120), Copy::Further { lateness: 110, of_another: false });
        assert_eq!(dedup.note(id(1), 1, 210), Copy::First);
    }

    #[test]
    fn memory_goes_back() {
        let mut dedup = Dedup::new(Duration::from_nanos(100), 255);
        (0..200).for_each(|number| assert_eq!(dedup.note(id(number), 1, 1), Copy::First));
        dedup.advance(150);
        assert_eq!(dedup.len(), 200);
        dedup.advance(250);
        assert_eq!((dedup.len(), dedup.current.capacity(), dedup.previous.capacity()), (0, 0, 0));
        assert_eq!(dedup.note(id(1), 1, 251), Copy::First);
    }

    proptest! {
        /// Never twice within the window; and never anything but `First` or `Unremembered` for an id that was not
        /// delivered before.
        #[test]
        fn never_twice_and_never_lost(
            steps in prop::collection::vec((0_u8..12, 0_u64..40, 0_u32..3), 1..300),
            capacity in 1_usize..12,
        ) {
            let window = 100;
            let mut dedup = Dedup::new(Duration::from_nanos(window), capacity);
            let mut now = 0;
            let mut delivered = BTreeMap::new();
            for (number, later, sender) in steps {
                now += later;
                match dedup.note(id(number), sender, now) {
                    Copy::First => {
                        if let Some(before) = delivered.insert(number, now) {
                            prop_assert!(now - before >= window, "{number} at {before} and again at {now}");
                        }
                    }
                    Copy::Unremembered => {
                        prop_assert_eq!(dedup.current.len(), capacity);
                    }
                    Copy::Further { lateness, .. } => {
                        let first = delivered.get(&number);
                        prop_assert_eq!(first.map(|first| now - first), Some(lateness));
                        prop_assert!(lateness < 2 * window);
                    }
                }
                prop_assert!(dedup.len() <= 2 * capacity);
            }
        }
    }
}
