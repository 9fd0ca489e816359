//! The two threads: one commits, one cleans.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};

use super::Message;
use crate::engine::disk::Disk;
use crate::engine::index::Index;
use crate::engine::{Engine, Op, Put, PutData, clean};
use crate::error::Error;
use crate::metrics::Metrics;

/// Bytes of objects after which a batch is not made larger.
const BATCH: usize = 1 << 20;
/// How long cleaning waits after the disk was full.
const CLEAN_AGAIN: Duration = Duration::from_secs(5);

/// The thread that writes.
pub(super) struct Committer {
    engine: Engine,
    receiver: mpsc::Receiver<Message>,
    failure: watch::Sender<Option<Error>>,
    jobs: SyncSender<u64>,
    cleaning: Arc<AtomicBool>,
    /// The folder is ours until the last write is done.
    _lock: Option<std::fs::File>,
}

impl Committer {
    pub(super) fn new(
        engine: Engine,
        receiver: mpsc::Receiver<Message>,
        failure: watch::Sender<Option<Error>>,
        jobs: SyncSender<u64>,
        cleaning: Arc<AtomicBool>,
        lock: Option<std::fs::File>,
    ) -> Self {
        Self { engine, receiver, failure, jobs, cleaning, _lock: lock }
    }

    /// Group commit: everything that waits by now is one batch and one sync. Nothing is waited for, so a single write
    /// takes one sync, and while it does the next batch gathers by itself.
    pub(super) fn run(mut self) {
        while let Some(first) = self.receiver.blocking_recv() {
            let (mut ops, mut replies, mut size) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Do { op, reply } => {
                        size += weight(&op);
                        ops.push(op);
                        replies.push(reply);
                    }
                    // What is in the queue by now is still done.
                    Message::Stop => self.receiver.close(),
                }
                if size < BATCH {
                    next = self.receiver.try_recv().ok();
                }
            }
            let outcomes = self.engine.commit(now(), &ops);
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // Whoever has gone away does not hear of it.
                let _ = reply.send(outcome);
            }
            self.engine.release();
            if let Some(failure) = self.engine.failure()
                && self.failure.borrow().is_none()
            {
                tracing::error!(%failure, "the store has failed");
                self.failure.send_replace(Some(failure.clone()));
            }
            if let Some(segment) = self.engine.wants_cleaning()
                && !self.cleaning.swap(true, Ordering::AcqRel)
                && self.jobs.try_send(segment).is_err()
            {
                self.cleaning.store(false, Ordering::Release);
            }
        }
    }
}

/// Bytes that it may take in a batch, roughly.
fn weight(op: &Op) -> usize {
    match op {
        Op::Put(Put { data: PutData::Inline(data), .. }) => 1000 + data.len(),
        Op::Put(_) | Op::CreateBucket { .. } | Op::Keep { .. } => 1000,
        Op::Delete { keys, .. } => keys.iter().map(|(key, _)| key.len()).sum(),
        Op::Move(records) => records.iter().map(|moved| moved.record.len()).sum(),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The thread that cleans.
pub(super) struct Cleaner {
    /// Weak: it must not keep the queue open.
    pub(super) queue: mpsc::WeakSender<Message>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cleaning: Arc<AtomicBool>,
}

impl Cleaner {
    pub(super) fn run(self, segments: &Receiver<u64>) {
        while let Ok(segment) = segments.recv() {
            let mut commit = |op| self.commit(op);
            match clean::clean(&*self.disk, &self.index, &self.metrics, segment, &mut commit) {
                Ok(()) => {}
                Err(Error::Stopping | Error::Failed { .. }) => return,
                Err(error @ (Error::NoSpace(_) | Error::NoFiles(_) | Error::File { .. })) => {
                    tracing::warn!(%error, segment, "cleaning waits, and tries again");
                    // Ends early when the thread that commits is gone: it held the other end.
                    if let Err(RecvTimeoutError::Disconnected) = segments.recv_timeout(CLEAN_AGAIN) {
                        return;
                    }
                }
                Err(error) => {
                    // Going on would take segments out of order. Nothing is lost; the log only grows.
                    tracing::error!(%error, segment, "cleaning has stopped until the next start");
                    return;
                }
            }
            self.cleaning.store(false, Ordering::Release);
        }
    }

    fn commit(&self, op: Op) -> Result<(), Error> {
        let queue = self.queue.upgrade().ok_or(Error::Stopping)?;
        let (reply, outcome) = oneshot::channel();
        queue.blocking_send(Message::Do { op, reply }).map_err(|_| Error::Stopping)?;
        drop(queue);
        outcome.blocking_recv().unwrap_or(Err(Error::Stopping)).map(|_| ())
    }
}
