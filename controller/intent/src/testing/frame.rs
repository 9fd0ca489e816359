//! Packets as Ethernet frames, with valid lengths and checksums.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crc::{CRC_32_ISCSI, Crc};
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpAuthHeader, IpFragOffset, IpNumber,
    Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, SingleVlanHeader, TcpHeader,
    UdpHeader, VlanId,
};

use crate::packet::{ICMP, ICMPV6, Kind, L4, Llc, Packet, SCTP, TCP, UDP};

/// Shortest frame on a wire without its check sequence.
const SHORTEST: usize = 60;
/// Offset of later fragments in units of eight bytes: right behind a first one that filled 1480 bytes.
const LATER: u16 = 185;

/// What a [`Packet`] leaves open about a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Source MAC address.
    pub source: [u8; 6],
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// IPv4 options: up to 40 bytes, a multiple of 4.
    pub ipv4_options: Vec<u8>,
    /// IPv6 extension headers in this order, before the one that makes the packet a fragment if it is one.
    pub ipv6_extensions: Vec<Extension>,
    /// The packet is the first of several fragments. Not for packets that are later ones.
    pub first_fragment: bool,
    /// What comes after the transport header.
    pub payload: Vec<u8>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            source: [2, 0, 0, 0, 0, 1],
            destination: [2, 0, 0, 0, 0, 2],
            ipv4_options: Vec::new(),
            ipv6_extensions: Vec::new(),
            first_fragment: false,
            payload: b"outplane".to_vec(),
        }
    }
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, of padding; so many times eight bytes longer than the shortest.
    HopByHop(u8),
    /// Routing, of a type that nobody uses and no segments left; so many times eight bytes longer than the shortest.
    Routing(u8),
    /// Destination options, of padding; so many times eight bytes longer than the shortest.
    DestinationOptions(u8),
    /// Authentication, with an integrity check value of 12 bytes that is all zero.
    Authentication,
    /// A fragment header of a packet that is not fragmented (RFC 6946).
    AtomicFragment,
}

/// The frame of a packet, at least 60 bytes long.
///
/// # Panics
///
/// If there is no such frame: addresses of two families, options or tags out of range, 64 KiB of payload.
pub fn frame(packet: &Packet, layout: &Layout) -> Vec<u8> {
    let (ether_type, body) = match packet.kind {
        Kind::Ip { src: IpAddr::V4(src), dst: IpAddr::V4(dst), protocol, fragment, l4 } => {
            (EtherType::IPV4, ipv4(src, dst, protocol, fragment, l4, layout))
        }
        Kind::Ip { src: IpAddr::V6(src), dst: IpAddr::V6(dst), protocol, fragment, l4 } => {
            (EtherType::IPV6, ipv6(src, dst, protocol, fragment, l4, layout))
        }
        Kind::Ip { src, dst, .. } => panic!("{src} and {dst} are of two families"),
        Kind::Arp { sender, target } => (EtherType::ARP, arp(sender, target, layout)),
        Kind::Other { ether_type } => (EtherType(ether_type), layout.payload.clone()),
        Kind::Llc(header) => {
            let body = llc(header, layout);
            (EtherType(u16::try_from(body.len()).expect("a length below 0x0600")), body)
        }
    };
    let tags = &packet.tags;
    let first = tags.first().map_or(ether_type, |tag| EtherType(tag.tpid));
    let ethernet =
        Ethernet2Header { source: layout.source, destination: layout.destination, ether_type: first };
    let mut frame = ethernet.to_bytes().to_vec();
    for (n, tag) in tags.iter().enumerate() {
        let vlan_id = VlanId::try_new(tag.vlan).expect("VLAN ids have 12 bits");
        let next = tags.get(n + 1).map_or(ether_type, |tag| EtherType(tag.tpid));
        let tag = SingleVlanHeader { vlan_id, ether_type: next, ..SingleVlanHeader::default() };
        frame.extend(tag.to_bytes());
    }
    frame.extend(body);
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

fn llc(header: Llc, layout: &Layout) -> Vec<u8> {
    let Llc { dsap, ssap, control, oui, protocol } = header;
    [&[dsap, ssap, control][..], &oui, &protocol.to_be_bytes(), &layout.payload].concat()
}

fn arp(sender: Ipv4Addr, target: Ipv4Addr, layout: &Layout) -> Vec<u8> {
    let request = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &layout.source,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    );
    request.expect("addresses have their lengths").to_bytes().to_vec()
}

fn ipv4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, fragment: bool, l4: L4, layout: &Layout) -> Vec<u8> {
    let payload = transport(src.into(), dst.into(), protocol, fragment, l4, layout);
    let length = u16::try_from(payload.len()).expect("a payload of less than 64 KiB");
    let mut header = Ipv4Header::new(length, 64, IpNumber(protocol), src.octets(), dst.octets())
        .expect("a payload of less than 64 KiB");
    header.options = Ipv4Options::try_from(layout.ipv4_options.as_slice()).expect("valid options");
    header.set_payload_len(payload.len()).expect("a payload of less than 64 KiB");
    header.identification = 1;
    header.dont_fragment = false;
    header.more_fragments = layout.first_fragment && !fragment;
    header.fragment_offset = offset(fragment);
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().as_slice(), &payload].concat()
}

fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, fragment: bool, l4: L4, layout: &Layout) -> Vec<u8> {
    let mut next = IpNumber(protocol);
    let mut payload = transport(src.into(), dst.into(), protocol, fragment, l4, layout);
    let more_fragments = layout.first_fragment && !fragment;
    if fragment || more_fragments {
        let header = Ipv6FragmentHeader {
            next_header: next,
            fragment_offset: offset(fragment),
            more_fragments,
            identification: 1,
        };
        payload = [header.to_bytes().as_slice(), &payload].concat();
        next = IpNumber::IPV6_FRAGMENTATION_HEADER;
    }
    for extension in layout.ipv6_extensions.iter().rev() {
        let (bytes, kind) = extension_header(*extension, next);
        payload = [bytes, payload].concat();
        next = kind;
    }
    let header = Ipv6Header {
        payload_length: u16::try_from(payload.len()).expect("a payload of less than 64 KiB"),
        next_header: next,
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv6Header::default()
    };
    [header.to_bytes().as_slice(), &payload].concat()
}

fn offset(fragment: bool) -> IpFragOffset {
    IpFragOffset::try_new(if fragment { LATER } else { 0 }).expect("an offset of 13 bits")
}

/// Its bytes and its number.
fn extension_header(extension: Extension, next: IpNumber) -> (Vec<u8>, IpNumber) {
    let raw = |start: &[u8], longer: u8| {
        let mut body = start.to_vec();
        body.resize(6 + 8 * usize::from(longer), 0);
        Ipv6RawExtHeader::new_raw(next, &body).expect("a multiple of eight bytes").to_bytes().to_vec()
    };
    // PadN reaches to the end of the header as far as one option can, Pad1 fills the rest.
    let padding = |longer: u8| raw(&[1, (4_u8).saturating_add(longer.saturating_mul(8))], longer);
    match extension {
        Extension::HopByHop(longer) => (padding(longer), IpNumber::IPV6_HEADER_HOP_BY_HOP),
        Extension::DestinationOptions(longer) => (padding(longer), IpNumber::IPV6_DESTINATION_OPTIONS),
        Extension::Routing(longer) => (raw(&[253, 0], longer), IpNumber::IPV6_ROUTE_HEADER),
        Extension::Authentication => {
            let header = IpAuthHeader::new(next, 1, 1, &[0; 12]).expect("a multiple of four bytes");
            (header.to_bytes().to_vec(), IpNumber::AUTHENTICATION_HEADER)
        }
        Extension::AtomicFragment => {
            let fragment_offset = offset(false);
            let header = Ipv6FragmentHeader {
                next_header: next,
                fragment_offset,
                more_fragments: false,
                identification: 1,
            };
            (header.to_bytes().to_vec(), IpNumber::IPV6_FRAGMENTATION_HEADER)
        }
    }
}

/// Transport header and payload; the payload alone for later fragments and for protocols without a header that we know.
fn transport(src: IpAddr, dst: IpAddr, protocol: u8, fragment: bool, l4: L4, layout: &Layout) -> Vec<u8> {
    let payload = layout.payload.as_slice();
    if fragment {
        return payload.to_vec();
    }
    let (source, destination, flags) = match l4 {
        L4::Ports { source, destination, tcp_flags } => (source, destination, tcp_flags),
        L4::None | L4::Icmp { .. } => (0, 0, 0),
    };
    let (icmp_type, code) = match l4 {
        L4::Icmp { icmp_type, code } => (icmp_type, code),
        L4::None | L4::Ports { .. } => (0, 0),
    };
    let checked = |mut bytes: Vec<u8>, at: usize, pseudo: bool| {
        let checksum = checksum(src, dst, protocol, &bytes, pseudo);
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    };
    match protocol {
        TCP => checked(
            [tcp_header(source, destination, flags).to_bytes().as_slice(), payload].concat(),
            16,
            true,
        ),
        UDP => {
            let length = u16::try_from(8 + payload.len()).expect("a payload of less than 64 KiB");
            let header =
                UdpHeader { source_port: source, destination_port: destination, length, checksum: 0 };
            let mut bytes = checked([header.to_bytes().as_slice(), payload].concat(), 6, true);
            // A checksum of zero would mean that there is none (RFC 768).
            if bytes[6..8] == [0, 0] {
                bytes[6..8].fill(0xff);
            }
            bytes
        }
        SCTP => sctp(source, destination, payload),
        // ICMPv6 has the pseudo header of the addresses, ICMP none.
        ICMP | ICMPV6 => {
            let header = [icmp_type, code, 0, 0, 0, 1, 0, 1];
            checked([header.as_slice(), payload].concat(), 2, protocol == ICMPV6)
        }
        _ => payload.to_vec(),
    }
}

fn tcp_header(source: u16, destination: u16, flags: u8) -> TcpHeader {
    let set = |bit: u8| flags >> bit & 1 == 1;
    let mut header = TcpHeader::new(source, destination, 1, 65535);
    header.fin = set(0);
    header.syn = set(1);
    header.rst = set(2);
    header.psh = set(3);
    header.ack = set(4);
    header.urg = set(5);
    header.ece = set(6);
    header.cwr = set(7);
    header
}

/// The internet checksum (RFC 1071), over the pseudo header too where there is one (RFC 9293, RFC 8200).
fn checksum(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8], pseudo: bool) -> u16 {
    let mut sum = Sum16BitWords::new();
    if pseudo {
        sum = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => sum.add_4bytes(src.octets()).add_4bytes(dst.octets()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => sum.add_16bytes(src.octets()).add_16bytes(dst.octets()),
            _ => unreachable!("frame() has compared the families"),
        };
        let length = u32::try_from(bytes.len()).expect("a payload of less than 64 KiB");
        sum = sum.add_4bytes(length.to_be_bytes()).add_2bytes([0, protocol]);
    }
    sum.add_slice(bytes).ones_complement().to_be()
}

/// A DATA chunk with the payload (RFC 9260, sections 3.1 and 3.3.1), with the checksum of all of it.
fn sctp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + payload.len()).expect("a payload of less than 64 KiB");
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([0, 3]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(1_u32.to_be_bytes());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let crc = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&bytes);
    // Least significant byte first (RFC 9260, appendix A).
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}
