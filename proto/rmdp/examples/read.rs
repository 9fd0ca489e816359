//! What is in a datagram: `cargo run -p outplane-rmdp-wire --example read`, with the datagram in hexadecimal on its input.

use std::error::Error;

use outplane_rmdp_wire::{Datagram, Key, Payload};

fn main() -> Result<(), Box<dyn Error>> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let digits: Vec<u8> = line.trim().bytes().collect();
    let byte = |pair: &[u8]| Ok::<_, Box<dyn Error>>(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    let bytes = digits.chunks(2).map(byte).collect::<Result<Vec<u8>, _>>()?;
    let datagram = Datagram::parse(&bytes)?;
    println!("{:?}", datagram.header);
    match datagram.verify(&[Key { id: 7, secret: *b"0123456789abcdef" }]) {
        Ok(()) => println!("authentic: {:?}", Payload::parse(&datagram)?),
        Err(error) => println!("not authentic: {error}"),
    }
    Ok(())
}
