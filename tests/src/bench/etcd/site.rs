//! The network with both systems in it, and what is done there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outplane_rmdp_core::task::{NetworkId, Work};
use outplane_rmdp_node::blob;
use outplane_rmdp_node::generation::{bound, compiled};
use outplane_testbed::{Cluster, ClusterOptions, SharedConfig, StoreKind, Xdp};

use super::figures::{Journals, print_latency};
use super::masterless::Masterless;
use super::on_etcd::{self, OnEtcd};
use super::system::{EXECUTORS, INTERVAL, SWITCHES, System as _, policy, stream};
use super::{Arguments, kills};
use crate::bench::inside;

const DISTRIBUTORS: u8 = 2;
/// Policies before anything counts: pipelines, connections, caches.
const WARM_UP: usize = 8;

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

/// How large a task is.
fn size(cluster: &Cluster) -> Result<String> {
    let compiled = compiled(&bound(policy(NetworkId::new(1), cluster, &["s1".to_owned()], 1))?)?;
    let task = compiled.tasks.first().context("nothing was compiled")?;
    let Work::Converge { entries, .. } = task.work() else {
        bail!("a policy that is nothing to converge to")
    };
    let state = compiled.states.values().next().context("nothing was compiled")?;
    let bytes = blob::encode(state).len();
    Ok(format!("{entries} entries in {bytes} bytes"))
}

fn load() -> Result<String> {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg"))?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(", "))
}
