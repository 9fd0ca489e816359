//! Refusals as gRPC statuses: the standard's section 10.

use outplane_p4runtime::google::protobuf::Any;
use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::state::{Outcome, Refusal};

const ERROR_TYPE: &str = "type.googleapis.com/p4.v1.Error";
/// The same for whoever is short of room: all that counts is what stands behind the last `/`.
const SHORT_ERROR_TYPE: &str = "/p4.v1.Error";

/// Header with which a client says how many bytes of metadata it takes; gRPC's libraries take 8 KiB, and what is above
/// reaches their callers as `RESOURCE_EXHAUSTED`, which in P4Runtime means that a table is full.
const METADATA_LIMIT: &str = "outplane-metadata-limit";
const DEFAULT_METADATA: usize = 8 << 10;
/// More is not sent, whatever a client takes.
const MOST_METADATA: usize = 8 << 20;
/// Room for the other headers and the message.
const OTHER_METADATA: usize = 1 << 10;

/// How many bytes of details a client can get.
pub(crate) fn room(metadata: &MetadataMap) -> usize {
    let said = metadata.get(METADATA_LIMIT).and_then(|limit| limit.to_str().ok()?.parse().ok());
    // They travel in base 64.
    said.unwrap_or(DEFAULT_METADATA).min(MOST_METADATA).saturating_sub(OTHER_METADATA) / 4 * 3
}

/// A refusal of a whole call.
pub(crate) fn status(refusal: Refusal) -> Status {
    Status::new(refusal.code, refusal.message)
}

/// The status of a batch: OK, or `UNKNOWN` with one `p4.v1.Error` for each update or query, in their order. Where these
/// are more than `room` bytes, the later ones of them have codes alone; where even that is too much, the client gets no
/// details, but words that say so.
pub(crate) fn batch(what: &str, outcomes: &[Outcome<()>], room: usize) -> Result<(), Status> {
    let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if refused == 0 {
        return Ok(());
    }
    let message = format!("{refused} of {} {what} were refused", outcomes.len());
    let Some(details) = details(outcomes, room.saturating_sub(message.len() + 16)) else {
        let first =
            outcomes.iter().zip(1..).find_map(|(outcome, number)| Some((outcome.as_ref().err()?, number)));
        let first = first.map_or_else(String::new, |(refusal, number)| {
            format!(", the first ({number}) with {:?}: {}", refusal.code, short(&refusal.message))
        });
        return Err(Status::unknown(format!(
            "{message}{first}; send fewer at once to learn the status of each: so many do not fit into the metadata \
             that gRPC clients take ({METADATA_LIMIT} says that one takes more)"
        )));
    };
    let details = rpc::Status { code: Code::Unknown.into(), message: message.clone(), details };
    Err(Status::with_details(Code::Unknown, message, details.encode_to_vec().into()))
}

/// An error for each outcome, in not more than `room` bytes; none if that cannot be.
fn details(outcomes: &[Outcome<()>], room: usize) -> Option<Vec<Any>> {
    let any =
        |url: &str, error: &p4::v1::Error| Any { type_url: url.to_owned(), value: error.encode_to_vec() };
    let whole =
        |outcome: &Outcome<()>| outcome.as_ref().err().map_or_else(p4::v1::Error::default, Refusal::to_error);
    // A field of a message: its tag and its length.
    let size = |any: &Any| any.encoded_len() + 1 + prost::length_delimiter_len(any.encoded_len());
    let all: Vec<Any> = outcomes.iter().map(|outcome| any(ERROR_TYPE, &whole(outcome))).collect();
    if all.iter().map(size).sum::<usize>() <= room {
        return Some(all);
    }
    let mut short: Vec<Any> = outcomes
        .iter()
        .map(|outcome| {
            let canonical_code = outcome.as_ref().err().map_or(0, |refusal| refusal.code as i32);
            any(SHORT_ERROR_TYPE, &p4::v1::Error { canonical_code, ..p4::v1::Error::default() })
        })
        .collect();
    let mut left = room.checked_sub(short.iter().map(size).sum())?;
    for (place, outcome) in short.iter_mut().zip(outcomes).filter(|(_, outcome)| outcome.is_err()) {
        let worded = any(SHORT_ERROR_TYPE, &whole(outcome));
        let Some(rest) = left.checked_sub(size(&worded) - size(place)) else { break };
        left = rest;
        *place = worded;
    }
    Some(short)
}

/// The beginning of a message.
fn short(message: &str) -> &str {
    &message[..message.floor_char_boundary(200)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many outcomes, every third of them a refusal.
    fn outcomes(count: usize) -> Vec<Outcome<()>> {
        let one = |n: usize| {
            if n.is_multiple_of(3) {
                Err(Refusal::not_found(format!("there is no entry number {n}")))
            } else {
                Ok(())
            }
        };
        (0..count).map(one).collect()
    }

    fn unpacked(status: &Status) -> Vec<p4::v1::Error> {
        let packed = rpc::Status::decode(status.details()).unwrap();
        assert!(packed.details.iter().all(|any| any.type_url.ends_with("/p4.v1.Error")));
        packed.details.iter().map(|any| p4::v1::Error::decode(any.value.as_slice()).unwrap()).collect()
    }

    #[test]
    fn details_fit_into_what_a_client_takes() {
        for count in [1, 3, 59, 61, 100, 200, 333, 400, 2000] {
            let outcomes = outcomes(count);
            let status = batch("updates", &outcomes, room(&MetadataMap::new())).unwrap_err();
            let on_the_wire = status.details().len().div_ceil(3) * 4 + status.message().len();
            assert!(on_the_wire + 500 < DEFAULT_METADATA, "{count}: {on_the_wire}");
            if status.details().is_empty() {
                assert!(count > 250, "{count}");
                assert!(status.message().contains("send fewer at once"), "{}", status.message());
                assert!(status.message().contains("the first (1) with NotFound: there is no entry number 0"));
                continue;
            }
            let errors = unpacked(&status);
            assert_eq!(errors.len(), count);
            for (error, outcome) in errors.iter().zip(&outcomes) {
                let code = outcome.as_ref().err().map_or(0, |refusal| refusal.code as i32);
                assert_eq!(error.canonical_code, code);
            }
            assert_eq!(errors[0].message, "there is no entry number 0", "the first one keeps its words");
        }
    }

    #[test]
    fn who_takes_more_gets_every_word() {
        let mut metadata = MetadataMap::new();
        metadata.insert(METADATA_LIMIT, "1000000".parse().unwrap());
        let status = batch("updates", &outcomes(2000), room(&metadata)).unwrap_err();
        let errors = unpacked(&status);
        assert_eq!(errors.len(), 2000);
        assert_eq!(errors[1998].message, "there is no entry number 1998");
        for (said, expected) in [("99999999999", MOST_METADATA), ("0", 0), ("many", DEFAULT_METADATA)] {
            metadata.insert(METADATA_LIMIT, said.parse().unwrap());
            assert_eq!(room(&metadata), expected.saturating_sub(OTHER_METADATA) / 4 * 3, "{said}");
        }
    }
}
