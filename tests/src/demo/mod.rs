//! `cargo xtask demo`: the main job, on real packets, in network namespaces of its own.
//!
//! 1. **firewall**: four hosts behind one P4 switch. A policy is checked and applied, flows are tried and compared with
//!    what the policy says, a tagged frame tries to slip by, the policy changes under running traffic, the counters are
//!    shown.
//! 2. **controllers**: four distributors and four controllers without a master, an S3 store, two switches. A change is
//!    carried out once on each switch; then again while datagrams are lost, a distributor is down and the controller at
//!    work is killed. Then a switch restarts empty, and another is edited by hand: both come back to the policy without
//!    anybody asking.
//! 3. **operations**: the firewall's switch and hosts, driven by controllers. A packet is traced through what the switch
//!    holds, a change is explained rule by rule and rolled back, a denied packet is named as it happens, the store is lost and
//!    restored from a backup.
//! 4. **cluster**: 10,000 pods and 3,000 NetworkPolicies in one switch, and what a pod and a policy more cost.

mod cluster;
mod controllers;
mod firewall;
mod operations;
mod stranger;

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use clap::{Parser, ValueEnum};
use outplane_testbed::SwitchKind;

/// Shows what Outplane does, on real packets in network namespaces. It wants root.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask demo --")]
pub struct Arguments {
    /// Show only this part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The switch of the firewall and of operations; without this, BMv2 where `simple_switch_grpc` is on PATH, else the soft switch.
    #[arg(long, value_enum)]
    switch: Option<SwitchName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A policy in one switch, and packets through it.
    Firewall,
    /// Controllers without a master, and faults.
    Controllers,
    /// What those ask who run it: traced, explained, rolled back, named, restored.
    Operations,
    /// What a change of a large cluster costs.
    Cluster,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SwitchName {
    Bmv2,
    Softswitch,
}

/// Whether the user wants to stop. Labs are taken down by their destructors, so an interrupt is only noted when it comes,
/// and acted on between steps.
#[derive(Clone, Debug, Default)]
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on SIGINT and SIGTERM are noted.
    fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst))?;
        Ok(interrupt)
    }

    /// Fails when the user wants to stop.
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// What a part ended with, told when its lab has been taken down. An interrupt also reaches whatever runs in the lab,
    /// and what fails of that is no news.
    fn of(&self, error: Error) -> Error {
        match self.check() {
            Ok(()) => error,
            Err(_) => anyhow!("interrupted; the lab has been taken down"),
        }
    }

    /// Starts a command, and shows what it says while it says it.
    fn show(&self, command: &mut Command) -> Result<ExitStatus> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        self.follow(child.context("cannot run outplane")?, || Ok(()))
    }

    /// Runs an outplane command, given by its words too, and shows both. It has to succeed.
    fn show_outplane(&self, words: &[&str], command: &mut Command) -> Result<()> {
        self.check()?;
        println!("\n  $ outplane {}", words.join(" "));
        let status = self.show(command)?;
        ensure!(status.success(), "`outplane {}` failed: {status}", words.join(" "));
        Ok(())
    }

    /// Shows what a command says while it says it, and does something else meanwhile.
    fn follow(&self, mut child: Child, meanwhile: impl FnOnce() -> Result<()>) -> Result<ExitStatus> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let shown = [
                stdout.map(|from| scope.spawn(|| show(from))),
                stderr.map(|from| scope.spawn(|| show(from))),
            ];
            let result = meanwhile();
            loop {
                if let Some(status) = child.try_wait()? {
                    // All of it, before anybody says something about it.
                    shown.into_iter().flatten().map(ScopedJoinHandle::join).for_each(drop);
                    return result.and(self.check()).map(|()| status);
                }
                if result.is_err() || self.check().is_err() {
                    child.kill()?;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    }
}

/// Runs the parts.
pub fn run(arguments: &Arguments) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    if let Some(why) = outplane_testbed::why_not() {
        bail!("the demo makes network namespaces, and here it cannot: {why}");
    }
    let start = Instant::now();
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let kind = match arguments.switch {
        Some(SwitchName::Bmv2) => SwitchKind::Bmv2,
        None if SwitchKind::bmv2_present() => SwitchKind::Bmv2,
        Some(SwitchName::Softswitch) | None => SwitchKind::Softswitch,
    };
    if wanted(Part::Firewall) {
        firewall::run(kind, &interrupt).map_err(|error| interrupt.of(error))?;
        println!("\nEvery verdict was as the policy says.");
    }
    if wanted(Part::Controllers) {
        controllers::run(&interrupt).map_err(|error| interrupt.of(error))?;
        println!("\nNothing was lost, nothing was done twice.");
    }
    if wanted(Part::Operations) {
        operations::run(kind, &interrupt).map_err(|error| interrupt.of(error))?;
        println!("\nEvery answer was what the packets did.");
    }
    if wanted(Part::Cluster) {
        cluster::run(&interrupt).map_err(|error| interrupt.of(error))?;
        println!("\nWhat did not change was not written.");
    }
    println!("\n{:.1} s, nothing left behind.", start.elapsed().as_secs_f64());
    Ok(())
}

fn show(from: impl Read) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        println!("  {line}");
    }
}

fn title(text: &str) {
    println!("\n== {text}");
}
