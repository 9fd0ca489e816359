//! Switches, segments, hosts and address groups.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::universe::{CIDRS, HOSTS, NODES, SWITCH_PORTS, address, cidr};
use crate::evaluate::IMPLIED_SWITCH;
use crate::model::{
    AddressGroup, Host, HostGuard, Intent, P4Runtime, Port, Protocol, Segment, SegmentGuard, Switch,
};

/// What a segment can be.
#[derive(Clone, Copy, Debug)]
struct Plan {
    name: &'static str,
    vlan: Option<u16>,
    subnets: &'static [&'static str],
    /// The ports that it may have on each switch.
    ports: &'static [u16],
    /// It may do without ports.
    portless: bool,
}

/// No two claim a port with the same VLAN, and no two subnets overlap.
const SEGMENTS: [Plan; 5] = [
    Plan {
        name: "office",
        vlan: None,
        subnets: &["192.168.1.0/24", "fd01:1::/64"],
        ports: &[1, 2],
        portless: false,
    },
    Plan { name: "lab", vlan: Some(10), subnets: &["192.168.2.0/24"], ports: &[1, 2, 3, 4], portless: true },
    Plan {
        name: "guests",
        vlan: Some(20),
        subnets: &["10.0.1.0/24", "fd00:0:0:1::/64"],
        ports: &[1, 2],
        portless: true,
    },
    Plan { name: "cameras", vlan: Some(20), subnets: &["172.16.0.0/24"], ports: &[3, 4], portless: false },
    Plan { name: "spare", vlan: None, subnets: &[], ports: &[3, 4], portless: true },
];

/// Names of groups.
const GROUPS: [&str; 2] = ["partners", "servers"];

/// A host before it is known which segments and ports there are.
#[derive(Clone, Debug)]
struct HostDraft {
    families: usize,
    segment: Option<usize>,
    port: Option<(usize, usize)>,
    vlan: Option<u16>,
    guard: Option<HostGuard>,
    /// The first two may be nodes.
    node: bool,
}

/// Intents that hold the network alone.
pub(super) fn networks() -> impl Strategy<Value = Intent> {
    let names = prop_oneof![3 => Just(&[][..]), 2 => Just(&["s1"][..]), 1 => Just(&["s1", "s2"][..])];
    // A segment before it is known which switches there are: its ports on each.
    let segments = SEGMENTS.map(|plan| {
        let some = vec(subsequence(plan.ports, 1..=plan.ports.len()), 2);
        let ports = if plan.portless {
            option::of(some).prop_map(Option::unwrap_or_default).boxed()
        } else {
            some.boxed()
        };
        let guard = prop_oneof![
            3 => Just(SegmentGuard::Hosts),
            1 => Just(SegmentGuard::None),
            1 => Just(if plan.subnets.is_empty() { SegmentGuard::Hosts } else { SegmentGuard::Subnets }),
        ];
        option::of((ports, guard))
    });
    let host = (
        0..4_usize,
        option::of(0..SEGMENTS.len()),
        option::of((0..2_usize, 0..SWITCH_PORTS.len())),
        option::weighted(0.2, Just(30)),
        option::weighted(0.4, select(vec![HostGuard::None, HostGuard::Hosts, HostGuard::Strict])),
        any::<bool>(),
    );
    let host = host.prop_map(|(families, segment, port, vlan, guard, node)| HostDraft {
        families,
        segment,
        port,
        vlan,
        guard,
        node,
    });
    let hosts = vec(option::of(host), HOSTS.len());
    let groups = vec(option::of(subsequence(&CIDRS[..], 1..=4)), GROUPS.len());
    let ports = (any::<bool>(), option::weighted(0.2, select(&SWITCH_PORTS[..])));
    (names, ports, segments, hosts, groups).prop_map(
        |(names, (cross_connect, trusted), segments, hosts, groups)| {
            let mut intent = Intent::default();
            for (n, name) in names.iter().enumerate() {
                intent.switches.insert((*name).to_owned(), switch(n, cross_connect, trusted));
            }
            let names = if names.is_empty() { &[IMPLIED_SWITCH][..] } else { names };
            for (plan, ports) in SEGMENTS.into_iter().zip(segments) {
                let Some((ports, anti_spoofing)) = ports else { continue };
                let subnets = plan.subnets.iter().map(|subnet| cidr(subnet)).collect();
                let ports = names.iter().map(|switch| (*switch).to_owned()).zip(ports).collect();
                let segment = Segment { vlan: plan.vlan, subnets, ports, anti_spoofing };
                intent.segments.insert(plan.name.to_owned(), segment);
            }
            for (n, draft) in hosts.into_iter().enumerate() {
                if let Some(draft) = draft {
                    intent.hosts.insert(HOSTS[n].0.to_owned(), host_of(n, &draft, &intent, names));
                }
            }
            for (name, cidrs) in GROUPS.into_iter().zip(groups) {
                if let Some(cidrs) = cidrs {
                    let cidrs = cidrs.into_iter().map(cidr).collect();
                    intent.groups.insert(name.to_owned(), AddressGroup { cidrs });
                }
            }
            intent
        },
    )
}

fn switch(n: usize, cross_connect: bool, trusted: Option<u16>) -> Switch {
    let pair = |port: u16| match port {
        3 if cross_connect => Some(4),
        4 if cross_connect => Some(3),
        _ => None,
    };
    let port = |number: u16| {
        let name = (number == 1).then(|| "uplink".to_owned());
        (number, Port { name, cross_connect: pair(number), trusted: trusted == Some(number) })
    };
    Switch {
        address: format!("127.0.0.1:{}", 9559 + n),
        tls: None,
        protocol: Protocol::P4Runtime(P4Runtime { device_id: 1 + n as u64, ..P4Runtime::default() }),
        ports: SWITCH_PORTS.into_iter().map(port).collect(),
    }
}

fn host_of(n: usize, draft: &HostDraft, intent: &Intent, switches: &[&str]) -> Host {
    let [v4, v6] = HOSTS[n].1.map(address);
    let mut addresses = match draft.families {
        0 => vec![v4],
        1 => vec![v6],
        2 => vec![v4, v6],
        _ => Vec::new(),
    };
    addresses.extend(NODES.get(n).filter(|_| draft.node).map(|(_, addresses)| address(addresses[0])));
    let named = draft.segment.map(|segment| SEGMENTS[segment].name);
    let segment = named.and_then(|name| intent.segments.get(name));
    let port = draft.port.and_then(|(switch, port)| {
        let switch = switches[switch % switches.len()];
        let free = segment.is_none_or(|segment| segment.ports.is_empty());
        let allowed = segment.and_then(|segment| segment.ports.get(switch));
        let allowed = if free { &SWITCH_PORTS[..] } else { allowed.map_or(&[][..], Vec::as_slice) };
        (!allowed.is_empty()).then(|| (switch.to_owned(), allowed[port % allowed.len()]))
    });
    Host {
        segment: segment.and(named).map(str::to_owned),
        mac: Some([2, 0, 0, 0, 1, u8::try_from(n).unwrap_or(u8::MAX)]),
        vlan: draft.vlan.filter(|_| segment.is_none_or(|segment| segment.vlan.is_none())),
        // Nobody could enter by the port of a host that has no addresses and sends no others.
        anti_spoofing: draft
            .guard
            .filter(|guard| port.is_some() && (*guard != HostGuard::Strict || !addresses.is_empty())),
        addresses,
        port,
    }
}

/// A CIDR of the universe.
pub(super) fn cidrs() -> impl Strategy<Value = ipnet::IpNet> {
    select(&CIDRS[..]).prop_map(cidr)
}

/// A CIDR and up to two exceptions that lie in it and leave something of it.
pub(super) fn cidrs_with_exceptions() -> impl Strategy<Value = (ipnet::IpNet, Vec<ipnet::IpNet>)> {
    let exceptions = vec(select(&CIDRS[..]), 0..=2);
    (cidrs(), prop_oneof![1 => Just(Vec::new()), 1 => exceptions]).prop_map(|(outer, exceptions)| {
        let inner = exceptions.into_iter().map(cidr);
        let inner = inner.filter(|inner| outer.contains(inner) && *inner != outer);
        (outer, inner.collect())
    })
}

/// Groups, segments and hosts that rules may name, whether or not they are there.
pub(super) fn names_of_networks() -> impl Strategy<Value = crate::model::FilterPeer> {
    use crate::model::FilterPeer::{Group, Host, Segment};
    prop_oneof![
        select(&GROUPS[..]).prop_map(|name| Group(name.to_owned())),
        select(&SEGMENTS[..]).prop_map(|segment| Segment(segment.name.to_owned())),
        select(&HOSTS[..]).prop_map(|host| Host(host.0.to_owned())),
    ]
}

/// Some segments' names, whether or not they are there.
pub(super) fn segment_names() -> impl Strategy<Value = Vec<String>> {
    let names = SEGMENTS.map(|segment| segment.name.to_owned());
    subsequence(names.to_vec(), 0..=2)
}
