//! What controllers tell each other in heartbeats, and people about the degraded. Controllers believe nothing that is
//! told: it says when to look.

use std::time::Duration;

use crate::config::Role;
use crate::degradation::{Change, Fault};
use crate::io::{Action, Heartbeat, Level, Notice, NoticeOf, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::news as words;
use crate::object::{Alert, Object};
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Look, State};
use super::{Controller, For, HINT, LONGEST_RETRY, Owner, note};

/// How often an alert is written again while it holds: an older one is nobody's any more.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// An alert that this node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Told {
    /// When next; None while a request is under way.
    pub(super) due: Option<Instant>,
    /// It was written, and not taken away since.
    stands: bool,
}

impl Controller {
    pub(super) fn heard(
        &mut self,
        now: Instant,
        sender: u32,
        place: (u64, u64),
        heartbeat: &Heartbeat,
        actions: &mut Vec<Action>,
    ) {
        let streams = (&mut self.freshness, &mut self.liveness);
        let said = (sender, place, &heartbeat.heard[..]);
        let fresh = words::is_fresh(streams, &self.config, &self.me.name, said, now, actions);
        if fresh || self.is(Mutant::StaleIsLife) {
            self.liveness.heard(sender, heartbeat.leaves(), now);
            self.degradation.heard(now, sender, &heartbeat.lateness);
        } else {
            self.counters.heartbeats_stale += 1;
        }
        let owner = Owner { sender, epoch: place.0 };
        self.owner_heard(now, owner, (heartbeat.interval_ms, fresh), actions);
        // What was true of a task, or of the log, once, is true.
        self.told_of(now, heartbeat.generation, true, actions);
        for notice in &heartbeat.notices {
            match notice.what {
                NoticeOf::Claimed => self.told_claimed(now, *notice, owner),
                NoticeOf::Decided => self.told_decided(now, notice.id),
                NoticeOf::Failed => self.told_failed(now, *notice),
            }
        }
    }

    /// A hint that somebody has it: looked after later, or when its owner has fallen silent. The attempt in it is not believed.
    pub(super) fn told_claimed(&mut self, now: Instant, notice: Notice, owner: Owner) {
        let Some(entry) = self.tasks.get(&notice.id) else { return };
        if entry.state.is_own() || notice.attempt < entry.attempt {
            return;
        }
        self.told_owner(notice.id, owner, notice.attempt);
        let Some(entry) = self.tasks.get_mut(&notice.id).filter(|entry| entry.state == State::Waiting) else {
            return;
        };
        if cfg!(feature = "sim") && self.mutant == Some(Mutant::NoticeIsTruth) {
            self.told_decided(now, notice.id);
            return;
        }
        entry.state = State::Looking(Look::Decision, None);
        self.unblock(now, notice.id);
        self.look_at(now, notice.id, now + self.config.watch());
    }

    /// A hint that another's attempt has failed: its result is looked for at once by the first in rank, by the others
    /// later, when the next attempt may be claimed already.
    pub(super) fn told_failed(&mut self, now: Instant, notice: Notice) {
        let Some(entry) = self.tasks.get(&notice.id) else { return };
        if entry.state.is_own() || entry.token.is_some() || notice.attempt < entry.attempt {
            return;
        }
        let switch = entry.task.switch().to_owned();
        let rank = self.rank(now, &switch, notice.attempt.saturating_add(1));
        let pause = if rank == 0 { Duration::ZERO } else { self.config.watch() };
        let watched = match entry.state {
            State::Watching(watched) | State::Looking(_, Some(watched)) => Some(watched),
            _ => None,
        };
        self.unblock(now, notice.id);
        self.set_state(notice.id, State::Looking(Look::Decision, watched));
        self.set_due(notice.id, Some(now + pause));
    }

    /// A hint that it is over: out of mind, unless the queue still has it a while later.
    pub(super) fn told_decided(&mut self, now: Instant, id: TransactionId) {
        if self.tasks.get(&id).is_some_and(|entry| entry.state.is_own()) {
            return;
        }
        self.keep_hears(now, id);
        self.forget(now, id);
        let until = if self.is(Mutant::NoticeIsTruth) { Instant::NEVER } else { now + HINT };
        if self.hinted.insert(id, until, now) {
            self.counters.memory_full += 1;
        }
    }

    pub(super) fn beat(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.beats.due().is_none_or(|due| due > now) {
            return;
        }
        words::tell(&mut self.liveness, &self.config, &mut self.counters, now, actions);
        for change in self.degradation.judge(now) {
            self.tell(now, &change, actions);
        }
        self.tell_store(now, actions);
        let lateness = self.degradation.rows(now);
        let heard = self.freshness.rows();
        let room = outplane_rmdp_wire::notices_that_fit(lateness.len(), heard.len());
        let mut notices = self.beats.beat(now, room);
        self.name_own(room, &mut notices);
        let (role, generation, interval_ms) = (Role::Controller, self.newest_told, self.beats.promise());
        actions.push(Action::Heartbeat(Heartbeat {
            role,
            generation,
            interval_ms,
            notices,
            lateness,
            heard,
        }));
    }

    /// A heartbeat names the attempts that its sender owns, in turns if there are more than fit, so that its silence counts.
    fn name_own(&mut self, room: usize, notices: &mut Vec<Notice>) {
        let tasks = &self.tasks;
        self.own.retain(|id, attempt| {
            tasks.get(id).is_some_and(|entry| entry.state.is_own() && entry.attempt == *attempt)
        });
        self.beats.own(!self.own.is_empty());
        let is_known = |id| {
            let state = tasks.get(id).map(|entry| &entry.state);
            state.is_some_and(|state| !matches!(state, State::Claiming(_) | State::Confirming(_)))
        };
        let last = self.named;
        let after = self.own.iter().filter(|(id, _)| Some(**id) > last);
        let before = self.own.iter().filter(|(id, _)| Some(**id) <= last);
        for (id, attempt) in after.chain(before).filter(|(id, _)| is_known(id)) {
            if notices.len() >= room {
                break;
            }
            let notice = Notice { id: *id, attempt: *attempt, what: NoticeOf::Claimed };
            if !notices.contains(&notice) {
                notices.push(notice);
                self.named = Some(*id);
            }
        }
    }

    /// Something was found, or is over: everybody tells its own people.
    fn tell(&mut self, now: Instant, change: &Change, actions: &mut Vec<Action>) {
        let Some(member) = self.config.sender(change.sender) else { return };
        self.counters.degraded += u64::from(change.found);
        self.counters.spared += u64::from(change.found && !change.moved && change.of != Fault::Path);
        let (level, what) = match (change.found, change.hard) {
            (false, _) => (Level::Info, "is well again"),
            (true, true) => (Level::State, "is badly degraded"),
            (true, false) => (Level::Warn, "is degraded"),
        };
        note(level, None, format!("{} {what}: {}", member.name, change.reason), actions);
        if let Some(told) = self.alerts.get_mut(&change.sender)
            && told.stands
        {
            told.due = Some(now);
        }
    }

    /// The first in rank tells the store, and goes on telling it for as long as it is so, whoever did before.
    fn tell_store(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let found: Vec<_> = self.degradation.standing().filter(|found| found.of.alert().is_some()).collect();
        let over = |sender: &u32| found.iter().all(|found| found.sender != *sender);
        let stands = self.alerts.iter().filter(|(_, told)| told.stands);
        let mut write: Vec<_> = stands.map(|(sender, _)| *sender).filter(over).collect();
        for Change { sender, .. } in &found {
            let Some(member) = self.config.sender(*sender) else { continue };
            if !self.alerts.contains_key(sender) && self.rank(now, &member.name, 1) == 0 {
                write.push(*sender);
            }
        }
        for sender in write {
            self.write_alert(sender, actions);
        }
    }

    /// Writes what is found about a node as an alert; if nothing is, takes the alert away.
    pub(super) fn write_alert(&mut self, sender: u32, actions: &mut Vec<Action>) {
        let Some(node) = self.config.sender(sender).map(|member| member.name.clone()) else {
            self.alerts.remove(&sender);
            return;
        };
        let key = Key::Degraded(node.clone());
        let found = self.degradation.standing().find(|found| found.sender == sender);
        let alert = found.and_then(|found| {
            let ranks = if found.moved { "" } else { "; ranks are not moved for it" };
            let reason = format!("{}{ranks}", found.reason);
            let (of, by) = (found.of.alert()?, self.me.name.clone());
            Some(Alert { node, of, hard: found.hard, reason, by, at_ms: 0 })
        });
        let request = match alert {
            Some(alert) => Request::Put { key, object: Object::Degraded(alert) },
            None => Request::Delete(vec![key]),
        };
        self.alerts.insert(sender, Told { due: None, stands: false });
        self.ask(For::Alert(sender), request, actions);
    }

    pub(super) fn alert_written(&mut self, now: Instant, sender: u32, reply: &Reply) {
        let holds =
            self.degradation.standing().any(|found| found.sender == sender && found.of.alert().is_some());
        match (reply, holds) {
            (Reply::Done, false) => {
                self.alerts.remove(&sender);
            }
            (Reply::Done, true) => {
                self.alerts.insert(sender, Told { due: Some(now + TOLD_AGAIN), stands: true });
            }
            _ => {
                self.alerts.insert(sender, Told { due: Some(now + LONGEST_RETRY), stands: false });
            }
        }
    }
}
