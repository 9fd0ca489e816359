//! What rules allow, and whose answers no rule lets back.

mod pods;

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use super::{Item, Kind};
use crate::evaluate::{Evaluator, IMPLIED_SWITCH, Verdict, is_for_many};
use crate::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, Intent, PortProtocol, Replies, TrafficMatch,
};
use crate::packet::{Packet, tcp_flags};

/// Rules that are looked at, of all policies together: each is judged twice for each kind of traffic.
const MOST: usize = 2000;
/// Ports to which one speaks and gets no answer: syslog, SNMP traps, flow exports.
const ONE_WAY: [u16; 5] = [514, 162, 2055, 6343, 4739];
/// The port of a packet where a rule leaves it open.
const DNS: u16 = 53;
/// Where a client's port is.
const CLIENT: u16 = 49_152;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

/// Addresses of documentation (RFC 5737, RFC 3849): they stand in for anybody.
const ANYBODY: [IpAddr; 4] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)),
];

pub(super) fn find(intent: &Intent, at: Timestamp) -> Vec<Item> {
    let evaluator = Evaluator::new(intent);
    let mut advice = of_filters(intent, &evaluator, at);
    advice.extend(pods::find(intent, &evaluator, at));
    advice
}

fn of_filters(intent: &Intent, evaluator: &Evaluator<'_>, at: Timestamp) -> Vec<Item> {
    let mut left = MOST;
    let mut advice = Vec::new();
    for (name, policy) in &intent.filters {
        if policy.replies == Replies::Reverse {
            continue;
        }
        let object = format!("FilterPolicy/{name}");
        let switch = policy.switches.first().or_else(|| intent.switches.keys().next());
        let switch = switch.map_or(IMPLIED_SWITCH, String::as_str);
        let allowing =
            policy.rules.iter().filter(|rule| rule.action == FilterAction::Allow && rule.is_in_force(at));
        for rule in allowing {
            if left == 0 {
                return advice;
            }
            left -= 1;
            let judge = |packet: &Packet| evaluator.evaluate(Some(switch), at, packet);
            if let Some(found) =
                requests(intent, policy, rule).iter().find_map(|sent| lost(sent, &object, rule, judge))
            {
                advice.push(found);
            }
        }
    }
    advice
}

/// What is to be said if this packet passes by this rule, and its answer is denied.
fn lost(sent: &Request, object: &str, rule: &FilterRule, judge: impl Fn(&Packet) -> Verdict) -> Option<Item> {
    let verdict = judge(&sent.packet);
    let ours = verdict.allow
        && verdict.policy.as_deref() == Some(object)
        && verdict.rule.as_deref() == Some(rule.name.as_str());
    if !ours {
        return None;
    }
    let back = judge(&sent.answer);
    if back.allow {
        return None;
    }
    let by = match (back.policy, back.rule) {
        (Some(policy), Some(rule)) => format!("{policy}, rule {rule}"),
        (Some(policy), None) => policy,
        _ => "the switch".to_owned(),
    };
    let (from, to) = sent.answer.addresses()?;
    Some(Item {
        object: object.to_owned(),
        rule: Some(rule.name.clone()),
        kind: Kind::RepliesLost,
        message: format!(
            "rule {} lets {} through, and no answer back: for example, one from {from} to {to} is denied by {by}",
            rule.name, sent.what
        ),
        help: sent.help.to_owned(),
    })
}

/// A packet that asks for an answer, and the answer.
struct Request {
    what: &'static str,
    help: &'static str,
    packet: Packet,
    answer: Packet,
}

/// Packets that a rule lets through and that ask for an answer which the policy's `replies` do not cover, one of each kind.
fn requests(intent: &Intent, policy: &FilterPolicy, rule: &FilterRule) -> Vec<Request> {
    let mut requests = Vec::new();
    // What is for many is answered by each as it likes.
    let Some((src, dst)) = pair(intent, rule).filter(|(_, dst)| !is_for_many(*dst)) else { return requests };
    let reverse =
        "`replies: reverse` lets answers back that look like it; or allow them by a rule of their own";
    // A rule about all traffic is about TCP, too, whose answers come back: it may be meant so.
    for traffic in &rule.traffic {
        match *traffic {
            TrafficMatch::Ports { protocol, source, destination, tcp_flags } => {
                // Who opens no connection, or answers himself from a port of his own, awaits no answer.
                let answers = tcp_flags.is_some_and(|flags| flags.set & tcp_flags::ACK != 0)
                    || source.is_some() && destination.is_none();
                let tcp = protocol == PortProtocol::Tcp;
                let dport = destination.map_or(DNS, |(low, _)| low);
                let one_way =
                    !tcp && destination.is_some_and(|(low, high)| low == high && ONE_WAY.contains(&low));
                if answers || one_way || tcp && policy.replies != Replies::None {
                    continue;
                }
                let sport = source.map_or(CLIENT, |(low, _)| low);
                let (packet, answer, what) = match protocol {
                    PortProtocol::Tcp => (
                        Packet::tcp(src, sport, dst, dport, tcp_flags::SYN),
                        Packet::tcp(dst, dport, src, sport, tcp_flags::SYN | tcp_flags::ACK),
                        "TCP connections",
                    ),
                    PortProtocol::Udp => {
                        (Packet::udp(src, sport, dst, dport), Packet::udp(dst, dport, src, sport), "UDP")
                    }
                    PortProtocol::Sctp => {
                        (Packet::sctp(src, sport, dst, dport), Packet::sctp(dst, dport, src, sport), "SCTP")
                    }
                };
                let help = if tcp { "`replies: established` lets TCP's answers back" } else { reverse };
                requests.push(Request { what, help, packet, answer });
            }
            TrafficMatch::Icmp(matched)
                if src.is_ipv4() && matched.icmp_type.is_none_or(|of| of == ECHO_REQUEST) =>
            {
                let (packet, answer) =
                    (Packet::icmp(src, dst, ECHO_REQUEST, 0), Packet::icmp(dst, src, 0, 0));
                requests.push(Request { what: "echo requests", help: reverse, packet, answer });
            }
            TrafficMatch::IcmpV6(matched)
                if src.is_ipv6() && matched.icmp_type.is_none_or(|of| of == ECHO_REQUEST_V6) =>
            {
                let (packet, answer) = (
                    Packet::icmp(src, dst, ECHO_REQUEST_V6, 0),
                    Packet::icmp(dst, src, ECHO_REQUEST_V6 + 1, 0),
                );
                requests.push(Request { what: "echo requests", help: reverse, packet, answer });
            }
            _ => {}
        }
    }
    requests
}

/// One address of each side, of one family.
fn pair(intent: &Intent, rule: &FilterRule) -> Option<(IpAddr, IpAddr)> {
    let side = |peers: &[FilterPeer], anybody: [IpAddr; 2]| -> Vec<IpAddr> {
        if peers.is_empty() {
            anybody.to_vec()
        } else {
            peers.iter().flat_map(|peer| some_of(intent, peer)).collect()
        }
    };
    let [v4, other_v4, v6, other_v6] = ANYBODY;
    let (sources, destinations) = (side(&rule.from, [v4, v6]), side(&rule.to, [other_v4, other_v6]));
    let fits =
        |source: &IpAddr| destinations.iter().find(|to| to.is_ipv4() == source.is_ipv4() && *to != source);
    sources.iter().find_map(|source| Some((*source, *fits(source)?)))
}

/// Of a CIDR's first addresses those that are no exceptions.
fn first_of<'n>(cidr: &'n IpNet, except: &'n [IpNet]) -> impl Iterator<Item = IpAddr> + 'n {
    cidr.hosts().take(16).filter(|address| !except.iter().any(|net| net.contains(address)))
}

/// An address or two of a peer, if it has some that are easily found.
fn some_of(intent: &Intent, peer: &FilterPeer) -> Vec<IpAddr> {
    let first = |net: &IpNet| net.hosts().next();
    match peer {
        FilterPeer::Cidr { cidr, except } => first_of(cidr, except).take(1).collect(),
        FilterPeer::Group(name) => intent
            .groups
            .get(name)
            .into_iter()
            .flat_map(|group| &group.cidrs)
            .filter_map(first)
            .take(4)
            .collect(),
        FilterPeer::Segment(name) => intent
            .segments
            .get(name)
            .into_iter()
            .flat_map(|segment| &segment.subnets)
            .filter_map(first)
            .take(4)
            .collect(),
        FilterPeer::Host(name) => intent
            .hosts
            .get(name)
            .into_iter()
            .flat_map(|host| host.addresses.iter().copied())
            .take(4)
            .collect(),
        FilterPeer::Pods { .. } => Vec::new(),
    }
}
