//! What can go wrong between us and a switch, in words that name the switch and the cure.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outplane_p4runtime::{EntryError, SchemaError};
use thiserror::Error;
use tonic::{Code, Status};

use crate::refusal::Refusal;
use crate::status::{broken, reason, timed_out};
use crate::target::Target;

/// A problem with a switch.
#[derive(Debug, Error)]
#[error("switch {} ({}): {problem}{}", .peer.name, .peer.address, device_cure(.peer, .problem))]
pub struct Error {
    pub(crate) peer: Arc<Peer>,
    /// What it is.
    #[source]
    pub problem: Box<Problem>,
}

/// Name and address of a switch, for messages.
#[derive(Debug)]
pub struct Peer {
    name: String,
    address: String,
    device_id: u64,
}

/// What to do where the switch has another device id than ours, as far as its words tell.
fn device_cure(peer: &Peer, problem: &Problem) -> String {
    let (Problem::ArbitrationRefused { code, message, .. }
    | Problem::PipelineRefused { code, message }
    | Problem::Call { code, message, .. }) = problem
    else {
        return String::new();
    };
    if !says_another_device(*code, message) {
        return String::new();
    }
    format!(
        "; the switch seems to have another device id than {} (BMv2's is 0 unless it was started with another)",
        peer.device_id
    )
}

/// Whether a switch that answers so seems to have another device id than the one that it was asked for.
pub fn says_another_device(code: Code, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    // BMv2 says "Error when trying to assign device", ours and others that there is no such device.
    ["assign device", "device id", "device_id"].iter().any(|words| message.contains(words))
        || code == Code::NotFound && message.contains("device")
}

/// What went wrong.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The address is none.
    #[error("the address is wrong: {problem}; it should be host:port, such as 192.0.2.1:9559")]
    Address {
        /// What is wrong.
        problem: String,
    },
    /// A file for TLS is not what it should be.
    #[error("TLS: {}: {problem}", .file.display())]
    Tls {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be connected to.
    #[error("cannot connect: {reason}; is the switch up, and do the address and the TLS settings fit?")]
    Unreachable {
        /// Why, as far as the transport knows.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection broke: {reason}; what was under way may or may not have been done")]
    Disconnected {
        /// Why, as far as the transport knows.
        reason: String,
    },
    /// An answer did not come in time.
    #[error("no answer to {call} within {} s; the switch may be overloaded or hang", .after.as_secs_f32())]
    Deadline {
        /// What was asked.
        call: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// Another controller is the primary.
    #[error(
        "not the primary controller: our election id is {ours}, the primary's is {}; stop the other controller, or use a \
         higher election id",
        id(*.primary)
    )]
    NotPrimary {
        /// Our election id.
        ours: u128,
        /// The primary's, where the switch says it.
        primary: Option<u128>,
    },
    /// The switch does not take us as a controller at all.
    #[error(
        "the switch refused election id {ours} ({code}: {message}); another controller may use the same election id, or \
         the device id or role may be wrong"
    )]
    ArbitrationRefused {
        /// Our election id.
        ours: u128,
        /// gRPC status code.
        code: Code,
        /// The switch's words.
        message: String,
    },
    /// Another controller has become the primary while we were at work.
    #[error("another controller took over (election id {}) and our writes stopped", id(*.primary))]
    PrimacyLost {
        /// The new primary's election id, where the switch says it.
        primary: Option<u128>,
    },
    /// The connection was opened for reading, and this needs a controller.
    #[error("this connection only reads; open it as a controller to write")]
    ReadOnly,
    /// There is no program in the switch.
    #[error("the switch has no P4 program; push a pipeline first")]
    NoPipeline,
    /// It does not take the program.
    #[error("the switch refused the P4 program ({code}): {message}")]
    PipelineRefused {
        /// gRPC status code.
        code: Code,
        /// The switch's words.
        message: String,
    },
    /// A call failed.
    #[error("{call} failed ({code}): {message}")]
    Call {
        /// What was asked.
        call: &'static str,
        /// gRPC status code.
        code: Code,
        /// The switch's words.
        message: String,
    },
    /// It sent something that cannot be.
    #[error("the switch sent {what} that does not fit its program: {source}")]
    Entity {
        /// "an entry", ..
        what: &'static str,
        /// What is wrong with it.
        source: EntryError,
    },
    /// Its P4Info is none.
    #[error("the P4Info of the switch's program is wrong: {0}")]
    Schema(#[from] SchemaError),
    /// It sent more than we are ready to keep.
    #[error(
        "the switch sent more than {limit} entities in a read; raise the limit if it really holds so many"
    )]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// It sent more than we are ready to keep.
    #[error(
        "the switch sent more than {limit} bytes in a read, more than its tables can hold; nothing of it is kept"
    )]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A name that the program does not have.
    #[error("the P4Info has no {what} {name}")]
    Unknown {
        /// Counter, meter, ..
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It refused writes.
    #[error("{0}")]
    Refused(Refusal),
}

fn id(election_id: Option<u128>) -> String {
    election_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string())
}

impl Peer {
    /// The switch that a target names.
    pub fn of(target: &Target) -> Arc<Self> {
        let (name, address) = (target.name.clone(), target.address.clone());
        Arc::new(Self { name, address, device_id: target.device_id })
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The device id that it was asked for.
    pub fn device_id(&self) -> u64 {
        self.device_id
    }

    /// A problem with this switch.
    pub(crate) fn error(self: &Arc<Self>, problem: impl Into<Problem>) -> Error {
        Error { peer: Arc::clone(self), problem: Box::new(problem.into()) }
    }

    /// What a failed call means.
    pub(crate) fn call_error(
        self: &Arc<Self>,
        call: &'static str,
        deadline: Duration,
        status: &Status,
    ) -> Error {
        let problem = if timed_out(status) {
            Problem::Deadline { call, after: deadline }
        } else if broken(status) {
            Problem::Disconnected { reason: reason(status) }
        } else {
            Problem::Call { call, code: status.code(), message: status.message().to_owned() }
        };
        self.error(problem)
    }
}

impl Error {
    /// The switch.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Whether connecting anew may help.
    pub fn is_disconnect(&self) -> bool {
        matches!(*self.problem, Problem::Unreachable { .. } | Problem::Disconnected { .. })
    }

    /// Whether the same attempt to connect may succeed a little later. A switch may still hold the election id for a
    /// connection of ours that has just ended.
    pub fn may_pass(&self) -> bool {
        let taken = matches!(
            *self.problem,
            Problem::ArbitrationRefused { code: Code::InvalidArgument | Code::AlreadyExists, .. }
        );
        self.is_disconnect() || taken
    }
}
