//! Numbers of a chain, as a listing gives them page by page, and which of them go.

use std::collections::VecDeque;

/// Numbers that wait for newer ones; more than any configuration keeps.
const AGED: usize = 1 << 20;

/// Numbers of one name, as a listing gives them: in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers {
    name: String,
    /// The last one.
    pub(super) last: u64,
    /// The last one that followed the one before it.
    pub(super) led_to: u64,
    /// Those that may go, but for newer ones that are still to come: bounded by [`AGED`].
    aged: VecDeque<u64>,
}

impl Numbers {
    /// Takes the next number; those that go now that `keep` newer ones are there. A number that does not follow the one
    /// before may be garbage far above all that were issued: nothing goes by it. The newest one and the one before it are
    /// always there.
    pub(super) fn next(
        &mut self,
        name: &str,
        number: u64,
        aged: bool,
        may_go: impl Fn(u64) -> bool,
    ) -> Vec<u64> {
        if self.name != name {
            *self = Self { name: name.to_owned(), ..Self::default() };
        }
        let follows = self.last.checked_add(1) == Some(number);
        self.last = number;
        let mut gone = Vec::new();
        if follows {
            self.led_to = number;
            self.aged.retain(|aged| {
                let goes = may_go(*aged);
                gone.extend(goes.then_some(*aged));
                !goes
            });
        }
        if aged && self.aged.len() < AGED {
            self.aged.push_back(number);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;

    #[test]
    fn the_newest_stay() {
        let mut numbers = Numbers::default();
        let mut next = |name: &str, number, aged| {
            numbers.next(name, number, aged, |aged| chain::may_go(aged, number, 2))
        };
        assert_eq!(next("", 3, true), [] as [u64; 0]);
        assert_eq!(next("", 4, true), [] as [u64; 0]);
        assert_eq!(next("", 5, true), [] as [u64; 0]);
        assert_eq!(next("", 6, true), [3]);
        // Numbers may be missing: it is numbers that are counted, not objects, where one follows another. 4 is a power of two.
        assert_eq!(next("", 9, false), [] as [u64; 0]);
        assert_eq!(next("", 10, true), [5, 6]);
        assert_eq!(next("", 13, true), [] as [u64; 0]);
        assert_eq!(next("", 14, true), [10]);
        // Out of order, or twice: nothing goes by it that would stay otherwise.
        assert_eq!(next("", 3, true), [] as [u64; 0]);
        assert_eq!(next("", 14, true), [] as [u64; 0]);
        assert_eq!(next("", 15, true), [3]);
        // Another name begins anew.
        assert_eq!(next("c1", 14, true), [] as [u64; 0]);
        // Garbage far above sweeps nothing.
        assert_eq!(next("c1", u64::MAX, true), [] as [u64; 0]);
    }
}
