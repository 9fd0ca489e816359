//! A datagram that came.

use outplane_rmdp_wire::{Datagram, Header, Payload, PayloadError};

/// A datagram that was delivered. Its tag was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When it came, nanoseconds of [`crate::monotonic_nanos`].
    pub arrival: u64,
    /// The fields of its header.
    pub header: Header,
    pub(crate) bytes: Vec<u8>,
}

impl Received {
    /// What it carries. An authentic sender may still have put nonsense into it.
    pub fn payload(&self) -> Result<Payload<'_>, PayloadError> {
        // It was parsed before: it cannot fail now.
        let datagram = Datagram::parse(&self.bytes).map_err(|_| PayloadError::Truncated("datagram"))?;
        Payload::parse(&datagram)
    }
}
