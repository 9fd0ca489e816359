//! Objects as they were said, with places, before names are resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::expectation::ExpectationDecl;
use super::source::{Place, Placed};
use super::sources::Sources;
use crate::model::{
    ClusterNetworkPolicy, FilterPolicy, HostGuard, KubernetesDefaults, Labels, NetworkPolicy, Node,
    ObjectName, Pod, SegmentGuard, Switch,
};

/// All objects by name.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) switches: BTreeMap<String, Entry<SwitchDecl>>,
    pub(crate) segments: BTreeMap<String, Entry<SegmentDecl>>,
    pub(crate) hosts: BTreeMap<String, Entry<HostDecl>>,
    pub(crate) groups: BTreeMap<String, Entry<GroupDecl>>,
    pub(crate) filters: BTreeMap<String, Entry<FilterDecl>>,
    pub(crate) namespaces: BTreeMap<String, Entry<Labels>>,
    pub(crate) pods: BTreeMap<ObjectName, Entry<PodDecl>>,
    pub(crate) nodes: BTreeMap<String, Entry<Node>>,
    pub(crate) network_policies: BTreeMap<ObjectName, Entry<NetworkPolicy>>,
    /// Those of them that say no namespace and are in `default` therefore.
    pub(crate) unplaced: BTreeSet<ObjectName>,
    pub(crate) cluster_policies: BTreeMap<String, Entry<ClusterNetworkPolicy>>,
    /// There is one at most.
    pub(crate) defaults: Option<Entry<KubernetesDefaults>>,
    pub(crate) expectations: BTreeMap<String, Entry<ExpectationDecl>>,
}

/// An object and the place of its name.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) at: Place,
    pub(crate) value: T,
    /// Errors were found in it: what follows from its values would only be noise.
    pub(crate) broken: bool,
}

/// Objects in the order of files and places, so that of two that clash the later one is at fault.
pub(crate) fn in_file_order<'d, K, T>(
    map: &'d BTreeMap<K, Entry<T>>,
    sources: &Sources,
) -> Vec<(&'d K, &'d Entry<T>)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_cached_key(|(_, entry)| sources.spot(entry.at));
    entries
}

/// A switch port, by number or by the name that its Switch gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortRef {
    Number(u16),
    Name(String),
}

#[derive(Debug)]
pub(crate) struct SwitchDecl {
    pub(crate) switch: Switch,
    pub(crate) address_at: Place,
    pub(crate) port_places: BTreeMap<u16, Place>,
    /// Ports that are cross-connected, and to what.
    pub(crate) crosses: Vec<(u16, Placed<PortRef>)>,
}

/// Ports of one switch. Without a switch, of the only one.
#[derive(Debug)]
pub(crate) struct PortsDecl {
    pub(crate) switch: Option<Placed<String>>,
    pub(crate) ports: Vec<Placed<PortRef>>,
    pub(crate) at: Place,
}

#[derive(Debug, Default)]
pub(crate) struct SegmentDecl {
    pub(crate) vlan: Option<u16>,
    pub(crate) anti_spoofing: Option<Placed<SegmentGuard>>,
    pub(crate) subnets: Vec<Placed<IpNet>>,
    pub(crate) ports: Vec<PortsDecl>,
}

#[derive(Debug, Default)]
pub(crate) struct HostDecl {
    pub(crate) addresses: Vec<Placed<IpAddr>>,
    pub(crate) segment: Option<Placed<String>>,
    pub(crate) mac: Option<Placed<[u8; 6]>>,
    pub(crate) vlan: Option<Placed<u16>>,
    pub(crate) port: Option<PortsDecl>,
    pub(crate) anti_spoofing: Option<Placed<HostGuard>>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupDecl {
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) groups: Vec<Placed<String>>,
}

#[derive(Debug)]
pub(crate) struct FilterDecl {
    /// Complete but for the checks of names.
    pub(crate) policy: FilterPolicy,
    pub(crate) switches: Vec<Place>,
    pub(crate) segments: Vec<Place>,
    pub(crate) default: Option<Place>,
    /// One a rule.
    pub(crate) rules: Vec<RulePlaces>,
}

/// Places of a rule's parts, as many as the rule has.
#[derive(Debug)]
pub(crate) struct RulePlaces {
    pub(crate) at: Place,
    pub(crate) from: Vec<Place>,
    pub(crate) to: Vec<Place>,
    pub(crate) traffic: Vec<Place>,
    pub(crate) broken: bool,
}

#[derive(Debug)]
pub(crate) struct PodDecl {
    /// None for pods that policies do not concern: host network, finished, without address.
    pub(crate) pod: Option<Pod>,
    pub(crate) addresses: Vec<Place>,
    /// The node that it runs on.
    pub(crate) node: Option<String>,
    /// It is being deleted.
    pub(crate) deleted: bool,
    /// When it was created.
    pub(crate) created: Option<Timestamp>,
}
