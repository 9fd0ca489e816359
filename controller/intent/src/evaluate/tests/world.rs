//! A small world: what the cases' intents have in common, and packets in short.

use std::net::IpAddr;

use jiff::Timestamp;

use super::build::{ip, labels, named_port};
use crate::evaluate::{Evaluator, Verdict};
use crate::model::{ClusterNetworkPolicy, FilterPolicy, Host, Intent, NetworkPolicy, Node, ObjectName, Pod};
use crate::packet::{Kind, L4, Packet, tcp_flags};

/// Noon, for rules that expire.
pub(super) fn noon() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().expect("a time")
}

pub(super) fn object(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap_or_else(|| panic!("object {text:?}"));
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// An intent under construction.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) intent: Intent,
}

/// Namespaces x, y and z, each labelled `ns` with its name; in each the pods a, b and c, each labelled `pod` with its
/// name, serving TCP 80 as `http` and UDP 53 as `dns`. Their addresses are 10.0.n.m and `fd00::n:m` with n = 1, 2, 3 for
/// x, y, z and m for a, b, c. Pods c also have a label `role=db`, namespace z has `env=prod`. 10.9.0.1 is nobody's.
pub(super) fn nine_pods() -> World {
    let mut world = World::default();
    for (n, namespace) in ["x", "y", "z"].into_iter().enumerate() {
        let more = if namespace == "z" { ", env=prod" } else { "" };
        world = world.namespace(namespace, &format!("ns={namespace}{more}"));
        for (p, pod) in ["a", "b", "c"].into_iter().enumerate() {
            let more = if pod == "c" { ", role=db" } else { "" };
            world = world.pod(
                &format!("{namespace}/{pod}"),
                &format!("pod={pod}{more}"),
                &format!("10.0.{}.{} fd00::{}:{}", n + 1, p + 1, n + 1, p + 1),
                "http=TCP/80 dns=UDP/53",
            );
        }
    }
    world
}

impl World {
    pub(super) fn namespace(mut self, name: &str, labelled: &str) -> Self {
        let mut labels = labels(labelled);
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        self.intent.namespaces.insert(name.to_owned(), labels);
        self
    }

    pub(super) fn pod(mut self, name: &str, labelled: &str, addresses: &str, named_ports: &str) -> Self {
        let pod = Pod {
            labels: labels(labelled),
            addresses: addresses.split_whitespace().map(ip).collect(),
            named_ports: named_ports.split_whitespace().map(named_port).collect(),
            node_addresses: Vec::new(),
        };
        self.intent.pods.insert(object(name), pod);
        self
    }

    /// A pod runs on a node with these addresses.
    pub(super) fn on(mut self, pod: &str, node: &str) -> Self {
        let pod = self.intent.pods.get_mut(&object(pod)).expect("a pod");
        pod.node_addresses = node.split_whitespace().map(ip).collect();
        self
    }

    pub(super) fn node(mut self, name: &str, labelled: &str, addresses: &str) -> Self {
        let addresses = addresses.split_whitespace().map(ip).collect();
        self.intent.nodes.insert(name.to_owned(), Node { labels: labels(labelled), addresses });
        self
    }

    pub(super) fn host(mut self, name: &str, addresses: &str, segment: Option<&str>) -> Self {
        let addresses = addresses.split_whitespace().map(ip).collect();
        let segment = segment.map(str::to_owned);
        self.intent.hosts.insert(
            name.to_owned(),
            Host { addresses, segment, mac: None, vlan: None, port: None, anti_spoofing: None },
        );
        self
    }

    pub(super) fn policy(mut self, name: &str, policy: NetworkPolicy) -> Self {
        self.intent.network_policies.insert(object(name), policy);
        self
    }

    pub(super) fn cluster(mut self, name: &str, policy: ClusterNetworkPolicy) -> Self {
        self.intent.cluster_policies.insert(name.to_owned(), policy);
        self
    }

    pub(super) fn filter(mut self, name: &str, policy: FilterPolicy) -> Self {
        self.intent.filters.insert(name.to_owned(), policy);
        self
    }

    /// An address, or a pod's first one, or with `~` before its name the second.
    fn address(&self, text: &str) -> IpAddr {
        text.parse().unwrap_or_else(|_| {
            let (name, n) = text.strip_prefix('~').map_or((text, 0), |name| (name, 1));
            self.intent.pods[&object(name)].addresses[n]
        })
    }

    /// `<source> <destination> <kind>` and
    /// - `tcp 80` (from 40000, SYN), `tcp 80>40000 ack`, `udp 53`, `sctp 5>6`
    /// - `icmp 8`, `icmp 3/4` (ICMPv6 between IPv6 addresses)
    /// - `proto 47`, `fragment 6` (one after the first, of this protocol)
    /// - `arp`; for other EtherTypes, no addresses and `ether 0x88cc`.
    pub(super) fn packet(&self, text: &str) -> Packet {
        let words: Vec<_> = text.split_whitespace().collect();
        if let ["ether", number] = words[..] {
            let number = number.strip_prefix("0x").expect("hexadecimal");
            return Packet::other(u16::from_str_radix(number, 16).expect("EtherType"));
        }
        let [src, dst, kind, rest @ ..] = &words[..] else { panic!("packet {text:?}") };
        let (src, dst) = (self.address(src), self.address(dst));
        let number = |n: usize| rest[n].parse::<u8>().unwrap_or_else(|_| panic!("packet {text:?}"));
        match *kind {
            "tcp" | "udp" | "sctp" => {
                let (source, destination) = rest[0].split_once('>').unwrap_or(("40000", rest[0]));
                let (source, destination) =
                    (source.parse().expect("port"), destination.parse().expect("port"));
                match *kind {
                    "tcp" => {
                        let flags = rest[1..].iter().map(|flag| match *flag {
                            "syn" => tcp_flags::SYN,
                            "ack" => tcp_flags::ACK,
                            "rst" => tcp_flags::RST,
                            "fin" => tcp_flags::FIN,
                            "none" => 0,
                            _ => panic!("flag {flag:?}"),
                        });
                        let flags = flags.reduce(|a, b| a | b).unwrap_or(tcp_flags::SYN);
                        Packet::tcp(src, source, dst, destination, flags)
                    }
                    "udp" => Packet::udp(src, source, dst, destination),
                    _ => Packet::sctp(src, source, dst, destination),
                }
            }
            "icmp" => {
                let (icmp_type, code) = rest[0].split_once('/').unwrap_or((rest[0], "0"));
                Packet::icmp(src, dst, icmp_type.parse().expect("type"), code.parse().expect("code"))
            }
            "proto" => Packet::ip(src, dst, number(0)),
            "fragment" => Packet::later_fragment(src, dst, number(0)),
            "arp" => match (src, dst) {
                (IpAddr::V4(sender), IpAddr::V4(target)) => Packet::arp(sender, target),
                _ => panic!("packet {text:?}"),
            },
            _ => panic!("packet {text:?}"),
        }
    }

    pub(super) fn verdict(&self, packet: &Packet) -> Verdict {
        Evaluator::new(&self.intent).evaluate(None, noon(), packet)
    }

    /// Each packet's verdict must be as said: `allow` or `deny`, then policy and rule if there are any.
    #[track_caller]
    pub(super) fn check(&self, cases: &[(&str, &str)]) {
        let failed: Vec<_> = cases
            .iter()
            .filter_map(|(packet, expected)| {
                let verdict = self.verdict(&self.packet(packet));
                let seen = brief(&verdict);
                (seen != *expected).then(|| format!("{packet}: {seen}, not {expected}: {:#?}", verdict.steps))
            })
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

/// `allow` or `deny`, then policy and rule if there are any.
pub(super) fn brief(verdict: &Verdict) -> String {
    let allow = if verdict.allow { "allow" } else { "deny" };
    let parts = [Some(allow), verdict.policy.as_deref(), verdict.rule.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A packet of a protocol and transport header that don't go together.
pub(super) fn odd(src: &str, dst: &str, protocol: u8, l4: L4) -> Packet {
    Packet::new(Kind::Ip { src: ip(src), dst: ip(dst), protocol, fragment: false, l4 })
}
