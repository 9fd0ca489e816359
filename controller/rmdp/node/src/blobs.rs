//! Desired states on the side of a controller: fetched once, kept as long as there is room.
//!
//! An announce goes out while the distributor still writes the blob, so a blob that is not there yet is asked for again
//! for a while. Whoever needs the same blob at the same time shares one fetch.
//!
//! A blob that does not come is made again from its generation, which every node compiles to the same bytes, and is
//! stored for the others: blobs may be swept, or never have been written, and no task is lost by it. So is one whose
//! bytes are not what its name says: garbage under a name counts as nothing, and is written over.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use outplane_compiler::state::Desired;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::Digest;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::blob;
use crate::error::Error;
use crate::generation::{Compiled, Generations};
use crate::objects::Objects;

/// Most blobs that are kept.
const MOST: usize = 256;

/// Most bytes of kept blobs, as they lie in the store; in memory they take a few times as much.
const MOST_BYTES: usize = 64 << 20;

/// How long a blob may be under way after its announce. With the usual lease there is time left to make it again.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Between two looks at first, half as much again each time.
const FIRST_WAIT: Duration = Duration::from_millis(1);

/// Between two looks at most.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Blobs from this size on are decoded apart from asynchronous code.
const LARGE: usize = 16 << 10;

/// A blob, decoded.
#[derive(Debug)]
pub struct Fetched {
    /// What it says.
    pub desired: Desired,
    /// Its size in the store.
    pub bytes: usize,
}

type Cell = Arc<OnceCell<Arc<Fetched>>>;

/// The blobs. Clones share them.
#[derive(Clone, Debug)]
pub struct Blobs {
    objects: Objects,
    generations: Generations,
    kept: Arc<Mutex<Kept>>,
    /// The generation that was compiled last, if its blobs are not too many to keep; one is compiled at a time.
    compiled: Arc<tokio::sync::Mutex<Option<Compiled>>>,
    counters: Arc<Counters>,
}

/// What lies under a name.
enum Looked {
    Nothing,
    /// Its bytes are what the name says.
    Blob(Bytes),
    /// Something else, in words.
    Garbage(String),
}

/// What was done, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// GETs of blobs.
    pub gets: AtomicU64,
    /// GETs that found nothing yet.
    pub early: AtomicU64,
    /// Blobs that made room for others.
    pub evicted: AtomicU64,
    /// Blobs that were not in the store, or garbage there, and were made again.
    pub remade: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    cells: HashMap<Digest, Cell>,
    /// In the order of their first use.
    order: VecDeque<Digest>,
}

impl Blobs {
    /// None yet.
    pub fn new(objects: Objects) -> Self {
        Self {
            objects,
            generations: Generations::new(),
            kept: Arc::default(),
            compiled: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Goes on from what others have read of generations, where one is compiled again.
    #[must_use]
    pub fn reading(self, generations: Generations) -> Self {
        Self { generations, ..self }
    }

    /// What was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The state of this name, which a task of this generation wants. Asks again while it may still be under way.
    ///
    /// # Errors
    /// In words: the store's, or that it is not there and cannot be made again, or that it is not what its name says.
    pub async fn get(&self, digest: Digest, generation: u64) -> Result<Arc<Fetched>, String> {
        let cell = self.cell(digest);
        let fetched = cell.get_or_try_init(|| self.fetch(digest, generation)).await;
        if fetched.is_err() {
            self.forget(digest, &cell);
        }
        let fetched = Arc::clone(fetched?);
        self.make_room();
        Ok(fetched)
    }

    async fn fetch(&self, digest: Digest, generation: u64) -> Result<Arc<Fetched>, String> {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        let blob = loop {
            self.counters.gets.fetch_add(1, Ordering::Relaxed);
            match self.look(digest).await? {
                Looked::Blob(blob) => break blob,
                // It will not become better.
                Looked::Garbage(what) => {
                    tracing::error!(alert = true, generation, "{what}: it is made again");
                    break self.remake(digest, generation).await?;
                }
                Looked::Nothing => {}
            }
            self.counters.early.fetch_add(1, Ordering::Relaxed);
            if start.elapsed() >= UNDER_WAY {
                break self.remake(digest, generation).await?;
            }
            sleep(wait).await;
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
        };
        let bytes = blob.len();
        let decoded = if bytes < LARGE {
            blob::decode(digest, &blob)
        } else {
            let decode = tokio::task::spawn_blocking(move || blob::decode(digest, &blob));
            decode.await.map_err(|_| format!("the desired state b/{digest} could not be decoded"))?
        };
        let desired = decoded.map_err(|error| format!("the desired state b/{digest}: {error}"))?;
        Ok(Arc::new(Fetched { desired, bytes }))
    }

    /// What lies under a blob's name.
    async fn look(&self, digest: Digest) -> Result<Looked, String> {
        let blob = match self.objects.blob(digest).await {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(Looked::Nothing),
            Err(Error::Object(error)) => return Ok(Looked::Garbage(error.to_string())),
            Err(error) => return Err(error.to_string()),
        };
        let found = if blob.len() < LARGE {
            blob::digest(&blob)
        } else {
            let bytes = blob.clone();
            let hash = tokio::task::spawn_blocking(move || blob::digest(&bytes));
            hash.await.map_err(|_| format!("the desired state b/{digest} could not be hashed"))?
        };
        if found == digest {
            return Ok(Looked::Blob(blob));
        }
        Ok(Looked::Garbage(format!("b/{digest} holds bytes that hash to {found}")))
    }

    /// Compiles the generation, and stores the blob again.
    async fn remake(&self, digest: Digest, generation: u64) -> Result<Bytes, String> {
        let missing = format!("the desired state b/{digest} is not in the store");
        let mut last = self.compiled.lock().await;
        let known = last.take_if(|last| last.generation != generation).is_none() && last.is_some();
        if !known {
            // Another may have been quicker while this one waited for its turn.
            if let Looked::Blob(blob) = self.look(digest).await? {
                return Ok(blob);
            }
            tracing::warn!(generation, "{missing}: compiling its generation");
            let key = Key::Generation(generation);
            let record = self.objects.get(&key).await.map_err(|error| format!("{missing}; {error}"))?;
            let Some(Object::Generation(record)) = record else {
                return Err(format!("{missing}, and neither is {key}, which it is made from: apply again"));
            };
            let generations = self.generations.clone();
            let compiled = tokio::task::spawn_blocking(move || generations.compiled(record)).await;
            let compiled = compiled.map_err(|_| format!("{missing}; {key} could not be compiled"))?;
            *last = Some(compiled.map_err(|error| format!("{missing}; {error}"))?);
        }
        let blob = last.as_ref().and_then(|compiled| compiled.blobs.get(&digest)).cloned();
        let size = |compiled: &Compiled| compiled.blobs.values().map(Bytes::len).sum::<usize>();
        last.take_if(|compiled| size(compiled) > MOST_BYTES);
        drop(last);
        let blob = blob.ok_or_else(|| {
            format!(
                "{missing}, and generation {generation} compiles to others here: is another version of outplane at work?"
            )
        })?;
        self.counters.remade.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.objects.replace_blob(digest, blob.clone()).await {
            tracing::warn!(%error, "b/{digest} was made again, but could not be stored for the others");
        }
        Ok(blob)
    }

    fn cell(&self, digest: Digest) -> Cell {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = kept.cells.get(&digest) {
            return Arc::clone(cell);
        }
        let cell = Cell::default();
        kept.cells.insert(digest, Arc::clone(&cell));
        kept.order.push_back(digest);
        cell
    }

    fn forget(&self, digest: Digest, failed: &Cell) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.cells.get(&digest).is_some_and(|cell| Arc::ptr_eq(cell, failed) && !cell.initialized()) {
            kept.cells.remove(&digest);
            kept.order.retain(|known| *known != digest);
        }
    }

    fn make_room(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |cell: &Cell| cell.get().map_or(0, |fetched| fetched.bytes);
        let mut bytes: usize = kept.cells.values().map(size).sum();
        while (kept.order.len() > MOST || bytes > MOST_BYTES) && kept.order.len() > 1 {
            let Some(oldest) = kept.order.pop_front() else { break };
            bytes -= kept.cells.remove(&oldest).as_ref().map_or(0, size);
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
