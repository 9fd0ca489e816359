//! The files below the engine, so that tests can take the power away.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Where segments are.
pub(crate) const LOG: &str = "log";
/// Where large objects are.
pub(crate) const BLOBS: &str = "blobs";

/// The file that keeps room for deletes and for the log's rotation.
const RESERVE: &str = "reserve";

/// A segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{LOG}/{number:020}.log")
}

/// A large object's file.
pub(crate) fn blob_name(id: u64) -> String {
    format!("{BLOBS}/{id:020}.blob")
}

/// The number in a file's name, if the name is exactly what we would have given it.
pub(crate) fn number(name: &str, make: fn(u64) -> String) -> Option<u64> {
    let start = name.find('/')? + 1;
    let number = name.get(start..start + 20)?.parse().ok()?;
    (make(number) == name).then_some(number)
}

/// An open file.
pub(crate) trait File: Send + Sync {
    /// Fills the buffer from this offset, or fails.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Data and length are on the disk when it returns.
    fn sync(&self) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
}

/// Files by name; names are `folder/file`.
pub(crate) trait Disk: Send + Sync {
    /// Names of the files in a folder, in no order.
    fn names(&self, folder: &str) -> io::Result<Vec<String>>;
    /// A new file; one of this name must not be there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Which files are in the folder is on the disk when it returns.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Takes so much of the disk that nobody else can fill it, in place of what was taken before.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// Gives back what was taken.
    fn give_back(&self) -> io::Result<()>;
    /// For messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// The whole file, which must not be larger than `most` bytes.
pub(crate) fn read_all(file: &dyn File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.length()?;
    if length > most {
        return Err(io::Error::other(format!(
            "it has {length} bytes, more than the {most} that it could have"
        )));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether there is no room on the disk, for this user or in this file.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether the process, or the system, has as many open files as it may have.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

/// A folder of the file system.
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders that are synced, open since the start: nothing that must be durable waits for a descriptor.
    log: fs::File,
    blobs: fs::File,
    /// Room that is taken.
    reserve: fs::File,
    /// A descriptor for a segment, when connections have taken all others.
    spare: Mutex<Option<fs::File>>,
}

impl Folder {
    /// Makes the folders that are not there.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        for folder in [LOG, BLOBS] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let reserve = options.open(root.join(RESERVE))?;
        let folder = fs::File::open(root)?;
        folder.sync_all()?;
        Ok(Self {
            root: root.to_owned(),
            log: fs::File::open(root.join(LOG))?,
            blobs: fs::File::open(root.join(BLOBS))?,
            reserve,
            spare: Mutex::new(Some(folder)),
        })
    }

    /// Opens with the spare descriptor, if there is no other, and sees to a new one.
    fn with_spare<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match open() {
            Err(error) if is_out_of_files(&error) && spare.is_some() => {
                *spare = None;
                open()
            }
            opened => opened,
        };
        if spare.is_none() {
            *spare = fs::File::open(&self.root).ok();
        }
        opened
    }
}

impl Disk for Folder {
    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(format!("{folder}/{name}"));
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let path = self.root.join(name);
        // Large objects can wait for a descriptor, the log can't.
        if name.starts_with(LOG) {
            return Ok(Arc::new(self.with_spare(|| options.open(&path))?));
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.root.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        match folder {
            LOG => self.log.sync_all(),
            BLOBS => self.blobs.sync_all(),
            other => fs::File::open(self.root.join(other))?.sync_all(),
        }
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        // What an earlier start took is kept: others may have filled the rest.
        let held = self.reserve.metadata()?.len();
        if held > bytes {
            return self.reserve.set_len(bytes);
        }
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        Ok(fallocate(&self.reserve, FallocateFlags::empty(), 0, bytes)?)
    }

    fn give_back(&self) -> io::Result<()> {
        self.reserve.set_len(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl File for fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
