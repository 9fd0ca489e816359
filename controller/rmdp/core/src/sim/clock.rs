//! Simulated time, and clocks that show it.

use crate::time::Instant;

/// A millisecond in nanoseconds, the unit of simulated time.
pub(super) const MS: u64 = 1_000_000;

/// A monotonic clock: starts anywhere, runs up to 5 % too fast or too slow, jumps ahead and stands still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Nanoseconds that it is ahead.
    pub(super) offset: i128,
    /// Parts per million that it is too fast.
    pub(super) drift: i64,
}

impl Clock {
    pub(super) fn local(self, real: u64) -> Instant {
        let drifted = i128::from(real) * i128::from(1_000_000 + self.drift) / 1_000_000;
        Instant::from_nanos(u64::try_from(self.offset + drifted).unwrap_or(0))
    }

    /// The first real moment at which the clock shows this, or later.
    pub(super) fn real(self, local: Instant) -> u64 {
        let shown = (i128::from(local.as_nanos()) - self.offset).max(0);
        let real = shown * 1_000_000 / i128::from(1_000_000 + self.drift);
        let mut real = u64::try_from(real).unwrap_or(u64::MAX);
        while self.local(real) < local {
            real += 1;
        }
        real
    }

    /// How long that many local nanoseconds really are, rounded up.
    pub(super) fn real_length(self, local: u64) -> u64 {
        let real = i128::from(local) * 1_000_000 / i128::from(1_000_000 + self.drift);
        u64::try_from(real).unwrap_or(u64::MAX) + 1
    }
}
