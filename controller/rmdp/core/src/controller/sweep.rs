//! What is kept for the horizon is swept after it, in an order that never opens a task again:
//!
//! ```text
//!  d/ older than the horizon ──► h/<source>/<below> raised ──► grace ──► c/, r/ deleted ──► d/ deleted
//! ```
//!
//! A raise is a key for each number of its path ([`crate::chain`]), the raise itself last, so that whoever searches for it
//! finds it. It passes nothing that is pending as far as *all* listings of the queue of a whole grace have shown, and none
//! is made while the queue has a task that cannot be read. Controllers claim nothing below the horizon that they know, and none whose knowledge is older than a quarter of the
//! grace; a claim lives half of the grace at most. So when something is deleted, nobody can be about to claim it. Ages
//! are the store's; were they wrong, things would be refused or kept too long, and never executed twice.
//!
//! After that a round goes on with what the horizon does not keep: [`super::retention`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chain;
use crate::io::{Action, Level, Listed, Reply, Request};
use crate::key::{Key, Prefix};
use crate::mutant::Mutant;
use crate::object::{Horizon, Object};
use crate::task::Task;
use crate::time::Instant;

use super::numbers::Numbers;
use super::poll::RECENT;
use super::{Controller, For, note};

/// Objects that are read at a time.
const READS: usize = 16;
/// Keys in a deletion.
const BATCH: usize = 900;
/// Sources whose horizon is raised in one round.
const SOURCES: usize = 256;
/// Attempts whose objects are deleted with a decision; any that are left are found one by one later.
const ATTEMPTS: u32 = 100;

/// What a request of the sweeper is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    List,
    Read(Key),
    DeleteHistory,
    DeleteDecisions,
    DeleteOld(usize),
    Raise(Raise),
}

/// A raise of a source's horizon, key by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Raise {
    source: String,
    below: u64,
    /// The keys of its path that are still to be written, the last one first.
    path: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    Idle,
    Decisions,
    Claims,
    Results,
    Horizons,
    Generations,
    Configs,
    Epochs,
    Audits,
    Statuses,
    Kept,
    Alerts,
    Packets,
    Blobs,
}

impl Stage {
    fn next(self) -> Self {
        match self {
            Self::Decisions => Self::Claims,
            Self::Claims => Self::Results,
            Self::Results => Self::Horizons,
            Self::Horizons => Self::Generations,
            Self::Generations => Self::Configs,
            Self::Configs => Self::Epochs,
            Self::Epochs => Self::Audits,
            Self::Audits => Self::Statuses,
            Self::Statuses => Self::Kept,
            Self::Kept => Self::Alerts,
            Self::Alerts => Self::Packets,
            Self::Packets => Self::Blobs,
            Self::Blobs | Self::Idle => Self::Idle,
        }
    }

    fn prefix(self) -> Prefix {
        match self {
            Self::Idle | Self::Decisions => Prefix::Decisions,
            Self::Claims => Prefix::Claims,
            Self::Results => Prefix::Results,
            Self::Horizons => Prefix::Horizons,
            Self::Generations => Prefix::Generations,
            Self::Configs => Prefix::Configs,
            Self::Epochs => Prefix::Epochs,
            Self::Audits => Prefix::Audits,
            Self::Kept => Prefix::Kept,
            Self::Statuses => Prefix::Statuses,
            Self::Alerts => Prefix::Degraded,
            Self::Packets => Prefix::Packets,
            Self::Blobs => Prefix::Blobs,
        }
    }

    /// Whether it is kept for the horizon: read before it is deleted.
    fn is_history(self) -> bool {
        matches!(self, Self::Decisions | Self::Claims | Self::Results)
    }
}

/// A round of sweeping; one controller, the first in rank, does it at a time, though more would do no harm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sweep {
    next: Instant,
    pub(super) stage: Stage,
    after: Option<String>,
    page_done: bool,
    to_read: Vec<Key>,
    /// Requests under way.
    pending: usize,
    history: Vec<Key>,
    decisions: Vec<Key>,
    candidates: BTreeMap<String, u64>,
    /// Raises that listings have shown, and that were not found by then.
    pub(super) unfound: BTreeSet<(String, u64)>,
    /// Of the chain that is listed.
    pub(super) numbers: Numbers,
    /// What retention does not keep, of the page at hand.
    old: Vec<Key>,
}

fn interval(horizon: Duration) -> Duration {
    (horizon / 8).clamp(Duration::from_secs(1), Duration::from_hours(1))
}

impl Sweep {
    pub(super) fn new(now: Instant, horizon: Duration) -> Self {
        Self {
            next: now + interval(horizon),
            stage: Stage::Idle,
            after: None,
            page_done: false,
            to_read: Vec::new(),
            pending: 0,
            history: Vec::new(),
            decisions: Vec::new(),
            candidates: BTreeMap::new(),
            unfound: BTreeSet::new(),
            numbers: Numbers::default(),
            old: Vec::new(),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (self.stage == Stage::Idle && self.pending == 0).then_some(self.next)
    }
}

impl Controller {
    fn sweep_ask(&mut self, step: Step, request: Request, actions: &mut Vec<Action>) {
        self.sweep.pending += 1;
        self.ask(For::Sweep(step), request, actions);
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn run_sweep(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        if self.sweep.stage == Stage::Idle {
            if self.sweep.pending > 0 || self.sweep.next > now {
                return;
            }
            self.sweep.next = now + interval(self.config.horizon());
            if self.rank(now, "sweep", 1) != 0 {
                return;
            }
            self.sweep.stage = Stage::Decisions;
            self.sweep.after = None;
            let horizons = &self.horizons;
            self.sweep.unfound.retain(|(source, below)| *below > horizons.below(source));
            self.list_page(actions);
            return;
        }
        while self.sweep.pending < READS
            && let Some(key) = self.sweep.to_read.pop()
        {
            self.sweep_ask(Step::Read(key.clone()), Request::Get(key), actions);
        }
        if self.sweep.pending > 0 || !self.sweep.page_done {
            return;
        }
        if !self.sweep.history.is_empty() {
            let rest = self.sweep.history.len().saturating_sub(BATCH);
            let keys = self.sweep.history.split_off(rest);
            self.sweep_ask(Step::DeleteHistory, Request::Delete(keys), actions);
        } else if !self.sweep.decisions.is_empty() {
            let rest = self.sweep.decisions.len().saturating_sub(BATCH);
            let keys = self.sweep.decisions.split_off(rest);
            self.sweep_ask(Step::DeleteDecisions, Request::Delete(keys), actions);
        } else if !self.sweep.old.is_empty() {
            let rest = self.sweep.old.len().saturating_sub(BATCH);
            let keys = self.sweep.old.split_off(rest);
            self.sweep_ask(Step::DeleteOld(keys.len()), Request::Delete(keys), actions);
        } else if self.sweep.after.is_some() {
            self.list_page(actions);
        } else {
            let done = self.sweep.stage;
            self.sweep.stage = done.next();
            self.sweep.numbers = Numbers::default();
            if done == Stage::Results {
                self.raise(now, actions);
            }
            if self.sweep.stage != Stage::Idle {
                self.list_page(actions);
            }
        }
    }

    fn list_page(&mut self, actions: &mut Vec<Action>) {
        let prefix = self.sweep.stage.prefix();
        self.sweep.page_done = false;
        let after = self.sweep.after.take();
        self.sweep_ask(Step::List, Request::List { prefix, after }, actions);
    }

    /// The horizons may pass what is decided and old, but nothing that is pending.
    fn raise(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let candidates = std::mem::take(&mut self.sweep.candidates);
        let strangers =
            self.poll.has_strangers(now, self.grace(now)) && !self.is(Mutant::RaisedOverStrangers);
        if strangers && !candidates.is_empty() {
            let text = "nothing is swept that the horizon keeps: the queue has tasks that this program cannot read, and may \
                        not close; alerts above name them: run one version of outplane, or delete them"
                .to_owned();
            note(Level::Alert, None, text, actions);
        }
        if !self.has_seen_queue(now) || strangers || self.is(Mutant::NoHorizon) {
            return;
        }
        for (source, candidate) in candidates {
            let pending = self.tasks.values().map(|entry| &entry.task).chain(self.proofs.waiting());
            let pending = pending.map(Task::event);
            let pending = pending.filter(|event| event.source == source).map(|event| event.occurrence).min();
            let below = pending.map_or(candidate, |pending| pending.min(candidate));
            let known = self.horizons.below(&source);
            // What it rests on has to be known by all: a horizon that was not searched for is not raised.
            if below <= known || self.horizons.read(&source).is_none() {
                self.horizons.want(&source, now);
                continue;
            }
            self.raise_to(source, below, actions);
        }
    }

    pub(super) fn raise_to(&mut self, source: String, below: u64, actions: &mut Vec<Action>) {
        let known = self.horizons.below(&source);
        let path = chain::path(below).into_iter().filter(|number| *number > known).rev().collect();
        self.raise_on(Raise { source, below, path }, actions);
    }

    /// Writes the next key of a raise, each when the one before is there.
    fn raise_on(&mut self, mut raise: Raise, actions: &mut Vec<Action>) {
        let Some(below) = raise.path.pop() else { return };
        let key = Key::Horizon(raise.source.clone(), below);
        let object = Horizon { source: raise.source.clone(), below, by: self.me.name.clone(), at_ms: 0 };
        let request = Request::Create { key, object: Object::Horizon(object) };
        self.sweep_ask(Step::Raise(raise), request, actions);
    }

    /// Whether the queue was seen whole, not long ago, and for so long that no single listing counts.
    pub(super) fn has_seen_queue(&self, now: Instant) -> bool {
        let (recent, long) = (self.config.poll_interval() * RECENT, self.config.grace());
        self.poll.has_seen_queue(now, recent, long) || self.is(Mutant::QueueAlwaysSeen)
    }

    pub(super) fn sweep_reply(&mut self, now: Instant, step: Step, reply: Reply, actions: &mut Vec<Action>) {
        self.sweep.pending = self.sweep.pending.saturating_sub(1);
        match (step, reply) {
            (Step::List, Reply::Page { keys, next }) if !self.sweep.stage.is_history() => {
                self.sweep.old = self.not_kept(now, &keys, actions);
                self.sweep.after = next;
                self.sweep.page_done = true;
            }
            (Step::List, Reply::Page { keys, next }) => {
                let mut old = self.config.horizon();
                if self.sweep.stage != Stage::Decisions {
                    // Most go with their decision. What is left has none, or too many attempts.
                    old = old * 2 + self.grace(now);
                }
                let aged = keys.into_iter().filter(|listed| listed.age >= old).map(|Listed { key, .. }| key);
                self.sweep.to_read = aged.collect();
                self.sweep.after = next;
                self.sweep.page_done = true;
            }
            (Step::Read(key), Reply::Found(object)) => self.sweep_found(now, &key, &object),
            (Step::DeleteHistory | Step::DeleteDecisions, Reply::Done) => {
                self.counters.swept_history += 1;
            }
            (Step::DeleteOld(number), Reply::Done) => self.counters.swept_old += number as u64,
            (Step::Raise(raise), Reply::Created | Reply::Exists) if raise.path.is_empty() => {
                self.horizons.raised(&raise.source, raise.below, now);
            }
            (Step::Raise(raise), Reply::Created | Reply::Exists) => self.raise_on(raise, actions),
            // Somebody else has swept it, or it is a stranger's: left alone. Without an answer the next round does it.
            (Step::Read(_), Reply::Missing | Reply::Foreign(_)) | (Step::Raise(_), _) => {}
            _ => {
                let next = self.sweep.next;
                let pending = self.sweep.pending;
                let unfound = std::mem::take(&mut self.sweep.unfound);
                self.sweep = Sweep { next, pending, unfound, ..Sweep::new(now, self.config.horizon()) };
            }
        }
    }

    fn sweep_found(&mut self, now: Instant, key: &Key, object: &Object) {
        if self.sweep.stage == Stage::Idle {
            return;
        }
        let (source, occurrence) = match object {
            Object::Decision(decision) => (&decision.event.source, decision.event.occurrence),
            Object::Claim(claim) => (&claim.source, claim.occurrence),
            Object::Result(result) => (&result.source, result.occurrence),
            _ => return,
        };
        let grace = self.grace(now);
        // Only what is old enough is read at all.
        let over = |since: Instant| now.since(since) >= grace || self.is(Mutant::AgeIsGrace);
        if !self.horizons.closed_since(source, occurrence).is_some_and(over) && !self.is(Mutant::NoHorizon) {
            if let Object::Decision(_) = object
                && (self.sweep.candidates.len() < SOURCES || self.sweep.candidates.contains_key(source))
            {
                let below = self.sweep.candidates.entry(source.clone()).or_default();
                *below = (*below).max(occurrence.saturating_add(1));
            }
            return;
        }
        match (key, object) {
            (Key::Decision(id), Object::Decision(decision)) => {
                let attempts = decision.attempt.min(ATTEMPTS);
                self.sweep.history.extend((1..=attempts + 1).map(|attempt| Key::Claim(*id, attempt)));
                self.sweep.history.extend((1..=attempts).map(|attempt| Key::Result(*id, attempt)));
                self.sweep.decisions.push(key.clone());
            }
            _ => self.sweep.history.push(key.clone()),
        }
    }
}
