//! Switches, and what is under way to them.

use std::collections::BTreeMap;

use crate::io::Execution;
use crate::task::{Fence, Task, Work};
use crate::time::Instant;

/// Parts of a switch's state, each written by a request of its own.
pub(super) const PARTS: usize = 3;

pub(super) type Parts = [Option<[u8; 32]>; PARTS];

/// A switch.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch {
    /// It has our pipeline.
    pub(super) piped: bool,
    /// What each part of it does: of a desired state, or what somebody wrote by hand.
    pub(super) parts: Parts,
    /// Pushes that it is at work on.
    pub(super) pushing: u32,
    /// The highest fence that it has seen; a restart forgets it, and one that is lax forgets it with its stream.
    pub(super) fence: Option<Fence>,
    /// Open streams, by whose they are, and the fence of each.
    pub(super) streams: BTreeMap<(usize, u32), Fence>,
    /// Whose stream is primary: a node, and which of its starts.
    pub(super) primary: Option<(usize, u32)>,
    pub(super) starts: u32,
    pub(super) gone: bool,
}

impl Switch {
    /// Whether it does what a task wants, all of it.
    pub(super) fn holds(&self, task: &Task) -> bool {
        let wanted = desired(task);
        self.piped && wanted.is_some() && self.parts.iter().all(|part| *part == wanted)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Switches(pub(super) BTreeMap<String, Switch>);

/// What a request does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Push,
    Part(usize),
}

/// An execution, or a request of it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) node: usize,
    pub(super) start: u32,
    pub(super) task: Task,
    pub(super) attempt: u32,
    pub(super) fence: Fence,
    pub(super) start_before: Instant,
    /// What a write may take, nanoseconds.
    pub(super) budget: u64,
    /// Until when a push may start, and how long it is given, nanoseconds.
    pub(super) push: Option<(Instant, u64)>,
    /// The switch's start that it is connected to.
    pub(super) connection: u32,
    /// What it has read, and written since.
    pub(super) piped: bool,
    pub(super) parts: Parts,
    pub(super) op: Op,
    /// Nobody waits for the answer any more.
    pub(super) orphan: bool,
    /// How long the switch works on the request at hand, nanoseconds.
    pub(super) takes: u64,
    pub(super) rounds: u8,
    /// When the request at hand was sent.
    pub(super) sent: u64,
}

/// Where an execution is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Connect,
    /// What it should write next, by what it has read.
    Next,
    /// It looks once more.
    Verify,
    End(Execution),
}

pub(super) fn desired(task: &Task) -> Option<[u8; 32]> {
    match task.work() {
        Work::Converge { desired, .. } => Some(desired.0),
        Work::Ask {} => None,
    }
}
