use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{GenerationParts, MAX_PARTS, Object, ObjectError, PARTS_SCHEMA, malformed, read, schema};
use crate::key::Key;
use crate::task::{BadEvent, Digest, Event, NetworkId, Task, Work, network_text};

/// A generation of the intent as a whole: put together from what lies under `i/` and `i/s/`, or, of the older schema, as
/// it lies under `i/<generation>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// The network whose intent it is.
    #[serde(with = "network_text")]
    pub network: NetworkId,
    /// Its number.
    pub generation: u64,
    /// The policy files that were applied, in the order that they are read in.
    pub files: Vec<PolicyFile>,
    /// What live sources say, by their names, as files too: they are read after those that were applied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Vec<PolicyFile>>,
    /// What the compiler has numbered: whoever compiles goes on from it. None: it numbers from scratch. Generations of the
    /// older schema have none.
    #[serde(skip)]
    pub numbers: Option<Arc<[u8]>>,
    /// What it compiles to, by switch, as whoever appended it found. A task of it that says otherwise is not believed.
    pub desired: BTreeMap<String, DesiredState>,
    /// Switches that should hold what an earlier generation said, and what each one between said: the first of these
    /// generations, whose task is the switch's. The others have a task of this generation.
    #[serde(skip)]
    pub since: BTreeMap<String, u64>,
    /// Rules that have expired by then are left out: Unix milliseconds. Every distributor takes this time, not its own.
    pub as_of_ms: i64,
    /// Who appended it: user and host, as far as known.
    pub author: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

/// What a switch should hold: a part of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredState {
    /// The name of its blob.
    pub sha256: Digest,
    /// How many entries it has.
    pub entries: u32,
    /// A hash of how the switch is reached: one that is elsewhere has everything to be written. Generations of the older
    /// schema have none.
    #[serde(skip)]
    pub place: u64,
}

impl DesiredState {
    /// Whether a switch should hold the same by another one, wherever it is.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.sha256, self.entries) == (other.sha256, other.entries)
    }
}

/// What lies under `i/<generation>`, of either schema.
pub(super) fn generation(key: &Key, bytes: &[u8]) -> Result<Object, ObjectError> {
    if schema(key, bytes)? != PARTS_SCHEMA {
        return Ok(Object::Generation(read(key, bytes)?));
    }
    if bytes.len() > MAX_PARTS {
        return Err(ObjectError::TooLarge { key: key.clone(), length: bytes.len(), limit: MAX_PARTS });
    }
    let parts: GenerationParts = serde_json::from_slice(bytes).map_err(malformed(key))?;
    let refused = |reason: &str| ObjectError::Malformed { key: key.clone(), reason: reason.to_owned() };
    parts.check().map_err(|reason| refused(&reason))?;
    // Only as it is written: so that no byte of it is another, its sum included.
    if parts.encode() != bytes {
        return Err(refused("its bytes are not those that were written"));
    }
    Ok(Object::Parts(parts))
}

impl Generation {
    /// All files that say something, in the order that they are read in.
    pub fn inputs(&self) -> impl Iterator<Item = &PolicyFile> {
        self.files.iter().chain(self.sources.values().flatten())
    }

    /// What was applied alone: without what live sources say.
    #[must_use]
    pub fn applied(self) -> Self {
        Self { sources: BTreeMap::new(), ..self }
    }

    /// What it says of itself, without what it was compiled from, which may be large.
    #[must_use]
    pub fn without_files(&self) -> Self {
        Self {
            files: Vec::new(),
            sources: BTreeMap::new(),
            numbers: None,
            desired: self.desired.clone(),
            since: self.since.clone(),
            author: self.author.clone(),
            ..*self
        }
    }

    /// Whether nothing at all is said, so that nothing is wanted.
    pub fn says_nothing(&self) -> bool {
        self.inputs().next().is_none()
    }

    /// The generation whose task brings a switch to what it should hold by this one.
    pub fn since(&self, switch: &str) -> u64 {
        self.since.get(switch).copied().unwrap_or(self.generation)
    }

    /// The same for each switch.
    pub fn all_since(&self) -> BTreeMap<String, u64> {
        self.desired.keys().map(|switch| (switch.clone(), self.since(switch))).collect()
    }

    /// The task that brings a switch to what it should hold, if it should hold anything: the same on every node, and of the
    /// generation that has begun to say so.
    pub fn task(&self, switch: &str) -> Option<Task> {
        let DesiredState { sha256, entries, .. } = *self.desired.get(switch)?;
        let generation = self.since(switch);
        let work = Work::Converge { generation, desired: sha256, entries };
        Task::new(Event::generation(self.network, generation, switch), work).ok()
    }

    /// Keeps of `since` what the generation before bears out: only what is the same there, under the same task, needs no
    /// task of its own. Everything else has one.
    pub fn follow(&mut self, before: Option<&Self>) {
        let before = before.filter(|before| {
            before.network == self.network && before.generation.checked_add(1) == Some(self.generation)
        });
        let Self { desired, since, .. } = self;
        since.retain(|switch, since| {
            before.is_some_and(|before| {
                let said = before.desired.get(switch);
                said.is_some() && said == desired.get(switch) && before.since(switch) == *since
            })
        });
    }

    /// A switch of which this generation says another thing than an earlier one does, though its task should be that one's,
    /// or one's before it.
    pub fn contradicts(&self, earlier: &Self) -> Option<&str> {
        let earlier = Some(earlier).filter(|earlier| earlier.network == self.network)?;
        let is_wrong = |switch: &str, since: u64| {
            let said = self.desired.get(switch).zip(earlier.desired.get(switch));
            let same = said.is_some_and(|(state, earlier)| state.is_same(earlier));
            since <= earlier.generation && (since != earlier.since(switch) || !same)
        };
        self.since.iter().find(|(switch, since)| is_wrong(switch, **since)).map(|(switch, _)| switch.as_str())
    }
}

/// `p/<number>`: switches that somebody wants to be probed, each by one task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeEntry {
    /// The network whose log it is in.
    #[serde(with = "network_text")]
    pub network: NetworkId,
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
        self.switches.iter().try_for_each(|switch| Event::probe(self.network, self.number, switch).check())
    }

    /// A task for each switch: the same on every distributor. A switch that is named twice has one.
    pub fn tasks(&self) -> Result<Vec<Task>, BadEvent> {
        let switches: std::collections::BTreeSet<_> = self.switches.iter().collect();
        let task = |switch: &String| Task::new(Event::probe(self.network, self.number, switch), Work::Ask {});
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
