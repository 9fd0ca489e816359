//! What the switch knows: the pipeline, and all that clients have written into its tables.
//!
//! The server writes through a short write guard, a run of updates at a time; the data plane takes one read guard a
//! packet and counts through atomics. Nothing in here does I/O.

pub mod action;
mod arrays;
mod budget;
pub mod direct;
mod entries;
pub mod forwarding;
pub mod limits;
pub mod pipeline;
pub mod pre;
pub mod profile;
pub mod refusal;
mod register;
mod sets;
pub mod table;
mod wire;
mod write;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use action::ActionCall;
pub use direct::{Counter, MeterCell};
pub use forwarding::Forwarding;
pub use limits::Limits;
pub use pipeline::Pipeline;
pub use pre::MulticastGroup;
pub use refusal::{Outcome, Refusal};
pub use table::{Entry, Lookup, Table};

/// The state of the switch.
#[derive(Debug, Default)]
pub struct State {
    limits: Limits,
    /// What packets see.
    committed: Option<Forwarding>,
    /// What was saved and not yet committed. While it is there, reads and writes mean it.
    saved: Option<Forwarding>,
}

impl State {
    /// A switch without a pipeline.
    pub fn new(limits: Limits) -> Self {
        Self { limits, committed: None, saved: None }
    }

    /// The pipeline that packets see, and its forwarding state; none before the first commit.
    pub fn forwarding(&self) -> Option<&Forwarding> {
        self.committed.as_ref()
    }

    /// The pipeline that packets see; none before the first commit.
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.committed.as_ref().map(|forwarding| forwarding.pipeline.as_ref())
    }

    /// Looks a packet up. `key` has one value a match field, in the P4Info's order. None if there is no such table.
    pub fn lookup(&self, table: u32, key: &[u128]) -> Option<Lookup<'_>> {
        Some(self.committed.as_ref()?.table(table)?.lookup(key))
    }

    /// A cell of an indexed meter; none beyond its size.
    pub fn meter_cell(&self, meter: u32, index: usize) -> Option<&MeterCell> {
        self.committed.as_ref()?.meter(meter)?.get(index)
    }

    /// A multicast group.
    pub fn multicast_group(&self, id: u32) -> Option<&MulticastGroup> {
        self.committed.as_ref()?.pre.groups.get(&id).map(AsRef::as_ref)
    }
}

/// The state, shared between server and data plane.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<RwLock<State>>);

impl Shared {
    /// A switch without a pipeline.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(RwLock::new(State::new(limits))))
    }

    /// For a packet or a query. A writer that waits goes first.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a run of updates.
    pub fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
