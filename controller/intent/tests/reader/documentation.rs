//! docs/intent.md says what the reader does: its examples are read, and every field and code is in it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use outplane_intent::evaluate::evaluate;
use outplane_intent::packet::Packet;
use outplane_intent::reader::{Code, parse};

const DOCUMENTATION: &str = include_str!("../../../../docs/intent.md");

/// The YAML examples, each with the line that it starts in.
fn examples() -> Vec<(String, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in DOCUMENTATION.lines().enumerate() {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((number + 2, String::new())),
            (Some((start, text)), "```") => {
                examples.push((format!("docs/intent.md from line {start}"), std::mem::take(text)));
                open = None;
            }
            (Some((_, text)), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    examples
}

#[test]
fn examples_are_one_intent_without_faults() {
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    let loaded = parse(examples).unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false)));
    let warnings: Vec<String> = loaded.warnings.iter().map(|warning| warning.render(false)).collect();
    assert!(warnings.is_empty(), "{}", warnings.join("\n"));
    let intent = loaded.intent;
    let kinds = [
        loaded.expectations.len(),
        intent.switches.len(),
        intent.segments.len(),
        intent.hosts.len(),
        intent.groups.len(),
        intent.filters.len(),
        intent.namespaces.len(),
        intent.pods.len(),
        intent.nodes.len(),
        intent.network_policies.len(),
        intent.cluster_policies.len(),
    ];
    assert!(kinds.iter().all(|count| *count > 0), "a kind has no example: {kinds:?}");
}

#[test]
fn the_order_of_files_and_objects_changes_nothing() {
    let documents = |(name, text): (String, String)| {
        let parts: Vec<_> = text.split("---\n").map(str::to_owned).collect();
        (0..).zip(parts).map(move |(number, text)| (format!("{name} {number}"), text)).collect::<Vec<_>>()
    };
    let mut all: Vec<(String, String)> = examples().into_iter().flat_map(documents).collect();
    let intent = parse(examples()).unwrap().intent;
    for step in 0..all.len() {
        all.rotate_left(1);
        if step % 2 == 0 {
            all.reverse();
        }
        assert_eq!(parse(all.clone()).unwrap().intent, intent);
    }
}

/// Asks the reader for the fields of a mapping by giving it one that does not exist. `{}` in the text is where.
fn fields(api_version: &str, kind: &str, spec: &str) -> Vec<String> {
    let spec = spec.replace("{}", "{zzzzzzzzzzzz: 1}");
    let text = format!("{{apiVersion: {api_version}, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}");
    let diagnostics = parse([("a.yaml", text)]).unwrap_err();
    let unknown = diagnostics.errors().iter().find(|error| error.code() == Code::UnknownField);
    let help = unknown.unwrap_or_else(|| panic!("{kind} {spec}: {}", diagnostics.render(false))).advice();
    let fields = help.unwrap().strip_prefix("its fields are ").unwrap_or_else(|| panic!("{help:?}"));
    fields.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_field_is_described() {
    let ours = "outplane.dev/v1alpha1";
    let network = "networking.k8s.io/v1";
    let cluster = "policy.networking.k8s.io/v1alpha2";
    let mappings = [
        (ours, "Switch", "{}"),
        (ours, "Switch", "{tls: {}}"),
        (ours, "Switch", "{ports: [{}]}"),
        (ours, "Segment", "{}"),
        (ours, "Segment", "{ports: [{}]}"),
        (ours, "Host", "{}"),
        (ours, "AddressGroup", "{}"),
        (ours, "FilterPolicy", "{}"),
        (ours, "KubernetesDefaults", "{}"),
        (ours, "Expectation", "{}"),
        (ours, "Expectation", "{packets: [{}]}"),
        (ours, "Expectation", "{packets: [{tags: [{}]}]}"),
        (ours, "FilterPolicy", "{appliesTo: {}}"),
        (ours, "FilterPolicy", "{rules: [{}]}"),
        (ours, "FilterPolicy", "{rules: [{rateLimit: {}}]}"),
        (ours, "FilterPolicy", "{rules: [{from: [{}]}]}"),
        (ours, "FilterPolicy", "{rules: [{ports: [{}]}]}"),
        (ours, "FilterPolicy", "{rules: [{ports: [{tcpFlags: {}}]}]}"),
        (ours, "FilterPolicy", "{rules: [{icmp: [{}]}]}"),
        (network, "NetworkPolicy", "{}"),
        (network, "NetworkPolicy", "{podSelector: {}}"),
        (network, "NetworkPolicy", "{podSelector: {matchExpressions: [{}]}}"),
        (network, "NetworkPolicy", "{ingress: [{}]}"),
        (network, "NetworkPolicy", "{egress: [{}]}"),
        (network, "NetworkPolicy", "{ingress: [{from: [{}]}]}"),
        (network, "NetworkPolicy", "{ingress: [{from: [{ipBlock: {}}]}]}"),
        (network, "NetworkPolicy", "{ingress: [{ports: [{}]}]}"),
        (cluster, "ClusterNetworkPolicy", "{}"),
        (cluster, "ClusterNetworkPolicy", "{subject: {}}"),
        (cluster, "ClusterNetworkPolicy", "{ingress: [{}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{to: [{}]}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{to: [{pods: {}}]}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{protocols: [{}]}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{protocols: [{tcp: {}}]}]}"),
        (cluster, "ClusterNetworkPolicy", "{egress: [{protocols: [{tcp: {destinationPort: {}}}]}]}"),
    ];
    // The words between backticks in the tables and the text: `ports[].id` says `ports` and `id`.
    let prose = DOCUMENTATION.split("```").step_by(2).collect::<String>();
    let words: BTreeSet<&str> = prose
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split(|character: char| !character.is_alphanumeric() && character != '_'))
        .collect();
    let mut missing = BTreeSet::new();
    for (api_version, kind, spec) in mappings {
        let found = fields(api_version, kind, spec);
        assert!(!found.is_empty());
        missing.extend(found.into_iter().filter(|field| !words.contains(field.as_str())));
    }
    assert!(missing.is_empty(), "docs/intent.md does not describe {missing:?}");
}

#[test]
fn every_code_is_described() {
    for code in Code::ALL {
        let row = format!("| `{code}` | ");
        assert!(DOCUMENTATION.lines().any(|line| line.starts_with(&row)), "{code}");
    }
}

/// What docs/security.md has against the addresses that enter everywhere: nothing that hosts need is lost.
#[test]
fn the_policy_for_hosts_that_start() {
    let text = include_str!("../../../../docs/security.md");
    let (_, text) = text.split_once("```yaml\n").expect("an example");
    let (text, _) = text.split_once("```").expect("its end");
    let intent = parse([("security.md", text)]).expect("an intent").intent;
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let discovery = |src: &str, dst: &str, icmp_type: u8| Packet::icmp(ip(src), ip(dst), icmp_type, 0);
    let (printer, everybody, link) = ("2001:db8::9", "ff02::1", "fe80::1");
    for (packet, allow) in [
        (Packet::udp(ip("0.0.0.0"), 68, ip("255.255.255.255"), 67), true),
        (Packet::udp(ip("0.0.0.0"), 68, ip("10.1.0.9"), 69), false),
        (Packet::icmp(ip("0.0.0.0"), ip("10.1.0.9"), 8, 0), false),
        (Packet::arp([0, 0, 0, 0].into(), [10, 1, 0, 9].into()), true),
        (discovery("::", "ff02::1:ff00:9", 135), true),
        (discovery("::", "ff02::16", 143), true),
        (Packet::udp(ip("::"), 546, ip("ff02::1:2"), 547), false),
        (discovery(link, printer, 135), true),
        (discovery(link, printer, 128), false),
        (Packet::udp(ip(link), 546, ip("ff02::1:2"), 547), true),
        (Packet::udp(ip(link), 5353, ip(everybody), 5353), true),
        (Packet::tcp(ip(link), 50_000, ip("fe80::9"), 22, 2), true),
        (Packet::tcp(ip(link), 50_000, ip(printer), 22, 2), false),
        (Packet::tcp(ip("10.1.0.7"), 50_000, ip("10.1.0.9"), 22, 2), true),
    ] {
        let verdict = evaluate(&intent, None, Timestamp::UNIX_EPOCH, &packet);
        assert_eq!(verdict.allow, allow, "{packet:?}: {verdict:?}");
    }
}
