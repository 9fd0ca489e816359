//! An entry by names: `cargo run -p outplane-p4runtime --example entry -- FILE.p4info.txt ipv4_lpm dst_addr=10.0.0.0/8 forward
//! port=3 mac=02:00:00:00:00:01`.
//!
//! Values are numbers, addresses, MAC addresses, prefixes (`10.0.0.0/8`) and ranges (`80..443`). `priority=N` gives the
//! entry one. Prints the entry as a line for people and as the bytes of a P4Runtime `TableEntry`.

use std::error::Error;
use std::net::IpAddr;

use outplane_p4runtime::Schema;
use outplane_p4runtime::builder::{Mac, Pattern, Prefix, Value};
use outplane_p4runtime::prost::Message;

fn value(text: &str) -> Result<Value, Box<dyn Error>> {
    if let Ok(number) = text.parse::<u128>() {
        return Ok(number.into());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    Ok(text.parse::<Mac>().map_err(|_| format!("`{text}` is no number, address or MAC address"))?.into())
}

fn pattern(text: &str) -> Result<Pattern, Box<dyn Error>> {
    if let Some((low, high)) = text.split_once("..") {
        return Ok(Pattern::range(value(low)?, value(high)?));
    }
    if text.contains('/') {
        return Ok(text.parse::<Prefix>()?.into());
    }
    Ok(value(text)?.into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("FILE.p4info.txt TABLE [FIELD=VALUE].. ACTION [PARAMETER=VALUE]..")?;
    let schema = Schema::from_text(&std::fs::read_to_string(file)?)?;
    let mut entry = schema.build_entry(&arguments.next().ok_or("the name of a table")?);
    let mut has_action = false;
    for argument in arguments {
        entry = match argument.split_once('=') {
            None => {
                has_action = true;
                entry.action(&argument)
            }
            Some(("priority", number)) => entry.priority(number.parse()?),
            Some((name, text)) if has_action => entry.param(name, value(text)?),
            Some((name, text)) => entry.field(name, pattern(text)?),
        };
    }
    let entry = entry.build()?;
    println!("{}", schema.describe(&entry));
    for byte in schema.entry_to_proto(&entry).encode_to_vec() {
        print!("{byte:02x}");
    }
    println!();
    Ok(())
}
