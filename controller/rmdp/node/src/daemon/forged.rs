//! Datagrams whose tag is wrong, by whose name they come in: a node with another secret under the same key id looks like
//! that, and so does somebody who has no secret at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outplane_rmdp_core::liveness::Heard;
use outplane_rmdp_transport::Counters;

use super::Daemon;
use super::inside::Inside;
use crate::clock;

/// Who was heard within this is heard.
pub(super) const RECENT: Duration = Duration::from_secs(5);

/// So long they have to come before they are told of: one that was damaged on the way is nothing.
const AFTER: Duration = Duration::from_secs(3);
/// When none has come for so long it is over.
const OVER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// Since the receiver's start.
    count: u64,
    /// Of those that still come: the first and the last.
    first: Option<Duration>,
    last: Duration,
}

/// What is refused as forged. Bounded by the senders of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Forged(BTreeMap<u32, Run>);

/// Where the kernel refuses them nobody knows in whose name they came.
const SOMEBODY: u32 = u32::MAX;

impl Forged {
    /// So many were refused since the receiver's start, by sender.
    pub(crate) fn see(&mut self, now: Duration, counts: impl Iterator<Item = (u32, u64)>) {
        for (sender, count) in counts.filter(|(_, count)| *count > 0) {
            let run = self.0.entry(sender).or_default();
            if count > run.count {
                run.first = run.first.filter(|_| now.saturating_sub(run.last) < OVER).or(Some(now));
                (run.count, run.last) = (count, now);
            }
        }
    }

    /// In whose name they keep coming, and how many there were.
    pub(crate) fn standing(&self, now: Duration) -> BTreeMap<u32, u64> {
        let stands = |run: &Run| {
            let long = run.first.is_some_and(|first| run.last.saturating_sub(first) >= AFTER);
            long && now.saturating_sub(run.last) < OVER
        };
        self.0.iter().filter(|(_, run)| stands(run)).map(|(sender, run)| (*sender, run.count)).collect()
    }
}

/// How many were refused of each sender, and of nobody by name: XDP counts them together.
fn by_sender(counters: &Counters) -> impl Iterator<Item = (u32, u64)> {
    let named: u64 = counters.senders.values().map(|sender| sender.forged).sum();
    let unnamed = (SOMEBODY, counters.drops.forged.saturating_sub(named));
    counters.senders.iter().map(|(sender, counts)| (*sender, counts.forged)).chain([unnamed])
}

/// What is to be said of it: senders by name with their counts, and of each whether its own datagrams are heard, too.
/// `alone`: no other member is heard at all.
fn words(senders: &[(Option<&str>, u64, bool)], alone: bool) -> Vec<String> {
    let named: Vec<&str> = senders.iter().filter_map(|(name, ..)| *name).collect();
    if alone && named.len() > 1 {
        let count: u64 = senders.iter().map(|(_, count, _)| count).sum();
        return vec![format!(
            "all datagrams of others ({}) are refused as forged, {count} so far, and none is taken: this node's secret is not \
             theirs under the same key id; correct it in [keys] and restart the node",
            named.join(", ")
        )];
    }
    let one = |(name, count, heard): &(Option<&str>, u64, bool)| match (name, heard) {
        (None, _) => format!(
            "datagrams are refused as forged, {count} so far; XDP does not tell in whose name, nor from which address: has one of \
             those that are not heard another secret under the same key id? `xdp = \"off\"` in [network] of this node's file names \
             them after a restart"
        ),
        (Some(name), false) => format!(
            "datagrams of {name} are refused as forged, {count} so far: its secret and this node's are not the same under one \
             key id; compare [keys] in their files"
        ),
        (Some(name), true) => format!(
            "datagrams in the name of {name} are refused as forged, {count} so far, while others of it are taken: somebody \
             else sends them, or it has just got another secret"
        ),
    };
    senders.iter().map(one).collect()
}

impl<M: Inside> Daemon<M> {
    /// Whose datagrams are refused as forged.
    pub(super) fn see_forged(&mut self, counters: &Counters) {
        let now = clock::now();
        self.forged.see(now, by_sender(counters));
        let standing = self.forged.standing(now);
        let told = std::mem::replace(&mut self.told_forged, standing.keys().copied().collect());
        if self.told_forged.iter().any(|sender| !told.contains(sender)) {
            for text in self.forgeries() {
                tracing::error!(alert = true, "{text}");
                self.shell.metrics.alert();
            }
            self.shell.changed = true;
        }
    }

    /// That datagrams are refused as forged, in words.
    pub(super) fn forgeries(&self) -> Vec<String> {
        let standing = self.forged.standing(clock::now());
        if standing.is_empty() {
            return Vec::new();
        }
        let heard = self.shell.machine.heard(clock::instant());
        let recent = |heard: &&Heard| heard.ago.is_some_and(|ago| ago < RECENT);
        let heard: BTreeSet<u32> = heard.iter().filter(recent).map(|heard| heard.sender).collect();
        let names: Vec<_> = standing
            .iter()
            .map(|(sender, count)| {
                let name = (*sender != SOMEBODY).then(|| self.name_of(*sender));
                (name, *count, heard.contains(sender))
            })
            .collect();
        let names: Vec<_> =
            names.iter().map(|(name, count, heard)| (name.as_deref(), *count, *heard)).collect();
        words(&names, heard.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_of_while_they_keep_coming() {
        let at = Duration::from_secs;
        let mut forged = Forged::default();
        forged.see(at(1), [(3, 0), (4, 1)].into_iter());
        for second in 2..=6 {
            forged.see(at(second), [(3, second * 5), (4, 1)].into_iter());
            assert_eq!(forged.standing(at(second)).len(), usize::from(second >= 5), "{second}");
        }
        assert_eq!(forged.standing(at(6)), BTreeMap::from([(3, 30)]));
        assert_eq!(forged.standing(at(11)), BTreeMap::new(), "over");
        // And one more, much later, is one.
        forged.see(at(100), [(3, 31)].into_iter());
        assert_eq!(forged.standing(at(100)), BTreeMap::new());
    }

    /// What the kernel drops comes without a name, and is told of all the same.
    #[test]
    fn what_xdp_drops_is_counted_without_a_name() {
        use outplane_rmdp_transport::SenderCounters;

        let at = Duration::from_secs;
        let mut counters = Counters::default();
        counters.senders.insert(3, SenderCounters { forged: 2, ..SenderCounters::default() });
        let mut forged = Forged::default();
        for second in 1..=5 {
            counters.drops.forged = 2 + second * 10;
            forged.see(at(second), by_sender(&counters));
        }
        assert_eq!(forged.standing(at(5)), BTreeMap::from([(SOMEBODY, 50)]));
    }

    #[test]
    fn whoever_has_the_wrong_secret_is_told_so() {
        let told = words(&[(Some("d1"), 9, false), (Some("c1"), 9, false)], true);
        assert!(
            told.len() == 1 && told[0].contains("(d1, c1)") && told[0].contains("this node's secret"),
            "{told:?}"
        );
        let told = words(&[(Some("c2"), 326, false)], false);
        assert!(told[0].starts_with("datagrams of c2 are refused as forged, 326 so far"), "{told:?}");
        assert!(words(&[(Some("c2"), 1, true)], false)[0].contains("somebody else"));
        assert!(words(&[(None, 1, false)], true)[0].contains("XDP does not tell"));
    }
}
