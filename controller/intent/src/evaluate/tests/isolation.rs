//! NetworkPolicy: whom it isolates, and which peers it lets in and out.

use super::build::{block, egress, ingress, labels, namespaces, pods, pods_in, policy, rule, selector};
use super::world::nine_pods;
use crate::evaluate::matching::selects;
use crate::model::NetworkPolicy;

const OPEN: &str = "allow";

#[test]
fn selectors() {
    let cases = [
        // selector, labels, selected
        ("", "", true),
        ("", "a=1", true),
        ("a=1", "a=1", true),
        ("a=1", "a=2", false),
        ("a=1", "", false),
        ("a=1, b=1", "a=1", false),
        ("a=1, b=1", "a=1, b=1, c=1", true),
        ("a in 1|2", "a=2", true),
        ("a in 1|2", "a=3", false),
        ("a in 1|2", "b=1", false),
        ("a notin 1|2", "a=1", false),
        ("a notin 1|2", "a=3", true),
        ("a notin 1|2", "", true),
        ("a", "a=", true),
        ("a", "b=1", false),
        ("!a", "b=1", true),
        ("!a", "a=1", false),
        ("a, a notin 1", "a=2", true),
        ("a, a notin 1", "", false),
        ("a=1, a=2", "a=1", false),
    ];
    for (select, of, expected) in cases {
        assert_eq!(selects(&selector(select), &labels(of)), expected, "{select:?} on {of:?}");
    }
}

#[test]
fn without_policies_everything_passes() {
    nine_pods().check(&[
        ("x/a y/b tcp 80", OPEN),
        ("~x/a ~y/b udp 53", OPEN),
        ("x/a 10.9.0.1 sctp 1", OPEN),
        ("10.9.0.1 x/a icmp 8", OPEN),
        ("10.9.0.1 10.9.0.2 proto 47", OPEN),
    ]);
}

#[test]
fn deny_all_ingress() {
    nine_pods().policy("x/deny", ingress("", &[])).check(&[
        ("y/a x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("x/b x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("10.9.0.1 x/c udp 53", "deny NetworkPolicy/x/deny isolation"),
        ("10.9.0.1 x/c icmp 8", "deny NetworkPolicy/x/deny isolation"),
        ("10.9.0.1 x/c proto 47", "deny NetworkPolicy/x/deny isolation"),
        ("~y/a ~x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        // It says nothing about egress, other namespaces and the pod itself.
        ("x/a y/a tcp 80", OPEN),
        ("y/a y/b tcp 80", OPEN),
        ("x/a x/a tcp 80", OPEN),
        // Nor about anything that is not IP, nor about neighbour discovery.
        ("y/a x/a arp", OPEN),
        ("~y/a ~x/a icmp 135", OPEN),
        ("ether 0x88cc", OPEN),
    ]);
}

#[test]
fn deny_all_egress() {
    nine_pods().policy("x/deny", egress("", &[])).check(&[
        ("x/a y/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("x/a x/b tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("x/a 10.9.0.1 udp 53", "deny NetworkPolicy/x/deny isolation"),
        ("y/a x/a tcp 80", OPEN),
        ("x/a x/a tcp 80", OPEN),
    ]);
}

#[test]
fn allow_all_adds_up_with_deny_all() {
    let world = nine_pods().policy("x/deny", ingress("", &[]));
    let world = world.policy("x/open", ingress("pod=a", &[rule(&[], "")]));
    world.check(&[
        ("y/a x/a tcp 80", "allow NetworkPolicy/x/open ingress[0]"),
        ("y/a x/a icmp 8", "allow NetworkPolicy/x/open ingress[0]"),
        ("y/a x/a proto 47", "allow NetworkPolicy/x/open ingress[0]"),
        ("y/a x/b tcp 80", "deny NetworkPolicy/x/deny isolation"),
    ]);
}

#[test]
fn who_is_named_first_policy_by_name_first_rule_and_a_default_deny() {
    let web = [rule(&[pods("pod=b")], "TCP/80"), rule(&[], "TCP/80"), rule(&[], "TCP/81")];
    nine_pods()
        .policy("x/2", ingress("", &web))
        .policy("x/1", ingress("pod=a", &[rule(&[], "TCP/81")]))
        .policy("x/3", egress("", &[rule(&[], "")]))
        .check(&[
            ("x/b x/a tcp 80", "allow NetworkPolicy/x/2 ingress[0]"),
            ("y/b x/a tcp 80", "allow NetworkPolicy/x/2 ingress[1]"),
            ("y/b x/a tcp 81", "allow NetworkPolicy/x/1 ingress[0]"),
            ("y/b x/b tcp 81", "allow NetworkPolicy/x/2 ingress[2]"),
            ("y/b x/a tcp 82", "deny NetworkPolicy/x/1 isolation"),
            ("y/b x/b tcp 82", "deny NetworkPolicy/x/2 isolation"),
        ]);
    // A default deny is what people take the isolation from, whatever it is called.
    nine_pods().policy("x/allow", ingress("", &web)).policy("x/deny", ingress("", &[])).check(&[
        ("y/b x/a tcp 81", "allow NetworkPolicy/x/allow ingress[2]"),
        ("y/b x/a tcp 82", "deny NetworkPolicy/x/deny isolation"),
    ]);
}

#[test]
fn pod_selectors_stay_in_the_namespace() {
    nine_pods().policy("x/p", ingress("pod=a", &[rule(&[pods("pod=b")], "")])).check(&[
        ("x/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("x/c x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("10.9.0.1 x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("y/b x/c tcp 80", OPEN),
    ]);
}

#[test]
fn an_empty_pod_selector_means_the_namespaces_pods_and_no_other_address() {
    nine_pods().policy("x/p", ingress("", &[rule(&[pods("")], "")])).check(&[
        ("x/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("~x/b ~x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("10.9.0.1 x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
}

#[test]
fn namespace_selectors() {
    let from = |peer| ingress("pod=a", &[rule(&[peer], "")]);
    let allow = "allow NetworkPolicy/x/p ingress[0]";
    let deny = "deny NetworkPolicy/x/p isolation";
    // peer, then whether x/b, y/b, z/b and somebody else get in
    let cases = [
        (namespaces(""), [allow, allow, allow, deny]),
        (namespaces("ns=y"), [deny, allow, deny, deny]),
        (namespaces("kubernetes.io/metadata.name in x|z"), [allow, deny, allow, deny]),
        (namespaces("ns notin y"), [allow, deny, allow, deny]),
        (namespaces("env notin prod"), [allow, allow, deny, deny]),
        (namespaces("!env"), [allow, allow, deny, deny]),
        (namespaces("env"), [deny, deny, allow, deny]),
        (namespaces("ns=nowhere"), [deny, deny, deny, deny]),
        (pods_in("", "pod=b"), [allow, allow, allow, deny]),
        (pods_in("", "pod=a"), [deny, deny, deny, deny]),
        (pods_in("ns=z", "pod notin a"), [deny, deny, allow, deny]),
    ];
    for (peer, expected) in cases {
        let world = nine_pods().policy("x/p", from(peer.clone()));
        for (source, expected) in ["x/b", "y/b", "z/b", "10.9.0.1"].into_iter().zip(expected) {
            let packet = world.packet(&format!("{source} x/a tcp 80"));
            let seen = super::world::brief(&world.verdict(&packet));
            assert_eq!(seen, expected, "{source} by {peer:?}");
        }
    }
}

#[test]
fn selectors_in_one_peer_both_hold_and_in_two_either() {
    let both = ingress("pod=a", &[rule(&[pods_in("ns=y", "pod=b")], "")]);
    nine_pods().policy("x/p", both).check(&[
        ("y/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/a x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("x/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("z/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
    let either = ingress("pod=a", &[rule(&[namespaces("ns=y"), pods("pod=b")], "")]);
    nine_pods().policy("x/p", either).check(&[
        ("y/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/a x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("x/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("x/c x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("z/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
}

#[test]
fn ip_blocks_are_addresses_whoever_has_them() {
    let from = [block("10.0.0.0/16", &["10.0.2.0/24", "10.0.3.1/32"]), block("fd00::/64", &[])];
    nine_pods().policy("x/p", ingress("pod=a", &[rule(&from, "")])).check(&[
        ("x/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("10.0.77.1 x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/b x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("z/a x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("z/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("10.1.0.1 x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        // The exceptions are IPv4's.
        ("~y/b ~x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
    ]);
}

#[test]
fn an_exception_cuts_its_own_peer_only() {
    let narrow = rule(&[block("10.0.0.0/16", &["10.0.2.0/24"]), pods_in("ns=y", "pod=a")], "");
    let later = rule(&[block("10.0.2.2/32", &[])], "");
    nine_pods().policy("x/p", ingress("pod=a", &[narrow, later])).check(&[
        ("y/a x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/b x/a tcp 80", "allow NetworkPolicy/x/p ingress[1]"),
        ("y/c x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
    nine_pods()
        .policy("x/1", ingress("pod=a", &[rule(&[block("0.0.0.0/0", &["10.0.2.0/24"])], "")]))
        .policy("x/2", ingress("pod=a", &[rule(&[block("10.0.2.0/25", &[])], "")]))
        .check(&[
            ("y/a x/a tcp 80", "allow NetworkPolicy/x/2 ingress[0]"),
            ("10.0.2.200 x/a tcp 80", "deny NetworkPolicy/x/1 isolation"),
            ("10.9.0.1 x/a tcp 80", "allow NetworkPolicy/x/1 ingress[0]"),
            ("~y/a ~x/a tcp 80", "deny NetworkPolicy/x/1 isolation"),
        ]);
}

#[test]
fn egress_and_ingress_must_both_allow() {
    let world = nine_pods()
        .policy("x/out", egress("pod=a", &[rule(&[pods_in("ns=y", "pod=b")], "TCP/80")]))
        .policy("y/in", ingress("pod in b|c", &[rule(&[pods_in("ns=x", "")], "TCP/80, TCP/81")]));
    world.check(&[
        // Both decide, the ingress side is named.
        ("x/a y/b tcp 80", "allow NetworkPolicy/y/in ingress[0]"),
        // Ingress would allow, egress does not.
        ("x/a y/b tcp 81", "deny NetworkPolicy/x/out isolation"),
        ("x/a y/c tcp 80", "deny NetworkPolicy/x/out isolation"),
        // Both deny: egress is named.
        ("x/a y/c udp 53", "deny NetworkPolicy/x/out isolation"),
        // Only one side decides.
        ("x/b y/c tcp 81", "allow NetworkPolicy/y/in ingress[0]"),
        ("x/b y/c tcp 82", "deny NetworkPolicy/y/in isolation"),
        ("z/b y/c tcp 80", "deny NetworkPolicy/y/in isolation"),
        ("x/a y/a tcp 80", "deny NetworkPolicy/x/out isolation"),
    ]);
    let world = nine_pods().policy("x/out", egress("pod=a", &[rule(&[block("10.9.0.0/24", &[])], "")]));
    world.check(&[("x/a 10.9.0.1 tcp 80", "allow NetworkPolicy/x/out egress[0]")]);
}

#[test]
fn one_policy_may_isolate_both_ways() {
    let both = NetworkPolicy {
        ingress: Some(vec![rule(&[pods("pod=b")], "")]),
        egress: Some(vec![rule(&[pods("pod=c")], "")]),
        ..policy("pod=a")
    };
    nine_pods().policy("x/both", both).check(&[
        ("x/b x/a tcp 80", "allow NetworkPolicy/x/both ingress[0]"),
        ("x/a x/c tcp 80", "allow NetworkPolicy/x/both egress[0]"),
        ("x/a x/b tcp 80", "deny NetworkPolicy/x/both isolation"),
        ("x/c x/a tcp 80", "deny NetworkPolicy/x/both isolation"),
    ]);
    let neither = nine_pods().policy("x/neither", policy(""));
    neither.check(&[("x/b x/a tcp 80", OPEN)]);
}

#[test]
fn a_pod_between_isolated_pods_of_its_namespace_keeps_its_own_freedom() {
    nine_pods().policy("x/p", ingress("role=db", &[rule(&[pods("pod notin c")], "TCP/80")])).check(&[
        ("x/a x/c tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("x/a x/c tcp 5432", "deny NetworkPolicy/x/p isolation"),
        ("x/c x/a tcp 5432", OPEN),
        ("y/a y/c tcp 5432", OPEN),
    ]);
}

#[test]
fn dual_stack_pods_are_one_pod() {
    let from = [rule(&[pods_in("ns=y", "pod=a"), block("10.0.3.0/24", &[])], "TCP/http")];
    nine_pods().policy("x/p", ingress("pod=a", &from)).check(&[
        ("y/a x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("~y/a ~x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("~y/b ~x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("z/a x/a tcp 80", "allow NetworkPolicy/x/p ingress[0]"),
        ("~z/a ~x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
    ]);
}

#[test]
fn drops_by_isolation_are_logged_if_any_policy_says_so() {
    let logged = |world: super::world::World, packet: &str| {
        let verdict = world.verdict(&world.packet(packet));
        (verdict.allow, verdict.log)
    };
    let log = |policy: NetworkPolicy| NetworkPolicy { log: true, ..policy };
    let base = nine_pods().policy("x/1", ingress("", &[rule(&[], "TCP/80")]));
    let both = base.clone().policy("x/2", log(ingress("", &[])));
    let other_way = base.clone().policy("x/2", log(egress("", &[])));
    assert_eq!(logged(base, "y/a x/a tcp 81"), (false, false));
    assert_eq!(logged(both.clone(), "y/a x/a tcp 81"), (false, true));
    assert_eq!(logged(both, "y/a x/a tcp 80"), (true, false));
    assert_eq!(logged(other_way, "y/a x/a tcp 81"), (false, false));
}

/// "OR if the traffic source is the pod's local node" (NetworkPolicySpec.ingress).
#[test]
fn a_pods_own_node_reaches_it() {
    let world = nine_pods()
        .on("x/a", "10.9.0.1 fd09::1")
        .on("x/b", "10.9.0.2")
        .on("y/a", "10.9.0.1")
        .policy("x/deny", ingress("", &[]))
        .policy("x/z-web", ingress("", &[rule(&[block("10.9.0.1/32", &[])], "TCP/80")]))
        .policy("x/out", egress("", &[]));
    world.check(&[
        // A rule that allows it as well is named.
        ("10.9.0.1 x/a tcp 80", "allow NetworkPolicy/x/z-web ingress[0]"),
        ("10.9.0.1 x/a tcp 81", "allow NetworkPolicy/x/deny local-node"),
        ("10.9.0.1 x/a icmp 8", "allow NetworkPolicy/x/deny local-node"),
        ("10.9.0.1 x/a fragment 17", "allow NetworkPolicy/x/deny local-node"),
        ("fd09::1 ~x/a udp 53", "allow NetworkPolicy/x/deny local-node"),
        ("10.9.0.2 x/b tcp 80", "allow NetworkPolicy/x/deny local-node"),
        // Other nodes are strangers, and where the node is not known, all are.
        ("10.9.0.2 x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("10.9.0.1 x/c tcp 81", "deny NetworkPolicy/x/deny isolation"),
        // A pod that nothing isolates is no concern of it.
        ("10.9.0.1 y/a tcp 80", OPEN),
        // It is about ingress alone; what answers it passes as a reply.
        ("x/a 10.9.0.1 tcp 80", "deny NetworkPolicy/x/out isolation"),
        ("x/a 10.9.0.1 tcp 81>40000 ack", "allow NetworkPolicy/x/deny local-node"),
        ("x/a 10.9.0.2 tcp 81>40000 ack", "deny NetworkPolicy/x/out isolation"),
    ]);
}
