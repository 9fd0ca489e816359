//! Where packets enter, and policies for segments.

use super::build::{deny, filter, ip, net};
use super::world::{World, noon};
use crate::evaluate::{Entrance, Evaluator};
use crate::model::{FilterPeer, FilterPolicy, FilterRule, Segment};
use crate::packet::{Ingress, Packet};

fn segment(vlan: Option<u16>, subnets: &[&str], ports: &[(&str, &[u16])]) -> Segment {
    Segment {
        vlan,
        subnets: subnets.iter().map(|subnet| net(subnet)).collect(),
        ports: ports.iter().map(|(switch, ports)| ((*switch).to_owned(), ports.to_vec())).collect(),
        ..Segment::default()
    }
}

/// Segments of every sort.
fn world() -> World {
    let mut world = World::default();
    let segments = [
        ("access", segment(None, &["10.1.0.0/16"], &[("s1", &[1, 2]), ("s2", &[7])])),
        ("tagged", segment(Some(10), &["10.1.2.0/24"], &[("s1", &[1, 3])])),
        ("everywhere", segment(Some(20), &["10.2.0.0/16", "fd02::/64"], &[])),
        ("twice", segment(Some(20), &["10.1.2.128/25"], &[("s1", &[4])])),
        ("nowhere", segment(None, &["10.0.0.0/8"], &[])),
        ("far", segment(None, &["10.1.2.192/26"], &[("s2", &[1])])),
    ];
    world.intent.segments = segments.into_iter().map(|(name, segment)| (name.to_owned(), segment)).collect();
    world
}

fn enters(world: &World, switch: &str, packet: &Packet) -> Option<String> {
    Evaluator::new(&world.intent).entrance(Some(switch), packet).segment
}

#[test]
fn port_and_vlan_say_the_segment() {
    let cases = [
        // switch, port, VLAN, segment
        ("s1", 1, None, Some("access")),
        ("s1", 2, None, Some("access")),
        ("s1", 3, None, None),
        ("s2", 7, None, Some("access")),
        ("s2", 1, None, Some("far")),
        ("s2", 2, None, None),
        ("s3", 1, None, None),
        ("s1", 1, Some(0), Some("access")),
        ("s1", 1, Some(10), Some("tagged")),
        ("s1", 3, Some(10), Some("tagged")),
        ("s1", 2, Some(10), None),
        ("s2", 1, Some(10), None),
        ("s1", 1, Some(20), Some("everywhere")),
        ("s3", 500, Some(20), Some("everywhere")),
        ("s1", 4, Some(20), Some("twice")),
        ("s2", 4, Some(20), Some("everywhere")),
        ("s1", 1, Some(30), None),
    ];
    let world = world();
    for (switch, port, vlan, expected) in cases {
        let packet = vlan.into_iter().fold(Packet::other(0x88cc).at_port(port), Packet::in_vlan);
        assert_eq!(enters(&world, switch, &packet).as_deref(), expected, "{switch} {port} {vlan:?}");
    }
}

#[test]
fn without_a_port_the_source_says_where() {
    let mut world =
        world().host("plugged", "10.2.0.9 10.77.0.9", Some("tagged")).host("own-vlan", "10.2.0.10", None);
    world = world.host("loose", "10.77.0.1", Some("everywhere")).host("homeless", "10.2.0.11", None);
    world = world.host("elsewhere", "10.77.0.2", Some("far"));
    let host = |world: &mut World, name: &str, port: (&str, u16), vlan| {
        let host = world.intent.hosts.get_mut(name).expect("host");
        host.port = Some((port.0.to_owned(), port.1));
        host.vlan = vlan;
    };
    host(&mut world, "plugged", ("s1", 1), None);
    host(&mut world, "own-vlan", ("s1", 4), Some(20));
    host(&mut world, "elsewhere", ("s2", 1), None);

    let cases = [
        // source, VLAN, port, VLAN and segment on s1
        ("10.2.0.9", None, Some(1), Some(10), Some("tagged")),
        ("10.77.0.9", Some(20), Some(1), Some(20), Some("everywhere")),
        ("10.77.0.9", Some(30), Some(1), Some(30), None),
        ("10.2.0.10", None, Some(4), Some(20), Some("twice")),
        ("10.2.0.10", Some(10), Some(4), Some(10), None),
        ("10.77.0.1", None, None, Some(20), Some("everywhere")),
        // By port 1, where there is a host, only the segment's subnets enter.
        ("10.77.0.1", Some(10), Some(3), Some(10), Some("tagged")),
        ("10.77.0.2", None, None, None, None),
        ("10.2.0.11", None, None, Some(20), Some("everywhere")),
        ("10.1.0.1", None, Some(1), None, Some("access")),
        ("10.1.2.1", None, Some(1), Some(10), Some("tagged")),
        ("10.1.2.1", Some(20), None, Some(20), Some("everywhere")),
        ("10.1.2.129", None, Some(4), Some(20), Some("twice")),
        ("10.1.2.193", None, Some(4), Some(20), Some("twice")),
        ("10.1.2.193", Some(10), Some(1), Some(10), Some("tagged")),
        ("fd02::1", None, None, Some(20), Some("everywhere")),
        ("10.99.0.1", None, None, None, None),
        ("10.99.0.1", Some(10), Some(3), Some(10), Some("tagged")),
        ("10.99.0.1", Some(20), None, Some(20), Some("everywhere")),
        ("10.99.0.1", Some(30), None, Some(30), None),
    ];
    for (source, tag, port, vlan, segment) in cases {
        let source = ip(source);
        let packet = tag.into_iter().fold(Packet::udp(source, 1, source, 2), Packet::in_vlan);
        let expected = Entrance { port, vlan, segment: segment.map(str::to_owned) };
        assert_eq!(Evaluator::new(&world.intent).entrance(Some("s1"), &packet), expected, "{source} {tag:?}");
    }
    // Without an address only the VLAN can say.
    assert_eq!(enters(&world, "s1", &Packet::other(1).in_vlan(10)).as_deref(), Some("tagged"));
    assert_eq!(enters(&world, "s1", &Packet::other(1)), None);
}

#[test]
fn a_segment_by_name() {
    let packet = |name: &str| Packet { ingress: Some(Ingress::Segment(name.into())), ..Packet::other(1) };
    assert_eq!(enters(&world(), "s1", &packet("far")).as_deref(), Some("far"));
    assert_eq!(enters(&world(), "s1", &packet("unheard-of")), None);
}

#[test]
fn policies_of_segments_look_at_their_packets_only() {
    let policy = |segments: &[&str]| FilterPolicy {
        segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
        ..filter(&[deny("hit")])
    };
    let hit = |segments: &[&str], packet: &Packet| {
        let world = world().filter("f", policy(segments));
        !Evaluator::new(&world.intent).evaluate(Some("s1"), noon(), packet).allow
    };
    let packet = world().packet("10.1.0.1 10.2.0.1 tcp 80");
    let at = |port| packet.clone().at_port(port);
    assert!(hit(&["access"], &at(1)));
    assert!(hit(&["everywhere", "access"], &at(1)));
    assert!(!hit(&["everywhere"], &at(1)));
    assert!(hit(&["everywhere"], &at(1).in_vlan(20)));
    assert!(!hit(&["access"], &at(3)));
    assert!(hit(&[], &at(3)));
    assert!(hit(&["access"], &packet));
}

#[test]
fn a_reply_is_looked_at_where_it_enters() {
    let to = FilterPeer::Cidr { cidr: net("10.2.0.0/16"), except: Vec::new() };
    let rule = FilterRule { to: vec![to], ..super::build::allow("out") };
    let policy = FilterPolicy {
        default: Some(crate::model::FilterAction::Deny),
        segments: vec!["access".into()],
        ..filter(&[rule])
    };
    let world = world().filter("f", policy);
    let evaluator = Evaluator::new(&world.intent);
    let judge = |packet: Packet| super::world::brief(&evaluator.evaluate(Some("s1"), noon(), &packet));
    let reply = world.packet("10.2.0.1 10.1.0.1 tcp 80>9 ack");
    assert_eq!(judge(reply.clone().at_port(9).in_vlan(20)), "allow");
    assert_eq!(judge(reply.at_port(1)), "allow FilterPolicy/f out");
    assert_eq!(
        judge(world.packet("10.2.0.1 10.1.0.1 tcp 80>9 syn").at_port(1)),
        "deny FilterPolicy/f default"
    );
}
