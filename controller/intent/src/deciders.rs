//! The words that verdicts, messages and the entries of switches name a decider by: a policy and its rule. "Who decided"
//! in docs/policy-semantics.md says when which of them is named.

use std::fmt::Display;

use crate::model::ObjectName;

/// The rule that stands for a filter policy's `default`.
pub const DEFAULT: &str = "default";

/// The rule by which NetworkPolicies deny what none of their rules allows.
pub const ISOLATION: &str = "isolation";

/// The rule that lets a pod's own node reach it although a policy isolates it.
pub const LOCAL_NODE: &str = "local-node";

/// The rule that lets established packets through where the pod's other side has no opinion: who denied is named, with
/// this as the rule.
pub const REPLY: &str = "reply";

/// The rule that lets ICMP errors through to a pod that may have sent what they answer: who denied is named, with this as
/// the rule.
pub const RELATED: &str = "related";

/// `FilterPolicy/<name>`
pub fn filter_policy(name: impl Display) -> String {
    format!("FilterPolicy/{name}")
}

/// Whether a decider is a filter policy; if not, it is a policy of Kubernetes.
pub fn is_filter_policy(policy: &str) -> bool {
    policy.starts_with("FilterPolicy/")
}

/// `NetworkPolicy/<namespace>/<name>`
pub fn network_policy(name: &ObjectName) -> String {
    format!("NetworkPolicy/{}/{}", name.namespace, name.name)
}

/// Whether a decider is a NetworkPolicy.
pub fn is_network_policy(policy: &str) -> bool {
    policy.starts_with("NetworkPolicy/")
}

/// `ClusterNetworkPolicy/<name>`
pub fn cluster_policy(name: impl Display) -> String {
    format!("ClusterNetworkPolicy/{name}")
}
