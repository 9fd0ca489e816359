//! Expectations: whatever their packets say, it is refused in words, or each is a packet on the switch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_intent::expectation::BEFORE_PACKETS;
use outplane_intent::reader;

fuzz_target!(|packets: &str| {
    match reader::parse([("fuzz.yaml", format!("{BEFORE_PACKETS}{packets}"))]) {
        Ok(loaded) => {
            for expected in loaded.expectations.values().flat_map(|expectation| &expectation.packets) {
                let packet =
                    expected.packet.packets(&loaded.intent, loaded.intent.switches.keys().map(String::as_str));
                // More documents may have come, with other switches.
                assert!(
                    packet.is_ok() || loaded.intent.switches.len() > 1,
                    "the reader has made sure: {packet:?}"
                );
            }
        }
        Err(diagnostics) => assert!(!diagnostics.to_string().is_empty()),
    }
});
