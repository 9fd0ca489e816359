//! What the answer to a chunk of writes means, for the chunk and for each update.
//!
//! The standard has one status for the call and, packed into its details, one for each update in order (section 12.3).
//! Servers differ in what they do when a chunk is too much for them, so statuses without details are judged here too.

use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4::v1;
use prost::Message;
use tonic::{Code, Status};

use crate::status::{UpdateStatus, broken, reason, timed_out, too_long};

/// What a failed chunk tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One status for each update.
    Each(Vec<UpdateStatus>),
    /// It was too much at once. Some of it may have been written.
    TooLarge(UpdateStatus),
    /// It took too long. Some of it may have been written.
    TooSlow,
    /// The switch wants it again later, all of it.
    Again(UpdateStatus),
    /// The status is for some update, but which one the switch does not say.
    Unclear(UpdateStatus),
    /// We are not the primary any more.
    NotPrimary,
    /// The connection broke. Some of it may have been written.
    Broken,
}

/// Judges the status of a chunk of `updates` updates.
pub(super) fn judge(status: &Status, updates: usize) -> Outcome {
    if let Some(each) = details(status, updates) {
        return Outcome::Each(each);
    }
    let said = UpdateStatus { code: status.code(), message: status.message().to_owned() };
    if too_long(&reason(status)) {
        return Outcome::TooLarge(said);
    }
    if timed_out(status) {
        return Outcome::TooSlow;
    }
    match status.code() {
        // Message size limits: RESOURCE_EXHAUSTED in gRPC's C++, Go and Java libraries, OUT_OF_RANGE in Rust's.
        Code::ResourceExhausted | Code::OutOfRange => Outcome::TooLarge(said),
        Code::PermissionDenied => Outcome::NotPrimary,
        _ if broken(status) => Outcome::Broken,
        Code::Aborted => Outcome::Again(said),
        _ => Outcome::Unclear(said),
    }
}

/// The statuses of the updates, if they are there and as many as the updates.
fn details(status: &Status, updates: usize) -> Option<Vec<UpdateStatus>> {
    if status.details().is_empty() {
        return None;
    }
    outplane_p4runtime::wire::check::<rpc::Status>(status.details()).ok()?;
    let packed = rpc::Status::decode(status.details()).ok()?;
    if packed.details.len() != updates {
        return None;
    }
    packed
        .details
        .iter()
        .map(|any| {
            if !any.type_url.ends_with("/p4.v1.Error") {
                return None;
            }
            let error = v1::Error::decode(any.value.as_slice()).ok()?;
            Some(UpdateStatus { code: Code::from_i32(error.canonical_code), message: error.message })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use tonic::metadata::MetadataMap;

    use super::*;

    /// A status as servers send it.
    pub(crate) fn packed(code: Code, updates: &[(Code, &str)]) -> Status {
        let details = updates
            .iter()
            .map(|&(code, message)| {
                let error = v1::Error {
                    canonical_code: code.into(),
                    message: message.to_owned(),
                    ..v1::Error::default()
                };
                outplane_p4runtime::google::protobuf::Any {
                    type_url: "type.googleapis.com/p4.v1.Error".into(),
                    value: error.encode_to_vec(),
                }
            })
            .collect();
        let status = rpc::Status { code: code.into(), message: "errors".into(), details };
        Status::with_details_and_metadata(code, "errors", status.encode_to_vec().into(), MetadataMap::new())
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            failure_persistence: None,
            rng_seed: proptest::test_runner::RngSeed::Fixed(3),
            ..proptest::test_runner::Config::default()
        })]

        #[test]
        fn any_bytes_are_judged(
            code in 0i32..20,
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
            cut in 0usize..200,
            updates in 0usize..4,
        ) {
            judge(&Status::with_details(Code::from_i32(code), "words", bytes.into()), updates);
            let good = packed(Code::Unknown, &[(Code::NotFound, "gone"), (Code::Ok, "")]);
            let whole = good.details();
            let part = whole[..cut.min(whole.len())].to_vec();
            let is_whole = part.len() == whole.len();
            let judged = judge(&Status::with_details(Code::Unknown, "", part.into()), 2);
            proptest::prop_assert!(!is_whole || matches!(judged, Outcome::Each(_)));
        }
    }

    #[test]
    fn one_status_for_each_update() {
        let status = packed(Code::Unknown, &[(Code::Ok, ""), (Code::NotFound, "no such entry")]);
        let each = vec![
            UpdateStatus { code: Code::Ok, message: String::new() },
            UpdateStatus { code: Code::NotFound, message: "no such entry".into() },
        ];
        assert_eq!(judge(&status, 2), Outcome::Each(each));
        // Details for another number of updates say nothing about ours.
        assert!(matches!(judge(&status, 3), Outcome::Unclear(_)));
    }

    #[test]
    fn what_servers_say_about_whole_chunks() {
        let too_large = |code, message: &str| {
            let said = UpdateStatus { code, message: message.to_owned() };
            assert_eq!(judge(&Status::new(code, message), 2), Outcome::TooLarge(said));
        };
        too_large(Code::ResourceExhausted, "Received message larger than max (5000000 vs. 4194304)");
        too_large(Code::OutOfRange, "Error, decoded message length too large: found 5000000 bytes");
        too_large(Code::Internal, "received trailing metadata size exceeds limit");
        for (code, expected) in [
            (Code::PermissionDenied, Outcome::NotPrimary),
            (Code::DeadlineExceeded, Outcome::TooSlow),
            (Code::Unavailable, Outcome::Broken),
        ] {
            assert_eq!(judge(&Status::new(code, "words"), 2), expected);
        }
        let said = |code| UpdateStatus { code, message: "words".into() };
        assert_eq!(judge(&Status::aborted("words"), 2), Outcome::Again(said(Code::Aborted)));
        assert_eq!(
            judge(&Status::invalid_argument("words"), 2),
            Outcome::Unclear(said(Code::InvalidArgument))
        );
        assert!(matches!(
            judge(&Status::with_details(Code::Unknown, "", vec![0xff; 9].into()), 2),
            Outcome::Unclear(_)
        ));
    }
}
