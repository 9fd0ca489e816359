//! What the journals and the records say, as times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use outplane_testbed::{Cluster, JournalLine, Part, What};

use super::system::{Record, Submitted};

/// When each switch took the last write of each policy, Unix nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Journals(BTreeMap<String, BTreeMap<u64, u64>>);

/// Tasks that were written to a switch after their decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Late {
    /// Carried out, as the decision said: that must not be.
    pub(super) done: usize,
    /// Overtaken: a request that was under way when the attempt was stopped, and that the switch took before it heard of
    /// the newer fence.
    pub(super) overtaken: usize,
    /// The longest time.
    pub(super) most_ms: u64,
}

/// A task with its times.
#[derive(Clone, Debug)]
pub(super) struct Timed<'a> {
    pub(super) record: &'a Record,
    /// When it was submitted, Unix nanoseconds.
    pub(super) due: u64,
    /// When its switch had taken the last write of it, or of a newer one that overtook it.
    pub(super) written: u64,
}

impl Timed<'_> {
    pub(super) fn latency(&self) -> Duration {
        Duration::from_nanos(self.written.saturating_sub(self.due))
    }
}

/// Whether a line is a write that changed something.
pub(in crate::bench) fn is_write(line: &JournalLine) -> bool {
    matches!(&line.what, What::Write { result, changes } if result == "OK" && !changes.is_empty())
}

impl Journals {
    pub(super) fn read(cluster: &Cluster) -> Result<Self> {
        let mut last: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
        for switch in cluster.names(Part::Switch) {
            let text = std::fs::read_to_string(cluster.journal(&switch))?;
            // A line that is just being written is left for the next time.
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            let writes = last.entry(switch).or_default();
            for line in JournalLine::parse_all(whole)?.iter().filter(|line| is_write(line)) {
                let number = line.election_id.context("a write without an election id")?.fence().generation;
                let at = writes.entry(number).or_default();
                *at = line.unix_ns.max(*at);
            }
        }
        Ok(Self(last))
    }

    /// Tasks that were written to a switch after their decision.
    pub(super) fn late(&self, records: &[Record]) -> Late {
        let mut late = Late::default();
        for record in records {
            let written = self.0.get(&record.switch).and_then(|writes| writes.get(&record.number));
            let (Some(written), Some((_, decided))) = (written, &record.decided) else { continue };
            // Decisions have their times in whole milliseconds.
            let by = (written / 1_000_000).saturating_sub(decided / 1_000_000);
            if by > 0 {
                *(if record.done == Some(true) { &mut late.done } else { &mut late.overtaken }) += 1;
                late.most_ms = late.most_ms.max(by);
            }
        }
        late
    }

    /// The tasks of these policies with their times. A task that was overtaken is over when the one is that overtook it.
    pub(super) fn timed<'a>(
        &self,
        submitted: &[Submitted],
        switches: &[String],
        records: &'a [Record],
    ) -> Result<Vec<Timed<'a>>> {
        let records: BTreeMap<_, _> =
            records.iter().map(|record| ((record.switch.as_str(), record.number), record)).collect();
        let mut timed = Vec::new();
        for switch in switches {
            let writes = self.0.get(switch).with_context(|| format!("{switch} has no journal"))?;
            for one in submitted {
                let first = (switch.as_str(), one.number);
                let record = *records
                    .get(&first)
                    .with_context(|| format!("policy {} was lost on {switch}", one.number))?;
                let last = (switch.as_str(), u64::MAX);
                let done = records.range(first..=last).filter(|(_, record)| record.done == Some(true));
                let written = done.filter_map(|((_, number), _)| writes.get(number)).min();
                let written =
                    *written.with_context(|| format!("policy {} never got to {switch}", one.number))?;
                timed.push(Timed { record, due: one.due, written });
            }
        }
        Ok(timed)
    }
}

/// The longest time in which tasks waited and none was finished, between two finishes the later of which lies in the
/// window. Tasks are (due, written).
pub(super) fn longest_stall(tasks: &[(u64, u64)], window: (u64, u64)) -> Duration {
    let mut ends: Vec<_> = tasks.iter().map(|(_, written)| *written).collect();
    ends.sort_unstable();
    let mut longest = 0;
    let mut before = 0;
    for end in ends {
        if (window.0..window.1).contains(&end) {
            let waiting = tasks.iter().filter(|(due, written)| *due < end && *written >= end);
            let since = waiting.map(|(due, _)| *due).min().unwrap_or(end).max(before);
            longest = longest.max(end.saturating_sub(since));
        }
        before = end;
    }
    Duration::from_nanos(longest)
}

/// The value below which so many percent lie; zero of nothing.
pub(in crate::bench) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

pub(in crate::bench) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Name, switches, what was submitted, what became of it.
type Measured<'a> = (&'a str, &'a [String], &'a [Submitted], &'a [Record]);

/// Latencies of both, taken in the same run.
pub(super) fn print_latency(rounds: usize, systems: &[Measured<'_>], journals: &Journals) -> Result<()> {
    println!(
        "\n  Latency of {rounds} policies each, in turns; from submitted, ms             p50      p99      most"
    );
    for (name, switches, submitted, records) in systems {
        let tasks = journals.timed(submitted, switches, records)?;
        let mut policies: BTreeMap<u64, Vec<Duration>> = BTreeMap::new();
        for task in &tasks {
            policies.entry(task.due).or_default().push(task.latency());
        }
        let first: Vec<_> = policies.values().filter_map(|times| times.iter().min().copied()).collect();
        let last: Vec<_> = policies.values().filter_map(|times| times.iter().max().copied()).collect();
        let every: Vec<_> = tasks.iter().map(Timed::latency).collect();
        let acknowledged: Vec<_> = submitted.iter().map(|one| one.acknowledged).collect();
        let owners: BTreeSet<_> = tasks.iter().flat_map(|task| &task.record.claims).collect();
        for (what, times) in [
            ("acknowledged", acknowledged),
            ("first switch written", first),
            ("each switch written", every),
            ("all switches written", last),
        ] {
            println!(
                "    {name:<6} {what:<52} {:>8.2} {:>8.2} {:>8.2}",
                ms(percentile(&times, 50)),
                ms(percentile(&times, 99)),
                ms(percentile(&times, 100))
            );
        }
        let overtaken = tasks.iter().filter(|task| task.record.done != Some(true)).count();
        println!("    {name:<6} {} tasks by {} executors, {overtaken} overtaken", tasks.len(), owners.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_stalls_while_nothing_waits() {
        // Two bursts, far from each other, with 5 and 3 until the first is finished.
        let tasks = [(100, 105), (100, 106), (300, 303), (300, 304)];
        assert_eq!(longest_stall(&tasks, (0, 1000)), Duration::from_nanos(5));
        assert_eq!(longest_stall(&tasks, (200, 1000)), Duration::from_nanos(3));
        // One that waits on while others are finished is no stall; all of them are.
        let tasks = [(100, 400), (100, 150), (120, 350), (340, 390)];
        assert_eq!(longest_stall(&tasks, (0, 1000)), Duration::from_nanos(200));
        assert_eq!(longest_stall(&[], (0, 1000)), Duration::ZERO);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let times: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(51));
        assert_eq!(percentile(&times, 99), Duration::from_millis(100));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
