//! Hints.

use super::{PayloadError, Reader, Writer};

/// What has a new object in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HintOf {
    /// The intent log: `i/<number>`.
    Intent = 1,
    /// The shared configuration: `config/<number>`.
    Config = 2,
    /// The log of probes: `p/<number>`.
    Probes = 3,
}

/// "Look": saves its receivers a poll, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What is new.
    pub what: HintOf,
    /// The new object's number.
    pub number: u64,
}

impl Hint {
    /// Writes the payload; gives its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, PayloadError> {
        let mut writer = Writer::new(out, 1 + 8)?;
        writer.put(&[self.what as u8]);
        writer.put(&self.number.to_be_bytes());
        Ok(writer.length)
    }

    /// Reads the payload of a hint.
    pub fn parse(payload: &[u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader(payload);
        let what = match reader.u8("hint")? {
            1 => HintOf::Intent,
            2 => HintOf::Config,
            3 => HintOf::Probes,
            other => return Err(PayloadError::UnknownNumber("hint", other)),
        };
        let number = reader.u64("number")?;
        reader.end()?;
        Ok(Self { what, number })
    }
}
