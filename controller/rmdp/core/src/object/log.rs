use serde::{Deserialize, Serialize};

use crate::task::{BadEvent, Event, Task, Work};

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

/// `p/<number>`: switches that somebody wants to be probed, each by one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeEntry {
    /// Its number: the occurrence of its tasks' events.
    pub number: u64,
    /// Their names.
    pub switches: Vec<String>,
    /// Who asked: user and host, as far as known.
    pub author: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

impl ProbeEntry {
    /// Whether each switch can have a task.
    pub fn check(&self) -> Result<(), BadEvent> {
        self.switches.iter().try_for_each(|switch| Event::probe(self.number, switch).check())
    }

    /// A task for each switch: the same on every distributor. A switch that is named twice has one.
    pub fn tasks(&self) -> Result<Vec<Task>, BadEvent> {
        let switches: std::collections::BTreeSet<_> = self.switches.iter().collect();
        let task = |switch: &String| Task::new(Event::probe(self.number, switch), Work::Probe {});
        switches.into_iter().map(task).collect()
    }
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
