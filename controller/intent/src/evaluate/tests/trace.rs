//! How a verdict is told, and how long it takes.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::build::{allow, cidr, egress, filter, ingress, namespaces, pods, rule, traffic};
use super::world::{World, nine_pods, noon};
use crate::evaluate::Evaluator;
use crate::model::{FilterPolicy, FilterRule, FilterTier, RateLimit};
use crate::packet::Packet;

#[test]
fn steps_say_what_each_stage_said() {
    let late = FilterPolicy { tier: FilterTier::Baseline, ..filter(&[]) };
    let world = nine_pods()
        .policy("x/in", ingress("pod=a", &[]))
        .policy("x/out", egress("pod=a", &[rule(&[namespaces("ns=y")], "TCP/80")]))
        .filter("late", late);
    let verdict = world.verdict(&world.packet("y/a x/a tcp 80>9 ack"));
    let texts: Vec<_> = verdict.steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "enters in no segment",
            "filter policies of tier admin: no match",
            "egress of pod y/a: no policy decides",
            "ingress of pod x/a: denied by NetworkPolicy/x/in (isolation)",
            "as a reply to what egress of pod x/a lets through: allowed by NetworkPolicy/x/out (egress[0])",
            "filter policies of tier baseline: no match",
        ]
    );
    let verdict = world.verdict(&world.packet("y/a x/a tcp 80>9 syn"));
    assert_eq!(verdict.steps.len(), 4);
}

#[test]
fn a_verdict_as_json() {
    let limit = Some(RateLimit { packets_per_second: 9, burst: 3 });
    let rule = FilterRule {
        traffic: traffic("tcp 80"),
        to: vec![cidr("10.0.0.2/32")],
        rate_limit: limit,
        ..allow("web")
    };
    let world = World::default().filter("f", filter(&[rule]));
    let verdict = world.verdict(&world.packet("10.0.0.2 10.0.0.1 tcp 80>9 ack"));
    let expected = serde_json::json!({
        "verdict": "allow",
        "policy": "FilterPolicy/f",
        "rule": "web",
        "log": false,
        "rateLimit": {"packetsPerSecond": 9, "burst": 12},
        "segment": null,
        "steps": [
            {"stage": "segment", "outcome": "none", "policy": null, "rule": null, "text": "enters in no segment"},
            {
                "stage": "filter-admin", "outcome": "allow", "policy": "FilterPolicy/f", "rule": "web",
                "text": "filter policies of tier admin: allowed by FilterPolicy/f (web), as a reply to what it allows"
            }
        ]
    });
    assert_eq!(serde_json::to_value(&verdict).expect("JSON"), expected);
}

/// A thousand policies and pods, ten thousand packets: seconds, not minutes, even without optimisation.
#[test]
fn many_packets_against_many_policies() {
    let mut world = World::default().namespace("n", "ns=n");
    let address = |n: u16| IpAddr::from(Ipv4Addr::from(0x0a00_0000 | u32::from(n)));
    for n in 0..1000 {
        world = world.pod(&format!("n/p{n}"), &format!("app=a{n}"), &address(n).to_string(), "http=TCP/80");
        let next = (n + 1) % 1000;
        let rules = [rule(&[pods(&format!("app=a{next}"))], "TCP/http")];
        world = world.policy(&format!("n/in{n}"), ingress(&format!("app=a{n}"), &rules));
    }
    let evaluator = Evaluator::new(&world.intent);
    let started = Instant::now();
    let mut allowed = 0;
    for n in 0..10_000_u16 {
        let (from, to) = (n % 1000, (n / 10) % 1000);
        let packet = Packet::tcp(address(from), 9, address(to), 80, 2);
        let verdict = evaluator.evaluate(None, noon(), &packet);
        assert_eq!(verdict.allow, from == to || from == (to + 1) % 1000, "{from} to {to}");
        allowed += usize::from(verdict.allow);
    }
    assert!(allowed > 0);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
