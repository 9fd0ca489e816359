//! What becomes of a packet, in a word.

use serde::{Deserialize, Serialize};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// No policy denies it, and it leaves.
    Allow,
    /// A policy denies it.
    Deny,
    /// No policy denies it, but no port forwards it.
    Drop,
}

impl Fate {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Drop => "drop",
        }
    }
}
