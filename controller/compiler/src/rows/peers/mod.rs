//! Peers as sets of addresses.
//!
//! Whoever asks for a selection of pods gets it from here; each is looked for once, and kept up to date when pods and
//! namespaces change ([`Resolver::update`]). Every answer knows when it has changed last, so whoever has used it can see
//! whether that still holds ([`Resolver::take_asked`], [`Resolver::changed`]).

mod index;
mod update;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use outplane_intent::model::{
    ClusterPeer, FilterPeer, Intent, LabelOperator, LabelSelector, Labels, NetworkPeer, Node, ObjectName,
    Pod, PodsAnywhere, PortProtocol,
};

use super::row::Addresses;
use crate::addresses::AddressSet;
use index::{ByLabel, Owners};

/// A pod, as long as it is there. In the order of names at first; who comes later has what is free.
pub(crate) type PodIndex = usize;

/// What a named port resolves to: for each number the addresses of the pods that give it the name.
pub(crate) type NamedPort = BTreeMap<u16, AddressSet>;

/// Selected pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Ascending.
    pub(crate) pods: Vec<PodIndex>,
    /// Their addresses.
    pub(crate) addresses: AddressSet,
}

impl Selection {
    pub(crate) fn has(&self, pod: PodIndex) -> bool {
        self.pods.binary_search(&pod).is_ok()
    }
}

/// Whose namespaces a selection looks at.
#[derive(Clone, Copy, Debug)]
enum Scope<'s> {
    All,
    One(&'s str),
    Labelled(&'s LabelSelector),
}

/// An answer that was given: a selection's number, or that of a named port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Selection(usize),
    Named(usize),
}

/// Something, and the number of the update that changed it last.
#[derive(Debug)]
struct Kept<T> {
    value: Arc<T>,
    changed: u64,
}

/// Numbers of selections by what they say of pods.
type BySelector = HashMap<LabelSelector, usize>;

/// The namespaces that have some labels, and the selections among them.
#[derive(Debug, Default)]
struct Labelled {
    namespaces: BTreeSet<String>,
    selections: BySelector,
}

/// Looks up what peers and subjects mean. Everything asked once is kept.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    pods: Vec<Option<PodEntry>>,
    free: Vec<PodIndex>,
    names: BTreeMap<ObjectName, PodIndex>,
    owners: Owners,
    namespaces: BTreeMap<String, Labels>,
    /// Pods by namespace.
    inhabitants: HashMap<String, BTreeSet<PodIndex>>,
    labels: ByLabel,
    nodes: BTreeMap<String, Node>,
    selections: Vec<Kept<Selection>>,
    everywhere: BySelector,
    local: HashMap<String, BySelector>,
    labelled: HashMap<LabelSelector, Labelled>,
    named_ports: HashMap<(String, PortProtocol), usize>,
    named: Vec<Kept<NamedPort>>,
    asked: Vec<Asked>,
    update: u64,
}

#[derive(Clone, Debug)]
struct PodEntry {
    name: ObjectName,
    pod: Pod,
    /// Its addresses; one that a pod with an earlier name has, too, is that pod's.
    addresses: Vec<IpAddr>,
}

impl Resolver {
    pub(crate) fn new(intent: &Intent) -> Self {
        let mut resolver =
            Self { namespaces: intent.namespaces.clone(), nodes: intent.nodes.clone(), ..Self::default() };
        for (name, pod) in &intent.pods {
            let index = resolver.pods.len();
            resolver.owners.add(name, index, &pod.addresses);
            resolver.insert(index, name, pod);
        }
        for index in 0..resolver.pods.len() {
            resolver.own(index);
        }
        resolver
    }

    fn insert(&mut self, index: PodIndex, name: &ObjectName, pod: &Pod) {
        self.names.insert(name.clone(), index);
        self.inhabitants.entry(name.namespace.clone()).or_default().insert(index);
        self.labels.add(index, &pod.labels);
        let entry = PodEntry { name: name.clone(), pod: pod.clone(), addresses: Vec::new() };
        if index < self.pods.len() {
            self.pods[index] = Some(entry);
        } else {
            self.pods.push(Some(entry));
        }
    }

    /// Says which of its addresses a pod has for itself.
    fn own(&mut self, index: PodIndex) {
        let Some(entry) = &mut self.pods[index] else { return };
        let mut addresses: Vec<IpAddr> = Vec::with_capacity(entry.pod.addresses.len());
        for address in &entry.pod.addresses {
            if self.owners.of(address) == Some(index) && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        entry.addresses = addresses;
    }

    /// The pods that there are.
    pub(crate) fn pods(&self) -> impl Iterator<Item = PodIndex> {
        self.pods.iter().enumerate().filter(|(_, pod)| pod.is_some()).map(|(index, _)| index)
    }

    /// The same, by their names.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = PodIndex> {
        self.names.values().copied()
    }

    pub(crate) fn number(&self, name: &ObjectName) -> Option<PodIndex> {
        self.names.get(name).copied()
    }

    /// The pods of a namespace.
    pub(crate) fn inhabitants(&self, namespace: &str) -> impl Iterator<Item = PodIndex> {
        self.inhabitants.get(namespace).into_iter().flatten().copied()
    }

    /// The addresses of some pods.
    pub(crate) fn addresses_of(&self, pods: impl IntoIterator<Item = PodIndex>) -> AddressSet {
        AddressSet::of_addresses(pods.into_iter().flat_map(|pod| self.own_addresses(pod).iter().copied()))
    }

    /// A pod's own addresses.
    pub(crate) fn own_addresses(&self, pod: PodIndex) -> &[IpAddr] {
        self.entry(pod).map_or(&[], |entry| &entry.addresses)
    }

    /// A pod's name; none if it is gone.
    pub(crate) fn name(&self, pod: PodIndex) -> Option<&ObjectName> {
        self.entry(pod).map(|entry| &entry.name)
    }

    pub(crate) fn pod(&self, pod: PodIndex) -> Option<&Pod> {
        self.entry(pod).map(|entry| &entry.pod)
    }

    /// The addresses of the node that a pod runs on.
    pub(crate) fn node_addresses(&self, pod: PodIndex) -> &[IpAddr] {
        self.entry(pod).map_or(&[], |entry| &entry.pod.node_addresses)
    }

    fn entry(&self, pod: PodIndex) -> Option<&PodEntry> {
        self.pods.get(pod)?.as_ref()
    }

    /// A filter rule's `from` or `to`.
    pub(crate) fn filter_peers(&mut self, intent: &Intent, peers: &[FilterPeer]) -> Addresses {
        if peers.is_empty() {
            return Addresses::Any;
        }
        let sets: Vec<AddressSet> = peers.iter().map(|peer| self.filter_peer(intent, peer)).collect();
        Addresses::new(AddressSet::union_of(&sets))
    }

    fn filter_peer(&mut self, intent: &Intent, peer: &FilterPeer) -> AddressSet {
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
    pub(crate) fn network_peers(&mut self, namespace: &str, peers: &[NetworkPeer]) -> Addresses {
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
        Addresses::new(one_or_union(sets))
    }

    /// Peers of a ClusterNetworkPolicy rule. None given means none.
    pub(crate) fn cluster_peers(&mut self, peers: &[ClusterPeer]) -> Addresses {
        let mut sets = Vec::with_capacity(peers.len());
        for peer in peers {
            sets.push(match peer {
                ClusterPeer::Pods(pods) => self.anywhere(pods).addresses.clone(),
                ClusterPeer::Nodes(selector) => {
                    let nodes = self.nodes.values().filter(|node| selects(selector, &node.labels));
                    AddressSet::of_addresses(nodes.flat_map(|node| node.addresses.iter().copied()))
                }
                ClusterPeer::Networks(cidrs) => AddressSet::of_networks(cidrs),
            });
        }
        Addresses::new(one_or_union(sets))
    }

    /// Pods of a namespace by label.
    pub(crate) fn in_namespace(&mut self, namespace: &str, pods: &LabelSelector) -> Arc<Selection> {
        self.select(Scope::One(namespace), pods)
    }

    /// Pods by their namespaces' labels and their own.
    pub(crate) fn anywhere(&mut self, pods: &PodsAnywhere) -> Arc<Selection> {
        self.select(Scope::Labelled(&pods.namespaces), &pods.pods)
    }

    fn select(&mut self, scope: Scope<'_>, selector: &LabelSelector) -> Arc<Selection> {
        let known = match scope {
            Scope::All => self.everywhere.get(selector),
            Scope::One(namespace) => self.local.get(namespace).and_then(|local| local.get(selector)),
            Scope::Labelled(wanted) => {
                self.labelled.get(wanted).and_then(|labelled| labelled.selections.get(selector))
            }
        };
        let number = known.copied().unwrap_or_else(|| self.find(scope, selector));
        self.asked.push(Asked::Selection(number));
        Arc::clone(&self.selections[number].value)
    }

    /// Looks for a selection for the first time.
    fn find(&mut self, scope: Scope<'_>, selector: &LabelSelector) -> usize {
        let number = self.selections.len();
        let known = match scope {
            Scope::All => &mut self.everywhere,
            Scope::One(namespace) => self.local.entry(namespace.to_owned()).or_default(),
            Scope::Labelled(wanted) => {
                let has = |(_, labels): &(&String, &Labels)| selects(wanted, labels);
                let labelled = self.labelled.entry(wanted.clone()).or_insert_with(|| Labelled {
                    namespaces: self.namespaces.iter().filter(has).map(|(name, _)| name.clone()).collect(),
                    selections: BySelector::new(),
                });
                &mut labelled.selections
            }
        };
        known.insert(selector.clone(), number);
        let mut pods: Vec<PodIndex> = self
            .candidates(scope, selector)
            .into_iter()
            .filter(|pod| {
                let entry = self.entry(*pod);
                entry.is_some_and(|entry| {
                    self.is_in(scope, &entry.name.namespace) && selects(selector, &entry.pod.labels)
                })
            })
            .collect();
        pods.sort_unstable();
        pods.dedup();
        let addresses = self.addresses_of(pods.iter().copied());
        let value = Arc::new(Selection { pods, addresses });
        self.selections.push(Kept { value, changed: self.update });
        number
    }

    fn is_in(&self, scope: Scope<'_>, namespace: &str) -> bool {
        match scope {
            Scope::All => true,
            Scope::One(name) => name == namespace,
            Scope::Labelled(wanted) => {
                self.labelled.get(wanted).is_some_and(|labelled| labelled.namespaces.contains(namespace))
            }
        }
    }

    /// Pods among which all selected ones are: the fewest that an index gives.
    fn candidates(&self, scope: Scope<'_>, selector: &LabelSelector) -> Vec<PodIndex> {
        let namespaces: Option<Vec<&str>> = match scope {
            Scope::All => None,
            Scope::One(name) => Some(vec![name]),
            Scope::Labelled(wanted) => self
                .labelled
                .get(wanted)
                .map(|labelled| labelled.namespaces.iter().map(String::as_str).collect()),
        };
        let within = namespaces.map(|namespaces| {
            namespaces.iter().filter_map(|namespace| self.inhabitants.get(*namespace)).collect::<Vec<_>>()
        });
        let mut lists = self.labels.meeting(selector);
        lists.extend(within);
        let count = |list: &Vec<&BTreeSet<PodIndex>>| list.iter().map(|part| part.len()).sum::<usize>();
        match lists.into_iter().min_by_key(count) {
            Some(list) => list.into_iter().flatten().copied().collect(),
            None => self.pods().collect(),
        }
    }

    /// The numbers that pods give a port name for a protocol.
    pub(crate) fn named_port(&mut self, protocol: PortProtocol, name: &str) -> Arc<NamedPort> {
        let key = (name.to_owned(), protocol);
        let number = if let Some(known) = self.named_ports.get(&key) {
            *known
        } else {
            let mut pods: BTreeMap<u16, Vec<PodIndex>> = BTreeMap::new();
            for (index, entry) in self.pods.iter().enumerate() {
                if let Some(port) = entry.as_ref().and_then(|entry| entry.pod.named_ports.get(&key)) {
                    pods.entry(*port).or_default().push(index);
                }
            }
            let ports = pods.into_iter().map(|(port, pods)| (port, self.addresses_of(pods)));
            let value = Arc::new(ports.collect());
            self.named.push(Kept { value, changed: self.update });
            self.named_ports.insert(key, self.named.len() - 1);
            self.named.len() - 1
        };
        self.asked.push(Asked::Named(number));
        Arc::clone(&self.named[number].value)
    }

    /// What has been asked for since the last time.
    pub(crate) fn take_asked(&mut self) -> Vec<Asked> {
        let mut asked = std::mem::take(&mut self.asked);
        asked.sort_unstable();
        asked.dedup();
        asked
    }

    /// The update that changed an answer last.
    pub(crate) fn changed(&self, asked: Asked) -> u64 {
        match asked {
            Asked::Selection(number) => self.selections[number].changed,
            Asked::Named(number) => self.named[number].changed,
        }
    }

    /// How many updates there were.
    pub(crate) fn updates(&self) -> u64 {
        self.update
    }

    /// How many answers are kept.
    pub(crate) fn answers(&self) -> usize {
        self.selections.len() + self.named.len()
    }
}

/// Most rules have one peer.
fn one_or_union(mut sets: Vec<AddressSet>) -> AddressSet {
    match sets.len() {
        1 => sets.swap_remove(0),
        _ => AddressSet::union_of(&sets),
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
