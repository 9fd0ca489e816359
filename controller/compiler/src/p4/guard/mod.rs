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
//! | 24 | segment | allow: nobody knows what belongs there |
//! | 23 | port | deny: there are hosts, in another segment |
//! | 20 | segment | deny: all its ports are guarded |

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use outplane_intent::model::{Intent, Segment, SegmentGuard, Switch};
use outplane_p4runtime::entry::{Entry, Match};

use super::forward::{is_everywhere, ports_here};
use super::terms::whole;
use crate::capacity;
use crate::entries::Entries;
use crate::program::{ActionKind, Field, Program, Table};
use crate::state::Origin;
use places::{Place, Places};

/// What the rule of every entry begins with; whose it is follows.
const RULE: &str = "anti-spoofing of ";

const TRUSTED: i32 = 60;
const STARTING: i32 = 55;
const OWN: i32 = 50;
const ANYTHING: i32 = 45;
const OTHERS: i32 = 40;
const STRICT: i32 = 35;
const SEGMENTS: i32 = 30;
const HOSTS: i32 = 25;
const UNKNOWN: i32 = 24;
const ELSEWHERE: i32 = 23;
const SUBNETS: i32 = 20;

/// What an entry matches, the address aside.
#[derive(Clone, Copy, Default)]
struct At {
    port: Option<u16>,
    segment: Option<u16>,
}

/// The entries of a switch.
pub(crate) fn compile(
    intent: &Intent,
    program: &Program,
    name: &str,
    switch: Option<&Switch>,
    segments: &BTreeMap<String, u16>,
) -> Vec<Entry> {
    let places = Places::new(intent, name, segments);
    let ports = switch.into_iter().flat_map(|switch| &switch.ports);
    let trusted: BTreeSet<u16> = ports.filter(|(_, port)| port.trusted).map(|(port, _)| *port).collect();
    let mut guard =
        Guard { program, places: &places, known: known(intent), denies: [false; 2], found: Vec::new() };
    let mut guarded: BTreeSet<u16> = BTreeSet::new();
    for ((port, id), place) in &places.inhabited {
        guard.keep(*id, place);
        if !trusted.contains(port) && guard.place(*port, *id, place) {
            guarded.insert(*id);
        }
    }
    let elsewhere = elsewhere(intent, name, segments, &places, &trusted);
    for port in &elsewhere {
        guard.known(ELSEWHERE, At { port: Some(*port), segment: None }, &format!("port {port}"));
    }
    if !elsewhere.is_empty() {
        guard.push(UNKNOWN, At { port: None, segment: Some(0) }, None, false, "no segment");
    }
    for (segment_name, segment) in &intent.segments {
        let Some(id) = segments.get(segment_name).copied() else { continue };
        let ports = ports_here(segment, name);
        let everywhere = is_everywhere(segment);
        let beside =
            !elsewhere.is_empty() && (everywhere || ports.iter().any(|port| elsewhere.contains(port)));
        let here = everywhere || !ports.is_empty();
        guard.segment((segment_name, segment, id), here, guarded.contains(&id), beside);
    }
    // Where nothing is denied, nothing need be let in.
    if guard.denies == [false; 2] {
        return Vec::new();
    }
    for port in trusted {
        guard.push(TRUSTED, At { port: Some(port), segment: None }, None, false, &format!("port {port}"));
    }
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    let unspecified = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(IpNet::from);
    let starting = IpNet::new(link_local.into(), 10).ok().into_iter().chain(unspecified);
    for prefix in starting {
        guard.push(STARTING, At::default(), Some(prefix), false, "hosts that start");
    }
    let denies = guard.denies;
    let families = [Table::SourceGuardV6, Table::SourceGuardV4].map(|table| program.table(table));
    let mut found = guard.found;
    found.retain(|entry| (0..2).any(|family| denies[family] && entry.key.table == families[family]));
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found.dedup_by(|later, first| later.key == first.key);
    found
}

/// Ports on which hosts are, and on which segments are, too, that hold their own addresses and have no host there.
fn elsewhere(
    intent: &Intent,
    name: &str,
    segments: &BTreeMap<String, u16>,
    places: &Places<'_>,
    trusted: &BTreeSet<u16>,
) -> BTreeSet<u16> {
    let guarded = places.ports.iter().filter(|(port, guarded)| **guarded && !trusted.contains(port));
    let guarded: BTreeSet<u16> = guarded.map(|(port, _)| *port).collect();
    let mut elsewhere = BTreeSet::new();
    let own = |segment: &Segment| segment.anti_spoofing == SegmentGuard::Hosts && !segment.subnets.is_empty();
    for (segment, id) in
        intent.segments.iter().filter_map(|(name, segment)| Some((segment, segments.get(name)?)))
    {
        let empty = |port: &&u16| guarded.contains(port) && !places.inhabited.contains_key(&(**port, *id));
        if own(segment) {
            let listed = ports_here(segment, name);
            let all = is_everywhere(segment).then_some(&guarded);
            elsewhere.extend(listed.iter().chain(all.into_iter().flatten()).filter(empty));
        }
    }
    elsewhere
}

/// The segments that take most of a table of guards, the biggest first.
pub(crate) fn users(segments: &BTreeMap<String, u16>, table: Table, entries: &Entries) -> Vec<(String, u64)> {
    let (id, field) = (Program::outplane().table(table), Program::outplane().field(table, Field::Segment));
    let mut counts: BTreeMap<u128, u64> = BTreeMap::new();
    for entry in entries.of_table(id) {
        let segment = entry.key.matches.iter().find(|matched| Some(matched.field) == field);
        if let Some(Match::Ternary { value, .. }) = segment.map(|matched| &matched.matches) {
            *counts.entry(*value).or_default() += 1;
        }
    }
    let named = segments.iter().map(|(name, id)| (format!("Segment/{name}"), u128::from(*id)));
    let named = named.chain([("hosts in no segment".to_owned(), 0)]);
    let mut users: Vec<(String, u64)> =
        named.filter_map(|(name, id)| Some((name, *counts.get(&id)?))).collect();
    users.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
    users.truncate(capacity::BIGGEST);
    users
}

/// Whether the files say anything of a family, IPv6 and IPv4: where they say nothing, its addresses are guarded by those
/// alone who ask for it.
fn known(intent: &Intent) -> [bool; 2] {
    let subnets = intent.segments.values().flat_map(|segment| &segment.subnets).map(IpNet::addr);
    let hosts = intent.hosts.values().flat_map(|host| &host.addresses).copied();
    let mut known = [false; 2];
    for address in subnets.chain(hosts) {
        known[usize::from(address.is_ipv4())] = true;
    }
    known
}

struct Guard<'g> {
    program: &'g Program,
    places: &'g Places<'g>,
    known: [bool; 2],
    /// Whether anything is denied, of IPv6 and IPv4.
    denies: [bool; 2],
    found: Vec<Entry>,
}

impl Guard<'_> {
    /// The addresses of a port's hosts in one segment enter there by no other port.
    fn keep(&mut self, id: u16, place: &Place<'_>) {
        let anywhere = At { port: None, segment: Some(id) };
        for (name, host, _) in place.hosts.iter().filter(|(.., free)| !free) {
            for address in &host.addresses {
                self.push(OTHERS, anywhere, Some(IpNet::from(*address)), true, &format!("Host {name}"));
            }
        }
    }

    /// What enters by the port of hosts in one segment. Whether the segment's prefixes are to be let in.
    fn place(&mut self, port: u16, id: u16, place: &Place<'_>) -> bool {
        let (places, there) = (self.places, At { port: Some(port), segment: Some(id) });
        let whose = match place.segment {
            Some((name, _)) => format!("port {port} in segment {name}"),
            None => format!("port {port} in no segment"),
        };
        if place.hosts.iter().any(|(.., free)| *free) {
            self.push(ANYTHING, there, None, false, &whose);
            return false;
        }
        for (name, host, _) in &place.hosts {
            let pods = host.addresses.iter().filter_map(|address| places.pods.get(address)).flatten();
            let own: BTreeSet<&IpAddr> = pods.chain(&host.addresses).collect();
            for address in own {
                self.push(OWN, there, Some(IpNet::from(*address)), false, &format!("Host {name}"));
            }
        }
        if place.is_strict() {
            self.push(STRICT, there, None, true, &whose);
            return false;
        }
        let subnets = place.segment.is_some_and(|(_, segment)| !segment.subnets.is_empty());
        if !subnets && place.hosts.iter().any(|(_, host, _)| host.addresses.is_empty()) {
            return false;
        }
        self.known(HOSTS, there, &whose);
        true
    }

    /// What holds in a segment by whichever port. `beside`: hosts are on one of its ports, in another segment.
    fn segment(
        &mut self,
        (name, segment, id): (&str, &Segment, u16),
        here: bool,
        guarded: bool,
        beside: bool,
    ) {
        let at = At { port: None, segment: Some(id) };
        let whose = format!("segment {name}");
        let all = here && segment.anti_spoofing == SegmentGuard::Subnets;
        if all {
            self.push(SUBNETS, at, None, true, &whose);
        }
        let none = segment.anti_spoofing == SegmentGuard::None;
        if beside && (none || segment.subnets.is_empty()) && !all {
            self.push(UNKNOWN, at, None, false, &whose);
        }
        if none || !(all || guarded || beside && !segment.subnets.is_empty()) {
            return;
        }
        let places = self.places;
        let hosts = places.members.get(name).into_iter().flatten();
        let addresses = hosts.flat_map(|host| &host.addresses).map(|address| IpNet::from(*address));
        let prefixes: BTreeSet<IpNet> = segment.subnets.iter().map(IpNet::trunc).chain(addresses).collect();
        // Of two entries of one priority no packet may match both. What lies in a prefix comes after it.
        let mut last: Option<IpNet> = None;
        for prefix in prefixes {
            if last.is_none_or(|last| !last.contains(&prefix)) {
                self.push(SEGMENTS, at, Some(prefix), false, &whose);
                last = Some(prefix);
            }
        }
    }

    /// Denies what no entry above lets in, of families of which the files say something.
    fn known(&mut self, priority: i32, at: At, whose: &str) {
        for v4 in [true, false] {
            if self.known[usize::from(v4)] {
                self.one(v4, priority, at, None, true, whose);
            }
        }
    }

    /// Without a prefix: for both IP versions.
    fn push(&mut self, priority: i32, at: At, prefix: Option<IpNet>, deny: bool, whose: &str) {
        for v4 in [true, false] {
            if prefix.is_none_or(|prefix| prefix.addr().is_ipv4() == v4) {
                self.one(v4, priority, at, prefix, deny, whose);
            }
        }
    }

    fn one(&mut self, v4: bool, priority: i32, at: At, prefix: Option<IpNet>, deny: bool, whose: &str) {
        let (table, allows, denies) = if v4 {
            (Table::SourceGuardV4, ActionKind::SourceV4Allow, ActionKind::SourceV4Deny)
        } else {
            (Table::SourceGuardV6, ActionKind::SourceV6Allow, ActionKind::SourceV6Deny)
        };
        self.denies[usize::from(v4)] |= deny;
        let mut matches: Vec<(Field, Match)> = Vec::new();
        matches.extend(at.port.map(|port| whole(table, Field::IngressPort, port.into())));
        matches.extend(at.segment.map(|segment| whole(table, Field::Segment, segment.into())));
        matches.extend(prefix.and_then(address));
        let origin = Origin { policy: Origin::COMMON.to_owned(), rule: format!("{RULE}{whose}"), order: 0 };
        self.found.push(Entry {
            key: self.program.key(table, priority, matches),
            action: self.program.action(if deny { denies } else { allows }, &[]),
            metadata: origin.encode(),
        });
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
