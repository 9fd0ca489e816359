//! Rules that expire. What a generation compiles to holds for a moment; when a rule's time is over, the generation is
//! appended once more, as of that moment: by whichever distributor is first, under the very next number, so that the
//! others find it done, and what somebody has applied meanwhile counts in its place.
//!
//! `expires` is about the time of day, so the time of day decides: a distributor whose clock is fast ends rules early.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use outplane_rmdp_core::object::Generation;
use outplane_rmdp_core::rank::weight;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock;
use crate::error::Error;
use crate::generation::bound;
use crate::log::Tip;
use crate::objects::Objects;

/// Each distributor waits for a part of this first, so that not all of them write at once.
const SPREAD_MS: u64 = 1000;
/// The time of day may be set: it is looked at as often.
const LOOK: Duration = Duration::from_secs(10);
/// Before a distributor tries again that could not, or whose append nobody has followed yet.
const RETRY: Duration = Duration::from_secs(5);

/// When rules of the newest generation expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expiries {
    pub(crate) generation: u64,
    /// Unix milliseconds.
    pub(crate) moments: BTreeSet<i64>,
}

impl Expiries {
    /// The last moment that has passed by then.
    fn passed(&self, now_ms: i64) -> Option<i64> {
        self.moments.range(..=now_ms).next_back().copied()
    }

    /// Waits until a moment has passed, and `pause_ms` more; the last one that has.
    async fn over(&self, pause_ms: u64) -> i64 {
        let Some(first) = self.moments.first() else { return pending().await };
        loop {
            let now = clock::unix_millis().saturating_sub(pause_ms);
            let now = i64::try_from(now).unwrap_or(i64::MAX);
            if let Some(passed) = self.passed(now) {
                return passed;
            }
            sleep(Duration::from_millis(first.abs_diff(now)).min(LOOK)).await;
        }
    }
}

/// Appends what has to be appended. Ends when nobody tells of generations any more.
pub(crate) async fn follow(
    objects: Objects,
    node: String,
    mut newest: watch::Receiver<Expiries>,
    hints: watch::Sender<u64>,
) {
    loop {
        let expiries = newest.borrow_and_update().clone();
        let next = expiries.generation.saturating_add(1);
        let pause_ms = weight(&format!("expiry of {}", expiries.generation), &node) % SPREAD_MS;
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            as_of_ms = expiries.over(pause_ms) => {
                match append(&objects, next, as_of_ms, &node).await {
                    Ok(true) => tracing::info!(generation = next, as_of_ms, "appended: rules have expired"),
                    Ok(false) => tracing::debug!(generation = next, "rules have expired, and it is appended"),
                    Err(error) => tracing::warn!(%error, "rules have expired, and generation {next} is not appended"),
                }
                hints.send_replace(next);
                let changed = tokio::time::timeout(RETRY, newest.changed());
                if changed.await.is_ok_and(|changed| changed.is_err()) {
                    return;
                }
            }
        }
    }
}

/// Appends the generation before this one again, as of this moment. Whether it was us.
async fn append(objects: &Objects, generation: u64, as_of_ms: i64, node: &str) -> Result<bool, Error> {
    // Swept ones are not the newest any more.
    let Some(tip) = Tip::at(objects, generation - 1).await? else { return Ok(false) };
    let Some(record) = tip.generation().cloned() else { return Ok(false) };
    let author = format!("{node}: rules of generation {} have expired", generation - 1);
    let since = record.all_since();
    let record = Generation { generation, since, as_of_ms, author, ..record };
    let Ok(Ok(record)) = tokio::task::spawn_blocking(move || bound(record)).await else {
        tracing::error!(
            alert = true,
            generation,
            "rules have expired, and what is left cannot be compiled: apply again"
        );
        return Ok(false);
    };
    Ok(tip.append(objects, record).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_moment_that_has_passed_counts() {
        let expiries = Expiries { generation: 1, moments: [10, 20, 30].into() };
        for (now, passed) in [(9, None), (10, Some(10)), (19, Some(10)), (25, Some(20)), (99, Some(30))] {
            assert_eq!(expiries.passed(now), passed, "{now}");
        }
    }
}
