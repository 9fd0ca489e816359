//! What a node remembers, from its file or its status: any text is taken or refused in words, and what is taken survives
//! being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_node::recovery::Memory;

fuzz_target!(|text: &str| {
    match Memory::parse(text) {
        Ok(memory) => {
            assert!(memory.network().is_some());
            let again = serde_json::to_string(&memory).expect("texts and numbers");
            assert_eq!(Memory::parse(&again).expect("what was taken is taken again"), memory);
        }
        Err(error) => assert!(!error.is_empty()),
    }
});
