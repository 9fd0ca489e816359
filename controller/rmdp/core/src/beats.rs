//! When heartbeats go out, and which notices they carry.

use std::collections::VecDeque;
use std::time::Duration;

use crate::io::Notice;
use crate::time::Instant;

/// Notices that may wait; older ones give way and are counted.
const NOTICES: usize = 4096;
/// How many heartbeats carry a notice: one may be lost.
const REPEATS: u8 = 2;
/// Heartbeats with news are at least this far apart, so that news is gathered under load.
const GAP: Duration = Duration::from_millis(2);
/// Heartbeats that say that the node leaves: two may be lost.
const FAREWELLS: u8 = 3;

/// The heartbeats of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Beats {
    interval: Duration,
    /// From one to the next while this node owns something.
    quick: Duration,
    owns: bool,
    last: Option<Instant>,
    fresh: VecDeque<Notice>,
    again: VecDeque<(Notice, u8)>,
    /// Notices that gave way.
    pub(crate) dropped: u64,
    /// The node leaves: heartbeats that are still to say so, news aside.
    farewells: Option<u8>,
}

impl Beats {
    /// The first heartbeat is due at once.
    pub(crate) fn new(interval: Duration, quick: Duration) -> Self {
        let (fresh, again) = (VecDeque::new(), VecDeque::new());
        Self { interval, quick, owns: false, last: None, fresh, again, dropped: 0, farewells: None }
    }

    /// Follows a new configuration.
    pub(crate) fn configure(&mut self, interval: Duration, quick: Duration) {
        (self.interval, self.quick) = (interval, quick);
    }

    /// Whether this node owns something, or is about to: then it beats quickly.
    pub(crate) fn own(&mut self, owns: bool) {
        self.owns = owns;
    }

    /// From one to the next.
    fn pace(&self) -> Duration {
        if self.owns { self.quick } else { self.interval }
    }

    /// How long until the next one at most, as others are told: milliseconds, 0 for who leaves.
    pub(crate) fn promise(&self) -> u16 {
        let ms = u16::try_from(self.pace().as_millis()).unwrap_or(u16::MAX);
        if self.leaves() { 0 } else { ms.max(1) }
    }

    /// Some heartbeats more, which say that this node leaves, then only news: others shall count it as gone.
    pub(crate) fn leave(&mut self) {
        self.farewells.get_or_insert(FAREWELLS);
    }

    /// Whether this node leaves.
    pub(crate) fn leaves(&self) -> bool {
        self.farewells.is_some()
    }

    /// Whether everything that has to be said of leaving is said.
    pub(crate) fn has_left(&self) -> bool {
        self.farewells == Some(0)
    }

    /// Adds news.
    pub(crate) fn notice(&mut self, notice: Notice) {
        if self.fresh.len() == NOTICES {
            self.fresh.pop_front();
            self.dropped += 1;
        }
        self.fresh.push_back(notice);
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        let Some(last) = self.last else { return Some(Instant::START) };
        match self.farewells {
            None if self.fresh.is_empty() => Some(last + self.pace()),
            Some(0) if self.fresh.is_empty() && self.owns => Some(last + self.pace()),
            Some(0) if self.fresh.is_empty() => None,
            _ => Some(last + GAP.min(self.interval)),
        }
    }

    /// The notices of a heartbeat that goes out now; `room` of them fit.
    pub(crate) fn beat(&mut self, now: Instant, room: usize) -> Vec<Notice> {
        self.last = Some(now);
        self.farewells = self.farewells.map(|left| left.saturating_sub(1));
        let mut notices = Vec::new();
        while notices.len() < room
            && let Some(notice) = self.fresh.pop_front()
        {
            notices.push(notice);
            self.again.push_back((notice, REPEATS - 1));
        }
        let (new, old) = (notices.len(), self.again.len() - notices.len());
        for _ in 0..old.min(room - new) {
            if let Some((notice, left)) = self.again.pop_front() {
                notices.push(notice);
                if left > 1 {
                    self.again.push_back((notice, left - 1));
                }
            }
        }
        while self.again.len() > NOTICES {
            self.again.pop_front();
        }
        notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::NoticeOf;
    use crate::task::{Event, NETWORK};

    fn notice(attempt: u32) -> Notice {
        Notice { id: Event::generation(NETWORK, 1, "s").id().unwrap(), attempt, what: NoticeOf::Claimed }
    }

    fn attempts(notices: &[Notice]) -> Vec<u32> {
        notices.iter().map(|notice| notice.attempt).collect()
    }

    #[test]
    fn regular_and_at_once_with_news() {
        let at = |ms: u64| Instant::START + Duration::from_millis(ms);
        let mut beats = Beats::new(Duration::from_millis(200), Duration::from_millis(25));
        assert_eq!(beats.due(), Some(at(0)));
        assert!(beats.beat(at(10), 9).is_empty());
        assert_eq!(beats.due(), Some(at(210)));
        beats.notice(notice(1));
        assert_eq!(beats.due(), Some(at(12)));
        assert_eq!(attempts(&beats.beat(at(50), 9)), [1]);
        beats.notice(notice(2));
        assert_eq!(attempts(&beats.beat(at(60), 9)), [2, 1], "news first, then once more what was said");
        assert_eq!(attempts(&beats.beat(at(70), 9)), [2]);
        assert!(beats.beat(at(80), 9).is_empty());
        assert!(!beats.leaves());
        beats.leave();
        for ms in [82, 84, 86] {
            assert!(beats.leaves() && !beats.has_left());
            assert_eq!(beats.due(), Some(at(ms)), "it says so");
            beats.beat(at(ms), 9);
        }
        assert!(beats.leaves() && beats.has_left());
        assert_eq!(beats.due(), None);
        beats.notice(notice(3));
        assert_eq!(beats.due(), Some(at(88)));
    }

    #[test]
    fn quick_while_something_is_owned() {
        let at = |ms: u64| Instant::START + Duration::from_millis(ms);
        let mut beats = Beats::new(Duration::from_millis(200), Duration::from_millis(25));
        beats.beat(at(0), 9);
        assert_eq!((beats.due(), beats.promise()), (Some(at(200)), 200));
        beats.own(true);
        assert_eq!((beats.due(), beats.promise()), (Some(at(25)), 25));
        beats.leave();
        for ms in [25, 50, 75] {
            beats.beat(at(ms), 9);
        }
        assert_eq!(
            (beats.due(), beats.promise()),
            (Some(at(100)), 0),
            "who leaves goes on until all is ended"
        );
        beats.own(false);
        assert_eq!(beats.due(), None);
    }

    #[test]
    fn bounded() {
        let mut beats = Beats::new(Duration::from_millis(200), Duration::from_millis(25));
        for attempt in 0..5000 {
            beats.notice(notice(attempt));
        }
        assert_eq!(beats.dropped, 5000 - 4096);
        assert_eq!(attempts(&beats.beat(Instant::START, 2)), [904, 905]);
        assert_eq!(attempts(&beats.beat(Instant::START, 3)), [906, 907, 908]);
        for _ in 0..4000 {
            assert_eq!(beats.beat(Instant::START, 2).len(), 2);
        }
    }
}
