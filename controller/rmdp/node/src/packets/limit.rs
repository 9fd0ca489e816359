//! So many lines a second and switch: one that is flooded leaves the others theirs.

use std::collections::HashMap;
use std::time::Duration;

/// Most switches that have a budget of their own; any others share one.
const MOST: usize = 4096;

/// What a switch may still have.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    lines: f64,
    at: Duration,
}

/// The budgets. Each fills up at the allowed rate, to two seconds' worth.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: HashMap<String, Bucket>,
}

impl Limits {
    /// Whether a packet of this switch gets a line now.
    pub(super) fn allows(&mut self, switch: &str, per_second: u32, now: Duration) -> bool {
        let full = f64::from(per_second) * 2.0;
        let name = if self.buckets.len() < MOST || self.buckets.contains_key(switch) { switch } else { "" };
        let bucket = self.buckets.entry(name.to_owned()).or_insert(Bucket { lines: full, at: now });
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * f64::from(per_second);
        *bucket = Bucket { lines: (bucket.lines + gained).min(full), at: now };
        let allowed = bucket.lines >= 1.0;
        if allowed {
            bucket.lines -= 1.0;
        }
        allowed
    }
}
