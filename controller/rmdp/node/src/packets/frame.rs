//! What a denied frame was, in the fields of `outplane trace`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use outplane_intent::described::TcpFlags;
use outplane_intent::frame::{self, Macs};
use outplane_intent::packet::{ICMP, ICMPV6, Kind, L4, Llc, Packet, SCTP, TCP, TPIDS, Tag, UDP};
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
    let (macs, packet) = frame::read(frame);
    let macs = macs.map(|Macs { source, destination }| (mac(source), mac(destination)));
    (macs, packet.as_ref().map(logged).unwrap_or_default())
}

fn logged(packet: &Packet) -> LoggedPacket {
    let addresses = packet.addresses();
    let (vlan, tags) = match packet.tags.as_slice() {
        [Tag { tpid, vlan }] if *tpid == TPIDS[0] => (Some(*vlan), Vec::new()),
        tags => (None, tags.iter().map(|Tag { tpid, vlan }| format!("{tpid:#06x}:{vlan}")).collect()),
    };
    let mut line = LoggedPacket {
        src: addresses.map(|(src, _)| src.to_string()),
        dst: addresses.map(|(_, dst)| dst.to_string()),
        fragment: packet.is_later_fragment(),
        vlan,
        tags,
        ..LoggedPacket::default()
    };
    match packet.kind {
        Kind::Ip { src, protocol, l4, .. } => {
            line.proto = Some(self::protocol(protocol, src));
            match l4 {
                L4::Ports { source, destination, tcp_flags } => {
                    (line.sport, line.dport) = (Some(source), Some(destination));
                    line.tcp_flags = (protocol == TCP).then(|| flags(tcp_flags));
                }
                L4::Icmp { icmp_type, code } => {
                    (line.icmp_type, line.icmp_code) = (Some(icmp_type), Some(code));
                }
                L4::None => {}
            }
        }
        Kind::Arp { .. } => line.proto = Some("arp".to_owned()),
        Kind::Other { ether_type } => line.ether_type = Some(ether_type),
        Kind::Llc(llc) => line.llc = Some(llc_text(llc)),
    }
    line
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// A name means the protocol of its own IP version.
fn protocol(number: u8, src: IpAddr) -> String {
    match number {
        ICMP if src.is_ipv4() => "icmp".to_owned(),
        ICMPV6 if src.is_ipv6() => "icmpv6".to_owned(),
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        SCTP => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn flags(flags: u8) -> String {
    if flags == 0 { "none".to_owned() } else { TcpFlags(flags).to_string() }
}

/// LLC and what follows it, in hexadecimal.
fn llc_text(llc: Llc) -> String {
    let Llc { dsap, ssap, control, oui: [o0, o1, o2], protocol } = llc;
    format!("{dsap:02x}{ssap:02x}{control:02x}{o0:02x}{o1:02x}{o2:02x}{protocol:04x}")
}

/// `TCP SYN 10.0.0.1:49152 -> 10.0.0.2:80, VLAN 20`.
pub fn sentence(packet: &LoggedPacket) -> String {
    let mut text = match (&packet.proto, packet.ether_type) {
        (Some(proto), _) if proto.starts_with(|first: char| first.is_ascii_digit()) => {
            format!("IP protocol {proto}")
        }
        (Some(proto), _) => proto.to_uppercase(),
        (None, Some(ether_type)) => format!("EtherType {ether_type:#06x}"),
        (None, None) => match &packet.llc {
            Some(llc) => format!("LLC {llc}"),
            None => "a frame that cannot be read".to_owned(),
        },
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
    } else if !packet.tags.is_empty() {
        let _ = write!(text, ", tags {}", packet.tags.join(" "));
    }
    text
}
