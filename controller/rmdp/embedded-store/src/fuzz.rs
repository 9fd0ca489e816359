//! For the fuzz target of the log: bytes from outside as a segment.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::disk::segment_name;
use crate::engine::format::{BATCH_HEADER, SEGMENT_HEADER, SegmentHeader, castagnoli, seal_batch};
use crate::engine::index::Entry;
use crate::engine::sim::SimDisk;
use crate::engine::{Condition, Engine, Limits, Op, Put, PutData, read};
use crate::error::Error;

const LIMITS: Limits = Limits { bytes: 1 << 30, objects: 1_000_000, segment: 1 << 20 };

/// Opens a store whose only segment holds these bytes behind the first one, which says whether checksums and numbers are
/// made right before: chance does not.
///
/// # Panics
/// If a log that was taken is not the same when it is opened again, or takes no writes.
pub fn recover(input: &[u8]) {
    let Some((mend, bytes)) = input.split_first() else { return };
    let disk = SimDisk::default();
    disk.put(&segment_name(1), if mend & 1 == 0 { bytes.to_vec() } else { mended(bytes) });
    let first = match open(&disk) {
        Ok(engine) => contents(&engine),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut engine = open(&disk).expect("what was opened can be opened again");
    assert_eq!(contents(&engine), first, "and is the same");
    let data = Bytes::from_static(b"x");
    let put = Put {
        key: "bucket/new".to_owned(),
        condition: Condition::default(),
        headers: Vec::new(),
        etag: [1; 16],
        crc: castagnoli().checksum(&data),
        data: PutData::Inline(data),
    };
    // The bucket may be there already.
    let mut outcomes = engine.commit(1, &[Op::CreateBucket { name: "bucket".to_owned() }, Op::Put(put)]);
    let outcome = outcomes.pop();
    assert!(matches!(outcome, Some(Ok(_))), "{outcome:?}");
    let written = contents(&engine);
    assert!(written.iter().any(|(key, _)| key == "bucket/new"));
    drop(engine);
    assert_eq!(contents(&open(&disk).expect("what was written can be opened")), written);
}

fn open(disk: &SimDisk) -> Result<Engine, Error> {
    Engine::open(Arc::new(disk.clone()), LIMITS, Arc::default()).map(|(engine, _)| engine)
}

fn contents(engine: &Engine) -> Vec<(String, Entry)> {
    read(engine.index()).objects().map(|(key, entry)| (key.to_string(), *entry)).collect()
}

/// The same with a right header, and as many batches as there is room for. Lengths and records stay.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let number =
        |at: usize| bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let (salt, first_batch) = (number(16).unwrap_or(7), number(24).unwrap_or(1));
    let mut log = SegmentHeader { number: 1, salt, first_batch }.encode().to_vec();
    log.extend_from_slice(bytes.get(SEGMENT_HEADER..).unwrap_or_default());
    let (mut at, mut batch) = (SEGMENT_HEADER, first_batch);
    while let Some(rest) = log.get_mut(at..)
        && let Some(room) = rest.len().checked_sub(BATCH_HEADER)
    {
        let length = usize::from(u16::from_be_bytes([rest[6], rest[7]])).min(room);
        seal_batch(&mut rest[..BATCH_HEADER + length], salt, batch);
        at += BATCH_HEADER + length;
        batch = batch.wrapping_add(1);
    }
    log
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::format::{Data, Object, Record};

    #[test]
    fn a_log_of_ours_is_taken() {
        let mut log = vec![0; SEGMENT_HEADER];
        log[16..32].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]);
        for key in ["bucket/a", "bucket/b"] {
            let object =
                Object { key, headers: b"", modified: 1, etag: [2; 16], crc: 0, data: Data::Inline(b"data") };
            let mut records = Vec::new();
            Record::Put(object).encode(&mut records);
            Record::Delete { key: "bucket/c" }.encode(&mut records);
            let mut header = [0; BATCH_HEADER];
            header[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
            log.extend_from_slice(&header);
            log.extend_from_slice(&records);
        }
        let disk = SimDisk::default();
        disk.put(&segment_name(1), mended(&log));
        let keys: Vec<_> = contents(&open(&disk).unwrap()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["bucket/a", "bucket/b"]);
        log.insert(0, 1);
        recover(&log);
    }

    /// Records that only somebody with bad intentions writes: refused before anything is removed.
    #[test]
    fn impossible_records_are_damage() {
        let blob = |id, length| {
            let data = Data::Blob { id, length };
            Record::Put(Object { key: "bucket/a", headers: b"", modified: 1, etag: [2; 16], crc: 0, data })
        };
        for record in
            [blob(0, 1), blob(1, u64::MAX), Record::Keep { segment: 2 }, Record::Keep { segment: u64::MAX }]
        {
            let mut records = Vec::new();
            record.encode(&mut records);
            let mut log = vec![0; SEGMENT_HEADER + BATCH_HEADER];
            log[SEGMENT_HEADER + 6..SEGMENT_HEADER + 8]
                .copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
            log.extend_from_slice(&records);
            let disk = SimDisk::default();
            disk.put(&segment_name(1), mended(&log));
            for _ in 0..2 {
                assert!(matches!(open(&disk), Err(Error::Damaged { .. })), "{record:?}");
            }
        }
        let header = SegmentHeader { number: 1, salt: 1, first_batch: u64::MAX };
        let disk = SimDisk::default();
        disk.put(&segment_name(1), [&header.encode()[..], b"x"].concat());
        assert!(matches!(open(&disk), Err(Error::Damaged { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            recover(&bytes);
        }
    }
}
