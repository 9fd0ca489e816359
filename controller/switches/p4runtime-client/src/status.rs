//! What a gRPC status means between us and a switch.

use std::error::Error as _;
use std::fmt;

use tonic::{Code, Status};

/// Whether a library refused a message or its headers for their size.
pub(crate) fn too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "larger than max",
        "message length too large",
        "message too large",
        "metadata size",
        "metadata too large",
        "header list",
        "headers too large",
        "header too large",
        "header section",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// The status of one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateStatus {
    /// gRPC status code.
    pub code: Code,
    /// The switch's words.
    pub message: String,
}

impl fmt::Display for UpdateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = code_name(self.code);
        match (self.code, self.message.as_str()) {
            // What does not get through is no full table.
            (Code::ResourceExhausted, message) if too_long(message) => {
                write!(f, "{message} ({code}: a message between us and the switch is too long)")
            }
            (Code::ResourceExhausted, message) => {
                write!(f, "the table is full ({code}{}{message})", if message.is_empty() { "" } else { ": " })
            }
            (_, "") => f.write_str(code),
            (_, message) => write!(f, "{message} ({code})"),
        }
    }
}

/// The standard's name of a code.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether a deadline has passed, here or there.
pub fn timed_out(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || status.source().is_some_and(<dyn std::error::Error>::is::<tonic::TimeoutExpired>)
}

/// Whether the transport failed, and not the switch refused.
pub fn broken(status: &Status) -> bool {
    status.source().is_some() || status.code() == Code::Unavailable
}

/// What the transport says, from the outside to the root, without repetitions.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = match error.downcast_ref::<Status>() {
            Some(status) => status.message().to_owned(),
            None => error.to_string(),
        };
        if !text.is_empty() && !reasons.iter().any(|known| known.contains(&text)) {
            reasons.push(text);
        }
        next = error.source();
    }
    reasons.join(": ")
}
