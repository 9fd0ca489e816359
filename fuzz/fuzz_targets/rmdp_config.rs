//! The shared configuration: any text is taken or refused in words, and what is taken survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outplane_rmdp_core::config::SharedConfig;

fuzz_target!(|text: &str| {
    match SharedConfig::from_toml(text) {
        Ok(config) => {
            let again = SharedConfig::from_toml(&config.to_toml()).expect("what was taken is taken again");
            assert_eq!(again, config);
            assert!(config.longest_lease() >= config.budget() * 2);
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
