//! `cargo xtask test`: every check and test, and what was skipped.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZero;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, run, target};
use crate::{ebpf, p4, setup};

/// How a test says that it cannot run here: `SKIPPED: <what>: <why>` on its standard output.
const SKIPPED: &str = "SKIPPED";

/// Tests that run at a time, for each processor: those of nodes and processes mostly wait for one another.
const THREADS: usize = 2;

/// Characters of a panic's message that are said once more at the end.
const MESSAGE: usize = 600;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this; no other checks.
    filter: Option<String>,
    /// Accept what the golden-file tests see: write their files anew.
    #[arg(long)]
    update_golden: bool,
    /// Seeds that the simulations try; a failing seed is replayed with `OUTPLANE_SEED=N`.
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
}

#[derive(Default)]
struct Summary {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    /// Why tests failed, a line each.
    reasons: Vec<String>,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    setup::peers();
    let mut summary = Summary::default();
    if arguments.filter.is_none() {
        setup::components()?;
        println!("checking: format");
        run(cargo().args(["fmt", "--all", "--check"]))?;
        println!("checking: clippy");
        run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
        println!("checking: compiled P4 program");
        summary.skipped.extend(p4::stale()?);
        println!("checking: compiled XDP program");
        summary.skipped.extend(ebpf::stale()?);
    }
    println!("building everything");
    run(cargo().args(["build", "--quiet", "--workspace", "--all-targets"]))?;
    tests(arguments, &mut summary)?;

    if !summary.skipped.is_empty() {
        println!("\nskipped:");
        for line in &summary.skipped {
            println!("  {line}");
        }
    }
    if !summary.reasons.is_empty() {
        println!("\nfailed:");
        for line in &summary.reasons {
            println!("  {line}");
        }
    }
    println!("\n{} passed, {} failed, {} skipped", summary.passed, summary.failed, summary.skipped.len());
    if summary.failed > 0 {
        bail!("{} tests failed, see above and {}", summary.failed, target().join("test.log").display());
    }
    Ok(())
}

/// Runs cargo's tests: a line for each binary, the whole output of those that fail, all of it in target/test.log.
fn tests(arguments: &Arguments, summary: &mut Summary) -> Result<()> {
    let mut log =
        std::fs::File::create(target().join("test.log")).context("cannot create target/test.log")?;
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]).args(&arguments.filter);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env("RUST_TEST_THREADS", (processors * THREADS).to_string());
    }
    if arguments.update_golden {
        command.env("UPDATE_GOLDEN", "1");
    }
    if let Some(seeds) = arguments.seeds {
        command.env("OUTPLANE_SEEDS", seeds.to_string());
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let mut binary = Vec::new();
    for line in BufReader::new(child.stdout.take().context("standard output was not piped")?).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        if let Some(at) = line.find(SKIPPED) {
            summary.skipped.push(line[at..].to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            binary.push(line);
            continue;
        };
        summary.passed += count(result, "passed");
        summary.failed += count(result, "failed");
        if !result.starts_with("ok") {
            println!("{}", binary.join("\n"));
            summary.reasons.extend(reasons(&binary));
        }
        println!("{line}");
        binary.clear();
    }
    let status = child.wait()?;
    if !status.success() && summary.failed == 0 {
        println!("{}", binary.join("\n"));
        bail!("cargo test failed: {status}");
    }
    Ok(())
}

/// What each test that failed said when it panicked, from a binary's output: `<test>: <place>: <message>`.
fn reasons(lines: &[String]) -> Vec<String> {
    let failures = lines.iter().position(|line| line == "failures:").unwrap_or(lines.len());
    let (mut test, mut reasons) = ("", Vec::new());
    let mut lines = lines[failures..].iter();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            test = name;
        } else if let Some((_, place)) = line.split_once(" panicked at ") {
            let message = lines.next().map_or("", |line| line.as_str());
            let shown: String = message.chars().take(MESSAGE).collect();
            reasons.push(format!("{test}: {place} {shown}"));
        }
    }
    reasons
}

/// The number before `what` in `ok. 5 passed; 0 failed; ..`.
fn count(result: &str, what: &str) -> u64 {
    let mut words = result.split([' ', ';']).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        if words.peek() == Some(&what) {
            return word.parse().unwrap_or(0);
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{count, reasons};

    #[test]
    fn counts_are_read_from_the_result_line() {
        let result = "FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!((count(result, "passed"), count(result, "failed"), count(result, "nonsense")), (12, 3, 0));
    }

    #[test]
    fn failures_are_told_with_what_they_said() {
        let output = "\
running 2 tests
test good ... ok
test bad ... FAILED

successes:

---- good stdout ----
thread 'good' (7) panicked at src/lib.rs:1:1:
this was expected

failures:

---- bad stdout ----
seed 3
thread 'bad' (8) panicked at src/lib.rs:9:5:
two are not three
note: run with `RUST_BACKTRACE=1`

failures:
    bad
";
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        assert_eq!(reasons(&lines), ["bad: src/lib.rs:9:5: two are not three"]);
        assert_eq!(reasons(&[]), [""; 0]);
    }
}
