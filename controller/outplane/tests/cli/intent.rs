//! `outplane intent`: what the log has, what differs, and the way back.

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::support::{Run, SoftSwitch, file, folder, outplane};

fn run(lab: &Lab, line: &str) -> Run {
    outplane(lab.paths(&format!("{line} --config node.toml")).split_whitespace())
}

const CAMPUS: &str = include_str!("../../../../examples/campus/network.yaml");
const POLICY: &str = include_str!("../../../../examples/campus/policy.yaml");

#[test]
fn history_differences_and_the_way_back() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    let none = run(&lab, "intent history").ends(1);
    assert!(none.err.contains("the intent log has no generation yet"), "{}", none.err);
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        lab.daemon(role, name);
    }
    let folder = folder();
    let path = folder.path().join("campus").display().to_string();
    std::fs::create_dir(&path).unwrap();
    let write = |policy: &str| {
        file(std::path::Path::new(&path), "network.yaml", CAMPUS);
        file(std::path::Path::new(&path), "policy.yaml", policy);
    };
    write(POLICY);
    run(&lab, &format!("apply {path}")).ends(0);
    let changed = POLICY.replace("name: ssh\n    action: allow", "name: ssh\n    action: deny");
    assert_ne!(changed, POLICY);
    write(&changed);
    run(&lab, &format!("apply {path}")).ends(0);

    let diff = run(&lab, "intent diff -o json").ends(0).json();
    let change = json!([{"object": "FilterPolicy/servers", "rule": "ssh", "change": "changed"}]);
    assert_eq!((&diff["from"], &diff["to"], &diff["changes"]), (&json!(1), &json!(2), &change), "{diff}");
    assert_eq!(diff["switches"], json!(["core"]));
    let told = run(&lab, "intent diff 2 1").ends(0).out;
    assert!(told.contains("~ FilterPolicy/servers, rule ssh"), "{told}");

    let shown = run(&lab, "intent show 1").ends(0).out;
    assert!(
        shown.starts_with("# Generation 1, of ") && shown.contains("name: ssh\n    action: allow"),
        "{shown}"
    );
    // What it prints, and what it writes, says the same once more.
    let again = file(folder.path(), "again.yaml", &shown);
    let digest = |path: &str| {
        outplane(["compile", path, "-o", "json"]).ends(0).json()["switches"][0]["digest"].clone()
    };
    let out = folder.path().join("out").display().to_string();
    run(&lab, &format!("intent show 1 --out {out}")).ends(0);
    write(POLICY);
    assert_eq!((digest(&again), digest(&out)), (digest(&path), digest(&path)));

    let dry = run(&lab, "intent rollback 1 --dry-run").ends(0).out;
    assert!(dry.contains("From generation 2 to 1"), "{dry}");
    let back = run(&lab, "intent rollback 1 -o json").ends(0).json();
    assert_eq!((&back["generation"], &back["converged"]), (&json!(3), &json!(true)), "{back}");
    let same = run(&lab, "intent rollback 1").ends(1);
    assert!(same.err.contains("there is nothing to roll back"), "{}", same.err);

    let history = run(&lab, "intent history -o json").ends(0).json();
    let row = |line: &Value| {
        let switch = &line["switches"][0];
        json!([
            line["generation"],
            line["same_as"],
            switch["changed"],
            switch["outcome"],
            line["files"].as_array().map(Vec::len)
        ])
    };
    let rows: Vec<Value> = history["generations"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(
        rows,
        [
            json!([3, 1, true, "done", 2]),
            json!([2, null, true, "done", 2]),
            json!([1, null, null, "done", 2])
        ]
    );
    // Also one that is not listed.
    let text = run(&lab, "intent history --limit 1").ends(0).out;
    assert!(text.contains("as generation 1") && text.contains("2 older ones are not shown"), "{text}");
    for (line, words) in [
        ("intent show 9", "has no generation 9"),
        ("intent diff 1 9", "has no generation 9"),
        ("intent rollback 9", "has no generation 9"),
        ("intent diff 9", "has no generation 9"),
    ] {
        let bad = run(&lab, line).ends(1);
        assert!(bad.err.contains(words), "{line}: {}", bad.err);
    }
    run(&lab, "intent history --limit 0").ends(2);
    run(&lab, "intent rollback").ends(2);
}

/// Whoever has just applied through controllers is told that nothing is left to do, whatever the switch alone would be
/// numbered like.
#[test]
fn a_plan_goes_by_the_numbers_of_the_log() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        lab.daemon(role, name);
    }
    let folder = folder();
    file(folder.path(), "policy.yaml", POLICY);
    let network = CAMPUS.replace("127.0.0.1:9559", &switch.address);
    let path = folder.path().display();
    for number in [7, 8, 17, 18, 7] {
        let moved = network.replace("10.1.0.7", &format!("10.1.0.{number}"));
        file(folder.path(), "network.yaml", &moved);
        run(&lab, &format!("apply {path} --ignore-expectations")).ends(0);
        let plan = run(&lab, &format!("plan {path} --ignore-expectations")).ends(0).out;
        assert!(
            plan.contains("nothing would change") || plan.contains("no rule changes"),
            "{number}: {plan}"
        );
        let dry = run(&lab, &format!("apply {path} --dry-run --detailed-exitcode --ignore-expectations"));
        dry.ends(0);
    }
    // It is told where the log cannot be read, and planned all the same.
    lab.end_store();
    let alone = run(&lab, &format!("plan {path} --ignore-expectations")).ends(0);
    assert!(alone.err.contains("the newest generation cannot be read"), "{}", alone.err);
    outplane(["plan", &path.to_string(), "--no-log", "--ignore-expectations"]).ends(0);
}
