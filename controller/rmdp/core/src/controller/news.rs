//! What controllers tell each other in heartbeats, and people about the degraded. Controllers believe nothing that is
//! told: it says when to look.

use std::time::Duration;

use crate::config::Role;
use crate::degradation::Change;
use crate::io::{Action, Heartbeat, Level, Notice, NoticeOf, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::{Alert, Object};
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Look, State};
use super::{Controller, For, HINT, LONGEST_RETRY, note};

impl Controller {
    pub(super) fn heard(
        &mut self,
        now: Instant,
        sender: u32,
        place: (u64, u64),
        heartbeat: &Heartbeat,
        actions: &mut Vec<Action>,
    ) {
        let own = self.config.member(&self.me.name).map(|member| member.sender);
        let member = self.config.sender(sender).is_some();
        let fresh = member && self.freshness.hears(own, sender, place, &heartbeat.heard);
        if fresh || self.is(Mutant::StaleIsLife) {
            self.liveness.heard(sender, now);
            self.degradation.heard(now, sender, &heartbeat.lateness);
        } else {
            self.counters.heartbeats_stale += 1;
        }
        // What was true of a task, or of the log, once, is true.
        self.told_of(now, heartbeat.generation, true, actions);
        for notice in &heartbeat.notices {
            match notice.what {
                NoticeOf::Claimed => self.told_claimed(now, *notice),
                NoticeOf::Decided => self.told_decided(now, notice.id),
                NoticeOf::Failed => self.told_failed(now, *notice),
            }
        }
    }

    /// A hint that somebody has it: looked after later. The attempt in it is not believed.
    pub(super) fn told_claimed(&mut self, now: Instant, notice: Notice) {
        let Some(entry) = self.tasks.get_mut(&notice.id) else { return };
        if entry.state != State::Waiting || notice.attempt < entry.attempt {
            return;
        }
        if cfg!(feature = "sim") && self.mutant == Some(Mutant::NoticeIsTruth) {
            self.told_decided(now, notice.id);
            return;
        }
        entry.state = State::Looking(Look::Decision, None);
        self.unblock(now, notice.id);
        self.set_due(notice.id, Some(now + self.config.watch()));
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
        for change in self.degradation.judge(now) {
            self.alert(now, change, actions);
        }
        let lateness = self.degradation.rows();
        let heard = self.freshness.rows();
        let room = outplane_rmdp_wire::notices_that_fit(lateness.len(), heard.len());
        let notices = self.beats.beat(now, room);
        let generation = self.newest_told;
        let role = Role::Controller;
        actions.push(Action::Heartbeat(Heartbeat { role, generation, notices, lateness, heard }));
    }

    /// A mark has come or gone: everybody tells its own people, the first in rank tells the store.
    pub(super) fn alert(&mut self, now: Instant, change: Change, actions: &mut Vec<Action>) {
        let Some(member) = self.config.sender(change.sender) else { return };
        let node = member.name.clone();
        let (level, what) = match (change.marked, change.hard) {
            (false, _) => (Level::Info, "is well again"),
            (true, true) => (Level::Alert, "is badly degraded"),
            (true, false) => (Level::Warn, "is degraded"),
        };
        note(level, None, format!("{node} {what}: {}", change.reason), actions);
        let alert = change.marked.then(|| Alert {
            node: node.clone(),
            of: change.of,
            hard: change.hard,
            reason: change.reason,
            by: self.me.name.clone(),
            at_ms: 0,
        });
        if self.rank(now, &node, 1) == 0 {
            self.alerts.insert(change.sender, (alert, None));
            self.write_alert(change.sender, actions);
        }
    }

    pub(super) fn write_alert(&mut self, sender: u32, actions: &mut Vec<Action>) {
        let Some(node) = self.config.sender(sender).map(|member| member.name.clone()) else {
            self.alerts.remove(&sender);
            return;
        };
        let Some((alert, due)) = self.alerts.get_mut(&sender) else { return };
        *due = None;
        let key = Key::Degraded(node);
        let request = match alert.clone() {
            Some(alert) => Request::Put { key, object: Object::Degraded(alert) },
            None => Request::Delete(vec![key]),
        };
        self.ask(For::Alert(sender), request, actions);
    }

    pub(super) fn alert_written(&mut self, now: Instant, sender: u32, reply: &Reply) {
        if *reply == Reply::Done {
            self.alerts.remove(&sender);
        } else if let Some((_, due)) = self.alerts.get_mut(&sender) {
            *due = Some(now + LONGEST_RETRY);
        }
    }
}
