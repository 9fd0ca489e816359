//! Entries by the one range that they have: found in as many steps as the field has bits, however many there are.
//!
//! Every range is the union of a few aligned blocks of values (30 at most for 16 bits); an entry stands in each of
//! its blocks, and a value lies in one block of each size.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Entry, Range, rank};

/// Size of a block as exponent of two, and which one of its size it is.
type Block = (u32, u32);

/// Entries that differ in their range and priority only, by the blocks of their range.
#[derive(Debug, Default)]
pub(super) struct RangeIndex {
    /// Best first.
    blocks: HashMap<Block, Vec<Arc<Entry>>, RandomState>,
    /// Sizes that have ever been used, as a set of bits.
    sizes: u64,
}

/// The blocks of a range.
fn blocks(low: u32, high: u32) -> impl Iterator<Item = Block> {
    let mut next = Some(u64::from(low));
    let high = u64::from(high);
    std::iter::from_fn(move || {
        let start = next?;
        let left = high - start + 1;
        // As large as its place and the rest of the range allow; 0 is aligned to everything.
        let size = left.ilog2().min(if start == 0 { 63 } else { start.trailing_zeros() });
        next = Some(start + (1 << size)).filter(|next| *next <= high);
        Some((size, u32::try_from(start >> size).unwrap_or(u32::MAX)))
    })
}

/// The bounds of an entry's range, if they fit into 32 bits.
fn bounds(entry: &Entry) -> Option<(u32, u32)> {
    let Range { low, high } = entry.matches.ranges.first()?;
    Some((u32::try_from(*low).ok()?, u32::try_from(*high).ok()?))
}

impl RangeIndex {
    /// Adds an entry, or puts it in the place of the one with its range and priority; false if its range is beyond
    /// 32 bits.
    pub(super) fn put(&mut self, entry: &Arc<Entry>) -> bool {
        let Some((low, high)) = bounds(entry) else { return false };
        for block in blocks(low, high) {
            self.sizes |= 1 << block.0;
            let entries = self.blocks.entry(block).or_default();
            match entries.binary_search_by(|other| rank(other).cmp(&rank(entry))) {
                Ok(at) => entries[at] = entry.clone(),
                Err(at) => entries.insert(at, entry.clone()),
            }
        }
        true
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, entry: &Entry) {
        let Some((low, high)) = bounds(entry) else { return };
        for block in blocks(low, high) {
            let Some(entries) = self.blocks.get_mut(&block) else { continue };
            if let Ok(at) = entries.binary_search_by(|other| rank(other).cmp(&rank(entry))) {
                entries.remove(at);
            }
            if entries.is_empty() {
                self.blocks.remove(&block);
            }
        }
    }

    /// The best entry whose range holds a value.
    pub(super) fn find(&self, value: u128) -> Option<&Arc<Entry>> {
        let value = u64::from(u32::try_from(value).ok()?);
        let mut sizes = self.sizes;
        let mut best: Option<&Arc<Entry>> = None;
        while sizes != 0 {
            let size = sizes.trailing_zeros();
            sizes &= sizes - 1;
            let block = (size, u32::try_from(value >> size).unwrap_or(u32::MAX));
            let found = self.blocks.get(&block).and_then(|entries| entries.first());
            best = match (best, found) {
                (Some(best), Some(found)) if rank(found) >= rank(best) => Some(best),
                (best, None) => best,
                (_, found) => found,
            };
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_the_range() {
        let ranges = [(0, 0), (0, 15), (1, 14), (3, 3), (5, 11), (0, 65_535), (1, 65_534), (1024, 65_535)];
        for (low, high) in ranges {
            let mut values: Vec<u64> = blocks(low, high)
                .flat_map(|(size, number)| (u64::from(number) << size)..(u64::from(number) + 1) << size)
                .collect();
            values.sort_unstable();
            assert!(values.into_iter().eq(u64::from(low)..=u64::from(high)), "{low}-{high}");
        }
        assert_eq!(blocks(1, 65_534).count(), 30);
        assert_eq!(blocks(0, u32::MAX).collect::<Vec<_>>(), [(32, 0)]);
        assert_eq!(blocks(u32::MAX, u32::MAX).collect::<Vec<_>>(), [(0, u32::MAX)]);
        assert_eq!(blocks(1, u32::MAX - 1).count(), 62);
    }
}
