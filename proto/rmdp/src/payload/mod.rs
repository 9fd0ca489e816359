//! What datagrams carry. Numbers are big-endian; strings are UTF-8 after their length in two bytes.
//!
//! | type | payload |
//! |---|---|
//! | task announce | event, work |
//! | heartbeat | role (1), interval in milliseconds (2), generation (8), count of notices (2), count of lateness rows (2), count of starts heard (2), notices, rows, starts heard |
//! | hint | what is new (1), its number (8) |
//!
//! | part | bytes |
//! |---|---|
//! | event | `outplane-event-2`, network id (8), source, kind, object, switch (at most 255 bytes each), occurrence (8) |
//! | work | 1, generation (8), SHA-256 of the desired state (32), count of its entries (4); or 2 for a probe |
//! | notice | transaction id (16), attempt (4), what: 1 claimed, 2 decided, 3 failed (1) |
//! | lateness row | sender (4), copies (4), missing (4), median lateness in microseconds (4), late ones of the last 20 (1) |
//! | start heard | sender (4), its newest epoch (8) |

mod event;
mod heartbeat;
mod hint;

use core::fmt;

pub use event::{Announce, Event, MAX_ENCODED_EVENT, MAX_STRING, Work};
pub use heartbeat::{Beat, Heard, Heartbeat, Lateness, Notice, NoticeOf, Records, Role, notices_that_fit};
pub use hint::{Hint, HintOf};

use crate::datagram::{Datagram, DatagramType};

/// Why a payload cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// It ends within this field.
    Truncated(&'static str),
    /// So many bytes follow its last field.
    TrailingBytes(usize),
    /// The metadata does not begin with `outplane-event-2`.
    UnknownEncoding,
    /// This string has more than 255 bytes: so many.
    StringTooLong(&'static str, usize),
    /// This string is not UTF-8.
    NotUtf8(&'static str),
    /// This field has a number that means nothing.
    UnknownNumber(&'static str, u8),
    /// The header's transaction id is not that of the metadata.
    WrongId,
    /// The buffer has too few bytes; so many are needed.
    BufferTooShort(usize),
    /// So many notices and rows fill more than a datagram: so many bytes.
    TooMany(usize),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(field) => write!(f, "the payload ends within {field}"),
            Self::TrailingBytes(more) => write!(f, "{more} bytes follow the payload's last field"),
            Self::UnknownEncoding => f.write_str("the metadata is not in the encoding outplane-event-2"),
            Self::StringTooLong(field, length) => {
                write!(f, "{field} has {length} bytes: at most {MAX_STRING} are allowed")
            }
            Self::NotUtf8(field) => write!(f, "{field} is not UTF-8"),
            Self::UnknownNumber(field, number) => write!(f, "{field} {number} does not exist"),
            Self::WrongId => f.write_str("the transaction id is not that of the metadata"),
            Self::BufferTooShort(needed) => write!(f, "the buffer is too short: {needed} bytes are needed"),
            Self::TooMany(length) => {
                write!(
                    f,
                    "a heartbeat of {length} bytes does not fit into a datagram: leave notices for the next"
                )
            }
        }
    }
}

impl core::error::Error for PayloadError {}

/// A datagram's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Of a task announce.
    Announce(Announce<'a>),
    /// Of a heartbeat.
    Heartbeat(Heartbeat<'a>),
    /// Of a hint.
    Hint(Hint),
}

impl<'a> Payload<'a> {
    /// Reads a datagram's payload. With the feature `id` an announce's metadata must give the header's transaction id.
    pub fn parse(datagram: &Datagram<'a>) -> Result<Self, PayloadError> {
        Ok(match datagram.header.datagram_type {
            DatagramType::TaskAnnounce => {
                let announce = Announce::parse(datagram.payload)?;
                #[cfg(feature = "id")]
                if announce.event.id()? != datagram.header.id {
                    return Err(PayloadError::WrongId);
                }
                Self::Announce(announce)
            }
            DatagramType::Heartbeat => Self::Heartbeat(Heartbeat::parse(datagram.payload)?),
            DatagramType::Hint => Self::Hint(Hint::parse(datagram.payload)?),
        })
    }
}

/// Takes fields from the front of a payload.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], PayloadError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(PayloadError::Truncated(field))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PayloadError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(PayloadError::Truncated(field))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, PayloadError> {
        self.array(field).map(|[byte]| byte)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, PayloadError> {
        self.array(field).map(u16::from_be_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, PayloadError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, PayloadError> {
        self.array(field).map(u64::from_be_bytes)
    }

    fn end(self) -> Result<(), PayloadError> {
        if self.0.is_empty() { Ok(()) } else { Err(PayloadError::TrailingBytes(self.0.len())) }
    }
}

/// Appends fields to a buffer that was checked to be long enough for all of them.
struct Writer<'a> {
    out: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut [u8], needed: usize) -> Result<Self, PayloadError> {
        let out = out.get_mut(..needed).ok_or(PayloadError::BufferTooShort(needed))?;
        Ok(Self { out, length: 0 })
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.out[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}
