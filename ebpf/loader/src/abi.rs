//! What the XDP program and its loader agree on: the values in the maps and the records in the ring.
//!
//! The program compiles this file too, by a link to it. Whoever changes a layout here increments [`VERSION`], so that maps
//! which an older daemon pinned are not taken for ours. Numbers are in the machine's byte order, except where said.

use outplane_rmdp_wire::Window;

/// Names the folder of the pins.
pub const VERSION: u32 = 2;

/// Most destinations (address, port).
pub const TARGETS: usize = 16;
/// Most senders that were ever configured.
pub const SENDERS: usize = 256;
/// Keys that are accepted at the same time.
pub const KEYS: usize = 2;
/// Classes of lateness: class n > 0 has 2^(n-1) <= microseconds < 2^n, the last is open.
pub const CLASSES: usize = 24;
/// How many latenesses are kept for each sender.
pub const RECENT: usize = 32;
/// Bytes of datagram in a small ring record.
pub const SMALL: usize = 512;
/// Bytes of datagram in a full ring record.
pub const FULL: usize = 1400;

/// A destination that is ours.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Target {
    /// The address as it lies in an IPv6 header (IPv4: mapped, RFC 4291, 2.5.5.2), in two halves.
    pub address: [u64; 2],
    /// The port as it lies in a UDP header; no datagram goes to port 0, so 0 is none.
    pub port: u32,
    pub reserved: u32,
}

/// A key that is accepted.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct KeySlot {
    pub id: u32,
    /// Whether there is a key here.
    pub used: u32,
    /// Its first and last eight bytes, little-endian.
    pub halves: [u64; 2],
}

/// What the daemon sets. There are two of it: the one that is not in use is written, then the active one is switched.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Settings {
    pub targets: [Target; TARGETS],
    pub keys: [KeySlot; KEYS],
    /// The network whose datagrams are taken.
    pub network: u64,
}

/// Which of two is in use.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Active {
    /// Index of the settings.
    Settings = 0,
    /// Twice the index of the generation that decides; plus one while the other one is told of each insert as well,
    /// which comes before the switch to it.
    Generation = 1,
    /// Second of the monotonic clock when the generation was switched; for the loader alone.
    Switched = 2,
}

/// How many.
pub const ACTIVES: usize = 3;

/// A sender by its id.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Sender {
    /// Of its stream and counters.
    pub index: u32,
    /// 0: it has left the configuration; its stream stays, so that its replays are still known.
    pub enabled: u32,
}

/// A stream's state behind the lock.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct StreamState {
    pub window: Window,
    /// How many latenesses were noted; the next one goes to this modulo [`RECENT`].
    pub noted: u64,
    /// Microseconds.
    pub recent: [u32; RECENT],
}

/// The first copy of a task.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct First {
    /// When it came, nanoseconds of the monotonic clock.
    pub arrival: u64,
    pub sender: u32,
    pub reserved: u32,
}

/// What became of authentic datagrams of one type of one sender.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TypeCounts {
    /// All of them.
    pub received: u64,
    /// Went to the ring.
    pub delivered: u64,
    /// Copies of a task that was delivered before.
    pub duplicates: u64,
    /// Sequences that were seen or are too old, and old epochs.
    pub replays: u64,
    /// Passed to the network stack because the ring was full; marked nowhere.
    pub ring_full: u64,
    /// Delivered although the generation did not take the mark (among `delivered`).
    pub unmarked: u64,
}

/// A sender's counters, on each processor.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SenderCounts {
    /// In the order of the types' numbers.
    pub types: [TypeCounts; 3],
    /// Copies by how late they came after the first one.
    pub lateness: [u64; CLASSES],
}

/// Everything else that can become of a packet to a destination of ours. First copies and duplicates are counted with
/// their senders alone.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum Reason {
    /// Passed: no RMDP.
    NotRmdp = 0,
    /// Passed: RMDP of a version that is not ours.
    UnknownVersion = 1,
    /// Passed: a fragment of a UDP datagram.
    Fragment = 2,
    /// Passed: the ring is full.
    RingFull = 3,
    /// Dropped: ends before its tag does.
    Truncated = 4,
    /// Dropped: bytes follow the tag.
    TrailingBytes = 5,
    /// Dropped: payload length beyond the limit.
    TooLong = 6,
    /// Dropped: no such type.
    UnknownType = 7,
    /// Dropped: bytes that must be zero are not.
    NotZero = 8,
    /// Dropped: sequence 0.
    NoSequence = 9,
    /// Dropped: an announce without an id or another datagram with one.
    WrongId = 10,
    /// Dropped: no such sender.
    UnknownSender = 11,
    /// Dropped: no such key.
    UnknownKey = 12,
    /// Dropped: the tag is wrong.
    WrongTag = 13,
    /// Dropped: the sender has started again since.
    OldEpoch = 14,
    /// Dropped: before the window.
    TooOld = 15,
    /// Dropped: this sequence was seen.
    Seen = 16,
    /// Delivered, but without a mark: the generation is full or had no memory.
    Unmarked = 17,
    /// Dropped: of another network.
    ForeignNetwork = 18,
}

/// How many reasons.
pub const REASONS: usize = 19;

/// What a ring record begins with; the datagram follows.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RecordHead {
    /// Nanoseconds of the monotonic clock.
    pub arrival: u64,
    /// Of the datagram, bytes.
    pub length: u32,
    pub reserved: u32,
}
