//! Reads: any query is answered or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::p4::v1::ReadRequest;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(request) = ReadRequest::decode(data) else { return };
    outplane_fuzz::with_switch(|switch| {
        let _ = switch.read().query(&request.entities);
    });
});
