//! The store: one object at a time, with conditions that hold; unless a mutant breaks them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::io::{Listed, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::Digest;

/// Keys in a page: small, so that pages are turned.
const PAGE: usize = 7;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) object: Option<Object>,
    at: u64,
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
    /// By path, as S3 sorts.
    objects: BTreeMap<String, (Key, Stored)>,
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
        self.objects.insert(key.path(), (key, Stored { object: None, at: now }));
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.values().map(|(key, _)| key)
    }

    /// Does what a request says, at once, and tells what changed.
    pub(super) fn apply(
        &mut self,
        now: u64,
        request: Request,
        mutant: Option<Mutant>,
    ) -> (Reply, Vec<Change>) {
        match request {
            Request::Create { key, object } => self.create(now, key, object, mutant),
            Request::CreateBlob(digest) => (self.create_blob(now, digest), Vec::new()),
            Request::Put { key, object } => {
                let change = Change::Overwritten(key.clone(), Box::new(object.clone()));
                self.objects.insert(key.path(), (key, Stored { object: Some(object), at: now }));
                (Reply::Done, vec![change])
            }
            Request::Get(key) => {
                let found = self.get(&key).cloned();
                (found.map_or(Reply::Missing, |object| Reply::Found(Box::new(object))), Vec::new())
            }
            Request::List { prefix, after } => {
                let prefix = prefix.path();
                let from = after.map_or(prefix.clone(), |after| after.path() + "\0");
                let matching = self.objects.range(from..).take_while(|(path, _)| path.starts_with(&prefix));
                let mut keys: Vec<_> = matching
                    .take(PAGE + 1)
                    .map(|(_, (key, stored))| Listed {
                        key: key.clone(),
                        age: Duration::from_nanos(now.saturating_sub(stored.at)),
                    })
                    .collect();
                let more = keys.len() > PAGE;
                keys.truncate(PAGE);
                let next = if more { keys.last().map(|listed| listed.key.clone()) } else { None };
                (Reply::Page { keys, next }, Vec::new())
            }
            Request::Delete(keys) => {
                let gone = keys.into_iter().filter(|key| self.objects.remove(&key.path()).is_some());
                let changes = gone.map(Change::Deleted).collect();
                (Reply::Done, changes)
            }
        }
    }

    fn create(&mut self, now: u64, key: Key, object: Object, mutant: Option<Mutant>) -> (Reply, Vec<Change>) {
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
        let change =
            if there { Change::Overwritten(key.clone(), boxed) } else { Change::Created(key.clone(), boxed) };
        self.objects.insert(key.path(), (key, Stored { object: Some(object), at: now }));
        (Reply::Created, vec![change])
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
