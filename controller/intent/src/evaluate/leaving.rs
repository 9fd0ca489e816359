//! Where a packet that passes leaves a switch: "Forwarding" in docs/policy-semantics.md.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::entrance::{on_every_port, ports};
use super::{Entrance, Evaluator, IMPLIED_SWITCH};
use crate::packet::{Kind, Packet};

/// Whom a frame is for: its destination MAC address, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The MAC address; none where nobody says it: no host that is declared with one has it.
    pub mac: Option<[u8; 6]>,
    /// How that is known, for people.
    pub why: String,
}

/// Where a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// What sends it there.
    pub by: LeavingBy,
    /// The ports; none: it is dropped.
    pub ports: BTreeSet<u16>,
}

/// What sends a frame out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeavingBy {
    /// The port that it entered by is paired with this one.
    CrossConnect,
    /// A host with its destination MAC address is there.
    Host,
    /// Nothing but its segment: all ports of it, but for the one that it came from.
    Flood,
}

impl Evaluator<'_> {
    /// Whom a packet's frame is for, if nobody says: the host that has its destination address, if that host is in the
    /// segment that the packet enters in. To other segments it takes a router, which is not ours.
    pub fn addressee(&self, entrance: &Entrance, packet: &Packet) -> Addressee {
        let flooded = |why: &str| Addressee { mac: None, why: why.to_owned() };
        let destination = match packet.kind {
            Kind::Arp { .. } => return flooded("ARP asks everybody"),
            Kind::Other { .. } | Kind::Llc(_) => return flooded("nobody says its destination MAC address"),
            Kind::Ip { dst, .. } => dst,
        };
        if is_for_many(destination) {
            return flooded("it is for more than one");
        }
        let Some((name, host)) = self.hosts.get(&destination) else {
            return flooded(&format!("no Host has {destination}"));
        };
        if host.segment != entrance.segment {
            let segment = host.segment.as_deref().unwrap_or("none");
            return flooded(&format!("{name} is in segment {segment}: a router takes it there"));
        }
        match host.mac {
            Some(_) => Addressee { mac: host.mac, why: format!("Host {name}") },
            None => flooded(&format!("Host {name} has no mac")),
        }
    }

    /// Where a frame that enters there, and passes, leaves.
    pub fn leaving(&self, switch: Option<&str>, entrance: &Entrance, mac: Option<[u8; 6]>) -> Leaving {
        let switch = switch.unwrap_or(IMPLIED_SWITCH);
        let declared = self.intent.switches.get(switch).map(|switch| &switch.ports);
        let pairs =
            || declared.into_iter().flatten().filter_map(|(port, said)| Some((*port, said.cross_connect?)));
        let paired = |port: u16| {
            let first = pairs().find_map(|(one, other)| (one == port).then_some(other));
            first.or_else(|| pairs().find_map(|(one, other)| (other == port).then_some(one)))
        };
        if let Some(other) = entrance.port.and_then(paired) {
            return Leaving { by: LeavingBy::CrossConnect, ports: [other].into() };
        }
        let host = self.intent.hosts.values().find_map(|host| {
            let (at, port) = host.port.as_ref()?;
            let is = mac.is_some() && host.mac == mac && host.segment == entrance.segment && at == switch;
            is.then_some(*port)
        });
        if let Some(port) = host {
            return Leaving { by: LeavingBy::Host, ports: [port].into() };
        }

        let free =
            || declared.into_iter().flatten().map(|(port, _)| *port).filter(|port| paired(*port).is_none());
        let segments = &self.intent.segments;
        let mut ports: BTreeSet<u16> = match entrance.segment.as_ref().and_then(|name| segments.get(name)) {
            Some(segment) if on_every_port(segment) => free().collect(),
            Some(segment) => ports(segment, switch).iter().copied().collect(),
            None => free()
                .filter(|port| !segments.values().any(|other| ports(other, switch).contains(port)))
                .collect(),
        };
        ports.retain(|port| Some(*port) != entrance.port);
        Leaving { by: LeavingBy::Flood, ports }
    }
}

/// Multicast, and IPv4's broadcast to all of a link.
pub(crate) fn is_for_many(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(address) if address.is_broadcast())
}
