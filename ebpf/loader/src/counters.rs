//! What the program counted.

use outplane_rmdp_wire::DatagramType;

use crate::abi::{self, Reason};
use crate::error::XdpError;
use crate::kernel::Maps;

/// How many classes of lateness there are.
pub const LATENESS_CLASSES: usize = abi::CLASSES;

/// The end of a class of lateness, microseconds, exclusive: 1, 2, 4, ..; the last class has none.
pub const fn lateness_class_end(class: usize) -> Option<u64> {
    if class + 1 < LATENESS_CLASSES { Some(1 << class) } else { None }
}

/// Everything that was counted since the pins were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Senders that were ever configured, by their ids.
    pub senders: Vec<SenderCounters>,
    /// Packets to our destinations by what became of them, but first copies and duplicates: see [`Self::delivered`].
    pub reasons: ReasonCounts,
}

impl Counters {
    /// Datagrams that were delivered, of all senders and types.
    pub fn delivered(&self) -> u64 {
        self.types().map(|counters| counters.delivered).sum()
    }

    /// Copies that were dropped because their task was delivered before.
    pub fn duplicates(&self) -> u64 {
        self.types().map(|counters| counters.duplicates).sum()
    }

    fn types(&self) -> impl Iterator<Item = &TypeCounters> {
        self.senders.iter().flat_map(|sender| &sender.types)
    }
}

/// What became of a sender's authentic datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderCounters {
    /// The sender's id.
    pub sender: u32,
    /// Whether it is accepted now.
    pub enabled: bool,
    /// Its highest epoch; 0 before its first datagram.
    pub epoch: u64,
    /// The highest sequence in that epoch.
    pub sequence: u64,
    /// Task announces, heartbeats, hints: see [`Self::of`].
    pub types: [TypeCounters; 3],
    /// Copies of tasks by how late they came after the first one: class n > 0 has 2^(n-1) to below 2^n microseconds.
    pub lateness: [u64; LATENESS_CLASSES],
    /// The last latenesses, at most 32, microseconds, the newest first; 0 where its copy was the first.
    pub recent: Vec<u32>,
}

impl SenderCounters {
    /// The counters of one type.
    pub const fn of(&self, datagram_type: DatagramType) -> &TypeCounters {
        &self.types[datagram_type as usize - 1]
    }
}

/// Of one type of one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeCounters {
    /// All that were authentic.
    pub received: u64,
    /// Delivered; of task announces that is the first copies.
    pub delivered: u64,
    /// Copies of tasks that were delivered before.
    pub duplicates: u64,
    /// Sequences that were seen or are too old, and old epochs.
    pub replays: u64,
    /// Passed to the stack because the ring was full.
    pub ring_full: u64,
    /// Delivered without a mark in the deduplication, because it was full.
    pub unmarked: u64,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $field:ident = $reason:ident),+ $(,)?) => {
        /// Packets to our destinations by what became of them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ReasonCounts {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl ReasonCounts {
            /// Name and count of each, in the order of their numbers.
            pub const fn all(&self) -> [(&'static str, u64); abi::REASONS] {
                [$((stringify!($field), self.$field)),+]
            }

            fn from_numbers(numbers: &[u64; abi::REASONS]) -> Self {
                Self { $($field: numbers[Reason::$reason as usize]),+ }
            }
        }
    };
}

reasons! {
    /// Passed: no RMDP.
    not_rmdp = NotRmdp,
    /// Passed: RMDP of another version.
    unknown_version = UnknownVersion,
    /// Passed: a fragment.
    fragment = Fragment,
    /// Passed: the ring was full.
    ring_full = RingFull,
    /// Dropped: ends before its tag.
    truncated = Truncated,
    /// Dropped: bytes follow the tag.
    trailing_bytes = TrailingBytes,
    /// Dropped: payload length beyond the limit.
    too_long = TooLong,
    /// Dropped: no such type.
    unknown_type = UnknownType,
    /// Dropped: bytes that must be zero are not.
    not_zero = NotZero,
    /// Dropped: sequence 0.
    no_sequence = NoSequence,
    /// Dropped: an announce without a transaction id, or another datagram with one.
    wrong_id = WrongId,
    /// Dropped: the sender is not configured.
    unknown_sender = UnknownSender,
    /// Dropped: the key is not accepted.
    unknown_key = UnknownKey,
    /// Dropped: the tag is wrong.
    wrong_tag = WrongTag,
    /// Dropped: the sender has started again since.
    old_epoch = OldEpoch,
    /// Dropped: too far behind the stream.
    too_old = TooOld,
    /// Dropped: the sequence was seen.
    seen = Seen,
    /// Delivered, but without a mark in the deduplication, because it was full.
    unmarked = Unmarked,
    /// Dropped: of another network.
    foreign_network = ForeignNetwork,
}

impl ReasonCounts {
    /// Datagrams that were refused: malformed, of another network, of an unknown sender or key, forged, replayed.
    pub const fn refused(&self) -> u64 {
        self.truncated
            + self.trailing_bytes
            + self.too_long
            + self.unknown_type
            + self.not_zero
            + self.no_sequence
            + self.wrong_id
            + self.foreign_network
            + self.unknown_sender
            + self.unknown_key
            + self.wrong_tag
            + self.old_epoch
            + self.too_old
            + self.seen
    }

    /// The name of a reason by its number.
    pub(crate) fn name(number: usize) -> Option<&'static str> {
        Self::default().all().get(number).map(|(name, _)| *name)
    }
}

pub(crate) fn read(maps: &Maps, senders: &[(u32, abi::Sender)]) -> Result<Counters, XdpError> {
    let failed = XdpError::map("reading the counters");
    let mut numbers = [0; abi::REASONS];
    for (index, number) in (0..).zip(&mut numbers) {
        *number = maps.reasons.get(&index, 0).map_err(&failed)?.iter().sum();
    }
    let mut counters = Counters { senders: Vec::new(), reasons: ReasonCounts::from_numbers(&numbers) };
    for (id, sender) in senders {
        let mut sum =
            SenderCounters { sender: *id, enabled: sender.enabled != 0, ..SenderCounters::default() };
        for counts in maps.counts.get(&sender.index, 0).map_err(&failed)?.iter() {
            for (sum, part) in sum.types.iter_mut().zip(&counts.types) {
                sum.received += part.received;
                sum.delivered += part.delivered;
                sum.duplicates += part.duplicates;
                sum.replays += part.replays;
                sum.ring_full += part.ring_full;
                sum.unmarked += part.unmarked;
            }
            for (sum, part) in sum.lateness.iter_mut().zip(&counts.lateness) {
                *sum += part;
            }
        }
        // With the lock, so that nothing is read in the middle of a change.
        let stream = maps.streams.get(&sender.index, BPF_F_LOCK).map_err(&failed)?;
        sum.epoch = stream.state.window.epoch();
        sum.sequence = stream.state.window.highest();
        sum.recent = recent(&stream.state);
        counters.senders.push(sum);
    }
    Ok(counters)
}

/// Reads a value that has a lock while holding it (`linux/bpf.h`).
pub(crate) const BPF_F_LOCK: u64 = 4;

/// The newest first.
fn recent(state: &abi::StreamState) -> Vec<u32> {
    let ring = abi::RECENT as u64;
    (0..state.noted.min(ring))
        .filter_map(|back| usize::try_from((state.noted - 1 - back) % ring).ok())
        .map(|index| state.recent[index])
        .collect()
}
