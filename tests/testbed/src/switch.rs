//! The switch under test, as a process in the lab's switch namespace.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::process::Process;

/// Which switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchKind {
    /// BMv2's `simple_switch_grpc`.
    Bmv2,
    /// `outplane softswitch`.
    Softswitch,
}

impl SwitchKind {
    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bmv2 => "bmv2",
            Self::Softswitch => "softswitch",
        }
    }

    /// Whether BMv2 is on PATH.
    pub fn bmv2_present() -> bool {
        Command::new("simple_switch_grpc")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// A running switch with device id 1, its P4Runtime server on loopback of the switch namespace.
#[derive(Debug)]
pub struct Switch {
    /// `127.0.0.1:9559`: the namespace is the lab's own, so the standard's port is free.
    pub address: String,
    process: Process,
}

impl Switch {
    /// Starts the switch on the lab's ports and waits until it serves; `outplane` is our binary.
    pub fn start(kind: SwitchKind, lab: &Lab, outplane: &Path) -> Result<Self> {
        let address = "127.0.0.1:9559".to_owned();
        let mut command = match kind {
            SwitchKind::Softswitch => {
                let mut command = lab.switch().command(outplane);
                command.args(["softswitch", "--listen", &address, "--device-id", "1"]);
                for (port, interface) in lab.ports() {
                    command.args(["--port", &format!("{port}={interface}")]);
                }
                command
            }
            SwitchKind::Bmv2 => {
                let mut command = lab.switch().command("simple_switch_grpc");
                command.args(["--no-p4", "--device-id", "1"]);
                for (port, interface) in lab.ports() {
                    command.args(["-i", &format!("{port}@{interface}")]);
                }
                command.args(["--", "--grpc-server-addr", &address, "--cpu-port", "510"]);
                command
            }
        };
        let log = std::fs::File::create(lab.folder().join("switch.log"))?;
        let mut process = Process::start(kind.name(), command.stdin(Stdio::null()).stderr(log))?;
        if kind == SwitchKind::Softswitch {
            process.wait_for("listening", Duration::from_secs(10))?;
        }
        let mut switch = Self { address, process };
        switch.wait_until_it_accepts(lab).with_context(|| {
            format!(
                "{} did not start: {}",
                kind.name(),
                std::fs::read_to_string(lab.folder().join("switch.log")).unwrap_or_default()
            )
        })?;
        Ok(switch)
    }

    fn wait_until_it_accepts(&mut self, lab: &Lab) -> Result<()> {
        for _ in 0..100 {
            let mut connect = lab.switch().command("bash");
            connect.args(["-c", &format!("exec 3<>/dev/tcp/{}", self.address.replace(':', "/"))]);
            if connect.stderr(Stdio::null()).status()?.success() {
                return Ok(());
            }
            if self.process.ended()? {
                bail!("it ended at once");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} accepts no connection", self.address)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}
