//! What replies and related errors open, in words.

use ipnet::IpNet;
use outplane_intent::model::{
    FilterAction, FilterPeer, FilterPolicy, FilterRule, IcmpMatch, PortProtocol, RelatedErrors, Replies,
    TrafficMatch,
};

use super::notes::{OpenedBy, Opening, pods};
use super::related;

const ERRORS: &str = "ICMP errors";

/// What a filter rule lets through beside what it says.
pub(crate) fn of_filter_rule(name: &str, policy: &FilterPolicy, rule: &FilterRule) -> Vec<Opening> {
    if rule.action != FilterAction::Allow {
        return Vec::new();
    }
    let mut opened = replies_of_rule(name, policy.replies, rule);
    // A rule that allows everything allows errors by itself.
    let everything = rule.traffic.is_empty() && rule.from.is_empty() && rule.to.is_empty();
    if policy.related_errors == RelatedErrors::Allow && !everything {
        let (sent, answered) = related::may_send(rule, policy.replies);
        let mut to: Vec<String> = [(sent, &rule.from), (answered, &rule.to)]
            .into_iter()
            .filter(|(sends, _)| *sends)
            .map(|(_, receivers)| peers(receivers))
            .collect();
        let anybody = peers(&[]);
        if to.contains(&anybody) {
            to = vec![anybody.clone()];
        }
        to.dedup();
        opened.extend(to.into_iter().map(|to| Opening {
            policy: name.to_owned(),
            rule: Some(rule.name.clone()),
            by: OpenedBy::RelatedErrors(policy.related_errors),
            traffic: ERRORS.to_owned(),
            from: anybody.clone(),
            to,
        }));
    }
    opened
}

fn replies_of_rule(policy: &str, replies: Replies, rule: &FilterRule) -> Vec<Opening> {
    if replies == Replies::None {
        return Vec::new();
    }
    let mut traffic = Vec::new();
    if rule.traffic.is_empty() {
        traffic.push(any_traffic(replies).to_owned());
    }
    for each in &rule.traffic {
        traffic.extend(answers(each, replies));
    }
    traffic.dedup();
    traffic
        .into_iter()
        .map(|traffic| Opening {
            policy: policy.to_owned(),
            rule: Some(rule.name.clone()),
            by: OpenedBy::Replies(replies),
            traffic,
            from: peers(&rule.to),
            to: peers(&rule.from),
        })
        .collect()
}

/// What gets past the isolation (or a denial) of pods; `undecided`: whether their other side leaves anything undecided.
pub(crate) fn of_pods(
    policy: &str,
    replies: Replies,
    ingress: bool,
    count: usize,
    undecided: bool,
) -> Option<Opening> {
    if replies == Replies::None || count == 0 {
        return None;
    }
    let mut traffic = any_traffic(replies).to_owned();
    let peers = match (ingress, undecided) {
        (_, true) => "any address",
        (true, false) => "addresses that their egress rules allow",
        (false, false) => "addresses that their ingress rules allow",
    };
    if undecided && replies == Replies::Reverse {
        traffic = format!("{traffic} (UDP, SCTP and echo replies only where a rule allows what they answer)");
    }
    let (from, to) = if ingress { (peers.to_owned(), pods(count)) } else { (pods(count), peers.to_owned()) };
    Some(Opening { policy: policy.to_owned(), rule: None, by: OpenedBy::Replies(replies), traffic, from, to })
}

/// Errors that get past the isolation (or a denial) of pods.
pub(crate) fn errors_of_pods(
    policy: &str,
    errors: RelatedErrors,
    ingress: bool,
    count: usize,
) -> Option<Opening> {
    if errors == RelatedErrors::None || count == 0 {
        return None;
    }
    let (from, to) = if ingress {
        ("any address".to_owned(), format!("{} that may send something", pods(count)))
    } else {
        (pods(count), "addresses that their ingress rules let in".to_owned())
    };
    let by = OpenedBy::RelatedErrors(errors);
    Some(Opening { policy: policy.to_owned(), rule: None, by, traffic: ERRORS.to_owned(), from, to })
}

fn any_traffic(replies: Replies) -> &'static str {
    match replies {
        Replies::None => "nothing",
        Replies::Established => "TCP with ACK or RST",
        Replies::Reverse => "TCP with ACK or RST, UDP, SCTP, echo replies",
    }
}

/// The answers to some traffic; none if it has none in this mode.
fn answers(traffic: &TrafficMatch, replies: Replies) -> Option<String> {
    let reverse = replies == Replies::Reverse;
    match traffic {
        TrafficMatch::Ports { protocol, source, destination, tcp_flags: None } => {
            let name = match protocol {
                PortProtocol::Tcp => "TCP with ACK or RST",
                PortProtocol::Udp if reverse => "UDP",
                PortProtocol::Sctp if reverse => "SCTP",
                PortProtocol::Udp | PortProtocol::Sctp => return None,
            };
            let from = destination.map(|range| format!(" from port {}", ports(range))).unwrap_or_default();
            let to = source.map(|range| format!(" to port {}", ports(range))).unwrap_or_default();
            Some(format!("{name}{from}{to}"))
        }
        TrafficMatch::Icmp(IcmpMatch { icmp_type: None | Some(8), .. }) | TrafficMatch::Protocol(1)
            if reverse =>
        {
            Some("ICMP echo replies".to_owned())
        }
        TrafficMatch::IcmpV6(IcmpMatch { icmp_type: None | Some(128), .. }) | TrafficMatch::Protocol(58)
            if reverse =>
        {
            Some("ICMPv6 echo replies".to_owned())
        }
        TrafficMatch::Protocol(6) => Some("TCP with ACK or RST".to_owned()),
        TrafficMatch::Protocol(17) if reverse => Some("UDP".to_owned()),
        TrafficMatch::Protocol(132) if reverse => Some("SCTP".to_owned()),
        _ => None,
    }
}

fn ports((low, high): (u16, u16)) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn peers(peers: &[FilterPeer]) -> String {
    if peers.is_empty() {
        return "any address".to_owned();
    }
    peers.iter().map(peer).collect::<Vec<_>>().join(", ")
}

fn peer(peer: &FilterPeer) -> String {
    match peer {
        FilterPeer::Cidr { cidr, except } if except.is_empty() => cidr.to_string(),
        FilterPeer::Cidr { cidr, except } => {
            let except: Vec<String> = except.iter().map(IpNet::to_string).collect();
            format!("{cidr} except {}", except.join(", "))
        }
        FilterPeer::Group(name) => format!("group {name}"),
        FilterPeer::Segment(name) => format!("segment {name}"),
        FilterPeer::Host(name) => format!("host {name}"),
        FilterPeer::Pods { .. } => "selected pods".to_owned(),
    }
}
