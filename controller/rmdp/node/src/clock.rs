//! The clocks of a node.
//!
//! Leases are judged on `CLOCK_BOOTTIME`: monotonic, untouched by whoever sets the time of day, and, unlike
//! `CLOCK_MONOTONIC` (Rust's `Instant`), it goes on while the machine is suspended. A controller that was suspended in
//! the middle of a lease, or whose virtual machine was paused by its host with the clock carried on, finds its lease
//! over when it wakes up. Timers of the runtime stand still during suspend, so the daemons look at this clock at every
//! event and at least every [`MAX_SLEEP`].
//!
//! The time of day goes into objects and datagrams for people to read. Decided by it is one thing, which is about nothing
//! else: that the time of a rule is over (`expiry`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use outplane_rmdp_core::Instant;

/// Longest time between two looks at the clock.
pub const MAX_SLEEP: Duration = Duration::from_millis(100);

/// Time since this machine's boot, suspend included.
pub fn now() -> Duration {
    // Linux has had this clock since 2.6.39. Where it is absent the plain monotonic clock serves.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC))
        .map_or(Duration::ZERO, Duration::from);
    debug_assert!(!time.is_zero(), "no monotonic clock");
    time
}

/// The same as the machines see it.
pub fn instant() -> Instant {
    Instant::from_nanos(u64::try_from(now().as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day in Unix milliseconds; 0 before 1970.
pub fn unix_millis() -> u64 {
    unix_nanos() / 1_000_000
}

/// The time of day in Unix nanoseconds, for people; 0 before 1970.
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let first = now();
        let second = now();
        assert!(!first.is_zero() && second >= first);
        assert!(unix_nanos() > 1_700_000_000_000_000_000);
    }
}
