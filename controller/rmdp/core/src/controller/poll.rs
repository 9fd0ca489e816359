//! The queue in the store is the truth of what is pending: it is listed regularly, so that a task needs no datagram.
//! With it the horizons are read, below which nothing is claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::io::{Action, Listed, Reply, Request};
use crate::key::{Key, Prefix};
use crate::memory::Memory;
use crate::object::Object;
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::Origin;
use super::{Controller, For};

/// Tasks that are read from the queue at a time.
const FETCHES: usize = 32;
/// Before a listing without an answer is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// Sources whose horizons are known; others are taken to have none.
const SOURCES: usize = 1024;
/// Raises of a horizon that are told apart; older ones give way, which makes sweeping later.
const RAISES: usize = 16;
/// Objects of the queue that could not be read, and for how long they are left alone.
const STRANGERS: usize = 1024;
const STRANGE_FOR: Duration = Duration::from_mins(10);

/// The poll, and what it has taught.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Poll {
    /// Of the poll that runs, or ran last.
    number: u64,
    next: Instant,
    listing: bool,
    /// Where the listing goes on; a listing that filled the memory goes on there the next time.
    after: Option<Key>,
    from_start: bool,
    /// The poll that runs has missed nothing.
    whole: bool,
    to_fetch: BTreeSet<TransactionId>,
    fetching: usize,
    strangers: Memory,
    /// When the last poll began that saw the whole queue and whose tasks are all in mind.
    complete: Option<Instant>,
    began: Instant,
    /// The last poll that saw a task that could not be read.
    strange: Option<u64>,
    /// For each source: first open occurrence, and since when this is known.
    horizons: BTreeMap<String, Vec<(u64, Instant)>>,
    horizons_next: Instant,
    horizons_asked: Option<Instant>,
    horizons_read: Option<Instant>,
    /// All of h/ at the last reading.
    listed: Vec<(String, u64)>,
    horizons_after: Option<Key>,
}

impl Poll {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            number: 0,
            next: now,
            listing: false,
            after: None,
            from_start: true,
            whole: true,
            to_fetch: BTreeSet::new(),
            fetching: 0,
            strangers: Memory::new(STRANGERS),
            complete: None,
            began: now,
            strange: None,
            horizons: BTreeMap::new(),
            horizons_next: now,
            horizons_asked: None,
            horizons_read: None,
            listed: Vec::new(),
            horizons_after: None,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let queue = (!self.listing && self.to_fetch.is_empty()).then_some(self.next);
        let horizons = self.horizons_asked.is_none().then_some(self.horizons_next);
        queue.into_iter().chain(horizons).min()
    }

    /// Whether nobody may claim this occurrence any more.
    pub(super) fn is_closed(&self, source: &str, occurrence: u64) -> bool {
        self.horizons
            .get(source)
            .and_then(|raises| raises.last())
            .is_some_and(|(below, _)| occurrence < *below)
    }

    /// Since when it has been known to be closed.
    pub(super) fn closed_since(&self, source: &str, occurrence: u64) -> Option<Instant> {
        let raises = self.horizons.get(source)?;
        raises.iter().find(|(below, _)| occurrence < *below).map(|(_, since)| *since)
    }

    /// Whether the horizons were read recently enough to claim: the others wait for the grace before they delete.
    pub(super) fn knows_horizons(&self, now: Instant, grace: Duration) -> bool {
        self.horizons_read.is_some_and(|read| now.since(read) <= grace / 4)
    }

    pub(super) fn want_horizons(&mut self, now: Instant) {
        self.horizons_next = self.horizons_next.min(now);
    }

    /// Whether a poll that began no longer than `recent` ago saw the whole queue, and every task in it that can be read and
    /// is not said to be decided is in mind.
    pub(super) fn sees_queue(&self, now: Instant, recent: Duration) -> bool {
        let fetched = self.to_fetch.is_empty() && self.fetching == 0;
        fetched && self.complete.is_some_and(|began| now.since(began) <= recent)
    }

    /// Whether the complete poll, or the one that runs, saw tasks that cannot be read.
    pub(super) fn has_strangers(&self) -> bool {
        self.strange.is_some_and(|poll| poll + 1 >= self.number)
    }

    /// A task of the queue found no room in mind, or has lost it.
    pub(super) fn missed(&mut self) {
        (self.complete, self.whole) = (None, false);
    }

    pub(super) fn raised(&mut self, source: &str, below: u64, now: Instant) {
        if self.horizons.len() >= SOURCES && !self.horizons.contains_key(source) {
            return;
        }
        let raises = self.horizons.entry(source.to_owned()).or_default();
        if raises.last().is_some_and(|(last, _)| below <= *last) {
            return;
        }
        raises.push((below, now));
        if raises.len() > RAISES {
            raises.remove(0);
        }
    }

    /// All objects of h/ but the highest of each source.
    pub(super) fn overtaken_horizons(&mut self) -> Vec<Key> {
        let listed = std::mem::take(&mut self.listed);
        let lower = listed.into_iter().filter(|(source, below)| {
            self.horizons.get(source).and_then(|raises| raises.last()).is_some_and(|(last, _)| below < last)
        });
        lower.map(|(source, below)| Key::Horizon(source, below)).collect()
    }
}

impl Controller {
    pub(super) fn poll_queue(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        if self.poll.horizons_asked.is_none() && self.poll.horizons_next <= now {
            self.poll.horizons_asked = Some(now);
            self.poll.horizons_after = None;
            self.poll.listed.clear();
            self.ask(For::Horizons, Request::List { prefix: Prefix::Horizons, after: None }, actions);
        }
        let room = (self.config.limits.tasks as usize).saturating_sub(self.tasks.len());
        while self.poll.fetching < FETCHES.min(room)
            && let Some(id) = self.poll.to_fetch.pop_first()
        {
            if self.tasks.contains_key(&id) {
                continue;
            }
            self.poll.fetching += 1;
            self.ask(For::Fetch(id), Request::Get(Key::Queue(id)), actions);
        }
        if self.poll.listing || !self.poll.to_fetch.is_empty() || self.poll.next > now {
            return;
        }
        if self.poll.after.is_none() {
            (self.poll.from_start, self.poll.whole, self.poll.began) = (true, true, now);
            self.poll.number += 1;
        }
        self.poll.listing = true;
        let after = self.poll.after.clone();
        self.ask(For::Queue, Request::List { prefix: Prefix::Queue, after }, actions);
    }

    /// A page of the queue.
    pub(super) fn listed(&mut self, now: Instant, reply: Reply, _actions: &mut Vec<Action>) {
        self.poll.listing = false;
        let Reply::Page { keys, next } = reply else {
            self.poll.next = now + RETRY.min(self.config.poll_interval());
            return;
        };
        let number = self.poll.number;
        for Listed { key, .. } in keys {
            let Key::Queue(id) = key else { continue };
            if let Some(entry) = self.tasks.get_mut(&id) {
                entry.queued = Some(number);
            } else if self.decided.has(id, now) {
                // Queued after it was decided, or its deletion failed.
                self.deletes.add(id, now);
            } else if self.poll.strangers.has(id, now) {
                self.poll.strange = Some(number);
            } else if !self.hinted.has(id, now) {
                self.poll.to_fetch.insert(id);
            }
        }
        self.poll.after = next;
        if self.poll.after.is_some() {
            // The next page as soon as this one is fetched.
            self.poll.next = now;
            return;
        }
        self.poll.next = now + self.config.poll_interval();
        if std::mem::take(&mut self.poll.from_start) {
            self.poll.complete = self.poll.whole.then_some(self.poll.began);
            self.gone_from_the_queue(now, number);
        }
    }

    /// Tasks leave the queue only after their decision.
    fn gone_from_the_queue(&mut self, now: Instant, number: u64) {
        let gone =
            |entry: &super::Entry| !entry.state.is_own() && entry.queued.is_some_and(|seen| seen < number);
        let gone: Vec<_> = self.tasks.iter().filter(|(_, entry)| gone(entry)).map(|(id, _)| *id).collect();
        for id in gone {
            self.forget(now, id);
            self.counters.decided_by_others += 1;
            if self.decided.insert(id, Instant::NEVER, now) {
                self.counters.memory_full += 1;
            }
        }
    }

    pub(super) fn fetched(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) {
        self.poll.fetching -= 1;
        match reply {
            Reply::Found(object) => {
                if let Object::Task(queued) = *object
                    && let Ok(task) = queued.task()
                {
                    self.take(now, task, Origin::Queue, actions);
                }
            }
            Reply::Foreign(_) => {
                self.poll.strangers.insert(id, now + STRANGE_FOR, now);
                self.poll.strange = Some(self.poll.number);
            }
            Reply::Missing => {}
            // Not in mind: the queue was not seen whole.
            _ => self.poll.missed(),
        }
    }

    pub(super) fn horizons(&mut self, now: Instant, reply: Reply, actions: &mut Vec<Action>) {
        let Reply::Page { keys, next } = reply else {
            self.poll.horizons_asked = None;
            self.poll.horizons_next = now + RETRY;
            return;
        };
        for Listed { key, .. } in keys {
            if let Key::Horizon(source, below) = key {
                self.poll.raised(&source, below, now);
                if self.poll.listed.len() < SOURCES {
                    self.poll.listed.push((source, below));
                }
            }
        }
        if next.is_some() {
            self.ask(For::Horizons, Request::List { prefix: Prefix::Horizons, after: next }, actions);
            return;
        }
        self.poll.horizons_read = self.poll.horizons_asked.take();
        self.poll.horizons_next = now + (self.config.grace() / 8).min(self.config.poll_interval() * 60);
    }
}
