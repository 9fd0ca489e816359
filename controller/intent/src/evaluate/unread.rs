//! Frames that the switch cannot read. Some host may find IP in them, or ARP, and nobody knows between whom: they pass
//! where everything passes that may be in them, unless a rule names them.

use std::collections::{BTreeMap, BTreeSet};

use super::decider::Decider;
use super::filter::{Decision, Scene, has_expired};
use super::side::{Direction, cluster_rules, network_decider, network_rules, rule_name};
use super::verdict::Verdict;
use super::{Evaluator, PodEntry};
use crate::deciders;
use crate::model::{
    ClusterAction, ClusterTier, FilterAction, FilterRule, FilterTier, ObjectName, TrafficMatch,
};
use crate::packet::{LISTENER_DISCOVERY, Packet, Traffic};

/// What may be in such a frame.
const INSIDE: [Traffic; 3] = [Traffic::Ip, Traffic::Arp, Traffic::NeighborDiscovery];

/// How much of a kind of traffic a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    None,
    Some,
    All,
}

impl Evaluator<'_> {
    /// Judges a frame that the switch cannot read.
    pub(super) fn unread(&self, scene: Scene<'_>, packet: &Packet) -> Verdict {
        // Kinds of which a packet in the frame has not been decided about.
        let mut open = BTreeSet::from(INSIDE);
        let mut verdict = Verdict::allow(None);
        for tier in [FilterTier::Admin, FilterTier::Baseline] {
            if tier == FilterTier::Baseline
                && open.contains(&Traffic::Ip)
                && let Some((by, log)) = self.denial_by_pods()
            {
                return Verdict { log: *log, ..Verdict::deny(by) };
            }
            // Of these, some have left the tier by a rule that passes.
            let mut left = BTreeSet::new();
            for decision in self.steps_of_tier(tier, scene, packet) {
                let (shares, decision) = match decision {
                    Meets::Frame(decision) => match Verdict::of_filter(&decision) {
                        Some(verdict) => return verdict,
                        None => break,
                    },
                    Meets::Inside(shares, decision) => (shares, decision),
                };
                for (kind, share) in
                    shares.into_iter().filter(|(kind, _)| open.contains(kind)).collect::<Vec<_>>()
                {
                    match decision.action {
                        FilterAction::Deny => {
                            if let Some(denied) = Verdict::of_filter(&decision) {
                                return denied;
                            }
                        }
                        FilterAction::Allow if share == Share::All => {
                            open.remove(&kind);
                            if kind == Traffic::Ip {
                                verdict = Verdict::of_filter(&decision).unwrap_or(verdict);
                            }
                        }
                        FilterAction::Allow => {}
                        FilterAction::Pass => {
                            left.insert(kind);
                            if share == Share::All {
                                open.remove(&kind);
                            }
                        }
                    }
                }
            }
            open.append(&mut left);
        }
        // Where IP is still open, nobody has let it in, and nobody can have denied any of it.
        if open.contains(&Traffic::Ip) { Verdict::allow(None) } else { verdict }
    }

    /// The rules of a tier that are about the frame or something that may be in it, in their order.
    fn steps_of_tier(&self, tier: FilterTier, scene: Scene<'_>, packet: &Packet) -> Vec<Meets> {
        let mut steps = Vec::new();
        for (name, policy) in self.filters_here(tier, scene) {
            for rule in policy.rules.iter().filter(|rule| !has_expired(rule, scene)) {
                if names(rule, packet) {
                    steps.push(Meets::Frame(Decision::of_rule(name, rule)));
                    continue;
                }
                let shares = INSIDE.map(|kind| (kind, share(rule, kind)));
                let shares: BTreeMap<_, _> =
                    shares.into_iter().filter(|(_, share)| *share != Share::None).collect();
                if !shares.is_empty() {
                    steps.push(Meets::Inside(shares, Decision::of_rule(name, rule)));
                }
            }
            if let Some(action) = policy.default {
                let shares = BTreeMap::from([(Traffic::Ip, Share::All)]);
                steps.push(Meets::Inside(shares, Decision::of_default(name, action)));
            }
        }
        steps
    }

    /// The first policy that may deny a packet to or from some pod, and whether the drop is logged. None: the pods'
    /// sides let everything pass.
    fn denial_by_pods(&self) -> Option<&(Decider, bool)> {
        self.denial_by_pods.get_or_init(|| self.find_denial_by_pods()).as_ref()
    }

    fn find_denial_by_pods(&self) -> Option<(Decider, bool)> {
        let pods: BTreeMap<_, _> = self.pods.values().map(|pod| (pod.name, pod)).collect();
        let isolated = |name: &ObjectName, direction: Direction| {
            let policies = &self.policies(pods[name]).network;
            policies.iter().any(|(_, policy)| network_rules(policy, direction).is_some())
        };
        let of_cluster = |tier: ClusterTier| {
            let mut policies: Vec<_> =
                self.intent.cluster_policies.iter().filter(|(_, policy)| policy.tier == tier).collect();
            policies.sort_by_key(|(name, policy)| (policy.priority, *name));
            policies.into_iter().find_map(|(name, policy)| {
                let subject = &policy.subject;
                let selected = |pod: &&&PodEntry<'_>| {
                    self.selects_pod(Some(&subject.namespaces), &subject.pods, pod.name, pod.pod)
                };
                let subjects: Vec<_> = pods.values().filter(selected).collect();
                [Direction::Egress, Direction::Ingress].into_iter().find_map(|direction| {
                    // The Baseline tier is not asked about pods that are isolated.
                    let reached = subjects
                        .iter()
                        .any(|pod| tier == ClusterTier::Admin || !isolated(pod.name, direction));
                    let mut rules = cluster_rules(policy, direction).iter().enumerate();
                    let (n, rule) = rules.find(|(_, rule)| reached && rule.action == ClusterAction::Deny)?;
                    let policy = deciders::cluster_policy(name);
                    Some((Decider { policy, rule: rule_name(rule, direction, n) }, false))
                })
            })
        };
        let by_isolation = || {
            let sides = pods
                .values()
                .flat_map(|pod| [Direction::Egress, Direction::Ingress].map(|direction| (pod, direction)));
            sides.into_iter().find_map(|(pod, direction)| {
                let isolating = self.policies(pod).network.iter();
                let isolating: Vec<_> = isolating
                    .filter_map(|(name, policy)| Some((*name, *policy, network_rules(policy, direction)?)))
                    .collect();
                // Who is named for an isolation is the first without rules, or else the first.
                let (named, ..) = isolating.iter().min_by_key(|(.., rules)| !rules.is_empty())?;
                let mut rules = isolating.iter().flat_map(|(.., rules)| *rules);
                let everything = rules.any(|rule| rule.peers.is_empty() && rule.ports.is_empty());
                let log = isolating.iter().any(|(_, policy, _)| policy.log);
                (!everything).then(|| (network_decider(named, deciders::ISOLATION.to_owned()), log))
            })
        };
        of_cluster(ClusterTier::Admin).or_else(by_isolation).or_else(|| of_cluster(ClusterTier::Baseline))
    }
}

/// What a rule meets.
enum Meets {
    /// The frame itself: the rule names its EtherType, or all.
    Frame(Decision),
    /// Some packets that may be in it.
    Inside(BTreeMap<Traffic, Share>, Decision),
}

/// Whether a rule names the frame itself.
fn names(rule: &FilterRule, packet: &Packet) -> bool {
    rule.from.is_empty()
        && rule.to.is_empty()
        && rule.traffic.iter().any(|traffic| match traffic {
            TrafficMatch::NonIp => true,
            TrafficMatch::EtherType(number) => packet.ether_type() == Some(*number),
            _ => false,
        })
}

/// How much of a kind of traffic a rule is about, whoever its peers are just now.
fn share(rule: &FilterRule, kind: Traffic) -> Share {
    let of = |traffic: &TrafficMatch| match traffic {
        TrafficMatch::Arp if kind == Traffic::Arp => Share::All,
        TrafficMatch::NeighborDiscovery if kind == Traffic::NeighborDiscovery => Share::All,
        TrafficMatch::NonIp
        | TrafficMatch::EtherType(_)
        | TrafficMatch::Arp
        | TrafficMatch::NeighborDiscovery => Share::None,
        TrafficMatch::IcmpV6(icmp) if kind == Traffic::NeighborDiscovery => {
            let listener = icmp.icmp_type.is_some_and(|icmp_type| LISTENER_DISCOVERY.contains(&icmp_type));
            if listener { Share::Some } else { Share::None }
        }
        _ if kind == Traffic::Ip => Share::Some,
        _ => Share::None,
    };
    let share = if rule.traffic.is_empty() {
        if kind == Traffic::Ip { Share::All } else { Share::None }
    } else {
        rule.traffic.iter().map(of).max().unwrap_or(Share::None)
    };
    if rule.from.is_empty() && rule.to.is_empty() { share } else { share.min(Share::Some) }
}
