//! A datagram in hexadecimal: `cargo run -p outplane-rmdp-wire --example write`.

use std::error::Error;

use outplane_rmdp_wire::{DatagramType, Header, Hint, HintOf, Key, NetworkId, TransactionId, encode};

fn main() -> Result<(), Box<dyn Error>> {
    let key = Key { id: 7, secret: *b"0123456789abcdef" };
    let mut payload = [0; 9];
    let length = Hint { what: HintOf::Intent, number: 5 }.encode(&mut payload)?;
    let header = Header {
        datagram_type: DatagramType::Hint,
        network: NetworkId::new(1),
        epoch: 1,
        sender: 101,
        sequence: 1,
        id: TransactionId::NONE,
        sent: 0,
    };
    let mut bytes = [0; 1400];
    let length = encode(&header, &payload[..length], &key, &mut bytes)?;
    for byte in &bytes[..length] {
        print!("{byte:02x}");
    }
    println!();
    Ok(())
}
