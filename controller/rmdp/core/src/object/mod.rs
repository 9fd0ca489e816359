//! What lies in the store: JSON, each object with `"schema": 1`.
//!
//! ```json
//! q/..  {"schema":1,"event":{"network":"9c2f..","source":"intent","kind":"generation","object":"","occurrence":7,
//!        "switch":"leaf1"},"work":{"do":"converge","generation":7,"desired":"<sha256>","entries":120},"by":"d1","at_ms":1767225600000}
//! c/..  {"schema":1,"owner":"c2","nonce":"c2/5/17","attempt":1,"lease_ms":3006,"source":"intent","occurrence":7,
//!        "switch":"leaf1","received":"d1","at_ms":1767225600004}
//! r/..  {"schema":1,"owner":"c2","nonce":"c2/5/17","attempt":1,"reason":"switch leaf1 cannot be reached","at_ms":..}
//! d/..  {"schema":1,"owner":"c2","nonce":"c2/5/17","attempt":1,"event":{..},
//!        "outcome":{"is":"done","report":"12 writes","steps":{"received_us":0,"claimed_us":9100,..}},"at_ms":..}
//! a/..  {"schema":1,"network":"9c2f..","number":3,"switch":"leaf1","generation":7,"desired":"9f..","entries":12,"why":"..",
//!        "by":"c1","at_ms":..}
//! k/..  {"schema":1,"node":"c1","switches":[{"switch":"leaf1","generation":7,"standing":"kept","verified_ms":..,..}],"at_ms":..}
//! p/..  {"schema":1,"network":"9c2f..","number":7,"switches":["leaf1","leaf2"],"author":"root@ops1","at_ms":..}
//! network  {"schema":1,"network":"9c2f0d5a1b3e4f60","by":"root@ops1","at_ms":..}
//! recovery/..  {"schema":1,"network":"51d0..","before":["9c2f0d5a1b3e4f60"],"above":7,"by":"root@ops1","at_ms":..}
//! i/..  {"schema":1,"network":"9c2f..","generation":7,"files":[{"name":"a.yaml","text":".."}],
//!        "desired":{"leaf1":{"sha256":"<sha256>","entries":120}},"as_of_ms":..,"author":"root@ops1","at_ms":..}
//! i/..  {"schema":2,"network":"9c2f..","generation":8,"as_of_ms":..,"author":"root@ops1","at_ms":..,"base":1,"parts":{
//!        "apply":{"is":"delta","sha256":"<sha256>","bytes":9120,"on":"<sha256>","packed":"<base64>"},..},"sum":"<sha256>"}
//! t/..  {"schema":1,"switch":"leaf1","number":9,"by":"c1","rules":[{"policy":"FilterPolicy/edge","rule":"web",
//!        "packets":67,"bytes":6700}],"entries":[[<hash>,60,6000],[<hash>,7,700]],"since_ms":..,"read_ms":..,"at_ms":..}
//! h/..  {"schema":1,"source":"intent","below":8,"by":"c1","at_ms":..}
//! ```
//!
//! Times (`at_ms`, Unix milliseconds) are for people: the shell fills them in, and nothing is decided by them. Objects
//! are read within bounds ([`MAX_OBJECT`], [`MAX_GENERATION`]); an unknown schema or field is an error that names the
//! key, and such an object is left alone.

mod audit;
mod decision;
mod log;
mod node;
mod packets;
mod parts;
mod task;
mod totals;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use audit::{AuditEntry, KeptSwitch, KeptSwitches, PrimaryOf, Standing};
pub use decision::{AttemptResult, Claim, Decision, Outcome, Steps};
pub use log::{DesiredState, Generation, Horizon, PolicyFile, ProbeEntry, StoredConfig};
pub use node::{Alert, AlertOf, HeardAt, Network, NodeStatus, PastAlert, Recovery, StreamEpoch};
pub use packets::{LoggedPacket, MAX_LINES, PacketBatch, PacketLine, batch_number};
pub use parts::{GenerationParts, MAX_PACKED, MAX_PART_COUNT, Part, StoredPart};
pub use task::QueuedTask;
pub use totals::{
    Added, EntryCount, EntryReading, MOST_ENTRIES, MOST_RULES, NO_RULE, RuleTotal, SwitchTotals,
};

use crate::key::{Key, switch_id};

/// The schema that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// The schema of generations in parts, beside which generations of [`SCHEMA`] are read.
pub const PARTS_SCHEMA: u32 = 2;

/// Most bytes of an object, but for `i/`, `p/`, `k/`, `t/` and `config/`.
pub const MAX_OBJECT: usize = 64 * 1024;

/// Most bytes of a generation of the intent: of the older schema as it lies in the store, in parts of what they say.
pub const MAX_GENERATION: usize = 64 * 1024 * 1024;

/// Most bytes of a generation in parts, as it lies in the store.
pub const MAX_PARTS: usize = 256 * 1024;

/// Most bytes of a version of the shared configuration.
pub const MAX_CONFIG: usize = 4 * 1024 * 1024;

/// Most bytes of a list of switches to be probed.
pub const MAX_PROBE: usize = 4 * 1024 * 1024;

/// Most bytes of what a controller tells of the switches that it keeps.
pub const MAX_KEPT: usize = 8 * 1024 * 1024;

/// Most bytes of what the rules of a switch have counted.
pub const MAX_TOTALS: usize = 4 * 1024 * 1024;

/// Most bytes of a desired state.
pub const MAX_BLOB: usize = 256 * 1024 * 1024;

/// Most characters of a reason or a report; longer ones are cut.
pub const MAX_TEXT: usize = 2000;

/// Most bytes that a reader should take from the object at a key.
pub fn limit(key: &Key) -> usize {
    match key {
        Key::Generation(_) | Key::Snapshot(..) => MAX_GENERATION,
        Key::Config(_) => MAX_CONFIG,
        Key::Probe(_) => MAX_PROBE,
        Key::Kept(_) => MAX_KEPT,
        Key::Totals(_) => MAX_TOTALS,
        Key::Blob(_) => MAX_BLOB,
        _ => MAX_OBJECT,
    }
}

/// Why an object of the store is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// More than [`limit`].
    #[error("{key} has {length} bytes, at most {limit} are taken; it is left alone")]
    TooLarge {
        /// Where.
        key: Key,
        /// Its size.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// Written by a newer program, or by a stranger.
    #[error(
        "{key} has schema {schema}, this program reads {}; it is left alone: is another version of outplane at work?",
        newest_schema(key)
    )]
    Schema {
        /// Where.
        key: Key,
        /// What it says.
        schema: u32,
    },
    /// Not the JSON that belongs there.
    #[error("{key} cannot be read: {reason}; it is left alone")]
    Malformed {
        /// Where.
        key: Key,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// What it rests on is not there, or not what it was.
    #[error("{key} cannot be put together: {reason}; it is left alone")]
    Incomplete {
        /// Where.
        key: Key,
        /// What is wrong, and what can be done.
        reason: String,
    },
    /// Readable, but not what belongs under this key.
    #[error("{key} holds {what}; it is left alone")]
    Misplaced {
        /// Where.
        key: Key,
        /// What it holds.
        what: String,
    },
}

/// An object of any kind but blobs, which are not JSON.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// `network`.
    Network(Network),
    /// `recovery/`.
    Recovery(Recovery),
    /// `i/`, whole: of the older schema, or put together.
    Generation(Generation),
    /// `i/`, in parts.
    Parts(GenerationParts),
    /// `p/`.
    Probe(ProbeEntry),
    /// `a/`.
    Audit(AuditEntry),
    /// `q/`.
    Task(QueuedTask),
    /// `c/`.
    Claim(Claim),
    /// `r/`.
    Result(AttemptResult),
    /// `d/`.
    Decision(Decision),
    /// `h/`.
    Horizon(Horizon),
    /// `config/`.
    Config(StoredConfig),
    /// `e/`.
    Epoch(StreamEpoch),
    /// `n/`.
    Status(NodeStatus),
    /// `k/`.
    Kept(KeptSwitches),
    /// `degraded/`.
    Degraded(Alert),
    /// `l/`.
    Packets(PacketBatch),
    /// `t/`.
    Totals(SwitchTotals),
}

#[derive(Deserialize)]
struct Header {
    schema: u32,
}

/// The schema beside an object's own fields.
#[derive(Serialize)]
struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    object: &'a T,
}

impl Object {
    /// The object at `key`, from its bytes. Its contents agree with the key.
    pub fn decode(key: &Key, bytes: &[u8]) -> Result<Self, ObjectError> {
        let limit = limit(key);
        if bytes.len() > limit {
            return Err(ObjectError::TooLarge { key: key.clone(), length: bytes.len(), limit });
        }
        let object = match key {
            Key::Network => Self::Network(read(key, bytes)?),
            Key::Recovery(_) => Self::Recovery(read(key, bytes)?),
            Key::Generation(_) => log::generation(key, bytes)?,
            Key::Probe(_) => Self::Probe(read(key, bytes)?),
            Key::Audit(..) => Self::Audit(read(key, bytes)?),
            Key::Queue(_) => Self::Task(read(key, bytes)?),
            Key::Claim(..) => Self::Claim(read(key, bytes)?),
            Key::Result(..) => Self::Result(read(key, bytes)?),
            Key::Decision(_) => Self::Decision(read(key, bytes)?),
            Key::Horizon(..) => Self::Horizon(read(key, bytes)?),
            Key::Config(_) => Self::Config(read(key, bytes)?),
            Key::Epoch(..) => Self::Epoch(read(key, bytes)?),
            Key::Status(_) => Self::Status(read(key, bytes)?),
            Key::Kept(_) => Self::Kept(read(key, bytes)?),
            Key::Degraded(_) => Self::Degraded(read(key, bytes)?),
            Key::Packets(..) => Self::Packets(read(key, bytes)?),
            Key::Totals(_) => Self::Totals(read(key, bytes)?),
            Key::Blob(_) | Key::Snapshot(..) => {
                let what = "what is no JSON".to_owned();
                return Err(ObjectError::Misplaced { key: key.clone(), what });
            }
        };
        object.belongs_at(key)?;
        Ok(object)
    }

    /// Its bytes: one line of JSON. The same object gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Network(object) => write(object),
            Self::Recovery(object) => write(object),
            Self::Generation(object) => write(object),
            Self::Parts(object) => object.encode(),
            Self::Probe(object) => write(object),
            Self::Audit(object) => write(object),
            Self::Task(object) => write(object),
            Self::Claim(object) => write(object),
            Self::Result(object) => write(object),
            Self::Decision(object) => write(object),
            Self::Horizon(object) => write(object),
            Self::Config(object) => write(object),
            Self::Epoch(object) => write(object),
            Self::Status(object) => write(object),
            Self::Kept(object) => write(object),
            Self::Degraded(object) => write(object),
            Self::Packets(object) => write(object),
            Self::Totals(object) => write(object),
        }
    }

    /// Sets the time for people, Unix milliseconds: the machines have no clock that people read, so the shell does it
    /// just before the object goes out.
    pub fn stamp(&mut self, unix_ms: u64) {
        let at = match self {
            Self::Network(object) => &mut object.at_ms,
            Self::Recovery(object) => &mut object.at_ms,
            Self::Generation(object) => &mut object.at_ms,
            Self::Parts(object) => &mut object.at_ms,
            Self::Probe(object) => &mut object.at_ms,
            Self::Audit(object) => &mut object.at_ms,
            Self::Task(object) => &mut object.at_ms,
            Self::Claim(object) => &mut object.at_ms,
            Self::Result(object) => &mut object.at_ms,
            Self::Decision(object) => &mut object.at_ms,
            Self::Horizon(object) => &mut object.at_ms,
            Self::Config(object) => &mut object.at_ms,
            Self::Epoch(object) => &mut object.at_ms,
            Self::Status(object) => &mut object.at_ms,
            Self::Kept(object) => &mut object.at_ms,
            Self::Degraded(object) => &mut object.at_ms,
            Self::Packets(object) => &mut object.at_ms,
            Self::Totals(object) => &mut object.at_ms,
        };
        *at = unix_ms;
    }

    fn belongs_at(&self, key: &Key) -> Result<(), ObjectError> {
        let (fits, what) = match (self, key) {
            (Self::Network(_), Key::Network) => (true, String::new()),
            (Self::Recovery(object), Key::Recovery(network)) => {
                (object.network == *network, format!("the recovery to network {}", object.network))
            }
            (Self::Generation(object), Key::Generation(number)) => {
                (object.generation == *number, format!("generation {}", object.generation))
            }
            (Self::Parts(object), Key::Generation(number)) => {
                (object.generation == *number, format!("generation {}", object.generation))
            }
            (Self::Probe(object), Key::Probe(number)) => match object.check() {
                Ok(()) => (object.number == *number, format!("probe {}", object.number)),
                Err(error) => (false, format!("a probe that is none: {error}")),
            },
            (Self::Audit(object), Key::Audit(number, switch)) => match object.task() {
                Ok(_) => (
                    object.number == *number && switch_id(&object.switch) == Some(*switch),
                    format!("audit {} of {}", object.number, object.switch),
                ),
                Err(error) => (false, format!("an audit that is none: {error}")),
            },
            (Self::Task(object), Key::Queue(id)) => match object.task() {
                Ok(task) => (task.id() == *id, format!("task {}", task.id())),
                Err(error) => (false, format!("a task that is none: {error}")),
            },
            (Self::Claim(object), Key::Claim(_, attempt)) => {
                (object.attempt == *attempt, format!("a claim of attempt {}", object.attempt))
            }
            (Self::Result(object), Key::Result(_, attempt)) => {
                (object.attempt == *attempt, format!("the result of attempt {}", object.attempt))
            }
            (Self::Decision(object), Key::Decision(id)) => match object.event.id() {
                Ok(of) => (of == *id, format!("the decision of {of}")),
                Err(error) => (false, format!("the decision of no task: {error}")),
            },
            (Self::Horizon(object), Key::Horizon(source, below)) => (
                object.source == *source && object.below == *below,
                format!("the horizon {} of {}", object.below, object.source),
            ),
            (Self::Config(object), Key::Config(version)) => {
                (object.version == *version, format!("version {}", object.version))
            }
            (Self::Epoch(object), Key::Epoch(node, epoch)) => (
                object.node == *node && object.epoch == *epoch,
                format!("epoch {} of {}", object.epoch, object.node),
            ),
            (Self::Status(object), Key::Status(node)) => {
                (object.node == *node, format!("the status of {}", object.node))
            }
            (Self::Kept(object), Key::Kept(node)) => {
                (object.node == *node, format!("the switches of {}", object.node))
            }
            (Self::Degraded(object), Key::Degraded(node)) => {
                (object.node == *node, format!("an alert about {}", object.node))
            }
            (Self::Packets(object), Key::Packets(node, number)) => (
                object.node == *node && object.number == *number,
                format!("batch {} of {}", object.number, object.node),
            ),
            (Self::Totals(object), Key::Totals(switch)) => {
                (switch_id(&object.switch) == Some(*switch), format!("the totals of {}", object.switch))
            }
            _ => (false, "an object of another kind".to_owned()),
        };
        if fits { Ok(()) } else { Err(ObjectError::Misplaced { key: key.clone(), what }) }
    }
}

/// The newest schema of what lies under a key.
fn newest_schema(key: &Key) -> u32 {
    if matches!(key, Key::Generation(_)) { PARTS_SCHEMA } else { SCHEMA }
}

fn malformed(key: &Key) -> impl Fn(serde_json::Error) -> ObjectError {
    move |error| ObjectError::Malformed { key: key.clone(), reason: error.to_string() }
}

fn schema(key: &Key, bytes: &[u8]) -> Result<u32, ObjectError> {
    Ok(serde_json::from_slice::<Header>(bytes).map_err(malformed(key))?.schema)
}

fn read<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, ObjectError> {
    let malformed = malformed(key);
    let schema = schema(key, bytes)?;
    if schema != SCHEMA {
        return Err(ObjectError::Schema { key: key.clone(), schema });
    }
    // Unknown fields are refused, so the schema is taken out first.
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(bytes).map_err(&malformed)?;
    fields.remove("schema");
    serde_json::from_value(serde_json::Value::Object(fields)).map_err(&malformed)
}

fn write<T: Serialize>(object: &T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { schema: SCHEMA, object })
        .expect("strings, numbers and maps with string keys")
}

/// A text for people, cut to [`MAX_TEXT`] characters.
pub fn text(from: &str) -> String {
    match from.char_indices().nth(MAX_TEXT) {
        Some((at, _)) => format!("{}..", &from[..at]),
        None => from.to_owned(),
    }
}

#[cfg(test)]
mod tests;
