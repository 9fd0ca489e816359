//! What a cluster's objects say together: nodes and their pods, pods and their addresses, and what an API server refuses.

use std::net::IpAddr;

use outplane_intent::model::ObjectName;
use outplane_intent::reader::{Code, Diagnostic, parse};

use super::read;

fn name(name: &str) -> ObjectName {
    ObjectName { namespace: "default".to_owned(), name: name.to_owned() }
}

fn pod(name: &str, metadata: &str, spec: &str, status: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, {metadata}}}, spec: {{{spec}}}, status: {{phase: \
         Running, {status}}}}}\n"
    )
}

#[test]
fn a_pods_node() {
    let text = [
        "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 192.168.0.11},
         {type: InternalIP, address: 'fd00::11'}, {type: ExternalIP, address: 198.51.100.11}, {type: Hostname, address: n1}]}}\n"
            .to_owned(),
        pod("both", "", "nodeName: n1", "podIP: 10.0.0.1, hostIP: 192.168.0.11, hostIPs: [{ip: 192.168.0.11}, {ip: 'fd00::12'}]"),
        pod("by-name", "", "nodeName: n1", "podIP: 10.0.0.2"),
        pod("by-status", "", "nodeName: gone", "podIP: 10.0.0.3, hostIP: 192.168.0.13"),
        pod("unknown", "", "nodeName: gone", "podIP: 10.0.0.4, hostIP: ''"),
    ];
    let pods = read(&text.concat()).intent.pods;
    let nodes = |pod: &str| {
        pods[&name(pod)].node_addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(nodes("both"), "192.168.0.11 198.51.100.11 fd00::11 fd00::12");
    assert_eq!(nodes("by-name"), "192.168.0.11 198.51.100.11 fd00::11");
    assert_eq!(nodes("by-status"), "192.168.0.13");
    assert_eq!(nodes("unknown"), "");
}

#[test]
fn of_two_pods_with_one_address_the_live_newer_one_counts() {
    let early = "creationTimestamp: '2026-11-01T10:00:00Z'";
    let late = "creationTimestamp: '2026-11-01T10:05:00Z'";
    let deleted = |created: &str| format!("{created}, deletionTimestamp: '2026-11-01T10:06:00Z'");
    for (old, new) in [
        (deleted(early), late.to_owned()),
        // Even if it is the newer one that goes.
        (deleted(late), early.to_owned()),
        (deleted("labels: {}"), "labels: {}".to_owned()),
        (early.to_owned(), late.to_owned()),
        (deleted(early), deleted(late)),
    ] {
        let old = pod("old", &old, "", "podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]");
        let new = pod("new", &new, "", "podIP: 10.0.0.1");
        for text in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            let loaded = read(&text.concat());
            let addresses = |pod: &str| loaded.intent.pods[&name(pod)].addresses.clone();
            assert_eq!(addresses("new"), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
            // What nobody else claims stays.
            assert_eq!(addresses("old"), ["fd00::1".parse::<IpAddr>().unwrap()]);
            let warnings: Vec<_> = loaded.warnings.iter().map(|it| (it.code(), it.object())).collect();
            assert_eq!(warnings, [(Code::Overlap, Some("Pod/default/old"))]);
        }
    }
    // One that has nothing left is not there.
    let text = [pod("old", &deleted(early), "", "podIP: 10.0.0.1"), pod("new", late, "", "podIP: 10.0.0.1")];
    assert_eq!(read(&text.concat()).intent.pods.keys().collect::<Vec<_>>(), [&name("new")]);
    // A host counts before a pod that goes.
    let host = "---\n{apiVersion: outplane.dev/v1alpha1, kind: Host, metadata: {name: h}, spec: {addresses: [10.0.0.1]}}\n";
    assert!(read(&[&text[0], host].concat()).intent.pods.is_empty());
}

#[test]
fn two_pods_that_nothing_tells_apart() {
    let early = "creationTimestamp: '2026-11-01T10:00:00Z'";
    for (one, two) in [("", ""), (early, ""), (early, early)] {
        let text = pod("one", one, "", "podIP: 10.0.0.1") + &pod("two", two, "", "podIP: 10.0.0.1");
        let errors = parse([("a.yaml", text)]).unwrap_err();
        assert_eq!(errors.errors()[0].code(), Code::Overlap);
    }
}

#[test]
fn one_name_for_two_ports_of_a_pod() {
    let ports =
        "containers: [{ports: [{name: m, containerPort: 9100}]}, {ports: [{name: m, containerPort: 15020}]}]";
    let loaded = read(&pod("a", "", ports, "podIP: 10.0.0.1"));
    assert_eq!(loaded.intent.pods[&name("a")].named_ports.values().collect::<Vec<_>>(), [&9100]);
    assert_eq!(loaded.warnings.len(), 1);
    let warning = &loaded.warnings[0];
    assert_eq!((warning.code(), warning.object()), (Code::DuplicateName, Some("Pod/default/a")));
    assert!(warning.message().contains("port 9100 of another container"), "{warning}");
}

#[test]
fn labels_that_cannot_be() {
    let long = "a".repeat(64);
    let requirement = |key: &str, values: &str| {
        format!("{{matchExpressions: [{{key: {key}, operator: In, values: [{values}]}}]}}")
    };
    let bad = [
        requirement("X", "\"bad space\""),
        requirement("X", "good, \"-bad\""),
        requirement("X", &long),
        requirement("\"a b/c\"", "d"),
        requirement("a/b/c", "d"),
        requirement("Example.com/a", "d"),
        requirement("\"/a\"", "d"),
        requirement("\"a/\"", "d"),
        "{matchLabels: {\"a b/c\": d}}".to_owned(),
        "{matchLabels: {kubernetes.io/metadata.name: \"*\"}}".to_owned(),
        "{matchLabels: {app: a/b}}".to_owned(),
        format!("{{matchLabels: {{{long}: a}}}}"),
        "{matchExpressions: [{key: \"a*\", operator: Exists}]}".to_owned(),
    ];
    let policies = |selector: &str| {
        [
            format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p}}, spec: {{podSelector: \
                 {{}}, ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]}}}}"
            ),
            format!(
                "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: p}}, \
                 spec: {{tier: Admin, priority: 1, subject: {{namespaces: {selector}}}}}}}"
            ),
            format!(
                "{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: p}}, spec: {{rules: \
                 [{{action: deny, to: [{{podSelector: {selector}}}]}}]}}}}"
            ),
        ]
    };
    for selector in bad {
        for text in policies(&selector) {
            let errors = parse([("a.yaml", text.clone())]).unwrap_err();
            assert_eq!(errors.errors().len(), 1, "{text}");
            assert_eq!(errors.errors()[0].code(), Code::InvalidValue, "{text}");
        }
    }
    for selector in [
        requirement("app.kubernetes.io/name", "\"\", a_b.c-d, A, \"1\""),
        requirement("a", &long[1..]),
        "{matchLabels: {app: null, 80: x}}".to_owned(),
    ] {
        for text in policies(&selector) {
            read(&text);
        }
    }
}

/// The errors of a ClusterNetworkPolicy with these fields beside tier, priority and subject.
fn cluster(spec: &str) -> Vec<Diagnostic> {
    let text = format!(
        "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: p}}, spec: \
         {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {spec}}}}}"
    );
    parse([("a.yaml", text)]).err().map(|errors| errors.errors().to_vec()).unwrap_or_default()
}

#[test]
fn what_the_crd_refuses() {
    let networks = |networks: &str| format!("egress: [{{action: Deny, to: [{{networks: [{networks}]}}]}}]");
    let protocols = |protocols: &str| {
        format!("egress: [{{action: Deny, to: [{{networks: [10.0.0.0/8]}}], protocols: [{protocols}]}}]")
    };
    let many = |item: &str, count: usize| vec![item; count].join(", ");
    let cidrs = |count: usize| (0..count).map(|n| format!("10.{n}.0.0/16")).collect::<Vec<_>>().join(", ");
    let rule = "{action: Deny, from: [{namespaces: {}}]}";
    for good in [
        networks("10.0.0.0/8, 10.0.0.0/9"),
        networks(&cidrs(25)),
        protocols("{udp: {destinationPort: {number: 53}}}"),
        protocols("{tcp: {destinationPort: {range: {start: 80, end: 81}}}}"),
        format!("ingress: [{}]", many(rule, 25)),
        "ingress: [], egress: null".to_owned(),
        "ingress: [{name: '', action: Deny, from: [{namespaces: {}}]}]".to_owned(),
        "ingress: [{action: Deny, from: [{pods: {podSelector: {}}}]}]".to_owned(),
    ] {
        assert!(cluster(&good).is_empty(), "{good}: {:?}", cluster(&good));
    }
    for bad in [
        networks("10.0.0.0/8, 10.0.0.0/8"),
        networks("fd00::/8, 10.0.0.0/8, 'fd00::/8'"),
        networks(&cidrs(26)),
        networks("10.0.0.0"),
        networks("10.0.0.0/08"),
        networks("'::ffff:10.0.0.0/104'"),
        networks(""),
        protocols("{udp: {}}"),
        protocols("{tcp: {destinationPort: {}}}"),
        protocols("{}"),
        protocols(""),
        protocols("{tcp: {destinationPort: {range: {start: 80, end: 80}}}}"),
        protocols("{tcp: {destinationPort: {range: {start: 81, end: 80}}}}"),
        protocols("{tcp: {destinationPort: {number: 0}}}"),
        protocols("{destinationNamedPort: http}"),
        protocols(&many("{udp: {destinationPort: {number: 53}}}", 26)),
        format!("ingress: [{}]", many(rule, 26)),
        format!("ingress: [{{action: Deny, from: [{}]}}]", many("{namespaces: {}}", 26)),
        "ingress: [{action: Deny, from: [{pods: {namespaceSelector: {}}}]}]".to_owned(),
        "ingress: [{action: deny, from: [{namespaces: {}}]}]".to_owned(),
        "ingress: [{action: Deny, from: [{namespaces: {}}], ports: [{portNumber: {port: 80}}]}]".to_owned(),
        format!("ingress: [{{name: {}, action: Deny, from: [{{namespaces: {{}}}}]}}]", "a".repeat(101)),
    ] {
        assert_eq!(cluster(&bad).len(), 1, "{bad}: {:?}", cluster(&bad));
    }
    let text = |tier: &str| {
        format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: p}}, spec: \
             {{tier: {tier}, priority: 1, subject: {{namespaces: {{}}}}}}}}"
        )
    };
    read(&text("Baseline"));
    assert!(parse([("a.yaml", text("baseline"))]).is_err());
}
