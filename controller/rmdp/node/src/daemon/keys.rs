//! The keys of datagrams: ids from the shared configuration, secrets from the node's file.

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_wire::Key;

use crate::file::NodeFile;

/// What a configuration's keys are on this node.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) accept: Vec<Key>,
    /// None: its secret is missing, and the key from before stays.
    pub(crate) sign: Option<Key>,
    /// Ids without a secret.
    pub(crate) missing: Vec<u16>,
}

pub(crate) fn of(config: &SharedConfig, file: &NodeFile) -> Keys {
    let key = |id: u16| file.keys.get(&id).map(|secret| Key { id, secret: *secret.expose() });
    let mut missing: Vec<u16> =
        config.keys.accept.iter().copied().filter(|id| !file.keys.contains_key(id)).collect();
    missing.sort_unstable();
    missing.dedup();
    Keys {
        accept: config.keys.accept.iter().filter_map(|id| key(*id)).collect(),
        sign: key(config.keys.sign_with),
        missing,
    }
}
