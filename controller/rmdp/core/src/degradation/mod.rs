//! Which senders and receivers are slow or lose copies.
//!
//! Lateness is a copy's arrival less the first copy's, on one receiver's clock, so no clocks are compared. One receiver
//! cannot tell a slow sender from its own slow link; so receivers share their rows in heartbeats, and everybody judges the
//! same matrix:
//!
//! ```text
//!              d1   d2   d3   d4          a bad row for most receivers: the sender is slow (d2)
//!        c1    .    bad  .    .           most of the other senders bad for one receiver: it
//!        c2    .    bad  .    .           is slow (c3), and its cells count against no sender
//!        c3    bad  bad  bad  .
//! ```
//!
//! Ranks are moved for never more than a minority of either kind: two who find each other slow must not both stand
//! aside. People are told of whatever is found, in a network of two as well. A cell that is bad and neither its sender's
//! fault nor its receiver's is the path's between them, and its receiver tells of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::{DegradationConfig, Role, SharedConfig};
use crate::io::{Copies, Row};
use crate::object::AlertOf;
use crate::time::Instant;

/// Latenesses that are kept of each sender for median and MAD.
const WINDOW: usize = 50;
/// Of these so many count as "the last 20".
const RECENT: usize = 20;
/// Tasks over which missing copies are counted.
const TASKS: u32 = 50;
/// Rounds of counts that are kept at most.
const ROUNDS: usize = 64;
/// A row that was not heard again for so long counts no more.
const STALE: Duration = Duration::from_secs(5);

/// What one sender's copies looked like here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// Microseconds, newest last.
    lateness: VecDeque<u32>,
    /// Whether each was late when it came.
    late: VecDeque<bool>,
    /// (tasks, copies) of each round, newest last.
    rounds: VecDeque<(u32, u32)>,
    /// When there was a task last: what is older says nothing of now.
    touched: Option<Instant>,
}

impl Seen {
    fn observe(&mut self, tasks: u32, copies: u32, lateness: &[u32], config: &DegradationConfig) {
        for value in lateness.iter().rev().take(WINDOW).rev() {
            let limit = self.limit(config);
            self.lateness.push_back(*value);
            self.late.push_back(*value > limit);
            if self.lateness.len() > WINDOW {
                self.lateness.pop_front();
            }
            if self.late.len() > RECENT {
                self.late.pop_front();
            }
        }
        if tasks == 0 {
            return;
        }
        self.rounds.push_back((tasks, copies.min(tasks)));
        let mut total: u32 = self.rounds.iter().map(|(tasks, _)| *tasks).fold(0, u32::saturating_add);
        while let Some((first, _)) = self.rounds.front()
            && (total - first >= TASKS || self.rounds.len() > ROUNDS)
        {
            total -= first;
            self.rounds.pop_front();
        }
    }

    /// max(late, median + mads x MAD), microseconds.
    fn limit(&self, config: &DegradationConfig) -> u32 {
        let floor = config.late_ms.saturating_mul(1000);
        let middle = median(self.lateness.iter().copied());
        let deviation = median(self.lateness.iter().map(|value| value.abs_diff(middle)));
        // A sender whose median itself is late is late: its own habit is no excuse.
        if middle > floor {
            return floor;
        }
        floor.max(middle.saturating_add(deviation.saturating_mul(config.late_mads)))
    }

    fn row(&self, sender: u32) -> Row {
        let tasks: u32 = self.rounds.iter().map(|(tasks, _)| *tasks).fold(0, u32::saturating_add);
        let copies: u32 = self.rounds.iter().map(|(_, copies)| *copies).fold(0, u32::saturating_add);
        let late = self.late.iter().filter(|late| **late).count();
        Row {
            sender,
            copies,
            missing: tasks - copies,
            median_us: median(self.lateness.iter().copied()),
            late: u8::try_from(late).unwrap_or(u8::MAX),
        }
    }
}

fn median(values: impl Iterator<Item = u32>) -> u32 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// What a fault is found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// In a sender: its copies come late or not at all at most receivers.
    Sender,
    /// In a receiver: most senders' copies come late or not at all there.
    Receiver,
    /// Between a sender and this node.
    Path,
}

impl Fault {
    /// As it stands in an alert; of a path only its receiver tells.
    pub fn alert(self) -> Option<AlertOf> {
        match self {
            Self::Sender => Some(AlertOf::Sender),
            Self::Receiver => Some(AlertOf::Receiver),
            Self::Path => None,
        }
    }
}

/// What is found about a node, or was until now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Whose.
    pub sender: u32,
    /// In what.
    pub of: Fault,
    /// Whether it is so now.
    pub found: bool,
    /// Whether the node stands at the end of the ranks for it.
    pub moved: bool,
    /// Above the hard limit.
    pub hard: bool,
    /// What was seen, in words.
    pub reason: String,
}

/// What is found about a node, until it has been well for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mark {
    of: Fault,
    hard: bool,
    moved: bool,
    /// When it was last seen to be bad.
    bad: Instant,
    reason: String,
}

/// A fault of this round.
struct Found {
    node: u32,
    of: Fault,
    hard: bool,
    reason: String,
}

/// The degradation matrix as one controller knows it. Bounded by the members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Degradation {
    config: DegradationConfig,
    me: Option<u32>,
    senders: Vec<u32>,
    receivers: Vec<u32>,
    own: BTreeMap<u32, Seen>,
    matrix: BTreeMap<u32, (Instant, BTreeMap<u32, Row>)>,
    marks: BTreeMap<u32, Mark>,
}

impl Degradation {
    /// Nobody is degraded yet. `me` is a member's name.
    pub fn new(me: &str, config: &SharedConfig) -> Self {
        let mut degradation = Self {
            config: config.degradation.clone(),
            me: None,
            senders: Vec::new(),
            receivers: Vec::new(),
            own: BTreeMap::new(),
            matrix: BTreeMap::new(),
            marks: BTreeMap::new(),
        };
        degradation.configure(me, config);
        degradation
    }

    /// Follows a new configuration.
    pub fn configure(&mut self, me: &str, config: &SharedConfig) {
        let of = |role| {
            let members = config.members.iter().filter(move |member| member.role == role);
            members.map(|member| member.sender).collect::<Vec<_>>()
        };
        self.config = config.degradation.clone();
        self.me = config.member(me).map(|member| member.sender);
        (self.senders, self.receivers) = (of(Role::Distributor), of(Role::Controller));
        let (senders, receivers) = (&self.senders, &self.receivers);
        self.own.retain(|sender, _| senders.contains(sender));
        self.matrix.retain(|receiver, _| receivers.contains(receiver));
        self.marks.retain(|node, _| senders.contains(node) || receivers.contains(node));
    }

    /// Takes in how copies came here.
    pub fn observe(&mut self, now: Instant, copies: &Copies) {
        for sender in &self.senders {
            let seen = copies.senders.iter().find(|seen| seen.sender == *sender);
            let (count, lateness) = seen.map_or((0, &[][..]), |seen| (seen.copies, &seen.lateness_us[..]));
            let own = self.own.entry(*sender).or_default();
            if copies.tasks > 0 || !lateness.is_empty() {
                own.touched = Some(now);
            }
            own.observe(copies.tasks, count, lateness, &self.config);
        }
        if let Some(me) = self.me {
            let rows = self.rows(now).into_iter().map(|row| (row.sender, row)).collect();
            self.matrix.insert(me, (now, rows));
        }
    }

    /// Takes in another receiver's rows. Strangers are ignored.
    pub fn heard(&mut self, now: Instant, receiver: u32, rows: &[Row]) {
        if rows.is_empty() || Some(receiver) == self.me || !self.receivers.contains(&receiver) {
            return;
        }
        let known = rows.iter().filter(|row| self.senders.contains(&row.sender));
        self.matrix.insert(receiver, (now, known.map(|row| (row.sender, *row)).collect()));
    }

    /// This receiver's rows, for its heartbeats: what it has seen just now. An idle network judges nobody by what came long
    /// ago.
    pub fn rows(&self, now: Instant) -> Vec<Row> {
        let fresh = |seen: &Seen| seen.touched.is_some_and(|touched| now.since(touched) <= STALE);
        self.own.iter().filter(|(_, seen)| fresh(seen)).map(|(sender, seen)| seen.row(*sender)).collect()
    }

    /// Whether a node stands at the end of the ranks.
    pub fn is_moved(&self, sender: u32) -> bool {
        self.marks.get(&sender).is_some_and(|mark| mark.moved)
    }

    /// What is found now, of each node at most one thing.
    pub fn standing(&self) -> impl Iterator<Item = Change> {
        self.marks.iter().map(|(sender, mark)| Change {
            sender: *sender,
            of: mark.of,
            found: true,
            moved: mark.moved,
            hard: mark.hard,
            reason: mark.reason.clone(),
        })
    }

    fn is_bad(&self, row: &Row) -> bool {
        let tasks = row.copies.saturating_add(row.missing);
        let missing =
            u64::from(row.missing) * 100 > u64::from(tasks) * u64::from(self.config.missing_percent);
        row.late >= self.config.late_of_20 || tasks >= TASKS && missing
    }

    /// What is wrong with copies, and what of it was measured: so many late ones of the last 20, the median, percent missing.
    fn words(&self, late: u8, median_us: u32, lost: u64) -> (&'static str, String) {
        let (are_late, are_lost) =
            (late >= self.config.late_of_20, lost > u64::from(self.config.missing_percent));
        let median = f64::from(median_us) / 1e3;
        let lateness = format!(
            "{late} of the last 20 came more than {} ms after the first copy (median {median:.1} ms)",
            self.config.late_ms
        );
        match (are_late, are_lost) {
            (true, false) => ("come late", lateness),
            (false, _) => ("do not come", format!("{lost} % of the last {TASKS} tasks' are missing")),
            (true, true) => ("come late or not at all", format!("{lateness}, {lost} % are missing")),
        }
    }

    fn is_hard(&self, row: &Row) -> bool {
        row.median_us > self.config.hard_ms.saturating_mul(1000)
    }

    /// Judges the matrix: what has come or gone since the last time.
    pub fn judge(&mut self, now: Instant) -> Vec<Change> {
        let fresh: Vec<_> = self
            .matrix
            .iter()
            .filter(|(_, (heard, _))| now.since(*heard) <= STALE)
            .map(|(receiver, (_, rows))| (*receiver, rows.clone()))
            .collect();
        let mut found = self.columns(&fresh);
        // A slow receiver's cells count against no sender; but the others remain the judges.
        let slow: Vec<_> =
            found.iter().map(|column| column.node).take(minority(self.receivers.len())).collect();
        let judges: Vec<_> = fresh.iter().filter(|(receiver, _)| !slow.contains(receiver)).collect();
        let senders = self.rows_of(&judges);
        let (senders, excused) = self.excuse(senders);
        found.extend(senders);
        found.extend(self.paths(&fresh, &found, &excused));
        self.mark(now, found)
    }

    /// Receivers that are slow, the worst first.
    fn columns(&self, fresh: &[(u32, BTreeMap<u32, Row>)]) -> Vec<Found> {
        // What most receivers say of a sender is the sender's fault, and no receiver's.
        let bad_at = |sender: &u32| {
            let cells = fresh.iter().filter_map(|(_, rows)| rows.get(sender));
            cells.filter(|row| self.is_bad(row)).count()
        };
        let others: Vec<_> =
            self.senders.iter().copied().filter(|sender| bad_at(sender) * 2 <= fresh.len()).collect();
        let mut columns: Vec<_> = fresh
            .iter()
            .filter_map(|(receiver, rows)| {
                let cells = others.iter().filter_map(|sender| rows.get(sender));
                let bad: Vec<_> = cells.filter(|row| self.is_bad(row)).collect();
                let hard = bad.iter().filter(|row| self.is_hard(row)).count() * 2 > others.len();
                (bad.len() * 2 > others.len()).then_some((bad.len(), *receiver, hard))
            })
            .collect();
        columns.sort_unstable_by(|a, b| b.cmp(a));
        let column = |(bad, node, hard)| {
            let senders = if bad == 1 { "one sender" } else { &format!("{bad} senders") };
            let reason =
                format!("it gets the copies of {senders} late or not at all, which others get in time");
            Found { node, of: Fault::Receiver, hard, reason }
        };
        columns.into_iter().map(column).collect()
    }

    /// Late is who comes after the first: where most senders come late now and then, and first otherwise, it is the load of
    /// the machines and nobody's fault. Those that are left, and those that are excused.
    fn excuse(&self, senders: Vec<(bool, Found)>) -> (Vec<Found>, Vec<u32>) {
        let late = senders.iter().filter(|(seldom, _)| *seldom).count();
        let excuses = late * 2 > self.senders.len();
        let (noise, left): (Vec<_>, Vec<_>) = senders.into_iter().partition(|(seldom, _)| *seldom && excuses);
        let found = left.into_iter().map(|(_, found)| found).collect();
        (found, noise.into_iter().map(|(_, found)| found.node).collect())
    }

    /// Senders that are slow, the worst first, each with whether it is late now and then only: half of its copies are in
    /// time, and none is missing.
    fn rows_of(&self, judges: &[&(u32, BTreeMap<u32, Row>)]) -> Vec<(bool, Found)> {
        let mut rows: Vec<_> = self
            .senders
            .iter()
            .filter_map(|sender| {
                let seen = judges.iter().filter_map(|(_, rows)| rows.get(sender));
                let bad: Vec<_> = seen.filter(|row| self.is_bad(row)).collect();
                let hard = bad.iter().filter(|row| self.is_hard(row)).count() * 2 > judges.len();
                let worst = bad.iter().map(|row| row.median_us).max().unwrap_or(0);
                let lost = bad.iter().map(|row| missing_percent(row)).max().unwrap_or(0);
                let late = bad.iter().map(|row| row.late).max().unwrap_or(0);
                (!bad.is_empty() && bad.len() * 2 > judges.len()).then_some((
                    bad.len(),
                    worst,
                    lost,
                    late,
                    *sender,
                    hard,
                ))
            })
            .collect();
        rows.sort_unstable_by(|a, b| b.cmp(a));
        let row = |(bad, worst, lost, late, node, hard)| {
            let (come, how) = self.words(late, worst, lost);
            let reason = format!("its copies {come} at {bad} of {} receivers: {how}", judges.len());
            let seldom = worst <= self.config.late_ms.saturating_mul(1000)
                && lost <= u64::from(self.config.missing_percent);
            (seldom, Found { node, of: Fault::Sender, hard, reason })
        };
        rows.into_iter().map(row).collect()
    }

    /// Senders whose copies this receiver lacks or gets late, though nothing is wrong with either of them.
    fn paths(&self, fresh: &[(u32, BTreeMap<u32, Row>)], found: &[Found], excused: &[u32]) -> Vec<Found> {
        let own = fresh.iter().find(|(receiver, _)| Some(*receiver) == self.me);
        let Some((me, rows)) = own.filter(|(me, _)| found.iter().all(|found| found.node != *me)) else {
            return Vec::new();
        };
        let rows = rows.values().filter(|row| self.is_bad(row) && row.sender != *me);
        let rows = rows.filter(|row| found.iter().all(|found| found.node != row.sender));
        let rows = rows.filter(|row| !excused.contains(&row.sender));
        let path = |row: &Row| {
            let (come, how) = self.words(row.late, row.median_us, missing_percent(row));
            let reason = format!("its copies {come} here: {how}; others get them in time");
            Found { node: row.sender, of: Fault::Path, hard: self.is_hard(row), reason }
        };
        rows.map(path).collect()
    }

    fn mark(&mut self, now: Instant, found: Vec<Found>) -> Vec<Change> {
        let mut changes = Vec::new();
        for Found { node, of, hard, reason } in found {
            // A mark that has not cleared yet still counts towards the minority.
            let others =
                self.marks.iter().filter(|(other, mark)| mark.moved && mark.of == of && **other != node);
            let most = match of {
                Fault::Sender => minority(self.senders.len()),
                Fault::Receiver => minority(self.receivers.len()),
                Fault::Path => 0,
            };
            let moved = others.count() < most;
            let mark = Mark { of, hard, moved, bad: now, reason: reason.clone() };
            let before = self.marks.insert(node, mark);
            if before.is_none_or(|mark| (mark.of, mark.hard, mark.moved) != (of, hard, moved)) {
                changes.push(Change { sender: node, of, found: true, moved, hard, reason });
            }
        }
        let clear = Duration::from_secs(self.config.clear_s.into());
        let cleared: Vec<_> = self
            .marks
            .iter()
            .filter(|(_, mark)| now.since(mark.bad) >= clear)
            .map(|(node, mark)| (*node, mark.of))
            .collect();
        for (sender, of) in cleared {
            self.marks.remove(&sender);
            let reason = format!("good for {} s", self.config.clear_s);
            changes.push(Change { sender, of, found: false, moved: false, hard: false, reason });
        }
        changes
    }
}

fn missing_percent(row: &Row) -> u64 {
    let tasks = u64::from(row.copies) + u64::from(row.missing);
    if tasks < u64::from(TASKS) { 0 } else { u64::from(row.missing) * 100 / tasks }
}

/// The largest minority of so many.
fn minority(of: usize) -> usize {
    of.saturating_sub(1) / 2
}

#[cfg(test)]
mod tests;
