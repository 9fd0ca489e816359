//! Desired states on the side of a controller: fetched once, kept as long as there is room.
//!
//! An announce goes out while the distributor still writes the blob, so a blob that is not there yet is asked for again
//! for a while. Whoever needs the same blob at the same time shares one fetch.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outplane_compiler::state::Desired;
use outplane_rmdp_core::task::Digest;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::blob;
use crate::objects::Objects;

/// Most blobs that are kept.
const MOST: usize = 256;

/// Most bytes of kept blobs, as they lie in the store; in memory they take a few times as much.
const MOST_BYTES: usize = 64 << 20;

/// How long a blob may be under way after its announce.
const UNDER_WAY: Duration = Duration::from_secs(2);

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
    kept: Arc<Mutex<Kept>>,
    counters: Arc<Counters>,
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
        Self { objects, kept: Arc::default(), counters: Arc::default() }
    }

    /// What was done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The state of this name. Asks again while it may still be under way.
    ///
    /// # Errors
    /// In words: the store's, or that it is not there, or that it is not what its name says.
    pub async fn get(&self, digest: Digest) -> Result<Arc<Fetched>, String> {
        let cell = self.cell(digest);
        let fetched = cell.get_or_try_init(|| self.fetch(digest)).await;
        if fetched.is_err() {
            self.forget(digest, &cell);
        }
        let fetched = Arc::clone(fetched?);
        self.make_room();
        Ok(fetched)
    }

    async fn fetch(&self, digest: Digest) -> Result<Arc<Fetched>, String> {
        let (start, mut wait) = (Instant::now(), FIRST_WAIT);
        let blob = loop {
            self.counters.gets.fetch_add(1, Ordering::Relaxed);
            if let Some(blob) = self.objects.blob(digest).await.map_err(|error| error.to_string())? {
                break blob;
            }
            self.counters.early.fetch_add(1, Ordering::Relaxed);
            if start.elapsed() >= UNDER_WAY {
                return Err(format!(
                    "the desired state b/{digest} is not in the store; is a distributor at work?"
                ));
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
