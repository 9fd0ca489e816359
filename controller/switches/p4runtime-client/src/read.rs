//! Reads, as much as is allowed.

use std::future::Future;

use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::p4::v1::{Entity, ReadRequest};
use prost::Message as _;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::connection::{Connection, within};
use crate::errors::{Error, Problem};

/// Largest message from the switch. BMv2 sends a whole table as one message; what it decodes to is bounded as well
/// ([`outplane_p4runtime::wire`]).
pub const MAX_MESSAGE: usize = 128 << 20;

/// Parts of an answer that may come beside its entities: servers may send empty ones.
const MORE: usize = 1024;

/// How much may be read: a switch that sends more is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Entities.
    pub entities: usize,
    /// Bytes in all.
    pub bytes: usize,
    /// Bytes in one message, at most [`MAX_MESSAGE`].
    pub message: usize,
}

/// Why a read failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadFailure {
    /// The call failed.
    Status(Status),
    /// More entities than this.
    TooMany(usize),
    /// More bytes than this.
    TooLong(usize),
}

impl ReadFailure {
    /// Whether a message was not taken since it was longer than [`Bound::message`].
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::OutOfRange)
    }
}

impl Connection {
    /// Reads entities, within [`Options::max_entries`](crate::Options) and
    /// [`Options::max_read_bytes`](crate::Options).
    ///
    /// # Errors
    /// [`Problem::NoPipeline`], [`Problem::TooMany`], [`Problem::TooLong`], and what [`Problem`] says of calls.
    pub async fn read(&self, entities: Vec<Kind>) -> Result<Vec<Entity>, Error> {
        let bytes = self.options.max_read_bytes;
        let bound = Bound { entities: self.options.max_entries, bytes, message: bytes.min(MAX_MESSAGE) };
        self.read_within(entities, bound).await.map_err(|failure| self.read_error(failure))
    }

    /// The same, within a bound of the caller's. The future borrows nothing.
    pub fn read_within(
        &self,
        entities: Vec<Kind>,
        bound: Bound,
    ) -> impl Future<Output = Result<Vec<Entity>, ReadFailure>> + Send + use<> {
        let request = ReadRequest {
            device_id: self.target.device_id,
            role: self.role(),
            entities: entities.into_iter().map(|kind| Entity { entity: Some(kind) }).collect(),
        };
        read(self.client.clone(), request, self.options.read_deadline, bound)
    }

    /// What a failed read means.
    pub fn read_error(&self, failure: ReadFailure) -> Error {
        match failure {
            ReadFailure::TooMany(limit) => self.error(Problem::TooMany { limit }),
            ReadFailure::TooLong(limit) => self.error(Problem::TooLong { limit }),
            failure if failure.is_too_long() => {
                self.error(Problem::TooLong { limit: self.options.max_read_bytes })
            }
            ReadFailure::Status(status) if status.code() == Code::FailedPrecondition => {
                self.error(Problem::NoPipeline)
            }
            ReadFailure::Status(status) => self.call_error("Read", self.options.read_deadline, &status),
        }
    }
}

/// Reads all parts of an answer, as much as is allowed. The deadline is for each of them.
async fn read(
    client: P4RuntimeClient<Channel>,
    request: ReadRequest,
    deadline: std::time::Duration,
    bound: Bound,
) -> Result<Vec<Entity>, ReadFailure> {
    let mut client = client.max_decoding_message_size(bound.message.min(MAX_MESSAGE));
    let mut answer = within(deadline, client.read(request)).await.map_err(ReadFailure::Status)?;
    let mut entities: Vec<Entity> = Vec::new();
    let (mut bytes, mut parts) = (0, 0);
    loop {
        let part = match timeout(deadline, answer.message()).await {
            Ok(part) => part.map_err(ReadFailure::Status)?,
            Err(_) => return Err(ReadFailure::Status(Status::deadline_exceeded("a part is late"))),
        };
        let Some(part) = part else { return Ok(entities) };
        parts += 1;
        if entities.len() + part.entities.len() > bound.entities || parts > bound.entities + MORE {
            return Err(ReadFailure::TooMany(bound.entities));
        }
        bytes += part.encoded_len();
        if bytes > bound.bytes {
            return Err(ReadFailure::TooLong(bound.bytes));
        }
        entities.extend(part.entities);
    }
}
