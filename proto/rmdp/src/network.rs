//! Network ids.

use core::fmt;
use core::str::FromStr;

/// Which network a datagram or an event belongs to: a random number that the store issues once, so that two networks with
/// one key, or one bucket after another, are told apart. Printed and read as 16 lower-case hexadecimal digits, the only
/// spelling. No network has the number 0.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(u64);

impl NetworkId {
    /// None: what no store issues.
    pub const NONE: Self = Self(0);

    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether it names no network.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no network id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNetwork;

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a network id: 16 lower-case hexadecimal digits are expected, not all of them 0")
    }
}

impl core::error::Error for BadNetwork {}

impl FromStr for NetworkId {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 16 || !digits {
            return Err(BadNetwork);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| BadNetwork)?;
        if number == 0 { Err(BadNetwork) } else { Ok(Self(number)) }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn one_spelling() {
        let network = NetworkId::new(0xab);
        assert_eq!(network.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(network));
        for bad in ["", "ab", "00000000000000AB", "0000000000000000", "00000000000000abc", "+0000000000000ab"]
        {
            assert_eq!(bad.parse::<NetworkId>(), Err(BadNetwork), "{bad}");
        }
    }
}
