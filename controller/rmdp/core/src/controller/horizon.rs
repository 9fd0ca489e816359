//! The horizons as a controller knows them, and the grace that lies between a raise and what is deleted below it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::SharedConfig;
use crate::io::{Action, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::task::Event;
use crate::time::Instant;

use super::{Controller, For};

impl Controller {
    /// Others may still follow a configuration with this grace, and claim by it: as long as that grace lasts, nothing is
    /// deleted sooner. To be called at the start with that of the version before.
    pub fn hold_grace(&mut self, grace: Duration, now: Instant) {
        if self.is(Mutant::GraceAtOnce) {
            return;
        }
        let (held, until) = self.held_grace.filter(|(_, until)| now < *until).unwrap_or((grace, now));
        self.held_grace = Some((held.max(grace), until.max(now + grace)));
    }

    /// What has to pass between the raise of a horizon and a deletion below it.
    pub(super) fn grace(&self, now: Instant) -> Duration {
        let held = self.held_grace.filter(|(_, until)| now < *until);
        held.map_or(Duration::ZERO, |(grace, _)| grace).max(self.config.grace())
    }

    pub(super) fn configure(&mut self, now: Instant, config: Arc<SharedConfig>) {
        if config.grace() < self.config.grace() {
            self.hold_grace(self.config.grace(), now);
        }
        self.liveness.configure(&self.me.name, &config, now);
        self.freshness.configure(|sender| config.sender(sender).is_some());
        self.beats.configure(config.heartbeat_interval(), config.quick_interval());
        self.owners.configure(&config);
        self.degradation.configure(&self.me.name, &config);
        self.config = config;
    }

    /// Whether nobody may claim this event's task any more.
    pub(super) fn is_closed(&self, event: &Event) -> bool {
        self.horizons.is_closed(&event.source, event.occurrence)
    }

    pub(super) fn read_horizons(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let keys = self.horizons.ask(now);
        self.ask_horizons(keys, actions);
    }

    fn ask_horizons(&mut self, keys: Vec<Key>, actions: &mut Vec<Action>) {
        for key in keys {
            self.ask(For::Horizon(key.clone()), Request::Get(key), actions);
        }
    }

    pub(super) fn horizon_read(&mut self, now: Instant, key: &Key, reply: &Reply, actions: &mut Vec<Action>) {
        let pause = (self.config.grace() / 8).min(self.config.poll_interval() * 60);
        let keys = self.horizons.answer(now, key, reply, pause);
        self.ask_horizons(keys, actions);
    }
}
