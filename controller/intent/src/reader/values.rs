//! Values that several kinds have: addresses, CIDRs, MAC addresses, ports, protocols, times.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::decode::{Decoder, Problem};
use super::diagnostic::Code;
use super::hints;
use super::render::quoted;
use super::tree::{Cursor, Said};

/// What to do about host bits in a CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostBits {
    /// They are an error: somebody has mistyped the address or the length.
    Refuse,
    /// They are cut off, with a warning, as Kubernetes does silently.
    Mask,
}

impl Decoder<'_> {
    /// A CIDR. Where `bare` is allowed, an address alone stands for itself.
    pub(crate) fn cidr(
        &mut self,
        at: Cursor<'_>,
        what: &str,
        host_bits: HostBits,
        bare: bool,
    ) -> Option<IpNet> {
        let text = self.text(at, what)?;
        let net = match parse_cidr(text, bare) {
            Ok(net) => net,
            Err(why) => {
                let why = if why.is_empty() { hints::addresses(text, what).unwrap_or_default() } else { why };
                let message =
                    format!("{what} must be a CIDR like 10.1.0.0/16 or fd00:1::/32, not {}", quoted(text));
                self.error(Code::InvalidAddress, at.place(), message, &why);
                return None;
            }
        };
        if let Some(v4) = mapped(net.addr()) {
            let help = format!("write the IPv4 address: {v4}");
            self.error(Code::InvalidAddress, at.place(), format!("{text} is IPv4 written as IPv6"), &help);
            return None;
        }
        let masked = net.trunc();
        if masked == net {
            return Some(net);
        }
        let message = format!("{text} has host bits: its last {} bits must be 0", host_bit_count(net));
        match host_bits {
            HostBits::Refuse => {
                let single = IpNet::from(net.addr());
                let help = format!("write {masked} for the network or {single} for the one address");
                self.error(Code::InvalidAddress, at.place(), message, &help);
                None
            }
            HostBits::Mask => {
                let problem = Problem::warning(Code::HostBits, at.place(), message);
                self.report(problem.help(format!("it is taken as {masked}, as Kubernetes does")));
                Some(masked)
            }
        }
    }

    /// An address of a host or pod.
    pub(crate) fn address(&mut self, at: Cursor<'_>, what: &str) -> Option<IpAddr> {
        let text = self.text(at, what)?;
        let Ok(address) = text.parse::<IpAddr>() else {
            let message = format!("{what} must be an IPv4 or IPv6 address, not {}", quoted(text));
            let help = match parse_cidr(text, false) {
                Ok(net) => format!("leave out the length: {}", net.addr()),
                Err(_) => leading_zero(text).unwrap_or_default(),
            };
            self.error(Code::InvalidAddress, at.place(), message, &help);
            return None;
        };
        let why = if let Some(v4) = mapped(address) {
            format!("is IPv4 written as IPv6; write {v4}")
        } else if address.is_unspecified() {
            "is no host's address".to_owned()
        } else if address.is_multicast() {
            "is a multicast address, which no host has".to_owned()
        } else {
            return Some(address);
        };
        self.error(Code::InvalidAddress, at.place(), format!("{what} {text} {why}"), "");
        None
    }

    /// A MAC address: six bytes in hexadecimal, with `:` or `-` between.
    pub(crate) fn mac(&mut self, at: Cursor<'_>, what: &str) -> Option<[u8; 6]> {
        // Six pairs of decimal digits are still text: YAML 1.2 has no base 60.
        let text = self.text(at, what)?;
        let Some(mac) = parse_mac(text) else {
            let message =
                format!("{what} must be a MAC address like 02:00:00:00:00:01, not {}", quoted(text));
            self.error(Code::InvalidValue, at.place(), message, &hints::mac(text).unwrap_or_default());
            return None;
        };
        if mac == [0; 6] || mac[0] & 1 == 1 {
            let message = format!("{what} {text} is no host's MAC address: it is {}", {
                if mac == [0; 6] { "all zero" } else { "a group address" }
            });
            self.error(Code::InvalidValue, at.place(), message, "");
            return None;
        }
        Some(mac)
    }

    /// A moment: RFC 3339, or a date for its start in UTC.
    pub(crate) fn moment(&mut self, at: Cursor<'_>, what: &str) -> Option<Timestamp> {
        let text = self.text(at, what)?;
        let date = || {
            // jiff reads a date out of longer forms too; only ten characters are one.
            let date = (text.len() == 10).then(|| text.parse::<Date>().ok()).flatten()?;
            Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        let moment = text.parse::<Timestamp>().ok().or_else(date);
        if moment.is_none() {
            let message = format!(
                "{what} must be a time like 2027-01-31T18:00:00Z or a date like 2027-01-31, not {}",
                quoted(text)
            );
            self.error(Code::InvalidValue, at.place(), message, "a time needs an offset: Z, or +01:00");
        }
        moment
    }

    /// A port, or where `ranges` are allowed, `low-high` as text.
    pub(crate) fn ports(&mut self, at: Cursor<'_>, what: &str) -> Option<(u16, u16)> {
        if let Said::Text(text) = at.said() {
            let range = text.split_once('-').map_or_else(
                || port_number(text).map(|port| (port, port)),
                |(low, high)| Some((port_number(low.trim())?, port_number(high.trim())?)),
            );
            match range {
                Some((low, high)) if low <= high => return Some((low, high)),
                Some((low, high)) => {
                    let message = format!("{what} {low}-{high} runs backwards");
                    self.error(Code::InvalidValue, at.place(), message, &format!("write \"{high}-{low}\""));
                }
                None => {
                    let message = format!(
                        "{what} must be a number from 0 to 65535 or a range like \"80-90\", not {}",
                        quoted(text)
                    );
                    let help = hints::port(text).unwrap_or_else(|| {
                        "filter policies know no port names; NetworkPolicy does".to_owned()
                    });
                    self.error(Code::InvalidValue, at.place(), message, &help);
                }
            }
            return None;
        }
        self.number::<u16>(at, what, 0..=65535).map(|port| (port, port))
    }
}

/// A number without sign and leading zeros, which some readers take for octal.
fn port_number(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Reads a CIDR; the error is a hint.
fn parse_cidr(text: &str, bare: bool) -> Result<IpNet, String> {
    // ipnet's own parser takes 010.0.0.0/8 for 10.0.0.0/8; the standard library's takes it for nothing.
    if let Some((address, length)) = text.split_once('/')
        && length.bytes().all(|digit| digit.is_ascii_digit())
        && (length == "0" || !length.starts_with('0'))
        && let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse())
        && let Ok(net) = IpNet::new(address, length)
    {
        return Ok(net);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let net = IpNet::from(address);
        return if bare { Ok(net) } else { Err(format!("write {net} for the one address")) };
    }
    let Some((address, length)) = text.split_once('/') else {
        return Err(leading_zero(text).unwrap_or_default());
    };
    match (address.parse::<IpAddr>(), length.parse::<u32>()) {
        (Ok(address), Ok(_)) => {
            let (family, longest) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
            Err(format!("{family} prefix lengths are 0 to {longest}"))
        }
        (Ok(_), Err(_)) if length.parse::<IpAddr>().is_ok() => {
            let written = hints::addresses(text, "");
            Err(written.unwrap_or_else(|| "give the prefix length in bits, not as a mask".to_owned()))
        }
        (Ok(_), Err(_)) => Err(String::new()),
        (Err(_), _) => Err(leading_zero(address).unwrap_or_default()),
    }
}

/// `010.0.0.1` is octal to some readers, so it is nothing to this one.
fn leading_zero(text: &str) -> Option<String> {
    let octets: Option<Vec<u8>> = text.split('.').map(|octet| octet.parse().ok()).collect();
    let [a, b, c, d] = octets?.try_into().ok()?;
    Some(format!("write numbers without leading zeros: {a}.{b}.{c}.{d}"))
}

fn mapped(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    match address {
        IpAddr::V6(v6) => Ipv6Addr::to_ipv4_mapped(&v6),
        IpAddr::V4(_) => None,
    }
}

fn host_bit_count(net: IpNet) -> u8 {
    net.max_prefix_len() - net.prefix_len()
}

/// A MAC address: six bytes in hexadecimal, all with `:` or all with `-` between them.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let bytes: Option<Vec<u8>> = text
        .split(separator)
        .map(|byte| {
            let hex = byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(byte, 16).ok()).flatten()
        })
        .collect();
    bytes?.try_into().ok()
}

/// Whether an exception lies in its CIDR and leaves something of it.
pub(crate) fn within(decoder: &mut Decoder<'_>, at: Cursor<'_>, cidr: IpNet, hole: IpNet) -> bool {
    let (message, help) = if !cidr.contains(&hole) {
        (
            format!("{hole} is not within {cidr}"),
            "an exception cuts a part out of its own `cidr`, nothing else",
        )
    } else if hole == cidr {
        (format!("{hole} is all of `cidr`: nothing is left"), "remove the peer, or the exception")
    } else {
        return true;
    };
    decoder.error(Code::InvalidValue, at.place(), message, help);
    false
}
