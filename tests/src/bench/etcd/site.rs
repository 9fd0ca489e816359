//! The network with both systems in it, and what is done there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use outplane_rmdp_core::object::{Generation, PolicyFile};
use outplane_rmdp_core::task::{NetworkId, Work};
use outplane_rmdp_node::generation::{bound, compiled};
use outplane_testbed::{Cluster, ClusterOptions, SharedConfig, StoreKind, Xdp};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::figures::{Journals, Record, print_latency};
use super::masterless::Masterless;
use super::on_etcd::{self, OnEtcd};
use super::{Arguments, kills};
use crate::bench::inside;

/// Switches of each system: tasks of a policy.
pub(super) const SWITCHES: u8 = 8;
/// Controllers, and workers on etcd.
pub(super) const EXECUTORS: u8 = 3;
const DISTRIBUTORS: u8 = 2;
/// From one policy to the next of the same system: 32 tasks a second.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);
/// Rules that stay, of each policy; one more changes.
const RULES: usize = 10;
/// Policies before anything counts: pipelines, connections, caches.
const WARM_UP: usize = 8;

/// One of the two.
pub(super) trait System: Send + Sync + 'static {
    /// For tables.
    const NAME: &'static str;
    /// Where its tasks are carried out.
    fn switches(&self) -> &[String];
    /// Makes a policy known, a task a switch, and waits until that is certain; the policy's number, which grows.
    fn submit(&self) -> impl Future<Output = Result<u64>> + Send;
    /// Waits until every task has its decision.
    fn settle(&self) -> impl Future<Output = Result<()>> + Send;
    /// What became of each task.
    fn records(&self) -> impl Future<Output = Result<Told>> + Send;
}

/// What a system's own records say.
pub(super) struct Told {
    /// Of every task.
    pub(super) records: Vec<Record>,
    /// All of it in short.
    pub(super) summary: String,
    /// What must not be: lost, owned by two, and the like.
    pub(super) faults: Vec<String>,
}

/// A policy that was submitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitted {
    /// Its number.
    pub(super) number: u64,
    /// When it was due, Unix nanoseconds: lateness of who submits counts.
    pub(super) due: u64,
    /// From due to acknowledged.
    pub(super) acknowledged: Duration,
}

/// Measures with one kind of store.
pub(super) fn run(store: StoreKind, arguments: &Arguments) -> Result<()> {
    let mut shared = SharedConfig::default();
    // All of it has to be there for the checker.
    shared.retention.generations = 10_000;
    let options = ClusterOptions {
        distributors: DISTRIBUTORS,
        controllers: EXECUTORS,
        switches: 2 * SWITCHES,
        ports: 0,
        store,
        xdp: Xdp::Auto,
        relays: Vec::new(),
        shared,
    };
    inside(options, |cluster| measure(cluster, store, arguments))
}

async fn measure(cluster: Arc<Cluster>, store: StoreKind, arguments: &Arguments) -> Result<()> {
    let rmdp = Arc::new(Masterless::new(Arc::clone(&cluster)).await?);
    let etcd = Arc::new(OnEtcd::start(Arc::clone(&cluster)).await?);
    println!(
        "\nThe same work by RMDP ({}, {DISTRIBUTORS} distributors, {EXECUTORS} controllers) and on etcd ({} members, {EXECUTORS} workers)",
        match store {
            StoreKind::Embedded => "embedded store".to_owned(),
            StoreKind::Ceph { gateways } => format!("Ceph with {gateways} gateways"),
        },
        outplane_etcd::MEMBERS
    );
    println!(
        "  {}, {} switches each, a policy is a task a switch; {}",
        on_etcd::version()?,
        SWITCHES,
        size(&cluster)?
    );
    println!("  load average {}", load()?);

    for _ in 0..WARM_UP {
        stream(&rmdp, 1, Duration::ZERO).await?;
        rmdp.settle().await?;
        stream(&etcd, 1, Duration::ZERO).await?;
        etcd.settle().await?;
    }
    // In turns: half an interval lies between the two.
    let half = tokio::time::sleep(INTERVAL / 2);
    let rounds = arguments.rounds;
    let (ours, theirs) = tokio::try_join!(stream(&rmdp, rounds, INTERVAL), async {
        half.await;
        stream(&etcd, rounds, INTERVAL).await
    })?;
    rmdp.settle().await?;
    etcd.settle().await?;
    print_latency(
        rounds,
        &[
            (Masterless::NAME, rmdp.switches(), &ours, &rmdp.records().await?.records),
            (OnEtcd::NAME, etcd.switches(), &theirs, &etcd.records().await?.records),
        ],
        &Journals::read(&cluster)?,
    )?;

    kills::run(&cluster, &rmdp, &etcd, arguments.repetitions).await?;

    let journals = Journals::read(&cluster)?;
    let mut faults = Vec::new();
    for (name, told) in [(Masterless::NAME, rmdp.records().await?), (OnEtcd::NAME, etcd.records().await?)] {
        let late = journals.late(&told.records);
        println!("  {name}: {}", told.summary);
        println!(
            "        written to after the decision: {} that were done, {} that were overtaken, at most {} ms",
            late.done, late.overtaken, late.most_ms
        );
        if late.done > 0 {
            faults.push(format!("{name}: {} tasks were written after they were done", late.done));
        }
        faults.extend(told.faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    println!("  load average {}", load()?);
    let casualties = tokio::task::block_in_place(|| cluster.casualties())?;
    ensure!(casualties.is_empty(), "ended without being asked: {}", casualties.join(", "));
    ensure!(faults.is_empty(), "the records have {} faults:\n  {}", faults.len(), faults.join("\n  "));
    Ok(())
}

/// Submits policies on time, whether those before are done or not.
pub(super) async fn stream<S: System>(
    system: &Arc<S>,
    count: usize,
    interval: Duration,
) -> Result<Vec<Submitted>> {
    let mut submitting = JoinSet::new();
    let start = Instant::now();
    for at in 0..count {
        let due = start + interval * u32::try_from(at)?;
        tokio::time::sleep_until(due).await;
        let due = unix_ns() - u64::try_from(due.elapsed().as_nanos())?;
        let system = Arc::clone(system);
        submitting.spawn(async move {
            let number = system.submit().await?;
            let acknowledged = Duration::from_nanos(unix_ns().saturating_sub(due));
            Ok::<_, anyhow::Error>(Submitted { number, due, acknowledged })
        });
    }
    let mut submitted = submitting.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    submitted.sort_by_key(|one| one.number);
    Ok(submitted)
}

/// The wall clock of all processes of this machine, as the switches' journals have it.
pub(in crate::bench) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The policy of a number for some switches, as a record of the intent log that is not [`bound`] yet. It differs from all before it.
pub(super) fn policy(network: NetworkId, cluster: &Cluster, switches: &[String], number: u64) -> Generation {
    let objects = cluster.switch_objects();
    let named = |object: &&str| switches.iter().any(|name| object.contains(&format!("{{name: {name}}}")));
    let mut text: String =
        objects.split("---\n").filter(named).fold(String::new(), |text, object| text + "---\n" + object);
    text.push_str(
        "---\napiVersion: outplane.dev/v1alpha1\nkind: FilterPolicy\nmetadata: {name: edge}\nspec:\n  rules:\n",
    );
    for rule in 0..RULES {
        let _ = writeln!(
            text,
            "  - {{name: r{rule}, action: allow, from: [10.{rule}.0.0/16], ports: [{{protocol: TCP, port: {}}}]}}",
            2000 + rule
        );
    }
    let _ = writeln!(
        text,
        "  - {{name: news, action: allow, from: [10.99.0.0/16], ports: [{{protocol: TCP, port: {}}}]}}",
        10_000 + number % 50_000
    );
    Generation {
        network,
        generation: number,
        files: vec![PolicyFile { name: "policy.yaml".to_owned(), text }],
        sources: BTreeMap::new(),
        numbers: None,
        desired: BTreeMap::new(),
        since: BTreeMap::new(),
        as_of_ms: 0,
        author: "bench".to_owned(),
        at_ms: 0,
    }
}

/// How large a task is.
fn size(cluster: &Cluster) -> Result<String> {
    let compiled = compiled(&bound(policy(NetworkId::new(1), cluster, &["s1".to_owned()], 1))?)?;
    let task = compiled.tasks.first().context("nothing was compiled")?;
    let Work::Converge { entries, .. } = task.work() else {
        bail!("a policy that is nothing to converge to")
    };
    let bytes = compiled.blobs.values().next().context("nothing was compiled")?.len();
    Ok(format!("{entries} entries in {bytes} bytes"))
}

fn load() -> Result<String> {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg"))?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(", "))
}
