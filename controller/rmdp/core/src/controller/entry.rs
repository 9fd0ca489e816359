//! What a controller knows of a task, and the states it goes through.
//!
//! ```text
//!  announce, queue ─► Waiting ──turn──► Claiming ──created──────────────► [Checking] ─► Executing ─► Recording ─► gone
//!                      │  ▲  ▲             │ 412, unclear                  attempt > 1     │             │
//!           notice,    │  │  └ r/, expired ▼                                           Stopping      r/ written:
//!           other's    │  │   or silent Confirming ──mine──► as created                              Waiting, k+1
//!           claim      ▼  │                │ another's
//!                    Looking ◄─────────────▼
//!                 d/, c/, r/ │ ◄──due── Watching
//!                      └─────┴─► gone, when d/ is there
//! ```

use std::time::Duration;

use crate::io::Token;
use crate::object::Object;
use crate::task::{Fence, Task};
use crate::time::Instant;

/// How a task came to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// By this sender's announce.
    Sender(u32),
    /// By a poll of the queue.
    Queue,
    /// By an audit of its own.
    Audit,
    /// From the intent log, where nobody else has brought it.
    Log,
}

/// An attempt that is, or may be, this controller's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// Proves ownership.
    pub(super) nonce: String,
    /// Before the first PUT of the claim went out. Tries of the same claim keep it: the lease begins here.
    pub(super) sent: Instant,
    /// As the claim says.
    pub(super) lease: Duration,
    /// What a write that has started may take within it.
    pub(super) budget: Duration,
    /// How often both were doubled.
    pub(super) patience: u32,
    /// How long a push may take within it; zero: there is no room for one.
    pub(super) push: Duration,
    /// Ownership was known.
    pub(super) claimed: Option<Instant>,
    /// It was asked whether a newer generation is decided.
    pub(super) current: bool,
}

impl Own {
    /// No write starts later.
    pub(super) fn start_before(&self) -> Instant {
        (self.sent + self.lease).before(self.budget)
    }
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To do what the task says.
    Execute,
    /// To decide that a newer generation has taken its place.
    Supersede { by: u64 },
    /// To decide that no attempt succeeded.
    Fail,
}

/// What an attempt that failed had too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacked {
    /// Of nothing that another attempt could have more of.
    Nothing,
    /// Its lease had no room for a push.
    Push,
    /// Time: the next one has more.
    Time,
}

/// A start of a node, which owns an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Owner {
    pub(super) sender: u32,
    pub(super) epoch: u64,
}

/// An attempt and who has it, as was heard or seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) attempt: u32,
    /// When that was learnt first, in time lived through.
    pub(super) since: Instant,
}

/// What the store is asked about a newer generation, or its task for the same switch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doubt {
    /// A heartbeat has told of this generation. If its task is decided, this one comes too late.
    Heard(u64),
    /// The switch has seen this fence, which it calls so. Is its generation in the log? What is not there is no task's,
    /// whatever claims there are.
    Logged(Fence, String),
    /// The switch has seen this fence, which it calls so. If there is a claim of its generation's task, it is no stranger's.
    Fenced(Fence, String),
}

/// Which object is read next to learn how a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// d/: is it over?
    Decision,
    /// c/<id>/: which attempts are there? The highest so far, and where the listing goes on.
    Attempts(u32, Option<String>),
    /// r/<id>/<attempt>: has it failed?
    Result(u32),
    /// c/<id>/<attempt>: how long is its lease?
    Claim(u32),
}

/// An attempt of another, seen in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watched {
    pub(super) attempt: u32,
    /// First seen, plus 1.5 leases.
    pub(super) until: Instant,
    /// Whose it is; none: nobody's who can be heard.
    pub(super) held: Option<Held>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// For its turn (a timer), for its switch, or for a slot.
    Waiting,
    /// The claim's PUT is under way.
    Claiming(Own),
    /// The claim is read back.
    Confirming(Own),
    /// The decision is read once more before a later attempt executes.
    Checking(Own),
    /// The store is asked whether this one is overtaken.
    Doubting(Own, Doubt),
    /// The agent works.
    Executing(Own),
    /// The agent was asked to stop.
    Stopping(Own),
    /// A decision or result is written, over and over until it is there.
    Recording(Box<Object>),
    /// The store is asked how it stands.
    Looking(Look, Option<Watched>),
    /// Another has it.
    Watching(Watched),
}

impl State {
    /// For status pages.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Claiming(_) | Self::Confirming(_) => "claiming",
            Self::Checking(_) | Self::Doubting(..) => "checking",
            Self::Executing(_) => "executing",
            Self::Stopping(_) => "stopping",
            Self::Recording(_) => "recording",
            Self::Looking(..) | Self::Watching(_) => "watching",
        }
    }

    /// Whether this controller owns the attempt, or may own it.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Waiting | Self::Looking(..) | Self::Watching(_))
    }
}

/// A task in a controller's mind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tracked {
    pub(super) task: Task,
    pub(super) received: Instant,
    pub(super) origin: Origin,
    /// Number of the poll that last saw it in the queue.
    pub(super) queued: Option<u64>,
    /// The attempt that it waits for, owns or watches.
    pub(super) attempt: u32,
    /// Why the last attempt failed, as far as known.
    pub(super) reason: Option<String>,
    /// An attempt has found that the switch lacks our pipeline: leases leave time for a push.
    pub(super) push: bool,
    pub(super) state: State,
    /// Who has said that it owns an attempt.
    pub(super) told: Option<Held>,
    /// The attempt that the next one goes over, whose owner is silent.
    pub(super) over: Option<Held>,
    /// Until when the lease of an attempt lasts that was gone over: it may have begun a push.
    pub(super) unended: Option<Instant>,
    /// Its timer.
    pub(super) due: Option<Instant>,
    /// When it looks in any case, where the timer is an earlier one, for the owner's silence.
    pub(super) look_at: Option<Instant>,
    /// The request under way; at most one.
    pub(super) token: Option<Token>,
    /// Requests in a row without a clear answer.
    pub(super) unclear: u32,
}
