//! Errors as S3 says them.

use s3s::dto::Error as KeyError;
use s3s::{S3Error, S3ErrorCode, s3_error};

use crate::error::Error;

/// What a client is told.
pub(crate) fn answer(error: Error) -> S3Error {
    let message = error.to_string();
    match error {
        Error::NoBucket(_) => s3_error!(NoSuchBucket, "{message}"),
        Error::NoObject(_) => s3_error!(NoSuchKey, "{message}"),
        Error::Precondition(_) => s3_error!(PreconditionFailed, "{message}"),
        Error::BucketExists(_) => s3_error!(BucketAlreadyOwnedByYou, "{message}"),
        // Ceph's code: S3 itself has no end. A client must not try again, so it is no 5xx.
        Error::Full { .. } => with_status("QuotaExceeded", 403, message),
        Error::NoSpace(_) => with_status("StorageFull", 507, message),
        Error::NoFiles(_) => s3_error!(SlowDown, "{message}"),
        // A later attempt may reach a store that was started again.
        Error::Stopping | Error::Failed { .. } => s3_error!(ServiceUnavailable, "{message}"),
        error => {
            tracing::error!(%error, "a request could not be served");
            s3_error!(InternalError, "{message}")
        }
    }
}

/// A code that the library doesn't know.
pub(crate) fn with_status(
    code: &'static str,
    status: u16,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

/// One of many keys that could not be deleted.
pub(super) fn key_error(key: String, error: &S3Error) -> KeyError {
    KeyError {
        code: Some(error.code().as_str().to_owned()),
        key: Some(key),
        message: error.message().map(ToOwned::to_owned),
        ..KeyError::default()
    }
}
