//! Rows by themselves: each says what its sets hold, so that those of one intent can be held against those of the next.

use std::sync::Arc;

use super::terms::{Condition, Effect, Stage};
use crate::addresses::AddressSet;
use crate::ranges::Ranges;

/// A row by itself: its sets by what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) stage: Stage,
    pub(crate) priority: i32,
    pub(crate) effect: Effect,
    /// Place of its rule among those of what it comes from.
    pub(crate) origin: usize,
    /// The rule, in bytes ([`crate::origin`]).
    pub(crate) metadata: Vec<u8>,
    pub(crate) sets: Sets4,
    pub(crate) segments: Vec<u16>,
    pub(crate) conditions: Vec<Condition>,
    /// It is not wanted any more.
    pub(crate) is_gone: bool,
}

/// The sets of a row: source and destination addresses, source and destination ports.
#[derive(Clone, Debug)]
pub(crate) struct Sets4 {
    addresses: [Option<Arc<AddressSet>>; 2],
    ports: [Option<Arc<Ranges<u16>>>; 2],
}

impl Sets4 {
    pub(crate) fn new(addresses: [Option<Arc<AddressSet>>; 2], ports: [Option<Arc<Ranges<u16>>>; 2]) -> Self {
        Self { addresses, ports }
    }

    pub(crate) fn addresses(&self, place: usize) -> Option<&Arc<AddressSet>> {
        self.addresses.get(place)?.as_ref()
    }

    pub(crate) fn ports(&self, place: usize) -> Option<&Arc<Ranges<u16>>> {
        self.ports.get(place.checked_sub(2)?)?.as_ref()
    }

    /// The places at which there is one.
    pub(crate) fn places(&self) -> Vec<usize> {
        (0..4).filter(|place| self.addresses(*place).is_some() || self.ports(*place).is_some()).collect()
    }

    /// Whether both say the same at a place.
    pub(crate) fn same(&self, other: &Self, place: usize) -> bool {
        self.addresses(place) == other.addresses(place) && self.ports(place) == other.ports(place)
    }
}

impl Content {
    /// Whether it differs in sets alone, and in no more than what these hold.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        (self.stage, self.priority, self.effect, self.origin, &self.metadata, self.is_gone)
            == (other.stage, other.priority, other.effect, other.origin, &other.metadata, other.is_gone)
            && (&self.segments, &self.conditions, self.sets.places())
                == (&other.segments, &other.conditions, other.sets.places())
    }
}
