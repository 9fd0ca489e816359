//! `cargo xtask bench`: the numbers that the documentation states.

use anyhow::Result;

use crate::{cargo, setup};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only benches whose name contains this.
    filter: Option<String>,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    cargo::build()?;
    cargo::run(
        cargo::cargo()
            .args([
                "run",
                "--quiet",
                "--release",
                "--package",
                "outplane-tests",
                "--bin",
                "outplane-bench",
                "--",
            ])
            .args(&arguments.filter),
    )
}
