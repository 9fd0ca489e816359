//! Entries as values: what a P4Runtime entity says, in ids and numbers, apart from its wire form.
//!
//! The compiler produces these, the driver and the soft switch translate them to and from the wire
//! (see [`crate::schema::Schema`]). Two entries that mean the same compare equal: matches are sorted by field id,
//! don't-care matches are absent, values are numbers and not byte strings, bits outside a mask are zero.

/// One match on one field. Widths are the P4Info's; values wider than 128 bits have no form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// All bits as given.
    Exact(u128),
    /// The first `prefix_len` bits as given, the rest zero. `prefix_len` is at least 1.
    Lpm {
        /// Value, zero outside the prefix.
        value: u128,
        /// Prefix length in bits, 1..=width.
        prefix_len: u8,
    },
    /// The bits set in `mask` as given. `mask` is not zero.
    Ternary {
        /// Value, zero outside the mask.
        value: u128,
        /// Mask, at least one bit set.
        mask: u128,
    },
    /// `low..=high`, not the whole range.
    Range {
        /// Lowest value that matches.
        low: u128,
        /// Highest value that matches.
        high: u128,
    },
    /// Present and as given.
    Optional(u128),
}

/// A match field's id and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldMatch {
    /// The match field's id in the P4Info.
    pub field: u32,
    /// The match.
    pub matches: Match,
}

/// An action and its parameters, sorted by parameter id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action {
    /// The action's id in the P4Info.
    pub id: u32,
    /// Parameter id and value.
    pub params: Vec<(u32, u128)>,
}

/// What identifies an entry within a switch: P4Runtime's key of a table entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table's id in the P4Info.
    pub table: u32,
    /// Matches sorted by field id, don't-care matches left out.
    pub matches: Vec<FieldMatch>,
    /// Larger wins; 0 in tables of exact and LPM fields only.
    pub priority: i32,
}

/// A table entry (not a default entry, see [`DefaultEntry`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// What identifies it.
    pub key: Key,
    /// What it does.
    pub action: Action,
    /// `TableEntry.metadata`: opaque to the switch, returned on read. Says whose entry this is and which rule
    /// asked for it; empty for entries of others.
    pub metadata: Vec<u8>,
}

/// The default action of a table. `MODIFY` is the only write that the standard allows for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefaultEntry {
    /// The table's id in the P4Info.
    pub table: u32,
    /// What a miss does; none resets it to the program's own default.
    pub action: Option<Action>,
}

/// A multicast group of the packet replication engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MulticastGroup {
    /// Group id, not 0.
    pub id: u32,
    /// Ports that get a copy, sorted.
    pub ports: Vec<u32>,
}

/// One cell of a meter: a two-rate three-colour marker (RFC 2698); units are the meter's (packets or bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterCell {
    /// The meter's id in the P4Info.
    pub meter: u32,
    /// Index of the cell.
    pub index: i64,
    /// Committed information rate, units a second.
    pub cir: i64,
    /// Committed burst, units.
    pub cburst: i64,
    /// Peak information rate, units a second, at least `cir`.
    pub pir: i64,
    /// Peak burst, units.
    pub pburst: i64,
}

/// Packets and bytes that an entry has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}
