//! Help, manual pages, completions, exit codes of command lines that are wrong.

use std::fs;
use std::process::Stdio;

use crate::support::{SoftSwitch, command, folder, outplane, root};

const COMMANDS: [&str; 18] = [
    "check",
    "compile",
    "trace",
    "plan",
    "apply",
    "show",
    "distributor",
    "controller",
    "config",
    "status",
    "probe",
    "intent",
    "log",
    "tasks",
    "softswitch",
    "store",
    "completions",
    "man",
];

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let run = outplane(["--help"]).ends(0);
    for name in COMMANDS {
        assert!(run.out.contains(&format!("\n  {name}")), "{name}");
        let run = outplane([name, "--help"]).ends(0);
        assert!(run.out.contains("Usage: outplane"), "{}", run.out);
    }
    assert!(run.out.contains("Exit codes:"), "{}", run.out);
    // Wrapped by us, and not once more by clap.
    assert!(run.out.lines().all(|line| line.len() <= 100), "{}", run.out);
    assert!(run.out.contains("the new generation\n       (in time, or at all)"), "{}", run.out);
    assert!(outplane(["--version"]).ends(0).out.starts_with("outplane "));
}

#[test]
fn wrong_command_lines_end_with_two() {
    for arguments in [
        &[][..],
        &["chekc"],
        &["check"],
        &["check", "--sctrict", "x.yaml"],
        &["show"],
        &["softswitch"],
        &["store"],
        &["softswitch", "--port", "veth1"],
        &["apply", "examples/campus", "--address", "nowhere"],
        &["plan", "examples/kubernetes"],
    ] {
        let run = outplane(arguments).ends(2);
        assert!(run.err.contains("Usage") || run.err.contains("--help"), "{arguments:?}: {}", run.err);
    }
    // What shows after parsing is told in the format that is asked for, and once.
    for arguments in [
        &["log", "--address", "127.0.0.1:1", "--config", "node.toml"][..],
        &["plan", "examples/kubernetes"],
        &["trace", "examples/campus", "--src", "nobody", "--dst", "web"],
    ] {
        let run = outplane(arguments.iter().chain(&["--output", "json"])).ends(2);
        let told: serde_json::Value = serde_json::from_str(&run.err).expect("one line of JSON");
        assert!(told["error"].is_string(), "{}", run.err);
    }
    // 2 means changes there.
    outplane(["plan", "--detailed-exitcode"]).ends(1);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = folder();
    let path = folder.path().to_str().expect("the path is UTF-8");
    outplane(["man", "--out", path]).ends(0);
    let main = fs::read_to_string(folder.path().join("outplane.1")).expect("the page is there");
    assert!(main.contains(".TH outplane 1"), "{main}");
    assert_eq!(outplane(["man"]).ends(0).out, main);
    for name in COMMANDS {
        let page =
            fs::read_to_string(folder.path().join(format!("outplane-{name}.1"))).expect("the page is there");
        assert!(page.contains("SYNOPSIS"), "{page}");
    }
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = outplane(["completions", shell]).ends(0).out;
        for name in COMMANDS {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}

#[test]
fn a_broken_pipe_is_no_panic() {
    for arguments in [
        &["compile", "examples/campus"][..],
        &["man"],
        &["completions", "bash"],
        &["check", "examples/campus"],
    ] {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn colours_are_for_terminals() {
    // A pipe is none.
    for arguments in
        [&["check", "examples/campus"][..], &["check", "controller/outplane/tests/cli/data/broken.yaml"]]
    {
        let run = outplane(arguments);
        assert!(!run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'), "{arguments:?}");
    }
}

#[test]
fn terminals_get_colours_and_bars() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        println!("SKIPPED: there is no `script` (package bsdutils) to make a terminal with");
        return;
    }
    let on_terminal = |line: &str, no_color: &str| {
        let output = std::process::Command::new("script")
            .args(["-qec", &format!("{} {line}", env!("CARGO_BIN_EXE_outplane")), "/dev/null"])
            .current_dir(root())
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null())
            .output()
            .expect("script starts");
        assert_eq!(output.status.code(), Some(0), "{line}");
        String::from_utf8(output.stdout).expect("output is UTF-8")
    };
    let colours = on_terminal("check examples/campus -vv", "");
    assert!(colours.contains("\u{1b}[1m") && colours.contains("\u{1b}[32m"), "{colours}");
    let plain = on_terminal("check examples/campus -vv", "1");
    assert!(!plain.contains('\u{1b}') && plain.contains("ok"), "{plain}");
    let switch = SoftSwitch::start();
    let bar = on_terminal(&format!("apply examples/campus --address {}", switch.address), "");
    assert!(bar.contains('░') && bar.contains(" writes"), "{bar}");
}

#[test]
fn logs_go_to_standard_error() {
    let run = outplane(["check", "examples/campus", "-vv", "--log-format", "json", "-o", "json"]).ends(0);
    run.json();
    let lines: Vec<&str> = run.err.lines().collect();
    assert!(!lines.is_empty());
    for line in lines {
        let record: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(record["level"].is_string(), "{record}");
    }
}
