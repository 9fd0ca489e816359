//! What a receiver has counted since it started; the same shape wherever datagrams came in.

use std::collections::BTreeMap;

use outplane_rmdp_wire::DatagramType;

/// Classes of lateness, as in the XDP program: class 0 is less than a microsecond, class n up to 2^n (exclusive), the last
/// one is open.
pub const CLASSES: usize = 24;

/// How many of the last latenesses are kept for each sender.
pub const RECENT: usize = 32;

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By sender; those of the configuration, and those that were in it.
    pub senders: BTreeMap<u32, SenderCounters>,
    /// Why datagrams were not taken in.
    pub drops: Drops,
    /// First copies of tasks.
    pub tasks: u64,
    /// Announces that were delivered without being remembered, since the memory of a generation was full. Further
    /// copies of them are delivered too.
    pub unremembered: u64,
    /// Ids that are remembered now, in both generations.
    pub remembered: u64,
    /// Datagrams that the kernel dropped because a socket's buffer was full.
    pub socket_overflows: u64,
    /// Datagrams that the XDP program passed to the sockets since its ring was full.
    pub ring_full: u64,
    /// Fragments to our destinations, which the XDP program passes on.
    pub fragments: u64,
}

/// A sender's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// Task announces.
    pub announces: TypeCounters,
    /// Heartbeats.
    pub heartbeats: TypeCounters,
    /// Hints.
    pub hints: TypeCounters,
    /// How late its copies were.
    pub lateness: Lateness,
    /// Datagrams in its name whose tag was wrong, as far as they came by sockets: whose they are nobody knows.
    pub forged: u64,
}

impl SenderCounters {
    /// Those of a type.
    pub fn of(&self, datagram_type: DatagramType) -> &TypeCounters {
        match datagram_type {
            DatagramType::TaskAnnounce => &self.announces,
            DatagramType::Heartbeat => &self.heartbeats,
            DatagramType::Hint => &self.hints,
        }
    }

    pub(crate) fn of_mut(&mut self, datagram_type: DatagramType) -> &mut TypeCounters {
        match datagram_type {
            DatagramType::TaskAnnounce => &mut self.announces,
            DatagramType::Heartbeat => &mut self.heartbeats,
            DatagramType::Hint => &mut self.hints,
        }
    }
}

/// Authentic datagrams of one sender and type: `copies = first + duplicates + replays`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCounters {
    /// All.
    pub copies: u64,
    /// Delivered: first of their task, or of a type that is always delivered.
    pub first: u64,
    /// Dropped: the task was delivered before.
    pub duplicates: u64,
    /// Dropped: the datagram itself came before, or is too old to tell.
    pub replays: u64,
}

/// A copy's arrival minus that of the first copy of its task, on this receiver's clock; 0 for first copies. A sender's
/// repetition of its own first copy has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Counts by class, see [`CLASSES`]; each class has what the ones before it have not.
    pub classes: [u64; CLASSES],
    /// How many were noted. The last one is at `(count - 1) % RECENT` in `recent`.
    pub count: u64,
    /// The last ones, microseconds: a ring.
    pub recent: [u32; RECENT],
}

impl Lateness {
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        let microseconds = u32::try_from(nanoseconds / 1000).unwrap_or(u32::MAX);
        self.classes[class(microseconds)] += 1;
        self.recent[slot(self.count)] = microseconds;
        self.count += 1;
    }

    /// Writes value number `index` (from 0) into the ring.
    pub(crate) fn set_recent(&mut self, index: u64, microseconds: u32) {
        self.recent[slot(index)] = microseconds;
    }

    /// The last values that came after the first `before` ones, oldest first; at most [`RECENT`].
    pub fn since(&self, before: u64) -> impl Iterator<Item = u32> + '_ {
        let oldest = self.count.saturating_sub(RECENT as u64).max(before);
        (oldest..self.count).map(|index| self.recent[slot(index)])
    }
}

/// Its length in bits.
fn class(microseconds: u32) -> usize {
    ((u32::BITS - microseconds.leading_zeros()) as usize).min(CLASSES - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "less than 32")]
fn slot(index: u64) -> usize {
    (index % RECENT as u64) as usize
}

/// Datagrams that were not taken in, by reason. Those of a known sender that were authentic are in its own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not RMDP at all.
    pub not_rmdp: u64,
    /// RMDP of another version.
    pub unknown_version: u64,
    /// RMDP of this version that breaks its rules, among them truncated ones.
    pub malformed: u64,
    /// Of another network.
    pub foreign_network: u64,
    /// The sender is not in the configuration.
    pub unknown_sender: u64,
    /// The key is not accepted here.
    pub unknown_key: u64,
    /// The tag is wrong.
    pub forged: u64,
    /// Authentic, but of a start of the sender before its last one.
    pub old_epoch: u64,
    /// Authentic, but more than the window behind the sender's last one.
    pub too_old: u64,
    /// Authentic, but the same datagram came before.
    pub seen: u64,
}

impl Drops {
    /// Each reason by its name in metrics.
    pub fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("not_rmdp", self.not_rmdp),
            ("unknown_version", self.unknown_version),
            ("malformed", self.malformed),
            ("foreign_network", self.foreign_network),
            ("unknown_sender", self.unknown_sender),
            ("unknown_key", self.unknown_key),
            ("forged", self.forged),
            ("old_epoch", self.old_epoch),
            ("too_old", self.too_old),
            ("seen", self.seen),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_latenesses_in_their_order() {
        let mut lateness = Lateness::default();
        for value in 0..40_u64 {
            lateness.record(value * 1000);
        }
        assert_eq!(lateness.since(0).collect::<Vec<_>>(), (8..40).collect::<Vec<_>>());
        assert_eq!(lateness.since(38).collect::<Vec<_>>(), [38, 39]);
        assert_eq!(lateness.since(40).count(), 0);
        assert_eq!(lateness.since(99).count(), 0);
    }

    #[test]
    fn classes_are_powers_of_two() {
        let mut lateness = Lateness::default();
        for microseconds in [0, 1, 2, 3, 4, 1 << 21, 1 << 22, 1 << 23, u64::MAX / 1000] {
            lateness.record(microseconds * 1000);
        }
        assert_eq!(lateness.classes[..4], [1, 1, 2, 1]);
        assert_eq!(lateness.classes[22..], [1, 3]);
        assert_eq!(lateness.count, lateness.classes.iter().sum::<u64>());
    }
}
