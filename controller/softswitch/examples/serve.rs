//! A strict P4Runtime server for any program: `cargo run -p outplane-softswitch --example serve -- 127.0.0.1:9559`.

use std::error::Error;

use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9559".to_owned());
    let listener = TcpListener::bind(address).await?;
    let config =
        SwitchConfig { listener, server: Config::new(1), ports: Vec::new(), limits: Limits::default() };
    let switch = Switch::start(config)?;
    println!(
        "device 1 listens on {}; it has no program until a controller pushes one",
        switch.server().address()
    );
    tokio::signal::ctrl_c().await?;
    switch.shutdown().await?;
    Ok(())
}
