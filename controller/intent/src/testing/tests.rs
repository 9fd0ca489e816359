//! The generators themselves: what they make is valid, and everything occurs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::frame::{Extension, Layout, frame};
use super::universe::now;
use super::{
    config, intents, large_filter, large_pods, packets, packets_for, random_intent, random_packets, to_yaml,
};
use crate::evaluate::{Evaluator, Verdict};
use crate::model::{FilterAction, FilterTier, Intent, ObjectName, TrafficMatch};
use crate::packet::{ICMP, Kind, L4, Packet, SCTP, TCP, Traffic, UDP};
use crate::reader::parse;

proptest! {
    #![proptest_config(config(500))]

    /// The reader accepts what is generated, and reads the same intent from it.
    #[test]
    fn intents_are_valid(intent in intents()) {
        let text = to_yaml(&intent);
        match parse([("intent.yaml", text.as_str())]) {
            Ok(loaded) => prop_assert_eq!(loaded.intent, intent),
            Err(errors) => prop_assert!(false, "{:#?}\n{}", errors, text),
        }
    }

    /// Whoever a verdict names exists, and names are there exactly when the stages say so.
    #[test]
    fn verdicts_name_what_is_there((intent, packets) in super::cases(20)) {
        let evaluator = Evaluator::new(&intent);
        for packet in packets {
            for switch in [None, Some("s1"), Some("s2")] {
                let verdict = evaluator.evaluate(switch, now(), &packet);
                prop_assert!(names_exist(&intent, &verdict), "{:#?}", verdict);
                let unasked = packet.is_overtagged() || verdict.spoofed().is_some();
                prop_assert!(verdict.allow || verdict.policy.is_some() || unasked);
                prop_assert_eq!(verdict.policy.is_some(), verdict.rule.is_some());
                prop_assert!(!(verdict.allow && verdict.log));
            }
        }
    }

    /// Without policies everything passes, wherever it enters, unless its source address may not enter there.
    #[test]
    fn no_policy_no_drop((intent, packets) in super::cases(20)) {
        let intent = Intent {
            filters: std::collections::BTreeMap::default(),
            network_policies: std::collections::BTreeMap::default(),
            cluster_policies: std::collections::BTreeMap::default(),
            ..intent
        };
        let evaluator = Evaluator::new(&intent);
        for packet in packets {
            let verdict = evaluator.evaluate(None, now(), &packet);
            prop_assert!(verdict.policy.is_none(), "{:#?}", verdict);
            prop_assert_eq!(verdict.allow, !packet.is_overtagged() && verdict.spoofed().is_none());
        }
    }

    /// A frame says what its packet says, and its checksums are right.
    #[test]
    fn frames_say_what_packets_say(packet in packets(), layout in layouts()) {
        check_frame(&packet, &layout);
    }
}

fn names_exist(intent: &Intent, verdict: &Verdict) -> bool {
    let (Some(policy), Some(rule)) = (&verdict.policy, &verdict.rule) else { return true };
    let numbered = |count: usize, direction: &str| (0..count).any(|n| *rule == format!("{direction}[{n}]"));
    match policy.split('/').collect::<Vec<_>>()[..] {
        ["FilterPolicy", name] => {
            let policy = &intent.filters[name];
            let named = policy.rules.iter().any(|each| each.name == *rule);
            named || (rule == "default" && policy.default.is_some())
        }
        ["NetworkPolicy", namespace, name] => {
            let name = ObjectName { namespace: namespace.to_owned(), name: name.to_owned() };
            let policy = &intent.network_policies[&name];
            let count = |rules: &Option<Vec<_>>| rules.as_ref().map_or(0, Vec::len);
            rule == "isolation"
                || rule == "local-node"
                || rule == "reply"
                || rule == "related"
                || numbered(count(&policy.ingress), "ingress")
                || numbered(count(&policy.egress), "egress")
        }
        ["ClusterNetworkPolicy", name] => {
            let policy = &intent.cluster_policies[name];
            rule == "reply"
                || rule == "related"
                || numbered(policy.ingress.len(), "ingress")
                || numbered(policy.egress.len(), "egress")
                || policy.ingress.iter().chain(&policy.egress).any(|each| each.name.as_ref() == Some(rule))
        }
        _ => false,
    }
}

/// What a test of the compiler relies on: that all this comes up.
#[test]
fn everything_occurs() {
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let intent = random_intent(seed);
        let evaluator = Evaluator::new(&intent);
        for packet in random_packets(seed, &intent, 60) {
            let verdict =
                evaluator.evaluate(intent.switches.keys().next().map(String::as_str), now(), &packet);
            note(&intent, &packet, &verdict, &mut seen);
        }
    }
    let expected = [
        "drop by admin filter",
        "drop by baseline filter",
        "drop by ClusterNetworkPolicy",
        "drop by NetworkPolicy",
        "permit by admin filter",
        "permit by baseline filter",
        "permit by ClusterNetworkPolicy",
        "permit by NetworkPolicy",
        "permit by nobody",
        "default",
        "isolation",
        "reply",
        "mirrored filter rule",
        "egress-reply",
        "ingress-reply",
        "filter-admin pass",
        "filter-baseline pass",
        "logged",
        "limited",
        "in a segment",
        "in no segment",
        "fragment dropped",
        "fragment permitted",
        "Arp dropped",
        "Arp permitted",
        "NeighborDiscovery dropped",
        "NeighborDiscovery permitted",
        "NonIp dropped",
        "NonIp permitted",
        "Unread dropped",
        "Unread permitted",
        "related",
        "filter rule with an error",
        "parser deny",
        "source deny",
        "IPv6",
        "to itself",
        "SCTP permitted by policy",
    ];
    let missing: Vec<_> = expected.into_iter().filter(|each| !seen.contains(*each)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

/// No packet gets through in a frame that the switch cannot read where it would not get through by itself, unless a
/// rule names such frames.
#[test]
fn unread_frames_are_no_way_around() {
    let (mut passed, mut checked) = (0, 0);
    for seed in 0..600 {
        let mut intent = random_intent(seed);
        // Rules that name such frames are about them, whatever is inside; one that passes leaves the tier with them.
        let names =
            |traffic: &TrafficMatch| matches!(traffic, TrafficMatch::NonIp | TrafficMatch::EtherType(_));
        for policy in intent.filters.values_mut() {
            policy.rules.retain(|rule| !rule.traffic.iter().any(names));
        }
        let evaluator = Evaluator::new(&intent);
        let switch = intent.switches.keys().next().map(String::as_str);
        for port in 1..=4 {
            let unread = Packet::other(0x8847).at_port(port);
            if !evaluator.evaluate(switch, now(), &unread).allow {
                continue;
            }
            passed += 1;
            for packet in random_packets(seed, &intent, 40) {
                let inside = Packet { ingress: unread.ingress.clone(), tags: Vec::new(), kind: packet.kind };
                if matches!(inside.traffic(), Traffic::Ip | Traffic::Arp | Traffic::NeighborDiscovery) {
                    let verdict = evaluator.evaluate(switch, now(), &inside);
                    // Where a frame says no source, nobody can say that it may not enter.
                    assert!(
                        verdict.allow || verdict.spoofed().is_some(),
                        "seed {seed}, {inside:?}: {:?}",
                        verdict.steps
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(passed > 50 && checked > 1000, "{passed} passed, {checked} packets checked");
}

fn note(intent: &Intent, packet: &Packet, verdict: &Verdict, seen: &mut BTreeSet<String>) {
    let mut note = |what: &str| {
        seen.insert(what.to_owned());
    };
    let policy = verdict.policy.as_deref();
    let by = match policy.and_then(|policy| policy.split_once('/')) {
        None => "nobody",
        Some(("FilterPolicy", name)) => match intent.filters[name].tier {
            FilterTier::Admin => "admin filter",
            FilterTier::Baseline => "baseline filter",
        },
        Some((kind, _)) => kind,
    };
    note(&format!("{} by {by}", if verdict.allow { "permit" } else { "drop" }));
    note(verdict.rule.as_deref().unwrap_or_default());
    for step in &verdict.steps {
        let stage = serde_json::to_value(step.stage).expect("JSON");
        let outcome = serde_json::to_value(step.outcome).expect("JSON");
        let (stage, outcome) = (stage.as_str().expect("text"), outcome.as_str().expect("text"));
        note(&format!("{stage} {outcome}"));
        note(stage);
        if step.text.ends_with("as a reply to what it allows") {
            note("mirrored filter rule");
        }
        if step.text.ends_with("as an ICMP error about what it allows") {
            note("filter rule with an error");
        }
    }
    if verdict.log {
        note("logged");
    }
    if verdict.rate_limit.is_some() {
        note("limited");
    }
    note(if verdict.segment.is_some() { "in a segment" } else { "in no segment" });
    let done = if verdict.allow { "permitted" } else { "dropped" };
    if packet.is_later_fragment() {
        note(&format!("fragment {done}"));
    }
    note(&format!("{:?} {done}", packet.traffic()));
    if let Some((src, dst)) = packet.addresses() {
        if src.is_ipv6() {
            note("IPv6");
        }
        if src == dst {
            note("to itself");
        }
    }
    if packet.protocol() == Some(SCTP) && verdict.allow && policy.is_some() {
        note("SCTP permitted by policy");
    }
}

#[test]
fn seeds_say_everything() {
    let intent = random_intent(7);
    assert_eq!(intent, random_intent(7));
    assert_ne!(intent, random_intent(8));
    assert_eq!(random_packets(1, &intent, 50), random_packets(1, &intent, 50));
    assert_ne!(random_packets(1, &intent, 50), random_packets(2, &intent, 50));
    assert_eq!(random_packets(1, &intent, 50).len(), 50);
    assert_eq!(random_packets(1, &Intent::default(), 5).len(), 5);
}

#[test]
fn packets_for_an_intent_are_about_it() {
    let intent = large_pods(4, 4);
    let mine: BTreeSet<IpAddr> = intent.pods.values().flat_map(|pod| pod.addresses.clone()).collect();
    let packets = random_packets(3, &intent, 200);
    let hits = packets
        .iter()
        .filter_map(Packet::addresses)
        .filter(|(src, dst)| mine.contains(src) && mine.contains(dst));
    assert!(hits.count() > 50);
    let strategy = packets_for(&intent);
    drop(intent);
    proptest!(config(100), |(packet in strategy)| {
        prop_assert!(packet.addresses().is_none_or(|(src, dst)| src.is_ipv4() == dst.is_ipv4()));
    });
}

#[test]
fn large_intents() {
    let intent = large_filter(1000);
    let policy = &intent.filters["large"];
    let distinct: BTreeSet<_> =
        policy.rules.iter().map(|rule| format!("{:?} {:?}", rule.from, rule.to)).collect();
    assert_eq!((policy.rules.len(), distinct.len()), (1000, 1000));
    assert!(policy.rules.iter().any(|rule| rule.action == FilterAction::Deny));
    let read = parse([("large.yaml", to_yaml(&intent))]).expect("valid");
    assert_eq!(read.intent, intent);

    let intent = large_pods(500, 300);
    assert_eq!((intent.pods.len(), intent.network_policies.len()), (500, 300));
    let read = parse([("large.yaml", to_yaml(&intent))]).expect("valid");
    assert_eq!(read.intent, intent);
    let evaluator = Evaluator::new(&intent);
    let address =
        |n: usize| IpAddr::from([10, 0, u8::try_from(n / 256).unwrap(), u8::try_from(n % 256).unwrap()]);
    let passes = |from: usize, to: usize, port: u16| {
        evaluator.evaluate(None, now(), &Packet::tcp(address(from), 9, address(to), port, 2)).allow
    };
    assert!(passes(1, 0, 80) && !passes(1, 0, 8080) && !passes(2, 0, 80));
    assert!(passes(300, 299, 8080) && !passes(300, 299, 80));
    assert!(passes(2, 300, 80));
}

// --- Frames

fn layouts() -> impl Strategy<Value = Layout> {
    let extension = prop_oneof![
        (0..3_u8).prop_map(Extension::HopByHop),
        (0..3_u8).prop_map(Extension::Routing),
        (0..3_u8).prop_map(Extension::DestinationOptions),
        Just(Extension::Authentication),
    ];
    // The order that RFC 8200 wants; the decoder of this test knows no other.
    let rank = |extension: &Extension| match extension {
        Extension::HopByHop(_) => 0,
        Extension::DestinationOptions(_) => 1,
        Extension::Routing(_) => 2,
        Extension::AtomicFragment => 3,
        Extension::Authentication => 4,
    };
    let extensions = vec(extension, 0..4).prop_map(move |mut extensions| {
        extensions.sort_by_key(rank);
        extensions.dedup_by_key(|extension| rank(extension));
        extensions
    });
    let options = select(vec![vec![], vec![1; 4], vec![1; 40], vec![7, 7, 4, 0, 0, 0, 0, 0]]);
    let payload = vec(any::<u8>(), 0..100);
    (options, extensions, any::<bool>(), payload).prop_map(
        |(ipv4_options, ipv6_extensions, first_fragment, payload)| Layout {
            ipv4_options,
            ipv6_extensions,
            first_fragment,
            payload,
            ..Layout::default()
        },
    )
}

/// Decodes a frame with the library's decoder and compares.
fn check_frame(packet: &Packet, layout: &Layout) {
    let bytes = frame(packet, layout);
    assert!(bytes.len() >= 60);
    assert_eq!(bytes[..6], layout.destination);
    assert_eq!(bytes[6..12], layout.source);
    let sliced = SlicedPacket::from_ethernet(&bytes).unwrap_or_else(|error| panic!("{error:?}: {packet:?}"));
    let vlans: Vec<_> = sliced.vlan_ids().iter().map(|id| id.value()).collect();
    // The library's decoder knows the tags of 802.1Q and 802.1ad alone, and three of them.
    let known = packet.tags.iter().take(3).take_while(|tag| [0x8100, 0x88a8, 0x9100].contains(&tag.tpid));
    let known: Vec<_> = known.map(|tag| tag.vlan).collect();
    assert_eq!(vlans, known);
    if known.len() < packet.tags.len() {
        return;
    }

    let (src, dst, protocol, fragment, l4) = match packet.kind {
        Kind::Arp { sender, target } => {
            let Some(NetSlice::Arp(arp)) = sliced.net else { panic!("no ARP: {packet:?}") };
            assert_eq!(arp.sender_protocol_addr(), sender.octets());
            assert_eq!(arp.target_protocol_addr(), target.octets());
            return;
        }
        Kind::Other { ether_type } => {
            let payload = sliced.ether_payload().expect("a payload");
            assert_eq!(payload.ether_type.0, ether_type);
            assert!(payload.payload.starts_with(&layout.payload));
            return;
        }
        Kind::Llc(llc) => {
            let at = 12 + 4 * packet.tags.len();
            let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            assert_eq!(usize::from(length), 8 + layout.payload.len());
            assert_eq!(bytes[at + 2..at + 5], [llc.dsap, llc.ssap, llc.control]);
            assert_eq!(bytes[at + 5..at + 8], llc.oui);
            assert_eq!(bytes[at + 8..at + 10], llc.protocol.to_be_bytes());
            return;
        }
        Kind::Ip { src, dst, protocol, fragment, l4 } => (src, dst, protocol, fragment, l4),
    };
    let (seen_src, seen_dst, payload) = match sliced.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.options(), layout.ipv4_options);
            assert_eq!(ones_complement_sum(header.slice()), 0xffff);
            (IpAddr::from(header.source_addr()), IpAddr::from(header.destination_addr()), ip.payload())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (IpAddr::from(header.source_addr()), IpAddr::from(header.destination_addr()), ip.payload())
        }
        NetSlice::Arp(_) => panic!("ARP: {packet:?}"),
    };
    assert_eq!((seen_src, seen_dst), (src, dst));
    assert_eq!(payload.ip_number.0, protocol);
    assert_eq!(payload.fragmented, fragment || layout.first_fragment);
    if fragment {
        assert_eq!(payload.payload, layout.payload);
        return;
    }
    check_transport(packet, (src, dst, protocol), l4, payload.payload);
    // The decoder looks into whole packets only, and at ICMP in its own family.
    match (sliced.transport, l4) {
        (Some(TransportSlice::Tcp(tcp)), L4::Ports { source, destination, tcp_flags }) => {
            assert_eq!((tcp.source_port(), tcp.destination_port()), (source, destination));
            let flags =
                [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg(), tcp.ece(), tcp.cwr()];
            let flags = flags.iter().rev().fold(0, |bits: u8, flag| bits << 1 | u8::from(*flag));
            assert_eq!(flags, tcp_flags);
            assert_eq!(tcp.payload(), layout.payload);
        }
        (Some(TransportSlice::Udp(udp)), L4::Ports { source, destination, .. }) => {
            assert_eq!((udp.source_port(), udp.destination_port()), (source, destination));
            assert_eq!(udp.payload(), layout.payload);
        }
        (Some(TransportSlice::Icmpv4(icmp)), L4::Icmp { icmp_type, code }) => {
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (icmp_type, code));
        }
        (Some(TransportSlice::Icmpv6(icmp)), L4::Icmp { icmp_type, code }) => {
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (icmp_type, code));
        }
        (Some(other), _) => panic!("{other:?} of {packet:?}"),
        (None, _) => {}
    }
}

/// Ports, types and checksums by offset.
fn check_transport(packet: &Packet, (src, dst, protocol): (IpAddr, IpAddr, u8), l4: L4, bytes: &[u8]) {
    match l4 {
        L4::Ports { source, destination, .. } => {
            assert_eq!(bytes[..2], source.to_be_bytes());
            assert_eq!(bytes[2..4], destination.to_be_bytes());
        }
        L4::Icmp { icmp_type, code } => assert_eq!(bytes[..2], [icmp_type, code]),
        L4::None => {}
    }
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    let pseudo = [&octets(src)[..], &octets(dst)[..], &length[..], &[0, 0, 0, protocol], bytes].concat();
    match (protocol, packet.traffic()) {
        (TCP | UDP, _) | (58, Traffic::Ip | Traffic::NeighborDiscovery) => {
            assert_eq!(ones_complement_sum(&pseudo), 0xffff, "{packet:?}");
        }
        (ICMP, _) => assert_eq!(ones_complement_sum(bytes), 0xffff, "{packet:?}"),
        (SCTP, _) => {
            let mut blank = bytes.to_vec();
            blank[8..12].fill(0);
            assert_eq!(bytes[8..12], crc32c(&blank).to_le_bytes(), "{packet:?}");
        }
        _ => {}
    }
}

fn ones_complement_sum(bytes: &[u8]) -> u32 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// Bit by bit (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn the_checksum_of_sctp_is_the_known_one() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn atomic_fragments_and_four_extensions() {
    let (a, b) = ("fd00::1".parse().expect("address"), "fd00::2".parse().expect("address"));
    let all = [
        Extension::HopByHop(0),
        Extension::DestinationOptions(40),
        Extension::Routing(1),
        Extension::AtomicFragment,
        Extension::Authentication,
    ];
    proptest!(config(100), |(ipv6_extensions in subsequence(all.to_vec(), 0..=4))| {
        check_frame(&Packet::udp(a, 1, b, 2), &Layout { ipv6_extensions, ..Layout::default() });
    });
}
