//! Durations that follow from the configuration.

use std::time::Duration;

use super::SharedConfig;
use crate::task::Work;

/// Heartbeats that may get lost within the silence of takeovers, before a node is suspected that lives.
pub(crate) const BEATS_IN_SILENCE: u32 = 8;
/// Who beats less often than this within it is not judged by it.
const FEWEST_BEATS: u32 = 4;

/// How often a lease may be doubled: the longest one stands in the configuration.
pub(crate) const MOST_PATIENCE: u32 = 16;

fn ms(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

impl SharedConfig {
    /// From one heartbeat to the next.
    pub fn heartbeat_interval(&self) -> Duration {
        ms(self.heartbeat.interval_ms.into())
    }

    /// A node that was not heard for so long counts as gone.
    pub fn silence(&self) -> Duration {
        self.heartbeat_interval() * u32::from(self.heartbeat.silent_after)
    }

    /// An owner that was not heard for so long is taken over, where the switch fences; none: the lease alone counts.
    pub fn takeover_silence(&self) -> Option<Duration> {
        (self.takeover.silence_ms > 0).then(|| ms(self.takeover.silence_ms))
    }

    /// From one heartbeat to the next of a controller that owns something.
    pub fn quick_interval(&self) -> Duration {
        let quick = self.takeover_silence().map(|silence| silence / BEATS_IN_SILENCE);
        quick.map_or(self.heartbeat_interval(), |quick| quick.min(self.heartbeat_interval()))
    }

    /// Whether who promises a heartbeat each `interval_ms` can be judged by the silence of takeovers.
    pub fn is_quick(&self, interval_ms: u16) -> bool {
        let promised = ms(interval_ms.into());
        !promised.is_zero()
            && self.takeover_silence().is_some_and(|silence| promised * FEWEST_BEATS <= silence)
    }

    /// What each rank adds before it claims.
    pub fn claim_delay(&self) -> Duration {
        ms(self.claims.delay_ms)
    }

    /// The lease of an attempt at this work.
    pub fn lease(&self, work: &Work) -> Duration {
        // Whole milliseconds: what the claim says is what its owner reckons with.
        let entries = u64::from(work.entries()) * u64::from(self.claims.lease_per_entry_us);
        let lease = u64::from(self.claims.lease_base_ms) + entries.div_ceil(1000);
        Duration::from_millis(lease).min(self.longest_lease())
    }

    /// The lease and the budget of an attempt on a switch that has shown so often that it needs more time than it was
    /// given: twice as much each time, as far as the longest lease goes. The budget stays the smaller part.
    pub fn patient(&self, work: &Work, patience: u32) -> (Duration, Duration) {
        let times = 1 << patience.min(MOST_PATIENCE);
        let lease = (self.lease(work) * times).min(self.longest_lease());
        (lease, (self.budget() * times).min((lease / 4).max(self.budget())))
    }

    /// What comes after an attempt with this patience that had too little time: more, if there is more to be given.
    pub fn more_patience(&self, work: &Work, patience: u32) -> u32 {
        let more = patience.saturating_add(1).min(MOST_PATIENCE);
        if self.patient(work, more) == self.patient(work, patience) { patience } else { more }
    }

    /// The least patience with which an attempt that took so long would have had twice the time.
    pub fn enough_patience(&self, work: &Work, took: Duration, most: u32) -> u32 {
        let is_enough = |patience: &u32| {
            let (lease, budget) = self.patient(work, *patience);
            took * 2 <= lease.saturating_sub(budget)
        };
        (0..most).find(is_enough).unwrap_or(most)
    }

    /// No lease is longer.
    pub fn longest_lease(&self) -> Duration {
        ms(self.claims.lease_max_ms)
    }

    /// The lease of an attempt that may have to push the pipeline first, which takes `push`, where `lease` is that of one
    /// that need not.
    pub fn lease_with_push(&self, lease: Duration, push: Duration) -> Duration {
        (lease + push).min(self.longest_lease())
    }

    /// How long a push of the pipeline into a switch may take; the longest one that was measured tells, with room for
    /// one that is slower, where the configuration does not.
    pub fn push_budget(&self, switch: &str, measured: Option<Duration>) -> Duration {
        let base = ms(self.claims.lease_base_ms);
        let longest = self.longest_lease().saturating_sub(base).max(base / 2);
        let told = self.switches.get(switch).and_then(|switch| switch.push_ms);
        let budget = match (told, measured) {
            (Some(told), _) => ms(told),
            (None, Some(measured)) => {
                (measured * 4 + self.budget()).min(ms(self.claims.push_ms).max(measured * 2))
            }
            (None, None) => ms(self.claims.push_ms),
        };
        budget.max(self.budget()).min(longest)
    }

    /// What a started write may take.
    pub fn budget(&self) -> Duration {
        ms(self.claims.budget_ms)
    }

    /// When a task that ought to be decided is looked after.
    pub fn watch(&self) -> Duration {
        ms(self.claims.watch_ms)
    }

    /// The wait before attempt `attempt`: nothing before the first.
    pub fn backoff(&self, attempt: u32) -> Duration {
        match attempt {
            0 | 1 => Duration::ZERO,
            _ => {
                let doublings = (attempt - 2).min(20);
                (ms(self.attempts.backoff_ms) * (1 << doublings)).min(ms(self.attempts.backoff_max_ms))
            }
        }
    }

    /// From one audit of a switch to the next.
    pub fn audit_interval(&self) -> Duration {
        Duration::from_secs(self.audit.interval_s.into())
    }

    /// How long a distributor waits for a task to be decided before it queues it; each rank adds as much.
    pub fn queue_delay(&self) -> Duration {
        ms(self.queue.delay_ms)
    }

    /// How often `q/` is listed.
    pub fn poll_interval(&self) -> Duration {
        ms(self.queue.poll_ms)
    }

    /// How long decisions stay.
    pub fn horizon(&self) -> Duration {
        Duration::from_secs(self.retention.horizon_s.into())
    }

    /// Between raising the horizon and deleting below it.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.retention.grace_s.into())
    }
}
