//! What rows come from: a policy, or some pods that have something in common.

use std::net::IpAddr;

use outplane_intent::model::ObjectName;

use super::terms::Direction;

/// In the order of evaluation: who comes first is named first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// Filter policies.
    Filters,
    /// ClusterNetworkPolicies of the Admin tier.
    Admin,
    /// A NetworkPolicy.
    Network(ObjectName),
    /// The pods that a policy isolates first and that run on a node.
    LocalNode(ObjectName, Vec<IpAddr>),
    /// The pods that a policy isolates first, in a direction, and whether that is logged.
    Isolated(Direction, ObjectName, bool),
    /// All isolated pods.
    IsolatedAnswers(Direction),
    /// ClusterNetworkPolicies of the Baseline tier.
    Baseline,
    /// The pods that replies may get to.
    Undecided(Direction),
    /// Any pod that policies may deny something.
    Unrelated(Direction),
    /// The pods that have errors from the same peers, by a number of these.
    Related(Direction, u32),
    /// Frames that cannot be read.
    Unread,
}
