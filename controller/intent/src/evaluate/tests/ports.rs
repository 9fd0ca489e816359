//! Ports of NetworkPolicy and ClusterNetworkPolicy rules.

use super::build::{accept, anywhere, block, cluster, egress, ingress, namespaces, peer, rule};
use super::world::{World, brief, nine_pods};
use crate::model::{ClusterNetworkPolicy, ClusterTier};

/// Whether packets to x/a get in by an ingress rule with these ports.
fn lets_in(ports: &str, packets: &[(&str, bool)]) {
    let world = nine_pods().policy("x/p", ingress("pod=a", &[rule(&[], ports)]));
    for (packet, expected) in packets {
        let verdict = world.verdict(&world.packet(&format!("y/a x/a {packet}")));
        let brief = brief(&verdict);
        assert_eq!(verdict.allow, *expected, "{packet} by {ports:?}: {brief}");
    }
}

#[test]
fn protocols_and_ranges() {
    lets_in("", &[("tcp 1", true), ("udp 1", true), ("sctp 1", true), ("icmp 8", true), ("proto 50", true)]);
    lets_in("TCP", &[("tcp 1", true), ("tcp 65535", true), ("udp 1", false), ("icmp 8", false)]);
    lets_in("SCTP", &[("sctp 7", true), ("tcp 7", false), ("udp 7", false)]);
    lets_in("TCP/80", &[("tcp 80", true), ("tcp 79", false), ("tcp 81", false), ("udp 80", false)]);
    lets_in("UDP/80", &[("udp 80", true), ("tcp 80", false), ("sctp 80", false)]);
    lets_in("SCTP/80", &[("sctp 80", true), ("tcp 80", false), ("udp 80", false)]);
    lets_in("TCP/80", &[("proto 50", false), ("icmp 8", false), ("fragment 17", false)]);
    lets_in(
        "TCP/8000-8010",
        &[
            ("tcp 7999", false),
            ("tcp 8000", true),
            ("tcp 8005", true),
            ("tcp 8010", true),
            ("tcp 8011", false),
        ],
    );
    lets_in("TCP/8000-8010", &[("udp 8000", false)]);
    lets_in("UDP/1-65535", &[("udp 1", true), ("udp 65535", true), ("tcp 1", false)]);
    lets_in("TCP/80, UDP/53", &[("tcp 80", true), ("udp 53", true), ("tcp 53", false), ("udp 80", false)]);
    // It is the destination port, and it takes no opening segment.
    lets_in("TCP/80", &[("tcp 80>81", false), ("tcp 81>80 ack", true), ("tcp 81>80 none", true)]);
}

#[test]
fn rules_pair_their_own_peers_with_their_own_ports() {
    let rules = [rule(&[namespaces("ns=y")], "TCP/80"), rule(&[namespaces("ns=z")], "TCP/81")];
    nine_pods().policy("x/p", ingress("pod=a", &rules)).check(&[
        ("y/a x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("z/a x/a tcp 81", "allow NetworkPolicy/x/p ingress[1]"),
        ("y/a x/a tcp 81", "deny NetworkPolicy/x/p isolation"),
        ("z/a x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
}

/// Two pods that call different ports `http`, one that has none, and one with the name under both protocols.
fn naming() -> World {
    nine_pods()
        .pod("y/a", "pod=a", "10.0.2.1 fd00::2:1", "http=TCP/8080")
        .pod("y/b", "pod=b", "10.0.2.2 fd00::2:2", "web=TCP/80")
        .pod("y/c", "pod=c", "10.0.2.3 fd00::2:3", "http=TCP/80 http=UDP/443")
}

#[test]
fn named_ports_on_ingress_are_the_pods_own() {
    naming().policy("y/p", ingress("", &[rule(&[], "TCP/http")])).check(&[
        ("x/a y/a tcp 8080", "allow NetworkPolicy/y/p ingress[0]"),
        ("x/a y/a tcp 80", "deny NetworkPolicy/y/p isolation"),
        ("x/a y/a udp 8080", "deny NetworkPolicy/y/p isolation"),
        ("x/a y/b tcp 80", "deny NetworkPolicy/y/p isolation"),
        ("x/a y/c tcp 80", "allow NetworkPolicy/y/p ingress[0]"),
        ("x/a y/c udp 443", "deny NetworkPolicy/y/p isolation"),
        ("~x/a ~y/c tcp 80", "allow NetworkPolicy/y/p ingress[0]"),
    ]);
}

#[test]
fn named_ports_on_egress_are_the_destination_pods() {
    let out = egress("pod=a", &[rule(&[namespaces(""), block("10.9.0.0/24", &[])], "TCP/http")]);
    naming().policy("x/p", out).check(&[
        ("x/a y/a tcp 8080", "allow NetworkPolicy/x/p egress[0]"),
        ("x/a y/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("x/a y/c tcp 80", "allow NetworkPolicy/x/p egress[0]"),
        ("x/a y/b tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("x/a x/b tcp 80", "allow NetworkPolicy/x/p egress[0]"),
        // Who is no pod names no ports.
        ("x/a 10.9.0.1 tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
}

#[test]
fn names_without_a_protocol_mean_each_that_has_them() {
    let policy = ClusterNetworkPolicy {
        ingress: vec![accept(&[peer("", "")], "*/http")],
        ..cluster(ClusterTier::Admin, 0, anywhere("ns=y", ""))
    };
    let world = naming().cluster("names", policy).policy("y/deny", ingress("", &[]));
    world.check(&[
        ("x/a y/c tcp 80", "allow ClusterNetworkPolicy/names ingress[0]"),
        ("x/a y/c udp 443", "allow ClusterNetworkPolicy/names ingress[0]"),
        ("x/a y/c tcp 443", "deny NetworkPolicy/y/deny isolation"),
        ("x/a y/c udp 80", "deny NetworkPolicy/y/deny isolation"),
        ("x/a y/a tcp 8080", "allow ClusterNetworkPolicy/names ingress[0]"),
        ("x/a y/b tcp 80", "deny NetworkPolicy/y/deny isolation"),
    ]);
}
