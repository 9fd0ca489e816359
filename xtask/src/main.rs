//! `cargo xtask`: the project's own tasks, one file each.

mod bench;
mod cargo;
mod demo;
mod ebpf;
mod fuzz;
mod p4;
mod package;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Outplane's tasks. The two that you want first: demo and test.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The main job: a policy file becomes entries in a P4 switch, and real packets are dropped or passed.
    Demo(demo::Arguments),
    /// Every check and test, and a summary of what was skipped and why.
    Test(test::Arguments),
    /// Measure what the documentation states, and print it as tables.
    Bench(bench::Arguments),
    /// Rebuild the P4Info and BMv2 JSON of p4/outplane.p4 with p4c.
    P4(p4::Arguments),
    /// Rebuild the XDP program (nightly compiler, bpf-linker).
    Ebpf(ebpf::Arguments),
    /// Make packages of the crates that other projects can use.
    Package(package::Arguments),
    /// Run the fuzz targets (nightly compiler, cargo-fuzz).
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::task(&arguments),
        Task::Test(arguments) => test::task(&arguments),
        Task::Bench(arguments) => bench::task(&arguments),
        Task::P4(arguments) => p4::task(&arguments),
        Task::Ebpf(arguments) => ebpf::task(&arguments),
        Task::Package(arguments) => package::task(&arguments),
        Task::Fuzz(arguments) => fuzz::task(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
