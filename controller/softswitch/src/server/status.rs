//! Refusals as gRPC statuses: the standard's section 10.

use outplane_p4runtime::google::protobuf::Any;
use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4;
use prost::Message;
use tonic::{Code, Status};

use crate::state::{Outcome, Refusal};

const ERROR_TYPE: &str = "type.googleapis.com/p4.v1.Error";

/// A refusal of a whole call.
pub(crate) fn status(refusal: Refusal) -> Status {
    Status::new(refusal.code, refusal.message)
}

/// The status of a batch: OK, or `UNKNOWN` with one `p4.v1.Error` for each update or query, in their order.
pub(crate) fn batch(what: &str, outcomes: &[Outcome<()>]) -> Result<(), Status> {
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if refused == 0 {
        return Ok(());
    }
    let message = format!("{refused} of {} {what} were refused", outcomes.len());
    let details = outcomes.iter().map(|outcome| Any {
        type_url: ERROR_TYPE.to_owned(),
        value: outcome.as_ref().err().map_or_else(p4::v1::Error::default, Refusal::to_error).encode_to_vec(),
    });
    let details =
        rpc::Status { code: Code::Unknown.into(), message: message.clone(), details: details.collect() };
    Err(Status::with_details(Code::Unknown, message, details.encode_to_vec().into()))
}
