//! Why something is refused: a canonical code and a message in plain words.

use outplane_p4runtime::p4;
use tonic::Code;

/// Errors carry this as their `space`: codes and messages are this switch's.
pub const SPACE: &str = "outplane-softswitch";

/// One refused update, query, pipeline or stream message. The code is the one that the standard asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Canonical code.
    pub code: Code,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The result of anything that a client may have asked wrongly.
pub type Outcome<T> = Result<T, Refusal>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident,)*) => {
        $($(#[$doc])* pub(crate) fn $name(message: impl Into<String>) -> Self {
            Self { code: Code::$code, message: message.into() }
        })*
    };
}

impl Refusal {
    constructors! {
        invalid => InvalidArgument,
        out_of_range => OutOfRange,
        not_found => NotFound,
        exists => AlreadyExists,
        denied => PermissionDenied,
        exhausted => ResourceExhausted,
        failed_precondition => FailedPrecondition,
        unimplemented => Unimplemented,
        aborted => Aborted,
    }

    /// The message of the standard for one refused update or query.
    pub fn to_error(&self) -> p4::v1::Error {
        p4::v1::Error {
            canonical_code: self.code as i32,
            message: self.message.clone(),
            space: SPACE.to_owned(),
            code: self.code as i32,
            details: None,
        }
    }

    /// Puts words before the message.
    #[must_use]
    pub(crate) fn within(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}
