//! `cargo xtask demo`.

use std::process::ExitCode;

use clap::Parser as _;
use outplane_tests::demo::{self, Arguments};

fn main() -> ExitCode {
    match demo::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
