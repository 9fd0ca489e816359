//! Starting and ending a cluster's processes.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::Cluster;
use super::layout::{Part, Seat};
use super::network::switch_port;

/// How long a process may take until it is ready, or has ended as asked.
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Starts switches and store, writes the shared configuration, starts all nodes, and waits until they are ready.
    pub fn start(&self) -> Result<()> {
        for name in self.names(Part::Switch).into_iter().chain(self.names(Part::Store)) {
            self.start_one(&name)?;
            self.wait_ready(&name)?;
        }
        self.outplane(&["config", "set", "shared.toml"])?;
        let nodes = || self.names(Part::Distributor).into_iter().chain(self.names(Part::Controller));
        for name in nodes() {
            self.start_one(&name)?;
        }
        for name in nodes() {
            self.wait_ready(&name)?;
        }
        Ok(())
    }

    /// Starts a process that does not run.
    pub fn start_one(&self, name: &str) -> Result<()> {
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.restart_gateway(gateway);
        }
        let command = self.daemon(self.seat(name)?)?;
        self.node(name)?.start(&self.starter, self.folder(), command)
    }

    /// Waits until a process that was started does its work.
    pub fn wait_ready(&self, name: &str) -> Result<()> {
        if self.gateway(name)?.is_some() {
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.is_ready(name) {
                Ok(true) => return Ok(()),
                other if Instant::now() >= end => {
                    let why =
                        other.err().map_or_else(|| "it says no".to_owned(), |error| format!("{error:#}"));
                    bail!("{name} is not ready after {PATIENCE:?}: {why}\n{}", self.tail(name, 20));
                }
                _ => {}
            }
            if let Some(status) = self.node(name)?.ended()? {
                bail!("{name} has ended: {status}\n{}", self.tail(name, 20));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self, name: &str) -> Result<bool> {
        let seat = self.seat(name)?;
        match seat.part {
            Part::Distributor | Part::Controller => Ok(self.get(name, "/ready")?.0 == 200),
            Part::Switch | Part::Store => {
                let address = seat.address();
                let connect = move || std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1));
                Ok(self.admin()?.inside(connect)?.is_ok())
            }
        }
    }

    /// SIGTERM, and waits until it has ended; it must say that all is well.
    pub fn stop(&self, name: &str) -> Result<Duration> {
        let start = Instant::now();
        let status = self.node(name)?.stop(PATIENCE)?;
        ensure!(status.success(), "{name} ended with {status} after SIGTERM\n{}", self.tail(name, 20));
        Ok(start.elapsed())
    }

    /// SIGKILL.
    pub fn kill(&self, name: &str) -> Result<()> {
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.kill_gateway(gateway);
        }
        self.node(name)?.kill()
    }

    /// SIGSTOP: it lives, and does nothing.
    pub fn pause(&self, name: &str) -> Result<()> {
        if let (Some(ceph), "store") = (self.ceph(), name) {
            return ceph.stop();
        }
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.stop_gateway(gateway);
        }
        self.node(name)?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str) -> Result<()> {
        if let (Some(ceph), "store") = (self.ceph(), name) {
            return ceph.cont();
        }
        if let Some((mut ceph, gateway)) = self.gateway(name)? {
            return ceph.cont_gateway(gateway);
        }
        self.node(name)?.resume()
    }

    /// Processes that have ended without being asked, and how.
    pub fn casualties(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for name in self.nodes.keys() {
            if let Some(status) = self.node(name)?.ended()? {
                found.push(format!("{name}: {status}"));
            }
        }
        Ok(found)
    }

    fn daemon(&self, seat: &Seat) -> Result<Command> {
        let mut command = self.namespace(&seat.namespace)?.command(&self.programs.outplane);
        command.current_dir(self.folder());
        match seat.part {
            Part::Distributor | Part::Controller => {
                let word = if seat.part == Part::Controller { "controller" } else { "distributor" };
                command.args([word, "--config", &format!("{}.toml", seat.name)]);
            }
            Part::Store => {
                command.args(["store", "--dir", "objects", "--bucket", &self.store.bucket]);
                command.args(["--insecure", "--listen", &seat.address().to_string()]);
                command.env("OUTPLANE_STORE_ACCESS_KEY", &self.store.access_key);
                command.env("OUTPLANE_STORE_SECRET_KEY", &self.store.secret_key);
            }
            Part::Switch => {
                command.args(["softswitch", "--insecure", "--listen", &seat.address().to_string()]);
                command.args(["--device-id", &seat.number.to_string()]);
                command.arg("--journal").arg(self.journal(&seat.name));
                for port in 1..=self.options.ports {
                    command.args(["--port", &format!("{port}={}", switch_port(seat.number, port))]);
                }
                if self.options.ports == 0 {
                    command.arg("--no-ports");
                }
            }
        }
        Ok(command)
    }
}
