//! What can go wrong with a store, in plain words.

use std::time::Duration;

use thiserror::Error;

/// Why a call on the store has no answer. Only [`Error::Unknown`] leaves the effect open.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// A setting makes no sense; nothing was sent.
    #[error("store settings: {0}")]
    Settings(String),

    /// No endpoint answered in time; nothing was written.
    #[error("store: {call}: no endpoint answered within {deadline:?}; last: {last}")]
    Unavailable {
        /// `create c/1/000001`
        call: String,
        /// The whole call's.
        deadline: Duration,
        /// What the last attempt met, with its endpoint.
        last: String,
    },

    /// A write may have reached the store, or may still reach it: **the object may exist**. Repeating the call with
    /// the same bytes is harmless and finds out.
    #[error("store: {call}: may have been written, the store did not say: {last}")]
    Unknown {
        /// `create c/1/000001`
        call: String,
        /// What the last attempt met, with its endpoint.
        last: String,
    },

    /// The store refuses our credentials or our rights (HTTP 401 and 403).
    #[error("store {endpoint}: {call} in bucket `{bucket}` denied ({code}): {cure}")]
    Denied {
        /// Who said so.
        endpoint: String,
        /// `create c/1/000001`
        call: String,
        /// The configured bucket.
        bucket: String,
        /// The store's code, for instance `SignatureDoesNotMatch`.
        code: String,
        /// What to do about it.
        cure: String,
    },

    /// The store has no room, or will not give more (`QuotaExceeded`, HTTP 507): nothing was written, and trying again does not
    /// help.
    #[error(
        "store {endpoint}: {call}: bucket `{bucket}` is full ({code}): raise its quota (`--max-bytes` and `--max-objects` of \
         the embedded store), give its disk room, or delete what is not Outplane's"
    )]
    Full {
        /// Who said so.
        endpoint: String,
        /// `create c/1/000001`
        call: String,
        /// The configured bucket.
        bucket: String,
        /// The store's code, for instance `QuotaExceeded`.
        code: String,
    },

    /// There is no such bucket.
    #[error(
        "store {endpoint}: there is no bucket `{bucket}`: `outplane config set` creates it for a new network, `outplane store \
         recover` for one that has lost it; or create it, unversioned, or correct the setting"
    )]
    NoBucket {
        /// Who said so.
        endpoint: String,
        /// The configured bucket.
        bucket: String,
    },

    /// Versioned buckets make conditional writes unsafe: a delete marker lets a key be created again, and some stores
    /// ignore the condition there.
    #[error(
        "store: bucket `{bucket}` has versioning ({status}): conditional writes are not exclusive there; \
         use a bucket that was never versioned"
    )]
    Versioned {
        /// The configured bucket.
        bucket: String,
        /// `Enabled` or `Suspended`.
        status: String,
    },

    /// A trial has shown that the store does not create exactly once.
    #[error("store: not usable for claims: {reason}")]
    Dishonest {
        /// What was seen.
        reason: String,
    },

    /// An object, or a list of them, is bigger than [`Settings::max_object`](crate::Settings::max_object).
    #[error("store: `{key}` has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// Without the prefix.
        key: String,
        /// Bytes.
        size: u64,
        /// Bytes.
        max: usize,
    },

    /// The store refused the request for another reason; trying again would not help.
    #[error("store {endpoint}: {call}: refused with HTTP {status} {code}: {message}")]
    Refused {
        /// Who said so.
        endpoint: String,
        /// `delete of 3 keys`
        call: String,
        /// HTTP status.
        status: u16,
        /// The store's code; empty where it gave none.
        code: String,
        /// The store's message.
        message: String,
    },

    /// Some keys of a delete are still there.
    #[error("store: {count} keys could not be deleted, the first is `{key}`: {code}")]
    NotDeleted {
        /// How many.
        count: usize,
        /// The first, without the prefix.
        key: String,
        /// The store's code.
        code: String,
    },
}

impl Error {
    /// What is wrong, whichever request has met it: the same for each of an outage.
    pub fn trouble(&self) -> String {
        match self {
            Self::Unavailable { .. } | Self::Unknown { .. } => "the store does not answer".to_owned(),
            Self::Denied { endpoint, bucket, code, .. } => format!("{endpoint} denies {bucket}: {code}"),
            Self::Refused { endpoint, status, code, .. } => format!("{endpoint} refuses: {status} {code}"),
            Self::Full { endpoint, bucket, code, .. } => {
                format!("{endpoint} has no room in {bucket}: {code}")
            }
            Self::NotDeleted { code, .. } => format!("what is deleted stays: {code}"),
            Self::Settings(_)
            | Self::NoBucket { .. }
            | Self::Versioned { .. }
            | Self::Dishonest { .. }
            | Self::TooLarge { .. } => self.to_string(),
        }
    }

    /// Whether the credentials are good and lack a right: the store would take the same of somebody else.
    pub fn lacks_right(&self) -> bool {
        match self {
            Self::Denied { code, .. } => code == "AccessDenied" || code.starts_with("HTTP "),
            Self::NotDeleted { code, .. } => code == "AccessDenied",
            _ => false,
        }
    }

    /// The code of a store that refuses this for good, although it takes the credentials: a right is lacking, there is no
    /// room, or it does not do such a thing. What passes by itself has none.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Denied { code, .. } if !CREDENTIALS.contains(&code.as_str()) => Some(code),
            Self::NotDeleted { code, .. } if code == "AccessDenied" => Some(code),
            // These ask to come again.
            Self::Refused { status: 409 | 412, .. } => None,
            Self::Refused { code, .. } if code == "RequestTimeout" => None,
            Self::Full { code, .. } | Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Codes by which credentials are no good for anything: the store is as one that is away.
const CREDENTIALS: [&str; 6] = [
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidToken",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_trouble_whatever_was_asked() {
        let away = |call: &str, last: &str| Error::Unavailable {
            call: call.to_owned(),
            deadline: Duration::from_secs(1),
            last: last.to_owned(),
        };
        let unknown =
            Error::Unknown { call: "create c/1/000001".to_owned(), last: "http://s: cut off".to_owned() };
        let troubles = [away("get n/c1", "http://s: timeout"), away("list i/", "http://t: refused"), unknown];
        assert!(troubles.iter().all(|error| error.trouble() == troubles[0].trouble()));
        let denied = |call: &str, code: &str| Error::Denied {
            endpoint: "http://s".to_owned(),
            call: call.to_owned(),
            bucket: "b".to_owned(),
            code: code.to_owned(),
            cure: "none".to_owned(),
        };
        assert_eq!(denied("get a", "AccessDenied").trouble(), denied("get b", "AccessDenied").trouble());
        assert_ne!(
            denied("get a", "AccessDenied").trouble(),
            denied("get a", "InvalidAccessKeyId").trouble()
        );
        assert_eq!(denied("get a", "AccountProblem").refusal(), Some("AccountProblem"));
        assert_eq!(denied("get a", "RequestTimeTooSkewed").refusal(), None);
    }
}
