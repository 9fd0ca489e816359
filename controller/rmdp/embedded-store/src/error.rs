//! What can go wrong, in words.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the store did not start, or did not do what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the folder.
    #[error("{} is in use by another process: stop it, or give another folder", .0.display())]
    InUse(PathBuf),
    /// A file.
    #[error("{}: {doing}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What could not be done.
        doing: &'static str,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that had been written durably are no longer what they were.
    #[error(
        "{} is damaged at offset {offset}: {what}. Restore the folder from a copy; or, losing everything written \
         since, cut the file there (truncate -s {offset}) and move later files of its folder away", path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// First byte that can't be used.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file that must be there is not.
    #[error("{} is missing: {what}. Restore the folder from a copy", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// Who needs it.
        what: String,
    },
    /// Credentials.
    #[error("{0}")]
    Keys(String),
    /// Certificate or key.
    #[error("the TLS certificate or key can't be used: {0}; check that they are PEM and belong together")]
    Tls(String),
    /// The listener.
    #[error("the listener can't be used")]
    Listener(#[source] Arc<io::Error>),
    /// A thread.
    #[error("a thread could not be started")]
    Thread(#[source] Arc<io::Error>),
    /// A bucket's name.
    #[error("{0} can't be a bucket's name: 3 to 63 small letters, digits, - and .")]
    BucketName(String),
    /// There is no such bucket.
    #[error("there is no bucket {0}")]
    NoBucket(String),
    /// There is no such object.
    #[error("there is no object {0}")]
    NoObject(String),
    /// A condition of the request does not hold.
    #[error("the condition on {0} does not hold")]
    Precondition(String),
    /// The bucket is there already.
    #[error("there is a bucket {0} already")]
    BucketExists(String),
    /// A limit.
    #[error("the store is full: objects may take {limit} {unit}; delete some, or raise {option}")]
    Full {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
        /// What sets it.
        option: &'static str,
    },
    /// The disk is full. Nothing was written; it works again when there is room.
    #[error("the disk is full")]
    NoSpace(#[source] Arc<io::Error>),
    /// There are no descriptors left. Nothing was done; it works again when there are.
    #[error("the store has as many open files as it may have: raise the limit (ulimit -n, LimitNOFILE=)")]
    NoFiles(#[source] Arc<io::Error>),
    /// A write did not reach the disk. Nothing is acknowledged any more.
    #[error("{} could not be written to the disk, so nothing more is acknowledged: {reason}. Check the disk, then start again", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A defect of the store.
    #[error("a thread of the store has panicked, which is a defect; what was acknowledged is on the disk")]
    Panicked,
    /// It is being stopped.
    #[error("the store is stopping")]
    Stopping,
}

impl Error {
    /// For `map_err`.
    pub(crate) fn file(path: PathBuf, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path, doing, source: Arc::new(source) }
    }
}
