//! Which chains there are ([`crate::chain`]), and the keys of their numbers.

use outplane_rmdp_core::config::MIN_KEPT;
use outplane_rmdp_core::key::{Key, Prefix};

/// Entries of the log of probes that stay.
pub const PROBES_KEPT: u32 = 100;

/// Which chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chain {
    /// The intent log.
    Generations,
    /// The log of probes.
    Probes,
    /// The shared configuration.
    Configs,
    /// A node's stream epochs.
    Epochs(String),
}

impl Chain {
    /// Those that everybody reads: their newest number is known for as long as a process lives.
    pub(crate) const LOGS: [Self; 3] = [Self::Generations, Self::Probes, Self::Configs];

    /// Which of these a key is of, and its number there.
    pub(crate) fn of_log(key: &Key) -> Option<(Self, u64)> {
        Self::LOGS.into_iter().find_map(|chain| chain.number(key).map(|number| (chain, number)))
    }

    /// The key of a number.
    pub fn key(&self, number: u64) -> Key {
        match self {
            Self::Generations => Key::Generation(number),
            Self::Probes => Key::Probe(number),
            Self::Configs => Key::Config(number),
            Self::Epochs(node) => Key::Epoch(node.clone(), number),
        }
    }

    /// Where its keys are.
    pub(crate) fn prefix(&self) -> Prefix {
        match self {
            Self::Generations => Prefix::Generations,
            Self::Probes => Prefix::Probes,
            Self::Configs => Prefix::Configs,
            Self::Epochs(node) => Prefix::EpochsOf(node.clone()),
        }
    }

    pub(crate) fn number(&self, key: &Key) -> Option<u64> {
        match (self, key) {
            (Self::Generations, Key::Generation(number))
            | (Self::Probes, Key::Probe(number))
            | (Self::Configs, Key::Config(number))
            | (Self::Epochs(_), Key::Epoch(_, number)) => Some(*number),
            _ => None,
        }
    }

    /// That the one before the newest is not there, and what mends it.
    pub(crate) fn lost_words(&self, lost: u64) -> String {
        let mend = match self {
            Self::Generations => "; or append a generation above it: `outplane apply --anyway`",
            Self::Configs => "; or write a version above it: `outplane config set`",
            Self::Probes => "; or probe once more: `outplane probe`",
            Self::Epochs(_) => ", or leave it: the node's next start mends it",
        };
        format!(
            "`{}` is not there, and `{}`, which was appended after it, is: it was deleted, or the store has lost it. No number is \
             given again. Put it back from a backup{mend}",
            self.key(lost),
            self.key(lost + 1)
        )
    }

    /// So many of the newest numbers are never swept.
    pub(crate) fn always_kept(&self) -> u64 {
        match self {
            Self::Generations | Self::Configs => MIN_KEPT.into(),
            Self::Probes => PROBES_KEPT.into(),
            Self::Epochs(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_with_the_cure() {
        for (chain, cure) in [
            (Chain::Generations, "`outplane apply --anyway`"),
            (Chain::Configs, "`outplane config set`"),
            (Chain::Probes, "`outplane probe`"),
            (Chain::Epochs("c1".to_owned()), "next start"),
        ] {
            let words = chain.lost_words(4);
            let is_not_there = format!("`{}` is not there, and `{}`", chain.key(4), chain.key(5));
            assert!(words.starts_with(&is_not_there) && words.contains(cure), "{words}");
        }
    }
}
