//! `Expectation` objects: what is expected of packets is checked by `check`, and before anything is applied.

use serde_json::{Value, json};

use crate::support::{SoftSwitch, command, file, folder, outplane, outplane_reading};

const CAMPUS: &str = "examples/campus";

/// An `Expectation` with these packets.
fn expecting(packets: &str) -> String {
    format!(
        "apiVersion: outplane.dev/v1alpha1\nkind: Expectation\nmetadata: {{name: wishes}}\nspec:\n  packets:\n{packets}"
    )
}

#[test]
fn check_says_where_something_else_becomes_of_a_packet() {
    let folder = folder();
    let wishes = expecting(
        "  - {src: admin-laptop, dst: web, dport: 22, expect: allow, policy: FilterPolicy/servers, rule: ssh}\n\
         \x20 - {name: closed, src: 10.1.0.9, dst: web, dport: 443, expect: deny}\n\
         \x20 - {src: 10.1.0.9, dst: web, dport: 22, expect: deny, policy: FilterPolicy/rest, rule: office-outwards}\n\
         \x20 - {src: admin-laptop, dst: web, dport: 443, vlan: 77, expect: drop, switch: core}\n",
    );
    let path = file(folder.path(), "wishes.yaml", &wishes);
    let found = outplane(["check", CAMPUS, &path, "-o", "json"]).ends(1).json();
    assert_eq!(found["ok"], json!(false));
    let errors = found["errors"].as_array().expect("a list");
    let told: Vec<(&Value, &Value, &Value)> =
        errors.iter().map(|error| (&error["code"], &error["object"], &error["line"])).collect();
    let at = |line: usize| (json!("expectation-failed"), json!("Expectation/wishes"), json!(line));
    let expected = [at(7), at(8)];
    let expected: Vec<_> = expected.iter().map(|(code, object, line)| (code, object, line)).collect();
    assert_eq!(told, expected, "{found}");
    let message = errors[0]["message"].as_str().expect("text");
    for word in ["TCP SYN 10.1.0.9", "expected deny", "switch core", "FilterPolicy/servers, rule web"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    // Who decided instead, and where that was said.
    assert!(
        errors[0]["related"][0]["file"].as_str().is_some_and(|file| file.ends_with("policy.yaml")),
        "{found}"
    );
    // The rest is there all the same, and the state is what it was.
    let without = outplane(["check", CAMPUS, "-o", "json"]).ends(0).json();
    assert_eq!(found["switches"], without["switches"]);
    assert_eq!(found["objects"]["Expectation"], json!(2));
    assert_eq!(without["objects"]["Expectation"], json!(1));
}

#[test]
fn what_cannot_be_judged_is_an_error_with_its_place() {
    let folder = folder();
    for (packet, code, word) in [
        ("{src: webb, dst: web, expect: allow}", "unknown-reference", "did you mean `web`"),
        ("{src: 10.0.0.1, expect: allow}", "invalid-value", "`dst` is missing"),
        ("{src: 10.0.0.1, dst: web}", "missing-field", "has no `expect`"),
        ("{src: 10.0.0.1, dst: web, expect: permit}", "invalid-value", "did you mean allow?"),
        ("{src: 10.0.0.1, dst: web, dport: 65536, expect: deny}", "invalid-value", "from 0 to 65535"),
        ("{src: 10.0.0.1, dst: web, dport: 0120, expect: deny}", "ambiguous", "80 in YAML 1.1"),
        ("{src: 10.0.0.1, dst: web, dports: 80, expect: deny}", "unknown-field", "did you mean `dport`?"),
        ("{src: 10.0.0.1, dst: web, tcp_flags: [SYN, OCK], expect: deny}", "invalid-value", "no TCP flags"),
        ("{src: 10.0.0.1, dst: web, tags: [{vlan: 4096}], expect: deny}", "invalid-value", "0 to 4095"),
        ("{src: 10.0.0.1, dst: web, switch: cor, expect: deny}", "unknown-reference", "did you mean core?"),
        (
            "{src: 10.0.0.1, dst: web, policy: servers, expect: deny}",
            "unknown-reference",
            "did you mean FilterPolicy/servers?",
        ),
        (
            "{src: 10.0.0.1, dst: web, policy: FilterPolicy/servers, rule: wob, expect: deny}",
            "unknown-reference",
            "did you mean web?",
        ),
        ("{src: {namespace: shop}, dst: web, expect: deny}", "unknown-reference", "no namespace `shop`"),
        ("{src: {podSelector: {}}, dst: web, expect: deny}", "missing-field", "namespace"),
        ("{src: 10.0.0.1, dst: web, rule: web, expect: deny}", "missing-field", "`rule` without `policy`"),
        ("{src: 10.0.0.1, dst: web, port: nowhere, expect: deny}", "invalid-value", "nowhere"),
        ("{src: 10.0.0.1, dst: web, segment: offices, expect: deny}", "invalid-value", "no segment"),
        ("{ether_type: 0x0800, expect: deny}", "invalid-value", "no ether_type"),
        ("web", "wrong-type", "a mapping"),
    ] {
        let path = file(folder.path(), "wishes.yaml", &expecting(&format!("  - {packet}\n")));
        let found = outplane(["check", CAMPUS, &path, "-o", "json"]).ends(1).json();
        let error = &found["errors"][0];
        assert_eq!(found["errors"].as_array().map(Vec::len), Some(1), "{packet}: {found}");
        assert_eq!((&error["code"], &error["line"]), (&json!(code), &json!(6)), "{packet}: {found}");
        let text = format!("{} {}", error["message"], error["help"]).replace("\\\"", "\"");
        assert!(text.contains(word), "{packet}: {text}");
    }
    let twice = "  - {name: a, src: 10.0.0.1, dst: web, expect: deny}\n  - {name: a, src: 10.0.0.1, dst: web, expect: deny}\n";
    let path = file(folder.path(), "wishes.yaml", &expecting(twice));
    let found = outplane(["check", CAMPUS, &path, "-o", "json"]).ends(1).json();
    assert_eq!(found["errors"][0]["code"], "duplicate-name", "{found}");
    let path = file(folder.path(), "wishes.yaml", &expecting("    []\n"));
    let found = outplane(["check", CAMPUS, &path, "-o", "json"]).ends(1).json();
    assert_eq!(found["errors"][0]["code"], "invalid-value", "{found}");
}

/// All that is wrong is told at once, and whoever knows it goes on.
#[test]
fn what_cannot_be_judged_is_ignored_where_that_is_said() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let wishes = expecting(
        "  - {src: webb, dst: wob, switch: cor, policy: servers, expect: allow}\n\
         \x20 - {src: 10.1.0.9, dst: web, dport: 443, expect: allow}\n\
         \x20 - {src: shop/api-5d8f7b9c4-bbb0, dst: web, expect: allow}\n\
         \x20 - {src: 10.0.0.1, dst: web, expect: allow, policy: FilterPolicy/gone, rule: web}\n",
    );
    let path = file(folder.path(), "wishes.yaml", &wishes);
    let found = outplane(["check", CAMPUS, &path, "-o", "json"]).ends(1).json();
    let lines: Vec<&Value> =
        found["errors"].as_array().expect("a list").iter().map(|one| &one["line"]).collect();
    assert_eq!(lines, [&json!(6), &json!(6), &json!(6), &json!(6), &json!(8), &json!(9)], "{found}");
    assert_eq!(found["objects"]["FilterPolicy"], json!(5), "the rest is looked at all the same");
    let run = outplane(["apply", CAMPUS, &path, "--address", &switch.address]).ends(1);
    assert!(run.err.contains("no running pod `shop/api-5d8f7b9c4-bbb0`"), "{}", run.err);
    outplane(["apply", CAMPUS, &path, "--address", &switch.address, "--ignore-expectations"]).ends(0);
}

/// A Deployment's pods have new names at each rollout.
#[test]
fn pods_are_meant_by_their_labels() {
    let folder = folder();
    let pods = "examples/kubernetes";
    let expecting_api = |expect: &str, more: &str| {
        let api = "{namespace: shop, podSelector: {matchLabels: {app: api}}}";
        expecting(&format!("  - {{src: {api}, dst: shop/db-0, dport: 5432, expect: {expect}{more}}}\n"))
    };
    let path = file(folder.path(), "wishes.yaml", &expecting_api("allow", ", policy: NetworkPolicy/shop/db"));
    outplane(["check", pods, &path]).ends(0);
    let path = file(folder.path(), "wishes.yaml", &expecting_api("deny", ""));
    let found = outplane(["check", pods, &path, "-o", "json"]).ends(1).json();
    let message = found["errors"][0]["message"].as_str().expect("text");
    assert!(message.contains("expected deny; on switch default it is allow"), "{found}");
    let none = expecting_api("allow", "").replace("app: api", "app: nobody");
    let path = file(folder.path(), "wishes.yaml", &none);
    let found = outplane(["check", pods, &path, "-o", "json"]).ends(1).json();
    assert_eq!(found["errors"][0]["code"], "unknown-reference", "{found}");
}

#[test]
fn every_field_of_a_batch_is_known() {
    let folder = folder();
    let packets = "  - {src: 10.1.0.9, dst: web, proto: 6, sport: 40000, dport: 443, tcp_flags: [SYN, ACK], dst_mac: \"01:00:5e:00:00:01\", tags: [20], port: uplink, expect: allow}\n\
        \x20 - {src: 10.1.0.9, dst: web, proto: udp, fragment: true, segment: office, expect: deny}\n\
        \x20 - {src: 10.1.0.9, dst: web, icmp_type: 8, icmp_code: 0, expect: allow}\n\
        \x20 - {ether_type: 0x88cc, vlan: 20, port: 3, expect: allow}\n\
        \x20 - {snap: \"00000c:0x2000\", port: office-a, expect: allow}\n\
        \x20 - {llc: \"424203\", tags: [{tpid: 0x88a8, vlan: 7}, \"0x8100:9\"], port: office-a, expect: drop}\n\
        \x20 - {src: 10.1.0.9, dst: 10.1.0.7, proto: arp, expect: allow}\n";
    let path = file(folder.path(), "wishes.yaml", &expecting(packets));
    let run = outplane(["check", CAMPUS, &path]);
    assert_eq!(run.code, 0, "{}{}", run.err, run.out);
}

#[test]
fn apply_and_plan_refuse_unless_that_is_meant() {
    let switch = SoftSwitch::start();
    let folder = folder();
    let path = file(
        folder.path(),
        "wishes.yaml",
        &expecting("  - {src: 10.1.0.9, dst: web, dport: 443, expect: deny}\n"),
    );
    let with = |command: &'static str, more: &[&'static str]| {
        [&[command, CAMPUS, &path, "--address", &switch.address], more]
            .concat()
            .iter()
            .map(|s| (*s).to_owned())
            .collect::<Vec<_>>()
    };
    for arguments in [with("plan", &[]), with("apply", &[]), with("apply", &["--dry-run"])] {
        let run = outplane(&arguments).ends(1);
        for word in ["expectation-failed", "wishes.yaml:6", "rule web", "--ignore-expectations"] {
            assert!(run.err.contains(word), "{arguments:?}: {word}: {}", run.err);
        }
    }
    let held = outplane(["show", "tables", "--address", &switch.address]).ends(3);
    assert!(held.out.contains("no P4 program"), "nothing was written: {}", held.out);
    let run = outplane(with("plan", &["--ignore-expectations"])).ends(0);
    assert!(run.out.contains("writes"), "{}", run.out);
    let run = command(with("apply", &["--ignore-expectations"])).output().expect("the binary starts");
    let words = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(0), "{words}");
    assert!(words.contains("1 expectation does not hold or cannot be judged, which is ignored"), "{words}");
}

/// Two segments of one switch, and a router between them that may not send what it forwards.
const ROUTED: &str = "\
apiVersion: outplane.dev/v1alpha1
kind: Switch
metadata: {name: core}
spec: {address: 192.0.2.1:9559, ports: [1, 2, 3, 4]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: office}
spec: {subnets: [10.1.0.0/24], ports: [{ports: [1, 2]}]}
---
apiVersion: outplane.dev/v1alpha1
kind: Segment
metadata: {name: servers}
spec: {subnets: [10.2.0.0/24], ports: [{ports: [3, 4]}]}
---
apiVersion: outplane.dev/v1alpha1
kind: Host
metadata: {name: web}
spec: {addresses: [10.2.0.10], segment: servers, port: 3}
---
apiVersion: outplane.dev/v1alpha1
kind: Host
metadata: {name: router}
spec: {addresses: [10.2.0.1], segment: servers, port: 4}
";

#[test]
fn what_enters_nowhere_cannot_be_judged() {
    let folder = folder();
    let network = file(folder.path(), "network.yaml", ROUTED);
    for (place, why) in [
        ("port: 77", "has no port 77; it has"),
        ("segment: office, vlan: 3999", "frames of VLAN 3999 do not enter in segment `office`"),
    ] {
        let cases = format!("  - {{src: 10.1.0.9, dst: web, dport: 443, expect: drop, {place}}}\n");
        let path = file(folder.path(), "wishes.yaml", &expecting(&cases));
        let found = outplane(["check", &network, &path, "-o", "json"]).ends(1).json();
        assert!(found["errors"][0]["message"].as_str().is_some_and(|said| said.contains(why)), "{found}");
    }
}

#[test]
fn what_enters_again_is_judged_again() {
    let folder = folder();
    let cases = "  - {src: 10.1.0.9, dst: web, dport: 443, expect: allow}\n\
                 \x20 - {src: 10.1.0.9, dst: web, dport: 443, expect: allow, segment: office}\n\
                 \x20 - {src: web, dst: 10.1.0.9, sport: 443, dport: 50000, expect: allow}\n";
    let network = file(folder.path(), "network.yaml", ROUTED);
    let path = file(folder.path(), "wishes.yaml", &expecting(cases));
    let found = outplane(["check", &network, &path, "-o", "json"]).ends(1).json();
    let errors = found["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 1, "{found}");
    let message = errors[0]["message"].as_str().expect("text");
    for word in ["in segment servers, where a router brings it", "source address 10.1.0.9 is not allowed"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let trace = ["trace", &network, "--src", "10.1.0.9", "--dst", "web", "--dport", "443", "-o", "json"];
    let traced = outplane(trace).ends(0).json();
    let again = &traced["switches"][0]["again"];
    assert_eq!((&traced["switches"][0]["verdict"], &again["verdict"]), (&json!("allow"), &json!("deny")));
    assert_eq!(again["segment"], json!("servers"));
    // A batch judges it there, too.
    let asked = br#"{"src":"10.1.0.9","dst":"web","dport":443,"expect":"allow"}"#;
    let batch = outplane_reading(["trace", &network, "--batch"], asked).ends(1).json();
    assert_eq!((&batch["verdict"], &batch["again"]["verdict"]), (&json!("allow"), &json!("deny")), "{batch}");
    assert_eq!(batch["expected"], json!("allow"));
    // Its port, said.
    let routed = ROUTED.replace("segment: servers, port: 4", "segment: servers, port: 4, antiSpoofing: none");
    let network = file(folder.path(), "network.yaml", &routed);
    outplane(["check", &network, &path]).ends(0);
    let again = &outplane(trace).ends(0).json()["switches"][0]["again"];
    assert_eq!((&again["verdict"], &again["port"]), (&json!("allow"), &json!(4)));
}
