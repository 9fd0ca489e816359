//! What policies allow, and whose answers do not get back.

mod filters;
mod pods;

pub(super) use pods::let_through;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;

use super::addresses::bits;
use super::order::Order;
use super::space::Set;
use super::{Item, Lost, Work};
use crate::evaluate::{Evaluator, IMPLIED_SWITCH, Verdict};
use crate::model::{Intent, PortProtocol};
use crate::packet::{ICMP, Ingress, Kind, L4, Packet, tcp_flags};

/// Ports to which one speaks and gets no answer: DHCP (which is broadcast), syslog, SNMP traps, flow exports.
const ONE_WAY: [u16; 7] = [67, 68, 162, 514, 2055, 4739, 6343];
/// Ports that both sides use: NTP, IKE, RIP, HSRP, GTP-U, BFD, VXLAN, Geneve, `WireGuard`.
const SYMMETRIC: [u16; 12] = [123, 500, 520, 1701, 1985, 2152, 3784, 4500, 4789, 6081, 8472, 51_820];
/// The port of a packet where nothing says one.
const DNS: u16 = 53;
/// Where clients' ports are (RFC 6335; Linux ends earlier).
const CLIENT: (u16, u16) = (49_152, 60_999);
/// Things that are told; of more nobody reads.
const MOST_FOUND: usize = 300;
/// What a verdict costs, in steps for each rule that there is.
const STEPS: usize = 24;

/// Addresses of documentation (RFC 5737, RFC 3849): they stand in for anybody who asks, and anybody who is asked.
const ANYBODY: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)),
];

/// What packets are judged by.
pub(super) struct Scene<'s, 'i> {
    pub(super) intent: &'i Intent,
    pub(super) evaluator: &'s Evaluator<'i>,
    pub(super) order: &'s Order<'i>,
    at: Timestamp,
    /// Switches that differ in what is asked there, and their numbers in the order.
    switches: Vec<(&'i str, u128)>,
    /// The addresses of segments in which frames enter on some switch, IPv6 and IPv4.
    placed: [Set; 2],
    rules: usize,
}

impl<'s, 'i> Scene<'s, 'i> {
    pub(super) fn new(
        intent: &'i Intent,
        evaluator: &'s Evaluator<'i>,
        order: &'s Order<'i>,
        at: Timestamp,
    ) -> Self {
        let mut switches: Vec<(&str, u128)> = Vec::new();
        for name in intent.switches.keys().map(String::as_str) {
            let number = order.switch(name);
            if !switches.iter().any(|(_, other)| *other == number) {
                switches.push((name, number));
            }
        }
        if switches.is_empty() {
            switches.push((IMPLIED_SWITCH, order.switch(IMPLIED_SWITCH)));
        }
        let mut placed = [Set::empty(), Set::empty()];
        for (name, segment) in &intent.segments {
            if segment.vlan.is_some() || !segment.ports.is_empty() {
                let own = order.addresses().of_segment(name);
                placed = [placed[0].or(&own[0]), placed[1].or(&own[1])];
            }
        }
        let rules = order.takers.len() + 100;
        Self { intent, evaluator, order, at, switches, placed, rules }
    }

    /// The segments in which a packet between two addresses passes a switch: that of its source, and that of its
    /// destination, for whatever brings it from one to the other is not ours. What answers it passes in the same ones.
    /// None: it has no business there.
    fn hops(&self, switch: &str, src: IpAddr, dst: IpAddr) -> Option<Vec<Option<String>>> {
        let own = |src: IpAddr, dst: IpAddr| {
            self.evaluator.entrance(Some(switch), &Packet::udp(src, 0, dst, 0)).segment
        };
        let (first, second) = (own(src, dst), own(dst, src));
        let mut hops: Vec<Option<String>> = [first, second].into_iter().flatten().map(Some).collect();
        hops.dedup();
        if hops.is_empty() {
            let elsewhere = |address: IpAddr| self.placed[usize::from(address.is_ipv4())].has(bits(address));
            if elsewhere(src) || elsewhere(dst) {
                return None;
            }
            hops.push(None);
        }
        Some(hops)
    }

    /// The denial of an answer to a packet that passes, and where that is so. `is_ours` says for one of the packet's
    /// verdicts whether it is what is looked at. With a segment, both pass the switch there and nowhere else.
    fn denied(
        &self,
        switch: &str,
        segment: Option<&str>,
        packet: &Packet,
        is_ours: &dyn Fn(&Verdict) -> bool,
        work: &mut Work,
    ) -> Option<(Lost, Verdict)> {
        let (src, dst) = packet.addresses()?;
        let answer = answer_to(packet)?;
        let hops = match segment {
            Some(segment) => vec![Some(segment.to_owned())],
            None => self.hops(switch, src, dst)?,
        };
        let at = |packet: &Packet, hop: &Option<String>| Packet {
            ingress: hop.clone().map(Ingress::Segment),
            ..packet.clone()
        };
        work.step(hops.len() * 2 * self.rules * STEPS);
        let judge = |packet: &Packet| self.evaluator.evaluate(Some(switch), self.at, packet);
        let passing: Vec<Verdict> = hops.iter().map(|hop| judge(&at(packet, hop))).collect();
        if !passing.iter().all(|verdict| verdict.allow) || !passing.iter().any(is_ours) {
            return None;
        }
        hops.iter().find_map(|hop| {
            let answer = at(&answer, hop);
            let verdict = judge(&answer);
            let lost = || Lost { switch: switch.to_owned(), packet: at(packet, hop), answer };
            (!verdict.allow).then(|| (lost(), verdict))
        })
    }
}

/// What lets an answer in whose source address may not enter where it does.
pub(super) const LET_IN: &str =
    "say `antiSpoofing: none` at the router or the port by which the answers enter, or at the segment";

/// Who denies, in words.
fn by(verdict: &Verdict) -> String {
    match (&verdict.policy, &verdict.rule, verdict.spoofed()) {
        (Some(policy), Some(rule), _) => format!("{policy}, rule {rule}"),
        (Some(policy), None, _) => policy.clone(),
        (None, _, Some(reason)) => format!("the switch ({reason})"),
        (None, _, None) => "the switch".to_owned(),
    }
}

/// An answer in words: from where to where, and where it enters.
fn example(lost: &Lost) -> String {
    let Some((from, to)) = lost.answer.addresses() else { return String::new() };
    let port = lost.answer.ports().map_or_else(String::new, |(port, _)| format!(" (port {port})"));
    let place = match &lost.answer.ingress {
        Some(Ingress::Segment(segment)) => format!(", in segment {segment},"),
        _ => String::new(),
    };
    format!("one from {from}{port} to {to}{place}")
}

/// A packet that asks for an answer.
fn request(protocol: PortProtocol, (src, sport): (IpAddr, u16), (dst, dport): (IpAddr, u16)) -> Packet {
    match protocol {
        PortProtocol::Tcp => Packet::tcp(src, sport, dst, dport, tcp_flags::SYN),
        PortProtocol::Udp => Packet::udp(src, sport, dst, dport),
        PortProtocol::Sctp => Packet::sctp(src, sport, dst, dport),
    }
}

/// What comes back.
fn answer_to(packet: &Packet) -> Option<Packet> {
    let Kind::Ip { src, dst, protocol, l4, .. } = packet.kind else { return None };
    let l4 = match l4 {
        L4::Ports { source, destination, .. } => {
            let flags = packet.tcp_flags().map_or(0, |_| tcp_flags::SYN | tcp_flags::ACK);
            L4::Ports { source: destination, destination: source, tcp_flags: flags }
        }
        L4::Icmp { code, .. } => L4::Icmp { icmp_type: if protocol == ICMP { 0 } else { 129 }, code },
        L4::None => return None,
    };
    Some(Packet::new(Kind::Ip { src: dst, dst: src, protocol, fragment: false, l4 }))
}

/// What a protocol's packets are called.
fn name_of(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "TCP connections",
        PortProtocol::Udp => "UDP",
        PortProtocol::Sctp => "SCTP",
    }
}

/// The port of a client that asks at this one.
fn client_of(port: u16) -> u16 {
    if SYMMETRIC.contains(&port) { port } else { CLIENT.0 }
}

pub(super) fn find(scene: &Scene<'_, '_>, work: &mut Work) -> Vec<Item> {
    let mut found = filters::find(scene, work);
    found.extend(pods::find(scene, work));
    found
}
