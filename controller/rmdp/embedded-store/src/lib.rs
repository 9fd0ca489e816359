//! An S3 endpoint for one machine, with atomic and durable conditional writes: `outplane store`.
//!
//! For demos, labs and small sites: what claims rest on (docs/rmdp.md) without a Ceph beside it. One process has one
//! folder; there is no second copy, so the machine's disk is what everything hangs on.
//!
//! ```text
//!  HTTP/1.1 ──► server ──► s3s: SigV4, XML ──► s3: operations ──► store ──► engine (one thread: judge, write, sync)
//!  (TLS)        deadlines,                     bodies: small ones            │         │
//!               limits                         to memory, large ones         │         └─► log/<number>.log
//!                                              to blobs/<id>.blob            └─► index in memory ◄── reads
//! ```
//!
//! # What it does
//! `PutObject` with `If-None-Match` and `If-Match`, `GetObject` and `HeadObject` with all conditions and one range,
//! `DeleteObject` (with `If-Match`), `DeleteObjects`, `ListObjectsV2`, `CreateBucket`, `HeadBucket`, `ListBuckets`,
//! `GetBucketVersioning` (never versioned), `GetBucketLocation`. Everything else is `NotImplemented`. Requests are
//! signed (version 4, in headers or as presigned URLs) with the one access key; anonymous ones are refused.
//!
//! Conditions are judged and writes made by one thread, one after the other: there is no moment between check and act.
//! A write is acknowledged when it is on the disk. Readers and losers of a condition see only what is on the disk, so
//! nobody acts on something that a power failure takes back.
//!
//! # Bounds
//! | what | bound |
//! |---|---|
//! | an object | [`MAX_OBJECT`] bytes, 1,024 bytes of key, 8 KiB of headers and metadata |
//! | all objects | [`Settings::max_bytes`] and [`Settings::max_objects`], then 403 `QuotaExceeded`; deletes still work |
//! | buckets | 1,000 |
//! | memory | some 150 bytes and the key for each object; 256 KiB for each connection; 4 MiB for each of 16 requests with XML |
//! | disk | twice [`Settings::max_bytes`] and five segments; 8 uploads of large objects at a time |
//! | open files | one for each segment (at most 2 x 128 with up to 16 GiB) and connection, and five |
//! | writes that wait | 1,024, then requests wait to be put there (counted) |
//! | connections | [`Settings::connections`]; a quarter for one stranger, a quarter kept for who has signed a request within the last hour; idle ones make room (`outplane_admission`) |
//! | time | 5 s from TCP's first byte to the first request's head, TLS included; 60 s for a request, 10 s of it for XML; 30 s for a peer that takes nothing |
//!
//! Nothing of a body is read before the signature of its request's head is found to be good; the payload's hash, which
//! is a part of what was signed, is compared as the body is read.
//!
//! # A full disk
//! The file `reserve` keeps room for what makes room: the size of a segment and 4 MiB. When the disk is full, puts are
//! refused (507 `StorageFull`), deletes and cleaning go on in that room, and puts are taken again when it could be
//! taken back. Where the file system can't allocate without writing (fallocate), nothing is kept, and a warning says so.
//! Without a descriptor for the next segment (one is kept in spare) the last one grows on, up to 240 MiB, then writes
//! are refused (503 `SlowDown`) until there is one.
//!
//! # Why a log of its own
//! Measured with 400-byte values on ext4, groups of waiting writes each made durable together, on a machine shared
//! with other work: this scheme (append, fdatasync) 40,000 to 115,000 writes/s with 64 writers, redb 4.6 8,000 to
//! 18,000 (a commit writes several pages of its tree), fjall 3.1 42,000 to 48,000. With one writer all three take the
//! time of one fdatasync. fjall's rates would do, but a journal of its that is damaged in some ways in the middle is
//! cut there without a word, and here that would be claims that two can win; redb's would do, too, but it has no
//! compaction while it runs. An index of small fixed entries in memory and a log is less than either brings.
//!
//! What it is worth over HTTP with signatures (`examples/load.rs`, 400 bytes, two cores shared with the clients and
//! other work, one append and fdatasync 78 us): one client 4,300 creates/s, p50 0.2 ms; 8 and 64 clients 17,000/s with
//! 2.5 and 9 creates a sync; some 50 us of the store's processor time for each.
//!
//! # The log
//! `log/` has segments, files named by their number with 20 digits; all but the last are complete. Numbers are
//! big-endian, checksums CRC-32C (Castagnoli).
//!
//! A segment starts with a header:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `OUTPLOG1` |
//! | 8 | 8 | the segment's number |
//! | 16 | 8 | salt, random: no object's bytes can pass for a batch of this segment |
//! | 24 | 8 | number of its first batch |
//! | 32 | 4 | zero |
//! | 36 | 4 | checksum of bytes 0 .. 36 |
//!
//! Then batches, each what was written and synced at once; a batch counts as a whole or not at all:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | `BTCH` |
//! | 4 | 4 | bytes of records, n |
//! | 8 | 8 | the batch's number: one more than that of the batch before, over all segments |
//! | 16 | 4 | checksum of the salt, bytes 4 .. 16 and the records |
//! | 20 | n | records |
//!
//! A record starts with its kind, a byte. Keys are `bucket/key`.
//!
//! | kind | fields |
//! |---|---|
//! | 1 put | 2 length of the key, 2 length of the headers, 8 last modified (ms since 1970), 16 MD5 of the data, 4 checksum of the data, 4 length of the data, key, headers (`name:value` lines), data |
//! | 2 delete | 2 length of the key, key |
//! | 3 bucket made | 2 length of its name, 8 time (ms since 1970), name |
//! | 4 keep | 8 number of the first segment that is still needed |
//! | 5 put, large | as 1 up to the data's checksum, then 8 length of the data, 8 id of its file in `blobs/`, key, headers |
//!
//! Objects above 256 KiB are files in `blobs/`, durable before their record is written; their writing holds nobody up.
//! Files that no record names are removed at the next start.
//!
//! # After a crash
//! The log is read from its first segment. A batch at the end of the last segment that is not whole had not been
//! acknowledged, and is cut off. A batch that is not whole *before* whole ones had been: the next batch is begun only
//! when the one before it is on the disk. That is damage, and the store does not start; the message says where, and
//! what can be done. So is a segment or a large object's file that is missing. (Damage of the very last batch can't
//! be told from a torn one.)
//!
//! If the disk refuses to make a batch durable, nothing is acknowledged from then on, as the pages may be gone from
//! memory although a second sync says that all is well; [`Server::failed`] returns, and the process should end.
//!
//! # Cleaning
//! When less than half of the log (and two segments) is live, the oldest segment's live records are copied to the
//! end, a keep record follows, then the segment is removed. Because it is always the oldest, deletes in it can be
//! forgotten: whatever they deleted stood in it or before it. A crash at any point leaves the old copy, the new one, or
//! both, and reading both is harmless.

mod body;
mod engine;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod keys;
mod metrics;
mod s3;
mod server;
mod store;

pub use error::Error;
pub use keys::{ACCESS_KEY, Keys, SECRET_KEY};
pub use metrics::{Counter, Metrics};
pub use server::{Server, Settings, Tls};

/// Most bytes of an object.
pub const MAX_OBJECT: u64 = 64 << 20;
