use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Role;
use crate::task::{NetworkId, network_text};

/// `network`: the id of the network that this store is of, random, issued once. A store that was made anew has another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The id.
    #[serde(with = "network_text")]
    pub network: NetworkId,
    /// Who issued it.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// `recovery/<network>`: somebody has recovered the store, which had gone back or was empty. Nodes of the networks that were
/// before join this one by themselves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// The network that the store is of since.
    #[serde(with = "network_text")]
    pub network: NetworkId,
    /// Those that its nodes were of before: 16 hexadecimal digits each.
    pub before: Vec<String>,
    /// The newest generation that anybody remembers; those of this network are above it.
    pub above: u64,
    /// Who recovered it: user and host, as far as known.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

impl Recovery {
    /// Whether nodes of this network are meant.
    pub fn follows(&self, network: NetworkId) -> bool {
        self.before.contains(&network.to_string())
    }
}

/// `e/<node>/<epoch>`: this start of the node has this stream epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEpoch {
    /// Whose.
    pub node: String,
    /// Its number, from 1.
    pub epoch: u64,
    /// Random: tells whose it is when the answer to its creation was lost.
    pub nonce: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// `n/<node>`: how a node is. Overwritten by the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Which.
    pub node: String,
    /// What it does.
    pub role: Role,
    /// Its stream epoch.
    pub epoch: u64,
    /// The program's version.
    pub version: String,
    /// The shared configuration that it follows.
    pub config: u64,
    /// The newest generation of the intent that it knows of.
    pub generation: u64,
    /// How it receives: `xdp driver`, `xdp generic`, `socket: <why>`.
    pub receiver: String,
    /// It takes no new work.
    pub draining: bool,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
    /// Tasks that it has in hand: id, switch, what it does with it.
    pub tasks: Vec<String>,
    /// Faults that it has or sees now, in words; what is over stands in `past`.
    pub alerts: Vec<String>,
    /// How it hears the other members, by name.
    #[serde(default)]
    pub heard: BTreeMap<String, HeardAt>,
    /// Ids of the keys whose secrets are in its file. Nodes of older versions do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<u16>>,
    /// Why the store is not what it was for this node, if it is not: it goes on when somebody has recovered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estranged: Option<String>,
    /// Since when each of `alerts` holds, in their order, Unix milliseconds. Nodes of older versions do not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub since_ms: Vec<u64>,
    /// Alerts that were told once, or are over: the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<PastAlert>,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// An alert that does not stand any more, or was about one moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastAlert {
    /// What was told.
    pub text: String,
    /// When it came, Unix milliseconds.
    pub from_ms: u64,
    /// When it was over; the same as `from_ms` for what was about one moment.
    pub until_ms: u64,
}

/// How a node hears another one, as of its status.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeardAt {
    /// How long ago it heard it last, milliseconds; null: never since it started.
    pub ms: Option<u64>,
    /// The other one has said that it leaves.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left: bool,
    /// It has been silent for too long.
    #[serde(default, skip_serializing_if = "is_false")]
    pub silent: bool,
    /// Heartbeats that get lost on the way, in percent, where that is too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_percent: Option<u8>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// `degraded/<node>`: a sender or a receiver is slow or loses copies. It is removed when that has cleared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Which node.
    pub node: String,
    /// As what.
    pub of: AlertOf,
    /// More than the hard limit.
    pub hard: bool,
    /// What was seen, in words.
    pub reason: String,
    /// Who wrote it.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// In which part a node is degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertOf {
    /// Its copies come late at most receivers.
    Sender,
    /// Most senders' copies come late there.
    Receiver,
}
