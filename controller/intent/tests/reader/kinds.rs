//! Every kind, read from its YAML.

use std::path::PathBuf;

use outplane_intent::model::*;

use crate::read;

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

#[test]
fn switch() {
    let loaded = read(
        "
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata:
  name: leaf1
spec:
  address: '[2001:db8::1]:9559'
  deviceId: 7
  role: firewall
  tls: {ca: ca.pem, cert: /etc/o/c.pem, key: k.pem, serverName: leaf1.example}
  program: outplane
  ports:
    - {id: 1, name: uplink, crossConnect: 2}
    - {id: 2, name: tap}
    - {id: 3, crossConnect: four}
    - {id: 4, name: four, crossConnect: 3}
    - 5
",
    );
    let port = |name: Option<&str>, cross_connect| Port {
        name: name.map(str::to_owned),
        cross_connect,
        trusted: false,
    };
    assert_eq!(
        loaded.intent.switches["leaf1"],
        Switch {
            address: "[2001:db8::1]:9559".to_owned(),
            tls: Some(Tls {
                ca: PathBuf::from("ca.pem"),
                cert: Some(PathBuf::from("/etc/o/c.pem")),
                key: Some(PathBuf::from("k.pem")),
                server_name: Some("leaf1.example".to_owned()),
            }),
            protocol: Protocol::P4Runtime(P4Runtime {
                device_id: 7,
                role: Some("firewall".to_owned()),
                program: "outplane".to_owned(),
            }),
            ports: [
                (1, port(Some("uplink"), Some(2))),
                (2, port(Some("tap"), Some(1))),
                (3, port(None, Some(4))),
                (4, port(Some("four"), Some(3))),
                (5, port(None, None)),
            ]
            .into(),
        }
    );
    assert_eq!(loaded.sources.object("Switch/leaf1").unwrap().to_string(), "policy.yaml:5:9");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_protocol_without_a_driver_is_refused_by_name() {
    let read = |protocol: &str| {
        let text = format!(
            "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: leaf1}}\n\
             spec: {{address: \"192.0.2.1:6653\", protocol: {protocol}}}\n"
        );
        outplane_intent::reader::parse([("policy.yaml", text.as_str())])
    };
    assert_eq!(read("p4runtime").unwrap().intent.switches["leaf1"].protocol, Protocol::default());
    let refused = read("openflow").unwrap_err();
    let [error] = refused.errors() else { panic!("{refused:?}") };
    assert_eq!(
        (error.code(), error.object()),
        (outplane_intent::reader::Code::Unsupported, Some("Switch/leaf1"))
    );
    assert_eq!(error.message(), "no driver for `protocol: openflow` is there yet");
    let unknown = read("netconf").unwrap_err();
    assert_eq!(unknown.errors()[0].code(), outplane_intent::reader::Code::InvalidValue);
}

#[test]
fn tls_files_are_relative_to_the_file() {
    let text = "
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: s}
spec: {address: 'h:1', tls: {ca: ca.pem}}
";
    let loaded = outplane_intent::reader::parse([("etc/site/switches.yaml", text)]).unwrap();
    let switch = &loaded.intent.switches["s"];
    assert_eq!(switch.tls.as_ref().unwrap().ca, PathBuf::from("etc/site/ca.pem"));
    let plain = P4Runtime { device_id: 1, role: None, program: "outplane".to_owned() };
    assert_eq!(switch.protocol, Protocol::P4Runtime(plain));
}

#[test]
fn segments_and_hosts() {
    let loaded = read(
        "
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: leaf1}
spec: {address: '192.0.2.1:9559', ports: [{id: 1, name: web}, {id: 2}, {id: 3}]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: dmz}
spec:
  vlan: 10
  subnets: [10.1.0.0/24, 'fd00:1::/64', 10.9.9.9]
  ports:
    - {switch: leaf1, ports: [2, web]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: office}
spec: {subnets: [10.2.0.0/16]}
---
apiVersion: outplane.dev/v1alpha1
kind: Host
metadata: {name: proxy}
spec:
  addresses: [10.1.0.5, 'fd00:1::5']
  segment: dmz
  mac: 02-00-00-00-00-05
  vlan: 10
  port: web
---
apiVersion: outplane.dev/v1alpha1
kind: AddressGroup
metadata: {name: all}
spec: {addresses: [203.0.113.7], groups: [partners]}
---
apiVersion: outplane.dev/v1alpha1
kind: AddressGroup
metadata: {name: partners}
spec: {addresses: [198.51.100.0/24, 203.0.113.7, 'fd00:2::/32']}
",
    );
    let intent = &loaded.intent;
    assert_eq!(
        intent.segments["dmz"],
        Segment {
            vlan: Some(10),
            subnets: vec![net("10.1.0.0/24"), net("fd00:1::/64"), net("10.9.9.9/32")],
            ports: [("leaf1".to_owned(), vec![1, 2])].into(),
            ..Segment::default()
        }
    );
    assert_eq!(
        intent.hosts["proxy"],
        Host {
            addresses: vec![ip("10.1.0.5"), ip("fd00:1::5")],
            segment: Some("dmz".to_owned()),
            mac: Some([2, 0, 0, 0, 0, 5]),
            vlan: Some(10),
            port: Some(("leaf1".to_owned(), 1)),
            anti_spoofing: None,
        }
    );
    let expanded = [net("203.0.113.7/32"), net("198.51.100.0/24"), net("fd00:2::/32")];
    assert_eq!(intent.groups["all"].cidrs, expanded);
    // Nothing uses the groups but themselves.
    let codes: Vec<_> =
        loaded.warnings.iter().map(|warning| (warning.code().as_str(), warning.object())).collect();
    assert_eq!(codes, [("unused", Some("AddressGroup/all"))]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one policy that has everything")]
fn filter_policy() {
    let loaded = read(
        "
apiVersion: outplane.dev/v1alpha1
kind: AddressGroup
metadata: {name: bad}
spec: {addresses: [192.0.2.0/24]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: lan}
spec: {vlan: 5}
---
apiVersion: outplane.dev/v1alpha1
kind: Host
metadata: {name: admin}
spec: {addresses: [10.0.0.9]}
---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: site}
spec:
  tier: Baseline
  priority: 10
  appliesTo: {switches: [default], segments: [lan]}
  default: Deny
  replies: reverse
  relatedErrors: none
  rules:
    - name: web
      action: Allow
      from: [10.0.0.0/8, {cidr: 172.16.0.0/12, except: [172.16.1.0/24]}, {group: bad}, {segment: lan}, {host: admin}]
      to:
        - podSelector: {matchLabels: {app: web}}
          namespaceSelector: {matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}
        - podSelector: {}
      ports:
        - {protocol: tcp, port: 80, endPort: 90, sourcePort: '1024-65535', tcpFlags: {set: [syn], clear: [ACK, RST]}}
        - {port: 443}
        - {protocol: UDP}
        - {protocol: 17, port: '53'}
        - {protocol: 47}
        - {protocol: esp}
        - {protocol: ICMP}
      icmp:
        - {family: v4, type: 8}
        - {family: IPv6, type: 1, code: 4}
        - {type: 3}
        - {}
      rateLimit: {packetsPerSecond: 1000}
      expires: 2030-01-02
    - action: deny
      ports: [{protocol: ARP}, {protocol: nd}, {protocol: NonIP}, {etherType: 0x8864}, {protocol: NonIP, etherType: '0x8847'}]
      log: true
      expires: '2030-01-02T03:04:05+01:00'
    - {name: rest, action: pass}
    - {action: allow, rateLimit: {packetsPerSecond: 5, burst: 100}}
",
    );
    let policy = &loaded.intent.filters["site"];
    let tcp = |source, destination, tcp_flags| TrafficMatch::Ports {
        protocol: PortProtocol::Tcp,
        source,
        destination,
        tcp_flags,
    };
    let udp = |destination| TrafficMatch::Ports {
        protocol: PortProtocol::Udp,
        source: None,
        destination,
        tcp_flags: None,
    };
    let icmp = |icmp_type, code| IcmpMatch { icmp_type, code };
    let label = |key: &str, operator| LabelSelector {
        requirements: vec![Requirement { key: key.to_owned(), operator }],
    };
    let plain = |name: &str, action| FilterRule {
        name: name.to_owned(),
        action,
        from: vec![],
        to: vec![],
        traffic: vec![],
        log: false,
        rate_limit: None,
        expires: None,
    };
    let expected = FilterPolicy {
        tier: FilterTier::Baseline,
        priority: 10,
        switches: vec!["default".to_owned()],
        segments: vec!["lan".to_owned()],
        default: Some(FilterAction::Deny),
        replies: Replies::Reverse,
        related_errors: RelatedErrors::None,
        rules: vec![
            FilterRule {
                from: vec![
                    FilterPeer::Cidr { cidr: net("10.0.0.0/8"), except: vec![] },
                    FilterPeer::Cidr { cidr: net("172.16.0.0/12"), except: vec![net("172.16.1.0/24")] },
                    FilterPeer::Group("bad".to_owned()),
                    FilterPeer::Segment("lan".to_owned()),
                    FilterPeer::Host("admin".to_owned()),
                ],
                to: vec![
                    FilterPeer::Pods {
                        namespaces: Some(label("env", LabelOperator::NotIn(vec!["dev".to_owned()]))),
                        pods: label("app", LabelOperator::In(vec!["web".to_owned()])),
                    },
                    FilterPeer::Pods { namespaces: None, pods: LabelSelector::default() },
                ],
                traffic: vec![
                    tcp(Some((1024, 65535)), Some((80, 90)), Some(TcpFlags { set: 0x02, clear: 0x14 })),
                    tcp(None, Some((443, 443)), None),
                    udp(None),
                    udp(Some((53, 53))),
                    TrafficMatch::Protocol(47),
                    TrafficMatch::Protocol(50),
                    TrafficMatch::Icmp(icmp(None, None)),
                    TrafficMatch::Icmp(icmp(Some(8), None)),
                    TrafficMatch::IcmpV6(icmp(Some(1), Some(4))),
                    TrafficMatch::Icmp(icmp(Some(3), None)),
                    TrafficMatch::IcmpV6(icmp(Some(3), None)),
                    TrafficMatch::Icmp(icmp(None, None)),
                    TrafficMatch::IcmpV6(icmp(None, None)),
                ],
                rate_limit: Some(RateLimit { packets_per_second: 1000, burst: 100 }),
                expires: Some("2030-01-02T00:00:00Z".parse().unwrap()),
                ..plain("web", FilterAction::Allow)
            },
            FilterRule {
                traffic: vec![
                    TrafficMatch::Arp,
                    TrafficMatch::NeighborDiscovery,
                    TrafficMatch::NonIp,
                    TrafficMatch::EtherType(0x8864),
                    TrafficMatch::EtherType(0x8847),
                ],
                log: true,
                expires: Some("2030-01-02T02:04:05Z".parse().unwrap()),
                ..plain("rule-2", FilterAction::Deny)
            },
            plain("rest", FilterAction::Pass),
            FilterRule {
                rate_limit: Some(RateLimit { packets_per_second: 5, burst: 100 }),
                ..plain("rule-4", FilterAction::Allow)
            },
        ],
    };
    assert_eq!(*policy, expected);
    assert_eq!(loaded.sources.rule("FilterPolicy/site", "web").unwrap().line, 28);
    assert_eq!(loaded.sources.rule("FilterPolicy/site", "default").unwrap().line, 24);
    assert_eq!(loaded.sources.rule("FilterPolicy/site", "rule-2").unwrap().column, 7);
    assert_eq!(loaded.sources.rule("FilterPolicy/site", "nothing"), None);

    let expired = loaded.expired("2030-01-02T01:00:00Z".parse().unwrap());
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0].line(), Some(28));
    assert!(loaded.expired("2030-01-01T23:59:59Z".parse().unwrap()).is_empty());
}

#[test]
fn defaults_of_a_filter_policy() {
    let loaded = read(
        "
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: p}
spec: {default: deny}
",
    );
    let expected = FilterPolicy {
        tier: FilterTier::Admin,
        priority: 500,
        switches: vec![],
        segments: vec![],
        default: Some(FilterAction::Deny),
        replies: Replies::Established,
        related_errors: RelatedErrors::Allow,
        rules: vec![],
    };
    assert_eq!(loaded.intent.filters["p"], expected);
}

#[test]
fn kubernetes_defaults() {
    let kind = "apiVersion: outplane.dev/v1alpha1\nkind: KubernetesDefaults\nmetadata: {name: cluster}\n";
    let said = read(&format!("{kind}spec: {{replies: reverse, relatedErrors: none}}")).intent.defaults;
    assert_eq!(said, KubernetesDefaults { replies: Replies::Reverse, related_errors: RelatedErrors::None });
    let unsaid = KubernetesDefaults { replies: Replies::Established, related_errors: RelatedErrors::Allow };
    assert_eq!(read(&format!("{kind}spec: {{}}")).intent.defaults, unsaid);
    assert_eq!(read("").intent.defaults, unsaid);
    let twice = format!("{kind}---\n{}", kind.replace("name: cluster", "name: other"));
    let error = outplane_intent::reader::parse([("a", twice)]).unwrap_err();
    assert!(error.errors()[0].to_string().contains("there are KubernetesDefaults already"), "{error}");
    let error =
        outplane_intent::reader::parse([("a", format!("{kind}spec: {{replies: maybe}}"))]).unwrap_err();
    assert!(error.errors()[0].to_string().contains("must be none, established or reverse"), "{error}");
}

/// Annotations of ours mean something on the policies of Kubernetes, and would be left out in silence elsewhere.
#[test]
fn annotations_of_ours_on_our_kinds_are_errors() {
    for (kind, spec) in [
        ("KubernetesDefaults", "{replies: reverse}"),
        ("FilterPolicy", "{default: deny}"),
        ("AddressGroup", "{addresses: [10.0.0.0/8]}"),
        ("Segment", "{vlan: 7}"),
        ("Host", "{addresses: [10.0.0.1]}"),
        ("Switch", "{address: \"h:1\"}"),
        ("Expectation", "{packets: [{src: 10.0.0.1, dst: 10.0.0.2, expect: allow}]}"),
    ] {
        let text = format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: {kind}, metadata: {{name: a, annotations: {{outplane.dev/replies: \
             none, else: x}}}}, spec: {spec}}}"
        );
        let errors = outplane_intent::reader::parse([("a.yaml", text)]).unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{kind}: {}", errors.render(false));
        assert_eq!(errors.errors()[0].code(), outplane_intent::reader::Code::UnknownField, "{kind}");
    }
}
