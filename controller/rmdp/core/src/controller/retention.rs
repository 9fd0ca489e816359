//! What is kept by number, by owner, or because somebody needs it. The sweeper lists it when it is through with what the
//! horizon keeps, and deletes page by page:
//!
//! | key | goes when |
//! |---|---|
//! | `i/<N>` | `retention.generations` newer ones are there, and it has been closed for a grace |
//! | `config/<N>` | `retention.configs` newer ones are there, and it is older than the horizon |
//! | `e/<node>/<N>` | a higher one of the node is there, and it is older than the grace |
//! | `n/<node>`, `degraded/<node>` | no member has this name, and it is older than the grace |
//! | `b/<sha256>` | it is older than horizon and grace, and no pending task names it |
//!
//! The highest number of a chain stays for ever: the next one is told by it. A generation stays until nobody claims its
//! tasks any more, whatever the clocks say. Desired states are copies of what a generation compiles to: a sweeper cannot
//! see that a distributor is about to queue a task that names an old one, but a controller that misses one makes it again
//! from the generation.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::io::Listed;
use crate::key::Key;
use crate::mutant::Mutant;
use crate::task::{Digest, GENERATIONS, Work};
use crate::time::Instant;

use super::Controller;
use super::poll::Poll;
use super::sweep::Stage;

/// Numbers of one name, as a listing gives them: in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers {
    name: String,
    /// Those that may go, but for newer ones that are still to come: at most as many as are kept.
    aged: VecDeque<u64>,
}

impl Numbers {
    /// Takes the next number; those that go now that `keep` newer ones are there.
    fn next(&mut self, name: &str, number: u64, aged: bool, keep: u32) -> Vec<u64> {
        if self.name != name {
            name.clone_into(&mut self.name);
            self.aged.clear();
        }
        let mut gone = Vec::new();
        while let Some(first) = self.aged.front().copied()
            && first.saturating_add(keep.into()) <= number
        {
            self.aged.pop_front();
            gone.push(first);
        }
        if aged {
            self.aged.push_back(number);
        }
        gone
    }
}

impl Controller {
    /// Which objects of a page need not be kept any longer.
    pub(super) fn not_kept(&mut self, now: Instant, keys: &[Listed]) -> Vec<Key> {
        let (horizon, grace) = (self.config.horizon(), self.config.grace());
        let retention = &self.config.retention;
        match self.sweep.stage {
            Stage::Generations => {
                let keep = retention.generations;
                self.beyond(keys, keep, |poll, number, _| {
                    let since = poll.closed_since(GENERATIONS, number);
                    since.is_some_and(|since| now.since(since) >= grace)
                })
            }
            Stage::Configs => {
                let keep = retention.configs;
                self.beyond(keys, keep, |_, _, age| age >= horizon)
            }
            Stage::Epochs => self.beyond(keys, 1, |_, _, age| age >= grace),
            Stage::Statuses | Stage::Alerts => {
                let left = |listed: &&Listed| match &listed.key {
                    Key::Status(node) | Key::Degraded(node) => {
                        listed.age >= grace && self.config.member(node).is_none()
                    }
                    _ => false,
                };
                keys.iter().filter(left).map(|listed| listed.key.clone()).collect()
            }
            Stage::Blobs => {
                let Some(named) = self.desired(now) else { return Vec::new() };
                let old = |listed: &&Listed| match &listed.key {
                    Key::Blob(digest) => {
                        (listed.age >= horizon + grace || self.is(Mutant::NeededSwept))
                            && !named.contains(digest)
                    }
                    _ => false,
                };
                keys.iter().filter(old).map(|listed| listed.key.clone()).collect()
            }
            Stage::Idle | Stage::Decisions | Stage::Claims | Stage::Results => Vec::new(),
        }
    }

    fn beyond(
        &mut self,
        keys: &[Listed],
        keep: u32,
        may_go: impl Fn(&Poll, u64, Duration) -> bool,
    ) -> Vec<Key> {
        let mutant = self.is(Mutant::NeededSwept);
        let mut gone = Vec::new();
        for Listed { key, age } in keys {
            let (name, number, of): (_, _, fn(&str, u64) -> Key) = match key {
                Key::Generation(number) => ("", *number, |_, number| Key::Generation(number)),
                Key::Config(version) => ("", *version, |_, version| Key::Config(version)),
                Key::Epoch(node, epoch) => {
                    (node.as_str(), *epoch, |node, epoch| Key::Epoch(node.to_owned(), epoch))
                }
                _ => continue,
            };
            let may_go = may_go(&self.poll, number, *age) || mutant;
            let numbers = self.sweep.numbers.next(name, number, may_go, keep);
            gone.extend(numbers.into_iter().map(|number| of(name, number)));
        }
        gone
    }

    /// The desired states that pending tasks name. None: not known.
    fn desired(&self, now: Instant) -> Option<BTreeSet<Digest>> {
        if self.is(Mutant::NeededSwept) {
            return Some(BTreeSet::new());
        }
        let desired = self.tasks.values().filter_map(|entry| match entry.task.work() {
            Work::Converge { desired, .. } => Some(*desired),
            Work::Probe {} => None,
        });
        let all = self.sees_queue(now) && !self.poll.has_strangers();
        all.then(|| desired.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay() {
        let mut numbers = Numbers::default();
        let mut next = |name: &str, number, aged| numbers.next(name, number, aged, 2);
        assert_eq!(next("", 3, true), [] as [u64; 0]);
        assert_eq!(next("", 4, true), [] as [u64; 0]);
        assert_eq!(next("", 5, true), [3]);
        // Numbers may be missing: it is numbers that are counted, not objects.
        assert_eq!(next("", 9, false), [4, 5]);
        assert_eq!(next("", 10, true), [] as [u64; 0]);
        assert_eq!(next("", 12, true), [10]);
        // Another name begins anew.
        assert_eq!(next("c1", 14, true), [] as [u64; 0]);
        assert_eq!(next("c1", u64::MAX, true), [14]);
    }
}
