//! A node: a machine with a clock of its own, which may be down or paused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::clock::Clock;
use super::event::Event;
use crate::controller::Controller;
use crate::distributor::Distributor;
use crate::io::{Action, Input, Machine, Token};
use crate::task::{Fence, TransactionId};

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Controller(Box<Controller>),
    Distributor(Box<Distributor>),
}

impl Kind {
    pub(super) fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Self::Controller(machine) => machine.as_mut(),
            Self::Distributor(machine) => machine.as_mut(),
        }
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) sender: u32,
    pub(super) is_controller: bool,
    /// None while it is down.
    pub(super) kind: Option<Kind>,
    /// Starts so far.
    pub(super) start: u32,
    /// The stream epoch of this start, as the store has issued it: a twin's starts count as well.
    pub(super) epoch: u64,
    /// What earlier starts have sent to the store does not come any more.
    pub(super) cut: u32,
    /// The version of the configuration that it follows.
    pub(super) version: usize,
    /// Another process runs under its name.
    pub(super) twin: bool,
    /// When it last started.
    pub(super) born: u64,
    /// When it last started, was resumed, was paused or went down: since when it runs or does not run, whichever it does.
    pub(super) since: u64,
    /// Heartbeats of this start.
    pub(super) sequence: u64,
    pub(super) clock: Clock,
    /// What its time of day is wrong by, nanoseconds.
    pub(super) wall: i128,
    pub(super) paused: bool,
    /// Its clock stands still with it.
    pub(super) still: bool,
    /// What came while it was paused.
    pub(super) inbox: VecDeque<Event>,
    /// Requests without a reply.
    pub(super) waiting: BTreeSet<Token>,
    /// Copies that its receiver remembers.
    pub(super) copies: BTreeSet<TransactionId>,
    /// The moment of the tick that was last asked for.
    pub(super) tick: Option<u64>,
    /// Executions that were asked to stop.
    pub(super) stopping: BTreeSet<(TransactionId, u32)>,
    /// The highest fence of another that its streams to a switch were told of, or refused for.
    pub(super) overtaken: BTreeMap<String, Fence>,
    /// Generations that this start has read in the log, and those for each switch that it was told of.
    pub(super) read: BTreeSet<u64>,
    pub(super) told: BTreeMap<String, BTreeSet<u64>>,
    pub(super) draining: bool,
    /// It was asked to leave in good order, and has not started since.
    pub(super) left: bool,
    /// Paused for so long that others have to tell of it, beyond the calm too.
    pub(super) frozen: bool,
    /// The newest start of each sender that it was told of.
    pub(super) epochs: BTreeMap<u32, u64>,
}

impl Node {
    pub(super) fn step(&mut self, real: u64, input: Input, actions: &mut Vec<Action>) {
        let now = self.clock.local(real);
        if let Some(kind) = &mut self.kind {
            kind.machine().step(now, input, actions);
        }
    }

    pub(super) fn deadline(&mut self) -> Option<u64> {
        let clock = self.clock;
        self.kind.as_mut().and_then(|kind| kind.machine().deadline()).map(|local| clock.real(local))
    }

    /// Whether it goes on by itself.
    pub(super) fn runs(&self) -> bool {
        self.kind.is_some() && !self.paused
    }

    /// What it tells people of others, as of this moment.
    pub(super) fn troubles(&self, real: u64) -> Vec<String> {
        let now = self.clock.local(real);
        match &self.kind {
            Some(Kind::Controller(controller)) => controller.troubles(now),
            Some(Kind::Distributor(distributor)) => distributor.troubles(now),
            None => Vec::new(),
        }
    }

    /// Everything in memory is gone.
    pub(super) fn crash(&mut self, now: u64) {
        if self.runs() {
            self.since = now;
        }
        self.kind = None;
        (self.paused, self.frozen, self.still) = (false, false, false);
        self.draining = false;
        self.inbox.clear();
        self.waiting.clear();
        self.copies.clear();
        self.epochs.clear();
        self.stopping.clear();
        self.overtaken.clear();
        self.told.clear();
        self.read.clear();
        self.tick = None;
    }
}
