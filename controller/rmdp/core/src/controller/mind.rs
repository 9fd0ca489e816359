//! Which tasks a controller has in mind, and when it thinks of them next.

use std::time::Duration;

use crate::io::Action;
use crate::mutant::Mutant;
use crate::task::{Task, TransactionId};
use crate::time::Instant;

use super::entry::{Origin, State, Tracked};
use super::{Controller, LONGEST_RETRY, MAX_SWITCHES, Switch};

impl Controller {
    /// Takes a task into mind that the store bears out, if it is new and there is room.
    pub(super) fn admit(&mut self, now: Instant, task: Task, origin: Origin, actions: &mut Vec<Action>) {
        let id = task.id();
        if task.event().is_audit() && origin != Origin::Audit {
            // Nobody of ours sends one.
            self.counters.audits_refused += 1;
            return;
        }
        // Even a copy that came too late tells what is overtaken.
        let (switch, generation) = (task.switch().to_owned(), task.work().generation().unwrap_or(0));
        self.learn(&switch, generation, actions);
        if self.tasks.contains_key(&id) || self.decided.has(id, now) || self.hinted.has(id, now) {
            self.counters.announced_again += u64::from(origin != Origin::Queue);
            return;
        }
        if self.draining {
            return;
        }
        let event = task.event();
        let closed = self.is_closed(event) && !self.is(Mutant::ClosedClaimed);
        if origin != Origin::Queue && closed {
            self.counters.refused_closed += 1;
            return;
        }
        if self.tasks.len() >= self.config.limits.tasks as usize {
            self.counters.refused_full += 1;
            if task.work().kind().gives_way || !self.make_room(now) {
                if origin == Origin::Queue {
                    self.poll.missed();
                }
                return;
            }
        }
        self.counters.found_in_queue += u64::from(origin == Origin::Queue);
        let queued = (origin == Origin::Queue).then_some(self.poll.number());
        let entry = Tracked {
            task,
            received: now,
            origin,
            queued,
            attempt: 1,
            reason: None,
            push: false,
            state: State::Waiting,
            told: None,
            over: None,
            unended: None,
            due: None,
            look_at: None,
            token: None,
            unclear: 0,
        };
        self.tasks.insert(id, entry);
        self.wait(now, id, Duration::ZERO, actions);
    }

    /// Puts one that waits and gives way out of mind: the queue has it, and a change of policy does not wait for it.
    fn make_room(&mut self, now: Instant) -> bool {
        let waits = |entry: &Tracked| entry.task.work().kind().gives_way && entry.state == State::Waiting;
        let Some(id) = self.tasks.iter().find(|(_, entry)| waits(entry)).map(|(id, _)| *id) else {
            return false;
        };
        self.forget(now, id);
        self.poll.missed();
        true
    }

    /// A task wants this generation on this switch: older ones are overtaken.
    pub(super) fn learn(&mut self, name: &str, generation: u64, actions: &mut Vec<Action>) {
        if self.switches.len() >= MAX_SWITCHES && !self.switches.contains_key(name) {
            let idle = |switch: &Switch| switch.running.is_none() && switch.blocked.is_empty();
            let forgotten =
                self.switches.iter().find(|(_, switch)| idle(switch)).map(|(name, _)| name.clone());
            if let Some(forgotten) = forgotten {
                self.switches.remove(&forgotten);
                self.counters.switches_forgotten += 1;
            }
        }
        let switch = self.switches.entry(name.to_owned()).or_default();
        if generation <= switch.newest {
            return;
        }
        switch.newest = generation;
        self.newest_told = self.newest_told.max(generation);
        let Some(running) = switch.running else { return };
        if self.is(Mutant::SupersededExecuted) {
            return;
        }
        let Some(entry) = self.tasks.get_mut(&running) else { return };
        if entry.task.work().generation().is_none_or(|older| older >= generation) {
            return;
        }
        if let State::Executing(own) = &entry.state {
            entry.state = State::Stopping(own.clone());
            actions.push(Action::Stop { id: running, attempt: entry.attempt });
        }
    }

    /// Out of mind.
    pub(super) fn forget(&mut self, now: Instant, id: TransactionId) {
        self.release(now, id);
        self.unblock(now, id);
        self.set_due(id, None);
        let Some(entry) = self.tasks.remove(&id) else { return };
        if let Some(token) = entry.token {
            self.requests.remove(&token);
        }
        self.keep_ended(now, &entry.task, entry.reason);
    }

    /// The decision was seen in the store: out of mind, and out of the queue.
    pub(super) fn decided(&mut self, now: Instant, id: TransactionId) {
        if self.decided.insert(id, Instant::NEVER, now) {
            self.counters.memory_full += 1;
        }
        self.keep_hears(now, id);
        self.forget(now, id);
        if !self.deletes.add(id, now) {
            self.counters.deletes_full += 1;
        }
    }

    /// Tries again later: a little later each time.
    pub(super) fn again_later(&mut self, id: TransactionId, now: Instant) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let wait = Duration::from_millis(50) * (1 << entry.unclear.min(6));
        entry.unclear += 1;
        self.set_due(id, Some(now + wait.min(LONGEST_RETRY)));
    }

    pub(super) fn set_due(&mut self, id: TransactionId, due: Option<Instant>) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        entry.look_at = None;
        if let Some(old) = std::mem::replace(&mut entry.due, due) {
            self.timers.remove(&(old, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }

    pub(super) fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.proofs.clear();
        self.beats.leave();
        let others: Vec<_> =
            self.tasks.iter().filter(|(_, entry)| !entry.state.is_own()).map(|(id, _)| *id).collect();
        for id in others {
            self.forget(now, id);
        }
    }
}
