//! The book of connections: who has which, who is known, who has to go. No I/O; time is a value.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Settings;

/// Known peers that are remembered; the one that was heard longest ago makes room.
const KNOWN: usize = 1024;

/// What has come of connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections open.
    pub open: u64,
    /// Newcomers that got no place.
    pub refused: u64,
    /// Connections that lost their place to another.
    pub evicted: u64,
    /// Connections that were ended since a deadline was over.
    pub late: u64,
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    /// Requests under way.
    requests: usize,
    /// Whether there was one.
    used: bool,
    /// Whether the peer has shown who it is on this very connection.
    proven: bool,
    /// When it was opened, or its last request ended.
    since: Instant,
    ended: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Book {
    settings: Settings,
    /// By a number that grows. Those that lost their place are no longer in it.
    entries: BTreeMap<u64, Entry>,
    last: u64,
    known: BTreeMap<IpAddr, Instant>,
    counts: Counts,
}

impl Book {
    pub(crate) fn new(settings: Settings) -> Self {
        let (entries, known, counts) = (BTreeMap::new(), BTreeMap::new(), Counts::default());
        Self { settings, entries, last: 0, known, counts }
    }

    pub(crate) fn admit(&mut self, peer: IpAddr, ended: CancellationToken, now: Instant) -> Option<u64> {
        if !self.make_room(peer, now) {
            self.counts.refused += 1;
            return None;
        }
        self.last += 1;
        let entry = Entry { peer, requests: 0, used: false, proven: false, since: now, ended };
        self.entries.insert(self.last, entry);
        Some(self.last)
    }

    /// Sees to it that there is a place for one more connection of this peer; whether there is.
    fn make_room(&mut self, peer: IpAddr, now: Instant) -> bool {
        let Settings { connections, per_peer, reserved, .. } = self.settings;
        let known = self.knows(peer, now);
        if !known && self.count(|entry| entry.peer == peer) >= per_peer {
            // It makes room itself.
            return self.evict(|entry| entry.peer == peer && entry.requests == 0);
        }
        let strangers = self.count(|entry| !self.knows(entry.peer, now));
        let full = self.entries.len() >= connections || !known && strangers >= connections - reserved;
        if !full {
            return true;
        }
        let known_peers: Vec<IpAddr> =
            self.known.iter().filter(|(_, at)| self.is_fresh(**at, now)).map(|(peer, _)| *peer).collect();
        let stranger = |entry: &Entry| !known_peers.contains(&entry.peer);
        if self.evict(|entry| stranger(entry) && entry.requests == 0) {
            return true;
        }
        if !known {
            return false;
        }
        if self.evict(stranger) {
            return true;
        }
        // Only known peers are left: who has more than the newcomer gives one that it does not use.
        let own = self.count(|entry| entry.peer == peer);
        let counts = self.by_peer();
        let more = |entry: &Entry| counts.get(&entry.peer).is_some_and(|count| *count > own);
        self.evict(|entry| entry.requests == 0 && (more(entry) || entry.peer == peer))
    }

    fn count(&self, which: impl Fn(&Entry) -> bool) -> usize {
        self.entries.values().filter(|entry| which(entry)).count()
    }

    fn by_peer(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry(entry.peer).or_default() += 1;
        }
        counts
    }

    /// Ends one of these: of the peer that has most of all, the one that has done nothing for longest; those on which
    /// nobody has shown who it is go first. Whether there was one.
    fn evict(&mut self, which: impl Fn(&Entry) -> bool) -> bool {
        let counts = self.by_peer();
        let key = |entry: &Entry| {
            let count = counts.get(&entry.peer).copied().unwrap_or_default();
            (entry.proven, std::cmp::Reverse(count), entry.since)
        };
        let found = self.entries.iter().filter(|(_, entry)| which(entry)).min_by_key(|(_, entry)| key(entry));
        let Some(id) = found.map(|(id, _)| *id) else { return false };
        if let Some(entry) = self.entries.remove(&id) {
            entry.ended.cancel();
            self.counts.evicted += 1;
        }
        true
    }

    /// Ends a connection that does nothing, if there is one.
    pub(crate) fn evict_idle(&mut self) {
        self.evict(|entry| entry.requests == 0);
    }

    fn is_fresh(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) < self.settings.known_for
    }

    pub(crate) fn knows(&self, peer: IpAddr, now: Instant) -> bool {
        self.known.get(&peer).is_some_and(|at| self.is_fresh(*at, now))
    }

    pub(crate) fn authenticated(&mut self, id: u64, peer: IpAddr, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.proven = true;
        }
        self.known.insert(peer, now);
        if self.known.len() > KNOWN
            && let Some(oldest) = self.known.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn begin(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.requests += 1;
            entry.used = true;
        }
    }

    pub(crate) fn end(&mut self, id: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.requests = entry.requests.saturating_sub(1);
            entry.since = now;
        }
    }

    pub(crate) fn was_used(&self, id: u64) -> bool {
        self.entries.get(&id).is_none_or(|entry| entry.used)
    }

    pub(crate) fn late(&mut self) {
        self.counts.late += 1;
    }

    pub(crate) fn leave(&mut self, id: u64) {
        self.entries.remove(&id);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts { open: self.entries.len() as u64, ..self.counts }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Bed {
        book: Book,
        now: Instant,
        tokens: BTreeMap<u64, CancellationToken>,
    }

    fn bed(connections: usize, per_peer: usize, reserved: usize) -> Bed {
        let settings = Settings { per_peer, reserved, ..Settings::new(connections) };
        Bed { book: Book::new(settings), now: Instant::now(), tokens: BTreeMap::new() }
    }

    fn peer(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    impl Bed {
        fn admit(&mut self, number: u8) -> Option<u64> {
            self.now += Duration::from_millis(1);
            let token = CancellationToken::new();
            let id = self.book.admit(peer(number), token.clone(), self.now)?;
            self.tokens.insert(id, token);
            Some(id)
        }

        fn is_open(&self, id: u64) -> bool {
            !self.tokens[&id].is_cancelled()
        }
    }

    #[test]
    fn a_stranger_crowds_out_only_itself() {
        let mut bed = bed(8, 3, 2);
        let other = bed.admit(2).unwrap();
        let ids: Vec<u64> = (0..100).map(|_| bed.admit(1).unwrap()).collect();
        assert!(bed.is_open(other));
        assert_eq!(ids.iter().filter(|id| bed.is_open(**id)).count(), 3);
        assert!(bed.is_open(ids[99]) && !bed.is_open(ids[0]));
        // With requests under way it gets no more.
        for id in &ids[97..] {
            bed.book.begin(*id);
        }
        assert_eq!(bed.admit(1), None);
        assert!(bed.admit(3).is_some() && bed.is_open(other));
        assert_eq!(bed.book.counts().refused, 1);
    }

    #[test]
    fn many_strangers_never_keep_a_known_peer_out() {
        let mut bed = bed(8, 3, 2);
        bed.book.authenticated(0, peer(200), bed.now);
        let mut busy = Vec::new();
        for number in 0..100 {
            if let Some(id) = bed.admit(number) {
                bed.book.begin(id);
                busy.push(id);
            }
        }
        // Strangers with requests under way fill all but what is reserved.
        assert_eq!(busy.len(), 6);
        let known: Vec<u64> = (0..8).map(|_| bed.admit(200).unwrap()).collect();
        assert!(known.iter().all(|id| bed.is_open(*id)));
        assert!(busy.iter().all(|id| !bed.is_open(*id)));
        for id in &known {
            bed.book.begin(*id);
        }
        // Strangers get nothing of known peers.
        assert_eq!(bed.admit(1), None);
    }

    #[test]
    fn idle_connections_make_room_and_the_longest_idle_first() {
        let mut bed = bed(4, 4, 0);
        let ids: Vec<u64> = (1..=4).map(|number| bed.admit(number).unwrap()).collect();
        bed.book.begin(ids[0]);
        let newcomer = bed.admit(5).unwrap();
        assert!(bed.is_open(ids[0]) && !bed.is_open(ids[1]) && bed.is_open(newcomer));
        // Who has just ended a request is not the longest idle any more.
        bed.now += Duration::from_secs(1);
        bed.book.begin(ids[2]);
        bed.book.end(ids[2], bed.now);
        bed.admit(6).unwrap();
        assert!(bed.is_open(ids[2]) && !bed.is_open(ids[3]));
    }

    /// Somebody on a known peer's address (a NAT, loopback) does not push out the connection that is in use.
    #[test]
    fn a_connection_that_has_proven_itself_goes_last() {
        let mut bed = bed(4, 4, 1);
        let honest = bed.admit(200).unwrap();
        bed.book.authenticated(honest, peer(200), bed.now);
        for _ in 0..100 {
            bed.admit(200).unwrap();
        }
        assert!(bed.is_open(honest));
    }

    #[test]
    fn known_peers_are_forgotten_in_time_and_share() {
        let mut bed = bed(4, 1, 1);
        for number in [200, 201] {
            bed.book.authenticated(0, peer(number), bed.now);
        }
        let first: Vec<u64> = (0..4).map(|_| bed.admit(200).unwrap()).collect();
        let other = bed.admit(201).unwrap();
        assert!(bed.is_open(other) && !bed.is_open(first[0]));
        assert!(bed.book.knows(peer(200), bed.now));
        bed.now += Duration::from_hours(1);
        assert!(!bed.book.knows(peer(200), bed.now));
        for number in 0..=255 {
            for net in 0..8 {
                bed.book.authenticated(0, [10, 0, net, number].into(), bed.now);
            }
        }
        assert_eq!(bed.book.known.len(), KNOWN);
    }
}
