//! What can go wrong between us and a switch, in words that name the switch and the cure.

use std::fmt;
use std::sync::Arc;

use outplane_compiler::plan::PlanError;
use outplane_compiler::shrink::Less;
use outplane_compiler::state::Origin;
use outplane_driver::Ended;
use outplane_p4runtime_client as client;
use outplane_p4runtime_client::{PUSH, Peer, Problem as ClientProblem, UpdateStatus, says_another_device};
use thiserror::Error;
use tonic::Code;

use crate::fence::{fence_of, name};

/// A problem with a switch.
#[derive(Debug, Error)]
#[error("switch {} ({}): {problem}{}", .peer.name(), .peer.address(), device_cure(.peer, .problem))]
pub struct Error {
    pub(crate) peer: Arc<Peer>,
    /// What it is.
    #[source]
    pub problem: Box<Problem>,
}

/// What to do where the switch has another device id than ours, as far as its words tell.
fn device_cure(peer: &Peer, problem: &Problem) -> String {
    let Problem::Client(
        ClientProblem::ArbitrationRefused { code, message, .. }
        | ClientProblem::PipelineRefused { code, message }
        | ClientProblem::Call { code, message, .. },
    ) = problem
    else {
        return String::new();
    };
    if !says_another_device(*code, message) {
        return String::new();
    }
    format!(
        "; the switch seems to have another device id than {}: give the right one as `deviceId` of the Switch or with \
         --device-id (BMv2's is 0 unless it was started with another)",
        peer.device_id()
    )
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum Problem {
    /// One of the client's, in words for who has a policy.
    #[error("{}", in_our_words(.0))]
    Client(ClientProblem),
    /// The time in which writes may start was over: see [`Lease::start_before`](outplane_driver::Lease).
    #[error(
        "the time to start writes was over after {done} of {total} of them, and no more were started; packets see a \
         whole policy, and the next attempt finishes the rest"
    )]
    LeaseOver {
        /// Writes that are done.
        done: usize,
        /// Writes in the plan; 0 where there was no plan yet.
        total: usize,
    },
    /// A call that changes the switch has had no answer, and may still take effect: what the switch holds is not known.
    #[error(
        "the switch has not answered a write for long, and may still carry it out; what it holds is not known until it has \
         answered or its connection has ended"
    )]
    UnderWay,
    /// Somebody else's multicast group has an id that we need.
    #[error(
        "multicast group {group} belongs to another owner, and the policy needs that id; remove the group"
    )]
    ForeignGroup {
        /// The group's id.
        group: u32,
    },
    /// It has policies, and nothing of what it should hold is for one: see
    /// [`ConvergeOptions::keep_a_policy`](crate::ConvergeOptions).
    #[error(
        "it has {policies} {} ({first}{}), and the input leaves none, so that everything would pass; nothing was written",
        if *.policies == 1 { "policy" } else { "policies" },
        if *.policies == 1 { "" } else { ", .." }
    )]
    LastPolicy {
        /// How many it has.
        policies: usize,
        /// The first by name.
        first: String,
    },
    /// It would hold less than packets see now: see [`ConvergeOptions::keep`](crate::ConvergeOptions).
    #[error("{0}; nothing was written")]
    Shrinks(Less),
    /// There is no way from what it holds to what it should hold.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It refused writes.
    #[error("{0}")]
    Refused(Refusal),
    /// What it holds is not what a read moments ago said.
    #[error("somebody else changes the switch at the same time: {what}; apply again when that has stopped")]
    Changed {
        /// What differs.
        what: String,
    },
    /// The caller wanted to stop.
    #[error(
        "stopped after {done} of {total} writes; packets see a whole policy, and the next apply finishes the rest"
    )]
    Cancelled {
        /// Writes that are done.
        done: usize,
        /// Writes in the plan.
        total: usize,
    },
}

/// Writes that the switch refused for good.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The step of the plan.
    pub step: &'static str,
    /// The first of them, at most [`Refusal::KEPT`].
    pub failures: Vec<Failure>,
    /// How many there are.
    pub total: usize,
    /// What became of the writes before them.
    pub aftermath: Aftermath,
}

impl Refusal {
    /// How many failures are kept.
    pub const KEPT: usize = 100;
}

/// What became of the writes before a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aftermath {
    /// They are still there; no packet sees them, and the next apply repairs or removes them.
    Left,
    /// They have been taken back: the switch is as before.
    Undone,
    /// Packets already see the new policy; what is refused is the removal of the old one.
    Flipped,
    /// Taking them back failed too, for this reason.
    UndoFailed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        write!(f, "refused {} of the writes in step \"{}\": ", self.total, self.step)?;
        for (at, failure) in self.failures.iter().take(SHOWN).enumerate() {
            write!(f, "{}{failure}", if at == 0 { "" } else { "; " })?;
        }
        let more = self.total.saturating_sub(SHOWN.min(self.failures.len()));
        if more > 0 {
            write!(f, "; and {more} more")?;
        }
        match &self.aftermath {
            Aftermath::Left => f.write_str(". Packets see a whole policy; the next apply repairs the switch"),
            Aftermath::Undone => f.write_str(". What had been written is taken back, the old policy stands"),
            Aftermath::Flipped => f.write_str(
                ". Packets see the new policy; the next apply removes what is left of the old one",
            ),
            Aftermath::UndoFailed(why) => {
                write!(
                    f,
                    ". Packets see the old policy; taking back what had been written failed as well: {why}"
                )
            }
        }
    }
}

/// A write that the switch refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The write, in the program's names.
    pub change: String,
    /// The policy and rule that it is for, where an entry says it.
    pub origin: Option<Origin>,
    /// gRPC status code.
    pub code: Code,
    /// The switch's words.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.change)?;
        if let Some(origin) = &self.origin
            && origin.policy != Origin::COMMON
        {
            write!(f, " (for {} rule {})", origin.policy, origin.rule)?;
        }
        write!(f, ": {}", UpdateStatus { code: self.code, message: self.message.clone() })
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let peer = Arc::clone(error.peer());
        Self { peer, problem: Box::new((*error.problem).into()) }
    }
}

impl From<ClientProblem> for Problem {
    fn from(problem: ClientProblem) -> Self {
        Self::Client(problem)
    }
}

/// The client does not know who finishes what was begun, nor whose program it is.
fn in_our_words(problem: &ClientProblem) -> String {
    match problem {
        ClientProblem::Disconnected { reason } => format!(
            "the connection broke: {reason}; what was under way is finished by the next apply, or by the controllers"
        ),
        ClientProblem::PrimacyLost { .. } => {
            format!("{problem}; whoever is primary now repairs what is half done")
        }
        ClientProblem::NoPipeline => {
            "the switch has no P4 program, or another one than ours; push the pipeline first".to_owned()
        }
        ClientProblem::Entity { .. } => format!("{problem}; push the pipeline anew if this stays"),
        _ => problem.to_string(),
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        error.ended()
    }
}

impl Error {
    /// A problem with this switch.
    pub(crate) fn of(peer: &Arc<Peer>, problem: impl Into<Problem>) -> Self {
        Self { peer: Arc::clone(peer), problem: Box::new(problem.into()) }
    }

    /// What to do about it where the problem alone does not say it; begins with `; `, or is empty.
    pub fn cure(&self) -> String {
        device_cure(&self.peer, &self.problem)
    }

    /// How an execution has ended that ends with this.
    pub fn ended(&self) -> Ended {
        let reason = || self.to_string();
        match &*self.problem {
            Problem::Client(
                ClientProblem::NotPrimary { primary: Some(id), .. }
                | ClientProblem::PrimacyLost { primary: Some(id) },
            ) => Ended::Overtaken { by: fence_of(*id), named: name(*id) },
            Problem::Client(ClientProblem::NoPipeline) => Ended::Lacking,
            Problem::LeaseOver { done, total } => Ended::TooLate { done: *done, total: *total },
            Problem::Cancelled { done, total } => Ended::Stopped { done: *done, total: *total },
            Problem::Client(ClientProblem::Deadline { call: PUSH, after }) => {
                Ended::LoadingLate { after: *after, reason: reason() }
            }
            // Also one that hangs: that cannot be told apart, and costs no more than waiting longer for it.
            Problem::UnderWay | Problem::Client(ClientProblem::Deadline { .. }) => {
                Ended::Unanswered { reason: reason() }
            }
            _ => Ended::Failed { reason: reason() },
        }
    }

    /// Name of the switch.
    pub fn switch(&self) -> &str {
        self.peer.name()
    }

    /// Whether the same attempt may succeed a little later. A switch may still hold the election id for a connection of
    /// ours that has just ended.
    pub(crate) fn may_pass(&self) -> bool {
        let taken = matches!(
            *self.problem,
            Problem::Client(ClientProblem::ArbitrationRefused {
                code: Code::InvalidArgument | Code::AlreadyExists,
                ..
            })
        );
        self.is_disconnect() || taken
    }

    /// Whether connecting anew may help.
    pub fn is_disconnect(&self) -> bool {
        matches!(
            *self.problem,
            Problem::Client(ClientProblem::Unreachable { .. } | ClientProblem::Disconnected { .. })
        )
    }
}
