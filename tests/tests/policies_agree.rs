//! Random policies and packets all the way: what the intent means is what the soft switch does with the frame, after
//! the compiler's entries went to it as the plan's writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outplane_compiler::compile::{Options, compile};
use outplane_compiler::plan::plan;
use outplane_compiler::program::Program;
use outplane_compiler::state::{Desired, Installed};
use outplane_intent::evaluate::Evaluator;
use outplane_intent::packet::{Kind, Llc, Packet, TPIDS, Traffic};
use outplane_intent::testing::frame::{Layout, frame};
use outplane_intent::testing::{random_intent, random_packets, universe};
use outplane_p4runtime::p4::v1::ForwardingPipelineConfig;
use outplane_p4runtime::p4::v1::write_request::Atomicity;
use outplane_softswitch::dataplane::parse::{self, ParserError};
use outplane_softswitch::dataplane::pipeline::{DropReason, Outcome, flood_ports, process};
use outplane_softswitch::dataplane::{Source, StateSource};
use outplane_softswitch::state::{Limits, Shared};
use outplane_tests::bare;

const INTENTS: u64 = 400;
const PACKETS: usize = 200;

/// A soft switch that holds a desired state.
fn switch(program: &Program, desired: &Desired) -> StateSource {
    let shared = Shared::new(Limits::default());
    let config = ForwardingPipelineConfig {
        p4info: Some(program.schema().p4info().clone()),
        ..ForwardingPipelineConfig::default()
    };
    shared.commit(shared.verify(config).expect("our own P4Info"));
    for step in plan(program, &Installed::default(), desired).expect("a plan for an empty switch").steps {
        let updates: Vec<_> = step
            .changes
            .iter()
            .map(|change| bare::update(program.schema(), change).expect("no deletes"))
            .collect();
        for outcome in shared.apply(&updates, Atomicity::ContinueOnError).expect("a batch") {
            outcome.expect("the switch takes what the compiler makes");
        }
    }
    StateSource::new(shared)
}

#[test]
fn the_soft_switch_does_what_the_intent_means() {
    let program = Program::outplane();
    let (mut allowed, mut denied, mut logged, mut left) = (0, 0, 0, BTreeMap::new());
    for seed in 0..INTENTS {
        let intent = random_intent(seed);
        let compiled = compile(&intent, &Options { at: universe::now() }).expect("small intents fit");
        let evaluator = Evaluator::new(&intent);
        let macs =
            intent.hosts.values().filter_map(|host| host.mac).chain([[2, 0, 0, 0, 0xff, 0xff], [0xff; 6]]);
        let mut macs = macs.collect::<Vec<_>>().into_iter().cycle();
        for (name, state) in &compiled.switches {
            let switch = switch(program, &state.desired);
            for (packet, any) in random_packets(seed, &intent, PACKETS).into_iter().zip((1..=4).cycle()) {
                // Frames enter by a port; which one is the packet's own word, or any.
                let port = evaluator.entrance(Some(name), &packet).port.unwrap_or(any);
                let packet = packet.at_port(port);
                let meant = evaluator.evaluate(Some(name), universe::now(), &packet);
                let mut bytes = frame(&packet, &Layout::default());
                let mac = macs.next().expect("there are some");
                bytes[..6].copy_from_slice(&mac);
                let (outcome, ports) = switch.read(|tables| {
                    let tables = tables.expect("outplane.p4 is loaded");
                    let outcome = process(tables, port, &bytes, Duration::ZERO).outcome;
                    let mut ports = Vec::new();
                    if let Outcome::Flood { group } = outcome {
                        flood_ports(tables, group, port, &mut ports);
                    }
                    (outcome, ports)
                });
                let (passes, log) = match outcome {
                    Outcome::PacketIn(_) => (false, true),
                    Outcome::Drop(
                        DropReason::Denied
                        | DropReason::Spoofed
                        | DropReason::Parser(ParserError::TooManyTags),
                    ) => (false, false),
                    // Permitted; what becomes of it then is not the policy's.
                    Outcome::Drop(DropReason::RateLimited | DropReason::Blocked | DropReason::NoWayOut)
                    | Outcome::Forward { .. }
                    | Outcome::Flood { .. } => (true, false),
                    Outcome::Drop(reason) => panic!("seed {seed}, {packet:?}: dropped: {reason:?}"),
                };
                assert_eq!(
                    (passes, log),
                    (meant.allow, meant.log),
                    "seed {seed}, switch {name}, {packet:?}: {:?}",
                    meant.steps
                );
                let leaves: Option<BTreeSet<u16>> = match outcome {
                    Outcome::Forward { port } => Some([port].into()),
                    Outcome::Flood { .. } => Some(ports.into_iter().collect()),
                    Outcome::Drop(DropReason::NoWayOut) => Some(BTreeSet::new()),
                    _ => None,
                };
                if let Some(leaves) = leaves {
                    let entrance = evaluator.entrance(Some(name), &packet);
                    let meant = evaluator.leaving(Some(name), &entrance, Some(mac));
                    assert_eq!(
                        leaves, meant.ports,
                        "seed {seed}, switch {name}, {packet:?} for {mac:x?}: {meant:?}"
                    );
                    *left.entry((meant.by, leaves.is_empty())).or_insert(0) += 1;
                }
                allowed += usize::from(passes);
                denied += usize::from(!passes);
                logged += usize::from(log);
            }
        }
    }
    assert!(
        allowed > 1000 && denied > 1000 && logged > 100,
        "{allowed} allowed, {denied} denied, {logged} logged"
    );
    assert!(left.len() >= 4 && left.values().all(|count| *count > 100), "{left:?}");
}

/// Oracle and switch know the same EtherTypes and LLC headers, all of them.
#[test]
fn the_soft_switch_reads_what_the_intent_means() {
    let layout = Layout::default();
    let same = |packet: &Packet| {
        let parsed = parse::parse(&frame(packet, &layout), 1);
        let wanted = match packet.traffic() {
            Traffic::NonIp => parse::Traffic::NonIp,
            Traffic::Unread => parse::Traffic::Unread,
            other => panic!("{other:?}: {packet:?}"),
        };
        assert_eq!((parsed.error, parsed.meta.traffic), (None, wanted), "{packet:?}");
    };
    let read = [0x0800, 0x0806, 0x86dd];
    for ether_type in (0x0600..=0xffff).filter(|number| !read.contains(number) && !TPIDS.contains(number)) {
        same(&Packet::other(ether_type));
        same(&Packet::other(ether_type).in_vlan(0).tagged(0x88a8, 7));
    }
    for (dsap, ssap) in (0..=u8::MAX).flat_map(|dsap| (0..=u8::MAX).map(move |ssap| (dsap, ssap))) {
        same(&Packet::new(Kind::Llc(Llc { dsap, ssap, control: 3, oui: [0x83, 0, 0], protocol: 0 })));
    }
    for protocol in 0..=u16::MAX {
        same(&Packet::new(Kind::Llc(Llc::snap([0, 0, 0x0c], protocol))));
    }
    for (control, byte) in (0..=u8::MAX).flat_map(|control| (0..=u8::MAX).map(move |byte| (control, byte))) {
        for sap in [0x42, 0xfe, 0xaa] {
            let llc = Llc { dsap: sap, ssap: sap, control, oui: [byte, 0, 0x0c], protocol: 0x2000 };
            same(&Packet::new(Kind::Llc(llc)));
        }
    }
}
