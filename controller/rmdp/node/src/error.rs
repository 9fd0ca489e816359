//! What can go wrong with a node, or with a command that asks the store.

use outplane_rmdp_core::config::ConfigError;
use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::ObjectError;
use outplane_rmdp_core::task::NetworkId;
use thiserror::Error;

/// Why something could not be done.
#[derive(Debug, Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] outplane_rmdp_store::Error),
    /// An object in the store.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The shared configuration.
    #[error("version {version}: {source}")]
    Config {
        /// Which.
        version: u64,
        /// What is wrong.
        source: ConfigError,
    },
    /// The store is not this node's network's any more.
    #[error("{0}")]
    OtherStore(String),
    /// The store's generations are of a network, and nothing says that the store still is.
    #[error(
        "the store has generations of network {0}, and its object `network` is gone: was it restored from a backup? \
         `outplane store recover` makes it one that nodes and switches can go on with (docs/operations.md)"
    )]
    NetworkLost(NetworkId),
    /// The store has what nobody writes before there is a network, and says none.
    #[error(
        "the store has `{0}`, and its object `network` is gone: was it restored from a backup? `outplane store recover` makes it \
         one that nodes and switches can go on with (docs/operations.md)"
    )]
    NetworkGone(Key),
    /// There is no shared configuration yet.
    #[error("the store has no shared configuration yet: write one with `outplane config set FILE`")]
    NoConfig,
    /// The node is not in the shared configuration, or as something else.
    #[error("{0}")]
    Member(String),
    /// Too many others appended at the same time.
    #[error("others appended {tries} objects at `{last}` and before while we tried; try again")]
    Contended {
        /// How often we tried.
        tries: u32,
        /// The last key that was taken.
        last: Key,
    },
    /// An object was appended where nobody looks any more.
    #[error(
        "`{key}` was appended, but others had appended up to number {newest} meanwhile, so it has no effect; try again"
    )]
    Overtaken {
        /// Where it lies.
        key: Key,
        /// The newest number.
        newest: u64,
    },
    /// Nothing can be appended behind the last number that there is.
    #[error(
        "`{0}` has the last number that there is: nobody comes to it by appending, so somebody has put it there; delete it, and \
         what leads to it (`outplane store recover --dry-run` says what nodes know)"
    )]
    EndOfNumbers(Key),
    /// A generation that cannot be appended.
    #[error("generation {generation} cannot be appended: {reason}")]
    Unstored {
        /// Which it would have been.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// No nonce can be made.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// Sockets, XDP.
    #[error("{0}")]
    Transport(String),
    /// A part of the node has ended that must not.
    #[error("{0} has ended, so the node ends")]
    Ended(&'static str),
}

impl Error {
    /// What is wrong, whichever request has met it: the same for each of an outage.
    pub fn trouble(&self) -> String {
        match self {
            Self::Store(error) => error.trouble(),
            other => other.to_string(),
        }
    }
}
