//! What is done to switches.

use super::{Checker, Effects, Invariant};
use crate::task::{Task, TransactionId};
use crate::time::Instant;

impl Checker {
    /// An attempt has taken a switch.
    pub(in crate::sim) fn raises(&mut self, real: u64, task: &Task, attempt: u32) {
        let place = (task.switch().to_owned(), task.id());
        let raised = self.raised.entry(place).or_insert((attempt, real));
        if attempt > raised.0 {
            *raised = (attempt, real);
        }
    }

    /// A switch takes a write of an attempt that was sent then.
    pub(in crate::sim) fn accepted(&mut self, real: u64, task: &Task, attempt: u32, sent: u64) {
        let raised = self.raised.get(&(task.switch().to_owned(), task.id())).copied();
        let Some((by, at)) = raised.filter(|(by, at)| *by > attempt && sent >= *at) else { return };
        if !self.unfenced.contains(task.switch()) {
            let (id, switch) = (task.id(), task.switch());
            let ago = (real - at) / 1_000_000;
            self.fail(
                Invariant::I17,
                real,
                format!("{switch} takes a write of attempt {attempt} of {id}, {ago} ms after attempt {by} has taken it"),
            );
        }
    }

    /// An agent starts a write to a switch.
    pub(in crate::sim) fn write_starts(
        &mut self,
        (real, local): (u64, Instant),
        who: (usize, u32),
        id: TransactionId,
        attempt: u32,
        budget: u64,
    ) {
        let nonce = self.own.get(&(who.0, who.1, id, attempt));
        let Some(sent) = nonce.and_then(|nonce| self.sent.get(nonce)) else {
            self.fail(
                Invariant::I2,
                real,
                format!("{who:?} writes for {id}, attempt {attempt}, without a claim"),
            );
            return;
        };
        let end = sent.local.as_nanos() + sent.lease - budget;
        let local = local.as_nanos();
        if local >= end {
            let late = (local - end) / 1_000_000;
            self.fail(
                Invariant::I2,
                real,
                format!("{who:?} starts a write for {id}, attempt {attempt}, {late} ms after its lease less budget"),
            );
        }
    }

    /// A part of a switch changes what it does. A lax switch lets what it has begun run on beside the next primary's, so
    /// nothing is asked of it here: it has to come right in the end.
    pub(in crate::sim) fn effect(&mut self, real: u64, task: &Task, attempt: u32, part: usize, lax: bool) {
        let (id, generation) = (task.id(), task.work().generation().unwrap_or(0));
        let effects = self.effects.entry(task.switch().to_owned()).or_default();
        let (newest, twice) = (effects.newest, !effects.seen.insert((id, part)));
        effects.newest = newest.max(generation);
        if lax {
            return;
        }
        if twice {
            let what = format!("{id} shows twice in part {part} of {}, by attempt {attempt}", task.switch());
            self.fail(Invariant::I8, real, what);
        }
        if generation < newest {
            let switch = task.switch();
            self.fail(
                Invariant::I8,
                real,
                format!("generation {generation} shows on {switch} after {newest}"),
            );
        }
    }

    /// A switch begins with a push, perhaps beside another one.
    pub(in crate::sim) fn push_begins(
        &mut self,
        real: u64,
        who: (usize, u32),
        task: &Task,
        attempt: u32,
        beside: bool,
    ) {
        let (id, pushing) = (task.id(), &mut self.pushing);
        // One that has lain in a socket until its lease was over is stopped by a switch that fences, and by nobody else.
        let sent = self.own.get(&(who.0, who.1, id, attempt)).and_then(|nonce| self.sent.get(nonce));
        if sent.is_some_and(|sent| real > sent.real + sent.clock.real_length(sent.lease)) {
            return;
        }
        pushing.insert((id, attempt));
        let other = pushing.iter().find(|(of, other)| *of == id && *other != attempt).copied();
        if let Some((_, other)) = other.filter(|_| beside) {
            let what =
                format!("attempts {other} and {attempt} of {id} push side by side on {}", task.switch());
            self.fail(Invariant::I14, real, what);
        }
    }

    /// It is through with it: the switch is empty.
    pub(in crate::sim) fn push_ends(&mut self, task: &Task, attempt: u32) {
        self.pushing.remove(&(task.id(), attempt));
        if let Some(effects) = self.effects.get_mut(task.switch()) {
            effects.seen.clear();
        }
    }

    /// An agent says that a switch is as it should be, and it is not.
    pub(in crate::sim) fn untrue(&mut self, real: u64, task: &Task, attempt: u32) {
        let what = format!(
            "attempt {attempt} of {} is done, and that is not what {} does",
            task.id(),
            task.switch()
        );
        self.fail(Invariant::I13, real, what);
    }

    /// All switches are restarted: whatever they were at work on.
    pub(in crate::sim) fn forget_pushes(&mut self) {
        self.pushing.clear();
    }

    /// A switch has forgotten something.
    pub(in crate::sim) fn restarted(&mut self, switch: &str) {
        self.effects.insert(switch.to_owned(), Effects::default());
        self.raised.retain(|(of, _), _| of != switch);
    }
}
