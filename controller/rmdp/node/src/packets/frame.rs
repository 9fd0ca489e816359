//! What a denied frame was, in the fields of `outplane trace`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpNumber, Ipv6FragmentHeaderSlice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice,
    TransportSlice,
};
use outplane_rmdp_core::object::{LoggedPacket, PacketLine};

use super::Resolved;
use crate::clock;

/// A line about a frame of which at least the headers are there; `length` is that of the whole.
pub fn line(
    switch: &str,
    tag: u32,
    resolved: Resolved,
    port: Option<u16>,
    segment: Option<String>,
    frame: &[u8],
    length: usize,
) -> PacketLine {
    let (macs, mut packet) = read(frame);
    packet.port = port;
    let (src_mac, dst_mac) = macs.unzip();
    PacketLine {
        at_ms: clock::unix_millis(),
        switch: switch.to_owned(),
        generation: resolved.generation,
        policy: resolved.policy,
        rule: resolved.rule,
        tag: format!("{tag:#010x}"),
        segment,
        src_mac,
        dst_mac,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        packet,
    }
}

/// Sender's and receiver's MAC address, and the rest. What cannot be read is left out.
fn read(frame: &[u8]) -> (Option<(String, String)>, LoggedPacket) {
    let mut packet = LoggedPacket::default();
    let Ok(sliced) = LaxSlicedPacket::from_ethernet(frame) else { return (None, packet) };
    let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link else { return (None, packet) };
    let macs = Some((mac(ethernet.source()), mac(ethernet.destination())));
    let mut ether_type = ethernet.ether_type().0;
    for tag in &sliced.link_exts {
        let LaxLinkExtSlice::Vlan(vlan) = tag else { continue };
        packet.vlan.get_or_insert(vlan.vlan_identifier().value());
        ether_type = vlan.ether_type().0;
    }
    match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            packet.src = Some(header.source_addr().to_string());
            packet.dst = Some(header.destination_addr().to_string());
            packet.fragment = header.fragments_offset().value() > 0;
            packet.proto = Some(protocol(ip.payload().ip_number));
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            packet.src = Some(header.source_addr().to_string());
            packet.dst = Some(header.destination_addr().to_string());
            packet.fragment = is_later_fragment(ip);
            packet.proto = Some(protocol(ip.payload().ip_number));
        }
        Some(LaxNetSlice::Arp(arp)) => {
            packet.proto = Some("arp".to_owned());
            let address =
                |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_string());
            (packet.src, packet.dst) =
                (address(arp.sender_protocol_addr()), address(arp.target_protocol_addr()));
        }
        None => packet.ether_type = Some(ether_type),
    }
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            (packet.sport, packet.dport) = (Some(tcp.source_port()), Some(tcp.destination_port()));
            packet.tcp_flags = Some(flags(tcp));
        }
        Some(TransportSlice::Udp(udp)) => {
            (packet.sport, packet.dport) = (Some(udp.source_port()), Some(udp.destination_port()));
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            (packet.icmp_type, packet.icmp_code) = (Some(icmp.type_u8()), Some(icmp.code_u8()));
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            (packet.icmp_type, packet.icmp_code) = (Some(icmp.type_u8()), Some(icmp.code_u8()));
        }
        Some(TransportSlice::Igmp(_)) => {}
        // etherparse has no SCTP; its ports stand where UDP's do.
        None => {
            if packet.proto.as_deref() == Some("sctp")
                && !packet.fragment
                && let Some(payload) = sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref)
                && let [a, b, c, d, ..] = *payload.payload
            {
                (packet.sport, packet.dport) =
                    (Some(u16::from_be_bytes([a, b])), Some(u16::from_be_bytes([c, d])));
            }
        }
    }
    (macs, packet)
}

fn is_later_fragment(ip: &etherparse::LaxIpv6Slice<'_>) -> bool {
    let fragments = ip.extensions().clone().into_iter();
    fragments.into_iter().any(|extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(fragment) => offset(&fragment) > 0,
        _ => false,
    })
}

fn offset(fragment: &Ipv6FragmentHeaderSlice<'_>) -> u16 {
    fragment.fragment_offset().value()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn protocol(number: IpNumber) -> String {
    match number {
        IpNumber::ICMP => "icmp".to_owned(),
        IpNumber::TCP => "tcp".to_owned(),
        IpNumber::UDP => "udp".to_owned(),
        IpNumber::IPV6_ICMP => "icmpv6".to_owned(),
        IpNumber::SCTP => "sctp".to_owned(),
        other => other.0.to_string(),
    }
}

fn flags(tcp: &etherparse::TcpSlice<'_>) -> String {
    let flags = [
        (tcp.syn(), "SYN"),
        (tcp.fin(), "FIN"),
        (tcp.rst(), "RST"),
        (tcp.psh(), "PSH"),
        (tcp.ack(), "ACK"),
        (tcp.urg(), "URG"),
        (tcp.ece(), "ECE"),
        (tcp.cwr(), "CWR"),
    ];
    let set: Vec<_> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

/// `TCP SYN 10.0.0.1:49152 -> 10.0.0.2:80, VLAN 20`.
pub fn sentence(packet: &LoggedPacket) -> String {
    let mut text = match (&packet.proto, packet.ether_type) {
        (Some(proto), _) if proto.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("IP protocol {proto}")
        }
        (Some(proto), _) => proto.to_uppercase(),
        (None, Some(ether_type)) => format!("EtherType {ether_type:#06x}"),
        (None, None) => "a frame that cannot be read".to_owned(),
    };
    if packet.fragment {
        text.push_str(" later fragment");
    }
    if let Some(flags) = &packet.tcp_flags {
        let _ = write!(text, " {flags}");
    }
    if let (Some(icmp_type), Some(code)) = (packet.icmp_type, packet.icmp_code) {
        let _ = write!(text, " type {icmp_type} code {code}");
    }
    let end = |address: &str, port: Option<u16>| match (address.parse::<IpAddr>(), port) {
        (Ok(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        _ => address.to_owned(),
    };
    if let (Some(src), Some(dst)) = (&packet.src, &packet.dst) {
        let _ = write!(text, " {} -> {}", end(src, packet.sport), end(dst, packet.dport));
    }
    if let Some(vlan) = packet.vlan {
        let _ = write!(text, ", VLAN {vlan}");
    }
    text
}
