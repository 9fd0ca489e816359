//! A node's own configuration file: who it is, where the store is, and its secrets.
//!
//! Everything else is shared configuration and lives in the store (docs/rmdp.md). The file is TOML; every key stands in
//! docs/configuration.md and in examples/nodes. All that is wrong with a file is told at once, each problem with its
//! line and its cure; an unknown key is a problem too, since it is mostly a misspelt one.
//!
//! ```text
//!   text ──► table (values with their places) ──► read (checks, defaults) ──► NodeFile, warnings
//!                                                   └─ secret (by value, from a file, from the environment)
//! ```

mod problem;
mod read;
mod secret;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outplane_rmdp_core::task::NetworkId;

pub use problem::{FileError, FileProblem};
pub use secret::Secret;

/// Where a node's file is if nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/outplane/node.toml";

/// A node's own configuration.
#[derive(Clone, Debug)]
pub struct NodeFile {
    /// Its name, as in the shared configuration: it says there what the node is.
    pub name: String,
    /// Where tasks, claims and results are kept.
    pub store: StoreSettings,
    /// Keys that authenticate datagrams, by key id. Which of them is in use, the shared configuration says.
    pub keys: BTreeMap<u16, Secret<[u8; 16]>>,
    /// How datagrams come in.
    pub network: NetworkSettings,
    /// Where metrics, health and status are served; none: nowhere.
    pub http: Option<SocketAddr>,
    /// Log lines.
    pub log: LogSettings,
    /// Folder in a bpffs where the XDP program and its maps stay pinned between two lives of the daemon.
    pub pin_root: PathBuf,
    /// File in which the node keeps what it remembers of its network; none: it forgets it when it ends.
    pub memory: Option<PathBuf>,
}

/// What a person or CI needs to use the store: no node's name, and no key of datagrams.
#[derive(Clone, Debug)]
pub struct ClientFile {
    /// Who it is, as the intent log calls whoever applies; none: the user's name says it.
    pub name: Option<String>,
    /// The network that the store has to be of.
    pub network: NetworkId,
    /// Where the intent log is.
    pub store: StoreSettings,
}

/// Whose file a command was given.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A node's own.
    Node(Box<NodeFile>),
    /// A client's.
    Client(Box<ClientFile>),
}

impl Identity {
    /// Reads the file at `path`, and the files and environment variables that hold its secrets. Also its warnings, as
    /// [`Loaded::warnings`].
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(path: &Path) -> Result<(Self, Vec<String>), FileError> {
        let text = secret::read_bounded(path).map_err(|why| FileError::unreadable(path, &why))?;
        read::identity(&text, path, &|name| std::env::var(name).ok())
    }

    /// Where the store is.
    pub fn store(&self) -> &StoreSettings {
        match self {
            Self::Node(file) => &file.store,
            Self::Client(file) => &file.store,
        }
    }
}

/// Why a text cannot stand in the intent log for whoever applies, and the cure.
///
/// # Errors
/// In words.
pub fn check_author(name: &str) -> Result<(), String> {
    read::author_problem(name).map_err(|(what, cure)| format!("{what}: {cure}"))
}

/// Where the store is and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// URLs of the store's endpoints, tried in turn; at least one. All lead to the same store.
    pub endpoints: Vec<String>,
    /// The bucket.
    pub bucket: String,
    /// What all keys start with: empty, or ending in `/`.
    pub prefix: String,
    /// S3 region.
    pub region: String,
    /// Access key id.
    pub access_key: Secret<String>,
    /// Secret access key.
    pub secret_key: Secret<String>,
    /// PEM file with the authorities that the endpoints' certificates must come from; none: the system's.
    pub ca: Option<PathBuf>,
    /// Longest time that one endpoint may take for one request.
    pub attempt_timeout: Duration,
    /// Longest time for a request with all its tries.
    pub call_timeout: Duration,
}

/// How datagrams come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Interface on which multicast is sent and received, and where XDP works; none: the routing table says.
    pub interface: Option<String>,
    /// Whether datagrams are received by XDP.
    pub xdp: XdpChoice,
    /// Addresses at which this node takes unicast datagrams, at most one a family; none: those that the shared
    /// configuration has.
    pub bind: Vec<IpAddr>,
}

/// Whether datagrams are received by XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpChoice {
    /// If it can be; else by a socket, and the log says why.
    #[default]
    Auto,
    /// Yes; the node does not start without.
    Required,
    /// No.
    Off,
}

/// Log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Their form.
    pub format: LogFormat,
    /// The least important ones that are written.
    pub level: LogLevel,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Importance of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may soon.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

/// A file that is right, and what could be better about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub file: NodeFile,
    /// Whole sentences to log as warnings, once logging works: secrets that everybody on the machine can read, plain text.
    pub warnings: Vec<String>,
    /// The same about what only a daemon does: its pages.
    pub of_daemon: Vec<String>,
}

impl NodeFile {
    /// Reads the file at `path`, and the files and environment variables that hold its secrets.
    pub fn load(path: &Path) -> Result<Loaded, FileError> {
        let text = secret::read_bounded(path).map_err(|why| FileError::unreadable(path, &why))?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Reads a file's text. `path` is for messages, for the warning about the file's mode, and names the folder that
    /// relative paths start from.
    pub fn parse(
        text: &str,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Loaded, FileError> {
        read::read(text, path, environment)
    }
}
