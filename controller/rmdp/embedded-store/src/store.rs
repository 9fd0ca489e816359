//! The engine with threads around it: one that commits, one that cleans; and what requests call.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::engine::disk::{self, BLOBS, Disk, File, Folder, blob_name};
use crate::engine::format::castagnoli;
use crate::engine::index::{Entry, Index};
use crate::engine::{Engine, Limits, Op, Outcome, Put, PutData, clean, read};
use crate::error::Error;
use crate::metrics::Metrics;

/// Writes that may wait for the thread that commits.
const QUEUE: usize = 1024;
/// Bytes of objects after which a batch is not made larger.
const BATCH: usize = 1 << 20;
/// Large objects that are taken in at a time.
const UPLOADS: usize = 8;
/// A large object's file is synced after so many bytes, so that no sync takes long.
const SYNC_EVERY: u64 = 4 << 20;
/// Bytes of an object read at a time.
pub(crate) const CHUNK: usize = 256 << 10;
/// How long cleaning waits after the disk was full.
const CLEAN_AGAIN: Duration = Duration::from_secs(5);

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

/// An object that was found, with what is needed to read it.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    key: String,
    segment: Arc<dyn File>,
    disk: Arc<dyn Disk>,
    /// Whether the data is wanted, and not the headers alone.
    data: bool,
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
        let committer =
            Committer { engine, receiver, failure, jobs, cleaning: Arc::clone(&cleaning), _lock: lock };
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
        Ok(Found { entry, key: name, segment, disk: Arc::clone(&self.disk), data: true })
    }

    /// Starts to take in a large object of this many bytes.
    pub(crate) async fn upload(&self, length: u64) -> Result<Upload, Error> {
        if self.index().live.saturating_add(length) > self.limits.bytes {
            self.metrics.full.add(1);
            return Err(Error::Full { limit: self.limits.bytes, unit: "bytes", option: "--max-bytes" });
        }
        let permit = Arc::clone(&self.uploads).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let id = self.next_blob.fetch_add(1, Ordering::Relaxed);
        let disk = Arc::clone(&self.disk);
        let path = disk.path(&blob_name(id));
        blocking(move || {
            let file = disk.create(&blob_name(id)).map_err(|error| trouble(&path, error))?;
            Ok(Upload { id, disk, file, length: 0, synced: 0, ours: true, _permit: permit })
        })
        .await
    }

    /// Finishes what has been asked for, and is done.
    pub(crate) async fn close(&self) {
        let _ = self.queue.send(Message::Stop).await;
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("a thread of the store has panicked");
        }
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

fn trouble(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::NoSpace(Arc::new(error)),
        _ => Error::file(path.to_owned(), "it can't be written")(error),
    }
}

/// Runs something that may wait for the disk apart from the tasks that may not.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(run).await.unwrap_or(Err(Error::Stopping))
}

/// A large object being taken in. Dropping it removes its file.
pub(crate) struct Upload {
    id: u64,
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    length: u64,
    synced: u64,
    ours: bool,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Upload {
    fn path(&self) -> PathBuf {
        self.disk.path(&blob_name(self.id))
    }

    /// Appends bytes.
    pub(crate) async fn write(mut self, bytes: Vec<u8>) -> Result<Self, Error> {
        blocking(move || {
            let written = self.file.write_all_at(&bytes, self.length);
            written.map_err(|error| trouble(&self.path(), error))?;
            self.length += bytes.len() as u64;
            if self.length - self.synced >= SYNC_EVERY {
                self.synced = self.length;
                self.file.sync().map_err(|error| trouble(&self.path(), error))?;
            }
            Ok(self)
        })
        .await
    }

    /// Makes it durable. From now on the operation that this becomes a part of answers for the file.
    pub(crate) async fn finish(mut self) -> Result<PutData, Error> {
        blocking(move || {
            let synced = self.file.sync().and_then(|()| self.disk.sync_folder(BLOBS));
            synced.map_err(|error| trouble(&self.path(), error))?;
            self.ours = false;
            Ok(PutData::Blob { id: self.id, length: self.length })
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let (disk, id) = (Arc::clone(&self.disk), self.id);
        let remove = move || {
            let _ = disk.remove(&blob_name(id));
        };
        // Outside of the runtime it may wait; what is not removed here is at the next start.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl Found {
    /// Has [`Found::read`] read no data.
    pub(crate) fn headers_only(&mut self) {
        self.data = false;
    }

    /// Its headers and all its data, checked. For objects in the log.
    pub(crate) async fn read(self) -> Result<(Vec<u8>, Bytes), Error> {
        blocking(move || {
            let headers = usize::from(self.entry.headers);
            let inline = self.entry.blob == 0 && self.data;
            let data = if inline { self.entry.length } else { 0 };
            let mut bytes = vec![0; headers + usize::try_from(data).unwrap_or(usize::MAX - headers)];
            let from = self.entry.place.offset + self.entry.prefix(&self.key);
            let path = || self.disk.path(&disk::segment_name(self.entry.place.segment));
            self.segment.read_exact_at(&mut bytes, from).map_err(Error::file(path(), "it can't be read"))?;
            let data = Bytes::from(bytes.split_off(headers));
            if inline && castagnoli().checksum(&data) != self.entry.crc {
                let what = format!("object {} is not what was written", self.key);
                return Err(Error::Damaged { path: path(), offset: from, what });
            }
            Ok((bytes, data))
        })
        .await
    }

    /// The bytes from `start` to before `end` of a large object, in chunks, for as long as somebody takes them. When
    /// all of it is read, it is checked before the last chunk is given out.
    pub(crate) fn stream(&self, start: u64, end: u64) -> mpsc::Receiver<Result<Bytes, Error>> {
        let (sender, chunks) = mpsc::channel(2);
        let (disk, entry, key) = (Arc::clone(&self.disk), self.entry, self.key.clone());
        tokio::task::spawn_blocking(move || {
            let path = disk.path(&blob_name(entry.blob));
            let mut digest = castagnoli().digest();
            let file = match disk.open(&blob_name(entry.blob)) {
                Ok(file) => file,
                Err(error) => {
                    let _ = sender.blocking_send(Err(Error::file(path, "it can't be read")(error)));
                    return;
                }
            };
            let mut at = start;
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let mut bytes = vec![0; length];
                let mut chunk = file
                    .read_exact_at(&mut bytes, at)
                    .map_err(Error::file(path.clone(), "it can't be read"))
                    .map(|()| Bytes::from(bytes));
                at += length as u64;
                if let Ok(bytes) = &chunk {
                    digest.update(bytes);
                }
                let whole = start == 0 && at == entry.length;
                if chunk.is_ok() && whole && digest.clone().finalize() != entry.crc {
                    let what = format!("object {key} is not what was written");
                    chunk = Err(Error::Damaged { path: path.clone(), offset: 0, what });
                }
                let bad = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || bad {
                    return;
                }
            }
        });
        chunks
    }
}

/// The thread that writes.
struct Committer {
    engine: Engine,
    receiver: mpsc::Receiver<Message>,
    failure: watch::Sender<Option<Error>>,
    jobs: std::sync::mpsc::SyncSender<u64>,
    cleaning: Arc<AtomicBool>,
    /// The folder is ours until the last write is done.
    _lock: Option<std::fs::File>,
}

impl Committer {
    /// Group commit: everything that waits by now is one batch and one sync. Nothing is waited for, so a single write
    /// takes one sync, and while it does the next batch gathers by itself.
    fn run(mut self) {
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
struct Cleaner {
    /// Weak: it must not keep the queue open.
    queue: mpsc::WeakSender<Message>,
    disk: Arc<dyn Disk>,
    index: Arc<RwLock<Index>>,
    metrics: Arc<Metrics>,
    cleaning: Arc<AtomicBool>,
}

impl Cleaner {
    fn run(self, segments: &std::sync::mpsc::Receiver<u64>) {
        while let Ok(segment) = segments.recv() {
            let mut commit = |op| self.commit(op);
            match clean::clean(&*self.disk, &self.index, &self.metrics, segment, &mut commit) {
                Ok(()) => {}
                Err(Error::Stopping | Error::Failed { .. }) => return,
                Err(error @ Error::NoSpace(_)) => {
                    tracing::warn!(%error, segment, "cleaning waits for room");
                    // Ends early when the thread that commits is gone: it held the other end.
                    if let Err(std::sync::mpsc::RecvTimeoutError::Disconnected) =
                        segments.recv_timeout(CLEAN_AGAIN)
                    {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Condition;
    use crate::engine::sim::SimDisk;

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
        store.close().await;
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
        store.close().await;
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        assert_eq!(store.metrics().objects.get(), 50);
    }
}
