//! What users should know about an intent that compiles.

use std::fmt;

use jiff::Timestamp;
use outplane_intent::model::Replies;
use serde::Serialize;

/// Something in the intent that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Note {
    /// A rule is over.
    Expired {
        /// Its policy.
        policy: String,
        /// The rule.
        rule: String,
        /// Since when.
        #[serde(serialize_with = "display")]
        since: Timestamp,
    },
    /// A policy is about no pod.
    SelectsNothing {
        /// The policy.
        policy: String,
    },
    /// A rule's peers or ports come down to nothing.
    MatchesNothing {
        /// Its policy.
        policy: String,
        /// The rule.
        rule: String,
        /// What is empty.
        empty: &'static str,
    },
}

fn display<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { policy, rule, since } => {
                write!(f, "{policy}: rule {rule} has expired at {since}")
            }
            Self::SelectsNothing { policy } => write!(f, "{policy}: selects no pod with an address"),
            Self::MatchesNothing { policy, rule, empty } => {
                write!(f, "{policy}: rule {rule} matches nothing: {empty}")
            }
        }
    }
}

/// Packets that pass as replies although no rule allows them by itself: what a stateless switch has to open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// The policy whose replies these are.
    pub policy: String,
    /// The rule that they answer; none: whatever the policy isolates.
    pub rule: Option<String>,
    /// The policy's reply mode.
    #[serde(serialize_with = "replies")]
    pub replies: Replies,
    /// Packets, for example `TCP with ACK or RST from port 80`.
    pub traffic: String,
    /// Where from, for example `10.0.0.0/8`, `any address`, `3 pods`.
    pub from: String,
    /// Where to.
    pub to: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn replies<S: serde::Serializer>(replies: &Replies, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reply_mode(*replies))
}

/// How policies spell a reply mode.
pub(super) fn reply_mode(replies: Replies) -> &'static str {
    match replies {
        Replies::None => "none",
        Replies::Established => "established",
        Replies::Reverse => "reverse",
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, rule, replies, traffic, from, to } = self;
        f.write_str(policy)?;
        if let Some(rule) = rule {
            write!(f, " rule {rule}")?;
        }
        write!(f, ": {traffic} from {from} to {to} (replies: {})", reply_mode(*replies))
    }
}

/// `1 pod`, `3 pods`.
pub(super) fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}
