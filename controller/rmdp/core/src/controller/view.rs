//! What a controller says of itself, for status pages and metrics.

use std::time::Duration;

use crate::counters::Counters;
use crate::degradation::Change;
use crate::liveness::Heard;
use crate::mutant::Mutant;
use crate::news as words;
use crate::task::TransactionId;
use crate::time::Instant;

use super::Controller;
use super::entry::Tracked;

impl Controller {
    /// How often things happened.
    pub fn counters(&self) -> Counters {
        Counters { notices_dropped: self.beats.dropped, ..self.counters }
    }

    /// How many tasks are in mind, at most `limits.tasks`.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// The tasks in mind, as `<id> <switch> <state>`, for status pages; at most `limit` of them.
    pub fn describe(&self, limit: usize) -> Vec<String> {
        let line = |(id, entry): (&TransactionId, &Tracked)| {
            format!("{id} {} attempt {} {}", entry.task.switch(), entry.attempt, entry.state.word())
        };
        self.tasks.iter().take(limit).map(line).collect()
    }

    /// For how long an owner that beats quickly may be silent before it is taken over, where its switch fences; none: nobody
    /// is. It grows while owners are heard again that were taken over.
    pub fn silence_limit(&self) -> Option<Duration> {
        self.owners.limit()
    }

    /// Requests to the store that have no reply yet.
    pub fn requests_under_way(&self) -> usize {
        self.requests.len()
    }

    /// What is found about nodes: of each at most one thing.
    pub fn degraded(&self) -> impl Iterator<Item = Change> {
        self.degradation.standing()
    }

    /// How the other nodes are heard here.
    pub fn heard_others(&self, now: Instant) -> Vec<Heard> {
        self.liveness.others(now).collect()
    }

    /// What is wrong now, in words.
    pub fn troubles(&self, now: Instant) -> Vec<String> {
        let mut told = words::silent(&self.liveness, &self.config, now);
        if self.is(Mutant::SilenceSpared) && self.config.members.len() < 5 {
            told.clear();
        }
        if !self.is(Mutant::TwinSpared) {
            told.extend(words::twin(&self.freshness, &self.config, &self.me.name, now));
        }
        let name = |sender| self.config.sender(sender).map_or("", |member| member.name.as_str());
        told.extend(self.degradation.standing().map(|found| {
            let ranks = if found.moved { "" } else { "; ranks are not moved for it" };
            format!("{} is degraded: {}{ranks}", name(found.sender), found.reason)
        }));
        told
    }

    /// Members that count as alive, by sender id; not this one.
    pub fn alive(&self, now: Instant) -> impl Iterator<Item = u32> {
        let members = self.config.members.iter().filter(|member| member.name != self.me.name);
        members.map(|member| member.sender).filter(move |sender| self.liveness.is_alive(*sender, now))
    }
}
