//! Large intents, for benchmarks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, FilterTier, Intent, LabelOperator, LabelSelector,
    Labels, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort, ObjectName, Pod, PortProtocol,
    RelatedErrors, Replies, Requirement, TrafficMatch,
};

/// One filter policy of `rules` rules, all different: each from an address of its own (10.0.0.0, 10.0.0.1, and so on) to
/// one of 16 networks and one of 100 TCP ports, every third one denying; what no rule allows is dropped. Without
/// replies, so that each rule is one decision.
///
/// At most 2^24 rules.
pub fn large_filter(rules: usize) -> Intent {
    let rule = |n: usize| {
        let from = IpNet::from(IpAddr::from(nth_address(n)));
        let network = u8::try_from(n % 16).unwrap_or_default();
        let to = IpNet::new_assert(Ipv4Addr::new(172, 16, network, 0).into(), 24);
        let port = u16::try_from(1 + n % 100).unwrap_or_default();
        FilterRule {
            name: format!("rule-{}", n + 1),
            action: if n % 3 == 2 { FilterAction::Deny } else { FilterAction::Allow },
            from: vec![FilterPeer::Cidr { cidr: from, except: Vec::new() }],
            to: vec![FilterPeer::Cidr { cidr: to, except: Vec::new() }],
            traffic: vec![TrafficMatch::Ports {
                protocol: PortProtocol::Tcp,
                source: None,
                destination: Some((port, port)),
                tcp_flags: None,
            }],
            log: false,
            rate_limit: None,
            expires: None,
        }
    };
    let policy = FilterPolicy {
        tier: FilterTier::Admin,
        priority: 500,
        switches: Vec::new(),
        segments: Vec::new(),
        default: Some(FilterAction::Deny),
        replies: Replies::None,
        related_errors: RelatedErrors::None,
        rules: (0..rules).map(rule).collect(),
    };
    Intent { filters: BTreeMap::from([("large".to_owned(), policy)]), ..Intent::default() }
}

/// So many pods in one namespace (10.0.0.0, 10.0.0.1, and so on) and so many NetworkPolicies for them: policy n lets
/// into pod n (modulo the pods) only its neighbour, the next pod, and only to its port `http`, which is 8080 for every
/// other pod and 80 for the rest.
///
/// At most 2^24 pods.
pub fn large_pods(pods: usize, policies: usize) -> Intent {
    let namespace = "large".to_owned();
    let object = |name: String| ObjectName { namespace: namespace.clone(), name };
    let app = |n: usize| format!("app-{}", n % pods.max(1));
    let select = |n: usize| LabelSelector {
        requirements: vec![Requirement { key: "app".to_owned(), operator: LabelOperator::In(vec![app(n)]) }],
    };
    let pod = |n: usize| {
        let http = ("http".to_owned(), PortProtocol::Tcp);
        let pod = Pod {
            labels: Labels::from([("app".to_owned(), app(n))]),
            addresses: vec![IpAddr::from(nth_address(n))],
            named_ports: BTreeMap::from([(http, if n.is_multiple_of(2) { 80 } else { 8080 })]),
            node_addresses: Vec::new(),
        };
        (object(format!("pod-{n}")), pod)
    };
    let policy = |n: usize| {
        let rule = NetworkPolicyRule {
            peers: vec![NetworkPeer::Pods { namespaces: None, pods: select(n + 1) }],
            ports: vec![NetworkPort::Named(PortProtocol::Tcp, "http".to_owned())],
        };
        let policy = NetworkPolicy {
            pods: select(n),
            ingress: Some(vec![rule]),
            egress: None,
            replies: None,
            related_errors: None,
            log: false,
        };
        (object(format!("policy-{n}")), policy)
    };
    let name_label = ("kubernetes.io/metadata.name".to_owned(), namespace.clone());
    Intent {
        namespaces: BTreeMap::from([(namespace.clone(), Labels::from([name_label]))]),
        pods: (0..pods).map(pod).collect(),
        network_policies: (0..policies).map(policy).collect(),
        ..Intent::default()
    }
}

fn nth_address(n: usize) -> Ipv4Addr {
    let n = u32::try_from(n).unwrap_or(u32::MAX);
    assert!(n < 1 << 24, "10.0.0.0/8 has 2^24 addresses");
    Ipv4Addr::from(0x0a00_0000 | n)
}
