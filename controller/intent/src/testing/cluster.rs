//! A made-up cluster, and a day of it: single edits as operators and schedulers make them.
//!
//! Each namespace has some apps, a team and an environment; pods run on some node, wherever there was room. Policies are
//! the usual ones: all pods are isolated, an app may be reached from another app, from teams, from networks, and may
//! reach some itself. So sets of pods overlap within namespaces and across them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use ipnet::{IpNet, Ipv4Net};

use crate::model::{
    Intent, LabelOperator, LabelSelector, Labels, NetworkPeer, NetworkPolicy, NetworkPolicyRule, NetworkPort,
    Node, ObjectName, Pod, PortProtocol, Requirement,
};

const APPS: [&str; 6] = ["web", "api", "db", "cache", "queue", "job"];
const PORTS: [u16; 8] = [80, 443, 5432, 6379, 8080, 8443, 9090, 9200];
const ENVIRONMENTS: [&str; 3] = ["prod", "stage", "dev"];
const TEAMS: u32 = 50;
const PODS_A_NODE: u32 = 40;
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What one edit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EditKind {
    /// A pod more, of an app that its namespace has.
    PodAdded,
    /// A pod less.
    PodRemoved,
    /// A pod gets another app.
    PodRelabelled,
    /// A pod gets another address.
    PodReaddressed,
    /// A namespace gets another team.
    NamespaceRelabelled,
    /// A policy more.
    PolicyAdded,
    /// A policy lets others in.
    PolicyEdited,
    /// A policy less.
    PolicyRemoved,
    /// A policy opens a port that no policy has spoken of.
    NewPort,
    /// A policy opens a network that no policy has spoken of, without a part of it.
    NewNetwork,
}

impl EditKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::PodAdded,
        Self::PodRemoved,
        Self::PodRelabelled,
        Self::PodReaddressed,
        Self::NamespaceRelabelled,
        Self::PolicyAdded,
        Self::PolicyEdited,
        Self::PolicyRemoved,
        Self::NewPort,
        Self::NewNetwork,
    ];
}

/// A cluster that changes. The same numbers and seed give the same cluster and the same edits.
#[derive(Clone, Debug)]
pub struct Cluster {
    intent: Intent,
    rng: Rng,
    namespaces: u32,
    nodes: u32,
    /// For names and addresses that have not been there.
    next: u32,
}

impl Cluster {
    /// So many namespaces, pods and NetworkPolicies, pods and policies spread evenly over the namespaces.
    ///
    /// # Panics
    /// With more pods than 10.0.0.0/8 has addresses.
    pub fn new(namespaces: u32, pods: u32, policies: u32, seed: u64) -> Self {
        assert!(pods < 1 << 23, "10.0.0.0/8 has 2^24 addresses");
        let nodes = pods.div_ceil(PODS_A_NODE).max(1);
        let mut cluster =
            Self { intent: Intent::default(), rng: Rng::with_seed(seed), namespaces, nodes, next: 0 };
        for node in 0..nodes {
            let node_object = Node { labels: Labels::new(), addresses: vec![node_address(node)] };
            cluster.intent.nodes.insert(format!("node-{node}"), node_object);
        }
        for namespace in 0..namespaces {
            let name = namespace_name(namespace);
            let labels = Labels::from([
                (NAME_LABEL.to_owned(), name.clone()),
                ("team".to_owned(), format!("team-{}", cluster.rng.u32(..TEAMS))),
                ("env".to_owned(), (*cluster.pick(&ENVIRONMENTS)).to_owned()),
            ]);
            cluster.intent.namespaces.insert(name, labels);
        }
        for pod in 0..pods {
            cluster.add_pod(pod % namespaces);
        }
        for policy in 0..policies {
            let policy_object = match policy / namespaces {
                0 => isolation(),
                1 => cluster.app_to_app(),
                _ => cluster.any_policy(),
            };
            cluster.insert_policy(policy % namespaces, policy_object);
        }
        cluster
    }

    /// As it is now.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// One edit of any kind.
    pub fn edit(&mut self) -> EditKind {
        let kind = *self.pick(&EditKind::ALL);
        self.edit_of(kind);
        kind
    }

    /// One edit of a kind. Nothing changes where there is nothing of it to change.
    pub fn edit_of(&mut self, kind: EditKind) {
        match kind {
            EditKind::PodAdded => {
                let namespace = self.rng.u32(..self.namespaces);
                self.add_pod(namespace);
            }
            EditKind::PodRemoved => {
                if let Some(name) = nth(&self.intent.pods, &mut self.rng) {
                    self.intent.pods.remove(&name);
                }
            }
            EditKind::PodRelabelled => {
                let app = (*self.pick(&APPS)).to_owned();
                self.with_pod(|pod, _| _ = pod.labels.insert("app".to_owned(), app));
            }
            EditKind::PodReaddressed => self.with_pod(|pod, fresh| pod.addresses = vec![fresh]),
            EditKind::NamespaceRelabelled => {
                let team = format!("team-{}", self.rng.u32(..TEAMS));
                let name = namespace_name(self.rng.u32(..self.namespaces));
                if let Some(labels) = self.intent.namespaces.get_mut(&name) {
                    labels.insert("team".to_owned(), team);
                }
            }
            EditKind::PolicyAdded => {
                let namespace = self.rng.u32(..self.namespaces);
                let policy = self.any_policy();
                self.insert_policy(namespace, policy);
            }
            EditKind::PolicyEdited => {
                let peer = self.peer();
                self.with_rule(|rule, _| rule.peers = vec![peer]);
            }
            EditKind::PolicyRemoved => {
                if let Some(name) = nth(&self.intent.network_policies, &mut self.rng) {
                    self.intent.network_policies.remove(&name);
                }
            }
            EditKind::NewPort => {
                self.with_rule(|rule, fresh| {
                    let port = 10_000 + u16::try_from(fresh % 50_000).unwrap_or_default();
                    rule.ports.push(NetworkPort::Range(PortProtocol::Tcp, port, port));
                });
            }
            EditKind::NewNetwork => {
                self.with_rule(|rule, fresh| {
                    let base = 0xac10_0000 | (fresh % 4096) << 8;
                    let net =
                        |bits, length| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), length));
                    let (cidr, except) = (net(base, 24), vec![net(base | 64, 28)]);
                    rule.peers.push(NetworkPeer::IpBlock { cidr, except });
                });
            }
        }
    }

    fn pick<'l, T>(&mut self, from: &'l [T]) -> &'l T {
        &from[self.rng.usize(..from.len())]
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn add_pod(&mut self, namespace: u32) {
        let number = self.fresh();
        let app = (*self.pick(&APPS)).to_owned();
        let node = self.rng.u32(..self.nodes);
        let pod = Pod {
            labels: Labels::from([("app".to_owned(), app)]),
            addresses: vec![pod_address(number)],
            named_ports: BTreeMap::new(),
            node_addresses: vec![node_address(node)],
        };
        self.intent.pods.insert(object(namespace, format!("pod-{number}")), pod);
    }

    fn insert_policy(&mut self, namespace: u32, policy: NetworkPolicy) {
        let name = format!("policy-{}", self.fresh());
        self.intent.network_policies.insert(object(namespace, name), policy);
    }

    fn with_pod(&mut self, change: impl FnOnce(&mut Pod, IpAddr)) {
        let fresh = self.fresh();
        if let Some(name) = nth(&self.intent.pods, &mut self.rng)
            && let Some(pod) = self.intent.pods.get_mut(&name)
        {
            change(pod, pod_address(fresh));
        }
    }

    /// The first rule of some policy that has one.
    fn with_rule(&mut self, change: impl FnOnce(&mut NetworkPolicyRule, u32)) {
        let fresh = self.fresh();
        let has_rule =
            |policy: &NetworkPolicy| policy.ingress.as_ref().is_some_and(|rules| !rules.is_empty());
        for _ in 0..32 {
            let Some(name) = nth(&self.intent.network_policies, &mut self.rng) else { return };
            let policy = self.intent.network_policies.get_mut(&name).filter(|policy| has_rule(policy));
            if let Some(rule) = policy.and_then(|policy| policy.ingress.as_mut()?.first_mut()) {
                change(rule, fresh);
                return;
            }
        }
    }

    fn any_policy(&mut self) -> NetworkPolicy {
        match self.rng.u32(..6) {
            0 | 1 => self.app_to_app(),
            2 | 3 => {
                let (peer, ports) = (self.peer(), self.ports());
                self.letting_in(vec![NetworkPolicyRule { peers: vec![peer], ports }])
            }
            4 => {
                let rules = vec![
                    NetworkPolicyRule { peers: vec![self.peer()], ports: self.ports() },
                    NetworkPolicyRule { peers: vec![self.peer()], ports: self.ports() },
                ];
                self.letting_in(rules)
            }
            _ => {
                let (peer, ports) = (self.peer(), self.ports());
                let egress = vec![NetworkPolicyRule { peers: vec![peer], ports }];
                NetworkPolicy { ingress: None, egress: Some(egress), ..self.letting_in(Vec::new()) }
            }
        }
    }

    fn app_to_app(&mut self) -> NetworkPolicy {
        let (from, ports) = (self.app(), self.ports());
        let peers = vec![NetworkPeer::Pods { namespaces: None, pods: from }];
        self.letting_in(vec![NetworkPolicyRule { peers, ports }])
    }

    fn letting_in(&mut self, rules: Vec<NetworkPolicyRule>) -> NetworkPolicy {
        NetworkPolicy { pods: self.app(), ingress: Some(rules), ..isolation() }
    }

    fn peer(&mut self) -> NetworkPeer {
        match self.rng.u32(..4) {
            0 => NetworkPeer::Pods { namespaces: None, pods: self.app() },
            1 => {
                let team = format!("team-{}", self.rng.u32(..TEAMS));
                NetworkPeer::Pods { namespaces: Some(selector("team", &team)), pods: self.app() }
            }
            2 => {
                let name = namespace_name(self.rng.u32(..self.namespaces));
                let pods = LabelSelector::default();
                NetworkPeer::Pods { namespaces: Some(selector(NAME_LABEL, &name)), pods }
            }
            _ => {
                let bits = 0xc0a8_0000 | self.rng.u32(..64) << 8;
                let cidr = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), 24));
                NetworkPeer::IpBlock { cidr, except: Vec::new() }
            }
        }
    }

    fn app(&mut self) -> LabelSelector {
        let app = *self.pick(&APPS);
        selector("app", app)
    }

    fn ports(&mut self) -> Vec<NetworkPort> {
        let port = *self.pick(&PORTS);
        vec![NetworkPort::Range(PortProtocol::Tcp, port, port)]
    }
}

/// All pods of the namespace are isolated for ingress.
fn isolation() -> NetworkPolicy {
    NetworkPolicy {
        pods: LabelSelector::default(),
        ingress: Some(Vec::new()),
        egress: None,
        replies: None,
        related_errors: None,
        log: false,
    }
}

fn selector(key: &str, value: &str) -> LabelSelector {
    let operator = LabelOperator::In(vec![value.to_owned()]);
    LabelSelector { requirements: vec![Requirement { key: key.to_owned(), operator }] }
}

fn object(namespace: u32, name: String) -> ObjectName {
    ObjectName { namespace: namespace_name(namespace), name }
}

fn namespace_name(namespace: u32) -> String {
    format!("ns-{namespace}")
}

fn pod_address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 | number).into()
}

fn node_address(node: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xac1f_0000 | node).into()
}

fn nth<V>(map: &BTreeMap<ObjectName, V>, rng: &mut Rng) -> Option<ObjectName> {
    (!map.is_empty()).then(|| map.keys().nth(rng.usize(..map.len())).cloned()).flatten()
}
