//! Receives RMDP on an interface: `sudo -E cargo run -p outplane-xdp --example receive -- INTERFACE BPFFS-FOLDER NETWORK KEY-ID
//! KEY-IN-HEX SENDER..`.
//!
//! Attaches the program (the driver's mode, else generic), prints what it delivers for ten seconds, then what it counted,
//! and takes the program off again. BPFFS-FOLDER is a folder in a bpffs, such as /sys/fs/bpf/example.

use std::error::Error;
use std::time::Duration;

use outplane_xdp::outplane_rmdp_wire::{Datagram, Key, NetworkId};
use outplane_xdp::{Settings, XdpReceiver};

const USAGE: &str = "INTERFACE BPFFS-FOLDER NETWORK KEY-ID KEY-IN-HEX SENDER..";

fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(USAGE);
    let (interface, pin_root) = (next()?, next()?.into());
    let network = NetworkId::new(next()?.parse()?);
    let (id, secret) = (next()?.parse()?, u128::from_str_radix(&next()?, 16)?.to_be_bytes());
    let senders = arguments.map(|sender| sender.parse()).collect::<Result<_, _>>()?;
    Ok(Settings {
        interface,
        pin_root,
        network,
        keys: vec![Key { id, secret }],
        senders,
        ..Settings::default()
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut receiver = XdpReceiver::attach(settings()?).await?;
    println!("attached, mode {}", receiver.mode().name());
    let end = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            delivered = receiver.next() => {
                let delivered = delivered?;
                match Datagram::parse(&delivered.bytes) {
                    Ok(datagram) => println!("{:?}", datagram.header),
                    Err(error) => println!("what the program took for RMDP is none: {error:?}"),
                }
            }
        }
    }
    for (reason, count) in receiver.control().counters()?.reasons.all().iter().filter(|(_, count)| *count > 0)
    {
        println!("counted: {reason} {count}");
    }
    receiver.detach()?;
    Ok(())
}
