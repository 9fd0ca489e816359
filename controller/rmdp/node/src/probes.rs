//! The log of probes: `p/<N>`, a chain of which every entry counts.
//!
//! The last [`PROBES_KEPT`] entries stay, and those by which the newest one is found; whoever appends deletes the others. How numbers that were deleted are not issued again:
//! [`crate::chain`].

use std::collections::BTreeSet;

use outplane_rmdp_core::chain::may_go;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{Object, ProbeEntry};
use outplane_rmdp_core::task::NetworkId;
use tokio::sync::watch;

use crate::chain::{Chain, POLL, PROBES_KEPT, hint_or_poll};
use crate::error::Error;
use crate::objects::Objects;

/// How often an appender whose number did not count tries again.
const TRIES: u32 = 100;

/// Every so many polls that find nothing the follower searches.
const SEARCH_EVERY: u32 = 60;

/// Appends an entry for these switches; its number.
///
/// # Errors
/// The store's: [`outplane_rmdp_store::Error::Unknown`] leaves open whether it was appended.
pub async fn append(
    objects: &Objects,
    network: NetworkId,
    switches: &[String],
    author: &str,
) -> Result<u64, Error> {
    let make = |number| {
        let (switches, author) = (switches.to_vec(), author.to_owned());
        Object::Probe(ProbeEntry { network, number, switches, author, at_ms: 0 })
    };
    for _ in 0..TRIES {
        match Chain::Probes.append(objects, make).await {
            // Many were faster, and this number may have been another's.
            Err(Error::Overtaken { .. }) => {}
            appended => {
                sweep(objects).await;
                return appended;
            }
        }
    }
    Err(Error::Contended { tries: TRIES, last: Key::Probe(0) })
}

/// Deletes what is old. What goes wrong is left to whoever appends next.
async fn sweep(objects: &Objects) {
    let swept = async {
        let numbers = Chain::Probes.numbers(objects, 0).await?;
        let newest = numbers.last().copied().unwrap_or(0);
        let old = numbers.into_iter().filter(|number| may_go(*number, newest, PROBES_KEPT));
        let old: Vec<Key> = old.map(Key::Probe).collect();
        if !old.is_empty() {
            objects.delete(&old).await?;
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = swept.await {
        tracing::debug!(%error, "old probes stay for now");
    }
}

/// An entry, as a follower found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub entry: ProbeEntry,
    /// It was there when the follower first looked, or was found late: its tasks may have been emitted before.
    pub old: bool,
}

/// Follows the log, entry by entry.
#[derive(Debug)]
pub struct ProbeFollower {
    objects: Objects,
    known: u64,
    /// Entries up to this one were found by a listing.
    listed: u64,
    polls: u32,
    /// It was asked since the last entry: now there is time.
    asked: bool,
}

impl ProbeFollower {
    /// A follower that begins with what the log still has.
    pub fn new(objects: Objects) -> Self {
        Self { objects, known: 0, listed: 0, polls: SEARCH_EVERY, asked: false }
    }

    /// The next entry: asks at once, at every hint, and every [`POLL`](crate::chain::POLL). After a fault it goes on when
    /// it is called again; an entry that cannot be read is an error that names it, once.
    pub async fn next(&mut self, hints: &mut watch::Receiver<u64>) -> Result<Found, Error> {
        loop {
            let hint = if self.asked { hint_or_poll(hints, POLL).await } else { 0 };
            self.asked = true;
            if let Some(entry) = self.newer(hint).await? {
                // There may be more already.
                self.asked = false;
                return Ok(Found { old: entry.number <= self.listed, entry });
            }
        }
    }

    async fn newer(&mut self, hint: u64) -> Result<Option<ProbeEntry>, Error> {
        let first = self.known == 0 && self.listed == 0;
        if !first && let Some(entry) = self.read(self.known.saturating_add(1)).await? {
            return Ok(Some(entry));
        }
        // Behind numbers that were deleted there may be more.
        self.polls += 1;
        if hint <= self.known && self.polls < SEARCH_EVERY {
            return Ok(None);
        }
        let numbers = Chain::Probes.numbers(&self.objects, self.known).await?;
        self.polls = 0;
        let Some(newest) = numbers.last().copied() else { return Ok(None) };
        self.listed = newest;
        // Every entry counts, also one that the listing lacks: those that are kept are asked for.
        let kept = (self.known + 1).max(newest.saturating_sub(PROBES_KEPT.into()))..=newest;
        let numbers: BTreeSet<u64> = numbers.into_iter().chain(kept).collect();
        for number in numbers {
            // One that was deleted meanwhile is passed.
            if let Some(entry) = self.read(number).await? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The entry of a number, which is then known.
    async fn read(&mut self, number: u64) -> Result<Option<ProbeEntry>, Error> {
        let read = self.objects.get(&Key::Probe(number)).await;
        if matches!(read, Ok(Some(_)) | Err(Error::Object(_))) {
            self.known = number;
        }
        match read? {
            Some(Object::Probe(entry)) => Ok(Some(entry)),
            _ => Ok(None),
        }
    }
}
