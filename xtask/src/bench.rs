//! `cargo xtask bench`: the numbers that the documentation states.

use std::process::Command;

use anyhow::Result;

use crate::{cargo, setup};

/// Benches that measure one crate from within: name, package, example.
const EXAMPLES: [(&str, &str, &str); 6] = [
    ("edits", "outplane-compiler", "edits"),
    ("xdp", "outplane-xdp", "bench"),
    ("store", "outplane-embedded-store", "load"),
    ("converge", "outplane-driver-p4runtime", "converge_speed"),
    ("latency", "outplane-rmdp-node", "latency"),
    ("sustained", "outplane-rmdp-node", "sustained"),
];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only benches whose name contains this: write, apply, change, cluster, edits, xdp, store, converge, latency, sustained, takeover, etcd.
    #[arg(default_value = "")]
    filter: String,
    /// etcd: kills of each kind
    #[arg(long, value_name = "N")]
    repetitions: Option<usize>,
    /// etcd: policies whose latency is measured
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// cluster: pods of the large one
    #[arg(long, value_name = "N")]
    pods: Option<usize>,
    /// cluster: edits of each
    #[arg(long, value_name = "N")]
    edits: Option<usize>,
    /// takeover: owners that are killed
    #[arg(long, value_name = "N")]
    kills: Option<usize>,
    /// etcd: once more with RMDP on Ceph in place of the embedded store
    #[arg(long)]
    ceph: bool,
}

pub(crate) fn task(arguments: &Arguments) -> Result<()> {
    setup::machine()?;
    if "etcd".contains(&arguments.filter) {
        setup::peers();
    }
    let built = cargo::build()?;
    let mut bench = Command::new(built.bench);
    for (option, number) in [
        ("--repetitions", arguments.repetitions),
        ("--rounds", arguments.rounds),
        ("--pods", arguments.pods),
        ("--edits", arguments.edits),
        ("--kills", arguments.kills),
    ] {
        if let Some(number) = number {
            bench.args([option, &number.to_string()]);
        }
    }
    if arguments.ceph {
        bench.arg("--ceph");
    }
    cargo::run(bench.arg(&arguments.filter))?;
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
