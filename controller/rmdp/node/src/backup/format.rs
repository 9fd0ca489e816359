//! The file: lines of JSON, and the objects' bytes between them.

use std::fmt::Write as _;

use bytes::Bytes;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::limit;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::doubts::Numbers;
use super::{BackupError, Summary};

/// Most bytes of a line.
const MOST_LINE: u64 = 4096;
/// What this program writes and reads.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    outplane_backup: u32,
    /// When it was begun, Unix milliseconds.
    at_ms: u64,
    /// Who took it.
    by: String,
    /// The program's version.
    version: String,
}

/// Before an object.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    key: String,
    bytes: u64,
    sha256: String,
}

/// After them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    objects: u64,
    bytes: u64,
    /// Over all lines before it.
    sha256: String,
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes a backup.
pub(super) struct Writer<W> {
    out: W,
    lines: Sha256,
    pub(super) summary: Summary,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) async fn new(out: W, at_ms: u64, by: &str) -> Result<Self, BackupError> {
        let mut writer = Self { out, lines: Sha256::new(), summary: Summary::default() };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let head = Head { outplane_backup: FORMAT, at_ms, by: by.to_owned(), version };
        writer.line(&head).await?;
        Ok(writer)
    }

    async fn line(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let mut line = serde_json::to_vec(line).expect("texts and numbers");
        line.push(b'\n');
        self.lines.update(&line);
        self.bytes(&line).await
    }

    async fn bytes(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let failed = |source| BackupError::File { what: "the backup cannot be written", source };
        self.out.write_all(bytes).await.map_err(failed)
    }

    pub(super) async fn object(&mut self, key: &Key, bytes: &Bytes) -> Result<(), BackupError> {
        let length = bytes.len() as u64;
        let entry = Header { key: key.path(), bytes: length, sha256: hex(Sha256::digest(bytes)) };
        self.line(&entry).await?;
        self.bytes(bytes).await?;
        self.bytes(b"\n").await?;
        self.summary.count(key, length);
        Ok(())
    }

    pub(super) async fn end(mut self) -> Result<Summary, BackupError> {
        let Summary { objects, bytes, .. } = self.summary;
        let sha256 = hex(std::mem::take(&mut self.lines).finalize());
        self.line(&Last { end: End { objects, bytes, sha256 } }).await?;
        let failed = |source| BackupError::File { what: "the backup cannot be written", source };
        self.out.flush().await.map_err(failed)?;
        Ok(self.summary)
    }
}

impl Summary {
    pub(super) fn count(&mut self, key: &Key, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
        match key {
            Key::Generation(number) => self.generation = self.generation.max(*number),
            Key::Config(number) => self.config = self.config.max(*number),
            _ => {}
        }
    }
}

/// Reads a backup, object by object, and compares everything that can be compared.
pub struct Reader<R> {
    input: R,
    at: u64,
    lines: Sha256,
    summary: Summary,
    head: Head,
}

impl<R: AsyncBufRead + Unpin> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// The file cannot be read, or is none of these.
    pub async fn new(input: R) -> Result<Self, BackupError> {
        let head = Head { outplane_backup: 0, at_ms: 0, by: String::new(), version: String::new() };
        let mut reader = Self { input, at: 0, lines: Sha256::new(), summary: Summary::default(), head };
        let line = reader.line().await?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| {
            BackupError::broken(0, "this is no backup: `outplane store backup` writes one, and it begins with a line that says so")
        })?;
        if head.outplane_backup != FORMAT {
            let what = format!(
                "the backup has format {}, this program reads {FORMAT}: use version {} of outplane",
                head.outplane_backup, head.version
            );
            return Err(BackupError::broken(0, what));
        }
        reader.lines.update(&line);
        reader.head = head;
        Ok(reader)
    }

    /// When it was taken, Unix milliseconds, and by whom.
    pub fn taken(&self) -> (u64, &str) {
        (self.head.at_ms, &self.head.by)
    }

    async fn line(&mut self) -> Result<Vec<u8>, BackupError> {
        let failed = |source| BackupError::File { what: "the backup cannot be read", source };
        let mut line = Vec::new();
        (&mut self.input).take(MOST_LINE).read_until(b'\n', &mut line).await.map_err(failed)?;
        if line.last() != Some(&b'\n') {
            let what = if line.len() as u64 == MOST_LINE {
                "a line that is too long: the backup is damaged".to_owned()
            } else {
                "the backup ends too early: it was cut off, take another one".to_owned()
            };
            return Err(BackupError::broken(self.at, what));
        }
        self.at += line.len() as u64;
        Ok(line)
    }

    /// The next object; none at the end, which was compared then.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or ends too early.
    pub async fn next(&mut self) -> Result<Option<(Key, Bytes)>, BackupError> {
        let at = self.at;
        let line = self.line().await?;
        if let Ok(Last { end }) = serde_json::from_slice(&line) {
            let same = end.objects == self.summary.objects
                && end.bytes == self.summary.bytes
                && end.sha256 == hex(self.lines.clone().finalize());
            if !same {
                return Err(BackupError::broken(
                    at,
                    "the end does not fit what is before it: the backup is damaged",
                ));
            }
            let mut more = [0];
            let read = self.input.read(&mut more).await;
            if !matches!(read, Ok(0)) {
                return Err(BackupError::broken(
                    self.at,
                    "something comes after the end: the backup is damaged",
                ));
            }
            return Ok(None);
        }
        let damaged = |what: &str| BackupError::broken(at, format!("{what}: the backup is damaged"));
        let entry: Header =
            serde_json::from_slice(&line).map_err(|_| damaged("a line that belongs to no backup"))?;
        let key = Key::parse(&entry.key).map_err(|error| damaged(&error.to_string()))?;
        if entry.bytes > limit(&key) as u64 {
            return Err(damaged(&format!("{key} has {} bytes, more than it may have", entry.bytes)));
        }
        self.lines.update(&line);
        let mut bytes = Vec::new();
        // No more is reserved than there is.
        let read = (&mut self.input).take(entry.bytes + 1).read_to_end(&mut bytes).await;
        read.map_err(|source| BackupError::File { what: "the backup cannot be read", source })?;
        if bytes.pop() != Some(b'\n') || bytes.len() as u64 != entry.bytes {
            return Err(BackupError::broken(
                at,
                format!("{key} ends too early: the backup was cut off, take another one"),
            ));
        }
        if hex(Sha256::digest(&bytes)) != entry.sha256 {
            return Err(damaged(&format!("{key} is not what was written: its SHA-256 is another")));
        }
        self.at += entry.bytes + 1;
        self.summary.count(&key, entry.bytes);
        Ok(Some((key, bytes.into())))
    }
}

/// A backup that was read to its end, and is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// When it was taken, Unix milliseconds.
    pub at_ms: u64,
    /// By whom.
    pub by: String,
    /// What it has.
    #[serde(flatten)]
    pub summary: Summary,
    /// What no store of ours has come to, in words; empty: nothing is strange.
    pub doubts: Vec<String>,
}

/// Reads a backup to its end.
///
/// # Errors
/// As [`Reader::next`].
pub async fn verify(input: impl AsyncBufRead + Unpin) -> Result<Verified, BackupError> {
    let mut reader = Reader::new(input).await?;
    let (at_ms, by) = reader.taken();
    let by = by.to_owned();
    let (mut network, mut numbers) = (None, Numbers::default());
    while let Some((key, bytes)) = reader.next().await? {
        numbers.count(&key);
        if key == Key::Network {
            network = network_of(&bytes);
        }
    }
    let summary = Summary { network, ..reader.summary };
    let doubts = numbers.doubts(summary.objects);
    Ok(Verified { at_ms, by, summary, doubts })
}

/// The network that an object `network` says.
pub(super) fn network_of(bytes: &[u8]) -> Option<String> {
    match outplane_rmdp_core::object::Object::decode(&Key::Network, bytes) {
        Ok(outplane_rmdp_core::object::Object::Network(network)) => Some(network.network.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn written() -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, 5, "tests").await.unwrap();
        writer.object(&Key::Generation(3), &Bytes::from_static(b"{\"a\":1}")).await.unwrap();
        writer.object(&Key::Config(2), &Bytes::new()).await.unwrap();
        let summary = writer.end().await.unwrap();
        assert_eq!((summary.objects, summary.bytes, summary.generation, summary.config), (2, 7, 3, 2));
        file
    }

    #[tokio::test]
    async fn what_was_written_is_read() {
        let file = written().await;
        let verified = verify(&file[..]).await.unwrap();
        assert_eq!((verified.at_ms, verified.by.as_str(), verified.summary.objects), (5, "tests", 2));
        let mut reader = Reader::new(&file[..]).await.unwrap();
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(first, (Key::Generation(3), Bytes::from_static(b"{\"a\":1}")));
    }

    /// Cut at each byte, and changed at each byte.
    #[tokio::test]
    async fn whatever_is_done_to_it_is_noticed() {
        let file = written().await;
        for length in 0..file.len() {
            let error = verify(&file[..length]).await.unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        let head = file.iter().position(|byte| *byte == b'\n').unwrap();
        for place in 0..file.len() {
            let mut changed = file.clone();
            changed[place] ^= 1;
            // The time, the name and the version in the first line are for people, and stand under the last line's sum.
            assert!(
                verify(&changed[..]).await.is_err(),
                "{place} of {head}: {}",
                String::from_utf8_lossy(&changed)
            );
        }
        let mut more = file.clone();
        more.push(b'x');
        assert!(verify(&more[..]).await.unwrap_err().to_string().contains("after the end"));
        assert!(verify(&b"apiVersion: v1\n"[..]).await.unwrap_err().to_string().contains("no backup"));
    }

    proptest! {
        /// Whatever bytes: read to their end, or an error in words.
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            length in 0usize..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let good = written().await;
                // Put in place of a part of a good one, too.
                let at = place.index(good.len());
                let mut mixed = good.clone();
                mixed.splice(at..(at + length).min(good.len()), bytes.iter().copied());
                for file in [&bytes, &mixed] {
                    match verify(&file[..]).await {
                        Ok(_) => prop_assert_eq!(file, &good),
                        Err(error) => prop_assert!(!error.to_string().is_empty()),
                    }
                }
                Ok(())
            })?;
        }
    }

    #[tokio::test]
    async fn a_size_that_is_a_lie_reserves_nothing() {
        let huge = format!(
            "{}\n{{\"key\":\"i/00000000000000000001\",\"bytes\":99999999999,\"sha256\":\"\"}}\n",
            r#"{"outplane_backup":1,"at_ms":0,"by":"x","version":"1"}"#
        );
        let error = verify(huge.as_bytes()).await.unwrap_err().to_string();
        assert!(error.contains("more than it may have"), "{error}");
    }
}
