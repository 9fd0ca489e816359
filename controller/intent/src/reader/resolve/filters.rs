//! Filter policies: what they name exists, and every part of a rule can match some packet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Resolver, network};
use crate::deciders;
use crate::model::{FilterPeer, FilterRule, Intent, TrafficMatch};
use crate::reader::declared::{Declared, RulePlaces};
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::source::Place;

/// Address families, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Families(u8);

impl Families {
    const NONE: Self = Self(0);
    const V4: Self = Self(1);
    const V6: Self = Self(2);
    const BOTH: Self = Self(3);

    fn of(v4: bool) -> Self {
        if v4 { Self::V4 } else { Self::V6 }
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
            _ => "any",
        }
    }
}

/// The families of everything that a peer can name.
struct Known<'i> {
    groups: BTreeMap<&'i str, Families>,
    segments: BTreeMap<&'i str, Families>,
    hosts: BTreeMap<&'i str, Families>,
}

impl<'i> Known<'i> {
    fn new(declared: &'i Declared, intent: &'i Intent) -> Self {
        // A group of a cycle has no CIDRs here, and is still declared.
        let group =
            |name: &String| intent.groups.get(name).map_or(Families::BOTH, |group| of_cidrs(&group.cidrs));
        let groups = declared.groups.keys().map(|name| (name.as_str(), group(name))).collect();
        let mut segments: BTreeMap<&str, Families> = intent
            .segments
            .iter()
            .map(|(name, segment)| (name.as_str(), of_cidrs(&segment.subnets)))
            .collect();
        let mut hosts = BTreeMap::new();
        for (name, host) in &intent.hosts {
            let families = of_addresses(host.addresses.iter().map(IpAddr::is_ipv4));
            hosts.insert(name.as_str(), families);
            let segment = host.segment.as_ref().and_then(|segment| segments.get_mut(segment.as_str()));
            if let Some(segment) = segment {
                *segment = segment.or(families);
            }
        }
        Self { groups, segments, hosts }
    }
}

pub(super) fn check(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    let known = Known::new(declared, intent);
    for (name, entry) in &declared.filters {
        let object = deciders::filter_policy(name);
        let policy = &entry.value.policy;
        for (switch, at) in policy.switches.iter().zip(&entry.value.switches) {
            // What is not there has been reported; nothing else hangs on it.
            let _reported = network::check_switch(resolver, &object, switch, *at);
        }
        for (segment, at) in policy.segments.iter().zip(&entry.value.segments) {
            if !known.segments.contains_key(segment.as_str()) {
                resolver.unknown(&object, "Segment", segment, *at, known.segments.keys().copied());
            }
        }
        for (rule, places) in policy.rules.iter().zip(&entry.value.rules) {
            let from = side(resolver, &known, &object, &rule.from, &places.from);
            let to = side(resolver, &known, &object, &rule.to, &places.to);
            if let (Some(from), Some(to), false) = (from, to, places.broken) {
                families(resolver, &object, rule, places, &from, &to);
            }
        }
    }
}

/// The families of each peer of a side. None if a name is unknown.
fn side(
    resolver: &mut Resolver<'_>,
    known: &Known<'_>,
    object: &str,
    peers: &[FilterPeer],
    places: &[Place],
) -> Option<Vec<Families>> {
    let mut complete = true;
    let mut families = Vec::with_capacity(peers.len());
    for (peer, at) in peers.iter().zip(places) {
        let (kind, names, name) = match peer {
            FilterPeer::Cidr { cidr, .. } => {
                families.push(Families::of(cidr.addr().is_ipv4()));
                continue;
            }
            FilterPeer::Pods { .. } => {
                families.push(Families::BOTH);
                continue;
            }
            FilterPeer::Group(name) => ("AddressGroup", &known.groups, name),
            FilterPeer::Segment(name) => ("Segment", &known.segments, name),
            FilterPeer::Host(name) => ("Host", &known.hosts, name),
        };
        match names.get(name.as_str()) {
            Some(&Families::NONE) => {
                let message = "this peer has no addresses and matches nothing";
                resolver.report(object, Problem::warning(Code::SelectsNothing, *at, message));
                families.push(Families::BOTH);
            }
            Some(found) => families.push(*found),
            None => {
                resolver.unknown(object, kind, name, *at, names.keys().copied());
                complete = false;
            }
        }
    }
    complete.then_some(families)
}

fn of_addresses(v4: impl Iterator<Item = bool>) -> Families {
    v4.fold(Families::NONE, |families, v4| families.or(Families::of(v4)))
}

fn of_cidrs(cidrs: &[IpNet]) -> Families {
    of_addresses(cidrs.iter().map(|cidr| cidr.addr().is_ipv4()))
}

/// The families in which a packet of this traffic can have addresses that rules look at.
fn of_traffic(traffic: &TrafficMatch) -> Families {
    match traffic {
        TrafficMatch::Ports { .. } | TrafficMatch::Protocol(_) => Families::BOTH,
        TrafficMatch::Icmp(_) | TrafficMatch::Arp => Families::V4,
        TrafficMatch::IcmpV6(_) | TrafficMatch::NeighborDiscovery => Families::V6,
        TrafficMatch::NonIp | TrafficMatch::EtherType(_) => Families::NONE,
    }
}

fn all(side: &[Families]) -> Families {
    if side.is_empty() { Families::BOTH } else { side.iter().fold(Families::NONE, |sum, one| sum.or(*one)) }
}

fn families(
    resolver: &mut Resolver<'_>,
    object: &str,
    rule: &FilterRule,
    places: &RulePlaces,
    from: &[Families],
    to: &[Families],
) {
    let has_peers = !from.is_empty() || !to.is_empty();
    let (sources, destinations) = (all(from), all(to));
    let addresses = sources.and(destinations);
    let mut report = |problem: Problem| resolver.report(object, problem);
    let never =
        |at: Place, message: String, help: &str| Problem::error(Code::NeverMatches, at, message).help(help);
    if addresses == Families::NONE {
        let message = format!(
            "`from` has only {} addresses and `to` only {}: no packet matches",
            sources.name(),
            destinations.name()
        );
        report(never(places.at, message, "a packet has two addresses of one family"));
        return;
    }
    // An item of `icmp` without a family means both: one that fits is enough.
    let mut items: Vec<(Place, Families, bool)> = Vec::new();
    for (traffic, at) in rule.traffic.iter().zip(&places.traffic) {
        let non_ip = matches!(traffic, TrafficMatch::NonIp | TrafficMatch::EtherType(_));
        match items.last_mut().filter(|(place, ..)| place == at) {
            Some((_, families, _)) => *families = families.or(of_traffic(traffic)),
            None => items.push((*at, of_traffic(traffic), non_ip)),
        }
    }
    let mut of_items = Families::NONE;
    for (at, families, non_ip) in &items {
        of_items = of_items.or(*families);
        if *non_ip && has_peers {
            let help = "write a rule of its own, without `from` and `to`; `segments` of the policy say where it holds";
            report(never(*at, "NonIP packets have no addresses for `from` and `to`".to_owned(), help));
        } else if !non_ip && addresses.and(*families) == Families::NONE {
            let message = format!(
                "this is only in {} packets, and the addresses are all {}",
                families.name(),
                addresses.name()
            );
            report(never(*at, message, "remove it, or add addresses of the other family"));
            // The peers are as good as they can be.
            of_items = Families::BOTH;
        }
    }
    if of_items == Families::NONE {
        of_items = Families::BOTH;
    }
    for (peers, own, other_name, other, places) in
        [(&rule.from, from, "to", destinations, &places.from), (&rule.to, to, "from", sources, &places.to)]
    {
        for ((peer, own), at) in peers.iter().zip(own).zip(places) {
            if own.and(of_items) == Families::NONE {
                let message = format!("none of this rule's traffic has {} addresses", own.name());
                report(never(*at, message, "ARP and ICMP are IPv4, ND and ICMPv6 are IPv6"));
            } else if own.and(other) == Families::NONE && matches!(peer, FilterPeer::Cidr { .. }) {
                let message =
                    format!("this peer matches nothing: `{other_name}` has no {} address", own.name());
                let problem = Problem::warning(Code::NeverMatches, *at, message);
                report(problem.help("a packet has two addresses of one family"));
            }
        }
    }
}
