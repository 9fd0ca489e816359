//! The cure that is given is the one that helps.

use outplane_intent::reader::{Code, Diagnostic, parse};

use super::read;

/// The errors in a text.
fn errors(text: &str) -> Vec<Diagnostic> {
    match parse([("a.yaml", text)]) {
        Ok(_) => panic!("read: {text}"),
        Err(diagnostics) => diagnostics.errors().to_vec(),
    }
}

/// The only error in a text: its advice, and its line.
fn advice(text: &str) -> (String, usize) {
    let errors = errors(text);
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    let advice = errors[0].advice().unwrap_or_else(|| panic!("{text}: {}", errors[0]));
    (advice.to_owned(), errors[0].line().unwrap())
}

#[test]
fn a_missing_separator() {
    let one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n";
    let two = "kind: NetworkPolicy\nmetadata: {name: deny}\nspec: {podSelector: {}}\napiVersion: networking.k8s.io/v1\n";
    let (advice_there, line) = advice(&format!("{one}{two}"));
    assert!(advice_there.contains("put a line `---` before it"), "{advice_there}");
    assert_eq!(line, 4, "where the second object starts");
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n  \
                apiVersion: v1\n  kind: Namespace\n  metadata: {name: b}\n";
    assert!(advice(list).0.contains("begin it with `- `"));
    // Not every key that is there twice is an object.
    assert!(!advice(&format!("{one}metadata: {{name: two}}\n")).0.contains("---"));
    for separator in ["----", "--", " ---", "\u{2014}", "---- "] {
        let text = format!("{one}{separator}\n{two}");
        let helped =
            errors(&text).iter().any(|error| error.advice().is_some_and(|advice| advice.contains("`---`")));
        assert!(helped, "{separator:?}: {:?}", errors(&text));
    }
}

#[test]
fn a_template_that_was_not_rendered() {
    let body = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: NAME\nspec: {podSelector: {}}\n";
    for text in [
        format!("{{{{- if .Values.policy }}}}\n{body}{{{{- end }}}}\n"),
        body.replace("NAME", "{{ include \"chart.name\" . }}"),
        body.replace("NAME", "\"{{ .Release.Name }}\""),
        body.replace("NAME", "x-{{ .Release.Name }}"),
        body.replace("NAME", "${NAME}"),
        body.replace("NAME", "$(NAME)"),
        format!("{{% for x in y %}}\n{body}{{% endfor %}}\n"),
        body.replace("NAME", "<%= name %>"),
        body.replace("spec: {podSelector: {}}", "spec:\n  {{- toYaml .Values.spec | nindent 2 }}"),
    ] {
        let advice = advice(&text).0;
        assert!(advice.contains("template") && advice.contains("helm template"), "{text}: {advice}");
    }
    // Braces that mean something to somebody else are nobody's template.
    let rule = "{apiVersion: monitoring.coreos.com/v1, kind: PrometheusRule, metadata: {name: a}, spec: {text: '{{ $x }}'}}";
    read(rule);
    assert!(!advice(&format!("{rule}\n---\na: b: c\n")).0.contains("template"));
}

#[test]
fn a_list_that_was_cut_off() {
    let list = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n";
    let (there, line) = advice(list);
    assert!(there.contains("`kind: List`") && there.contains("cut"), "{there}");
    assert_eq!(line, 2);
    read(&format!("{list}kind: List\nmetadata: {{resourceVersion: ''}}\n"));
    let json = "{\"apiVersion\": \"v1\", \"items\": [{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"na";
    let errors = errors(json);
    assert!(errors[0].advice().is_some_and(|advice| advice.contains("the file ends here")), "{errors:?}");
}

#[test]
fn a_policy_that_selects_nothing_says_why() {
    let policy = |metadata: &str, selector: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{metadata}}}, spec: \
             {{podSelector: {selector}, policyTypes: [Ingress]}}}}\n---\n"
        )
    };
    let pod = |namespace: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, namespace: {namespace}, labels: {{app: web}}}}, status: \
             {{podIP: 10.0.0.1}}}}"
        )
    };
    let web = "{matchLabels: {app: web}}";
    for (text, why, help) in [
        (
            policy("", web) + &pod("shop"),
            "it has no `namespace`, which means `default`, as kubectl without `-n` has it, and there are no pods in \
             namespace default",
            Some("pods of namespace shop have these labels: say `namespace: shop` if it is for them"),
        ),
        (
            policy(", namespace: shop", "{matchLabels: {app: db}}") + &pod("shop"),
            "the one pod of namespace shop has not the labels that it asks for",
            None,
        ),
        (
            policy(", namespace: shpo", web) + &pod("shop"),
            "there are no pods in namespace shpo",
            Some("pods of namespace shop have these labels; is it for them?"),
        ),
        (
            policy("", web),
            "; it has no `namespace`",
            Some("add the pods: `kubectl get namespaces,pods -A -o yaml`"),
        ),
    ] {
        let loaded = read(&text);
        assert_eq!(loaded.warnings.len(), 1, "{text}");
        let warning = &loaded.warnings[0];
        assert_eq!(warning.code(), Code::SelectsNothing);
        assert!(warning.message().contains(why), "{}", warning.message());
        assert_eq!(warning.advice(), help, "{text}");
    }
}

/// Policies go by what a dump leaves out.
#[test]
fn what_policies_go_by_and_is_missing_is_told() {
    let pod = |metadata: &str, spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, namespace: shop{metadata}}}, spec: {{{spec}}}, status: {{podIP: \
             10.0.0.1}}}}\n---\n"
        )
    };
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n";
    let node = "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: \
                192.168.0.1}]}}\n---\n";
    let cluster = |subject: &str, rules: &str| {
        format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: c}}, spec: {{tier: Admin, \
             priority: 1, subject: {subject}, {rules}}}}}\n---\n"
        )
    };
    let (all, env) = ("{namespaces: {}}", "{namespaces: {matchLabels: {env: dev}}}");
    let by =
        |key: &str, value: &str| format!("{{namespaces: {{matchLabels: {{{key}: {value}, env: dev}}}}}}");
    let deny = "ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    let to_nodes = "egress: [{action: Deny, to: [{nodes: {}}]}]";
    let name = "kubernetes.io/metadata.name";
    let by_port =
        "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]";
    let labelled = ", labels: {app: a}";
    let of_pods = "{pods: {podSelector: {matchLabels: {app: a}}}}";
    let port = "containers: [{ports: [{name: http, containerPort: 80}]}]";
    for (text, told) in [
        (pod("", "") + &cluster(env, deny), Some("namespace shop has pods but no Namespace object")),
        (pod("", "") + &cluster(all, deny), None),
        (pod("", "") + namespace + &cluster(env, deny), None),
        (pod("", "") + &cluster(&by(name, "shop"), deny), Some("namespace shop has pods")),
        (pod("", "") + &cluster(&by(name, "other"), deny), None),
        (pod("", "nodeName: n1") + &cluster(all, to_nodes), Some("node n1 runs pods and has no Node object")),
        (pod("", "") + &cluster(all, to_nodes), Some("there is no Node object")),
        (pod("", "nodeName: n1") + node + &cluster(all, to_nodes), None),
        (pod("", "") + &cluster(of_pods, deny), Some("no pod has any label")),
        (pod(labelled, "") + &cluster(of_pods, deny), None),
        (pod("", "") + &cluster(all, by_port), Some("no pod has a name for a port")),
        (pod("", port) + &cluster(all, by_port), None),
    ] {
        let loaded = read(&text);
        let found = loaded.warnings.iter().filter(|warning| warning.code() == Code::MissingObject);
        let found: Vec<&str> = found.map(Diagnostic::message).collect();
        match told {
            Some(told) => assert!(found.len() == 1 && found[0].contains(told), "{text}: {found:?}"),
            None => assert!(found.is_empty(), "{text}: {found:?}"),
        }
    }
}

/// YAML 1.2.2, section 6.2: tabs separate like spaces, but do not indent.
#[test]
fn tabs_between_tokens() {
    let tabs = "apiVersion:\tv1\nkind:\t\tNamespace\t# a comment\nmetadata:\t\n  name:\t'shop'\n  labels: {a:\tb,\tc:\t\"d\"\t}\n\t\n\
                ---\t# and another\napiVersion:\tv1\nkind:\tList\nitems:\t[\n \t{apiVersion:\tv1,\tkind: Namespace, metadata:\t{name:\tlist}}\t]\n";
    let loaded = read(tabs);
    assert_eq!(loaded.intent.namespaces.keys().collect::<Vec<_>>(), ["list", "shop"]);
    assert_eq!(loaded.intent.namespaces["shop"]["c"], "d");
    for indented in ["apiVersion: v1\nkind: Namespace\nmetadata:\n\tname: shop\n", "a:\tb: c\n", "a:\t- b\n"]
    {
        assert_eq!(errors(indented)[0].code(), Code::Syntax, "{indented:?}");
    }
}

/// Words and forms that people bring along from other firewalls, clouds and clusters: each is told what to write.
#[test]
fn what_newcomers_write() {
    let rule = |rule: &str| format!("{{rules: [{{action: allow, {rule}}}]}}");
    let ours = |kind: &str, spec: &str| {
        format!("{{apiVersion: outplane.dev/v1alpha1, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}")
    };
    let filter = |spec: String| ours("FilterPolicy", &spec);
    let pods = |spec: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: a}}, spec: {spec}}}"
        )
    };
    for (text, meant) in [
        (filter("{rules: [{action: permit}]}".to_owned()), "did you mean allow?"),
        (filter("{default: reject, rules: []}".to_owned()), "did you mean deny?"),
        (filter("{defaultAction: deny, rules: []}".to_owned()), "did you mean `default`?"),
        (filter(rule("from: any")), "leave `from` out to mean every address"),
        (filter(rule("from: [any]")), "leave the list out to mean every address"),
        (filter(rule("from: 10.0.0.0/8")), "put it in brackets: [\"10.0.0.0/8\"]"),
        (filter(rule("from: {cidr: 10.0.0.0/8}")), "begin each item with `- `"),
        (filter(rule("from: [10.1.0.0 0.0.255.255]")), "write 10.1.0.0/16"),
        (filter(rule("from: [10.1.2.0/255.255.255.0]")), "write 10.1.2.0/24"),
        (filter(rule("from: [host 10.0.0.1]")), "write 10.0.0.1"),
        (filter(rule("to: [10.0.0.1-10.0.0.3]")), "10.0.0.1/32, 10.0.0.2/31"),
        (filter(rule("to: [www.example.net]")), "a switch sees addresses, not names"),
        (filter(rule("to: [office]")), "{segment: office}"),
        (filter(rule("to: [{ipBlock: {cidr: 10.0.0.0/8}}]")), "did you mean `cidr`?"),
        (filter(rule("dst: [10.0.0.1]")), "did you mean `to`?"),
        (filter(rule("protocol: tcp")), "`ports: [{protocol: TCP, port: 443}]`"),
        (filter(rule("port: 443")), "`ports: [{protocol: TCP, port: 443}]`"),
        (filter(rule("ports: [443]")), "write {port: 443}"),
        (filter(rule("ports: [tcp/443]")), "write {protocol: TCP, port: 443}"),
        (filter(rule("ports: [{dport: 443}]")), "did you mean `port`?"),
        (filter(rule("ports: [{port: https}]")), "https is port 443"),
        (filter(rule("ports: [{port: gt 1023}]")), "write \"1024-65535\""),
        (filter(rule("ports: [{port: '80:90'}]")), "write \"80-90\""),
        (filter(rule("ports: [{port: [80, 443]}]")), "write an item for each"),
        (filter(rule("ports: [{protocol: ip}]")), "leave `ports` out to mean all IP packets"),
        (filter(rule("ports: [{protocol: ipv6-icmp}]")), "did you mean ICMPv6?"),
        (filter(rule("ports: [{protocol: tcp, tcpFlags: [SYN]}]")), "write {set: [SYN], clear: [ACK]}"),
        (filter(rule("established: true")), "by the policy's `replies`"),
        (filter(rule("ctstate: ESTABLISHED")), "by the policy's `replies`"),
        (filter(rule("icmp: [echo-request]")), "write {type: 8}"),
        (filter(rule("icmp: [{type: echo-request}]")), "types are numbers"),
        (filter(rule("rateLimit: 1000")), "write {packetsPerSecond: 1000}"),
        (filter(rule("comment: x")), "did you mean `name`?"),
        (filter("{segments: [a], rules: []}".to_owned()), "`appliesTo: {segments: [...], switches: [...]}`"),
        (filter("{ingress: [], rules: []}".to_owned()), "a FilterPolicy has no direction"),
        (filter("{priority: '10', rules: []}".to_owned()), "write it without quotes: 10"),
        (ours("ACL", "{}"), "did you mean FilterPolicy?"),
        (ours("Segment", "{vlanId: 10}"), "did you mean `vlan`?"),
        (ours("Host", "{mac: 0200.0000.0005}"), "write \"02:00:00:00:00:05\""),
        (ours("AddressGroup", "{cidrs: [10.0.0.0/8]}"), "did you mean `addresses`?"),
        (pods("{podSelector: {app: web}}"), "write `matchLabels: {app: ...}`"),
        (pods("{podSelector: {}, ingress: [{from: {podSelector: {}}}]}"), "begin each item with `- `"),
        (pods("{podSelector: {}, ingress: [{ports: [443]}]}"), "write {port: 443}"),
        (pods("{podSelector: {}, ingress: [{ports: [{port: '443'}]}]}"), "leave out the quotes"),
        (pods("{podSelector: {}, ingress: [{ports: [{protocol: tcp}]}]}"), "did you mean TCP?"),
    ] {
        let (help, _) = advice(&text);
        assert!(help.contains(meant), "{text}: {help}");
    }
}

/// What a mesh's proxies enforce is enforced whether or not it is read; what a network plugin enforced, nobody does.
#[test]
fn policies_of_others() {
    let object =
        |version: &str, kind: &str| format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}}}");
    for (version, kind) in [
        ("security.istio.io/v1", "AuthorizationPolicy"),
        ("security.istio.io/v1", "PeerAuthentication"),
        ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy"),
        ("consul.hashicorp.com/v1alpha1", "ServiceIntentions"),
        ("kuma.io/v1alpha1", "MeshTrafficPermission"),
    ] {
        let loaded = read(&object(version, kind));
        assert_eq!(loaded.warnings.len(), 1);
        let warning = &loaded.warnings[0];
        assert_eq!(warning.code(), Code::Skipped);
        assert!(
            warning.message().contains("the proxies of the mesh enforce it, and no switch does"),
            "{warning}"
        );
        assert!(warning.advice().unwrap().contains("NetworkPolicy"));
    }
    for (version, kind) in [
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
        ("projectcalico.org/v3", "GlobalNetworkPolicy"),
        ("projectcalico.org/v3", "NetworkPolicy"),
        ("crd.antrea.io/v1beta1", "ClusterNetworkPolicy"),
        ("k8s.ovn.org/v1", "EgressFirewall"),
        ("kubeovn.io/v1", "SecurityGroup"),
        ("vpcresources.k8s.aws/v1beta1", "SecurityGroupPolicy"),
    ] {
        let errors = errors(&object(version, kind));
        assert_eq!(errors[0].code(), Code::Unsupported, "{kind}");
        assert!(errors[0].to_string().contains("what it denies would pass"), "{kind}");
    }
    let plain = read(&object("apps/v1", "Deployment"));
    assert_eq!(plain.warnings[0].message(), "Deployment (apps/v1) is not read: 1 object is skipped");
}

#[test]
fn strict_without_addresses() {
    let host = |spec: &str| {
        format!(
            "apiVersion: outplane.dev/v1alpha1\nkind: Host\nmetadata: {{name: h}}\nspec: {{port: 1, {spec}}}\n"
        )
    };
    let (advice, line) = advice(&host("antiSpoofing: strict"));
    assert!(advice.contains("list the host's `addresses`") && advice.contains("`hosts`"), "{advice}");
    assert_eq!(line, 4);
    read(&host("addresses: [10.0.0.1], antiSpoofing: strict"));
    read(&host("antiSpoofing: hosts"));
}
