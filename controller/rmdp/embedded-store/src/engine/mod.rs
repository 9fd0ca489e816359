//! The storage engine: batches of changes into a log, durable before they count, and what the log says in memory.
//!
//! [`Engine`] has one owner, and that is the critical section: conditions are judged and changes made in one call of
//! [`Engine::commit`], one after the other. It takes the time as a value and files as a [`Disk`], so tests run it
//! with a disk that loses power.

pub(crate) mod clean;
pub(crate) mod disk;
pub(crate) mod format;
pub(crate) mod index;
mod recover;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod sim;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use bytes::Bytes;
use disk::{Disk, File};
use format::{BATCH_HEADER, SEGMENT_HEADER, SegmentHeader, seal_batch};
use index::{Change, Etag, Index, Place};

use crate::error::Error;
use crate::metrics::Metrics;
use stage::Stage;

/// Buckets at most.
pub(crate) const MAX_BUCKETS: usize = 1000;

/// No segment grows longer: one that can't be followed by the next takes no more then.
const LONGEST_SEGMENT: u64 = recover::LARGEST_SEGMENT - (16 << 20);

/// Kept besides the bytes of a segment, which cleaning may have to copy: deletes of some thousand keys.
const RESERVE_MORE: u64 = 4 << 20;

/// Milliseconds between two tries to keep the reserve.
const RESERVE_AGAIN: u64 = 500;

/// What the engine keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes that objects may take.
    pub(crate) bytes: u64,
    /// Most objects.
    pub(crate) objects: u64,
    /// A segment that has this many bytes is followed by the next.
    pub(crate) segment: u64,
}

/// What must hold for a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// If-Match: the object must be there, and be this one.
    pub(crate) if_match: Option<Tag>,
    /// If-None-Match: no object, or none like this, may be there.
    pub(crate) if_none_match: Option<Tag>,
}

/// An entity tag of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `*`
    Any,
    /// An MD5.
    Is(Etag),
    /// None of ours.
    Foreign,
}

impl Tag {
    pub(crate) fn matches(self, etag: &Etag) -> bool {
        match self {
            Tag::Any => true,
            Tag::Is(tag) => tag == *etag,
            Tag::Foreign => false,
        }
    }
}

/// An object to write.
#[derive(Debug)]
pub(crate) struct Put {
    /// `bucket/key`.
    pub(crate) key: String,
    pub(crate) condition: Condition,
    pub(crate) headers: Vec<u8>,
    pub(crate) etag: Etag,
    pub(crate) crc: u32,
    pub(crate) data: PutData,
}

/// Where the bytes to write are.
#[derive(Debug)]
pub(crate) enum PutData {
    Inline(Bytes),
    /// Durably in a file of their own, which is removed if the write is refused.
    Blob {
        id: u64,
        length: u64,
    },
}

/// A live record that cleaning found in a segment.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) place: Place,
    pub(crate) record: Bytes,
}

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Op {
    Put(Put),
    /// Keys `bucket/key` of one bucket, each with a condition.
    Delete {
        bucket: String,
        keys: Vec<(String, Condition)>,
    },
    CreateBucket {
        name: String,
    },
    /// Copies records that are still live to the log's end.
    Move(Vec<Moved>),
    /// Segments below this one are no longer needed.
    Keep {
        segment: u64,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Put,
    Delete(Vec<Result<(), Error>>),
    CreateBucket,
    Move,
    Keep,
}

/// The segment at the log's end.
struct Active {
    number: u64,
    file: Arc<dyn File>,
    salt: u64,
    length: u64,
}

/// The store's state and its log.
pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    limits: Limits,
    index: Arc<RwLock<Index>>,
    metrics: Arc<Metrics>,
    active: Active,
    /// Lengths of the segments before it.
    sealed: BTreeMap<u64, u64>,
    next_batch: u64,
    /// Files of large objects that nobody needs any more.
    freed: Vec<u64>,
    failed: Option<Error>,
    buffer: Vec<u8>,
    /// Why the last rotation was not done.
    no_segment: Option<Error>,
    reserve: Reserve,
    /// When to try again to keep some.
    reserve_at: u64,
}

/// Room on the disk that is kept for what makes room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reserve {
    Kept,
    /// The disk was full. Nothing is put until there is room for it again: it would fill what deletes need.
    Given,
    /// This disk can't.
    None,
}

/// The index, to read. What a panicking thread left is whole: changes are made one by one.
pub(crate) fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn index(&self) -> &Arc<RwLock<Index>> {
        &self.index
    }

    /// Why nothing is written any more.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    /// Does these things in order: judges, writes what is to be written as one batch, waits until it is on the disk,
    /// and only then lets the index (and so readers) see it. All or none of a batch survives a crash. `now` is in
    /// milliseconds since 1970.
    ///
    /// Where the disk is full, what makes room is done all the same: deletes, and what cleaning writes. There is a
    /// reserve for that, which nothing else may use.
    pub(crate) fn commit(&mut self, now: u64, ops: &[Op]) -> Vec<Result<Outcome, Error>> {
        let all: Vec<&Op> = ops.iter().collect();
        let mut outcomes = self.commit_batch(now, &all, false);
        let frees = |op: &Op| matches!(op, Op::Delete { .. } | Op::Move(_) | Op::Keep { .. });
        let again: Vec<usize> = (0..ops.len())
            .filter(|at| frees(&ops[*at]) && matches!(outcomes[*at], Err(Error::NoSpace(_))))
            .collect();
        if !again.is_empty() {
            let few: Vec<&Op> = again.iter().map(|at| &ops[*at]).collect();
            let done = self.commit_batch(now, &few, true);
            for (at, outcome) in again.into_iter().zip(done) {
                outcomes[at] = outcome;
            }
        }
        self.keep_reserve(now);
        outcomes
    }

    fn commit_batch(&mut self, now: u64, ops: &[&Op], frees: bool) -> Vec<Result<Outcome, Error>> {
        if let Some(failure) = &self.failed {
            for op in ops {
                self.freed.extend(blob_of(op));
            }
            return ops.iter().map(|_| Err(failure.clone())).collect();
        }
        if self.active.length >= self.limits.segment {
            self.rotate();
        }
        if self.active.length >= LONGEST_SEGMENT {
            let error = self.no_segment.clone().unwrap_or(Error::Stopping);
            self.freed.extend(ops.iter().filter_map(|op| blob_of(op)));
            return ops.iter().map(|_| Err(error.clone())).collect();
        }
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER, 0);
        let start = Place { segment: self.active.number, offset: self.active.length };
        let index = Arc::clone(&self.index);
        let guard = read(&index);
        let mut stage = Stage::new(&guard, &self.limits, now, start, &mut self.buffer);
        stage.no_room = self.reserve == Reserve::Given;
        let mut outcomes = Vec::with_capacity(ops.len());
        let mut dropped = Vec::new();
        for op in ops {
            let outcome = stage.judge(op);
            if outcome.is_err() {
                dropped.extend(blob_of(op));
            }
            outcomes.push(outcome);
        }
        let (changes, count, keep) = stage.into_parts();
        drop(guard);
        self.freed.append(&mut dropped);
        if count == 0 {
            return outcomes;
        }
        let mut written = self.write();
        if frees && matches!(written, Err(Error::NoSpace(_))) && self.give_back_reserve() {
            written = self.write();
        }
        if let Err(error) = written {
            // What was refused stays refused for its own reason.
            for (outcome, op) in outcomes.iter_mut().zip(ops) {
                if outcome.is_ok() {
                    *outcome = Err(error.clone());
                    // After a failed sync the record may be on the disk all the same, and need the file.
                    self.freed.extend(blob_of(op).filter(|_| self.failed.is_none()));
                }
            }
            return outcomes;
        }
        self.metrics.batches.add(1);
        self.metrics.changes.add(count);
        self.metrics.log_bytes.add(self.buffer.len() as u64);
        self.apply(changes, keep);
        if self.active.length >= self.limits.segment {
            self.rotate();
        }
        outcomes
    }

    /// Gives the reserve back to the disk. Whether there was one.
    fn give_back_reserve(&mut self) -> bool {
        if self.reserve != Reserve::Kept {
            return false;
        }
        self.reserve = Reserve::Given;
        tracing::warn!(
            "the disk is full: only deletes and cleaning go on, in the room that was kept for them"
        );
        match self.disk.give_back() {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the reserve could not be given back");
                false
            }
        }
    }

    /// Takes the reserve again, now and then, when it was given back.
    fn keep_reserve(&mut self, now: u64) {
        if self.reserve != Reserve::Given || now < self.reserve_at {
            return;
        }
        self.reserve_at = now.saturating_add(RESERVE_AGAIN);
        match self.disk.reserve(self.limits.segment + RESERVE_MORE) {
            Ok(()) => self.reserve = Reserve::Kept,
            Err(error) if disk::is_full(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no room can be kept on this disk for deletes and for the log's rotation");
                self.reserve = Reserve::None;
            }
        }
    }

    /// Writes the buffer as a batch and waits for the disk.
    fn write(&mut self) -> Result<(), Error> {
        seal_batch(&mut self.buffer, self.active.salt, self.next_batch);
        let path = self.disk.path(&disk::segment_name(self.active.number));
        let failed = |error: &io::Error| Error::Failed { path: path.clone(), reason: error.to_string() };
        if let Err(error) = self.active.file.write_all_at(&self.buffer, self.active.length) {
            // What got there is taken back, so that the next batch stands at its place.
            return match self.active.file.truncate(self.active.length) {
                Ok(()) if disk::is_full(&error) => Err(Error::NoSpace(Arc::new(error))),
                _ => Err(self.fail(failed(&error))),
            };
        }
        let before = Instant::now();
        // After a failed fsync the kernel may have dropped the pages: a second one that succeeds would prove nothing.
        if let Err(error) = self.active.file.sync() {
            return Err(self.fail(failed(&error)));
        }
        self.metrics.synced(before.elapsed());
        self.active.length += self.buffer.len() as u64;
        self.next_batch += 1;
        Ok(())
    }

    fn fail(&mut self, error: Error) -> Error {
        self.failed = Some(error.clone());
        error
    }

    fn apply(&mut self, changes: Vec<Change>, keep: Option<u64>) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            self.freed.extend(index.apply(change));
        }
        if let Some(keep) = keep {
            index.segments.retain(|number, _| *number >= keep);
            self.sealed.retain(|number, _| *number >= keep);
        }
        self.metrics.objects.set(index.count());
        self.metrics.live_bytes.set(index.live);
        self.metrics.log_size.set(self.log_size());
    }

    /// Starts the next segment. The one before it is whole and durable, or this is not called.
    fn rotate(&mut self) {
        let create =
            |engine: &Self| create_segment(&*engine.disk, engine.active.number + 1, engine.next_batch);
        let mut created = create(self);
        if matches!(created, Err(Error::NoSpace(_))) && self.give_back_reserve() {
            created = create(self);
        }
        match created {
            Ok(next) => {
                self.no_segment = None;
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                index.segments.insert(next.number, Arc::clone(&next.file));
                drop(index);
                let before = std::mem::replace(&mut self.active, next);
                self.sealed.insert(before.number, before.length);
            }
            Err(error @ Error::Failed { .. }) => {
                self.fail(error);
            }
            // No room, or no descriptor: this one goes on for a while, and the next batch tries again.
            Err(error) => {
                if self.no_segment.is_none() {
                    tracing::warn!(%error, "no new segment could be started");
                }
                self.no_segment = Some(error);
            }
        }
    }

    /// Removes files of large objects that are no longer needed. What a crash prevents here is done at the next start.
    pub(crate) fn release(&mut self) {
        for id in self.freed.drain(..) {
            let name = disk::blob_name(id);
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!(path = %self.disk.path(&name).display(), %error, "a file that is no longer needed could not be removed");
            }
        }
    }

    fn log_size(&self) -> u64 {
        self.sealed.values().sum::<u64>() + self.active.length
    }

    /// The oldest segment, if so much of the log is dead that it should be cleaned.
    ///
    /// Cleaning takes the oldest always, because then a delete in it can be forgotten: whatever it deleted stood in
    /// this segment or an older one.
    pub(crate) fn wants_cleaning(&self) -> Option<u64> {
        let live = read(&self.index).live_in_log;
        let (oldest, _) = self.sealed.first_key_value()?;
        (self.log_size() > 2 * live + 2 * self.limits.segment).then_some(*oldest)
    }
}

fn blob_of(op: &Op) -> Option<u64> {
    match op {
        Op::Put(Put { data: PutData::Blob { id, .. }, .. }) => Some(*id),
        _ => None,
    }
}

/// A new segment, empty but for its header, and durable.
///
/// What fails on the way leaves an empty file or none, which the next start takes away: nothing was written to it, so
/// the log is whole without it.
fn create_segment(disk: &dyn Disk, number: u64, first_batch: u64) -> Result<Active, Error> {
    let name = disk::segment_name(number);
    let path = disk.path(&name);
    let trouble = |error: io::Error, doing| match error {
        error if disk::is_full(&error) => Error::NoSpace(Arc::new(error)),
        error if disk::is_out_of_files(&error) => Error::NoFiles(Arc::new(error)),
        error => Error::file(path.clone(), doing)(error),
    };
    let file = disk.create(&name).map_err(|error| trouble(error, "the segment can't be created"))?;
    let salt = getrandom::u64().unwrap_or(number ^ first_batch.rotate_left(32));
    let header = SegmentHeader { number, salt, first_batch }.encode();
    let made = file.write_all_at(&header, 0).and_then(|()| file.sync());
    let Err(error) = made.and_then(|()| disk.sync_folder(disk::LOG)) else {
        return Ok(Active { number, file, salt, length: SEGMENT_HEADER as u64 });
    };
    // With a header in it, it would contradict what the segment before it goes on with.
    let emptied = file.truncate(0).and_then(|()| file.sync()).and_then(|()| disk.remove(&name));
    match emptied {
        Ok(()) => Err(trouble(error, "the segment can't be started")),
        Err(_) => Err(Error::Failed { path, reason: error.to_string() }),
    }
}
