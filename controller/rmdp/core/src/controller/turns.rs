//! Whose turn it is: ranks, switches, slots.

use std::time::Duration;

use crate::io::Action;
use crate::rank;
use crate::task::TransactionId;
use crate::time::Instant;

use super::Controller;
use super::entry::State;

impl Controller {
    /// Waits for its turn at its attempt: by rank, and `more` on top.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        id: TransactionId,
        more: Duration,
        actions: &mut Vec<Action>,
    ) {
        if self.draining {
            self.forget(now, id);
            return;
        }
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        entry.state = State::Waiting;
        entry.unclear = 0;
        let (attempt, switch) = (entry.attempt, entry.task.switch().to_owned());
        let turn = now + more + self.config.claim_delay() * self.rank(now, &switch, attempt);
        if turn <= now {
            self.set_due(id, None);
            self.claim(now, id, actions);
        } else {
            self.set_due(id, Some(turn));
        }
    }

    pub(super) fn rank(&self, now: Instant, subject: &str, attempt: u32) -> u32 {
        let alive = self
            .config
            .controllers()
            .filter(|member| member.name == self.me.name || self.liveness.is_alive(member.sender, now));
        let nodes = alive.map(|member| (member.name.as_str(), self.degradation.is_moved(member.sender)));
        rank::rank(nodes, subject, attempt, &self.me.name)
    }

    /// Gives back the switch and the slot, if this task holds them. The slot's next one has its turn at the end of the step.
    pub(super) fn release(&mut self, now: Instant, id: TransactionId) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let Some(switch) = self.switches.get_mut(entry.task.switch()) else { return };
        if switch.running != Some(id) {
            return;
        }
        switch.running = None;
        self.slots -= 1;
        let name = entry.task.switch().to_owned();
        self.wake_blocked(now, &name);
    }

    /// A switch may be free: the next task that waits for it has its turn. Whoever has the turn and does not take the
    /// switch hands it on.
    pub(super) fn wake_blocked(&mut self, now: Instant, name: &str) {
        let Some(switch) = self.switches.get_mut(name) else { return };
        if switch.running.is_none()
            && let Some((_, waiting)) = switch.blocked.pop_first()
        {
            self.set_due(waiting, Some(now));
        }
    }

    /// It no longer waits for a switch or a slot.
    pub(super) fn unblock(&mut self, now: Instant, id: TransactionId) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let gives_way = entry.task.work().kind().gives_way;
        self.ready.remove(&(gives_way, entry.received, id));
        let name = entry.task.switch().to_owned();
        if let Some(switch) = self.switches.get_mut(&name) {
            switch.blocked.remove(&(gives_way, id));
        }
        self.wake_blocked(now, &name);
    }
}
