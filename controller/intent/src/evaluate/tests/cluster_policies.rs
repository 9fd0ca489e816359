//! ClusterNetworkPolicy: tiers, order and subjects.

use super::build::{
    accept, allow, anywhere, cluster, deny, egress, filter, ingress, networks, pass_on, peer, refuse, rule,
    selector, traffic,
};
use super::world::{World, nine_pods};
use crate::model::{
    ClusterNetworkPolicy, ClusterPeer, ClusterRule, ClusterTier, FilterPolicy, FilterRule, FilterTier,
    PodsAnywhere,
};

use ClusterTier::{Admin, Baseline};

fn inward(
    tier: ClusterTier,
    priority: u16,
    subject: PodsAnywhere,
    rules: &[ClusterRule],
) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy { ingress: rules.to_vec(), ..cluster(tier, priority, subject) }
}

fn outward(
    tier: ClusterTier,
    priority: u16,
    subject: PodsAnywhere,
    rules: &[ClusterRule],
) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy { egress: rules.to_vec(), ..cluster(tier, priority, subject) }
}

fn everyone() -> PodsAnywhere {
    anywhere("", "")
}

#[test]
fn admin_decides_before_network_policy() {
    let rules = [
        accept(&[peer("ns=y", "")], "TCP/80"),
        refuse(&[peer("ns=y", "pod=b")], ""),
        pass_on(&[peer("ns=z", "pod=a")], ""),
        refuse(&[peer("ns=z", "")], ""),
    ];
    let world = nine_pods().cluster("admin", inward(Admin, 0, anywhere("ns=x", ""), &rules));
    world.check(&[
        ("y/a x/a tcp 80", "allow ClusterNetworkPolicy/admin ingress[0]"),
        ("y/b x/a tcp 80", "allow ClusterNetworkPolicy/admin ingress[0]"),
        ("y/b x/a tcp 81", "deny ClusterNetworkPolicy/admin ingress[1]"),
        ("z/a x/a tcp 80", "allow"),
        ("z/b x/a tcp 80", "deny ClusterNetworkPolicy/admin ingress[3]"),
        ("10.9.0.1 x/a tcp 80", "allow"),
        ("y/b z/a tcp 81", "allow"),
    ]);
    // Accept overrules isolation, pass and no match leave it to isolation.
    world.policy("x/deny", ingress("", &[])).check(&[
        ("y/a x/a tcp 80", "allow ClusterNetworkPolicy/admin ingress[0]"),
        ("y/a x/a tcp 81", "deny NetworkPolicy/x/deny isolation"),
        ("z/a x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
        ("z/b x/a tcp 80", "deny ClusterNetworkPolicy/admin ingress[3]"),
        ("10.9.0.1 x/a tcp 80", "deny NetworkPolicy/x/deny isolation"),
    ]);
}

#[test]
fn deny_overrules_what_network_policy_allows() {
    nine_pods()
        .policy("x/open", ingress("", &[rule(&[], "")]))
        .cluster("admin", inward(Admin, 0, everyone(), &[refuse(&[peer("ns=y", "")], "TCP/80")]))
        .check(&[
            ("y/a x/a tcp 80", "deny ClusterNetworkPolicy/admin ingress[0]"),
            ("y/a x/a tcp 81", "allow NetworkPolicy/x/open ingress[0]"),
        ]);
}

#[test]
fn baseline_is_asked_only_where_nothing_isolates() {
    let baseline = inward(
        Baseline,
        0,
        everyone(),
        &[
            accept(&[peer("ns=y", "")], "TCP/80"),
            pass_on(&[peer("ns=y", "")], "TCP/81"),
            refuse(&[peer("", "")], ""),
        ],
    );
    let world = nine_pods().cluster("base", baseline);
    world.check(&[
        ("y/a x/a tcp 80", "allow ClusterNetworkPolicy/base ingress[0]"),
        ("y/a x/a tcp 81", "allow"),
        ("y/a x/a tcp 82", "deny ClusterNetworkPolicy/base ingress[2]"),
        ("10.9.0.1 x/a tcp 82", "allow"),
    ]);
    let world = world.policy("x/p", ingress("pod=a", &[rule(&[], "TCP/82")]));
    world.check(&[
        ("y/a x/a tcp 80", "deny NetworkPolicy/x/p isolation"),
        ("y/a x/a tcp 82", "allow NetworkPolicy/x/p ingress[0]"),
        ("y/a x/b tcp 82", "deny ClusterNetworkPolicy/base ingress[2]"),
    ]);
    // Isolation for egress leaves ingress to the baseline.
    world
        .policy("x/out", egress("", &[]))
        .check(&[("y/a x/b tcp 82", "deny ClusterNetworkPolicy/base ingress[2]")]);
}

#[test]
fn order_is_priority_then_name_then_rule() {
    let on = |priority, rule: ClusterRule| inward(Admin, priority, everyone(), &[rule]);
    let to = |port: &str| format!("TCP/{port}");
    nine_pods()
        .cluster("a", on(20, refuse(&[peer("", "")], &to("80-89"))))
        .cluster("b", on(10, accept(&[peer("", "")], &to("80-85"))))
        .cluster("c", on(10, refuse(&[peer("", "")], &to("80-82"))))
        .cluster("d", on(5, pass_on(&[peer("", "")], &to("80"))))
        .cluster("e", on(0, ClusterRule { name: Some("one".into()), ..refuse(&[peer("", "")], &to("83")) }))
        .check(&[
            ("y/a x/a tcp 80", "allow"),
            ("y/a x/a tcp 81", "allow ClusterNetworkPolicy/b ingress[0]"),
            ("y/a x/a tcp 83", "deny ClusterNetworkPolicy/e one"),
            ("y/a x/a tcp 86", "deny ClusterNetworkPolicy/a ingress[0]"),
            ("y/a x/a tcp 90", "allow"),
        ]);
}

#[test]
fn pass_ends_the_admin_tier_and_not_the_baseline_below() {
    nine_pods()
        .cluster("pass", inward(Admin, 0, everyone(), &[pass_on(&[peer("", "")], "")]))
        .cluster("skipped", inward(Admin, 1, everyone(), &[accept(&[peer("", "")], "")]))
        .cluster("base", inward(Baseline, 0, everyone(), &[refuse(&[peer("", "")], "")]))
        .check(&[("y/a x/a tcp 80", "deny ClusterNetworkPolicy/base ingress[0]")]);
}

#[test]
fn subjects_and_peers() {
    let subject = anywhere("ns in x|y", "role=db");
    let world = nine_pods()
        .node("worker", "zone=a", "192.0.2.1 2001:db8::1")
        .node("other", "zone=b", "192.0.2.2")
        .cluster(
            "out",
            outward(
                Admin,
                0,
                subject,
                &[
                    accept(&[ClusterPeer::Nodes(selector("zone=a"))], "TCP/10250"),
                    refuse(&[ClusterPeer::Nodes(selector(""))], ""),
                    accept(&[networks(&["192.0.2.0/25", "198.51.100.0/24"])], ""),
                    refuse(&[networks(&["0.0.0.0/0", "::/0"])], ""),
                ],
            ),
        );
    world.check(&[
        ("x/c 192.0.2.1 tcp 10250", "allow ClusterNetworkPolicy/out egress[0]"),
        ("~x/c 2001:db8::1 tcp 10250", "allow ClusterNetworkPolicy/out egress[0]"),
        ("x/c 192.0.2.1 tcp 22", "deny ClusterNetworkPolicy/out egress[1]"),
        ("x/c 192.0.2.2 tcp 10250", "deny ClusterNetworkPolicy/out egress[1]"),
        ("x/c 192.0.2.3 tcp 22", "allow ClusterNetworkPolicy/out egress[2]"),
        ("x/c 198.51.100.9 tcp 22", "allow ClusterNetworkPolicy/out egress[2]"),
        ("x/c z/a tcp 22", "deny ClusterNetworkPolicy/out egress[3]"),
        ("~y/c ~z/a tcp 22", "deny ClusterNetworkPolicy/out egress[3]"),
        // Not its subjects.
        ("z/c z/a tcp 22", "allow"),
        ("x/a z/a tcp 22", "allow"),
    ]);
}

#[test]
fn both_sides_have_a_say() {
    let world = nine_pods()
        .cluster("out", outward(Admin, 0, anywhere("ns=x", ""), &[accept(&[peer("ns=y", "")], "")]))
        .cluster("in", inward(Admin, 0, anywhere("ns=y", "pod=b"), &[refuse(&[peer("", "")], "")]));
    world.check(&[
        ("x/a y/b tcp 80", "deny ClusterNetworkPolicy/in ingress[0]"),
        ("x/a y/a tcp 80", "allow ClusterNetworkPolicy/out egress[0]"),
    ]);
    // Accept on one side does not spare the packet the filter baseline: the other side is undecided.
    let late = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[deny("all")]) };
    let both = |world: World| {
        world.cluster("both", inward(Admin, 0, anywhere("ns=y", "pod=c"), &[accept(&[peer("", "")], "")]))
    };
    both(world.filter("late", late)).check(&[
        ("x/a y/a tcp 80", "deny FilterPolicy/late all"),
        ("x/a y/c tcp 80", "allow ClusterNetworkPolicy/both ingress[0]"),
    ]);
}

#[test]
fn filter_policies_before_and_after() {
    let early = FilterPolicy {
        rules: vec![
            FilterRule { traffic: traffic("tcp 80"), ..allow("web") },
            FilterRule { traffic: traffic("tcp 22"), ..deny("ssh") },
        ],
        ..filter(&[])
    };
    let late = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[deny("rest")]) };
    nine_pods()
        .filter("early", early)
        .filter("late", late)
        .cluster("admin", inward(Admin, 0, anywhere("ns=x", ""), &[refuse(&[peer("ns=y", "")], "")]))
        .policy("x/out", egress("pod=a", &[rule(&[], "TCP/8080")]))
        .policy("z/in", ingress("pod=a", &[rule(&[], "TCP/8080, TCP/22")]))
        .check(&[
            ("y/a x/a tcp 80", "allow FilterPolicy/early web"),
            ("y/a x/a tcp 81", "deny ClusterNetworkPolicy/admin ingress[0]"),
            ("x/a z/a tcp 22", "deny FilterPolicy/early ssh"),
            ("x/a z/a tcp 8080", "allow NetworkPolicy/z/in ingress[0]"),
            ("x/a z/b tcp 8080", "deny FilterPolicy/late rest"),
            ("x/b z/a tcp 8080", "deny FilterPolicy/late rest"),
            ("10.9.0.1 10.9.0.2 tcp 8080", "deny FilterPolicy/late rest"),
            ("x/a x/a tcp 81", "deny FilterPolicy/late rest"),
        ]);
}
