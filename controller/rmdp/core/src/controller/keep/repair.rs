//! A switch that differs is brought back: who may, from which entry of the log of audits, by which task.

use crate::io::{Action, Level, Listed, Reply, Request, Token};
use crate::key::{Key, Prefix, switch_id};
use crate::object::{AuditEntry, Object};
use crate::task::{AUDITS, Event, Task, Work};
use crate::time::Instant;

use super::super::entry::Origin;
use super::super::{Controller, For, note};
use super::{FIRST_PAUSE, Found, LIST, SOON, Step};

/// Generations that a keeper has not heard of, and that it asks for before it waits to hear.
const MOST_NEWER: u64 = 64;

impl Controller {
    pub(super) fn bring_back(&mut self, name: &str, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        kept.step = if kept.decided { LIST } else { Step::Deciding };
        self.keep_asks(name, actions);
    }

    pub(super) fn keep_goes_on(&mut self, name: &str, step: Step, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        kept.step = step;
        self.keep_asks(name, actions);
    }

    /// The request of the step at hand.
    pub(super) fn keep_asks(&mut self, name: &str, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get(name) else { return };
        let Some(switch) = switch_id(name) else { return };
        let request = match kept.step {
            Step::Noting | Step::Deciding => Request::Get(Key::Decision(kept.task.id())),
            Step::Overtaking(next) => Request::Get(Key::Generation(next)),
            Step::Overtaken(next) => match Event::generation(self.me.network, next, name).id() {
                Ok(id) => Request::Get(Key::Claim(id, 1)),
                Err(_) => return,
            },
            Step::Listing(_, _, ref after) => Request::List { prefix: Prefix::Audits, after: after.clone() },
            Step::Earlier(_, own) => match Event::audit(self.me.network, own, name).id() {
                Ok(id) => Request::Get(Key::Decision(id)),
                Err(_) => return,
            },
            Step::Fetching(_, own) => Request::Get(Key::Audit(own, switch)),
            Step::Appending(number) => {
                let Work::Converge { desired, entries, .. } = *kept.task.work() else { return };
                let entry = AuditEntry {
                    network: self.me.network,
                    number,
                    switch: name.to_owned(),
                    generation: kept.generation,
                    desired,
                    entries,
                    why: kept.why.clone(),
                    by: self.me.name.clone(),
                    at_ms: 0,
                };
                Request::Create { key: Key::Audit(number, switch), object: Object::Audit(entry) }
            }
            Step::Idle | Step::Auditing(_) | Step::Repairing(_) => return,
        };
        let token = self.ask(For::Keep(name.to_owned()), request, actions);
        if let Some(kept) = self.keep.kept.get_mut(name) {
            kept.token = Some(token);
        }
    }

    pub(in crate::controller) fn keep_reply(
        &mut self,
        now: Instant,
        name: &str,
        token: Token,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(kept) = self.keep.kept.get_mut(name).filter(|kept| kept.token == Some(token)) else {
            return;
        };
        kept.token = None;
        if reply == Reply::Unknown {
            match kept.step {
                // It is looked at all the same.
                Step::Noting => self.keep_rests(now, name),
                Step::Overtaking(_) | Step::Overtaken(_) => self.drifted(now, name, actions),
                _ => self.keep.set_due(name, now + FIRST_PAUSE * 2),
            }
            return;
        }
        let own = kept.task.event().occurrence;
        match (kept.step.clone(), reply) {
            (Step::Noting | Step::Deciding, Reply::Missing)
                if !self.horizons.is_closed(&kept.task.event().source, own) =>
            {
                self.own_task(now, name, actions);
            }
            (Step::Noting, _) => {
                (kept.decided, kept.failures) = (true, 0);
                self.keep_rests(now, name);
            }
            // Its task goes before, and tells of it soon.
            (Step::Overtaken(_), Reply::Found(_) | Reply::Foreign(_)) => {
                kept.differing = None;
                kept.failures = kept.failures.saturating_add(1);
                self.keep_rests(now, name);
            }
            // It may not compile, so that nobody begins with it; then the one after it may be at work.
            (Step::Overtaken(next), _) => self.overtaking(now, name, next.saturating_add(1), actions),
            (Step::Overtaking(next), reply) => self.overtaking_read(now, name, next, &reply, actions),
            (Step::Deciding, _) if kept.stirred => {
                (kept.decided, kept.step) = (true, Step::Idle);
                self.keep.set_due(name, now);
            }
            (Step::Deciding, _) => {
                kept.decided = true;
                self.keep_goes_on(name, LIST, actions);
            }
            (Step::Listing(mut highest, mut own, _), Reply::Page { keys, next }) => {
                for Listed { key, .. } in &keys {
                    if let Key::Audit(number, switch) = key {
                        highest = highest.max(*number);
                        own = if Some(*switch) == switch_id(name) { own.max(*number) } else { own };
                    }
                }
                let (finished, above) = (kept.finished, kept.above);
                let step = match next {
                    Some(next) => Step::Listing(highest, own, Some(next)),
                    _ if own > finished => Step::Earlier(highest, own),
                    _ => Step::Appending(highest.max(above).saturating_add(1)),
                };
                self.keep_goes_on(name, step, actions);
            }
            (Step::Earlier(highest, own), Reply::Missing) if !self.horizons.is_closed(AUDITS, own) => {
                self.keep_goes_on(name, Step::Fetching(highest, own), actions);
            }
            (Step::Fetching(_, own), Reply::Found(object)) => {
                let entry = match *object {
                    Object::Audit(entry)
                        if kept.is_at(entry.generation)
                            && kept.task.work().is_same_state(entry.desired, entry.entries) =>
                    {
                        entry
                    }
                    // Of an older generation that wanted something else.
                    _ => {
                        kept.finished = own;
                        self.keep_goes_on(name, LIST, actions);
                        return;
                    }
                };
                self.repair(now, name, &entry, actions);
            }
            (Step::Earlier(_, own) | Step::Fetching(_, own), _) => {
                kept.finished = own;
                self.keep_goes_on(name, LIST, actions);
            }
            (Step::Appending(number), Reply::Created) => {
                let Work::Converge { desired, entries, .. } = *kept.task.work() else { return };
                let generation = kept.generation;
                let (why, by) = (kept.why.clone(), self.me.name.clone());
                let (switch, network) = (name.to_owned(), self.me.network);
                let entry =
                    AuditEntry { network, number, switch, generation, desired, entries, why, by, at_ms: 0 };
                self.repair(now, name, &entry, actions);
            }
            // Somebody else has the number.
            (Step::Appending(_), _) => self.keep_goes_on(name, LIST, actions),
            _ => self.keep.set_due(name, now + FIRST_PAUSE * 2),
        }
    }

    /// What the log has of a generation after the one that is kept.
    fn overtaking_read(
        &mut self,
        now: Instant,
        name: &str,
        next: u64,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let task = match reply {
            Reply::Found(object) => {
                // Whoever has read it knows it: its tasks may wait for just that.
                self.proved(now, &Key::Generation(next), reply.clone(), actions);
                match &**object {
                    Object::Generation(record) if record.network == self.me.network => record.task(name),
                    _ => None,
                }
            }
            Reply::Foreign(_) => None,
            _ => {
                self.drifted(now, name, actions);
                return;
            }
        };
        if task.is_some_and(|task| task.event().occurrence == next) {
            self.keep_goes_on(name, Step::Overtaken(next), actions);
        } else {
            self.overtaking(now, name, next.saturating_add(1), actions);
        }
    }

    /// Asks for the next generation that may be at work on a switch, or gives up where there are too many of them: then it is
    /// looked at again when the newest is known.
    fn overtaking(&mut self, now: Instant, name: &str, next: u64, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        if next > kept.generation.saturating_add(MOST_NEWER) {
            kept.differing = None;
            kept.failures = kept.failures.saturating_add(1);
            self.keep_rests(now, name);
        } else {
            self.keep_goes_on(name, Step::Overtaking(next), actions);
        }
    }

    fn repair(&mut self, now: Instant, name: &str, entry: &AuditEntry, actions: &mut Vec<Action>) {
        let (Some(kept), Ok(task)) = (self.keep.kept.get_mut(name), entry.task()) else { return };
        let id = task.id();
        (kept.step, kept.done) = (Step::Repairing(id), false);
        // Otherwise it is only taken over.
        kept.differs = matches!(kept.found, Found::Differs(_));
        self.counters.repairs += 1;
        let told =
            format!("audit {} brings {name} to generation {}: {}", entry.number, entry.generation, entry.why);
        note(Level::Info, Some(id), told, actions);
        self.keep.set_due(name, now + SOON * 10);
        self.take(now, task, Origin::Audit, actions);
    }

    /// A task is out of mind: if it was a repair, the switch waits for its next time.
    pub(in crate::controller) fn keep_ended(&mut self, now: Instant, task: &Task, failed: Option<String>) {
        let name = task.switch();
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        if kept.step != Step::Repairing(task.id()) {
            return;
        }
        if task.event().occurrence > kept.finished && self.decided.has(task.id(), now) {
            kept.finished = task.event().occurrence;
        }
        if kept.done {
            kept.failures = 0;
            kept.repairs += u64::from(kept.differs);
        } else {
            kept.failures += 1;
            kept.vain = failed.or(kept.vain.take());
        }
        self.keep_rests(now, name);
    }

    /// A stranger's fence stands above ours: audits have to have higher numbers, as far as that helps.
    pub(in crate::controller) fn keep_above(&mut self, name: &str, generation: u64, audit: u64) {
        if let Some(kept) = self.keep.kept.get_mut(name)
            && kept.generation == generation
            && audit < crate::task::MAX_AUDIT
        {
            kept.above = kept.above.max(audit);
        }
    }
}
