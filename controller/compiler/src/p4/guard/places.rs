//! Where the hosts of one switch are, and what is known of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use outplane_intent::model::{Host, HostGuard, Intent, Segment, SegmentGuard};

use crate::p4::forward::{is_everywhere, ports_here};

/// A host by name, and whether anything may come from it.
type Known<'g> = (&'g str, &'g Host, bool);

/// The hosts of an intent, by where their frames enter one switch.
#[derive(Default)]
pub(super) struct Places<'g> {
    /// By port and segment (0 for none), where that is guarded at all.
    pub(super) inhabited: BTreeMap<(u16, u16), Place<'g>>,
    /// Ports with hosts, in whichever segment. False: from one of them anything may come.
    pub(super) ports: BTreeMap<u16, bool>,
    /// Addresses of pods by those of the node that they run on.
    pub(super) pods: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// Hosts by the segment that they say.
    pub(super) members: BTreeMap<&'g str, Vec<&'g Host>>,
}

/// A port's hosts in one segment.
#[derive(Default)]
pub(super) struct Place<'g> {
    pub(super) hosts: Vec<Known<'g>>,
    pub(super) segment: Option<(&'g str, &'g Segment)>,
}

impl Place<'_> {
    pub(super) fn is_strict(&self) -> bool {
        self.hosts.iter().any(|(_, host, _)| host.anti_spoofing == Some(HostGuard::Strict))
    }
}

impl<'g> Places<'g> {
    pub(super) fn new(intent: &'g Intent, switch: &str, ids: &BTreeMap<String, u16>) -> Self {
        // The first segment by name that claims a port with a tag, and that has a tag on every port.
        let mut named: BTreeMap<(Option<u16>, u16), &str> = BTreeMap::new();
        let mut anywhere: BTreeMap<Option<u16>, &str> = BTreeMap::new();
        for (name, segment) in &intent.segments {
            for port in ports_here(segment, switch) {
                named.entry((segment.vlan, *port)).or_insert(name);
            }
            if is_everywhere(segment) {
                anywhere.entry(segment.vlan).or_insert(name);
            }
        }
        let mut nodes: BTreeSet<IpAddr> =
            intent.nodes.values().flat_map(|node| &node.addresses).copied().collect();
        let mut places = Self::default();
        for pod in intent.pods.values() {
            for node in &pod.node_addresses {
                nodes.insert(*node);
                places.pods.entry(*node).or_default().extend(&pod.addresses);
            }
        }
        for (name, host) in &intent.hosts {
            let own = host.segment.as_ref().and_then(|name| intent.segments.get_key_value(name));
            if let Some((segment, _)) = own {
                places.members.entry(segment).or_default().push(host);
            }
            let Some((_, port)) = host.port.as_ref().filter(|(at, _)| at == switch) else { continue };
            let tag = host.vlan.or(own.and_then(|(_, segment)| segment.vlan));
            let entered = named.get(&(tag, *port)).or_else(|| anywhere.get(&tag)).copied();
            let id = entered.and_then(|name| ids.get(name)).copied().unwrap_or(0);
            let entered = entered.and_then(|name| Some((name, intent.segments.get(name)?)));
            let unguarded = entered.is_some_and(|(_, segment)| segment.anti_spoofing == SegmentGuard::None);
            // Behind nodes of Kubernetes there are pods that nobody knows yet.
            let free = host.anti_spoofing.map_or_else(
                || host.addresses.iter().any(|address| nodes.contains(address)),
                |said| said == HostGuard::None,
            );
            *places.ports.entry(*port).or_insert(true) &= !free && !unguarded;
            if !unguarded {
                let place = places.inhabited.entry((*port, id)).or_default();
                place.hosts.push((name, host, free));
                place.segment = entered;
            }
        }
        places
    }
}
