//! Desired states as blobs: what lies under `b/<sha256>` in the store.
//!
//! A blob is a P4Runtime `WriteRequest` in protobuf's binary form that holds nothing but updates: multicast groups
//! (INSERT), meter cells (MODIFY), table entries (INSERT), each sort in strictly ascending order. No device id, no
//! election id: switches that should hold the same share a blob.
//!
//! Its name is the digest of the state that it says ([`Desired::digest`]), and not of its bytes: who has compiled an edit
//! knows the name from what the edit has changed, and makes bytes only for those who ask for them.
//!
//! Decoding takes bytes from outside. It goes update by update, so that what it allocates at a time is bounded, and it
//! checks every entry against the program.

use outplane_compiler::program::Program;
use outplane_compiler::state::Desired;
use outplane_p4runtime::entry::Entry;
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::packet_replication_engine_entry::Type as Replication;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{Entity, Update};
use outplane_p4runtime::{EntryError, Schema};
use outplane_rmdp_core::object::MAX_BLOB;
use outplane_rmdp_core::task::Digest;
use prost::Message;
use thiserror::Error;

/// Most bytes of one update. The largest that the compiler makes is a multicast group with all ports of a switch.
const MAX_UPDATE: usize = 64 << 10;

/// `WriteRequest.updates`: field 4, length-delimited.
const UPDATES: u8 = 4 << 3 | 2;

/// The name of a desired state. What is known of its parts is not computed again.
pub fn name(desired: &Desired) -> Digest {
    Digest(desired.digest())
}

/// Why bytes are no blob.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlobError {
    /// More than is read.
    #[error("the blob has {bytes} bytes, and at most {MAX_BLOB} are read")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// It says another state than its name.
    #[error("the blob's state hashes to {found}: it is not what was stored under its name")]
    OtherState {
        /// What it hashes to.
        found: Digest,
    },
    /// It is not protobuf, or not a `WriteRequest` of updates alone.
    #[error("update {number} of the blob: {problem}")]
    Form {
        /// Its place, from 0.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// An update that the program cannot hold.
    #[error("update {number} of the blob does not fit the P4 program: {source}")]
    Entry {
        /// Its place, from 0.
        number: usize,
        /// What is wrong.
        source: EntryError,
    },
}

/// A desired state as bytes.
pub fn encode(desired: &Desired) -> Vec<u8> {
    let schema = Program::outplane().schema();
    let mut blob = Vec::new();
    let mut push = |kind: Type, entity: Entity| {
        blob.push(UPDATES);
        let update = Update { r#type: kind.into(), entity: Some(entity) };
        blob.extend_from_slice(&update.encode_length_delimited_to_vec());
    };
    for group in &desired.groups {
        push(Type::Insert, schema.multicast_group_to_proto(group).into());
    }
    for cell in &desired.meters {
        push(Type::Modify, schema.meter_cell_to_proto(cell).into());
    }
    for entry in &desired.entries {
        push(Type::Insert, schema.entry_to_proto(entry).into());
    }
    blob
}

/// The state that a blob of this name describes.
///
/// # Errors
/// As [`decode`]; [`BlobError::OtherState`].
pub fn decode_named(name: Digest, blob: &[u8]) -> Result<Desired, BlobError> {
    let desired = decode(blob)?;
    let found = self::name(&desired);
    if found == name { Ok(desired) } else { Err(BlobError::OtherState { found }) }
}

/// The state that a blob describes.
///
/// # Errors
/// [`BlobError`]: too many bytes, or no updates in ascending order that the program can hold.
pub fn decode(blob: &[u8]) -> Result<Desired, BlobError> {
    if blob.len() > MAX_BLOB {
        return Err(BlobError::TooLarge { bytes: blob.len() });
    }
    updates(blob)
}

fn updates(mut rest: &[u8]) -> Result<Desired, BlobError> {
    let schema = Program::outplane().schema();
    let mut desired = Desired::default();
    let mut entries = Vec::new();
    let mut number = 0;
    while let [tag, after @ ..] = rest {
        let form = |problem: &str| BlobError::Form { number, problem: problem.to_owned() };
        if *tag != UPDATES {
            return Err(form("a write request of updates alone has another field"));
        }
        rest = after;
        let length = prost::decode_length_delimiter(&mut rest).map_err(|error| form(&error.to_string()))?;
        if length > MAX_UPDATE {
            return Err(form(&format!("it has {length} bytes, and at most {MAX_UPDATE} are read")));
        }
        let (update, after) = rest.split_at_checked(length).ok_or_else(|| form("it is cut short"))?;
        rest = after;
        let update = Update::decode(update).map_err(|error| form(&error.to_string()))?;
        add(schema, &mut desired, &mut entries, update, number)?;
        number += 1;
    }
    Ok(Desired { entries: entries.into(), ..desired })
}

/// Takes in one update. Sorts come one after the other, and none is before its predecessor.
fn add(
    schema: &Schema,
    desired: &mut Desired,
    entries: &mut Vec<Entry>,
    update: Update,
    number: usize,
) -> Result<(), BlobError> {
    let form = |problem: &str| BlobError::Form { number, problem: problem.to_owned() };
    let wrong = |source| BlobError::Entry { number, source };
    let out_of_order = || form("updates are not in ascending order, groups before meters before entries");
    let kind = update.r#type();
    match update.entity.and_then(|entity| entity.entity) {
        Some(Kind::TableEntry(entry)) if kind == Type::Insert => {
            let entry = schema.entry_from_proto(&entry).map_err(wrong)?;
            if entries.last().is_some_and(|last| last.key >= entry.key) {
                return Err(out_of_order());
            }
            entries.push(entry);
        }
        Some(Kind::MeterEntry(cell)) if kind == Type::Modify => {
            let cell = schema.meter_cell_from_proto(&cell).map_err(wrong)?;
            let cell = cell.ok_or_else(|| form("a meter cell without rates"))?;
            let place = |cell: &outplane_p4runtime::entry::MeterCell| (cell.meter, cell.index);
            if !entries.is_empty() || desired.meters.last().is_some_and(|l| place(l) >= place(&cell)) {
                return Err(out_of_order());
            }
            desired.meters.push(cell);
        }
        Some(Kind::PacketReplicationEngineEntry(entry)) if kind == Type::Insert => {
            let Some(Replication::MulticastGroupEntry(group)) = entry.r#type else {
                return Err(form("a replication entry that is no multicast group"));
            };
            let group = schema.multicast_group_from_proto(&group).map_err(wrong)?;
            let later = !entries.is_empty() || !desired.meters.is_empty();
            if later || desired.groups.last().is_some_and(|last| last.id >= group.id) {
                return Err(out_of_order());
            }
            desired.groups.push(group);
        }
        _ => return Err(form("neither the insert of a group or entry nor the change of a meter cell")),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
