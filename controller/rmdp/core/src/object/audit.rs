use serde::{Deserialize, Serialize};

use crate::task::{BadEvent, Digest, Event, MAX_AUDIT, NetworkId, Task, Work, network_text};

/// `a/<number>/<switch>`: an entry of the log of audits. The switch does not hold what it should, or nobody of ours is
/// its primary: who keeps it brings it back, as a task of its own with a fence above all that were before.
///
/// Numbers grow for each switch. Two switches may have the same one at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// The network whose log it is in.
    #[serde(with = "network_text")]
    pub network: NetworkId,
    /// Its number: the occurrence of its task's event.
    pub number: u64,
    /// Which switch.
    pub switch: String,
    /// The generation that it is brought back to: the newest one.
    pub generation: u64,
    /// What it should hold by that.
    pub desired: Digest,
    /// How many entries that has.
    pub entries: u32,
    /// What was found, in words.
    pub why: String,
    /// Which controller found it.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

impl AuditEntry {
    /// Its task: the same whoever carries it out.
    pub fn task(&self) -> Result<Task, BadEvent> {
        if self.number == 0 || self.number > MAX_AUDIT {
            return Err(BadEvent::Encoding(format!("audits have the numbers 1 to {MAX_AUDIT}")));
        }
        let Self { generation, desired, entries, .. } = *self;
        let work = Work::Converge { generation, desired, entries };
        Task::new(Event::audit(self.network, self.number, &self.switch), work)
    }
}

/// How a switch stands to what it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It holds it.
    Kept,
    /// Nobody has looked yet.
    Unknown,
    /// It holds something else, and is brought back.
    Drifted,
    /// It cannot be looked at.
    Unreachable,
}

impl Standing {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Unknown => "unknown",
            Self::Drifted => "drifted",
            Self::Unreachable => "unreachable",
        }
    }
}

/// `k/<node>`: the switches that a controller keeps, and how they stand. Overwritten by the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSwitches {
    /// Which.
    pub node: String,
    /// By name.
    pub switches: Vec<KeptSwitch>,
    /// When, Unix milliseconds.
    #[serde(default)]
    pub at_ms: u64,
}

/// A switch that a controller keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSwitch {
    /// Its name.
    pub switch: String,
    /// What it should hold: the newest generation, or the newest that compiles.
    pub generation: u64,
    /// How it stands to that.
    pub standing: Standing,
    /// What it was seen to hold last: a generation, or what else, in words.
    pub seen: String,
    /// When it was last seen to hold what it should, Unix milliseconds by the controller's clock; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_ms: Option<u64>,
    /// What differs, or why it cannot be looked at, in words; empty: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// How often this controller has brought it back since its start.
    pub repairs: u64,
    /// The version of the policy that its packets were seen to see last; none: nobody has looked, or it has another program.
    /// A program that does not know this field or the next ones leaves an object out that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Who may write to it, as the switch has told this controller; none: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryOf>,
    /// Whether it refuses writes of whoever was overtaken, as it has shown this controller; none: it has shown nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_fenced: Option<bool>,
    /// When its counters were read last and were, or went, into the totals, Unix milliseconds; none: not since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_ms: Option<u64>,
}

/// Who may write to a switch: who has the highest fence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrimaryOf {
    /// The generation that the id is of, if it is a controller's.
    pub generation: u64,
    /// The id, as controllers read it: `generation 7, attempt 1`.
    pub fence: String,
    /// Whether it is the id of the controller that tells this.
    pub ours: bool,
}
