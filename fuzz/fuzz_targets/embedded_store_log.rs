//! The embedded store's log: any bytes as a segment are taken or refused in words; what is taken is the same when it is
//! opened again, and takes writes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| outplane_embedded_store::fuzz::recover(data));
