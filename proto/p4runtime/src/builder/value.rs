//! What people write into keys and arguments: numbers, addresses, prefixes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

use crate::bytestring::max_value;

/// A MAC address.
///
/// ```
/// use outplane_p4runtime::builder::Mac;
///
/// let mac: Mac = "02:00:00:00:00:01".parse()?;
/// assert_eq!(mac, Mac([2, 0, 0, 0, 0, 1]));
/// assert_eq!(mac.to_string(), "02:00:00:00:00:01");
/// # Ok::<(), outplane_p4runtime::builder::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Words that are no address of the kind that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not a MAC address.
    #[error("`{0}` is no MAC address; it should be six bytes such as 02:00:00:00:00:01")]
    Mac(String),
    /// Not a prefix.
    #[error("`{0}` is no prefix; it should be an address and a length, such as 10.0.0.0/8 or fd00::/8")]
    Prefix(String),
}

impl FromStr for Mac {
    type Err = ParseError;

    /// Six bytes in hexadecimal with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::Mac(text.chars().take(64).collect());
        let mut parts = text.split([':', '-']);
        let mut mac = [0; 6];
        for byte in &mut mac {
            let part = parts.next().filter(|part| {
                matches!(part.len(), 1..=2) && part.bytes().all(|digit| digit.is_ascii_hexdigit())
            });
            *byte = u8::from_str_radix(part.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(mac)) }
    }
}

/// A prefix of addresses: its first address and how many bits count.
///
/// ```
/// use outplane_p4runtime::builder::Prefix;
///
/// let prefix: Prefix = "10.1.0.0/16".parse()?;
/// assert_eq!(prefix, Prefix { address: [10, 1, 0, 0].into(), len: 16 });
/// # Ok::<(), outplane_p4runtime::builder::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address, zero behind the prefix.
    pub address: IpAddr,
    /// Length in bits.
    pub len: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for Prefix {
    type Err = ParseError;

    /// `address/length`. Whether the length fits the address is looked at where the prefix is used.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::Prefix(text.chars().take(64).collect());
        let (address, len) = text.split_once('/').ok_or_else(wrong)?;
        let digits = (1..=3).contains(&len.len()) && len.bytes().all(|digit| digit.is_ascii_digit());
        let len = len.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        Ok(Self { address: address.parse().map_err(|_| wrong())?, len })
    }
}

/// A number for a match field or a parameter. Made from integers, addresses and MAC addresses; an address fits only
/// where the width is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(Of);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Integer(u128),
    Negative(i64),
    Address(IpAddr),
    Mac(Mac),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Of::Integer(number) => write!(f, "{number}"),
            Of::Negative(number) => write!(f, "{number}"),
            Of::Address(address) => write!(f, "{address}"),
            Of::Mac(mac) => write!(f, "{mac}"),
        }
    }
}

impl Value {
    /// The number in so many bits, or why not.
    pub(super) fn number(self, bits: u32) -> Result<u128, String> {
        let own_width = |number, own: u32, what: &str| {
            if own == bits { Ok(number) } else { Err(format!("{what} has {own} bits")) }
        };
        match self.0 {
            Of::Integer(number) if number <= max_value(bits) => Ok(number),
            Of::Integer(_) => Err(format!("the most that fits is {}", max_value(bits))),
            Of::Negative(_) => Err("it cannot be negative".to_owned()),
            Of::Address(IpAddr::V4(address)) => own_width(address.to_bits().into(), 32, "an IPv4 address"),
            Of::Address(IpAddr::V6(address)) => own_width(address.to_bits(), 128, "an IPv6 address"),
            Of::Mac(Mac(bytes)) => {
                let number = bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte));
                own_width(number, 48, "a MAC address")
            }
        }
    }
}

/// What a match field must be. Made from whatever [`Value`] is made from, from prefixes and from ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(pub(super) PatternOf);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PatternOf {
    Value(Value),
    Prefix(Prefix),
    Masked(Value, Value),
    Range(Value, Value),
}

impl Pattern {
    /// The bits that are set in `mask`, as in `value`: for ternary fields.
    pub fn masked(value: impl Into<Value>, mask: impl Into<Value>) -> Self {
        Self(PatternOf::Masked(value.into(), mask.into()))
    }

    /// Anything from `low` to `high`, both included: for range fields.
    pub fn range(low: impl Into<Value>, high: impl Into<Value>) -> Self {
        Self(PatternOf::Range(low.into(), high.into()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PatternOf::Value(value) => write!(f, "{value}"),
            PatternOf::Prefix(prefix) => write!(f, "{prefix}"),
            PatternOf::Masked(value, mask) => write!(f, "{value} under the mask {mask}"),
            PatternOf::Range(low, high) => write!(f, "{low}..={high}"),
        }
    }
}

macro_rules! values {
    ($($type:ty: $value:ident => $of:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                Self($of)
            }
        }

        impl From<$type> for Pattern {
            fn from(value: $type) -> Self {
                Self(PatternOf::Value(value.into()))
            }
        }
    )*};
}

values! {
    bool: value => Of::Integer(value.into());
    u8: value => Of::Integer(value.into());
    u16: value => Of::Integer(value.into());
    u32: value => Of::Integer(value.into());
    u64: value => Of::Integer(value.into());
    u128: value => Of::Integer(value);
    // What a literal without a suffix is.
    i32: value => u32::try_from(value).map_or(Of::Negative(value.into()), |value| Of::Integer(value.into()));
    Ipv4Addr: value => Of::Address(value.into());
    Ipv6Addr: value => Of::Address(value.into());
    IpAddr: value => Of::Address(value);
    Mac: value => Of::Mac(value);
    [u8; 6]: value => Of::Mac(Mac(value));
}

impl From<Value> for Pattern {
    fn from(value: Value) -> Self {
        Self(PatternOf::Value(value))
    }
}

impl From<Prefix> for Pattern {
    fn from(prefix: Prefix) -> Self {
        Self(PatternOf::Prefix(prefix))
    }
}

impl<A: Into<IpAddr>> From<(A, u8)> for Pattern {
    fn from((address, len): (A, u8)) -> Self {
        Self(PatternOf::Prefix(Prefix { address: address.into(), len }))
    }
}

impl<V: Into<Value>> From<RangeInclusive<V>> for Pattern {
    fn from(range: RangeInclusive<V>) -> Self {
        let (low, high) = range.into_inner();
        Self::range(low, high)
    }
}
