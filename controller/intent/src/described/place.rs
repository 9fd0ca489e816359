//! What of a frame's way policies do not see: the MAC address that it is for, and the port that it enters by.

use std::fmt;
use std::str::FromStr;

use crate::model::{Intent, Port};
use crate::reader::parse_mac;
use serde::de::{Deserialize, Deserializer};

use super::link::number_or_text;

/// A MAC address: six bytes in hexadecimal, with `:` or `-` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_mac(text)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no MAC address: six bytes, as in 02:00:0a:01:00:07"))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_text(deserializer, "a MAC address, as in \"02:00:0a:01:00:07\"")
    }
}

/// A switch port: its number, or the name that the files give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSpec {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!("port `{text}`: switch ports are 1 to 509"))
            }
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for PortSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_text(deserializer, "a switch port: a number, or its name")
    }
}

/// So many ports are named at most.
const TOLD: usize = 20;

/// `3 (uplink)`.
fn told((number, port): (&u16, &Port)) -> String {
    port.name.as_ref().map_or_else(|| number.to_string(), |name| format!("{number} ({name})"))
}

impl PortSpec {
    /// Its number. A name has to mean the same on all of these switches, and a number has to be a port of each that lists
    /// its ports: by another nothing enters.
    pub(super) fn number<'s>(
        &self,
        intent: &Intent,
        mut switches: impl Iterator<Item = &'s str>,
    ) -> Result<u16, String> {
        let name = match self {
            Self::Number(port @ 1..=509) => {
                let listed = |switch: &'s str| Some((switch, &intent.switches.get(switch)?.ports));
                let lacks = |switch: &'s str| {
                    listed(switch).filter(|(_, ports)| !ports.is_empty() && !ports.contains_key(port))
                };
                return match switches.find_map(lacks) {
                    None => Ok(*port),
                    Some((switch, ports)) => {
                        let known: Vec<_> = ports.iter().take(TOLD).map(told).collect();
                        let more = if ports.len() > TOLD { ", .." } else { "" };
                        Err(format!(
                            "switch `{switch}` has no port {port}; it has {}{more}",
                            known.join(", ")
                        ))
                    }
                };
            }
            Self::Number(port) => return Err(format!("port {port}: switch ports are 1 to 509")),
            Self::Name(name) => name,
        };
        let on = |switch: &'s str| {
            let declared = intent.switches.get(switch)?;
            declared.ports.iter().find(|(_, port)| port.name.as_ref() == Some(name)).map(|(port, _)| *port)
        };
        let found: Vec<(&str, Option<u16>)> = switches.map(|switch| (switch, on(switch))).collect();
        let known = || found.iter().filter_map(|(switch, port)| Some((switch, (*port)?)));
        match known().next() {
            None => {
                let ports = found.iter().filter_map(|(switch, _)| intent.switches.get(*switch));
                let known: Vec<_> = ports.flat_map(|switch| &switch.ports).take(TOLD).map(told).collect();
                let known = if known.is_empty() {
                    String::new()
                } else {
                    format!("; they have {}", known.join(", "))
                };
                Err(format!(
                    "no switch that is asked has a port with the name `{name}`: give its number{known}"
                ))
            }
            Some((_, port)) if found.iter().all(|(_, other)| *other == Some(port)) => Ok(port),
            Some(_) => {
                let each = known().map(|(switch, port)| format!("{port} on {switch}"));
                let each = each.collect::<Vec<_>>().join(", ");
                Err(format!("`{name}` is port {each}: say which with --switch, or give the number"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs() {
        let mac = Mac([2, 0, 0x0a, 1, 0, 0xff]);
        assert_eq!("02:00:0a:01:00:ff".parse(), Ok(mac));
        assert_eq!("02-00-0A-01-00-FF".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:00:0a:01:00:ff");
        for bad in [
            "",
            "02:00:0a:01:00",
            "02:00:0a:01:00:ff:00",
            "2:0:a:1:0:ff",
            "02:00:0a:01:00:+f",
            "é2:00:0a:01:00:ff",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ports() {
        let number = |text: &str| {
            text.parse::<PortSpec>().and_then(|port| port.number(&Intent::default(), ["core"].into_iter()))
        };
        assert_eq!(number("7"), Ok(7));
        for bad in ["", "0", "510", "65536", "99999999999"] {
            assert!(number(bad).unwrap_err().contains("1 to 509"), "{bad}");
        }
        assert!(number("uplink").unwrap_err().contains("no switch that is asked"));
    }
}
