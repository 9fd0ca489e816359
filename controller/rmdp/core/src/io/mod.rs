//! What goes into the machines and what comes out: values, nothing else.
//!
//! ```text
//!            Input, now                              Vec<Action>
//!  sockets ──────────────►┐                    ┌──────────────────► sockets
//!  store   ──────────────►│ Machine::step      │──────────────────► store ──┐
//!  agent   ──────────────►│ Machine::deadline  │──────────────────► agent ──┤
//!  clock   ──── Tick ────►┘                    └──────────────────► log     │
//!     ▲                                                                     │
//!     └────────────── Stored { token, reply }, Executed { .. } ◄────────────┘
//! ```
//!
//! The shell's duties:
//! - It calls `step` with [`Input::Tick`] at [`Machine::deadline`], or later.
//! - `now` never goes back. It is read after whatever the input says had happened, and every [`Request`] and
//!   [`Action::Execute`] goes out after the step that asked for it.
//! - Every [`Action::Store`] gets one [`Input::Stored`] with its token; where there is no answer in time,
//!   [`Reply::Unknown`]. A request that it repeats by itself is one request: it says `Exists` only if that is true
//!   whichever of its tries it was. It may make requests wait to bound how many are under way.
//! - Every [`Action::Audit`] gets one [`Input::Audited`].
//! - Every [`Action::AskFence`] gets one [`Input::Fence`].
//! - Every [`Action::Execute`] gets one [`Input::Executed`], after which nothing of it writes to the switch any more: each
//!   write and push was answered, or its connection has died and its deadline has passed, or others may have begun long
//!   since. Each write to the switch is preceded by a look at the clock: after `start_before` none is started; the same
//!   goes for pushes.

mod heartbeat;

use std::sync::Arc;
use std::time::Duration;

use crate::config::SharedConfig;
use crate::key::{Key, Prefix};
use crate::object::{Decision, Object};
use crate::task::{Digest, Fence, NetworkId, Task, TransactionId};
use crate::time::Instant;

pub use heartbeat::{Heard, Heartbeat, Notice, NoticeOf, Row};

/// A state machine without I/O, clock or chance.
pub trait Machine {
    /// Takes one input at `now` and appends what is to be done, in order.
    fn step(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>);

    /// When it wants [`Input::Tick`], if nothing else comes first.
    fn deadline(&self) -> Option<Instant>;

    /// Whether it was told to drain and has nothing more to do: the shell may end.
    fn is_drained(&self) -> bool;
}

/// Who a machine is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its name in the shared configuration.
    pub name: String,
    /// The network that it belongs to, as the store says: tasks of others are strangers'.
    pub network: NetworkId,
    /// The stream epoch of this start, issued by the store: nonces are unique by it.
    pub epoch: u64,
}

/// Ties a reply to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The shared configuration has changed; it was checked.
    Config(Arc<SharedConfig>),
    /// The first authentic copy of a task announce.
    Announced {
        /// What is announced.
        task: Task,
        /// Whose copy it was.
        sender: u32,
    },
    /// An authentic heartbeat.
    Heartbeat {
        /// Whose.
        sender: u32,
        /// Its stream epoch.
        epoch: u64,
        /// Its number in the stream.
        sequence: u64,
        /// What it said.
        heartbeat: Heartbeat,
    },
    /// How copies of announces came in since the last time.
    Copies(Copies),
    /// A request's outcome.
    Stored {
        /// The request's.
        token: Token,
        /// Its outcome.
        reply: Reply,
    },
    /// An execution's outcome: nothing of it writes any more.
    Executed {
        /// The task.
        id: TransactionId,
        /// The attempt.
        attempt: u32,
        /// What came of it.
        outcome: Execution,
    },
    /// A pipeline was pushed into a switch, and the switch has answered.
    Pushed {
        /// Which.
        switch: String,
        /// How long it took.
        took: Duration,
    },
    /// For distributors: what brings the switches to the newest generation, compiled; each task's blob is known to the shell.
    /// What an earlier generation has said of a switch, and each since, is that one's task.
    Emit {
        /// The generation.
        generation: u64,
        /// A task a switch.
        tasks: Vec<Task>,
    },
    /// For distributors: an entry of the log of probes, or a part of it. It overtakes nothing, and nothing overtakes it.
    Probe {
        /// One a switch.
        tasks: Vec<Task>,
        /// It may have been emitted before: it was there when this node began to follow the log.
        old: bool,
    },
    /// For controllers: what the newest generation wants, compiled. Whoever keeps a switch keeps it at that.
    Wanted {
        /// The generation.
        generation: u64,
        /// What brings each of its switches to it: its task, or an earlier one's that has said the same.
        tasks: Vec<Task>,
    },
    /// For controllers: a switch may not be what it was. Its stream has ended, or somebody else has become primary.
    Stirred {
        /// Which.
        switch: String,
    },
    /// An audit's outcome.
    Audited {
        /// The switch.
        switch: String,
        /// The audit's.
        number: u64,
        /// What was found.
        outcome: Audit,
    },
    /// What a switch has shown of its fence: the answer to [`Action::AskFence`].
    Fence {
        /// Which.
        switch: String,
        /// Whether it refuses writes under an id that was overtaken; none: it could not be asked.
        fences: Option<bool>,
    },
    /// Somebody says that the intent log has this generation. It saves a look later, and is not believed.
    Logged {
        /// Its number.
        generation: u64,
    },
    /// Somebody says that there is something new in the queue.
    Look,
    /// Take nothing new, finish what is under way.
    Drain,
    /// Time has passed.
    Tick,
}

/// How copies of announces came in at a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Copies {
    /// Tasks of which a first copy came.
    pub tasks: u32,
    /// For each sender that had a copy.
    pub senders: Vec<SenderCopies>,
}

/// A sender's copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderCopies {
    /// Whose.
    pub sender: u32,
    /// Of how many tasks a copy came from it.
    pub copies: u32,
    /// Lateness of some or all of them, microseconds after the first copy; 0 for first copies.
    pub lateness_us: Vec<u32>,
}

/// A request to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// PUT with `If-None-Match: *`.
    Create {
        /// Where.
        key: Key,
        /// What.
        object: Object,
    },
    /// PUT of a desired state with `If-None-Match: *`; the shell has the bytes.
    CreateBlob(Digest),
    /// GET.
    Get(Key),
    /// A page of at most 1,000 keys with their ages, in order. A key that is not in it may be there all the same.
    List {
        /// Of which.
        prefix: Prefix,
        /// Only what comes after this path: where the page before ended, whosever key that was.
        after: Option<String>,
    },
    /// Removes objects, several in one request.
    Delete(Vec<Key>),
    /// PUT: of objects that are this node's alone.
    Put {
        /// Where.
        key: Key,
        /// What.
        object: Object,
    },
}

/// A request's outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// `Create`, `CreateBlob`: it is there now, by this request.
    Created,
    /// `Create`, `CreateBlob`: something was there (412).
    Exists,
    /// `Get`: the object.
    Found(Box<Object>),
    /// `Get`: there is none.
    Missing,
    /// `Get`: there is something that is not ours to understand, see [`crate::object::ObjectError`].
    Foreign(String),
    /// `List`.
    Page {
        /// Keys of ours; others are left out.
        keys: Vec<Listed>,
        /// The path that the next page goes on after, if there is one: the last one that the store said, ours or not.
        next: Option<String>,
    },
    /// `Delete`, `Put`: done.
    Done,
    /// No answer, 409, or an error: it may have happened, may still happen, or not.
    Unknown,
}

/// A key in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listed {
    /// Which.
    pub key: Key,
    /// How long ago it was written, by the lister's time of day. Safety never rests on it.
    pub age: Duration,
}

/// An execution's outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Execution {
    /// The switch is as desired.
    Done {
        /// What was written, in words.
        report: String,
    },
    /// It is not.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// The switch has seen a higher fence.
    Fenced {
        /// That one.
        by: Fence,
        /// What the switch calls it, in the words of its protocol.
        named: String,
    },
    /// It is not, because there was too little time for a switch that is as slow as this one.
    Slow {
        /// How far it came, or what was not answered in time, in words.
        reason: String,
    },
    /// `start_before` came before the switch was asked anything.
    TooLate,
    /// The switch lacks our pipeline, and there was no time to push it. Nothing was written.
    NeedsPush,
    /// It was stopped as asked.
    Stopped,
}

/// What an audit has found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audit {
    /// The switch holds what it should.
    Holds {
        /// This controller is its primary, as far as the switch has primaries.
        primary: bool,
    },
    /// It holds something else.
    Differs {
        /// What it holds, in words.
        seen: String,
        /// What differs, in words.
        what: String,
    },
    /// A change came in between.
    Stopped,
    /// It could not be looked at.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Ask the store.
    Store {
        /// For the reply.
        token: Token,
        /// What.
        request: Request,
    },
    /// A claim of this task is on its way: what its execution will need may be fetched meanwhile.
    Prepare {
        /// Which.
        task: Task,
    },
    /// A task has ended: the decision stands in the store, and is this controller's.
    Ended {
        /// How.
        decision: Box<Decision>,
        /// How long that is after it was known.
        took: Duration,
    },
    /// Let the agent work.
    Execute {
        /// At this.
        task: Task,
        /// As this attempt.
        attempt: u32,
        /// Under this fence; probes, which only read, need none.
        fence: Fence,
        /// No write to the switch starts later.
        start_before: Instant,
        /// What a write that has started may take.
        budget: Duration,
        /// No push of the pipeline starts later, and it is given so long; none: no push at all.
        push: Option<(Instant, Duration)>,
    },
    /// Look whether a switch holds what a task wants, and whether we are its primary; nothing is written. Gets one
    /// [`Input::Audited`]. An execution on the switch goes before it.
    Audit {
        /// What it should hold.
        task: Task,
        /// For the outcome.
        number: u64,
    },
    /// Have a switch show whether it refuses writes under an id that was overtaken. Nothing is written. Gets one
    /// [`Input::Fence`].
    AskFence {
        /// A task of it: where it is.
        task: Task,
    },
    /// A fence that a switch named is no controller's of ours, as the store says: whoever has it is a stranger, and once it
    /// has gone, it is not in our way.
    Disown {
        /// Where.
        switch: String,
        /// That one.
        fence: Fence,
    },
    /// Stop an execution; its outcome comes all the same.
    Stop {
        /// The task.
        id: TransactionId,
        /// The attempt.
        attempt: u32,
    },
    /// Send a task to every controller.
    Announce {
        /// Which.
        task: Task,
        /// So many copies.
        burst: u8,
    },
    /// Send a heartbeat to everybody.
    Heartbeat(Heartbeat),
    /// Tell people.
    Note(Note),
}

/// How urgent a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For those who search.
    Debug,
    /// A step of a task.
    Info,
    /// Something that heals by itself.
    Warn,
    /// An alert: somebody has to look.
    Alert,
    /// An alert about a state, which the machine tells of as long as it holds.
    State,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note {
    /// How urgent.
    pub level: Level,
    /// The task that it is about.
    pub id: Option<TransactionId>,
    /// In words.
    pub text: String,
}
