//! A batch being made: conditions are judged against the index and what the batch did already.

use std::collections::HashMap;
use std::sync::Arc;

use super::format::{Data, Object, Record};
use super::index::{Bucket, Change, Entry, Etag, Index, Place};
use super::{Condition, Limits, MAX_BUCKETS, Moved, Op, Outcome, Put, PutData};
use crate::error::Error;

/// What a key holds after what the batch did: its tag and size, or nothing.
type Held = Option<(Etag, u64)>;

pub(super) struct Stage<'a> {
    index: &'a Index,
    limits: &'a Limits,
    now: u64,
    /// Where the batch will stand.
    start: Place,
    buffer: &'a mut Vec<u8>,
    /// Keys that the batch has changed.
    seen: HashMap<String, Held>,
    changes: Vec<Change>,
    /// Records in the batch.
    count: u64,
    keep: Option<u64>,
    objects: u64,
    bytes: u64,
    buckets: usize,
    /// Nothing is put: the disk is full.
    pub(super) no_room: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        index: &'a Index,
        limits: &'a Limits,
        now: u64,
        start: Place,
        buffer: &'a mut Vec<u8>,
    ) -> Self {
        let (objects, bytes, buckets) = (index.count(), index.live, index.buckets.len());
        let seen = HashMap::new();
        Self {
            index,
            limits,
            now,
            start,
            buffer,
            seen,
            changes: Vec::new(),
            count: 0,
            keep: None,
            objects,
            bytes,
            buckets,
            no_room: false,
        }
    }

    /// Changes to make once the buffer is durable, how many records it has, and the first segment needed then.
    pub(super) fn into_parts(self) -> (Vec<Change>, u64, Option<u64>) {
        (self.changes, self.count, self.keep)
    }

    pub(super) fn judge(&mut self, op: &Op) -> Result<Outcome, Error> {
        match op {
            Op::Put(put) => self.put(put),
            Op::Delete { bucket, keys } => {
                self.needs_bucket(bucket)?;
                Ok(Outcome::Delete(keys.iter().map(|(key, condition)| self.delete(key, condition)).collect()))
            }
            Op::CreateBucket { name } => self.create_bucket(name),
            Op::Move(records) => {
                for moved in records {
                    self.move_record(moved);
                }
                Ok(Outcome::Move)
            }
            Op::Keep { segment } => {
                self.append(&Record::Keep { segment: *segment });
                self.keep = self.keep.max(Some(*segment));
                Ok(Outcome::Keep)
            }
        }
    }

    fn needs_room(&self) -> Result<(), Error> {
        if self.no_room {
            return Err(Error::NoSpace(Arc::new(std::io::ErrorKind::StorageFull.into())));
        }
        Ok(())
    }

    fn held(&self, key: &str) -> Held {
        match self.seen.get(key) {
            Some(held) => *held,
            None => self.index.get(key).map(|entry| (entry.etag, entry.size(key))),
        }
    }

    fn needs_bucket(&self, name: &str) -> Result<(), Error> {
        let made = || {
            self.changes
                .iter()
                .any(|change| matches!(change, Change::Bucket { name: made, .. } if **made == *name))
        };
        if self.index.buckets.contains_key(name) || made() {
            return Ok(());
        }
        Err(Error::NoBucket(name.to_owned()))
    }

    fn put(&mut self, put: &Put) -> Result<Outcome, Error> {
        let bucket = put.key.split_once('/').map_or(put.key.as_str(), |(bucket, _)| bucket);
        self.needs_bucket(bucket)?;
        let held = self.held(&put.key);
        holds(&put.condition, held, &put.key)?;
        self.needs_room()?;
        let data = match &put.data {
            PutData::Inline(data) => Data::Inline(data),
            PutData::Blob { id, length } => Data::Blob { id: *id, length: *length },
        };
        let object = Object {
            key: &put.key,
            headers: &put.headers,
            modified: self.now,
            etag: put.etag,
            crc: put.crc,
            data,
        };
        let size = Entry::new(&object, self.start).size(&put.key);
        let bytes = self.bytes - held.map_or(0, |(_, size)| size) + size;
        // An object that gets smaller is always taken.
        if bytes > self.limits.bytes && bytes > self.bytes {
            return Err(Error::Full { limit: self.limits.bytes, unit: "bytes", option: "--max-bytes" });
        }
        let objects = self.objects + u64::from(held.is_none());
        if objects > self.limits.objects && held.is_none() {
            return Err(Error::Full { limit: self.limits.objects, unit: "places", option: "--max-objects" });
        }
        (self.bytes, self.objects) = (bytes, objects);
        let place = self.append(&Record::Put(object));
        let entry = Entry::new(&object, place);
        self.changes.push(Change::Put { key: put.key.as_str().into(), entry });
        self.seen.insert(put.key.clone(), Some((put.etag, size)));
        Ok(Outcome::Put)
    }

    fn delete(&mut self, key: &str, condition: &Condition) -> Result<(), Error> {
        let held = self.held(key);
        holds(condition, held, key)?;
        // Deleting what is not there succeeds, and needs no record.
        let Some((_, size)) = held else { return Ok(()) };
        self.bytes -= size;
        self.objects -= 1;
        self.append(&Record::Delete { key });
        self.changes.push(Change::Delete { key: key.into() });
        self.seen.insert(key.to_owned(), None);
        Ok(())
    }

    fn create_bucket(&mut self, name: &str) -> Result<Outcome, Error> {
        if self.needs_bucket(name).is_ok() {
            return Err(Error::BucketExists(name.to_owned()));
        }
        if self.buckets >= MAX_BUCKETS {
            return Err(Error::Full {
                limit: MAX_BUCKETS as u64,
                unit: "buckets",
                option: "nothing: it is fixed",
            });
        }
        self.needs_room()?;
        self.buckets += 1;
        let place = self.append(&Record::Bucket { name, created: self.now });
        self.changes.push(Change::Bucket { name: name.into(), bucket: Bucket { place, created: self.now } });
        Ok(Outcome::CreateBucket)
    }

    /// Copies the record unless it is dead by now.
    fn move_record(&mut self, moved: &Moved) {
        let Some((record, _)) = Record::decode(&moved.record) else { return };
        let change: fn(Box<str>, Place) -> Change = match record {
            Record::Put(_) => |key, to| Change::MoveObject { key, to },
            _ => |name, to| Change::MoveBucket { name, to },
        };
        let (name, place) = match record {
            Record::Put(object) if self.seen.contains_key(object.key) => return,
            Record::Put(object) => (object.key, self.index.get(object.key).map(|entry| entry.place)),
            Record::Bucket { name, .. } => (name, self.index.buckets.get(name).map(|bucket| bucket.place)),
            Record::Delete { .. } | Record::Keep { .. } => return,
        };
        if place == Some(moved.place) {
            let to = self.append(&record);
            self.changes.push(change(name.into(), to));
        }
    }

    fn append(&mut self, record: &Record<'_>) -> Place {
        let place = Place { offset: self.start.offset + self.buffer.len() as u64, ..self.start };
        record.encode(self.buffer);
        self.count += 1;
        place
    }
}

/// RFC 9110, 13.1.1 and 13.1.2, for writes; an object that If-Match asks for and is not there is 404, as in S3.
fn holds(condition: &Condition, held: Held, key: &str) -> Result<(), Error> {
    let failed = || Error::Precondition(key.to_owned());
    if let Some(tag) = condition.if_match {
        let Some((etag, _)) = held else { return Err(Error::NoObject(key.to_owned())) };
        if !tag.matches(&etag) {
            return Err(failed());
        }
    }
    if let (Some(tag), Some((etag, _))) = (condition.if_none_match, held)
        && tag.matches(&etag)
    {
        return Err(failed());
    }
    Ok(())
}
