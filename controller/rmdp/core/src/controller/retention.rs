//! What is kept by number, by owner, or because somebody needs it. The sweeper lists it when it is through with what the
//! horizon keeps, and deletes page by page:
//!
//! | key | goes when |
//! |---|---|
//! | `h/<source>/<N>` | a higher one is known, and [`chain::may_go`] |
//! | `i/<N>`, `i/s/<N>/..` | `retention.generations` newer ones are there, and [`chain::generation_may_go`], and it has been closed for a grace |
//! | `config/<N>` | `retention.configs` newer ones are there, and it is older than the horizon |
//! | `e/<node>/<N>` | 16 higher ones of the node are there, and it is older than the grace |
//! | `a/<N>/<switch>` | the number after it has been closed for a grace |
//! | `n/<node>`, `k/<node>`, `degraded/<node>`, `l/<node>/<N>` | no member has this name, and it is older than the grace |
//! | `degraded/<node>` | it is older than ten minutes and the grace: an alert that holds is written again each minute |
//! | `b/<sha256>` | it is older than horizon and grace, and no pending task names it |
//!
//! The highest number of a chain stays for ever, and so do those that it is found by: [`chain::may_go`]. What goes is
//! decided by a higher number that a listing has shown, and never by what it has not shown. A generation stays until nobody claims its
//! tasks any more, whatever the clocks say. Desired states are copies of what a generation compiles to: a sweeper cannot
//! see that a distributor is about to queue a task that names an old one, but a controller that misses one makes it again
//! from the generation.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::chain;
use crate::horizons::Horizons;
use crate::io::{Action, Listed};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::task::{AUDITS, Digest, GENERATIONS, Work};
use crate::time::Instant;

use super::Controller;
use super::sweep::Stage;

/// Raises, and epochs of a node, that are kept beside those that are needed to find the highest one.
const RAISES: u32 = 64;
const EPOCHS: u32 = 16;
/// Raises that were listed and not found.
const UNFOUND: usize = 1024;
/// An alert that nobody has written for so long is forgotten: whoever wrote it is gone, and it has cleared since.
const FORGOTTEN: Duration = Duration::from_mins(10);

impl Controller {
    /// Which objects of a page need not be kept any longer.
    pub(super) fn not_kept(&mut self, now: Instant, keys: &[Listed], actions: &mut Vec<Action>) -> Vec<Key> {
        let (horizon, grace) = (self.config.horizon(), self.grace(now));
        let retention = &self.config.retention;
        match self.sweep.stage {
            Stage::Horizons => self.overtaken(now, keys, actions),
            Stage::Generations => {
                let keep = retention.generations;
                self.beyond(keys, keep, |horizons, number, _| {
                    // Those that rest on it may be open still.
                    let since = horizons.closed_since(GENERATIONS, chain::block_end(number));
                    since.is_some_and(|since| now.since(since) >= grace)
                })
            }
            Stage::Configs => {
                let keep = retention.configs;
                self.beyond(keys, keep, |_, _, age| age >= horizon)
            }
            Stage::Epochs => self.beyond(keys, EPOCHS, |_, _, age| age >= grace),
            Stage::Audits => {
                // The highest number that is closed stays, so that the next one is told by the log, whatever else goes.
                let over = |number: u64| {
                    let since = self.horizons.closed_since(AUDITS, number.saturating_add(1));
                    since.is_some_and(|since| now.since(since) >= grace)
                };
                let old = |listed: &&Listed| matches!(listed.key, Key::Audit(number, _) if over(number));
                keys.iter().filter(old).map(|listed| listed.key.clone()).collect()
            }
            Stage::Statuses | Stage::Kept | Stage::Alerts | Stage::Packets => {
                let left = |listed: &&Listed| match &listed.key {
                    Key::Status(node) | Key::Kept(node) | Key::Packets(node, _) => {
                        listed.age >= grace && self.config.member(node).is_none()
                    }
                    // One that holds is written again and again.
                    Key::Degraded(node) => {
                        let left = self.config.member(node).is_none();
                        listed.age >= if left { grace } else { grace.max(FORGOTTEN) }
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

    /// Raises that are no longer needed to find the highest one.
    fn overtaken(&mut self, now: Instant, keys: &[Listed], actions: &mut Vec<Action>) -> Vec<Key> {
        let mut gone = Vec::new();
        if self.is(Mutant::NeededSwept) {
            return gone;
        }
        for Listed { key, .. } in keys {
            let Key::Horizon(source, below) = key else { continue };
            let known = self.horizons.below(source);
            if *below > known {
                // Another's, that is searched for now; or, if it is not found until the next round, one without its path.
                self.horizons.want(source, now);
                let raise = (source.clone(), *below);
                if self.sweep.unfound.contains(&raise) {
                    self.raise_to(source.clone(), *below, actions);
                } else if self.sweep.unfound.len() < UNFOUND {
                    self.sweep.unfound.insert(raise);
                }
            } else if chain::may_go(*below, known, RAISES) {
                gone.push(key.clone());
            }
        }
        gone
    }

    fn beyond(
        &mut self,
        keys: &[Listed],
        keep: u32,
        may_go: impl Fn(&Horizons, u64, Duration) -> bool,
    ) -> Vec<Key> {
        let mutant = self.is(Mutant::NeededSwept);
        let mut gone = Vec::new();
        for Listed { key, age } in keys {
            let (name, number, of): (_, _, fn(&str, u64) -> Key) = match key {
                // They are listed after all generations.
                Key::Snapshot(generation, _) => {
                    let newest = self.sweep.numbers.led_to;
                    let goes = may_go(&self.horizons, *generation, *age)
                        && chain::generation_may_go(*generation, newest, keep);
                    gone.extend((goes || mutant).then(|| key.clone()));
                    continue;
                }
                Key::Generation(number) => ("", *number, |_, number| Key::Generation(number)),
                Key::Config(version) => ("", *version, |_, version| Key::Config(version)),
                Key::Epoch(node, epoch) => {
                    (node.as_str(), *epoch, |node, epoch| Key::Epoch(node.to_owned(), epoch))
                }
                _ => continue,
            };
            let is_over = may_go(&self.horizons, number, *age) || mutant;
            let is_spare: fn(u64, u64, u32) -> bool =
                if matches!(key, Key::Generation(_)) { chain::generation_may_go } else { chain::may_go };
            let goes = |aged| if mutant { aged < number } else { is_spare(aged, number, keep) };
            if self.is(Mutant::FarNumberCounts) {
                self.sweep.numbers.last = number - 1;
            }
            let numbers = self.sweep.numbers.next(name, number, is_over, goes);
            gone.extend(numbers.into_iter().map(|number| of(name, number)));
        }
        gone
    }

    /// The desired states that pending tasks name. None: not known.
    fn desired(&self, now: Instant) -> Option<BTreeSet<Digest>> {
        if self.is(Mutant::NeededSwept) {
            return Some(BTreeSet::new());
        }
        let pending = self.tasks.values().map(|entry| &entry.task).chain(self.proofs.waiting());
        let desired = pending.filter_map(|task| match task.work() {
            Work::Converge { desired, .. } => Some(*desired),
            Work::Ask {} => None,
        });
        let all = self.has_seen_queue(now) && !self.poll.has_strangers(now, self.config.grace());
        all.then(|| desired.collect())
    }
}
