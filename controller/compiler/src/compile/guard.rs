//! Which source addresses may enter where: entries of `source_guard_v4` and `source_guard_v6`.
//!
//! What allows and what denies, the upper before the lower ("Spoofing" in docs/policy-semantics.md):
//!
//! | priority | entry | |
//! |---|---|---|
//! | 60 | port | allow: it is trusted |
//! | 55 | address | allow: unspecified, link-local |
//! | 50 | port, segment, address | allow: a host there has it |
//! | 45 | port, segment | allow: a host there may send anything |
//! | 40 | segment, address | deny: it is a host's on another port |
//! | 35 | port, segment | deny: only the hosts there |
//! | 30 | segment, prefix | allow: the segment's subnets and hosts |
//! | 25 | port, segment | deny: there are hosts |
//! | 20 | segment | deny: all its ports are guarded |

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use outplane_intent::model::{Host, HostGuard, Intent, SegmentGuard, Switch};
use outplane_p4runtime::entry::{Entry, Match};

use super::forward::{is_everywhere, ports_here};
use super::row::whole;
use crate::program::{ActionKind, Field, Program, Table};
use crate::state::Origin;

/// Rule of the entries that drop packets for their source address.
pub const SPOOFED_RULE: &str = "anti-spoofing";

/// Rule of the entries that let source addresses in.
const ALLOWED_RULE: &str = "source address";

const TRUSTED: i32 = 60;
const STARTING: i32 = 55;
const OWN: i32 = 50;
const ANYTHING: i32 = 45;
const OTHERS: i32 = 40;
const STRICT: i32 = 35;
const SEGMENTS: i32 = 30;
const HOSTS: i32 = 25;
const SUBNETS: i32 = 20;

/// What an entry matches, the address aside.
#[derive(Clone, Copy, Default)]
struct At {
    port: Option<u16>,
    segment: Option<u16>,
}

/// The entries of a switch.
pub(super) fn compile(
    intent: &Intent,
    program: &Program,
    name: &str,
    switch: Option<&Switch>,
    segments: &BTreeMap<String, u16>,
) -> Vec<Entry> {
    let mut guard = Guard { intent, program, name, segments, found: Vec::new() };
    let places = guard.places();
    let mut guarded: BTreeSet<u16> = BTreeSet::new();
    for ((port, segment), hosts) in &places {
        if guard.place(*port, *segment, hosts) {
            guarded.insert(*segment);
        }
    }
    for (segment_name, segment) in &intent.segments {
        let Some(id) = segments.get(segment_name).copied() else { continue };
        let here = is_everywhere(segment) || !ports_here(segment, name).is_empty();
        let all = here && segment.anti_spoofing == SegmentGuard::Subnets;
        if all {
            guard.deny(SUBNETS, At { port: None, segment: Some(id) }, None);
        }
        if all || guarded.contains(&id) {
            let at = At { port: None, segment: Some(id) };
            let hosts = intent.hosts.values().filter(|host| host.segment.as_ref() == Some(segment_name));
            let addresses = hosts.flat_map(|host| &host.addresses).map(|address| IpNet::from(*address));
            let prefixes: BTreeSet<IpNet> = segment.subnets.iter().copied().chain(addresses).collect();
            // Of two entries of one priority no packet may match both.
            let within =
                |prefix: &IpNet| prefixes.iter().any(|other| other != prefix && other.contains(prefix));
            for prefix in prefixes.iter().filter(|prefix| !within(prefix)) {
                guard.push(SEGMENTS, at, Some(*prefix), false);
            }
        }
    }
    if guard.found.is_empty() {
        return Vec::new();
    }
    for (port, _) in switch.into_iter().flat_map(|switch| &switch.ports).filter(|(_, port)| port.trusted) {
        guard.allow(TRUSTED, At { port: Some(*port), segment: None });
    }
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    let unspecified = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(IpNet::from);
    let starting = IpNet::new(link_local.into(), 10).ok().into_iter().chain(unspecified);
    for prefix in starting {
        guard.push(STARTING, At::default(), Some(prefix), false);
    }
    let mut found = guard.found;
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found.dedup_by(|later, first| later.key == first.key);
    found
}

struct Guard<'g> {
    intent: &'g Intent,
    program: &'g Program,
    name: &'g str,
    segments: &'g BTreeMap<String, u16>,
    found: Vec<Entry>,
}

impl<'g> Guard<'g> {
    /// The hosts on each port here, by the segment that their frames enter in, where that is guarded at all.
    fn places(&self) -> BTreeMap<(u16, u16), Vec<&'g Host>> {
        let mut places: BTreeMap<(u16, u16), Vec<&Host>> = BTreeMap::new();
        for host in self.intent.hosts.values() {
            let Some((_, port)) = host.port.as_ref().filter(|(at, _)| at == self.name) else { continue };
            let own = host.segment.as_ref().and_then(|name| self.intent.segments.get(name));
            let tag = host.vlan.or(own.and_then(|segment| segment.vlan));
            let with_tag = || self.intent.segments.iter().filter(|(_, segment)| segment.vlan == tag);
            let named = with_tag().find(|(_, segment)| ports_here(segment, self.name).contains(port));
            let entered = named.or_else(|| with_tag().find(|(_, segment)| is_everywhere(segment)));
            if entered.is_some_and(|(_, segment)| segment.anti_spoofing == SegmentGuard::None) {
                continue;
            }
            let id = entered.and_then(|(name, _)| self.segments.get(name)).copied().unwrap_or(0);
            places.entry((*port, id)).or_default().push(host);
        }
        places
    }

    /// Whether its port lets in certain addresses only.
    fn place(&mut self, port: u16, segment: u16, hosts: &[&Host]) -> bool {
        let (there, anywhere) =
            (At { port: Some(port), segment: Some(segment) }, At { port: None, segment: Some(segment) });
        let kept: Vec<IpAddr> = hosts
            .iter()
            .filter(|host| self.guard_of(host) != HostGuard::None)
            .flat_map(|host| host.addresses.iter().copied())
            .collect();
        for address in kept {
            self.deny(OTHERS, anywhere, Some(IpNet::from(address)));
        }
        let open = |host: &&Host| host.addresses.is_empty() || self.guard_of(host) == HostGuard::None;
        if hosts.iter().any(open) {
            self.allow(ANYTHING, there);
            return false;
        }
        for host in hosts {
            let intent = self.intent;
            let pods = intent.pods.values();
            let pods = pods.filter(|pod| pod.node_addresses.iter().any(|node| host.addresses.contains(node)));
            let own: BTreeSet<&IpAddr> = pods.flat_map(|pod| &pod.addresses).chain(&host.addresses).collect();
            for address in own {
                self.push(OWN, there, Some(IpNet::from(*address)), false);
            }
        }
        let strict = hosts.iter().any(|host| self.guard_of(host) == HostGuard::Strict);
        self.deny(if strict { STRICT } else { HOSTS }, there, None);
        true
    }

    /// What holds for a host: what it says, else that behind nodes of Kubernetes there are pods that nobody knows yet.
    fn guard_of(&self, host: &Host) -> HostGuard {
        let is_node = |address: &IpAddr| {
            self.intent.nodes.values().any(|node| node.addresses.contains(address))
                || self.intent.pods.values().any(|pod| pod.node_addresses.contains(address))
        };
        host.anti_spoofing.unwrap_or_else(|| {
            if host.addresses.iter().any(is_node) { HostGuard::None } else { HostGuard::Hosts }
        })
    }

    fn allow(&mut self, priority: i32, at: At) {
        self.push(priority, at, None, false);
    }

    fn deny(&mut self, priority: i32, at: At, prefix: Option<IpNet>) {
        self.push(priority, at, prefix, true);
    }

    /// Without a prefix: for both IP versions.
    fn push(&mut self, priority: i32, at: At, prefix: Option<IpNet>, deny: bool) {
        let is = |v4: bool| prefix.is_none_or(|prefix| prefix.addr().is_ipv4() == v4);
        for (table, allows, denies) in [
            (Table::SourceGuardV4, ActionKind::SourceV4Allow, ActionKind::SourceV4Deny),
            (Table::SourceGuardV6, ActionKind::SourceV6Allow, ActionKind::SourceV6Deny),
        ] {
            if !is(table == Table::SourceGuardV4) {
                continue;
            }
            let (action, rule) = if deny { (denies, SPOOFED_RULE) } else { (allows, ALLOWED_RULE) };
            let mut matches: Vec<(Field, Match)> = Vec::new();
            matches.extend(at.port.map(|port| whole(table, Field::IngressPort, port.into())));
            matches.extend(at.segment.map(|segment| whole(table, Field::Segment, segment.into())));
            matches.extend(prefix.and_then(address));
            let origin = Origin { policy: Origin::COMMON.to_owned(), rule: rule.to_owned(), order: 0 };
            self.found.push(Entry {
                key: self.program.key(table, priority, matches),
                action: self.program.action(action, &[]),
                metadata: origin.encode(),
            });
        }
    }
}

/// A match on an address; none for a prefix of all.
fn address(prefix: IpNet) -> Option<(Field, Match)> {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let (value, mask) = (bits(prefix.network()), bits(prefix.netmask()));
    (mask != 0).then_some((Field::Address, Match::Ternary { value, mask }))
}
