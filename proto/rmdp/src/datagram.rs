//! Headers and tags. The layout is in the crate's table; [`offset`] has its numbers.

use core::fmt;

use crate::id::TransactionId;
use crate::network::NetworkId;
use crate::siphash;

/// First bytes of every datagram.
pub const MAGIC: [u8; 4] = *b"RMDP";
/// The version that this crate speaks.
pub const VERSION: u8 = 2;
/// Bytes before the payload.
pub const HEADER_LENGTH: usize = 64;
/// Bytes after the payload.
pub const TAG_LENGTH: usize = 16;
/// A datagram is never longer, so that it is never fragmented.
pub const MAX_LENGTH: usize = 1400;
/// A datagram is never shorter.
pub const MIN_LENGTH: usize = HEADER_LENGTH + TAG_LENGTH;
/// Most bytes of payload.
pub const MAX_PAYLOAD: usize = MAX_LENGTH - MIN_LENGTH;

/// Where each field begins, in bytes.
pub mod offset {
    #![expect(missing_docs, reason = "the crate's table describes each")]
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 4;
    pub const TYPE: usize = 5;
    pub const KEY: usize = 6;
    pub const NETWORK: usize = 8;
    pub const EPOCH: usize = 16;
    pub const SENDER: usize = 24;
    pub const LENGTH: usize = 28;
    pub const ZERO: usize = 30;
    pub const SEQUENCE: usize = 32;
    pub const ID: usize = 40;
    pub const SENT: usize = 56;
    pub const PAYLOAD: usize = 64;
}

/// What a datagram is about.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DatagramType {
    /// "There is this task."
    TaskAnnounce = 1,
    /// "I am alive", and what is new.
    Heartbeat = 2,
    /// "There is something new in the store, look."
    Hint = 3,
}

impl DatagramType {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::TaskAnnounce, Self::Heartbeat, Self::Hint];

    /// From its number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::TaskAnnounce),
            2 => Some(Self::Heartbeat),
            3 => Some(Self::Hint),
            _ => None,
        }
    }

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TaskAnnounce => "task",
            Self::Heartbeat => "heartbeat",
            Self::Hint => "hint",
        }
    }
}

/// A secret that senders and receivers share, and the id that datagrams name it by. Printing it shows the id alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// What datagrams name it by; 0 is as good as any other.
    pub id: u16,
    /// The key of `SipHash`.
    pub secret: [u8; 16],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A datagram's header, but what follows from payload and key: key id, payload length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is about.
    pub datagram_type: DatagramType,
    /// Which network it belongs to.
    pub network: NetworkId,
    /// Which start of the sender this is, issued by the store; grows with each.
    pub epoch: u64,
    /// Who sends, as the shared configuration numbers them.
    pub sender: u32,
    /// 1, 2, .. in the stream (sender, epoch): every datagram its own.
    pub sequence: u64,
    /// The task, in announces; else [`TransactionId::NONE`].
    pub id: TransactionId,
    /// When it was sent, Unix nanoseconds; for people, nothing is decided by it.
    pub sent: u64,
}

/// Why nothing was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The payload has more than [`MAX_PAYLOAD`] bytes.
    PayloadTooLong(usize),
    /// The buffer has too few bytes; so many are needed.
    BufferTooShort(usize),
    /// Sequences begin with 1.
    NoSequence,
    /// Announces have a transaction id and other datagrams have none.
    WrongId,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadTooLong(length) => {
                write!(f, "a payload of {length} bytes: a datagram takes at most {MAX_PAYLOAD}")
            }
            Self::BufferTooShort(needed) => write!(f, "the buffer is too short: {needed} bytes are needed"),
            Self::NoSequence => f.write_str("sequence 0: sequences begin with 1"),
            Self::WrongId => f.write_str("task announces have a transaction id, other datagrams have none"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Writes a datagram with its tag into `out`; gives its length.
pub fn encode(header: &Header, payload: &[u8], key: &Key, out: &mut [u8]) -> Result<usize, EncodeError> {
    let announce = header.datagram_type == DatagramType::TaskAnnounce;
    if header.sequence == 0 {
        return Err(EncodeError::NoSequence);
    }
    if header.id.is_none() == announce {
        return Err(EncodeError::WrongId);
    }
    let Some(payload_length) = u16::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD)
    else {
        return Err(EncodeError::PayloadTooLong(payload.len()));
    };
    let length = MIN_LENGTH + payload.len();
    let Some(out) = out.get_mut(..length) else { return Err(EncodeError::BufferTooShort(length)) };
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset::MAGIC, &MAGIC);
    put(offset::VERSION, &[VERSION, header.datagram_type as u8]);
    put(offset::KEY, &key.id.to_be_bytes());
    put(offset::NETWORK, &header.network.number().to_be_bytes());
    put(offset::EPOCH, &header.epoch.to_be_bytes());
    put(offset::SENDER, &header.sender.to_be_bytes());
    put(offset::LENGTH, &payload_length.to_be_bytes());
    put(offset::ZERO, &[0, 0]);
    put(offset::SEQUENCE, &header.sequence.to_be_bytes());
    put(offset::ID, header.id.as_bytes());
    put(offset::SENT, &header.sent.to_be_bytes());
    put(offset::PAYLOAD, payload);
    let (message, tag) = out.split_at_mut(length - TAG_LENGTH);
    tag.copy_from_slice(&siphash::tag(&key.secret, message));
    Ok(length)
}

/// A datagram of this version that is well formed. Its tag is not verified by parsing: see [`Self::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The fields of the header.
    pub header: Header,
    /// Which key its tag was made with.
    pub key: u16,
    /// What comes between header and tag.
    pub payload: &'a [u8],
    bytes: &'a [u8],
}

/// Why bytes are no datagram of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They don't begin with the magic: somebody else's.
    NotRmdp,
    /// RMDP of this version, which is for others to understand.
    UnknownVersion(u8),
    /// RMDP of this version that breaks a rule.
    Malformed(Malformed),
}

/// The rule that a datagram breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before its tag does: so many bytes are missing.
    Truncated(usize),
    /// Bytes follow the tag.
    TrailingBytes(usize),
    /// The payload length exceeds [`MAX_PAYLOAD`].
    TooLong(usize),
    /// No such type.
    UnknownType(u8),
    /// Bytes 30 and 31 are not zero.
    NotZero,
    /// Sequences begin with 1.
    NoSequence,
    /// An announce without a transaction id, or another datagram with one.
    WrongId,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRmdp => f.write_str("not RMDP"),
            Self::UnknownVersion(version) => {
                write!(f, "RMDP of version {version}: this is version {VERSION}")
            }
            Self::Malformed(rule) => write!(f, "malformed datagram: {rule}"),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(missing) => write!(f, "{missing} bytes are missing at its end"),
            Self::TrailingBytes(more) => write!(f, "{more} bytes follow its tag"),
            Self::TooLong(length) => {
                write!(f, "a payload of {length} bytes: at most {MAX_PAYLOAD} are allowed")
            }
            Self::UnknownType(number) => write!(f, "type {number} does not exist"),
            Self::NotZero => f.write_str("bytes 30 and 31 are not zero"),
            Self::NoSequence => f.write_str("sequence 0: sequences begin with 1"),
            Self::WrongId => f.write_str("task announces have a transaction id, other datagrams have none"),
        }
    }
}

impl core::error::Error for ParseError {}

/// Why a datagram is not authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forged {
    /// None of the keys has this id.
    UnknownKey(u16),
    /// The tag is not what the key makes of the datagram.
    WrongTag,
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey(id) => write!(f, "key {id} is not accepted here"),
            Self::WrongTag => f.write_str("the tag is wrong"),
        }
    }
}

impl core::error::Error for Forged {}

impl<'a> Datagram<'a> {
    /// Reads a UDP payload; copies nothing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let malformed = |rule| Err(ParseError::Malformed(rule));
        if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(ParseError::NotRmdp);
        }
        match bytes.get(offset::VERSION) {
            Some(&VERSION) => {}
            Some(&version) => return Err(ParseError::UnknownVersion(version)),
            None => return malformed(Malformed::Truncated(MIN_LENGTH - bytes.len())),
        }
        let Some((fields, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
            return malformed(Malformed::Truncated(MIN_LENGTH - bytes.len()));
        };
        let payload_length = usize::from(u16::from_be_bytes(field(fields, offset::LENGTH)));
        if payload_length > MAX_PAYLOAD {
            return malformed(Malformed::TooLong(payload_length));
        }
        let length = payload_length + TAG_LENGTH;
        if rest.len() < length {
            return malformed(Malformed::Truncated(length - rest.len()));
        }
        if rest.len() > length {
            return malformed(Malformed::TrailingBytes(rest.len() - length));
        }
        let Some(datagram_type) = DatagramType::from_number(fields[offset::TYPE]) else {
            return malformed(Malformed::UnknownType(fields[offset::TYPE]));
        };
        if field(fields, offset::ZERO) != [0, 0] {
            return malformed(Malformed::NotZero);
        }
        let header = Header {
            datagram_type,
            network: NetworkId::new(u64::from_be_bytes(field(fields, offset::NETWORK))),
            epoch: u64::from_be_bytes(field(fields, offset::EPOCH)),
            sender: u32::from_be_bytes(field(fields, offset::SENDER)),
            sequence: u64::from_be_bytes(field(fields, offset::SEQUENCE)),
            id: TransactionId::from_bytes(field(fields, offset::ID)),
            sent: u64::from_be_bytes(field(fields, offset::SENT)),
        };
        if header.sequence == 0 {
            return malformed(Malformed::NoSequence);
        }
        if header.id.is_none() == (datagram_type == DatagramType::TaskAnnounce) {
            return malformed(Malformed::WrongId);
        }
        let key = u16::from_be_bytes(field(fields, offset::KEY));
        Ok(Self { header, key, payload: &rest[..payload_length], bytes })
    }

    /// The whole datagram, with its tag.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Compares the tag with what one of the keys makes of the datagram; takes the same time wherever they differ.
    pub fn verify(&self, keys: &[Key]) -> Result<(), Forged> {
        let Some((message, tag)) = self.bytes.split_last_chunk::<TAG_LENGTH>() else {
            return Err(Forged::WrongTag);
        };
        let mut known = false;
        for key in keys.iter().filter(|key| key.id == self.key) {
            known = true;
            let expected = siphash::tag(&key.secret, message);
            let difference = expected.iter().zip(tag).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
            if core::hint::black_box(difference) == 0 {
                return Ok(());
            }
        }
        Err(if known { Forged::WrongTag } else { Forged::UnknownKey(self.key) })
    }
}

/// The `N` bytes at `at`, both constants.
fn field<const N: usize>(fields: &[u8; HEADER_LENGTH], at: usize) -> [u8; N] {
    core::array::from_fn(|index| fields[at + index])
}
