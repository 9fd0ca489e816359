//! What one edit of a cluster costs from the intent log to the switch: appended, compiled by every node, claimed, written.
//!
//! ```text
//!   this bench ──► i/<N> ──► d1, c1, c2 compile what has changed ──► the owner's writes ──► s1, whose journal has the last
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outplane_intent::testing::{Cluster as Pods, EditKind, files, texts};
use outplane_rmdp_core::object::{Generation, Outcome, PolicyFile};
use outplane_rmdp_core::task::{Event as Cause, NetworkId};
use outplane_rmdp_node::clock;
use outplane_rmdp_node::daemon::store_settings;
use outplane_rmdp_node::file::NodeFile;
use outplane_rmdp_node::generation::bound;
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::log::{Own, Tip};
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;
use outplane_rmdp_wire::HintOf;
use outplane_testbed::{Cluster, ClusterOptions, SharedConfig, StoreKind, Xdp};
use tokio::task::{block_in_place, spawn_blocking};

use super::etcd::{is_write, ms, percentile, unix_ns};
use super::{decided, inside};
use crate::network::Journal;
use crate::skipped;

/// The switch.
const SWITCH: &str = "s1";
/// Edits before anything counts.
const WARM_UP: usize = 5;
/// Between an edit's decision and the next edit: whoever keeps the switch has looked at it by then.
const PAUSE: Duration = Duration::from_millis(300);
const SEED: u64 = 1;

/// How large, and how often.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub(super) struct ClusterArguments {
    /// cluster: pods of the large one; a tenth of them namespaces, three tenths policies
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pods: u32,
    /// cluster: edits of each
    #[arg(long, default_value_t = 60, value_name = "N")]
    edits: usize,
}

/// Measures and prints.
pub(super) fn run(arguments: &ClusterArguments) -> Result<()> {
    if let Some(why) = outplane_testbed::why_not() {
        skipped("edits of a cluster", &why);
        return Ok(());
    }
    println!(
        "\nSingle edits, from appended to the switch's last write: 1 distributor, 2 controllers, embedded store, soft switch; ms"
    );
    println!(
        "  {:<30} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "entries", "p50", "p90", "p99", "most", "append"
    );
    for pods in [20, arguments.pods] {
        let mut shared = SharedConfig::default();
        shared.retention.generations = 10_000;
        let options = ClusterOptions {
            distributors: 1,
            controllers: 2,
            switches: 1,
            ports: 0,
            store: StoreKind::Embedded,
            xdp: Xdp::Auto,
            relays: Vec::new(),
            shared,
        };
        let edits = arguments.edits;
        inside(options, move |cluster| async move { measure(cluster, pods, edits).await })?;
    }
    Ok(())
}

/// Who edits.
struct Bench {
    cluster: Arc<Cluster>,
    objects: Objects,
    network: NetworkId,
    hinter: Hinter,
    tip: Tip,
    pods: Pods,
}

/// An edit's times.
struct Edit {
    kind: Option<EditKind>,
    /// What appending took: finding what differs, and the conditional PUT.
    append: Duration,
    /// From there to the last write; none where nothing was to be written.
    written: Option<Duration>,
    entries: u32,
}

async fn measure(cluster: Arc<Cluster>, pods: u32, edits: usize) -> Result<()> {
    let file = NodeFile::load(&cluster.folder().join("d1.toml"))?.file;
    let objects = Objects::new(Store::new(store_settings(&file.store))?);
    let network = network::of(&objects).await?.context("the store is of no network")?;
    let hinter = Hinter::new(&objects, &file, &cluster.shared()).await?;
    let tip = Tip::read(&objects, network).await?;
    let of_pods = Pods::new((pods / 10).max(2), pods, (pods * 3 / 10).max(2), SEED);
    let mut bench = Bench { cluster, objects, network, hinter, tip, pods: of_pods };
    let first = bench.appended(None).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..WARM_UP {
        let kind = bench.pods.edit();
        bench.appended(Some(kind)).await?;
    }
    let mut kinds: BTreeMap<EditKind, Vec<Duration>> = BTreeMap::new();
    let (mut all, mut appends, mut idle, mut entries) = (Vec::new(), Vec::new(), 0, first.entries);
    for _ in 0..edits {
        let kind = bench.pods.edit();
        let edit = bench.appended(Some(kind)).await?;
        appends.push(edit.append);
        entries = edit.entries;
        match (edit.written, edit.kind) {
            (Some(written), Some(kind)) => {
                kinds.entry(kind).or_default().push(written);
                all.push(written);
            }
            _ => idle += 1,
        }
    }
    let append = percentile(&appends, 50);
    tell(&format!("{pods} pods, {} edits", all.len()), entries, &all, append);
    for (kind, times) in &kinds {
        tell(&format!("  {kind:?}, {}", times.len()), entries, times, append);
    }
    for name in ["d1", "c1", "c2"] {
        println!("  resident memory of {name}: {} MB", bench.cluster.usage(name)?.resident / 1_000_000);
    }
    if idle > 0 {
        println!("  {idle} edits changed nothing of what the switch should hold");
    }
    Ok(())
}

fn tell(what: &str, entries: u32, times: &[Duration], append: Duration) {
    let of = |percent| ms(percentile(times, percent));
    println!(
        "  {what:<30} {entries:>7} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.2}",
        of(50),
        of(90),
        of(99),
        of(100),
        ms(append)
    );
}

impl Bench {
    /// Appends the cluster as it is now, and waits until that is carried out.
    async fn appended(&mut self, kind: Option<EditKind>) -> Result<Edit> {
        let mut policies = files(&texts(self.pods.intent()));
        policies.push(("switches.yaml".to_owned(), self.cluster.switch_objects()));
        let policies = policies.into_iter().map(|(name, text)| PolicyFile { name, text });
        let next = self.tip.next(self.network, &Own::Apply(policies.collect()));
        let as_of_ms = i64::try_from(clock::unix_millis())?;
        let record = Generation { as_of_ms, author: "bench".to_owned(), ..next };
        let record = spawn_blocking(move || bound(record)).await??;
        let said = *record.desired.get(SWITCH).context("nothing is said of the switch")?;
        let mut journal = Journal::follow(&self.cluster, SWITCH)?;
        let start = Instant::now();
        let appended = self.tip.append(&self.objects, record).await?;
        let (append, at) = (start.elapsed(), unix_ns());
        self.tip = appended.context("somebody else has appended")?;
        self.hinter.hint(HintOf::Intent, self.tip.number());
        let since = self.tip.generation().context("it was appended")?.since(SWITCH);
        let mut edit = Edit { kind, append, written: None, entries: said.entries };
        if since == self.tip.number() {
            let cause = Cause::generation(self.network, since, SWITCH);
            let decision = decided(&self.objects, &cause, Duration::from_millis(20)).await?;
            ensure!(matches!(decision.outcome, Outcome::Done { .. }), "{decision:?}");
            let lines = block_in_place(|| journal.lines())?;
            let last = lines.iter().filter(|line| is_write(line)).map(|line| line.unix_ns).max();
            edit.written = last.map(|last| Duration::from_nanos(last.saturating_sub(at)));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(edit)
    }
}
