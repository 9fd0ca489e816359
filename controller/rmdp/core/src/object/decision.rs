use serde::{Deserialize, Serialize};

use crate::task::{Event, Work};

/// `c/<id>/<attempt>`: whoever created it owns the attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The controller.
    pub owner: String,
    /// `<owner>/<epoch>/<number>`: unique, because the store issues a node's epochs.
    pub nonce: String,
    /// From 1.
    pub attempt: u32,
    /// The owner starts no write later than this after it sent the claim, less its execution budget. Others wait 1.5
    /// times as long from when they first saw the claim.
    pub lease_ms: u64,
    /// Of the task.
    pub source: String,
    /// Of the task: a claim without a decision is swept when this is below the horizon.
    pub occurrence: u64,
    /// Of the task.
    pub switch: String,
    /// How the owner learnt of the task: the sender of the first copy, `queue`, `audit`, or `log`. For people.
    pub received: String,
    /// How long the owner had known of the task when it sent this, microseconds. For people.
    #[serde(default)]
    pub waited_us: u64,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

impl Claim {
    /// The stream epoch of the owner's start that made it, as the nonce says; none where it is not ours.
    pub fn epoch(&self) -> Option<u64> {
        let (_, rest) = self.nonce.split_once('/')?;
        rest.split_once('/')?.0.parse().ok()
    }
}

/// `r/<id>/<attempt>`: an attempt that failed, and whose owner writes no more: the next attempt may start at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptResult {
    /// The controller.
    pub owner: String,
    /// Of its claim.
    pub nonce: String,
    /// From 1.
    pub attempt: u32,
    /// Of the task.
    pub source: String,
    /// Of the task.
    pub occurrence: u64,
    /// Why it failed, in words.
    pub reason: String,
    /// The switch lacks our pipeline, and the lease left no time for a push: the next attempt's has to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub push: bool,
    /// The attempt had too little time: leases of the next ones are doubled so often; 0: that was not it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patience: u32,
    /// For so long, milliseconds, an attempt before this one may be at a push that was begun: its owner was silent, and
    /// nobody has waited for its lease's end. Left out where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unended_ms: u64,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// `d/<id>`: how a task ended, once and for ever. Written by the owner of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The controller.
    pub owner: String,
    /// Of its claim.
    pub nonce: String,
    /// The attempt that it owned; the highest that it knew of.
    pub attempt: u32,
    /// Of the task.
    pub event: Event,
    /// Of the task, as the owner knew it.
    pub work: Work,
    /// How it ended.
    pub outcome: Outcome,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The switch is as desired.
    Done {
        /// What was written, in words.
        report: String,
        /// How long it took.
        steps: Steps,
    },
    /// A task of a newer generation for the same switch has taken its place.
    Superseded {
        /// That generation.
        by: u64,
    },
    /// No attempt succeeded.
    Failed {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
    },
}

/// When the owner came to each step, microseconds on its own clock since it first knew of the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The claim's PUT was sent.
    pub claim_sent_us: u64,
    /// The claim was known to be its own.
    pub claimed_us: u64,
    /// Execution ended.
    pub executed_us: u64,
}
