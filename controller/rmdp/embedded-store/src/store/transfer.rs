//! Bytes of objects on their way to the disk and from it, apart from the tasks that may not wait for one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::engine::PutData;
use crate::engine::disk::{self, BLOBS, Disk, File, blob_name};
use crate::engine::format::castagnoli;
use crate::engine::index::Entry;
use crate::error::Error;

/// A large object's file is synced after so many bytes, so that no sync takes long.
const SYNC_EVERY: u64 = 4 << 20;
/// Bytes of an object read at a time.
pub(crate) const CHUNK: usize = 256 << 10;

fn trouble(path: &Path, error: io::Error) -> Error {
    match error {
        error if disk::is_full(&error) => Error::NoSpace(Arc::new(error)),
        error if disk::is_out_of_files(&error) => Error::NoFiles(Arc::new(error)),
        error => Error::file(path.to_owned(), "it can't be written")(error),
    }
}

/// Runs something that may wait for the disk apart from the tasks that may not.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(run).await.unwrap_or(Err(Error::Stopping))
}

/// A large object being taken in. Dropping it removes its file.
pub(crate) struct Upload {
    id: u64,
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    length: u64,
    synced: u64,
    ours: bool,
    _permit: OwnedSemaphorePermit,
}

impl Upload {
    /// A new, empty file.
    pub(super) async fn start(
        disk: Arc<dyn Disk>,
        id: u64,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Error> {
        blocking(move || {
            let file =
                disk.create(&blob_name(id)).map_err(|error| trouble(&disk.path(&blob_name(id)), error))?;
            Ok(Self { id, disk, file, length: 0, synced: 0, ours: true, _permit: permit })
        })
        .await
    }

    fn path(&self) -> PathBuf {
        self.disk.path(&blob_name(self.id))
    }

    /// Appends bytes.
    pub(crate) async fn write(mut self, bytes: Vec<u8>) -> Result<Self, Error> {
        blocking(move || {
            let written = self.file.write_all_at(&bytes, self.length);
            written.map_err(|error| trouble(&self.path(), error))?;
            self.length += bytes.len() as u64;
            if self.length - self.synced >= SYNC_EVERY {
                self.synced = self.length;
                self.file.sync().map_err(|error| trouble(&self.path(), error))?;
            }
            Ok(self)
        })
        .await
    }

    /// Makes it durable. From now on the operation that this becomes a part of answers for the file.
    pub(crate) async fn finish(mut self) -> Result<PutData, Error> {
        blocking(move || {
            let synced = self.file.sync().and_then(|()| self.disk.sync_folder(BLOBS));
            synced.map_err(|error| trouble(&self.path(), error))?;
            self.ours = false;
            Ok(PutData::Blob { id: self.id, length: self.length })
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let (disk, id) = (Arc::clone(&self.disk), self.id);
        let remove = move || {
            let _ = disk.remove(&blob_name(id));
        };
        // Outside of the runtime it may wait; what is not removed here is at the next start.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// An object that was found, with what is needed to read it.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    key: String,
    segment: Arc<dyn File>,
    disk: Arc<dyn Disk>,
    /// Whether the data is wanted, and not the headers alone.
    data: bool,
}

impl Found {
    pub(super) fn new(entry: Entry, key: String, segment: Arc<dyn File>, disk: Arc<dyn Disk>) -> Self {
        Self { entry, key, segment, disk, data: true }
    }

    /// Has [`Found::read`] read no data.
    pub(crate) fn headers_only(&mut self) {
        self.data = false;
    }

    /// Its headers and all its data, checked. For objects in the log.
    pub(crate) async fn read(self) -> Result<(Vec<u8>, Bytes), Error> {
        blocking(move || {
            let headers = usize::from(self.entry.headers);
            let inline = self.entry.blob == 0 && self.data;
            let data = if inline { self.entry.length } else { 0 };
            let mut bytes = vec![0; headers + usize::try_from(data).unwrap_or(usize::MAX - headers)];
            let from = self.entry.place.offset + self.entry.prefix(&self.key);
            let path = || self.disk.path(&disk::segment_name(self.entry.place.segment));
            self.segment.read_exact_at(&mut bytes, from).map_err(Error::file(path(), "it can't be read"))?;
            let data = Bytes::from(bytes.split_off(headers));
            if inline && castagnoli().checksum(&data) != self.entry.crc {
                let what = format!("object {} is not what was written", self.key);
                return Err(Error::Damaged { path: path(), offset: from, what });
            }
            Ok((bytes, data))
        })
        .await
    }

    /// The bytes from `start` to before `end` of a large object, in chunks, for as long as somebody takes them. When
    /// all of it is read, it is checked before the last chunk is given out.
    pub(crate) fn stream(&self, start: u64, end: u64) -> mpsc::Receiver<Result<Bytes, Error>> {
        let (sender, chunks) = mpsc::channel(2);
        let (disk, entry, key) = (Arc::clone(&self.disk), self.entry, self.key.clone());
        tokio::task::spawn_blocking(move || {
            let path = disk.path(&blob_name(entry.blob));
            let mut digest = castagnoli().digest();
            let file = match disk.open(&blob_name(entry.blob)) {
                Ok(file) => file,
                Err(error) => {
                    let error = match error {
                        error if disk::is_out_of_files(&error) => Error::NoFiles(Arc::new(error)),
                        error => Error::file(path, "it can't be read")(error),
                    };
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            };
            let mut at = start;
            while at < end {
                let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let mut bytes = vec![0; length];
                let mut chunk = file
                    .read_exact_at(&mut bytes, at)
                    .map_err(Error::file(path.clone(), "it can't be read"))
                    .map(|()| Bytes::from(bytes));
                at += length as u64;
                if let Ok(bytes) = &chunk {
                    digest.update(bytes);
                }
                let whole = start == 0 && at == entry.length;
                if chunk.is_ok() && whole && digest.clone().finalize() != entry.crc {
                    let what = format!("object {key} is not what was written");
                    chunk = Err(Error::Damaged { path: path.clone(), offset: 0, what });
                }
                let bad = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || bad {
                    return;
                }
            }
        });
        chunks
    }
}
