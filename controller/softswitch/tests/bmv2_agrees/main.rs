//! The embedded switch and BMv2 agree: the same entries and frames through both, on real interfaces, give the same
//! frames on the same ports, the same packet-ins and the same counters. So `outplane.p4` does what the model says, and
//! the other way round.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod support;

mod random;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use outplane_compiler::compile::{Options, compile};
use outplane_intent::testing;
use outplane_intent::testing::frame::{Layout, frame};
use outplane_p4::Dropped;
use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Counter, Match, MeterCell, MulticastGroup};
use random::Random;
use support::device::{Device, Output, PORTS, is, named, sentinels, version};
use support::frames::Frame;
use support::lab::in_namespace;

const ROUNDS: u64 = 100;
const FRAMES: u32 = 96;
/// Random policies, and packets for each.
const POLICIES: u64 = 40;
const PACKETS: usize = 96;
/// How many frames are on their way at once: BMv2 reads its ports from short rings.
const BATCH: usize = 12;

/// Runs a test over both switches, or says why it can't.
fn with_both(test: fn(&Schema, &mut [Device; 2])) {
    if !Device::has_bmv2() {
        println!("SKIPPED: comparison with BMv2: `simple_switch_grpc` is not on PATH");
        return;
    }
    in_namespace(move || {
        // Two switches and eight hosts are enough for one machine.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
        let mut both = [Device::soft(), Device::bmv2()];
        test(&schema, &mut both);
    });
}

fn same_output(both: &mut [Device; 2]) -> Output {
    let [soft, bmv2] = both;
    let (one, other) = (soft.output(), bmv2.output());
    assert_eq!(one, other, "{} (left) and {} (right)", soft.name, bmv2.name);
    one
}

/// What was dropped since the start, by reason; by segment and limiter it is the same on both, too.
fn same_drops(both: &mut [Device; 2]) -> BTreeMap<&'static str, Counter> {
    let reasons: Vec<u16> = (0..u16::try_from(Dropped::ALL.len()).unwrap()).collect();
    let segments: Vec<u16> = (0..64).chain([0xffff]).collect();
    let limiters: Vec<u16> = (0..1024).collect();
    let [soft, bmv2] = both;
    let mut of = |counter: &str, indexes: &[u16]| {
        let (one, other) = (soft.cells(counter, indexes), bmv2.cells(counter, indexes));
        assert_eq!(one, other, "{counter}: {} (left) and {} (right)", soft.name, bmv2.name);
        one
    };
    let dropped = of("drops", &reasons);
    of("segment_drops", &segments);
    of("limiter_drops", &limiters);
    dropped.into_iter().map(|(reason, counter)| (Dropped::ALL[usize::from(reason)].name(), counter)).collect()
}

fn send(both: &mut [Device; 2], port: u16, frame: &[u8]) {
    for device in both {
        device.send(port, frame);
    }
}

#[test]
fn random_entries_and_frames() {
    with_both(|schema, both| {
        let mut number = 0;
        let mut seen = BTreeMap::new();
        for round in 0..ROUNDS {
            let mut random = Random(round);
            let mut entries = random::entries(&mut random, schema);
            entries.extend(sentinels(schema));
            let groups = random::groups(&mut random);
            let current = u128::from(random.next() % 3 + 1);
            for device in &mut *both {
                device.insert(&entries, &groups);
                device.set_default(&version(schema, current));
            }
            let frames: Vec<(u16, Vec<u8>)> = (0..FRAMES)
                .map(|_| {
                    number += 1;
                    let port = 1 + u16::try_from(random.below(usize::from(PORTS))).unwrap();
                    (port, random::frame(&mut random, number))
                })
                .collect();
            for batch in frames.chunks(BATCH) {
                for (port, frame) in batch {
                    send(both, *port, frame);
                }
                let [soft, bmv2] = &mut *both;
                let (one, other) = (soft.output(), bmv2.output());
                if one != other {
                    explain(schema, round, &entries, &groups, batch, &one, &other);
                }
                *seen.entry("frames out").or_insert(0) += one.frames.len();
                *seen.entry("packet-ins").or_insert(0) += one.packet_ins.len();
            }
            let [soft, bmv2] = &mut *both;
            let (one, other) = (soft.counters(), bmv2.counters());
            for (key, _) in one.iter().filter(|(_, counter)| counter.packets > 0) {
                *seen.entry(schema.table(key.table).unwrap().alias.as_str()).or_insert(0) += 1;
            }
            assert_eq!(one, other, "round {round}: {} (left) and {} (right)", soft.name, bmv2.name);
            let dropped = same_drops(both);
            let [soft, bmv2] = &mut *both;
            for (reason, _) in dropped.iter().filter(|(_, counter)| counter.packets > 0) {
                *seen.entry(*reason).or_insert(0) += 1;
            }
            soft.clear();
            bmv2.clear();
        }
        println!("{number} frames in, {seen:?}");
        // Agreement about nothing would be worth nothing: frames pass, frames are told, every policy table is hit.
        for reason in ["too_short", "ip_length", "spoofed", "denied", "denied_logged", "no_way_out"] {
            assert!(seen.contains_key(reason), "nothing was dropped for {reason}: {seen:?}");
        }
        assert!(seen["frames out"] > 1000 && seen["packet-ins"] > 100, "{seen:?}");
        for table in schema.tables().iter().filter(|table| table.has_direct_counter()) {
            assert!(
                seen.get(table.alias.as_str()).is_some_and(|hits| *hits > 10),
                "{}: {seen:?}",
                table.alias
            );
        }
    });
}

/// What the compiler makes of random policies: with `tests/tests/policies_agree.rs`, BMv2 does what the intent means.
#[test]
fn random_policies_and_packets() {
    with_both(|schema, both| {
        let (mut frames_out, mut packet_ins) = (0, 0);
        for seed in 0..POLICIES {
            let intent = testing::random_intent(seed);
            let compiled =
                compile(&intent, &Options { at: testing::universe::now() }).expect("small intents fit");
            let desired = compiled.switches.into_values().next().expect("a switch").desired;
            let mut entries: Vec<_> = desired.entries.iter().cloned().collect();
            entries.extend(sentinels(schema));
            for device in &mut *both {
                device.insert(&entries, &desired.groups);
                device.set_default(&version(schema, 1));
            }
            let frames: Vec<(u16, Vec<u8>)> = testing::random_packets(seed, &intent, PACKETS)
                .into_iter()
                .zip((1..=PORTS).cycle())
                .map(|(packet, port)| (port, frame(&packet.at_port(port), &Layout::default())))
                .collect();
            for batch in frames.chunks(BATCH) {
                for (port, frame) in batch {
                    send(both, *port, frame);
                }
                let [soft, bmv2] = &mut *both;
                let (one, other) = (soft.output(), bmv2.output());
                if one != other {
                    explain(schema, seed, &entries, &desired.groups, batch, &one, &other);
                }
                frames_out += one.frames.len();
                packet_ins += one.packet_ins.len();
            }
            let [soft, bmv2] = &mut *both;
            // Rules of pods that add up share a priority: which of those that match a packet counts it is the switch's.
            let counted = |device: &mut Device| {
                let mut counted: BTreeMap<(u32, i32), (u64, u64)> = BTreeMap::new();
                for (key, counter) in device.counters() {
                    let sum = counted.entry((key.table, key.priority)).or_default();
                    *sum = (sum.0 + counter.packets, sum.1 + counter.bytes);
                }
                counted
            };
            assert_eq!(counted(soft), counted(bmv2), "policy {seed}: {} and {}", soft.name, bmv2.name);
            soft.clear();
            bmv2.clear();
        }
        assert!(frames_out > 500 && packet_ins > 50, "{frames_out} frames out, {packet_ins} packet-ins");
    });
}

/// Fails, and says for which frame.
fn explain(
    schema: &Schema,
    round: u64,
    entries: &[outplane_p4runtime::entry::Entry],
    groups: &[MulticastGroup],
    batch: &[(u16, Vec<u8>)],
    one: &Output,
    other: &Output,
) -> ! {
    for entry in entries {
        println!("{}", schema.describe(entry));
    }
    println!("{groups:?}");
    for (port, frame) in batch {
        let of = |output: &Output| {
            let same = |bytes: &[u8]| bytes[6..12] == frame[6..12];
            let ports: Vec<u16> =
                output.frames.iter().filter(|(_, bytes)| same(bytes)).map(|(port, _)| *port).collect();
            let told: Vec<_> = output.packet_ins.iter().filter(|(_, bytes)| same(bytes)).collect();
            format!("{ports:?} {told:x?}")
        };
        if of(one) != of(other) {
            println!("port {port} frame {frame:x?}\n  softswitch {}\n  BMv2       {}", of(one), of(other));
        }
    }
    panic!("round {round}: {one:x?}\n{other:x?}");
}

#[test]
fn floods_do_not_go_back() {
    with_both(|schema, both| {
        let entries = [
            sentinels(schema),
            vec![
                named(schema, "segment_of", &[], 1, "set_segment", &[5]),
                named(schema, "flood", &[("segment", Match::Exact(5))], 0, "flood_to", &[9]),
            ],
        ]
        .concat();
        let group = MulticastGroup { id: 9, ports: vec![1, 2, 3, 4] };
        for device in &mut *both {
            device.insert(&entries, std::slice::from_ref(&group));
            device.set_default(&version(schema, 1));
        }
        let frame = Frame::new().vlan(10).arp([1; 4], [2; 4]).bytes(&[0; 18]).build();
        for port in 1..=PORTS {
            send(both, port, &frame);
            let output = same_output(both);
            let wanted: Vec<_> =
                (1..=PORTS).filter(|out| *out != port).map(|out| (out, frame.clone())).collect();
            assert_eq!(output, Output { frames: wanted, packet_ins: Vec::new() });
        }
    });
}

#[test]
fn nothing_passes_in_version_0() {
    with_both(|schema, both| {
        let mut entries = sentinels(schema);
        entries.push(named(
            schema,
            "cross_connect",
            &[("ingress_port", Match::Exact(1))],
            0,
            "forward",
            &[2],
        ));
        let frame = |n| Frame::new().ipv4([1; 4], [2; 4]).udp(1, 2).bytes(&[n]).build();
        for device in &mut *both {
            device.insert(&entries, &[]);
            device.send(1, &frame(0));
            // A packet-out needs no policy. After so many the frame has been seen, and dropped.
            for n in 1..100 {
                device.packet_out(2, frame(n));
                device.wait_for(2, &frame(n));
            }
            device.set_default(&version(schema, 1));
            device.send(1, &frame(100));
        }
        let output = same_output(both);
        assert_eq!(output.frames, [(2, frame(100))]);
    });
}

#[test]
fn rate_limits() {
    const LIMITER: u16 = 1023;
    with_both(|schema, both| {
        let vlan = |vid| [("vlan_id", is(vid, 12))];
        let entries = [
            sentinels(schema),
            vec![
                named(schema, "segment_of", &vlan(10), 5, "set_segment", &[10]),
                named(
                    schema,
                    "filter_admin",
                    &[("segment", is(10, 16))],
                    5,
                    "admin_permit_limited",
                    &[u128::from(LIMITER)],
                ),
                named(schema, "cross_connect", &[("ingress_port", Match::Exact(1))], 0, "forward", &[2]),
            ],
        ]
        .concat();
        let meter = schema.meter_by_name("rate_limiter").unwrap().id;
        let cell = MeterCell { meter, index: LIMITER.into(), cir: 1, cburst: 5, pir: 1, pburst: 20 };
        let begin = Instant::now();
        for device in &mut *both {
            device.insert(&entries, &[]);
            device.set_default(&version(schema, 1));
            device.set_meter(&cell);
            let limited = Frame::new().vlan(10).arp([1; 4], [2; 4]).build();
            let free = Frame::new().vlan(20).arp([1; 4], [2; 4]).build();
            let mut passed = 0;
            for _ in 0..10 {
                for _ in 0..5 {
                    device.send(1, &limited);
                }
                device.send(1, &free);
                let output = device.output();
                assert!(output.packet_ins.is_empty() && output.frames.contains(&(2, free.clone())));
                passed += u64::try_from(output.frames.len()).unwrap() - 1;
            }
            // One token comes back a second.
            let refilled = begin.elapsed().as_secs() + 1;
            assert!((20..=20 + refilled).contains(&passed), "{}: {passed} passed", device.name);
        }
    });
}

#[test]
fn packet_out() {
    with_both(|schema, both| {
        let entries = sentinels(schema);
        for device in &mut *both {
            device.insert(&entries, &[]);
            device.set_default(&version(schema, 1));
        }
        let frame = Frame::new().vlan(10).ipv6(1, 2).udp(3, 4).bytes(b"out").build();
        for port in [1, 2, 3, 4, 7, 511, 0] {
            for device in &mut *both {
                device.packet_out(port, frame.clone());
            }
            let output = same_output(both);
            let wanted = if (1..=PORTS).contains(&port) { vec![(port, frame.clone())] } else { Vec::new() };
            assert_eq!(output, Output { frames: wanted, packet_ins: Vec::new() });
        }
    });
}
