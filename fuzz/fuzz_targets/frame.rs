//! Frames: any bytes on any port are parsed within their bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_softswitch::dataplane::parse::parse;

fuzz_target!(|input: (u16, &[u8])| {
    let (port, frame) = input;
    let _ = parse(frame, port);
});
