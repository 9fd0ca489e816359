//! A node's own file on the command line, and the store behind it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::daemon;
use outplane_rmdp_node::file::{DEFAULT_PATH, NodeFile};
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;

/// Environment variable with the path of the node's file.
pub(crate) const VARIABLE: &str = "OUTPLANE_CONFIG";

/// Where the node's file is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct NodeArguments {
    /// The node's own file, see docs/configuration.md [default: `$OUTPLANE_CONFIG`, or /etc/outplane/node.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The path that the environment names.
pub(crate) fn from_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|path| *path != OsString::new()).map(PathBuf::from)
}

impl NodeArguments {
    /// Whether the command line names the file.
    pub(crate) fn is_named(&self) -> bool {
        self.config.is_some()
    }

    /// The file's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.config.clone().or_else(from_environment).unwrap_or_else(|| PathBuf::from(DEFAULT_PATH))
    }

    /// Reads the file, and makes a client for its store.
    pub(crate) fn open(&self) -> anyhow::Result<Node> {
        Node::open(&self.path())
    }
}

/// A node's file, and its store.
pub(crate) struct Node {
    pub(crate) file: NodeFile,
    pub(crate) objects: Objects,
}

impl Node {
    /// Reads the file, and makes a client for its store. Nothing is sent yet.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = load(path)?;
        let objects = Objects::new(Store::new(daemon::store_settings(&file.store))?);
        Ok(Self { file, objects })
    }

    /// The newest shared configuration, with its version.
    pub(crate) async fn shared(&self) -> anyhow::Result<(u64, SharedConfig)> {
        let newest = daemon::newest_config(&self.objects).await?;
        newest.context(outplane_rmdp_node::Error::NoConfig.to_string())
    }
}

impl Node {
    /// The network that the store is of; issued now, if it was not.
    pub(crate) async fn network(&self) -> anyhow::Result<NetworkId> {
        Ok(network::ensure(&self.objects, &author()).await?)
    }
}

/// Reads a node's file; its warnings go to the log.
pub(crate) fn load(path: &Path) -> anyhow::Result<NodeFile> {
    let loaded = NodeFile::load(path)?;
    for warning in loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded.file)
}

/// User and host, as far as known: who set or applied something.
pub(crate) fn author() -> String {
    let user =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { user } else { format!("{user}@{host}") }
}

/// Unix milliseconds as people write times.
pub(crate) fn time(unix_ms: u64) -> String {
    let millis = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| "-".to_owned(), |time| format!("{time:.3}"))
}
