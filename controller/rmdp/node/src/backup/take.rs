//! Reads the store in the order that makes a backup one moment: see the module above.

use std::collections::BTreeSet;

use bytes::Bytes;
use outplane_rmdp_core::chain;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Object, StoredPart};
use outplane_rmdp_core::task::{AUDITS, GENERATIONS, PROBES};
use outplane_rmdp_store::Error as StoreError;
use tokio::io::AsyncWrite;
use tokio::task::JoinSet;

use super::format::{Writer, network_of};
use super::{BackupError, ORDER, Summary};
use crate::chain::{Chain, search};
use crate::clock;
use crate::daemon::newest_readable;
use crate::epoch::COMMANDS_NAME;
use crate::error::Error;
use crate::objects::{Objects, PAGE};

/// Objects that are read at a time, and bytes of them.
const AT_ONCE: usize = 32;
const MOST_AT_ONCE: u64 = 32 << 20;

/// Takes a backup.
///
/// # Errors
/// The store's; that the file cannot be written. What is written by then is no backup: it lacks its end.
pub async fn take(objects: &Objects, out: impl AsyncWrite + Unpin, by: &str) -> Result<Summary, BackupError> {
    let mut writer = Writer::new(out, clock::unix_millis(), by).await?;
    for prefix in ORDER {
        let keys = listed(objects, &prefix, &mut writer.summary).await?;
        let listed: BTreeSet<Key> = keys.iter().map(|(key, _)| key.clone()).collect();
        let unlisted: Vec<(Key, u64)> = leading(objects, &prefix)
            .await?
            .into_iter()
            .filter(|key| !listed.contains(key))
            .map(|key| (key, 0))
            .collect();
        let mut done: BTreeSet<Key> =
            listed.into_iter().chain(unlisted.iter().map(|(key, _)| key.clone())).collect();
        let mut needed = copy(objects, keys, &mut writer).await?;
        needed.extend(copy(objects, unlisted, &mut writer).await?);
        // What generations rest on, whether it was listed or not.
        while !needed.is_subset(&done) {
            let lacking: Vec<(Key, u64)> = needed.difference(&done).map(|key| (key.clone(), 0)).collect();
            done.extend(needed);
            needed = copy(objects, lacking, &mut writer).await?;
        }
    }
    if let Some(bytes) = read(objects, &Key::Network).await? {
        writer.summary.network = network_of(&bytes);
        writer.object(&Key::Network, &bytes).await?;
    }
    writer.end().await
}

/// Keys of ours under a prefix, with their sizes.
async fn listed(
    objects: &Objects,
    prefix: &Prefix,
    summary: &mut Summary,
) -> Result<Vec<(Key, u64)>, BackupError> {
    let (mut keys, mut after): (Vec<(Key, u64)>, Option<String>) = (Vec::new(), None);
    loop {
        let page = Box::pin(objects.store().list(&prefix.path(), after.as_deref(), PAGE)).await;
        let page = page.map_err(Error::from)?;
        for entry in &page.entries {
            match Key::parse(&entry.key) {
                Ok(key) => keys.push((key, entry.size)),
                Err(_) => summary.strangers += 1,
            }
        }
        match page.entries.last() {
            Some(last) if page.truncated => after = Some(last.key.clone()),
            _ => return Ok(keys),
        }
    }
}

/// Keys that have to be there for the newest number of a chain to be found: they are asked for whether they are listed or
/// not.
async fn leading(objects: &Objects, prefix: &Prefix) -> Result<Vec<Key>, BackupError> {
    let chains = match prefix {
        Prefix::Generations => vec![Chain::Generations],
        Prefix::Probes => vec![Chain::Probes],
        Prefix::Configs => vec![Chain::Configs],
        Prefix::Epochs => {
            let config = newest_readable(objects).await?.config;
            let members = config.into_iter().flat_map(|(_, config)| config.members);
            let names = members.map(|member| member.name).chain([COMMANDS_NAME.to_owned()]);
            names.map(Chain::Epochs).collect()
        }
        Prefix::Horizons => {
            let mut keys = Vec::new();
            for source in [GENERATIONS, PROBES, AUDITS] {
                let key = |below| Key::Horizon(source.to_owned(), below);
                let newest = search(objects, 0, key).await?.unwrap_or(0);
                keys.extend(chain::path(newest).into_iter().map(key));
            }
            return Ok(keys);
        }
        _ => return Ok(Vec::new()),
    };
    let mut keys = Vec::new();
    for chain in chains {
        let newest = chain.newest(objects, 0).await?.unwrap_or(0);
        let numbers = chain::path(newest).into_iter().chain([newest.saturating_sub(1)]);
        keys.extend(numbers.filter(|number| *number > 0).map(|number| chain.key(number)));
    }
    Ok(keys)
}

/// What a generation rests on, as it lies in the store: snapshots are there before it, and what comes before it is.
fn rests_on(key: &Key, bytes: &[u8]) -> Vec<Key> {
    let Key::Generation(number) = key else { return Vec::new() };
    let Ok(Object::Parts(parts)) = Object::decode(key, bytes) else { return Vec::new() };
    let snapshots = parts.parts.values().filter_map(|stored| match stored {
        StoredPart::Snapshot { at, .. } => Some(Key::Snapshot(*number, *at)),
        _ => None,
    });
    (parts.base..*number).map(Key::Generation).chain(snapshots).collect()
}

/// Reads these and writes them down, in their order; those that have gone meanwhile are not there. What they rest on.
async fn copy<W: AsyncWrite + Unpin>(
    objects: &Objects,
    keys: Vec<(Key, u64)>,
    writer: &mut Writer<W>,
) -> Result<BTreeSet<Key>, BackupError> {
    let (mut keys, mut needed) = (keys.into_iter().peekable(), BTreeSet::new());
    while keys.peek().is_some() {
        let (mut asked, mut place, mut bytes) = (JoinSet::new(), 0, 0);
        while place < AT_ONCE
            && let Some((key, _)) = keys
                .next_if(|(_, size)| place == 0 || bytes + size <= MOST_AT_ONCE)
                .inspect(|(_, size)| bytes += size)
        {
            let objects = objects.clone();
            asked.spawn(async move {
                let found = read(&objects, &key).await;
                (place, key, found)
            });
            place += 1;
        }
        let mut found = asked.join_all().await;
        found.sort_by_key(|(place, ..)| *place);
        for (_, key, found) in found {
            match found {
                Ok(Some(bytes)) => {
                    writer.object(&key, &bytes).await?;
                    needed.extend(rests_on(&key, &bytes));
                }
                Ok(None) => {}
                Err(Error::Store(StoreError::TooLarge { .. })) => writer.summary.unreadable += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(needed)
}

async fn read(objects: &Objects, key: &Key) -> Result<Option<Bytes>, Error> {
    Ok(Box::pin(objects.store().get(&key.path())).await?)
}
