//! Somebody is killed while tasks come in: who waits, and for how long.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outplane_testbed::{Cluster, Part, SharedConfig};
use tokio::task::block_in_place;

use super::figures::{Journals, Timed, is_write, longest_stall, ms, percentile};
use super::masterless::Masterless;
use super::on_etcd::{OnEtcd, SHORTEST_LEASE};
use super::system::{INTERVAL, Record, Submitted, System, stream, unix_ns};
use crate::network::{Journal, writer};

/// Of a trial, before anything counts.
const BEGINNING: Duration = Duration::from_secs(1);
/// Of a trial, with nobody killed; and how long the effect of a kill is looked at.
const WINDOW: Duration = Duration::from_secs(3);
/// How long executors may write nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Leader,
    Worker { lease: u64 },
    Controller,
    Distributor,
}

impl Kill {
    fn is_of_etcd(self) -> bool {
        matches!(self, Self::Leader | Self::Worker { .. })
    }

    fn title(self) -> String {
        match self {
            Self::Leader => "etcd: the leader".to_owned(),
            Self::Worker { lease } => format!("etcd: an executor, lease {lease} s"),
            Self::Controller => "RMDP: an executor".to_owned(),
            Self::Distributor => "RMDP: a distributor".to_owned(),
        }
    }
}

/// One kill and the policies around it.
struct Trial {
    kill: Kill,
    submitted: Vec<Submitted>,
    victim: String,
    /// Unix nanoseconds.
    killed: u64,
}

/// What a trial showed.
#[derive(Default)]
struct Shown {
    calm_latency: Duration,
    calm_stall: Duration,
    latency: Duration,
    stall: Duration,
    own: usize,
    /// Until the victim's tasks were on their switches, those tasks or newer ones; until they were decided.
    written: Duration,
    decided: Duration,
}

/// Kills everybody so many times, in turns, and prints.
pub(super) async fn run(
    cluster: &Arc<Cluster>,
    rmdp: &Arc<Masterless>,
    etcd: &Arc<OnEtcd>,
    repetitions: usize,
) -> Result<()> {
    // The same time that RMDP's others wait: 1.5 leases.
    let claims = SharedConfig::default().claims;
    let ours = u64::from(claims.lease_base_ms * 3 / 2).div_ceil(1000);
    let [short, long] = [SHORTEST_LEASE, ours].map(|lease| Kill::Worker { lease });
    let mut trials = Vec::new();
    for _ in 0..repetitions {
        for kill in [Kill::Leader, Kill::Controller, short, Kill::Distributor] {
            trials.push(trial(cluster, rmdp, etcd, kill).await?);
        }
    }
    etcd.set_lease(ours).await?;
    for _ in 0..repetitions {
        trials.push(trial(cluster, rmdp, etcd, long).await?);
    }
    let journals = Journals::read(cluster)?;
    let (rmdp_records, etcd_records) = (rmdp.records().await?.records, etcd.records().await?.records);
    println!(
        "\n  Killed with SIGKILL while a policy of {} tasks comes every {} ms; {repetitions} times each; ms, median and most",
        rmdp.switches().len(),
        INTERVAL.as_millis()
    );
    println!(
        "  etcd: heartbeat 100 ms, election 1,000 ms (its defaults), requests go to the next member after 150 ms; RMDP: heartbeats of 200 ms,\n  \
         5 of them missing are a death, lease {} ms, taken to be over after 1.5 times that; both: claim delay {} ms a rank",
        claims.lease_base_ms, claims.delay_ms
    );
    println!(
        "  {:<30} | {:>15} | {:>15} | {:>15} | {:>15} | {:>5} {:>15} {:>15}",
        "", "before: stall*", "longest task", "after: stall*", "longest task", "own", "written", "decided"
    );
    for kill in [Kill::Leader, short, long, Kill::Controller, Kill::Distributor] {
        let (records, switches) = if kill.is_of_etcd() {
            (&etcd_records, etcd.switches())
        } else {
            (&rmdp_records, rmdp.switches())
        };
        let of_kind = trials.iter().filter(|trial| trial.kill == kill);
        let shown: Vec<_> =
            of_kind.map(|trial| trial.shown(&journals, switches, records)).collect::<Result<_>>()?;
        print(kill, &shown);
    }
    println!(
        "  * the longest time in which tasks of others than the victim waited and none of them was finished\n  \
         own: tasks that the victim had claimed and not finished; written: their switches had taken them, or newer ones"
    );
    Ok(())
}

fn print(kill: Kill, shown: &[Shown]) {
    let cell = |of: fn(&Shown) -> Duration, only_own: bool| {
        let of_them = shown.iter().filter(|shown| !only_own || shown.own > 0);
        let times: Vec<_> = of_them.map(of).collect();
        if times.is_empty() {
            return "-".to_owned();
        }
        format!("{:.1} {:.1}", ms(percentile(&times, 50)), ms(percentile(&times, 100)))
    };
    println!(
        "  {:<30} | {:>15} | {:>15} | {:>15} | {:>15} | {:>5} {:>15} {:>15}",
        kill.title(),
        cell(|shown| shown.calm_stall, false),
        cell(|shown| shown.calm_latency, false),
        cell(|shown| shown.stall, false),
        cell(|shown| shown.latency, false),
        shown.iter().map(|shown| shown.own).sum::<usize>(),
        cell(|shown| shown.written, true),
        cell(|shown| shown.decided, true)
    );
}

async fn trial(
    cluster: &Arc<Cluster>,
    rmdp: &Arc<Masterless>,
    etcd: &Arc<OnEtcd>,
    kill: Kill,
) -> Result<Trial> {
    let trial = match kill {
        Kill::Leader => {
            let kill = async {
                let mut members = etcd.members.lock().await;
                let leader = members.leader().await?;
                let killed = unix_ns();
                block_in_place(|| members.kill(leader));
                Ok((leader.to_string(), killed))
            };
            let trial = during(etcd, Kill::Leader, kill).await?;
            let mut members = etcd.members.lock().await;
            members.start_member(trial.victim.parse()?)?;
            members.wait_for_leader().await?;
            trial
        }
        Kill::Worker { lease } => {
            let kill_one = async {
                let name = next_writer(cluster, etcd.switches())?;
                let killed = unix_ns();
                etcd.kill_worker(&name)?;
                Ok((name, killed))
            };
            let trial = during(etcd, kill, kill_one).await?;
            etcd.start_worker(&trial.victim, lease).await?;
            trial
        }
        Kill::Controller | Kill::Distributor => {
            let kill_one = async {
                let name = if kill == Kill::Controller {
                    next_writer(cluster, rmdp.switches())?
                } else {
                    let names = cluster.names(Part::Distributor);
                    fastrand::choice(names).context("there is no distributor")?
                };
                let killed = unix_ns();
                block_in_place(|| cluster.kill(&name))?;
                Ok((name, killed))
            };
            let trial = during(rmdp, kill, kill_one).await?;
            block_in_place(|| {
                cluster.start_one(&trial.victim)?;
                cluster.wait_ready(&trial.victim)
            })?;
            trial
        }
    };
    // Whoever has come back is known to the others.
    tokio::time::sleep(WINDOW).await;
    Ok(trial)
}

/// Kills at some moment in a stream of policies, and waits until all are decided.
async fn during<S: System>(
    system: &Arc<S>,
    kill: Kill,
    killing: impl Future<Output = Result<(String, u64)>>,
) -> Result<Trial> {
    let length = BEGINNING + 2 * WINDOW + INTERVAL;
    let count = usize::try_from(length.as_millis() / INTERVAL.as_millis())?;
    let submitting = {
        let system = Arc::clone(system);
        // Of its own, so that looking for a victim does not hold it up.
        tokio::spawn(async move { stream(&system, count, INTERVAL).await })
    };
    tokio::time::sleep(BEGINNING + WINDOW + INTERVAL.mul_f64(fastrand::f64())).await;
    let (victim, killed) = killing.await?;
    let submitted = submitting.await??;
    system.settle().await?;
    Ok(Trial { kill, submitted, victim, killed })
}

/// Who carries out the next write at one of these switches.
fn next_writer(cluster: &Cluster, switches: &[String]) -> Result<String> {
    let follow = |switch: &String| Journal::follow(cluster, switch);
    let mut journals = switches.iter().map(follow).collect::<Result<Vec<_>>>()?;
    let end = Instant::now() + PATIENCE;
    block_in_place(|| {
        loop {
            for journal in &mut journals {
                if let Some(line) = journal.lines()?.iter().find(|line| is_write(line)) {
                    return writer(cluster, line);
                }
            }
            ensure!(Instant::now() < end, "no switch was written to for {PATIENCE:?}");
            std::thread::sleep(Duration::from_micros(100));
        }
    })
}

impl Trial {
    fn shown(&self, journals: &Journals, switches: &[String], records: &[Record]) -> Result<Shown> {
        let tasks = journals.timed(&self.submitted, switches, records)?;
        let [beginning, window, interval] =
            [BEGINNING, WINDOW, INTERVAL].map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let begin = self.submitted.first().context("nothing was submitted")?.due + beginning;
        // A policy that was under way at the kill is not calm.
        let calm = (begin, self.killed - interval);
        let after = (self.killed, self.killed + window);
        let (own, others): (Vec<Timed<'_>>, Vec<_>) =
            tasks.iter().cloned().partition(|task| self.is_own(task));
        let spans =
            |tasks: &[Timed<'_>]| -> Vec<_> { tasks.iter().map(|task| (task.due, task.written)).collect() };
        let longest =
            |tasks: &mut dyn Iterator<Item = &Timed<'_>>| tasks.map(Timed::latency).max().unwrap_or_default();
        let since = |at: Option<u64>| Duration::from_nanos(at.unwrap_or(0).saturating_sub(self.killed));
        let decided = own.iter().filter_map(|task| task.record.decided.as_ref()).map(|(_, at)| *at).max();
        Ok(Shown {
            calm_latency: longest(&mut tasks.iter().filter(|task| (calm.0..calm.1).contains(&task.due))),
            calm_stall: longest_stall(&spans(&tasks), calm),
            latency: longest(&mut others.iter().filter(|task| task.written > after.0 && task.due < after.1)),
            stall: longest_stall(&spans(&others), after),
            own: own.len(),
            written: since(own.iter().map(|task| task.written).max()),
            decided: since(decided),
        })
    }

    /// Whether the victim had claimed a task, and had not brought it to its end.
    fn is_own(&self, task: &Timed<'_>) -> bool {
        let Record { claims, decided, .. } = task.record;
        task.due < self.killed
            && claims.contains(&self.victim)
            && (task.written > self.killed || decided.as_ref().is_none_or(|(by, _)| *by != self.victim))
    }
}
