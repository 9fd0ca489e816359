//! The static firewall, on real packets.
//!
//! Four hosts in network namespaces behind one P4 switch. A policy is checked and applied, flows are tried and compared
//! with what the policy says, the policy changes under running traffic, the counters are shown.

mod flows;
mod slip;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outplane_testbed::{Lab, Stream, Switch, SwitchKind};

use super::{Interrupt, title};
use crate::program;

pub(super) use flows::NAMES;

/// The lab's switch and hosts, as Outplane reads them.
pub(super) const NETWORK: &str = include_str!("network.yaml");
/// The first policy.
pub(super) const POLICY: &str = include_str!("policy.yaml");
/// The second one.
pub(super) const POLICY_CHANGED: &str = include_str!("policy-changed.yaml");

/// Datagrams under way at a time: BMv2 drops what exceeds its queues of 64 frames, change or no change.
const WINDOW: u32 = 16;

/// The lab with a policy in it.
struct Demo {
    /// Ends before the lab's namespaces go.
    _switch: Switch,
    lab: Lab,
    outplane: PathBuf,
    interrupt: Interrupt,
}

/// Runs it on a switch of this kind.
pub(super) fn run(kind: SwitchKind, interrupt: &Interrupt) -> Result<()> {
    Demo::new(kind, interrupt.clone())?.run()
}

impl Demo {
    fn new(kind: SwitchKind, interrupt: Interrupt) -> Result<Self> {
        title(&format!("Four hosts behind one P4 switch ({})", kind.name()));
        let outplane = program("outplane");
        let mut lab = Lab::new(4, &program("outplane-lab-agent"))?;
        let switch = Switch::start(kind, &lab, &outplane)?;
        for (host, name) in lab.hosts.iter_mut().zip(NAMES) {
            println!("  port {}  {name:<6} {:<10} {}", host.port, host.v4, host.v6);
            for (transport, port) in flows::SERVED {
                host.agent.serve(transport, port)?;
            }
        }
        let demo = Self { lab, _switch: switch, outplane, interrupt };
        for (name, text) in
            [("network.yaml", NETWORK), ("policy.yaml", POLICY), ("policy-changed.yaml", POLICY_CHANGED)]
        {
            demo.lab.write(name, text)?;
        }
        Ok(demo)
    }

    fn run(&mut self) -> Result<()> {
        title("The policy, checked and applied");
        for line in POLICY.lines() {
            println!("  | {line}");
        }
        self.outplane(&["check", "network.yaml", "policy.yaml"])?;
        self.outplane(&["apply", "network.yaml", "policy.yaml"])?;
        title("Flows, as the policy says and as they went");
        self.flows("policy.yaml", |flow| flow.before)?;
        self.interrupt.check()?;
        title("A tagged frame that tries to slip by");
        self.outplane(&slip::TRACE)?;
        slip::try_it(&mut self.lab)?;
        title("The policy changes under running traffic");
        self.change()?;
        title("The same flows after the change");
        self.flows("policy-changed.yaml", |flow| flow.after)?;
        title("Packets per rule");
        self.outplane(&["show", "counters", "network.yaml"])
    }

    /// Tries every flow, all at once, and compares with what the policy says.
    fn flows(&mut self, policy: &str, expected: fn(&flows::Case) -> bool) -> Result<()> {
        self.interrupt.check()?;
        let said = flows::traced(
            &self.lab,
            &mut self.command(&["trace", "--batch", "--intent", "network.yaml", policy]),
        )?;
        let wrong = flows::try_all(&mut self.lab, &said, expected)?;
        ensure!(wrong == 0, "{wrong} flows went otherwise than the policy says");
        Ok(())
    }

    /// Applies the changed policy while datagrams flow that both policies allow: none may be lost.
    fn change(&mut self) -> Result<()> {
        self.interrupt.check()?;
        let stream = Stream {
            destination: self.lab.hosts[1].v4.parse()?,
            port: flows::ECHO,
            rate: 2000,
            milliseconds: 4000,
            window: Some(WINDOW),
        };
        println!(
            "  admin sends {} datagrams a second to db, each comes back, and at most {WINDOW} are under way; meanwhile:",
            stream.rate
        );
        let start = Instant::now();
        let id = self.lab.hosts[2].agent.stream(&stream)?;
        self.outplane(&["apply", "network.yaml", "policy-changed.yaml"])?;
        let took = start.elapsed();
        ensure!(
            took < Duration::from_millis(stream.milliseconds),
            "the change took {:.1} s, longer than the traffic",
            took.as_secs_f64()
        );
        let report = self.lab.hosts[2].agent.streamed(id)?;
        println!(
            "  {} sent, {} came back, {} lost",
            report.sent,
            report.received,
            report.sent - report.received
        );
        ensure!(
            report.received == report.sent,
            "the change cost {} datagrams",
            report.sent - report.received
        );
        Ok(())
    }

    /// Runs an outplane command where the switch is, and shows both.
    fn outplane(&self, words: &[&str]) -> Result<()> {
        self.interrupt.show_outplane(words, &mut self.command(words))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.switch().command(&self.outplane);
        command.args(words).current_dir(self.lab.folder()).stdin(Stdio::null());
        command
    }
}
