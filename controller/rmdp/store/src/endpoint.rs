//! Which endpoint to ask, and what each has done.
//!
//! ```text
//!   Healthy ──timeout, connection error, 5xx──► Avoided until a time ──time is up──► one request tries it
//!      ▲                                          ▲ twice as long │                        │
//!      └──────────────── any answer below 500 ────┴───────────────┴──── failed again ◄─────┘
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use tokio::time::Instant;

use crate::{EndpointState, EndpointStats};

/// How long an endpoint is avoided after its first failure; doubled at each further one.
const FIRST_AVOIDED: Duration = Duration::from_millis(250);
const LONGEST_AVOIDED: Duration = Duration::from_secs(10);
/// One that fails time and again is told of no more often; the counters have each failure.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Latencies kept of each endpoint.
const WINDOW: usize = 1024;

/// One endpoint of the store.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) client: Client,
    requests: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    health: Mutex<Health>,
    latencies: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Health {
    avoided: Option<Avoided>,
    /// When people were last told that it had failed.
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Avoided {
    since: Instant,
    until: Instant,
    length: Duration,
    /// People know.
    told: bool,
}

/// The last latencies, in microseconds.
#[derive(Debug, Default)]
struct Window {
    values: Vec<u32>,
    next: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    pub(crate) fn new(url: String, client: Client) -> Self {
        Self {
            url,
            client,
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            health: Mutex::default(),
            latencies: Mutex::default(),
        }
    }

    pub(crate) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// It has answered a request that was sent `latency` ago.
    pub(crate) fn answered(&self, latency: Duration) {
        lock(&self.latencies).push(latency);
        if lock(&self.health).avoided.take().is_some_and(|avoided| avoided.told) {
            tracing::info!(endpoint = %self.url, "store endpoint answers again");
        }
    }

    /// A request that was sent at `started` met no useful answer.
    pub(crate) fn failed(&self, started: Instant, timeout: bool, why: &str) {
        let counter = if timeout { &self.timeouts } else { &self.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut health = lock(&self.health);
        let (length, told) = match health.avoided {
            None => (FIRST_AVOIDED, false),
            // One of many that were under way when it failed: nothing new.
            Some(avoided) if started < avoided.since => return,
            Some(avoided) => ((avoided.length * 2).min(LONGEST_AVOIDED), avoided.told),
        };
        let tell = !told && health.told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY);
        if tell {
            health.told = Some(now);
            tracing::warn!(endpoint = %self.url, why, "store endpoint failed, avoided for {length:?} at first");
        } else {
            tracing::debug!(endpoint = %self.url, why, "store endpoint failed again, avoided for {length:?}");
        }
        health.avoided = Some(Avoided { since: now, until: now + length, length, told: told || tell });
    }

    /// Whether to use it now. An endpoint whose time is up says yes to one caller, who tries it for all.
    fn usable(&self, now: Instant) -> bool {
        let mut health = lock(&self.health);
        match &mut health.avoided {
            None => true,
            Some(avoided) if avoided.until <= now => {
                avoided.until = now + avoided.length;
                true
            }
            Some(_) => false,
        }
    }

    fn avoided_until(&self) -> Option<Instant> {
        lock(&self.health).avoided.map(|avoided| avoided.until)
    }

    pub(crate) fn stats(&self) -> EndpointStats {
        let sorted = lock(&self.latencies).sorted();
        let state = match self.avoided_until() {
            None => EndpointState::Healthy,
            Some(until) => EndpointState::Avoided(until.saturating_duration_since(Instant::now())),
        };
        EndpointStats {
            endpoint: self.url.clone(),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            p50: percentile(&sorted, 50),
            p99: percentile(&sorted, 99),
            state,
        }
    }
}

impl Window {
    fn push(&mut self, latency: Duration) {
        let value = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
        if self.values.len() < WINDOW {
            self.values.push(value);
        } else {
            self.values[self.next] = value;
        }
        self.next = (self.next + 1) % WINDOW;
    }

    fn sorted(&self) -> Vec<u32> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        sorted
    }
}

/// Nearest rank.
fn percentile(sorted: &[u32], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    let value = sorted.get(rank.checked_sub(1)?)?;
    Some(Duration::from_micros(u64::from(*value)))
}

/// Endpoints that have failed in this round of a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried(u32);

impl Tried {
    /// Endpoints that a set can hold, and so the most that a store can have.
    pub(crate) const MAX: usize = 32;

    pub(crate) fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// The endpoint to ask: the first usable one, else the one whose time is up first; none when all have been tried.
pub(crate) fn pick(endpoints: &[Endpoint], tried: Tried, now: Instant) -> Option<usize> {
    let left = || (0..endpoints.len()).filter(|index| !tried.has(*index));
    left()
        .find(|index| endpoints[*index].usable(now))
        .or_else(|| left().min_by_key(|index| endpoints[*index].avoided_until()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_s3::config::BehaviorVersion;
    use tokio::time::{Instant, advance};

    use super::{Endpoint, LONGEST_AVOIDED, Tried, WINDOW, Window, percentile, pick};
    use crate::EndpointState;

    fn endpoints(count: usize) -> Vec<Endpoint> {
        let config = aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest()).build();
        let client = aws_sdk_s3::Client::from_conf(config);
        (0..count).map(|index| Endpoint::new(format!("http://e{index}"), client.clone())).collect()
    }

    fn choice(endpoints: &[Endpoint]) -> Option<usize> {
        pick(endpoints, Tried::default(), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_endpoint_is_avoided_and_tried_again_by_one() {
        let all = endpoints(2);
        assert_eq!(choice(&all), Some(0), "the first is preferred");
        all[0].failed(Instant::now(), true, "timeout");
        assert_eq!(choice(&all), Some(1));
        assert!(matches!(all[0].stats().state, EndpointState::Avoided(_)));
        advance(Duration::from_millis(250)).await;
        assert_eq!(choice(&all), Some(0), "its time is up");
        assert_eq!(choice(&all), Some(1), "but for one request only");
        all[0].answered(Duration::from_millis(3));
        assert_eq!(choice(&all), Some(0));
        assert_eq!(all[0].stats().state, EndpointState::Healthy);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_were_under_way_count_once_and_avoidance_is_bounded() {
        let all = endpoints(1);
        let started = Instant::now();
        advance(Duration::from_millis(150)).await;
        for _ in 0..100 {
            all[0].failed(started, true, "timeout");
        }
        let EndpointState::Avoided(left) = all[0].stats().state else { panic!("it has failed") };
        assert_eq!(left, Duration::from_millis(250));
        assert_eq!(all[0].stats().timeouts, 100);
        for _ in 0..20 {
            advance(Duration::from_millis(1)).await;
            all[0].failed(Instant::now(), false, "500");
        }
        let EndpointState::Avoided(left) = all[0].stats().state else { panic!("it has failed") };
        assert_eq!(left, LONGEST_AVOIDED);
        assert_eq!(choice(&all), Some(0), "with nothing better it is asked all the same");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_asks_each_once_and_the_one_that_failed_first_first() {
        let all = endpoints(3);
        for index in [2, 0, 1] {
            all[index].failed(Instant::now(), false, "refused");
            advance(Duration::from_millis(1)).await;
        }
        let mut tried = Tried::default();
        for expected in [2, 0, 1] {
            let index = pick(&all, tried, Instant::now()).expect("one is left");
            assert_eq!(index, expected);
            tried.add(index);
        }
        assert_eq!(pick(&all, tried, Instant::now()), None);
    }

    #[test]
    fn percentiles_are_of_the_last_values() {
        let mut window = Window::default();
        assert_eq!(percentile(&window.sorted(), 50), None);
        for value in 0..3072 {
            window.push(Duration::from_micros(value));
        }
        let sorted = window.sorted();
        assert_eq!(sorted.len(), WINDOW);
        assert_eq!(sorted[0], 2048);
        assert_eq!(percentile(&[1, 2, 3, 4], 50), Some(Duration::from_micros(2)));
        assert_eq!(percentile(&[1, 2, 3, 4], 99), Some(Duration::from_micros(4)));
        assert_eq!(percentile(&[7], 99), Some(Duration::from_micros(7)));
    }
}
