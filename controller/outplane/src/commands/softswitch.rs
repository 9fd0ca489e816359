//! `outplane softswitch`: the embedded P4Runtime switch.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::Format;
use crate::exit::Exit;

/// Arguments of `softswitch`.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("ports").required(true).args(["port", "no_ports"]))]
pub(crate) struct Arguments {
    /// Forward frames at a network interface as a port of the switch, from 1 to 509; may be repeated
    #[arg(long, value_name = "NUMBER=INTERFACE")]
    port: Vec<PortArgument>,
    /// Serve the tables only and forward nothing; needs no rights
    #[arg(long)]
    no_ports: bool,
    /// Where to serve P4Runtime; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9559")]
    listen: SocketAddr,
    /// P4Runtime device id
    #[arg(long, value_name = "ID", default_value_t = 1)]
    device_id: u64,
    /// PEM file with the switch's certificate; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the switch's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authorities that clients' certificates must come from; clients must have one then
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
}

/// `1=veth1`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PortArgument {
    number: u16,
    interface: String,
}

impl FromStr for PortArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, interface) = text.split_once('=').ok_or("a port is NUMBER=INTERFACE, as in 1=veth1")?;
        let number = number
            .parse()
            .ok()
            .filter(|number| (1..=509).contains(number))
            .ok_or_else(|| format!("`{number}` is no port number from 1 to 509"))?;
        // The kernel's own limits (dev_valid_name).
        let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
        if interface.is_empty() || interface.len() > 15 || interface.contains(bad) {
            return Err(format!("`{interface}` is no name of a network interface: 1 to 15 characters without / and :"));
        }
        Ok(Self { number, interface: interface.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_number_and_interface() {
        assert_eq!("1=veth1".parse(), Ok(PortArgument { number: 1, interface: "veth1".into() }));
        for bad in ["1", "veth1", "0=veth1", "510=veth1", "1=", "1=a/b", "1=longerthanfifteen", "x=veth1"] {
            assert!(bad.parse::<PortArgument>().is_err(), "{bad}");
        }
    }
}
