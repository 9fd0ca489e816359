//! What the end-to-end tests and the benches share: a lab with a switch in it, and outplane commands run there.

pub mod bare;
pub mod bench;
pub mod demo;
pub mod network;
pub mod server;
pub mod swap;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use outplane_testbed::{Lab, Switch, SwitchKind};

/// A program of this workspace, built into the folder that the running program lies in (or the one above).
///
/// # Panics
/// If it has not been built.
pub fn program(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("a program knows where it lies");
    me.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file()).unwrap_or_else(
        || panic!("{name} is not built: run `cargo build --workspace --bins`, or `cargo xtask test`"),
    )
}

/// Says that a test cannot run here; `cargo xtask test` collects these lines.
pub fn skipped(what: &str, why: &str) {
    println!("SKIPPED: {what}: {why}");
}

/// The switches that a test can run with here; says SKIPPED for those that it can't.
pub fn switches(what: &str) -> Vec<SwitchKind> {
    if let Some(why) = outplane_testbed::why_not() {
        skipped(what, &why);
        return Vec::new();
    }
    let mut kinds = vec![SwitchKind::Softswitch];
    if SwitchKind::bmv2_present() {
        kinds.push(SwitchKind::Bmv2);
    } else {
        skipped(&format!("{what} on BMv2"), "`simple_switch_grpc` is not on PATH");
    }
    kinds
}

/// A lab with a running switch.
pub struct Site {
    /// Ends before the lab's namespaces go.
    pub switch: Switch,
    /// Hosts and namespaces.
    pub lab: Lab,
}

impl Site {
    /// Makes the lab and starts the switch.
    pub fn new(kind: SwitchKind, hosts: u16) -> Result<Self> {
        let lab = Lab::new(hosts, &program("outplane-lab-agent"))?;
        let switch = Switch::start(kind, &lab, &program("outplane"))?;
        Ok(Self { switch, lab })
    }

    /// An outplane command in the switch's namespace and the lab's folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.switch().command(program("outplane"));
        command.args(words).current_dir(self.lab.folder()).stdin(Stdio::null());
        command
    }

    /// Runs an outplane command; an error shows what it said.
    pub fn outplane(&self, words: &[&str]) -> Result<Output> {
        let output = self.command(words).output().context("cannot run outplane")?;
        ensure!(
            output.status.success(),
            "`outplane {}`: {}\n{}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    /// Writes a file into the lab's folder.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        self.lab.write(name, text)
    }

    /// The lab's switch as a Switch object, with all its ports.
    pub fn switch_object(&self) -> String {
        let ports: Vec<_> = self.lab.ports().iter().map(|(port, _)| format!("{{id: {port}}}")).collect();
        format!(
            "apiVersion: outplane.dev/v1alpha1\nkind: Switch\nmetadata: {{name: leaf1}}\nspec:\n  address: {}\n  ports: [{}]\n",
            self.switch.address,
            ports.join(", ")
        )
    }
}
