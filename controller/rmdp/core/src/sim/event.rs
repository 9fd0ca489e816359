//! What happens at a time.

use super::incident::Incident;
use super::switch::{Run, Stage};
use crate::io::{Input, Reply, Request, Token};
use crate::task::Task;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick { node: usize, start: u32 },
    Datagram { node: usize, input: Input },
    Again { node: usize, task: Task },
    Arrive { node: usize, start: u32, token: Token, request: Request, phase: u8 },
    Answer { node: usize, start: u32, token: Token, reply: Reply },
    Agent(Run, Stage),
    Land(Run),
    Effect(Run),
    Pushed { node: usize, start: u32, switch: String, took: std::time::Duration },
    Emit { node: usize, start: u32, generation: u64 },
    ProbeFor { node: usize, start: u32, occurrence: u64, old: bool, from: usize },
    Wanted { node: usize, start: u32, generation: u64 },
    Stir { node: usize, start: u32, switch: String },
    Audit { node: usize, start: u32, task: Task, number: u64 },
    Fence { node: usize, start: u32, switch: String },
    Incident(Incident),
    Follow { node: usize, start: u32, version: usize },
    Start(usize),
    Resume(usize),
    StoreBack,
    SwitchBack(usize),
    Look,
}

impl Event {
    /// The node that has to be up and running for it, and which of its starts.
    pub(super) fn of(&self) -> Option<(usize, Option<u32>)> {
        match self {
            Self::Tick { node, start }
            | Self::Answer { node, start, .. }
            | Self::Emit { node, start, .. }
            | Self::Wanted { node, start, .. }
            | Self::Stir { node, start, .. }
            | Self::Pushed { node, start, .. }
            | Self::Audit { node, start, .. }
            | Self::Fence { node, start, .. }
            | Self::Follow { node, start, .. }
            | Self::ProbeFor { node, start, .. } => Some((*node, Some(*start))),
            Self::Datagram { node, .. } => Some((*node, None)),
            Self::Agent(run, _) => Some((run.node, Some(run.start))),
            _ => None,
        }
    }
}
