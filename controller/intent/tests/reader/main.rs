//! The reader from outside: files in, intent or diagnostics out.

mod advice;
mod cluster;
mod cures;
mod documentation;
mod files;
mod golden;
mod hostile;
mod kinds;
mod kubernetes;
mod places;
mod rates;
mod yaml_versions;

use outplane_intent::reader::{Loaded, parse};

/// Reads one text that has no faults.
fn read(text: &str) -> Loaded {
    match parse([("policy.yaml", text)]) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{}", diagnostics.render(false)),
    }
}
