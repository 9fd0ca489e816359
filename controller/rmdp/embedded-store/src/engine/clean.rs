//! Cleaning: what is live in the oldest segment is copied to the log's end, then the segment is removed.

use std::sync::{Arc, RwLock};

use bytes::Bytes;

use super::disk::{self, Disk, LOG, segment_name};
use super::format::{self, Batch, Record, SEGMENT_HEADER, SegmentHeader};
use super::index::{Index, Place};
use super::{Moved, Op, read, recover};
use crate::error::Error;
use crate::metrics::Metrics;

/// Bytes moved at a time: writes that wait behind them wait for little.
const STEP: usize = 256 << 10;

/// Cleans a segment. `commit` has an operation done and waits until it is durable. The order is what makes a crash
/// harmless: copies, then the record that the segment is not needed, then the file's removal.
pub(crate) fn clean(
    disk: &dyn Disk,
    index: &Arc<RwLock<Index>>,
    metrics: &Metrics,
    number: u64,
    commit: &mut dyn FnMut(Op) -> Result<(), Error>,
) -> Result<(), Error> {
    let name = segment_name(number);
    let path = disk.path(&name);
    remove_cleaned(disk, number)?;
    let Some(file) = read(index).segments.get(&number).cloned() else { return Ok(()) };
    let bytes = disk::read_all(&*file, u64::MAX)
        .map_err(Error::file(path.clone(), "it can't be read for cleaning"))?;
    let bytes = Bytes::from(bytes);
    let damaged = |offset: usize| Error::Damaged {
        path: path.clone(),
        offset: offset as u64,
        what: "it can't be cleaned: it is not what was written".into(),
    };
    let header = SegmentHeader::decode(&bytes).ok_or_else(|| damaged(0))?;
    let mut at = SEGMENT_HEADER;
    let (mut step, mut size) = (Vec::new(), 0);
    while at < bytes.len() {
        let batch = Batch::decode(&bytes[at..], header.salt).ok_or_else(|| damaged(at))?;
        let start = at + format::BATCH_HEADER;
        for record in format::records(batch.records) {
            let (offset, record, length) = record.ok_or_else(|| damaged(at))?;
            let place = Place { segment: number, offset: (start + offset) as u64 };
            if !is_live(&read(index), &record, place) {
                continue;
            }
            step.push(Moved { place, record: bytes.slice(start + offset..start + offset + length) });
            size += length;
            if size >= STEP {
                commit(Op::Move(std::mem::take(&mut step)))?;
                metrics.bytes_moved.add(size as u64);
                size = 0;
            }
        }
        at += batch.size();
    }
    if !step.is_empty() {
        commit(Op::Move(step))?;
        metrics.bytes_moved.add(size as u64);
    }
    commit(Op::Keep { segment: number + 1 })?;
    let removed = disk.remove(&name).and_then(|()| disk.sync_folder(LOG));
    removed.map_err(Error::file(path, "it is cleaned and can't be removed"))?;
    metrics.segments_cleaned.add(1);
    Ok(())
}

/// Segments below this one that were cleaned, and could not be removed then: oldest first, as the log may have no gap.
fn remove_cleaned(disk: &dyn Disk, number: u64) -> Result<(), Error> {
    for old in recover::numbers(disk, LOG, segment_name)?.range(..number) {
        let name = segment_name(*old);
        let removed = disk.remove(&name).and_then(|()| disk.sync_folder(LOG));
        removed.map_err(Error::file(disk.path(&name), "it is cleaned and can't be removed"))?;
    }
    Ok(())
}

fn is_live(index: &Index, record: &Record<'_>, place: Place) -> bool {
    match record {
        Record::Put(object) => index.get(object.key).is_some_and(|entry| entry.place == place),
        Record::Bucket { name, .. } => index.buckets.get(*name).is_some_and(|bucket| bucket.place == place),
        Record::Delete { .. } | Record::Keep { .. } => false,
    }
}
