//! What is measured: a system with its switches, the policies that it is given, and what it says of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use outplane_rmdp_core::object::{Generation, PolicyFile};
use outplane_rmdp_core::task::NetworkId;
use outplane_testbed::Cluster;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Switches of each system: tasks of a policy.
pub(super) const SWITCHES: u8 = 8;
/// Controllers, and workers on etcd.
pub(super) const EXECUTORS: u8 = 3;
/// From one policy to the next of the same system: 32 tasks a second.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);
/// Rules that stay, of each policy; one more changes.
const RULES: usize = 10;

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

/// What became of a task, by the system's own record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Of its policy.
    pub(super) number: u64,
    /// Its switch.
    pub(super) switch: String,
    /// Who claimed it, the first one first.
    pub(super) claims: Vec<String>,
    /// Whether it was carried out, rather than overtaken by a newer one; none: nobody had queued it when it was overtaken.
    pub(super) done: Option<bool>,
    /// Who decided it, and when by its clock, Unix nanoseconds.
    pub(super) decided: Option<(String, u64)>,
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
