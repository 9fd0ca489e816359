//! A worker: watches the queue, claims by transaction, executes, finishes.
//!
//! It does what a controller of RMDP does, with etcd's means: workers rank themselves by rendezvous hash over those that
//! live, the first claims at once and the next ones after a delay each; one task of an object at a time; a task that a
//! newer one has overtaken is ended and not executed. That a worker is dead the others learn from its lease, which has
//! its claims and its registration.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::LeaseKeepAliveRequest;
use crate::api::lease_client::LeaseClient;
use crate::client::{Change, Client, OPENING};
use crate::task::{Decision, Outcome, Task, TaskId};

/// Executions at a time: as many as RMDP's controllers have.
const EXECUTIONS: usize = 64;
/// Before something that failed is tried again.
const PAUSE: Duration = Duration::from_millis(20);

/// A worker among others.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Its name, which no other worker has.
    pub name: String,
    /// How long a worker waits for each one that ranks before it.
    pub claim_delay: Duration,
    /// Seconds until the claims of a dead worker are free. etcd makes 2 of less, with its default election timeout.
    pub lease_seconds: i64,
}

/// What a worker does.
pub trait Executor: Send + Sync + 'static {
    /// Called while a claim is under way, of which nobody knows yet whether it succeeds: nothing may be changed.
    fn prepare(&self, id: &TaskId) -> impl Future<Output = ()> + Send;

    /// Carries out a task that is claimed. A task of which it says an error is free again.
    fn execute(&self, task: &Task) -> impl Future<Output = Result<Outcome>> + Send;
}

/// What the watch has told.
#[derive(Debug, Default)]
struct Known {
    pending: BTreeMap<TaskId, Vec<u8>>,
    /// By whomever.
    claimed: BTreeSet<TaskId>,
    workers: BTreeSet<String>,
    /// Held while a task of the object is executed.
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
}

/// What a worker knows and shares with what it runs.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    settings: Arc<WorkerSettings>,
    lease: Arc<AtomicI64>,
    claims: Arc<AtomicU64>,
    executions: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

impl Worker {
    /// Works until it is dropped (then its lease runs out) or etcd is gone for good.
    pub async fn run<E: Executor>(client: Client, settings: WorkerSettings, executor: E) -> Result<()> {
        let worker = Self {
            client,
            settings: Arc::new(settings),
            lease: Arc::default(),
            claims: Arc::default(),
            executions: Arc::new(Semaphore::new(EXECUTIONS)),
            known: Arc::default(),
        };
        worker.begin_lease().await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(worker.clone().keep_alive());
        worker.work(&Arc::new(executor), &mut tasks).await
    }

    async fn begin_lease(&self) -> Result<()> {
        let lease = self.client.lease(self.settings.lease_seconds).await?;
        self.lease.store(lease, Ordering::Relaxed);
        self.client.register(&self.settings.name, lease).await
    }

    /// Renews the lease at a third of its time, at whichever member answers. One that ran out all the same is replaced.
    async fn keep_alive(self) {
        for tries in 0.. {
            if self.renew(tries).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn renew(&self, tries: usize) -> Result<()> {
        let third = Duration::from_secs(self.settings.lease_seconds.unsigned_abs()) / 3;
        let (requests, receiver) = mpsc::channel(1);
        let request = || LeaseKeepAliveRequest { id: self.lease.load(Ordering::Relaxed) };
        // etcd opens the stream with its first answer, so the first request goes before.
        requests.send(request()).await?;
        let mut client = LeaseClient::new(self.client.channel(tries));
        let stream = client.lease_keep_alive(ReceiverStream::new(receiver));
        let mut answers = tokio::time::timeout(OPENING, stream).await??.into_inner();
        loop {
            let answer =
                tokio::time::timeout(OPENING, answers.next()).await?.context("no more answers")??;
            if answer.ttl <= 0 {
                self.begin_lease().await?;
            }
            tokio::time::sleep(third).await;
            requests.send(request()).await?;
        }
    }

    async fn work<E: Executor>(&self, executor: &Arc<E>, tasks: &mut JoinSet<()>) -> Result<()> {
        let (mut revision, held) = self.client.snapshot().await?;
        for change in held {
            self.learn(change)?;
        }
        let pending: Vec<_> = self.known().pending.keys().cloned().collect();
        for id in pending {
            tasks.spawn(self.clone().attend(id, Arc::clone(executor)));
        }
        for tries in 0.. {
            let Ok((_requests, mut news)) = self.client.watch(tries, revision + 1).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // What ends the watch, an error or a word, makes the next member be asked for the rest.
            while let Some(Ok(response)) = news.next().await
                && !response.canceled
            {
                for event in response.events {
                    let change = Change::of(event)?;
                    revision = change.revision;
                    if let Some(id) = self.learn(change)? {
                        tasks.spawn(self.clone().attend(id, Arc::clone(executor)));
                    }
                }
                while tasks.try_join_next().is_some() {}
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a change; the task that is free since.
    fn learn(&self, change: Change) -> Result<Option<TaskId>> {
        let Some((kind, rest)) = change.key.split_once('/') else { return Ok(None) };
        let mut known = self.known();
        match (kind, change.value) {
            ("w", Some(_)) => drop(known.workers.insert(rest.to_owned())),
            ("w", None) => drop(known.workers.remove(rest)),
            ("q", Some(value)) => {
                let id: TaskId = rest.parse()?;
                known.pending.insert(id.clone(), value);
                return Ok(Some(id));
            }
            ("q", None) => drop(known.pending.remove(&rest.parse()?)),
            ("c", Some(_)) => drop(known.claimed.insert(rest.parse()?)),
            ("c", None) => {
                let id = rest.parse()?;
                known.claimed.remove(&id);
                // Still queued: its owner has died, or given it up.
                return Ok(known.pending.contains_key(&id).then_some(id));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Claims a task as long as it is free; the claim's revision.
    async fn claim(&self, id: &TaskId) -> Option<i64> {
        let number = self.claims.fetch_add(1, Ordering::Relaxed);
        let nonce = format!("{}/{:x}/{number}", self.settings.name, self.lease.load(Ordering::Relaxed));
        while self.known().is_free(id) {
            // One that is another's the watch tells of when it is free again.
            match self.client.claim(id, &nonce, self.lease.load(Ordering::Relaxed)).await {
                Ok(claim) => return claim,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        None
    }

    /// Claims a task when it is this worker's turn, and executes it.
    async fn attend<E: Executor>(self, id: TaskId, executor: Arc<E>) {
        let rank = self.known().rank(&self.settings.name, &id.object);
        tokio::time::sleep(self.settings.claim_delay.saturating_mul(rank)).await;
        // Claimed is only what can be executed at once.
        let Ok(_permit) = self.executions.acquire().await else { return };
        let turn = self.known().turn(&id.object);
        let _turn = turn.lock().await;
        let (claim, ()) = tokio::join!(self.claim(&id), executor.prepare(&id));
        let Some(claim) = claim else { return };
        let (value, overtaken) = {
            let known = self.known();
            (known.pending.get(&id).cloned(), known.is_overtaken(&id))
        };
        let Some(value) = value else { return };
        let end = if overtaken {
            Ok(Outcome::Superseded)
        } else {
            executor.execute(&Task { id: id.clone(), value, claim }).await
        };
        // Without etcd the claim ends with the lease, and somebody else takes the task.
        let _ = match end {
            Ok(outcome) => {
                let by = self.settings.name.clone();
                let end = Decision { by, outcome, at_ms: unix_millis() };
                self.client.finish(&id, claim, &end).await.map(drop)
            }
            Err(_) => self.client.release(&id, claim).await,
        };
    }
}

impl Known {
    /// How many others have a task of this object before this worker: 0 claims at once.
    fn rank(&self, name: &str, object: &str) -> u32 {
        let score = |name: &str| {
            let mut hasher = DefaultHasher::new();
            (name, object).hash(&mut hasher);
            (hasher.finish(), name.to_owned())
        };
        let mine = score(name);
        let before =
            self.workers.iter().filter(|other| other.as_str() != name && score(other) > mine).count();
        u32::try_from(before).unwrap_or(u32::MAX)
    }

    fn is_free(&self, id: &TaskId) -> bool {
        self.pending.contains_key(id) && !self.claimed.contains(id)
    }

    /// Whether a newer task of the same object is queued.
    fn is_overtaken(&self, id: &TaskId) -> bool {
        let next = TaskId { number: id.number.saturating_add(1), ..id.clone() };
        self.pending.range(next..).next().is_some_and(|(newer, _)| newer.object == id.object)
    }

    fn turn(&mut self, object: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.turns.entry(object.to_owned()).or_default())
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
