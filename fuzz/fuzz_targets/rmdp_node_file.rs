//! A node's own file: any text is taken, or refused with every fault in words.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_node::file::NodeFile;

fuzz_target!(|text: &str| {
    let path = Path::new("/nowhere/node.toml");
    // Variables whose names are long have no value, so that both are seen.
    let environment = |name: &str| (name.len() < 8).then(|| "00112233445566778899aabbccddeeff".to_owned());
    match NodeFile::parse(text, path, &environment) {
        Ok(loaded) => {
            assert!(!loaded.file.store.endpoints.is_empty());
            let _ = format!("{loaded:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
