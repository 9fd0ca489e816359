//! Lines of `outplane log --output json`, which `trace --batch` takes as they are.

use outplane_intent::described::{Mac, PacketSpec};
use serde::Deserialize;

/// A packet, and the switch that it is asked of; none: every one.
pub(super) struct Asked {
    pub(super) spec: PacketSpec,
    pub(super) switch: Option<String>,
}

/// What is read of a line about a packet. The segment is not: port and tags say it.
#[derive(Deserialize)]
struct Logged {
    switch: String,
    dst_mac: Option<Mac>,
    packet: PacketSpec,
}

/// A line about packets that have none of their own.
#[derive(Deserialize)]
struct LeftOut {
    #[serde(rename = "left_out")]
    _packets: u64,
}

/// Nothing where the line is none of a log; `Ok(None)` where it tells of no packet.
pub(super) fn read(line: &[u8]) -> Option<Result<Option<Asked>, serde_json::Error>> {
    #[derive(Deserialize)]
    struct Form {
        packet: Option<serde::de::IgnoredAny>,
        left_out: Option<serde::de::IgnoredAny>,
    }
    let form: Form = serde_json::from_slice(line).ok()?;
    if form.packet.is_some() {
        return Some(serde_json::from_slice(line).map(|Logged { switch, dst_mac, packet }| {
            let dst_mac = packet.dst_mac.or(dst_mac);
            Some(Asked { spec: PacketSpec { dst_mac, ..packet }, switch: Some(switch) })
        }));
    }
    form.left_out.is_some().then(|| serde_json::from_slice(line).map(|LeftOut { .. }| None))
}

#[cfg(test)]
mod tests {
    use outplane_intent::described::sentence;
    use outplane_intent::model::Intent;
    use outplane_intent::packet::{Kind, L4, Llc, Packet, TPIDS};
    use outplane_intent::testing;
    use outplane_intent::testing::frame::{Extension, Layout, frame};
    use outplane_rmdp_node::packets::{Resolved, frame as line};

    use super::*;
    use crate::commands::log::Shown;

    /// A packet by way of its frame, a line of the log, and what a batch reads of it.
    fn through(packet: &Packet, layout: &Layout) -> Packet {
        let bytes = frame(packet, layout);
        let resolved = Resolved::default();
        let line = line::line("core", 7, resolved, Some(3), Some("office".into()), &bytes, bytes.len());
        let json = serde_json::to_string(&Shown::new(Some("c1"), line)).expect("it is JSON");
        let asked =
            read(json.as_bytes()).expect("a line of a log").unwrap_or_else(|error| panic!("{error}: {json}"));
        let Asked { spec, switch } = asked.expect("a packet");
        assert_eq!(switch.as_deref(), Some("core"));
        assert_eq!(spec.dst_mac, Some(Mac(layout.destination)));
        let packets = spec.packets(&Intent::default(), std::iter::once("core"));
        let mut packets = packets.unwrap_or_else(|error| panic!("{error}: {json}"));
        packets.pop().expect("one")
    }

    /// Whatever the log can tell, a batch takes as it is, and it is the same packet.
    #[test]
    fn lines_of_every_kind_of_frame_are_packets() {
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let (a6, b6) = ("fd00::1".parse().expect("one"), "fd00::2".parse().expect("one"));
        let icmp_of_the_other_version = |src, dst, protocol| {
            let l4 = L4::Icmp { icmp_type: 8, code: 0 };
            Packet::new(Kind::Ip { src, dst, protocol, fragment: false, l4 })
        };
        let mut packets = vec![
            Packet::tcp(a, 1, b, 80, 0),
            Packet::tcp(a6, 1, b6, 80, 0xff).in_vlan(7),
            Packet::icmp(a, b, 3, 1),
            Packet::icmp(a6, b6, 135, 0),
            icmp_of_the_other_version(a, b, 58),
            icmp_of_the_other_version(a6, b6, 1),
            Packet::ip(a, b, 0),
            Packet::ip(a6, b6, 59),
            Packet::later_fragment(a, b, 1),
            Packet::later_fragment(a6, b6, 17),
            Packet::arp([10, 0, 0, 1].into(), [10, 0, 0, 2].into()).in_vlan(0),
            Packet::other(0x0600),
            Packet::other(0x8847).tagged(0x88a8, 4095),
            Packet::new(Kind::Llc(Llc { dsap: 0x42, ssap: 0x42, control: 3, oui: [0, 0, 1], protocol: 2 })),
            Packet::new(Kind::Llc(Llc::snap([0, 0, 0x0c], 0x2000))).in_vlan(20),
            Packet::new(Kind::Llc(Llc::snap([0; 3], 0x0800))).in_vlan(0).tagged(0x9300, 9),
        ];
        packets.extend(TPIDS.map(|tpid| Packet::udp(a, 1, b, 53).tagged(tpid, 9).tagged(0x8100, 0)));
        for seed in 0..40 {
            let intent = testing::random_intent(seed);
            packets.extend(testing::random_packets(seed, &intent, 25));
        }
        let first = Layout { first_fragment: true, ..Layout::default() };
        let options = Layout { ipv4_options: vec![1; 8], ..Layout::default() };
        let headers = vec![Extension::HopByHop(1), Extension::Authentication, Extension::AtomicFragment];
        let extended = Layout { ipv6_extensions: headers, ..Layout::default() };
        for packet in packets.iter().filter(|packet| !packet.is_overtagged()) {
            for layout in [Layout::default(), first.clone(), options.clone(), extended.clone()] {
                if layout.first_fragment && packet.is_later_fragment() {
                    continue;
                }
                let read = through(packet, &layout);
                let meant = Packet { ingress: read.ingress.clone(), ..packet.clone() };
                assert_eq!(sentence(&read), sentence(&meant));
                assert_eq!((read.traffic(), read.vlan_id()), (meant.traffic(), meant.vlan_id()));
            }
        }
    }

    #[test]
    fn other_lines() {
        assert!(read(br#"{"src":"10.0.0.1"}"#).is_none() && read(b"x").is_none());
        assert!(matches!(read(br#"{"node":"c1","at":"T","left_out":7}"#), Some(Ok(None))));
        for wrong in [r#"{"packet":{}}"#, r#"{"switch":"core","packet":{"ether_type":38}}"#] {
            assert!(matches!(read(wrong.as_bytes()), Some(Err(_))), "{wrong}");
        }
    }
}
