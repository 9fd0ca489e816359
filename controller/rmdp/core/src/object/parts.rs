//! Generations in parts: what `i/<generation>` says of each part, and how it is told that it is what was written. What the
//! parts are packed in is the shell's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_GENERATION, PARTS_SCHEMA};
use crate::chain::{block, is_base};
use crate::key::check_name;
use crate::task::{Digest, NetworkId, network_text};

/// Most bytes of a delta, or of a part as a whole, within a generation: packed. What has more is a snapshot beside it.
pub const MAX_PACKED: usize = 16 * 1024;

/// Most parts of a generation.
pub const MAX_PART_COUNT: usize = 64;

/// A part of a generation: nobody but whose it is writes another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Part {
    /// `apply`: the policy files that were applied.
    Apply,
    /// `desired`: what all of it compiles to, by switch.
    Desired,
    /// `live/<source>`: what a live source says.
    Live(String),
    /// `numbers`: what the compiler has numbered.
    Numbers,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply => f.write_str("apply"),
            Self::Desired => f.write_str("desired"),
            Self::Live(source) => write!(f, "live/{source}"),
            Self::Numbers => f.write_str("numbers"),
        }
    }
}

impl From<Part> for String {
    fn from(part: Part) -> Self {
        part.to_string()
    }
}

impl TryFrom<String> for Part {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let live = text.strip_prefix("live/").filter(|source| check_name(source).is_ok());
        match (text.as_str(), live) {
            ("apply", _) => Ok(Self::Apply),
            ("desired", _) => Ok(Self::Desired),
            ("numbers", _) => Ok(Self::Numbers),
            (_, Some(source)) => Ok(Self::Live(source.to_owned())),
            _ => Err(format!("`{text}` is no part of a generation")),
        }
    }
}

/// What a generation says of one of its parts: the content's SHA-256 and length, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum StoredPart {
    /// The same as in the generation before.
    Same {
        /// Of the content.
        sha256: Digest,
        /// Of the content.
        bytes: u64,
    },
    /// What differs from the generation before.
    Delta {
        /// Of the content.
        sha256: Digest,
        /// Of the content.
        bytes: u64,
        /// The SHA-256 of what it differs from.
        on: Digest,
        /// Packed, in base64.
        packed: String,
    },
    /// All of it.
    Whole {
        /// Of the content.
        sha256: Digest,
        /// Of the content.
        bytes: u64,
        /// Packed, in base64.
        packed: String,
    },
    /// All of it, under `i/s/<generation>/<at>`.
    Snapshot {
        /// Of the content.
        sha256: Digest,
        /// Of the content.
        bytes: u64,
        /// The SHA-256 of what lies there.
        at: Digest,
    },
}

impl StoredPart {
    /// The SHA-256 and the length of its content.
    pub fn content(&self) -> (Digest, u64) {
        let (Self::Same { sha256, bytes }
        | Self::Delta { sha256, bytes, .. }
        | Self::Whole { sha256, bytes, .. }
        | Self::Snapshot { sha256, bytes, .. }) = self;
        (*sha256, *bytes)
    }

    /// Whether the generation before is needed to read it.
    pub fn rests(&self) -> bool {
        matches!(self, Self::Same { .. } | Self::Delta { .. })
    }
}

/// `i/<generation>`: a generation of the intent, in parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "Written")]
pub struct GenerationParts {
    /// The network whose intent it is.
    pub network: NetworkId,
    /// Its number.
    pub generation: u64,
    /// Rules that have expired by then are left out: Unix milliseconds. Every distributor takes this time, not its own.
    pub as_of_ms: i64,
    /// Who appended it: user and host, as far as known.
    pub author: String,
    /// When, Unix milliseconds, for people.
    pub at_ms: u64,
    /// All generations from this one on are needed, at most, to read this one; itself where none is.
    pub base: u64,
    /// The parts that it has.
    pub parts: BTreeMap<Part, StoredPart>,
}

/// The same with its schema and its sum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: u32,
    #[serde(with = "network_text")]
    network: NetworkId,
    generation: u64,
    as_of_ms: i64,
    author: String,
    at_ms: u64,
    base: u64,
    parts: BTreeMap<Part, StoredPart>,
    /// The SHA-256 of all of it with zeros in this place.
    sum: Digest,
}

impl From<Written> for GenerationParts {
    fn from(written: Written) -> Self {
        let Written { network, generation, as_of_ms, author, at_ms, base, parts, .. } = written;
        Self { network, generation, as_of_ms, author, at_ms, base, parts }
    }
}

impl GenerationParts {
    /// Its bytes: one line of JSON, with its sum.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { network, generation, as_of_ms, author, at_ms, base, parts } = self.clone();
        let (schema, sum) = (PARTS_SCHEMA, Digest([0; 32]));
        let mut written = Written { schema, network, generation, as_of_ms, author, at_ms, base, parts, sum };
        let json = |written: &Written| serde_json::to_vec(written).expect("strings, numbers and maps");
        written.sum = Digest::of(&json(&written));
        json(&written)
    }

    /// Why it cannot be one, if that is so: whoever appends keeps to this.
    /// Whoever appends asks first.
    pub fn check(&self) -> Result<(), String> {
        let Self { generation, base, .. } = *self;
        if base > generation || base < block(generation) {
            return Err(format!("generation {generation} does not rest on generation {base}"));
        }
        if self.parts.len() > MAX_PART_COUNT {
            return Err(format!("it has {} parts, at most {MAX_PART_COUNT} are taken", self.parts.len()));
        }
        let is_bad = |part: &&Part| matches!(part, Part::Live(source) if check_name(source).is_err());
        if let Some(bad) = self.parts.keys().find(is_bad) {
            return Err(format!("`{bad}` is no part of a generation"));
        }
        let rests = self.parts.iter().find(|(_, stored)| stored.rests());
        if let Some((part, _)) = rests.filter(|_| base == generation || is_base(generation)) {
            return Err(format!("part {part} rests on the generation before, which this one may not"));
        }
        let bytes = self.parts.values().map(|stored| u128::from(stored.content().1)).sum::<u128>();
        if bytes > MAX_GENERATION as u128 {
            return Err(format!("its parts have {bytes} bytes, at most {MAX_GENERATION} are taken"));
        }
        Ok(())
    }
}
