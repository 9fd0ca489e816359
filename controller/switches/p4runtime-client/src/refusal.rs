//! Updates that the switch did not take.

use std::fmt;

use crate::status::UpdateStatus;

/// Updates that the switch refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which, in the order of their places.
    pub failures: Vec<Failure>,
    /// How many updates there were.
    pub updates: usize,
}

/// An update that the switch refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its place among the updates, from 0.
    pub place: usize,
    /// The update, in the program's names where they are known.
    pub update: String,
    /// The switch's answer.
    pub status: UpdateStatus,
    /// It was sent more than once, since an answer was lost: "already there" may then mean that it was done.
    pub repeated: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.update, self.status)?;
        if self.repeated { f.write_str(", at the second try") } else { Ok(()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        write!(f, "refused {} of {} updates: ", self.failures.len(), self.updates)?;
        for (at, failure) in self.failures.iter().take(SHOWN).enumerate() {
            write!(f, "{}{failure}", if at == 0 { "" } else { "; " })?;
        }
        match self.failures.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
