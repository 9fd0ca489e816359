//! What a node remembers of its network: it stands in its `/status`, and in a file if its own file names one
//! (`[state] memory`), so that a node that starts again knows what was before.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use outplane_rmdp_core::chain::HIGHEST;
use outplane_rmdp_core::config::{MAX_MEMBERS, SharedConfig};
use outplane_rmdp_core::task::NetworkId;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::lines::is_line;

/// Names of nodes and commands that have epochs, in one memory.
const MOST_NAMES: usize = 4096;

/// Most bytes of such a file, and of a node's `/status`: both are bounded by what is counted below.
pub(crate) const MOST: u64 = 4 << 20;

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
    /// The members of the newest shared configuration that it has read, and where their pages are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, Option<SocketAddr>>,
    /// Networks that it was of earlier, and what it knew there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, Earlier>,
}

/// What a node has seen in a network: the newest numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "EarlierForm")]
pub struct Earlier {
    /// Generation of the intent.
    pub generation: u64,
    /// Version of the shared configuration.
    pub config: u64,
    /// The node's own stream epoch.
    pub epoch: u64,
}

/// As it may be written.
#[derive(Deserialize)]
#[serde(untagged)]
enum EarlierForm {
    /// The generation alone.
    Generation(u64),
    Whole {
        generation: u64,
        config: u64,
        epoch: u64,
    },
}

impl From<EarlierForm> for Earlier {
    fn from(form: EarlierForm) -> Self {
        match form {
            EarlierForm::Generation(generation) => Self { generation, ..Self::default() },
            EarlierForm::Whole { generation, config, epoch } => Self { generation, config, epoch },
        }
    }
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

    /// The members of a shared configuration, the newest one that was read.
    pub(crate) fn follows(&mut self, config: &SharedConfig) {
        self.members = config.members.iter().map(|member| (member.name.clone(), member.http)).collect();
    }

    /// What it has seen in a network, if it was ever of it: of the one that it is of, or of an earlier one.
    pub(crate) fn seen_in(&self, network: NetworkId) -> Option<Earlier> {
        let network = network.to_string();
        if network == self.network { Some(self.seen()) } else { self.earlier.get(&network).copied() }
    }

    fn seen(&self) -> Earlier {
        let epoch = self.epochs.get(&self.node).copied().unwrap_or(0);
        Earlier { generation: self.generation, config: self.config, epoch }
    }

    /// All networks that it was ever of, and the newest generations that it knew there.
    pub(crate) fn networks(&self) -> impl Iterator<Item = (&str, u64)> {
        let earlier = self.earlier.iter().map(|(network, seen)| (network.as_str(), seen.generation));
        earlier.chain([(self.network.as_str(), self.generation)])
    }

    /// What this node knew before. Of another network only its name and the newest numbers there; they are known again
    /// when it comes back.
    pub(crate) fn join(&mut self, other: &Self) {
        self.earlier.clone_from(&other.earlier);
        if self.network != other.network {
            self.earlier.insert(other.network.clone(), other.seen());
            if let Some(seen) = self.earlier.remove(&self.network) {
                self.generation = self.generation.max(seen.generation);
                self.config = self.config.max(seen.config);
                let node = self.node.clone();
                self.heard(&node, seen.epoch);
            }
            while self.earlier.len() > MOST_EARLIER
                && let Some(lowest) = self.earlier.iter().min_by_key(|(_, seen)| seen.generation)
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
        if self.members.is_empty() {
            self.members.clone_from(&other.members);
        }
    }

    /// Reads a memory: a file that [`Self::write`] wrote, or a copy of a node's `/status`.
    ///
    /// # Errors
    /// In words, with the cure.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let unread = |error: io::Error| format!("{name} cannot be read: {error}");
        // A pipe would be waited for, a device might never end.
        let open = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        let file = open.map_err(unread)?;
        if !file.metadata().map_err(unread)?.is_file() {
            return Err(format!("{name} cannot be read: it is no regular file"));
        }
        let mut text = String::new();
        file.take(MOST + 1).read_to_string(&mut text).map_err(unread)?;
        if text.len() as u64 > MOST {
            return Err(format!("{name} has more than {MOST} bytes: it is no memory of a node"));
        }
        Self::parse(&text).map_err(|error| format!("{name}: {error}"))
    }

    /// From JSON, by itself or as `remembers` of a node's `/status`.
    ///
    /// # Errors
    /// In words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |error| format!("no memory of a node: {error}");
        // What else stands in a page is passed over, and never in memory.
        let page: Page = serde_json::from_str(text).map_err(wrong)?;
        let memory = match page {
            Page { remembers: Some(remembers), .. } => remembers,
            Page { role: Some(_), .. } => {
                return Err(
                    "it does not say what it remembers: it has not been up yet, or is of an older version"
                        .to_owned(),
                );
            }
            Page { .. } => serde_json::from_str(text).map_err(wrong)?,
        };
        if memory.network().is_none() {
            return Err(format!("{:?} is no network", memory.network));
        }
        let names = memory.epochs.keys().chain(memory.members.keys()).chain(&memory.switches);
        if let Some(name) = names.chain([&memory.node]).find(|name| !is_line(name)) {
            return Err(format!("it tells of {name:?}, which is nobody's name"));
        }
        let seen = memory.earlier.values().copied().chain([memory.seen()]);
        let seen = seen.flat_map(|seen| [seen.generation, seen.config, seen.epoch]);
        if let Some(number) = seen.chain(memory.epochs.values().copied()).find(|number| *number > HIGHEST) {
            return Err(format!("it tells of number {number}, which nobody has ever come to"));
        }
        for (of, bound, what) in [
            (memory.epochs.len(), MOST_NAMES, "nodes"),
            (memory.members.len(), MAX_MEMBERS, "members"),
            (memory.switches.len(), MOST_SWITCHES, "switches"),
            // One more while it is asked from another network than it was of.
            (memory.earlier.len(), MOST_EARLIER + 1, "earlier networks"),
        ] {
            if of > bound {
                return Err(format!("it tells of {of} {what}; at most {bound} are"));
            }
        }
        Ok(memory)
    }

    /// Writes it where it is found whole or not at all.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        // Of its own, whatever the names of others beside it are.
        let mut beside = OsString::from(".");
        beside.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        beside.push(".new");
        let beside = path.with_file_name(beside);
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }
}

/// A node's `/status`, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    remembers: Option<Memory>,
    #[serde(default)]
    role: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use proptest::prelude::*;

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
        let forged = Memory { members: [("x\u{1b}[2J\nSwitches".to_owned(), None)].into(), ..memory.clone() };
        let forged = Memory::parse(&serde_json::to_string(&forged).unwrap()).unwrap_err();
        assert!(forged.contains(r"x\u{1b}[2J\nSwitches") && !forged.contains('\n'), "{forged}");
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
        let seen = Earlier { generation: 9, config: 0, epoch: 8 };
        assert_eq!(memory.earlier, [(other.network.clone(), seen)].into());
        memory.join(&Memory { network: memory.network.clone(), ..other });
        assert_eq!((memory.generation, memory.epochs["c1"]), (9, 8));
    }

    /// An endpoint led to another store for a while.
    #[test]
    fn a_detour_makes_nobody_forget() {
        let (home, away) = (NetworkId::new(1), NetworkId::new(2));
        let before = Memory { generation: 9, config: 4, ..Memory::of_start("c1", home, 3) };
        let mut detour = Memory::of_start("c1", away, 1);
        detour.join(&before);
        assert_eq!(detour.seen_in(home), Some(Earlier { generation: 9, config: 4, epoch: 3 }));
        let back = Memory::parse(&serde_json::to_string(&detour).unwrap()).unwrap();
        let mut again = Memory::of_start("c1", home, 2);
        again.join(&back);
        assert_eq!((again.generation, again.config, again.epochs["c1"]), (9, 4, 3));
        assert_eq!(again.networks().map(|(_, newest)| newest).collect::<Vec<_>>(), [0, 9]);
        // As it was written once.
        let older = r#"{"node":"c1","network":"0000000000000001","generation":1,"config":1,"epochs":{},"earlier":{"0000000000000002":7}}"#;
        assert_eq!(Memory::parse(older).unwrap().seen_in(away).unwrap().generation, 7);
    }

    #[test]
    fn files_of_nodes_in_one_folder_are_not_written_over_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let written = folder.path().join("c1.new");
        Memory::of_start("new", NetworkId::new(1), 1).write(&written).unwrap();
        Memory::of_start("c1", NetworkId::new(1), 1).write(&folder.path().join("c1")).unwrap();
        assert_eq!(Memory::read(&written).unwrap().node, "new");
    }

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for special in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(Memory::read(special).unwrap_err().contains("no regular file"), "{}", special.display());
        }
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(MOST + 1).unwrap();
        assert!(Memory::read(&large).unwrap_err().contains("more than"));
    }

    proptest! {
        /// Whatever stands there: an error in words, or what can be written and read again.
        #[test]
        fn any_bytes_are_taken_or_refused(text in "[ -~]{0,200}", number in any::<u64>()) {
            let status = format!(r#"{{"node":"c1","network":"{text}","generation":{number},"config":1,"epochs":{{}}}}"#);
            let page = format!(r#"{{"role":1,"remembers":{text}}}"#);
            for text in [text, status, page] {
                match Memory::parse(&text) {
                    Ok(memory) => {
                        prop_assert_eq!(Memory::parse(&serde_json::to_string(&memory).unwrap()).unwrap(), memory);
                    }
                    Err(why) => prop_assert!(!why.is_empty()),
                }
            }
        }
    }
}
