//! What controllers ask a switch to change, as the switch sees it: `cargo run -p outplane-softswitch --example witness --
//! 127.0.0.1:9559`. To see what a controller of your own really sends.

use std::error::Error;

use outplane_softswitch::server::{Config, Event, Witness};
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;

fn tell(event: &Event<'_>) {
    match event {
        Event::Primary { election_id, .. } => println!("primary: election id {election_id}"),
        Event::Pipeline { action, outcome, .. } => println!("pipeline: {action:?}: {}", outcome.is_ok()),
        Event::Write { updates, outcome: Err(_), .. } => {
            println!("{} updates: none was tried", updates.len());
        }
        Event::Write { updates, outcome: Ok(outcomes), .. } => {
            for (update, outcome) in updates.iter().zip(*outcomes) {
                println!("{}: {:?}", if outcome.is_ok() { "done" } else { "refused" }, update);
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9559".to_owned());
    let listener = TcpListener::bind(address).await?;
    let server = Config { witness: Some(Witness::new(tell)), ..Config::new(1) };
    let switch =
        Switch::start(SwitchConfig { listener, server, ports: Vec::new(), limits: Limits::default() })?;
    println!("device 1 listens on {}", switch.server().address());
    tokio::signal::ctrl_c().await?;
    switch.shutdown().await?;
    Ok(())
}
