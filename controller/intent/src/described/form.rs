//! A packet as results show it.

use std::fmt::Write as _;

use crate::packet::{ICMP, ICMPV6, Ingress, Kind, Packet, SCTP, TCP, TPIDS, Tag, UDP};
use serde::Serialize;

use super::TcpFlags;
use super::link::llc_text;

/// A packet with everything that stood in for absent fields.
#[derive(Clone, Debug, Serialize)]
pub struct PacketForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    src: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst: Option<String>,
    /// A name where there is one, else a number's digits; `arp`; absent for other EtherTypes.
    #[serde(skip_serializing_if = "Option::is_none")]
    proto: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dport: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_flags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fragment: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ether_type: Option<u16>,
    /// LLC and what follows it, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    llc: Option<String>,
    /// Of its one tag, where that is an 802.1Q tag; else see `tags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
}

/// A VLAN tag.
#[derive(Clone, Debug, Serialize)]
struct TagForm {
    tpid: u16,
    vlan: u16,
}

/// The VLAN id of the one 802.1Q tag that most tagged frames have.
fn only_vlan(tags: &[Tag]) -> Option<u16> {
    match tags {
        [Tag { tpid, vlan }] if *tpid == TPIDS[0] => Some(*vlan),
        _ => None,
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        ICMP => "icmp".to_owned(),
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        ICMPV6 => "icmpv6".to_owned(),
        SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

impl From<&Packet> for PacketForm {
    fn from(packet: &Packet) -> Self {
        let addresses = packet.addresses();
        let ports = packet.ports();
        let icmp = packet.icmp_header();
        Self {
            src: addresses.map(|(src, _)| src.to_string()),
            dst: addresses.map(|(_, dst)| dst.to_string()),
            proto: match packet.kind {
                Kind::Ip { protocol, .. } => Some(protocol_name(protocol)),
                Kind::Arp { .. } => Some("arp".to_owned()),
                Kind::Other { .. } | Kind::Llc(_) => None,
            },
            sport: ports.map(|(source, _)| source),
            dport: ports.map(|(_, destination)| destination),
            tcp_flags: packet.tcp_flags().map(|flags| TcpFlags(flags).to_string()),
            icmp_type: icmp.map(|(_, icmp_type, _)| icmp_type),
            icmp_code: icmp.map(|(_, _, code)| code),
            fragment: packet.is_later_fragment(),
            ether_type: match packet.kind {
                Kind::Other { ether_type } => Some(ether_type),
                Kind::Ip { .. } | Kind::Arp { .. } | Kind::Llc(_) => None,
            },
            llc: match packet.kind {
                Kind::Llc(llc) => Some(llc_text(llc)),
                Kind::Ip { .. } | Kind::Arp { .. } | Kind::Other { .. } => None,
            },
            vlan: only_vlan(&packet.tags),
            tags: match only_vlan(&packet.tags) {
                Some(_) => Vec::new(),
                None => packet
                    .tags
                    .iter()
                    .map(|Tag { tpid, vlan }| TagForm { tpid: *tpid, vlan: *vlan })
                    .collect(),
            },
            port: match packet.ingress {
                Some(Ingress::Port(port)) => Some(port),
                _ => None,
            },
            segment: match &packet.ingress {
                Some(Ingress::Segment(segment)) => Some(segment.clone()),
                _ => None,
            },
        }
    }
}

/// `TCP SYN 10.0.0.1:49152 -> 10.0.0.2:80, VLAN 20, entering by port 3`.
pub fn sentence(packet: &Packet) -> String {
    let mut text = match packet.kind {
        Kind::Ip { protocol, .. } => {
            let name = protocol_name(protocol).to_uppercase();
            if name.starts_with(|first: char| first.is_ascii_digit()) {
                format!("IP protocol {name}")
            } else {
                name
            }
        }
        Kind::Arp { .. } => "ARP".to_owned(),
        Kind::Other { ether_type } => format!("EtherType {ether_type:#06x}"),
        Kind::Llc(llc) => format!("LLC {}", llc_text(llc)),
    };
    if packet.is_later_fragment() {
        text.push_str(" later fragment");
    }
    if let Some(flags) = packet.tcp_flags() {
        let _ = write!(text, " {}", TcpFlags(flags));
    }
    if let Some((_, icmp_type, code)) = packet.icmp_header() {
        let _ = write!(text, " type {icmp_type} code {code}");
    }
    if let Some((src, dst)) = packet.addresses() {
        let with_port = |address: std::net::IpAddr, port: Option<u16>| {
            port.map_or_else(
                || address.to_string(),
                |port| std::net::SocketAddr::new(address, port).to_string(),
            )
        };
        let ports = packet.ports();
        let from = with_port(src, ports.map(|ports| ports.0));
        let to = with_port(dst, ports.map(|ports| ports.1));
        let _ = write!(text, " {from} -> {to}");
    }
    if let Some(vlan) = only_vlan(&packet.tags) {
        let _ = write!(text, ", VLAN {vlan}");
    } else if !packet.tags.is_empty() {
        let tags: Vec<String> =
            packet.tags.iter().map(|Tag { tpid, vlan }| format!("{tpid:#06x}:{vlan}")).collect();
        let _ = write!(text, ", tags {}", tags.join(" "));
    }
    match &packet.ingress {
        Some(Ingress::Port(port)) => _ = write!(text, ", entering by port {port}"),
        Some(Ingress::Segment(segment)) => _ = write!(text, ", entering in segment {segment}"),
        None => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let (a6, b6) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        for (packet, text) in [
            (
                Packet::tcp(a, 1, b, 80, 2).in_vlan(20).at_port(3),
                "TCP SYN 10.0.0.1:1 -> 10.0.0.2:80, VLAN 20, entering by port 3",
            ),
            (Packet::udp(a6, 1, b6, 53), "UDP [fd00::1]:1 -> [fd00::2]:53"),
            (Packet::icmp(a, b, 8, 0), "ICMP type 8 code 0 10.0.0.1 -> 10.0.0.2"),
            (Packet::ip(a, b, 47), "IP protocol 47 10.0.0.1 -> 10.0.0.2"),
            (Packet::later_fragment(a, b, 17), "UDP later fragment 10.0.0.1 -> 10.0.0.2"),
            (Packet::other(0x88cc), "EtherType 0x88cc"),
            (Packet::other(0x88cc).tagged(0x88a8, 7).in_vlan(0), "EtherType 0x88cc, tags 0x88a8:7 0x8100:0"),
        ] {
            assert_eq!(sentence(&packet), text);
        }
    }
}
