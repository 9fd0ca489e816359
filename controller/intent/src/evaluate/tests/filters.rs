//! FilterPolicy: order, peers, traffic, replies, scopes.

use super::build::{
    allow, cidr, cidr_except, deny, filter, ip, net, pass, selector, tcp_with_flags, traffic,
};
use super::world::{World, brief, nine_pods, noon, object, odd};
use crate::evaluate::evaluate;
use crate::model::{
    AddressGroup, FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, RateLimit, RelatedErrors,
    Replies, Segment,
};
use crate::packet::{L4, Packet};

/// The first of these rules that a packet matches, `-` for none. All rules have actions as they come.
#[track_caller]
fn matched(world: &World, rules: &[FilterRule], cases: &[(&str, &str)]) {
    let world = world.clone().filter("f", filter(rules));
    for (packet, expected) in cases {
        let verdict = world.verdict(&world.packet(packet));
        assert_eq!(verdict.rule.as_deref().unwrap_or("-"), *expected, "{packet}: {}", brief(&verdict));
    }
}

fn default(action: FilterAction, rules: &[FilterRule]) -> FilterPolicy {
    FilterPolicy { default: Some(action), ..filter(rules) }
}

#[test]
fn the_first_rule_decides() {
    let to = |rule: FilterRule, cidr: FilterPeer| FilterRule { to: vec![cidr], ..rule };
    let rules = [
        to(deny("host"), cidr("192.0.2.1/32")),
        to(allow("net"), cidr("192.0.2.0/24")),
        to(pass("passed"), cidr("198.51.100.0/24")),
        to(deny("never"), cidr("198.51.100.7/32")),
    ];
    let later = FilterPolicy { priority: 501, ..filter(&[deny("later")]) };
    let world = World::default().filter("f", filter(&rules)).filter("a", later);
    world.check(&[
        ("10.0.0.1 192.0.2.1 tcp 80", "deny FilterPolicy/f host"),
        ("10.0.0.1 192.0.2.2 tcp 80", "allow FilterPolicy/f net"),
        ("10.0.0.1 198.51.100.7 tcp 80", "allow"),
        ("10.0.0.1 203.0.113.1 tcp 80", "deny FilterPolicy/a later"),
        ("fd00::1 fd00::2 tcp 80", "deny FilterPolicy/a later"),
    ]);
}

#[test]
fn policies_go_by_priority_then_name_and_defaults_end_the_tier() {
    let of = |priority, policy: FilterPolicy| FilterPolicy { priority, ..policy };
    let web = |rule: FilterRule| FilterRule { traffic: traffic("tcp 80"), ..rule };
    let world = World::default()
        .filter("a", of(10, filter(&[web(deny("no"))])))
        .filter("b", of(5, filter(&[web(allow("yes"))])));
    world.check(&[("10.0.0.1 10.0.0.2 tcp 80", "allow FilterPolicy/b yes")]);
    let world = World::default()
        .filter("a", of(10, filter(&[web(deny("no"))])))
        .filter("b", of(10, filter(&[web(allow("yes"))])));
    world.check(&[("10.0.0.1 10.0.0.2 tcp 80", "deny FilterPolicy/a no")]);

    let late = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[deny("late")]) };
    let cases = [
        // default of the policy before, verdict on what none of its rules matches
        (None, "deny FilterPolicy/z last"),
        (Some(FilterAction::Deny), "deny FilterPolicy/b default"),
        (Some(FilterAction::Allow), "allow FilterPolicy/b default"),
        (Some(FilterAction::Pass), "deny FilterPolicy/late late"),
    ];
    for (default, expected) in cases {
        let world = World::default()
            .filter("b", FilterPolicy { default, ..filter(&[web(allow("yes"))]) })
            .filter("z", filter(&[deny("last")]))
            .filter("late", late.clone());
        world.check(&[
            ("10.0.0.1 10.0.0.2 tcp 80", "allow FilterPolicy/b yes"),
            ("10.0.0.1 10.0.0.2 tcp 81", expected),
            ("10.0.0.1 10.0.0.2 proto 47", expected),
            ("10.0.0.1 10.0.0.2 fragment 6", "allow FilterPolicy/b yes"),
            // Defaults are for IP, and rules without traffic conditions, too.
            ("10.0.0.1 10.0.0.2 arp", "allow"),
            ("fd00::1 fd00::2 icmp 135", "allow"),
            ("ether 0x88cc", "allow"),
        ]);
    }
}

#[test]
fn peers_are_addresses() {
    let mut world =
        nine_pods().host("h1", "192.0.2.10 2001:db8::10", Some("office")).host("h2", "192.0.2.20", None);
    let subnets = vec![net("172.16.0.0/24"), net("fd01::/64")];
    world.intent.segments.insert("office".into(), Segment { subnets, ..Segment::default() });
    let cidrs = vec![net("198.51.100.0/25"), net("198.51.100.200/32")];
    world.intent.groups.insert("dmz".into(), AddressGroup { cidrs });
    let from = |peers: &[FilterPeer]| FilterRule { from: peers.to_vec(), ..deny("hit") };
    let pods = |namespaces: Option<&str>, pods: &str| FilterPeer::Pods {
        namespaces: namespaces.map(selector),
        pods: selector(pods),
    };
    let cases = [
        // peers, who is among them, who is not
        (vec![cidr("10.0.0.0/8")], "10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0 fd00::1"),
        (
            vec![cidr_except("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.1/32"])],
            "10.0.0.1 10.2.0.0 10.2.0.2",
            "10.1.0.0 10.1.255.255 10.2.0.1",
        ),
        (vec![cidr_except("10.0.0.0/8", &["10.1.0.0/16"]), cidr("10.1.1.0/24")], "10.1.1.1", "10.1.2.1"),
        (vec![cidr("0.0.0.0/0")], "0.0.0.0 255.255.255.255", "::"),
        (vec![cidr("::/0")], ":: ffff::", "1.1.1.1"),
        (
            vec![FilterPeer::Group("dmz".into())],
            "198.51.100.127 198.51.100.200",
            "198.51.100.128 198.51.100.201",
        ),
        (
            vec![FilterPeer::Segment("office".into())],
            "172.16.0.255 fd01::1 192.0.2.10 2001:db8::10",
            "172.16.1.0 192.0.2.20",
        ),
        (vec![FilterPeer::Host("h2".into())], "192.0.2.20", "192.0.2.10"),
        (vec![pods(None, "pod=a")], "x/a ~y/a", "x/b 10.0.1.9"),
        (vec![pods(Some("ns=x"), "")], "x/a ~x/c", "y/a"),
        (vec![pods(Some("env=prod"), "role")], "z/c", "z/a x/c"),
        (vec![pods(None, "pod=nobody")], "", "x/a 10.9.0.1"),
        (vec![FilterPeer::Host("h2".into()), pods(None, "pod=b")], "192.0.2.20 x/b", "192.0.2.10"),
    ];
    for (peers, among, not) in cases {
        let source = |who: &str| {
            let v6 = who.contains("::") || who.starts_with('~');
            format!("{who} {} tcp 80", if v6 { "fdff::1" } else { "203.0.113.1" })
        };
        for who in among.split_whitespace() {
            matched(&world, &[from(&peers)], &[(&source(who), "hit")]);
        }
        for who in not.split_whitespace() {
            matched(&world, &[from(&peers)], &[(&source(who), "-")]);
        }
    }
}

#[test]
fn from_and_to_both_hold() {
    let rule = FilterRule {
        from: vec![cidr("10.0.0.0/24")],
        to: vec![cidr("10.0.1.0/24"), cidr("fd00::/64")],
        ..deny("hit")
    };
    matched(
        &World::default(),
        &[rule],
        &[
            ("10.0.0.1 10.0.1.1 tcp 80", "hit"),
            ("10.0.1.1 10.0.0.1 tcp 80", "-"),
            ("10.0.0.1 10.0.2.1 tcp 80", "-"),
            ("10.0.2.1 10.0.1.1 tcp 80", "-"),
            ("fd00::1 fd00::2 tcp 80", "-"),
        ],
    );
}

#[test]
fn traffic_kinds() {
    let cases = [
        // traffic, packets that match, packets that don't
        ("", "tcp 1; udp 1; sctp 1; icmp 8; proto 47; fragment 6", "arp"),
        ("tcp", "tcp 1; tcp 65535 ack; fragment 6", "udp 1; icmp 8"),
        ("tcp 80", "tcp 80; tcp 1>80 ack", "tcp 79; tcp 81; udp 80; tcp 80>81; fragment 6"),
        ("tcp 80-82", "tcp 80; tcp 81; tcp 82", "tcp 79; tcp 83"),
        ("udp 53>", "udp 53>9", "udp 9>53; tcp 53>9"),
        ("udp 50-53>100-200", "udp 50>100; udp 53>200", "udp 49>100; udp 50>99; udp 54>100; udp 50>201"),
        ("sctp 7", "sctp 7", "sctp 8; udp 7; tcp 7"),
        ("icmp", "icmp 8; icmp 0/3; fragment 1", "tcp 1; proto 58"),
        ("icmp 3", "icmp 3; icmp 3/4", "icmp 8; fragment 1"),
        ("icmp 3/4", "icmp 3/4", "icmp 3; icmp 4/4"),
        ("icmp6", "proto 58", "icmp 8"),
        ("proto 47", "proto 47; fragment 47", "proto 50; tcp 47"),
        ("proto 6", "tcp 1; fragment 6", "udp 1"),
        ("proto 1", "icmp 8; fragment 1", "tcp 1"),
        ("arp", "arp", "tcp 1"),
        ("nonip", "", "arp; tcp 1"),
        ("ether 0x8864", "", "arp; tcp 1"),
        ("nd", "", "arp; icmp 135; proto 58"),
        ("tcp 80, udp 53", "tcp 80; udp 53", "tcp 53; udp 80"),
        ("arp, tcp 80", "tcp 80; arp", "udp 80"),
    ];
    for (kinds, hits, misses) in cases {
        let rule = FilterRule { traffic: traffic(kinds), ..deny("hit") };
        for (packets, expected) in [(hits, "hit"), (misses, "-")] {
            for packet in packets.split("; ").filter(|packet| !packet.is_empty()) {
                let packet = format!("10.0.0.1 10.0.0.2 {packet}");
                matched(&World::default(), std::slice::from_ref(&rule), &[(&packet, expected)]);
            }
        }
    }
}

#[test]
fn neighbor_discovery_and_icmpv6() {
    let only = |kinds: &str| [FilterRule { traffic: traffic(kinds), ..deny("hit") }];
    let packets = |icmp_type: u8| format!("fd00::1 fd00::2 icmp {icmp_type}");
    for icmp_type in 133..=137 {
        matched(&World::default(), &only("nd"), &[(&packets(icmp_type), "hit")]);
        for kinds in ["", "icmp6", "proto 58"] {
            matched(&World::default(), &only(kinds), &[(&packets(icmp_type), "-")]);
        }
    }
    for icmp_type in [130, 131, 132, 143] {
        for kinds in ["nd", &format!("icmp6 {icmp_type}")] {
            matched(&World::default(), &only(kinds), &[(&packets(icmp_type), "hit")]);
        }
        for kinds in ["", "icmp6", "proto 58", "icmp6 133"] {
            matched(&World::default(), &only(kinds), &[(&packets(icmp_type), "-")]);
        }
    }
    for icmp_type in [0, 128, 129, 138, 255] {
        matched(&World::default(), &only("nd"), &[(&packets(icmp_type), "-")]);
        for kinds in ["", "icmp6", "proto 58", &format!("icmp6 {icmp_type}")] {
            matched(&World::default(), &only(kinds), &[(&packets(icmp_type), "hit")]);
        }
    }
    // A rule may name addresses of neighbour discovery and ARP.
    let from = |kinds, from| FilterRule { traffic: traffic(kinds), from: vec![cidr(from)], ..deny("hit") };
    matched(&World::default(), &[from("nd", "fd00::1/128")], &[("fd00::1 ff02::1 icmp 135", "hit")]);
    matched(&World::default(), &[from("nd", "fd00::9/128")], &[("fd00::1 ff02::1 icmp 135", "-")]);
    matched(
        &World::default(),
        &[from("arp", "10.0.0.1/32")],
        &[("10.0.0.1 10.0.0.2 arp", "hit"), ("10.0.0.2 10.0.0.1 arp", "-")],
    );
}

#[test]
fn other_ether_types_have_no_addresses() {
    let rule = FilterRule { traffic: traffic("nonip"), ..deny("hit") };
    matched(&World::default(), std::slice::from_ref(&rule), &[("ether 0x88cc", "hit")]);
    matched(
        &World::default(),
        &[FilterRule { from: vec![cidr("0.0.0.0/0")], ..rule.clone() }],
        &[("ether 0x88cc", "-")],
    );
    matched(&World::default(), &[FilterRule { to: vec![cidr("::/0")], ..rule }], &[("ether 0x88cc", "-")]);
}

#[test]
fn icmp_protocols_are_numbers_whatever_carries_them() {
    let world = |kinds| {
        World::default().filter("f", filter(&[FilterRule { traffic: traffic(kinds), ..deny("hit") }]))
    };
    let echo = L4::Icmp { icmp_type: 8, code: 0 };
    assert!(!world("icmp 8").verdict(&odd("fd00::1", "fd00::2", 1, echo)).allow);
    let solicitation = L4::Icmp { icmp_type: 135, code: 0 };
    assert!(!world("icmp6").verdict(&odd("10.0.0.1", "10.0.0.2", 58, solicitation)).allow);
    assert!(world("nd").verdict(&odd("10.0.0.1", "10.0.0.2", 58, solicitation)).allow);
}

#[test]
fn flags() {
    let rule = |set, clear| [FilterRule { traffic: vec![tcp_with_flags(set, clear)], ..deny("hit") }];
    let open = rule(0x02, 0x10);
    matched(
        &World::default(),
        &open,
        &[
            ("10.0.0.1 10.0.0.2 tcp 1 syn", "hit"),
            ("10.0.0.1 10.0.0.2 tcp 1 syn fin", "hit"),
            ("10.0.0.1 10.0.0.2 tcp 1 syn ack", "-"),
            ("10.0.0.1 10.0.0.2 tcp 1 none", "-"),
            ("10.0.0.1 10.0.0.2 udp 1", "-"),
            ("10.0.0.1 10.0.0.2 fragment 6", "-"),
        ],
    );
    matched(
        &World::default(),
        &rule(0, 0x3f),
        &[("10.0.0.1 10.0.0.2 tcp 1 none", "hit"), ("10.0.0.1 10.0.0.2 tcp 1 ack", "-")],
    );
    matched(
        &World::default(),
        &rule(0x12, 0),
        &[
            ("10.0.0.1 10.0.0.2 tcp 1 syn ack", "hit"),
            ("10.0.0.1 10.0.0.2 tcp 1 syn", "-"),
            ("10.0.0.1 10.0.0.2 tcp 1 ack", "-"),
        ],
    );
}

#[test]
fn rules_expire() {
    let at = |text: &str| FilterRule { expires: Some(text.parse().expect("time")), ..deny("hit") };
    let cases = [
        (at("2026-06-01T11:59:59Z"), "-"),
        (at("2026-06-01T12:00:00Z"), "-"),
        (at("2026-06-01T12:00:00.000000001Z"), "hit"),
        (at("2026-06-01T14:00:00+02:00"), "-"),
    ];
    for (rule, expected) in cases {
        matched(&World::default(), &[rule], &[("10.0.0.1 10.0.0.2 tcp 80", expected)]);
    }
    // Neither does its mirror image remain.
    let gone = FilterRule { expires: Some(noon()), traffic: traffic("tcp 80"), ..allow("gone") };
    World::default()
        .filter("f", default(FilterAction::Deny, &[gone]))
        .check(&[("10.0.0.1 10.0.0.2 tcp 80>9 ack", "deny FilterPolicy/f default")]);
}

#[test]
fn switches() {
    let policy = FilterPolicy { switches: vec!["s1".into(), "s2".into()], ..filter(&[deny("hit")]) };
    let world = World::default().filter("f", policy);
    let packet = world.packet("10.0.0.1 10.0.0.2 tcp 80");
    for (switch, allow) in [(Some("s1"), false), (Some("s2"), false), (Some("s3"), true), (None, true)] {
        assert_eq!(evaluate(&world.intent, switch, noon(), &packet).allow, allow, "{switch:?}");
    }
}

#[test]
fn replies() {
    let cases: &[(Replies, &str, &str, &str)] = &[
        // replies, allowed traffic, what passes back, what does not
        (Replies::None, "tcp 80", "", "tcp 80>9 ack; tcp 80>9 syn ack; tcp 80>9 rst"),
        (
            Replies::Established,
            "tcp 80",
            "tcp 80>9 ack; tcp 80>9 syn ack; tcp 80>9 rst; tcp 80>9 rst ack",
            "tcp 80>9 syn; tcp 80>9 none; tcp 80>9 fin; tcp 81>9 ack; tcp 9>80 ack; udp 80>9; fragment 6",
        ),
        (
            Replies::Established,
            "",
            "tcp 80>9 ack",
            "tcp 80>9 syn; udp 53>9; sctp 1>2; icmp 0; icmp 8; proto 47; fragment 17",
        ),
        (Replies::Established, "udp 53", "", "udp 53>9"),
        (Replies::Established, "icmp", "", "icmp 0"),
        (Replies::Reverse, "tcp 80", "tcp 80>9 ack", "tcp 80>9 syn; udp 80>9"),
        (Replies::Reverse, "udp 53", "udp 53>9", "udp 54>9; udp 9>53; tcp 53>9 ack; fragment 17"),
        (Replies::Reverse, "udp 100-200>53", "udp 53>100; udp 53>200", "udp 53>99; udp 53>201; udp 100>53"),
        (Replies::Reverse, "sctp 7", "sctp 7>9", "sctp 9>7"),
        (
            Replies::Reverse,
            "",
            "tcp 80>9 ack; udp 53>9; sctp 1>2; icmp 0; icmp 0/7",
            "tcp 80>9 syn; icmp 8; icmp 3/4; proto 47; fragment 17",
        ),
        (Replies::Reverse, "icmp", "icmp 0", "icmp 8; icmp 3"),
        (Replies::Reverse, "icmp 8", "icmp 0; icmp 0/1", "icmp 8"),
        (Replies::Reverse, "icmp 8/0", "icmp 0", "icmp 0/1"),
        (Replies::Reverse, "icmp 0", "", "icmp 0; icmp 8"),
        (Replies::Reverse, "icmp6 128", "", "icmp 0"),
        (Replies::Reverse, "proto 17", "udp 1>2", "tcp 1>2 ack"),
        (Replies::Reverse, "proto 6", "tcp 1>2 ack", "tcp 1>2 syn"),
        (Replies::Reverse, "proto 1", "icmp 0", "icmp 8"),
        (Replies::Reverse, "proto 47", "", "proto 47"),
        (Replies::Established, "tcp 80, udp 53", "tcp 80>9 ack", "udp 53>9"),
        (Replies::Reverse, "tcp 80, udp 53", "tcp 80>9 ack; udp 53>9", "udp 80>9"),
    ];
    for (replies, kinds, passes, stays) in cases {
        let rule = FilterRule {
            from: vec![cidr("10.0.0.1/32")],
            to: vec![cidr("10.0.0.2/32")],
            traffic: traffic(kinds),
            ..allow("ok")
        };
        let world = World::default().filter(
            "f",
            FilterPolicy {
                replies: *replies,
                related_errors: RelatedErrors::None,
                ..default(FilterAction::Deny, &[rule])
            },
        );
        for (packets, expected) in
            [(passes, "allow FilterPolicy/f ok"), (stays, "deny FilterPolicy/f default")]
        {
            for packet in packets.split("; ").filter(|packet| !packet.is_empty()) {
                world.check(&[(&format!("10.0.0.2 10.0.0.1 {packet}"), expected)]);
            }
        }
    }
}

#[test]
fn replies_of_icmpv6() {
    let rule = FilterRule { to: vec![cidr("fd00::2/128")], traffic: traffic("icmp6 128"), ..allow("ping") };
    let policy = FilterPolicy { replies: Replies::Reverse, ..default(FilterAction::Deny, &[rule]) };
    World::default().filter("f", policy).check(&[
        ("fd00::1 fd00::2 icmp 128", "allow FilterPolicy/f ping"),
        ("fd00::2 fd00::1 icmp 129", "allow FilterPolicy/f ping"),
        ("fd00::1 fd00::2 icmp 129", "deny FilterPolicy/f default"),
        ("fd00::2 fd00::1 icmp 128", "deny FilterPolicy/f default"),
    ]);
}

#[test]
fn replies_need_an_allowing_rule_without_flags_in_its_place() {
    let web =
        |rule: FilterRule| FilterRule { to: vec![cidr("10.0.0.2/32")], traffic: traffic("tcp 80"), ..rule };
    // Not of a pass.
    World::default()
        .filter("f", default(FilterAction::Deny, &[web(pass("p"))]))
        .check(&[("10.0.0.2 10.0.0.1 tcp 80>9 ack", "deny FilterPolicy/f default")]);
    // Not before earlier rules.
    let from = FilterRule { from: vec![cidr("10.0.0.2/32")], ..deny("first") };
    World::default()
        .filter("f", filter(&[from, web(allow("web"))]))
        .check(&[("10.0.0.2 10.0.0.1 tcp 80>9 ack", "deny FilterPolicy/f first")]);
    // Not of matches with flags, but of the rule's others.
    for flags in [tcp_with_flags(0x02, 0), tcp_with_flags(0, 0x04)] {
        let mut rule = web(allow("web"));
        rule.traffic = traffic("udp 443");
        rule.traffic.push(flags);
        let policy = FilterPolicy { replies: Replies::Reverse, ..default(FilterAction::Deny, &[rule]) };
        World::default().filter("f", policy).check(&[
            ("10.0.0.1 10.0.0.2 tcp 9>80 syn", "allow FilterPolicy/f web"),
            ("10.0.0.2 10.0.0.1 tcp 80>9 ack", "deny FilterPolicy/f default"),
            ("10.0.0.2 10.0.0.1 udp 443>9", "allow FilterPolicy/f web"),
        ]);
    }
}

#[test]
fn log_and_rate_limit_are_the_deciding_rules() {
    let limit = RateLimit { packets_per_second: 100, burst: 10 };
    let rules = [
        FilterRule { traffic: traffic("tcp 80"), rate_limit: Some(limit), ..allow("web") },
        FilterRule { traffic: traffic("tcp 22"), log: true, ..deny("ssh") },
    ];
    let world = World::default().filter("f", default(FilterAction::Deny, &rules));
    let seen = |packet: &str| {
        let verdict = world.verdict(&world.packet(packet));
        (verdict.allow, verdict.log, verdict.rate_limit)
    };
    assert_eq!(seen("10.0.0.1 10.0.0.2 tcp 80"), (true, false, Some(limit)));
    // Answers have a bucket of their own, deeper by a second's packets.
    let of_answers = RateLimit { burst: 110, ..limit };
    assert_eq!(seen("10.0.0.2 10.0.0.1 tcp 80>9 ack"), (true, false, Some(of_answers)));
    assert_eq!(seen("10.0.0.1 10.0.0.2 tcp 22"), (false, true, None));
    assert_eq!(seen("10.0.0.1 10.0.0.2 tcp 23"), (false, false, None));
}

#[test]
fn an_address_of_two_pods_is_the_first_ones() {
    // The reader refuses this; the evaluator must not fall over it.
    let world = nine_pods().pod("a/a", "pod=new", "10.0.1.1", "");
    let pods = FilterPeer::Pods { namespaces: None, pods: selector("pod=a") };
    let rule = FilterRule { from: vec![pods], ..deny("hit") };
    matched(&world, &[rule], &[("10.0.1.1 10.9.0.1 tcp 80", "-"), ("fd00::1:1 fd00::9 tcp 80", "hit")]);
    assert!(world.intent.pods[&object("a/a")].addresses.contains(&ip("10.0.1.1")));
}

#[test]
fn names_that_nobody_has_match_nothing() {
    for peer in
        [FilterPeer::Group("no".into()), FilterPeer::Host("no".into()), FilterPeer::Segment("no".into())]
    {
        matched(
            &World::default(),
            &[FilterRule { from: vec![peer], ..deny("hit") }],
            &[("10.0.0.1 10.0.0.2 tcp 80", "-")],
        );
    }
    assert!(World::default().verdict(&Packet::other(0x8847)).allow);
}
