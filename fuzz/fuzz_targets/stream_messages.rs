//! The stream: arbitration, packet-out, digest acknowledgements, in any order, over a real connection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::p4::v1::StreamMessageRequest;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut messages = Vec::new();
    while !rest.is_empty() && messages.len() < 16 {
        let Ok(message) = StreamMessageRequest::decode_length_delimited(&mut rest) else { break };
        messages.push(message);
    }
    if !messages.is_empty() {
        outplane_fuzz::converse(messages);
    }
});
