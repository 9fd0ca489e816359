//! What calls return, and what the client counts.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// Whose bytes a write-once object has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The caller's: it has created the object.
    Ours,
    /// Somebody else's, these.
    Theirs(Bytes),
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Without the prefix of the settings.
    pub key: String,
    /// When it was written, by the store's clock; AWS and others round to seconds.
    pub modified: SystemTime,
    /// Bytes.
    pub size: u64,
}

/// Part of a listing, in the order of the keys' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub entries: Vec<ListedObject>,
    /// There are more: ask again after the last key.
    pub truncated: bool,
}

/// What [`Store::trial`](crate::Store::trial) saw of a store that it accepted.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Races that were held.
    pub rounds: usize,
    /// Concurrent writers in each.
    pub writers: usize,
    /// Endpoints that took part.
    pub reached: Vec<String>,
    /// Endpoints that did not answer, and what they said instead.
    pub unreachable: Vec<(String, String)>,
    /// Median time of a conditional PUT among all the writers of a race.
    pub put_p50: Duration,
    /// The whole trial.
    pub took: Duration,
}

/// Whether an endpoint is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Its last answers were fine, or it has not been asked yet.
    Healthy,
    /// It failed and is avoided for so long still, unless all are.
    Avoided(Duration),
}

/// What an endpoint did since the client was made.
#[derive(Clone, Debug)]
pub struct EndpointStats {
    /// As in the settings.
    pub endpoint: String,
    /// HTTP requests sent, tries included.
    pub requests: u64,
    /// Requests without a useful answer: connection errors, 5xx, nonsense. Timeouts are not among them.
    pub failures: u64,
    /// Requests that were given up.
    pub timeouts: u64,
    /// Median latency of the last 1,024 answers.
    pub p50: Option<Duration>,
    /// 99th percentile of the same.
    pub p99: Option<Duration>,
    /// Whether it is used.
    pub state: EndpointState,
}

/// HTTP requests by operation, tries included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Conditional PUTs.
    pub create: u64,
    /// Unconditional PUTs.
    pub put: u64,
    /// GETs.
    pub get: u64,
    /// Listings.
    pub list: u64,
    /// Multi-object deletes.
    pub delete: u64,
    /// On the bucket itself.
    pub bucket: u64,
    /// Requests that had to wait because `max_requests` were under way.
    pub waited: u64,
}
