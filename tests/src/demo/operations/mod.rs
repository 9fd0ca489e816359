//! What those ask who run it: what will happen to my packet, what changed, which rule was that, and how do I get back.
//!
//! The switch and hosts of the firewall, driven by controllers. Each answer is held against real packets.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use outplane_testbed::{Flow, Lab, Outcome, Process, Switch, SwitchKind, Transport};

use super::firewall::{NAMES, NETWORK, POLICY, POLICY_CHANGED};
use super::{Interrupt, title};
use crate::program;

const WEB: usize = 0;
const DB: usize = 1;
const GUEST: usize = 3;

/// Role, name, and port of their pages, as shared.toml has them.
const NODES: [(&str, &str, u16); 3] =
    [("distributor", "d1", 9465), ("controller", "c1", 9466), ("controller", "c2", 9467)];
const ACCESS_KEY: &str = "demo";
const SECRET_KEY: &str = "secret-of-the-demo";
const PATIENCE: Duration = Duration::from_secs(30);

struct Demo {
    /// They end before the lab's namespaces go.
    nodes: Vec<Process>,
    store: Option<Process>,
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
        title(&format!(
            "The same four hosts and switch ({}), now with a store, a distributor and two controllers",
            kind.name()
        ));
        let outplane = program("outplane");
        let mut lab = Lab::new(4, &program("outplane-lab-agent"))?;
        let switch = Switch::start(kind, &lab, &outplane)?;
        for host in &mut lab.hosts {
            host.agent.serve(Transport::Tcp, 80)?;
            host.agent.serve(Transport::Tcp, 5432)?;
        }
        let mut demo = Self { nodes: Vec::new(), store: None, _switch: switch, lab, outplane, interrupt };
        for (name, text) in [
            ("network.yaml", NETWORK),
            ("policy.yaml", POLICY),
            ("policy-changed.yaml", POLICY_CHANGED),
            ("shared.toml", include_str!("shared.toml")),
        ] {
            demo.lab.write(name, text)?;
        }
        for (_, name, http) in NODES {
            demo.write_file(name, http)?;
        }
        demo.start_store("objects")?;
        demo.show(&["config", "set", "shared.toml"])?;
        demo.start_nodes()?;
        Ok(demo)
    }

    fn start_store(&mut self, folder: &str) -> Result<()> {
        let mut command = self.command(&["store", "--dir", folder]);
        command.env("OUTPLANE_STORE_ACCESS_KEY", ACCESS_KEY).env("OUTPLANE_STORE_SECRET_KEY", SECRET_KEY);
        let mut store = Process::start("the store", command.stderr(self.log("store")?))?;
        store.wait_for("listening", PATIENCE)?;
        self.store = Some(store);
        Ok(())
    }

    /// A node's own file.
    fn write_file(&self, name: &str, http: u16) -> Result<()> {
        let text = format!(
            "name = \"{name}\"\nstore.endpoints = [\"http://127.0.0.1:9000\"]\nstore.bucket = \
             \"outplane\"\nstore.access_key = \"{ACCESS_KEY}\"\nstore.secret_key = \"{SECRET_KEY}\"\nkeys.1 = \
             \"000102030405060708090a0b0c0d0e0f\"\nhttp.listen = \"127.0.0.1:{http}\"\n"
        );
        let path = self.lab.write(&format!("{name}.toml"), &text)?;
        Ok(std::fs::set_permissions(path, Permissions::from_mode(0o600))?)
    }

    fn start_nodes(&mut self) -> Result<()> {
        for (role, name, _) in NODES {
            let mut command = self.command(&[role, "--config", &format!("{name}.toml")]);
            self.nodes.push(Process::start(name, command.stderr(self.log(name)?))?);
        }
        for node in &mut self.nodes {
            let line = node.wait_for("is up", PATIENCE)?;
            println!("  {line}");
            self.interrupt.check()?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.show(&["apply", "network.yaml", "policy.yaml"])?;
        self.traced()?;
        self.explained_and_rolled_back()?;
        self.named()?;
        self.restored()
    }

    /// The files on disk say what is to come; the switch is asked what it holds now.
    fn traced(&mut self) -> Result<()> {
        title(
            "What becomes of a packet, by what the switch really holds: the changed policy is not applied yet",
        );
        self.show(&[
            "trace",
            "network.yaml",
            "policy-changed.yaml",
            "--live",
            "--src",
            "guest",
            "--dst",
            "shop/web",
            "--dport",
            "80",
            "--expect",
            "allow",
        ])?;
        self.flow(GUEST, WEB, 80, true)
    }

    fn explained_and_rolled_back(&mut self) -> Result<()> {
        title("The change, rule by rule, and the way back");
        self.show(&["apply", "network.yaml", "policy-changed.yaml"])?;
        self.flow(GUEST, WEB, 80, false)?;
        self.show(&["intent", "diff"])?;
        self.show(&["intent", "rollback", "1"])?;
        self.flow(GUEST, WEB, 80, true)?;
        self.show(&["intent", "history"])
    }

    /// A packet that a rule with `log` denies, told while it happens.
    fn named(&mut self) -> Result<()> {
        title("A denied packet, named as it happens");
        let words = ["log", "--follow", "--rule", "guests-nothing-else"];
        println!("\n  $ outplane {}", words.join(" "));
        let mut command = self.command(&words);
        let mut log = Process::start("outplane log", command.stderr(Stdio::null()))?;
        let end = Instant::now() + PATIENCE;
        let line = loop {
            self.interrupt.check()?;
            self.flow(GUEST, DB, 5432, false)?;
            match log.line(Duration::from_secs(3)) {
                Ok(line) => break line,
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => {}
            }
        };
        println!("  {line}");
        ensure!(line.contains("FilterPolicy/site rule guests-nothing-else"), "the line names another rule");
        log.signal(Signal::SIGINT)?;
        let status = log.wait_for_end(PATIENCE)?;
        ensure!(matches!(status.code(), Some(0 | 130)), "`outplane log` ended with {status}");
        Ok(())
    }

    /// The store's disk is lost after a backup: numbers that were given since then must not be given again.
    fn restored(&mut self) -> Result<()> {
        title("The store is backed up, goes on, and is lost with its disk; what was backed up comes back");
        self.show(&["store", "backup", "monday.backup"])?;
        self.show(&["apply", "network.yaml", "policy-changed.yaml"])?;
        drop(self.store.take());
        std::fs::remove_dir_all(self.lab.folder().join("objects"))?;
        println!("\n  the store is killed, and its folder deleted; packets go on:");
        self.flow(GUEST, WEB, 80, false)?;
        self.show(&["store", "restore", "monday.backup", "--dir", "objects"])?;
        self.start_store("objects")?;
        println!("  the store runs again, without the last generation, which nodes and switch remember");
        self.show(&["store", "recover"])?;
        self.show(&["apply", "network.yaml", "policy.yaml"])?;
        self.flow(GUEST, WEB, 80, true)
    }

    /// Tries a TCP connection, says how it went, and fails if that is not as expected.
    fn flow(&mut self, from: usize, to: usize, port: u16, passes: bool) -> Result<()> {
        let flow = Flow { transport: Transport::Tcp, destination: self.lab.hosts[to].v4.parse()?, port };
        let agent = &mut self.lab.hosts[from].agent;
        let begun = agent.begin(&flow, Duration::from_secs(1))?;
        let went = agent.tried(begun)? == Outcome::Passed;
        let words = |passes| if passes { "gets through" } else { "is dropped" };
        println!("  {} -> {} TCP {port}: {}", NAMES[from], NAMES[to], words(went));
        ensure!(went == passes, "it should have been so that it {}", words(passes));
        Ok(())
    }

    /// Runs an outplane command where the nodes are, and shows both.
    fn show(&self, words: &[&str]) -> Result<()> {
        self.interrupt.show_outplane(words, &mut self.command(words))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.lab.switch().command(&self.outplane);
        command.args(words).current_dir(self.lab.folder()).stdin(Stdio::null());
        command.env("OUTPLANE_CONFIG", "d1.toml");
        command
    }

    fn log(&self, name: &str) -> Result<File> {
        let log = self.lab.folder().join(format!("{name}.log"));
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))
    }
}
