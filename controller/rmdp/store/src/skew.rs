//! How far the store's clock and this machine's are apart, by the `Date` of its answers.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// No answer has said what time it is.
const UNKNOWN: i64 = i64::MIN;

/// By how many milliseconds the store's clock is ahead; less than 0: it is behind. By the last answer.
#[derive(Debug)]
pub(crate) struct Skew(AtomicI64);

impl Default for Skew {
    fn default() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }
}

impl Skew {
    /// An answer came at `own` by this machine's clock, `took` after it was asked for, and says this date in seconds.
    pub(crate) fn answered(&self, date: i64, own: Duration, took: Duration) {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        // It was given on the way, and a date has no parts of seconds.
        let theirs = date.saturating_mul(1000).saturating_add(500);
        let skew = theirs.saturating_sub(millis(own.saturating_sub(took / 2)));
        self.0.store(skew.max(UNKNOWN + 1), Ordering::Relaxed);
    }

    pub(crate) fn millis(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|skew| *skew != UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_apart_by_the_last_answer() {
        let (skew, took) = (Skew::default(), Duration::from_millis(200));
        assert_eq!(skew.millis(), None);
        skew.answered(1000, Duration::from_millis(1_000_600), took);
        assert_eq!(skew.millis(), Some(0));
        skew.answered(1000, Duration::from_secs(1600), Duration::ZERO);
        assert_eq!(skew.millis(), Some(-599_500));
        for date in [i64::MIN, i64::MAX] {
            skew.answered(date, Duration::MAX, took);
            assert!(skew.millis().is_some());
        }
    }
}
