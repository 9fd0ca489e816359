//! What random intents and packets are made of.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

/// The moment to judge random intents at: some of their rules have just expired, others are about to.
pub fn now() -> Timestamp {
    Timestamp::constant(1_780_000_000, 0)
}

/// CIDRs that rules name. They nest, touch, and end at the ends of the address space.
pub const CIDRS: [&str; 24] = [
    "10.0.0.0/24",
    "10.0.0.0/30",
    "10.0.0.2/31",
    "10.0.0.3/32",
    "10.0.1.0/24",
    "10.0.0.0/15",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "255.255.255.255/32",
    "192.168.1.0/24",
    "192.168.2.10/32",
    "172.16.0.0/30",
    "fd00::/64",
    "fd00::/126",
    "fd00::3/128",
    "fd00:0:0:1::/64",
    "fd00::/8",
    "::/0",
    "8000::/1",
    "::1/128",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "fd01:1::/64",
];

/// Pods: namespace, name, addresses.
pub const PODS: [(&str, &str, [&str; 2]); 7] = [
    ("red", "a", ["10.0.0.1", "fd00::1"]),
    ("red", "b", ["10.0.0.2", "fd00::2"]),
    ("red", "c", ["10.0.0.3", "fd00::3"]),
    ("blue", "a", ["10.0.0.4", "fd00::4"]),
    ("blue", "b", ["10.0.1.1", "fd00:0:0:1::1"]),
    ("green", "a", ["10.0.1.2", "fd00:0:0:1::2"]),
    ("green", "b", ["10.1.0.1", "fd00:1::1"]),
];

/// Hosts: name, addresses.
pub const HOSTS: [(&str, [&str; 2]); 4] = [
    ("printer", ["192.168.1.10", "fd01:1::10"]),
    ("desktop", ["192.168.2.10", "fd01:2::10"]),
    ("badge", ["10.0.1.77", "fd00:0:0:1::77"]),
    ("uplink", ["203.0.113.1", "2001:db8::1"]),
];

/// Nodes: name, addresses.
pub const NODES: [(&str, [&str; 2]); 2] =
    [("worker-1", ["172.16.0.1", "fd02::1"]), ("worker-2", ["172.16.0.2", "fd02::2"])];

/// Addresses that nobody has and no CIDR is about.
pub const STRANGERS: [&str; 4] = ["198.51.100.7", "11.0.0.1", "2001:db8:ffff::7", "fe80::7"];

/// Ports at whose sides ranges begin and end.
pub const PORTS: [u16; 8] = [53, 80, 443, 1024, 8000, 8010, 32768, 65535];

/// Names of container ports.
pub const PORT_NAMES: [&str; 3] = ["http", "dns", "metrics"];

/// Label keys of pods.
pub const KEYS: [&str; 2] = ["app", "tier"];

/// Label values of pods.
pub const VALUES: [&str; 3] = ["web", "db", "edge"];

/// IP protocols without ports and types. None is an IPv6 extension header.
pub const OTHER_PROTOCOLS: [u8; 5] = [47, 50, 89, 103, 255];

/// EtherTypes that are neither IP, ARP nor a VLAN tag.
pub const ETHER_TYPES: [u16; 6] = [0x88cc, 0x8847, 0x9000, 0x888e, 0x8864, 0xffff];

/// VLANs of segments, and one that is nobody's.
pub const VLANS: [u16; 4] = [10, 20, 30, 99];

/// Ports of every switch.
pub const SWITCH_PORTS: [u16; 4] = [1, 2, 3, 4];

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is an address"))
}

pub(super) fn cidr(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is a CIDR"))
}
