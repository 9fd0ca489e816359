//! One call: attempts on the endpoints in turn, within a deadline.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::endpoint::{Endpoint, Tried, pick};
use crate::skew::Skew;
use crate::trouble::{Trouble, sort};
use crate::{Error, RequestCounts, Settings};

/// The pause after a round in which all endpoints failed; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Attempts double their timeout that many times at most.
const MAX_DOUBLINGS: u32 = 10;

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Create,
    Put,
    Get,
    List,
    Delete,
    Bucket,
}

/// What callers asked for, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct What<'a>(pub(crate) &'static str, pub(crate) &'a str);

impl fmt::Display for What<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.0, self.1)
    }
}

/// What all clones of a client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) endpoints: Vec<Endpoint>,
    permits: Semaphore,
    counts: [AtomicU64; 6],
    waited: AtomicU64,
    /// The store compares tags without their quotes.
    pub(crate) bare_tags: AtomicBool,
    pub(crate) skew: Arc<Skew>,
}

impl Shared {
    pub(crate) fn new(settings: Settings, endpoints: Vec<Endpoint>, skew: Arc<Skew>) -> Self {
        let permits = Semaphore::new(settings.max_requests);
        let (counts, waited, bare_tags) = (Default::default(), AtomicU64::new(0), AtomicBool::new(false));
        Self { settings, endpoints, permits, counts, waited, bare_tags, skew }
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        let count = |operation: Operation| self.counts[operation as usize].load(Ordering::Relaxed);
        RequestCounts {
            create: count(Operation::Create),
            put: count(Operation::Put),
            get: count(Operation::Get),
            list: count(Operation::List),
            delete: count(Operation::Delete),
            bucket: count(Operation::Bucket),
            waited: self.waited.load(Ordering::Relaxed),
        }
    }

    /// One request to one endpoint, counted; `request` keeps to the time it is given.
    pub(crate) async fn ask<T>(
        &self,
        endpoint: &Endpoint,
        operation: Operation,
        request: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        self.counts[operation as usize].fetch_add(1, Ordering::Relaxed);
        endpoint.asked();
        let started = Instant::now();
        let result = request.await;
        match &result {
            Ok(_) | Err(Trouble::Status(_) | Trouble::TooLarge(_)) => endpoint.answered(started.elapsed()),
            Err(Trouble::Unmade(_)) => {}
            Err(trouble) => {
                endpoint.failed(started, matches!(trouble, Trouble::Timeout(_)), &trouble.text());
            }
        }
        result
    }
}

/// Why a call stopped short of a result.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The deadline has passed.
    OutOfTime,
    /// An endpoint gave a clear answer other than success.
    Trouble(usize, Trouble),
}

/// The way of one call through the endpoints.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    shared: &'a Shared,
    what: What<'a>,
    deadline: Instant,
    tried: Tried,
    round: u32,
    last: String,
    /// That is what an endpoint has met.
    said: bool,
    /// A write was sent and its answer is missing: it may have been done, or may be done later.
    pub(crate) doubt: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(shared: &'a Shared, what: What<'a>) -> Self {
        Self {
            shared,
            what,
            deadline: Instant::now() + shared.settings.deadline,
            tried: Tried::default(),
            round: 0,
            last: "nothing was sent yet".to_owned(),
            said: false,
            doubt: false,
        }
    }

    /// One attempt on the endpoint whose turn it is. `Ok(Err(trouble))` where another attempt may help.
    ///
    /// `bytes` of payload get more time; `request` makes the request with the time it may take.
    pub(crate) async fn attempt<T, F>(
        &mut self,
        operation: Operation,
        bytes: usize,
        request: impl FnOnce(Client, Instant) -> F,
    ) -> Result<Result<T, Trouble>, Stop>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        let index = self.turn().await?;
        let _permit = self.permit().await?;
        let endpoint = &self.shared.endpoints[index];
        let limit = self.limit(bytes);
        let (deadline, request) = (self.deadline, request(endpoint.client.clone(), limit));
        let started = Instant::now();
        let in_time = async move {
            // Bodies that trickle keep to their own pace, but not beyond the call's end.
            timeout_at(deadline, request)
                .await
                .unwrap_or_else(|_| Err(Trouble::Timeout(deadline.saturating_duration_since(started))))
        };
        match self.shared.ask(endpoint, operation, in_time).await {
            Ok(value) => Ok(Ok(value)),
            Err(trouble @ (Trouble::Status(_) | Trouble::Unmade(_) | Trouble::TooLarge(_))) => {
                Err(Stop::Trouble(index, trouble))
            }
            Err(trouble) => {
                self.tried.add(index);
                let words = match &trouble {
                    // What was left says little of the store, and what was said before says more.
                    Trouble::Timeout(left) if *left < self.shared.settings.attempt_timeout => {
                        if self.said {
                            return Ok(Err(trouble));
                        }
                        format!("no answer within the {:.0} ms that were left", left.as_secs_f64() * 1000.0)
                    }
                    trouble => trouble.text(),
                };
                self.last = format!("{}: {words}", endpoint.url);
                self.said = true;
                Ok(Err(trouble))
            }
        }
    }

    /// Attempts until one succeeds or gives a clear answer. Writes that may have been done leave a doubt.
    pub(crate) async fn until_answered<T, F>(
        &mut self,
        operation: Operation,
        bytes: usize,
        request: impl Fn(Client, Instant) -> F,
    ) -> Result<T, Stop>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        loop {
            match self.attempt(operation, bytes, &request).await? {
                Ok(value) => return Ok(value),
                Err(Trouble::Unsent(_)) => {}
                Err(_) => {
                    self.doubt |= matches!(operation, Operation::Put | Operation::Delete | Operation::Create);
                }
            }
        }
    }

    /// The endpoint whose turn it is; waits when all have failed.
    async fn turn(&mut self) -> Result<usize, Stop> {
        loop {
            let now = Instant::now();
            if now >= self.deadline {
                return Err(Stop::OutOfTime);
            }
            if let Some(index) = pick(&self.shared.endpoints, self.tried, now) {
                return Ok(index);
            }
            self.pause().await?;
            self.tried = Tried::default();
        }
    }

    /// Waits, longer each time.
    pub(crate) async fn pause(&mut self) -> Result<(), Stop> {
        let pause = (FIRST_PAUSE * 2_u32.pow(self.round.min(MAX_DOUBLINGS))).min(LONGEST_PAUSE);
        self.round = self.round.saturating_add(1);
        let end = Instant::now() + pause;
        sleep_until(end.min(self.deadline)).await;
        if end >= self.deadline { Err(Stop::OutOfTime) } else { Ok(()) }
    }

    async fn permit(&mut self) -> Result<SemaphorePermit<'a>, Stop> {
        if let Ok(permit) = self.shared.permits.try_acquire() {
            return Ok(permit);
        }
        self.shared.waited.fetch_add(1, Ordering::Relaxed);
        // The semaphore is never closed, so only time can run out.
        if let Ok(Ok(permit)) = timeout_at(self.deadline, self.shared.permits.acquire()).await {
            return Ok(permit);
        }
        self.last =
            format!("{} requests are under way, no more are allowed", self.shared.settings.max_requests);
        Err(Stop::OutOfTime)
    }

    fn limit(&self, bytes: usize) -> Instant {
        let patience = self.shared.settings.attempt_timeout * 2_u32.pow(self.round.min(MAX_DOUBLINGS));
        let extra = Duration::from_millis(u64::try_from(bytes / 8192).unwrap_or(u64::MAX));
        (Instant::now() + patience + extra).min(self.deadline)
    }

    /// The error for the caller.
    pub(crate) fn error(&self, stop: Stop) -> Error {
        let settings = &self.shared.settings;
        let call = self.what.to_string();
        let (last, error) = match stop {
            Stop::OutOfTime => {
                let last = self.last.clone();
                (last.clone(), Error::Unavailable { call: call.clone(), deadline: settings.deadline, last })
            }
            Stop::Trouble(_, Trouble::TooLarge(size)) => {
                let (key, max) = (self.what.1.to_owned(), settings.most(self.what.1));
                // Whatever a doubtful write of ours did: it was not that big.
                return Error::TooLarge { key, size, max };
            }
            Stop::Trouble(index, Trouble::Status(status)) => {
                let endpoint = &self.shared.endpoints[index].url;
                let text = format!("{endpoint}: {}", Trouble::Status(status.clone()).text());
                (text, status.refuse(endpoint, &settings.bucket, &call))
            }
            Stop::Trouble(_, trouble) => {
                (trouble.text(), Error::Settings(format!("{call}: {}", trouble.text())))
            }
        };
        if self.doubt { Error::Unknown { call, last } } else { error }
    }
}

/// Waits for the SDK's answer until `limit`.
///
/// Not an `async fn`: its future would have room for `request` too, and those of the SDK have kilobytes, which would be
/// copied through every layer from here up.
pub(crate) fn timed<T, E>(
    limit: Instant,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
) -> impl Future<Output = Result<T, Trouble>> + Send
where
    T: Send,
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let request = Box::pin(request);
    async move {
        let started = Instant::now();
        match timeout_at(limit, request).await {
            Ok(result) => result.map_err(|error| sort(&error)),
            Err(_) => Err(Trouble::Timeout(limit.saturating_duration_since(started))),
        }
    }
}
