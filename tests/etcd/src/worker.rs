//! A worker: watches the queue, claims by transaction, executes, finishes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::api::event::Type;
use crate::api::lease_client::LeaseClient;
use crate::api::watch_client::WatchClient;
use crate::api::watch_request::RequestUnion;
use crate::api::{LeaseKeepAliveRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::client::Client;

/// Silence on the watch after which the next member is asked. Workers' leases make etcd write, so there is news.
const SILENCE: Duration = Duration::from_millis(500);

/// A task as the queue has it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its id: the key after `q/`.
    pub id: String,
    /// What was put.
    pub value: Vec<u8>,
}

/// A worker among others.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Its name: the value of its claims.
    pub name: String,
    /// Its place among the workers, and their number.
    pub place: (usize, usize),
    /// How long a worker waits for each one that ranks before it.
    pub claim_delay: Duration,
    /// Seconds until the claims of a dead worker are free.
    pub lease_seconds: i64,
}

/// What a worker knows and shares with what it runs.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    settings: WorkerSettings,
    lease: i64,
    /// Tasks that nobody is known to have claimed.
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Worker {
    /// Works until it is dropped (then its lease runs out) or etcd is gone for good.
    pub async fn run<E, F>(client: Client, settings: WorkerSettings, execute: E) -> Result<()>
    where
        E: Fn(Task) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let lease = client.lease(settings.lease_seconds).await?;
        let worker = Self { client, settings, lease, open: Arc::default() };
        let mut tasks = JoinSet::new();
        tasks.spawn(worker.clone().keep_alive());
        worker.work(Arc::new(execute), &mut tasks).await
    }

    /// Renews the lease at a third of its time, at whichever member answers.
    async fn keep_alive(self) {
        let third = Duration::from_secs(self.settings.lease_seconds.unsigned_abs()) / 3;
        for tries in 0.. {
            let (requests, receiver) = mpsc::channel(1);
            let mut client = LeaseClient::new(self.client.channel(tries));
            let stream = client.lease_keep_alive(ReceiverStream::new(receiver));
            let Ok(Ok(answers)) = tokio::time::timeout(SILENCE, stream).await else { continue };
            let mut answers = answers.into_inner();
            while requests.send(LeaseKeepAliveRequest { id: self.lease }).await.is_ok() {
                match tokio::time::timeout(SILENCE, answers.next()).await {
                    Ok(Some(Ok(_))) => tokio::time::sleep(third).await,
                    _ => break,
                }
            }
        }
    }

    async fn work<E, F>(&self, execute: Arc<E>, tasks: &mut JoinSet<()>) -> Result<()>
    where
        E: Fn(Task) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let mut pending: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut revision = 1;
        for tries in 0.. {
            let Ok((_requests, mut news)) = self.watch(tries, revision).await else { continue };
            while let Ok(Some(Ok(response))) = tokio::time::timeout(SILENCE, news.next()).await {
                let response: WatchResponse = response;
                if let Some(header) = &response.header
                    && !response.events.is_empty()
                {
                    revision = header.revision + 1;
                }
                for event in response.events {
                    let Some(kv) = event.kv else { continue };
                    let key = String::from_utf8(kv.key).context("etcd: a key of ours is no text")?;
                    let Some((kind, id)) = key.split_once('/') else { continue };
                    match (kind, event.r#type == i32::from(Type::Delete)) {
                        ("q", false) => {
                            pending.insert(id.to_owned(), kv.value);
                            self.claim_later(id, &pending, &execute, tasks);
                        }
                        ("q", true) => {
                            pending.remove(id);
                            self.is_open(id, Some(false));
                        }
                        ("c", false) => {
                            self.is_open(id, Some(false));
                        }
                        // The claim's owner has died.
                        ("c", true) if pending.contains_key(id) => {
                            self.claim_later(id, &pending, &execute, tasks);
                        }
                        _ => {}
                    }
                }
                while tasks.try_join_next().is_some() {}
            }
        }
        Ok(())
    }

    /// Which turn this worker has at a task: 0 claims at once.
    fn rank(&self, id: &str) -> usize {
        let (place, workers) = self.settings.place;
        let sum = id.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        (sum % workers + workers - place) % workers
    }

    /// Whether nobody is known to have claimed a task; `change` says what is known from now on.
    fn is_open(&self, id: &str, change: Option<bool>) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Some(true) => open.insert(id.to_owned()),
            Some(false) => open.remove(id),
            None => open.contains(id),
        }
    }

    /// Claims a task when it is this worker's turn, and executes it.
    fn claim_later<E, F>(
        &self,
        id: &str,
        pending: &BTreeMap<String, Vec<u8>>,
        execute: &Arc<E>,
        tasks: &mut JoinSet<()>,
    ) where
        E: Fn(Task) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send,
    {
        let Some(value) = pending.get(id) else { return };
        let task = Task { id: id.to_owned(), value: value.clone() };
        let (worker, execute) = (self.clone(), Arc::clone(execute));
        let turns = u32::try_from(self.rank(id)).unwrap_or(u32::MAX);
        let delay = worker.settings.claim_delay.saturating_mul(turns);
        self.is_open(id, Some(true));
        tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            if !worker.is_open(&task.id, None) {
                return;
            }
            let key = format!("c/{}", task.id);
            // What fails here is claimed again when the lease has run out.
            if let Ok(true) = worker.client.create(&key, &worker.settings.name, worker.lease).await {
                let id = task.id.clone();
                if execute(task).await.is_ok() {
                    let _ = worker.client.finish(&id, &worker.settings.name).await;
                }
            }
        });
    }

    /// A watch of everything from a revision on. It lasts as long as its requests' sender.
    async fn watch(
        &self,
        tries: usize,
        start_revision: i64,
    ) -> Result<(mpsc::Sender<WatchRequest>, tonic::Streaming<WatchResponse>)> {
        let create = WatchCreateRequest { key: vec![0], range_end: vec![0], start_revision };
        let (sender, receiver) = mpsc::channel(1);
        sender.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
        let mut client = WatchClient::new(self.client.channel(tries));
        let stream = tokio::time::timeout(SILENCE, client.watch(ReceiverStream::new(receiver))).await??;
        Ok((sender, stream.into_inner()))
    }
}
