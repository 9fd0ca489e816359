//! Which heartbeats are of now. A heartbeat that was recorded and is sent again looks like any other to a receiver that has
//! started meanwhile: it has not seen it before. So heartbeats tell which starts of others their sender has heard, and
//! only those count as life that come from one who has heard the receiver's own start: nothing that was recorded before
//! that start can say so, and what is recorded after it, the receiver has seen.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_wire::Heard;

use crate::time::Instant;

/// Starts in a heartbeat; with more members they take turns.
const ROWS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stream {
    /// The newest that was heard.
    epoch: u64,
    /// The first heartbeat of it that tells of this start; none before has to be of now.
    from: Option<u64>,
}

/// What is known of the others' streams. Bounded by the members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Freshness {
    /// Of this start.
    epoch: u64,
    streams: BTreeMap<u32, Stream>,
    /// Who was told of last.
    last: u32,
    /// When a later start under this node's own name was heard last: another process has it.
    twin: Option<Instant>,
}

impl Freshness {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { epoch, streams: BTreeMap::new(), last: 0, twin: None }
    }

    /// A heartbeat under this node's own name. Whether it is the first one of another process that has the name, too. Of the
    /// two the others listen to the later start, so it is the earlier one that finds out.
    pub(crate) fn meets_twin(&mut self, epoch: u64, now: Instant) -> bool {
        epoch > self.epoch && self.twin.replace(now).is_none()
    }

    /// Whether one was heard in this last time.
    pub(crate) fn has_twin(&self, now: Instant, recent: Duration) -> bool {
        self.twin.is_some_and(|heard| now.since(heard) <= recent)
    }

    /// Others than these are forgotten.
    pub(crate) fn configure(&mut self, is_member: impl Fn(u32) -> bool) {
        self.streams.retain(|sender, _| is_member(*sender));
    }

    /// Whether an authentic heartbeat is of a later start of its sender than those before. If it is a replay, that start was
    /// there all the same.
    pub(crate) fn is_later(&self, sender: u32, epoch: u64) -> bool {
        self.streams.get(&sender).is_some_and(|stream| stream.epoch < epoch)
    }

    /// An authentic heartbeat of a member, which has heard these starts; `own` is this node's sender id. Whether it was sent
    /// after this start.
    pub(crate) fn hears(
        &mut self,
        own: Option<u32>,
        sender: u32,
        (epoch, sequence): (u64, u64),
        heard: &[Heard],
    ) -> bool {
        let stream = self.streams.entry(sender).or_insert(Stream { epoch, from: None });
        if epoch < stream.epoch {
            return false;
        }
        if epoch > stream.epoch {
            *stream = Stream { epoch, from: None };
        }
        if heard.iter().any(|heard| Some(heard.sender) == own && heard.epoch == self.epoch) {
            stream.from = Some(stream.from.map_or(sequence, |from| from.min(sequence)));
        }
        stream.from.is_some_and(|from| sequence >= from)
    }

    /// What the next heartbeat tells.
    pub(crate) fn rows(&mut self) -> Vec<Heard> {
        let after = self.streams.range(self.last.saturating_add(1)..);
        let before = self.streams.range(..=self.last);
        let rows = after.chain(before).take(ROWS);
        let rows: Vec<_> =
            rows.map(|(sender, stream)| Heard { sender: *sender, epoch: stream.epoch }).collect();
        self.last = rows.last().map_or(0, |row| row.sender);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_heard_this_start_is_alive() {
        let mut freshness = Freshness::new(7);
        let mine = |epoch| [Heard { sender: 9, epoch }];
        assert!(!freshness.hears(Some(9), 1, (3, 500), &[]));
        assert!(!freshness.hears(Some(9), 1, (3, 501), &mine(6)), "recorded before this start");
        assert!(!freshness.hears(Some(9), 1, (3, 502), &[Heard { sender: 8, epoch: 7 }]));
        assert!(freshness.hears(Some(9), 1, (3, 510), &mine(7)));
        assert!(freshness.hears(Some(9), 1, (3, 511), &[]), "others take turns");
        assert!(!freshness.hears(Some(9), 1, (3, 509), &[]), "older than the first that has heard it");
        assert!(!freshness.hears(Some(9), 1, (2, 600), &mine(7)), "its sender has started again");
        assert!(freshness.is_later(1, 4) && !freshness.is_later(1, 3) && !freshness.is_later(2, 4));
        assert!(!freshness.hears(Some(9), 1, (4, 1), &mine(6)));
        assert!(freshness.hears(Some(9), 1, (4, 2), &mine(7)));
    }

    #[test]
    fn the_earlier_of_two_finds_out() {
        let at = |seconds| Instant::START + Duration::from_secs(seconds);
        let mut freshness = Freshness::new(7);
        assert!(!freshness.meets_twin(6, at(1)) && !freshness.meets_twin(7, at(1)));
        assert!(!freshness.has_twin(at(1), Duration::from_secs(1)));
        assert!(freshness.meets_twin(8, at(2)) && !freshness.meets_twin(8, at(3)));
        assert!(freshness.has_twin(at(4), Duration::from_secs(1)));
        assert!(!freshness.has_twin(at(5), Duration::from_secs(1)));
    }

    #[test]
    fn rows_take_turns() {
        let mut freshness = Freshness::new(7);
        for sender in 1..=50 {
            freshness.hears(None, sender, (sender.into(), 1), &[]);
        }
        let senders = |rows: Vec<Heard>| rows.iter().map(|row| row.sender).collect::<Vec<_>>();
        assert_eq!(senders(freshness.rows()), (1..=32).collect::<Vec<_>>());
        assert_eq!(senders(freshness.rows()), (33..=50).chain(1..=14).collect::<Vec<_>>());
        freshness.configure(|sender| sender < 3);
        assert_eq!(senders(freshness.rows()), [1, 2]);
    }
}
