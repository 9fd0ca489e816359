//! What was done, and what was found.

use std::time::Duration;

/// What brought a switch to a desired state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Writes; 0 where there was nothing to change.
    pub writes: usize,
    /// How long loading what it is driven by took; none where it was there.
    pub loading: Option<Duration>,
    /// Connecting, or telling the switch the fence.
    pub fencing: Duration,
    /// Reading.
    pub reading: Duration,
    /// That was done ahead: it is no part of `elapsed`.
    pub read_ahead: bool,
    /// Nothing was read: what the switch holds was known, since nobody else was entitled to write after it was seen last.
    pub remembered: bool,
    /// Planning.
    pub planning: Duration,
    /// Writing.
    pub writing: Duration,
    /// All of it.
    pub elapsed: Duration,
}

/// What a switch that was asked has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it speaks, with its version, in words; none where it does not tell.
    pub speaks: Option<String>,
    /// Whether what it is driven by is loaded, as far as it tells.
    pub is_loaded: bool,
    /// How long it took.
    pub elapsed: Duration,
}
