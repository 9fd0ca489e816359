//! `outplane check`.

use serde_json::{Value, json};

use crate::support::{file, folder, golden, outplane, outplane_reading};

const BROKEN: &str = "controller/outplane/tests/cli/data/broken.yaml";
const WARNED: &str = "controller/outplane/tests/cli/data/warned.yaml";

#[test]
fn all_errors_are_reported_at_once() {
    let run = outplane(["check", BROKEN]).ends(1);
    golden("check-broken.txt", &format!("{}{}", run.err, run.out));
    let run = outplane(["check", BROKEN, "--output", "json"]).ends(1);
    assert_eq!(run.err, "");
    golden("check-broken.json", &run.out);
    let found = run.json();
    assert_eq!(found["ok"], json!(false));
    let errors = found["errors"].as_array().expect("errors are a list");
    assert!(errors.len() >= 6, "{errors:?}");
    for error in errors {
        assert!(error["line"].as_u64().is_some_and(|line| line > 1), "{error}");
        assert_eq!(error["file"], json!(BROKEN));
        assert_eq!(error["severity"], json!("error"));
    }
}

#[test]
fn other_commands_refuse_broken_files_the_same_way() {
    for command in ["compile", "trace", "plan", "apply"] {
        let packet: &[&str] =
            if command == "trace" { &["--src", "10.0.0.1", "--dst", "10.0.0.2"] } else { &[] };
        let run = outplane([&[command, BROKEN], packet].concat()).ends(1);
        assert_eq!(run.out, "", "{command}");
        assert!(run.err.contains("offices") && run.err.contains("error"), "{command}: {}", run.err);
        let run = outplane([&[command, BROKEN, "--output", "json"], packet].concat()).ends(1);
        let error: Value = serde_json::from_str(&run.err).expect("one line of JSON");
        assert!(error["errors"].as_array().is_some_and(|errors| errors.len() >= 6), "{command}: {error}");
    }
}

#[test]
fn strict_lets_no_warning_pass() {
    let before = ["check", WARNED, "--at", "2026-05-31"];
    let after = ["check", WARNED, "--at", "2026-06-01T00:00:00Z"];
    outplane(before).ends(0);
    outplane([&before[..], &["--strict"]].concat()).ends(0);
    let run = outplane(after).ends(0);
    assert!(run.err.contains("expired"), "{}", run.err);
    assert!(run.out.ends_with("ok: 1 warning\n"), "{}", run.out);
    let run = outplane([&after[..], &["--strict", "-o", "json"]].concat()).ends(1);
    assert_eq!(run.json()["ok"], json!(false));
    assert_eq!(run.json()["warnings"][0]["code"], json!("expired"));
}

#[test]
fn examples_are_right_and_show_what_they_take_and_open() {
    for (example, switch, opening) in [
        ("examples/campus", "core", "UDP from port 53"),
        ("examples/kubernetes", "default", "NetworkPolicy/shop/db"),
    ] {
        let run = outplane(["check", example, "--strict"]).ends(0);
        assert_eq!(run.err, "");
        assert!(run.out.contains(&format!("Switch {switch} ")), "{}", run.out);
        assert!(run.out.contains(opening), "{}", run.out);
        let found = outplane(["check", example, "-o", "json"]).ends(0).json();
        assert_eq!(found["ok"], json!(true));
        assert_eq!(found["switches"][0]["switch"], json!(switch));
        assert!(!found["openings"].as_array().expect("a list").is_empty());
        let resources = found["switches"][0]["resources"].as_array().expect("a list");
        assert!(resources.iter().any(|r| r["used"].as_u64() > Some(0) && r["size"].as_u64() > Some(1000)));
    }
}

#[test]
fn too_many_rate_limits_do_not_fit() {
    let folder = folder();
    let head =
        "apiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: limits}\nspec:\n  rules:\n";
    let rule = |limit: usize| {
        format!(
            "  - {{action: allow, ports: [{{port: {limit}}}], rateLimit: {{packetsPerSecond: {limit}}}}}\n"
        )
    };
    let text: String = std::iter::once(head.to_owned()).chain((1..=1100).map(rule)).collect();
    let path = file(folder.path(), "limits.yaml", &text);
    let run = outplane(["check", &path, "-o", "json"]).ends(1);
    let error = &run.json()["errors"][0];
    assert_eq!(error["code"], json!("capacity"));
    let message = error["message"].as_str().expect("a message");
    // Two each: replies have their own.
    assert!(message.contains("2200") && message.contains("1024"), "{message}");
    assert_eq!(error["file"], json!(path));
    outplane(["compile", &path]).ends(1);
}

/// What policies go by and is not there: the count is of objects, and a warning names them.
#[test]
fn namespaces_without_objects_are_no_objects() {
    let folder = folder();
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n";
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: a}}\nstatus: {podIP: 10.0.0.1}\n---\n";
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  podSelector: \
                  {}\n  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}}]}]\n";
    let path = file(folder.path(), "bare.yaml", &format!("{pod}{policy}"));
    let found = outplane(["check", &path, "-o", "json"]).ends(0).json();
    assert_eq!(found["objects"]["Namespace"], Value::Null);
    let missing = |found: &Value| {
        let warnings = found["warnings"].as_array().expect("warnings").clone();
        warnings.into_iter().find(|warning| warning["code"] == json!("missing-object"))
    };
    let warning = missing(&found).expect("a warning");
    let message = warning["message"].as_str().expect("a message");
    assert!(message.contains("namespace shop has pods but no Namespace object"), "{message}");
    outplane(["check", "--strict", &path]).ends(1);
    let path = file(folder.path(), "whole.yaml", &format!("{namespace}{pod}{policy}"));
    let found = outplane(["check", &path, "-o", "json"]).ends(0).json();
    assert_eq!((&found["objects"]["Namespace"], missing(&found)), (&json!(1), None));
}

#[test]
fn a_dash_is_standard_input() {
    let policy = b"{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {name: p}, spec: {default: deny}}";
    outplane_reading(["check", "-"], policy).ends(0);
    let run = outplane_reading(["check", "-"], b"{kind: FilterPolicy}").ends(1);
    assert!(run.err.contains("<stdin>"), "{}", run.err);
    let run = outplane(["check", "no/such/file.yaml"]).ends(1);
    assert!(run.err.contains("no/such/file.yaml"), "{}", run.err);
}

#[test]
fn a_switch_that_forwards_nothing_is_noted() {
    let notes = |paths: &[&str]| {
        let run = outplane([&["check", "-o", "json"], paths].concat()).ends(0);
        run.json()["notes"]
            .as_array()
            .expect("notes")
            .iter()
            .filter_map(serde_json::Value::as_str)
            .collect::<String>()
    };
    assert!(notes(&["examples/kubernetes"]).contains("switch default forwards no frame"));
    assert_eq!(notes(&["examples/campus"]), "");
    // A pair of ports forwards, too.
    let folder = folder();
    let pair = "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {name: pair}\nspec:\n  address: \
                127.0.0.1:9559\n  ports: [{id: 1, crossConnect: 2}, 2]\n";
    let path = file(folder.path(), "pair.yaml", pair);
    assert_eq!(notes(&["examples/kubernetes", &path]), "");
}

/// What people read fits their terminals, unless one word is longer than a line.
#[test]
fn lines_fit_a_hundred_columns() {
    let packet = ["--src", "admin-laptop", "--dst", "web", "--dport", "443"];
    let runs = [
        vec!["check", "examples/campus"],
        vec!["check", "examples/kubernetes"],
        vec!["compile", "examples/campus"],
        vec!["compile", "examples/kubernetes"],
        [&["trace", "examples/campus", "--both"], &packet[..]].concat(),
    ];
    for arguments in runs {
        let run = outplane(&arguments).ends(0);
        for line in run.out.lines() {
            let fits = line.chars().count() <= 100 || !line.trim().contains(' ');
            assert!(fits && line.trim_end() == line, "{arguments:?}: `{line}`");
        }
    }
}
