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

/// ICMP types of errors that answer a packet: destination unreachable, time exceeded, parameter problem (RFC 792).
pub const ICMP_ERRORS: [u8; 3] = [3, 11, 12];
/// Their like in ICMPv6: unreachable, packet too big, time exceeded, parameter problem (RFC 4443, section 2.1).
pub const ICMPV6_ERRORS: [u8; 4] = [1, 2, 3, 4];
/// ICMPv6 types of multicast listener discovery (RFC 2710, RFC 3810).
pub const LISTENER_DISCOVERY: [u8; 4] = [130, 131, 132, 143];

/// Whether an ICMPv6 type is neighbour discovery (RFC 4861) or multicast listener discovery.
pub fn is_discovery(icmp_type: u8) -> bool {
    matches!(icmp_type, 133..=137) || LISTENER_DISCOVERY.contains(&icmp_type)
}

/// ICMP type of an echo request (RFC 792).
pub const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Its like in ICMPv6 (RFC 4443, section 4.1).
pub const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Where it enters the switch. None (a trace that does not say): derived from its source and VLAN, see
    /// [`crate::evaluate::Evaluator::entrance`].
    pub ingress: Option<Ingress>,
    /// Its VLAN tags, the outermost first. Switches drop what has more than [`MAX_TAGS`].
    pub tags: Vec<Tag>,
    /// What it carries.
    pub kind: Kind,
}

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// What announces it: one of [`TPIDS`].
    pub tpid: u16,
    /// VLAN id, 0..=4095. 0 (a priority tag) counts as none.
    pub vlan: u16,
}

/// EtherTypes that announce a tag: 802.1Q, 802.1ad, and those in use before 802.1ad.
pub const TPIDS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// Tags that a switch looks behind.
pub const MAX_TAGS: usize = 2;

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
    /// Any other EtherType.
    Other {
        /// The EtherType, 0x0600 or more.
        ether_type: u16,
    },
    /// No EtherType but a length, and IEEE 802.2 LLC behind it.
    Llc(Llc),
}

/// An LLC header and what follows it: after `AA AA 03` a SNAP header, else the first bytes of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Llc {
    /// Destination service access point.
    pub dsap: u8,
    /// Source service access point.
    pub ssap: u8,
    /// Control field; 3 is unnumbered information.
    pub control: u8,
    /// SNAP's organization.
    pub oui: [u8; 3],
    /// SNAP's protocol id: an EtherType where the organization is 00-00-00.
    pub protocol: u16,
}

/// EtherTypes of control protocols and of field buses: they carry no IP, and networks need them. All others, but for
/// IP's, ARP's and those of tags, are [`Traffic::Unread`]. docs/policy-semantics.md says what each is.
pub const NON_IP_ETHER_TYPES: [u16; 22] = [
    0x0842, 0x22ea, 0x8035, 0x8808, 0x8809, 0x8863, 0x888e, 0x8892, 0x88a2, 0x88b8, 0x88b9, 0x88ba, 0x88c7,
    0x88cc, 0x88e3, 0x88ee, 0x88f5, 0x88f6, 0x88f7, 0x8902, 0x8940, 0x9000,
];

/// Protocols of organization 00-00-0c behind SNAP that are like them: PVST+, UDLD, CDP, VTP, DTP.
const NON_IP_SNAP: [u16; 5] = [0x010b, 0x0111, 0x2000, 0x2003, 0x2004];

impl Llc {
    /// A SNAP header (RFC 1042).
    pub fn snap(oui: [u8; 3], protocol: u16) -> Self {
        Self { dsap: 0xaa, ssap: 0xaa, control: 3, oui, protocol }
    }

    /// Whether it is spanning tree, ES-IS or IS-IS, or one of the protocols of 00-00-0c that carry no IP.
    fn is_non_ip(self) -> bool {
        match (self.dsap, self.ssap, self.control) {
            (0x42, 0x42, 3) => true,
            (0xfe, 0xfe, 3) => matches!(self.oui[0], 0x82 | 0x83),
            (0xaa, 0xaa, 3) => self.oui == [0, 0, 0x0c] && NON_IP_SNAP.contains(&self.protocol),
            _ => false,
        }
    }
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
    /// IPv6 neighbour discovery (ICMPv6 types 133 to 137) and multicast listener discovery (130 to 132, 143).
    NeighborDiscovery,
    /// Control protocols that carry no IP: [`NON_IP_ETHER_TYPES`] and their like behind LLC.
    NonIp,
    /// Everything else. The switch cannot read it, and some host may find IP in it.
    Unread,
}

impl Packet {
    /// A packet of this kind without a tag, that enters anywhere.
    pub fn new(kind: Kind) -> Self {
        Self { ingress: None, tags: Vec::new(), kind }
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

    /// The same packet with an 802.1Q tag, inside those that it has.
    #[must_use]
    pub fn in_vlan(self, vlan: u16) -> Self {
        self.tagged(TPIDS[0], vlan)
    }

    /// The same packet with a tag, inside those that it has.
    #[must_use]
    pub fn tagged(mut self, tpid: u16, vlan: u16) -> Self {
        self.tags.push(Tag { tpid, vlan });
        self
    }

    /// The VLAN that its tags say, 1..=4095: the outermost one that says any. A priority tag says none (IEEE 802.1Q,
    /// section 6.9), and hosts take it off and go on with the next.
    pub fn vlan_id(&self) -> Option<u16> {
        self.tags.iter().take(MAX_TAGS).map(|tag| tag.vlan).find(|vlan| *vlan != 0)
    }

    /// Whether it has more tags than a switch looks behind, so that every switch drops it.
    pub fn is_overtagged(&self) -> bool {
        self.tags.len() > MAX_TAGS
    }

    /// What sort of traffic it is.
    pub fn traffic(&self) -> Traffic {
        match self.kind {
            Kind::Ip { src, .. } => match self.icmp_header() {
                Some((ICMPV6, icmp_type, _)) if src.is_ipv6() && is_discovery(icmp_type) => {
                    Traffic::NeighborDiscovery
                }
                _ => Traffic::Ip,
            },
            Kind::Arp { .. } => Traffic::Arp,
            Kind::Other { ether_type } if NON_IP_ETHER_TYPES.contains(&ether_type) => Traffic::NonIp,
            Kind::Llc(llc) if llc.is_non_ip() => Traffic::NonIp,
            Kind::Other { .. } | Kind::Llc(_) => Traffic::Unread,
        }
    }

    /// The EtherType behind its tags; none where LLC follows.
    pub fn ether_type(&self) -> Option<u16> {
        match self.kind {
            Kind::Ip { src: IpAddr::V4(_), .. } => Some(0x0800),
            Kind::Ip { src: IpAddr::V6(_), .. } => Some(0x86dd),
            Kind::Arp { .. } => Some(0x0806),
            Kind::Other { ether_type } => Some(ether_type),
            Kind::Llc(_) => None,
        }
    }

    /// Source and destination address; ARP's sender and target; none for other EtherTypes.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self.kind {
            Kind::Ip { src, dst, .. } => Some((src, dst)),
            Kind::Arp { sender, target } => Some((sender.into(), target.into())),
            Kind::Other { .. } | Kind::Llc(_) => None,
        }
    }

    /// The IP protocol of an IP packet.
    pub fn protocol(&self) -> Option<u8> {
        match self.kind {
            Kind::Ip { protocol, .. } => Some(protocol),
            Kind::Arp { .. } | Kind::Other { .. } | Kind::Llc(_) => None,
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

    /// Whether it is an ICMP error, of its own IP version, that answers another packet: unreachable, (too big), time
    /// exceeded, parameter problem (RFC 792; RFC 4443, section 2.1).
    pub fn is_error(&self) -> bool {
        let Kind::Ip { src, .. } = self.kind else { return false };
        match self.icmp_header() {
            Some((ICMP, icmp_type, _)) => src.is_ipv4() && ICMP_ERRORS.contains(&icmp_type),
            Some((ICMPV6, icmp_type, _)) => src.is_ipv6() && ICMPV6_ERRORS.contains(&icmp_type),
            _ => false,
        }
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
        for (icmp_type, discovery) in [
            (129, false),
            (130, true),
            (131, true),
            (132, true),
            (138, false),
            (142, false),
            (143, true),
            (144, false),
        ] {
            let wanted = if discovery { Traffic::NeighborDiscovery } else { Traffic::Ip };
            assert_eq!(Packet::icmp(A6, B6, icmp_type, 0).traffic(), wanted, "{icmp_type}");
        }
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
    fn only_what_is_listed_is_read() {
        for (packet, traffic) in [
            (Packet::other(0x88cc), Traffic::NonIp),
            (Packet::other(0x8847), Traffic::Unread),
            (Packet::other(0xffff), Traffic::Unread),
            (
                Packet::new(Kind::Llc(Llc { dsap: 0x42, ssap: 0x42, control: 3, ..Llc::default() })),
                Traffic::NonIp,
            ),
            (Packet::new(Kind::Llc(Llc { dsap: 6, ssap: 6, control: 3, ..Llc::default() })), Traffic::Unread),
            (Packet::new(Kind::Llc(Llc::snap([0; 3], 0x0800))), Traffic::Unread),
            (Packet::new(Kind::Llc(Llc::snap([0; 3], 0x88cc))), Traffic::Unread),
            (Packet::new(Kind::Llc(Llc::snap([0, 0, 0x0c], 0x2000))), Traffic::NonIp),
        ] {
            assert_eq!(packet.traffic(), traffic, "{packet:?}");
            assert_eq!(packet.addresses(), None);
        }
    }

    #[test]
    fn errors_are_of_their_own_version() {
        for icmp_type in 0..=u8::MAX {
            assert_eq!(Packet::icmp(A, B, icmp_type, 4).is_error(), [3, 11, 12].contains(&icmp_type));
            assert_eq!(Packet::icmp(A6, B6, icmp_type, 4).is_error(), (1..=4).contains(&icmp_type));
            let l4 = L4::Icmp { icmp_type, code: 0 };
            let crossed = Packet::new(Kind::Ip { src: A, dst: B, protocol: ICMPV6, fragment: false, l4 });
            assert!(!crossed.is_error());
        }
        assert!(!Packet::later_fragment(A, B, ICMP).is_error());
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
        assert_eq!(Packet::other(1).in_vlan(0).tagged(0x88a8, 7).vlan_id(), Some(7));
        assert_eq!(Packet::other(1).in_vlan(0).in_vlan(0).in_vlan(7).vlan_id(), None);
        assert!(Packet::other(1).in_vlan(0).in_vlan(0).in_vlan(7).is_overtagged());
    }
}
