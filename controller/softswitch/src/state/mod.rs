//! What the switch knows: the pipeline, and all that clients have written into its tables.
//!
//! The server writes through a short write guard, a run of updates at a time; the data plane takes one read guard a
//! packet and counts through atomics. Nothing in here does I/O.

pub mod action;
mod arrays;
mod batch;
mod budget;
mod commit;
pub mod direct;
mod entries;
pub mod forwarding;
pub mod limits;
mod members;
pub mod pipeline;
pub mod pre;
pub mod profile;
mod read;
pub mod refusal;
mod register;
mod replication;
mod sets;
pub mod table;
pub(crate) mod wire;
mod write;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use action::ActionCall;
pub use batch::Answer;
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
pub struct Shared(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: RwLock<State>,
    /// Readers that are waiting for the lock.
    waiting: AtomicUsize,
}

/// How often a writer lets waiting readers go first, before it takes the lock again all the same.
const YIELDS: usize = 100;

impl Shared {
    /// A switch without a pipeline.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { state: RwLock::new(State::new(limits)), waiting: AtomicUsize::new(0) }))
    }

    /// For a packet or a query.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what reads and writes mean. Packets that have waited meanwhile go first before the next call does
    /// anything: the lock by itself would let the same writer take it over and over.
    fn with_control<R>(&self, change: impl FnOnce(&mut Forwarding) -> R) -> Outcome<R> {
        let result = {
            let mut state = self.write();
            let State { committed, saved, .. } = &mut *state;
            saved.as_mut().or(committed.as_mut()).map(change)
        };
        for _ in 0..YIELDS {
            if self.0.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::yield_now();
        }
        result.ok_or_else(|| Refusal::failed_precondition("there is no forwarding pipeline any more"))
    }
}
