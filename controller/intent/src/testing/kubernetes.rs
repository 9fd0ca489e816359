//! Namespaces, pods, nodes, NetworkPolicies and ClusterNetworkPolicies.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::network::{cidrs, cidrs_with_exceptions};
use super::universe::{KEYS, NODES, PODS, PORT_NAMES, PORTS, VALUES, address};
use crate::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterRule, ClusterTier, Intent, KubernetesDefaults,
    LabelOperator, LabelSelector, Labels, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort, Node,
    ObjectName, Pod, PodsAnywhere, PortProtocol, RelatedErrors, Replies, Requirement,
};

const NAMESPACES: [&str; 3] = ["red", "blue", "green"];
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Everything that comes from a cluster.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    environments: Vec<Option<String>>,
    pods: Vec<Option<Pod>>,
    nodes: Vec<Option<Node>>,
    network_policies: Vec<(String, NetworkPolicy)>,
    cluster_policies: Vec<ClusterNetworkPolicy>,
    defaults: KubernetesDefaults,
}

pub(super) fn clusters() -> impl Strategy<Value = Draft> {
    let environments = vec(option::of(value()), NAMESPACES.len());
    let pods = vec(option::weighted(0.8, (labels(), 0..4_usize, named_ports(), homes())), PODS.len())
        .prop_map(|pods| {
            let pods = pods.into_iter().zip(PODS).map(|(pod, (_, _, addresses))| {
                let (labels, families, named_ports, node_addresses) = pod?;
                let [v4, v6] = addresses.map(address);
                let addresses = match families {
                    0 => vec![v4],
                    1 => vec![v6],
                    _ => vec![v4, v6],
                };
                Some(Pod { labels, addresses, named_ports, node_addresses })
            });
            pods.collect()
        });
    let nodes = vec(option::of(labels()), NODES.len()).prop_map(|nodes| {
        let nodes = nodes.into_iter().zip(NODES);
        let node = |(labels, (_, addresses)): (Option<Labels>, (_, [&str; 2]))| {
            Some(Node { labels: labels?, addresses: addresses.map(address).to_vec() })
        };
        nodes.map(node).collect()
    });
    let namespace = select(&NAMESPACES[..]).prop_map(str::to_owned);
    let network_policies = vec((namespace, network_policy()), 0..=4);
    let cluster_policies = vec(cluster_policy(), 0..=3);
    let defaults = (replies(), related_errors())
        .prop_map(|(replies, related_errors)| KubernetesDefaults { replies, related_errors });
    (environments, pods, nodes, network_policies, cluster_policies, defaults).prop_map(
        |(environments, pods, nodes, network_policies, cluster_policies, defaults)| Draft {
            environments,
            pods,
            nodes,
            network_policies,
            cluster_policies,
            defaults,
        },
    )
}

impl Draft {
    pub(super) fn add_to(self, intent: &mut Intent) {
        intent.defaults = self.defaults;
        for ((namespace, name, _), pod) in PODS.into_iter().zip(self.pods) {
            if let Some(pod) = pod {
                intent.pods.insert(object(namespace, name.to_owned()), pod);
            }
        }
        for ((name, _), node) in NODES.into_iter().zip(self.nodes) {
            if let Some(node) = node {
                intent.nodes.insert(name.to_owned(), node);
            }
        }
        for (n, (namespace, policy)) in self.network_policies.into_iter().enumerate() {
            intent.network_policies.insert(object(&namespace, format!("np-{n}")), policy);
        }
        for (n, policy) in self.cluster_policies.into_iter().enumerate() {
            intent.cluster_policies.insert(format!("cnp-{n}"), policy);
        }
        let inhabited = intent.pods.keys().chain(intent.network_policies.keys());
        let inhabited: Vec<_> = inhabited.map(|name| name.namespace.clone()).collect();
        for (name, environment) in NAMESPACES.into_iter().zip(self.environments) {
            if inhabited.iter().any(|inhabited| inhabited == name) {
                let mut labels = Labels::from([(NAME_LABEL.to_owned(), name.to_owned())]);
                labels.extend(environment.map(|environment| ("env".to_owned(), environment)));
                intent.namespaces.insert(name.to_owned(), labels);
            }
        }
    }
}

fn object(namespace: &str, name: String) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name }
}

fn value() -> impl Strategy<Value = String> {
    select(&VALUES[..]).prop_map(str::to_owned)
}

fn key() -> impl Strategy<Value = String> {
    select(&KEYS[..]).prop_map(str::to_owned)
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(key(), value(), 0..=KEYS.len())
}

fn protocol() -> impl Strategy<Value = PortProtocol> {
    prop_oneof![3 => Just(PortProtocol::Tcp), 2 => Just(PortProtocol::Udp), 1 => Just(PortProtocol::Sctp)]
}

fn port_name() -> impl Strategy<Value = String> {
    select(&PORT_NAMES[..]).prop_map(str::to_owned)
}

fn named_ports() -> impl Strategy<Value = BTreeMap<(String, PortProtocol), u16>> {
    btree_map((port_name(), protocol()), select(&PORTS[..]), 0..=3)
}

/// Addresses of the node that a pod runs on, ascending; those of none are not known.
fn homes() -> impl Strategy<Value = Vec<IpAddr>> {
    (option::of(select(&NODES[..])), 1..=2_usize).prop_map(|(node, families)| {
        let addresses = node.into_iter().flat_map(|(_, addresses)| addresses.map(address));
        addresses.take(families).collect()
    })
}

/// Two ports of the universe, or one and itself, low and high.
pub(super) fn ranges() -> impl Strategy<Value = (u16, u16)> {
    let single = select(&PORTS[..]).prop_map(|port| (port, port));
    let range = (select(&PORTS[..]), select(&PORTS[..])).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![3 => single, 2 => range, 1 => Just((1, 65535))]
}

fn operator(values: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = LabelOperator> {
    prop_oneof![
        3 => vec(values.clone(), 1..=2).prop_map(LabelOperator::In),
        2 => vec(values, 1..=2).prop_map(LabelOperator::NotIn),
        1 => Just(LabelOperator::Exists),
        1 => Just(LabelOperator::DoesNotExist),
    ]
}

pub(super) fn pod_selector() -> impl Strategy<Value = LabelSelector> {
    let requirement =
        (key(), operator(value().boxed())).prop_map(|(key, operator)| Requirement { key, operator });
    prop_oneof![2 => Just(Vec::new()), 3 => vec(requirement, 1..=2)]
        .prop_map(|requirements| LabelSelector { requirements })
}

pub(super) fn namespace_selector() -> impl Strategy<Value = LabelSelector> {
    let names = select(&NAMESPACES[..]).prop_map(str::to_owned).boxed();
    let by_name = operator(names).prop_map(|operator| Requirement { key: NAME_LABEL.to_owned(), operator });
    let by_environment =
        operator(value().boxed()).prop_map(|operator| Requirement { key: "env".to_owned(), operator });
    let requirement = prop_oneof![by_name, by_environment];
    prop_oneof![2 => Just(Vec::new()), 3 => vec(requirement, 1..=2)]
        .prop_map(|requirements| LabelSelector { requirements })
}

pub(super) fn replies() -> impl Strategy<Value = Replies> {
    prop_oneof![2 => Just(Replies::Established), 2 => Just(Replies::Reverse), 1 => Just(Replies::None)]
}

pub(super) fn related_errors() -> impl Strategy<Value = RelatedErrors> {
    prop_oneof![3 => Just(RelatedErrors::Allow), 1 => Just(RelatedErrors::None)]
}

// --- NetworkPolicy

fn network_policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || vec((vec(network_peer(), 0..=2), vec(network_port(), 0..=2)), 0..=2);
    let rules = move || {
        rules().prop_map(|rules| {
            rules.into_iter().map(|(peers, ports)| NetworkPolicyRule { peers, ports }).collect::<Vec<_>>()
        })
    };
    // A policy isolates for one direction at least.
    let directions = prop_oneof![
        3 => rules().prop_map(|ingress| (Some(ingress), None)),
        2 => rules().prop_map(|egress| (None, Some(egress))),
        2 => (rules(), rules()).prop_map(|(ingress, egress)| (Some(ingress), Some(egress))),
    ];
    let policy =
        (pod_selector(), directions, option::of(replies()), option::of(related_errors()), any::<bool>());
    policy.prop_map(|(pods, (ingress, egress), replies, related_errors, log)| NetworkPolicy {
        pods,
        ingress,
        egress,
        replies,
        related_errors,
        log,
    })
}

fn network_peer() -> impl Strategy<Value = NetworkPeer> {
    prop_oneof![
        cidrs_with_exceptions().prop_map(|(cidr, except)| NetworkPeer::IpBlock { cidr, except }),
        (option::of(namespace_selector()), pod_selector())
            .prop_map(|(namespaces, pods)| NetworkPeer::Pods { namespaces, pods }),
    ]
}

fn network_port() -> impl Strategy<Value = NetworkPort> {
    prop_oneof![
        1 => protocol().prop_map(NetworkPort::All),
        3 => (protocol(), ranges()).prop_map(|(protocol, (low, high))| NetworkPort::Range(protocol, low, high)),
        2 => (protocol(), port_name()).prop_map(|(protocol, name)| NetworkPort::Named(protocol, name)),
    ]
}

// --- ClusterNetworkPolicy

fn cluster_policy() -> impl Strategy<Value = ClusterNetworkPolicy> {
    let tier = prop_oneof![3 => Just(ClusterTier::Admin), 2 => Just(ClusterTier::Baseline)];
    let priority = select(&[0, 10, 1000][..]);
    let everyone = PodsAnywhere { namespaces: LabelSelector::default(), pods: LabelSelector::default() };
    let subject = prop_oneof![1 => Just(everyone), 2 => pods_anywhere()];
    let ingress = vec(cluster_rule(pods_anywhere().prop_map(ClusterPeer::Pods).boxed()), 0..=3);
    let egress_peer = prop_oneof![
        3 => pods_anywhere().prop_map(ClusterPeer::Pods),
        1 => pod_selector().prop_map(ClusterPeer::Nodes),
        2 => btree_set(cidrs(), 1..=2).prop_map(|cidrs| ClusterPeer::Networks(cidrs.into_iter().collect())),
    ];
    let egress = vec(cluster_rule(egress_peer.boxed()), 0..=3);
    (tier, priority, subject, ingress, egress, option::of(replies()), option::of(related_errors())).prop_map(
        |(tier, priority, subject, ingress, egress, replies, related_errors)| ClusterNetworkPolicy {
            tier,
            priority,
            subject,
            ingress: named_apart(ingress),
            egress: named_apart(egress),
            replies,
            related_errors,
        },
    )
}

fn pods_anywhere() -> impl Strategy<Value = PodsAnywhere> {
    (namespace_selector(), pod_selector()).prop_map(|(namespaces, pods)| PodsAnywhere { namespaces, pods })
}

fn cluster_rule(peer: BoxedStrategy<ClusterPeer>) -> impl Strategy<Value = ClusterRule> {
    let action = prop_oneof![
        2 => Just(ClusterAction::Accept),
        2 => Just(ClusterAction::Deny),
        1 => Just(ClusterAction::Pass)
    ];
    let port = prop_oneof![
        3 => (protocol(), ranges()).prop_map(|(protocol, (low, high))| NetworkPort::Range(protocol, low, high)),
        1 => port_name().prop_map(NetworkPort::NamedAnyProtocol),
    ];
    let name = option::of(Just("named".to_owned()));
    (name, action, vec(peer, 1..=2), vec(port, 0..=2)).prop_map(|(name, action, peers, mut ports)| {
        // Only pods have named ports.
        if peers.iter().any(|peer| !matches!(peer, ClusterPeer::Pods(_))) {
            ports.retain(|port| !matches!(port, NetworkPort::NamedAnyProtocol(_)));
        }
        ClusterRule { name, action, peers, ports }
    })
}

/// Rules that got a name get one each.
fn named_apart(mut rules: Vec<ClusterRule>) -> Vec<ClusterRule> {
    for (n, rule) in rules.iter_mut().enumerate() {
        if let Some(name) = &mut rule.name {
            *name = format!("{name}-{n}");
        }
    }
    rules
}
