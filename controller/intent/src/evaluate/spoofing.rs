//! Whether a source address may enter where a packet enters: "Spoofing" in docs/policy-semantics.md.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Entrance, Evaluator};
use crate::model::{Host, HostGuard, SegmentGuard};
use crate::packet::Packet;

/// Hosts by switch, port and the segment that their frames enter in there.
pub(crate) type Inhabited<'a> = BTreeMap<(String, u16, Option<String>), Vec<(&'a str, &'a Host)>>;

/// Which source addresses may enter somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Any.
    Anything,
    /// All but those that are kept for hosts on other ports.
    Others,
    /// The hosts' there, and the segment's; any of a family of which the files say nothing.
    Known,
    /// The hosts' there, and the segment's.
    Subnets,
    /// The hosts' there.
    Strict,
}

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
    pub(crate) fn refused(
        &self,
        switch: &str,
        port: Option<u16>,
        segment: Option<&str>,
        source: IpAddr,
    ) -> Option<String> {
        let limit = self.limit(switch, port, segment);
        let here = port.map_or(&[][..], |port| self.inhabitants(switch, port, segment));
        if is_for_starting(source)
            || limit == Limit::Anything
            || here.iter().any(|(_, host)| self.is_own(host, source))
        {
            return None;
        }
        if let Some((name, own)) = self.kept_for(switch, segment, source) {
            return Some(format!("it is Host {name}'s, which is on port {own}"));
        }
        let there = || here.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        match limit {
            Limit::Anything | Limit::Others => return None,
            Limit::Known if !self.is_known_family(source.is_ipv4()) => return None,
            Limit::Strict => {
                return Some(format!("only the addresses of the hosts there are ({})", there()));
            }
            Limit::Known | Limit::Subnets => {}
        }
        let declared = segment.and_then(|name| self.intent.segments.get(name));
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

    /// What may enter by a port in a segment.
    pub(crate) fn limit(&self, switch: &str, port: Option<u16>, segment: Option<&str>) -> Limit {
        let declared = segment.and_then(|name| self.intent.segments.get(name));
        let guard = declared.map(|segment| segment.anti_spoofing).unwrap_or_default();
        let here = port.map_or(&[][..], |port| self.inhabitants(switch, port, segment));
        let says = |guard: HostGuard| here.iter().any(|(_, host)| self.guard(host) == guard);
        if self.is_trusted(switch, port) || guard == SegmentGuard::None || says(HostGuard::None) {
            return Limit::Anything;
        }
        if says(HostGuard::Strict) {
            return Limit::Strict;
        }
        if guard == SegmentGuard::Subnets {
            return Limit::Subnets;
        }
        let known = match (here, declared.is_some_and(|segment| !segment.subnets.is_empty())) {
            ([], subnets) => subnets && port.is_some_and(|port| self.is_guarded_elsewhere(switch, port)),
            // Where nothing is known of a host, it may have any address.
            (here, false) => here.iter().all(|(_, host)| !host.addresses.is_empty()),
            (_, true) => true,
        };
        if known { Limit::Known } else { Limit::Others }
    }

    /// The host on another port in this segment that alone may send from an address, and its port. Asked where no host
    /// of the port in question has it.
    fn kept_for(&self, switch: &str, segment: Option<&str>, source: IpAddr) -> Option<(&str, u16)> {
        let (name, host) = self.hosts.get(&source)?;
        let (port, at) = self.place(switch, host)?;
        (at.as_deref() == segment && self.guard(host) != HostGuard::None).then_some((*name, port?))
    }

    /// The hosts on a port whose frames enter in a segment.
    pub(crate) fn inhabitants(&self, switch: &str, port: u16, segment: Option<&str>) -> &[(&str, &Host)] {
        let at = (switch.to_owned(), port, segment.map(str::to_owned));
        self.inhabited().get(&at).map_or(&[], Vec::as_slice)
    }

    fn inhabited(&self) -> &Inhabited<'_> {
        self.inhabited.get_or_init(|| {
            let mut inhabited = Inhabited::new();
            for (name, host) in &self.intent.hosts {
                let Some((switch, port)) = &host.port else { continue };
                let segment = self.place(switch, host).and_then(|(_, segment)| segment);
                inhabited.entry((switch.clone(), *port, segment)).or_default().push((name, host));
            }
            inhabited
        })
    }

    /// Whether hosts are on a port, in whichever segment, and from none of them anything may come.
    fn is_guarded_elsewhere(&self, switch: &str, port: u16) -> bool {
        let from = (switch.to_owned(), port, None);
        let there = self.inhabited().range(from..).take_while(|((at, on, _), _)| at == switch && *on == port);
        let mut guarded = false;
        for ((.., segment), hosts) in there {
            let segment = segment.as_ref().and_then(|name| self.intent.segments.get(name));
            let anything = segment.is_some_and(|segment| segment.anti_spoofing == SegmentGuard::None)
                || hosts.iter().any(|(_, host)| self.guard(host) == HostGuard::None);
            if anything {
                return false;
            }
            guarded = true;
        }
        guarded
    }

    /// Whether some segment's subnet or some host is of a family.
    pub(crate) fn is_known_family(&self, v4: bool) -> bool {
        let families = self.families.get_or_init(|| {
            let subnets = self.intent.segments.values().flat_map(|segment| &segment.subnets);
            let hosts = self.hosts.keys().copied();
            let all = subnets.map(ipnet::IpNet::addr).chain(hosts);
            let (v4, v6): (Vec<_>, Vec<_>) = all.partition(IpAddr::is_ipv4);
            [!v6.is_empty(), !v4.is_empty()]
        });
        families[usize::from(v4)]
    }

    /// The port by which a host's frames enter a switch, and in which segment; none if it is not plugged in there.
    pub(crate) fn place(&self, switch: &str, host: &Host) -> Option<(Option<u16>, Option<String>)> {
        let (_, port) = host.port.as_ref().filter(|(at, _)| at == switch)?;
        let segment = host.segment.as_ref().and_then(|name| self.intent.segments.get(name));
        let tag = host.vlan.or(segment.and_then(|segment| segment.vlan));
        Some((Some(*port), self.at_port(switch, *port, tag).segment))
    }

    pub(crate) fn is_trusted(&self, switch: &str, port: Option<u16>) -> bool {
        let ports = self.intent.switches.get(switch).map(|switch| &switch.ports);
        ports.zip(port).and_then(|(ports, port)| ports.get(&port)).is_some_and(|port| port.trusted)
    }

    /// What holds for a host, said or not.
    pub(crate) fn guard(&self, host: &Host) -> HostGuard {
        let is_node = || host.addresses.iter().any(|address| self.is_node(*address));
        host.anti_spoofing.unwrap_or_else(|| if is_node() { HostGuard::None } else { HostGuard::Hosts })
    }

    fn is_node(&self, address: IpAddr) -> bool {
        let pods = || self.intent.pods.values().flat_map(|pod| &pod.node_addresses).copied().collect();
        self.nodes.contains_key(&address) || self.pod_nodes.get_or_init(pods).contains(&address)
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
