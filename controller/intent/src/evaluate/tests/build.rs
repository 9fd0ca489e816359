//! Short forms of what the cases are made of.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterPeer, ClusterRule, ClusterTier, FilterAction, FilterPeer,
    FilterPolicy, FilterRule, FilterTier, IcmpMatch, LabelOperator, LabelSelector, Labels, NetworkPeer,
    NetworkPolicy, NetworkPolicyRule, NetworkPort, PodsAnywhere, PortProtocol, RelatedErrors, Replies,
    Requirement, TcpFlags, TrafficMatch,
};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("address {text:?}"))
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| panic!("CIDR {text:?}"))
}

/// `a=b, c=d`
pub(super) fn labels(text: &str) -> Labels {
    items(text)
        .map(|item| {
            let (key, value) = item.split_once('=').unwrap_or_else(|| panic!("label {item:?}"));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// `a=b, c in x|y, d notin x|y, e, !f`; nothing selects everything.
pub(super) fn selector(text: &str) -> LabelSelector {
    let values = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
    let requirements = items(text)
        .map(|item| {
            let (key, operator) = if let Some((key, list)) = item.split_once(" in ") {
                (key, LabelOperator::In(values(list)))
            } else if let Some((key, list)) = item.split_once(" notin ") {
                (key, LabelOperator::NotIn(values(list)))
            } else if let Some((key, value)) = item.split_once('=') {
                (key, LabelOperator::In(values(value)))
            } else if let Some(key) = item.strip_prefix('!') {
                (key, LabelOperator::DoesNotExist)
            } else {
                (item, LabelOperator::Exists)
            };
            Requirement { key: key.to_owned(), operator }
        })
        .collect();
    LabelSelector { requirements }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn protocol(text: &str) -> PortProtocol {
    match text {
        "TCP" => PortProtocol::Tcp,
        "UDP" => PortProtocol::Udp,
        "SCTP" => PortProtocol::Sctp,
        _ => panic!("protocol {text:?}"),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((low.parse().ok()?, high.parse().ok()?))
}

/// `http=TCP/80` as in a pod.
pub(super) fn named_port(text: &str) -> ((String, PortProtocol), u16) {
    let (name, port) = text.split_once('=').expect("name=protocol/port");
    let (by, number) = port.split_once('/').expect("protocol/port");
    ((name.to_owned(), protocol(by)), number.parse().expect("port"))
}

/// `TCP, UDP/53, TCP/80-90, TCP/http, */http`; nothing is all traffic.
pub(super) fn ports(text: &str) -> Vec<NetworkPort> {
    items(text)
        .map(|item| match item.split_once('/') {
            None => NetworkPort::All(protocol(item)),
            Some(("*", name)) => NetworkPort::NamedAnyProtocol(name.to_owned()),
            Some((by, port)) => match range(port) {
                Some((low, high)) => NetworkPort::Range(protocol(by), low, high),
                None => NetworkPort::Named(protocol(by), port.to_owned()),
            },
        })
        .collect()
}

// --- NetworkPolicy

/// Pods of the policy's own namespace.
pub(super) fn pods(of: &str) -> NetworkPeer {
    NetworkPeer::Pods { namespaces: None, pods: selector(of) }
}

/// All pods of namespaces.
pub(super) fn namespaces(of: &str) -> NetworkPeer {
    NetworkPeer::Pods { namespaces: Some(selector(of)), pods: selector("") }
}

pub(super) fn pods_in(namespaces: &str, pods: &str) -> NetworkPeer {
    NetworkPeer::Pods { namespaces: Some(selector(namespaces)), pods: selector(pods) }
}

pub(super) fn block(cidr: &str, except: &[&str]) -> NetworkPeer {
    NetworkPeer::IpBlock { cidr: net(cidr), except: except.iter().map(|cidr| net(cidr)).collect() }
}

pub(super) fn rule(peers: &[NetworkPeer], to_ports: &str) -> NetworkPolicyRule {
    NetworkPolicyRule { peers: peers.to_vec(), ports: ports(to_ports) }
}

pub(super) fn policy(of: &str) -> NetworkPolicy {
    NetworkPolicy {
        pods: selector(of),
        ingress: None,
        egress: None,
        replies: None,
        related_errors: None,
        log: false,
    }
}

pub(super) fn ingress(of: &str, rules: &[NetworkPolicyRule]) -> NetworkPolicy {
    NetworkPolicy { ingress: Some(rules.to_vec()), ..policy(of) }
}

pub(super) fn egress(of: &str, rules: &[NetworkPolicyRule]) -> NetworkPolicy {
    NetworkPolicy { egress: Some(rules.to_vec()), ..policy(of) }
}

// --- ClusterNetworkPolicy

pub(super) fn anywhere(namespaces: &str, pods: &str) -> PodsAnywhere {
    PodsAnywhere { namespaces: selector(namespaces), pods: selector(pods) }
}

pub(super) fn cluster(tier: ClusterTier, priority: u16, subject: PodsAnywhere) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy {
        tier,
        priority,
        subject,
        ingress: Vec::new(),
        egress: Vec::new(),
        replies: None,
        related_errors: None,
    }
}

pub(super) fn cluster_rule(action: ClusterAction, peers: &[ClusterPeer], to_ports: &str) -> ClusterRule {
    ClusterRule { name: None, action, peers: peers.to_vec(), ports: ports(to_ports) }
}

pub(super) fn accept(peers: &[ClusterPeer], to_ports: &str) -> ClusterRule {
    cluster_rule(ClusterAction::Accept, peers, to_ports)
}

pub(super) fn refuse(peers: &[ClusterPeer], to_ports: &str) -> ClusterRule {
    cluster_rule(ClusterAction::Deny, peers, to_ports)
}

pub(super) fn pass_on(peers: &[ClusterPeer], to_ports: &str) -> ClusterRule {
    cluster_rule(ClusterAction::Pass, peers, to_ports)
}

pub(super) fn peer(namespaces: &str, pods: &str) -> ClusterPeer {
    ClusterPeer::Pods(anywhere(namespaces, pods))
}

pub(super) fn networks(cidrs: &[&str]) -> ClusterPeer {
    ClusterPeer::Networks(cidrs.iter().map(|cidr| net(cidr)).collect())
}

// --- FilterPolicy

pub(super) fn filter(rules: &[FilterRule]) -> FilterPolicy {
    FilterPolicy {
        tier: FilterTier::Admin,
        priority: 500,
        switches: Vec::new(),
        segments: Vec::new(),
        default: None,
        replies: Replies::default(),
        related_errors: RelatedErrors::default(),
        rules: rules.to_vec(),
    }
}

fn filter_rule(name: &str, action: FilterAction) -> FilterRule {
    FilterRule {
        name: name.to_owned(),
        action,
        from: Vec::new(),
        to: Vec::new(),
        traffic: Vec::new(),
        log: false,
        rate_limit: None,
        expires: None,
    }
}

pub(super) fn allow(name: &str) -> FilterRule {
    filter_rule(name, FilterAction::Allow)
}

pub(super) fn deny(name: &str) -> FilterRule {
    filter_rule(name, FilterAction::Deny)
}

pub(super) fn pass(name: &str) -> FilterRule {
    filter_rule(name, FilterAction::Pass)
}

pub(super) fn cidr(cidr: &str) -> FilterPeer {
    FilterPeer::Cidr { cidr: net(cidr), except: Vec::new() }
}

pub(super) fn cidr_except(cidr: &str, except: &[&str]) -> FilterPeer {
    FilterPeer::Cidr { cidr: net(cidr), except: except.iter().map(|cidr| net(cidr)).collect() }
}

/// `tcp`, `udp 53`, `sctp 80-90`, `tcp 53>`, `tcp 1024-2000>80`, `icmp`, `icmp 8`, `icmp6 1/4`, `proto 47`, `arp`,
/// `nd`, `nonip`, `ether 0x8864`, separated by commas.
pub(super) fn traffic(text: &str) -> Vec<TrafficMatch> {
    items(text).map(one_traffic).collect()
}

fn one_traffic(text: &str) -> TrafficMatch {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let icmp = || {
        let (icmp_type, code) = rest.split_once('/').unwrap_or((rest, ""));
        IcmpMatch { icmp_type: icmp_type.parse().ok(), code: code.parse().ok() }
    };
    match kind {
        "tcp" | "udp" | "sctp" => {
            let (source, destination) = rest.split_once('>').unwrap_or(("", rest));
            TrafficMatch::Ports {
                protocol: protocol(&kind.to_uppercase()),
                source: range(source),
                destination: range(destination),
                tcp_flags: None,
            }
        }
        "icmp" => TrafficMatch::Icmp(icmp()),
        "icmp6" => TrafficMatch::IcmpV6(icmp()),
        "proto" => TrafficMatch::Protocol(rest.parse().expect("protocol")),
        "arp" => TrafficMatch::Arp,
        "nd" => TrafficMatch::NeighborDiscovery,
        "nonip" => TrafficMatch::NonIp,
        "ether" => {
            let digits = rest.strip_prefix("0x").expect("hexadecimal");
            TrafficMatch::EtherType(u16::from_str_radix(digits, 16).expect("EtherType"))
        }
        _ => panic!("traffic {text:?}"),
    }
}

pub(super) fn tcp_with_flags(set: u8, clear: u8) -> TrafficMatch {
    TrafficMatch::Ports {
        protocol: PortProtocol::Tcp,
        source: None,
        destination: None,
        tcp_flags: Some(TcpFlags { set, clear }),
    }
}
