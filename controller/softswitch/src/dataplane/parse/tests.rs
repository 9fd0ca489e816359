use proptest::prelude::*;

use super::super::frames::{ACK, Frame, RST, SYN, v4, v6};
use super::*;

const A4: u32 = 0x0a00_0001;
const B4: u32 = 0x0a00_0002;

fn ipv4() -> Frame {
    Frame::new().ipv4(v4("10.0.0.1"), v4("10.0.0.2"))
}

fn ipv6() -> Frame {
    Frame::new().ipv6(v6("fd00::1"), v6("fd00::2"))
}

fn parsed(frame: Frame) -> Parsed {
    let parsed = parse(&frame.build(), 1);
    assert_eq!(parsed.error, None);
    parsed
}

fn fields(frame: Frame) -> Fields {
    parsed(frame).meta
}

#[test]
fn ethernet() {
    let Parsed { hdr, meta, .. } = parsed(Frame::new().ether_type(0x88cc).bytes(&[1, 2, 3]));
    let ethernet = Ethernet { dst: 0x0200_0000_000b, src: 0x0200_0000_000a, ether_type: 0x88cc };
    assert_eq!(hdr, Headers { ethernet: Some(ethernet), ..Headers::default() });
    assert_eq!(meta, Fields { traffic: Traffic::NonIp, ether_type: 0x88cc, ..Fields::default() });
}

#[test]
fn tags() {
    for tpid in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
        let Parsed { hdr, meta, .. } =
            parsed(Frame::new().tag(tpid, 100).ipv4(v4("10.0.0.1"), v4("10.0.0.2")));
        assert_eq!(hdr.vlan_outer, Some(Vlan { vid: 100, ether_type: 0x0800 }));
        assert_eq!(hdr.vlan_inner, None);
        assert_eq!((meta.vlan_present, meta.vlan_id, meta.traffic), (true, 100, Traffic::Ip));

        let Parsed { hdr, meta, .. } = parsed(Frame::new().tag(tpid, 4095).vlan(7).arp([0; 4], [0; 4]));
        assert_eq!(hdr.vlan_inner, Some(Vlan { vid: 7, ether_type: 0x0806 }));
        assert_eq!((meta.vlan_present, meta.vlan_id, meta.traffic), (true, 4095, Traffic::Arp));
    }
}

#[test]
fn a_third_tag_is_an_error() {
    for tpid in [0x8100, 0x88a8, 0x9100, 0x9200, 0x9300] {
        let frame =
            Frame::new().vlan(0).tag(tpid, 0).tag(tpid, 0).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2);
        let Parsed { hdr, meta, error } = parse(&frame.build(), 1);
        assert_eq!(error, Some(ParserError::TooManyTags), "{tpid:#x}");
        assert_eq!(hdr.vlan_inner, Some(Vlan { vid: 0, ether_type: tpid }));
        assert_eq!((hdr.ipv4, meta.traffic), (None, Traffic::Unread));
    }
}

#[test]
fn what_is_not_listed_is_unread() {
    let traffic = |frame: Frame| fields(frame.bytes(&[0; 46])).traffic;
    for (ether_type, wanted) in [
        (0x88cc, Traffic::NonIp),
        (0x8809, Traffic::NonIp),
        (0x8847, Traffic::Unread),
        (0x8864, Traffic::Unread),
        (0x88e5, Traffic::Unread),
        (0x88e7, Traffic::Unread),
        (0x4305, Traffic::Unread),
        (0x0600, Traffic::Unread),
        (0xffff, Traffic::Unread),
    ] {
        for frame in [Frame::new(), Frame::new().vlan(5), Frame::new().vlan(0).tag(0x88a8, 7)] {
            assert_eq!(traffic(frame.ether_type(ether_type)), wanted, "{ether_type:#x}");
        }
    }
}

#[test]
fn llc() {
    let traffic = |length: u16, header: [u8; 8]| {
        let Parsed { hdr, meta, .. } = parsed(Frame::new().ether_type(length).bytes(&header));
        assert_eq!(hdr.llc.map(|llc| (llc.dsap, llc.ssap)), Some((header[0], header[1])));
        assert_eq!((hdr.ipv4, hdr.arp), (None, None));
        meta.traffic
    };
    for length in [0, 3, 46, 1500, 0x05ff] {
        for (header, wanted) in [
            ([0x42, 0x42, 3, 0, 0, 0, 0, 0], Traffic::NonIp),
            ([0x42, 0x43, 3, 0, 0, 0, 0, 0], Traffic::Unread),
            ([0xfe, 0xfe, 3, 0x83, 1, 2, 3, 4], Traffic::NonIp),
            ([0xfe, 0xfe, 3, 0xcc, 0x45, 0, 0, 0], Traffic::Unread),
            ([0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0], Traffic::NonIp),
            ([0xaa, 0xaa, 3, 0, 0, 0x0c, 0x01, 4], Traffic::Unread),
            ([0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0], Traffic::Unread),
            ([0xaa, 0xaa, 3, 0, 0, 0xf8, 0x86, 0xdd], Traffic::Unread),
            ([6, 6, 3, 0x45, 0, 0, 0, 0], Traffic::Unread),
        ] {
            assert_eq!(traffic(length, header), wanted, "{header:x?}");
        }
    }
}

#[test]
fn priority_tag_is_vlan_0() {
    let meta = fields(Frame::new().vlan(0).ether_type(0x88cc));
    assert_eq!((meta.vlan_present, meta.vlan_id), (true, 0));
}

#[test]
fn arp() {
    let Parsed { hdr, meta, .. } = parsed(Frame::new().arp(v4("10.0.0.1"), v4("10.0.0.2")));
    assert_eq!(hdr.arp, Some(Arp { sender_ip: A4, target_ip: B4 }));
    assert_eq!(meta.traffic, Traffic::Arp);
}

#[test]
fn tcp() {
    for (flags, established) in [
        (0, false),
        (SYN, false),
        (SYN | ACK, true),
        (ACK, true),
        (RST, true),
        (RST | ACK, true),
        (0b1110_1011, false),
        (0xff, true),
    ] {
        let Parsed { hdr, meta, .. } = parsed(ipv4().tcp(40_000, 443, flags));
        assert_eq!(hdr.ipv4, Some(Ipv4 { fragment_offset: 0, src: A4, dst: B4 }));
        assert!(hdr.tcp && !hdr.ports && !hdr.icmp);
        let wanted = Fields {
            traffic: Traffic::Ip,
            ether_type: 0x0800,
            protocol: 6,
            sport: 40_000,
            dport: 443,
            tcp_flags: flags,
            established,
            ..Fields::default()
        };
        assert_eq!(meta, wanted);
    }
}

#[test]
fn udp_and_sctp() {
    for (frame, protocol) in [(ipv4().udp(53, 1024), 17), (ipv6().sctp(53, 1024), 132)] {
        let Parsed { hdr, meta, .. } = parsed(frame);
        assert!(hdr.ports && !hdr.tcp && !hdr.icmp);
        assert_eq!((meta.protocol, meta.sport, meta.dport), (protocol, 53, 1024));
        assert_eq!((meta.tcp_flags, meta.established), (0, false));
    }
}

#[test]
fn icmp() {
    // The program reads ICMP by its protocol number, over either IP version.
    for (frame, protocol) in
        [(ipv4().icmp(8, 1), 1), (ipv6().icmpv6(8, 1), 58), (ipv4().icmpv6(8, 1), 58), (ipv6().icmp(8, 1), 1)]
    {
        let Parsed { hdr, meta, .. } = parsed(frame);
        assert!(hdr.icmp && !hdr.tcp && !hdr.ports);
        assert_eq!((meta.protocol, meta.icmp_type, meta.icmp_code), (protocol, 8, 1));
        assert_eq!(meta.traffic, Traffic::Ip, "neighbour discovery is told apart in the ingress control");
    }
}

#[test]
fn other_protocols_have_no_ports() {
    for protocol in [2, 47, 50, 59, 89, 255] {
        let Parsed { hdr, meta, .. } = parsed(ipv4().protocol(protocol).bytes(&[0xff; 20]));
        assert!(!hdr.tcp && !hdr.ports && !hdr.icmp);
        assert_eq!((meta.protocol, meta.sport, meta.dport), (protocol, 0, 0));
    }
    // Extension headers exist in IPv6 only.
    for protocol in [0, 43, 44, 51, 60] {
        let Parsed { hdr, meta, .. } = parsed(ipv4().protocol(protocol));
        assert_eq!((hdr.extensions, meta.protocol), (0, protocol));
    }
}

#[test]
fn ipv4_options() {
    for options in 1..=10 {
        let frame = Frame::new().ipv4_with(v4("10.0.0.1"), v4("10.0.0.2"), options, 0).udp(1, 2);
        let meta = fields(frame);
        assert_eq!((meta.protocol, meta.sport, meta.dport), (17, 1, 2), "{options}");
    }
}

#[test]
fn ipv4_fragments() {
    let fragment = |offset| Frame::new().ipv4_with(v4("10.0.0.1"), v4("10.0.0.2"), 0, offset).udp(1, 2);
    // More fragments, offset 0: the first one.
    let meta = fields(fragment(0x2000));
    assert_eq!((meta.fragment, meta.sport), (false, 1));
    for offset in [1, 2, 0x1fff, 0x3fff] {
        let Parsed { hdr, meta, .. } = parsed(fragment(offset));
        assert_eq!(hdr.ipv4.unwrap().fragment_offset, offset & 0x1fff);
        assert!(!hdr.ports);
        assert_eq!((meta.fragment, meta.protocol, meta.sport, meta.dport), (true, 17, 0, 0));
    }
    // A later fragment may be shorter than a transport header.
    assert!(fields(Frame::new().ipv4_with(v4("10.0.0.1"), v4("10.0.0.2"), 0, 9).protocol(6)).fragment);
}

#[test]
fn ipv4_header_invalid() {
    for first in [0x44, 0x40, 0x55, 0x65, 0x35, 0x05, 0xf5, 0x00, 0xff] {
        let frame = Frame::new().ether_type(0x0800).bytes(&[first]).bytes(&[0; 60]).build();
        let Parsed { hdr, meta, error } = parse(&frame, 1);
        assert_eq!(error, Some(ParserError::Ipv4HeaderInvalid), "{first:#x}");
        assert_eq!((hdr.ipv4, meta.traffic), (None, Traffic::Unread));
    }
}

/// Ports, flags and types that lie behind the packet's own end are padding, whatever it says.
#[test]
fn headers_lie_within_the_packet() {
    for (frame, header) in [
        (ipv4().tcp(1, 2, ACK), 20),
        (ipv4().udp(1, 2), 8),
        (ipv4().icmp(3, 4), 4),
        (Frame::new().ipv4_with([1; 4], [2; 4], 3, 0x2000).tcp(1, 2, ACK), 20),
        (ipv6().tcp(1, 2, ACK), 20),
        (ipv6().hop_by_hop().sctp(1, 2), 8),
        (ipv6().fragment(0).extension(60, 1, 16).tcp(1, 2, ACK), 20),
        (ipv6().extension(51, 4, 24).icmpv6(2, 0), 4),
    ] {
        let whole = frame.clone().build();
        assert_eq!(parse(&whole, 1).error, None);
        let (field, own) =
            if whole[12..14] == [0x86, 0xdd] { (18, whole.len() - 54) } else { (16, whole.len() - 14) };
        for missing in 1..=own {
            let mut cut = whole.clone();
            cut[field..field + 2].copy_from_slice(&u16::try_from(own - missing).unwrap().to_be_bytes());
            assert_eq!(parse(&cut, 1).error, Some(ParserError::IpLengthInvalid), "{frame:?} less {missing}");
        }
        assert!(own >= header);
    }
}

#[test]
fn ipv6_header_invalid() {
    for first in [0x40, 0x50, 0x70, 0x00, 0xf0] {
        let frame = Frame::new().ether_type(0x86dd).bytes(&[first]).bytes(&[0; 60]).build();
        assert_eq!(parse(&frame, 1).error, Some(ParserError::Ipv6HeaderInvalid), "{first:#x}");
    }
}

#[test]
fn ipv6_extension_headers() {
    for kind in [0, 43, 60] {
        for length in [0, 1, 7, 255] {
            let frame = ipv6().extension(kind, length, (usize::from(length) + 1) * 8).tcp(1, 2, SYN);
            let Parsed { hdr, meta, .. } = parsed(frame);
            assert_eq!((hdr.extensions, meta.protocol, meta.sport, meta.dport), (1, 6, 1, 2));
        }
    }
    for length in [0, 1, 4, 255] {
        let frame = ipv6().extension(51, length, (usize::from(length) + 2) * 4).udp(1, 2);
        let Parsed { hdr, meta, .. } = parsed(frame);
        assert_eq!((hdr.extensions, meta.protocol, meta.sport, meta.dport), (1, 17, 1, 2));
    }
    // An unknown next header is the protocol; what is in it is not looked at.
    let Parsed { hdr, meta, .. } = parsed(ipv6().hop_by_hop().protocol(135));
    assert_eq!((hdr.extensions, meta.protocol), (1, 135));
    // No next header.
    assert_eq!(fields(ipv6()).protocol, 59);
}

#[test]
fn four_extension_headers_and_not_five() {
    let four = || ipv6().hop_by_hop().extension(43, 0, 8).extension(60, 1, 16).extension(51, 1, 12);
    let Parsed { hdr, meta, .. } = parsed(four().tcp(1, 2, ACK));
    assert_eq!((hdr.extensions, meta.protocol, meta.dport), (4, 6, 2));
    for (kind, bytes) in [(0, 8), (43, 8), (44, 8), (51, 8), (60, 8)] {
        let frame = four().extension(kind, 0, bytes).udp(1, 2).build();
        let Parsed { hdr, error, .. } = parse(&frame, 1);
        assert_eq!(error, Some(ParserError::Ipv6TooManyExtensionHeaders), "{kind}");
        assert_eq!(hdr.extensions, 4);
    }
}

#[test]
fn ipv6_fragments() {
    let Parsed { hdr, meta, .. } = parsed(ipv6().fragment(0).tcp(1, 2, SYN));
    assert_eq!((hdr.extensions, meta.fragment, meta.protocol, meta.dport), (1, false, 6, 2));
    for offset in [1, 0x1fff] {
        let Parsed { hdr, meta, .. } = parsed(ipv6().hop_by_hop().fragment(offset).tcp(1, 2, SYN));
        assert_eq!((hdr.extensions, meta.fragment, meta.protocol, meta.dport), (2, true, 6, 0));
    }
    // What follows a later fragment's header is payload, also where it claims to be an extension header.
    let Parsed { hdr, meta, .. } = parsed(ipv6().fragment(5).extension(60, 255, 8));
    assert_eq!((hdr.extensions, meta.fragment, meta.protocol), (1, true, 60));
}

#[test]
fn packet_out() {
    for egress_port in [0, 1, 509, 511] {
        let frame = [&PacketOut { egress_port }.to_bytes()[..], &Frame::new().build()].concat();
        let Parsed { hdr, error, .. } = parse(&frame, CPU_PORT);
        assert_eq!(error, None);
        assert_eq!(hdr, Headers { packet_out: Some(PacketOut { egress_port }), ..Headers::default() });
    }
    assert_eq!(parse(&[0], CPU_PORT).error, Some(ParserError::PacketTooShort));
    assert_eq!(parse(&[], CPU_PORT).hdr, Headers::default());
}

/// Cut anywhere inside its headers, a frame is too short; whole, or cut behind them, it is not.
#[test]
fn truncation() {
    for (name, frame, headers) in [
        ("ethernet", Frame::new().ether_type(0x88cc), 14),
        ("vlan", Frame::new().vlan(1).ether_type(0x88cc), 18),
        ("qinq", Frame::new().vlan(1).vlan(2).ether_type(0x88cc), 22),
        ("llc", Frame::new().ether_type(46).bytes(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]), 22),
        ("arp", Frame::new().arp([1; 4], [2; 4]), 42),
        ("ipv4", ipv4().protocol(47), 34),
        ("options", Frame::new().ipv4_with([1; 4], [2; 4], 10, 0).protocol(47), 74),
        ("tcp", ipv4().tcp(1, 2, ACK), 54),
        ("udp", ipv4().udp(1, 2), 42),
        ("icmp", ipv4().icmp(8, 0), 38),
        ("ipv6", ipv6(), 54),
        ("extensions", ipv6().hop_by_hop().extension(51, 4, 24).tcp(1, 2, ACK), 106),
        ("first fragment", ipv6().fragment(0).udp(1, 2), 70),
        ("later fragment", ipv6().fragment(1).protocol(17), 62),
        ("later fragment, IPv4", Frame::new().ipv4_with([1; 4], [2; 4], 0, 1).protocol(6), 34),
    ] {
        let frame = frame.bytes(&[0x55; 3]).build();
        assert_eq!(frame.len(), headers + 3, "{name}");
        for length in 0..headers {
            assert_eq!(
                parse(&frame[..length], 1).error,
                Some(ParserError::PacketTooShort),
                "{name} cut to {length} bytes"
            );
        }
        for length in headers..=frame.len() {
            assert_eq!(parse(&frame[..length], 1).error, None, "{name} cut to {length} bytes");
        }
    }
}

/// Bytes that lead the parser deep more often than random ones would.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let ether_type =
        prop::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x88cc, 0x9100, 46, 0x8847]);
    let byte = prop_oneof![
        Just(0_u8),
        Just(0x45),
        Just(0x60),
        prop::sample::select(vec![6_u8, 17, 1, 58, 132, 43, 44, 51, 60]),
        any::<u8>()
    ];
    (prop::collection::vec(ether_type, 1..4), prop::collection::vec(byte, 0..200)).prop_map(
        |(types, bytes)| {
            let mut frame = vec![2; 12];
            for ether_type in types {
                frame.extend(ether_type.to_be_bytes());
                frame.extend([0x20, 0x64]);
            }
            // The last type is followed by its header and not by a tag's number.
            frame.truncate(frame.len() - 2);
            frame.extend(bytes);
            frame
        },
    )
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), port in 0_u16..=511) {
        parse(&bytes, port);
    }

    #[test]
    fn hostile_bytes_keep_the_invariants(bytes in hostile()) {
        let Parsed { hdr, meta, error } = parse(&bytes, 1);
        prop_assert!(hdr.extensions <= 4);
        prop_assert!(usize::from(hdr.tcp) + usize::from(hdr.ports) + usize::from(hdr.icmp) <= 1);
        prop_assert!(!(meta.fragment && (hdr.tcp || hdr.ports || hdr.icmp)));
        if error.is_none() {
            let ip = hdr.ipv4.is_some() || hdr.ipv6.is_some();
            prop_assert_eq!(meta.traffic == Traffic::Ip, ip);
            prop_assert_eq!(meta.traffic == Traffic::Arp, hdr.arp.is_some());
        }
        // More bytes behind a good frame change nothing.
        if error.is_none() {
            let mut longer = bytes.clone();
            longer.extend([0xaa; 9]);
            let again = parse(&longer, 1);
            prop_assert_eq!(again.meta, meta);
        }
    }
}
