//! Which occurrences of each source are closed: the horizons, `h/<source>/<N>`, of which the highest counts.
//!
//! Nobody claims below the horizon, so not knowing of it would open again what was swept. It is therefore searched for
//! key by key ([`crate::chain`]) and never read from a listing. A raise is its key: what the object says, and whether it
//! can be read, is for people. All keys of its [`path`](crate::chain::path) are there before itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chain;
use crate::io::Reply;
use crate::key::Key;
use crate::task::{AUDITS, GENERATIONS, PROBES};
use crate::time::Instant;

/// Sources whose horizons are known. Nothing of others is claimed until one of these gives way.
const SOURCES: usize = 1024;
/// Raises of a horizon that are told apart; older ones give way, which makes sweeping later.
const RAISES: usize = 32;
/// Before a search without an answer begins again.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    /// First open occurrence, and since when this is known, ascending.
    raises: Vec<(u64, Instant)>,
    next: Instant,
    /// When the search that runs began.
    began: Option<Instant>,
    /// Places without an answer.
    pending: BTreeSet<u64>,
    /// The highest place that was there.
    found: u64,
    /// That, when the places without an answer were asked for.
    from: u64,
    unclear: bool,
    /// When the last search began that came to an end.
    read: Option<Instant>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Horizons(BTreeMap<String, Source>);

impl Horizons {
    /// Nothing is known yet; the usual sources are asked for at once.
    pub(crate) fn new(now: Instant) -> Self {
        let mut horizons = Self(BTreeMap::new());
        for source in [GENERATIONS, PROBES, AUDITS] {
            horizons.want(source, now);
        }
        horizons
    }

    /// Asked for no later than this.
    pub(crate) fn want(&mut self, source: &str, at: Instant) {
        if let Some(known) = self.0.get_mut(source) {
            known.next = known.next.min(at);
            return;
        }
        if self.0.len() >= SOURCES
            && let Some(oldest) =
                self.0.iter().min_by_key(|(_, source)| source.read).map(|(name, _)| name.clone())
        {
            self.0.remove(&oldest);
        }
        let new = Source {
            raises: Vec::new(),
            next: at,
            began: None,
            pending: BTreeSet::new(),
            found: 0,
            from: 0,
            unclear: false,
            read: None,
        };
        self.0.insert(source.to_owned(), new);
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.values().filter(|source| source.began.is_none()).map(|source| source.next).min()
    }

    /// The keys that have to be read now.
    pub(crate) fn ask(&mut self, now: Instant) -> Vec<Key> {
        let mut keys = Vec::new();
        for (name, source) in &mut self.0 {
            if source.began.is_none() && source.next <= now {
                source.began = Some(now);
                source.unclear = false;
                source.found = source.known();
                keys.extend(source.places(name));
            }
        }
        keys
    }

    /// What the store says of a key. The keys that have to be read next; where the search is over, the next one begins
    /// after `pause`.
    pub(crate) fn answer(&mut self, now: Instant, key: &Key, reply: &Reply, pause: Duration) -> Vec<Key> {
        let Key::Horizon(name, below) = key else { return Vec::new() };
        let Some(source) = self.0.get_mut(name) else { return Vec::new() };
        if !source.pending.remove(below) {
            return Vec::new();
        }
        match reply {
            // The key says all.
            Reply::Found(_) | Reply::Foreign(_) => source.found = source.found.max(*below),
            Reply::Missing => {}
            _ => source.unclear = true,
        }
        if !source.pending.is_empty() {
            return Vec::new();
        }
        // What others have told meanwhile does not end the search.
        let (further, found) = (source.found > source.from, source.found);
        source.raise(found, now);
        if source.unclear {
            source.began = None;
            source.next = now + RETRY;
            return Vec::new();
        }
        if further {
            return source.places(name);
        }
        source.read = source.began.take();
        source.next = now + pause;
        Vec::new()
    }

    /// Whether nobody may claim this occurrence any more.
    pub(crate) fn is_closed(&self, source: &str, occurrence: u64) -> bool {
        occurrence < self.below(source)
    }

    /// The first open occurrence, as far as known.
    pub(crate) fn below(&self, source: &str) -> u64 {
        self.0.get(source).map_or(0, Source::known)
    }

    /// Since when it has been known to be closed.
    pub(crate) fn closed_since(&self, source: &str, occurrence: u64) -> Option<Instant> {
        let raises = &self.0.get(source)?.raises;
        raises.iter().find(|(below, _)| occurrence < *below).map(|(_, since)| *since)
    }

    /// Whether the horizon of a source was searched for recently enough to claim: the others wait for the grace before
    /// they delete.
    pub(crate) fn knows(&self, source: &str, now: Instant, grace: Duration) -> bool {
        self.read(source).is_some_and(|read| now.since(read) <= grace / 4)
    }

    /// When the last search for it began that came to an end.
    pub(crate) fn read(&self, source: &str) -> Option<Instant> {
        self.0.get(source)?.read
    }

    /// So much time has passed unseen: nothing has been known for so long.
    pub(crate) fn miss(&mut self, missed: Duration) {
        for (_, since) in self.0.values_mut().flat_map(|source| &mut source.raises) {
            *since = *since + missed;
        }
    }

    /// This key is there, and all of its path.
    pub(crate) fn raised(&mut self, name: &str, below: u64, now: Instant) {
        if let Some(source) = self.0.get_mut(name) {
            source.raise(below, now);
        }
    }
}

impl Source {
    fn known(&self) -> u64 {
        self.raises.last().map_or(0, |(below, _)| *below)
    }

    fn places(&mut self, name: &str) -> Vec<Key> {
        self.from = self.found;
        let places = chain::places(self.found);
        self.pending = places.iter().copied().collect();
        places.into_iter().map(|below| Key::Horizon(name.to_owned(), below)).collect()
    }

    fn raise(&mut self, below: u64, now: Instant) {
        if below <= self.known() {
            return;
        }
        self.raises.push((below, now));
        if self.raises.len() > RAISES {
            self.raises.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn reply(key: &Key, there: &BTreeSet<u64>) -> Reply {
        let found =
            matches!(key, Key::Horizon(source, below) if source == GENERATIONS && there.contains(below));
        if found { Reply::Foreign("of another version".to_owned()) } else { Reply::Missing }
    }

    /// Answers everything as a store with these raises would. How many keys were read.
    fn search(horizons: &mut Horizons, now: Instant, raises: &[u64]) -> usize {
        let there: BTreeSet<u64> = raises.iter().flat_map(|raise| chain::path(*raise)).collect();
        let (mut keys, mut reads) = (horizons.ask(now), 0);
        while let Some(key) = keys.pop() {
            keys.extend(horizons.answer(now, &key, &reply(&key, &there), Duration::from_secs(1)));
            reads += 1;
        }
        reads
    }

    #[test]
    fn what_is_closed_is_known_only_by_reading() {
        let mut horizons = Horizons::new(at(0));
        let grace = Duration::from_secs(4);
        assert!(!horizons.knows(GENERATIONS, at(0), grace) && !horizons.knows("other", at(0), grace));
        let reads = search(&mut horizons, at(0), &[3, 1000]);
        assert!(reads < 150, "{reads}");
        assert!(
            horizons.knows(GENERATIONS, at(1000), grace) && !horizons.knows(GENERATIONS, at(1001), grace)
        );
        assert!(horizons.is_closed(GENERATIONS, 999) && !horizons.is_closed(GENERATIONS, 1000));
        assert!(!horizons.is_closed(PROBES, 0));
        assert_eq!(horizons.closed_since(GENERATIONS, 999), Some(at(0)));
        assert_eq!(horizons.due(), Some(at(1000)));
        search(&mut horizons, at(2000), &[3, 1000, 1001]);
        assert_eq!(horizons.closed_since(GENERATIONS, 1000), Some(at(2000)));
        assert_eq!(horizons.closed_since(GENERATIONS, 999), Some(at(0)));
    }

    /// A raise that is told of while a search is under way says nothing of those above it.
    #[test]
    fn a_search_goes_on_whatever_is_told_meanwhile() {
        let mut horizons = Horizons::new(at(0));
        let mut keys = horizons.ask(at(0));
        let there = chain::path(7);
        let there = there.into_iter().collect();
        while let Some(key) = keys.pop() {
            if key == Key::Horizon(GENERATIONS.to_owned(), 4) {
                horizons.raised(GENERATIONS, 6, at(1));
            }
            keys.extend(horizons.answer(at(1), &key, &reply(&key, &there), Duration::from_secs(1)));
        }
        assert_eq!((horizons.below(GENERATIONS), horizons.read(GENERATIONS)), (7, Some(at(0))));
    }

    #[test]
    fn no_answer_is_not_none() {
        let mut horizons = Horizons::new(at(0));
        let keys = horizons.ask(at(0));
        for key in keys {
            let unclear = matches!(key, Key::Horizon(_, 8));
            let reply = if unclear { Reply::Unknown } else { Reply::Missing };
            assert!(horizons.answer(at(1), &key, &reply, Duration::from_secs(1)).is_empty());
        }
        assert_eq!(horizons.read(GENERATIONS), None);
        assert_eq!(horizons.due(), Some(at(201)));
    }
}
