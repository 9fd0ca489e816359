//! Messages are measured on the wire before they are decoded.
//!
//! Two bytes of an empty update become hundreds in memory, so a bound on a message's length alone bounds nothing.
//! [`check`] walks over a message's bytes without allocating: it counts the elements of repeated fields, up to each
//! field's bound, and adds up what decoding would allocate. A message that would take more than its kind may take, or
//! more than its length explains, is refused with the field's name. With the feature `grpc`, `Codec` does this for every
//! message of the service, for a server's requests and for a client's answers alike, and answers `RESOURCE_EXHAUSTED`.
//!
//! | message | on the wire | decoded |
//! |---|---|---|
//! | `WriteRequest` | 16 MiB, 65,536 updates | 160 MiB |
//! | `SetForwardingPipelineConfigRequest` and the answer that gives it back | 32 MiB | 128 MiB |
//! | `ReadRequest` | 1 MiB, 4,096 queries | 8 MiB |
//! | `ReadResponse` | 128 MiB: BMv2 answers with one message | 512 MiB |
//! | `StreamMessageRequest` | 128 KiB | 2 MiB |
//! | `StreamMessageResponse` | 4 MiB | 16 MiB |
//! | `google.rpc.Status`, the errors of a batch | 8 MiB | 64 MiB |
//! | all others | 64 KiB | 1 MiB |
//!
//! Whatever its kind, a message takes at most 96 times its length and 64 KiB.

#[cfg(feature = "grpc")]
mod codec;
mod shape;
#[cfg(test)]
mod tests;

use prost::Name;

use shape::{Field, Kind, SHAPES, Shape};

#[cfg(feature = "grpc")]
pub use codec::{CheckedDecoder, Codec};

/// Deepest nesting of messages, as prost has it.
const MAX_DEPTH: usize = 100;
/// What a message may take for each of its bytes: entries with few and short values come to some 30, meter cells
/// without limits to 54, half of it for vectors that grow by doubling.
const FACTOR: usize = 96;
/// What any message may take.
const FLOOR: usize = 64 << 10;
/// What an allocation takes besides its bytes.
const ALLOCATION: usize = 32;

/// How large messages of one kind may be, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// On the wire.
    pub wire: usize,
    /// Decoded, by estimate.
    pub decoded: usize,
}

impl Limits {
    /// Of a kind of message, by its full name (`p4.v1.WriteRequest`).
    pub fn of(name: &str) -> Self {
        let (wire, decoded) = match name {
            "p4.v1.WriteRequest" => (16 << 20, 160 << 20),
            "p4.v1.SetForwardingPipelineConfigRequest" | "p4.v1.GetForwardingPipelineConfigResponse" => {
                (32 << 20, 128 << 20)
            }
            "p4.v1.ReadRequest" => (1 << 20, 8 << 20),
            "p4.v1.ReadResponse" => (128 << 20, 512 << 20),
            "p4.v1.StreamMessageRequest" => (128 << 10, 2 << 20),
            "p4.v1.StreamMessageResponse" => (4 << 20, 16 << 20),
            "google.rpc.Status" => (8 << 20, 64 << 20),
            _ => (64 << 10, 1 << 20),
        };
        Self { wire, decoded }
    }

    /// The most that a message of this length takes when it is decoded, by estimate.
    pub fn decoded_at(self, length: usize) -> usize {
        length.saturating_mul(FACTOR).saturating_add(FLOOR).min(self.decoded)
    }
}

/// Most elements of a repeated field in one message, by the field's full name.
fn most(field: &str) -> usize {
    match field {
        "p4.v1.ReadRequest.entities" | "p4.v1.ActionProfileActionSet.action_profile_actions" => 4096,
        "p4.v1.ReadResponse.entities" => 1 << 20,
        "p4.v1.TableEntry.match" | "p4.v1.Action.params" | "p4.v1.ValueSetMember.match" => 256,
        "p4.v1.PacketIn.metadata" | "p4.v1.PacketOut.metadata" | "p4.v1.Replica.backup_replicas" => 64,
        // Updates of a write, and whatever else repeats.
        _ => 1 << 16,
    }
}

/// Why a message is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than its kind may be.
    #[error("{message} of {length} bytes: at most {most} are taken")]
    TooLong {
        /// Its kind.
        message: &'static str,
        /// How long it is.
        length: usize,
        /// The bound.
        most: usize,
    },
    /// A repeated field with too many elements.
    #[error("{field} has more than {most} elements")]
    TooMany {
        /// Its full name.
        field: &'static str,
        /// The bound.
        most: usize,
    },
    /// It would take too much memory.
    #[error("{message} of {length} bytes would take more than {most} bytes of memory")]
    TooLarge {
        /// Its kind.
        message: &'static str,
        /// How long it is.
        length: usize,
        /// The bound.
        most: usize,
    },
    /// It is not protobuf.
    #[error("{message} is not protobuf")]
    Malformed {
        /// Its kind.
        message: &'static str,
    },
}

/// Whether a message of this kind may be decoded; what it will take, by estimate.
///
/// # Errors
/// The first bound that it breaks, in the order of its bytes.
pub fn check<M: Name>(bytes: &[u8]) -> Result<usize, WireError> {
    check_as(&M::full_name(), bytes)
}

/// The same, by the kind's full name. A kind that the standard does not have takes nothing but its length.
fn check_as(name: &str, bytes: &[u8]) -> Result<usize, WireError> {
    let Some(shape) = SHAPES.by_name(name) else { return Ok(bytes.len()) };
    let (limits, length) = (Limits::of(name), bytes.len());
    if length > limits.wire {
        return Err(WireError::TooLong { message: shape.name, length, most: limits.wire });
    }
    let most = limits.decoded_at(length);
    let mut walk = Walk { taken: shape.size, most, length, top: shape.name };
    walk.message(shape, bytes, 0)?;
    Ok(walk.taken)
}

struct Walk {
    taken: usize,
    most: usize,
    length: usize,
    /// The message that all is in.
    top: &'static str,
}

impl Walk {
    fn malformed(&self) -> WireError {
        WireError::Malformed { message: self.top }
    }

    fn take(&mut self, bytes: usize) -> Result<(), WireError> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.most {
            return Err(WireError::TooLarge { message: self.top, length: self.length, most: self.most });
        }
        Ok(())
    }

    fn message(&mut self, shape: &Shape, mut bytes: &[u8], depth: usize) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            return Err(self.malformed());
        }
        // Elements of the repeated field that stood last; fields come in runs.
        let (mut run, mut count) = (0, 0);
        while !bytes.is_empty() {
            let key = varint(&mut bytes).ok_or_else(|| self.malformed())?;
            let (number, wire_type) = (key >> 3, key & 7);
            let value = match wire_type {
                0 => {
                    varint(&mut bytes).ok_or_else(|| self.malformed())?;
                    &[]
                }
                1 => split(&mut bytes, 8).ok_or_else(|| self.malformed())?,
                2 => {
                    let length = varint(&mut bytes).and_then(|length| usize::try_from(length).ok());
                    let value = length.and_then(|length| split(&mut bytes, length));
                    value.ok_or_else(|| self.malformed())?
                }
                5 => split(&mut bytes, 4).ok_or_else(|| self.malformed())?,
                // Groups, which the standard has none of.
                _ => return Err(self.malformed()),
            };
            let Some(field) = shape.field(number) else { continue };
            if field.repeated {
                // A field that comes back after others starts anew; what it takes is added up all the same.
                if run != number {
                    (run, count) = (number, 0);
                }
                count += field.elements(wire_type, value);
                if count > field.most {
                    return Err(WireError::TooMany { field: field.name, most: field.most });
                }
            }
            self.take(field.cost(wire_type, value))?;
            if let (Kind::Message(child), 2) = (&field.kind, wire_type) {
                self.message(SHAPES.at(*child), value, depth + 1)?;
            }
        }
        Ok(())
    }
}

impl Field {
    /// How many elements this occurrence adds.
    fn elements(&self, wire_type: u64, value: &[u8]) -> usize {
        match self.kind {
            // Packed: a byte each, at least.
            Kind::Scalar if wire_type == 2 => value.len(),
            _ => 1,
        }
    }

    /// What this occurrence makes the decoder allocate. Vectors grow by doubling.
    fn cost(&self, wire_type: u64, value: &[u8]) -> usize {
        match self.kind {
            Kind::Scalar if self.repeated => 2 * self.size * self.elements(wire_type, value),
            Kind::Bytes => {
                let place = if self.repeated { 2 * self.size } else { 0 };
                let held = if value.is_empty() { 0 } else { value.len() + ALLOCATION };
                place + held
            }
            Kind::Message(_) if self.repeated => 2 * self.size,
            Kind::Message(_) if self.boxed => self.size + ALLOCATION,
            Kind::Scalar | Kind::Message(_) => 0,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}
