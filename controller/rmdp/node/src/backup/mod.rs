//! Backups of the store: one file with every object, taken while everything goes on, over S3, whichever store it is.
//!
//! ```text
//! {"outplane_backup":1,"at_ms":..,"by":"root@ops1","version":"0.1.0"}
//! {"key":"q/01/0102..","bytes":212,"sha256":".."}     and so many bytes, and a line feed; so for each object
//! {"end":{"objects":1204,"bytes":3120233,"sha256":".."}}     over all lines before it, the first one included
//! ```
//! **Why it is a state that the store might have been in.** Objects are written once, the one that rests on another after
//! it, and deleted in the opposite order, once they are closed (docs/rmdp.md, "The horizon"). So what rests on others is
//! read before them, [`ORDER`]: each object of the backup finds there what it rests on, and what was deleted under way is
//! closed by the horizons, which are read after all that they close. What was written under way may be there or not, as
//! if its writer's request had taken longer. A listing may lack keys: of the chains and the horizons the newest number is
//! searched for by its keys, and what leads to it is read whether it was listed or not; for the rest what a listing shows
//! is all that can be had. What a generation rests on is read by its keys, too.
//!
//! A backup is the past all the same: numbers that were given since must not be given again. So [`restore`] leaves out
//! `network`, unless somebody says that nothing was written since: without it nobody works with the store until
//! [`crate::recovery`] has lifted its numbers.

mod doubts;
mod format;
mod restore;
mod take;

use outplane_rmdp_core::key::Prefix;
use serde::Serialize;
use thiserror::Error;

pub use format::{Reader, Verified, verify};
pub use restore::{Restored, is_empty, restore};
pub use take::take;

/// In this order prefixes are read; `network` comes last.
pub const ORDER: [Prefix; 17] = [
    // Tasks: decided after they are queued, deleted once decided.
    Prefix::Queue,
    // Decisions and results rest on claims.
    Prefix::Decisions,
    Prefix::Results,
    Prefix::Claims,
    // All of these rest on the logs, and on desired states.
    Prefix::Audits,
    Prefix::Probes,
    Prefix::Blobs,
    Prefix::Generations,
    Prefix::Configs,
    // The later the better: they only grow.
    Prefix::Epochs,
    // They close what was deleted meanwhile.
    Prefix::Horizons,
    // For people.
    Prefix::Statuses,
    Prefix::Kept,
    Prefix::Degraded,
    Prefix::Packets,
    Prefix::Totals,
    Prefix::Recoveries,
];

/// What a backup has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The network, if it has one.
    pub network: Option<String>,
    /// Its newest generation; 0 for none.
    pub generation: u64,
    /// Its newest version of the shared configuration; 0 for none.
    pub config: u64,
    /// Objects that were left out: larger than their keys allow, so nobody reads them.
    pub unreadable: u64,
    /// Keys in the bucket that are not ours: they are not in it.
    pub strangers: u64,
}

/// Why a backup cannot be taken, read or restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The store, or the node crate's way to it.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// The file.
    #[error("{what}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// The file is no backup, or not whole.
    #[error("at byte {at}: {what}")]
    Broken {
        /// Where in the file.
        at: u64,
        /// What is wrong, and what that means.
        what: String,
    },
    /// The store has something.
    #[error(
        "the store is not empty: it has {key}; a backup is restored into a bucket, or a prefix, that has nothing of Outplane's"
    )]
    NotEmpty {
        /// For example.
        key: String,
    },
    /// Two restores at a time would mix.
    #[error(
        "another backup is being restored into this store, or was not to its end: the store has {key}; if none is at work, \
         empty the bucket, {key} included, and restore again"
    )]
    Restoring {
        /// The mark of the other.
        key: &'static str,
    },
    /// Somebody else writes to the store.
    #[error(
        "{key} was written by somebody else meanwhile: stop all nodes and commands, empty the bucket, and restore again"
    )]
    Contended {
        /// Where.
        key: String,
    },
}

impl BackupError {
    pub(crate) fn broken(at: u64, what: impl Into<String>) -> Self {
        Self::Broken { at, what: what.into() }
    }
}
