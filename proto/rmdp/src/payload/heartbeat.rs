//! Heartbeats.

use core::marker::PhantomData;

use super::{PayloadError, Reader, Writer};
use crate::datagram::MAX_PAYLOAD;
use crate::id::TransactionId;

/// Bytes before the notices.
const FIXED: usize = 1 + 2 + 8 + 2 + 2 + 2;

/// Who sends a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A distributor.
    Distributor = 1,
    /// A controller.
    Controller = 2,
}

/// What a heartbeat says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// What the sender is.
    pub role: Role,
    /// How long until the next one, milliseconds; 0: the sender leaves, and no regular one follows.
    pub interval_ms: u16,
    /// The newest generation of the intent that it knows; 0 for none.
    pub generation: u64,
}

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeOf {
    /// The sender has claimed this attempt.
    Claimed = 1,
    /// The sender has written the decision.
    Decided = 2,
    /// The sender has written the result of an attempt that failed.
    Failed = 3,
}

/// News of a task: a hint that saves others requests, nothing to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The task.
    pub id: TransactionId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What became of it.
    pub what: NoticeOf,
}

/// How a sender looks from the heartbeat's sender: one row of the degradation matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lateness {
    /// Whose copies.
    pub sender: u32,
    /// How many came.
    pub copies: u32,
    /// How many did not.
    pub missing: u32,
    /// Median of arrival minus the first copy's arrival, microseconds.
    pub median_us: u32,
    /// How many of the last 20 were late.
    pub late: u8,
}

/// The heartbeat's sender has heard this start of a node. Whoever started after a datagram was recorded knows by this that
/// it is a replay: nobody has heard a start before it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heard {
    /// Who was heard.
    pub sender: u32,
    /// Its newest stream epoch.
    pub epoch: u64,
}

mod sealed {
    /// Something of a fixed length in a heartbeat.
    pub trait Record: Sized {
        const LENGTH: usize;
        /// From at least `LENGTH` bytes.
        fn read(bytes: &[u8]) -> Result<Self, super::PayloadError>;
        /// Into at least `LENGTH` bytes.
        fn write(&self, out: &mut [u8]) -> Result<(), super::PayloadError>;
    }
}

use sealed::Record;

impl Record for Notice {
    const LENGTH: usize = 16 + 4 + 1;

    fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(bytes);
        Ok(Self {
            id: TransactionId::from_bytes(reader.array("notice")?),
            attempt: reader.u32("notice")?,
            what: match reader.u8("notice")? {
                1 => NoticeOf::Claimed,
                2 => NoticeOf::Decided,
                3 => NoticeOf::Failed,
                other => return Err(PayloadError::UnknownNumber("notice", other)),
            },
        })
    }

    fn write(&self, out: &mut [u8]) -> Result<(), PayloadError> {
        let mut writer = Writer::new(out, Self::LENGTH)?;
        writer.put(self.id.as_bytes());
        writer.put(&self.attempt.to_be_bytes());
        writer.put(&[self.what as u8]);
        Ok(())
    }
}

impl Record for Lateness {
    const LENGTH: usize = 4 * 4 + 1;

    fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(bytes);
        Ok(Self {
            sender: reader.u32("lateness")?,
            copies: reader.u32("lateness")?,
            missing: reader.u32("lateness")?,
            median_us: reader.u32("lateness")?,
            late: reader.u8("lateness")?,
        })
    }

    fn write(&self, out: &mut [u8]) -> Result<(), PayloadError> {
        let mut writer = Writer::new(out, Self::LENGTH)?;
        for number in [self.sender, self.copies, self.missing, self.median_us] {
            writer.put(&number.to_be_bytes());
        }
        writer.put(&[self.late]);
        Ok(())
    }
}

impl Record for Heard {
    const LENGTH: usize = 4 + 8;

    fn read(bytes: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(bytes);
        Ok(Self { sender: reader.u32("heard")?, epoch: reader.u64("heard")? })
    }

    fn write(&self, out: &mut [u8]) -> Result<(), PayloadError> {
        let mut writer = Writer::new(out, Self::LENGTH)?;
        writer.put(&self.sender.to_be_bytes());
        writer.put(&self.epoch.to_be_bytes());
        Ok(())
    }
}

/// How many notices fit into a heartbeat beside so many lateness rows and so many starts that were heard.
pub const fn notices_that_fit(rows: usize, heard: usize) -> usize {
    let others = rows.saturating_mul(Lateness::LENGTH).saturating_add(heard.saturating_mul(Heard::LENGTH));
    (MAX_PAYLOAD - FIXED).saturating_sub(others) / Notice::LENGTH
}

/// Notices, lateness rows or starts that were heard, as they lie in a payload; all were checked when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<'a, T> {
    bytes: &'a [u8],
    of: PhantomData<T>,
}

impl<'a, T: Record> Records<'a, T> {
    fn read(reader: &mut Reader<'a>, count: usize, field: &'static str) -> Result<Self, PayloadError> {
        let records = Self { bytes: reader.bytes(field, count * T::LENGTH)?, of: PhantomData };
        for record in records.bytes.chunks_exact(T::LENGTH) {
            T::read(record)?;
        }
        Ok(records)
    }

    /// How many.
    pub const fn len(&self) -> usize {
        self.bytes.len() / T::LENGTH
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        self.bytes.chunks_exact(T::LENGTH).filter_map(|record| T::read(record).ok())
    }
}

fn write_all<T: Record>(records: &[T], out: &mut [u8]) -> Result<(), PayloadError> {
    records.iter().zip(out.chunks_exact_mut(T::LENGTH)).try_for_each(|(record, out)| record.write(out))
}

/// A heartbeat as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat<'a> {
    /// Of its sender.
    pub beat: Beat,
    /// Of tasks.
    pub notices: Records<'a, Notice>,
    /// Of other senders.
    pub lateness: Records<'a, Lateness>,
    /// Which starts of others its sender has heard; a part of them at a time.
    pub heard: Records<'a, Heard>,
}

impl<'a> Heartbeat<'a> {
    /// Writes the payload; gives its length. Refuses more than fits: see [`notices_that_fit`].
    pub fn encode(
        beat: &Beat,
        notices: &[Notice],
        lateness: &[Lateness],
        heard: &[Heard],
        out: &mut [u8],
    ) -> Result<usize, PayloadError> {
        let needed = FIXED
            .saturating_add(notices.len().saturating_mul(Notice::LENGTH))
            .saturating_add(lateness.len().saturating_mul(Lateness::LENGTH))
            .saturating_add(heard.len().saturating_mul(Heard::LENGTH));
        let too_many = |_| PayloadError::TooMany(needed);
        if needed > MAX_PAYLOAD {
            return Err(PayloadError::TooMany(needed));
        }
        let counts = [notices.len(), lateness.len(), heard.len()].map(u16::try_from);
        let mut writer = Writer::new(out, needed)?;
        writer.put(&[beat.role as u8]);
        writer.put(&beat.interval_ms.to_be_bytes());
        writer.put(&beat.generation.to_be_bytes());
        for count in counts {
            writer.put(&count.map_err(too_many)?.to_be_bytes());
        }
        let rest = &mut writer.out[FIXED..];
        let (for_notices, rest) = rest.split_at_mut(notices.len() * Notice::LENGTH);
        let (for_rows, for_heard) = rest.split_at_mut(lateness.len() * Lateness::LENGTH);
        write_all(notices, for_notices)?;
        write_all(lateness, for_rows)?;
        write_all(heard, for_heard)?;
        Ok(needed)
    }

    /// Reads the payload of a heartbeat.
    pub fn parse(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(payload);
        let role = match reader.u8("role")? {
            1 => Role::Distributor,
            2 => Role::Controller,
            other => return Err(PayloadError::UnknownNumber("role", other)),
        };
        let beat = Beat { role, interval_ms: reader.u16("interval")?, generation: reader.u64("generation")? };
        let [notices, rows, heard] = [
            reader.u16("count of notices")?,
            reader.u16("count of rows")?,
            reader.u16("count of starts heard")?,
        ]
        .map(usize::from);
        let notices = Records::read(&mut reader, notices, "notices")?;
        let lateness = Records::read(&mut reader, rows, "lateness rows")?;
        let heard = Records::read(&mut reader, heard, "starts heard")?;
        reader.end()?;
        Ok(Self { beat, notices, lateness, heard })
    }
}
