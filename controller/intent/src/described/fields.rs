//! Protocols and TCP flags: names and numbers.

use std::fmt;
use std::str::FromStr;

use crate::reader::service;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// TCP flags by bit, from CWR (bit 7) down to FIN (bit 0), with the letters that tcpdump prints for them.
const FLAGS: [(&str, char, u8); 8] = [
    ("cwr", 'w', 0x80),
    ("ece", 'e', 0x40),
    ("urg", 'u', 0x20),
    ("ack", 'a', 0x10),
    ("psh", 'p', 0x08),
    ("rst", 'r', 0x04),
    ("syn", 's', 0x02),
    ("fin", 'f', 0x01),
];

/// What kind of packet is meant: an IP protocol, or ARP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// An IP protocol by its name.
    Named(u8),
    /// An IP protocol by its number, meant literally.
    Number(u8),
    /// ARP.
    Arp,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        Ok(match text.to_ascii_lowercase().as_str() {
            "tcp" => Self::Named(6),
            "udp" => Self::Named(17),
            "sctp" => Self::Named(132),
            "icmp" => Self::Named(1),
            "icmpv6" | "icmp6" | "ipv6-icmp" => Self::Named(58),
            "gre" => Self::Named(47),
            "esp" => Self::Named(50),
            "arp" => Self::Arp,
            _ => {
                return Err(format!(
                    "`{text}` is no protocol: tcp, udp, sctp, icmp, icmpv6, gre, esp, arp, or a number from 0 to 255"
                ));
            }
        })
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl Visitor<'_> for Names {
            type Value = Protocol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a protocol's name or a number from 0 to 255")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Protocol, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Protocol, E> {
                u8::try_from(number)
                    .map(Protocol::Number)
                    .map_err(|_| E::custom(format!("{number} is no protocol: the highest is 255")))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// A port's number.
///
/// # Errors
/// What is wrong, and what the name of a service stands for.
pub fn port_number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| match service(text) {
        Some(number) => format!("`{text}` is no number: the port of {text} is {number}"),
        None => format!("`{text}` is no port: a number from 0 to 65535"),
    })
}

/// TCP flags, as the byte in the header has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// A new connection.
    pub const SYN: Self = Self(0x02);

    /// One flag by name, or several by tcpdump's letters.
    fn token(token: &str) -> Option<u8> {
        let token = token.to_ascii_lowercase();
        if let Some((_, _, bit)) = FLAGS.iter().find(|(name, _, _)| *name == token) {
            return Some(*bit);
        }
        token.chars().try_fold(0, |bits, letter| {
            let letter = if letter == '.' { 'a' } else { letter };
            FLAGS.iter().find(|(_, known, _)| *known == letter).map(|(_, _, bit)| bits | bit)
        })
    }
}

impl FromStr for TcpFlags {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = match text.strip_prefix("0x") {
            Some(hexadecimal) => u8::from_str_radix(hexadecimal, 16).ok(),
            None => text.parse().ok(),
        };
        if let Some(number) = number {
            return Ok(Self(number));
        }
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(0));
        }
        text.split([',', '|', '+', ' '])
            .filter(|token| !token.is_empty())
            .try_fold(0, |bits, token| Self::token(token).map(|flag| bits | flag))
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "`{text}` are no TCP flags: names (SYN,ACK), tcpdump's letters (SA), a number from 0 to 255, or none"
                )
            })
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Flags;
        impl<'de> Visitor<'de> for Flags {
            type Value = TcpFlags;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("TCP flags: a string like SYN,ACK, a list of names, or a number from 0 to 255")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TcpFlags, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<TcpFlags, E> {
                u8::try_from(number)
                    .map(TcpFlags)
                    .map_err(|_| E::custom(format!("{number} are no TCP flags: the highest number is 255")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TcpFlags, A::Error> {
                let mut bits = 0;
                while let Some(name) = list.next_element::<String>()? {
                    bits |= name.parse::<TcpFlags>().map_err(A::Error::custom)?.0;
                }
                Ok(TcpFlags(bits))
            }
        }
        deserializer.deserialize_any(Flags)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("no flags");
        }
        // As people say it: SYN,ACK and not ACK,SYN.
        let mut first = true;
        for (name, _, _) in FLAGS.iter().rev().filter(|(_, _, bit)| self.0 & bit != 0) {
            if !first {
                f.write_str(",")?;
            }
            first = false;
            f.write_str(&name.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_in_every_form() {
        for (json, bits) in [
            (r#""SYN""#, Some(0x02)),
            (r#""syn""#, Some(0x02)),
            (r#""S""#, Some(0x02)),
            (r#""SYN,ACK""#, Some(0x12)),
            (r#""SYN|ACK""#, Some(0x12)),
            (r#""SYN, ACK""#, Some(0x12)),
            (r#""SA""#, Some(0x12)),
            (r#""S.""#, Some(0x12)),
            (r#"["syn","ACK"]"#, Some(0x12)),
            ("[]", Some(0)),
            (r#""""#, Some(0)),
            (r#""none""#, Some(0)),
            ("18", Some(0x12)),
            (r#""0x12""#, Some(0x12)),
            ("255", Some(0xff)),
            ("256", None),
            ("-1", None),
            (r#""SYNACK""#, None),
            (r#"["syn",3]"#, None),
            ("true", None),
        ] {
            assert_eq!(serde_json::from_str::<TcpFlags>(json).ok().map(|flags| flags.0), bits, "{json}");
        }
    }

    #[test]
    fn flags_are_printed_by_name() {
        assert_eq!(TcpFlags(0x12).to_string(), "SYN,ACK");
        assert_eq!(TcpFlags(0).to_string(), "no flags");
        assert_eq!(TcpFlags(0xff).to_string(), "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR");
    }

    #[test]
    fn protocols_are_names_or_numbers() {
        for (json, protocol) in [
            (r#""tcp""#, Some(Protocol::Named(6))),
            (r#""TCP""#, Some(Protocol::Named(6))),
            (r#""IcmpV6""#, Some(Protocol::Named(58))),
            (r#""arp""#, Some(Protocol::Arp)),
            ("6", Some(Protocol::Number(6))),
            (r#""6""#, Some(Protocol::Number(6))),
            ("256", None),
            (r#""tpc""#, None),
            ("null", None),
        ] {
            assert_eq!(serde_json::from_str::<Protocol>(json).ok(), protocol, "{json}");
        }
    }
}
