//! What a store client has to know.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A secret that no log, message or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the secret's text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has to present it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// Settings of a [`Store`](crate::Store). [`Settings::new`] fills in what has a sane default.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://host:port` or `https://host:port`, at least one: endpoints of **one** store. The first is preferred,
    /// the others are tried in turn when it fails.
    pub endpoints: Vec<String>,
    /// The bucket; it must not be versioned.
    pub bucket: String,
    /// The region that requests are signed for. Most stores other than AWS take any.
    pub region: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Secret,
    /// PEM file of the authorities that may sign the endpoints' certificates; the system's where absent.
    pub ca: Option<PathBuf>,
    /// How long one request may take before the next endpoint is tried. It doubles each time that all endpoints have
    /// been tried in vain, so that a store that is slow as a whole is waited for; bodies get 1 ms more per 8 KiB.
    pub attempt_timeout: Duration,
    /// How long a whole call may take, with all its attempts.
    pub deadline: Duration,
    /// Stands before every key, for instance `outplane/`; empty for none. Callers never see it.
    pub prefix: String,
    /// Bytes that an object may have; bigger ones are refused unread, and not written.
    pub max_object: usize,
    /// Bytes that the object at a key may have, where that is less than `max_object`. No more is read of it.
    pub bound: fn(&str) -> usize,
    /// Requests that may be under way at once, over all endpoints; more wait.
    pub max_requests: usize,
}

impl Settings {
    /// Attempts of 150 ms, calls of 5 s, objects of 8 MiB, 256 requests at once, no prefix, region `us-east-1`.
    pub fn new(
        endpoints: Vec<String>,
        bucket: impl Into<String>,
        access_key: impl Into<String>,
        secret_key: Secret,
    ) -> Self {
        Self {
            endpoints,
            bucket: bucket.into(),
            region: "us-east-1".to_owned(),
            access_key: access_key.into(),
            secret_key,
            ca: None,
            attempt_timeout: Duration::from_millis(150),
            deadline: Duration::from_secs(5),
            prefix: String::new(),
            max_object: 8 << 20,
            bound: |_| usize::MAX,
            max_requests: 256,
        }
    }

    /// Bytes that the object at a key may have. The key is without the prefix.
    pub(crate) fn most(&self, key: &str) -> usize {
        self.max_object.min((self.bound)(key))
    }
}
