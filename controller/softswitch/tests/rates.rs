//! Rate limits with real packets: answers to what has passed come back, however much is asked.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::thread::sleep;
use std::time::Duration;

use outplane_compiler::compile::{Options, compile};
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::model::{
    FilterAction, FilterPolicy, FilterRule, FilterTier, Intent, PortProtocol, RateLimit, RelatedErrors,
    Replies, Segment, TrafficMatch,
};
use outplane_p4runtime::Schema;
use support::device::{Device, sentinels, version};
use support::frames::{Frame, MAC_A, MAC_B};
use support::lab::in_namespace;

const RATE: u32 = 50;
const BURST: u32 = 10;
/// Ten requests come every 100 ms: twice the rate.
const ROUNDS: u8 = 20;
const REQUESTS: u8 = 10;

/// Port 1 asks port 2 for names, at most so often; nothing else passes.
fn intent() -> Intent {
    let names = TrafficMatch::Ports {
        protocol: PortProtocol::Udp,
        source: None,
        destination: Some((53, 53)),
        tcp_flags: None,
    };
    let rule = FilterRule {
        name: "names".to_owned(),
        action: FilterAction::Allow,
        from: Vec::new(),
        to: Vec::new(),
        traffic: vec![names],
        log: false,
        rate_limit: Some(RateLimit { packets_per_second: RATE, burst: BURST }),
        expires: None,
    };
    let policy = FilterPolicy {
        tier: FilterTier::Admin,
        priority: 500,
        switches: Vec::new(),
        segments: Vec::new(),
        default: Some(FilterAction::Deny),
        replies: Replies::Reverse,
        related_errors: RelatedErrors::Allow,
        rules: vec![rule],
    };
    let segment = Segment { ports: [(IMPLIED_SWITCH.to_owned(), vec![1, 2])].into(), ..Segment::default() };
    Intent {
        segments: [("office".to_owned(), segment)].into(),
        filters: [("limits".to_owned(), policy)].into(),
        ..Intent::default()
    }
}

fn answers_come_back(mut device: Device) {
    let schema = Schema::from_text(outplane_p4::P4INFO).unwrap();
    let compiled = compile(&intent(), &Options { at: outplane_intent::testing::universe::now() }).unwrap();
    let desired = &compiled.switches[IMPLIED_SWITCH].desired;
    assert_eq!(desired.meters.len(), 2, "requests and answers have a cell each");
    for cell in &desired.meters {
        device.set_meter(cell);
    }
    device.insert(
        &desired.entries.iter().cloned().chain(sentinels(&schema)).collect::<Vec<_>>(),
        &desired.groups,
    );
    device.set_default(&version(&schema, 1));

    let ip = |from, to| {
        if from == 1 { Frame::between(MAC_A, MAC_B) } else { Frame::between(MAC_B, MAC_A) }
            .ipv4([10, 0, 0, from], [10, 0, 0, to])
    };
    let request = |round: u8, number: u8| ip(1, 2).udp(4000, 53).bytes(&[round, number]).build();
    let answer = |id: &[u8]| ip(2, 1).udp(53, 4000).bytes(id).build();
    let (mut passed, mut answered) = (0, 0);
    for round in 0..ROUNDS {
        for number in 0..REQUESTS {
            device.send(1, &request(round, number));
        }
        let arrived = device.output().frames;
        passed += arrived.len();
        for (port, frame) in &arrived {
            assert_eq!(*port, 2, "{}", device.name);
            device.send(2, &answer(&frame[frame.len() - 2..]));
        }
        let back = device.output().frames;
        assert!(back.iter().all(|(port, _)| *port == 1), "{}", device.name);
        answered += back.len();
        sleep(Duration::from_millis(100)); // the traffic's own pace
    }
    let asked = usize::from(ROUNDS) * usize::from(REQUESTS);
    println!("{}: {asked} asked, {passed} passed, {answered} answered", device.name);
    assert!((usize::try_from(BURST).unwrap()..asked).contains(&passed), "{}: {passed} passed", device.name);
    assert_eq!(answered, passed, "{}", device.name);
}

#[test]
fn answers_to_what_passed_come_back() {
    in_namespace(|| {
        answers_come_back(Device::soft());
        if Device::has_bmv2() {
            answers_come_back(Device::bmv2());
        } else {
            println!("SKIPPED: the same on BMv2: `simple_switch_grpc` is not on PATH");
        }
    });
}
