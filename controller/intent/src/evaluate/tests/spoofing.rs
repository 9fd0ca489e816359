//! Which source addresses may enter where.

use super::build::{filter, ip, net};
use super::world::{World, noon};
use crate::evaluate::Evaluator;
use crate::model::{
    FilterAction, FilterPolicy, Host, HostGuard, Port, Protocol, Segment, SegmentGuard, Switch,
};
use crate::packet::{Kind, L4, Packet};

fn switch(ports: &[(u16, bool)]) -> Switch {
    let port = |(number, trusted): &(u16, bool)| (*number, Port { trusted: *trusted, ..Port::default() });
    Switch {
        address: "127.0.0.1:9559".to_owned(),
        tls: None,
        protocol: Protocol::default(),
        ports: ports.iter().map(port).collect(),
    }
}

fn host(addresses: &str, segment: Option<&str>, port: Option<u16>, guard: Option<HostGuard>) -> Host {
    Host {
        addresses: addresses.split_whitespace().map(ip).collect(),
        segment: segment.map(str::to_owned),
        mac: None,
        vlan: None,
        port: port.map(|port| ("s1".to_owned(), port)),
        anti_spoofing: guard,
    }
}

fn segment(vlan: Option<u16>, subnets: &[&str], ports: &[u16], anti_spoofing: SegmentGuard) -> Segment {
    Segment {
        vlan,
        subnets: subnets.iter().map(|subnet| net(subnet)).collect(),
        ports: [("s1".to_owned(), ports.to_vec())].into(),
        anti_spoofing,
    }
}

/// Offices on ports 1 and 2 and guests on 3 and 4, all with the uplink, port 9. Printer on 1, laptop nowhere; kiosk on 3;
/// nothing denies anything.
fn world(office: SegmentGuard, guests: SegmentGuard) -> World {
    let mut world = World::default();
    let ports = [(1, false), (2, false), (3, false), (4, false), (9, true)];
    world.intent.switches.insert("s1".to_owned(), switch(&ports));
    let office = segment(None, &["10.1.0.0/24", "fd01::/64"], &[1, 2, 9], office);
    let guests = segment(Some(30), &["10.3.0.0/24"], &[3, 4, 9], guests);
    world.intent.segments = [("office".to_owned(), office), ("guests".to_owned(), guests)].into();
    world.intent.hosts = [
        ("printer".to_owned(), host("10.1.0.9 fd01::9", Some("office"), Some(1), None)),
        ("laptop".to_owned(), host("10.9.9.9", Some("office"), None, None)),
        ("kiosk".to_owned(), host("10.3.0.5", Some("guests"), Some(3), None)),
    ]
    .into();
    world
}

/// Whether a packet with this source may enter by a port: office's untagged, guests' in their VLAN.
fn enters(world: &World, port: u16, source: &str) -> bool {
    enters_in(world, port, [3, 4].contains(&port).then_some(30), source)
}

fn enters_in(world: &World, port: u16, vlan: Option<u16>, source: &str) -> bool {
    let destination = if source.contains(':') { "fd99::1" } else { "10.99.0.1" };
    let packet = Packet::udp(ip(source), 1, ip(destination), 2).at_port(port);
    let packet = vlan.map_or(packet.clone(), |vlan| packet.in_vlan(vlan));
    let verdict = Evaluator::new(&world.intent).evaluate(Some("s1"), noon(), &packet);
    assert_eq!(verdict.allow, verdict.spoofed().is_none(), "{:?}", verdict.steps);
    verdict.allow
}

#[test]
fn by_default_hosts_are_where_they_are() {
    let world = world(SegmentGuard::Hosts, SegmentGuard::Hosts);
    for (port, source, may) in [
        (1, "10.1.0.9", true),
        (1, "fd01::9", true),
        (1, "10.1.0.77", true),  // another machine behind the printer's port
        (1, "10.9.9.9", true),   // the segment's host, wherever it is
        (1, "10.3.0.5", false),  // a guest's, at a host's port
        (1, "192.0.2.1", false), // from elsewhere, at a host's port
        (1, "fd99::1", false),
        (2, "10.1.0.9", false), // the printer's, by another port
        (2, "fd01::9", false),
        (2, "10.3.0.5", true), // nobody is known there
        (2, "192.0.2.1", true),
        (3, "10.3.0.5", true),
        (3, "10.1.0.9", false), // an office's address by the kiosk's port
        (4, "10.3.0.5", false),
        (4, "10.1.0.9", true), // office's, in another segment, where a router may bring it
        (9, "10.1.0.9", true), // trusted
        (9, "192.0.2.1", true),
    ] {
        assert_eq!(enters(&world, port, source), may, "{source} by port {port}");
    }
}

#[test]
fn some_addresses_enter_everywhere() {
    let world = world(SegmentGuard::Subnets, SegmentGuard::Subnets);
    for source in ["0.0.0.0", "::", "fe80::1", "febf::1"] {
        assert!(enters(&world, 1, source) && enters(&world, 2, source), "{source}");
    }
    for source in ["fec0::1", "127.0.0.1", "169.254.0.1", "ff02::1"] {
        assert!(!enters(&world, 1, source) && !enters(&world, 2, source), "{source}");
    }
}

#[test]
fn subnets_guard_every_port_and_none_guards_none() {
    let all = world(SegmentGuard::Subnets, SegmentGuard::None);
    for (port, source, may) in [
        (2, "10.1.0.77", true),
        (2, "10.9.9.9", true),
        (2, "10.3.0.5", false),
        (2, "10.1.0.9", false),
        (9, "10.3.0.5", true),
        (3, "10.1.0.9", true),
        (4, "10.3.0.5", true),
    ] {
        assert_eq!(enters(&all, port, source), may, "{source} by port {port}");
    }
}

#[test]
fn routers_nodes_and_strict_hosts() {
    let mut world = world(SegmentGuard::Subnets, SegmentGuard::Subnets);
    let router = host("10.1.0.1", Some("office"), Some(2), Some(HostGuard::None));
    world.intent.hosts.insert("router".to_owned(), router);
    assert!(enters(&world, 2, "192.0.2.1") && enters(&world, 2, "10.1.0.9"));
    // A router's address is not kept for its port.
    assert!(enters(&world, 1, "10.1.0.1"));

    // Beside a router on the port nothing is known.
    world.intent.hosts.insert("tap".to_owned(), host("10.1.0.3", Some("office"), Some(2), None));
    assert!(enters(&world, 2, "192.0.2.1"));

    world.intent.hosts.get_mut("printer").unwrap().anti_spoofing = Some(HostGuard::Strict);
    assert!(
        enters(&world, 1, "10.1.0.9") && !enters(&world, 1, "10.1.0.77") && !enters(&world, 1, "10.9.9.9")
    );

    // A node of Kubernetes, and one that says what holds.
    let mut world = super::world::nine_pods().on("x/a", "10.1.0.9").on("y/a", "10.1.0.8");
    world.intent.switches.insert("s1".to_owned(), switch(&[(1, false)]));
    world.intent.hosts.insert("node".to_owned(), host("10.1.0.9", None, Some(1), None));
    assert!(enters(&world, 1, "192.0.2.1"));
    world.intent.hosts.get_mut("node").unwrap().anti_spoofing = Some(HostGuard::Hosts);
    assert!(
        enters(&world, 1, "10.0.1.1") && !enters(&world, 1, "10.0.2.1") && !enters(&world, 1, "192.0.2.1")
    );
}

#[test]
fn hosts_without_addresses() {
    // Nobody knows the phone's, but in this segment it has one of the subnets.
    let mut office = world(SegmentGuard::Hosts, SegmentGuard::Hosts);
    office.intent.hosts.insert("phone".to_owned(), host("", Some("office"), Some(2), None));
    let cases = [("10.1.0.77", true), ("10.9.9.9", true), ("192.0.2.1", false), ("10.1.0.9", false)];
    for (source, may) in cases.into_iter().chain([("fd01::77", true), ("fd99::1", false)]) {
        assert_eq!(enters(&office, 2, source), may, "{source}");
    }
    // Beside the printer it opens nothing, and takes nothing from who is strict.
    office.intent.hosts.get_mut("phone").unwrap().port = Some(("s1".to_owned(), 1));
    assert!(!enters(&office, 1, "192.0.2.1") && enters(&office, 1, "10.1.0.77"));
    office.intent.hosts.get_mut("printer").unwrap().anti_spoofing = Some(HostGuard::Strict);
    assert!(enters(&office, 1, "10.1.0.9") && !enters(&office, 1, "10.1.0.77"));
    let all = world(SegmentGuard::Subnets, SegmentGuard::Hosts);
    assert!(!enters(&all, 2, "192.0.2.1"));

    // Without subnets it may have any, but others' here.
    office.intent.segments.get_mut("office").unwrap().subnets.clear();
    office.intent.hosts.get_mut("phone").unwrap().port = Some(("s1".to_owned(), 2));
    assert!(enters(&office, 2, "192.0.2.1") && !enters(&office, 2, "10.1.0.9"));
}

#[test]
fn hosts_without_segments() {
    let mut world = world(SegmentGuard::Hosts, SegmentGuard::Hosts);
    world.intent.segments.clear();
    world.intent.hosts = [("one".to_owned(), host("10.0.0.1", None, Some(1), None))].into();
    assert!(enters(&world, 1, "10.0.0.1") && !enters(&world, 1, "10.0.0.2"));
    assert!(!enters(&world, 2, "10.0.0.1"), "of no segment, too");
}

#[test]
fn the_other_segments_of_a_hosts_port() {
    let mut world = world(SegmentGuard::Hosts, SegmentGuard::Hosts);
    world.intent.segments.get_mut("guests").unwrap().ports.insert("s1".to_owned(), vec![1, 2, 3, 4, 9]);
    // The printer, or who is in its place, could tag frames.
    let cases = [("10.3.0.77", true), ("10.3.0.5", false), ("10.1.0.9", false), ("192.0.2.1", false)];
    for (source, may) in cases {
        assert_eq!(enters_in(&world, 1, Some(30), source), may, "{source}");
        let nobody_is_there = source != "10.3.0.5";
        assert_eq!(enters_in(&world, 2, Some(30), source), nobody_is_there, "{source}");
    }
    // Nobody says what else is behind a router, or a VLAN of no segment.
    assert!(enters_in(&world, 1, Some(99), "192.0.2.1"));
    world.intent.hosts.insert("router".to_owned(), host("", Some("guests"), Some(1), Some(HostGuard::None)));
    assert!(enters_in(&world, 1, Some(30), "192.0.2.1") && !enters_in(&world, 1, None, "192.0.2.1"));
    world.intent.segments.get_mut("guests").unwrap().vlan = Some(31);
    assert!(enters_in(&world, 1, Some(31), "192.0.2.1"));
}

#[test]
fn a_family_of_which_nothing_is_said() {
    let mut world = world(SegmentGuard::Hosts, SegmentGuard::Subnets);
    world.intent.segments.get_mut("office").unwrap().subnets.retain(|subnet| subnet.addr().is_ipv4());
    // The printer has an IPv6 address, so what is not said is meant.
    assert!(enters(&world, 1, "fd01::9") && !enters(&world, 1, "fd01::77"));
    world.intent.hosts.get_mut("printer").unwrap().addresses = vec![ip("10.1.0.9")];
    assert!(enters(&world, 1, "fd01::77") && !enters(&world, 1, "192.0.2.1"));
    // Who asks for it gets it for both.
    assert!(!enters(&world, 3, "fd01::77"));
    world.intent.hosts.get_mut("printer").unwrap().anti_spoofing = Some(HostGuard::Strict);
    assert!(!enters(&world, 1, "fd01::77"));
}

#[test]
fn every_kind_of_packet_with_a_source() {
    let mut world = world(SegmentGuard::Hosts, SegmentGuard::Hosts);
    // Whatever the policies say.
    let allow = FilterPolicy { default: Some(FilterAction::Allow), ..filter(&[]) };
    world.intent.filters.insert("all".to_owned(), allow);
    let (src, dst) = (ip("192.0.2.1"), ip("10.1.0.9"));
    let v4 = |text: &str| text.parse().unwrap();
    let gre = Packet::ip(src, dst, 47);
    let nd = Packet::new(Kind::Ip {
        src: ip("fd99::1"),
        dst: ip("fd01::9"),
        protocol: 58,
        fragment: false,
        l4: L4::Icmp { icmp_type: 135, code: 0 },
    });
    let evaluator = Evaluator::new(&world.intent);
    for packet in [gre, nd, Packet::later_fragment(src, dst, 6), Packet::arp(v4("192.0.2.1"), v4("10.1.0.9"))]
    {
        let verdict = evaluator.evaluate(Some("s1"), noon(), &packet.at_port(1));
        assert!(!verdict.allow && verdict.policy.is_none(), "{verdict:?}");
    }
    let probe = Packet::arp(v4("0.0.0.0"), v4("10.1.0.9")).at_port(1);
    assert!(evaluator.evaluate(Some("s1"), noon(), &probe).allow);
    let lldp = Packet::other(0x88cc).at_port(1);
    assert!(evaluator.evaluate(Some("s1"), noon(), &lldp).allow);
}

#[test]
fn a_packet_without_a_port_enters_where_it_may() {
    let world = world(SegmentGuard::Subnets, SegmentGuard::Hosts);
    let evaluator = Evaluator::new(&world.intent);
    for (source, port) in [("10.1.0.9", 1), ("10.1.0.77", 1), ("10.9.9.9", 1), ("10.3.0.77", 3)] {
        let packet = Packet::udp(ip(source), 1, ip("10.99.0.1"), 2);
        let entrance = evaluator.entrance(Some("s1"), &packet);
        assert_eq!(entrance.port, Some(port), "{source}: {entrance:?}");
        assert!(evaluator.evaluate(Some("s1"), noon(), &packet).allow, "{source}");
    }
    let text = "source address 10.1.0.9 is not allowed on port 2 in segment office: it is Host printer's, which is on port 1";
    let packet = Packet::udp(ip("10.1.0.9"), 1, ip("10.99.0.1"), 2).at_port(2);
    assert_eq!(evaluator.evaluate(Some("s1"), noon(), &packet).spoofed(), Some(text));
}
