//! Filter policies.

use jiff::Timestamp;

use super::Evaluator;
use super::decider::Decider;
use crate::deciders;
use crate::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, IcmpMatch, RateLimit, Replies,
    TrafficMatch,
};
use crate::packet::{self, Packet, Traffic};
use std::net::IpAddr;

/// Where and when a packet is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'s> {
    pub(super) switch: &'s str,
    pub(super) segment: Option<&'s str>,
    pub(super) at: Timestamp,
}

/// What a tier of filter policies says about a packet.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) action: FilterAction,
    pub(super) by: Decider,
    /// How it matched.
    pub(super) matched: Matched,
    pub(super) log: bool,
    pub(super) rate_limit: Option<RateLimit>,
}

/// How a packet matches a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matched {
    /// By itself.
    Directly,
    /// As the mirror image of what the rule allows.
    AsReply,
    /// As an ICMP error about what the rule allows.
    AsError,
}

impl Decision {
    pub(super) fn of_rule(policy: &str, rule: &FilterRule) -> Self {
        Self { log: rule.log, rate_limit: rule.rate_limit, ..Self::new(policy, &rule.name, rule.action) }
    }

    pub(super) fn of_default(policy: &str, action: FilterAction) -> Self {
        Self::new(policy, deciders::DEFAULT, action)
    }

    fn new(policy: &str, rule: &str, action: FilterAction) -> Self {
        let by = Decider { policy: deciders::filter_policy(policy), rule: rule.to_owned() };
        Self { action, by, matched: Matched::Directly, log: false, rate_limit: None }
    }
}

impl Evaluator<'_> {
    /// Asks the policies of a tier in their order. None: nothing matched.
    pub(super) fn filter(&self, tier: FilterTier, scene: Scene<'_>, packet: &Packet) -> Option<Decision> {
        for (name, policy) in self.filters_here(tier, scene) {
            for rule in policy.rules.iter().filter(|rule| !has_expired(rule, scene)) {
                let matched = if self.rule_matches(rule, packet) {
                    Matched::Directly
                } else if self.rule_allows_mirror(rule, policy.replies, packet) {
                    Matched::AsReply
                } else if self.rule_allows_error(rule, policy, packet) {
                    Matched::AsError
                } else {
                    continue;
                };
                return Some(Decision { matched, ..Decision::of_rule(name, rule) });
            }
            if let Some(action) = policy.default.filter(|_| packet.traffic() == Traffic::Ip) {
                return Some(Decision::of_default(name, action));
            }
        }
        None
    }

    /// The policies of a tier that look at packets here, in their order.
    pub(super) fn filters_here(
        &self,
        tier: FilterTier,
        scene: Scene<'_>,
    ) -> impl Iterator<Item = (&str, &FilterPolicy)> {
        let policies = self.filters.get(&tier).into_iter().flatten().copied();
        policies.filter(move |(_, policy)| {
            let here = policy.switches.is_empty() || policy.switches.iter().any(|s| s == scene.switch);
            let looked_at = policy.segments.is_empty()
                || policy.segments.iter().any(|s| Some(s.as_str()) == scene.segment);
            here && looked_at
        })
    }

    fn rule_matches(&self, rule: &FilterRule, packet: &Packet) -> bool {
        let traffic = if rule.traffic.is_empty() {
            packet.traffic() == Traffic::Ip
        } else {
            rule.traffic.iter().any(|traffic| traffic_matches(traffic, rule.action, packet))
        };
        traffic && self.addresses_match(rule, packet)
    }

    /// Whether the packet answers something that this rule lets through.
    fn rule_allows_mirror(&self, rule: &FilterRule, replies: Replies, packet: &Packet) -> bool {
        if rule.action != FilterAction::Allow {
            return false;
        }
        let Some(mirror) = answered(packet, replies) else { return false };
        let traffic = rule.traffic.is_empty()
            || rule.traffic.iter().any(|traffic| {
                // A rule about certain segments of a connection says nothing about the other direction's.
                !matches!(traffic, TrafficMatch::Ports { tcp_flags: Some(_), .. })
                    && traffic_matches(traffic, rule.action, &mirror)
            });
        traffic && self.addresses_match(rule, &mirror)
    }

    fn addresses_match(&self, rule: &FilterRule, packet: &Packet) -> bool {
        let matches = |peers: &[FilterPeer], address: Option<IpAddr>| {
            peers.is_empty()
                || address.is_some_and(|address| peers.iter().any(|peer| self.filter_peer_has(peer, address)))
        };
        let (src, dst) = packet.addresses().unzip();
        matches(&rule.from, src) && matches(&rule.to, dst)
    }
}

/// Whether a rule is over.
pub(super) fn has_expired(rule: &FilterRule, scene: Scene<'_>) -> bool {
    rule.expires.is_some_and(|expires| scene.at >= expires)
}

/// The packet that this one answers, if replies of its kind get through in this mode.
pub(super) fn answered(packet: &Packet, replies: Replies) -> Option<Packet> {
    let may_answer = match replies {
        Replies::None => false,
        Replies::Established => packet.is_established(),
        Replies::Reverse => packet.is_established() || packet.protocol() != Some(packet::TCP),
    };
    packet.mirror().filter(|_| may_answer)
}

/// Whether a packet is traffic of this kind, for a rule with this action: of fragments after the first, which show no
/// ports, flags and types, denying rules with such conditions match none and the others match all.
fn traffic_matches(traffic: &TrafficMatch, action: FilterAction, packet: &Packet) -> bool {
    let ip = packet.traffic() == Traffic::Ip;
    let unseen = action != FilterAction::Deny;
    match traffic {
        TrafficMatch::Ports { protocol, source, destination, tcp_flags } => {
            let within = |range: &Option<(u16, u16)>, port: Option<u16>| {
                range.is_none_or(|(low, high)| port.map_or(unseen, |port| (low..=high).contains(&port)))
            };
            let (sport, dport) = packet.ports().unzip();
            let flags = tcp_flags.is_none_or(|wanted| {
                packet
                    .tcp_flags()
                    .map_or(unseen, |flags| flags & wanted.set == wanted.set && flags & wanted.clear == 0)
            });
            packet.protocol() == Some(protocol.number())
                && within(source, sport)
                && within(destination, dport)
                && flags
        }
        TrafficMatch::Icmp(wanted) => {
            packet.protocol() == Some(packet::ICMP) && icmp_matches(*wanted, unseen, packet)
        }
        TrafficMatch::IcmpV6(wanted) => {
            // Listener discovery is meant by who gives its type.
            let listener =
                wanted.icmp_type.is_some_and(|wanted| packet::LISTENER_DISCOVERY.contains(&wanted));
            let meant = ip || listener && packet.traffic() == Traffic::NeighborDiscovery;
            meant && packet.protocol() == Some(packet::ICMPV6) && icmp_matches(*wanted, unseen, packet)
        }
        TrafficMatch::Protocol(number) => ip && packet.protocol() == Some(*number),
        TrafficMatch::Arp => packet.traffic() == Traffic::Arp,
        TrafficMatch::NeighborDiscovery => packet.traffic() == Traffic::NeighborDiscovery,
        // The others are judged elsewhere.
        TrafficMatch::NonIp => packet.traffic() == Traffic::NonIp,
        TrafficMatch::EtherType(number) => {
            packet.traffic() == Traffic::NonIp && packet.ether_type() == Some(*number)
        }
    }
}

fn icmp_matches(wanted: IcmpMatch, unseen: bool, packet: &Packet) -> bool {
    let (icmp_type, code) = packet.icmp_header().map(|(_, icmp_type, code)| (icmp_type, code)).unzip();
    let is = |wanted: Option<u8>, seen: Option<u8>| {
        wanted.is_none_or(|wanted| seen.map_or(unseen, |seen| seen == wanted))
    };
    is(wanted.icmp_type, icmp_type) && is(wanted.code, code)
}
