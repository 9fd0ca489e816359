//! From an execution's outcome to the store.

use std::time::Duration;

use crate::config::MOST_PATIENCE;
use crate::io::{Action, Execution, Level, Notice, NoticeOf, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::{AttemptResult, Decision, Object, Outcome, Steps, text};
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Lacked, Look, Own, Purpose, State};
use super::{Controller, note};

impl Controller {
    /// The agent has ended.
    pub(super) fn executed(
        &mut self,
        now: Instant,
        id: TransactionId,
        attempt: u32,
        outcome: Execution,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get(&id) else { return };
        if entry.attempt != attempt {
            return;
        }
        let (State::Executing(own) | State::Stopping(own)) = entry.state.clone() else { return };
        let received = entry.received;
        let overtaken = match self.purpose(id) {
            Some(Purpose::Supersede { by }) => Some(by),
            _ => None,
        };
        let generation = entry.task.work().generation().unwrap_or(0);
        let mut lacked = Lacked::Nothing;
        let work = *entry.task.work();
        let switch = entry.task.switch().to_owned();
        let reason = match outcome {
            Execution::Done { report } => {
                let steps = Steps {
                    claim_sent_us: own.sent.micros_since(received),
                    claimed_us: own.claimed.unwrap_or(own.sent).micros_since(received),
                    executed_us: now.micros_since(received),
                };
                let enough = self.config.enough_patience(&work, now.since(own.sent), own.patience);
                if let Some(switch) = self.switches.get_mut(&switch) {
                    switch.patience = enough;
                }
                let outcome = Outcome::Done { report: text(&report), steps };
                self.decide(now, id, &own, outcome, actions);
                return;
            }
            Execution::Fenced { by, named } => {
                self.counters.fenced += 1;
                let ours = entry.task.fence(attempt);
                if (by.generation, by.audit) == (generation, ours.audit) && by.attempt > attempt {
                    // A later attempt is at work: it decides. This one writes no more.
                    self.counters.overtaken_owner += 1;
                    self.release(now, id);
                    self.set_state(id, State::Looking(Look::Decision, None));
                    self.set_due(id, Some(now + self.config.claim_delay()));
                    return;
                }
                if by > ours && overtaken.is_none() {
                    // Nobody has told of it: was it a controller's, whose task has left the queue, or a stranger's?
                    self.poll.hurry(now);
                    self.doubt_fence(id, own, (by, named), actions);
                    return;
                }
                format!("the switch has seen {by}")
            }
            Execution::Failed { reason } => reason,
            Execution::NeedsPush => {
                self.counters.pushes_put_off += 1;
                lacked = Lacked::Push;
                if let Some(entry) = self.tasks.get_mut(&id) {
                    entry.push = true;
                }
                "the switch lacks our pipeline, and the lease left no time to push it: the next attempt's does".to_owned()
            }
            Execution::Slow { reason } => {
                self.counters.attempts_late += 1;
                lacked = Lacked::Time;
                reason
            }
            Execution::TooLate => {
                self.counters.attempts_late += 1;
                lacked = Lacked::Time;
                "its time had passed before the switch could be asked".to_owned()
            }
            Execution::Stopped => "it was stopped".to_owned(),
        };
        if let Some(by) = overtaken {
            self.decide(now, id, &own, Outcome::Superseded { by }, actions);
        } else {
            self.fail_with(now, id, &own, &reason, lacked, actions);
        }
    }

    /// Writes the decision.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        id: TransactionId,
        own: &Own,
        outcome: Outcome,
        actions: &mut Vec<Action>,
    ) {
        self.release(now, id);
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let decision = Decision {
            owner: self.me.name.clone(),
            nonce: own.nonce.clone(),
            attempt: entry.attempt,
            event: entry.task.event().clone(),
            work: *entry.task.work(),
            outcome,
            at_ms: 0,
        };
        entry.state = State::Recording(Box::new(Object::Decision(decision)));
        self.record(now, id, actions);
    }

    /// Writes the attempt's result, or the decision if it was the last one.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        id: TransactionId,
        own: &Own,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        self.fail_with(now, id, own, reason, Lacked::Nothing, actions);
    }

    pub(super) fn fail_with(
        &mut self,
        now: Instant,
        id: TransactionId,
        own: &Own,
        reason: &str,
        lacked: Lacked,
        actions: &mut Vec<Action>,
    ) {
        self.counters.attempts_failed += 1;
        let patience = if lacked == Lacked::Time { self.more_time(id, own) } else { 0 };
        let Some(most) = self.tasks.get(&id).map(|entry| self.attempts(entry)) else { return };
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let attempt = entry.attempt;
        let reason = text(reason);
        entry.reason = Some(reason.clone());
        if attempt >= most {
            self.decide(now, id, own, Outcome::Failed { attempts: attempt, reason }, actions);
            return;
        }
        let event = entry.task.event();
        let unended = entry.unended.map_or(Duration::ZERO, |until| until.since(now));
        let result = AttemptResult {
            owner: self.me.name.clone(),
            nonce: own.nonce.clone(),
            attempt,
            source: event.source.clone(),
            occurrence: event.occurrence,
            reason: reason.clone(),
            push: lacked == Lacked::Push,
            patience,
            unended_ms: u64::try_from(unended.as_millis()).unwrap_or(u64::MAX),
            at_ms: 0,
        };
        entry.state = State::Recording(Box::new(Object::Result(result)));
        self.release(now, id);
        note(Level::Warn, Some(id), format!("attempt {attempt} failed: {reason}"), actions);
        self.record(now, id, actions);
    }

    /// Its switch needs more time than an attempt has had: the next attempts on it have more, also at other tasks, so that
    /// none fails in the same way for ever. Their patience.
    fn more_time(&mut self, id: TransactionId, own: &Own) -> u32 {
        let Some(entry) = self.tasks.get(&id) else { return 0 };
        let patience = self.config.more_patience(entry.task.work(), own.patience);
        let name = entry.task.switch().to_owned();
        self.be_patient(&name, patience);
        patience
    }

    /// Somebody has seen that a switch needs so much time.
    pub(super) fn be_patient(&mut self, name: &str, patience: u32) {
        if let Some(switch) = self.switches.get_mut(name) {
            switch.patience = switch.patience.max(patience.min(MOST_PATIENCE));
        }
    }

    /// Creates the decision or result that waits to be written.
    ///
    /// Past the horizon nobody cares: it was decided by others and swept, and would be decided again.
    pub(super) fn record(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let State::Recording(object) = &entry.state else { return };
        let event = entry.task.event();
        if !self.is(Mutant::RecordedLate) {
            if self.is_closed(event) {
                self.counters.refused_closed += 1;
                let text = "what became of it comes a horizon too late: it is not recorded".to_owned();
                note(Level::Warn, Some(id), text, actions);
                self.forget(now, id);
                return;
            }
            if !self.horizons.knows(&event.source, now, self.config.grace()) {
                self.horizons.want(&event.source.clone(), now);
                self.set_due(id, Some(now + super::HORIZON_WAIT));
                return;
            }
        }
        let key = match **object {
            Object::Decision(_) => Key::Decision(id),
            _ => Key::Result(id, entry.attempt),
        };
        let request = Request::Create { key, object: (**object).clone() };
        self.ask_for(id, request, actions);
    }

    pub(super) fn record_reply(
        &mut self,
        now: Instant,
        id: TransactionId,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let State::Recording(object) = &entry.state else { return };
        let attempt = entry.attempt;
        if !matches!(reply, Reply::Created | Reply::Exists) {
            // It is written over and over: nobody else can say what happened.
            self.again_later(id, now);
            return;
        }
        let Object::Decision(decision) = &**object else {
            // Somebody else shall try first; this one comes last. That a push is needed is nobody's fault.
            let push = matches!(&**object, Object::Result(result) if result.push);
            entry.attempt += 1;
            let more = if push { Duration::ZERO } else { self.config.backoff(entry.attempt) };
            self.beats.notice(Notice { id, attempt, what: NoticeOf::Failed });
            self.wait(now, id, more, actions);
            return;
        };
        let mut done = None;
        if *reply == Reply::Exists {
            // Its own earlier try, or another attempt's: decided either way.
            self.counters.decided_by_others += 1;
        } else {
            let (level, said) = match &decision.outcome {
                Outcome::Done { report, .. } => {
                    self.counters.done += 1;
                    done = decision
                        .work
                        .generation()
                        .map(|generation| (decision.event.switch.clone(), generation));
                    (Level::Info, format!("done: {report}"))
                }
                Outcome::Superseded { by } => {
                    self.counters.superseded += 1;
                    (Level::Info, format!("superseded by generation {by}"))
                }
                Outcome::Failed { attempts, reason } => {
                    self.counters.failed += 1;
                    let switch = &decision.event.switch;
                    // Whoever asked has the answer.
                    let level = if decision.work.kind().alerts { Level::Alert } else { Level::Warn };
                    (level, format!("{switch}: failed after {attempts} attempts: {reason}"))
                }
            };
            note(level, Some(id), said, actions);
            let (decision, took) = (Box::new(decision.clone()), now.since(entry.received));
            actions.push(Action::Ended { decision, took });
        }
        if let Some((switch, generation)) = done {
            self.keep_done(&switch, generation, now);
        }
        self.beats.notice(Notice { id, attempt, what: NoticeOf::Decided });
        if self.is(Mutant::ClaimSweptEarly) {
            let keys = (1..=attempt).map(|attempt| Key::Claim(id, attempt)).collect();
            self.ask(super::For::Deletes, Request::Delete(keys), actions);
        }
        self.decided(now, id);
    }

    /// What others' failed attempts teach: the next one's turn, after a pause.
    pub(super) fn after_failure(
        &mut self,
        now: Instant,
        id: TransactionId,
        attempt: u32,
        push: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        entry.attempt = attempt + 1;
        let more = if push { Duration::ZERO } else { self.config.backoff(attempt + 1) };
        self.wait(now, id, more, actions);
    }
}
