//! How many updates go into a chunk: fewer when the switch cannot take them, and slowly more again.

/// Chunks that must pass before the next may be larger.
const PATIENCE: u32 = 8;

/// The size of the next chunk.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    size: usize,
    /// Never more.
    limit: usize,
    /// Largest size that has passed and smallest that has failed: growth searches between them.
    good: usize,
    failed: usize,
    passed: u32,
    smallest: usize,
}

impl Pacer {
    /// Starts with `size` updates, and never takes more than `limit`.
    pub fn new(size: usize, limit: usize) -> Self {
        let limit = limit.max(1);
        let size = size.clamp(1, limit);
        Self { size, limit, good: 0, failed: usize::MAX, passed: 0, smallest: size }
    }

    /// Updates in the next chunk.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Smallest size so far.
    pub fn smallest(&self) -> usize {
        self.smallest
    }

    /// A chunk of this many updates was answered.
    pub(super) fn passed(&mut self, updates: usize) {
        self.good = self.good.max(updates);
        // Smaller ones (the end of a step) prove nothing.
        if updates < self.size {
            return;
        }
        self.passed += 1;
        if self.passed < PATIENCE || self.size >= self.limit {
            return;
        }
        self.passed = 0;
        let next = (self.size * 2).min(self.limit).min(self.size.midpoint(self.failed));
        // Close enough: another failure would cost more than larger chunks bring.
        if next - self.size >= self.size.div_ceil(8) {
            self.size = next;
        }
    }

    /// A chunk of this many updates was too much.
    pub(super) fn failed(&mut self, updates: usize) {
        self.passed = 0;
        self.failed = self.failed.min(updates.max(2));
        if self.good >= updates {
            // It was not too much before.
            self.good = 0;
        }
        // Several of the old size may be under way; they count once.
        self.size = self.size.min((updates / 2).max(self.good).max(1));
        self.smallest = self.smallest.min(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_at_once_and_grows_back_below_what_failed() {
        let mut pacer = Pacer::new(1000, 1000);
        for _ in 0..4 {
            pacer.failed(1000);
        }
        assert_eq!(pacer.size(), 500);
        pacer.failed(500);
        assert_eq!((pacer.size(), pacer.smallest()), (250, 250));
        let pass = |pacer: &mut Pacer| {
            for _ in 0..PATIENCE {
                assert_eq!(pacer.size(), 250);
                pacer.passed(10);
                pacer.passed(250);
            }
        };
        // It looks between what passes and what fails, and stops when they are close.
        for expected in [375, 312] {
            pass(&mut pacer);
            assert_eq!(pacer.size(), expected);
            pacer.failed(expected);
        }
        for _ in 0..10 {
            pass(&mut pacer);
        }
        assert_eq!((pacer.size(), pacer.smallest()), (250, 250));
        // What has passed may fail later.
        pacer.failed(250);
        assert_eq!((pacer.size(), pacer.smallest()), (125, 125));
    }

    #[test]
    fn never_empty_and_never_more_than_asked_for() {
        let mut pacer = Pacer::new(0, 0);
        assert_eq!(pacer.size(), 1);
        pacer.failed(1);
        assert_eq!(pacer.size(), 1);
        for _ in 0..100 {
            pacer.passed(1);
        }
        assert_eq!(pacer.size(), 1);
        let mut pacer = Pacer::new(100, 100);
        for _ in 0..100 {
            pacer.passed(100);
        }
        assert_eq!(pacer.size(), 100);
    }
}
