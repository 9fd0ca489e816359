//! Desired states: any bytes are read or refused in words, and what is read survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_node::blob::{decode, digest, encode};

fuzz_target!(|data: &[u8]| {
    match decode(digest(data), data) {
        Ok(desired) => {
            let again = encode(&desired);
            assert_eq!(decode(digest(&again), &again).expect("what was read is read again"), desired);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
