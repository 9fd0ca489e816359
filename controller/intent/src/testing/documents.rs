//! Intents as the documents that the reader reads.

use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::model::{
    AddressGroup, ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterRule, ClusterTier, FilterAction,
    FilterPeer, FilterPolicy, FilterRule, FilterTier, Host, HostGuard, IcmpMatch, Intent, KubernetesDefaults,
    LabelOperator, LabelSelector, Labels, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort, Node,
    ObjectName, P4Runtime, Pod, PodsAnywhere, PortProtocol, Protocol, RelatedErrors, Replies, Segment,
    SegmentGuard, Switch, TcpFlags, TrafficMatch,
};

const OURS: &str = "outplane.dev/v1alpha1";

/// All objects of an intent as YAML, a document each (in YAML's JSON subset).
pub fn to_yaml(intent: &Intent) -> String {
    texts(intent).concat()
}

/// The same in files as a cluster's dumps come: pods, their policies, and what is before them. Documents as of
/// [`documents`], each after a line `---`.
pub fn files(documents: &[String]) -> Vec<(String, String)> {
    let (pods, policies) = (of_kind(documents, "Pod"), of_kind(documents, "NetworkPolicy"));
    let file = |name: &str, documents: &[String]| (name.to_owned(), documents.concat());
    vec![
        file("cluster.yaml", &documents[..pods.start]),
        file("pods.yaml", &documents[pods]),
        file("policies.yaml", &documents[policies]),
    ]
}

/// Where documents of a kind are.
pub fn of_kind(documents: &[String], kind: &str) -> Range<usize> {
    let kind = format!("\"kind\": \"{kind}\"");
    let is = |document: &String| document.contains(&kind);
    let start = documents.iter().position(is).unwrap_or_default();
    start..start + documents[start..].iter().take_while(|document| is(document)).count()
}

/// Each object of an intent as a document of a file.
pub fn texts(intent: &Intent) -> Vec<String> {
    documents(intent).iter().map(|document| format!("---\n{document:#}\n")).collect()
}

/// All objects of an intent.
pub fn documents(intent: &Intent) -> Vec<Value> {
    let mut all = Vec::new();
    let ours = |kind: &str, name: &str, spec: Value| json!({"apiVersion": OURS, "kind": kind, "metadata": {"name": name}, "spec": spec});
    all.extend(intent.switches.iter().map(|(name, value)| ours("Switch", name, switch(value))));
    all.extend(intent.segments.iter().map(|(name, value)| ours("Segment", name, segment(value))));
    all.extend(intent.hosts.iter().map(|(name, value)| ours("Host", name, host(value))));
    all.extend(intent.groups.iter().map(|(name, value)| ours("AddressGroup", name, group(value))));
    all.extend(intent.filters.iter().map(|(name, value)| ours("FilterPolicy", name, filter(value))));
    if intent.defaults != KubernetesDefaults::default() {
        let KubernetesDefaults { replies: of_replies, related_errors: of_errors } = intent.defaults;
        let spec = json!({"replies": replies(of_replies), "relatedErrors": related_errors(of_errors)});
        all.push(ours("KubernetesDefaults", "cluster", spec));
    }
    all.extend(intent.namespaces.iter().map(|(name, labels)| namespace(name, labels)));
    all.extend(intent.nodes.iter().map(|(name, value)| node(name, value)));
    all.extend(intent.pods.iter().map(|(name, value)| pod(name, value)));
    all.extend(intent.network_policies.iter().map(|(name, value)| network_policy(name, value)));
    all.extend(intent.cluster_policies.iter().map(|(name, value)| cluster_policy(name, value)));
    all
}

/// An object of the fields that have something in them.
fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    };
    let pairs = pairs.into_iter().filter(|(_, value)| !empty(value));
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn list<'i, T: 'i>(items: impl IntoIterator<Item = &'i T>, each: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.into_iter().map(each).collect())
}

fn text(item: &impl ToString) -> Value {
    Value::String(item.to_string())
}

fn switch(switch: &Switch) -> Value {
    let ports = switch.ports.iter();
    let ports = ports.map(|(id, port)| {
        fields([
            ("id", json!(id)),
            ("name", json!(port.name)),
            ("crossConnect", json!(port.cross_connect)),
            ("antiSpoofing", json!(port.trusted.then_some("none"))),
        ])
    });
    let Protocol::P4Runtime(P4Runtime { device_id, role, program }) = &switch.protocol;
    let tls = switch.tls.as_ref().map(|tls| {
        fields([
            ("ca", json!(tls.ca)),
            ("cert", json!(tls.cert)),
            ("key", json!(tls.key)),
            ("serverName", json!(tls.server_name)),
        ])
    });
    fields([
        ("address", json!(switch.address)),
        ("protocol", json!("p4runtime")),
        ("deviceId", json!(device_id)),
        ("role", json!(role)),
        ("tls", json!(tls)),
        ("program", json!(program)),
        ("ports", ports.collect()),
    ])
}

fn segment(segment: &Segment) -> Value {
    let guard = match segment.anti_spoofing {
        SegmentGuard::None => Some("none"),
        SegmentGuard::Hosts => None,
        SegmentGuard::Subnets => Some("subnets"),
    };
    let ports = segment.ports.iter().map(|(switch, ports)| json!({"switch": switch, "ports": ports}));
    fields([
        ("vlan", json!(segment.vlan)),
        ("subnets", list(&segment.subnets, text)),
        ("ports", ports.collect()),
        ("antiSpoofing", json!(guard)),
    ])
}

fn host(host: &Host) -> Value {
    let mac = host.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
    let (switch, port) = host.port.clone().unzip();
    let guard = host.anti_spoofing.map(|guard| match guard {
        HostGuard::None => "none",
        HostGuard::Hosts => "hosts",
        HostGuard::Strict => "strict",
    });
    fields([
        ("addresses", list(&host.addresses, text)),
        ("segment", json!(host.segment)),
        ("mac", json!(mac)),
        ("vlan", json!(host.vlan)),
        ("switch", json!(switch)),
        ("port", json!(port)),
        ("antiSpoofing", json!(guard)),
    ])
}

fn group(group: &AddressGroup) -> Value {
    fields([("addresses", list(&group.cidrs, text))])
}

fn replies(replies: Replies) -> &'static str {
    match replies {
        Replies::None => "none",
        Replies::Established => "established",
        Replies::Reverse => "reverse",
    }
}

fn related_errors(related_errors: RelatedErrors) -> &'static str {
    match related_errors {
        RelatedErrors::None => "none",
        RelatedErrors::Allow => "allow",
    }
}

fn protocol(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "TCP",
        PortProtocol::Udp => "UDP",
        PortProtocol::Sctp => "SCTP",
    }
}

// --- FilterPolicy

fn filter(policy: &FilterPolicy) -> Value {
    let mut spec = fields([
        ("appliesTo", fields([("switches", json!(policy.switches)), ("segments", json!(policy.segments))])),
        ("default", json!(policy.default.map(filter_action))),
    ]);
    spec["tier"] = json!(match policy.tier {
        FilterTier::Admin => "admin",
        FilterTier::Baseline => "baseline",
    });
    spec["priority"] = json!(policy.priority);
    spec["replies"] = json!(replies(policy.replies));
    spec["relatedErrors"] = json!(related_errors(policy.related_errors));
    spec["rules"] = list(&policy.rules, filter_rule);
    spec
}

fn filter_action(action: FilterAction) -> &'static str {
    match action {
        FilterAction::Allow => "allow",
        FilterAction::Deny => "deny",
        FilterAction::Pass => "pass",
    }
}

fn filter_rule(rule: &FilterRule) -> Value {
    let limit = rule
        .rate_limit
        .map(|limit| json!({"packetsPerSecond": limit.packets_per_second, "burst": limit.burst}));
    let (icmp, ports): (Vec<_>, Vec<_>) =
        rule.traffic.iter().map(traffic).partition(|item| item.get("family").is_some());
    fields([
        ("name", json!(rule.name)),
        ("action", json!(filter_action(rule.action))),
        ("from", list(&rule.from, filter_peer)),
        ("to", list(&rule.to, filter_peer)),
        ("ports", ports.into()),
        ("icmp", icmp.into()),
        ("log", if rule.log { json!(true) } else { Value::Null }),
        ("rateLimit", json!(limit)),
        ("expires", json!(rule.expires.map(|expires| expires.to_string()))),
    ])
}

fn filter_peer(peer: &FilterPeer) -> Value {
    match peer {
        FilterPeer::Cidr { cidr, except } => fields([("cidr", text(cidr)), ("except", list(except, text))]),
        FilterPeer::Group(name) => json!({"group": name}),
        FilterPeer::Segment(name) => json!({"segment": name}),
        FilterPeer::Host(name) => json!({"host": name}),
        FilterPeer::Pods { namespaces, pods } => pods_peer(namespaces.as_ref(), pods),
    }
}

/// An item of `icmp` has a family, one of `ports` has none.
fn traffic(traffic: &TrafficMatch) -> Value {
    let named = |name: &str| json!({"protocol": name});
    let icmp = |family: &str, icmp: &IcmpMatch| {
        fields([("family", json!(family)), ("type", json!(icmp.icmp_type)), ("code", json!(icmp.code))])
    };
    match traffic {
        TrafficMatch::Ports { protocol: by, source, destination, tcp_flags } => {
            let (low, high) = destination.unzip();
            let (source_low, source_high) = source.unzip();
            fields([
                ("protocol", json!(protocol(*by))),
                ("port", json!(low)),
                ("endPort", json!(high)),
                ("sourcePort", json!(source_low)),
                ("sourceEndPort", json!(source_high)),
                ("tcpFlags", json!(tcp_flags.map(flags))),
            ])
        }
        TrafficMatch::Icmp(wanted) => icmp("v4", wanted),
        TrafficMatch::IcmpV6(wanted) => icmp("v6", wanted),
        TrafficMatch::Protocol(number) => json!({"protocol": number}),
        TrafficMatch::Arp => named("ARP"),
        TrafficMatch::NeighborDiscovery => named("ND"),
        TrafficMatch::NonIp => named("NonIP"),
        TrafficMatch::EtherType(number) => json!({"protocol": "NonIP", "etherType": number}),
    }
}

fn flags(flags: TcpFlags) -> Value {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let names = |bits: u8| {
        let names = NAMES.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1);
        Value::Array(names.map(|(_, name)| json!(name)).collect())
    };
    fields([("set", names(flags.set)), ("clear", names(flags.clear))])
}

// --- Kubernetes

fn namespace(name: &str, labels: &Labels) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn node(name: &str, node: &Node) -> Value {
    let addresses = list(&node.addresses, |address| json!({"type": "InternalIP", "address": address}));
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": node.labels},
        "status": {"addresses": addresses},
    })
}

fn pod(name: &ObjectName, pod: &Pod) -> Value {
    let ports = pod.named_ports.iter();
    let ports = ports
        .map(|((name, by), port)| json!({"name": name, "containerPort": port, "protocol": protocol(*by)}));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name.name, "namespace": name.namespace, "labels": pod.labels},
        "spec": {"containers": [{"name": "main", "image": "none", "ports": ports.collect::<Value>()}]},
        "status": {
            "phase": "Running",
            "podIPs": list(&pod.addresses, |address| json!({"ip": address})),
            "hostIPs": list(&pod.node_addresses, |address| json!({"ip": address})),
        },
    })
}

fn selector(selector: &LabelSelector) -> Value {
    let requirements = list(&selector.requirements, |requirement| {
        let (operator, values) = match &requirement.operator {
            LabelOperator::In(values) => ("In", json!(values)),
            LabelOperator::NotIn(values) => ("NotIn", json!(values)),
            LabelOperator::Exists => ("Exists", Value::Null),
            LabelOperator::DoesNotExist => ("DoesNotExist", Value::Null),
        };
        fields([("key", json!(requirement.key)), ("operator", json!(operator)), ("values", values)])
    });
    fields([("matchExpressions", requirements)])
}

fn pods_peer(namespaces: Option<&LabelSelector>, pods: &LabelSelector) -> Value {
    let mut peer = json!({"podSelector": selector(pods)});
    if let Some(namespaces) = namespaces {
        peer["namespaceSelector"] = selector(namespaces);
    }
    peer
}

fn network_policy(name: &ObjectName, policy: &NetworkPolicy) -> Value {
    let mut types = Vec::new();
    let mut spec = json!({"podSelector": selector(&policy.pods)});
    let directions =
        [("ingress", "Ingress", "from", &policy.ingress), ("egress", "Egress", "to", &policy.egress)];
    for (field, kind, peers, rules) in directions {
        if let Some(rules) = rules {
            types.push(kind);
            spec[field] = list(rules, |rule| network_rule(rule, peers));
        }
    }
    spec["policyTypes"] = json!(types);
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": name.name, "namespace": name.namespace,
            "annotations": fields([
                ("outplane.dev/replies", json!(policy.replies.map(replies))),
                ("outplane.dev/related-errors", json!(policy.related_errors.map(related_errors))),
                ("outplane.dev/log", json!(policy.log.to_string())),
            ]),
        },
        "spec": spec,
    })
}

fn network_rule(rule: &NetworkPolicyRule, peers: &str) -> Value {
    let peer = |peer: &NetworkPeer| match peer {
        NetworkPeer::IpBlock { cidr, except } => {
            json!({"ipBlock": fields([("cidr", text(cidr)), ("except", list(except, text))])})
        }
        NetworkPeer::Pods { namespaces, pods } => pods_peer(namespaces.as_ref(), pods),
    };
    let port = |port: &NetworkPort| match port {
        NetworkPort::All(by) => json!({"protocol": protocol(*by)}),
        NetworkPort::Range(by, low, high) => json!({"protocol": protocol(*by), "port": low, "endPort": high}),
        NetworkPort::Named(by, name) => json!({"protocol": protocol(*by), "port": name}),
        // Only ClusterNetworkPolicy has these.
        NetworkPort::NamedAnyProtocol(name) => json!({"port": name}),
    };
    fields([(peers, list(&rule.peers, peer)), ("ports", list(&rule.ports, port))])
}

fn cluster_policy(name: &str, policy: &ClusterNetworkPolicy) -> Value {
    let mut spec = fields([
        ("ingress", list(&policy.ingress, |rule| cluster_rule(rule, "from"))),
        ("egress", list(&policy.egress, |rule| cluster_rule(rule, "to"))),
    ]);
    spec["tier"] = json!(match policy.tier {
        ClusterTier::Admin => "Admin",
        ClusterTier::Baseline => "Baseline",
    });
    spec["priority"] = json!(policy.priority);
    spec["subject"] = pods_anywhere(&policy.subject);
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name, "annotations": fields([
            ("outplane.dev/replies", json!(policy.replies.map(replies))),
            ("outplane.dev/related-errors", json!(policy.related_errors.map(related_errors))),
        ])},
        "spec": spec,
    })
}

fn pods_anywhere(pods: &PodsAnywhere) -> Value {
    json!({
        "pods": {"namespaceSelector": selector(&pods.namespaces), "podSelector": selector(&pods.pods)}
    })
}

fn cluster_rule(rule: &ClusterRule, peers: &str) -> Value {
    let action = match rule.action {
        ClusterAction::Accept => "Accept",
        ClusterAction::Deny => "Deny",
        ClusterAction::Pass => "Pass",
    };
    let peer = |peer: &ClusterPeer| match peer {
        ClusterPeer::Pods(pods) => pods_anywhere(pods),
        ClusterPeer::Nodes(nodes) => json!({"nodes": selector(nodes)}),
        ClusterPeer::Networks(cidrs) => json!({"networks": list(cidrs, text)}),
    };
    let port = |port: &NetworkPort| {
        let by = |by: PortProtocol| protocol(by).to_lowercase();
        match port {
            NetworkPort::Range(protocol, low, high) if low == high => {
                json!({by(*protocol): {"destinationPort": {"number": low}}})
            }
            // All ports of a protocol are what only NetworkPolicy has a form for.
            NetworkPort::All(protocol) => {
                json!({by(*protocol): {"destinationPort": {"range": {"start": 1, "end": 65535}}}})
            }
            NetworkPort::Range(protocol, low, high) => {
                json!({by(*protocol): {"destinationPort": {"range": {"start": low, "end": high}}}})
            }
            // Only NetworkPolicy has names with a protocol.
            NetworkPort::Named(_, name) | NetworkPort::NamedAnyProtocol(name) => {
                json!({"destinationNamedPort": name})
            }
        }
    };
    fields([
        ("name", json!(rule.name)),
        ("action", json!(action)),
        (peers, list(&rule.peers, peer)),
        ("protocols", list(&rule.ports, port)),
    ])
}
