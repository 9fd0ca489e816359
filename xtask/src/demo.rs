//! `cargo xtask demo`: builds what the demo needs and becomes the demo (tests/src/demo).

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Options of the demo itself; `cargo xtask demo -- --help` shows them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    let built = cargo::build()?;
    // In its place rather than beside it: signals reach it, and it cleans up.
    let error = Command::new(&built.demo).args(&arguments.options).exec();
    Err(error).context("cannot run the demo")
}
