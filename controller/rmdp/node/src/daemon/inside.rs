//! What a daemon wants to know of its state machine, beside driving it.

use std::time::Duration;

use outplane_rmdp_core::io::Machine;
use outplane_rmdp_core::liveness::Heard;
use outplane_rmdp_core::{Change, Controller, Counters, Distributor, Instant, KeptView};

/// A machine that can be looked into.
pub(crate) trait Inside: Machine {
    fn counters(&self) -> Counters;
    /// Tasks in mind, a line each.
    fn describe(&self, limit: usize) -> Vec<String>;
    /// How many tasks are in mind.
    fn tasks(&self) -> usize;
    /// For how many probes there is room.
    fn room(&self) -> usize;
    /// What is found about copies of other nodes.
    fn degraded(&self) -> Vec<Change>;
    /// How the other nodes are heard.
    fn heard(&self, now: Instant) -> Vec<Heard>;
    /// What is wrong now, in words.
    fn troubles(&self, now: Instant) -> Vec<String>;
    /// The switches that are kept.
    fn kept(&self) -> Vec<KeptView<'_>>;
    /// For how long an owner may be silent before it is taken over; none: as long as its lease lasts.
    fn silence_limit(&self) -> Option<Duration>;
}

impl Inside for Controller {
    fn counters(&self) -> Counters {
        self.counters()
    }

    fn describe(&self, limit: usize) -> Vec<String> {
        self.describe(limit)
    }

    fn tasks(&self) -> usize {
        self.tasks()
    }

    /// It emits none.
    fn room(&self) -> usize {
        0
    }

    fn degraded(&self) -> Vec<Change> {
        self.degraded().collect()
    }

    fn kept(&self) -> Vec<KeptView<'_>> {
        self.kept().collect()
    }

    fn heard(&self, now: Instant) -> Vec<Heard> {
        self.heard_others(now)
    }

    fn troubles(&self, now: Instant) -> Vec<String> {
        self.troubles(now)
    }

    fn silence_limit(&self) -> Option<Duration> {
        self.silence_limit()
    }
}

impl Inside for Distributor {
    fn counters(&self) -> Counters {
        self.counters()
    }

    /// What it has in hand is gone within moments.
    fn describe(&self, _limit: usize) -> Vec<String> {
        Vec::new()
    }

    fn tasks(&self) -> usize {
        self.tasks()
    }

    fn room(&self) -> usize {
        self.room()
    }

    fn degraded(&self) -> Vec<Change> {
        Vec::new()
    }

    fn kept(&self) -> Vec<KeptView<'_>> {
        Vec::new()
    }

    /// It takes nobody over.
    fn silence_limit(&self) -> Option<Duration> {
        None
    }

    fn heard(&self, now: Instant) -> Vec<Heard> {
        self.heard_others(now)
    }

    fn troubles(&self, now: Instant) -> Vec<String> {
        self.troubles(now)
    }
}
