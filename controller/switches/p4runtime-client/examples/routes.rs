//! A router's tables, written by names: `cargo run -p outplane-p4runtime-client --example routes -- HOST:PORT`.
//!
//! Becomes the primary controller of a switch that is there to be played with (`outplane softswitch --no-ports`), pushes
//! a small router (which empties it), writes routes, shows what a refused one looks like, meters a rule, and takes
//! everything away again.

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use outplane_p4runtime::builder::{Mac, Prefix};
use outplane_p4runtime::entry::Entry;
use outplane_p4runtime::{EXAMPLE_P4INFO, Schema};
use outplane_p4runtime_client::{Connection, FoundEntry, Meter, Options, Problem, Target};

#[tokio::main]
async fn main() -> ExitCode {
    match route().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn route() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("HOST:PORT of a switch")?;
    let switch = Connection::open(Target::new(address), Options::default()).await?;
    let schema = Schema::from_text(EXAMPLE_P4INFO)?;
    // The second argument is what the target's compiler made of the program; the soft switch needs none.
    switch.push(&schema, Vec::new()).await?;

    let route = |prefix: &str, port: u16| -> Result<Entry, Box<dyn Error>> {
        let entry = schema
            .build_entry("ipv4_lpm")
            .field("dst_addr", prefix.parse::<Prefix>()?)
            .action("forward")
            .param("port", port)
            .param("mac", Mac([2, 0, 0, 0, 0, 1]));
        Ok(entry.build()?)
    };
    let routes = [route("10.1.0.0/16", 1)?, route("10.2.0.0/16", 2)?];
    switch.insert(&schema, &routes).await?;

    // One that is there already, and one that is new: the second is written all the same.
    let again = [route("10.1.0.0/16", 1)?, route("10.3.0.0/16", 3)?];
    match switch.insert(&schema, &again).await.map_err(|error| *error.problem) {
        Err(Problem::Refused(refusal)) => println!("{refusal}"),
        other => println!("not what was expected: {other:?}"),
    }

    let rule = schema.build_entry("acl").field("src_addr", Ipv4Addr::new(10, 1, 0, 7)).priority(10);
    let rule = rule.action("permit").build()?;
    switch.insert(&schema, std::slice::from_ref(&rule)).await?;
    let slow = Meter { cir: 1000, cburst: 100, pir: 2000, pburst: 200 };
    switch.set_direct_meter(&schema, &rule, Some(slow)).await?;
    switch.set_meter(&schema, "limiter", 3, Some(slow)).await?;

    for table in ["ipv4_lpm", "acl"] {
        for FoundEntry { entry, counter, meter, .. } in switch.entries(&schema, table).await? {
            println!("{} {counter:?} {meter:?}", schema.describe(&entry));
            switch.delete(&schema, &[entry.key]).await?;
        }
    }
    println!("limiter: {:?}", switch.meter(&schema, "limiter").await?);
    println!("port 1: {:?}", switch.counter(&schema, "port_counter", Some(1)).await?);
    Ok(())
}
