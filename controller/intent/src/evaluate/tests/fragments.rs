//! Fragments after the first.

use super::build::{
    accept, allow, anywhere, cluster, deny, egress, filter, ingress, namespaces, pass, peer, refuse, rule,
    tcp_with_flags, traffic,
};
use super::world::{World, nine_pods};
use crate::model::{ClusterNetworkPolicy, ClusterTier, FilterAction, FilterPolicy, FilterRule, Replies};

const FRAGMENT: &str = "10.0.0.1 10.0.0.2 fragment 6";

#[test]
fn filter_rules() {
    let cases = [
        // traffic of the rule, whether a denying one matches, whether an allowing or passing one does
        ("", true, true),
        ("tcp", true, true),
        ("proto 6", true, true),
        ("tcp 80", false, true),
        ("tcp 80>", false, true),
        ("tcp 0-65535", false, true),
        ("udp", false, false),
        ("udp 80", false, false),
        ("udp 80, tcp", true, true),
        ("icmp", false, false),
        ("nd", false, false),
        ("arp", false, false),
        ("nonip", false, false),
    ];
    for (kinds, denies, others) in cases {
        for (rule, expected) in [(deny("r"), denies), (allow("r"), others), (pass("r"), others)] {
            // Passing leads to the default of no later policy, so that it shows in the verdict.
            let rule = FilterRule { traffic: traffic(kinds), ..rule };
            let last = FilterPolicy { priority: 900, ..filter(&[deny("last")]) };
            let world = World::default().filter("f", filter(std::slice::from_ref(&rule))).filter("g", last);
            let verdict = match (expected, rule.action) {
                (false, _) => "deny FilterPolicy/g last",
                (true, FilterAction::Deny) => "deny FilterPolicy/f r",
                (true, FilterAction::Allow) => "allow FilterPolicy/f r",
                (true, FilterAction::Pass) => "allow",
            };
            world.check(&[(FRAGMENT, verdict)]);
        }
    }
}

#[test]
fn filter_rules_with_flags_and_icmp_conditions() {
    let with = |rule: FilterRule, packet: &str, expected: &str| {
        World::default().filter("f", filter(&[rule])).check(&[(packet, expected)]);
    };
    let flags = vec![tcp_with_flags(0x02, 0)];
    with(FilterRule { traffic: flags.clone(), ..allow("r") }, FRAGMENT, "allow FilterPolicy/f r");
    with(FilterRule { traffic: flags, ..deny("r") }, FRAGMENT, "allow");
    let v4 = "10.0.0.1 10.0.0.2 fragment 1";
    with(FilterRule { traffic: traffic("icmp 8"), ..allow("r") }, v4, "allow FilterPolicy/f r");
    with(FilterRule { traffic: traffic("icmp 8"), ..deny("r") }, v4, "allow");
    with(FilterRule { traffic: traffic("icmp"), ..deny("r") }, v4, "deny FilterPolicy/f r");
    let v6 = "fd00::1 fd00::2 fragment 58";
    with(FilterRule { traffic: traffic("icmp6 128"), ..allow("r") }, v6, "allow FilterPolicy/f r");
    with(FilterRule { traffic: traffic("icmp6"), ..deny("r") }, v6, "deny FilterPolicy/f r");
    with(FilterRule { traffic: traffic("nd"), ..deny("r") }, v6, "allow");
    with(deny("r"), v6, "deny FilterPolicy/f r");
}

#[test]
fn defaults_and_addresses_concern_fragments() {
    let rule = FilterRule {
        to: vec![super::build::cidr("10.0.0.2/32")],
        traffic: traffic("tcp 80"),
        ..allow("web")
    };
    let policy =
        FilterPolicy { default: Some(FilterAction::Deny), replies: Replies::Reverse, ..filter(&[rule]) };
    World::default().filter("f", policy).check(&[
        (FRAGMENT, "allow FilterPolicy/f web"),
        ("10.0.0.1 10.0.0.3 fragment 6", "deny FilterPolicy/f default"),
        ("10.0.0.1 10.0.0.2 fragment 17", "deny FilterPolicy/f default"),
        // No reply: that takes ports.
        ("10.0.0.2 10.0.0.1 fragment 6", "deny FilterPolicy/f default"),
    ]);
}

#[test]
fn network_policy() {
    let world =
        nine_pods().policy("x/p", ingress("pod=a", &[rule(&[namespaces("ns=y")], "TCP/80-90, UDP/dns")]));
    world.check(&[
        ("y/a x/a fragment 6", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/a x/a fragment 17", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/a x/a fragment 132", "deny NetworkPolicy/x/p isolation"),
        ("z/a x/a fragment 6", "deny NetworkPolicy/x/p isolation"),
    ]);
    // A name still has to be the destination's, for this protocol.
    nine_pods()
        .pod("x/a", "pod=a", "10.0.1.1", "dns=TCP/53")
        .policy("x/p", ingress("", &[rule(&[], "UDP/dns")]))
        .check(&[
            ("y/a x/a fragment 17", "deny NetworkPolicy/x/p isolation"),
            ("y/a x/b fragment 17", "allow NetworkPolicy/x/p ingress[0]"),
            ("y/a x/b fragment 6", "deny NetworkPolicy/x/p isolation"),
        ]);
    let all = nine_pods().policy("x/p", ingress("", &[rule(&[], "TCP")]));
    all.check(&[("y/a x/a fragment 6", "allow NetworkPolicy/x/p ingress[0]")]);
}

#[test]
fn never_a_reply() {
    let modes = |replies| {
        nine_pods()
            .policy("x/in", crate::model::NetworkPolicy { replies: Some(replies), ..ingress("", &[]) })
            .policy("x/out", egress("", &[rule(&[], "")]))
    };
    for replies in [Replies::None, Replies::Established, Replies::Reverse] {
        modes(replies).check(&[
            ("y/a x/a fragment 6", "deny NetworkPolicy/x/in isolation"),
            ("y/a x/a fragment 17", "deny NetworkPolicy/x/in isolation"),
        ]);
    }
}

#[test]
fn cluster_policy() {
    let rules = [
        refuse(&[peer("", "")], "TCP/80, UDP/1-65535"),
        refuse(&[peer("", "")], "*/http"),
        accept(&[peer("", "")], "TCP/81"),
        refuse(&[peer("", "")], "UDP"),
        refuse(&[peer("", "")], ""),
    ];
    let policy =
        ClusterNetworkPolicy { ingress: rules.to_vec(), ..cluster(ClusterTier::Admin, 0, anywhere("", "")) };
    nine_pods().cluster("c", policy).check(&[
        ("y/a x/a fragment 6", "allow ClusterNetworkPolicy/c ingress[2]"),
        ("y/a x/a fragment 17", "deny ClusterNetworkPolicy/c ingress[3]"),
        ("y/a x/a fragment 132", "deny ClusterNetworkPolicy/c ingress[4]"),
    ]);
}
