//! From counters to what the core's degradation wants to know.

use outplane_rmdp_core::io::{Copies, SenderCopies};

use crate::counters::{Counters, SenderCounters};

/// How copies of announces came in between two snapshots of one receiver's counters.
///
/// `copies_per_task` is how many datagrams of one task a sender's way to here takes: the configured burst, times the
/// groups of which this receiver is a member. Of a task that came in more copies than one, each counts for its share.
///
/// Senders of which no copy came are left out: the core knows who should have sent. Of each sender the last latenesses
/// are given, at most [`crate::RECENT`]. If the counters started anew in between, all of `now` counts. Without any sender
/// in `before` there is nothing to compare with, and nothing is told: the counters of XDP go back to when its maps were
/// pinned, maybe days before the daemon started.
pub fn copies_between(before: &Counters, now: &Counters, copies_per_task: u32) -> Copies {
    if before.senders.is_empty() {
        return Copies::default();
    }
    let anew = before.tasks > now.tasks;
    let since = |now: u64, before: u64| if anew { now } else { now.saturating_sub(before) };
    let tasks = since(now.tasks, before.tasks);
    let copies_per_task = u64::from(copies_per_task.max(1));
    let senders = now.senders.iter().filter_map(|(id, sender)| {
        let earlier = before.senders.get(id);
        let taken = |sender: &SenderCounters| sender.announces.first + sender.announces.duplicates;
        let datagrams = since(taken(sender), earlier.map_or(0, taken));
        let copies = u32::try_from(datagrams.div_ceil(copies_per_task)).unwrap_or(u32::MAX);
        let told = if anew { 0 } else { earlier.map_or(0, |earlier| earlier.lateness.count) };
        let lateness_us = sender.lateness.since(told).collect();
        (copies > 0).then_some(SenderCopies { sender: *id, copies, lateness_us })
    });
    Copies { tasks: u32::try_from(tasks).unwrap_or(u32::MAX), senders: senders.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(tasks: u64, senders: &[(u32, &[u64])]) -> Counters {
        let mut counters = Counters { tasks, ..Counters::default() };
        for (id, latenesses) in senders {
            let mut sender = SenderCounters::default();
            sender.announces.duplicates = latenesses.len() as u64;
            latenesses.iter().for_each(|microseconds| sender.lateness.record(microseconds * 1000));
            counters.senders.insert(*id, sender);
        }
        counters
    }

    #[test]
    fn what_came_in_between() {
        let before = counters(2, &[(1, &[0, 5]), (2, &[7, 0])]);
        let now = counters(5, &[(1, &[0, 5, 9, 0, 3]), (2, &[7, 0]), (3, &[100])]);
        let copies = copies_between(&before, &now, 1);
        assert_eq!(copies.tasks, 3);
        let expected = [
            SenderCopies { sender: 1, copies: 3, lateness_us: vec![9, 0, 3] },
            SenderCopies { sender: 3, copies: 1, lateness_us: vec![100] },
        ];
        assert_eq!(copies.senders, expected);
        assert_eq!(copies_between(&now, &now, 1), Copies::default());
        assert_eq!(copies_between(&now, &before, 1).tasks, 2, "started anew");
        assert_eq!(
            copies_between(&Counters::default(), &now, 1),
            Copies::default(),
            "nothing to compare with"
        );
        let bursts = copies_between(&before, &now, 2);
        assert_eq!(bursts.senders.iter().map(|sender| sender.copies).collect::<Vec<_>>(), [2, 1]);
    }
}
