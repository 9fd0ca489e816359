//! Which datagrams of a stream were seen: replays are told apart without a clock.

/// A sender's state at a receiver: the highest epoch, the highest sequence in it, and which of the last
/// [`Self::WIDTH`] sequences were seen.
///
/// Older epochs, sequences that fell out of the window and sequences that were seen are replays, for ever. The bitmap
/// is a ring twice as wide as the window, cleared by words as it advances (as in RFC 6479), so that accepting costs
/// the same whatever was lost in between.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    epoch: u64,
    highest: u64,
    seen: [u64; Self::WORDS],
}

/// Why a datagram is a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The sender has started again since.
    OldEpoch,
    /// The sequence lies before the window.
    TooOld,
    /// This sequence was seen.
    Seen,
}

impl Window {
    /// How many sequences back a late datagram is told from a replay.
    pub const WIDTH: u64 = 256;
    const WORDS: usize = 8;

    /// A window at a known place: for a receiver that hands its state on.
    pub const fn new(epoch: u64, highest: u64) -> Self {
        // Nothing up to `highest` is taken again.
        Self { epoch, highest, seen: [u64::MAX; Self::WORDS] }
    }

    /// Of a stream that is known to have begun: older ones are replays, nothing of it was seen.
    pub const fn of_epoch(epoch: u64) -> Self {
        Self { epoch, highest: 0, seen: [0; Self::WORDS] }
    }

    /// The highest epoch seen; 0 before the first datagram.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The highest sequence seen in that epoch.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether a datagram would be a replay; changes nothing.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the XDP program")]
    pub const fn check(&self, epoch: u64, sequence: u64) -> Result<(), Replay> {
        if epoch != self.epoch {
            return if epoch < self.epoch { Err(Replay::OldEpoch) } else { Ok(()) };
        }
        if sequence > self.highest {
            return Ok(());
        }
        if self.highest - sequence >= Self::WIDTH {
            return Err(Replay::TooOld);
        }
        if self.seen[slot(sequence)] & bit(sequence) != 0 { Err(Replay::Seen) } else { Ok(()) }
    }

    /// Marks a datagram as seen if it is no replay. Only for datagrams whose tag was verified.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the XDP program")]
    pub const fn accept(&mut self, epoch: u64, sequence: u64) -> Result<(), Replay> {
        if let Err(replay) = self.check(epoch, sequence) {
            return Err(replay);
        }
        if epoch != self.epoch {
            self.epoch = epoch;
            self.highest = sequence;
            self.seen = [0; Self::WORDS];
        } else if sequence > self.highest {
            // The words between the old and the new highest belong to sequences of a turn before.
            let words = (sequence >> 6) - (self.highest >> 6);
            let mut ahead = 1;
            while ahead <= Self::WORDS as u64 {
                if ahead > words {
                    break;
                }
                self.seen[slot(self.highest + (ahead << 6))] = 0;
                ahead += 1;
            }
            self.highest = sequence;
        }
        self.seen[slot(sequence)] |= bit(sequence);
        Ok(())
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the XDP program")]
const fn slot(sequence: u64) -> usize {
    (sequence >> 6) as usize & (Window::WORDS - 1)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the XDP program")]
const fn bit(sequence: u64) -> u64 {
    1 << (sequence & 63)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Replay, Window};

    #[test]
    fn late_is_no_replay_within_the_window() {
        let mut window = Window::default();
        assert_eq!(window.accept(1, 300), Ok(()));
        assert_eq!(window.accept(1, 45), Ok(()));
        assert_eq!(window.accept(1, 45), Err(Replay::Seen));
        assert_eq!(window.accept(1, 44), Err(Replay::TooOld));
        assert_eq!(window.accept(2, 1), Ok(()));
        assert_eq!(window.accept(1, 301), Err(Replay::OldEpoch));
        assert_eq!((window.epoch(), window.highest()), (2, 1));
    }

    #[test]
    fn numbers_at_their_end_do_not_overflow() {
        let mut window = Window::default();
        for sequence in [1, u64::MAX - 1, u64::MAX] {
            assert_eq!(window.accept(u64::MAX, sequence), Ok(()), "{sequence}");
        }
        assert_eq!(window.accept(u64::MAX, u64::MAX), Err(Replay::Seen));
        assert_eq!(window.accept(u64::MAX, 1), Err(Replay::TooOld));
    }

    #[test]
    fn a_stream_that_has_begun() {
        let mut window = Window::of_epoch(7);
        assert_eq!(window.accept(6, 1000), Err(Replay::OldEpoch));
        for sequence in [3, 1, 2] {
            assert_eq!(window.accept(7, sequence), Ok(()), "{sequence}");
        }
        assert_eq!(window.accept(7, 2), Err(Replay::Seen));
    }

    #[test]
    fn handed_on_takes_nothing_twice() {
        let mut window = Window::new(7, 1000);
        for sequence in 1..=1000 {
            assert!(window.accept(7, sequence).is_err(), "{sequence}");
        }
        assert_eq!(window.accept(7, 1001), Ok(()));
    }

    proptest! {
        /// Against a set that forgets nothing.
        #[test]
        fn as_a_set_would_say(
            steps in prop::collection::vec((0_u64..20, prop_oneof![8 => -300_i64..40, 1 => -2000_i64..2000]), 1..400),
        ) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            let (mut epoch, mut highest) = (0, 0_u64);
            for (step, ahead) in steps {
                let (at, sequence) = if step == 0 { (epoch + 1, 1) } else if step == 1 { (epoch.max(1) - 1, 1) } else {
                    (epoch, highest.saturating_add_signed(ahead).max(1))
                };
                let expected = if at < epoch {
                    Err(Replay::OldEpoch)
                } else if at == epoch && sequence + Window::WIDTH <= highest {
                    Err(Replay::TooOld)
                } else if seen.contains(&(at, sequence)) {
                    Err(Replay::Seen)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.accept(at, sequence), expected);
                if expected.is_ok() {
                    seen.insert((at, sequence));
                    highest = if at > epoch { sequence } else { highest.max(sequence) };
                    epoch = at;
                }
            }
        }
    }
}
