//! Objects of Kubernetes, as the API server understands them.

use outplane_intent::model::*;
use outplane_intent::reader::{Code, parse};

use crate::read;

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn is(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: LabelOperator::In(vec![value.to_owned()]) }
}

fn selector(requirements: &[Requirement]) -> LabelSelector {
    LabelSelector { requirements: requirements.to_vec() }
}

/// A NetworkPolicy with this spec, in YAML's flow style.
fn network_policy(spec: &str) -> NetworkPolicy {
    let text = format!(
        "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: n}}, spec: {spec}}}"
    );
    read(&text).intent.network_policies[&name("n", "p")].clone()
}

fn everything() -> NetworkPolicyRule {
    NetworkPolicyRule { peers: vec![], ports: vec![] }
}

#[test]
fn policy_types_and_their_defaults() {
    let all = || Some(vec![everything()]);
    let none = || Some(vec![]);
    let cases = [
        ("{podSelector: {}}", none(), None),
        ("{podSelector: {}, policyTypes: []}", none(), None),
        ("{podSelector: {}, policyTypes: null}", none(), None),
        ("{podSelector: {}, ingress: [{}]}", all(), None),
        ("{podSelector: {}, egress: [{}]}", none(), all()),
        ("{podSelector: {}, egress: []}", none(), None),
        ("{podSelector: {}, policyTypes: [Egress]}", None, none()),
        ("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}", None, none()),
        ("{podSelector: {}, policyTypes: [Ingress], egress: [{}]}", none(), None),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", none(), none()),
        ("{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [], ports: null}]}", none(), all()),
        ("{policyTypes: [Ingress], ingress: [{from: null}]}", all(), None),
    ];
    for (spec, ingress, egress) in cases {
        let policy = network_policy(spec);
        assert_eq!((policy.ingress, policy.egress), (ingress, egress), "{spec}");
        assert_eq!(policy.pods, LabelSelector::default(), "{spec}");
    }
}

#[test]
fn peers() {
    let pods = |namespaces, pods| NetworkPeer::Pods { namespaces, pods };
    let web = || selector(&[is("app", "web")]);
    let block = |cidr, except: &[&str]| NetworkPeer::IpBlock {
        cidr: net(cidr),
        except: except.iter().map(|hole| net(hole)).collect(),
    };
    let cases = [
        ("{podSelector: {matchLabels: {app: web}}}", pods(None, web())),
        ("{podSelector: {}}", pods(None, LabelSelector::default())),
        ("{namespaceSelector: {}}", pods(Some(LabelSelector::default()), LabelSelector::default())),
        ("{namespaceSelector: {matchLabels: {app: web}}}", pods(Some(web()), LabelSelector::default())),
        (
            "{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}",
            pods(Some(LabelSelector::default()), web()),
        ),
        ("{namespaceSelector: null, podSelector: {}, ipBlock: null}", pods(None, LabelSelector::default())),
        ("{ipBlock: {cidr: 10.0.0.0/8}}", block("10.0.0.0/8", &[])),
        (
            "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 10.1.0.0/16]}}",
            block("0.0.0.0/0", &["10.0.0.0/8", "10.1.0.0/16"]),
        ),
        ("{ipBlock: {cidr: 'fd00::/8', except: ['fd01::1/128']}}", block("fd00::/8", &["fd01::1/128"])),
        // The API server keeps host bits; they mean nothing.
        ("{ipBlock: {cidr: 10.1.2.3/8, except: [10.9.9.9/16]}}", block("10.0.0.0/8", &["10.9.0.0/16"])),
    ];
    for (peer, expected) in cases {
        let policy = network_policy(&format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"));
        assert_eq!(policy.ingress.unwrap()[0].peers, std::slice::from_ref(&expected), "{peer}");
        let policy = network_policy(&format!("{{podSelector: {{}}, egress: [{{to: [{peer}]}}]}}"));
        assert_eq!(policy.egress.unwrap()[0].peers, [expected], "{peer}");
    }
}

#[test]
fn ports() {
    use NetworkPort::{All, Named, Range};
    use PortProtocol::{Sctp, Tcp, Udp};
    let cases = [
        ("{}", All(Tcp)),
        ("{protocol: UDP}", All(Udp)),
        ("{protocol: SCTP, port: 7}", Range(Sctp, 7, 7)),
        ("{port: 80}", Range(Tcp, 80, 80)),
        ("{port: 0x50}", Range(Tcp, 80, 80)),
        ("{protocol: TCP, port: 1, endPort: 65535}", Range(Tcp, 1, 65535)),
        ("{port: 80, endPort: 80}", Range(Tcp, 80, 80)),
        ("{port: http}", Named(Tcp, "http".to_owned())),
        ("{protocol: UDP, port: dns-2}", Named(Udp, "dns-2".to_owned())),
        ("{protocol: null, port: null, endPort: null}", All(Tcp)),
    ];
    for (port, expected) in cases {
        let policy = network_policy(&format!("{{podSelector: {{}}, ingress: [{{ports: [{port}]}}]}}"));
        assert_eq!(policy.ingress.unwrap()[0].ports, [expected], "{port}");
    }
}

#[test]
fn selectors() {
    let values = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let one = |operator| Requirement { key: "k".to_owned(), operator };
    let cases = [
        ("{}", vec![]),
        ("{matchLabels: {b: '2', a: ''}}", vec![is("a", ""), is("b", "2")]),
        ("{matchLabels: {a: null}}", vec![is("a", "")]),
        (
            "{matchExpressions: [{key: k, operator: In, values: [x, '']}]}",
            vec![one(LabelOperator::In(values(&["x", ""])))],
        ),
        (
            "{matchExpressions: [{key: k, operator: NotIn, values: [x]}]}",
            vec![one(LabelOperator::NotIn(values(&["x"])))],
        ),
        ("{matchExpressions: [{key: k, operator: Exists}]}", vec![one(LabelOperator::Exists)]),
        ("{matchExpressions: [{key: k, operator: Exists, values: []}]}", vec![one(LabelOperator::Exists)]),
        (
            "{matchLabels: {a: b}, matchExpressions: [{key: k, operator: DoesNotExist}]}",
            vec![is("a", "b"), one(LabelOperator::DoesNotExist)],
        ),
    ];
    for (text, expected) in cases {
        let policy = network_policy(&format!("{{podSelector: {text}}}"));
        assert_eq!(policy.pods, selector(&expected), "{text}");
    }
}

#[test]
fn annotations() {
    let policy = |annotations: &str| {
        let text = format!(
            "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  annotations: {annotations}
spec: {{podSelector: {{}}}}
"
        );
        let policy = read(&text).intent.network_policies[&name("default", "p")].clone();
        (policy.replies, policy.log)
    };
    assert_eq!(policy("null"), (None, false));
    assert_eq!(policy("{other.example/replies: [1, 2]}"), (None, false));
    assert_eq!(policy("{outplane.dev/replies: none}"), (Some(Replies::None), false));
    assert_eq!(
        policy("{outplane.dev/replies: Reverse, outplane.dev/log: 'true'}"),
        (Some(Replies::Reverse), true)
    );
    assert_eq!(policy("{outplane.dev/log: 'false'}"), (None, false));
}

#[test]
fn related_errors() {
    for (annotation, mode) in [("none", RelatedErrors::None), ("Allow", RelatedErrors::Allow)] {
        let text = format!(
            "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: p, annotations: {{outplane.dev/related-errors: {annotation}}}}}
spec: {{podSelector: {{}}}}
"
        );
        assert_eq!(read(&text).intent.network_policies[&name("default", "p")].related_errors, Some(mode));
    }
}

#[test]
fn cluster_network_policy() {
    let loaded = read(
        "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata:
  name: cluster
  annotations: {outplane.dev/replies: none}
spec:
  tier: Baseline
  priority: 30
  subject:
    pods:
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
      podSelector: {matchLabels: {app: web}}
  ingress:
    - name: from-monitoring
      action: Accept
      from:
        - namespaces: {matchLabels: {team: monitoring}}
        - pods: {podSelector: {}}
      protocols:
        - tcp: {destinationPort: {number: 9090}}
        - udp: {destinationPort: {range: {start: 10, end: 20}}}
        - sctp: {destinationPort: {range: {start: 1, end: 65535}}}
        - destinationNamedPort: metrics
    - action: Pass
      from: [{namespaces: {}}]
  egress:
    - action: Deny
      to:
        - nodes: {matchExpressions: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]}
        - networks: [10.0.0.0/8, 'fd00::/8']
      protocols:
        - udp: {destinationPort: {number: 53}}
        - tcp: {destinationPort: {range: {start: 1, end: 5}}}
status: {conditions: []}
",
    );
    let policy = &loaded.intent.cluster_policies["cluster"];
    let everything = LabelSelector::default();
    let anywhere = |namespaces: &[Requirement], pods: &[Requirement]| PodsAnywhere {
        namespaces: selector(namespaces),
        pods: selector(pods),
    };
    let exists = Requirement {
        key: "node-role.kubernetes.io/control-plane".to_owned(),
        operator: LabelOperator::Exists,
    };
    assert_eq!(
        *policy,
        ClusterNetworkPolicy {
            tier: ClusterTier::Baseline,
            priority: 30,
            subject: anywhere(&[is("kubernetes.io/metadata.name", "shop")], &[is("app", "web")]),
            replies: Some(Replies::None),
            related_errors: None,
            ingress: vec![
                ClusterRule {
                    name: Some("from-monitoring".to_owned()),
                    action: ClusterAction::Accept,
                    peers: vec![
                        ClusterPeer::Pods(anywhere(&[is("team", "monitoring")], &[])),
                        ClusterPeer::Pods(PodsAnywhere { namespaces: everything.clone(), pods: everything }),
                    ],
                    ports: vec![
                        NetworkPort::Range(PortProtocol::Tcp, 9090, 9090),
                        NetworkPort::Range(PortProtocol::Udp, 10, 20),
                        NetworkPort::Range(PortProtocol::Sctp, 1, 65535),
                        NetworkPort::NamedAnyProtocol("metrics".to_owned()),
                    ],
                },
                ClusterRule {
                    name: None,
                    action: ClusterAction::Pass,
                    peers: vec![ClusterPeer::Pods(anywhere(&[], &[]))],
                    ports: vec![],
                },
            ],
            egress: vec![ClusterRule {
                name: None,
                action: ClusterAction::Deny,
                peers: vec![
                    ClusterPeer::Nodes(selector(&[exists])),
                    ClusterPeer::Networks(vec![net("10.0.0.0/8"), net("fd00::/8")]),
                ],
                ports: vec![
                    NetworkPort::Range(PortProtocol::Udp, 53, 53),
                    NetworkPort::Range(PortProtocol::Tcp, 1, 5),
                ],
            }],
        }
    );
    let object = "ClusterNetworkPolicy/cluster";
    assert_eq!(loaded.sources.rule(object, "from-monitoring"), loaded.sources.rule(object, "ingress[0]"));
    assert_eq!(loaded.sources.rule(object, "ingress[1]").unwrap().line, 25);
    assert_eq!(loaded.sources.rule(object, "egress[0]").unwrap().line, 28);
}

#[test]
fn pods() {
    let pod = |name: &str, spec: &str, status: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: x}}}}, spec: {spec}, status: {status}}}\n"
        )
    };
    let ports = "{containers: [{ports: [{name: http, containerPort: 80}, {containerPort: 81}]},
        {ports: [{name: http, containerPort: 8080}, {name: http, containerPort: 53, protocol: UDP}]}],
        initContainers: [{restartPolicy: Always, ports: [{name: mesh, containerPort: 15001}, {name: http, containerPort: 1}]},
        {ports: [{name: init, containerPort: 9}]}]}";
    let text = [
        pod("whole", ports, "{phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}"),
        pod("old", "{}", "{podIP: 10.0.0.2}"),
        pod("host", "{hostNetwork: true}", "{phase: Running, podIP: 192.168.0.1}"),
        pod("not-host", "{hostNetwork: false}", "{phase: Running, podIP: 10.0.0.3}"),
        // Addresses of finished pods may be others' already.
        pod("done", "{}", "{phase: Succeeded, podIP: 10.0.0.1}"),
        pod("failed", "{}", "{phase: Failed, podIPs: [{ip: 10.0.0.1}]}"),
        pod("pending", "{}", "{phase: Pending}"),
        pod("odd", "null", "{podIPs: [{ip: 10.0.0.4}], extra: {anything: [goes]}}"),
    ];
    let loaded = read(&text.concat());
    let names: Vec<&str> = loaded.intent.pods.keys().map(|name| name.name.as_str()).collect();
    assert_eq!(names, ["not-host", "odd", "old", "whole"]);
    let port = |name: &str, protocol| (name.to_owned(), protocol);
    assert_eq!(
        loaded.intent.pods[&name("default", "whole")],
        Pod {
            labels: [("app".to_owned(), "x".to_owned())].into(),
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            named_ports: [
                (port("http", PortProtocol::Tcp), 80),
                (port("http", PortProtocol::Udp), 53),
                (port("mesh", PortProtocol::Tcp), 15001),
            ]
            .into(),
            node_addresses: Vec::new(),
        }
    );
    let warnings: Vec<_> = loaded.warnings.iter().map(|warning| (warning.code(), warning.object())).collect();
    let twice = (Code::DuplicateName, Some("Pod/default/whole"));
    assert_eq!(warnings, [twice, twice, twice, (Code::Skipped, Some("Pod/default/pending"))]);
}

#[test]
fn namespaces_have_their_name_as_label() {
    let loaded = read(
        "
{apiVersion: v1, kind: Namespace, metadata: {name: declared, labels: {team: a, kubernetes.io/metadata.name: lie}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: of-pod}, status: {podIP: 10.0.0.1}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: of-policy}, spec: {podSelector: {}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p}, status: {podIP: 10.0.0.2}}
",
    );
    let of = |labels: &[(&str, &str)]| -> Labels {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let own = |name| ("kubernetes.io/metadata.name", name);
    let expected = [
        ("declared", of(&[("team", "a"), own("declared")])),
        ("default", of(&[own("default")])),
        ("of-pod", of(&[own("of-pod")])),
        ("of-policy", of(&[own("of-policy")])),
    ];
    assert_eq!(loaded.intent.namespaces, expected.map(|(name, labels)| (name.to_owned(), labels)).into());
}

#[test]
fn nodes() {
    let loaded = read(
        "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
spec: {podCIDR: 10.244.0.0/24}
status:
  addresses:
    - {type: InternalIP, address: 192.168.0.1}
    - {type: InternalIP, address: 'fd01::1'}
    - {type: ExternalIP, address: 203.0.113.1}
    - {type: Hostname, address: n1}
    - {type: ExternalDNS, address: n1.example}
",
    );
    let addresses: Vec<String> =
        loaded.intent.nodes["n1"].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.0.1", "fd01::1", "203.0.113.1"]);
    assert_eq!(loaded.intent.nodes["n1"].labels["zone"], "a");
}

/// What `kubectl get namespaces,pods,services,networkpolicies -A -o yaml` prints, shortened.
const KUBECTL: &str = include_str!("kubectl.yaml");

#[test]
fn kubectl_output() {
    let loaded = read(KUBECTL);
    assert_eq!(loaded.intent.namespaces["shop"]["team"], "shop");
    let web = &loaded.intent.pods[&name("shop", "web-5d4f8c7b9-abcde")];
    assert_eq!(web.labels["app"], "web");
    assert_eq!(web.named_ports[&("http".to_owned(), PortProtocol::Tcp)], 8080);
    let policy = &loaded.intent.network_policies[&name("shop", "web")];
    assert_eq!(policy.ingress.as_ref().unwrap().len(), 1);
    let codes: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(codes, ["Service (v1) is not read: 1 object is skipped"]);
}

/// The same objects as JSON, as a typed list without the items' kinds, and in any order, are the same intent.
#[test]
fn one_intent_in_many_forms() {
    let yaml = "
apiVersion: v1
kind: List
metadata: {resourceVersion: ''}
items:
  - {apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: a}}, status: {podIP: 10.0.0.1}}
  - apiVersion: v1
    kind: List
    items:
      - {apiVersion: v1, kind: Pod, metadata: {name: b, labels: &labels {app: b, a/u: u}}, status: {podIP: 10.0.0.2}}
  - null
";
    let json = r#" {"kind": "PodList", "apiVersion": "v1", "items": [
  {"metadata": {"name": "b", "labels": {"app": "\u0062", "a/u": "\u0075"}}, "status": {"podIP": "10.0.0.2"}},
	{"metadata": {"name": "a", "labels": {"app": "a"}, "deletionGracePeriodSeconds": -1.5e+3}, "status": {"podIP": "10.0.0.1"}}
]} "#;
    let documents = "\u{feff}%YAML 1.2
---
# Comments, and an alias.
apiVersion: v1
kind: Pod
metadata:
  name: b
  labels: &labels
    \"app\": b
    'a/u': \"\\x75\"
  annotations: *labels
status: {podIPs: [ip: 10.0.0.2]}
...
---
---
{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\", \"labels\": {\"app\": \"a\"}}, \"status\": {\"podIP\": \"10.0.0.1\"}}
";
    let intents = [yaml, json, documents].map(|text| read(text).intent);
    assert_eq!(intents[0].pods.len(), 2);
    assert_eq!(intents[0], intents[1]);
    assert_eq!(intents[0], intents[2]);
    let windows = yaml.replace('\n', "\r\n");
    assert_eq!(intents[0], read(&windows).intent);
}

#[test]
fn kinds_of_others() {
    let loaded = read(
        "
{apiVersion: example.com/v1, kind: Switch, metadata: {name: a}}
---
{apiVersion: projectcalico.org/v3, kind: StagedNetworkPolicy, metadata: {name: a}}
---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a}}
---
{apiVersion: v1, kind: ConfigMapList, metadata: {}, items: [{data: {a: b}}, {data: {}}]}
",
    );
    assert_eq!(loaded.intent, Intent::default());
    let messages: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "Switch (example.com/v1) is not read: 1 object is skipped",
            "StagedNetworkPolicy (projectcalico.org/v3) is not read: 1 object is skipped",
            "Ingress (networking.k8s.io/v1) is not read: 1 object is skipped",
            "ConfigMap (v1) is not read: 2 objects are skipped",
        ]
    );
    // What others would enforce is nothing to skip.
    for (version, kind) in [
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        ("k8s.cni.cncf.io/v1beta1", "MultiNetworkPolicy"),
        ("k8s.ovn.org/v1", "EgressFirewall"),
    ] {
        let text = format!(
            "{{apiVersion: v1, kind: List, items: [{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}}}]}}"
        );
        let error = parse([("a", text.as_str())]).unwrap_err();
        assert!(error.errors()[0].to_string().contains("what it denies would pass"), "{kind}: {error}");
    }
    let error = parse([("a", "{apiVersion: v1, kind: FilterPolicy, metadata: {name: a}}")]).unwrap_err();
    assert_eq!(error.errors()[0].advice(), Some("write `apiVersion: outplane.dev/v1alpha1`"));
}
