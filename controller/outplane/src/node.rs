//! A node's own file or a client's on the command line, and the store behind it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::{Uid, User};
use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::task::NetworkId;
use outplane_rmdp_node::daemon;
use outplane_rmdp_node::file::{DEFAULT_PATH, Identity, NodeFile, StoreSettings, check_author};
use outplane_rmdp_node::network;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_store::Store;

use crate::runtime;

/// Environment variable with the path of the node's file.
pub(crate) const VARIABLE: &str = "OUTPLANE_CONFIG";

/// Where the node's file is.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct NodeArguments {
    /// A node's own file or a client's, see docs/configuration.md [default: `$OUTPLANE_CONFIG`, or
    /// /etc/outplane/node.toml]
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

/// A node's file or a client's, and the store.
pub(crate) struct Node {
    identity: Identity,
    pub(crate) objects: Objects,
}

impl Node {
    /// Reads the file, and makes a client for its store. With a client's file the store is asked whether it is of that
    /// network; otherwise nothing is sent yet.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (identity, warnings) = Identity::load(path)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let objects = Objects::new(Store::new(daemon::store_settings(identity.store()))?).in_lines();
        if let Identity::Client(client) = &identity {
            let found = runtime::block_on(network::of(&objects))??;
            if found != Some(client.network) {
                bail!(another_network(path, client.network, found));
            }
        }
        Ok(Self { identity, objects })
    }

    /// The newest shared configuration, with its version.
    pub(crate) async fn shared(&self) -> anyhow::Result<(u64, SharedConfig)> {
        let newest = daemon::newest_config(&self.objects).await?;
        newest.context(outplane_rmdp_node::Error::NoConfig.to_string())
    }

    /// The network that the store is of. A node's file has it issued now, if it was not.
    pub(crate) async fn network(&self) -> anyhow::Result<NetworkId> {
        match &self.identity {
            Identity::Client(client) => Ok(client.network),
            Identity::Node(_) => Ok(network::ensure(&self.objects, &author()).await?),
        }
    }

    /// The node's own file, for what a client may not do.
    pub(crate) fn own(&self, what: &str) -> anyhow::Result<&NodeFile> {
        match &self.identity {
            Identity::Node(file) => Ok(file),
            Identity::Client(_) => bail!(
                "{what} needs a node's own file: a client appends generations and reads, and has no key to tell nodes \
                 of anything (docs/store-access.md)"
            ),
        }
    }

    /// The node's own file, if this is one.
    pub(crate) fn if_node(&self) -> Option<&NodeFile> {
        match &self.identity {
            Identity::Node(file) => Some(file),
            Identity::Client(_) => None,
        }
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> &StoreSettings {
        self.identity.store()
    }

    /// Who applies: as the command line says, or the client's file, or else the user.
    pub(crate) fn author(&self, said: &Author) -> String {
        let of_file = match &self.identity {
            Identity::Client(client) => client.name.clone(),
            Identity::Node(_) => None,
        };
        said.author.clone().or(of_file).unwrap_or_else(author)
    }
}

fn another_network(path: &Path, wanted: NetworkId, found: Option<NetworkId>) -> String {
    let file = path.display();
    match found {
        Some(found) => format!(
            "the store is of network {found}, and {file} is for network {wanted}: does an endpoint lead to another store, or \
             was the bucket made anew? If it is the right one, write `network = \"{found}\"`"
        ),
        None => format!(
            "the store says no network, and {file} is for network {wanted}: was the bucket emptied, or is nothing set there \
             yet (`outplane config set`, with a node's own file)?"
        ),
    }
}

/// Who applies.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Author {
    /// Who applies, as `outplane intent history` shows it [default: the client file's `name`, or USER@HOST]
    #[arg(long, value_name = "NAME", value_parser = author_name)]
    author: Option<String>,
}

impl Author {
    /// Whether the command line names somebody.
    pub(crate) fn is_named(&self) -> bool {
        self.author.is_some()
    }
}

/// A name that may stand in the intent log.
pub(crate) fn author_name(text: &str) -> Result<String, String> {
    check_author(text).map(|()| text.to_owned())
}

/// User and host, as far as known: who set or applied something.
pub(crate) fn author() -> String {
    let named = |variable: &str| std::env::var(variable).ok().filter(|user| !user.is_empty());
    let user = named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| {
        let uid = Uid::effective();
        let user = User::from_uid(uid).ok().flatten();
        user.map_or_else(|| format!("uid-{uid}"), |user| user.name)
    });
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { user } else { format!("{user}@{host}") }
}
