//! The store with this project's keys and objects: the layout of docs/rmdp.md.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use outplane_compiler::state::Desired;
use outplane_rmdp_core::io::Listed;
use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{Object, ObjectError, limit};
use outplane_rmdp_core::task::Digest;
use outplane_rmdp_store::{Created, Error as StoreError, Store};

use crate::blob;
use crate::chains::Chain;
use crate::clock;
use crate::error::Error;
use crate::lines;
use crate::log;
use crate::refusals::{Refusals, Right};
use crate::strangers::Strangers;

/// Most keys of a page.
pub const PAGE: usize = 1000;

/// A store client that speaks in keys and objects. Clones share everything.
///
/// Its calls are boxed: the client's futures are large and deep.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Store,
    strangers: Strangers,
    refusals: Refusals,
    /// Why nothing is asked now: see [`crate::network`].
    shut: Arc<RwLock<Option<Shut>>>,
    pulse: Arc<Mutex<Pulse>>,
    /// For people: texts are lines.
    in_lines: bool,
    /// What is wrong with the store although it is used, by what was looked at.
    warnings: Arc<Mutex<BTreeMap<&'static str, String>>>,
    /// Of each log, the highest number that was seen and could be read, and a hash of what it was.
    newest: Arc<Mutex<BTreeMap<Prefix, (u64, u64)>>>,
    log: Arc<log::Cache>,
}

/// A store that is not what it was.
#[derive(Clone, Debug)]
struct Shut {
    why: String,
    /// It is nobody else's: that it is shut may be told in it.
    tells: bool,
}

/// When the store gave a useful answer last, to anybody in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// On the clock of [`clock::now`]; None: never.
    pub answered: Option<Duration>,
    /// Why a request has failed since then, if one has.
    pub fault: Option<String>,
    /// Since when writes have had no answer, or none that is one; None: the last one had.
    pub untaken: Option<Untaken>,
    /// Why it is taken for one that is away, whatever it answers: it is not this network's, or has gone back.
    pub shut: Option<String>,
}

/// Writes that the store has neither taken nor refused, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// The first of them, on the clock of [`clock::now`].
    pub since: Duration,
    /// The last of them.
    pub last: Duration,
    /// Why that one was not.
    pub why: String,
}

/// Writes without an answer that are further apart are not one outage.
const APART: Duration = Duration::from_mins(1);

/// Part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys of ours in order, with their ages; others are counted and left out.
    pub keys: Vec<Listed>,
    /// What the next page goes on after, if there is one: the last path of this one, whosever it is.
    pub next: Option<String>,
}

/// Tells apart what is not written to look alike.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn too_large(key: &Key, size: u64) -> ObjectError {
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    ObjectError::TooLarge { key: key.clone(), length, limit: limit(key) }
}

impl Objects {
    /// Over this client.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            strangers: Strangers::default(),
            refusals: Refusals::default(),
            shut: Arc::default(),
            pulse: Arc::default(),
            in_lines: false,
            warnings: Arc::default(),
            newest: Arc::default(),
            log: Arc::default(),
        }
    }

    /// The same for people: what stands in objects of others is one line each, policies and configurations apart.
    #[must_use]
    pub fn in_lines(self) -> Self {
        Self { in_lines: true, ..self }
    }

    /// What is wrong with the store although it is used, by what was looked at; None: nothing. Whether it is new.
    pub(crate) fn warn(&self, of: &'static str, why: Option<String>) -> bool {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            None => warnings.remove(of).is_some(),
            Some(why) => warnings.insert(of, why.clone()).is_none_or(|before| before != why),
        }
    }

    /// All of that.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The same store, whatever is wrong with it.
    pub(crate) fn unguarded(&self) -> Self {
        Self { shut: Arc::default(), ..self.clone() }
    }

    /// From now on every call fails with this reason. `tells`: the store is nobody else's, so that a status may be written
    /// all the same. Whether it was open.
    pub(crate) fn shut(&self, why: &str, tells: bool) -> bool {
        let mut shut = self.shut.write().unwrap_or_else(PoisonError::into_inner);
        shut.replace(Shut { why: why.to_owned(), tells }).is_none()
    }

    /// For telling how the node is, and nothing else.
    pub(crate) fn telling(&self) -> Self {
        let tells =
            self.shut.read().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|shut| shut.tells);
        if tells { self.unguarded() } else { self.clone() }
    }

    /// Calls go to the store again. Whether it was shut.
    pub(crate) fn open(&self) -> bool {
        self.shut.write().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    fn is_open(&self) -> Result<(), Error> {
        match &*self.shut.read().unwrap_or_else(PoisonError::into_inner) {
            Some(shut) => Err(Error::OtherStore(shut.why.clone())),
            None => Ok(()),
        }
    }

    /// When the store gave a useful answer last, whatever was asked.
    pub fn pulse(&self) -> Pulse {
        let shut = self.shut_by();
        Pulse { shut, ..self.lock().clone() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what an answer says of the store.
    fn felt<T>(&self, right: Right, path: &str, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.refusals.felt(right, path, &answer);
        let (now, mut pulse) = (clock::now(), self.lock());
        match &answer {
            Ok(_) => {
                // That it can be read does not say that it takes anything.
                let untaken = if right == Right::Write { None } else { pulse.untaken.take() };
                *pulse = Pulse { answered: Some(now), untaken, ..Pulse::default() };
            }
            Err(error) => {
                pulse.fault = Some(error.to_string());
                if right == Right::Write
                    && matches!(error, StoreError::Unavailable { .. } | StoreError::Unknown { .. })
                {
                    let before = pulse.untaken.take();
                    let before = before.filter(|before| now.saturating_sub(before.last) < APART);
                    let since = before.map_or(now, |before| before.since);
                    pulse.untaken = Some(Untaken { since, last: now, why: error.to_string() });
                }
            }
        }
        drop(pulse);
        answer
    }

    /// The same of a write; one that has met what was there has written nothing, and says no more than a read.
    fn felt_write<T>(
        &self,
        path: &str,
        answer: Result<T, StoreError>,
        wrote: fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let right =
            if answer.as_ref().is_ok_and(|answer| !wrote(answer)) { Right::Read } else { Right::Write };
        self.felt(right, path, answer)
    }

    /// The client.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What was read or written of generations last.
    pub(crate) fn log(&self) -> &log::Cache {
        &self.log
    }

    /// The object at a key. A generation is put together, all of it: [`log::Logged`] reads what is asked for.
    pub async fn get(&self, key: &Key) -> Result<Option<Object>, Error> {
        match self.stored(key).await? {
            Some(Object::Parts(parts)) => {
                Ok(Some(Object::Generation(Box::pin(log::record(self, parts)).await?)))
            }
            found => Ok(found),
        }
    }

    /// The object at a key, as it lies there.
    pub(crate) async fn stored(&self, key: &Key) -> Result<Option<Object>, Error> {
        self.stored_within(key, limit(key)).await
    }

    /// The same of one that may have no more than so many bytes.
    pub(crate) async fn stored_within(&self, key: &Key, most: usize) -> Result<Option<Object>, Error> {
        self.is_open()?;
        let path = key.path();
        let bytes = match self.felt(Right::Read, &path, Box::pin(self.store.get_within(&path, most)).await) {
            // No more of it was read: as unreadable as any other garbage.
            Err(StoreError::TooLarge { size, .. }) => {
                let length = usize::try_from(size).unwrap_or(usize::MAX);
                return Err(ObjectError::TooLarge { key: key.clone(), length, limit: most }.into());
            }
            bytes => bytes?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let object = Object::decode(key, &bytes)?;
        // Garbage may be taken away again, and the log is none the worse.
        self.saw(key, &bytes);
        Ok(Some(if self.in_lines { lines::object(key, object, &bytes) } else { object }))
    }

    fn saw(&self, key: &Key, bytes: &[u8]) {
        let Some((chain, number)) = Chain::of_log(key) else { return };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.entry(chain.prefix()).or_default();
        if known.0 < number {
            *known = (number, hash(bytes));
        }
    }

    fn newest_seen(&self, log: &Prefix) -> Option<(u64, u64)> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).get(log).copied()
    }

    /// The highest number of a log that this process has seen; 0: none.
    pub(crate) fn newest_of(&self, chain: &Chain) -> u64 {
        self.newest_seen(&chain.prefix()).map_or(0, |(number, _)| number)
    }

    /// Why nothing is asked now, if that is so.
    pub(crate) fn shut_by(&self) -> Option<String> {
        self.shut.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|shut| shut.why.clone())
    }

    /// The highest object of a log that this process has seen, if the store does not have it any more, nor any above it:
    /// numbers are swept below others only. With `closely`, also if there is another in its place.
    pub(crate) async fn lost(&self, closely: bool) -> Result<Option<Key>, Error> {
        for chain in Chain::LOGS {
            let Some((known, before)) = self.newest_seen(&chain.prefix()) else { continue };
            let key = chain.key(known);
            let there = if closely {
                match Box::pin(self.store.get(&key.path())).await {
                    // Garbage is a bad object, and not another log.
                    Ok(Some(bytes)) => hash(&bytes) == before || Object::decode(&key, &bytes).is_err(),
                    Err(StoreError::TooLarge { .. }) => true,
                    found => found?.is_some(),
                }
            } else {
                self.has(&key).await?
            };
            // What has gone may have been swept; what is another has not.
            let replaced = closely && !there && self.has(&key).await?;
            if !there && (replaced || chain.newest(self, known).await?.is_none()) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The object at a key, for who can do without one that cannot be read: a warning names it.
    pub async fn get_readable(&self, key: &Key) -> Result<Option<Object>, Error> {
        match self.get(key).await {
            Err(Error::Object(error)) => {
                tracing::warn!(%error, "left out");
                Ok(None)
            }
            found => found,
        }
    }

    /// Removes objects; those that are not there are no error.
    pub async fn delete(&self, keys: &[Key]) -> Result<(), Error> {
        self.is_open()?;
        let keys: Vec<String> = keys.iter().map(Key::path).collect();
        let first = keys.first().map_or("", String::as_str);
        Ok(self.felt(Right::Delete, first, Box::pin(self.store.delete(&keys)).await)?)
    }

    /// Writes an object once, stamped with the time of day. Whether it was us.
    pub async fn create(&self, key: &Key, object: &mut Object) -> Result<bool, Error> {
        self.is_open()?;
        object.stamp(clock::unix_millis());
        let (path, bytes) = (key.path(), Bytes::from(object.encode()));
        let created = Box::pin(self.store.create(&path, bytes.clone())).await;
        match self.felt_write(&path, created, |created| *created == Created::Ours) {
            // What is there is too large to be ours.
            Err(StoreError::TooLarge { .. }) => Ok(false),
            created => {
                let ours = created? == Created::Ours;
                if ours {
                    self.saw(key, &bytes);
                }
                Ok(ours)
            }
        }
    }

    /// Writes an object of ours alone, stamped with the time of day.
    pub async fn put(&self, key: &Key, object: &mut Object) -> Result<(), Error> {
        self.is_open()?;
        object.stamp(clock::unix_millis());
        let path = key.path();
        let put = Box::pin(self.store.put(&path, object.encode().into())).await;
        Ok(self.felt(Right::Write, &path, put)?)
    }

    /// The object at a key, and what stands for it as it is now.
    pub async fn get_tagged(&self, key: &Key) -> Result<Option<(Object, String)>, Error> {
        self.is_open()?;
        let path = key.path();
        let found = match self.felt(Right::Read, &path, Box::pin(self.store.get_tagged(&path)).await) {
            Err(StoreError::TooLarge { size, .. }) => return Err(too_large(key, size).into()),
            found => found?,
        };
        let Some((bytes, tag)) = found else { return Ok(None) };
        Ok(Some((Object::decode(key, &bytes)?, tag)))
    }

    /// Writes an object in place of what a tag stands for, stamped with the time of day; what stands for it then. None: it
    /// is not that any more.
    pub async fn replace(&self, key: &Key, object: &mut Object, tag: &str) -> Result<Option<String>, Error> {
        self.is_open()?;
        object.stamp(clock::unix_millis());
        let path = key.path();
        let replaced = Box::pin(self.store.replace(&path, object.encode().into(), tag)).await;
        Ok(self.felt_write(&path, replaced, Option::is_some)?)
    }

    /// What lies under the name of a desired state.
    pub async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        self.bytes(&Key::Blob(digest)).await
    }

    /// The bytes at a key, as they lie there.
    pub(crate) async fn bytes(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        self.is_open()?;
        let path = key.path();
        match self.felt(Right::Read, &path, Box::pin(self.store.get(&path)).await) {
            Err(StoreError::TooLarge { size, .. }) => Err(too_large(key, size).into()),
            bytes => Ok(bytes?),
        }
    }

    /// Sees to it that a snapshot is there, and is what its name says: whoever else writes it writes the same.
    pub(crate) async fn ensure_snapshot(&self, key: &Key, snapshot: Bytes) -> Result<(), Error> {
        self.is_open()?;
        let path = key.path();
        let ensured = Box::pin(self.store.ensure(&path, snapshot.clone())).await;
        if self.felt_write(&path, ensured, |ours| *ours)? {
            return Ok(());
        }
        let is_same = match self.bytes(key).await {
            Ok(found) => found.is_some_and(|found| found == snapshot),
            Err(Error::Object(_)) => false,
            Err(error) => return Err(error),
        };
        if is_same {
            return Ok(());
        }
        tracing::error!(alert = true, "{key} holds other bytes than its name says: it is written over");
        Ok(self.felt(Right::Write, &path, Box::pin(self.store.put(&path, snapshot)).await)?)
    }

    /// Writes a desired state over whatever lies under its name. Its name is its hash, so nothing else can belong there,
    /// and whoever else writes it writes the same.
    pub async fn replace_blob(&self, digest: Digest, state: Arc<Desired>) -> Result<(), Error> {
        self.is_open()?;
        let blob = encoded(state).await?;
        let path = Key::Blob(digest).path();
        Ok(self.felt(Right::Write, &path, Box::pin(self.store.put(&path, blob)).await)?)
    }

    /// Sees to it that an object is there, whoever wrote it, stamped with the time of day. Whether it was surely us.
    pub async fn ensure(&self, key: &Key, object: &mut Object) -> Result<bool, Error> {
        self.is_open()?;
        object.stamp(clock::unix_millis());
        let path = key.path();
        let ensured = Box::pin(self.store.ensure(&path, object.encode().into())).await;
        Ok(self.felt_write(&path, ensured, |ours| *ours)?)
    }

    /// Sees to it that a desired state is there. Whether it was surely us; who reads it compares it with its name.
    pub async fn ensure_blob(&self, digest: Digest, state: Arc<Desired>) -> Result<bool, Error> {
        self.is_open()?;
        let blob = encoded(state).await?;
        let path = Key::Blob(digest).path();
        let ensured = Box::pin(self.store.ensure(&path, blob)).await;
        Ok(self.felt_write(&path, ensured, |ours| *ours)?)
    }

    /// Whether something is there, whether it can be read or not.
    pub async fn has(&self, key: &Key) -> Result<bool, Error> {
        self.is_open()?;
        let path = key.path();
        Ok(self.felt(Right::Read, &path, Box::pin(self.store.exists(&path)).await)?)
    }

    /// Rights that the store refuses to these credentials.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Keys of others that listings have shown.
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    /// A page of keys after a path, in order. Every listing is read by this. A key that is not in it may be there all the
    /// same.
    pub async fn list(&self, prefix: &Prefix, after: Option<&str>) -> Result<Page, Error> {
        self.list_at(prefix, after, false).await
    }

    /// Ages are by this machine's clock, or by the store's as far as its answers say what time it is.
    async fn list_at(&self, prefix: &Prefix, after: Option<&str>, by_store: bool) -> Result<Page, Error> {
        self.is_open()?;
        let path = prefix.path();
        let page = self.felt(Right::Read, &path, Box::pin(self.store.list(&path, after, PAGE)).await)?;
        let next = page.entries.last().filter(|_| page.truncated).map(|last| last.key.clone());
        let (mut strangers, mut example) = (0, None);
        let now = if by_store { self.now_of_store() } else { SystemTime::now() };
        let mut keys = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            if let Ok(key) = Key::parse(&entry.key) {
                let age = now.duration_since(entry.modified).unwrap_or(Duration::ZERO);
                keys.push(Listed { key, age });
            } else {
                strangers += 1;
                example = Some(entry.key);
            }
        }
        self.strangers.page(prefix.root(), after.is_none(), next.is_none(), strangers, example.as_deref());
        Ok(Page { keys, next })
    }

    /// What time it is for the store, as far as it says so.
    fn now_of_store(&self) -> SystemTime {
        let (now, ahead) = (SystemTime::now(), self.store.clock_ahead().unwrap_or(0));
        let by = Duration::from_millis(ahead.unsigned_abs());
        let theirs = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        theirs.unwrap_or(now)
    }

    /// All keys under a prefix, at most `limit`; whether that is all of them.
    pub async fn list_all(&self, prefix: &Prefix, limit: usize) -> Result<(Vec<Key>, bool), Error> {
        let (keys, all) = self.list_aged(prefix, limit).await?;
        Ok((keys.into_iter().map(|listed| listed.key).collect(), all))
    }

    /// The same, with how long ago the store took each, by its own clock.
    pub async fn list_aged(&self, prefix: &Prefix, limit: usize) -> Result<(Vec<Listed>, bool), Error> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.list_at(prefix, after.as_deref(), true).await?;
            keys.extend(page.keys);
            if keys.len() > limit {
                keys.truncate(limit);
                return Ok((keys, false));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok((keys, true)),
            }
        }
    }
}

/// States from so many entries on are encoded apart from asynchronous code.
const LARGE: usize = 256;

async fn encoded(state: Arc<Desired>) -> Result<Bytes, Error> {
    if state.entries.len() < LARGE {
        return Ok(blob::encode(&state).into());
    }
    // Only a panic ends it early; its own message has told.
    let bytes = tokio::task::spawn_blocking(move || blob::encode(&state)).await;
    bytes.map(Bytes::from).map_err(|_| Error::Ended("the encoding of a desired state"))
}
