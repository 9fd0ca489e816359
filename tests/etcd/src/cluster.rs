//! Three members, on loopback or in a network namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outplane_testbed::{Namespace, Process, Starter};

use crate::client::Client;

/// Members of a cluster: the least that outlives one of them.
pub const MEMBERS: usize = 3;

/// A running cluster; it ends with its owner.
#[derive(Debug)]
pub struct Cluster {
    address: IpAddr,
    namespace: Option<String>,
    /// Of clients, then of other members.
    ports: Vec<u16>,
    members: Vec<Option<Process>>,
    // Processes end before their starter, that before their files.
    starter: Starter,
    folder: tempfile::TempDir,
}

/// Why etcd cannot be started here, if so.
pub fn why_not() -> Option<String> {
    match Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        _ => Some("`etcd` is not installed (Debian package etcd-server)".to_owned()),
    }
}

impl Cluster {
    /// Starts the members on loopback with etcd's own defaults (heartbeat 100 ms, election 1,000 ms) and waits for a
    /// leader.
    pub async fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), None).await
    }

    /// The same at an address of a namespace. Whoever uses it has to be in the namespace, or to reach it.
    pub async fn start_in(namespace: &Namespace, address: IpAddr) -> Result<Self> {
        Self::start_at(address, Some(namespace.name().to_owned())).await
    }

    async fn start_at(address: IpAddr, namespace: Option<String>) -> Result<Self> {
        // For clients and for members.
        let ports = (0..2 * MEMBERS).map(|_| outplane_loopback::port()).collect();
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let members = (0..MEMBERS).map(|_| None).collect();
        let mut cluster = Self { address, namespace, ports, members, starter: Starter::new(), folder };
        for member in 0..MEMBERS {
            cluster.start_member(member)?;
        }
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }

    fn url(&self, port: usize) -> String {
        format!("http://{}:{}", self.address, self.ports[port])
    }

    /// Starts a member that does not run, with what it had.
    pub fn start_member(&mut self, member: usize) -> Result<()> {
        let (client, peer) = (self.url(member), self.url(MEMBERS + member));
        let all: Vec<_> =
            (0..MEMBERS).map(|member| format!("m{member}={}", self.url(MEMBERS + member))).collect();
        let mut command = dying(self.namespace.as_deref(), Path::new("etcd"));
        command
            .args(["--name", &format!("m{member}")])
            .arg("--data-dir")
            .arg(self.folder.path().join(format!("m{member}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
            .args(["--logger", "zap", "--log-level", "error"])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        self.members[member] = Some(self.starter.start("etcd", command)?);
        Ok(())
    }

    /// Waits until a member leads, and says which.
    pub async fn wait_for_leader(&self) -> Result<usize> {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            match self.leader().await {
                Ok(leader) => return Ok(leader),
                Err(error) if Instant::now() > patience => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Where the members are for clients.
    pub fn endpoints(&self) -> Vec<String> {
        (0..MEMBERS).map(|member| self.url(member)).collect()
    }

    /// A client of all members.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.endpoints())
    }

    /// Which member leads.
    pub async fn leader(&self) -> Result<usize> {
        let client = self.client()?;
        for member in (0..MEMBERS).filter(|member| self.members[*member].is_some()) {
            if client.leads(member).await.unwrap_or(false) {
                return Ok(member);
            }
        }
        bail!("no member of etcd leads")
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }
}

/// A command that dies with the thread that starts it.
fn dying(namespace: Option<&str>, program: &Path) -> Command {
    let words = ["setpriv", "--pdeathsig", "KILL", "--"];
    let mut command = Command::new(if namespace.is_some() { "ip" } else { words[0] });
    match namespace {
        Some(namespace) => command.args(["netns", "exec", namespace]).args(words),
        None => command.args(&words[1..]),
    };
    command.arg(program);
    command
}
