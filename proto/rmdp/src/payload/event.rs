//! Events and the tasks that are announced for them.

use super::{PayloadError, Reader, Writer};
use crate::network::NetworkId;

/// What the canonical encoding begins with.
const ENCODING: &[u8] = b"outplane-event-2";

/// Most bytes of a string in an event.
pub const MAX_STRING: usize = 255;

/// Most bytes of an encoded event.
pub const MAX_ENCODED_EVENT: usize = ENCODING.len() + 8 + 4 * (2 + MAX_STRING) + 8;

/// What happened: the metadata that a transaction id is derived from. Strings have at most [`MAX_STRING`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event<'a> {
    /// In which network.
    pub network: NetworkId,
    /// Who noticed: `intent`, a cluster, a switch.
    pub source: &'a str,
    /// What kind of thing happened.
    pub kind: &'a str,
    /// To which object.
    pub object: &'a str,
    /// The switch that has to follow.
    pub switch: &'a str,
    /// The source's own number for this time that it happened, never a clock's.
    pub occurrence: u64,
}

impl<'a> Event<'a> {
    /// Bytes of the canonical encoding.
    pub const fn encoded_length(&self) -> usize {
        let strings = self.source.len() + self.kind.len() + self.object.len() + self.switch.len();
        ENCODING.len() + 8 + 4 * 2 + strings + 8
    }

    /// Writes the canonical encoding; gives its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, PayloadError> {
        let strings = self.strings();
        for (field, text) in strings {
            if text.len() > MAX_STRING {
                return Err(PayloadError::StringTooLong(field, text.len()));
            }
        }
        let mut writer = Writer::new(out, self.encoded_length())?;
        writer.put(ENCODING);
        writer.put(&self.network.number().to_be_bytes());
        for (field, text) in strings {
            let length =
                u16::try_from(text.len()).map_err(|_| PayloadError::StringTooLong(field, text.len()))?;
            writer.put(&length.to_be_bytes());
            writer.put(text.as_bytes());
        }
        writer.put(&self.occurrence.to_be_bytes());
        Ok(writer.length)
    }

    fn strings(&self) -> [(&'static str, &'a str); 4] {
        [("source", self.source), ("kind", self.kind), ("object", self.object), ("switch", self.switch)]
    }

    /// The task's name: the first 128 bits of SHA-256 over the canonical encoding, as a `UUIDv8` (RFC 9562, 5.8).
    #[cfg(feature = "id")]
    pub fn id(&self) -> Result<crate::TransactionId, PayloadError> {
        use sha2::Digest;

        let mut buffer = [0; MAX_ENCODED_EVENT];
        let length = self.encode(&mut buffer)?;
        let hash: [u8; 32] = sha2::Sha256::digest(&buffer[..length]).into();
        let bytes = core::array::from_fn(|index| hash[index]);
        Ok(crate::TransactionId::from_bytes(uuid::Builder::from_custom_bytes(bytes).into_uuid().into_bytes()))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, PayloadError> {
        if reader.bytes("encoding", ENCODING.len())? != ENCODING {
            return Err(PayloadError::UnknownEncoding);
        }
        let network = NetworkId::new(reader.u64("network")?);
        let mut string = |field| {
            let length = usize::from(reader.u16(field)?);
            if length > MAX_STRING {
                return Err(PayloadError::StringTooLong(field, length));
            }
            core::str::from_utf8(reader.bytes(field, length)?).map_err(|_| PayloadError::NotUtf8(field))
        };
        Ok(Self {
            network,
            source: string("source")?,
            kind: string("kind")?,
            object: string("object")?,
            switch: string("switch")?,
            occurrence: reader.u64("occurrence")?,
        })
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make the switch what the desired state says.
    Converge {
        /// The intent's generation.
        generation: u64,
        /// SHA-256 of the desired state, its name in the store.
        desired: [u8; 32],
        /// How many entries it has: a share of the lease.
        entries: u32,
    },
    /// Read from the switch, change nothing.
    Ask,
}

const CONVERGE: u8 = 1;
const PROBE: u8 = 2;

/// A task, as its datagram carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce<'a> {
    /// Why.
    pub event: Event<'a>,
    /// What.
    pub work: Work,
}

impl<'a> Announce<'a> {
    /// Writes the payload; gives its length. It always fits into a datagram.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, PayloadError> {
        let work = match self.work {
            Work::Converge { .. } => 1 + 8 + 32 + 4,
            Work::Ask => 1,
        };
        let event = self.event.encode(out)?;
        let rest = out.get_mut(event..).unwrap_or_default();
        let mut writer = Writer::new(rest, work).map_err(|_| PayloadError::BufferTooShort(event + work))?;
        match self.work {
            Work::Converge { generation, desired, entries } => {
                writer.put(&[CONVERGE]);
                writer.put(&generation.to_be_bytes());
                writer.put(&desired);
                writer.put(&entries.to_be_bytes());
            }
            Work::Ask => writer.put(&[PROBE]),
        }
        Ok(event + work)
    }

    /// Reads the payload of a task announce. Whether it is the header's task: see [`super::Payload::parse`].
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(payload);
        let event = Event::read(&mut reader)?;
        let work = match reader.u8("work")? {
            CONVERGE => Work::Converge {
                generation: reader.u64("generation")?,
                desired: reader.array("desired state")?,
                entries: reader.u32("entries")?,
            },
            PROBE => Work::Ask,
            other => return Err(PayloadError::UnknownNumber("work", other)),
        };
        reader.end()?;
        Ok(Self { event, work })
    }
}
