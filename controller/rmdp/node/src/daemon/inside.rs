//! What a daemon wants to know of its state machine, beside driving it.

use outplane_rmdp_core::io::Machine;
use outplane_rmdp_core::{Controller, Counters, Distributor, KeptView};

/// A machine that can be looked into.
pub(crate) trait Inside: Machine {
    fn counters(&self) -> Counters;
    /// Tasks in mind, a line each.
    fn describe(&self, limit: usize) -> Vec<String>;
    /// How many tasks are in mind.
    fn tasks(&self) -> usize;
    /// For how many probes there is room.
    fn room(&self) -> usize;
    /// Sender ids that are marked as degraded.
    fn degraded(&self) -> Vec<u32>;
    /// The switches that are kept.
    fn kept(&self) -> Vec<KeptView<'_>>;
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

    fn degraded(&self) -> Vec<u32> {
        self.degraded().collect()
    }

    fn kept(&self) -> Vec<KeptView<'_>> {
        self.kept().collect()
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

    fn degraded(&self) -> Vec<u32> {
        Vec::new()
    }

    fn kept(&self) -> Vec<KeptView<'_>> {
        Vec::new()
    }
}
