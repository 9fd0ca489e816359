//! RMDP: real processes, as users run them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Decision, Object, Outcome, Steps};
use outplane_rmdp_core::task::{NetworkId, TransactionId};
use outplane_rmdp_node::daemon::store_settings;
use outplane_rmdp_node::file::NodeFile;
use outplane_rmdp_node::generation::{bound, compiled};
use outplane_rmdp_node::hinter::Hinter;
use outplane_rmdp_node::log::{self, Tip};
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;
use outplane_rmdp_wire::HintOf;
use outplane_testbed::{Cluster, History, Part};
use tokio::task::{block_in_place, spawn_blocking};

use super::figures::{ms, percentile};
use super::system::{Record, SWITCHES, System, Told, policy};

/// Longest time until all is decided.
const PATIENCE: Duration = Duration::from_mins(1);

/// The system, and one who appends to its intent log.
pub(super) struct Masterless {
    cluster: Arc<Cluster>,
    network: NetworkId,
    switches: Vec<String>,
    objects: Objects,
    hinter: Mutex<Hinter>,
    /// The end of the log. Who follows it knows it; `outplane apply`, which does not, lists first.
    tip: tokio::sync::Mutex<Tip>,
}

/// What the store has of a task.
#[derive(Default)]
struct Life {
    claims: Vec<String>,
    done: Option<bool>,
    decided: Option<(String, u64)>,
}

impl Masterless {
    pub(super) async fn new(cluster: Arc<Cluster>) -> Result<Self> {
        let file = NodeFile::load(&cluster.folder().join("d1.toml"))?.file;
        let objects = Objects::new(Store::new(store_settings(&file.store))?);
        let hinter = Mutex::new(Hinter::new(&objects, &file, &cluster.shared()).await?);
        let switches = cluster.names(Part::Switch).into_iter().take(SWITCHES.into()).collect();
        let network = network::of(&objects).await?.context("the store is of no network")?;
        let tip = tokio::sync::Mutex::new(Tip::read(&objects, network).await?);
        Ok(Self { cluster, network, switches, objects, hinter, tip })
    }
}

impl System for Masterless {
    const NAME: &'static str = "RMDP";

    fn switches(&self) -> &[String] {
        &self.switches
    }

    async fn submit(&self) -> Result<u64> {
        let mut tip = self.tip.lock().await;
        let number = tip.number() + 1;
        let record = policy(self.network, &self.cluster, &self.switches, number);
        let record = spawn_blocking(move || {
            let record = bound(record)?;
            compiled(&record).map(|compiled| (record, compiled))
        });
        let (record, compiled) = record.await??;
        // As `outplane apply` does: what there is time for while the generation is appended.
        let objects = self.objects.clone();
        tokio::spawn(async move { log::store(&objects, compiled.states).await });
        let appended = tip.append(&self.objects, record).await?;
        *tip = appended.with_context(|| format!("somebody else has appended generation {number}"))?;
        self.hinter.lock().unwrap_or_else(PoisonError::into_inner).hint(HintOf::Intent, number);
        Ok(number)
    }

    async fn settle(&self) -> Result<()> {
        let open = block_in_place(|| History::wait(&self.cluster, &self.switches, PATIENCE))?;
        ensure!(open.is_empty(), "RMDP: {} tasks are not decided after {PATIENCE:?}", open.len());
        Ok(())
    }

    async fn records(&self) -> Result<Told> {
        let mut history = block_in_place(|| History::read(&self.cluster))?;
        // The others are etcd's.
        history.journals.retain(|switch, _| self.switches.contains(switch));
        let events = history.events(&self.switches);
        let verdict = history.check(&events);
        let mut lives: BTreeMap<TransactionId, Life> = BTreeMap::new();
        for (key, object) in &history.objects {
            match (key, object) {
                (Key::Claim(id, _), Object::Claim(claim)) => {
                    lives.entry(*id).or_default().claims.push(claim.owner.clone());
                }
                (Key::Decision(id), Object::Decision(end)) => {
                    let life = lives.entry(*id).or_default();
                    life.done = Some(matches!(end.outcome, Outcome::Done { .. }));
                    life.decided = Some((end.owner.clone(), end.at_ms * 1_000_000));
                }
                _ => {}
            }
        }
        let steps = history.objects.values().filter_map(|object| match object {
            Object::Decision(Decision { outcome: Outcome::Done { steps, .. }, .. }) => Some(*steps),
            _ => None,
        });
        let steps: Vec<_> = steps.collect();
        let median = |of: fn(&Steps) -> u64| {
            let times: Vec<_> = steps.iter().map(|steps| Duration::from_micros(of(steps))).collect();
            ms(percentile(&times, 50))
        };
        let mut records = Vec::new();
        for event in events {
            let Life { claims, done, decided } = lives.remove(&event.id()?).unwrap_or_default();
            records.push(Record { number: event.occurrence, switch: event.switch, claims, done, decided });
        }
        let summary = format!(
            "{} tasks, {} done, {} overtaken, {} failed, {} took another attempt; lost {}, owned by two {}, doubled {}; \
             p50 of an attempt that was done: known to claim sent {:.1} ms, to owned {:.1}, to executed {:.1}",
            verdict.tasks,
            verdict.done,
            verdict.superseded + verdict.dropped,
            verdict.failed,
            verdict.retried,
            verdict.lost.len(),
            verdict.two_owners.len(),
            verdict.doubled.len(),
            median(|steps| steps.claim_sent_us),
            median(|steps| steps.claimed_us.saturating_sub(steps.claim_sent_us)),
            median(|steps| steps.executed_us.saturating_sub(steps.claimed_us))
        );
        Ok(Told { records, summary, faults: verdict.faults().map(str::to_owned).collect() })
    }
}
