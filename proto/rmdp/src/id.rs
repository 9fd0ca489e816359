//! Transaction ids.

use core::fmt;
use core::str::FromStr;

/// The name of a task: 128 bits derived from its event's metadata, a `UUIDv8` (RFC 9562, 5.8). Printed and read as 36
/// lower-case characters with hyphens, the only spelling, so that a name and an id are one to one.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId([u8; 16]);

impl TransactionId {
    /// What the header of a datagram carries that is about no task.
    pub const NONE: Self = Self([0; 16]);

    /// From its bytes, in network order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, in network order.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether it names no task.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// Its bytes, in network order.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// Bytes after which a hyphen follows.
const HYPHENS: [usize; 4] = [3, 5, 7, 9];

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            for digit in [byte >> 4, byte & 15] {
                text[at] = b"0123456789abcdef"[usize::from(digit)];
                at += 1;
            }
            if HYPHENS.contains(&index) {
                text[at] = b'-';
                at += 1;
            }
        }
        f.pad(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a transaction id: 36 lower-case characters xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx are expected")
    }
}

impl core::error::Error for BadId {}

impl FromStr for TransactionId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut bytes = [0; 16];
        let mut rest = text.as_bytes();
        for (index, byte) in bytes.iter_mut().enumerate() {
            let [high, low, after @ ..] = rest else { return Err(BadId) };
            *byte = digit(*high)? << 4 | digit(*low)?;
            rest = after;
            if HYPHENS.contains(&index) {
                rest = rest.strip_prefix(b"-").ok_or(BadId)?;
            }
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(BadId) }
    }
}

fn digit(character: u8) -> Result<u8, BadId> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(BadId),
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::{BadId, TransactionId};

    #[test]
    fn one_spelling() {
        let id: TransactionId = "01020304-0506-8708-890a-0b0c0d0e0ff0".parse().unwrap();
        assert_eq!(id.to_string(), "01020304-0506-8708-890a-0b0c0d0e0ff0");
        for bad in [
            "",
            "01020304-0506-8708-890a-0b0c0d0e0ff",
            "01020304-0506-8708-890a-0b0c0d0e0ff00",
            "01020304-0506-8708-890A-0b0c0d0e0ff0",
            "0102030405068708890a0b0c0d0e0ff0",
            "{01020304-0506-8708-890a-0b0c0d0e0ff0}",
            "01020304-0506-8708-890a-0b0c0d0e0ffg",
            "01020304-0506-8708-890a0-b0c0d0e0ff0",
        ] {
            assert_eq!(bad.parse::<TransactionId>(), Err(BadId), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_read_again(bytes: [u8; 16], text in "\\PC*") {
            let id = TransactionId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            if let Ok(other) = text.parse::<TransactionId>() {
                prop_assert_eq!(other.to_string(), text);
            }
        }
    }
}
