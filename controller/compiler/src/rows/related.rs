//! ICMP errors about what filter rules allow: whom they go to.

use outplane_intent::model::{FilterRule, IcmpMatch, PortProtocol, Replies, TrafficMatch};
use outplane_intent::packet::{
    ECHO_REQUEST, ECHO_REQUEST_V6, ICMP, ICMP_ERRORS, ICMPV6, ICMPV6_ERRORS, LISTENER_DISCOVERY, SCTP, TCP,
    UDP,
};

use super::row::Addresses;
use crate::addresses::AddressSet;
use crate::ranges::Ranges;

/// The addresses that may have sent what a rule allows, or a reply to it.
pub(crate) fn senders(rule: &FilterRule, replies: Replies, from: &Addresses, to: &Addresses) -> Addresses {
    let any =
        |counts: &dyn Fn(&TrafficMatch) -> bool| rule.traffic.is_empty() || rule.traffic.iter().any(counts);
    let mut senders = Vec::new();
    for v4 in [true, false] {
        if any(&|traffic| provokes(traffic, v4)) && has_family(to, v4) {
            senders.push(of_family(from, v4));
        }
        let answered = replies != Replies::None && any(&|traffic| answers(traffic, replies, v4));
        if answered && has_family(from, v4) {
            senders.push(of_family(to, v4));
        }
    }
    Addresses::new(AddressSet::union_of(&senders))
}

/// Whether what a rule allows may be answered by errors, and whether replies to it may.
pub(crate) fn may_send(rule: &FilterRule, replies: Replies) -> (bool, bool) {
    let any = |counts: &dyn Fn(&TrafficMatch, bool) -> bool| {
        let mut traffic = rule.traffic.iter();
        rule.traffic.is_empty() || traffic.any(|traffic| counts(traffic, true) || counts(traffic, false))
    };
    let answered = replies != Replies::None && any(&|traffic, v4| answers(traffic, replies, v4));
    (any(&provokes), answered)
}

fn has_family(addresses: &Addresses, v4: bool) -> bool {
    !of_family(addresses, v4).is_empty()
}

fn of_family(addresses: &Addresses, v4: bool) -> AddressSet {
    let full = AddressSet::full();
    let set = match addresses {
        Addresses::Any => &full,
        Addresses::Of(set) => set,
    };
    if v4 {
        AddressSet { v4: set.v4.clone(), v6: Ranges::default() }
    } else {
        AddressSet { v4: Ranges::default(), v6: set.v6.clone() }
    }
}

/// Whether traffic over this IP version may be answered by an ICMP error: errors and discovery never are.
fn provokes(traffic: &TrafficMatch, v4: bool) -> bool {
    match traffic {
        TrafficMatch::Icmp(IcmpMatch { icmp_type, .. }) => {
            v4 && icmp_type.is_none_or(|icmp_type| !ICMP_ERRORS.contains(&icmp_type))
        }
        TrafficMatch::IcmpV6(IcmpMatch { icmp_type, .. }) => {
            let silent = ICMPV6_ERRORS.iter().chain(&LISTENER_DISCOVERY);
            !v4 && icmp_type.is_none_or(|icmp_type| silent.clone().all(|silent| *silent != icmp_type))
        }
        TrafficMatch::Protocol(ICMP) => v4,
        TrafficMatch::Protocol(ICMPV6) => !v4,
        TrafficMatch::Ports { .. } | TrafficMatch::Protocol(_) => true,
        TrafficMatch::Arp
        | TrafficMatch::NeighborDiscovery
        | TrafficMatch::NonIp
        | TrafficMatch::EtherType(_) => false,
    }
}

/// Whether its replies get through.
fn answers(traffic: &TrafficMatch, replies: Replies, v4: bool) -> bool {
    let reverse = replies == Replies::Reverse;
    let requests =
        |icmp: &IcmpMatch, request: u8| icmp.icmp_type.is_none_or(|icmp_type| icmp_type == request);
    match traffic {
        TrafficMatch::Ports { tcp_flags: Some(_), .. } => false,
        TrafficMatch::Ports { protocol: PortProtocol::Tcp, .. } | TrafficMatch::Protocol(TCP) => true,
        TrafficMatch::Ports { .. } | TrafficMatch::Protocol(UDP | SCTP) => reverse,
        TrafficMatch::Icmp(icmp) => reverse && v4 && requests(icmp, ECHO_REQUEST),
        TrafficMatch::IcmpV6(icmp) => reverse && !v4 && requests(icmp, ECHO_REQUEST_V6),
        TrafficMatch::Protocol(ICMP) => reverse && v4,
        TrafficMatch::Protocol(ICMPV6) => reverse && !v4,
        _ => false,
    }
}
