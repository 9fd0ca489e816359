use serde::{Deserialize, Serialize};

/// `i/<generation>`: the whole intent, as files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// The policy files, in the order that they are read in.
    pub files: Vec<PolicyFile>,
    /// Rules that have expired by then are left out: Unix milliseconds. Every distributor takes this time, not its own.
    pub as_of_ms: i64,
    /// Who appended it: user and host, as far as known.
    pub author: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// A policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// As it was named on the command line: messages name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// `config/<version>`: the shared configuration as it was written, comments and all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredConfig {
    /// Its number.
    pub version: u64,
    /// TOML: [`crate::config::SharedConfig`].
    pub toml: String,
    /// Who set it.
    pub author: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// `h/<source>/<below>`: occurrences of this source below this one are closed: nobody claims them any more. The highest
/// one counts, so that raising it needs no order among those who raise it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Horizon {
    /// Whose occurrences.
    pub source: String,
    /// The first one that is still open.
    pub below: u64,
    /// Who raised it.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}
