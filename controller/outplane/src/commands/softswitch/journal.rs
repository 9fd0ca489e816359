//! The journal of a switch: a JSON line for everything that it was asked to change, by whom, and whether it did.
//!
//! It is a witness that shares nothing with the controllers: tests compare what controllers say with it.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use outplane_p4runtime::p4::v1::entity::Entity as Kind;
use outplane_p4runtime::p4::v1::packet_replication_engine_entry::Type as Engine;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{self as proto, Update};
use outplane_softswitch::server::{Event, Witness};
use outplane_softswitch::state::{Outcome, Refusal};
use prost::Message as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// Bytes that are kept of the digest over a request.
const DIGEST: usize = 16;
/// Bytes that are kept of the digests of an update, of which there may be many.
const SHORT_DIGEST: usize = 8;

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    /// `CLOCK_MONOTONIC`, one clock for all processes of a machine.
    monotonic_ns: u64,
    unix_ns: u64,
    device_id: u64,
    role: &'a str,
    election_id: Option<ElectionId>,
    /// Absent where a stream became primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum What<'a> {
    Primary,
    Write(Write<'a>),
    Pipeline { action: &'a str, result: String },
}

#[derive(Serialize)]
struct Write<'a> {
    /// `OK`, or the canonical code of the refusal of the whole request.
    result: String,
    message: &'a str,
    /// What was asked for.
    asked: usize,
    inserts: usize,
    modifies: usize,
    deletes: usize,
    refused: usize,
    /// Over what was done.
    digest: Option<String>,
    /// Each update that was done.
    changes: Vec<String>,
}

#[derive(Serialize)]
struct ElectionId {
    high: u64,
    low: u64,
}

impl From<u128> for ElectionId {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    fn from(id: u128) -> Self {
        Self { high: (id >> 64) as u64, low: id as u64 }
    }
}

/// A witness that appends to a file. When the file can't be written, `broken` is cancelled: a journal with holes is
/// worse than none.
pub(super) fn witness(path: &Path, device_id: u64, broken: CancellationToken) -> anyhow::Result<Witness> {
    let open = File::options().create(true).append(true).open(path);
    let file = Mutex::new(open.with_context(|| format!("cannot open the journal {}", path.display()))?);
    let path = path.to_owned();
    Ok(Witness::new(move |event| {
        // The time is taken under the lock, so that it grows from line to line.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = line(device_id, event);
        // One call for each line: whoever reads sees whole lines, and a kill loses none that were answered.
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            file.write_all(&bytes)
        });
        if let Err(error) = written {
            tracing::error!(journal = %path.display(), %error, "the journal can't be written");
            broken.cancel();
        }
    }))
}

fn line<'a>(device_id: u64, event: &'a Event<'_>) -> Line<'a> {
    let what = match event {
        Event::Primary { .. } => What::Primary,
        Event::Write { updates, outcome, .. } => What::Write(write(updates, *outcome)),
        Event::Pipeline { action, outcome, .. } => {
            What::Pipeline { action: action.as_str_name(), result: code(outcome.as_ref().err().copied()) }
        }
    };
    let (role, election_id, peer) = match event {
        Event::Primary { role, election_id } => (*role, Some(*election_id), None),
        Event::Write { by, .. } | Event::Pipeline { by, .. } => (&by.role, by.election_id, by.peer),
    };
    Line {
        schema: 1,
        monotonic_ns: now(ClockId::CLOCK_MONOTONIC),
        unix_ns: now(ClockId::CLOCK_REALTIME),
        device_id,
        role: &role.1,
        election_id: election_id.map(Into::into),
        peer,
        what,
    }
}

fn write<'a>(updates: &[Update], outcome: Result<&'a [Outcome<()>], &'a Refusal>) -> Write<'a> {
    let refusal = outcome.err();
    let outcomes = outcome.unwrap_or_default();
    let done =
        || updates.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(update, _)| update);
    let count = |kind: Type| done().filter(|update| update.r#type == i32::from(kind)).count();
    let changes: Vec<_> = done().map(change).collect();
    let digest = (!changes.is_empty()).then(|| {
        let mut digest = Sha256::new();
        done().for_each(|update| digest.update(update.encode_length_delimited_to_vec()));
        hex(&digest.finalize()[..DIGEST])
    });
    Write {
        result: code(refusal),
        message: refusal.map_or("", |refusal| &refusal.message),
        asked: updates.len(),
        inserts: count(Type::Insert),
        modifies: count(Type::Modify),
        deletes: count(Type::Delete),
        refused: updates.len() - changes.len(),
        digest,
        changes,
    }
}

/// What an update did: kind, what it did it to, and the whole of it, `modify:<key>:<entity>`. Two that have the whole in
/// common are the same write.
fn change(update: &Update) -> String {
    let kind = match Type::try_from(update.r#type).unwrap_or_default() {
        Type::Insert => "insert",
        Type::Modify => "modify",
        Type::Delete => "delete",
        Type::Unspecified => "unspecified",
    };
    let entity = update.entity.clone().unwrap_or_default();
    let whole = hex(&Sha256::digest(entity.encode_to_vec())[..SHORT_DIGEST]);
    let key = hex(&Sha256::digest(key(entity).encode_to_vec())[..SHORT_DIGEST]);
    format!("{kind}:{key}:{whole}")
}

/// An entity without what a write can change: what identifies it.
fn key(entity: proto::Entity) -> proto::Entity {
    let entry_key = |entry: proto::TableEntry| proto::TableEntry {
        table_id: entry.table_id,
        r#match: entry.r#match,
        priority: entry.priority,
        is_default_action: entry.is_default_action,
        ..proto::TableEntry::default()
    };
    let kind = entity.entity.map(|entity| match entity {
        Kind::TableEntry(entry) => Kind::TableEntry(entry_key(entry)),
        Kind::DirectCounterEntry(entry) => Kind::DirectCounterEntry(proto::DirectCounterEntry {
            table_entry: entry.table_entry.map(entry_key),
            data: None,
        }),
        Kind::DirectMeterEntry(entry) => Kind::DirectMeterEntry(proto::DirectMeterEntry {
            table_entry: entry.table_entry.map(entry_key),
            ..proto::DirectMeterEntry::default()
        }),
        Kind::CounterEntry(entry) => Kind::CounterEntry(proto::CounterEntry { data: None, ..entry }),
        Kind::MeterEntry(entry) => {
            Kind::MeterEntry(proto::MeterEntry { config: None, counter_data: None, ..entry })
        }
        Kind::RegisterEntry(entry) => Kind::RegisterEntry(proto::RegisterEntry { data: None, ..entry }),
        Kind::PacketReplicationEngineEntry(entry) => {
            let r#type = entry.r#type.map(|engine| match engine {
                Engine::MulticastGroupEntry(group) => {
                    Engine::MulticastGroupEntry(proto::MulticastGroupEntry {
                        multicast_group_id: group.multicast_group_id,
                        ..proto::MulticastGroupEntry::default()
                    })
                }
                Engine::CloneSessionEntry(session) => Engine::CloneSessionEntry(proto::CloneSessionEntry {
                    session_id: session.session_id,
                    ..proto::CloneSessionEntry::default()
                }),
            });
            Kind::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type })
        }
        Kind::ActionProfileMember(member) => Kind::ActionProfileMember(proto::ActionProfileMember {
            action_profile_id: member.action_profile_id,
            member_id: member.member_id,
            ..proto::ActionProfileMember::default()
        }),
        Kind::ActionProfileGroup(group) => Kind::ActionProfileGroup(proto::ActionProfileGroup {
            action_profile_id: group.action_profile_id,
            group_id: group.group_id,
            ..proto::ActionProfileGroup::default()
        }),
        Kind::ValueSetEntry(entry) => Kind::ValueSetEntry(proto::ValueSetEntry {
            value_set_id: entry.value_set_id,
            ..proto::ValueSetEntry::default()
        }),
        Kind::DigestEntry(entry) => Kind::DigestEntry(proto::DigestEntry {
            digest_id: entry.digest_id,
            ..proto::DigestEntry::default()
        }),
        Kind::ExternEntry(entry) => Kind::ExternEntry(proto::ExternEntry { entry: None, ..entry }),
    });
    proto::Entity { entity: kind }
}

/// As the standard spells it: `PERMISSION_DENIED`.
fn code(refusal: Option<&Refusal>) -> String {
    let Some(refusal) = refusal else { return "OK".to_owned() };
    let name = format!("{:?}", refusal.code);
    let mut spelled = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            spelled.push('_');
        }
        spelled.push(letter.to_ascii_uppercase());
    }
    spelled
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Nanoseconds on a clock, or 0 where the kernel doesn't have it.
fn now(clock: ClockId) -> u64 {
    let since = clock_gettime(clock).map(std::time::Duration::from).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
