//! What users should know about an intent that compiles.

use std::fmt;

use jiff::Timestamp;
use outplane_intent::model::{RateLimit, RelatedErrors, Replies};
use serde::Serialize;

/// Who has decided, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allow: bool,
    pub(crate) policy: String,
    pub(crate) rule: String,
    pub(crate) log: bool,
    pub(crate) limit: Option<RateLimit>,
}

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
    /// Of isolated pods it is not known on which node they run, so packets from their own nodes are dropped, which
    /// Kubernetes lets through.
    NodeUnknown {
        /// How many.
        pods: usize,
        /// The first by name.
        first: String,
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
            Self::NodeUnknown { pods, first } => write!(
                f,
                "it is not known where {} {} ({first}{}), so what comes from {} own node is isolated like all else; \
                 Kubernetes lets it through. Nodes with addresses, and pods with `spec.nodeName` or `status.hostIPs`, \
                 say it (`kubectl get nodes,pods -A -o yaml`)",
                self::pods(*pods),
                if *pods == 1 { "runs" } else { "run" },
                if *pods == 1 { "" } else { ", .." },
                if *pods == 1 { "its" } else { "their" },
            ),
        }
    }
}

/// Packets that pass as replies, or as ICMP errors about what passes, although no rule allows them by itself: what a
/// stateless switch has to open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// The policy whose replies these are.
    pub policy: String,
    /// The rule that they answer; none: whatever the policy isolates.
    pub rule: Option<String>,
    /// What of the policy lets them through.
    #[serde(flatten)]
    pub by: OpenedBy,
    /// Packets, for example `TCP with ACK or RST from port 80`.
    pub traffic: String,
    /// Where from, for example `10.0.0.0/8`, `any address`, `3 pods`.
    pub from: String,
    /// Where to.
    pub to: String,
}

/// What opens something: `"replies": "established"`, `"relatedErrors": "allow"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OpenedBy {
    /// The policy's reply mode.
    #[serde(serialize_with = "replies")]
    Replies(Replies),
    /// Its mode of related errors.
    #[serde(serialize_with = "related_errors")]
    RelatedErrors(RelatedErrors),
}

/// What becomes of frames that the switch cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unread {
    /// Those that enter in this segment; none: in any other.
    pub segment: Option<String>,
    /// Those of this EtherType; none: all others.
    pub ether_type: Option<u16>,
    /// Whether they pass.
    pub passes: bool,
    /// The policy that decides; none: no policy denies anything that may be in them.
    pub policy: Option<String>,
    /// And its rule.
    pub rule: Option<String>,
}

impl Unread {
    pub(crate) fn new(segment: Option<&str>, ether_type: Option<u16>, decision: Option<&Decision>) -> Self {
        Self {
            segment: segment.map(str::to_owned),
            ether_type,
            passes: decision.is_none_or(|decision| decision.allow),
            policy: decision.map(|decision| decision.policy.clone()),
            rule: decision.map(|decision| decision.rule.clone()),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ether_type {
            Some(number) => write!(f, "EtherType {number:#06x}")?,
            None if self.segment.is_some() => f.write_str("frames")?,
            None => f.write_str("all")?,
        }
        if let Some(segment) = &self.segment {
            write!(f, " in segment {segment}")?;
        }
        write!(f, ": {}", if self.passes { "pass" } else { "dropped" })?;
        match (&self.policy, &self.rule) {
            (Some(policy), Some(rule)) => write!(f, " by {policy}, rule {rule}"),
            _ => f.write_str(", no policy denies any IP"),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn related_errors<S: serde::Serializer>(errors: &RelatedErrors, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(related_mode(*errors))
}

/// How policies spell a mode of related errors.
fn related_mode(errors: RelatedErrors) -> &'static str {
    match errors {
        RelatedErrors::None => "none",
        RelatedErrors::Allow => "allow",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn replies<S: serde::Serializer>(replies: &Replies, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reply_mode(*replies))
}

/// How policies spell a reply mode.
pub(crate) fn reply_mode(replies: Replies) -> &'static str {
    match replies {
        Replies::None => "none",
        Replies::Established => "established",
        Replies::Reverse => "reverse",
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, rule, by, traffic, from, to } = self;
        f.write_str(policy)?;
        if let Some(rule) = rule {
            write!(f, " rule {rule}")?;
        }
        write!(f, ": {traffic} from {from} to {to} ({by})")
    }
}

/// `replies: established`, `relatedErrors: allow`.
impl fmt::Display for OpenedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replies(replies) => write!(f, "replies: {}", reply_mode(*replies)),
            Self::RelatedErrors(errors) => write!(f, "relatedErrors: {}", related_mode(*errors)),
        }
    }
}

/// `1 pod`, `3 pods`.
pub(crate) fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}
