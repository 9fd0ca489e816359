//! Through controllers: probes, and what a generation would change.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::support::{Run, SoftSwitch, big_policy, command, file, folder, outplane, outplane_reading};

fn run(lab: &Lab, line: &str) -> Run {
    outplane(lab.paths(&format!("{line} --config node.toml")).split_whitespace())
}

#[test]
fn switches_answer_or_the_exit_code_says_that_one_does_not() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    assert!(run(&lab, "config set examples/shared.toml").ends(0).out.contains("version 1"));
    // Asked before anybody is there, and not waited for.
    let asked = run(&lab, "probe --no-wait -o json").ends(0).json();
    assert_eq!((asked["probe"].as_u64(), asked["switches"][0]["state"].as_str()), (Some(1), Some("waiting")));
    let stranger = run(&lab, "probe core nowhere").ends(2);
    assert!(stranger.err.contains("`nowhere` is not known; there are: core"), "{}", stranger.err);
    let late = run(&lab, "probe --timeout 0.1").ends(3);
    assert!(late.out.contains("no task after 100ms: no distributor is up"), "{}", late.out);
    for (role, name) in [("distributor", "d1"), ("controller", "c1"), ("controller", "c2")] {
        lab.daemon(role, name);
    }
    let answered = run(&lab, "probe core -o json").ends(0).json();
    assert_eq!((answered["probe"].as_u64(), answered["answered"].as_bool()), (Some(3), Some(true)));
    let core = &answered["switches"][0];
    assert!(core["report"].as_str().is_some_and(|report| report.contains("answers in")), "{core}");
    // What was asked when nobody was there has its answer, too.
    let tasks = run(&lab, "tasks -o json").ends(0).json();
    let states = tasks["recent"].as_array().expect("a list").iter();
    let states: Vec<_> = states.map(|task| (task["kind"].as_str(), task["state"].as_str())).collect();
    assert_eq!(states, [(Some("probe"), Some("done")); 3], "{tasks}");
    let life = run(&lab, &format!("tasks {}", core["task"].as_str().expect("an id"))).ends(0).out;
    assert!(life.contains("because of probe 3"), "{life}");
    assert!(run(&lab, "status").ends(0).out.contains("probe 3"));
    drop(switch);
    let silent = run(&lab, "probe").ends(3);
    assert!(
        silent.out.contains("core: does not answer: ") && silent.out.contains("attempt 1 by"),
        "{}",
        silent.out
    );
}

#[test]
fn a_generation_is_compared_before_it_is_appended() {
    let switch = SoftSwitch::start();
    let mut lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    let dry = "apply examples/campus --dry-run";
    let first = run(&lab, &format!("{dry} --detailed-exitcode -o json")).ends(2).json();
    assert!(first["generation"].is_null() && first["switches"][0]["new"] == true, "{first}");
    assert!(first["differences"].as_u64() > Some(50), "{first}");
    let part = run(&lab, "apply examples/campus --switch core").ends(2);
    assert!(part.err.contains("a generation is the whole intent"), "{}", part.err);
    for (role, name) in [("distributor", "d1"), ("controller", "c1")] {
        lab.daemon(role, name);
    }
    run(&lab, "apply examples/campus").ends(0);
    let same = run(&lab, &format!("{dry} --detailed-exitcode --switch core -o json")).ends(0).json();
    assert_eq!((same["generation"].as_u64(), same["differences"].as_u64()), (Some(1), Some(0)));
    // One rule differs.
    let folder = crate::support::folder();
    for name in ["network.yaml", "policy.yaml"] {
        let text = std::fs::read_to_string(crate::support::root().join("examples/campus").join(name));
        let text = text.expect("it is there").replace("port: 443", "port: 444");
        crate::support::file(folder.path(), name, &text);
    }
    let path = folder.path().display().to_string();
    let other = run(&lab, &format!("apply {path} --dry-run --entries")).ends(0).out;
    assert!(
        other.contains("compared with what generation 1 wants") && other.contains("dport_class"),
        "{other}"
    );
    assert!(other.lines().any(|line| line.starts_with("  ~ ") || line.starts_with("  + ")), "{other}");
    let log = run(&lab, "tasks -o json").ends(0).json();
    assert_eq!(log["recent"].as_array().map(Vec::len), Some(1), "nothing was appended: {log}");
}

/// Through the intent log, too, nothing is no intention; also where a generation between has left the switch out.
#[test]
fn nothing_is_no_intention_in_the_log() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    let folder = folder();
    let path = |name: &str, text: &str| file(folder.path(), name, text);
    let objects = |switches: &str, policy: bool| {
        let object = |name| {
            let address = if name == "core" { &switch.address } else { "127.0.0.1:9" };
            format!(
                "---\napiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: {name}}}\nspec: {{address: \
                 \"{address}\"}}\n"
            )
        };
        let text: String = switches.split_whitespace().map(object).collect();
        if policy { text + "---\n" + &big_policy("p", 3, 100) } else { text }
    };
    let nothing = path("nothing.yaml", "# nothing\n");
    let policy = path("policy.yaml", &objects("core", true));
    let other = path("other.yaml", &objects("edge", true));
    let bare = path("bare.yaml", &objects("core", false));
    let refused = |files: &str, what: &str| {
        let run = self::run(&lab, &format!("apply {files} --no-wait")).ends(1);
        assert!(run.err.contains(what) && run.err.contains("--allow-empty"), "{}", run.err);
        let dry = self::run(&lab, &format!("apply {files} --dry-run")).ends(1).out;
        assert!(dry.contains("apply would refuse this: ") && dry.contains(what), "{dry}");
        let meant = self::run(&lab, &format!("apply {files} --dry-run --allow-empty -o json")).ends(0).json();
        assert!(meant["refused"].is_null() && meant["switches"][0]["refused"].is_null(), "{meant}");
    };
    refused(&nothing, "no objects");
    // Nothing is there that could be lost.
    run(&lab, &format!("apply {bare} --no-wait")).ends(0);
    run(&lab, &format!("apply {policy} --no-wait")).ends(0);
    refused(&nothing, "no objects");
    refused(&bare, "switch core has 1 policy by generation 2");
    // The switch keeps what it has when it is left out, so that still counts.
    run(&lab, &format!("apply {other} --no-wait")).ends(0);
    refused(&bare, "switch core has 1 policy by generation 2");
    let meant = run(&lab, &format!("apply {bare} --no-wait --allow-empty -o json")).ends(0).json();
    assert_eq!(meant["generation"].as_u64(), Some(4));
    run(&lab, &format!("apply {bare} --no-wait")).ends(0);
}

/// Of what came out of a pipe a part may be missing.
#[test]
fn much_less_out_of_a_pipe_has_to_be_meant_in_the_log() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    let object = format!(
        "---\napiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: core}}\nspec: {{address: \"{}\"}}\n---\n",
        switch.address
    );
    let pods = |number: usize| -> String {
        let pod = |number| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nstatus: {{podIP: 10.0.0.{number}}}\n"
            )
        };
        (1..=number).map(pod).collect()
    };
    let piped = |words: &str, number: usize| {
        let (words, end) = words.strip_suffix(" ...").map_or((words, ""), |words| (words, "...\n"));
        let text = format!("{object}{}{}{end}", big_policy("p", 3, 100), pods(number));
        let line = lab.paths(&format!("apply - --config node.toml {words}"));
        outplane_reading(line.split_whitespace(), text.as_bytes())
    };
    // Nothing is there to compare the first with, and nothing says that it is whole.
    let refused = piped("--no-wait", 9).ends(1);
    assert!(refused.err.contains("there is no generation to compare it with"), "{}", refused.err);
    piped("--no-wait ...", 9).ends(0);
    let refused = piped("--no-wait", 4).ends(1);
    for word in ["generation 1 has 9 Pods, and the input has 4", "--allow-shrink", "nothing was appended"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let dry = piped("--dry-run -o json", 4).ends(1).json();
    assert!(dry["refused"].as_str().is_some_and(|why| why.contains("9 Pods")), "{dry}");
    // YAML that lacks the last objects alone may have been cut off there.
    let refused = piped("--no-wait", 8).ends(1);
    assert!(
        refused.err.contains("ends with Pod/default/p8, and Pod/default/p9, which came behind it"),
        "{}",
        refused.err
    );
    let refused = piped("--no-wait", 10).ends(1);
    assert!(refused.err.contains("Pod/default/p10, its last object, is new"), "{}", refused.err);
    piped("--no-wait ...", 10).ends(0);
    piped("--no-wait --allow-shrink", 1).ends(0);
    // A file is whole.
    let folder = folder();
    let file = file(folder.path(), "all.yaml", &format!("{object}{}", big_policy("p", 3, 100)));
    run(&lab, &format!("apply {file} --no-wait")).ends(0);
}

/// Following ends when nobody reads any more, whether or not there is something to print.
#[test]
fn following_into_a_pipe_that_is_closed_ends() {
    let switch = SoftSwitch::start();
    let lab = Lab::start(&switch.address);
    run(&lab, "config set examples/shared.toml").ends(0);
    let line = lab.paths("log --follow --config node.toml");
    let direct = format!("log --follow --address {}", switch.address);
    outplane(["apply", "examples/campus", "--address", &switch.address]).ends(0);
    for line in [line, direct] {
        let mut child = command(line.split_whitespace()).stdout(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().expect("a child").is_none(), "{line}: it follows");
        drop(child.stdout.take());
        let began = Instant::now();
        let code = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status.code();
            }
            if began.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                panic!("{line}: it goes on");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(code, Some(0), "{line}");
    }
}
