//! What must hold, whatever fails.

use std::fmt;

/// What must hold, whatever fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At most one owner per (id, attempt).
    I1,
    /// No switch write starts outside the executor's own lease.
    I2,
    /// Attempt k+1 exists only after attempt k was over: its lease on its owner's clock, or by its result; or whoever
    /// claimed it had not heard its owner for the limit, in time that it lived through itself, and the switch fences.
    I3,
    /// One immutable terminal decision per id, by the owner of an attempt.
    I4,
    /// Every queued task reaches a terminal state while one controller and the store live.
    I5,
    /// Nothing that is queued is lost: it leaves the queue only decided, or closed.
    I6,
    /// Same event, same id; distinct occurrences, distinct ids.
    I7,
    /// Each task's effect shows once, and never after that of a newer generation.
    I8,
    /// A degraded mark never changes safety: the others hold with marks as without.
    I9,
    /// Clean-up never opens an id again.
    I10,
    /// What is pending can be executed: its generation is kept, and its desired state, or what that is made again from. The
    /// highest number of a chain stays.
    I11,
    /// Policy is a state: after the faults every switch of the newest generation comes to what that wants, whatever has
    /// restarted it, emptied it or changed it behind our back.
    I12,
    /// What a decision says of a switch was so, after everything of older attempts was answered or over.
    I13,
    /// No attempt pushes a pipeline beside another attempt's push.
    I14,
    /// Who is not there does not count as alive, whatever is sent in his name.
    I15,
    /// Only what a log has is claimed, executed, decided or supersedes, and as the log says it.
    I16,
    /// Once an attempt has taken a switch that fences, it takes no write of an attempt before it.
    I17,
    /// Nobody executes what he knows to be overtaken.
    Superseded,
    /// Nobody executes an attempt that he claimed after the decision.
    Decided,
    /// Whoever is silent for long is told of by everybody else, and nobody who is well.
    Told,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When, nanoseconds of simulated time.
    pub at: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at / 1_000_000;
        write!(f, "{:?} at {}.{:03} s: {}", self.invariant, ms / 1000, ms % 1000, self.what)
    }
}
