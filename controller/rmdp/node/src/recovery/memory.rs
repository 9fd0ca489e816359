//! What a node remembers of its network: it stands in its `/status`, and in a file if its own file names one
//! (`[state] memory`), so that a node that starts again knows what was before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use outplane_rmdp_core::task::NetworkId;
use serde::{Deserialize, Serialize};

/// No generation, epoch or start has a higher number: what says so is wrong, and nothing could be put above it.
const HIGHEST: u64 = 1 << 48;
/// Names of nodes and commands that have epochs, in one memory.
const MOST_NAMES: usize = 4096;

/// Most bytes of such a file, and of a node's `/status`.
pub(crate) const MOST: u64 = 16 << 20;

/// Most names of switches that are remembered.
const MOST_SWITCHES: usize = 10_000;

/// Most earlier networks; those with the lowest generations give way.
const MOST_EARLIER: usize = 8;

/// What a node has seen: numbers only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its name.
    pub node: String,
    /// The network that it is of, 16 hexadecimal digits.
    pub network: String,
    /// The newest generation of the intent that it has read.
    pub generation: u64,
    /// The newest version of the shared configuration that it has read.
    pub config: u64,
    /// The newest stream epoch of each sender, by name, its own among them.
    pub epochs: BTreeMap<String, u64>,
    /// The switches of the newest generation, as far as it has compiled one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub switches: BTreeSet<String>,
    /// Networks that it was of earlier, and the newest generation that it knew there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, u64>,
}

impl Memory {
    /// The network.
    pub fn network(&self) -> Option<NetworkId> {
        self.network.parse().ok().filter(|network: &NetworkId| !network.is_none())
    }

    /// Of a start: nothing is known yet but who it is.
    pub(crate) fn of_start(node: &str, network: NetworkId, epoch: u64) -> Self {
        let epochs = [(node.to_owned(), epoch)].into();
        Self { node: node.to_owned(), network: network.to_string(), epochs, ..Self::default() }
    }

    /// A sender's start.
    pub(crate) fn heard(&mut self, sender: &str, epoch: u64) {
        match self.epochs.get_mut(sender) {
            Some(known) => *known = epoch.max(*known),
            None => {
                self.epochs.insert(sender.to_owned(), epoch);
            }
        }
    }

    /// The switches of the newest generation.
    pub(crate) fn keeps(&mut self, switches: impl Iterator<Item = String>) {
        self.switches = switches.take(MOST_SWITCHES).collect();
    }

    /// What this node knew before. Of another network only its name and its newest generation.
    pub(crate) fn join(&mut self, other: &Self) {
        self.earlier.clone_from(&other.earlier);
        if self.network != other.network {
            self.earlier.insert(other.network.clone(), other.generation);
            self.earlier.remove(&self.network);
            while self.earlier.len() > MOST_EARLIER
                && let Some(lowest) = self.earlier.iter().min_by_key(|(_, newest)| **newest)
            {
                let lowest = lowest.0.clone();
                self.earlier.remove(&lowest);
            }
            return;
        }
        self.generation = self.generation.max(other.generation);
        self.config = self.config.max(other.config);
        for (sender, epoch) in &other.epochs {
            self.heard(sender, *epoch);
        }
        if self.switches.is_empty() {
            self.switches.clone_from(&other.switches);
        }
    }

    /// Reads a memory: a file that [`Self::write`] wrote, or a copy of a node's `/status`.
    ///
    /// # Errors
    /// In words, with the cure.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let mut text = String::new();
        let file = File::open(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let read = file.take(MOST).read_to_string(&mut text);
        read.map_err(|error| format!("{name} cannot be read: {error}"))?;
        Self::parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    /// From JSON, by itself or as `remembers` of a node's `/status`.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        let own = match value.get("remembers") {
            Some(remembers) => remembers.clone(),
            None if value.get("role").is_some() => {
                return Err(
                    "it does not say what it remembers: it has not been up yet, or is of an older version"
                        .to_owned(),
                );
            }
            None => value,
        };
        let memory: Self =
            serde_json::from_value(own).map_err(|error| format!("no memory of a node: {error}"))?;
        if memory.network().is_none() {
            return Err(format!("`{}` is no network", memory.network));
        }
        let numbers = memory.earlier.values().chain(memory.epochs.values()).chain([&memory.generation]);
        if let Some(number) = numbers.copied().find(|number| *number > HIGHEST) {
            return Err(format!("it tells of number {number}, which nobody has ever come to"));
        }
        if memory.epochs.len() > MOST_NAMES {
            return Err(format!("it tells of {} nodes; at most {MOST_NAMES} are", memory.epochs.len()));
        }
        Ok(memory)
    }

    /// Writes it where it is found whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_comes_back_from_its_file_and_from_a_status() {
        let mut memory = Memory::of_start("c1", NetworkId::new(0x1abe), 3);
        memory.heard("d1", 2);
        memory.heard("d1", 1);
        memory.generation = 7;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c1.json");
        memory.write(&path).unwrap();
        assert_eq!(Memory::read(&path).unwrap(), memory);
        assert_eq!(memory.epochs["d1"], 2);
        let status = serde_json::json!({"node": "c1", "role": "controller", "remembers": memory});
        assert_eq!(Memory::parse(&status.to_string()).unwrap(), memory);
        let older = Memory::parse(r#"{"node": "c1", "role": "controller"}"#).unwrap_err();
        assert!(older.contains("older version"), "{older}");
        let wild = Memory { generation: u64::MAX, ..memory.clone() };
        let wild = Memory::parse(&serde_json::to_string(&wild).unwrap()).unwrap_err();
        assert!(wild.contains("nobody has ever come to"), "{wild}");
        for bad in ["", "{", "[]", r#"{"node":"c1","network":"0","generation":1,"config":1,"epochs":{}}"#] {
            Memory::parse(bad).unwrap_err();
        }
        assert!(Memory::read(&folder.path().join("none")).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn of_another_network_nothing_is_taken_over() {
        let mut memory = Memory::of_start("c1", NetworkId::new(1), 3);
        let other = Memory { generation: 9, ..Memory::of_start("c1", NetworkId::new(2), 8) };
        memory.join(&other);
        assert_eq!((memory.generation, memory.epochs["c1"]), (0, 3));
        assert_eq!(memory.earlier, [(other.network.clone(), 9)].into());
        memory.join(&Memory { network: memory.network.clone(), ..other });
        assert_eq!((memory.generation, memory.epochs["c1"]), (9, 8));
    }
}
