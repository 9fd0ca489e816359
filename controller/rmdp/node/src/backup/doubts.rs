//! What a backup may say, and what no store of ours has come to: pure.

use std::collections::{BTreeMap, BTreeSet};

use outplane_rmdp_core::chain::path;
use outplane_rmdp_core::key::Key;

/// Numbers that are looked at; a store keeps far fewer.
const MOST: usize = 1_000_000;

/// Keys that are named.
const NAMED: usize = 3;

/// Nobody comes so far: a million a day would take a thousand years.
const FAR: u64 = 1 << 40;

/// The numbers of each chain, by what stands before them in their keys.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    chains: BTreeMap<String, BTreeSet<u64>>,
    count: usize,
}

impl Numbers {
    pub(super) fn count(&mut self, key: &Key) {
        let (Key::Generation(number)
        | Key::Config(number)
        | Key::Probe(number)
        | Key::Epoch(_, number)
        | Key::Horizon(_, number)) = key
        else {
            return;
        };
        if self.count == MOST {
            return;
        }
        let path = key.path();
        let chain = path.rsplit_once('/').map_or("", |(chain, _)| chain).to_owned();
        self.count += usize::from(self.chains.entry(chain).or_default().insert(*number));
    }

    /// In words; nothing: it may be restored.
    pub(super) fn doubts(&self, objects: u64) -> Vec<String> {
        let mut doubts = Vec::new();
        if objects == 0 {
            doubts.push(
                "the backup has no objects: nothing of Outplane's was in the bucket, or under the prefix, that it was taken of"
                    .to_owned(),
            );
        }
        let strange = |(chain, numbers): (&String, &BTreeSet<u64>)| {
            let numbers: Vec<u64> = strange(chain, numbers);
            let named: Vec<String> =
                numbers.iter().rev().take(NAMED).map(|number| format!("{chain}/{number:020}")).collect();
            let more = numbers.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            (!named.is_empty()).then(|| {
                format!(
                    "it has numbers that nobody comes to by working with the store, so that somebody else has put them there, and \
                     what comes next would go on from them: {}{more}",
                    named.join(", ")
                )
            })
        };
        doubts.extend(self.chains.iter().filter_map(strange));
        doubts
    }
}

/// Those of a chain that nothing leads to, or that are too far: ascending. Below the newest that something leads to any may
/// have been swept.
fn strange(chain: &str, numbers: &BTreeSet<u64>) -> Vec<u64> {
    let led_to = |number: &u64| {
        // Of horizons only those stay that lead to the newest.
        let before = (!chain.starts_with("h/")).then(|| number.saturating_sub(1));
        let mut needed = path(*number).into_iter().chain(before).filter(|lead| *lead > 0);
        *number < FAR && needed.all(|lead| numbers.contains(&lead))
    };
    let newest = numbers.iter().rev().find(|number| led_to(number)).copied().unwrap_or(0);
    numbers.range(newest.saturating_add(1)..).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(keys: &[Key]) -> Vec<String> {
        let mut numbers = Numbers::default();
        for key in keys {
            numbers.count(key);
        }
        numbers.doubts(keys.len() as u64)
    }

    #[test]
    fn what_a_store_comes_to_is_not_doubted() {
        let mut keys: Vec<Key> = path(13).into_iter().map(Key::Generation).collect();
        keys.extend([11, 9].map(Key::Generation));
        keys.extend((1..=2).map(Key::Config));
        keys.extend(path(1300).into_iter().map(|below| Key::Horizon("intent".to_owned(), below)));
        keys.extend((1..=5).map(|epoch| Key::Epoch("c1".to_owned(), epoch)));
        assert_eq!(doubts(&keys), [""; 0]);
        assert_eq!(doubts(&[Key::Network]), [""; 0]);
    }

    #[test]
    fn what_nobody_comes_to_is_named() {
        assert!(doubts(&[])[0].contains("no objects"));
        let far = 1 << 40;
        let mut keys: Vec<Key> = (1..=3).chain([far]).map(Key::Generation).collect();
        assert!(doubts(&keys)[0].ends_with("i/00000001099511627776"), "{:?}", doubts(&keys));
        // Also with all that leads to it.
        keys.extend(path(far).into_iter().chain([far - 1]).map(Key::Generation));
        assert!(doubts(&keys)[0].contains("i/00000001099511627776"), "{:?}", doubts(&keys));
        for key in [
            Key::Config(7),
            Key::Probe(u64::MAX),
            Key::Epoch("c1".to_owned(), 9),
            Key::Horizon("intent".to_owned(), far),
        ] {
            let path = key.path();
            let chain = path.rsplit_once('/').unwrap().0;
            assert!(doubts(&[key])[0].contains(&format!(" {chain}/")), "{path}");
        }
    }
}
