//! What the program says of datagrams, without an interface: `sudo -E cargo run -p outplane-xdp --example judge`.
//!
//! Loads the compiled program into the kernel with maps of its own and runs frames through it: a task twice, a forged
//! copy, and a frame that is no RMDP. Needs `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`, and leaves nothing behind.

use std::error::Error;

use outplane_xdp::outplane_rmdp_wire::{
    DEFAULT_GROUP_V4, DEFAULT_PORT, DatagramType, Header, Hint, HintOf, Key, NetworkId, TransactionId, encode,
};
use outplane_xdp::{Program, Settings};

const KEY: Key = Key { id: 7, secret: *b"0123456789abcdef" };
const NETWORK: NetworkId = NetworkId::new(1);

/// A hint of sender 101 as a datagram.
fn hint(sequence: u64, key: &Key) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut payload = [0; 9];
    let length = Hint { what: HintOf::Intent, number: 5 }.encode(&mut payload)?;
    let header = Header {
        datagram_type: DatagramType::Hint,
        network: NETWORK,
        epoch: 1,
        sender: 101,
        sequence,
        id: TransactionId::NONE,
        sent: 1,
    };
    let mut bytes = vec![0; 1400];
    let length = encode(&header, &payload[..length], key, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// UDP to the default group, in IPv4, in Ethernet.
fn frame(datagram: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let udp = u16::try_from(datagram.len() + 8)?;
    let mut frame = vec![0x01, 0x00, 0x5e, 0x7f, 0x52, 0x4d, 2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45, 0];
    frame.extend((udp + 20).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 4, 17, 0, 0, 10, 0, 0, 9]);
    frame.extend(DEFAULT_GROUP_V4.octets());
    frame.extend(40_000_u16.to_be_bytes());
    frame.extend(DEFAULT_PORT.to_be_bytes());
    frame.extend(udp.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(datagram);
    Ok(frame)
}

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings { network: NETWORK, keys: vec![KEY], senders: vec![101], ..Settings::default() };
    let mut program = Program::load(&settings)?;
    let forger = Key { secret: *b"not the real one", ..KEY };
    let frames = [
        ("a hint", frame(&hint(1, &KEY)?)?),
        ("the same again", frame(&hint(1, &KEY)?)?),
        ("a forged one", frame(&hint(2, &forger)?)?),
        ("no RMDP", frame(b"something else")?),
    ];
    for (what, frame) in frames {
        let verdict = program.run(&frame, 1)?.verdict;
        let delivered =
            program.try_next().map(|delivered| format!(", {} bytes delivered", delivered.bytes.len()));
        println!("{what}: {verdict:?}{}", delivered.unwrap_or_default());
    }
    for (reason, count) in program.control().counters()?.reasons.all().iter().filter(|(_, count)| *count > 0)
    {
        println!("counted: {reason} {count}");
    }
    Ok(())
}
