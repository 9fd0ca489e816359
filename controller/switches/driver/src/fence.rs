//! Who may write.

use std::fmt;

/// What a switch enforces: it refuses writes under a lower fence than the highest it has heard of.
///
/// Who has a later generation, or a later attempt at the same, has the higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Of the intent; 0 for work that belongs to none.
    pub generation: u64,
    /// At that generation; grows with each.
    pub attempt: u64,
}

impl Fence {
    /// The fence of an attempt at a generation.
    pub const fn new(generation: u64, attempt: u64) -> Self {
        Self { generation, attempt }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}, attempt {}", self.generation, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_generations_and_attempts_have_higher_fences() {
        assert!(Fence::new(5, 2) > Fence::new(5, 1) && Fence::new(6, 1) > Fence::new(5, u64::MAX));
    }
}
