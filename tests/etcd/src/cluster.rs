//! Three members on loopback.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outplane_testbed::Process;

use crate::client::Client;

/// Members of a cluster: the least that outlives one of them.
const MEMBERS: usize = 3;

/// A running cluster; it ends with its owner.
#[derive(Debug)]
pub struct Cluster {
    endpoints: Vec<String>,
    members: Vec<Option<Process>>,
    _folder: tempfile::TempDir,
}

/// Why etcd cannot be started here, if so.
pub fn why_not() -> Option<String> {
    match Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => None,
        _ => Some("`etcd` is not installed (Debian package etcd-server)".to_owned()),
    }
}

impl Cluster {
    /// Starts the members with etcd's own defaults (heartbeat 100 ms, election 1,000 ms) and waits for a leader.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let ports = free_ports(2 * MEMBERS)?;
        let client = |member: usize| format!("http://127.0.0.1:{}", ports[member]);
        let peer = |member: usize| format!("http://127.0.0.1:{}", ports[MEMBERS + member]);
        let all: Vec<String> = (0..MEMBERS).map(|member| format!("m{member}={}", peer(member))).collect();
        let members = (0..MEMBERS)
            .map(|member| {
                let mut command = Command::new("setpriv");
                command
                    .args(["--pdeathsig", "KILL", "--", "etcd", "--name", &format!("m{member}")])
                    .arg("--data-dir")
                    .arg(folder.path().join(format!("m{member}")))
                    .args([
                        "--listen-client-urls",
                        &client(member),
                        "--advertise-client-urls",
                        &client(member),
                    ])
                    .args([
                        "--listen-peer-urls",
                        &peer(member),
                        "--initial-advertise-peer-urls",
                        &peer(member),
                    ])
                    .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
                    .args(["--logger", "zap", "--log-level", "error"])
                    .stdin(Stdio::null())
                    .stderr(Stdio::null());
                Ok(Some(Process::start("etcd", &mut command)?))
            })
            .collect::<Result<_>>()?;
        let endpoints = (0..MEMBERS).map(client).collect();
        let cluster = Self { endpoints, members, _folder: folder };
        let patience = Instant::now() + Duration::from_secs(30);
        while cluster.leader().await.is_err() {
            if Instant::now() > patience {
                bail!("etcd found no leader within 30 s");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(cluster)
    }

    /// A client of all members.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.endpoints)
    }

    /// Which member leads.
    pub async fn leader(&self) -> Result<usize> {
        let client = self.client()?;
        for member in (0..MEMBERS).filter(|member| self.members[*member].is_some()) {
            if client.leads(member).await? {
                return Ok(member);
            }
        }
        bail!("no member leads")
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        self.members[member] = None;
    }
}

/// Ports that are free now. Between here and their use somebody else may take one; etcd says so then.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
