//! Writes a backup into a store that is empty.

use bytes::Bytes;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_store::Created;
use serde::Serialize;
use tokio::io::AsyncBufRead;

use super::{BackupError, Reader, Summary};
use crate::error::Error;
use crate::network;
use crate::objects::{Objects, PAGE};

/// What the store's own probe leaves.
const PROBE: &str = "probe/";
/// There while a backup is restored, so that two are not mixed; under what a store may have that is empty.
const MARKER: &str = "probe/restore";

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// What the store has now.
    #[serde(flatten)]
    pub summary: Summary,
    /// It is what it was when the backup was taken. Otherwise it waits for a recovery.
    pub as_it_was: bool,
}

/// Whether a store has nothing of ours, as far as it tells: each key is written only where nothing is, in any case.
///
/// # Errors
/// The store's; [`BackupError::NotEmpty`].
pub async fn is_empty(objects: &Objects) -> Result<(), BackupError> {
    // What everybody reads, whatever a listing says.
    for key in [Key::Network, Key::Config(1), Key::Generation(1)] {
        if objects.has(&key).await? {
            return Err(BackupError::NotEmpty { key: key.path() });
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = Box::pin(objects.store().list("", after.as_deref(), PAGE)).await.map_err(Error::from)?;
        if let Some(entry) = page.entries.iter().find(|entry| !entry.key.starts_with(PROBE)) {
            return Err(BackupError::NotEmpty { key: entry.key.clone() });
        }
        match page.entries.last() {
            Some(last) if page.truncated => after = Some(last.key.clone()),
            _ => return Ok(()),
        }
    }
}

/// Writes a backup, which was verified before, into an empty store. Unless it is to be `as_it_was`, the object `network` is
/// left out: nobody works with the store then until it was recovered.
///
/// # Errors
/// The store's; the file's; [`BackupError::NotEmpty`], [`BackupError::Restoring`], [`BackupError::Contended`].
pub async fn restore(
    objects: &Objects,
    input: impl AsyncBufRead + Unpin,
    as_it_was: bool,
) -> Result<Restored, BackupError> {
    let mine = Bytes::from(format!("{} of {}", network::random()?, std::process::id()));
    let created = Box::pin(objects.store().create(MARKER, mine)).await.map_err(Error::from)?;
    if !matches!(created, Created::Ours) {
        return Err(BackupError::Restoring { key: MARKER });
    }
    let restored = match is_empty(objects).await {
        Ok(()) => written(objects, input, as_it_was).await,
        Err(error) => Err(error),
    };
    // Half a restore is not empty, with its marker or without.
    let deleted = Box::pin(objects.store().delete(&[MARKER.to_owned()])).await;
    if let Err(error) = deleted {
        tracing::warn!(%error, key = MARKER, "the mark of this restore cannot be deleted: delete it");
    }
    restored
}

async fn written(
    objects: &Objects,
    input: impl AsyncBufRead + Unpin,
    as_it_was: bool,
) -> Result<Restored, BackupError> {
    let mut reader = Reader::new(input).await?;
    let mut summary = Summary::default();
    while let Some((key, bytes)) = reader.next().await? {
        if key == Key::Network {
            if !as_it_was {
                continue;
            }
            summary.network = super::format::network_of(&bytes);
        }
        let length = bytes.len() as u64;
        let created = Box::pin(objects.store().create(&key.path(), bytes)).await.map_err(Error::from)?;
        if !matches!(created, Created::Ours) {
            return Err(BackupError::Contended { key: key.path() });
        }
        summary.count(&key, length);
    }
    Ok(Restored { summary, as_it_was })
}
