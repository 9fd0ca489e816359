//! The store's objects: any path and bytes are taken or refused in words, and what is taken survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::Object;

fuzz_target!(|input: (&str, &[u8])| {
    let (path, bytes) = input;
    let key = match Key::parse(path) {
        Ok(key) => {
            assert_eq!(key.path(), path, "one path a key");
            key
        }
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    match Object::decode(&key, bytes) {
        Ok(object) => {
            let again = Object::decode(&key, &object.encode()).expect("what was taken is taken again");
            assert_eq!(again, object);
        }
        Err(error) => assert!(error.to_string().contains(path), "the key is named"),
    }
});
