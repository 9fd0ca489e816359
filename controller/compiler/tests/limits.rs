//! Large intents: what they cost, and what is said when they do not fit.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use outplane_compiler::capacity::Resource;
use outplane_compiler::compile::{CompileError, Compiled, Options, compile};
use outplane_compiler::lookup::Lookup;
use outplane_compiler::program::{Program, Table};
use outplane_intent::evaluate::{Evaluator, IMPLIED_SWITCH};
use outplane_intent::model::{
    AddressGroup, FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, Host, Intent,
    LabelOperator, LabelSelector, Labels, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort,
    ObjectName, Pod, PortProtocol, Protocol, RateLimit, RelatedErrors, Replies, Requirement, Segment,
    SegmentGuard, Switch, TrafficMatch,
};
use outplane_intent::packet::Packet;
use outplane_intent::testing::{self, universe};

fn compiled(intent: &Intent) -> Result<Compiled, CompileError> {
    compile(intent, &Options { at: universe::now() })
}

fn entries(compiled: &Compiled, table: Table) -> usize {
    let id = Program::outplane().table(table);
    let entries = &compiled.switches[IMPLIED_SWITCH].desired.entries;
    entries.iter().filter(|entry| entry.key.table == id).count()
}

fn labels<const N: usize>(pairs: [(&str, String); N]) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn select<const N: usize>(pairs: [(&str, String); N]) -> LabelSelector {
    let requirement = |(key, value)| Requirement { key, operator: LabelOperator::In(vec![value]) };
    LabelSelector { requirements: labels(pairs).into_iter().map(requirement).collect() }
}

/// A cluster of 20 namespaces with scattered addresses, where pods are selected by labels that cross each other.
fn cluster(pods: u32, policies: u32) -> Intent {
    let mut intent = Intent::default();
    let namespace = |n: u32| format!("ns-{}", n % 20);
    for n in 0..20 {
        let own =
            labels([("team", format!("team-{}", n % 4)), ("kubernetes.io/metadata.name", namespace(n))]);
        intent.namespaces.insert(namespace(n), own);
    }
    for n in 0..pods {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + n.wrapping_mul(2_654_435_761) % (1 << 22));
        let http = ("http".to_owned(), PortProtocol::Tcp);
        let pod = Pod {
            labels: labels([
                ("app", format!("app-{}", n / 20 % 10)),
                ("zone", format!("zone-{}", n / 7 % 3)),
            ]),
            addresses: vec![IpAddr::V4(address)],
            named_ports: BTreeMap::from([(http, if n % 3 == 0 { 8080 } else { 80 })]),
            node_addresses: Vec::new(),
        };
        intent.pods.insert(ObjectName { namespace: namespace(n), name: format!("pod-{n}") }, pod);
    }
    for n in 0..policies {
        let pods = match n % 2 {
            0 => select([("app", format!("app-{}", n / 20 % 10))]),
            _ => select([("zone", format!("zone-{}", n / 20 % 3))]),
        };
        let peer = match n % 3 {
            0 => NetworkPeer::Pods {
                namespaces: Some(select([("team", format!("team-{}", n % 4))])),
                pods: select([("zone", format!("zone-{}", n % 3))]),
            },
            1 => NetworkPeer::Pods { namespaces: None, pods: select([("app", format!("app-{}", n % 10))]) },
            _ => NetworkPeer::IpBlock {
                cidr: "172.16.0.0/12".parse().unwrap(),
                except: vec![format!("172.16.{}.0/24", n % 256).parse().unwrap()],
            },
        };
        let ports = match n % 3 {
            0 => vec![NetworkPort::Range(PortProtocol::Tcp, 443, 443), NetworkPort::All(PortProtocol::Udp)],
            1 => vec![NetworkPort::Named(PortProtocol::Tcp, "http".to_owned())],
            _ => Vec::new(),
        };
        let rules = vec![NetworkPolicyRule { peers: vec![peer], ports }];
        let policy = NetworkPolicy {
            pods,
            egress: (n % 5 == 0).then(|| rules.clone()),
            ingress: Some(rules),
            replies: (n % 7 == 0).then_some(Replies::Reverse),
            related_errors: None,
            log: n % 11 == 0,
        };
        let name = ObjectName { namespace: namespace(n), name: format!("policy-{n}") };
        intent.network_policies.insert(name, policy);
    }
    intent
}

#[test]
fn pods_cost_an_entry_each_and_rules_a_few() {
    let (pods, policies) = (1000, 1000);
    let compiled = compiled(&testing::large_pods(pods, policies)).unwrap();
    assert!(entries(&compiled, Table::SrcV4Class) <= pods + 1);
    // Its rule, the rule for later fragments, the isolation.
    assert_eq!(entries(&compiled, Table::PodIngress), 3 * policies);
    assert_eq!(entries(&compiled, Table::PodEgress), 0);
    // What the pods start is answered; they get ICMP errors; nothing else that is one.
    assert_eq!(entries(&compiled, Table::PodIngressReply), 3);
}

#[test]
fn a_rule_between_many_sources_and_destinations_is_not_their_product() {
    let compiled = compiled(&cluster(1000, 300)).unwrap();
    let rows = entries(&compiled, Table::PodIngress);
    assert!(rows < 300 * 12, "{rows} entries for 300 policies");
    assert!(entries(&compiled, Table::SrcV4Class) <= 1200);
}

#[test]
fn a_large_cluster_means_what_it_says() {
    let intent = cluster(600, 200);
    let compiled = compiled(&intent).unwrap();
    let lookup = Lookup::new(Program::outplane(), &compiled.switches[IMPLIED_SWITCH].desired.entries, None);
    let evaluator = Evaluator::new(&intent);
    let mut addresses: Vec<IpAddr> = intent.pods.values().map(|pod| pod.addresses[0]).collect();
    addresses
        .extend(["172.16.3.1", "172.17.0.1", "8.8.8.8"].map(|address| address.parse::<IpAddr>().unwrap()));
    let mut allowed = 0;
    for n in 0..4000 {
        let (src, dst) = (addresses[n * 31 % addresses.len()], addresses[n * 17 % addresses.len()]);
        let packet = match n % 4 {
            0 => Packet::tcp(src, 40_000, dst, 443, 0x02),
            1 => Packet::tcp(src, 80, dst, 40_000, 0x10),
            2 => Packet::udp(src, 53, dst, 53),
            _ => Packet::tcp(src, 40_000, dst, 8080, 0x02),
        };
        let verdict = evaluator.evaluate(None, universe::now(), &packet);
        let trace = lookup.trace(&packet, &evaluator.entrance(None, &packet), &compiled.segments);
        let (meant, done) =
            ((verdict.allow, verdict.policy, verdict.rule), (trace.allow, trace.policy, trace.rule));
        assert_eq!(meant, done, "{packet:?}");
        allowed += usize::from(meant.0);
    }
    assert!((400..3600).contains(&allowed), "{allowed} of 4000 packets pass: the test says little");
}

fn rule(n: usize, traffic: TrafficMatch) -> FilterRule {
    FilterRule {
        name: format!("rule-{n}"),
        action: FilterAction::Allow,
        from: Vec::new(),
        to: Vec::new(),
        traffic: vec![traffic],
        log: false,
        rate_limit: None,
        expires: None,
    }
}

fn policy(rules: Vec<FilterRule>) -> FilterPolicy {
    FilterPolicy {
        tier: FilterTier::Baseline,
        priority: 500,
        switches: Vec::new(),
        segments: Vec::new(),
        default: None,
        replies: Replies::None,
        related_errors: RelatedErrors::None,
        rules,
    }
}

fn overflows(intent: &Intent) -> Vec<outplane_compiler::capacity::Overflow> {
    match compiled(intent) {
        Err(CompileError::Capacity { overflows }) => overflows,
        other => panic!("no overflow: {:?}", other.map(|compiled| compiled.notes)),
    }
}

#[test]
fn an_overfull_table_names_the_biggest_policy() {
    // Two entries for each rule that allows, one for each that denies, and one for what cannot be read.
    let mut intent = testing::large_filter(45_000);
    intent.filters.insert("small".to_owned(), policy(vec![rule(1, TrafficMatch::Arp)]));
    let error = compiled(&intent).unwrap_err().to_string();
    assert_eq!(
        error,
        "the policy does not fit:\n  switch default: table filter_admin: 75002 needed, 65536 there; most by \
         FilterPolicy/large (75002)"
    );
    let found = overflows(&testing::large_filter(100_000));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].resource, found[0].used), (Resource::FilterClasses, 100_016));
    assert_eq!(found[0].biggest, [("FilterPolicy/large".to_owned(), 100_016)]);
}

/// The entries of classes serve all policies, but some policy names the addresses.
#[test]
fn overfull_tables_of_classes_name_who_fills_them() {
    let group = |first: u32, count: u32| AddressGroup {
        // Every other one, so that no two are a prefix together.
        cidrs: (0..count).map(|n| IpAddr::V4((first + 2 * n).into()).into()).collect(),
    };
    let from = |group: &str| FilterRule {
        from: vec![FilterPeer::Group(group.to_owned())],
        ..rule(1, TrafficMatch::Protocol(47))
    };
    let mut intent = Intent::default();
    intent.groups.insert("many".to_owned(), group(0x0a00_0000, 60_000));
    intent.groups.insert("some".to_owned(), group(0x0b00_0000, 9_000));
    intent.filters.insert("a-few".to_owned(), policy(vec![from("some")]));
    intent.filters.insert("big".to_owned(), policy(vec![from("many")]));
    let found = overflows(&intent);
    assert_eq!(found.len(), 2);
    for (overflow, table) in found.iter().zip([Table::SrcV4Class, Table::DstV4Class]) {
        assert_eq!((overflow.resource, overflow.used), (Resource::Table(table), 69_000));
        assert_eq!(
            overflow.biggest,
            [("FilterPolicy/big".to_owned(), 60_000), ("FilterPolicy/a-few".to_owned(), 9_000)]
        );
        let text = overflow.to_string();
        assert!(text.ends_with("most by FilterPolicy/big (60000), FilterPolicy/a-few (9000)"), "{text}");
    }
}

#[test]
fn only_the_switch_that_overflows_is_named() {
    let mut intent = testing::large_filter(45_000);
    let switch = Switch {
        address: "127.0.0.1:9559".to_owned(),
        tls: None,
        protocol: Protocol::default(),
        ports: BTreeMap::new(),
    };
    for name in ["left", "right"] {
        intent.switches.insert(name.to_owned(), switch.clone());
    }
    intent.filters.get_mut("large").unwrap().switches.push("right".to_owned());
    let found = overflows(&intent);
    assert_eq!(found.iter().map(|overflow| overflow.switch.as_str()).collect::<Vec<_>>(), ["right"]);
}

#[test]
fn too_many_rate_limits() {
    let limited = |count: usize, replies: Replies| {
        let rules = (0..count).map(|n| FilterRule {
            rate_limit: Some(RateLimit { packets_per_second: 10, burst: 1 }),
            ..rule(n, TrafficMatch::Protocol(u8::try_from(n % 256).unwrap()))
        });
        let policy = FilterPolicy { replies, ..policy(rules.collect()) };
        Intent { filters: BTreeMap::from([("limits".to_owned(), policy)]), ..Intent::default() }
    };
    let cells = |intent: &Intent| compiled(intent).unwrap().switches[IMPLIED_SWITCH].desired.meters.len();
    assert_eq!(cells(&limited(1024, Replies::None)), 1024);
    let found = overflows(&limited(1025, Replies::None));
    assert_eq!(
        found[0].to_string(),
        "switch default: rate limits: 1025 needed, 1024 there; most by FilterPolicy/limits (1025)"
    );
    // Replies have a cell of their own.
    assert_eq!(cells(&limited(512, Replies::Established)), 1024);
    let found = overflows(&limited(513, Replies::Established));
    assert_eq!((found[0].used, found[0].size), (1026, 1024));
}

/// A segment's hosts, each on a port.
fn hosts(count: u32) -> Intent {
    let mut intent = Intent::default();
    let ports = (1..=48).collect::<Vec<u16>>();
    intent.segments.insert(
        "office".to_owned(),
        Segment {
            vlan: None,
            subnets: vec!["10.0.0.0/9".parse().expect("a subnet")],
            ports: BTreeMap::from([(IMPLIED_SWITCH.to_owned(), ports)]),
            anti_spoofing: SegmentGuard::Hosts,
        },
    );
    for n in 0..count {
        // Every other one lies outside of the subnet.
        let address = Ipv4Addr::from_bits(0x0a00_0000 + (n % 2) * 0x0080_0000 + n);
        let host = Host {
            addresses: vec![IpAddr::V4(address)],
            segment: Some("office".to_owned()),
            mac: None,
            vlan: None,
            port: Some((IMPLIED_SWITCH.to_owned(), u16::try_from(n % 48).expect("a port") + 1)),
            anti_spoofing: None,
        };
        intent.hosts.insert(format!("host-{n}"), host);
    }
    intent
}

#[test]
fn guards_of_many_hosts() {
    let fits = compiled(&hosts(6_000)).expect("it fits");
    // Two a host, one for each outside, two for each port, the subnet, and hosts that start.
    assert_eq!(entries(&fits, Table::SourceGuardV4), 12_000 + 3_000 + 48 + 1 + 1);
    let refused = compiled(&hosts(10_000)).expect_err("it does not");
    let text = refused.to_string();
    assert!(text.contains("table source_guard_v4: 25050 needed, 16384 there"), "{text}");
    assert!(text.contains("most by Segment/office (25049); a Host with a `port` takes two"), "{text}");
}
