//! Desired states on the side of a controller: each comes once, and is kept as long as there is room.
//!
//! ```text
//!   compiled here already ──┐
//!   compiled here now ──────┤  a generation that follows what is compiled here
//!   b/ in the store ────────┼──► desired state ──► agent
//!   compiled from nothing ──┘  stored for the others then
//! ```
//! Where a generation follows what the node has compiled, it is compiled here, too: that takes what the edit takes. A node
//! that has compiled nothing yet fetches the blob. An announce goes out while it may still be under way, so one that is not
//! there yet is asked for again for a while. Whoever needs the same state at the same time shares what is done for it.
//!
//! A blob that does not come is made again from its generation, which every node compiles to the same state, and is
//! stored for the others: blobs may be swept, or never have been written, and no task is lost by it. So is one that is not
//! what its name says: garbage under a name counts as nothing, and is written over.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outplane_compiler::state::Desired;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;
use outplane_rmdp_core::task::Digest;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::blob;
use crate::error::Error;
use crate::generation::Generations;
use crate::objects::Objects;

/// Most blobs that are kept.
const MOST: usize = 256;

/// Most bytes of what is kept, about as it would lie in the store; in memory it takes a few times as much.
const MOST_BYTES: usize = 64 << 20;

/// How long a blob may be under way after its announce. With the usual lease there is time left to make it again.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Between two looks at first, half as much again each time.
const FIRST_WAIT: Duration = Duration::from_millis(1);

/// Between two looks at most.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Blobs from this size on are decoded apart from asynchronous code.
const LARGE: usize = 16 << 10;

/// What an entry takes in a blob, about.
const ENTRY: usize = 96;

type Cell = Arc<OnceCell<Arc<Desired>>>;

/// The blobs. Clones share them.
#[derive(Clone, Debug)]
pub struct Blobs {
    objects: Objects,
    generations: Generations,
    kept: Arc<Mutex<Kept>>,
    /// One generation is read and compiled at a time.
    compiling: Arc<tokio::sync::Mutex<()>>,
    counters: Arc<Counters>,
}

/// What lies under a name.
enum Looked {
    Nothing,
    /// What the name says.
    Blob(Desired),
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
    /// States that were compiled here.
    pub compiled: AtomicU64,
    /// States that made room for others.
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
            compiling: Arc::default(),
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
    pub async fn get(&self, digest: Digest, generation: u64) -> Result<Arc<Desired>, String> {
        let cell = self.cell(digest);
        let state = cell.get_or_try_init(|| self.come_by(digest, generation)).await;
        if state.is_err() {
            self.forget(digest, &cell);
        }
        let state = Arc::clone(state?);
        self.make_room();
        Ok(state)
    }

    async fn come_by(&self, digest: Digest, generation: u64) -> Result<Arc<Desired>, String> {
        if self.generations.newest().is_some_and(|newest| newest < generation) {
            let _one = self.compiling.lock().await;
            // What cannot be compiled is asked for in the store.
            if self.generations.state(digest).is_none()
                && let Err(error) = self.compile(generation).await
            {
                tracing::debug!(generation, "not compiled here: {error}");
            }
        }
        if let Some(state) = self.generations.state(digest) {
            self.counters.compiled.fetch_add(1, Ordering::Relaxed);
            return Ok(state);
        }
        self.fetch(digest, generation).await
    }

    async fn fetch(&self, digest: Digest, generation: u64) -> Result<Arc<Desired>, String> {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            self.counters.gets.fetch_add(1, Ordering::Relaxed);
            match self.look(digest).await? {
                Looked::Blob(state) => return Ok(Arc::new(state)),
                // It will not become better.
                Looked::Garbage(what) => {
                    tracing::error!(alert = true, generation, "{what}: it is made again");
                    return self.remake(digest, generation).await;
                }
                Looked::Nothing => {}
            }
            self.counters.early.fetch_add(1, Ordering::Relaxed);
            if start.elapsed() >= UNDER_WAY {
                return self.remake(digest, generation).await;
            }
            sleep(wait).await;
            wait = (wait * 3 / 2).min(LONGEST_WAIT);
        }
    }

    /// What lies under a blob's name.
    async fn look(&self, digest: Digest) -> Result<Looked, String> {
        let blob = match self.objects.blob(digest).await {
            Ok(Some(blob)) => blob,
            Ok(None) => return Ok(Looked::Nothing),
            Err(Error::Object(error)) => return Ok(Looked::Garbage(error.to_string())),
            Err(error) => return Err(error.to_string()),
        };
        let decoded = if blob.len() < LARGE {
            blob::decode_named(digest, &blob)
        } else {
            let decode = tokio::task::spawn_blocking(move || blob::decode_named(digest, &blob));
            decode.await.map_err(|_| format!("the desired state b/{digest} could not be decoded"))?
        };
        Ok(decoded.map_or_else(|error| Looked::Garbage(format!("b/{digest}: {error}")), Looked::Blob))
    }

    /// Compiles the generation, and stores the blob again.
    async fn remake(&self, digest: Digest, generation: u64) -> Result<Arc<Desired>, String> {
        let missing = format!("the desired state b/{digest} is not in the store");
        let one = self.compiling.lock().await;
        if self.generations.state(digest).is_none() {
            // Another may have been quicker while this one waited for its turn.
            if let Looked::Blob(state) = self.look(digest).await? {
                return Ok(Arc::new(state));
            }
            tracing::warn!(generation, "{missing}: compiling its generation");
            self.compile(generation).await.map_err(|error| format!("{missing}; {error}"))?;
        }
        drop(one);
        let state = self.generations.state(digest).ok_or_else(|| {
            format!(
                "{missing}, and generation {generation} compiles to others here: is another version of outplane at work?"
            )
        })?;
        self.counters.remade.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.objects.replace_blob(digest, Arc::clone(&state)).await {
            tracing::warn!(%error, "b/{digest} was made again, but could not be stored for the others");
        }
        Ok(state)
    }

    /// Reads a generation and compiles it: its states are known then.
    async fn compile(&self, generation: u64) -> Result<(), String> {
        let key = Key::Generation(generation);
        let Some(Object::Generation(record)) =
            self.objects.get(&key).await.map_err(|error| error.to_string())?
        else {
            return Err(format!("{key}, which it is made from, is not there either: apply again"));
        };
        let generations = self.generations.clone();
        let compiled = tokio::task::spawn_blocking(move || generations.compiled(record)).await;
        compiled.map_err(|_| format!("{key} could not be compiled"))?.map_err(|error| error.to_string())?;
        Ok(())
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
        let size = |cell: &Cell| cell.get().map_or(0, |state| state.entries.len() * ENTRY);
        let mut bytes: usize = kept.cells.values().map(size).sum();
        while (kept.order.len() > MOST || bytes > MOST_BYTES) && kept.order.len() > 1 {
            let Some(oldest) = kept.order.pop_front() else { break };
            bytes -= kept.cells.remove(&oldest).as_ref().map_or(0, size);
            self.counters.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
