//! `Expectation` objects: packets, and what should become of them. They say nothing to a switch; whoever is about to apply
//! policies judges them first.

use std::collections::BTreeMap;

use crate::described::{Fate, PacketSpec};

/// All of them, by name.
pub type Expectations = BTreeMap<String, Expectation>;

/// One object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Its packets, in order.
    pub packets: Vec<ExpectedPacket>,
}

/// A packet, and what should become of it. The reader has checked it against the intent: it is a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPacket {
    /// Its name, unique in the object; `packet-<n>` (from 1) where none was given.
    pub name: String,
    /// The packet.
    pub packet: PacketSpec,
    /// What should become of it.
    pub expect: Fate,
    /// On this switch; none: on every one.
    pub switch: Option<String>,
    /// The policy that should decide, as verdicts name it: `FilterPolicy/<name>` and the like.
    pub policy: Option<String>,
    /// The rule of it that should decide.
    pub rule: Option<String>,
}
