//! What filter rules match, addresses and segments aside: what they say, and the mirror image of that.

use std::collections::{BTreeMap, BTreeSet};

use outplane_intent::model::{
    FilterAction, FilterRule, IcmpMatch, PortProtocol, Replies, TcpFlags, TrafficMatch,
};
use outplane_intent::packet::{
    ECHO_REQUEST, ECHO_REQUEST_V6, ICMP, ICMPV6, LISTENER_DISCOVERY, NON_IP_ETHER_TYPES, SCTP, TCP, UDP,
};

use super::terms::{Condition, Traffic};
use crate::ranges::Ranges;

pub(crate) const IP: Condition = Condition::Traffic(Traffic::Ip);
const DISCOVERY: Condition = Condition::Traffic(Traffic::NeighborDiscovery);
const NON_IP: Condition = Condition::Traffic(Traffic::NonIp);

/// What packets a row matches, addresses and segments aside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) also: Vec<Condition>,
    pub(crate) source: Option<Ranges<u16>>,
    pub(crate) destination: Option<Ranges<u16>>,
}

impl Conditions {
    pub(crate) fn of(conditions: &[Condition]) -> Self {
        Self { also: conditions.to_vec(), ..Self::default() }
    }

    fn of_protocol(protocol: u8, more: &[Condition]) -> Self {
        let mut also = vec![IP, Condition::Protocol(protocol)];
        also.extend_from_slice(more);
        Self { also, ..Self::default() }
    }
}

/// What a rule matches by itself.
pub(crate) fn direct(rule: &FilterRule, addressed: bool) -> Vec<Conditions> {
    let deny = rule.action == FilterAction::Deny;
    let mut all = Vec::new();
    if rule.traffic.is_empty() {
        all.push(Conditions::of(&[IP]));
    }
    for PortMatch { protocol, source, destination, flags } in port_matches(&rule.traffic) {
        let number = protocol.number();
        let conditional = source.is_some() || destination.is_some() || flags.is_some();
        let narrow = |ports: &Option<Ranges<u16>>| ports.as_ref().is_some_and(|ports| !ports.is_full());
        let by_class = narrow(&source) || narrow(&destination);
        // Class 0 keeps later fragments away from conditions on ports, whatever the action.
        let mut conditions = if deny && conditional && !by_class {
            Conditions::of_protocol(number, &[Condition::LaterFragment(false)])
        } else {
            Conditions::of_protocol(number, &[])
        };
        if let Some(TcpFlags { set, clear }) = flags
            && set | clear != 0
        {
            conditions.also.push(Condition::TcpFlags { set, clear });
        }
        conditions.source = source;
        conditions.destination = destination;
        all.push(conditions);
        if conditional && !deny {
            all.push(Conditions::of_protocol(number, &[Condition::LaterFragment(true)]));
        }
    }
    for traffic in &rule.traffic {
        match traffic {
            TrafficMatch::Icmp(icmp) => all.extend(of_icmp(ICMP, *icmp, deny)),
            TrafficMatch::IcmpV6(icmp) => {
                all.extend(of_icmp(ICMPV6, *icmp, deny));
                all.extend(listener_discovery(*icmp));
            }
            TrafficMatch::Protocol(number) => all.push(Conditions::of_protocol(*number, &[])),
            TrafficMatch::Arp => all.push(Conditions::of(&[Condition::Traffic(Traffic::Arp)])),
            TrafficMatch::NeighborDiscovery => all.push(Conditions::of(&[DISCOVERY])),
            // Such a frame has no addresses that could be the rule's.
            TrafficMatch::NonIp | TrafficMatch::EtherType(_) if addressed => {}
            TrafficMatch::NonIp => all.push(Conditions::of(&[NON_IP])),
            TrafficMatch::EtherType(number) if NON_IP_ETHER_TYPES.contains(number) => {
                all.push(Conditions::of(&[NON_IP, Condition::EtherType(*number)]));
            }
            // Ports are done above. Frames that the switch cannot read have entries of their own, in `unread`.
            TrafficMatch::Ports { .. } | TrafficMatch::EtherType(_) => {}
        }
    }
    all
}

fn of_icmp(protocol: u8, icmp: IcmpMatch, deny: bool) -> Vec<Conditions> {
    let mut also: Vec<Condition> = Vec::new();
    also.extend(icmp.icmp_type.map(Condition::IcmpType));
    also.extend(icmp.code.map(Condition::IcmpCode));
    if also.is_empty() {
        return vec![Conditions::of_protocol(protocol, &[])];
    }
    if deny {
        // A later fragment has type 0 and code 0 in the switch.
        also.push(Condition::LaterFragment(false));
        return vec![Conditions::of_protocol(protocol, &also)];
    }
    vec![
        Conditions::of_protocol(protocol, &also),
        Conditions::of_protocol(protocol, &[Condition::LaterFragment(true)]),
    ]
}

/// Multicast listener discovery, which is meant by who gives its type.
fn listener_discovery(icmp: IcmpMatch) -> Option<Conditions> {
    let icmp_type = icmp.icmp_type.filter(|icmp_type| LISTENER_DISCOVERY.contains(icmp_type))?;
    let mut also = vec![DISCOVERY, Condition::IcmpType(icmp_type)];
    also.extend(icmp.code.map(Condition::IcmpCode));
    Some(Conditions::of(&also))
}

/// The mirror image of what a rule allows, addresses not yet swapped.
pub(crate) fn mirrored(rule: &FilterRule, replies: Replies) -> Vec<Conditions> {
    let reverse = replies == Replies::Reverse;
    let mut all = Vec::new();
    if rule.traffic.is_empty() {
        let answer = if reverse { Condition::Reply } else { Condition::Established };
        all.push(Conditions::of(&[IP, answer(true)]));
    }
    for PortMatch { protocol, source, destination, flags } in port_matches(&rule.traffic) {
        let answer = match protocol {
            PortProtocol::Tcp => Condition::Established(true),
            PortProtocol::Udp | PortProtocol::Sctp if reverse => Condition::Reply(true),
            PortProtocol::Udp | PortProtocol::Sctp => continue,
        };
        if flags.is_none() {
            let mut conditions = Conditions::of_protocol(protocol.number(), &[answer]);
            (conditions.source, conditions.destination) = (destination, source);
            all.push(conditions);
        }
    }
    for traffic in &rule.traffic {
        match traffic {
            TrafficMatch::Icmp(icmp) if reverse => all.extend(echo_reply(ICMP, ECHO_REQUEST, *icmp)),
            TrafficMatch::IcmpV6(icmp) if reverse => {
                all.extend(echo_reply(ICMPV6, ECHO_REQUEST_V6, *icmp));
            }
            TrafficMatch::Protocol(TCP) => {
                all.push(Conditions::of_protocol(TCP, &[Condition::Established(true)]));
            }
            TrafficMatch::Protocol(number @ (UDP | SCTP | ICMP | ICMPV6)) if reverse => {
                all.push(Conditions::of_protocol(*number, &[Condition::Reply(true)]));
            }
            _ => {}
        }
    }
    all
}

/// Echo replies, if the match has echo requests.
fn echo_reply(protocol: u8, request: u8, icmp: IcmpMatch) -> Option<Conditions> {
    let mut also = vec![Condition::Reply(true)];
    also.extend(icmp.code.map(Condition::IcmpCode));
    icmp.icmp_type.is_none_or(|wanted| wanted == request).then(|| Conditions::of_protocol(protocol, &also))
}

/// Matches on ports that differ in their destination only, as one.
struct PortMatch {
    protocol: PortProtocol,
    source: Option<Ranges<u16>>,
    destination: Option<Ranges<u16>>,
    flags: Option<TcpFlags>,
}

fn port_matches(traffic: &[TrafficMatch]) -> Vec<PortMatch> {
    type Rest = (PortProtocol, Option<(u16, u16)>, Option<(u8, u8)>);
    let mut any_destination: BTreeSet<Rest> = BTreeSet::new();
    let mut destinations: BTreeMap<Rest, Vec<(u16, u16)>> = BTreeMap::new();
    for each in traffic {
        if let TrafficMatch::Ports { protocol, source, destination, tcp_flags } = each {
            let rest = (*protocol, *source, tcp_flags.map(|flags| (flags.set, flags.clear)));
            match destination {
                None => {
                    any_destination.insert(rest);
                }
                Some(range) => destinations.entry(rest).or_default().push(*range),
            }
        }
    }
    let any_destination = any_destination.into_iter().map(|rest| (rest, None));
    let destinations = destinations.into_iter().map(|(rest, ranges)| (rest, Some(Ranges::new(ranges))));
    any_destination
        .chain(destinations)
        .map(|((protocol, source, flags), destination)| PortMatch {
            protocol,
            source: source.map(|range| Ranges::new(vec![range])),
            destination,
            flags: flags.map(|(set, clear)| TcpFlags { set, clear }),
        })
        .collect()
}
