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
    let (found, incomplete) = outplane_intent::reader::advice(&loaded.intent, &loaded.sources, now);
    assert_eq!(incomplete, None);
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
    let said = "FilterPolicy/edge: no IP packet reaches rule telnet: rule everything takes all that it matches before it";
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
            assert!(text.contains("the default of FilterPolicy/first takes all that it matches"), "{text}");
        }
    }
    // Another tier is asked after all.
    let admin = policy("first", "{tier: admin, default: pass, rules: []}");
    assert_eq!(advice(&(admin + &policy("second", &format!("{{tier: baseline, rules: [{telnet}]}}")))), []);
}

#[test]
fn rules_that_others_take_together() {
    let of = |rules: &str| advice(&policy("edge", &format!("{{rules: [{rules}]}}")));
    let said = |found: Vec<(Code, String)>| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, Code::NeverMatches);
        found[0].1.clone()
    };
    let web = "{name: web, action: deny, ports: [{port: 80}]}";
    // Both families, both halves of a network, both parts of a range.
    for (rules, by) in [
        (format!("{{action: pass, from: [0.0.0.0/0]}}, {{action: deny, from: [\"::/0\"]}}, {web}"), "rule rule-1 and rule rule-2 together"),
        (format!("{{action: deny, from: [0.0.0.0/0, \"::/0\"]}}, {web}"), "rule rule-1 takes"),
        (
            format!("{{action: deny, ports: [{{port: 1-79}}, {{port: 80-90}}]}}, {{name: x, action: deny, ports: [{{port: 100}}]}}, {web}"),
            "rule rule-1 takes",
        ),
        (
            "{action: deny, to: [10.0.0.0/9], ports: [{}]}, {action: deny, to: [10.128.0.0/9], ports: [{port: 1-1000}]}, {name: web, \
             action: deny, to: [10.0.0.0/8], ports: [{port: 80}]}".replace("[{}]", "[{protocol: TCP}]"),
            "rule rule-1 and rule rule-2 together",
        ),
        (
            "{action: deny, icmp: [{}]}, {name: web, action: deny, icmp: [{type: 8}]}".to_owned(),
            "rule rule-1 takes",
        ),
        (
            "{action: deny, from: [{segment: office}, {segment: lab}]}, {name: web, action: allow, from: [10.1.0.7, 10.2.0.0/25], ports: [{protocol: GRE}]}"
                .to_owned(),
            "rule rule-1 takes",
        ),
    ] {
        let text = said(of(&rules));
        assert!(text.contains("rule web") && text.contains(by), "{rules}: {text}");
    }
    // Something is left.
    for rules in [
        format!("{{action: pass, from: [0.0.0.0/0]}}, {web}"),
        format!("{{action: deny, ports: [{{port: 1-79}}, {{port: 81-90}}]}}, {web}"),
        format!("{{action: deny, ports: [{{port: 80, tcpFlags: {{set: [SYN]}}}}]}}, {web}"),
        format!("{{action: deny, from: [0.0.0.0/1, 128.0.0.0/2, \"::/0\"]}}, {web}"),
        // A fragment shows no port: the first rule denies none, the second passes all.
        "{action: deny, ports: [{protocol: UDP, port: 0-65535}]}, {action: pass, ports: [{protocol: UDP, port: 53}]}".to_owned(),
    ] {
        assert_eq!(of(&rules), [], "{rules}");
    }
    // What is denied is not asked for, and so has no answers; a rule that only answers pass by is as good as none.
    let text = said(of(
        "{name: stop, action: deny, to: [10.1.0.0/24]}, {name: web, action: allow, to: [10.1.0.9], ports: [{port: 80}]}",
    ));
    assert!(
        text.contains("rule web lets nothing through that it names: rule stop takes all of it before"),
        "{text}"
    );
    let text = said(of(
        "{name: all, action: allow, to: [10.1.0.0/24]}, {name: web, action: allow, to: [10.1.0.9], ports: [{port: 80}]}",
    ));
    assert!(text.contains("no IP packet reaches rule web: rule all takes"), "{text}");
}

#[test]
fn rules_behind_another_tier() {
    let baseline = policy("b", "{tier: baseline, rules: [{name: web, action: deny, ports: [{port: 80}]}]}");
    let of = |spec: &str| advice(&(policy("a", spec) + &baseline));
    let found = of("{rules: [{name: tcp, action: allow, ports: [{protocol: TCP}]}]}");
    let said = "FilterPolicy/b: no IP packet reaches rule web: rule tcp of FilterPolicy/a (tier admin) takes all that it \
                matches before it";
    assert_eq!(found, [(Code::NeverMatches, said.to_owned())]);
    assert_eq!(of("{default: deny}").len(), 1);
    for open in [
        "{rules: [{action: pass, ports: [{protocol: TCP}]}], default: deny}",
        "{rules: [{action: pass, from: [10.0.0.1]}, {action: deny, ports: [{protocol: TCP}]}]}",
        "{rules: [{action: pass, expires: 2026-02-01}, {action: deny}]}",
        "{rules: [{action: deny, expires: 2026-02-01}]}",
        "{rules: [{action: deny, ports: [{port: 81}]}]}",
        "{default: pass}",
    ] {
        assert_eq!(of(open), [], "{open}");
    }
    // What is passed is taken in the other tier, and the rest in this one.
    let first = policy("aa", "{tier: baseline, priority: 1, rules: [{action: deny, from: [10.0.0.0/8]}]}");
    let passed = policy(
        "a",
        "{rules: [{action: pass, from: [10.0.0.0/8]}, {action: deny, ports: [{protocol: TCP}]}]}",
    );
    assert_eq!(advice(&(passed + &first + &baseline)).len(), 1);
}

/// Answers to what enters in a segment enter there, too: the switch does not route.
#[test]
fn answers_to_policies_of_segments() {
    let network = "
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: guests}, spec: {vlan: 30, subnets: [10.3.0.0/24]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: servers}, spec: {vlan: 20, subnets: [10.4.0.0/24]}}
";
    let of = |spec: &str, more: &str| advice(&format!("{network}{}{more}", policy("guests", spec)));
    let rest = policy("rest", "{priority: 900, default: deny}");
    let quic = "{name: quic, action: allow, from: [{segment: guests}], ports: [{protocol: UDP, port: 443}]}";
    let bound = |replies: &str| format!("{{appliesTo: {{segments: [guests]}}, {replies} rules: [{quic}]}}");
    let found = of(&bound(""), &rest);
    let said = "FilterPolicy/guests: rule quic lets UDP through, and no answer back: for example, one from 198.51.100.1 (port \
                443) to 10.3.0.1, in segment guests, is denied by FilterPolicy/rest, rule default";
    assert_eq!(found, [(Code::RepliesLost, said.to_owned())]);
    // What leaves for another segment of this switch passes it there, too.
    let found = of(&bound("replies: reverse,"), &rest);
    assert_eq!(found, [], "outside of all segments nothing else looks at it");
    let to_servers = format!(
        "{{appliesTo: {{segments: [guests]}}, replies: reverse, rules: [{}]}}",
        quic.replace("ports:", "to: [{segment: servers}], ports:")
    );
    let passes = policy(
        "servers",
        "{appliesTo: {segments: [servers]}, rules: [{name: in, action: allow, to: [10.4.0.0/24], ports: [{protocol: UDP}]}]}",
    );
    let found = of(&to_servers, &(passes.clone() + &rest));
    assert!(
        found.iter().any(|(_, text)| text.contains("10.4.0.1 (port 443) to 10.3.0.1, in segment servers")),
        "{found:?}"
    );
    let both = passes.replace("rules:", "replies: reverse, rules:");
    assert_eq!(of(&to_servers, &(both + &rest)), []);
}

/// Rules for answers that are not for all of them, and answers that are denied before.
#[test]
fn answers_of_which_some_are_lost() {
    let ask = |ports: &str| {
        format!(
            "{{name: ask, action: allow, from: [{{segment: office}}], to: [{{segment: lab}}], ports: [{{protocol: UDP, {ports}}}]}}"
        )
    };
    let back = |from: &str, ports: &str| {
        format!(
            "{{name: back, action: allow, from: [{from}], to: [{{segment: office}}], ports: [{{protocol: UDP, {ports}}}]}}"
        )
    };
    let of = |rules: &[String]| {
        advice(&policy("edge", &format!("{{default: deny, rules: [{}]}}", rules.join(", "))))
    };
    let lab = "{segment: lab}";
    assert_eq!(of(&[ask("port: 50-60"), back(lab, "sourcePort: 50-60")]), []);
    assert_eq!(of(&[ask("port: 50-60"), back(lab, "sourcePort: 50-60, port: 1024-65535")]), []);
    for (back, said) in [
        (back(lab, "sourcePort: 50-59"), "10.2.0.1 (port 60) to 10.1.0.1"),
        (back("10.2.0.0/25", "sourcePort: 50-60"), "10.2.0.129 (port 53) to 10.1.0.1"),
        (back(lab, "sourcePort: 50-60, port: 1-1023"), "10.2.0.1 (port 53) to 10.1.0.1"),
    ] {
        let found = of(&[ask("port: 50-60"), back]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains(said), "{found:?}");
    }
    // Both sides of some protocols use the same port.
    let ike = "{name: ike, action: allow, from: [{segment: office}, {segment: lab}], to: [{segment: office}, {segment: lab}], \
               ports: [{protocol: UDP, port: 500}]}";
    assert_eq!(of(&[ike.to_owned()]), []);
    // `reverse`, and TCP's answers, are defeated by what is denied before.
    for (deny, lost) in [
        (
            "{name: stop, action: deny, from: [{segment: lab}], ports: [{protocol: UDP, sourcePort: 53}]}",
            true,
        ),
        ("{name: stop, action: deny, from: [{segment: lab}]}", true),
        // A list of those that are not to answer is meant so.
        ("{name: stop, action: deny, from: [10.2.0.0/25]}", false),
        ("{name: stop, action: deny, from: [10.2.0.0/25], ports: [{protocol: UDP, sourcePort: 53}]}", true),
        ("{name: stop, action: deny, to: [{segment: lab}]}", false),
    ] {
        let found =
            advice(&policy("edge", &format!("{{replies: reverse, rules: [{deny}, {}]}}", ask("port: 53"))));
        let found: Vec<_> = found.into_iter().filter(|(code, _)| *code == Code::RepliesLost).collect();
        assert_eq!(!found.is_empty(), lost, "{deny}: {found:?}");
        assert!(
            found.iter().all(|(_, text)| text.contains("denied by FilterPolicy/edge, rule stop")),
            "{found:?}"
        );
    }
    let tcp = "{name: stop, action: deny, from: [{segment: lab}]}, {name: web, action: allow, to: [{segment: lab}], ports: [{port: 80}]}";
    let found = advice(&policy("edge", &format!("{{default: deny, rules: [{tcp}]}}")));
    assert!(found[0].1.contains("rule web lets TCP connections through, and no"), "{found:?}");
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
    let said = "FilterPolicy/edge: rule ask lets UDP through, and no answer back: for example, one from 10.2.0.1 (port 53) to \
                10.1.0.1 is denied by FilterPolicy/edge, rule default";
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
                10.244.0.2 answers 10.244.0.7 is denied by NetworkPolicy/shop/deny, rule isolation";
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

/// Pods that nobody may reach, and of whose packets nobody speaks; policies that name ports by name, or into pods; those
/// of the whole cluster.
#[test]
fn answers_of_pods() {
    let pods = "
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}}, spec: {containers: [{name: a, ports: [{name: sip, containerPort: 5060, protocol: UDP}]}]}, status: {podIPs: [{ip: 10.244.0.7}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: dns, namespace: kube-system, labels: {app: dns}}, spec: {containers: [{name: a, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]}, status: {podIPs: [{ip: 10.244.0.2}]}}
";
    let policy = |namespace: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p, namespace: {namespace}}}, spec: {spec}}}\n"
        )
    };
    let cluster = |tier: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: c}}, spec: {{tier: {tier}, priority: 1, subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}}}, {spec}}}}}\n"
        )
    };
    let reverse = "---\n{apiVersion: outplane.dev/v1alpha1, kind: KubernetesDefaults, metadata: {name: all}, spec: {replies: reverse}}\n";
    let ingress = policy("shop", "{podSelector: {}, policyTypes: [Ingress]}");
    let to_dns = "to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]";
    let asking = cluster(
        "Admin",
        &format!(
            "egress: [{{name: names, action: Accept, {to_dns}, protocols: [{{destinationNamedPort: dns}}]}}]"
        ),
    );
    let named = policy(
        "shop",
        "{podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{protocol: UDP, port: dns}]}]}",
    );
    let server = policy(
        "kube-system",
        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{protocol: UDP, port: dns}]}]}",
    );
    let out = ingress.replace("name: p,", "name: q,").replace("[Ingress]", "[Egress], egress: [{}]");
    for (text, cured, said) in [
        (
            ingress.clone(),
            format!("{ingress}{out}{reverse}"),
            "NetworkPolicy/shop/p: no policy says what the pods that it isolates may send: UDP gets out, and no answer back: for \
             example, what 10.244.0.2 answers 10.244.0.7 is denied by NetworkPolicy/shop/p, rule isolation",
        ),
        (
            format!("{ingress}{asking}"),
            format!("{ingress}{asking}{reverse}"),
            "ClusterNetworkPolicy/c: it lets UDP to port 53 out of a pod, and no answer back: for example, what 10.244.0.2 answers \
             10.244.0.7 is denied by NetworkPolicy/shop/p, rule isolation",
        ),
        (
            named.clone(),
            format!("{named}{reverse}"),
            "NetworkPolicy/shop/p: it lets UDP to port 53 out of a pod, and no answer back: for example, what 10.244.0.2 answers \
             10.244.0.7 is denied by NetworkPolicy/shop/p, rule isolation",
        ),
        (
            server.clone(),
            format!("{server}{reverse}"),
            "NetworkPolicy/kube-system/p: it lets UDP to port 53 into a pod, and no answer back: for example, what 10.244.0.2 \
             answers 192.0.2.1 is denied by NetworkPolicy/kube-system/p, rule isolation",
        ),
    ] {
        let found = advice(&format!("{pods}{text}"));
        assert_eq!(found, [(Code::RepliesLost, said.to_owned())]);
        assert_eq!(advice(&format!("{pods}{cured}")), [], "{cured}");
    }
    // A name server is said to be asked by all, itself too: it asks others outside all the same.
    let open =
        policy("kube-system", "{podSelector: {}, policyTypes: [Ingress], ingress: [{ports: [{port: 53}]}]}");
    let all = asking.replace("{matchLabels: {kubernetes.io/metadata.name: shop}}}, egress", "{}}, egress");
    for text in [open.clone(), format!("{open}{all}")] {
        let found = advice(&format!("{pods}{text}"));
        let said = "NetworkPolicy/kube-system/p: no policy says what the pods that it isolates may send: UDP gets out";
        assert!(found.iter().any(|(_, one)| one.starts_with(said)), "{found:?}");
    }
    // TCP's answers come back, and what a policy denies by name is meant so.
    let tcp = policy(
        "shop",
        "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 80}]}], egress: [{ports: [{port: 80}]}]}",
    );
    let apart = cluster("Baseline", "ingress: [{action: Deny, from: [{namespaces: {}}]}]");
    assert_eq!(advice(&format!("{pods}{tcp}")), []);
    assert_eq!(advice(&format!("{pods}{apart}")), []);
}

/// Nobody learns from examples that have dead rules, or whose answers get lost.
#[test]
fn the_examples_need_no_advice() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for example in ["campus", "kubernetes", "lab"] {
        let loaded = outplane_intent::reader::load(&[examples.join(example)]).unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (found, incomplete) = outplane_intent::reader::advice(&loaded.intent, &loaded.sources, now);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!((found, incomplete), (vec![], None), "{example}");
    }
}

/// Offices on ports 1 and 2 and a laptop there, servers on 3 and a web server there, a router maybe.
fn closed(router: &str, rule: &str) -> Vec<(Code, String)> {
    let ours = |kind: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n---\n"
        )
    };
    let mut text = ours("Switch", "s1", "{address: '192.0.2.1:9559', ports: [1, 2, 3, 9]}");
    let office = "{subnets: [10.1.0.0/24], antiSpoofing: subnets, ports: [{ports: [1, 2]}]}";
    text += &ours("Segment", "office", office);
    text += &ours("Segment", "servers", "{vlan: 7, subnets: [10.7.0.0/24], ports: [{ports: [3, 9]}]}");
    text += &ours("Host", "laptop", "{addresses: [10.1.0.7], segment: office, port: 1}");
    text += &ours("Host", "web", "{addresses: [10.7.0.10], segment: servers, port: 3}");
    text += &ours("Host", "dns", "{addresses: [10.7.0.53], segment: servers, port: 9}");
    text += router;
    text += &ours("FilterPolicy", "edge", &format!("{{rules: [{{name: web, action: allow, {rule}}}]}}"));
    let loaded = read(text.trim_end().trim_end_matches("---"));
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let (found, incomplete) = outplane_intent::reader::advice(&loaded.intent, &loaded.sources, now);
    assert_eq!(incomplete, None);
    found.iter().map(|one| (one.code(), one.to_string())).collect()
}

#[test]
fn segments_that_no_router_can_bring_anything_to() {
    let to_web = "from: [{segment: office}], to: [{host: web}]";
    let answers = "FilterPolicy/edge: rule web lets packets through from segment office and elsewhere, and no router can \
                   bring their answers there: by no port of switch s1 that it has may 10.7.0.10 enter, for example";
    let packets = "FilterPolicy/edge: rule web lets packets through to segment servers and elsewhere, and no router can \
                   bring them there: by no port of switch s1 that it has may 10.1.0.1 enter, for example";
    let told =
        |texts: &[&str]| texts.iter().map(|text| (Code::Spoofing, (*text).to_owned())).collect::<Vec<_>>();
    assert_eq!(closed("", to_web), told(&[answers, packets]));
    // A router on one side, then on both.
    let router = |name: &str, segment: &str, port: u16| {
        format!(
            "{{apiVersion: outplane.dev/v1alpha1, kind: Host, metadata: {{name: {name}}}, spec: {{segment: {segment}, \
             port: {port}, antiSpoofing: none}}}}\n---\n"
        )
    };
    let one = router("inside", "office", 2);
    assert_eq!(closed(&one, to_web), told(&[packets]));
    assert_eq!(closed(&format!("{one}{}", router("outside", "servers", 9)), to_web), []);
    // Pods that are behind a port of a closed segment, and what their own policies let through.
    let node = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, labels: {app: p}}, status: {podIP: 10.7.0.77}}\n---\n";
    let of_pods = |spec: &str| {
        let policy = format!(
            "{node}{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: np, namespace: shop}}, spec: \
             {{podSelector: {{}}, {spec}}}}}\n---\n"
        );
        closed(&policy, "from: [{segment: servers}], to: [{segment: servers}]")
            .into_iter()
            .filter(|(code, _)| *code == Code::Spoofing)
            .collect::<Vec<_>>()
    };
    let into_pods = "NetworkPolicy/shop/np: rule ingress[0] lets packets through to segment servers and elsewhere, and no \
                     router can bring them there: by no port of switch s1 that it has may 203.0.113.1 enter, for example";
    let from_outside = "ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 80}]}]";
    assert_eq!(of_pods(from_outside), told(&[into_pods]));
    assert_eq!(of_pods("ingress: [{ports: [{port: 80}]}]"), [], "whoever it is");
    assert_eq!(
        of_pods("ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]"),
        [],
        "within the segment"
    );
    let cluster = format!(
        "{node}{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: out}}, spec: \
         {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, egress: [{{name: feed, action: Accept, to: [{{networks: \
         [203.0.113.0/24]}}]}}]}}}}\n---\n"
    );
    let out_of_pods = "ClusterNetworkPolicy/out: rule feed lets packets through from segment servers and elsewhere, and no \
                       router can bring their answers there: by no port of switch s1 that it has may 203.0.113.1 enter, for \
                       example";
    assert_eq!(
        closed(&cluster, "from: [{segment: servers}], to: [{segment: servers}]"),
        told(&[out_of_pods])
    );
    // Within a segment, about all, and denied.
    for rule in ["from: [{segment: office}], to: [{segment: office}]", "to: [{host: web}]", ""] {
        assert_eq!(closed("", rule), [], "{rule}");
    }
}
