//! `cargo xtask bench`: the numbers that the documentation states.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only benches whose name contains this.
    filter: Option<String>,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    let built = cargo::build()?;
    cargo::run(Command::new(built.bench).args(&arguments.filter))
}
