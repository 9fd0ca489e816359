//! Frames that the switch cannot read, and such that it drops.

use super::build::{
    accept, allow, anywhere, cluster, deny, egress, filter, ingress, networks, pass, refuse, rule, traffic,
};
use super::world::{World, brief, nine_pods};
use crate::model::{ClusterTier, FilterAction, FilterPolicy, FilterRule, FilterTier};
use crate::packet::{Kind, Llc, Packet};

/// IP behind SNAP, MPLS, `PPPoE`, `MACsec`, and a number that nobody knows.
fn frames() -> Vec<Packet> {
    let mut frames: Vec<Packet> = [0x8847, 0x8864, 0x88e5, 0x0600, 0xffff].map(Packet::other).to_vec();
    frames.push(Packet::new(Kind::Llc(Llc::snap([0; 3], 0x0800))));
    frames.push(Packet::new(Kind::Llc(Llc::snap([0, 0, 0xf8], 0x86dd))));
    frames.push(Packet::new(Kind::Llc(Llc { dsap: 6, ssap: 6, control: 3, ..Llc::default() })));
    frames
}

#[track_caller]
fn all(world: &World, expected: &str) {
    for frame in frames() {
        assert_eq!(brief(&world.verdict(&frame)), expected, "{frame:?}");
        assert_eq!(brief(&world.verdict(&frame.clone().in_vlan(0).tagged(0x88a8, 0))), expected);
    }
    // What carries no IP is nobody's business.
    assert!(world.verdict(&Packet::other(0x88cc)).allow);
    let stp = Packet::new(Kind::Llc(Llc { dsap: 0x42, ssap: 0x42, control: 3, ..Llc::default() }));
    assert!(world.verdict(&stp).allow);
}

fn closed(rules: &[FilterRule]) -> FilterPolicy {
    FilterPolicy { default: Some(FilterAction::Deny), ..filter(rules) }
}

fn of(action: FilterRule, what: &str) -> FilterRule {
    FilterRule { traffic: traffic(what), ..action }
}

#[test]
fn where_everything_passes_they_pass() {
    all(&World::default(), "allow");
    all(&nine_pods(), "allow");
    all(&World::default().filter("f", filter(&[of(allow("a"), "tcp 80")])), "allow");
    all(&World::default().filter("f", filter(&[allow("all")])), "allow FilterPolicy/f all");
    let open = FilterPolicy { default: Some(FilterAction::Allow), ..filter(&[]) };
    all(&World::default().filter("f", open), "allow FilterPolicy/f default");
}

#[test]
fn what_may_deny_something_in_them_denies_them() {
    all(&World::default().filter("f", closed(&[])), "deny FilterPolicy/f default");
    all(&World::default().filter("f", closed(&[of(allow("a"), "tcp 80")])), "deny FilterPolicy/f default");
    for what in ["tcp 23", "icmp 8", "proto 47", "arp", "nd", "icmp6 143"] {
        let policy = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[of(deny("d"), what)]) };
        all(&World::default().filter("f", policy), "deny FilterPolicy/f d");
    }
    // Allowed as IP, but something in them is no IP packet.
    let policy = filter(&[allow("all"), of(deny("arp"), "arp")]);
    all(&World::default().filter("f", policy), "deny FilterPolicy/f arp");
    all(
        &World::default().filter("f", filter(&[allow("all"), of(deny("d"), "tcp 23")])),
        "allow FilterPolicy/f all",
    );
}

#[test]
fn a_rule_may_name_them() {
    all(&World::default().filter("f", closed(&[of(allow("n"), "nonip")])), "allow FilterPolicy/f n");
    let world = World::default().filter("f", closed(&[of(allow("pppoe"), "ether 0x8864")]));
    assert_eq!(brief(&world.verdict(&Packet::other(0x8864))), "allow FilterPolicy/f pppoe");
    assert_eq!(brief(&world.verdict(&Packet::other(0x8847))), "deny FilterPolicy/f default");
    // Who lets all IP pass may still want no other frames.
    let policy = filter(&[allow("all"), of(deny("n"), "ether 0x8847")]);
    let world = World::default().filter("f", policy);
    assert_eq!(brief(&world.verdict(&Packet::other(0x8847))), "deny FilterPolicy/f n");
    assert_eq!(brief(&world.verdict(&Packet::other(0x8864))), "allow FilterPolicy/f all");
    let world = World::default().filter("f", filter(&[of(deny("l"), "ether 0x88cc")]));
    assert_eq!(brief(&world.verdict(&Packet::other(0x88cc))), "deny FilterPolicy/f l");
    assert!(world.verdict(&Packet::other(0x888e)).allow);
}

#[test]
fn what_passes_on_is_asked_about_further() {
    let baseline = |rules: &[FilterRule]| FilterPolicy { tier: FilterTier::Baseline, ..filter(rules) };
    let world = |rules: &[FilterRule]| {
        World::default().filter("a", filter(rules)).filter("b", baseline(&[of(deny("d"), "tcp 23")]))
    };
    all(&world(&[allow("all")]), "allow FilterPolicy/a all");
    all(&world(&[of(pass("p"), "tcp"), allow("all")]), "deny FilterPolicy/b d");
    all(&world(&[of(pass("p"), "nonip"), allow("all")]), "deny FilterPolicy/b d");
    all(&world(&[of(pass("p"), "arp"), allow("all")]), "allow FilterPolicy/a all");
}

#[test]
fn isolated_pods_may_be_reached_by_them() {
    all(&nine_pods().policy("x/in", ingress("pod=a", &[])), "deny NetworkPolicy/x/in isolation");
    all(&nine_pods().policy("x/out", egress("pod=a", &[])), "deny NetworkPolicy/x/out isolation");
    all(&nine_pods().policy("x/in", ingress("pod=none", &[])), "allow");
    all(&nine_pods().policy("x/in", ingress("pod=a", &[rule(&[], "")])), "allow");
    all(
        &nine_pods().policy("x/in", ingress("pod=a", &[rule(&[], "TCP")])),
        "deny NetworkPolicy/x/in isolation",
    );
    let admin = |rule| {
        let mut policy = cluster(ClusterTier::Admin, 1, anywhere("", "pod=a"));
        policy.egress = vec![accept(&[networks(&["0.0.0.0/0"])], ""), rule];
        nine_pods().cluster("c", policy)
    };
    all(&admin(refuse(&[networks(&["10.0.0.0/8"])], "")), "deny ClusterNetworkPolicy/c egress[1]");
    all(&admin(accept(&[networks(&["10.0.0.0/8"])], "")), "allow");
    // The admin tier of filter policies comes before the pods.
    let world = nine_pods().policy("x/in", ingress("pod=a", &[]));
    all(&world.filter("f", filter(&[of(allow("n"), "nonip")])), "allow FilterPolicy/f n");
}

#[test]
fn more_than_two_tags_pass_nowhere() {
    let world = World::default().filter("f", filter(&[allow("all"), of(allow("n"), "nonip")]));
    let udp = || world.packet("10.0.0.1 10.0.0.2 udp 5");
    for tpid in [0x8100, 0x88a8, 0x9100] {
        let two = udp().in_vlan(0).tagged(tpid, 0);
        assert!(world.verdict(&two).allow);
        assert_eq!(brief(&world.verdict(&two.tagged(tpid, 0))), "deny");
    }
    for frame in frames() {
        assert_eq!(brief(&world.verdict(&frame.in_vlan(1).in_vlan(2).in_vlan(3))), "deny");
    }
}
