//! What becomes of a packet, in a word.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// No policy denies it, and it leaves.
    Allow,
    /// A policy denies it.
    Deny,
    /// No policy denies it, but no port forwards it.
    Drop,
}

impl Fate {
    /// All of them, by how they are written.
    pub const WORDS: [(&'static str, Self); 3] =
        [("allow", Self::Allow), ("deny", Self::Deny), ("drop", Self::Drop)];

    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Drop => "drop",
        }
    }
}

impl FromStr for Fate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, fate)| *fate).ok_or_else(|| format!("`{text}` is none of allow, deny and drop"))
    }
}
