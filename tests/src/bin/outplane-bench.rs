//! `cargo xtask bench`.

use std::process::ExitCode;

use clap::Parser as _;
use outplane_tests::bench::{self, Arguments};

fn main() -> ExitCode {
    match bench::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
