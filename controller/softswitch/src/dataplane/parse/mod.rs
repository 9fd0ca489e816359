//! Frame bytes to header fields: the parser of `outplane.p4`, state by state and under the same names.
//!
//! Pure: no I/O, no allocation, no recursion beyond the program's four IPv6 extension headers. Every read is
//! bounded; a frame that ends inside a header that the parser asks for is [`ParserError::PacketTooShort`], and the
//! pipeline drops it whatever the policy. Header fields are numbers, network byte order already undone.

use outplane_p4::CPU_PORT;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// EtherTypes that announce a tag: 802.1Q, 802.1ad, and what was in use before 802.1ad.
const TAGS: [u16; 5] = [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];

/// Bytes that are read of a TCP header, without options.
const TCP_BYTES: usize = 20;
/// Bytes that are read of a UDP or SCTP header.
const PORTS_BYTES: usize = 8;

const PROTO_HOPOPT: u8 = 0;
pub(crate) const PROTO_ICMP: u8 = 1;
pub(crate) const PROTO_TCP: u8 = 6;
pub(crate) const PROTO_UDP: u8 = 17;
const PROTO_ROUTING: u8 = 43;
const PROTO_FRAGMENT: u8 = 44;
const PROTO_AH: u8 = 51;
pub(crate) const PROTO_ICMPV6: u8 = 58;
const PROTO_DSTOPTS: u8 = 60;
pub(crate) const PROTO_SCTP: u8 = 132;

/// IPv6 extension headers that the program walks.
const MAX_EXTENSIONS: usize = 4;

/// What kind of traffic a frame is, as the policy tables see it: the key field `traffic`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Traffic {
    /// IPv4 or IPv6, except neighbour discovery.
    #[default]
    Ip = 0,
    /// ARP: the addresses are the sender and target protocol addresses.
    Arp = 1,
    /// Neighbour and multicast listener discovery: `ICMPv6` types 130 to 137 and 143.
    NeighbourDiscovery = 2,
    /// Control protocols that carry no IP.
    NonIp = 3,
    /// Everything else: some host may find IP in it.
    Unread = 4,
}

/// Why the parser gave up. The first is `core.p4`'s, the others are the program's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ParserError {
    /// The frame ends inside a header.
    #[error("the frame ends inside a header")]
    PacketTooShort,
    /// More tags than the program looks behind.
    #[error("more than 2 VLAN tags")]
    TooManyTags,
    /// IPv4 with another version than 4 or a header length below 5.
    #[error("IPv4 header with a wrong version or a header length below 5")]
    Ipv4HeaderInvalid,
    /// IPv6 with another version than 6.
    #[error("IPv6 header with a wrong version")]
    Ipv6HeaderInvalid,
    /// By its own length the IP packet ends inside a header; what follows is padding, which hosts don't read.
    #[error("the IP packet ends inside a header, by its own length")]
    IpLengthInvalid,
    /// More extension headers than the program walks.
    #[error("more than 4 IPv6 extension headers")]
    Ipv6TooManyExtensionHeaders,
}

/// `packet_out_t`: what the controller puts before a frame that it sends out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketOut {
    /// 9 bits.
    pub egress_port: u16,
}

/// `packet_out_t` on the wire: 9 bits of egress port, 7 bits of padding.
pub const PACKET_OUT_BYTES: usize = 2;

impl PacketOut {
    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; PACKET_OUT_BYTES] {
        (self.egress_port << 7).to_be_bytes()
    }
}

/// `ethernet_t`; addresses in the low 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination.
    pub dst: u64,
    /// Source.
    pub src: u64,
    /// The first `EtherType`: that of the outer tag where there is one.
    pub ether_type: u16,
}

/// `vlan_t`: an 802.1Q or 802.1ad tag, without the priority bits that no table looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// 12 bits.
    pub vid: u16,
    /// The `EtherType` behind the tag.
    pub ether_type: u16,
}

/// `llc_t`: LLC, and the SNAP header where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Llc {
    /// Destination service access point.
    pub dsap: u8,
    /// Source service access point.
    pub ssap: u8,
    /// Control field.
    pub control: u8,
    /// SNAP's organization, 24 bits.
    pub oui: u32,
    /// SNAP's protocol.
    pub protocol: u16,
}

/// `arp_t`: the protocol addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Sender protocol address.
    pub sender_ip: u32,
    /// Target protocol address.
    pub target_ip: u32,
}

/// `ipv4_t`: the fields that the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// 13 bits, units of 8 bytes.
    pub fragment_offset: u16,
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
}

/// `ipv6_t`: the fields that the program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
}

/// `headers_t`: `None` is an invalid header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Only in frames from [`CPU_PORT`].
    pub packet_out: Option<PacketOut>,
    /// Ethernet.
    pub ethernet: Option<Ethernet>,
    /// The outer or only tag.
    pub vlan_outer: Option<Vlan>,
    /// The inner tag.
    pub vlan_inner: Option<Vlan>,
    /// LLC.
    pub llc: Option<Llc>,
    /// ARP.
    pub arp: Option<Arp>,
    /// IPv4.
    pub ipv4: Option<Ipv4>,
    /// IPv6.
    pub ipv6: Option<Ipv6>,
    /// How many of `extension_0` to `extension_3` are valid.
    pub extensions: u8,
    /// TCP is valid.
    pub tcp: bool,
    /// UDP or SCTP is valid.
    pub ports: bool,
    /// ICMP or `ICMPv6` is valid.
    pub icmp: bool,
}

/// `metadata_t` as far as the parser sets it; the pipeline's own part is in [`super::pipeline`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Kind of traffic; neighbour discovery is told apart later, in the ingress control.
    pub traffic: Traffic,
    /// The `EtherType` behind the tags; a length where LLC follows.
    pub ether_type: u16,
    /// A tag is present.
    pub vlan_present: bool,
    /// The outer tag's VLAN, 0 without one. The ingress control goes on to the inner tag where it is 0.
    pub vlan_id: u16,
    /// IP protocol behind the extension headers.
    pub protocol: u8,
    /// A fragment that is not the first: no ports, flags, type.
    pub fragment: bool,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// CWR ECE URG ACK PSH RST SYN FIN.
    pub tcp_flags: u8,
    /// TCP with ACK or RST.
    pub established: bool,
    /// ICMP or `ICMPv6` type.
    pub icmp_type: u8,
    /// ICMP or `ICMPv6` code.
    pub icmp_code: u8,
}

/// What the parser leaves to the ingress control. After an error the headers read so far are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Headers.
    pub hdr: Headers,
    /// Metadata.
    pub meta: Fields,
    /// `standard_metadata.parser_error`; `None` is `NoError`.
    pub error: Option<ParserError>,
}

/// Runs the parser over a frame that came in at `ingress_port`.
///
/// Frames from [`CPU_PORT`] start with a packet-out header; all others with Ethernet, without FCS.
pub fn parse(frame: &[u8], ingress_port: u16) -> Parsed {
    let mut parser = Parser::new(frame);
    let error = match ingress_port {
        CPU_PORT => parser.parse_packet_out(),
        _ => parser.parse_ethernet(),
    }
    .err();
    Parsed { hdr: parser.hdr, meta: parser.meta, error }
}

/// The protocol and the place of the transport header of a frame from a port, where the parser finds TCP, UDP or SCTP.
pub(super) fn transport(frame: &[u8]) -> Option<(u8, usize)> {
    let mut parser = Parser::new(frame);
    parser.parse_ethernet().ok()?;
    let read = match parser.hdr {
        Headers { tcp: true, .. } => TCP_BYTES,
        Headers { ports: true, .. } => PORTS_BYTES,
        _ => return None,
    };
    Some((parser.meta.protocol, frame.len() - parser.packet.0.len() - read))
}

/// The part of the frame that has not been extracted.
struct Packet<'a>(&'a [u8]);

impl<'a> Packet<'a> {
    fn lookahead<const N: usize>(&self) -> Result<&'a [u8; N], ParserError> {
        self.0.first_chunk().ok_or(ParserError::PacketTooShort)
    }

    fn extract<const N: usize>(&mut self) -> Result<&'a [u8; N], ParserError> {
        let (header, rest) = self.0.split_first_chunk().ok_or(ParserError::PacketTooShort)?;
        self.0 = rest;
        Ok(header)
    }

    /// Extracts a header of `N` fixed bytes and `variable` more, of which nobody looks at the latter.
    fn extract_varbit<const N: usize>(&mut self, variable: usize) -> Result<&'a [u8; N], ParserError> {
        let rest = self.0.get(N + variable..).ok_or(ParserError::PacketTooShort)?;
        let header = self.lookahead()?;
        self.0 = rest;
        Ok(header)
    }
}

struct Parser<'a> {
    packet: Packet<'a>,
    /// Bytes that the IP packet still has, by its own length.
    left: usize,
    hdr: Headers,
    meta: Fields,
}

type Step = Result<(), ParserError>;

impl<'a> Parser<'a> {
    fn new(frame: &'a [u8]) -> Self {
        Self {
            left: 0,
            packet: Packet(frame),
            hdr: Headers::default(),
            meta: Fields { traffic: Traffic::Unread, ..Fields::default() },
        }
    }

    fn parse_packet_out(&mut self) -> Step {
        let bytes = self.packet.extract::<PACKET_OUT_BYTES>()?;
        self.hdr.packet_out = Some(PacketOut { egress_port: u16::from_be_bytes(*bytes) >> 7 });
        Ok(())
    }

    fn parse_ethernet(&mut self) -> Step {
        let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = self.packet.extract()?;
        let ether_type = u16::from_be_bytes([t0, t1]);
        self.hdr.ethernet = Some(Ethernet {
            dst: u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]),
            src: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            ether_type,
        });
        self.meta.ether_type = ether_type;
        if TAGS.contains(&ether_type) { self.parse_vlan_outer() } else { self.parse_network() }
    }

    fn extract_vlan(&mut self) -> Result<Vlan, ParserError> {
        let &[v0, v1, t0, t1] = self.packet.extract()?;
        Ok(Vlan { vid: u16::from_be_bytes([v0, v1]) & 0x0fff, ether_type: u16::from_be_bytes([t0, t1]) })
    }

    fn parse_vlan_outer(&mut self) -> Step {
        let vlan = self.extract_vlan()?;
        self.hdr.vlan_outer = Some(vlan);
        self.meta.ether_type = vlan.ether_type;
        self.meta.vlan_present = true;
        self.meta.vlan_id = vlan.vid;
        if TAGS.contains(&vlan.ether_type) { self.parse_vlan_inner() } else { self.parse_network() }
    }

    fn parse_vlan_inner(&mut self) -> Step {
        let vlan = self.extract_vlan()?;
        self.hdr.vlan_inner = Some(vlan);
        self.meta.ether_type = vlan.ether_type;
        if TAGS.contains(&vlan.ether_type) { Err(ParserError::TooManyTags) } else { self.parse_network() }
    }

    /// What is not listed is unread.
    fn parse_network(&mut self) -> Step {
        match self.meta.ether_type {
            ETHERTYPE_ARP => self.parse_arp()?,
            ETHERTYPE_IPV4 => self.parse_ipv4()?,
            ETHERTYPE_IPV6 => self.parse_ipv6()?,
            0..0x0600 => self.parse_llc()?,
            0x0842 // Wake-on-LAN
            | 0x22ea // stream reservation, MSRP
            | 0x8035 // RARP
            | 0x8808 // MAC control: pause
            | 0x8809 // slow protocols: LACP, OAM
            | 0x8863 // PPPoE discovery
            | 0x888e // EAPOL
            | 0x8892 // PROFINET
            | 0x88a2 // ATA over Ethernet
            | 0x88b8 // GOOSE
            | 0x88b9 // GSE management
            | 0x88ba // sampled values
            | 0x88c7 // 802.11 pre-authentication
            | 0x88cc // LLDP
            | 0x88e3 // media redundancy, MRP
            | 0x88ee // E-LMI
            | 0x88f5 // MVRP
            | 0x88f6 // MMRP
            | 0x88f7 // PTP
            | 0x8902 // connectivity fault management
            | 0x8940 // edge control protocol
            | 0x9000 // loopback test
            => self.parse_non_ip(),
            _ => {}
        }
        Ok(())
    }

    fn parse_llc(&mut self) -> Step {
        let &[dsap, ssap, control, o0, o1, o2, p0, p1] = self.packet.extract()?;
        let (oui, protocol) = (u32::from_be_bytes([0, o0, o1, o2]), u16::from_be_bytes([p0, p1]));
        self.hdr.llc = Some(Llc { dsap, ssap, control, oui, protocol });
        match (dsap, ssap, control, oui, protocol) {
            (0x42, 0x42, 0x03, _, _) // spanning tree
            | (0xfe, 0xfe, 0x03, 0x82_0000..=0x83_ffff, _) // ES-IS, IS-IS
            // PVST+, UDLD, CDP, VTP, DTP
            | (0xaa, 0xaa, 0x03, 0x00_000c, 0x010b | 0x0111 | 0x2000 | 0x2003 | 0x2004)
            => self.parse_non_ip(),
            _ => {}
        }
        Ok(())
    }

    fn parse_non_ip(&mut self) {
        self.meta.traffic = Traffic::NonIp;
    }

    fn parse_arp(&mut self) -> Step {
        let bytes = self.packet.extract::<28>()?;
        let &[.., s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] = bytes;
        self.hdr.arp = Some(Arp {
            sender_ip: u32::from_be_bytes([s0, s1, s2, s3]),
            target_ip: u32::from_be_bytes([t0, t1, t2, t3]),
        });
        self.meta.traffic = Traffic::Arp;
        Ok(())
    }

    fn parse_ipv4(&mut self) -> Step {
        let &[first] = self.packet.lookahead()?;
        if first >> 4 != 4 || first & 0xf < 5 {
            return Err(ParserError::Ipv4HeaderInvalid);
        }
        let options = (usize::from(first & 0xf) - 5) * 4;
        let bytes = self.packet.extract_varbit::<20>(options)?;
        let &[_, _, l0, l1, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = bytes;
        let fragment_offset = u16::from_be_bytes([f0, f1]) & 0x1fff;
        self.hdr.ipv4 = Some(Ipv4 {
            fragment_offset,
            src: u32::from_be_bytes([s0, s1, s2, s3]),
            dst: u32::from_be_bytes([d0, d1, d2, d3]),
        });
        self.meta.traffic = Traffic::Ip;
        self.meta.protocol = protocol;
        self.left = u16::from_be_bytes([l0, l1]).into();
        self.take(20 + options)?;
        match fragment_offset {
            0 => self.parse_transport()?,
            _ => self.parse_later_fragment(),
        }
        Ok(())
    }

    fn parse_later_fragment(&mut self) {
        self.meta.fragment = true;
    }

    fn parse_ipv6(&mut self) -> Step {
        let &[first, _, _, _, l0, l1, next_header, _] = self.packet.extract()?;
        let src = u128::from_be_bytes(*self.packet.extract()?);
        let dst = u128::from_be_bytes(*self.packet.extract()?);
        self.hdr.ipv6 = Some(Ipv6 { src, dst });
        if first >> 4 != 6 {
            return Err(ParserError::Ipv6HeaderInvalid);
        }
        self.meta.traffic = Traffic::Ip;
        self.meta.protocol = next_header;
        self.left = u16::from_be_bytes([l0, l1]).into();
        self.parse_next_header(0)
    }

    /// A header of so many bytes must lie within the IP packet.
    fn take(&mut self, bytes: usize) -> Step {
        self.left = self.left.checked_sub(bytes).ok_or(ParserError::IpLengthInvalid)?;
        Ok(())
    }

    /// The `select` after the IPv6 header (`n` = 0) and that of `parse_after_extension_<n-1>`.
    fn parse_next_header(&mut self, n: usize) -> Step {
        match self.meta.protocol {
            PROTO_HOPOPT | PROTO_ROUTING | PROTO_DSTOPTS | PROTO_AH | PROTO_FRAGMENT
                if n == MAX_EXTENSIONS =>
            {
                Err(ParserError::Ipv6TooManyExtensionHeaders)
            }
            PROTO_HOPOPT | PROTO_ROUTING | PROTO_DSTOPTS => self.parse_extension(n),
            PROTO_AH => self.parse_authentication(n),
            PROTO_FRAGMENT => self.parse_fragment(n),
            _ => self.parse_transport(),
        }
    }

    fn extract_extension(&mut self, body: usize) -> Step {
        let &[next_header, _] = self.packet.extract_varbit(body)?;
        self.hdr.extensions += 1;
        self.take(2 + body)?;
        self.meta.protocol = next_header;
        Ok(())
    }

    /// Hop-by-hop, routing, destination options (RFC 8200 4.3, 4.4, 4.6): length in units of 8 bytes, less one.
    fn parse_extension(&mut self, n: usize) -> Step {
        let &[_, length] = self.packet.lookahead()?;
        self.extract_extension((usize::from(length) + 1) * 8 - 2)?;
        self.parse_next_header(n + 1)
    }

    /// Authentication (RFC 4302 2.2): length in units of 4 bytes, less two.
    fn parse_authentication(&mut self, n: usize) -> Step {
        let &[_, length] = self.packet.lookahead()?;
        self.extract_extension((usize::from(length) + 2) * 4 - 2)?;
        self.parse_next_header(n + 1)
    }

    /// Fragment (RFC 8200 4.5): eight bytes, the offset in the upper 13 bits of the second pair.
    fn parse_fragment(&mut self, n: usize) -> Step {
        let &[_, _, f0, f1] = self.packet.lookahead()?;
        self.extract_extension(6)?;
        match u16::from_be_bytes([f0, f1]) >> 3 {
            0 => self.parse_next_header(n + 1)?,
            _ => self.parse_later_fragment(),
        }
        Ok(())
    }

    fn parse_transport(&mut self) -> Step {
        match self.meta.protocol {
            PROTO_TCP => self.parse_tcp(),
            PROTO_UDP | PROTO_SCTP => self.parse_ports(),
            PROTO_ICMP | PROTO_ICMPV6 => self.parse_icmp(),
            _ => Ok(()),
        }
    }

    fn parse_tcp(&mut self) -> Step {
        let bytes = self.packet.extract::<TCP_BYTES>()?;
        let &[s0, s1, d0, d1, _, _, _, _, _, _, _, _, _, flags, ..] = bytes;
        self.hdr.tcp = true;
        self.meta.sport = u16::from_be_bytes([s0, s1]);
        self.meta.dport = u16::from_be_bytes([d0, d1]);
        self.meta.tcp_flags = flags;
        self.meta.established = flags & 0b0001_0100 != 0;
        self.take(bytes.len())
    }

    fn parse_ports(&mut self) -> Step {
        let &[s0, s1, d0, d1, ..] = self.packet.extract::<PORTS_BYTES>()?;
        self.hdr.ports = true;
        self.meta.sport = u16::from_be_bytes([s0, s1]);
        self.meta.dport = u16::from_be_bytes([d0, d1]);
        self.take(8)
    }

    fn parse_icmp(&mut self) -> Step {
        let &[icmp_type, icmp_code, _, _] = self.packet.extract()?;
        self.hdr.icmp = true;
        self.meta.icmp_type = icmp_type;
        self.meta.icmp_code = icmp_code;
        self.take(4)
    }
}

#[cfg(test)]
mod tests;
