//! Filter policies.

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::kubernetes::{namespace_selector, pod_selector, ranges, related_errors, replies};
use super::network::{cidrs_with_exceptions, names_of_networks, segment_names};
use super::universe::{ETHER_TYPES, OTHER_PROTOCOLS, now};
use crate::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, IcmpMatch, Intent, PortProtocol,
    RateLimit, TcpFlags, TrafficMatch,
};
use crate::packet::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// Policies that may name what is not there; [`add_to`] mends that.
pub(super) fn policies() -> impl Strategy<Value = Vec<FilterPolicy>> {
    prop_oneof![1 => Just(Vec::new()), 2 => vec(policy(), 1..=4)]
}

fn policy() -> impl Strategy<Value = FilterPolicy> {
    let tier = prop_oneof![3 => Just(FilterTier::Admin), 2 => Just(FilterTier::Baseline)];
    let priority = select(&[500, 0, 7, 1000][..]);
    let switches = prop_oneof![
        4 => Just(Vec::new()),
        1 => subsequence(vec!["s1".to_owned(), "s2".to_owned()], 1..=2)
    ];
    let segments = prop_oneof![3 => Just(Vec::new()), 1 => segment_names()];
    let default = option::weighted(0.3, action());
    let rules = vec(rule(), 0..=4);
    let answers = (replies(), related_errors());
    (tier, priority, switches, segments, default, answers, rules).prop_map(
        |(tier, priority, switches, segments, default, (replies, related_errors), mut rules)| {
            for (n, rule) in rules.iter_mut().enumerate() {
                rule.name = format!("rule-{}", n + 1);
            }
            FilterPolicy { tier, priority, switches, segments, default, replies, related_errors, rules }
        },
    )
}

fn action() -> impl Strategy<Value = FilterAction> {
    prop_oneof![
        3 => Just(FilterAction::Allow),
        3 => Just(FilterAction::Deny),
        2 => Just(FilterAction::Pass)
    ]
}

fn rule() -> impl Strategy<Value = FilterRule> {
    let peers = || prop_oneof![1 => Just(Vec::new()), 1 => vec(peer(), 1..=2)];
    let traffic = prop_oneof![1 => Just(Vec::new()), 3 => vec(traffic(), 1..=2)];
    let extras = (any::<bool>(), option::weighted(0.2, rate_limit()), option::weighted(0.2, expiry()));
    (action(), peers(), peers(), traffic, extras).prop_map(
        |(action, from, to, mut traffic, (log, rate_limit, expires))| {
            // As the reader has them: what `ports` says before what `icmp` says.
            traffic.sort_by_key(|traffic| matches!(traffic, TrafficMatch::Icmp(_) | TrafficMatch::IcmpV6(_)));
            FilterRule {
                name: String::new(),
                action,
                from,
                to,
                traffic,
                log: log && action == FilterAction::Deny,
                rate_limit: rate_limit.filter(|_| action == FilterAction::Allow),
                expires,
            }
        },
    )
}

/// So much that no test is ever limited: what is exceeded depends on the clock.
fn rate_limit() -> impl Strategy<Value = RateLimit> {
    select(&[1_000_000, 2_000_000][..])
        .prop_map(|packets_per_second| RateLimit { packets_per_second, burst: packets_per_second / 10 })
}

fn expiry() -> impl Strategy<Value = Timestamp> {
    let second = SignedDuration::from_secs(1);
    prop_oneof![Just(now() + second), Just(now()), Just(now() - second)]
}

fn peer() -> impl Strategy<Value = FilterPeer> {
    prop_oneof![
        3 => cidrs_with_exceptions().prop_map(|(cidr, except)| FilterPeer::Cidr { cidr, except }),
        2 => names_of_networks(),
        2 => (option::of(namespace_selector()), pod_selector())
            .prop_map(|(namespaces, pods)| FilterPeer::Pods { namespaces, pods }),
    ]
}

fn traffic() -> impl Strategy<Value = TrafficMatch> {
    let ports = |protocol| {
        (option::weighted(0.3, ranges()), option::weighted(0.7, ranges())).prop_map(
            move |(source, destination)| TrafficMatch::Ports {
                protocol,
                source,
                destination,
                tcp_flags: None,
            },
        )
    };
    let flags = (option::of(ranges()), flags()).prop_map(|(destination, tcp_flags)| TrafficMatch::Ports {
        protocol: PortProtocol::Tcp,
        source: None,
        destination,
        tcp_flags: Some(tcp_flags),
    });
    let numbers = OTHER_PROTOCOLS.into_iter().chain([ICMP, TCP, UDP, ICMPV6, SCTP]).collect::<Vec<_>>();
    prop_oneof![
        4 => ports(PortProtocol::Tcp),
        3 => ports(PortProtocol::Udp),
        2 => ports(PortProtocol::Sctp),
        2 => flags,
        2 => icmp(select(&[0_u8, 3, 8, 11][..])).prop_map(TrafficMatch::Icmp),
        2 => icmp(select(&[1_u8, 2, 128, 129, 131, 143][..])).prop_map(TrafficMatch::IcmpV6),
        2 => select(numbers).prop_map(TrafficMatch::Protocol),
        1 => Just(TrafficMatch::Arp),
        1 => Just(TrafficMatch::NeighborDiscovery),
        1 => Just(TrafficMatch::NonIp),
        1 => select(&ETHER_TYPES[..]).prop_map(TrafficMatch::EtherType),
    ]
}

fn icmp(types: impl Strategy<Value = u8>) -> impl Strategy<Value = IcmpMatch> {
    option::weighted(0.8, (types, option::weighted(0.3, 0..2_u8))).prop_map(|icmp| match icmp {
        Some((icmp_type, code)) => IcmpMatch { icmp_type: Some(icmp_type), code },
        None => IcmpMatch::default(),
    })
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    let usual = select(
        &[
            TcpFlags { set: 0x02, clear: 0x10 },
            TcpFlags { set: 0x12, clear: 0 },
            TcpFlags { set: 0, clear: 0x3f },
            TcpFlags { set: 0x04, clear: 0 },
            TcpFlags { set: 0x29, clear: 0 },
        ][..],
    );
    let any = (any::<u8>(), any::<u8>()).prop_map(|(set, clear)| TcpFlags { set, clear: clear & !set });
    let some = any.prop_map(|flags| {
        if flags == (TcpFlags { set: 0, clear: 0 }) { TcpFlags { set: 1, ..flags } } else { flags }
    });
    prop_oneof![3 => usual, 1 => some]
}

// --- Mending: what the reader refuses is left out

/// Adds policies, without what they say about things that this intent has not, and without what could never match.
pub(super) fn add_to(intent: &mut Intent, policies: Vec<FilterPolicy>) {
    for (n, mut policy) in policies.into_iter().enumerate() {
        policy.switches.retain(|name| intent.switches.contains_key(name));
        policy.segments.retain(|name| intent.segments.contains_key(name));
        for rule in &mut policy.rules {
            rule.from.retain(|peer| is_there(intent, peer));
            rule.to.retain(|peer| is_there(intent, peer));
            mend_families(intent, rule);
        }
        intent.filters.insert(format!("filter-{n}"), policy);
    }
}

fn is_there(intent: &Intent, peer: &FilterPeer) -> bool {
    match peer {
        FilterPeer::Cidr { .. } | FilterPeer::Pods { .. } => true,
        FilterPeer::Group(name) => intent.groups.contains_key(name),
        FilterPeer::Segment(name) => intent.segments.contains_key(name),
        FilterPeer::Host(name) => intent.hosts.contains_key(name),
    }
}

/// Whether something is about IPv4 and about IPv6.
#[derive(Clone, Copy)]
struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    const BOTH: Self = Self { v4: true, v6: true };

    fn of(addresses: impl Iterator<Item = bool>) -> Self {
        let (mut v4, mut v6) = (false, false);
        for is_v4 in addresses {
            v4 |= is_v4;
            v6 |= !is_v4;
        }
        // Who has no addresses at all is in nobody's way.
        if v4 || v6 { Self { v4, v6 } } else { Self::BOTH }
    }

    fn meets(self, other: Self) -> bool {
        (self.v4 && other.v4) || (self.v6 && other.v6)
    }

    fn of_peer(intent: &Intent, peer: &FilterPeer) -> Self {
        match peer {
            FilterPeer::Cidr { cidr, .. } => Self::of([cidr.addr().is_ipv4()].into_iter()),
            FilterPeer::Pods { .. } => Self::BOTH,
            FilterPeer::Group(name) => {
                Self::of(intent.groups[name].cidrs.iter().map(|cidr| cidr.addr().is_ipv4()))
            }
            FilterPeer::Host(name) => {
                Self::of(intent.hosts[name].addresses.iter().map(std::net::IpAddr::is_ipv4))
            }
            FilterPeer::Segment(name) => {
                let subnets = intent.segments[name].subnets.iter().map(|subnet| subnet.addr().is_ipv4());
                let hosts = intent.hosts.values().filter(|host| host.segment.as_ref() == Some(name));
                Self::of(subnets.chain(hosts.flat_map(|host| &host.addresses).map(std::net::IpAddr::is_ipv4)))
            }
        }
    }

    fn of_peers(intent: &Intent, peers: &[FilterPeer]) -> Self {
        let union = |a: Self, b: Self| Self { v4: a.v4 || b.v4, v6: a.v6 || b.v6 };
        peers.iter().map(|peer| Self::of_peer(intent, peer)).reduce(union).unwrap_or(Self::BOTH)
    }

    fn of_traffic(traffic: &TrafficMatch) -> Self {
        match traffic {
            TrafficMatch::Icmp(_) | TrafficMatch::Arp => Self { v4: true, v6: false },
            TrafficMatch::IcmpV6(_) | TrafficMatch::NeighborDiscovery => Self { v4: false, v6: true },
            TrafficMatch::Ports { .. }
            | TrafficMatch::Protocol(_)
            | TrafficMatch::NonIp
            | TrafficMatch::EtherType(_) => Self::BOTH,
        }
    }
}

fn mend_families(intent: &Intent, rule: &mut FilterRule) {
    if !Families::of_peers(intent, &rule.from).meets(Families::of_peers(intent, &rule.to)) {
        rule.to.clear();
    }
    if !rule.from.is_empty() || !rule.to.is_empty() {
        rule.traffic.retain(|traffic| !matches!(traffic, TrafficMatch::NonIp | TrafficMatch::EtherType(_)));
    }
    let (from, to) = (Families::of_peers(intent, &rule.from), Families::of_peers(intent, &rule.to));
    let addresses = Families { v4: from.v4 && to.v4, v6: from.v6 && to.v6 };
    rule.traffic.retain(|traffic| Families::of_traffic(traffic).meets(addresses));
    let traffic = rule.traffic.clone();
    let wanted = |peer: &FilterPeer| {
        let peer = Families::of_peer(intent, peer);
        traffic.is_empty() || traffic.iter().any(|traffic| Families::of_traffic(traffic).meets(peer))
    };
    rule.from.retain(&wanted);
    rule.to.retain(&wanted);
}
