//! P4Info as a message, the way a pipeline push brings it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::Schema;
use outplane_p4runtime::p4::config::v1::P4Info;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    if let Ok(info) = P4Info::decode(data) {
        let _ = Schema::from_p4info(&info);
    }
});
