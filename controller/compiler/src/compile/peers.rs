//! Peers as sets of addresses.

use std::collections::{BTreeMap, HashMap, HashSet};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope<'i> {
    All,
    One(&'i str),
    Labelled(&'i LabelSelector),
}

/// Looks up what peers and subjects mean. Everything asked once is kept.
#[derive(Debug)]
pub(super) struct Resolver<'i> {
    intent: &'i Intent,
    pods: Vec<PodEntry<'i>>,
    /// Pods by namespace, in order.
    namespaces: Vec<(&'i str, Vec<PodIndex>)>,
    /// Pods by label and value.
    labels: ByLabel<'i>,
    /// Places in `namespaces`, likewise.
    namespace_labels: ByLabel<'i>,
    /// Places in `namespaces`, ascending.
    labelled: HashMap<&'i LabelSelector, Rc<Vec<usize>>>,
    selections: HashMap<(Scope<'i>, &'i LabelSelector), Rc<Selection>>,
    named_ports: HashMap<(String, PortProtocol), Rc<NamedPort>>,
}

/// Places of what has a label with a value, ascending.
type ByLabel<'i> = HashMap<(&'i str, &'i str), Vec<usize>>;

#[derive(Debug)]
struct PodEntry<'i> {
    name: &'i ObjectName,
    /// Its place in [`Resolver::namespaces`].
    namespace: usize,
    pod: &'i Pod,
    /// Its addresses; one that an earlier pod has, too, is that pod's.
    addresses: Vec<IpAddr>,
}

impl<'i> Resolver<'i> {
    pub(super) fn new(intent: &'i Intent) -> Self {
        let mut taken = HashSet::with_capacity(intent.pods.len());
        let mut pods = Vec::with_capacity(intent.pods.len());
        let mut namespaces: Vec<(&str, Vec<PodIndex>)> = Vec::new();
        let mut labels = ByLabel::new();
        for (index, (name, pod)) in intent.pods.iter().enumerate() {
            let addresses = pod.addresses.iter().copied().filter(|address| taken.insert(*address)).collect();
            // Pods come by namespace.
            match namespaces.last_mut() {
                Some((namespace, pods)) if *namespace == name.namespace => pods.push(index),
                _ => namespaces.push((&name.namespace, vec![index])),
            }
            pods.push(PodEntry { name, namespace: namespaces.len() - 1, pod, addresses });
            for (key, value) in &pod.labels {
                labels.entry((key, value)).or_default().push(index);
            }
        }
        let mut namespace_labels = ByLabel::new();
        for (place, (name, _)) in namespaces.iter().enumerate() {
            for (key, value) in intent.namespaces.get(*name).into_iter().flatten() {
                namespace_labels.entry((key, value)).or_default().push(place);
            }
        }
        Self {
            intent,
            pods,
            namespaces,
            labels,
            namespace_labels,
            labelled: HashMap::new(),
            selections: HashMap::new(),
            named_ports: HashMap::new(),
        }
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
    pub(super) fn name(&self, pod: PodIndex) -> &'i ObjectName {
        self.pods[pod].name
    }

    /// The addresses of the node that a pod runs on.
    pub(super) fn node_addresses(&self, pod: PodIndex) -> &'i [IpAddr] {
        &self.pods[pod].pod.node_addresses
    }

    /// A filter rule's `from` or `to`.
    pub(super) fn filter_peers(&mut self, peers: &'i [FilterPeer]) -> Addresses {
        if peers.is_empty() {
            return Addresses::Any;
        }
        let sets: Vec<AddressSet> = peers.iter().map(|peer| self.filter_peer(peer)).collect();
        Addresses::new(AddressSet::union_of(&sets))
    }

    fn filter_peer(&mut self, peer: &'i FilterPeer) -> AddressSet {
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
                let scope = namespaces.as_ref().map_or(Scope::All, Scope::Labelled);
                self.select(scope, pods).addresses.clone()
            }
        }
    }

    /// Peers of a NetworkPolicy rule in a namespace.
    pub(super) fn network_peers(&mut self, namespace: &'i str, peers: &'i [NetworkPeer]) -> Addresses {
        if peers.is_empty() {
            return Addresses::Any;
        }
        let mut sets = Vec::with_capacity(peers.len());
        for peer in peers {
            sets.push(match peer {
                NetworkPeer::IpBlock { cidr, except } => cut(cidr, except),
                NetworkPeer::Pods { namespaces: Some(namespaces), pods } => {
                    self.select(Scope::Labelled(namespaces), pods).addresses.clone()
                }
                NetworkPeer::Pods { namespaces: None, pods } => {
                    self.in_namespace(namespace, pods).addresses.clone()
                }
            });
        }
        Addresses::new(AddressSet::union_of(&sets))
    }

    /// Peers of a ClusterNetworkPolicy rule. None given means none.
    pub(super) fn cluster_peers(&mut self, peers: &'i [ClusterPeer]) -> Addresses {
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
    pub(super) fn in_namespace(&mut self, namespace: &'i str, pods: &'i LabelSelector) -> Rc<Selection> {
        self.select(Scope::One(namespace), pods)
    }

    /// Pods by their namespaces' labels and their own.
    pub(super) fn anywhere(&mut self, pods: &'i PodsAnywhere) -> Rc<Selection> {
        self.select(Scope::Labelled(&pods.namespaces), &pods.pods)
    }

    fn select(&mut self, scope: Scope<'i>, selector: &'i LabelSelector) -> Rc<Selection> {
        if let Some(selection) = self.selections.get(&(scope, selector)) {
            return Rc::clone(selection);
        }
        let namespaces = match scope {
            Scope::All => None,
            Scope::One(name) => {
                let place = self.namespaces.binary_search_by_key(&name, |(name, _)| name);
                Some(Rc::new(place.ok().into_iter().collect()))
            }
            Scope::Labelled(wanted) => Some(self.labelled(wanted)),
        };
        let mut pods: Vec<PodIndex> = self
            .candidates(namespaces.as_deref(), selector)
            .into_iter()
            .filter(|pod| {
                let PodEntry { namespace, pod, .. } = &self.pods[*pod];
                namespaces.as_ref().is_none_or(|namespaces| namespaces.binary_search(namespace).is_ok())
                    && selects(selector, &pod.labels)
            })
            .collect();
        pods.sort_unstable();
        pods.dedup();
        let addresses = self.addresses_of(pods.iter().copied());
        let selection = Rc::new(Selection { pods, addresses });
        self.selections.insert((scope, selector), Rc::clone(&selection));
        selection
    }

    /// The namespaces with these labels in which there are pods.
    fn labelled(&mut self, wanted: &'i LabelSelector) -> Rc<Vec<usize>> {
        if let Some(namespaces) = self.labelled.get(wanted) {
            return Rc::clone(namespaces);
        }
        let mut lists = by_label(&self.namespace_labels, wanted);
        let candidates = shortest(&mut lists).unwrap_or_else(|| (0..self.namespaces.len()).collect());
        let is_wanted = |place: &usize| {
            let labels = self.intent.namespaces.get(self.namespaces[*place].0);
            labels.is_some_and(|labels| selects(wanted, labels))
        };
        let mut namespaces: Vec<usize> = candidates.into_iter().filter(is_wanted).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let namespaces = Rc::new(namespaces);
        self.labelled.insert(wanted, Rc::clone(&namespaces));
        namespaces
    }

    /// Pods among which all selected ones are: the fewest that an index gives.
    fn candidates(&self, namespaces: Option<&Vec<usize>>, selector: &LabelSelector) -> Vec<PodIndex> {
        let mut lists = by_label(&self.labels, selector);
        if let Some(namespaces) = namespaces {
            lists.push(namespaces.iter().map(|place| self.namespaces[*place].1.as_slice()).collect());
        }
        shortest(&mut lists).unwrap_or_else(|| (0..self.pods.len()).collect())
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

/// For each requirement that an index answers, those that meet it.
fn by_label<'l>(index: &'l ByLabel<'_>, selector: &'l LabelSelector) -> Vec<Vec<&'l [usize]>> {
    let answered = selector.requirements.iter().filter_map(|requirement| match &requirement.operator {
        LabelOperator::In(values) => Some((requirement.key.as_str(), values)),
        _ => None,
    });
    let found = answered.map(|(key, values)| {
        values.iter().filter_map(|value| index.get(&(key, value.as_str()))).map(Vec::as_slice).collect()
    });
    found.collect()
}

/// The fewest of them; none if there are no lists.
fn shortest(lists: &mut Vec<Vec<&[usize]>>) -> Option<Vec<usize>> {
    let place =
        (0..lists.len()).min_by_key(|place| lists[*place].iter().map(|part| part.len()).sum::<usize>())?;
    Some(lists.swap_remove(place).concat())
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
