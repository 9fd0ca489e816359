//! The benches of `cargo xtask bench` that need more than one crate: the numbers that docs/measured.md states, as ratios
//! within one run wherever two things are compared.

mod change;
mod cluster;
mod etcd;
mod takeover;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Decision, Object};
use outplane_rmdp_core::task::Event as Cause;
use outplane_rmdp_node::objects::Objects;
use outplane_testbed::{Cluster, ClusterOptions};

use crate::network::started;

/// What to measure.
#[derive(clap::Parser, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Only benches whose name contains this: write, apply, change, cluster, takeover, etcd
    #[arg(default_value = "")]
    filter: String,
    #[command(flatten)]
    etcd: etcd::Arguments,
    #[command(flatten)]
    cluster: cluster::ClusterArguments,
    #[command(flatten)]
    takeover: takeover::TakeoverArguments,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What the benches start of themselves.
#[derive(clap::Subcommand, Debug)]
enum Part {
    /// A worker of the comparison with etcd
    #[command(hide = true)]
    EtcdWorker(etcd::WorkerArguments),
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Some(Part::EtcdWorker(worker)) = &arguments.part {
        return runtime.block_on(etcd::work(worker));
    }
    let wanted = |name: &str| name.contains(&arguments.filter);
    if wanted("write") {
        runtime.block_on(write::write())?;
    }
    if wanted("apply") {
        write::apply()?;
    }
    if wanted("change") {
        change::change()?;
    }
    if wanted("cluster") {
        cluster::run(&arguments.cluster)?;
    }
    if wanted("takeover") {
        takeover::run(&arguments.takeover)?;
    }
    if wanted("etcd") {
        etcd::run(&arguments.etcd)?;
    }
    Ok(())
}

/// Longest time until something is written, or decided.
const PATIENCE: Duration = Duration::from_mins(1);

/// What became of the task of a generation, asked for so often.
async fn decided(objects: &Objects, cause: &Cause, every: Duration) -> Result<Decision> {
    let (key, end) = (Key::Decision(cause.id()?), Instant::now() + PATIENCE);
    loop {
        if let Some(Object::Decision(decision)) = objects.get(&key).await? {
            return Ok(decision);
        }
        ensure!(Instant::now() < end, "{key} is not decided after {PATIENCE:?}");
        tokio::time::sleep(every).await;
    }
}

/// Measures a network that it starts, from the namespace of who administers it.
fn inside<W: Future<Output = Result<()>>>(
    options: ClusterOptions,
    measure: impl FnOnce(Arc<Cluster>) -> W + Send,
) -> Result<()> {
    let cluster = Arc::new(started(options)?);
    let measured = Arc::clone(&cluster);
    // Threads of the runtime are in the namespace of the thread that makes them.
    cluster.admin()?.inside(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(measure(measured))
    })?
}

/// The middle one; there must be one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
