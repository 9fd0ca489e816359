//! Replies past the sides of pods.

use super::build::{
    accept, anywhere, cluster, egress, ingress, namespaces, networks, pass_on, peer, refuse, rule,
};
use super::world::{World, nine_pods};
use crate::model::{ClusterNetworkPolicy, ClusterTier, NetworkPolicy, NetworkPolicyRule, Replies};

use Replies::{Established, None as Never, Reverse};

fn mode(replies: Replies, policy: NetworkPolicy) -> NetworkPolicy {
    NetworkPolicy { replies: Some(replies), ..policy }
}

/// x/a lets nobody in, and out only what these rules say.
fn closed(replies: Replies, out: &[NetworkPolicyRule]) -> World {
    nine_pods().policy("x/in", mode(replies, ingress("pod=a", &[]))).policy("x/out", egress("pod=a", out))
}

const DENIED: &str = "deny NetworkPolicy/x/in isolation";
const ANSWER: &str = "allow NetworkPolicy/x/out egress[0]";

#[test]
fn established() {
    closed(Established, &[rule(&[namespaces("ns=y")], "TCP/80")]).check(&[
        ("y/a x/a tcp 80>9 ack", ANSWER),
        ("y/a x/a tcp 80>9 syn ack", ANSWER),
        ("y/a x/a tcp 80>9 rst", ANSWER),
        ("~y/a ~x/a tcp 80>9 rst ack", ANSWER),
        // Nothing that opens a connection.
        ("y/a x/a tcp 80>9 syn", DENIED),
        ("y/a x/a tcp 80>9 fin", DENIED),
        ("y/a x/a tcp 80>9 none", DENIED),
        // Nothing that the other side would not let out.
        ("y/a x/a tcp 81>9 ack", DENIED),
        ("y/a x/a tcp 9>80 ack", DENIED),
        ("z/a x/a tcp 80>9 ack", DENIED),
        ("y/a x/a udp 80>9", DENIED),
        ("y/a x/a icmp 0", DENIED),
    ]);
    closed(Established, &[rule(&[], "")]).check(&[
        ("y/a x/a tcp 80>9 ack", ANSWER),
        ("10.9.0.1 x/a tcp 80>9 ack", ANSWER),
        ("y/a x/a udp 53>9", DENIED),
        ("y/a x/a sctp 53>9", DENIED),
        ("y/a x/a icmp 0", DENIED),
    ]);
}

#[test]
fn never() {
    closed(Never, &[rule(&[], "")]).check(&[
        ("y/a x/a tcp 80>9 ack", DENIED),
        ("y/a x/a tcp 80>9 rst", DENIED),
        ("y/a x/a udp 53>9", DENIED),
    ]);
}

#[test]
fn reverse() {
    closed(Reverse, &[rule(&[namespaces("ns=y")], "TCP/80, UDP/53, SCTP/7")]).check(&[
        ("y/a x/a tcp 80>9 ack", ANSWER),
        ("y/a x/a tcp 80>9 syn", DENIED),
        ("y/a x/a udp 53>9", ANSWER),
        ("~y/a ~x/a udp 53>9", ANSWER),
        ("y/a x/a udp 54>9", DENIED),
        ("y/a x/a udp 9>53", DENIED),
        ("z/a x/a udp 53>9", DENIED),
        ("y/a x/a sctp 7>9", ANSWER),
        ("y/a x/a sctp 9>7", DENIED),
        // Rules with ports let no echo request out.
        ("y/a x/a icmp 0", DENIED),
    ]);
    closed(Reverse, &[rule(&[namespaces("ns=y")], "")]).check(&[
        ("y/a x/a icmp 0", ANSWER),
        ("y/a x/a icmp 0/3", ANSWER),
        ("~y/a ~x/a icmp 129", ANSWER),
        ("y/a x/a icmp 8", DENIED),
        ("~y/a ~x/a icmp 128", DENIED),
        ("y/a x/a icmp 3/4", "allow NetworkPolicy/x/in related"),
        ("z/a x/a icmp 0", DENIED),
        ("y/a x/a proto 47", DENIED),
    ]);
}

#[test]
fn an_undecided_other_side_lets_established_tcp_pass_and_nothing_else() {
    for replies in [Established, Reverse] {
        nine_pods().policy("x/in", mode(replies, ingress("pod=a", &[]))).check(&[
            ("y/a x/a tcp 80>9 ack", "allow NetworkPolicy/x/in reply"),
            ("y/a x/a tcp 80>9 syn", DENIED),
            ("y/a x/a udp 53>9", DENIED),
            ("y/a x/a sctp 53>9", DENIED),
            ("y/a x/a icmp 0", DENIED),
        ]);
    }
    nine_pods().policy("x/in", mode(Never, ingress("pod=a", &[]))).check(&[("y/a x/a tcp 80>9 ack", DENIED)]);
}

#[test]
fn egress_that_denies_asks_ingress() {
    let world = nine_pods()
        .policy("x/out", mode(Reverse, egress("pod=a", &[])))
        .policy("x/in", ingress("pod=a", &[rule(&[namespaces("ns=y")], "TCP/http, UDP/53")]));
    world.check(&[
        ("x/a y/a tcp 80>9 syn ack", "allow NetworkPolicy/x/in ingress[0]"),
        ("x/a y/a udp 53>9", "allow NetworkPolicy/x/in ingress[0]"),
        ("x/a y/a tcp 80>9 syn", "deny NetworkPolicy/x/out isolation"),
        ("x/a y/a tcp 81>9 ack", "deny NetworkPolicy/x/out isolation"),
        ("x/a z/a tcp 80>9 ack", "deny NetworkPolicy/x/out isolation"),
        ("x/a 10.9.0.1 udp 53>9", "deny NetworkPolicy/x/out isolation"),
    ]);
    // What got past egress still has to get past the destination's ingress.
    world.policy("y/in", ingress("", &[rule(&[], "TCP/1")])).check(&[
        ("x/a y/a udp 53>9", "deny NetworkPolicy/y/in isolation"),
        ("x/a y/a tcp 80>9 ack", "allow NetworkPolicy/y/in reply"),
    ]);
}

#[test]
fn named_ports_are_those_of_the_mirror_images_destination() {
    let world = closed(Reverse, &[rule(&[], "UDP/dns, TCP/http")]);
    // The answer comes from y/a's port, which y/a names.
    world
        .pod("y/b", "pod=b", "10.0.2.2", "dns=UDP/5353")
        .pod("x/a", "pod=a", "10.0.1.1", "dns=UDP/99")
        .check(&[
            ("y/a x/a udp 53>99", ANSWER),
            ("y/b x/a udp 5353>53", ANSWER),
            ("y/b x/a udp 53>5353", DENIED),
            ("10.9.0.1 x/a udp 53>9", DENIED),
            ("10.9.0.1 x/a udp 99>9", DENIED),
        ]);
}

#[test]
fn dns_there_and_back() {
    // The usual recipe: pods may only ask the name server, and the name server answers.
    let world = nine_pods()
        .policy("x/dns", mode(Reverse, egress("", &[rule(&[namespaces("ns=z")], "UDP/53, TCP/53")])))
        .policy("x/in", mode(Reverse, ingress("", &[])));
    world.check(&[
        ("x/a z/a udp 9999>53", "allow NetworkPolicy/x/dns egress[0]"),
        ("z/a x/a udp 53>9999", "allow NetworkPolicy/x/dns egress[0]"),
        ("x/a z/a tcp 9999>53 syn", "allow NetworkPolicy/x/dns egress[0]"),
        ("z/a x/a tcp 53>9999 syn ack", "allow NetworkPolicy/x/dns egress[0]"),
        ("y/a x/a udp 53>9999", "deny NetworkPolicy/x/in isolation"),
        ("z/a x/a udp 54>9999", "deny NetworkPolicy/x/in isolation"),
        ("x/a y/a udp 9999>53", "deny NetworkPolicy/x/dns isolation"),
    ]);
}

#[test]
fn the_strictest_mode_of_the_direction_counts() {
    let cases = [
        // modes of two isolating policies, whether TCP with ACK and whether UDP gets back
        (Reverse, Reverse, true, true),
        (Reverse, Established, true, false),
        (Established, Reverse, true, false),
        (Reverse, Never, false, false),
        (Never, Established, false, false),
    ];
    for (one, two, tcp, udp) in cases {
        let world = closed(one, &[rule(&[], "")]).policy("x/in2", mode(two, ingress("", &[])));
        let passes = |packet: &str| world.verdict(&world.packet(packet)).allow;
        assert_eq!(passes("y/a x/a tcp 80>9 ack"), tcp, "{one:?} {two:?}");
        assert_eq!(passes("y/a x/a udp 53>9"), udp, "{one:?} {two:?}");
    }
    // Policies of the other direction, of other pods and without rules don't count.
    let subject = |policy: ClusterNetworkPolicy| ClusterNetworkPolicy { replies: Some(Never), ..policy };
    let out = ClusterNetworkPolicy {
        egress: vec![pass_on(&[networks(&["192.0.2.0/24"])], "")],
        ..cluster(ClusterTier::Admin, 0, anywhere("", ""))
    };
    let aside = ClusterNetworkPolicy {
        ingress: vec![refuse(&[peer("", "")], "TCP/1")],
        ..cluster(ClusterTier::Admin, 0, anywhere("ns=y", ""))
    };
    let world = closed(Reverse, &[rule(&[], "")])
        .policy("x/other", mode(Never, ingress("pod=b", &[])))
        .policy("x/only-out", mode(Never, egress("pod=a", &[])))
        .cluster("out", subject(out))
        .cluster("aside", subject(aside));
    world.check(&[("z/a x/a udp 53>9", ANSWER)]);
    // One with rules of the direction does, even if none matches and whatever its tier.
    for tier in [ClusterTier::Admin, ClusterTier::Baseline] {
        let strict = ClusterNetworkPolicy {
            ingress: vec![refuse(&[peer("ns=nowhere", "")], "")],
            ..cluster(tier, 0, anywhere("ns=x", ""))
        };
        let world = world.clone().cluster("strict", subject(strict));
        world.check(&[("z/a x/a udp 53>9", DENIED)]);
    }
}

#[test]
fn who_says_nothing_has_no_say() {
    // A default deny, as everybody has it, beside the policy that lets names be asked for.
    let world = |replies: Option<Replies>, default: Replies| {
        let mut world = nine_pods()
            .policy("x/in", ingress("", &[]))
            .policy("x/in2", NetworkPolicy { replies, ..ingress("pod=a", &[]) })
            .policy("x/out", egress("", &[rule(&[], "UDP/53")]));
        world.intent.defaults.replies = default;
        world
    };
    let cases = [
        (Some(Reverse), Established, true),
        (Some(Established), Reverse, false),
        (None, Reverse, true),
        (None, Established, false),
        (Some(Reverse), Never, true),
    ];
    for (said, default, passes) in cases {
        let world = world(said, default);
        let answer = world.packet("y/a x/a udp 53>9");
        assert_eq!(world.verdict(&answer).allow, passes, "{said:?} {default:?}");
    }
}

#[test]
fn cluster_policies_deny_and_are_answered() {
    let admin = |replies: Replies| ClusterNetworkPolicy {
        ingress: vec![refuse(&[peer("ns=y", "")], "")],
        egress: vec![accept(&[peer("ns=y", "")], "UDP/53"), refuse(&[peer("ns=y", "pod=b")], "")],
        replies: Some(replies),
        ..cluster(ClusterTier::Admin, 0, anywhere("ns=x", ""))
    };
    nine_pods().cluster("c", admin(Reverse)).check(&[
        ("y/a x/a udp 53>9", "allow ClusterNetworkPolicy/c egress[0]"),
        ("y/a x/a udp 54>9", "deny ClusterNetworkPolicy/c ingress[0]"),
        ("y/a x/a tcp 80>9 ack", "allow ClusterNetworkPolicy/c reply"),
        ("y/b x/a tcp 80>9 ack", "deny ClusterNetworkPolicy/c ingress[0]"),
        ("y/a x/a tcp 80>9 syn", "deny ClusterNetworkPolicy/c ingress[0]"),
    ]);
    nine_pods().cluster("c", admin(Established)).check(&[
        ("y/a x/a udp 53>9", "deny ClusterNetworkPolicy/c ingress[0]"),
        ("y/a x/a tcp 80>9 ack", "allow ClusterNetworkPolicy/c reply"),
    ]);
    nine_pods()
        .cluster("c", admin(Never))
        .check(&[("y/a x/a tcp 80>9 ack", "deny ClusterNetworkPolicy/c ingress[0]")]);
    // A mode of a NetworkPolicy that has been overruled by tier counts all the same.
    nine_pods()
        .cluster("c", admin(Reverse))
        .policy("x/p", mode(Established, ingress("", &[])))
        .check(&[("y/a x/a udp 53>9", "deny ClusterNetworkPolicy/c ingress[0]")]);
}

#[test]
fn an_overruled_denial_counts_as_allow() {
    use super::build::{deny, filter};
    use crate::model::{FilterPolicy, FilterTier};
    let late = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[deny("late")]) };
    // The source's side is undecided, so the baseline is asked; with both sides allowing, it is not.
    let world = closed(Reverse, &[rule(&[], "")]).filter("late", late);
    world.check(&[("y/a x/a udp 53>9", "deny FilterPolicy/late late")]);
    world.policy("y/out", egress("", &[rule(&[], "")])).check(&[("y/a x/a udp 53>9", ANSWER)]);
}
