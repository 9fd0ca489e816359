//! What an attempt met when it did not succeed, and what that means for a write.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::Error;

/// Why an attempt has no result.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// No connection came about, so nothing was sent.
    Unsent(String),
    /// Given up after so long; a write may have been done, or may be done later.
    Timeout(Duration),
    /// The connection broke, the server failed or talked nonsense; a write may have been done.
    Broken(String),
    /// A clear answer of the store: 300 to 499, 501, or 507.
    Status(Status),
    /// The request could not even be made.
    Unmade(String),
    /// The object has more bytes than allowed.
    TooLarge(u64),
}

/// An answer that is no success.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) http: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Trouble {
    /// In words; for what the next endpoint may do better.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Unsent(text) | Self::Broken(text) | Self::Unmade(text) => text.clone(),
            Self::Timeout(limit) => format!("no answer within {:.0} ms", limit.as_secs_f64() * 1000.0),
            Self::Status(status) => format!("HTTP {} {}: {}", status.http, status.code, status.message),
            Self::TooLarge(size) => format!("{size} bytes"),
        }
    }
}

/// Sorts what the SDK returned.
pub(crate) fn sort<E>(error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => Trouble::Unmade(DisplayErrorContext(error).to_string()),
        SdkError::DispatchFailure(failure) => {
            let text =
                failure.as_connector_error().map_or_else(|| "not sent".to_owned(), |error| chain(error));
            if failure.as_connector_error().is_some_and(|error| never_connected(error)) {
                Trouble::Unsent(text)
            } else {
                Trouble::Broken(text)
            }
        }
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let found = Status {
                http: status,
                code: short(context.err().code().unwrap_or_default()),
                message: short(context.err().message().unwrap_or_default()),
            };
            // 501 says no for good, and 507 until somebody makes room. 408 and 429 ask to come again; a 404 without S3's code is somebody else's, not the
            // store's word on a key.
            let clear = (300..500).contains(&status) || matches!(status, 501 | 507);
            if !clear || matches!(status, 408 | 429) || (status == 404 && found.code.is_empty()) {
                return Trouble::Broken(Trouble::Status(found).text());
            }
            Trouble::Status(found)
        }
        _ => Trouble::Broken(short(&DisplayErrorContext(error).to_string())),
    }
}

/// Text from outside goes into messages; a screenful is too much.
fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

/// The innermost causes say what it was: `connection refused`, `invalid peer certificate: UnknownIssuer`.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    short(&texts.join(": "))
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source()).take(10)
}

fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        cause.downcast_ref().is_some_and(hyper_util::client::legacy::Error::is_connect)
            || cause.downcast_ref().is_some_and(refused)
    })
}

impl Status {
    /// The error for the caller.
    pub(crate) fn refuse(self, endpoint: &str, bucket: &str, call: &str) -> Error {
        let (endpoint, bucket) = (endpoint.to_owned(), bucket.to_owned());
        match (self.http, self.code.as_str()) {
            (507, _)
            | (_, "QuotaExceeded" | "StorageFull" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded") =>
            {
                let code = if self.code.is_empty() { format!("HTTP {}", self.http) } else { self.code };
                Error::Full { endpoint, call: call.to_owned(), bucket, code }
            }
            (401 | 403, code) => {
                let cure = cure(code).to_owned();
                let code = if code.is_empty() { format!("HTTP {}", self.http) } else { self.code };
                Error::Denied { endpoint, call: call.to_owned(), bucket, code, cure }
            }
            (404, "NoSuchBucket") => Error::NoBucket { endpoint, bucket },
            _ => Error::Refused {
                endpoint,
                call: call.to_owned(),
                status: self.http,
                code: self.code,
                message: self.message,
            },
        }
    }
}

fn cure(code: &str) -> &'static str {
    match code {
        "InvalidAccessKeyId" => "the store does not know the access key: correct it",
        "SignatureDoesNotMatch" => "the secret key is not that of the access key: correct it",
        "RequestTimeTooSkewed" => "this machine's clock and the store's differ too much: set them by NTP",
        "AuthorizationHeaderMalformed" => "the region is not the store's: correct it",
        _ => {
            "these credentials may not do that: docs/store-access.md says whose right it is; give them the right, or \
             use those of the role"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Status, chain, short};
    use crate::Error;

    #[test]
    fn misconfiguration_names_endpoint_bucket_and_cure() {
        let status = |http, code: &str| Status { http, code: code.into(), message: "no".into() };
        let text = status(403, "SignatureDoesNotMatch").refuse("http://e", "tasks", "get k").to_string();
        for part in ["http://e", "`tasks`", "SignatureDoesNotMatch", "secret key"] {
            assert!(text.contains(part), "{text}");
        }
        let text = status(403, "").refuse("http://e", "tasks", "get k").to_string();
        assert!(
            text.contains("HTTP 403") && text.contains("get k") && text.contains("store-access"),
            "{text}"
        );
        for (http, code) in
            [(403, "QuotaExceeded"), (507, "StorageFull"), (507, ""), (400, "XMinioAdminBucketQuotaExceeded")]
        {
            let error = status(http, code).refuse("http://e", "tasks", "put k");
            assert!(matches!(&error, Error::Full { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("put k") && text.contains("is full") && text.contains("quota"), "{text}");
        }
        let error = status(404, "NoSuchBucket").refuse("http://e", "tasks", "get k");
        assert!(matches!(&error, Error::NoBucket { .. }));
        assert!(error.to_string().contains("create it"), "{error}");
        let text = status(400, "KeyTooLongError").refuse("http://e", "tasks", "get k").to_string();
        assert!(text.contains("get k") && text.contains("400 KeyTooLongError: no"), "{text}");
    }

    #[test]
    fn foreign_text_is_cut_and_causes_are_not_repeated() {
        assert_eq!(short(&"x\n".repeat(500)).len(), 200);
        let error = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "refused");
        assert_eq!(chain(&error), "refused");
    }
}
