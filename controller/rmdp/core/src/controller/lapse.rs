//! Time that this node has not lived through. A machine is stopped and goes on, a clock jumps: then a wait has passed of
//! which nothing was seen. What others may still do rests on such waits (an attempt is over, what is closed may be deleted,
//! the queue was seen whole), so they go on by as much as was missed. What this node itself may still do rests on the same
//! clock, and does not: its leases and what it knows of the horizons have run out meanwhile.

use std::time::Duration;

use crate::mutant::Mutant;
use crate::time::Instant;

use super::Controller;
use super::entry::State;

impl Controller {
    /// At the beginning of each step. A node that lives makes one at least each heartbeat.
    pub(super) fn live(&mut self, now: Instant) {
        let gap = now.since(std::mem::replace(&mut self.lived, now));
        self.owners.live(now, gap, self.is(Mutant::StillIsSilence));
        let missed = gap.saturating_sub(self.config.heartbeat_interval());
        if !missed.is_zero() && !self.is(Mutant::JumpIsTime) {
            self.miss(missed);
        }
    }

    fn miss(&mut self, missed: Duration) {
        for entry in self.tasks.values_mut() {
            if let State::Watching(watched) | State::Looking(_, Some(watched)) = &mut entry.state {
                watched.until = watched.until + missed;
            }
        }
        let unended = self.tasks.values_mut().filter_map(|entry| entry.unended.as_mut());
        unended.for_each(|until| *until = *until + missed);
        self.horizons.miss(missed);
        self.poll.miss(missed);
        self.proofs.miss(missed);
        if let Some((_, until)) = &mut self.held_grace {
            *until = *until + missed;
        }
    }
}
