//! Policy files: any bytes give an intent or diagnostics that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_intent::reader;

fuzz_target!(|data: &[u8]| {
    if let Err(diagnostics) = reader::parse([("fuzz.yaml", String::from_utf8_lossy(data))]) {
        assert!(!diagnostics.to_string().is_empty());
    }
});
