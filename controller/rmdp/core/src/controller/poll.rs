//! The queue in the store is the truth of what is pending: it is listed regularly, so that a task needs no datagram.
//!
//! What a listing shows is there, or was. What it does not show may be there all the same: a task that it lacks is looked
//! after in `d/`, and stays in mind until its decision is seen.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::io::{Action, Listed, Reply, Request};
use crate::key::{Key, Prefix};
use crate::memory::Memory;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Look, Origin, State};
use super::{Controller, For};

/// Tasks that are read from the queue at a time.
const FETCHES: usize = 32;
/// Before a listing without an answer is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// Polls that the last complete one may be old, to count as what the queue is.
pub(super) const RECENT: u32 = 4;
/// Objects of the queue that could not be read, and for how long they are left alone at most.
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
    after: Option<String>,
    from_start: bool,
    /// The poll that runs has missed nothing.
    whole: bool,
    to_fetch: BTreeSet<TransactionId>,
    fetching: usize,
    strangers: Memory,
    /// When the last poll began that saw the whole queue and whose tasks are all in mind.
    complete: Option<Instant>,
    /// When the first one of them in a row began: since then no poll has missed anything.
    whole_since: Option<Instant>,
    began: Instant,
    /// When a task that cannot be read was seen last.
    strange: Option<Instant>,
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
            whole_since: None,
            began: now,
            strange: None,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (!self.listing && self.to_fetch.is_empty()).then_some(self.next)
    }

    /// Whether a poll that began no longer than `recent` ago saw the whole queue, and every task in it that can be read and
    /// is not said to be decided is in mind.
    fn sees_queue(&self, now: Instant, recent: Duration) -> bool {
        let fetched = self.to_fetch.is_empty() && self.fetching == 0;
        fetched && self.complete.is_some_and(|began| now.since(began) <= recent)
    }

    /// Whether that has been so for at least this long: a listing may lack a key, all listings of that time do not.
    pub(super) fn has_seen_queue(&self, now: Instant, recent: Duration, long: Duration) -> bool {
        self.sees_queue(now, recent) && self.whole_since.is_some_and(|since| now.since(since) >= long)
    }

    /// Whether a poll of this last time saw tasks that cannot be read.
    pub(super) fn has_strangers(&self, now: Instant, long: Duration) -> bool {
        self.strange.is_some_and(|seen| now.since(seen) <= long)
    }

    /// A poll has come to the queue's end. One in a row with the one before continues what has been seen.
    fn complete_poll(&mut self, recent: Duration) {
        let row = self.complete.is_some_and(|before| self.began.since(before) <= recent);
        self.complete = self.whole.then_some(self.began);
        self.whole_since = self.whole_since.filter(|_| row).or(self.complete);
    }

    /// So much time has passed unseen.
    pub(super) fn miss(&mut self, missed: Duration) {
        for seen in [&mut self.whole_since, &mut self.strange].into_iter().flatten() {
            *seen = *seen + missed;
        }
    }

    /// A task of the queue that is not believed.
    pub(super) fn pass_over(&mut self, id: TransactionId, until: Instant, now: Instant) {
        self.strangers.insert(id, until, now);
        self.strange = Some(now);
    }

    /// A task of the queue found no room in mind, or has lost it.
    pub(super) fn missed(&mut self) {
        (self.complete, self.whole_since, self.whole) = (None, None, false);
    }
}

impl Controller {
    pub(super) fn poll_queue(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.draining {
            return;
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
    pub(super) fn listed(&mut self, now: Instant, reply: Reply, actions: &mut Vec<Action>) {
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
            } else if self.proofs.holds(id) {
                // In mind, as soon as the log bears it out.
            } else if self.poll.strangers.has(id, now) {
                self.poll.strange = Some(now);
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
            self.poll.complete_poll(self.config.poll_interval() * RECENT);
            self.gone_from_the_queue(now, number, actions);
        }
    }

    /// Tasks leave the queue only after their decision. But that one is missing from a listing does not say that it has
    /// left: its decision does.
    fn gone_from_the_queue(&mut self, now: Instant, number: u64, actions: &mut Vec<Action>) {
        let gone: Vec<_> = self
            .tasks
            .iter_mut()
            .filter(|(_, entry)| !entry.state.is_own() && entry.queued.is_some_and(|seen| seen < number))
            .map(|(id, entry)| {
                entry.queued = None;
                (*id, entry.state.clone(), entry.token.is_some() || entry.due.is_some_and(|due| due <= now))
            })
            .collect();
        for (id, state, looks) in gone {
            if self.is(Mutant::GoneIsDecided) {
                self.forget(now, id);
                self.decided.insert(id, Instant::NEVER, now);
                continue;
            }
            let watched = match state {
                _ if looks => continue,
                State::Watching(watched) | State::Looking(_, Some(watched)) => Some(watched),
                _ => None,
            };
            self.unblock(now, id);
            self.set_state(id, State::Looking(Look::Decision, watched));
            self.look(id, actions);
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
                let until = now + STRANGE_FOR.min(self.config.grace());
                self.poll.strangers.insert(id, until, now);
                self.poll.strange = Some(now);
                // It holds up sweeping as long as it is there. Nobody needs it if it is decided.
                self.ask(For::Stranger(id), Request::Get(Key::Decision(id)), actions);
            }
            Reply::Missing => {}
            // Not in mind: the queue was not seen whole.
            _ => self.poll.missed(),
        }
    }
}
