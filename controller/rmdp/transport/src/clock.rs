//! The clock that arrivals are told by.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: the clock of `bpf_ktime_get_ns`, so that arrivals at the ring and at sockets can
/// be compared. It stands still while the machine is suspended.
pub fn monotonic_nanos() -> u64 {
    // Linux always has this clock.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix nanoseconds, for people; 0 before 1970.
pub(crate) fn unix_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
