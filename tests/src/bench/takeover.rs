//! The owner of an attempt dies, or is stopped, amid its writes: how soon others have done its task, and whether the
//! switch takes anything from it afterwards.
//!
//! ```text
//!   outplane apply ──► d1 ──► c1, c2, c3 ──► s1, whose journal shows the first write ──► its writer: SIGKILL, or SIGSTOP
//!                                                                └─► the others: d/<id> done, when?
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Claim, Decision, Object, Outcome};
use outplane_rmdp_core::task::{Event as Cause, NetworkId};
use outplane_rmdp_node::daemon::store_settings;
use outplane_rmdp_node::file::NodeFile;
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;
use outplane_testbed::{
    Cluster, ClusterOptions, History, JournalLine, Part, SharedConfig, StoreKind, Usage, What, Xdp,
};
use tokio::task::block_in_place;

use super::etcd::{is_write, ms, percentile, unix_ns};
use super::{PATIENCE, decided, inside};
use crate::network::{Journal, policy, writer};
use crate::skipped;

/// The switch.
const SWITCH: &str = "s1";
/// Rules of a policy, all of which differ from the policy before: enough that its writes take a while.
const RULES: u64 = 150;
/// How long nothing happens, to see what that takes.
const REST: Duration = Duration::from_secs(20);
/// How long owners are stopped.
const STOPS: [u64; 5] = [100, 300, 1000, 3000, 10_000];
/// Where they are stopped: after so many writes of theirs; and for 0 so long after the policy was given.
const STEPS: usize = 6;
const UNWRITTEN: Duration = Duration::from_millis(2);
/// Until whoever was started again is known to all, and who was alone has been heard.
const SETTLES: Duration = Duration::from_millis(1500);

/// How often.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct TakeoverArguments {
    /// takeover: owners that are killed
    #[arg(long, default_value_t = 100, value_name = "N")]
    kills: usize,
}

/// A cluster, and what of it is looked at.
struct Bench {
    cluster: Arc<Cluster>,
    objects: Objects,
    network: NetworkId,
    generation: u64,
}

/// Measures and prints.
pub(super) fn run(arguments: &TakeoverArguments) -> Result<()> {
    if let Some(why) = outplane_testbed::why_not() {
        skipped("takeovers of owners that die", &why);
        return Ok(());
    }
    let mut shared = SharedConfig::default();
    // All of it has to be there for the checker.
    shared.retention.generations = 10_000;
    let options = ClusterOptions {
        distributors: 1,
        controllers: 3,
        switches: 1,
        ports: 0,
        store: StoreKind::Embedded,
        xdp: Xdp::Auto,
        relays: Vec::new(),
        shared,
    };
    inside(options, |cluster| measure(cluster, arguments))
}

async fn measure(cluster: Arc<Cluster>, arguments: &TakeoverArguments) -> Result<()> {
    let file = NodeFile::load(&cluster.folder().join("d1.toml"))?.file;
    let objects = Objects::new(Store::new(store_settings(&file.store))?);
    let network = network::of(&objects).await?.context("the store is of no network")?;
    let mut bench = Bench { cluster, objects, network, generation: 0 };
    for _ in 0..3 {
        bench.undisturbed().await?;
    }
    let rest = bench.at_rest().await?;
    println!(
        "\nOwners that die amid their writes: 3 controllers, embedded store, soft switch, {RULES} rules that all change; silence {} ms",
        SharedConfig::default().takeover.silence_ms
    );
    let mut calm = Vec::new();
    for _ in 0..10 {
        calm.push(bench.undisturbed().await?);
    }
    let (mut times, mut alone) = (Vec::new(), 0);
    while times.len() < arguments.kills {
        match bench.killed().await? {
            Some(time) => times.push(time),
            None => alone += 1,
        }
        ensure!(alone <= arguments.kills, "owners are through before they can be killed");
    }
    println!("{rest}");
    println!("  task done, undisturbed, after it was given: p50 {:.1} ms", ms(percentile(&calm, 50)));
    println!(
        "  task done after the kill, {} times: p50 {:.1} ms, p99 {:.1}, most {:.1} ({alone} more were through when they were killed)",
        times.len(),
        ms(percentile(&times, 50)),
        ms(percentile(&times, 99)),
        ms(percentile(&times, 100))
    );
    let (mut over, mut refused) = (0, 0);
    for stop in STOPS {
        for step in 0..STEPS {
            let (taken_over, denied) = bench.stopped(step, Duration::from_millis(stop)).await?;
            over += usize::from(taken_over);
            refused += denied;
        }
    }
    println!(
        "  stopped for 0.1 to 10 s at {STEPS} steps: {} times, {over} taken over; {refused} requests refused of those who woke up",
        STOPS.len() * STEPS
    );
    bench.judge()
}

impl Bench {
    fn cause(&self) -> Cause {
        Cause::generation(self.network, self.generation, SWITCH)
    }

    /// Gives the next policy, in the background, and whatever `outplane apply` says.
    fn give(&mut self) -> Result<std::thread::JoinHandle<Result<()>>> {
        self.generation += 1;
        let text = policy(&self.cluster, RULES, self.generation);
        self.cluster.write("policy.yaml", &text)?;
        let cluster = Arc::clone(&self.cluster);
        // Namespaces are entered by threads.
        Ok(std::thread::spawn(move || cluster.outplane(&["apply", "policy.yaml"]).map(drop)))
    }

    async fn decided(&self) -> Result<Decision> {
        decided(&self.objects, &self.cause(), Duration::from_millis(10)).await
    }

    async fn claim(&self, attempt: u32) -> Result<Option<Claim>> {
        let key = Key::Claim(self.cause().id()?, attempt);
        Ok(match self.objects.get(&key).await? {
            Some(Object::Claim(claim)) => Some(claim),
            _ => None,
        })
    }

    async fn undisturbed(&mut self) -> Result<Duration> {
        let given = self.give()?;
        let decision = self.decided().await?;
        block_in_place(|| joined(given))?;
        let claim = self.claim(decision.attempt).await?.context("a decision without a claim")?;
        Ok(Duration::from_millis(decision.at_ms.saturating_sub(claim.at_ms)))
    }

    /// What a controller takes while nothing happens.
    async fn at_rest(&self) -> Result<String> {
        let names = self.cluster.names(Part::Controller);
        let usage = || names.iter().map(|name| self.cluster.usage(name)).collect::<Result<Vec<_>>>();
        tokio::time::sleep(SETTLES).await;
        let before = usage()?;
        tokio::time::sleep(REST).await;
        let after = usage()?;
        let pairs = || before.iter().zip(&after);
        let most = |of: fn((&Usage, &Usage)) -> f64| pairs().map(of).fold(0.0, f64::max) / REST.as_secs_f64();
        Ok(format!(
            "  at rest, the most of a controller: {:.1} % of a core, {:.1} kB/s sent (all of it, the store's polls too)",
            100.0 * most(|(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64()),
            most(|(before, after)| f64::from(u32::try_from(after.sent - before.sent).unwrap_or(u32::MAX))
                / 1000.0)
        ))
    }

    /// From the kill of who writes until another has decided; none: it was through.
    async fn killed(&mut self) -> Result<Option<Duration>> {
        let mut journal = Journal::follow(&self.cluster, SWITCH)?;
        let given = self.give()?;
        let line = block_in_place(|| nth_write(&mut journal, 1))?;
        let victim = writer(&self.cluster, &line)?;
        let killed = unix_ns();
        block_in_place(|| self.cluster.kill(&victim))?;
        let decision = self.decided().await?;
        block_in_place(|| {
            joined(given)?;
            self.cluster.start_one(&victim)?;
            self.cluster.wait_ready(&victim)
        })?;
        tokio::time::sleep(SETTLES).await;
        ensure!(matches!(decision.outcome, Outcome::Done { .. }), "{decision:?}");
        let time = Duration::from_millis(decision.at_ms.saturating_sub(killed / 1_000_000));
        Ok((decision.owner != victim).then_some(time))
    }

    /// Stops who writes for a while, after so many of its writes: whether it was taken over, and how many of its requests
    /// were refused.
    async fn stopped(&mut self, step: usize, pause: Duration) -> Result<(bool, usize)> {
        let mut journal = Journal::follow(&self.cluster, SWITCH)?;
        let given = self.give()?;
        let victim = if step == 0 {
            // Whoever claims is not known by any write yet.
            let claim = loop {
                if let Some(claim) = self.claim(1).await? {
                    break claim;
                }
                tokio::time::sleep(UNWRITTEN).await;
            };
            claim.owner
        } else {
            let line = block_in_place(|| nth_write(&mut journal, step))?;
            writer(&self.cluster, &line)?
        };
        self.cluster.pause(&victim)?;
        tokio::time::sleep(pause).await;
        self.cluster.resume(&victim)?;
        let decision = self.decided().await?;
        block_in_place(|| joined(given))?;
        tokio::time::sleep(SETTLES).await;
        let refused = |line: &&JournalLine| matches!(&line.what, What::Write { result, .. } if result == "PERMISSION_DENIED");
        let lines = journal.lines()?;
        Ok((decision.attempt > 1, lines.iter().filter(refused).count()))
    }

    /// By the store's and the switch's own records.
    fn judge(&self) -> Result<()> {
        let history = History::read(&self.cluster)?;
        let verdict = history.check(&history.events(&[SWITCH.to_owned()]));
        println!(
            "  {} tasks, {} done, {} went over a silent owner's attempt; lost {}, owned by two {}, doubled or written after a higher fence {}",
            verdict.tasks,
            verdict.done,
            verdict.taken_over,
            verdict.lost.len(),
            verdict.two_owners.len(),
            verdict.doubled.len()
        );
        let (mut needless, mut over) = (0.0, 0.0);
        for name in self.cluster.names(Part::Controller) {
            let metrics = self.cluster.metrics(&name)?;
            let of = |what: &str| metrics.sum("outplane_takeovers_total", &[&format!("what=\"{what}\"")]);
            needless += of("needless");
            over += of("over_others");
        }
        println!(
            "  since their last starts: {over} takeovers, {needless} of them of owners that were heard again"
        );
        let faults: Vec<_> = verdict.faults().collect();
        ensure!(faults.is_empty(), "the records have faults:\n  {}", faults.join("\n  "));
        Ok(())
    }
}

fn joined(given: std::thread::JoinHandle<Result<()>>) -> Result<()> {
    given.join().map_err(|_| anyhow::anyhow!("the thread that applies has panicked"))?
}

/// The write of this number, from 1, or the last one if there are none for a while after it.
fn nth_write(journal: &mut Journal, number: usize) -> Result<JournalLine> {
    let end = Instant::now() + PATIENCE;
    let (mut count, mut since) = (0, Instant::now());
    loop {
        let writes: Vec<_> = journal.lines()?.into_iter().filter(is_write).collect();
        if writes.len() > count {
            (count, since) = (writes.len(), Instant::now());
        }
        if let Some(line) = writes.get(number - 1) {
            return Ok(line.clone());
        }
        // It has fewer than that.
        if let Some(line) = writes.last()
            && since.elapsed() > Duration::from_millis(100)
        {
            return Ok(line.clone());
        }
        if Instant::now() >= end {
            bail!("nobody writes");
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}
