//! A switch that has no ports and no lab, for benches and demonstrations of what is written to it.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outplane_testbed::{Process, SwitchKind};

use crate::program;

/// A switch without ports, on loopback.
pub struct Server {
    /// `host:port`.
    pub address: String,
    _process: Process,
}

impl Server {
    /// Starts one; it ends with the value.
    pub fn start(kind: SwitchKind) -> Result<Self> {
        match kind {
            SwitchKind::Softswitch => {
                let mut command = Command::new(program("outplane"));
                command.args(["softswitch", "--no-ports", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
                let mut process = Process::start("softswitch", &mut command)?;
                let line = process.wait_for("listening on ", Duration::from_secs(10))?;
                let address = line.split_whitespace().last().context("no address")?.to_owned();
                Ok(Self { address, _process: process })
            }
            SwitchKind::Bmv2 => {
                let address = outplane_loopback::address().to_string();
                let mut command = Command::new("simple_switch_grpc");
                command
                    .args(["--no-p4", "--device-id", "1", "--", "--grpc-server-addr", &address])
                    .stdin(Stdio::null())
                    .stderr(Stdio::null());
                let mut process = Process::start("bmv2", &mut command)?;
                // BMv2 keeps what it prints to itself while nobody watches on a terminal.
                let patience = Instant::now() + Duration::from_secs(10);
                while TcpStream::connect(&address).is_err() {
                    ensure!(
                        !process.ended()? && Instant::now() < patience,
                        "bmv2 did not start at {address}"
                    );
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(Self { address, _process: process })
            }
        }
    }
}
