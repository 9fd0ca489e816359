//! Large states: writing them, and finding that there is nothing to change.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use outplane_compiler::compile::{Options as CompileOptions, compile};
use outplane_compiler::plan::plan;
use outplane_compiler::state::{Desired, Installed, Plan};
use outplane_driver_p4runtime::{Connection, Options, Pipeline, Push, Target, WriteOptions};
use outplane_intent::testing::{large_filter, to_yaml, universe};
use outplane_testbed::SwitchKind;

use super::median;
use crate::bare::BareClient;
use crate::program;
use crate::server::Server;

/// Rounds of each comparison; the median counts.
const ROUNDS: usize = 15;
const ENTRIES: usize = 10_000;
const CHUNK: usize = 1000;
const IN_FLIGHT: usize = 4;

/// A state of at least so many entries.
fn large_state(entries: usize) -> Result<Desired> {
    let options = CompileOptions { at: universe::now() };
    let mut rules = entries / 4;
    loop {
        let compiled = compile(&large_filter(rules), &options)?;
        let desired = compiled.switches.into_values().next().context("no switch")?.desired;
        if desired.entries.len() >= entries {
            return Ok(desired);
        }
        rules += entries / 50;
    }
}

/// 10,000 inserts by the driver, beside a bare client that sends the same updates from ready-made requests.
pub(super) async fn write() -> Result<()> {
    let mut desired = large_state(ENTRIES)?;
    desired.entries = desired.entries.iter().take(ENTRIES).cloned().collect();
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let installed = Installed::default();
    let plan = plan(&pipeline.program, &installed, &desired)?;
    println!(
        "\nWriting {ENTRIES} entries, median of {ROUNDS} rounds ({CHUNK} updates a request, {IN_FLIGHT} in flight)"
    );
    println!("  {:<12} {:>16} {:>16} {:>8}", "switch", "bare entries/s", "driver entries/s", "ratio");
    for kind in loopback_switches() {
        let server = Server::start(kind)?;
        let (mut bare_times, mut driver_times) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS as u64 {
            bare_times.push(bare_write(&server.address, 2 * round + 1, &pipeline, &plan).await?);
            driver_times
                .push(driver_write(&server.address, 2 * round + 2, &pipeline, &installed, &plan).await?);
        }
        let [bare, driver] = [bare_times, driver_times].map(|times| rate(median(times)));
        println!("  {:<12} {bare:>16.0} {driver:>16.0} {:>8.3}", kind.name(), driver / bare);
    }
    Ok(())
}

fn loopback_switches() -> Vec<SwitchKind> {
    let mut kinds = vec![SwitchKind::Softswitch];
    if SwitchKind::bmv2_present() {
        kinds.push(SwitchKind::Bmv2);
    } else {
        println!("  SKIPPED: BMv2: `simple_switch_grpc` is not on PATH");
    }
    kinds
}

async fn bare_write(address: &str, election_id: u64, pipeline: &Pipeline, plan: &Plan) -> Result<Duration> {
    let client = BareClient::connect(address, election_id).await?;
    let requests: Vec<_> = plan
        .steps
        .iter()
        .map(|step| client.requests(pipeline.schema(), step, CHUNK))
        .collect::<Result<_>>()?;
    let start = Instant::now();
    for requests in requests {
        client.send(requests, IN_FLIGHT).await?;
    }
    Ok(start.elapsed())
}

async fn driver_write(
    address: &str,
    election_id: u64,
    pipeline: &Arc<Pipeline>,
    installed: &Installed,
    plan: &Plan,
) -> Result<Duration> {
    let target =
        Target { name: "bench".to_owned(), address: address.to_owned(), device_id: 1, role: None, tls: None };
    let options =
        Options { election_id: election_id.into(), chunk: CHUNK, in_flight: IN_FLIGHT, ..Options::default() };
    let connection = Connection::open(target, Arc::clone(pipeline), options).await?;
    connection.ensure_pipeline(Push::Always).await?;
    let start = Instant::now();
    connection.write(plan, installed, WriteOptions::default()).await?;
    Ok(start.elapsed())
}

/// `outplane apply` of a large policy, first and with nothing to change.
pub(super) fn apply() -> Result<()> {
    let mut rules = ENTRIES / 4;
    let options = CompileOptions { at: universe::now() };
    let entries = |rules| -> Result<usize> {
        let compiled = compile(&large_filter(rules), &options)?;
        Ok(compiled.switches.values().map(|switch| switch.desired.entries.len()).sum())
    };
    while entries(rules)? < ENTRIES {
        rules += ENTRIES / 50;
    }
    let server = Server::start(SwitchKind::Softswitch)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("large.yaml");
    std::fs::write(&file, to_yaml(&large_filter(rules)))?;
    let first = timed_apply(&server.address, &file)?;
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        again.push(timed_apply(&server.address, &file)?);
    }
    println!(
        "\n`outplane apply` of {rules} rules, {} entries, on the soft switch (the whole command)",
        entries(rules)?
    );
    println!("  {:<36} {:>8.3} s", "first", first.as_secs_f64());
    println!("  {:<36} {:>8.3} s  (median of {ROUNDS})", "nothing to change", median(again).as_secs_f64());
    Ok(())
}

fn timed_apply(address: &str, file: &Path) -> Result<Duration> {
    let start = Instant::now();
    let output =
        Command::new(program("outplane")).args(["apply", "--address", address]).arg(file).output()?;
    let elapsed = start.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(elapsed)
}

#[expect(clippy::cast_precision_loss, reason = "a small count")]
fn rate(time: Duration) -> f64 {
    ENTRIES as f64 / time.as_secs_f64()
}
