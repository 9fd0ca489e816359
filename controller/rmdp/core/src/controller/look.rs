//! The watchdog: how a task of another stands in the store, and when its attempt is over.

use std::time::Duration;

use crate::io::{Action, Level, Reply, Request};
use crate::key::{Key, Prefix};
use crate::mutant::Mutant;
use crate::object::{Claim, Object};
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Look, State, Watched};
use super::{Controller, note};

/// No configuration allows a longer lease: a stranger's claim cannot hold a task for ever.
const LONGEST_LEASE: Duration = Duration::from_hours(24);

impl Controller {
    /// Asks the store what comes next.
    pub(super) fn look(&mut self, id: TransactionId, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Looking(look, _) = &entry.state else { return };
        let request = match look {
            Look::Decision => Request::Get(Key::Decision(id)),
            Look::Attempts(_, after) => Request::List { prefix: Prefix::ClaimsOf(id), after: after.clone() },
            Look::Result(attempt) => Request::Get(Key::Result(id, *attempt)),
            Look::Claim(attempt) => Request::Get(Key::Claim(id, *attempt)),
        };
        self.ask_for(id, request, actions);
    }

    fn look_on(
        &mut self,
        id: TransactionId,
        look: Look,
        watched: Option<Watched>,
        actions: &mut Vec<Action>,
    ) {
        self.set_state(id, State::Looking(look, watched));
        self.look(id, actions);
    }

    pub(super) fn look_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Looking(look, watched) = entry.state.clone() else { return };
        let before = entry.attempt.saturating_sub(1);
        match (look, reply) {
            (Look::Decision, Reply::Found(_) | Reply::Foreign(_)) => {
                self.counters.decided_by_others += 1;
                self.decided(now, id);
            }
            (Look::Decision, Reply::Missing) => self.not_decided(now, id, watched, actions),
            (Look::Attempts(highest, _), Reply::Page { keys, next }) => {
                let attempts = keys.iter().filter_map(|listed| match listed.key {
                    Key::Claim(of, attempt) if of == id => Some(attempt),
                    _ => None,
                });
                let highest = attempts.max().unwrap_or(0).max(highest);
                if next.is_some() {
                    self.look_on(id, Look::Attempts(highest, next), watched, actions);
                    return;
                }
                // A listing may lack what was seen before. What nobody has seen yet, a claim of it will find.
                let highest = highest.max(watched.map_or(before, |watched| watched.attempt));
                if highest == 0 {
                    self.wait(now, id, Duration::ZERO, actions);
                } else {
                    self.look_on(id, Look::Result(highest), watched, actions);
                }
            }
            (Look::Result(attempt), Reply::Found(object)) => {
                let mut push = false;
                if let (Object::Result(result), Some(entry)) = (*object, self.tasks.get_mut(&id)) {
                    entry.reason = Some(result.reason);
                    push = result.push;
                    // As of when it was written: it is less by now.
                    let unended = Duration::from_millis(result.unended_ms).min(LONGEST_LEASE.mul_f64(1.5));
                    if !unended.is_zero() {
                        entry.unended = entry.unended.max(Some(now + unended));
                    }
                    entry.push |= push;
                    let switch = entry.task.switch().to_owned();
                    self.be_patient(&switch, result.patience);
                }
                self.after_failure(now, id, attempt, push, actions);
            }
            (Look::Result(attempt), Reply::Missing | Reply::Foreign(_)) => match watched {
                Some(watched) if watched.attempt == attempt => self.watch(now, id, watched, actions),
                _ => self.look_on(id, Look::Claim(attempt), None, actions),
            },
            (Look::Claim(attempt), Reply::Found(object)) => match *object {
                Object::Claim(claim) => self.watch_claim(now, id, attempt, &claim, actions),
                _ => self.again_later(id, now),
            },
            (Look::Claim(attempt), Reply::Foreign(_)) => self.watch_stranger(now, id, attempt, actions),
            (Look::Claim(_), Reply::Missing) => {
                // Swept in between, with its decision.
                self.set_state(id, State::Looking(Look::Decision, None));
                self.again_later(id, now);
            }
            _ => self.again_later(id, now),
        }
    }

    fn not_decided(
        &mut self,
        now: Instant,
        id: TransactionId,
        watched: Option<Watched>,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let event = entry.task.event();
        if self.horizons.is_closed(&event.source, event.occurrence) {
            self.counters.refused_closed += 1;
            let text = format!("refused: occurrence {} of {} is closed", event.occurrence, event.source);
            note(Level::Warn, Some(id), text, actions);
            self.decided(now, id);
            return;
        }
        match watched {
            Some(watched) if watched.until <= now => {
                self.counters.expired_seen += 1;
                if entry.reason.is_none() {
                    entry.reason = Some(format!("attempt {} ended without a word", watched.attempt));
                }
                entry.attempt = watched.attempt + 1;
                let text = format!("attempt {} has expired", watched.attempt);
                note(Level::Warn, Some(id), text, actions);
                self.wait(now, id, Duration::ZERO, actions);
            }
            Some(watched) if self.overtakes(now, id, watched, actions) => {}
            _ => self.look_on(id, Look::Attempts(0, None), watched, actions),
        }
    }

    /// Another's claim, seen for the first time: it is over when it was seen for 1.5 leases on this clock.
    pub(super) fn watch_claim(
        &mut self,
        now: Instant,
        id: TransactionId,
        attempt: u32,
        claim: &Claim,
        actions: &mut Vec<Action>,
    ) {
        let lease = Duration::from_millis(claim.lease_ms).min(LONGEST_LEASE);
        let mut until = now + lease.mul_f64(1.5);
        if self.is(Mutant::WallClockLease) {
            until = Instant::START + Duration::from_millis(claim.at_ms) + lease;
        }
        if self.is(Mutant::NoWait) {
            until = now;
        }
        let held = self.holder(id, attempt, claim);
        self.watch(now, id, Watched { attempt, until, held }, actions);
    }

    /// Something is there that cannot be read: somebody has it, nobody knows for how long.
    pub(super) fn watch_stranger(
        &mut self,
        now: Instant,
        id: TransactionId,
        attempt: u32,
        actions: &mut Vec<Action>,
    ) {
        let until = now + self.config.longest_lease().mul_f64(1.5);
        self.watch(now, id, Watched { attempt, until, held: None }, actions);
    }

    /// Another has it, as was just seen in the store, where it is neither decided nor failed.
    pub(super) fn watch(
        &mut self,
        now: Instant,
        id: TransactionId,
        watched: Watched,
        actions: &mut Vec<Action>,
    ) {
        self.release(now, id);
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.attempt = watched.attempt;
            entry.state = State::Watching(watched);
        }
        if !self.overtakes(now, id, watched, actions) {
            self.look_at(now, id, watched.until.min(now + self.config.watch()).max(now));
        }
    }
}
