//! Writes: any batch is taken or refused update by update, and what was taken can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::p4::v1::WriteRequest;
use outplane_p4runtime::p4::v1::write_request::Atomicity;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(request) = WriteRequest::decode(data) else { return };
    let atomicity = Atomicity::try_from(request.atomicity).unwrap_or_default();
    outplane_fuzz::with_switch(|switch| {
        if let Ok(outcomes) = switch.apply(&request.updates, atomicity) {
            assert_eq!(outcomes.len(), request.updates.len());
        }
        let written: Vec<_> = request.updates.into_iter().filter_map(|update| update.entity).collect();
        let _ = switch.read().query(&written);
    });
});
