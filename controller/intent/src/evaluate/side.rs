//! Sides: what ClusterNetworkPolicies and NetworkPolicies say about one pod in one direction.

use std::fmt;
use std::net::IpAddr;

use super::decider::Decider;
use super::filter::answered;
use super::matching::selects;
use super::{Evaluator, PodEntry};
use crate::deciders;
use crate::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterRule, ClusterTier, NetworkPolicy, NetworkPolicyRule,
    ObjectName, Replies,
};
use crate::packet::Packet;

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Egress,
    Ingress,
}

impl Direction {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    /// The other end's address of a packet in this direction.
    fn peer(self, packet: &Packet) -> Option<IpAddr> {
        let (src, dst) = packet.addresses()?;
        Some(match self {
            Self::Egress => dst,
            Self::Ingress => src,
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}

/// What a side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Allow { by: Decider },
    Deny { by: Decider, log: bool },
    Undecided,
}

impl Side {
    pub(super) fn allowed_by(&self) -> Option<&Decider> {
        match self {
            Self::Allow { by } => Some(by),
            Self::Deny { .. } | Self::Undecided => None,
        }
    }
}

/// The policies that are about a pod.
#[derive(Debug)]
pub(super) struct PodPolicies<'a> {
    /// NetworkPolicies of its namespace that select it, by name.
    pub(super) network: Vec<(&'a ObjectName, &'a NetworkPolicy)>,
    /// ClusterNetworkPolicies whose subject it is, in the order in which they are asked, both tiers together.
    pub(super) cluster: Vec<(&'a str, &'a ClusterNetworkPolicy)>,
}

/// The rules of a NetworkPolicy for a direction; none if it does not isolate for that.
pub(super) fn network_rules(policy: &NetworkPolicy, direction: Direction) -> Option<&[NetworkPolicyRule]> {
    match direction {
        Direction::Egress => policy.egress.as_deref(),
        Direction::Ingress => policy.ingress.as_deref(),
    }
}

pub(super) fn cluster_rules(policy: &ClusterNetworkPolicy, direction: Direction) -> &[ClusterRule] {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

/// What a rule is called.
pub(super) fn rule_name(rule: &ClusterRule, direction: Direction, place: usize) -> String {
    rule.name.clone().unwrap_or_else(|| format!("{direction}[{place}]"))
}

pub(super) fn network_decider(name: &ObjectName, rule: String) -> Decider {
    Decider { policy: deciders::network_policy(name), rule }
}

impl<'a> Evaluator<'a> {
    pub(super) fn policies<'s>(&self, pod: &'s PodEntry<'a>) -> &'s PodPolicies<'a> {
        pod.policies.get_or_init(|| {
            let network = self.intent.network_policies.iter();
            let network = network
                .filter(|(name, _)| name.namespace == pod.name.namespace)
                .filter(|(_, policy)| selects(&policy.pods, &pod.pod.labels))
                .collect();
            let cluster = self.intent.cluster_policies.iter();
            let mut cluster: Vec<_> = cluster
                .filter(|(_, policy)| {
                    let subject = &policy.subject;
                    self.selects_pod(Some(&subject.namespaces), &subject.pods, pod.name, pod.pod)
                })
                .map(|(name, policy)| (name.as_str(), policy))
                .collect();
            cluster.sort_by_key(|(name, policy)| (policy.priority, *name));
            PodPolicies { network, cluster }
        })
    }

    /// What a pod's side says about a packet, replies left aside.
    pub(super) fn side(&self, pod: &PodEntry<'a>, direction: Direction, packet: &Packet) -> Side {
        if let Some(side) = self.cluster_tier(pod, ClusterTier::Admin, direction, packet) {
            return side;
        }
        if let Some(side) = self.isolation(pod, direction, packet) {
            return side;
        }
        self.cluster_tier(pod, ClusterTier::Baseline, direction, packet).unwrap_or(Side::Undecided)
    }

    /// None: no rule matched, or one that passes.
    fn cluster_tier(
        &self,
        pod: &PodEntry<'a>,
        tier: ClusterTier,
        direction: Direction,
        packet: &Packet,
    ) -> Option<Side> {
        let peer = direction.peer(packet)?;
        for (name, policy) in self.policies(pod).cluster.iter().filter(|(_, policy)| policy.tier == tier) {
            for (n, rule) in cluster_rules(policy, direction).iter().enumerate() {
                let unseen = rule.action != ClusterAction::Deny;
                let matches = rule.peers.iter().any(|each| self.cluster_peer_has(each, peer))
                    && self.ports_match(&rule.ports, unseen, packet);
                if !matches {
                    continue;
                }
                let by =
                    Decider { policy: deciders::cluster_policy(name), rule: rule_name(rule, direction, n) };
                return match rule.action {
                    ClusterAction::Accept => Some(Side::Allow { by }),
                    ClusterAction::Deny => Some(Side::Deny { by, log: false }),
                    ClusterAction::Pass => None,
                };
            }
        }
        None
    }

    /// None: no NetworkPolicy isolates the pod for this direction.
    fn isolation(&self, pod: &PodEntry<'a>, direction: Direction, packet: &Packet) -> Option<Side> {
        let peer = direction.peer(packet)?;
        let mut isolated: Option<(&ObjectName, bool, bool)> = None;
        for (name, policy) in &self.policies(pod).network {
            let Some(rules) = network_rules(policy, direction) else { continue };
            for (n, rule) in rules.iter().enumerate() {
                let allows = (rule.peers.is_empty()
                    || rule.peers.iter().any(|each| self.network_peer_has(each, &name.namespace, peer)))
                    && self.ports_match(&rule.ports, true, packet);
                if allows {
                    return Some(Side::Allow { by: network_decider(name, format!("{direction}[{n}]")) });
                }
            }
            // One that lets nothing through is what people take the isolation from: it is named before the others.
            let (known, bare, log) = isolated.get_or_insert((*name, rules.is_empty(), false));
            if rules.is_empty() && !*bare {
                (*known, *bare) = (*name, true);
            }
            *log |= policy.log;
        }
        let (name, _, log) = isolated?;
        // "OR if the traffic source is the pod's local node" (NetworkPolicySpec.ingress).
        if direction == Direction::Ingress && pod.pod.node_addresses.contains(&peer) {
            return Some(Side::Allow { by: network_decider(name, deciders::LOCAL_NODE.to_owned()) });
        }
        Some(Side::Deny { by: network_decider(name, deciders::ISOLATION.to_owned()), log })
    }

    /// Asks a pod's other side about the mirror image of a packet that this side denies. None: this side does not deny,
    /// or the packet is no reply of a kind that gets through. Otherwise Allow overrules the denial.
    pub(super) fn reply(
        &self,
        pod: &PodEntry<'a>,
        direction: Direction,
        packet: &Packet,
        side: &Side,
    ) -> Option<Side> {
        let Side::Deny { by, .. } = side else { return None };
        let mirror = answered(packet, self.reply_mode(pod, direction))?;
        let other = self.side(pod, direction.other(), &mirror);
        Some(match other {
            Side::Undecided if packet.is_established() => {
                Side::Allow { by: Decider { policy: by.policy.clone(), rule: deciders::REPLY.to_owned() } }
            }
            other => other,
        })
    }

    /// The strictest mode that policies of this direction say; where none says any, the default.
    pub(super) fn reply_mode(&self, pod: &PodEntry<'a>, direction: Direction) -> Replies {
        let policies = self.policies(pod);
        let network =
            policies.network.iter().filter(|(_, policy)| network_rules(policy, direction).is_some());
        let cluster =
            policies.cluster.iter().filter(|(_, policy)| !cluster_rules(policy, direction).is_empty());
        let modes =
            network.map(|(_, policy)| policy.replies).chain(cluster.map(|(_, policy)| policy.replies));
        modes.flatten().min().unwrap_or(self.intent.defaults.replies)
    }
}
