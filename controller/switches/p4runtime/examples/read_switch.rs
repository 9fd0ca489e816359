//! What a switch holds, read through the driver: `cargo run -p outplane-driver-p4runtime --example read_switch -- HOST:PORT`.
//!
//! Prints the version of the policy that packets see, and each entry of ours with who asked for it. Reads only: a running
//! controller is not disturbed.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use outplane_compiler::state::{Desired, Origin};
use outplane_driver_p4runtime::{Connection, Options, Pipeline, Target};

#[tokio::main]
async fn main() -> ExitCode {
    match read().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn read() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("HOST:PORT of a switch")?;
    let target = Target { name: "switch".into(), address, device_id: 1, role: None, tls: None };
    let pipeline = Arc::new(Pipeline::outplane().clone());
    let connection = Connection::open_read_only(target, pipeline, Options::default()).await?;
    let installed = connection.read_installed(&Desired::default(), false).await?.installed;
    println!("packets see version {}", installed.version);
    for entry in &installed.entries {
        let of = Origin::decode(&entry.metadata).map_or_else(
            || "somebody".to_owned(),
            |origin| format!("{}, rule {}", origin.policy, origin.rule),
        );
        println!("{}  {of}", connection.pipeline().schema().describe(entry));
    }
    Ok(())
}
