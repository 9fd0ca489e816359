//! What a change of a large cluster costs: a pod and a policy more, of 10,000 and 3,000, on a switch that holds the others.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outplane_intent::testing::{Cluster, EditKind, to_yaml};
use outplane_testbed::SwitchKind;
use serde_json::Value;

use super::{Interrupt, title};
use crate::program;
use crate::server::Server;

const NAMESPACES: u32 = 1_000;
const PODS: u32 = 10_000;
const POLICIES: u32 = 3_000;

/// Writes above this are no single edit's: something is written anew.
const MANY: u64 = 200;
/// Edits of a kind until one changes something.
const TRIES: u32 = 8;

/// Runs it.
pub(super) fn run(interrupt: &Interrupt) -> Result<()> {
    title(&format!("A made-up cluster of {PODS} pods and {POLICIES} NetworkPolicies, on one soft switch"));
    let server = Server::start(SwitchKind::Softswitch)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cluster.yaml");
    let mut cluster = Cluster::new(NAMESPACES, PODS, POLICIES, 1);
    let apply = |cluster: &Cluster, what: &str| -> Result<u64> {
        interrupt.check()?;
        std::fs::write(&file, to_yaml(cluster.intent()))?;
        applied(&server.address, &file, what)
    };
    apply(&cluster, "all of it, on an empty switch")?;
    for (kind, what) in
        [(EditKind::PodAdded, "one pod more"), (EditKind::PolicyAdded, "one NetworkPolicy more")]
    {
        let mut writes = 0;
        // A policy may select no pod, or let nobody in: it costs nothing.
        for _ in 0..TRIES {
            cluster.edit_of(kind);
            writes = apply(&cluster, what)?;
            if writes > 0 {
                break;
            }
        }
        ensure!((1..=MANY).contains(&writes), "{what} took {writes} writes");
    }
    let writes = apply(&cluster, "the same again")?;
    ensure!(writes == 0, "nothing has changed, and {writes} writes were made");
    Ok(())
}

/// Applies, says what it cost, and returns how many writes it took.
fn applied(address: &str, file: &Path, what: &str) -> Result<u64> {
    let words = ["apply", "--address", address, "--output", "json"];
    let output = Command::new(program("outplane")).args(words).arg(file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).context("`apply --output json` is JSON")?;
    let switch = told.pointer("/switches/0").context("it tells of the switch")?;
    let writes = switch.get("writes").and_then(Value::as_u64).context("it tells writes")?;
    let ms = |what: &str| -> Result<f64> {
        let seconds = switch.pointer(&format!("/seconds/{what}")).and_then(Value::as_f64);
        Ok(seconds.context("it tells times")? * 1000.0)
    };
    println!(
        "  {what:<32} {writes:>6} writes: planned in {:.0} ms, written in {:.0} ms",
        ms("planning")?,
        ms("writing")?
    );
    Ok(writes)
}
