//! Writes the program as files, for a switch or a controller that takes files: `simple_switch_grpc outplane.json`, or a
//! P4Runtime client of another language.
//!
//! `cargo run -p outplane-p4 --example files DIRECTORY`

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("say where to: files DIRECTORY");
        return ExitCode::from(2);
    };
    for (name, text) in [
        ("outplane.p4", outplane_p4::SOURCE),
        ("outplane.p4info.txt", outplane_p4::P4INFO),
        ("outplane.json", outplane_p4::BMV2_JSON),
    ] {
        let path = directory.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("{}: {} bytes", path.display(), text.len());
    }
    ExitCode::SUCCESS
}
