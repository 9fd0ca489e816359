//! Rate limits that count a packet twice.

use jiff::Timestamp;
use outplane_intent::reader::Code;

use crate::read;

/// Two segments of a switch and one of another, and a policy.
fn advice(applies: &str, rule: &str) -> Vec<String> {
    let ours = |kind: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
        )
    };
    let segment = |name: &str, net: u8, switch: &str, port: u16| {
        let spec = format!(
            "{{subnets: [10.{net}.0.0/24], antiSpoofing: none, ports: [{{switch: {switch}, ports: [{port}]}}]}}"
        );
        ours("Segment", name, &spec)
    };
    let mut text = ours("Switch", "s1", "{address: '192.0.2.1:9559', ports: [1, 2]}");
    text += &ours("Switch", "s2", "{address: '192.0.2.2:9559', ports: [1]}");
    text += &segment("office", 1, "s1", 1);
    text += &segment("lab", 2, "s1", 2);
    text += &segment("far", 3, "s2", 1);
    let limited = format!("{{name: ping, action: allow, icmp: [{{type: 8}}], {rule}}}");
    text += &ours("FilterPolicy", "edge", &format!("{{{applies} replies: reverse, rules: [{limited}]}}"));
    let loaded = read(text.trim_end().trim_end_matches("---"));
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let (found, incomplete) = outplane_intent::reader::advice(&loaded.intent, &loaded.sources, now);
    assert_eq!(incomplete, None);
    let found = found.iter().filter(|one| one.code() == Code::RateLimit);
    found.map(ToString::to_string).collect()
}

#[test]
fn what_a_router_brings_back_is_counted_twice() {
    const LIMIT: &str = "rateLimit: {packetsPerSecond: 20, burst: 5}";
    let said = "FilterPolicy/edge: the rate limit of rule ping counts a packet from segment office to segment lab twice: a \
                router brings it back into the switch, and the policy looks at it in both";
    let (bound, both) = ("appliesTo: {segments: [office]},", "appliesTo: {segments: [office, lab]},");
    for (applies, sides, told) in [
        ("", "from: [{segment: office}], to: [{segment: lab}],", true),
        ("", "from: [{segment: office}],", true),
        (both, "from: [{segment: office}],", true),
        // In the segment of the source alone; within one; to where nothing of this switch is; without a limit.
        (bound, "from: [{segment: office}],", false),
        ("", "from: [{segment: office}], to: [{segment: office}],", false),
        ("", "from: [{segment: office}], to: [{segment: far}],", false),
        ("", "from: [{segment: office}], to: [192.0.2.0/24],", false),
        ("appliesTo: {switches: [s2]},", "from: [{segment: office}],", false),
    ] {
        let found = advice(applies, &format!("{sides} {LIMIT}"));
        let expected: Vec<String> = told.then(|| said.to_owned()).into_iter().collect();
        assert_eq!(found, expected, "{applies} {sides}");
        assert_eq!(advice(applies, sides), Vec::<String>::new());
    }
}
