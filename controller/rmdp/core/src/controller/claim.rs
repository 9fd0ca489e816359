//! From a task's turn to its execution.

use std::time::Duration;

use crate::io::{Action, Level, Notice, NoticeOf, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::{Claim, Object, Outcome};
use crate::task::{Event, Fence, TransactionId};
use crate::time::Instant;

use super::entry::{Doubt, Lacked, Look, Origin, Own, Purpose, State, Tracked, Watched};
use super::{Controller, note};

impl Controller {
    /// What the task's next attempt would be for, as things stand.
    pub(super) fn purpose(&self, id: TransactionId) -> Option<Purpose> {
        let entry = self.tasks.get(&id)?;
        let newest = self.switches.get(entry.task.switch()).map_or(0, |switch| switch.newest);
        let overtaken = entry.task.work().generation().is_some_and(|generation| generation < newest);
        Some(if overtaken && !self.is(Mutant::SupersededExecuted) {
            Purpose::Supersede { by: newest }
        } else if entry.attempt > self.attempts(entry) {
            Purpose::Fail
        } else {
            Purpose::Execute
        })
    }

    /// How many attempts a task has. One that found the switch without our pipeline has written nothing, and costs none.
    pub(super) fn attempts(&self, entry: &Tracked) -> u32 {
        entry.task.work().attempts(self.config.attempts.max) + u32::from(entry.push)
    }

    /// Until when another task of this switch, seen in the store, or an attempt at this one that was gone over, may push a
    /// pipeline: two pushes side by side would empty
    /// what the first one's owner has written since.
    fn pushes_until(&self, now: Instant, id: TransactionId, switch: &str) -> Option<Instant> {
        let here = self.tasks.iter().filter(|(_, entry)| entry.task.switch() == switch);
        let until = here.flat_map(|(other, entry)| {
            let watched = match entry.state {
                State::Watching(watched) | State::Looking(_, Some(watched)) if *other != id => {
                    Some(watched.until)
                }
                _ => None,
            };
            [watched, entry.unended].into_iter().flatten()
        });
        until.filter(|until| *until > now).max()
    }

    /// Its turn has come.
    pub(super) fn claim(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        if self.draining {
            self.forget(now, id);
            return;
        }
        let Some(purpose) = self.purpose(id) else { return };
        let Some(entry) = self.tasks.get(&id) else { return };
        let event = entry.task.event();
        if self.is_closed(event) && !self.is(Mutant::ClosedClaimed) {
            // Decided and swept, or never queued in time. Only the decision's absence says which.
            self.set_state(id, State::Looking(Look::Decision, None));
            self.unblock(now, id);
            self.look(id, actions);
            return;
        }
        let knows = self.horizons.knows(&event.source, now, self.config.grace())
            || self.is(Mutant::StaleHorizon) && self.horizons.read(&event.source).is_some();
        if !knows && !self.is(Mutant::NoHorizon) {
            self.horizons.want(&event.source.clone(), now);
            self.set_due(id, Some(now + super::HORIZON_WAIT));
            return;
        }
        if !self.goes_over(now, id, actions) {
            return;
        }
        let Some(entry) = self.tasks.get(&id) else { return };
        if purpose == Purpose::Execute
            && entry.push
            && let Some(until) = self.pushes_until(now, id, entry.task.switch())
        {
            self.unblock(now, id);
            self.set_due(id, Some(until.min(now + self.config.watch())));
            return;
        }
        if purpose == Purpose::Execute {
            let (gives_way, received) = (entry.task.work().kind().gives_way, entry.received);
            let slots = self.config.limits.executions as usize;
            let Some(switch) = self.switches.get_mut(entry.task.switch()) else { return };
            if switch.running.is_some_and(|running| running != id) {
                switch.blocked.insert((gives_way, id));
                return;
            }
            if switch.running.is_none() {
                if self.slots >= slots {
                    self.ready.insert((gives_way, received, id));
                    return;
                }
                switch.running = Some(id);
                self.slots += 1;
            }
        }
        if purpose != Purpose::Execute {
            self.unblock(now, id);
        }
        self.next_nonce += 1;
        let epoch = if self.is(Mutant::NonceOfName) { 0 } else { self.me.epoch };
        let nonce = format!("{}/{epoch}/{}", self.me.name, self.next_nonce);
        let Some(entry) = self.tasks.get(&id) else { return };
        let switch = self.switches.get(entry.task.switch());
        let (measured, patience) = switch.map_or((None, 0), |switch| (switch.pushed, switch.patience));
        let push = self.config.push_budget(entry.task.switch(), measured);
        let work = entry.task.work();
        let (lease, budget) = self.config.patient(work, patience);
        // One that is known to be quick fits into any lease, and half of it is left.
        let (lease, push) = match entry.unended.map(|until| until.since(now)) {
            // Who was gone over may be at a push: none beside it, nor by whoever goes over this one.
            Some(unended) if !unended.is_zero() => {
                (lease.max(unended.min(self.config.longest_lease())), Duration::ZERO)
            }
            _ if entry.push => (self.config.lease_with_push(lease, push), push),
            _ if push * 2 <= lease => (lease, push),
            _ => (lease, Duration::ZERO),
        };
        let own = Own { nonce, sent: now, lease, budget, patience, push, claimed: None, current: false };
        self.own.insert(id, entry.attempt);
        self.beats.own(true);
        self.went_over(id);
        self.set_state(id, State::Claiming(own));
        self.send_claim(now, id, actions);
    }

    pub(super) fn set_state(&mut self, id: TransactionId, state: State) {
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.state = state;
        }
    }

    /// Creates the claim object. The same claim may be sent again; its nonce and its T0 stay.
    pub(super) fn send_claim(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        let fresh = self.is(Mutant::FreshT0);
        let executes = self.purpose(id) == Some(Purpose::Execute);
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let attempt = entry.attempt;
        let State::Claiming(own) = &mut entry.state else { return };
        if fresh {
            own.sent = now;
        }
        let event = entry.task.event();
        let received = match entry.origin {
            Origin::Queue => "queue".to_owned(),
            Origin::Audit => "audit".to_owned(),
            Origin::Log => "log".to_owned(),
            Origin::Sender(sender) => {
                self.config.sender(sender).map_or_else(|| sender.to_string(), |member| member.name.clone())
            }
        };
        let claim = Claim {
            owner: self.me.name.clone(),
            nonce: own.nonce.clone(),
            attempt,
            lease_ms: u64::try_from(own.lease.as_millis()).unwrap_or(u64::MAX),
            source: event.source.clone(),
            occurrence: event.occurrence,
            switch: event.switch.clone(),
            received,
            waited_us: now.micros_since(entry.received),
            at_ms: 0,
        };
        if executes {
            actions.push(Action::Prepare { task: entry.task.clone() });
        }
        let request = Request::Create { key: Key::Claim(id, attempt), object: Object::Claim(claim) };
        self.ask_for(id, request, actions);
    }

    pub(super) fn claim_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let State::Claiming(own) = entry.state.clone() else { return };
        if *reply == Reply::Created {
            self.owned(now, id, own, actions);
            return;
        }
        if *reply == Reply::Unknown {
            self.counters.claims_unclear += 1;
        }
        // 412 may be this claim's own earlier try; an unclear one may have landed. The nonce tells.
        let key = Key::Claim(id, entry.attempt);
        entry.state = State::Confirming(own);
        self.ask_for(id, Request::Get(key), actions);
    }

    pub(super) fn confirm_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Confirming(own) = entry.state.clone() else { return };
        let attempt = entry.attempt;
        match reply {
            Reply::Found(object) => match *object {
                Object::Claim(claim) if claim.nonce == own.nonce => self.owned(now, id, own, actions),
                Object::Claim(claim) => {
                    self.counters.claims_lost += 1;
                    self.watch_claim(now, id, attempt, &claim, actions);
                }
                _ => self.again_later(id, now),
            },
            Reply::Foreign(_) => self.watch_stranger(now, id, attempt, actions),
            // It may still land. The same claim again, as long as it would be of use.
            Reply::Missing if now < own.start_before() || self.is(Mutant::FreshT0) => {
                self.set_state(id, State::Claiming(own));
                self.again_later(id, now);
            }
            Reply::Missing if self.is(Mutant::UnseenIsOver) => {
                let until = now + own.lease.mul_f64(1.5);
                self.watch(now, id, Watched { attempt, until, held: None }, actions);
            }
            // Too late for it. It may still land, or never: the attempt is over only once it is seen in the store.
            Reply::Missing => {
                self.release(now, id);
                self.set_state(id, State::Looking(Look::Decision, None));
                self.again_later(id, now);
            }
            _ => self.again_later(id, now),
        }
    }

    /// The attempt is ours.
    fn owned(&mut self, now: Instant, id: TransactionId, mut own: Own, actions: &mut Vec<Action>) {
        own.claimed = Some(now);
        self.counters.claims_won += 1;
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let attempt = entry.attempt;
        entry.state = State::Checking(own.clone());
        self.beats.notice(Notice { id, attempt, what: NoticeOf::Claimed });
        if self.is(Mutant::QueueSweptAtClaim) {
            self.deletes.add(id, now);
        }
        if attempt == 1 || self.is(Mutant::NoSecondLook) {
            self.execute(now, id, own, actions);
        } else {
            // The attempt before may have been decided after its lease.
            self.ask_for(id, Request::Get(Key::Decision(id)), actions);
        }
    }

    pub(super) fn check_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Checking(own) = entry.state.clone() else { return };
        match reply {
            Reply::Found(_) | Reply::Foreign(_) => {
                self.counters.decided_by_others += 1;
                self.decided(now, id);
            }
            Reply::Missing => self.execute(now, id, own, actions),
            _ => self.again_later(id, now),
        }
    }

    /// The task for the same switch that has this fence.
    pub(super) fn sibling(&self, id: TransactionId, fence: Fence) -> Option<TransactionId> {
        let task = &self.tasks.get(&id)?.task;
        if task.event().is_audit() || fence.audit > 0 {
            return fence.event(self.me.network, task.switch()).id().ok();
        }
        // Only where the generation is the occurrence are siblings named by it.
        if task.work().generation() != Some(task.event().occurrence) {
            return None;
        }
        Event { occurrence: fence.generation, ..task.event().clone() }.id().ok()
    }

    /// The switch has seen a higher fence: whose?
    pub(super) fn doubt_fence(
        &mut self,
        id: TransactionId,
        own: Own,
        (by, named): (Fence, String),
        actions: &mut Vec<Action>,
    ) {
        let lacks = self.lacks(by.generation);
        let doubt = if lacks { Doubt::Logged(by, named) } else { Doubt::Fenced(by, named) };
        self.set_state(id, State::Doubting(own, doubt));
        self.doubt(id, actions);
    }

    /// Asks about a newer generation, or its task.
    pub(super) fn doubt(&mut self, id: TransactionId, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Doubting(_, doubt) = &entry.state else { return };
        let key = match doubt {
            Doubt::Heard(generation) => {
                let fence = Fence { generation: *generation, audit: 0, attempt: 1 };
                self.sibling(id, fence).map(Key::Decision)
            }
            Doubt::Logged(by, _) => Some(Key::Generation(by.generation)),
            Doubt::Fenced(by, _) => self.sibling(id, *by).map(|sibling| Key::Claim(sibling, 1)),
        };
        // A task without siblings is asked about itself: there is no decision, and its claim proves nothing.
        let key = key.unwrap_or(Key::Decision(id));
        self.ask_for(id, Request::Get(key), actions);
    }

    pub(super) fn doubt_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Doubting(mut own, doubt) = entry.state.clone() else { return };
        let (switch, generation) = (entry.task.switch().to_owned(), entry.task.work().generation());
        let is_audit = entry.task.event().is_audit();
        match (doubt, reply) {
            (_, Reply::Unknown) => self.again_later(id, now),
            (Doubt::Logged(by, named), Reply::Found(object)) => {
                self.proved(now, &Key::Generation(by.generation), Reply::Found(object.clone()), actions);
                if self.lacks(by.generation) {
                    let reason = "the switch has seen a generation of another network".to_owned();
                    self.fail(now, id, &own, &reason, actions);
                } else {
                    self.doubt_fence(id, own, (by, named), actions);
                }
            }
            // It was appended after the store was asked.
            (Doubt::Logged(by, named), _) if !self.lacks(by.generation) => {
                self.doubt_fence(id, own, (by, named), actions);
            }
            (Doubt::Logged(by, _), Reply::Foreign(_)) => {
                let reason =
                    format!("the switch has seen {by}, and what the intent log has of it cannot be read");
                self.fail(now, id, &own, &reason, actions);
            }
            // A repair of this generation is at work, so this task is decided, or this repair is not the last.
            (Doubt::Fenced(by, _), Reply::Found(_) | Reply::Foreign(_))
                if Some(by.generation) == generation =>
            {
                if is_audit {
                    let outcome = Outcome::Superseded { by: by.generation };
                    self.decide(now, id, &own, outcome, actions);
                } else {
                    self.release(now, id);
                    self.set_state(id, State::Looking(Look::Decision, None));
                    self.look(id, actions);
                }
            }
            // A claim that cannot be read is a claim.
            (Doubt::Heard(by), Reply::Found(_))
            | (Doubt::Fenced(Fence { generation: by, .. }, _), Reply::Found(_) | Reply::Foreign(_)) => {
                self.learn(&switch, by, actions);
                self.decide(now, id, &own, Outcome::Superseded { by }, actions);
            }
            (Doubt::Heard(_), _) => {
                own.current = true;
                self.execute(now, id, own, actions);
            }
            (Doubt::Logged(by, named) | Doubt::Fenced(by, named), _) => {
                self.counters.strangers += 1;
                self.keep_above(&switch, by.generation, by.audit);
                actions.push(Action::Disown { switch, fence: by });
                // It looks like one of ours, of a generation that was.
                let lost = if by.attempt > 0 && generation.is_some_and(|own| own < by.generation) {
                    "; or the store has lost that generation, as one that was restored from a backup: `outplane store recover` tells"
                } else {
                    ""
                };
                let reason = format!(
                    "another program holds the switch, or held it: it has taken {named} ({by}), which no controller of ours \
                     has; stop that program, and if this stays, restart the server in the switch that it speaks to: a switch \
                     forgets who was there only then{lost}"
                );
                self.fail(now, id, &own, &reason, actions);
            }
        }
    }

    /// Whether the intent log is not known to have a generation.
    fn lacks(&self, generation: u64) -> bool {
        !self.proofs.has(generation) && !self.is(Mutant::UnprovenBelieved)
    }

    fn holds_switch(&self, id: TransactionId) -> bool {
        let switch = self.tasks.get(&id).and_then(|entry| self.switches.get(entry.task.switch()));
        switch.is_some_and(|switch| switch.running == Some(id))
    }

    /// Lets the agent work, if there is time left; or decides without it.
    fn execute(&mut self, now: Instant, id: TransactionId, own: Own, actions: &mut Vec<Action>) {
        let start_before = own.start_before();
        let mut push = (!own.push.is_zero()).then(|| ((own.sent + own.lease).before(own.push), own.push));
        if self.is(Mutant::PushOutsideLease) {
            push = Some((start_before, self.config.longest_lease()));
        }
        let late = now >= start_before && !self.is(Mutant::LateStart);
        let Some(purpose) = self.purpose(id) else { return };
        let holds = self.holds_switch(id);
        let generation = self.tasks.get(&id).and_then(|entry| entry.task.work().generation());
        // Of that generation the log may say that it wants of this switch what an earlier one has brought it to.
        let heard = self.tasks.get(&id).map_or(0, |entry| {
            self.proofs.since(self.newest_heard, entry.task.switch()).unwrap_or(self.newest_heard)
        });
        let lacks = generation.is_some_and(|generation| self.lacks(generation));
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let attempt = entry.attempt;
        match purpose {
            Purpose::Supersede { by } => self.decide(now, id, &own, Outcome::Superseded { by }, actions),
            Purpose::Fail => {
                let reason = entry.reason.clone().unwrap_or_else(|| "its controllers were lost".to_owned());
                let outcome = Outcome::Failed { attempts: attempt - 1, reason };
                self.decide(now, id, &own, outcome, actions);
            }
            Purpose::Execute if !holds => {
                // It was claimed to be superseded, and what would supersede it has been forgotten since.
                self.fail(now, id, &own, "its switch was not free", actions);
            }
            // Whatever went wrong before: no switch sees the fence of a generation that is not there.
            Purpose::Execute if lacks => {
                self.fail(now, id, &own, "its generation is not in the intent log", actions);
            }
            Purpose::Execute if late => {
                self.counters.attempts_late += 1;
                let reason = "its time had passed before execution could start".to_owned();
                self.fail_with(now, id, &own, &reason, Lacked::Time, actions);
            }
            Purpose::Execute
                if !own.current && entry.task.work().generation().is_some_and(|own| own < heard) =>
            {
                entry.state = State::Doubting(own, Doubt::Heard(heard));
                self.doubt(id, actions);
            }
            Purpose::Execute => {
                self.counters.executions += 1;
                let (task, received) = (entry.task.clone(), entry.received);
                let budget = own.budget;
                entry.state = State::Executing(own);
                if let (Some(switch), true) =
                    (self.switches.get_mut(task.switch()), task.work().generation().is_some())
                {
                    switch.stirred = false;
                }
                let text = format!(
                    "executing attempt {attempt} on {}, {:.3} ms after it came",
                    task.switch(),
                    now.since(received).as_secs_f64() * 1e3
                );
                note(Level::Info, Some(id), text, actions);
                let unraised = self.is(Mutant::FenceNotRaised) && attempt > 1;
                let fence = task.fence(attempt - u32::from(unraised));
                actions.push(Action::Execute { task, attempt, fence, start_before, budget, push });
                if self.is(Mutant::ToldUndecided) {
                    self.beats.notice(Notice { id, attempt, what: NoticeOf::Decided });
                }
            }
        }
    }
}
