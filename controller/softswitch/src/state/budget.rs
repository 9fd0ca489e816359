//! How much memory clients have made the state take, by estimate.

use super::refusal::{Outcome, Refusal};

/// Bytes taken and how many there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    used: usize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { used: 0, limit }
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Whether something of `bytes` bytes may take the place of something of `instead` bytes.
    pub(crate) fn check(&self, bytes: usize, instead: usize) -> Outcome<()> {
        if self.used.saturating_sub(instead).saturating_add(bytes) > self.limit {
            return Err(Refusal::exhausted(format!(
                "the switch's memory of {} bytes for state is full",
                self.limit
            )));
        }
        Ok(())
    }

    /// Counts something in, and what it replaces out.
    pub(crate) fn replace(&mut self, bytes: usize, instead: usize) {
        self.used = self.used.saturating_sub(instead).saturating_add(bytes);
    }
}
