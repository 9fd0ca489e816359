//! Slots of a table of numbers (limiter cells, segment ids) that things keep.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

/// Who has which slot, by the beginning of a digest of what it is.
pub(crate) type SlotNumbers = BTreeMap<u64, u32>;

/// A slot for each digest, below `slots`: the one that it has had, else what the first `BYTES` of the digest say, else the
/// next free one, in the order of the digests. None: there are more digests than slots.
pub(crate) fn assign<const BYTES: usize>(
    digests: &[[u8; 32]],
    slots: u32,
    before: &SlotNumbers,
) -> Option<Vec<u32>> {
    if digests.len() > slots as usize {
        return None;
    }
    let mut order: Vec<usize> = (0..digests.len()).collect();
    order.sort_unstable_by_key(|at| digests[*at]);
    let mut assigned: Vec<Option<u32>> = vec![None; digests.len()];
    let mut taken = BTreeSet::new();
    for at in &order {
        let known = before.get(&beginning(&digests[*at])).copied().filter(|slot| *slot < slots);
        assigned[*at] = known.filter(|slot| taken.insert(*slot));
    }
    for at in &order {
        if assigned[*at].is_none() {
            let home = number(&digests[*at][..BYTES]) % u64::from(slots);
            let mut slot = u32::try_from(home).expect("below slots");
            while !taken.insert(slot) {
                slot = (slot + 1) % slots;
            }
            assigned[*at] = Some(slot);
        }
    }
    assigned.into_iter().collect()
}

/// What the next compilation goes on from.
pub(crate) fn numbers(digests: &[[u8; 32]], slots: &[u32]) -> SlotNumbers {
    digests.iter().map(beginning).zip(slots.iter().copied()).collect()
}

/// Begins a digest with names, each behind its length.
pub(crate) fn named(names: [&str; 2]) -> Sha256 {
    names.into_iter().fold(Sha256::new(), |hasher, name| {
        hasher.chain_update((name.len() as u64).to_be_bytes()).chain_update(name)
    })
}

/// What stands for a digest where numbers are kept.
pub(crate) fn beginning(digest: &[u8; 32]) -> u64 {
    number(&digest[..8])
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
}
