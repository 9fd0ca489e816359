//! Who may write.

use std::fmt;

/// What a switch enforces: it refuses writes under a lower fence than the highest it has heard of.
///
/// Who has a later generation has the higher one; at the same, whoever repairs it after a later audit; then, the later
/// attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// Of the intent; 0 for work that belongs to none.
    pub generation: u64,
    /// Number of the audit whose repair it is, at most [`Fence::MAX_AUDIT`]; 0 for a generation's own work.
    pub audit: u64,
    /// At that; grows with each, to [`Fence::MAX_ATTEMPT`] at most.
    pub attempt: u32,
}

impl Fence {
    /// Every driver has room for so many audits of a generation,
    pub const MAX_AUDIT: u64 = (1 << 44) - 1;
    /// and for so many attempts at each.
    pub const MAX_ATTEMPT: u32 = (1 << 20) - 1;

    /// The fence of an attempt at a generation.
    pub const fn new(generation: u64, attempt: u32) -> Self {
        Self { generation, audit: 0, attempt }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, audit, attempt } = self;
        write!(f, "generation {generation}, ")?;
        if *audit > 0 {
            write!(f, "audit {audit}, ")?;
        }
        write!(f, "attempt {attempt}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_generations_and_attempts_have_higher_fences() {
        let repair = |audit, attempt| Fence { generation: 5, audit, attempt };
        let order =
            [Fence::new(5, 1), Fence::new(5, 2), repair(1, 1), repair(1, 2), repair(2, 1), Fence::new(6, 1)];
        assert!(order.is_sorted());
        assert_eq!(repair(3, 1).to_string(), "generation 5, audit 3, attempt 1");
    }
}
