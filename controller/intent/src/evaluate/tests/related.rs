//! ICMP errors about allowed traffic.

use super::build::{
    accept, allow, anywhere, cidr, cluster, deny, egress, filter, ingress, namespaces, networks, refuse,
    rule, traffic,
};
use super::world::{World, nine_pods};
use crate::model::{
    ClusterTier, FilterAction, FilterPolicy, FilterRule, NetworkPolicy, NetworkPolicyRule, RelatedErrors,
    Replies,
};

/// x/a lets nobody in, and out only what these rules say.
fn closed(out: &[NetworkPolicyRule]) -> World {
    nine_pods().policy("x/in", ingress("pod=a", &[])).policy("x/out", egress("pod=a", out))
}

const IN: &str = "deny NetworkPolicy/x/in isolation";
const OUT: &str = "deny NetworkPolicy/x/out isolation";
const ERROR: &str = "allow NetworkPolicy/x/in related";
const BROWSE: &str = "allow FilterPolicy/f browse";
const REST: &str = "deny FilterPolicy/f default";

#[test]
fn to_whoever_may_have_sent_something() {
    let open = [
        ("192.0.2.254 x/a icmp 3/4", ERROR),
        ("192.0.2.254 x/a icmp 11", ERROR),
        ("y/a x/a icmp 12", ERROR),
        ("2001:db8::fe ~x/a icmp 2", ERROR),
        ("2001:db8::fe ~x/a icmp 1", ERROR),
        ("2001:db8::fe ~x/a icmp 4", ERROR),
        // No errors.
        ("192.0.2.254 x/a icmp 8", IN),
        ("192.0.2.254 x/a icmp 5", IN),
        ("192.0.2.254 x/a icmp 13", IN),
        ("2001:db8::fe ~x/a icmp 128", IN),
        ("192.0.2.254 x/a fragment 1", IN),
        ("192.0.2.254 x/a proto 58", IN),
    ];
    // Its egress has no opinion, or lets something out.
    nine_pods().policy("x/in", ingress("pod=a", &[])).check(&open);
    closed(&[rule(&[namespaces("ns=y")], "UDP/53")]).check(&open);
    // It may send nothing, so nothing can be about it.
    closed(&[]).check(&[("192.0.2.254 x/a icmp 3/4", IN), ("2001:db8::fe ~x/a icmp 2", IN)]);
}

#[test]
fn replies_may_be_too_big() {
    // Clients from y are let in; what the pod answers may not fit a path.
    let server = |replies| {
        let out = NetworkPolicy { replies: Some(replies), ..egress("pod=a", &[]) };
        nine_pods()
            .policy("x/in", ingress("pod=a", &[rule(&[namespaces("ns=y")], "TCP/80")]))
            .policy("x/out", out)
    };
    server(Replies::Established).check(&[("192.0.2.254 x/a icmp 3/4", ERROR)]);
    server(Replies::None).check(&[("192.0.2.254 x/a icmp 3/4", IN)]);
    let udp = NetworkPolicy { replies: Some(Replies::Established), ..egress("pod=a", &[]) };
    nine_pods()
        .policy("x/in", ingress("pod=a", &[rule(&[namespaces("ns=y")], "UDP/53")]))
        .policy("x/out", udp)
        .check(&[("192.0.2.254 x/a icmp 3/4", IN)]);
}

#[test]
fn from_an_isolated_pod_to_whom_it_lets_in() {
    let world = nine_pods()
        .policy("x/in", ingress("pod=a", &[rule(&[namespaces("ns=y")], "TCP/80")]))
        .policy("x/out", egress("pod=a", &[]));
    world.check(&[
        ("x/a y/a icmp 3/3", "allow NetworkPolicy/x/out related"),
        ("~x/a ~y/a icmp 1/4", "allow NetworkPolicy/x/out related"),
        ("x/a z/a icmp 3/3", OUT),
        ("x/a 192.0.2.1 icmp 3/3", OUT),
        ("x/a y/a icmp 8", OUT),
    ]);
    // A side without an opinion is not enough: what may send nothing sends no errors.
    nine_pods().policy("x/out", egress("pod=a", &[])).check(&[("x/a y/a icmp 3/3", OUT)]);
}

#[test]
fn a_denial_of_everything_leaves_nobody_to_send_to() {
    let world = |first: bool| {
        let mut policy = cluster(ClusterTier::Admin, 1, anywhere("", "pod=a"));
        let web = accept(&[networks(&["198.51.100.0/24"])], "TCP/443");
        let rest = refuse(&[networks(&["0.0.0.0/0", "::/0"])], "");
        policy.egress = if first { vec![web, rest] } else { vec![rest, web] };
        nine_pods().cluster("c", policy).policy("x/in", ingress("pod=a", &[]))
    };
    world(true).check(&[("192.0.2.254 x/a icmp 3/4", ERROR), ("2001:db8::fe ~x/a icmp 2", IN)]);
    world(false).check(&[("192.0.2.254 x/a icmp 3/4", IN), ("2001:db8::fe ~x/a icmp 2", IN)]);
}

#[test]
fn none_switches_it_off() {
    let strict = |policy| NetworkPolicy { related_errors: Some(RelatedErrors::None), ..policy };
    nine_pods().policy("x/in", strict(ingress("pod=a", &[]))).check(&[("192.0.2.254 x/a icmp 3/4", IN)]);
    // The strictest of several holds.
    nine_pods()
        .policy("x/in", ingress("pod=a", &[]))
        .policy("x/strict", strict(ingress("pod=a", &[])))
        .check(&[("192.0.2.254 x/a icmp 3/4", IN)]);
}

#[test]
fn filter_rules() {
    let policy = |rules: &[FilterRule]| FilterPolicy { default: Some(FilterAction::Deny), ..filter(rules) };
    let browse = FilterRule {
        from: vec![cidr("10.0.0.0/8")],
        to: vec![cidr("198.51.100.0/24")],
        traffic: traffic("tcp 443"),
        ..allow("browse")
    };
    let open = |rules: &[FilterRule]| World::default().filter("f", policy(rules));
    open(std::slice::from_ref(&browse)).check(&[
        ("192.0.2.254 10.0.0.1 icmp 3/4", BROWSE),
        // Their replies may be too big, too.
        ("192.0.2.254 198.51.100.7 icmp 3/4", BROWSE),
        ("192.0.2.254 11.0.0.1 icmp 3/4", REST),
        ("2001:db8::fe fd00::1 icmp 2", REST),
        ("192.0.2.254 10.0.0.1 icmp 8", REST),
    ]);
    // A rule before it has the word.
    let no_errors = FilterRule { traffic: traffic("icmp 3"), ..deny("no-errors") };
    open(&[no_errors, browse.clone()])
        .check(&[("192.0.2.254 10.0.0.1 icmp 3/4", "deny FilterPolicy/f no-errors")]);
    let without_replies = FilterPolicy { replies: Replies::None, ..policy(std::slice::from_ref(&browse)) };
    World::default()
        .filter("f", without_replies)
        .check(&[("192.0.2.254 10.0.0.1 icmp 3/4", BROWSE), ("192.0.2.254 198.51.100.7 icmp 3/4", REST)]);
    let strict = FilterPolicy { related_errors: RelatedErrors::None, ..policy(&[browse]) };
    World::default().filter("f", strict).check(&[("192.0.2.254 10.0.0.1 icmp 3/4", REST)]);
    // Errors about errors do not exist, and what is not IP has none.
    for what in ["icmp 3", "arp", "nonip"] {
        let rule = FilterRule { traffic: traffic(what), ..allow("a") };
        open(&[rule]).check(&[("192.0.2.254 10.0.0.1 icmp 11", REST)]);
    }
}
