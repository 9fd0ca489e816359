//! `cargo xtask bench`: the numbers that the documentation states.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, setup};

/// Benches that measure one crate from within: name, package, example.
const EXAMPLES: [(&str, &str, &str); 4] = [
    ("xdp", "outplane-xdp", "bench"),
    ("store", "outplane-embedded-store", "load"),
    ("converge", "outplane-driver-p4runtime", "converge_speed"),
    ("latency", "outplane-rmdp-node", "latency"),
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only benches whose name contains this: write, apply, change, xdp, store, converge, latency.
    #[arg(default_value = "")]
    filter: String,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    let built = cargo::build()?;
    cargo::run(Command::new(built.bench).arg(&arguments.filter))?;
    for (name, package, example) in EXAMPLES {
        if !name.contains(&arguments.filter) {
            continue;
        }
        println!("\n{name}");
        let run = ["run", "--quiet", "--release", "--package", package, "--example", example];
        cargo::run(cargo::cargo().args(run))?;
    }
    Ok(())
}
