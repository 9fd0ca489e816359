//! Desired states: any bytes are read or refused in words, and what is read survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_node::blob::{decode, encode};

fuzz_target!(|data: &[u8]| {
    match decode(data) {
        Ok(desired) => {
            let again = encode(&desired);
            assert_eq!(decode(&again).expect("what was read is read again"), desired);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
