//! Where a packet enters a switch.

use std::net::IpAddr;

use serde::Serialize;

use super::{Evaluator, IMPLIED_SWITCH};
use crate::model::Segment;
use crate::packet::{Ingress, Packet};

/// Where a packet enters a switch, as far as it is known or can be derived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entrance {
    /// The port. None: any port at which such a frame enters in `segment`, for example because its segment is a VLAN on
    /// every port.
    pub port: Option<u16>,
    /// The VLAN of its outer tag; none for untagged.
    pub vlan: Option<u16>,
    /// The segment; none: it enters in none.
    pub segment: Option<String>,
}

impl Evaluator<'_> {
    /// Finds out where a packet enters a switch ("Segments" in docs/policy-semantics.md). A packet that says its port
    /// enters there with the tag that it has; otherwise this is a sensible guess from its source address.
    pub fn entrance(&self, switch: Option<&str>, packet: &Packet) -> Entrance {
        let switch = switch.unwrap_or(IMPLIED_SWITCH);
        match &packet.ingress {
            Some(Ingress::Port(port)) => self.at_port(switch, *port, packet.vlan_id()),
            Some(Ingress::Segment(name)) => match self.intent.segments.get(name) {
                Some(segment) => self.within(name, segment, switch, source_of(packet)),
                None => Entrance { vlan: packet.vlan_id(), ..Entrance::default() },
            },
            None => self.derived(switch, packet),
        }
    }

    pub(crate) fn at_port(&self, switch: &str, port: u16, vlan: Option<u16>) -> Entrance {
        let with_vlan = || self.by_vlan.get(&vlan).into_iter().flatten();
        let named = with_vlan().find(|(_, segment)| ports(segment, switch).contains(&port));
        let anywhere = || with_vlan().find(|(_, segment)| on_every_port(segment));
        let segment = named.or_else(anywhere).map(|(name, _)| (*name).to_owned());
        Entrance { port: Some(port), vlan, segment }
    }

    fn derived(&self, switch: &str, packet: &Packet) -> Entrance {
        let vlan = packet.vlan_id();
        // A packet that says no tag may get that of its segment. One that says its tags has no other VLAN: with VLAN 0
        // alone it has none.
        let is_tagged = !packet.tags.is_empty();
        let fits = |segment: &Segment| can_enter(segment, switch) && (!is_tagged || segment.vlan == vlan);
        let source = source_of(packet);
        let segments = &self.intent.segments;

        if let Some((_, host)) = source.and_then(|source| self.hosts.get(&source)) {
            let own = host.segment.as_ref().and_then(|name| segments.get_key_value(name));
            if let Some((_, port)) = host.port.as_ref().filter(|(at, _)| at == switch) {
                let guess = || host.vlan.or(own.and_then(|(_, segment)| segment.vlan));
                return self.at_port(switch, *port, if is_tagged { vlan } else { guess() });
            }
            if let Some((name, segment)) = own.filter(|(_, segment)| fits(segment)) {
                return self.within(name, segment, switch, source);
            }
        }

        let mut best: Option<(u8, &String, &Segment)> = None;
        for (name, segment) in segments.iter().filter(|(_, segment)| fits(segment)) {
            for subnet in &segment.subnets {
                let longer = best.is_none_or(|(length, ..)| subnet.prefix_len() > length);
                if longer && source.is_some_and(|source| subnet.contains(&source)) {
                    best = Some((subnet.prefix_len(), name, segment));
                }
            }
        }
        if let Some((_, name, segment)) = best {
            return self.within(name, segment, switch, source);
        }

        let by_vlan = || segments.iter().find(|(_, segment)| is_tagged && fits(segment));
        by_vlan().map_or(Entrance { vlan, ..Entrance::default() }, |(name, segment)| {
            self.within(name, segment, switch, source)
        })
    }

    /// A frame that enters a switch in this segment: by the port of the host that has its source address, else by the
    /// first by which such a source may enter.
    fn within(&self, name: &str, segment: &Segment, switch: &str, source: Option<IpAddr>) -> Entrance {
        let host = source.and_then(|source| self.hosts.get(&source));
        let own = host.and_then(|(_, host)| self.place(switch, host));
        let own = own.filter(|(_, at)| at.as_deref() == Some(name)).and_then(|(port, _)| port);
        let ports = ports(segment, switch);
        let may_enter = |port: u16| {
            source.is_none_or(|source| self.refused(switch, Some(port), Some(name), source).is_none())
        };
        let port = own.or_else(|| ports.iter().copied().find(|port| may_enter(*port)));
        let port = port.or_else(|| ports.first().copied());
        Entrance { port, vlan: segment.vlan, segment: Some(name.to_owned()) }
    }
}

/// The ports of a segment on a switch.
pub(super) fn ports<'s>(segment: &'s Segment, switch: &str) -> &'s [u16] {
    segment.ports.get(switch).map_or(&[], Vec::as_slice)
}

/// Whether frames can enter in a segment on a switch.
pub(crate) fn can_enter(segment: &Segment, switch: &str) -> bool {
    on_every_port(segment) || !ports(segment, switch).is_empty()
}

pub(super) fn on_every_port(segment: &Segment) -> bool {
    segment.ports.is_empty() && segment.vlan.is_some()
}

fn source_of(packet: &Packet) -> Option<IpAddr> {
    packet.addresses().map(|(source, _)| source)
}
