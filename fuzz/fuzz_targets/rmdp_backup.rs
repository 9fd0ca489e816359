//! Backups: any bytes are read to their end or refused in words, with the place.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_node::backup::{Reader, verify};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

fuzz_target!(|data: &[u8]| {
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            match verify(data).await {
                Ok(verified) => {
                    let mut reader = Reader::new(data).await.expect("what was read is read again");
                    let (mut objects, mut bytes) = (0, 0);
                    while let Some((_, object)) = reader.next().await.expect("what was read is read again") {
                        objects += 1;
                        bytes += object.len() as u64;
                    }
                    assert_eq!((objects, bytes), (verified.summary.objects, verified.summary.bytes));
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        });
    });
});
