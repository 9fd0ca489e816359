//! Peers as sets of addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use outplane_intent::model::{
    ClusterPeer, FilterPeer, Intent, LabelOperator, LabelSelector, Labels, NetworkPeer, ObjectName, Pod,
    PodsAnywhere, PortProtocol,
};

use super::row::Addresses;
use crate::addresses::AddressSet;

/// A pod by its place in the order of names.
pub(super) type PodIndex = usize;

/// What a named port resolves to: for each number the addresses of the pods that give it the name.
pub(super) type NamedPort = BTreeMap<u16, AddressSet>;

/// Selected pods.
#[derive(Debug)]
pub(super) struct Selection {
    /// In order.
    pub(super) pods: Vec<PodIndex>,
    /// Their addresses.
    pub(super) addresses: AddressSet,
}

/// Whose namespaces a selection looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    All,
    One(String),
    Labelled(LabelSelector),
}

/// Looks up what peers and subjects mean. Everything asked once is kept.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    intent: &'a Intent,
    pods: Vec<PodEntry<'a>>,
    /// Pods by namespace.
    namespaces: BTreeMap<&'a str, Vec<PodIndex>>,
    /// Pods by label and value.
    labels: HashMap<(&'a str, &'a str), Vec<PodIndex>>,
    selections: BTreeMap<(Scope, LabelSelector), Rc<Selection>>,
    named_ports: HashMap<(String, PortProtocol), Rc<NamedPort>>,
}

#[derive(Debug)]
struct PodEntry<'a> {
    name: &'a ObjectName,
    namespace: &'a str,
    pod: &'a Pod,
    /// Its addresses; one that an earlier pod has, too, is that pod's.
    addresses: Vec<IpAddr>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(intent: &'a Intent) -> Self {
        let mut taken = BTreeSet::new();
        let mut pods = Vec::with_capacity(intent.pods.len());
        let mut namespaces: BTreeMap<&str, Vec<PodIndex>> = BTreeMap::new();
        let mut labels: HashMap<(&str, &str), Vec<PodIndex>> = HashMap::new();
        for (index, (name, pod)) in intent.pods.iter().enumerate() {
            let addresses = pod.addresses.iter().copied().filter(|address| taken.insert(*address)).collect();
            pods.push(PodEntry { name, namespace: &name.namespace, pod, addresses });
            namespaces.entry(&name.namespace).or_default().push(index);
            for (key, value) in &pod.labels {
                labels.entry((key, value)).or_default().push(index);
            }
        }
        Self { intent, pods, namespaces, labels, selections: BTreeMap::new(), named_ports: HashMap::new() }
    }

    /// How many pods there are.
    pub(super) fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The addresses of some pods.
    pub(super) fn addresses_of(&self, pods: impl IntoIterator<Item = PodIndex>) -> AddressSet {
        AddressSet::of_addresses(pods.into_iter().flat_map(|pod| self.pods[pod].addresses.iter().copied()))
    }

    /// A pod's name.
    pub(super) fn name(&self, pod: PodIndex) -> &'a ObjectName {
        self.pods[pod].name
    }

    /// The addresses of the node that a pod runs on.
    pub(super) fn node_addresses(&self, pod: PodIndex) -> &'a [IpAddr] {
        &self.pods[pod].pod.node_addresses
    }

    /// A filter rule's `from` or `to`.
    pub(super) fn filter_peers(&mut self, peers: &[FilterPeer]) -> Addresses {
        if peers.is_empty() {
            return Addresses::Any;
        }
        let sets: Vec<AddressSet> = peers.iter().map(|peer| self.filter_peer(peer)).collect();
        Addresses::new(AddressSet::union_of(&sets))
    }

    fn filter_peer(&mut self, peer: &FilterPeer) -> AddressSet {
        let intent = self.intent;
        match peer {
            FilterPeer::Cidr { cidr, except } => cut(cidr, except),
            FilterPeer::Group(name) => {
                intent.groups.get(name).map(|group| AddressSet::of_networks(&group.cidrs)).unwrap_or_default()
            }
            FilterPeer::Segment(name) => {
                let segment = intent.segments.get(name);
                let subnets =
                    segment.map(|segment| AddressSet::of_networks(&segment.subnets)).unwrap_or_default();
                let hosts = intent.hosts.values().filter(|host| host.segment.as_ref() == Some(name));
                let hosts = AddressSet::of_addresses(hosts.flat_map(|host| host.addresses.iter().copied()));
                AddressSet::union_of([&subnets, &hosts])
            }
            FilterPeer::Host(name) => {
                let host = intent.hosts.get(name);
                AddressSet::of_addresses(host.into_iter().flat_map(|host| host.addresses.iter().copied()))
            }
            FilterPeer::Pods { namespaces, pods } => {
                let scope = namespaces.clone().map_or(Scope::All, Scope::Labelled);
                self.select(scope, pods).addresses.clone()
            }
        }
    }

    /// Peers of a NetworkPolicy rule in a namespace.
    pub(super) fn network_peers(&mut self, namespace: &str, peers: &[NetworkPeer]) -> Addresses {
        if peers.is_empty() {
            return Addresses::Any;
        }
        let mut sets = Vec::with_capacity(peers.len());
        for peer in peers {
            sets.push(match peer {
                NetworkPeer::IpBlock { cidr, except } => cut(cidr, except),
                NetworkPeer::Pods { namespaces: Some(namespaces), pods } => {
                    self.select(Scope::Labelled(namespaces.clone()), pods).addresses.clone()
                }
                NetworkPeer::Pods { namespaces: None, pods } => {
                    self.in_namespace(namespace, pods).addresses.clone()
                }
            });
        }
        Addresses::new(AddressSet::union_of(&sets))
    }

    /// Peers of a ClusterNetworkPolicy rule. None given means none.
    pub(super) fn cluster_peers(&mut self, peers: &[ClusterPeer]) -> Addresses {
        let mut sets = Vec::with_capacity(peers.len());
        for peer in peers {
            sets.push(match peer {
                ClusterPeer::Pods(pods) => self.anywhere(pods).addresses.clone(),
                ClusterPeer::Nodes(selector) => {
                    let nodes = self.intent.nodes.values().filter(|node| selects(selector, &node.labels));
                    AddressSet::of_addresses(nodes.flat_map(|node| node.addresses.iter().copied()))
                }
                ClusterPeer::Networks(cidrs) => AddressSet::of_networks(cidrs),
            });
        }
        Addresses::new(AddressSet::union_of(&sets))
    }

    /// Pods of a namespace by label.
    pub(super) fn in_namespace(&mut self, namespace: &str, pods: &LabelSelector) -> Rc<Selection> {
        self.select(Scope::One(namespace.to_owned()), pods)
    }

    /// Pods by their namespaces' labels and their own.
    pub(super) fn anywhere(&mut self, pods: &PodsAnywhere) -> Rc<Selection> {
        self.select(Scope::Labelled(pods.namespaces.clone()), &pods.pods)
    }

    fn select(&mut self, scope: Scope, selector: &LabelSelector) -> Rc<Selection> {
        let key = (scope, selector.clone());
        if let Some(selection) = self.selections.get(&key) {
            return Rc::clone(selection);
        }
        let namespaces: Option<BTreeSet<&str>> = match &key.0 {
            Scope::All => None,
            Scope::One(name) => Some([name.as_str()].into()),
            Scope::Labelled(wanted) => {
                let all = self.intent.namespaces.iter();
                Some(
                    all.filter(|(_, labels)| selects(wanted, labels))
                        .map(|(name, _)| name.as_str())
                        .collect(),
                )
            }
        };
        let mut pods: Vec<PodIndex> = self
            .candidates(namespaces.as_ref(), selector)
            .into_iter()
            .filter(|pod| {
                let PodEntry { namespace, pod, .. } = &self.pods[*pod];
                namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
                    && selects(selector, &pod.labels)
            })
            .collect();
        pods.sort_unstable();
        pods.dedup();
        let addresses = self.addresses_of(pods.iter().copied());
        let selection = Rc::new(Selection { pods, addresses });
        self.selections.insert(key, Rc::clone(&selection));
        selection
    }

    /// Pods among which all selected ones are: the fewest that an index gives.
    fn candidates(&self, namespaces: Option<&BTreeSet<&str>>, selector: &LabelSelector) -> Vec<PodIndex> {
        let mut lists: Vec<Vec<&[PodIndex]>> = Vec::new();
        if let Some(namespaces) = namespaces {
            lists.push(
                namespaces.iter().filter_map(|name| self.namespaces.get(name)).map(Vec::as_slice).collect(),
            );
        }
        for requirement in &selector.requirements {
            if let LabelOperator::In(values) = &requirement.operator {
                let key = requirement.key.as_str();
                let pods = values.iter().filter_map(|value| self.labels.get(&(key, value.as_str())));
                lists.push(pods.map(Vec::as_slice).collect());
            }
        }
        let shortest =
            lists.into_iter().min_by_key(|lists| lists.iter().map(|pods| pods.len()).sum::<usize>());
        shortest.map_or_else(|| (0..self.pods.len()).collect(), |lists| lists.concat())
    }

    /// The numbers that pods give a port name for a protocol.
    pub(super) fn named_port(&mut self, protocol: PortProtocol, name: &str) -> Rc<NamedPort> {
        let key = (name.to_owned(), protocol);
        if let Some(ports) = self.named_ports.get(&key) {
            return Rc::clone(ports);
        }
        let mut pods: BTreeMap<u16, Vec<PodIndex>> = BTreeMap::new();
        for (index, entry) in self.pods.iter().enumerate() {
            if let Some(port) = entry.pod.named_ports.get(&key) {
                pods.entry(*port).or_default().push(index);
            }
        }
        let ports = pods.into_iter().map(|(port, pods)| (port, self.addresses_of(pods))).collect();
        let ports = Rc::new(ports);
        self.named_ports.insert(key, Rc::clone(&ports));
        ports
    }
}

fn cut(cidr: &IpNet, except: &[IpNet]) -> AddressSet {
    AddressSet::of_networks([cidr]).minus(&AddressSet::of_networks(except))
}

/// Whether labels meet a selector.
fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.requirements.iter().all(|requirement| {
        match (&requirement.operator, labels.get(&requirement.key)) {
            (LabelOperator::In(values), Some(value)) => values.contains(value),
            (LabelOperator::NotIn(values), Some(value)) => !values.contains(value),
            (LabelOperator::Exists, value) => value.is_some(),
            (LabelOperator::DoesNotExist | LabelOperator::NotIn(_), value) => value.is_none(),
            (LabelOperator::In(_), None) => false,
        }
    })
}
