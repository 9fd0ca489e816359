//! The engine with threads around it, and what requests call.

mod threads;
mod transfer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::engine::disk::{self, Disk, Folder};
use crate::engine::index::Index;
use crate::engine::{Engine, Limits, Op, Outcome, read};
use crate::error::Error;
use crate::metrics::Metrics;
use threads::{Cleaner, Committer};

pub(crate) use transfer::{CHUNK, Found, Upload};

/// Writes that may wait for the thread that commits.
const QUEUE: usize = 1024;
/// Large objects that are taken in at a time.
const UPLOADS: usize = 8;

enum Message {
    Do { op: Op, reply: oneshot::Sender<Result<Outcome, Error>> },
    Stop,
}

/// A store that is open.
pub(crate) struct Store {
    queue: mpsc::Sender<Message>,
    index: Arc<RwLock<Index>>,
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    failed: watch::Receiver<Option<Error>>,
    next_blob: AtomicU64,
    uploads: Arc<Semaphore>,
    limits: Limits,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Takes the folder and reads what is in it. Blocks.
    pub(crate) fn open(folder: &Path, limits: Limits, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let lock = lock(folder)?;
        let disk = Folder::open(folder).map_err(Error::file(folder.to_owned(), "it can't be used"))?;
        Self::on(Arc::new(disk), Some(lock), limits, metrics)
    }

    fn on(
        disk: Arc<dyn Disk>,
        lock: Option<std::fs::File>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let (engine, found) = Engine::open(Arc::clone(&disk), limits, Arc::clone(&metrics))?;
        if found.torn > 0 {
            tracing::warn!(
                bytes = found.torn,
                "the last batch was not whole: a crash came before anybody was told of it"
            );
        }
        tracing::info!(
            objects = metrics.objects.get(),
            bytes = metrics.live_bytes.get(),
            orphans = found.orphans,
            "the store is open"
        );
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (failure, failed) = watch::channel(None);
        let index = Arc::clone(engine.index());
        let (jobs, segments) = std::sync::mpsc::sync_channel(1);
        let cleaning = Arc::new(AtomicBool::new(false));
        let committer = Committer::new(engine, receiver, failure, jobs, Arc::clone(&cleaning), lock);
        let cleaner = Cleaner {
            queue: queue.downgrade(),
            disk: Arc::clone(&disk),
            index: Arc::clone(&index),
            metrics: Arc::clone(&metrics),
            cleaning,
        };
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
            thread.map_err(|error| Error::Thread(Arc::new(error)))
        };
        let threads = vec![
            start("store-commit", Box::new(move || committer.run()))?,
            start("store-clean", Box::new(move || cleaner.run(&segments)))?,
        ];
        Ok(Self {
            queue,
            index,
            disk,
            metrics,
            failed,
            next_blob: AtomicU64::new(found.last_blob + 1),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            limits,
            threads: Mutex::new(threads),
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The index, for as long as it takes to read something from it.
    pub(crate) fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        read(&self.index)
    }

    /// Changes once, when nothing is acknowledged any more.
    pub(crate) fn failed(&self) -> watch::Receiver<Option<Error>> {
        self.failed.clone()
    }

    /// Has it done, and is back when it is durable.
    pub(crate) async fn commit(&self, op: Op) -> Result<Outcome, Error> {
        let (reply, outcome) = oneshot::channel();
        let place = if let Ok(place) = self.queue.try_reserve() {
            place
        } else {
            self.metrics.queue_full.add(1);
            self.queue.reserve().await.map_err(|_| Error::Stopping)?
        };
        place.send(Message::Do { op, reply });
        // Without an answer the thread is gone: it was stopped, or has failed.
        let outcome =
            outcome.await.unwrap_or_else(|_| Err(self.failed.borrow().clone().unwrap_or(Error::Stopping)));
        if matches!(outcome, Err(Error::Full { .. } | Error::NoSpace(_))) {
            self.metrics.full.add(1);
        }
        outcome
    }

    /// An object by `bucket/key`.
    pub(crate) fn find(&self, bucket: &str, key: &str) -> Result<Found, Error> {
        let index = self.index();
        let name = format!("{bucket}/{key}");
        let Some(entry) = index.get(&name).copied() else {
            if index.buckets.contains_key(bucket) {
                return Err(Error::NoObject(name));
            }
            return Err(Error::NoBucket(bucket.to_owned()));
        };
        let number = entry.place.segment;
        let segment = index.segments.get(&number).cloned().ok_or_else(|| Error::Missing {
            path: self.disk.path(&disk::segment_name(number)),
            what: format!("object {name} is in it"),
        })?;
        Ok(Found::new(entry, name, segment, Arc::clone(&self.disk)))
    }

    /// Starts to take in a large object of this many bytes.
    pub(crate) async fn upload(&self, length: u64) -> Result<Upload, Error> {
        if self.index().live.saturating_add(length) > self.limits.bytes {
            self.metrics.full.add(1);
            return Err(Error::Full { limit: self.limits.bytes, unit: "bytes", option: "--max-bytes" });
        }
        let permit = Arc::clone(&self.uploads).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let id = self.next_blob.fetch_add(1, Ordering::Relaxed);
        Upload::start(Arc::clone(&self.disk), id, permit).await
    }

    /// Finishes what has been asked for, and is done. An error if a thread did not end as it should.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let _ = self.queue.send(Message::Stop).await;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            return Err(Error::Panicked);
        }
        self.failed.borrow().clone().map_or(Ok(()), Err)
    }
}

/// Makes a folder, and those above it, so that a power failure does not take it away again.
pub(crate) fn make(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return std::fs::create_dir(folder),
    };
    make(above)?;
    std::fs::create_dir(folder)?;
    std::fs::File::open(above)?.sync_all()
}

/// Makes the folder if it is not there, and keeps others out of it.
fn lock(folder: &Path) -> Result<std::fs::File, Error> {
    make(folder).map_err(Error::file(folder.to_owned(), "it can't be made"))?;
    let path = folder.join("lock");
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::file(path.clone(), "it can't be opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::file(path, "it can't be locked")(error)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::format::castagnoli;
    use crate::engine::sim::SimDisk;
    use crate::engine::{Condition, Put, PutData};

    const LIMITS: Limits = Limits { bytes: 1 << 20, objects: 1000, segment: 2000 };

    fn put(key: &str) -> Op {
        let data = Bytes::from_static(b"data");
        let crc = castagnoli().checksum(&data);
        let condition = Condition::default();
        let data = PutData::Inline(data);
        Op::Put(Put { key: key.into(), condition, headers: vec![], etag: [1; 16], crc, data })
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_that_wait_and_to_the_owner() {
        let disk = SimDisk::default();
        let store = Store::on(Arc::new(disk.clone()), None, LIMITS, Arc::default()).unwrap();
        store.commit(Op::CreateBucket { name: "b".into() }).await.unwrap();
        disk.faults.lock().unwrap().sync = Some(3);
        let mut acknowledged = 0;
        for number in 0..20 {
            match store.commit(put(&format!("b/{number}"))).await {
                Ok(_) => acknowledged += 1,
                Err(error) => assert!(matches!(error, Error::Failed { .. }), "{error}"),
            }
        }
        assert_eq!(acknowledged, 3);
        assert!(store.failed().wait_for(Option::is_some).await.is_ok());
        // What is durable can be read on; what is not was never to be seen.
        assert_eq!(store.find("b", "2").unwrap().read().await.unwrap().1, "data");
        assert!(matches!(store.find("b", "3"), Err(Error::NoObject(_))));
        assert!(matches!(store.close().await, Err(Error::Failed { .. })));
        assert!(store.commit(put("b/x")).await.is_err());
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_done() {
        let store = Arc::new(Store::on(Arc::new(SimDisk::default()), None, LIMITS, Arc::default()).unwrap());
        store.commit(Op::CreateBucket { name: "b".into() }).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let store = Arc::clone(&store);
            tasks.spawn(async move { store.commit(put(&format!("b/{number}"))).await });
        }
        // Each has put its write into the queue when it first waits.
        tokio::task::yield_now().await;
        store.close().await.unwrap();
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        assert_eq!(store.metrics().objects.get(), 50);
    }
}
