//! The store: one object at a time, with conditions that hold; unless a mutant breaks them. Listings are worth less: they
//! lack keys, are late, out of order, say keys twice and keys of others. What stays true of them is only that no key is
//! hidden from all listings that one node makes in a grace.

use std::collections::BTreeMap;
use std::time::Duration;

use super::chance::Chance;
use super::clock::MS;
use crate::io::{Listed, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::Digest;

/// Keys in a page: small, so that pages are turned.
const PAGE: usize = 7;
/// How long a key is hidden from one node's listings, and how late listings are, at most.
const HIDDEN: u64 = 1500 * MS;
const LATE: u64 = 1000 * MS;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) object: Option<Object>,
    at: u64,
    /// Until then nobody understands it.
    unreadable: u64,
}

/// How wrong reads are, per 1,000.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    /// Keys that a listing lacks.
    pub(super) hidden: u64,
    /// Listings that show what was there a while ago.
    pub(super) late: u64,
    /// Listings out of order, or with keys twice.
    pub(super) disorder: u64,
    /// Objects that nobody understands, for a while or for ever.
    pub(super) unreadable: u64,
}

impl Faults {
    /// A store that is well.
    pub(super) const NONE: Self = Self { hidden: 0, late: 0, disorder: 0, unreadable: 0 };
}

/// A change that took effect.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Created(Key, Box<Object>),
    Overwritten(Key, Box<Object>),
    Deleted(Key),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// By path, as S3 sorts. Others' objects have no key.
    objects: BTreeMap<String, (Option<Key>, Stored)>,
    /// What was deleted last at a path, when it was written and when deleted.
    deleted: BTreeMap<String, (Key, u64, u64)>,
    /// Until when a path is hidden from a node's listings. At the first one after that it is shown.
    hidden: BTreeMap<(usize, String), u64>,
}

impl Store {
    pub(super) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(&key.path()).and_then(|(_, stored)| stored.object.as_ref())
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.objects.contains_key(&key.path())
    }

    /// Writes an object of which only the key matters here.
    pub(super) fn write(&mut self, now: u64, key: Key) {
        self.objects.insert(key.path(), (Some(key), Stored { object: None, at: now, unreadable: 0 }));
    }

    /// Somebody else's object.
    pub(super) fn write_stranger(&mut self, path: String) {
        self.objects.insert(path, (None, Stored { object: None, at: 0, unreadable: 0 }));
    }

    /// Garbage that somebody has put under one of our keys.
    pub(super) fn write_garbage(&mut self, key: Key) {
        self.objects.insert(key.path(), (Some(key), Stored { object: None, at: 0, unreadable: u64::MAX }));
    }

    /// Writes an object of a log.
    pub(super) fn append(&mut self, now: u64, key: Key, object: Object) {
        self.objects.insert(key.path(), (Some(key), Stored { object: Some(object), at: now, unreadable: 0 }));
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.values().filter_map(|(key, _)| key.as_ref())
    }

    /// A page, as this node gets it.
    fn list(
        &mut self,
        now: u64,
        node: usize,
        prefix: &str,
        after: Option<String>,
        chance: &mut Chance,
        (faults, mutant): (&Faults, Option<Mutant>),
    ) -> Reply {
        let as_of =
            if chance.permille(faults.late) { now.saturating_sub(chance.range(0, LATE)) } else { now };
        // Sometimes nearly all is hidden, as if the page were the last one.
        let hidden = if chance.permille(faults.hidden / 4) { 900 } else { faults.hidden };
        let from = after.map_or(prefix.to_owned(), |after| after + "\0");
        let there = self.objects.range(from.clone()..).take_while(|(path, _)| path.starts_with(prefix));
        let mut found: BTreeMap<String, (Option<Key>, u64)> = there
            .filter(|(_, (_, stored))| stored.at <= as_of)
            .map(|(path, (key, stored))| (path.clone(), (key.clone(), stored.at)))
            .collect();
        for (path, (key, at, gone)) in
            self.deleted.range(from..).take_while(|(path, _)| path.starts_with(prefix))
        {
            if *at <= as_of && as_of < *gone {
                found.insert(path.clone(), (Some(key.clone()), *at));
            }
        }
        found.retain(|path, (key, _)| {
            let place = (node, path.clone());
            match self.hidden.get(&place) {
                Some(until) if now < *until && faults.hidden > 0 => false,
                Some(_) => {
                    self.hidden.remove(&place);
                    true
                }
                None if key.is_some() && chance.permille(hidden) => {
                    self.hidden.insert(place, now + chance.range(1, HIDDEN));
                    false
                }
                None => true,
            }
        });
        let more = found.len() > PAGE;
        let page: Vec<_> = found.into_iter().take(PAGE).collect();
        let ours = page.iter().rev().find(|(_, (key, _))| key.is_some());
        let last = if mutant == Some(Mutant::StrangersEndPages) { ours } else { page.last() };
        let next = last.filter(|_| more).map(|(path, _)| path.clone());
        let mut keys: Vec<_> = page
            .into_iter()
            .filter_map(|(_, (key, at))| {
                Some(Listed { key: key?, age: Duration::from_nanos(now.saturating_sub(at)) })
            })
            .collect();
        if !keys.is_empty() && chance.permille(faults.disorder) {
            let (one, other) = (chance.index(keys.len()), chance.index(keys.len()));
            keys.swap(one, other);
            let twice = keys[one].clone();
            keys.push(twice);
        }
        Reply::Page { keys, next }
    }

    /// Does what a request says, at once, and tells what changed.
    pub(super) fn apply(
        &mut self,
        now: u64,
        node: usize,
        request: Request,
        chance: &mut Chance,
        faults: (&Faults, Option<Mutant>),
    ) -> (Reply, Vec<Change>) {
        match request {
            Request::Create { key, object } => self.create(now, key, object, chance, faults),
            Request::CreateBlob(digest) => (self.create_blob(now, digest), Vec::new()),
            Request::Put { key, object } => {
                let overwritten = Change::Overwritten(key.clone(), Box::new(object.clone()));
                let stored = Stored { object: Some(object), at: now, unreadable: 0 };
                self.objects.insert(key.path(), (Some(key), stored));
                (Reply::Done, vec![overwritten])
            }
            Request::Get(key) => {
                let reply = match self.objects.get(&key.path()) {
                    Some((_, stored)) if now < stored.unreadable => {
                        Reply::Foreign(format!("{key}: no words"))
                    }
                    Some((_, Stored { object: Some(object), .. })) => Reply::Found(Box::new(object.clone())),
                    None | Some(_) => Reply::Missing,
                };
                (reply, Vec::new())
            }
            Request::List { prefix, after } => {
                (self.list(now, node, &prefix.path(), after, chance, faults), Vec::new())
            }
            Request::Delete(keys) => {
                let mut changes = Vec::new();
                for key in keys {
                    let Some((_, stored)) = self.objects.remove(&key.path()) else { continue };
                    self.deleted.insert(key.path(), (key.clone(), stored.at, now));
                    changes.push(Change::Deleted(key));
                }
                (Reply::Done, changes)
            }
        }
    }

    fn create(
        &mut self,
        now: u64,
        key: Key,
        object: Object,
        chance: &mut Chance,
        (faults, mutant): (&Faults, Option<Mutant>),
    ) -> (Reply, Vec<Change>) {
        let there = self.objects.contains_key(&key.path());
        let overwrites = match mutant {
            Some(Mutant::IgnoredPrecondition) => true,
            Some(Mutant::DecisionOverwritten) => matches!(key, Key::Decision(_)),
            _ => false,
        };
        if there && !overwrites {
            return (Reply::Exists, Vec::new());
        }
        let boxed = Box::new(object.clone());
        let written =
            if there { Change::Overwritten(key.clone(), boxed) } else { Change::Created(key.clone(), boxed) };
        let mut unreadable = 0;
        if chance.permille(faults.unreadable) {
            // What waits in the queue has to be understood in the end.
            let for_ever = !matches!(key, Key::Queue(_));
            unreadable = if for_ever { u64::MAX } else { now + chance.range(100, 20_000) * MS };
        }
        let stored = Stored { object: Some(object), at: now, unreadable };
        self.objects.insert(key.path(), (Some(key), stored));
        (Reply::Created, vec![written])
    }

    fn create_blob(&mut self, now: u64, digest: Digest) -> Reply {
        let key = Key::Blob(digest);
        if self.has(&key) {
            return Reply::Exists;
        }
        self.write(now, key);
        Reply::Created
    }
}
