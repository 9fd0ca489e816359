//! The log's bytes: segment headers, batches, records. Values in, bytes out, and back; no I/O.
//!
//! The crate's page ([`crate`]) has the layout field by field.

use std::sync::LazyLock;

use crc::{CRC_32_ISCSI, Crc, Table};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 40;
/// Bytes of a batch's header.
pub(crate) const BATCH_HEADER: usize = 20;
/// Longest block of headers and metadata of an object, bytes.
pub(crate) const MAX_HEADERS: usize = 8 << 10;
/// Objects up to this size stand in the log; larger ones have a file of their own.
pub(crate) const INLINE: usize = 256 << 10;

const SEGMENT_MAGIC: &[u8; 8] = b"OUTPLOG1";
const BATCH_MAGIC: &[u8; 4] = b"BTCH";
/// Bytes of a put or blob record before its key.
const PUT_FIXED: usize = 1 + 2 + 2 + 8 + 16 + 4 + 4;
const BLOB_FIXED: usize = 1 + 2 + 2 + 8 + 16 + 4 + 8 + 8;

/// CRC-32C (Castagnoli).
pub(crate) fn castagnoli() -> &'static Crc<u32, Table<16>> {
    static CRC: LazyLock<Crc<u32, Table<16>>> = LazyLock::new(|| Crc::<u32, Table<16>>::new(&CRC_32_ISCSI));
    &CRC
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Its number, which is its file's name.
    pub(crate) number: u64,
    /// Random: no object's bytes can look like a batch of this segment.
    pub(crate) salt: u64,
    /// Number of its first batch.
    pub(crate) first_batch: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.first_batch.to_be_bytes());
        let sum = castagnoli().checksum(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// None unless the bytes start with a whole header whose checksum is right.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.get(..SEGMENT_HEADER)?);
        if reader.take(8)? != SEGMENT_MAGIC {
            return None;
        }
        let header = Self { number: reader.u64()?, salt: reader.u64()?, first_batch: reader.u64()? };
        reader.take(4)?;
        (reader.u32()? == castagnoli().checksum(&bytes[..36])).then_some(header)
    }
}

/// Fills in the header of a batch that starts at the buffer's beginning; its records follow there already.
pub(crate) fn seal_batch(buffer: &mut [u8], salt: u64, number: u64) {
    let (header, records) = buffer.split_at_mut(BATCH_HEADER);
    let length = u32::try_from(records.len()).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(BATCH_MAGIC);
    header[4..8].copy_from_slice(&length.to_be_bytes());
    header[8..16].copy_from_slice(&number.to_be_bytes());
    let sum = batch_sum(salt, &header[4..16], records);
    header[16..].copy_from_slice(&sum.to_be_bytes());
}

fn batch_sum(salt: u64, header: &[u8], records: &[u8]) -> u32 {
    let mut digest = castagnoli().digest();
    digest.update(&salt.to_be_bytes());
    digest.update(header);
    digest.update(records);
    digest.finalize()
}

/// A whole batch whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch<'a> {
    pub(crate) number: u64,
    pub(crate) records: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch that the bytes start with; they may go on behind it.
    pub(crate) fn decode(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.take(4)? != BATCH_MAGIC {
            return None;
        }
        let length = usize::try_from(reader.u32()?).ok()?;
        let number = reader.u64()?;
        let sum = reader.u32()?;
        let records = reader.take(length)?;
        (batch_sum(salt, &bytes[4..16], records) == sum).then_some(Self { number, records })
    }

    /// Bytes that it takes in the file.
    pub(crate) fn size(&self) -> usize {
        BATCH_HEADER + self.records.len()
    }

    /// Whether a whole batch with a number of at least `number` starts anywhere in these bytes.
    pub(crate) fn anywhere(bytes: &[u8], salt: u64, number: u64) -> bool {
        bytes.windows(BATCH_MAGIC.len()).enumerate().any(|(start, window)| {
            window == BATCH_MAGIC
                && Batch::decode(&bytes[start..], salt).is_some_and(|batch| batch.number >= number)
        })
    }
}

/// An object as a record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object<'a> {
    /// `bucket/key`.
    pub(crate) key: &'a str,
    /// HTTP headers and metadata, `name:value` lines.
    pub(crate) headers: &'a [u8],
    /// Milliseconds since 1970.
    pub(crate) modified: u64,
    /// MD5 of the data.
    pub(crate) etag: [u8; 16],
    /// CRC-32C of the data.
    pub(crate) crc: u32,
    pub(crate) data: Data<'a>,
}

/// Where an object's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In `blobs/<id>`.
    Blob { id: u64, length: u64 },
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An object has come to be, in place of one that may have been there.
    Put(Object<'a>),
    /// An object is gone.
    Delete { key: &'a str },
    /// A bucket has come to be, at this many milliseconds since 1970.
    Bucket { name: &'a str, created: u64 },
    /// Segments below this one are no longer needed.
    Keep { segment: u64 },
}

impl<'a> Record<'a> {
    /// Appends it. Keys have at most 1,088 bytes (S3's limits), headers [`MAX_HEADERS`], inline data [`INLINE`]:
    /// whoever takes them in sees to it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        match self {
            Record::Put(object) => {
                out.push(if matches!(object.data, Data::Inline(_)) { 1 } else { 5 });
                out.extend(short(object.key.len()));
                out.extend(short(object.headers.len()));
                out.extend(object.modified.to_be_bytes());
                out.extend(object.etag);
                out.extend(object.crc.to_be_bytes());
                match object.data {
                    Data::Inline(data) => {
                        out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
                    }
                    Data::Blob { id, length } => {
                        out.extend(length.to_be_bytes());
                        out.extend(id.to_be_bytes());
                    }
                }
                out.extend(object.key.as_bytes());
                out.extend(object.headers);
                if let Data::Inline(data) = object.data {
                    out.extend(data);
                }
            }
            Record::Delete { key } => {
                out.push(2);
                out.extend(short(key.len()));
                out.extend(key.as_bytes());
            }
            Record::Bucket { name, created } => {
                out.push(3);
                out.extend(short(name.len()));
                out.extend(created.to_be_bytes());
                out.extend(name.as_bytes());
            }
            Record::Keep { segment } => {
                out.push(4);
                out.extend(segment.to_be_bytes());
            }
        }
    }

    /// The record that the bytes start with, and how many bytes it takes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut reader = Reader(bytes);
        let kind = reader.take(1)?[0];
        let record = match kind {
            1 | 5 => {
                let (key, headers) = (reader.u16()?, reader.u16()?);
                let modified = reader.u64()?;
                let etag = reader.take(16)?.try_into().ok()?;
                let crc = reader.u32()?;
                let (mut inline, mut data) = (None, Data::Inline(&[]));
                if kind == 1 {
                    inline = Some(usize::try_from(reader.u32()?).ok()?);
                } else {
                    let length = reader.u64()?;
                    data = Data::Blob { length, id: reader.u64()? };
                }
                let (key, headers) = (reader.text(key)?, reader.take(headers)?);
                if let Some(length) = inline {
                    data = Data::Inline(reader.take(length)?);
                }
                Record::Put(Object { key, headers, modified, etag, crc, data })
            }
            2 => {
                let length = reader.u16()?;
                Record::Delete { key: reader.text(length)? }
            }
            3 => {
                let length = reader.u16()?;
                let created = reader.u64()?;
                Record::Bucket { name: reader.text(length)?, created }
            }
            4 => Record::Keep { segment: reader.u64()? },
            _ => return None,
        };
        Some((record, bytes.len() - reader.0.len()))
    }
}

/// Bytes of a put record before its headers, and with them before its data.
pub(crate) fn put_prefix(key: usize, blob: bool) -> usize {
    key + if blob { BLOB_FIXED } else { PUT_FIXED }
}

/// A batch's records with where each starts in it; None stands for bytes that are no record, the last item then.
pub(crate) fn records(batch: &[u8]) -> impl Iterator<Item = Option<(usize, Record<'_>, usize)>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start >= batch.len() {
            return None;
        }
        let Some((record, size)) = Record::decode(&batch[start..]) else {
            start = batch.len();
            return Some(None);
        };
        let item = (start, record, size);
        start += size;
        Some(Some(item))
    })
}

/// Takes numbers and slices off the front, never more than there is.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<usize> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?).into())
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object<'a>(key: &'a str, headers: &'a [u8], data: Data<'a>) -> Record<'a> {
        Record::Put(Object {
            key,
            headers,
            modified: 1_700_000_000_123,
            etag: [7; 16],
            crc: 0x0102_0304,
            data,
        })
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let header = SegmentHeader { number: 2, salt: 3, first_batch: 4 }.encode();
        assert_eq!(&header[..8], b"OUTPLOG1");
        assert_eq!((header[15], header[23], header[31]), (2, 3, 4));
        // The check value of CRC-32C.
        assert_eq!(castagnoli().checksum(b"123456789"), 0xe306_9283);
        let mut put = Vec::new();
        object("b/k", b"h:v\n", Data::Inline(b"data")).encode(&mut put);
        let expected = [
            &[1, 0, 3, 0, 4][..],
            &1_700_000_000_123_u64.to_be_bytes(),
            &[7; 16],
            &[1, 2, 3, 4],
            &[0, 0, 0, 4],
            b"b/kh:v\ndata",
        ]
        .concat();
        assert_eq!(put, expected);
        assert_eq!(put_prefix(3, false) + 4 + 4, put.len());
        let mut blob = Vec::new();
        object("b/k", b"", Data::Blob { id: 9, length: 1 << 20 }).encode(&mut blob);
        assert_eq!(put_prefix(3, true), blob.len());
        let mut buffer = vec![0; BATCH_HEADER];
        buffer.extend(&put);
        seal_batch(&mut buffer, 3, 77);
        let batch = Batch::decode(&buffer, 3).expect("it is whole");
        assert_eq!((batch.number, batch.records, batch.size()), (77, &put[..], buffer.len()));
        assert_eq!(Batch::decode(&buffer, 4), None, "another segment's");
        assert_eq!(Batch::decode(&buffer[..buffer.len() - 1], 3), None, "torn");
        assert!(Batch::anywhere(&[b"xxBTCH", &buffer[..]].concat(), 3, 77));
        assert!(!Batch::anywhere(&buffer, 3, 78));
    }

    proptest! {
        #[test]
        fn records_come_back(
            key in "[a-z]{3,8}/\\PC{0,40}",
            headers in proptest::collection::vec(any::<u8>(), 0..60),
            data in proptest::collection::vec(any::<u8>(), 0..200),
            id in any::<u64>(),
            kind in 0..5,
        ) {
            let record = match kind {
                0 => object(&key, &headers, Data::Inline(&data)),
                1 => object(&key, &headers, Data::Blob { id, length: id / 3 }),
                2 => Record::Delete { key: &key },
                3 => Record::Bucket { name: &key, created: id },
                _ => Record::Keep { segment: id },
            };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let length = bytes.len();
            bytes.extend(&data);
            prop_assert_eq!(Record::decode(&bytes), Some((record, length)));
            for cut in 0..length {
                prop_assert_eq!(Record::decode(&bytes[..cut]), None);
            }
        }

        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), salt in any::<u64>()) {
            let _ = SegmentHeader::decode(&bytes);
            let _ = Batch::decode(&bytes, salt);
            let _ = Batch::anywhere(&bytes, salt, 0);
            let _ = records(&bytes).count();
        }

        #[test]
        fn one_flipped_bit_is_noticed(data in proptest::collection::vec(any::<u8>(), 1..200), salt in any::<u64>(), place in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut buffer = vec![0; BATCH_HEADER];
            object("b/k", b"", Data::Inline(&data)).encode(&mut buffer);
            seal_batch(&mut buffer, salt, 1);
            let place = place.index(buffer.len());
            buffer[place] ^= 1_u8 << bit;
            prop_assert_eq!(Batch::decode(&buffer, salt), None);
        }
    }
}
