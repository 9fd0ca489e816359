//! How else an execution ends.

use std::time::Duration;

use crate::Fence;

/// Why a switch was not brought to a desired state. Whatever it is, packets see a whole policy, and the next attempt goes
/// on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The switch has heard of a higher fence.
    Overtaken {
        /// That one.
        by: Fence,
        /// What the switch calls it, in the words of its protocol.
        named: String,
    },
    /// The lease was over.
    TooLate {
        /// Writes that are done.
        done: usize,
        /// Writes in the plan; 0 where there was no plan yet.
        total: usize,
    },
    /// The caller wanted it to stop.
    Stopped {
        /// Writes that are done.
        done: usize,
        /// Writes in the plan; 0 where there was no plan yet.
        total: usize,
    },
    /// The switch lacks what it is driven by, and there was no time to load that. Nothing was written.
    Lacking,
    /// What it is driven by was not loaded in the time there was.
    LoadingLate {
        /// How long it was waited for.
        after: Duration,
        /// In words.
        reason: String,
    },
    /// The switch has not answered in time. What was under way may still be carried out.
    Unanswered {
        /// What, in words.
        reason: String,
    },
    /// It cannot be.
    Failed {
        /// Why, in words.
        reason: String,
    },
}
