//! `outplane trace` and `outplane trace --batch`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{SoftSwitch, command, file, folder, outplane, outplane_reading};

const CAMPUS: &str = "examples/campus";
const KUBERNETES: &str = "examples/kubernetes";

/// Every way to ask.
const WAYS: [&[&str]; 3] = [&[], &["--intent"], &["--both"]];

#[test]
fn one_packet_names_the_rule_that_decides() {
    let table: [(&str, &[&str], &str, Value); 9] = [
        (CAMPUS, &["--src", "admin-laptop", "--dst", "web", "--dport", "443"], "allow", json!("web")),
        (CAMPUS, &["--src", "10.3.0.5", "--dst", "web", "--dport", "22"], "deny", json!("not-to-us")),
        (
            CAMPUS,
            &["--src", "10.3.0.5", "--dst", "93.184.216.34", "--dport", "443"],
            "allow",
            json!("web-only"),
        ),
        (CAMPUS, &["--src", "198.51.100.1", "--dst", "web", "--dport", "443"], "deny", json!("from-blocked")),
        (
            CAMPUS,
            &["--src", "10.1.0.9", "--dst", "dns", "--proto", "udp", "--dport", "53"],
            "allow",
            json!("dns"),
        ),
        (CAMPUS, &["--src", "fd00:1::9", "--dst", "web", "--proto", "icmpv6"], "allow", json!("ping")),
        (CAMPUS, &["--src", "10.1.0.9", "--dst", "web", "--arp"], "allow", Value::Null),
        (CAMPUS, &["--ether-type", "0x88cc"], "allow", Value::Null),
        (CAMPUS, &["--src", "10.9.9.9", "--dst", "web", "--fragment"], "allow", json!("web")),
    ];
    for (files, packet, verdict, rule) in table {
        for way in WAYS {
            let found = outplane([&["trace", files, "-o", "json"], packet, way].concat()).ends(0).json();
            let switch = &found["switches"][0];
            assert_eq!(switch["verdict"], verdict, "{packet:?} {way:?}: {found}");
            assert_eq!(switch["rule"], rule, "{packet:?} {way:?}: {found}");
            assert_eq!(switch["location"].is_string(), rule.is_string(), "{found}");
        }
    }
}

#[test]
fn pods_and_hosts_have_names() {
    let pods = ["--src", "shop/api-5d8f7b9c4-h7k2m", "--dst", "shop/db-0", "--dport", "5432"];
    let run = outplane([&["trace", KUBERNETES, "--expect", "allow"], &pods[..]].concat()).ends(0);
    assert!(run.out.contains("NetworkPolicy/shop/db, rule ingress[0]"), "{}", run.out);
    outplane([&["trace", KUBERNETES, "--expect", "deny"], &pods[..]].concat()).ends(1);
    let run = outplane(["trace", KUBERNETES, "--src", "shop/api", "--dst", "shop/db-0"]).ends(2);
    assert!(run.err.contains("no running pod `shop/api`"), "{}", run.err);
}

#[test]
fn flags_contradict_each_other_with_words() {
    for (arguments, words) in [
        (&["--src", "10.0.0.300", "--dst", "10.0.0.1"][..], "no IPv4 address"),
        (&["--src", "10.0.0.1"], "`dst` is missing"),
        (&["--batch", "--src", "10.0.0.1"], "cannot be used with"),
        (&["--src", "10.0.0.1", "--dst", "10.0.0.2", "--proto", "tpc"], "tpc"),
        (&["--src", "10.0.0.1", "--dst", "10.0.0.2", "--vlan", "5000"], "4095"),
    ] {
        let run = outplane([&["trace", CAMPUS], arguments].concat()).ends(2);
        assert!(run.err.contains(words), "{arguments:?}: {}", run.err);
    }
    let run = outplane(["trace", "-", "--batch"]).ends(2);
    assert!(run.err.contains("standard input is packets"), "{}", run.err);
}

#[test]
fn a_batch_answers_every_line_in_order() {
    let lines = [
        (
            r#"{"src":"10.1.0.9","dst":"10.2.0.10","proto":"tcp","dport":443}"#,
            json!(["allow", "FilterPolicy/servers", "web"]),
        ),
        (
            r#"{"src":"10.2.0.10","dst":"10.1.0.9","proto":6,"sport":443,"dport":5000,"tcp_flags":"SYN,ACK"}"#,
            json!(["allow", "FilterPolicy/servers", "web"]),
        ),
        (
            r#"{"src":"10.2.0.10","dst":"10.1.0.9","proto":"TCP","sport":443,"dport":5000}"#,
            json!(["deny", "FilterPolicy/rest", "default"]),
        ),
        (
            r#"{"src":"10.2.0.53","dst":"10.3.0.9","proto":"udp","sport":53,"dport":5000,"vlan":20}"#,
            json!(["allow", "FilterPolicy/servers", "dns"]),
        ),
        (
            r#"{"src":"10.3.0.9","dst":"203.0.113.7","dport":80}"#,
            json!(["deny", "FilterPolicy/blocklist", "to-blocked"]),
        ),
        (r#"{"src":"10.1.0.9","dst":"10.2.0.10","proto":"arp"}"#, json!(["allow", null, null])),
        (r#"{"src":"10.1.0.9"}"#, json!("`dst` is missing")),
        ("", Value::Null),
        ("[]", json!("no JSON object")),
        (r#"{"src":"10.1.0.9","dst""#, json!("column 23: ")),
        (r#"{"src":"10.1.0.9","dst":"10.2.0.10","ttl":3}"#, json!("unknown field `ttl`")),
        (
            r#"{"src":"10.1.0.9","dst":"10.2.0.10","icmp_type":8,"tcp_flags":null}"#,
            json!(["allow", "FilterPolicy/pings", "ping"]),
        ),
    ];
    let input: Vec<&str> = lines.iter().map(|(line, _)| *line).collect();
    for way in WAYS {
        let run =
            outplane_reading([&["trace", CAMPUS, "--batch"], way].concat(), input.join("\n").as_bytes())
                .ends(1);
        let mut answers = run.out.lines();
        for (number, (line, expected)) in lines.iter().enumerate() {
            if expected.is_null() {
                continue;
            }
            let answer: Value = serde_json::from_str(answers.next().expect("an answer")).expect("JSON");
            if let Some(words) = expected.as_str() {
                assert!(
                    answer["error"].as_str().is_some_and(|error| error.contains(words)),
                    "{line}: {answer}"
                );
                assert_eq!(answer["line"], json!(number + 1), "{line}");
                assert_eq!(answer.as_object().map(serde_json::Map::len), Some(2), "{answer}");
            } else {
                assert_eq!(
                    json!([answer["verdict"], answer["policy"], answer["rule"]]),
                    *expected,
                    "{way:?} {line}"
                );
                let fields = if answer["verdict"] == "allow" { 4 } else { 3 };
                let fields = fields + usize::from(!answer["again"].is_null());
                assert_eq!(answer.as_object().map(serde_json::Map::len), Some(fields), "{answer}");
            }
        }
        assert_eq!(answers.next(), None);
    }
}

/// What the switch cannot read, behind every stack of tags, in the way that batches say it.
#[test]
fn frames_that_are_not_ip() {
    let policy = "
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: closed}
spec:
  default: deny
  rules:
    - {name: pppoe, action: allow, ports: [{etherType: 0x8864}]}
    - {name: web, action: allow, to: [10.0.0.2], ports: [{port: 80}]}
";
    let cases = [
        (r#"{"src":"10.0.0.1","dst":"10.0.0.2","dport":80,"tags":[0,"0x88a8:0"]}"#, "allow", json!("web")),
        (r#"{"src":"10.0.0.1","dst":"10.0.0.2","dport":80,"tags":[0,0,0]}"#, "deny", Value::Null),
        (r#"{"src":"10.0.0.1","dst":"10.0.0.2","dport":81,"vlan":0}"#, "deny", json!("default")),
        (r#"{"ether_type":35020,"src":null,"dst":null}"#, "allow", Value::Null),
        (r#"{"ether_type":"0x8809","tags":[{"tpid":37120,"vlan":0}]}"#, "allow", Value::Null),
        (r#"{"ether_type":34887}"#, "deny", json!("default")),
        (r#"{"ether_type":"0x8864"}"#, "allow", json!("pppoe")),
        (r#"{"ether_type":"0x8864","tags":[0,0,0]}"#, "deny", Value::Null),
        (r#"{"snap":"0x0800"}"#, "deny", json!("default")),
        (r#"{"snap":"00000c:0x2000"}"#, "allow", Value::Null),
        (r#"{"llc":"424203"}"#, "allow", Value::Null),
        (r#"{"llc":"060603"}"#, "deny", json!("default")),
    ];
    let folder = folder();
    let path = file(folder.path(), "closed.yaml", policy);
    let input: String = cases.iter().flat_map(|(line, ..)| [*line, "\n"]).collect();
    for way in WAYS {
        let run =
            outplane_reading([&["trace", path.as_str(), "--batch"], way].concat(), input.as_bytes()).ends(0);
        let answers: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), cases.len());
        for (answer, (line, verdict, rule)) in answers.iter().zip(&cases) {
            assert_eq!((&answer["verdict"], &answer["rule"]), (&json!(verdict), rule), "{line} {way:?}");
        }
    }
    let run = outplane(["trace", &path, "--snap", "0x0800", "--tag", "0", "--tag", "0x88a8:7"]).ends(0);
    assert!(run.out.starts_with("LLC aaaa030000000800, tags 0x8100:0 0x88a8:7\n"), "{}", run.out);
    let checked = outplane(["check", path.as_str(), "-o", "json"]).ends(0).json();
    let unread = json!([
        {"segment": null, "etherType": null, "passes": false, "policy": "FilterPolicy/closed", "rule": "default"},
        {"segment": null, "etherType": 0x8864, "passes": true, "policy": "FilterPolicy/closed", "rule": "pppoe"},
    ]);
    assert_eq!(checked["unread"]["default"], unread, "{checked}");
    let checked = outplane(["check", path.as_str()]).ends(0);
    assert!(
        checked.out.contains("EtherType 0x8864: pass by FilterPolicy/closed, rule pppoe"),
        "{}",
        checked.out
    );
}

/// ICMP errors and listener discovery, by the compiled entries and by the intent.
#[test]
fn what_belongs_to_allowed_traffic() {
    let policy = r#"
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: shop, labels: {app: job}}
status: {phase: Running, podIPs: [{ip: 10.244.1.6}, {ip: "fd00:244::6"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: mute, namespace: shop, labels: {app: mute}}
status: {phase: Running, podIPs: [{ip: 10.244.1.7}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-in, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mute, namespace: shop}
spec: {podSelector: {matchLabels: {app: mute}}, policyTypes: [Egress]}
---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: rest}
spec: {tier: baseline, default: deny}
"#;
    let cases = [
        (r#"{"src":"192.0.2.254","dst":"10.244.1.6","proto":"icmp","icmp_type":8}"#, "deny", "isolation"),
        (
            r#"{"src":"192.0.2.254","dst":"10.244.1.7","proto":"icmp","icmp_type":3,"icmp_code":4}"#,
            "deny",
            "isolation",
        ),
        (
            r#"{"src":"10.244.1.7","dst":"192.0.2.254","proto":"icmp","icmp_type":3,"icmp_code":3}"#,
            "deny",
            "isolation",
        ),
        // The pod lets it in; the baseline has no rule for it.
        (
            r#"{"src":"192.0.2.254","dst":"10.244.1.6","proto":"icmp","icmp_type":3,"icmp_code":4}"#,
            "deny",
            "default",
        ),
        (r#"{"src":"2001:db8::fe","dst":"fd00:244::6","proto":"icmpv6","icmp_type":2}"#, "deny", "default"),
    ];
    let folder = folder();
    let path = file(folder.path(), "pods.yaml", policy);
    let open = file(folder.path(), "open.yaml", policy.split("---\napiVersion: outplane").next().unwrap());
    let input: String = cases.iter().flat_map(|(line, ..)| [*line, "\n"]).collect();
    for way in WAYS {
        for (path, baseline) in [(&path, true), (&open, false)] {
            let run =
                outplane_reading([&["trace", path.as_str(), "--batch"], way].concat(), input.as_bytes())
                    .ends(0);
            for (answer, (line, verdict, rule)) in run.out.lines().zip(&cases) {
                let answer: Value = serde_json::from_str(answer).unwrap();
                let (verdict, rule) =
                    if *rule == "default" && !baseline { ("allow", "related") } else { (*verdict, *rule) };
                let wanted = (&json!(verdict), &json!(rule));
                assert_eq!((&answer["verdict"], &answer["rule"]), wanted, "{line} {way:?}");
            }
        }
    }
}

#[test]
fn a_batch_converses_over_a_pipe() {
    let mut child = command(["trace", CAMPUS, "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    for (port, verdict) in [(443, "allow"), (444, "deny"), (80, "allow")] {
        // The next question is only asked when this one is answered.
        writeln!(stdin, r#"{{"src":"10.9.0.1","dst":"10.2.0.10","dport":{port}}}"#).expect("it reads");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("it answers");
        assert!(answer.contains(&format!(r#""verdict":"{verdict}""#)), "{answer}");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn switches_that_differ_are_told_apart() {
    let folder = folder();
    let text = "
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: inner}
spec: {address: '127.0.0.1:1'}
---
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: outer}
spec: {address: '127.0.0.1:2'}
---
apiVersion: outplane.dev/v1alpha1
kind: FilterPolicy
metadata: {name: edge}
spec:
  appliesTo: {switches: [outer]}
  rules:
  - {name: telnet, action: deny, ports: [{port: 23}]}
";
    let path = file(folder.path(), "two.yaml", text);
    let packets = b"{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\",\"dport\":23}\n{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\",\"dport\":22}\n";
    for way in WAYS {
        let run = outplane_reading([&["trace", &path, "--batch"], way].concat(), packets).ends(0);
        let lines: Vec<Value> =
            run.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let telnet = json!({"verdict": "deny", "policy": "FilterPolicy/edge", "rule": "telnet"});
        let why = "no segment takes untagged frames, and no other port is without a segment";
        let delivery = json!({"how": "dropped", "ports": [], "why": why});
        let nobody = json!({"verdict": "allow", "policy": null, "rule": null, "delivery": delivery});
        let with = |switch: &str, mut answer: Value| {
            answer["switch"] = json!(switch);
            answer
        };
        let mut both = telnet.clone();
        both["switches"] = json!([with("inner", nobody.clone()), with("outer", telnet.clone())]);
        assert_eq!(lines, [both, nobody.clone()], "{way:?}");
        let run =
            outplane_reading([&["trace", &path, "--batch", "--switch", "inner"], way].concat(), packets)
                .ends(0);
        let first: Value = serde_json::from_str(run.out.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first, nobody, "{way:?}");
    }
}

const PLACES: &str = "
{apiVersion: outplane.dev/v1alpha1, kind: Switch, metadata: {name: core}, spec: {address: '127.0.0.1:1', ports: [
  {id: 1, name: desk}, {id: 2}, {id: 3, name: rack}, {id: 4, name: spare}, {id: 5, crossConnect: 6}, {id: 6}]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: office}, spec: {vlan: 10, subnets: [10.1.0.0/24], ports: [
  {switch: core, ports: [1, 2, 3]}]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Segment, metadata: {name: cellar}, spec: {vlan: 20, subnets: [10.2.0.0/24], ports: [
  {switch: core, ports: [3]}]}}
---
{apiVersion: outplane.dev/v1alpha1, kind: Host, metadata: {name: printer}, spec: {addresses: [10.1.0.9], segment: office,
  mac: '02:00:00:00:00:09', switch: core, port: 2}}
---
{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {name: all}, spec: {rules: [
  {name: telnet, action: deny, ports: [{port: 23}]}]}}
";

/// All the way: in by a port, past the policies, out by a port, by the compiled entries and by the intent.
#[test]
fn a_packet_that_no_policy_denies_leaves_somewhere_or_is_dropped() {
    let folder = folder();
    let path = file(folder.path(), "places.yaml", PLACES);
    let to_printer = ["--src", "10.1.0.7", "--dst", "10.1.0.9", "--dport", "631"];
    let cases: [(&[&str], &str, Value, &str); 11] = [
        (&["--port", "desk", "--vlan", "10"], "host", json!([2]), "Host printer"),
        (&["--port", "2", "--vlan", "10"], "host", json!([2]), "Host printer"),
        (
            &["--port", "1", "--vlan", "10", "--dst-mac", "02:00:00:00:00:aa"],
            "flood",
            json!([2, 3]),
            "02:00:00:00:00:aa",
        ),
        (
            &["--port", "1", "--vlan", "10", "--dst", "10.1.0.8"],
            "flood",
            json!([2, 3]),
            "no Host has 10.1.0.8",
        ),
        (&["--port", "3", "--vlan", "20"], "dropped", json!([]), "segment cellar has no other port"),
        // To a host of another segment it takes a router.
        (
            &["--port", "3", "--vlan", "20", "--dst-mac", "02:00:00:00:00:09"],
            "dropped",
            json!([]),
            "segment cellar",
        ),
        // Untagged in a segment with a tag; a VLAN that nobody has.
        (&["--port", "1"], "flood", json!([4]), "printer is in segment office"),
        (&["--port", "4"], "dropped", json!([]), "no segment takes untagged frames at port 4 (spare)"),
        (
            &["--port", "4", "--vlan", "99"],
            "dropped",
            json!([]),
            "no segment takes frames of VLAN 99 at port 4",
        ),
        (&["--port", "5"], "cross-connect", json!([6]), "cross-connected"),
        (&["--port", "6", "--vlan", "10"], "cross-connect", json!([5]), "cross-connected"),
    ];
    for (place, how, ports, why) in cases {
        for way in WAYS {
            let packet = if place.contains(&"--dst") { &to_printer[..2] } else { &to_printer[..] };
            let words = [&["trace", &path, "-o", "json"], packet, place, way].concat();
            let found = outplane(&words).ends(0).json();
            let delivery = &found["switches"][0]["delivery"];
            assert_eq!(
                (&delivery["how"], &delivery["ports"]),
                (&json!(how), &ports),
                "{place:?} {way:?}: {found}"
            );
            assert!(
                delivery["why"].as_str().is_some_and(|said| said.contains(why)),
                "{place:?} {way:?}: {found}"
            );
            let fate = if how == "dropped" { "drop" } else { "allow" };
            for expected in ["allow", "deny", "drop"] {
                outplane([&words[..], &["--expect", expected]].concat()).ends(i32::from(expected != fate));
            }
        }
    }
    // What a policy denies goes nowhere for that reason.
    let telnet = ["--src", "10.1.0.7", "--dst", "10.1.0.9", "--dport", "23", "--port", "4"];
    let found =
        outplane([&["trace", &path, "-o", "json", "--expect", "deny"], &telnet[..]].concat()).ends(0).json();
    assert_eq!(found["switches"][0].get("delivery"), None, "{found}");
    let run = outplane([&["trace", &path, "--expect", "allow"], &telnet[..]].concat()).ends(1);
    assert!(run.out.contains("not as expected: allow"), "{}", run.out);
    // For people.
    let run = outplane([&["trace", &path, "--port", "4"], &to_printer[..]].concat()).ends(0);
    assert!(
        run.out.contains("core: dropped: no segment takes untagged frames at port 4 (spare)"),
        "{}",
        run.out
    );
    let run =
        outplane([&["trace", &path, "--vlan", "10", "--port", "rack"], &to_printer[..]].concat()).ends(0);
    assert!(run.out.contains("leaves by port 2: Host printer"), "{}", run.out);
    for (bad, words) in [
        (["--port", "dask"], "no switch that is asked has a port with the name `dask`"),
        (["--port", "77"], "switch `core` has no port 77; it has 1 (desk), 2, 3 (rack), 4 (spare), 5, 6"),
        (["--dst-mac", "02:00"], "no MAC address"),
        (["--segment", "ofice"], "they have cellar, office"),
        (["--address", "127.0.0.1:1"], "--live"),
    ] {
        let run = outplane([&["trace", &path], &to_printer[..], &bad[..]].concat()).ends(2);
        assert!(run.err.contains(words), "{bad:?}: {}", run.err);
    }
}

#[test]
fn a_batch_is_a_test_of_the_policies() {
    let lines = |first: &str| {
        format!(
            "{{\"src\":\"10.1.0.9\",\"dst\":\"web\",\"dport\":443,\"expect\":\"{first}\"}}\n\
             {{\"src\":\"10.3.0.9\",\"dst\":\"web\",\"dport\":22,\"expect\":\"deny\"}}\n\
             {{\"src\":\"10.1.0.9\",\"dst\":\"10.1.0.8\",\"proto\":\"arp\",\"port\":\"office-a\",\"vlan\":99,\"expect\":\"drop\"}}\n"
        )
    };
    for way in WAYS {
        let words = [&["trace", CAMPUS, "--batch"], way].concat();
        let run = outplane_reading(&words, lines("allow").as_bytes()).ends(0);
        assert!(!run.out.contains("expected"), "{}", run.out);
        let run = outplane_reading(&words, lines("deny").as_bytes()).ends(1);
        let first: Value = serde_json::from_str(run.out.lines().next().unwrap()).unwrap();
        assert_eq!((&first["verdict"], &first["expected"]), (&json!("allow"), &json!("deny")), "{first}");
        assert_eq!(run.out.matches("expected").count(), 1, "{}", run.out);
        let run = outplane_reading(&words, lines("pass").as_bytes()).ends(1);
        assert!(run.out.contains("unknown variant `pass`"), "{}", run.out);
    }
}

/// Whatever should have written the packets may have failed.
#[test]
fn a_batch_without_packets_fails() {
    for input in [&b""[..], b"\n  \n"] {
        let run = outplane_reading(["trace", CAMPUS, "--batch"], input).ends(1);
        assert_eq!(run.out, "");
        assert!(run.err.contains("there are no packets in standard input"), "{}", run.err);
    }
}

/// A frame of VLAN 0 has no VLAN: it enters in no segment of one, whatever its addresses say.
#[test]
fn a_stated_vlan_0_gets_no_other() {
    // A guest's segment has a VLAN: without one it can enter by the uplink alone, in the office's.
    let guest = ["trace", CAMPUS, "--src", "10.3.0.9", "--dst", "web", "--dport", "443", "--vlan", "0"];
    let run = outplane(guest).ends(0);
    assert!(run.out.contains("enters in segment office, by port 5 (uplink)"), "{}", run.out);
    let said = |src: &str| ["--src", src, "--dst", "web", "--dport", "443"].map(str::to_owned);
    for way in WAYS {
        for (src, fate) in [("dns", "drop"), ("10.1.0.9", "allow")] {
            let words = [&["trace", CAMPUS, "--vlan", "0", "--expect", fate], way].concat();
            let words = words.into_iter().map(str::to_owned).chain(said(src));
            outplane(words.collect::<Vec<_>>()).ends(0);
            let line = format!(
                "{{\"src\":\"{src}\",\"dst\":\"web\",\"dport\":443,\"vlan\":0,\"expect\":\"{fate}\"}}\n"
            );
            outplane_reading([&["trace", CAMPUS, "--batch"], way].concat(), line.as_bytes()).ends(0);
        }
    }
}

#[test]
fn live_is_what_the_switch_holds() {
    let folder = folder();
    let path = file(folder.path(), "places.yaml", PLACES);
    let switch = SoftSwitch::start();
    let live = ["--live", "--address", &switch.address];
    let telnet = ["--src", "10.1.0.7", "--dst", "10.1.0.9", "--dport", "23", "--port", "1", "--vlan", "10"];
    let asked = [&["trace", &path, "-o", "json"], &telnet[..], &live[..]].concat();
    let found = outplane(&asked).ends(3).json();
    let why = found["unread"][0]["error"].as_str().unwrap_or_default();
    assert!(why.contains("runs no P4 program"), "{found}");
    outplane(["apply", &path, "--address", &switch.address]).ends(0);
    let found = outplane(&asked).ends(0).json();
    let core = &found["switches"][0];
    assert_eq!(
        (&core["verdict"], &core["version"], core.get("files")),
        (&json!("deny"), &json!(1), None),
        "{found}"
    );
    // The files go on, the switch does not.
    let changed = PLACES.replace("action: deny", "action: allow");
    file(folder.path(), "places.yaml", &changed);
    let found = outplane(&asked).ends(0).json();
    let core = &found["switches"][0];
    assert_eq!((&core["verdict"], &core["files"]["verdict"]), (&json!("deny"), &json!("allow")), "{found}");
    assert_eq!(core["files"]["delivery"]["ports"], json!([2]), "{found}");
    let run = outplane([&["trace", &path], &telnet[..], &live[..], &["--expect", "deny"]].concat()).ends(0);
    assert!(
        run.out.contains(
            "the files say something else: allow, FilterPolicy/all, rule telnet, and it leaves by port 2"
        ),
        "{}",
        run.out
    );
    // Nor is a segment what the files say it is: the switch finds it by port and VLAN.
    file(folder.path(), "places.yaml", &PLACES.replace("vlan: 10", "vlan: 11"));
    let elsewhere = ["--src", "10.1.0.7", "--dst", "10.1.0.9", "--dport", "80"];
    let found =
        outplane([&["trace", &path, "-o", "json"], &elsewhere[..], &live[..]].concat()).ends(0).json();
    let core = &found["switches"][0];
    assert_eq!(
        (&core["port"], &core["vlan"], &core["segment"]),
        (&json!(1), &json!(11), &Value::Null),
        "{found}"
    );
    assert_eq!(core["files"]["delivery"]["how"], "host", "{found}");
    file(folder.path(), "places.yaml", &changed);
    // In batches, too; and a switch that is away is told.
    let packet = br#"{"src":"10.1.0.7","dst":"10.1.0.9","dport":23,"port":"desk","vlan":10}"#;
    let run = outplane_reading([&["trace", &path, "--batch"], &live[..]].concat(), packet).ends(0);
    assert!(
        run.out.contains(r#""verdict":"deny""#) && run.out.contains(r#""files":{"verdict":"allow""#),
        "{}",
        run.out
    );
    let away = outplane([&["trace", &path, "--live", "--timeout", "2"], &telnet[..]].concat()).ends(3);
    assert!(away.out.contains("core: cannot be read: "), "{}", away.out);
    outplane([&["trace", &path, "--live", "--both"], &telnet[..]].concat()).ends(2);
}

/// A rule that is over is none of the files' any more. The switch has it until somebody takes it away.
#[test]
fn a_rule_that_is_over_stays_in_the_switch() {
    let folder = folder();
    let places = PLACES.replace("action: deny", "expires: 2099-01-01, action: deny");
    let path = file(folder.path(), "places.yaml", &places);
    let switch = SoftSwitch::start();
    let applied = outplane(["apply", &path, "--address", &switch.address]).ends(0);
    assert!(applied.err.contains("nobody takes it from the switches then"), "{}", applied.err);
    let telnet = ["--src", "10.1.0.7", "--dst", "10.1.0.9", "--dport", "23", "--port", "1", "--vlan", "10"];
    let trace = |more: &[&str]| {
        outplane([&["trace", &path, "-o", "json"], &telnet[..], more].concat()).ends(0).json()
    };
    let (before, after) = (["--at", "2098-12-31"], ["--at", "2099-01-01"]);
    let live = ["--live", "--address", &switch.address];
    for (more, verdict, files) in [
        (before.to_vec(), "deny", Value::Null),
        (after.to_vec(), "allow", Value::Null),
        ([&live[..], &before].concat(), "deny", Value::Null),
        ([&live[..], &after].concat(), "deny", json!("allow")),
    ] {
        let found = trace(&more);
        let core = &found["switches"][0];
        assert_eq!(core["verdict"], json!(verdict), "{more:?}: {found}");
        assert_eq!(core.pointer("/files/verdict").unwrap_or(&Value::Null), &files, "{more:?}: {found}");
    }
    // The next apply takes it away.
    let last = ["apply", &path, "--address", &switch.address, "--allow-empty"];
    outplane([&last[..], &after].concat()).ends(0);
    let found = trace(&[&live[..], &after].concat());
    assert_eq!(found["switches"][0]["verdict"], json!("allow"), "{found}");
}

#[test]
fn whoever_stops_reading_is_no_error() {
    let mut child = command(["trace", CAMPUS, "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    let line = b"{\"src\":\"10.9.0.1\",\"dst\":\"10.2.0.10\",\"dport\":80}\n";
    // The binary ends at its first answer; from then on the pipe is broken here, too.
    while stdin.write_all(line).is_ok() {}
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// A switch that cannot be read is part of the answer, and a port that nobody gave is told as what it is.
#[test]
fn what_is_not_known_is_said() {
    let packet = ["trace", CAMPUS, "--src", "10.1.0.9", "--dst", "web", "--dport", "443"];
    let live = ["--live", "--address", "127.0.0.1:2", "--timeout", "1"];
    let run = outplane([&packet[..], &live, &["-o", "json"]].concat()).ends(3);
    let found = run.json();
    assert_eq!(found["switches"], serde_json::json!([]), "{found}");
    assert_eq!(found["unread"][0]["switch"], "core", "{found}");
    assert!(found["unread"][0]["error"].as_str().is_some_and(|why| why.contains("connect")), "{found}");
    let run = outplane([&packet[..], &live].concat()).ends(3);
    assert!(run.out.contains("core: cannot be read: "), "{}", run.out);

    let run = outplane(packet).ends(0);
    assert!(
        run.out.contains("by port 1 (office-a); the port is a guess: the segment's first"),
        "{}",
        run.out
    );
    let guessed = |more: &[&'static str]| {
        let found = outplane([&packet[..], more, &["-o", "json"]].concat()).ends(0).json();
        found["switches"][0]["port_guessed"].clone()
    };
    assert_eq!(guessed(&[]), true);
    assert_eq!(guessed(&["--intent"]), true);
    assert_eq!(guessed(&["--port", "office-a"]), serde_json::Value::Null);
    let host = ["trace", CAMPUS, "--src", "admin-laptop", "--dst", "web", "--dport", "443"];
    assert!(!outplane(host).ends(0).out.contains("a guess"));
}
