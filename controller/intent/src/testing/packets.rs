//! Packets, biased to what an intent is about.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::universe::{
    CIDRS, ETHER_TYPES, HOSTS, NODES, OTHER_PROTOCOLS, PODS, PORTS, STRANGERS, SWITCH_PORTS, VLANS, address,
    cidr,
};
use crate::model::{ClusterPeer, FilterPeer, Intent, NetworkPeer, NetworkPort, TrafficMatch};
use crate::packet::{ICMP, ICMPV6, Ingress, Kind, L4, Llc, Packet, SCTP, TCP, TPIDS, Tag, UDP};

/// What packets are drawn from. Addresses that come first are the likelier ones.
#[derive(Clone, Debug, Default)]
struct Interests {
    /// Owners' addresses.
    owned: BTreeSet<IpAddr>,
    /// First and last addresses of CIDRs, and their neighbours outside.
    edges: BTreeSet<IpAddr>,
    /// Ports at both sides of the ends of ranges.
    ports: BTreeSet<u16>,
    vlans: BTreeSet<u16>,
    switch_ports: BTreeSet<u16>,
}

/// Packets of the universe: they suit every one of [`super::intents`], and shrink apart from it.
///
/// Transport fields are always those of the protocol, so that each can be a frame. No fragment of TCP lies at offset 1
/// and no protocol of an IPv6 packet is an extension header.
pub fn packets() -> impl Strategy<Value = Packet> {
    let mut interests = Interests::default();
    let owners = PODS.into_iter().flat_map(|(_, _, addresses)| addresses);
    let owners = owners.chain(HOSTS.into_iter().flat_map(|(_, addresses)| addresses));
    interests.owned.extend(owners.chain(NODES.into_iter().flat_map(|(_, addresses)| addresses)).map(address));
    for text in CIDRS {
        interests.add_cidr(&cidr(text));
    }
    for port in PORTS {
        interests.add_ports(port, port);
    }
    interests.vlans.extend(VLANS);
    interests.switch_ports.extend(SWITCH_PORTS);
    interests.packets()
}

/// Packets for an intent, however it came about.
pub fn packets_for(intent: &Intent) -> impl Strategy<Value = Packet> + use<> {
    let mut interests = Interests::default();
    let pods = intent.pods.values().flat_map(|pod| &pod.addresses);
    let hosts = intent.hosts.values().flat_map(|host| &host.addresses);
    let nodes = intent.nodes.values().flat_map(|node| &node.addresses);
    interests.owned.extend(pods.chain(hosts).chain(nodes));
    for port in intent.pods.values().flat_map(|pod| pod.named_ports.values()) {
        interests.add_ports(*port, *port);
    }
    for (vlan, ports) in intent.segments.values().map(|segment| (segment.vlan, &segment.ports)) {
        interests.vlans.extend(vlan);
        interests.switch_ports.extend(ports.values().flatten());
    }
    let subnets = intent.segments.values().flat_map(|segment| &segment.subnets);
    for cidr in subnets.chain(intent.groups.values().flat_map(|group| &group.cidrs)) {
        interests.add_cidr(cidr);
    }
    interests.add_filters(intent);
    interests.add_pod_policies(intent);
    interests.packets()
}

impl Interests {
    fn add_cidr(&mut self, cidr: &IpNet) {
        self.edges.extend([cidr.network(), cidr.broadcast()]);
        self.edges.extend(neighbours(cidr.network()).0);
        self.edges.extend(neighbours(cidr.broadcast()).1);
    }

    fn add_ports(&mut self, low: u16, high: u16) {
        self.ports.extend([low.saturating_sub(1), low, high, high.saturating_add(1)]);
    }

    fn add_filters(&mut self, intent: &Intent) {
        for rule in intent.filters.values().flat_map(|policy| &policy.rules) {
            for peer in rule.from.iter().chain(&rule.to) {
                if let FilterPeer::Cidr { cidr, except } = peer {
                    self.add_cidr(cidr);
                    for except in except {
                        self.add_cidr(except);
                    }
                }
            }
            for traffic in &rule.traffic {
                if let TrafficMatch::Ports { source, destination, .. } = traffic {
                    for (low, high) in source.iter().chain(destination) {
                        self.add_ports(*low, *high);
                    }
                }
            }
        }
    }

    fn add_pod_policies(&mut self, intent: &Intent) {
        let both = |policy: &'_ crate::model::NetworkPolicy| {
            policy.ingress.iter().chain(&policy.egress).flatten().cloned().collect::<Vec<_>>()
        };
        for rule in intent.network_policies.values().flat_map(both) {
            for peer in &rule.peers {
                if let NetworkPeer::IpBlock { cidr, except } = peer {
                    self.add_cidr(cidr);
                    for except in except {
                        self.add_cidr(except);
                    }
                }
            }
            self.add_network_ports(&rule.ports);
        }
        for rule in
            intent.cluster_policies.values().flat_map(|policy| policy.ingress.iter().chain(&policy.egress))
        {
            for peer in &rule.peers {
                if let ClusterPeer::Networks(cidrs) = peer {
                    for cidr in cidrs {
                        self.add_cidr(cidr);
                    }
                }
            }
            self.add_network_ports(&rule.ports);
        }
    }

    fn add_network_ports(&mut self, ports: &[NetworkPort]) {
        for port in ports {
            if let NetworkPort::Range(_, low, high) = port {
                self.add_ports(*low, *high);
            }
        }
    }

    fn packets(self) -> impl Strategy<Value = Packet> + use<> {
        let v4 = addresses(&self, IpAddr::is_ipv4);
        let v6 = addresses(&self, IpAddr::is_ipv6);
        let ports = ports(&self.ports);
        // A family that the intent does not know is there for surprises only.
        let share = |known: fn(&IpAddr) -> bool| {
            if self.owned.iter().chain(&self.edges).any(known) { 8 } else { 1 }
        };
        let (four, six) = (share(IpAddr::is_ipv4), share(IpAddr::is_ipv6));
        let either = prop_oneof![four => ip(v4.clone(), ports.clone()), six => ip(v6, ports)];
        let four = v4.prop_map(|address| match address {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        });
        let arp = (four.clone(), four).prop_map(|(sender, target)| Kind::Arp { sender, target });
        let other = select(&ETHER_TYPES[..]).prop_map(|ether_type| Kind::Other { ether_type });
        let kind = prop_oneof![24 => either, 2 => arp, 2 => other, 1 => llc().prop_map(Kind::Llc)];
        let switch_ports: Vec<_> = self.switch_ports.into_iter().chain([9]).collect();
        let ingress = prop_oneof![1 => Just(None), 3 => select(switch_ports).prop_map(|port| Some(Ingress::Port(port)))];
        let vlans: Vec<_> = self.vlans.into_iter().chain([0]).collect();
        let tpid = prop_oneof![3 => Just(TPIDS[0]), 1 => select(&TPIDS[..])];
        let tag = (tpid, select(vlans)).prop_map(|(tpid, vlan)| Tag { tpid, vlan });
        let count = prop_oneof![8 => Just(0_usize), 8 => Just(1), 4 => Just(2), 1 => Just(3), 1 => Just(4)];
        let tags = count.prop_flat_map(move |count| vec(tag.clone(), count));
        (ingress, tags, kind).prop_map(|(ingress, tags, kind)| Packet { ingress, tags, kind })
    }
}

/// Headers of control protocols, of IP behind SNAP, and such that are nearly one of them.
fn llc() -> impl Strategy<Value = Llc> {
    let sap = select(&[0x42_u8, 0xfe, 0xaa, 0x06, 0xff][..]);
    let control = prop_oneof![5 => Just(3_u8), 1 => any::<u8>()];
    let oui = select(&[[0_u8; 3], [0, 0, 0x0c], [0, 0, 0xf8], [0x82, 0, 0], [0x83, 0, 0], [0xcc, 0, 0]][..]);
    let protocol = select(&[0x0800_u16, 0x0806, 0x86dd, 0x010b, 0x2000, 0x88cc][..]);
    let source = prop_oneof![5 => Just(None), 1 => any::<u8>().prop_map(Some)];
    (sap, source, control, oui, protocol).prop_map(|(dsap, source, control, oui, protocol)| Llc {
        dsap,
        ssap: source.unwrap_or(dsap),
        control,
        oui,
        protocol,
    })
}

/// The addresses before and after.
fn neighbours(address: IpAddr) -> (Option<IpAddr>, Option<IpAddr>) {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let new = |bits: u32| IpAddr::from(Ipv4Addr::from(bits));
            (bits.checked_sub(1).map(new), bits.checked_add(1).map(new))
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let new = |bits: u128| IpAddr::from(Ipv6Addr::from(bits));
            (bits.checked_sub(1).map(new), bits.checked_add(1).map(new))
        }
    }
}

fn addresses(interests: &Interests, family: fn(&IpAddr) -> bool) -> BoxedStrategy<IpAddr> {
    let of = |all: &mut dyn Iterator<Item = IpAddr>| all.filter(family).collect::<Vec<_>>();
    let strangers = of(&mut STRANGERS.into_iter().map(address));
    let owned = of(&mut interests.owned.iter().copied());
    let edges = of(&mut interests.edges.iter().copied());
    let or_strangers = |some: Vec<IpAddr>| if some.is_empty() { strangers.clone() } else { some };
    let (owned, edges) = (or_strangers(owned), or_strangers(edges));
    prop_oneof![8 => select(owned), 3 => select(edges), 1 => select(strangers)].boxed()
}

fn ports(interesting: &BTreeSet<u16>) -> BoxedStrategy<u16> {
    let interesting: Vec<_> = interesting.iter().copied().chain([0, 40000]).collect();
    prop_oneof![8 => select(interesting), 1 => any::<u16>()].boxed()
}

fn ip(addresses: BoxedStrategy<IpAddr>, ports: BoxedStrategy<u16>) -> impl Strategy<Value = Kind> {
    let both_ports = (ports.clone(), ports);
    let flags = prop_oneof![
        6 => select(&[0x02_u8, 0x12, 0x10, 0x18, 0x04, 0x14, 0x11, 0x01, 0x00, 0x29, 0xff][..]),
        1 => any::<u8>()
    ];
    let tcp = (both_ports.clone(), flags)
        .prop_map(|((source, destination), tcp_flags)| (TCP, L4::Ports { source, destination, tcp_flags }));
    let no_flags = |protocol: u8| {
        move |(source, destination): (u16, u16)| (protocol, L4::Ports { source, destination, tcp_flags: 0 })
    };
    let icmp = |protocol: u8, types: &'static [u8]| {
        (prop_oneof![6 => select(types), 1 => any::<u8>()], 0..3_u8)
            .prop_map(move |(icmp_type, code)| (protocol, L4::Icmp { icmp_type, code }))
    };
    let transport = prop_oneof![
        8 => tcp,
        5 => both_ports.clone().prop_map(no_flags(UDP)),
        3 => both_ports.prop_map(no_flags(SCTP)),
        3 => icmp(ICMP, &[0, 3, 8, 11, 12]),
        3 => icmp(ICMPV6, &[1, 2, 3, 4, 128, 129, 131, 132, 133, 135, 136, 137, 138, 143]),
        2 => select(&OTHER_PROTOCOLS[..]).prop_map(|protocol| (protocol, L4::None)),
    ];
    let same_host = prop_oneof![15 => Just(false), 1 => Just(true)];
    let fragment = prop_oneof![7 => Just(false), 1 => Just(true)];
    (addresses.clone(), addresses, same_host, fragment, transport).prop_map(
        |(src, dst, same_host, fragment, (protocol, l4))| Kind::Ip {
            src,
            dst: if same_host { src } else { dst },
            protocol,
            fragment,
            l4: if fragment { L4::None } else { l4 },
        },
    )
}
