//! One packet, as far as policies can see it: what a switch has parsed, without the bytes.
//!
//! [`crate::evaluate`] judges packets by the intent, the compiler's lookup judges them by compiled entries, and
//! `trace` builds them from its arguments. Conditions read a packet through the methods here, never through [`L4`]
//! itself: they answer the same whether or not a field that means nothing for the protocol has been filled in.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

/// IP protocol 1, ICMP.
pub const ICMP: u8 = 1;
/// IP protocol 6, TCP.
pub const TCP: u8 = 6;
/// IP protocol 17, UDP.
pub const UDP: u8 = 17;
/// IP protocol 58, ICMPv6.
pub const ICMPV6: u8 = 58;
/// IP protocol 132, SCTP.
pub const SCTP: u8 = 132;

/// TCP flag bits as in the header's flags byte (RFC 9293, section 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts: in all segments but the first of a connection.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Where it enters the switch. None (a trace that does not say): derived from its source and VLAN, see
    /// [`crate::evaluate::Evaluator::entrance`].
    pub ingress: Option<Ingress>,
    /// VLAN id of its outer tag, 0..=4095. None without a tag; 0 (a priority tag) counts as none.
    pub vlan: Option<u16>,
    /// What it carries.
    pub kind: Kind,
}

/// Where a packet enters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ingress {
    /// A port of the switch. Together with the VLAN it says the segment.
    Port(u16),
    /// A segment by name, whatever the port and the VLAN.
    Segment(String),
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 or IPv6.
    Ip {
        /// Source address.
        src: IpAddr,
        /// Destination address, of the same family as `src`.
        dst: IpAddr,
        /// IP protocol; for IPv6 the last next header, behind all extension headers that the switch walks.
        protocol: u8,
        /// A fragment after the first: nothing of its transport header is there.
        fragment: bool,
        /// Transport header.
        l4: L4,
    },
    /// ARP.
    Arp {
        /// Sender protocol address.
        sender: Ipv4Addr,
        /// Target protocol address.
        target: Ipv4Addr,
    },
    /// Any other EtherType (behind up to two VLAN tags).
    Other {
        /// The EtherType.
        ether_type: u16,
    },
}

/// What policies see of a transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum L4 {
    /// Nothing: other protocols, fragments after the first. Of a whole packet of a protocol that has these fields,
    /// they all count as 0.
    #[default]
    None,
    /// TCP, UDP, SCTP.
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// TCP's flags byte, see [`tcp_flags`]. Means nothing with UDP and SCTP.
        tcp_flags: u8,
    },
    /// ICMP, ICMPv6.
    Icmp {
        /// Type.
        icmp_type: u8,
        /// Code.
        code: u8,
    },
}

/// What sort of traffic a packet is, as rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// IPv4 and IPv6, except neighbour discovery.
    Ip,
    /// ARP.
    Arp,
    /// IPv6 neighbour discovery: ICMPv6 types 133 to 137 over IPv6.
    NeighborDiscovery,
    /// Any other EtherType.
    NonIp,
}

impl Packet {
    /// A packet of this kind without a tag, that enters anywhere.
    pub fn new(kind: Kind) -> Self {
        Self { ingress: None, vlan: None, kind }
    }

    /// A TCP segment with these flags.
    pub fn tcp(src: IpAddr, source: u16, dst: IpAddr, destination: u16, tcp_flags: u8) -> Self {
        let l4 = L4::Ports { source, destination, tcp_flags };
        Self::new(Kind::Ip { src, dst, protocol: TCP, fragment: false, l4 })
    }

    /// A UDP packet.
    pub fn udp(src: IpAddr, source: u16, dst: IpAddr, destination: u16) -> Self {
        let l4 = L4::Ports { source, destination, tcp_flags: 0 };
        Self::new(Kind::Ip { src, dst, protocol: UDP, fragment: false, l4 })
    }

    /// An SCTP packet.
    pub fn sctp(src: IpAddr, source: u16, dst: IpAddr, destination: u16) -> Self {
        let l4 = L4::Ports { source, destination, tcp_flags: 0 };
        Self::new(Kind::Ip { src, dst, protocol: SCTP, fragment: false, l4 })
    }

    /// An ICMP packet, ICMPv6 between IPv6 addresses.
    pub fn icmp(src: IpAddr, dst: IpAddr, icmp_type: u8, code: u8) -> Self {
        let protocol = if src.is_ipv4() { ICMP } else { ICMPV6 };
        Self::new(Kind::Ip { src, dst, protocol, fragment: false, l4: L4::Icmp { icmp_type, code } })
    }

    /// An IP packet of a protocol without ports and types.
    pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8) -> Self {
        Self::new(Kind::Ip { src, dst, protocol, fragment: false, l4: L4::None })
    }

    /// A fragment after the first.
    pub fn later_fragment(src: IpAddr, dst: IpAddr, protocol: u8) -> Self {
        Self::new(Kind::Ip { src, dst, protocol, fragment: true, l4: L4::None })
    }

    /// An ARP packet.
    pub fn arp(sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::new(Kind::Arp { sender, target })
    }

    /// A frame of another EtherType.
    pub fn other(ether_type: u16) -> Self {
        Self::new(Kind::Other { ether_type })
    }

    /// The same packet, entering by this port.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.ingress = Some(Ingress::Port(port));
        self
    }

    /// The same packet with a VLAN tag.
    #[must_use]
    pub fn in_vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    /// The VLAN that the outer tag says: 1..=4095. A priority tag says none (IEEE 802.1Q, section 6.9).
    pub fn vlan_id(&self) -> Option<u16> {
        self.vlan.filter(|id| *id != 0)
    }

    /// What sort of traffic it is.
    pub fn traffic(&self) -> Traffic {
        match self.kind {
            Kind::Ip { src, .. } => match self.icmp_header() {
                Some((ICMPV6, 133..=137, _)) if src.is_ipv6() => Traffic::NeighborDiscovery,
                _ => Traffic::Ip,
            },
            Kind::Arp { .. } => Traffic::Arp,
            Kind::Other { .. } => Traffic::NonIp,
        }
    }

    /// Source and destination address; ARP's sender and target; none for other EtherTypes.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.kind {
            Kind::Ip { src, dst, .. } => Some((src, dst)),
            Kind::Arp { sender, target } => Some((sender.into(), target.into())),
            Kind::Other { .. } => None,
        }
    }

    /// The IP protocol of an IP packet.
    pub fn protocol(&self) -> Option<u8> {
        match self.kind {
            Kind::Ip { protocol, .. } => Some(protocol),
            Kind::Arp { .. } | Kind::Other { .. } => None,
        }
    }

    /// Whether it is a fragment after the first.
    pub fn is_later_fragment(&self) -> bool {
        matches!(self.kind, Kind::Ip { fragment: true, .. })
    }

    /// Source and destination port of TCP, UDP and SCTP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.kind {
            Kind::Ip { protocol: TCP | UDP | SCTP, fragment: false, l4, .. } => Some(match l4 {
                L4::Ports { source, destination, .. } => (source, destination),
                L4::None | L4::Icmp { .. } => (0, 0),
            }),
            _ => None,
        }
    }

    /// The flags of a TCP segment.
    pub fn tcp_flags(&self) -> Option<u8> {
        match self.kind {
            Kind::Ip { protocol: TCP, fragment: false, l4, .. } => Some(match l4 {
                L4::Ports { tcp_flags, .. } => tcp_flags,
                L4::None | L4::Icmp { .. } => 0,
            }),
            _ => None,
        }
    }

    /// Protocol ([`ICMP`] or [`ICMPV6`]), type and code of an ICMP packet, neighbour discovery included.
    pub fn icmp_header(&self) -> Option<(u8, u8, u8)> {
        match self.kind {
            Kind::Ip { protocol: protocol @ (ICMP | ICMPV6), fragment: false, l4, .. } => Some(match l4 {
                L4::Icmp { icmp_type, code } => (protocol, icmp_type, code),
                L4::None | L4::Ports { .. } => (protocol, 0, 0),
            }),
            _ => None,
        }
    }

    /// Whether it is a TCP segment with ACK or RST: one that cannot open a connection.
    pub fn is_established(&self) -> bool {
        self.tcp_flags().is_some_and(|flags| flags & (tcp_flags::ACK | tcp_flags::RST) != 0)
    }

    /// Whether it is an ICMP or ICMPv6 echo reply.
    pub fn is_echo_reply(&self) -> bool {
        matches!(self.icmp_header(), Some((ICMP, ECHO_REPLY, _) | (ICMPV6, ECHO_REPLY_V6, _)))
    }

    /// The packet that this one could be the answer to: addresses and ports swapped, an echo reply turned into the
    /// echo request with its code. It has no TCP flags, for nobody knows them, and enters nobody knows where.
    ///
    /// Only TCP, UDP, SCTP and echo replies have one, and no fragment after the first.
    pub fn mirror(&self) -> Option<Self> {
        let Kind::Ip { src, dst, protocol, .. } = self.kind else { return None };
        let l4 = if let Some((source, destination)) = self.ports() {
            L4::Ports { source: destination, destination: source, tcp_flags: 0 }
        } else {
            match self.icmp_header()? {
                (ICMP, ECHO_REPLY, code) => L4::Icmp { icmp_type: ECHO_REQUEST, code },
                (ICMPV6, ECHO_REPLY_V6, code) => L4::Icmp { icmp_type: ECHO_REQUEST_V6, code },
                _ => return None,
            }
        };
        Some(Self::new(Kind::Ip { src: dst, dst: src, protocol, fragment: false, l4 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const A6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    const B6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

    #[test]
    fn mirror_images() {
        let cases = [
            (Packet::tcp(A, 1, B, 2, 0x12).in_vlan(7).at_port(3), Some(Packet::tcp(B, 2, A, 1, 0))),
            (Packet::udp(A, 1, B, 2), Some(Packet::udp(B, 2, A, 1))),
            (Packet::sctp(A6, 1, B6, 2), Some(Packet::sctp(B6, 2, A6, 1))),
            (Packet::icmp(A, B, 0, 5), Some(Packet::icmp(B, A, 8, 5))),
            (Packet::icmp(A6, B6, 129, 0), Some(Packet::icmp(B6, A6, 128, 0))),
            (Packet::icmp(A, B, 8, 0), None),
            (Packet::icmp(A6, B6, 0, 0), None),
            (Packet::icmp(A6, B6, 135, 0), None),
            (Packet::later_fragment(A, B, UDP), None),
            (Packet::later_fragment(A, B, ICMP), None),
            (Packet::ip(A, B, 47), None),
            (Packet::arp(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST), None),
            (Packet::other(0x88cc), None),
        ];
        for (packet, mirror) in cases {
            assert_eq!(packet.mirror(), mirror, "{packet:?}");
        }
    }

    #[test]
    fn traffic_and_fields() {
        assert_eq!(Packet::icmp(A6, B6, 133, 0).traffic(), Traffic::NeighborDiscovery);
        assert_eq!(Packet::icmp(A6, B6, 137, 0).traffic(), Traffic::NeighborDiscovery);
        assert_eq!(Packet::icmp(A6, B6, 132, 0).traffic(), Traffic::Ip);
        assert_eq!(Packet::icmp(A6, B6, 138, 0).traffic(), Traffic::Ip);
        assert_eq!(Packet::later_fragment(A6, B6, ICMPV6).traffic(), Traffic::Ip);
        let l4 = L4::Icmp { icmp_type: 135, code: 0 };
        let over_v4 = Packet::new(Kind::Ip { src: A, dst: B, protocol: ICMPV6, fragment: false, l4 });
        assert_eq!(over_v4.traffic(), Traffic::Ip);

        // Fields that mean nothing are not seen, missing ones are 0.
        let l4 = L4::Ports { source: 1, destination: 2, tcp_flags: 0x10 };
        let gre = Packet::new(Kind::Ip { src: A, dst: B, protocol: 47, fragment: false, l4 });
        assert_eq!((gre.ports(), gre.tcp_flags(), gre.icmp_header()), (None, None, None));
        let fragment = Packet::new(Kind::Ip { src: A, dst: B, protocol: TCP, fragment: true, l4 });
        assert_eq!((fragment.ports(), fragment.tcp_flags()), (None, None));
        let udp = Packet::new(Kind::Ip { src: A, dst: B, protocol: UDP, fragment: false, l4 });
        assert_eq!((udp.ports(), udp.tcp_flags()), (Some((1, 2)), None));
        assert_eq!(Packet::ip(A, B, TCP).ports(), Some((0, 0)));
        assert_eq!(Packet::ip(A, B, TCP).tcp_flags(), Some(0));
        assert_eq!(Packet::ip(A, B, ICMP).icmp_header(), Some((ICMP, 0, 0)));
    }

    #[test]
    fn established_is_ack_or_rst() {
        for flags in 0..=u8::MAX {
            let expected = flags & 0x10 != 0 || flags & 0x04 != 0;
            assert_eq!(Packet::tcp(A, 1, B, 2, flags).is_established(), expected, "{flags:#x}");
        }
        assert!(!Packet::udp(A, 1, B, 2).is_established());
        assert!(!Packet::later_fragment(A, B, TCP).is_established());
    }

    #[test]
    fn a_priority_tag_is_no_vlan() {
        assert_eq!(Packet::other(1).in_vlan(0).vlan_id(), None);
        assert_eq!(Packet::other(1).in_vlan(4095).vlan_id(), Some(4095));
        assert_eq!(Packet::other(1).vlan_id(), None);
    }
}
