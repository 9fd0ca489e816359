//! For how long the store has been quiet, by the time in which this node has asked it: while a node is stopped, or its
//! machine is, nobody asks, and that the store does not answer then is no absence of it.

use std::time::Duration;

/// How often this is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Who has not looked for so long has stood still meanwhile.
const STILL: Duration = Duration::from_secs(2);

/// Since the last useful answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quiet {
    looked: Option<Duration>,
    answered: Duration,
    /// How long this node has stood still since then.
    still: Duration,
}

impl Quiet {
    /// How long it has been quiet at `now` that has answered last at `answered`.
    pub(super) fn of(&mut self, now: Duration, answered: Duration) -> Duration {
        let gap = now.saturating_sub(self.looked.replace(now).unwrap_or(now));
        if answered != self.answered {
            (self.answered, self.still) = (answered, Duration::ZERO);
        }
        let quiet = now.saturating_sub(answered);
        if gap > STILL {
            self.still += gap.min(quiet).saturating_sub(LOOK);
        }
        quiet.saturating_sub(self.still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_nodes_own_pause_is_no_absence_of_the_store() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.of(at(100), at(99)), at(1));
        assert_eq!(quiet.of(at(101), at(101)), at(0));
        // Stopped for a minute, and seen before anything else was asked.
        assert_eq!(quiet.of(at(161), at(101)), at(1));
        assert_eq!(quiet.of(at(162), at(161)), at(1));
        // It answered after this was looked at last, and before the pause.
        assert_eq!(quiet.of(at(222), at(163)), at(1));
        // Nobody answers from then on: that is the store.
        assert_eq!((223..226).map(|now| quiet.of(at(now), at(163))).last(), Some(at(4)));
        // And stays it, if the node stands still once more.
        assert_eq!(quiet.of(at(300), at(163)), at(5));
    }

    /// Whoever is overloaded tells of an outage later, and tells of it.
    #[test]
    fn a_slow_node_tells_of_an_outage_all_the_same() {
        let mut quiet = Quiet::default();
        assert_eq!((1..=6).map(|look| quiet.of(at(100 + look * 3), at(100))).last(), Some(at(8)));
    }
}
