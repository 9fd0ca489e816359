use std::time::Duration;

use outplane_compiler::state::{Desired, Origin};
use outplane_p4runtime::entry::{Action, Entry, Key as EntryKey};
use outplane_rmdp_core::object::PacketLine;

use super::limit::Limits;
use super::{Batch, NAMES_WAIT, Names, Resolved, frame, tags};

fn origin(policy: &str, rule: &str) -> Origin {
    Origin { policy: policy.to_owned(), rule: rule.to_owned(), order: 0 }
}

/// An entry of a rule, with its tag as parameter or with something else.
fn entry(policy: &str, rule: &str, param: Option<u128>) -> Entry {
    let origin = origin(policy, rule);
    let value = param.unwrap_or_else(|| origin.tag().into());
    Entry {
        key: EntryKey { table: 1, matches: Vec::new(), priority: 1 },
        action: Action { id: 1, params: vec![(1, value)] },
        metadata: origin.encode(),
    }
}

fn desired(rules: &[(&str, &str)]) -> Desired {
    let entries = rules.iter().map(|(policy, rule)| entry(policy, rule, None)).collect();
    Desired { entries, ..Desired::default() }
}

#[test]
fn rules_by_their_tags() {
    let mut state = desired(&[("FilterPolicy/a", "r1"), ("FilterPolicy/a", "r1"), ("FilterPolicy/a", "r2")]);
    // A limiter's number, and an entry of somebody else.
    let more = [
        entry("FilterPolicy/a", "limited", Some(7)),
        Entry { metadata: b"theirs".to_vec(), ..entry("x", "y", None) },
    ];
    state.entries = state.entries.iter().cloned().chain(more).collect();
    let tags = tags(&state);
    let rules: Vec<_> = tags.values().flatten().map(|(policy, rule)| format!("{policy} {rule}")).collect();
    assert_eq!(tags.len(), 2);
    assert!(
        rules.contains(&"FilterPolicy/a r1".to_owned()) && rules.contains(&"FilterPolicy/a r2".to_owned())
    );
}

#[test]
fn tags_mean_what_the_generation_says_that_the_switch_runs() {
    let names = Names::default();
    let tag = |rule: &str| origin("FilterPolicy/a", rule).tag();
    assert_eq!(names.resolve("leaf1", tag("r1")), Resolved::default());
    names.comes("leaf1", 5, &desired(&[("FilterPolicy/a", "r1")]));
    names.runs("leaf1", 5);
    names.comes("leaf1", 6, &desired(&[("FilterPolicy/a", "r2")]));
    let known = |rule| {
        let resolved = names.resolve("leaf1", tag(rule));
        (resolved.rule, resolved.generation, resolved.newest)
    };
    assert_eq!(known("r1"), (Some("r1".to_owned()), Some(5), Some(5)));
    assert_eq!(
        known("r2"),
        (Some("r2".to_owned()), Some(6), Some(5)),
        "packets of the next may come already"
    );
    names.runs("leaf1", 6);
    assert_eq!(known("r1"), (Some("r1".to_owned()), Some(5), Some(6)), "or still of the last");
    for generation in 7..20 {
        names.comes("leaf1", generation, &desired(&[("FilterPolicy/a", "r3")]));
    }
    assert_eq!(known("r2").1, Some(6), "what the switch runs is not forgotten");
    assert_eq!(known("r1"), (None, None, Some(6)));
    assert_eq!(names.resolve("leaf2", tag("r2")), Resolved::default(), "each switch for itself");
}

#[test]
fn one_that_is_flooded_leaves_the_others_theirs() {
    let mut limits = Limits::default();
    let mut count = |switch: &str, ms: u64| {
        (0..100).filter(|_| limits.allows(switch, 10, Duration::from_millis(ms))).count()
    };
    assert_eq!(count("leaf1", 1000), 20, "two seconds' worth at first");
    assert_eq!(count("leaf2", 1000), 20);
    assert_eq!(count("leaf1", 1000), 0);
    assert_eq!(count("leaf1", 1500), 5);
    assert_eq!(count("leaf1", 60_000), 20);
    assert!(!limits.allows("leaf1", 0, Duration::from_secs(90)));
}

fn read(frame: &[u8]) -> PacketLine {
    let resolved = Resolved::default();
    frame::line("leaf1", 0x0102_0304, resolved, Some(3), None, frame, frame.len())
}

#[test]
fn frames_of_every_kind() {
    let [a, b] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
    let written = |builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>| {
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[0; 8]).unwrap();
        bytes
    };
    let udp = written(
        etherparse::PacketBuilder::ethernet2(a, b)
            .single_vlan(20.try_into().unwrap())
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1000, 53),
    );
    let line = read(&udp);
    assert_eq!(frame::sentence(&line.packet), "UDP 10.0.0.1:1000 -> 10.0.0.2:53, VLAN 20");
    assert_eq!((line.tag.as_str(), line.packet.port, line.length), ("0x01020304", Some(3), 54));
    assert_eq!(line.src_mac.as_deref(), Some("02:00:00:00:00:01"));
    // Only the headers are there, as switches and queues cut them.
    assert_eq!(frame::sentence(&read(&udp[..46]).packet), "UDP 10.0.0.1:1000 -> 10.0.0.2:53, VLAN 20");
    let mut tcp = Vec::new();
    etherparse::PacketBuilder::ethernet2(a, b)
        .ipv6([0xfd; 16], [0xfe; 16], 64)
        .tcp(49152, 22, 7, 100)
        .syn()
        .ack(1)
        .write(&mut tcp, &[])
        .unwrap();
    let line = read(&tcp);
    assert_eq!((line.packet.tcp_flags.as_deref(), line.packet.dport), (Some("SYN,ACK"), Some(22)));
    let mut fragment = udp.clone();
    // Flags and offset of the IPv4 header, behind Ethernet and tag.
    fragment[24..26].copy_from_slice(&[0, 9]);
    assert_eq!(frame::sentence(&read(&fragment).packet), "UDP later fragment 10.0.0.1 -> 10.0.0.2, VLAN 20");
    let mut arp = [&b[..], &a[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    assert_eq!(frame::sentence(&read(&arp).packet), "ARP 10.0.0.1 -> 10.0.0.2");
    let lldp = [&b[..], &a[..], &[0x88, 0xcc, 1, 2, 3]].concat();
    assert_eq!(frame::sentence(&read(&lldp).packet), "EtherType 0x88cc");
    for length in 0..udp.len() {
        read(&udp[..length]);
    }
    assert_eq!(frame::sentence(&read(&[1, 2, 3]).packet), "a frame that cannot be read");
}

/// Who reads a line finds the segment by its name, not by a number that the switch gave it.
#[test]
fn batches_wait_for_the_names_of_segments() {
    let line = |segment: &str| PacketLine { segment: Some(segment.to_owned()), ..PacketLine::default() };
    let named = |batch: &Batch| -> Vec<String> {
        batch.lines.iter().filter_map(|line| line.segment.clone()).collect()
    };
    let known = |generation: u64, id: u16| (generation == 3 && id == 7).then(|| "office".to_owned());
    let batch = |unnamed: &[(usize, u64, u16)]| {
        let mut batch = Batch { unnamed: unnamed.to_vec(), ..Batch::default() };
        assert!(batch.add(line("guests")) && batch.add(line("7")));
        batch
    };
    let mut waiting = batch(&[(1, 3, 7)]);
    assert!(!waiting.name(|_, _| None), "not read yet");
    assert!(waiting.name(known));
    assert_eq!(named(&waiting), ["guests", "office"]);
    // What nobody knows does not keep the others for ever.
    let mut unknown = batch(&[(1, 4, 7)]);
    assert!((0..NAMES_WAIT).all(|_| !unknown.name(known)) && unknown.name(known));
    assert_eq!(named(&unknown), ["guests", "7"]);
    // A write that failed goes before what has come since, whose places move.
    let mut rest = batch(&[]);
    rest.append(batch(&[(1, 3, 7)]));
    assert!(rest.name(known));
    assert_eq!(named(&rest), ["guests", "7", "guests", "office"]);
}
