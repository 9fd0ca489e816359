//! A set of ids, a bit for each: what cubes match of it is found by 64 ids at a time.

use super::cover::Cube;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Ids(Vec<u64>);

impl Default for Ids {
    fn default() -> Self {
        Self(vec![0; 1 << 10])
    }
}

impl FromIterator<u16> for Ids {
    fn from_iter<I: IntoIterator<Item = u16>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

impl Ids {
    pub(crate) fn insert(&mut self, id: u16) {
        self.0[usize::from(id >> 6)] |= 1 << (id & 63);
    }

    pub(crate) fn contains(&self, id: u16) -> bool {
        self.0[usize::from(id >> 6)] >> (id & 63) & 1 == 1
    }

    /// Whether a cube matches one of them.
    pub(crate) fn meet(&self, cube: Cube) -> bool {
        words(cube).any(|(word, low)| self.0[word] & low != 0)
    }

    /// Those that a cube matches, ascending.
    pub(crate) fn within(&self, cube: Cube) -> impl Iterator<Item = u16> + '_ {
        words(cube).flat_map(|(word, low)| {
            let mut left = self.0[word] & low;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                u16::try_from(word << 6 | bit as usize).ok()
            })
        })
    }

    /// Adds those that a cube matches among others.
    pub(crate) fn add_within(&mut self, others: &Self, cube: Cube) {
        for (word, low) in words(cube) {
            self.0[word] |= others.0[word] & low;
        }
    }
}

/// The words in which a cube matches ids, and which bits of them.
fn words(cube: Cube) -> impl Iterator<Item = (usize, u64)> {
    let (low_mask, high_mask) = (cube.mask & 63, cube.mask & !63);
    let fits = |id: &u16| (id ^ cube.value) & low_mask == 0;
    let low = (0..64u16).filter(fits).fold(0u64, |bits, id| bits | 1 << id);
    let (start, end) = cube.block().into_inner();
    let matches = move |word: &u16| (word << 6 ^ cube.value) & high_mask == 0;
    (start >> 6..=end >> 6).filter(matches).map(move |word| (usize::from(word), low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_one_by_one(ids in proptest::collection::btree_set(any::<u16>(), 0..300), value: u16, mask: u16) {
            let cube = Cube { value: value & mask, mask };
            let set: Ids = ids.iter().copied().collect();
            let matched: Vec<u16> = ids.iter().copied().filter(|id| cube.matches(*id)).collect();
            prop_assert_eq!(set.meet(cube), !matched.is_empty());
            prop_assert_eq!(set.within(cube).collect::<Vec<_>>(), &matched[..]);
            let mut added = Ids::default();
            added.add_within(&set, cube);
            prop_assert!(ids.iter().all(|id| set.contains(*id) && added.contains(*id) == cube.matches(*id)));
        }
    }
}
