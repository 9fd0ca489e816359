//! Opening: what the log says, and what a crash left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, RwLock};

use super::disk::{self, BLOBS, Disk, File, LOG, blob_name, segment_name};
use super::format::{self, Batch, Data, Object, Record, SEGMENT_HEADER, SegmentHeader};
use super::index::{Bucket, Change, Entry, Index, Place};
use super::{Active, Engine, Limits, Reserve, create_segment};
use crate::MAX_OBJECT;
use crate::error::Error;
use crate::metrics::Metrics;

/// No segment is larger: its size when it is full, and one batch.
pub(super) const LARGEST_SEGMENT: u64 = 256 << 20;

/// No log comes that far; numbers above leave no room to count on.
const LAST_BATCH: u64 = u64::MAX / 2;

/// What opening a store found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Bytes at the log's end that no sync had confirmed, and that were cut off.
    pub(crate) torn: u64,
    /// Files of large objects that were never finished, or no longer needed.
    pub(crate) orphans: u64,
    /// The largest number of a large object's file.
    pub(crate) last_blob: u64,
}

/// What the log says so far.
struct Replay {
    index: Index,
    /// First segment that is needed.
    keep: u64,
    /// The next batch's number, once one is known.
    next_batch: Option<u64>,
}

/// How a segment was.
struct Scanned {
    header: SegmentHeader,
    /// Bytes of whole batches, with the header.
    good: u64,
    length: u64,
}

impl Engine {
    /// Reads the log. A tail that a crash left is cut off; anything else that is not as it was written is an error.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Found), Error> {
        let mut found = Found::default();
        let mut numbers = numbers(&*disk, LOG, segment_name)?;
        let blobs = numbers_with_length(&*disk)?;
        discard_unborn(&*disk, &mut numbers)?;
        let path = |number: u64| disk.path(&segment_name(number));
        let (Some(first), Some(last)) = (numbers.first().copied(), numbers.last().copied()) else {
            if !blobs.is_empty() {
                return Err(Error::Missing {
                    path: path(1),
                    what: "there are large objects, but no log".into(),
                });
            }
            let active = create_segment(&*disk, 1, 1)?;
            let mut index = Index::default();
            index.segments.insert(1, Arc::clone(&active.file));
            let engine = Self::new(disk, limits, metrics, index, active, BTreeMap::new(), 1);
            return Ok((engine, found));
        };
        if let Some(gap) = (first..=last).find(|number| !numbers.contains(number)) {
            return Err(Error::Missing {
                path: path(gap),
                what: "there are segments before and behind it".into(),
            });
        }
        tracing::info!(segments = last - first + 1, "reading the log");
        let mut replay = Replay { index: Index::default(), keep: 1, next_batch: None };
        let mut scans = BTreeMap::new();
        for number in numbers {
            let name = segment_name(number);
            let file = disk.open(&name).map_err(Error::file(path(number), "it can't be opened"))?;
            let scanned = replay.scan(&*file, &path(number), number, number == last)?;
            if scanned.good < scanned.length {
                found.torn = scanned.length - scanned.good;
                let cut = file.truncate(scanned.good).and_then(|()| file.sync());
                cut.map_err(Error::file(path(number), "its torn end can't be cut off"))?;
            }
            replay.index.segments.insert(number, file);
            scans.insert(number, scanned);
        }
        let Replay { mut index, keep, next_batch } = replay;
        if first > keep {
            return Err(Error::Missing { path: path(keep), what: "the log starts with it".into() });
        }
        if keep > last {
            return Err(Error::Damaged {
                path: path(last),
                offset: 0,
                what: format!("the log says that it is not needed below segment {keep}, and ends here"),
            });
        }
        remove_unneeded(&*disk, &mut index, first, keep)?;
        found.last_blob = blobs.keys().next_back().copied().unwrap_or(0);
        found.orphans = check_blobs(&*disk, &index, blobs)?;
        let Some(end) = scans.remove(&last) else {
            return Err(Error::Missing { path: path(last), what: "the log ends with it".into() });
        };
        let file = Arc::clone(&index.segments[&last]);
        let active = Active { number: last, file, salt: end.header.salt, length: end.good };
        let sealed = scans.into_iter().filter(|(number, _)| *number >= keep);
        let sealed = sealed.map(|(number, scanned)| (number, scanned.good)).collect();
        let next_batch = next_batch.unwrap_or(end.header.first_batch);
        Ok((Self::new(disk, limits, metrics, index, active, sealed, next_batch), found))
    }

    fn new(
        disk: Arc<dyn Disk>,
        limits: Limits,
        metrics: Arc<Metrics>,
        index: Index,
        active: Active,
        sealed: BTreeMap<u64, u64>,
        next_batch: u64,
    ) -> Self {
        let index = Arc::new(RwLock::new(index));
        let (freed, failed, buffer) = (Vec::new(), None, Vec::new());
        let mut engine = Self {
            disk,
            limits,
            index,
            metrics,
            active,
            sealed,
            next_batch,
            freed,
            failed,
            buffer,
            no_segment: None,
            reserve: Reserve::Given,
            reserve_at: 0,
        };
        engine.apply(Vec::new(), None);
        engine.keep_reserve(0);
        engine
    }
}

impl Replay {
    fn scan(&mut self, file: &dyn File, path: &Path, number: u64, last: bool) -> Result<Scanned, Error> {
        let damaged = |offset: usize, what: &str| Error::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            what: what.to_owned(),
        };
        let bytes = disk::read_all(file, LARGEST_SEGMENT)
            .map_err(Error::file(path.to_owned(), "it can't be read"))?;
        let header = SegmentHeader::decode(&bytes)
            .filter(|header| header.number == number && header.first_batch <= LAST_BATCH)
            .ok_or_else(|| damaged(0, "its header is not one of ours, or of a later version"))?;
        let mut next = self.next_batch.unwrap_or(header.first_batch);
        if header.first_batch != next {
            return Err(damaged(
                0,
                &format!(
                    "it starts with batch {}, and the segment before ends before {next}",
                    header.first_batch
                ),
            ));
        }
        let mut at = SEGMENT_HEADER;
        while at < bytes.len() {
            let Some(batch) = Batch::decode(&bytes[at..], header.salt).filter(|batch| batch.number == next)
            else {
                // The last batch may not have reached the disk as a whole: nobody was told that it had. One with
                // others behind it had, for a batch is begun when the one before it is durable.
                if !last || Batch::anywhere(&bytes[at..], header.salt, next) {
                    return Err(damaged(at, &format!("batch {next} is not what was written")));
                }
                break;
            };
            let start = at + format::BATCH_HEADER;
            for record in format::records(batch.records) {
                let Some((offset, record, _)) = record else {
                    return Err(damaged(
                        at,
                        &format!("batch {next} has a record of an unknown kind: a later version wrote it"),
                    ));
                };
                if let Record::Put(Object { data: Data::Blob { id, length }, .. }) = record
                    && (id == 0 || length > MAX_OBJECT)
                {
                    return Err(damaged(
                        at,
                        &format!("batch {next} has a large object of {length} bytes with the number {id}"),
                    ));
                }
                self.record(&record, Place { segment: number, offset: (start + offset) as u64 });
            }
            at += batch.size();
            next += 1;
        }
        self.next_batch = Some(next);
        Ok(Scanned { header, good: at as u64, length: bytes.len() as u64 })
    }

    fn record(&mut self, record: &Record<'_>, place: Place) {
        match *record {
            Record::Put(object) => {
                self.index.apply(Change::Put { key: object.key.into(), entry: Entry::new(&object, place) });
            }
            Record::Delete { key } => {
                self.index.apply(Change::Delete { key: key.into() });
            }
            Record::Bucket { name, created } => {
                self.index.apply(Change::Bucket { name: name.into(), bucket: Bucket { place, created } });
            }
            Record::Keep { segment } => self.keep = self.keep.max(segment),
        }
    }
}

/// Numbers of the files in a folder that have names of ours; others are left alone.
pub(super) fn numbers(
    disk: &dyn Disk,
    folder: &str,
    make: fn(u64) -> String,
) -> Result<BTreeSet<u64>, Error> {
    let names = disk.names(folder).map_err(Error::file(disk.path(folder), "it can't be read"))?;
    Ok(names.iter().filter_map(|name| disk::number(name, make)).collect())
}

/// Large objects' files with their lengths.
fn numbers_with_length(disk: &dyn Disk) -> Result<BTreeMap<u64, u64>, Error> {
    let mut blobs = BTreeMap::new();
    for id in numbers(disk, BLOBS, blob_name)? {
        let name = blob_name(id);
        let length = disk.open(&name).and_then(|file| file.length());
        blobs.insert(id, length.map_err(Error::file(disk.path(&name), "it can't be read"))?);
    }
    Ok(blobs)
}

/// A crash while the next segment was being created leaves a file without a whole header. Nothing was written to it.
fn discard_unborn(disk: &dyn Disk, numbers: &mut BTreeSet<u64>) -> Result<(), Error> {
    let Some(last) = numbers.last().copied() else { return Ok(()) };
    // A log of one segment that is not the first has lost the others, which is told elsewhere.
    if last > 1 && numbers.len() == 1 {
        return Ok(());
    }
    let name = segment_name(last);
    let file = disk.open(&name).map_err(Error::file(disk.path(&name), "it can't be opened"))?;
    let length = file.length().map_err(Error::file(disk.path(&name), "it can't be read"))?;
    if length > SEGMENT_HEADER as u64 {
        return Ok(());
    }
    let bytes = disk::read_all(&*file, length).map_err(Error::file(disk.path(&name), "it can't be read"))?;
    if SegmentHeader::decode(&bytes).is_none() {
        let removed = disk.remove(&name).and_then(|()| disk.sync_folder(LOG));
        removed.map_err(Error::file(disk.path(&name), "it was never finished and can't be removed"))?;
        numbers.remove(&last);
    }
    Ok(())
}

/// Segments that had been cleaned, but not removed yet: oldest first, one by one, as cleaning does it.
fn remove_unneeded(disk: &dyn Disk, index: &mut Index, first: u64, keep: u64) -> Result<(), Error> {
    let places = index.objects().map(|(_, entry)| entry.place);
    let places = places.chain(index.buckets.values().map(|bucket| bucket.place));
    if let Some(place) = places.filter(|place| place.segment < keep).min() {
        return Err(Error::Damaged {
            path: disk.path(&segment_name(place.segment)),
            offset: place.offset,
            what: format!("the log says that it is not needed below segment {keep}, but it is"),
        });
    }
    for number in first..keep {
        let name = segment_name(number);
        let removed = disk.remove(&name).and_then(|()| disk.sync_folder(LOG));
        removed.map_err(Error::file(disk.path(&name), "it is no longer needed and can't be removed"))?;
        index.segments.remove(&number);
    }
    Ok(())
}

/// Every large object must have its file; files without an object are removed.
fn check_blobs(disk: &dyn Disk, index: &Index, mut blobs: BTreeMap<u64, u64>) -> Result<u64, Error> {
    for (key, entry) in index.objects().filter(|(_, entry)| entry.blob != 0) {
        let path = disk.path(&blob_name(entry.blob));
        match blobs.remove(&entry.blob) {
            Some(length) if length == entry.length => {}
            Some(length) => {
                let what = format!("it has {length} bytes, and object {key} {}", entry.length);
                return Err(Error::Damaged { path, offset: length.min(entry.length), what });
            }
            None => return Err(Error::Missing { path, what: format!("object {key} is in it") }),
        }
    }
    for id in blobs.keys() {
        let name = blob_name(*id);
        disk.remove(&name)
            .map_err(Error::file(disk.path(&name), "no object needs it and it can't be removed"))?;
    }
    Ok(blobs.len() as u64)
}
