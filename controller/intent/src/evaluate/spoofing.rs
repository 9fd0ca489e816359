//! Whether a source address may enter where a packet enters: "Spoofing" in docs/policy-semantics.md.

use std::net::IpAddr;

use super::{Entrance, Evaluator};
use crate::model::{Host, HostGuard, SegmentGuard};
use crate::packet::Packet;

impl Evaluator<'_> {
    /// Why a packet's source address may not enter there; none: it may, or the packet has none.
    pub fn spoofing(&self, switch: &str, entrance: &Entrance, packet: &Packet) -> Option<String> {
        let (source, _) = packet.addresses()?;
        let reason = self.refused(switch, entrance.port, entrance.segment.as_deref(), source)?;
        let port = entrance.port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
        let segment = match &entrance.segment {
            Some(segment) => format!("segment {segment}"),
            None => "no segment".to_owned(),
        };
        Some(format!("source address {source} is not allowed on {port} in {segment}: {reason}"))
    }

    /// Why a source address may not enter by a port in a segment.
    pub(super) fn refused(
        &self,
        switch: &str,
        port: Option<u16>,
        segment: Option<&str>,
        source: IpAddr,
    ) -> Option<String> {
        if is_for_starting(source) || self.is_trusted(switch, port) {
            return None;
        }
        let declared = segment.and_then(|name| self.intent.segments.get(name));
        let guard = declared.map(|segment| segment.anti_spoofing).unwrap_or_default();
        if guard == SegmentGuard::None {
            return None;
        }
        let here: Vec<(&String, &Host)> = self
            .intent
            .hosts
            .iter()
            .filter(|(_, host)| {
                port.is_some() && self.place(switch, host) == Some((port, segment.map(str::to_owned)))
            })
            .collect();
        let guards = || here.iter().map(|(_, host)| self.guard(host));
        let unknown = here.iter().any(|(_, host)| host.addresses.is_empty());
        if unknown || guards().any(|guard| guard == HostGuard::None) {
            return None;
        }
        if here.iter().any(|(_, host)| self.is_own(host, source)) {
            return None;
        }
        if let Some((name, host)) = self.hosts.get(&source)
            && let Some((Some(own), at)) = self.place(switch, host)
            && at.as_deref() == segment
            && self.guard(host) != HostGuard::None
        {
            return Some(format!("it is Host {name}'s, which is on port {own}"));
        }
        let there = || here.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        if guards().any(|guard| guard == HostGuard::Strict) {
            return Some(format!("only the addresses of the hosts there are ({})", there()));
        }
        if here.is_empty() && guard != SegmentGuard::Subnets {
            return None;
        }
        let in_segment = segment.and_then(|name| self.segment_hosts.get(name));
        if declared.is_some_and(|segment| segment.subnets.iter().any(|subnet| subnet.contains(&source)))
            || in_segment.is_some_and(|addresses| addresses.contains(&source))
        {
            return None;
        }
        if here.is_empty() {
            return Some("it is in none of the segment's subnets".to_owned());
        }
        Some(format!("it is of none of the hosts there ({}), and in no subnet of the segment", there()))
    }

    /// The port by which a host's frames enter a switch, and in which segment; none if it is not plugged in there.
    pub(super) fn place(&self, switch: &str, host: &Host) -> Option<(Option<u16>, Option<String>)> {
        let (_, port) = host.port.as_ref().filter(|(at, _)| at == switch)?;
        let segment = host.segment.as_ref().and_then(|name| self.intent.segments.get(name));
        let tag = host.vlan.or(segment.and_then(|segment| segment.vlan));
        Some((Some(*port), self.at_port(switch, *port, tag).segment))
    }

    fn is_trusted(&self, switch: &str, port: Option<u16>) -> bool {
        let ports = self.intent.switches.get(switch).map(|switch| &switch.ports);
        ports.zip(port).and_then(|(ports, port)| ports.get(&port)).is_some_and(|port| port.trusted)
    }

    /// What holds for a host, said or not.
    fn guard(&self, host: &Host) -> HostGuard {
        let is_node = || host.addresses.iter().any(|address| self.is_node(*address));
        host.anti_spoofing.unwrap_or_else(|| if is_node() { HostGuard::None } else { HostGuard::Hosts })
    }

    fn is_node(&self, address: IpAddr) -> bool {
        self.nodes.contains_key(&address)
            || self.intent.pods.values().any(|pod| pod.node_addresses.contains(&address))
    }

    /// Whether an address is the host's, or of a pod that runs on it.
    fn is_own(&self, host: &Host, address: IpAddr) -> bool {
        let pod = self.pods.get(&address);
        host.addresses.contains(&address)
            || pod.is_some_and(|entry| {
                entry.pod.node_addresses.iter().any(|node| host.addresses.contains(node))
            })
    }
}

/// Addresses of hosts that have none yet, and of those that speak to their link alone: the unspecified ones (DHCP,
/// duplicate address detection, ARP probes), and IPv6's link-local ones.
fn is_for_starting(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_unspecified(),
        IpAddr::V6(address) => address.is_unspecified() || address.segments()[0] & 0xffc0 == 0xfe80,
    }
}
