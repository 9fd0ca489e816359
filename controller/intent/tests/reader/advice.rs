//! What is allowed and can hardly be meant.

use jiff::Timestamp;
use outplane_intent::reader::Code;

use crate::read;

fn advice(spec: &str) -> Vec<(Code, String)> {
    let text = format!(
        "{{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {{name: office}}, spec: {{subnets: [10.1.0.0/24]}}}}\n\
         ---\n{{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {{name: lab}}, spec: {{subnets: [10.2.0.0/24]}}}}\n{spec}"
    );
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let loaded = read(&text);
    let found = outplane_intent::reader::advice(&loaded.intent, &loaded.sources, now);
    assert!(found.iter().all(|one| one.location().is_some()), "each has its place");
    found.iter().map(|one| (one.code(), one.to_string())).collect()
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: {name}}}, spec: {spec}}}\n"
    )
}

#[test]
fn rules_behind_one_that_takes_everything() {
    let everything = "{name: everything, action: allow}";
    let telnet = "{name: telnet, action: deny, ports: [{port: 23}]}";
    let found = advice(&policy("edge", &format!("{{rules: [{everything}, {telnet}]}}")));
    let said =
        "FilterPolicy/edge: no packet reaches rule telnet: rule everything takes every IP packet before it";
    assert_eq!(found, [(Code::NeverMatches, said.to_owned())]);
    // The other way round it is right; so it is where what takes everything will be gone, or is gone, or is not all of it.
    for rules in [
        format!("{telnet}, {everything}"),
        format!("{{action: allow, expires: 2026-02-01T00:00:00Z}}, {telnet}"),
        format!("{{action: allow, expires: 2025-02-01T00:00:00Z}}, {telnet}"),
        format!("{{action: allow, to: [10.0.0.0/8]}}, {telnet}"),
        format!("{everything}, {{action: deny, ports: [{{protocol: ARP}}]}}"),
        format!("{everything}, {{action: deny, ports: [{{protocol: ND}}]}}"),
    ] {
        assert_eq!(advice(&policy("edge", &format!("{{rules: [{rules}]}}"))), [], "{rules}");
    }
    // Another policy's default, where it looks too.
    let first =
        |segments: &str| policy("first", &format!("{{priority: 1, {segments} default: pass, rules: []}}"));
    let second = |segments: &str| policy("second", &format!("{{{segments} rules: [{telnet}]}}"));
    let office = "segments: [office],";
    for (one, other, unreached) in [
        ("", "", true),
        ("", office, true),
        (office, "", false),
        (office, office, true),
        (office, "segments: [lab],", false),
    ] {
        let (one, other) = (
            one.replace("segments", "appliesTo: {segments").replace("],", "]},"),
            other.replace("segments", "appliesTo: {segments").replace("],", "]},"),
        );
        let found = advice(&(first(&one) + &second(&other)));
        assert_eq!(!found.is_empty(), unreached, "{one} {other}: {found:?}");
        if let [(_, text)] = &found[..] {
            assert!(text.contains("the default of FilterPolicy/first takes every IP packet"), "{text}");
        }
    }
    // Another tier is asked after all.
    let admin = policy("first", "{tier: admin, default: pass, rules: []}");
    assert_eq!(advice(&(admin + &policy("second", &format!("{{tier: baseline, rules: [{telnet}]}}")))), []);
}

#[test]
fn answers_that_have_no_way_back() {
    let of = |replies: &str, ports: &str, more: &str| {
        let rule = format!(
            "{{name: ask, action: allow, from: [{{segment: office}}], to: [{{segment: lab}}], {ports}}}"
        );
        advice(&policy("edge", &format!("{{default: deny, {replies} rules: [{rule}{more}]}}")))
    };
    let dns = "ports: [{protocol: UDP, port: 53}]";
    let said = "FilterPolicy/edge: rule ask lets UDP through, and no answer back: for example, one from 10.2.0.1 to 10.1.0.1 \
                is denied by FilterPolicy/edge, rule default";
    assert_eq!(of("", dns, ""), [(Code::RepliesLost, said.to_owned())]);
    for (replies, ports, more, lost) in [
        ("replies: reverse,", dns, "", false),
        ("", "icmp: [{type: 8}]", "", true),
        ("replies: reverse,", "icmp: [{type: 8}]", "", false),
        ("", "ports: [{protocol: TCP, port: 80}]", "", false),
        ("replies: none,", "ports: [{protocol: TCP, port: 80}]", "", true),
        ("", "ports: [{protocol: SCTP, port: 80}]", "", true),
        ("", "ports: [{protocol: UDP}]", "", true),
        ("", "ports: [{protocol: UDP, port: 50, endPort: 60}]", "", true),
        ("", "icmp: [{}]", "", true),
        ("", "ports: [{protocol: UDP, port: 514}]", "", false),
        // A rule for the answers.
        (
            "",
            dns,
            ", {action: allow, from: [{segment: lab}], ports: [{protocol: UDP, sourcePort: 53}]}",
            false,
        ),
        ("", "", "", false),
    ] {
        let found = of(replies, ports, more);
        assert_eq!(!found.is_empty(), lost, "{replies} {ports} {more}: {found:?}");
    }
    // What is for many is answered by each as it likes.
    let many = policy(
        "edge",
        "{default: deny, rules: [{action: allow, to: [224.0.0.251/32], ports: [{protocol: UDP, port: 5353}]}]}",
    );
    assert_eq!(advice(&many), []);
    // Nothing is denied, or the rule is none that lets it through.
    let open =
        policy("edge", "{rules: [{action: allow, to: [10.0.0.1], ports: [{protocol: UDP, port: 53}]}]}");
    assert_eq!(advice(&open), []);
}

#[test]
fn names_that_pods_ask_for() {
    let pods = "
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, status: {podIPs: [{ip: 10.244.0.7}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns, namespace: kube-system, labels: {app: dns}}, status: {podIPs: [{ip: 10.244.0.2}]}}
";
    let policy = |name: &str, annotations: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: shop, annotations: {{{annotations}}}}}, spec: {spec}}}\n"
        )
    };
    let deny =
        |annotations: &str| policy("deny", annotations, "{podSelector: {}, policyTypes: [Ingress, Egress]}");
    let to = "namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {}";
    let dns = policy(
        "dns",
        "",
        &format!(
            "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{to: [{{{to}}}], ports: [{{protocol: UDP, port: 53}}]}}]}}"
        ),
    );
    let found = advice(&format!("{pods}{}{dns}", deny("")));
    let said = "NetworkPolicy/shop/dns: it lets UDP to port 53 out of a pod, and no answer back: for example, what \
                10.244.0.2 answers 10.244.0.7 is denied by NetworkPolicy/shop/deny, isolation";
    assert_eq!(found, [(Code::RepliesLost, said.to_owned())]);
    let defaults = "---\n{apiVersion: outplane.dev/v1alpha1, kind: KubernetesDefaults, metadata: {name: all}, spec: {replies: reverse}}\n";
    for cured in [
        format!("{pods}{}{dns}", deny("outplane.dev/replies: reverse")),
        format!("{pods}{}{dns}{defaults}", deny("")),
        // Nobody is kept out, or nobody asks.
        format!("{pods}{dns}"),
        format!("{pods}{}", deny("")),
    ] {
        assert_eq!(advice(&cured), [], "{cured}");
    }
}
