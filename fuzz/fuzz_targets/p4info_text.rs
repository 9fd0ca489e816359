//! P4Info in text form: any text gives a schema or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_p4runtime::Schema;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Schema::from_text(text);
    }
});
