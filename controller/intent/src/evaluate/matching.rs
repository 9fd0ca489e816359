//! Labels, addresses and ports.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Evaluator;
use crate::model::{
    ClusterPeer, FilterPeer, LabelOperator, LabelSelector, Labels, NetworkPeer, NetworkPort, ObjectName, Pod,
    PodsAnywhere, PortProtocol,
};
use crate::packet::Packet;

/// Whether labels fulfil all requirements of a selector.
pub(crate) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.requirements.iter().all(|requirement| {
        let value = labels.get(&requirement.key);
        match &requirement.operator {
            LabelOperator::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelOperator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    })
}

fn cidr_has(cidr: &IpNet, except: &[IpNet], address: IpAddr) -> bool {
    cidr.contains(&address) && !except.iter().any(|except| except.contains(&address))
}

impl Evaluator<'_> {
    /// Whether selectors select a pod; no namespace selector means all namespaces.
    pub(super) fn selects_pod(
        &self,
        namespaces: Option<&LabelSelector>,
        pods: &LabelSelector,
        name: &ObjectName,
        pod: &Pod,
    ) -> bool {
        let namespace = || self.intent.namespaces.get(&name.namespace);
        namespaces.is_none_or(|selector| namespace().is_some_and(|labels| selects(selector, labels)))
            && selects(pods, &pod.labels)
    }

    fn selects_address(
        &self,
        namespaces: Option<&LabelSelector>,
        pods: &LabelSelector,
        address: IpAddr,
    ) -> bool {
        self.pods.get(&address).is_some_and(|entry| self.selects_pod(namespaces, pods, entry.name, entry.pod))
    }

    pub(super) fn filter_peer_has(&self, peer: &FilterPeer, address: IpAddr) -> bool {
        match peer {
            FilterPeer::Cidr { cidr, except } => cidr_has(cidr, except, address),
            FilterPeer::Group(name) => {
                let group = self.intent.groups.get(name);
                group.is_some_and(|group| group.cidrs.iter().any(|cidr| cidr.contains(&address)))
            }
            FilterPeer::Segment(name) => {
                let segment = self.intent.segments.get(name);
                segment.is_some_and(|segment| segment.subnets.iter().any(|cidr| cidr.contains(&address)))
                    || self.segment_hosts.get(name.as_str()).is_some_and(|hosts| hosts.contains(&address))
            }
            FilterPeer::Host(name) => {
                self.intent.hosts.get(name).is_some_and(|host| host.addresses.contains(&address))
            }
            FilterPeer::Pods { namespaces, pods } => self.selects_address(namespaces.as_ref(), pods, address),
        }
    }

    /// `own` is the policy's namespace.
    pub(super) fn network_peer_has(&self, peer: &NetworkPeer, own: &str, address: IpAddr) -> bool {
        match peer {
            NetworkPeer::IpBlock { cidr, except } => cidr_has(cidr, except, address),
            NetworkPeer::Pods { namespaces: Some(namespaces), pods } => {
                self.selects_address(Some(namespaces), pods, address)
            }
            NetworkPeer::Pods { namespaces: None, pods } => self
                .pods
                .get(&address)
                .is_some_and(|entry| entry.name.namespace == own && selects(pods, &entry.pod.labels)),
        }
    }

    pub(super) fn cluster_peer_has(&self, peer: &ClusterPeer, address: IpAddr) -> bool {
        match peer {
            ClusterPeer::Pods(PodsAnywhere { namespaces, pods }) => {
                self.selects_address(Some(namespaces), pods, address)
            }
            ClusterPeer::Nodes(selector) => {
                let nodes = self.nodes.get(&address);
                nodes.is_some_and(|nodes| nodes.iter().any(|node| selects(selector, &node.labels)))
            }
            ClusterPeer::Networks(cidrs) => cidrs.iter().any(|cidr| cidr.contains(&address)),
        }
    }

    /// Whether a packet goes to one of these ports; none given means all traffic. `unseen` is the answer for ports
    /// that a fragment does not show.
    pub(super) fn ports_match(&self, ports: &[NetworkPort], unseen: bool, packet: &Packet) -> bool {
        let destination = |protocol: PortProtocol, low: u16, high: u16| {
            packet.protocol() == Some(protocol.number())
                && packet.ports().map_or(unseen, |(_, port)| (low..=high).contains(&port))
        };
        // The ports that the destination gives this name.
        let named = |name: &str| {
            let pod = packet.addresses().and_then(|(_, dst)| self.pods.get(&dst));
            let ports = pod.into_iter().flat_map(|entry| &entry.pod.named_ports);
            ports
                .filter(move |((own, _), _)| own == name)
                .map(|((_, protocol), port)| (*protocol, *port))
                .collect::<Vec<_>>()
        };
        ports.is_empty()
            || ports.iter().any(|port| match port {
                NetworkPort::All(protocol) => packet.protocol() == Some(protocol.number()),
                NetworkPort::Range(protocol, low, high) => destination(*protocol, *low, *high),
                NetworkPort::Named(wanted, name) => named(name)
                    .into_iter()
                    .any(|(protocol, port)| protocol == *wanted && destination(protocol, port, port)),
                NetworkPort::NamedAnyProtocol(name) => {
                    named(name).into_iter().any(|(protocol, port)| destination(protocol, port, port))
                }
            })
    }
}
