//! The program of a switch and what its tables hold, whatever the program:
//! `cargo run -p outplane-p4runtime-client --example tables -- HOST:PORT [DEVICE-ID]`.
//!
//! Reads only: a running controller is not disturbed.

use std::error::Error;
use std::process::ExitCode;

use outplane_p4runtime_client::{Connection, Options, Target};

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
    let mut arguments = std::env::args().skip(1);
    let mut target = Target::new(arguments.next().ok_or("HOST:PORT of a switch")?);
    if let Some(id) = arguments.next() {
        target.device_id = id.parse()?;
    }
    let switch = Connection::open_read_only(target, Options::default()).await?;
    let version = switch.capabilities().await?;
    println!("P4Runtime {}", version.as_deref().unwrap_or("of a version that it does not tell"));
    let schema = switch.schema().await?;
    for table in schema.tables().iter().filter(|table| !table.is_const && !table.fields.is_empty()) {
        let entries = switch.entries(&schema, &table.name).await?;
        println!("{}: {} entries of {}", table.alias, entries.len(), table.size);
        for found in entries {
            let counted = found.counter.map(|counter| format!("  {} packets", counter.packets));
            println!("  {}{}", schema.describe(&found.entry), counted.unwrap_or_default());
        }
    }
    Ok(())
}
