//! The same on etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outplane_etcd::{Client, Decision, Outcome, TaskId};
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::blob;
use outplane_rmdp_node::generation::{bound, compiled};
use outplane_testbed::{Cluster, Part, Process, SharedConfig, Starter};
use tokio::task::{block_in_place, spawn_blocking};

use super::system::{Record, SWITCHES, System, Told, policy};
use super::worker;

/// Longest time until all is decided, or a worker has started.
const PATIENCE: Duration = Duration::from_mins(1);
/// The shortest lease that etcd grants at its default election timeout: 1.5 times that, in whole seconds.
pub(super) const SHORTEST_LEASE: u64 = 2;

/// Members, workers, and one who submits.
pub(super) struct OnEtcd {
    cluster: Arc<Cluster>,
    switches: Vec<String>,
    client: Client,
    newest: AtomicU64,
    // Workers end before their starter.
    workers: Mutex<BTreeMap<String, Process>>,
    starter: Starter,
    pub(super) members: tokio::sync::Mutex<outplane_etcd::Cluster>,
}

impl OnEtcd {
    pub(super) async fn start(cluster: Arc<Cluster>) -> Result<Self> {
        // Where the store is, beside it.
        let address = store_address(&cluster)?;
        let members = outplane_etcd::Cluster::start_in(cluster.namespace("store")?, address).await?;
        let switches = cluster.names(Part::Switch).into_iter().skip(SWITCHES.into()).collect();
        let etcd = Self {
            cluster,
            switches,
            client: members.client()?,
            newest: AtomicU64::new(0),
            workers: Mutex::default(),
            starter: Starter::new(),
            members: tokio::sync::Mutex::new(members),
        };
        for name in etcd.names() {
            etcd.start_worker(&name, SHORTEST_LEASE).await?;
        }
        Ok(etcd)
    }

    /// Workers are called as the controllers are in whose namespaces they live.
    pub(super) fn names(&self) -> Vec<String> {
        self.cluster.names(Part::Controller)
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Process>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker that does not run.
    pub(super) async fn start_worker(&self, name: &str, lease: u64) -> Result<()> {
        let me = std::env::current_exe().context("a program knows where it lies")?;
        let place = self.names().iter().position(|other| other == name).context("no such worker")?;
        let mut command = self.cluster.namespace(name)?.command(&me);
        command.args(["etcd-worker", "--name", name, "--member", &place.to_string()]);
        command.args(["--lease", &lease.to_string()]);
        command.args(["--claim-delay", &SharedConfig::default().claims.delay_ms.to_string()]);
        command.args(["--budget", &SharedConfig::default().claims.budget_ms.to_string()]);
        for endpoint in self.members.lock().await.endpoints() {
            command.args(["--endpoint", &endpoint]);
        }
        for switch in &self.switches {
            let (address, device) = (self.cluster.address(switch)?, switch.trim_start_matches('s'));
            command.args(["--switch", &format!("{switch}={address}={device}")]);
        }
        command.stdin(Stdio::null());
        let process = block_in_place(|| {
            let mut process = self.starter.start(&format!("worker {name}"), command)?;
            process.wait_for(worker::READY, PATIENCE)?;
            Ok::<_, anyhow::Error>(process)
        })?;
        self.workers().insert(name.to_owned(), process);
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill_worker(&self, name: &str) -> Result<()> {
        let worker = self.workers().remove(name).with_context(|| format!("worker {name} does not run"))?;
        block_in_place(|| drop(worker));
        Ok(())
    }

    /// Other leases for all workers, as soon as the old ones have run out.
    pub(super) async fn set_lease(&self, lease: u64) -> Result<()> {
        for name in self.names() {
            self.kill_worker(&name)?;
        }
        tokio::time::sleep(Duration::from_secs(2 * SHORTEST_LEASE)).await;
        for name in self.names() {
            self.start_worker(&name, lease).await?;
        }
        Ok(())
    }
}

/// What etcd says that it is.
pub(super) fn version() -> Result<String> {
    let output = Command::new("etcd").arg("--version").output().context("cannot run etcd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().replace("etcd Version:", "etcd"))
}

/// The address of the store's namespace, from one of its endpoints.
fn store_address(cluster: &Cluster) -> Result<std::net::IpAddr> {
    let endpoint = cluster.store().endpoints.first().context("the store has no endpoint")?;
    let host = endpoint.trim_start_matches("http://");
    let address: std::net::SocketAddr = host.parse().with_context(|| format!("{endpoint} is no address"))?;
    Ok(address.ip())
}

impl System for OnEtcd {
    const NAME: &'static str = "etcd";

    fn switches(&self) -> &[String] {
        &self.switches
    }

    async fn submit(&self) -> Result<u64> {
        let number = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let record = policy(NetworkId::new(1), &self.cluster, &self.switches, number);
        // What distributors do; here whoever submits does it.
        let compiled = spawn_blocking(move || compiled(&bound(record)?)).await??;
        let mut tasks = Vec::new();
        for task in &compiled.tasks {
            let outplane_rmdp_core::task::Work::Converge { desired, .. } = task.work() else {
                bail!("a policy makes no {:?}", task.work())
            };
            let state = compiled.states.get(desired).context("a task without its desired state")?;
            tasks.push((TaskId { object: task.switch().to_owned(), number }, blob::encode(state)));
        }
        self.client.submit(&tasks).await?;
        Ok(number)
    }

    async fn settle(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let queued = self.client.queued().await?;
            if queued == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "etcd: {queued} tasks are not decided after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn records(&self) -> Result<Told> {
        let mut records: BTreeMap<TaskId, Record> = BTreeMap::new();
        let (mut claimed, mut faults) = (BTreeSet::new(), Vec::new());
        for change in self.client.history().await? {
            let Some((kind, rest)) = change.key.split_once('/') else { continue };
            if kind == "w" {
                continue;
            }
            let id: TaskId = rest.parse()?;
            let text = change.value.as_deref().map(String::from_utf8_lossy);
            let record = records.entry(id.clone()).or_insert_with(|| Record {
                number: id.number,
                switch: id.object.clone(),
                claims: Vec::new(),
                done: None,
                decided: None,
            });
            match (kind, text) {
                ("c", Some(nonce)) => {
                    record.claims.push(nonce.split('/').next().unwrap_or_default().to_owned());
                    if !claimed.insert(id.clone()) {
                        faults.push(format!("{id}: claimed by two"));
                    }
                }
                ("c", None) => drop(claimed.remove(&id)),
                ("d", Some(text)) => {
                    let end: Decision = text.parse()?;
                    if record.done.replace(end.outcome == Outcome::Done).is_some() {
                        faults.push(format!("{id}: decided twice"));
                    }
                    if record.claims.last() != Some(&end.by) {
                        faults.push(format!("{id}: claimed by {:?}, decided by {}", record.claims, end.by));
                    }
                    record.decided = Some((end.by, end.at_ms * 1_000_000));
                }
                _ => {}
            }
        }
        let lost: Vec<_> =
            records.iter().filter(|(_, record)| record.done.is_none()).map(|(id, _)| id).collect();
        let (owned_by_two, lost_count) = (faults.len(), lost.len());
        faults.extend(lost.into_iter().map(|id| format!("{id}: there is no decision")));
        let done = records.values().filter(|record| record.done == Some(true)).count();
        let retried = records.values().filter(|record| record.claims.len() > 1).count();
        let summary = format!(
            "{} tasks, {done} done, {} overtaken, {retried} took another attempt; lost {lost_count}, owned by two {owned_by_two}",
            records.len(),
            records.len() - done - lost_count
        );
        Ok(Told { records: records.into_values().collect(), summary, faults })
    }
}
