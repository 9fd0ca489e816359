//! Pipeline pushes: any config is committed or refused; after a refusal the old one works on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::p4::v1::SetForwardingPipelineConfigRequest;
use outplane_softswitch::state::{Limits, Shared};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let Ok(request) = SetForwardingPipelineConfigRequest::decode(data) else { return };
    let shared = Shared::new(Limits::default());
    if let Ok(pipeline) = shared.verify(request.config.unwrap_or_default()) {
        shared.commit(pipeline);
    }
});
