//! What YAML 1.1 and YAML 1.2 read differently means nothing: it is an error, wherever it would count.

use outplane_intent::reader::{Code, parse};

/// Codes and messages of the errors in a text.
fn errors(text: &str) -> Vec<(Code, String)> {
    match parse([("a.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(diagnostics) => {
            diagnostics.errors().iter().map(|error| (error.code(), error.message().to_owned())).collect()
        }
    }
}

fn policy(port: &str) -> String {
    format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: {{}}, \
         ingress: [{{ports: [{{port: {port}}}]}}]}}}}"
    )
}

#[test]
fn ports_with_two_readings() {
    for (port, old, new) in [
        ("0120", "80", "120"),
        ("0443", "291", "443"),
        ("0o120", "the text \"0o120\"", "80"),
        ("0b1010000", "80", "the text \"0b1010000\""),
        ("8_080", "8080", "the text \"8_080\""),
        ("0X50", "80", "the text \"0X50\""),
        ("1:20", "80", "the text \"1:20\""),
        ("080", "the text \"080\"", "80"),
        ("on", "true", "the text \"on\""),
    ] {
        let found = errors(&policy(port));
        assert_eq!(found.len(), 1, "{port}: {found:?}");
        let (code, message) = &found[0];
        assert_eq!(*code, Code::Ambiguous, "{port}");
        assert!(message.contains(&format!(" is {old} in YAML 1.1")), "{port}: {message}");
        assert!(message.contains(&format!("and {new} in YAML 1.2")), "{port}: {message}");
    }
    for port in ["80", "0x50", "+80", "007", "http", "y", "\"no-1\""] {
        assert_eq!(errors(&policy(port)), [], "{port}");
    }
}

#[test]
fn everywhere_that_it_counts() {
    let ours = |kind: &str, spec: &str| {
        format!("{{apiVersion: outplane.dev/v1alpha1, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}")
    };
    let cluster = |spec: &str| {
        format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: a}}, spec: \
             {{tier: Admin, subject: {{namespaces: {{}}}}, {spec}}}}}"
        )
    };
    let pod = |metadata: &str, port: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, {metadata}}}, spec: {{containers: [{{ports: [{port}]}}]}}, \
             status: {{podIP: 10.0.0.1}}}}"
        )
    };
    for text in [
        ours("FilterPolicy", "{default: deny, priority: 010}"),
        ours("FilterPolicy", "{default: no}"),
        ours("FilterPolicy", "{rules: [{action: allow, log: yes, ports: [{port: 0443}]}]}"),
        ours("FilterPolicy", "{rules: [{name: off, action: allow}]}"),
        ours("FilterPolicy", "{rules: [{action: allow, ports: [{protocol: 017}]}]}"),
        ours("FilterPolicy", "{rules: [{action: allow, icmp: [{type: 010}]}]}"),
        ours("FilterPolicy", "{rules: [{action: allow, rateLimit: {packetsPerSecond: 10_000}}]}"),
        ours("Segment", "{vlan: 0100}"),
        ours("Segment", "{vlan: 10, ports: [{ports: [01, 02]}, {ports: [010]}]}"),
        ours("Switch", "{address: \"a:1\", deviceId: 0x_1}"),
        ours("Host", "{addresses: [10.0.0.1], mac: 52:54:00:12:34:56}"),
        ours("Host", "{addresses: [20:1:0:0:0:0:0:1]}"),
        cluster("priority: 0100"),
        cluster(
            "priority: 1, egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {number: 0443}}}]}]",
        ),
        pod("namespace: off", ""),
        pod("labels: {app: yes}", ""),
        pod("labels: {on: x}", ""),
        pod("labels: {0120: x}", ""),
        pod("labels: {a: b}", "{name: http, containerPort: 0120}"),
        pod("labels: {a: b}", "{name: no, containerPort: 80}"),
        policy("http").replace("podSelector: {}", "podSelector: {matchLabels: {debug: off}}"),
        policy("http").replace(
            "podSelector: {}",
            "podSelector: {matchExpressions: [{key: a, operator: In, values: [on]}]}",
        ),
    ] {
        let found = errors(&text);
        assert!(found.iter().any(|(code, _)| *code == Code::Ambiguous), "{text}: {found:?}");
    }
}

/// `defaultMode: 0644` is how everybody writes it, and nothing to us.
#[test]
fn nowhere_that_it_does_not() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: n, labels: {app: \"yes\", \"on\": \"0120\"}, annotations: {x: 0120, yes: no}}
spec: {volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}], containers: [{tty: yes}]}
status: {podIP: 10.0.0.1}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {mode: 0755}}
";
    assert_eq!(errors(text), []);
}

#[test]
fn numbers_in_text_have_no_leading_zeros_either() {
    let rule = |port: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: a}}, spec: {{rules: [{{action: \
             allow, ports: [{{port: {port}}}]}}]}}}}"
        )
    };
    for port in ["\"0120\"", "0120-0130", "\"1-010\"", "\"+80\""] {
        assert_eq!(errors(&rule(port))[0].0, Code::InvalidValue, "{port}");
    }
    for port in ["\"120\"", "120-130", "\"0-65535\""] {
        assert_eq!(errors(&rule(port)), [], "{port}");
    }
}
