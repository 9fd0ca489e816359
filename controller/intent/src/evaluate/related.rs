//! ICMP errors about traffic that policies allow. A router on the way may have sent them, so what counts is whom they
//! go to: whoever may have sent the packet that they answer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::decider::Decider;
use super::side::{Direction, Side, cluster_rules, network_rules};
use super::{Evaluator, PodEntry};
use crate::deciders;
use crate::model::{
    ClusterAction, ClusterPeer, ClusterTier, FilterAction, FilterPeer, FilterPolicy, FilterRule, IcmpMatch,
    NetworkPeer, NetworkPort, PortProtocol, RelatedErrors, Replies, TrafficMatch,
};
use crate::packet::{ICMP, ICMP_ERRORS, ICMPV6, ICMPV6_ERRORS, LISTENER_DISCOVERY, Packet, SCTP, TCP, UDP};

/// What a pod's side says about some traffic with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lets {
    Pass,
    Undecided,
    No,
}

impl<'a> Evaluator<'a> {
    /// Whether a packet is an error about something that this rule lets pass, or about an answer to it.
    pub(super) fn rule_allows_error(
        &self,
        rule: &FilterRule,
        policy: &FilterPolicy,
        packet: &Packet,
    ) -> bool {
        if rule.action != FilterAction::Allow
            || policy.related_errors == RelatedErrors::None
            || !packet.is_error()
        {
            return false;
        }
        let Some((_, sender)) = packet.addresses() else { return false };
        let v4 = sender.is_ipv4();
        let sent = |from: &[FilterPeer], to: &[FilterPeer]| {
            let is_one = from.is_empty() || from.iter().any(|peer| self.filter_peer_has(peer, sender));
            is_one && (to.is_empty() || to.iter().any(|peer| self.has_family(peer, v4)))
        };
        let any = |counts: &dyn Fn(&TrafficMatch) -> bool| {
            rule.traffic.is_empty() || rule.traffic.iter().any(counts)
        };
        let answered =
            policy.replies != Replies::None && any(&|traffic| answers(traffic, policy.replies, v4));
        any(&|traffic| provokes(traffic, v4)) && sent(&rule.from, &rule.to)
            || answered && sent(&rule.to, &rule.from)
    }

    fn has_family(&self, peer: &FilterPeer, v4: bool) -> bool {
        let of = |address: IpAddr| address.is_ipv4() == v4;
        match peer {
            FilterPeer::Cidr { cidr, except } => of(cidr.addr()) && !is_covered(cidr, except),
            FilterPeer::Group(name) => self
                .intent
                .groups
                .get(name)
                .is_some_and(|group| group.cidrs.iter().any(|cidr| of(cidr.addr()))),
            FilterPeer::Segment(name) => {
                let segment = self.intent.segments.get(name);
                let hosts = self.segment_hosts.get(name.as_str());
                segment.is_some_and(|segment| segment.subnets.iter().any(|subnet| of(subnet.addr())))
                    || hosts.is_some_and(|hosts| hosts.iter().any(|host| of(*host)))
            }
            FilterPeer::Host(name) => {
                let host = self.intent.hosts.get(name);
                host.is_some_and(|host| host.addresses.iter().any(|address| of(*address)))
            }
            FilterPeer::Pods { namespaces, pods } => self.pods.iter().any(|(address, entry)| {
                of(*address) && self.selects_pod(namespaces.as_ref(), pods, entry.name, entry.pod)
            }),
        }
    }

    /// Asks about an ICMP error that a pod's side denies. None: this side does not deny, or it is no error, or errors
    /// do not get through here. Otherwise Allow overrules the denial.
    pub(super) fn related(
        &self,
        pod: &PodEntry<'a>,
        direction: Direction,
        packet: &Packet,
        side: &Side,
    ) -> Option<Side> {
        let Side::Deny { by, .. } = side else { return None };
        if !packet.is_error() || self.related_mode(pod, direction) == RelatedErrors::None {
            return None;
        }
        let (_, receiver) = packet.addresses()?;
        let may_pass = match direction {
            // The pod has sent what a router somewhere, or the destination, could not deliver.
            Direction::Ingress => self.may_have_sent(pod, receiver.is_ipv4()),
            // The pod itself could not take what came to it.
            Direction::Egress => self.lets(pod, Direction::Ingress, receiver, None) == Lets::Pass,
        };
        Some(if may_pass {
            Side::Allow { by: Decider { policy: by.policy.clone(), rule: deciders::RELATED.to_owned() } }
        } else {
            side.clone()
        })
    }

    /// The strictest mode that policies of this direction say; where none says any, the default.
    fn related_mode(&self, pod: &PodEntry<'a>, direction: Direction) -> RelatedErrors {
        let policies = self.policies(pod);
        let network =
            policies.network.iter().filter(|(_, policy)| network_rules(policy, direction).is_some());
        let cluster =
            policies.cluster.iter().filter(|(_, policy)| !cluster_rules(policy, direction).is_empty());
        let modes = network
            .map(|(_, policy)| policy.related_errors)
            .chain(cluster.map(|(_, policy)| policy.related_errors));
        modes.flatten().min().unwrap_or(self.intent.defaults.related_errors)
    }

    /// Whether a pod may send anything over this IP version: by its egress side, or as a reply to what its ingress
    /// side lets in.
    fn may_have_sent(&self, pod: &PodEntry<'a>, v4: bool) -> bool {
        *pod.may_have_sent[usize::from(v4)].get_or_init(|| {
            let mut anybody = self.representatives().iter().filter(|address| address.is_ipv4() == v4);
            anybody.clone().any(|peer| self.lets(pod, Direction::Egress, *peer, None) != Lets::No)
                || match self.reply_mode(pod, Direction::Egress) {
                    Replies::None => false,
                    mode => {
                        let protocol = (mode == Replies::Established).then_some(PortProtocol::Tcp);
                        anybody.any(|peer| self.lets(pod, Direction::Ingress, *peer, protocol) == Lets::Pass)
                    }
                }
        })
    }

    /// Whether a pod's side lets any packet pass to or from an address; with a protocol, any of this protocol. Rules
    /// that deny or pass some ports only leave the others.
    fn lets(
        &self,
        pod: &PodEntry<'a>,
        direction: Direction,
        peer: IpAddr,
        protocol: Option<PortProtocol>,
    ) -> Lets {
        if let Some(said) = self.tier_lets(pod, ClusterTier::Admin, direction, peer, protocol) {
            return said;
        }
        let network = self.policies(pod).network.iter();
        let mut isolating =
            network.filter_map(|(name, policy)| Some((name, network_rules(policy, direction)?))).peekable();
        if isolating.peek().is_some() {
            let allows = isolating.any(|(name, rules)| {
                rules.iter().any(|rule| {
                    (rule.peers.is_empty()
                        || rule.peers.iter().any(|each| self.network_peer_has(each, &name.namespace, peer)))
                        && self.ports_exist(&rule.ports, pod, direction, peer, protocol)
                })
            });
            return if allows { Lets::Pass } else { Lets::No };
        }
        self.tier_lets(pod, ClusterTier::Baseline, direction, peer, protocol).unwrap_or(Lets::Undecided)
    }

    /// None: the next stage is asked about some of it.
    fn tier_lets(
        &self,
        pod: &PodEntry<'a>,
        tier: ClusterTier,
        direction: Direction,
        peer: IpAddr,
        protocol: Option<PortProtocol>,
    ) -> Option<Lets> {
        let mut passed = false;
        for (_, policy) in self.policies(pod).cluster.iter().filter(|(_, policy)| policy.tier == tier) {
            for rule in cluster_rules(policy, direction) {
                if !rule.peers.iter().any(|each| self.cluster_peer_has(each, peer)) {
                    continue;
                }
                let everything = rule.ports.is_empty();
                let something = self.ports_exist(&rule.ports, pod, direction, peer, protocol);
                match rule.action {
                    ClusterAction::Accept if something => return Some(Lets::Pass),
                    ClusterAction::Deny if everything => return (!passed).then_some(Lets::No),
                    ClusterAction::Pass if everything => return None,
                    ClusterAction::Pass => passed |= something,
                    ClusterAction::Accept | ClusterAction::Deny => {}
                }
            }
        }
        None
    }

    /// Whether packets exist that go to these ports.
    fn ports_exist(
        &self,
        ports: &[NetworkPort],
        pod: &PodEntry<'a>,
        direction: Direction,
        peer: IpAddr,
        wanted: Option<PortProtocol>,
    ) -> bool {
        let destination = match direction {
            Direction::Egress => self.pods.get(&peer).map(|entry| entry.pod),
            Direction::Ingress => Some(pod.pod),
        };
        let named = |protocol: Option<PortProtocol>, name: &str| {
            let names = destination.into_iter().flat_map(|pod| pod.named_ports.keys());
            names.into_iter().any(|(own, by)| {
                own == name
                    && protocol.is_none_or(|protocol| protocol == *by)
                    && wanted.is_none_or(|wanted| wanted == *by)
            })
        };
        ports.is_empty()
            || ports.iter().any(|port| match port {
                NetworkPort::All(by) | NetworkPort::Range(by, ..) => {
                    wanted.is_none_or(|wanted| wanted == *by)
                }
                NetworkPort::Named(by, name) => named(Some(*by), name),
                NetworkPort::NamedAnyProtocol(name) => named(None, name),
            })
    }

    /// An address of each set that the pods' policies can tell apart.
    fn representatives(&self) -> &[IpAddr] {
        self.representatives.get_or_init(|| {
            let mut found = BTreeSet::from([Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
            let mut add = |first: IpAddr, last: IpAddr| {
                found.insert(first);
                found.extend(next(last));
            };
            for address in self.pods.keys().chain(self.nodes.keys()) {
                add(*address, *address);
            }
            for policy in self.intent.network_policies.values() {
                for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
                    for peer in &rule.peers {
                        if let NetworkPeer::IpBlock { cidr, except } = peer {
                            for cidr in [cidr].into_iter().chain(except) {
                                add(cidr.network(), cidr.broadcast());
                            }
                        }
                    }
                }
            }
            for policy in self.intent.cluster_policies.values() {
                for peer in policy.ingress.iter().chain(&policy.egress).flat_map(|rule| &rule.peers) {
                    if let ClusterPeer::Networks(cidrs) = peer {
                        for cidr in cidrs {
                            add(cidr.network(), cidr.broadcast());
                        }
                    }
                }
            }
            found.into_iter().collect()
        })
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// Whether exceptions leave nothing of a CIDR.
fn is_covered(cidr: &IpNet, except: &[IpNet]) -> bool {
    if except.iter().any(|hole| hole.contains(cidr)) {
        return true;
    }
    let inside: Vec<IpNet> = except.iter().filter(|hole| cidr.contains(*hole)).copied().collect();
    let halves = cidr.subnets(cidr.prefix_len() + 1);
    !inside.is_empty() && halves.is_ok_and(|mut halves| halves.all(|half| is_covered(&half, &inside)))
}

/// Whether traffic over this IP version may be answered by an ICMP error. Errors themselves never are, nor is discovery
/// (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
pub(crate) fn provokes(traffic: &TrafficMatch, v4: bool) -> bool {
    match traffic {
        TrafficMatch::Icmp(icmp) => v4 && icmp.icmp_type.is_none_or(|of| !ICMP_ERRORS.contains(&of)),
        TrafficMatch::IcmpV6(icmp) => {
            let silent = |of: u8| ICMPV6_ERRORS.contains(&of) || LISTENER_DISCOVERY.contains(&of);
            !v4 && icmp.icmp_type.is_none_or(|of| !silent(of))
        }
        TrafficMatch::Protocol(ICMP) => v4,
        TrafficMatch::Protocol(ICMPV6) => !v4,
        TrafficMatch::Ports { .. } | TrafficMatch::Protocol(_) => true,
        TrafficMatch::Arp
        | TrafficMatch::NeighborDiscovery
        | TrafficMatch::NonIp
        | TrafficMatch::EtherType(_) => false,
    }
}

/// Whether replies to traffic get through in this mode, which is not `none`.
pub(crate) fn answers(traffic: &TrafficMatch, replies: Replies, v4: bool) -> bool {
    let reverse = replies == Replies::Reverse;
    let request = |icmp: &IcmpMatch, request: u8| reverse && icmp.icmp_type.is_none_or(|of| of == request);
    match traffic {
        TrafficMatch::Ports { tcp_flags: Some(_), .. } => false,
        TrafficMatch::Ports { protocol, .. } => reverse || *protocol == PortProtocol::Tcp,
        TrafficMatch::Icmp(icmp) => v4 && request(icmp, 8),
        TrafficMatch::IcmpV6(icmp) => !v4 && request(icmp, 128),
        TrafficMatch::Protocol(TCP) => true,
        TrafficMatch::Protocol(UDP | SCTP) => reverse,
        TrafficMatch::Protocol(ICMP) => v4 && reverse,
        TrafficMatch::Protocol(ICMPV6) => !v4 && reverse,
        _ => false,
    }
}
