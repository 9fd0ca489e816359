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
//! Never more than a minority of either kind is marked. A mark moves a controller to the end of the ranks and tells
//! people; nothing else follows from it.

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

/// A mark that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Whose.
    pub sender: u32,
    /// As what.
    pub of: AlertOf,
    /// Whether it is marked now.
    pub marked: bool,
    /// Above the hard limit.
    pub hard: bool,
    /// What was seen, in words.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    of: AlertOf,
    hard: bool,
    /// When it was last seen to be bad.
    bad: Instant,
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
            self.own.entry(*sender).or_default().observe(copies.tasks, count, lateness, &self.config);
        }
        if let Some(me) = self.me {
            let rows = self.rows().into_iter().map(|row| (row.sender, row)).collect();
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

    /// This receiver's rows, for its heartbeats.
    pub fn rows(&self) -> Vec<Row> {
        self.own.iter().map(|(sender, seen)| seen.row(*sender)).collect()
    }

    /// Whether a node is marked.
    pub fn is_marked(&self, sender: u32) -> bool {
        self.marks.contains_key(&sender)
    }

    /// The nodes that are marked.
    pub fn marked(&self) -> impl Iterator<Item = u32> {
        self.marks.keys().copied()
    }

    fn is_bad(&self, row: &Row) -> bool {
        let tasks = row.copies.saturating_add(row.missing);
        let missing =
            u64::from(row.missing) * 100 > u64::from(tasks) * u64::from(self.config.missing_percent);
        row.late >= self.config.late_of_20 || tasks >= TASKS && missing
    }

    fn is_hard(&self, row: &Row) -> bool {
        row.median_us > self.config.hard_ms.saturating_mul(1000)
    }

    /// Judges the matrix: which marks have come or gone since the last time.
    pub fn judge(&mut self, now: Instant) -> Vec<Change> {
        let fresh: Vec<_> = self
            .matrix
            .iter()
            .filter(|(_, (heard, _))| now.since(*heard) <= STALE)
            .map(|(receiver, (_, rows))| (*receiver, rows.clone()))
            .collect();
        let mut found = Vec::new();
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
        columns.truncate(minority(self.receivers.len()));
        for (bad, receiver, hard) in &columns {
            let reason =
                format!("it gets the copies of {bad} senders late or not at all, which others get in time");
            found.push((*receiver, AlertOf::Receiver, *hard, reason));
        }
        let slow = |receiver: &u32| columns.iter().any(|(_, column, _)| column == receiver);
        let judges: Vec<_> = fresh.iter().filter(|(receiver, _)| !slow(receiver)).collect();
        let mut rows: Vec<_> = self
            .senders
            .iter()
            .filter_map(|sender| {
                let seen = judges.iter().filter_map(|(_, rows)| rows.get(sender));
                let bad: Vec<_> = seen.filter(|row| self.is_bad(row)).collect();
                let hard = bad.iter().filter(|row| self.is_hard(row)).count() * 2 > judges.len();
                let worst = bad.iter().map(|row| row.median_us).max().unwrap_or(0);
                (!bad.is_empty() && bad.len() * 2 > judges.len()).then_some((bad.len(), worst, *sender, hard))
            })
            .collect();
        rows.sort_unstable_by(|a, b| b.cmp(a));
        rows.truncate(minority(self.senders.len()));
        for (bad, worst, sender, hard) in rows {
            let worst = f64::from(worst) / 1e3;
            let reason = format!(
                "its copies come late or not at all at {bad} of {} receivers, median up to {worst:.1} ms",
                judges.len()
            );
            found.push((sender, AlertOf::Sender, hard, reason));
        }
        self.mark(now, found)
    }

    fn mark(&mut self, now: Instant, found: Vec<(u32, AlertOf, bool, String)>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (sender, of, hard, reason) in found {
            // A mark that has not cleared yet still counts towards the minority.
            let kind = if of == AlertOf::Sender { &self.senders } else { &self.receivers };
            let others = self.marks.iter().filter(|(node, mark)| mark.of == of && **node != sender).count();
            if others >= minority(kind.len()) {
                continue;
            }
            let before = self.marks.insert(sender, Mark { of, hard, bad: now });
            if before.is_none_or(|mark| mark.hard != hard) {
                changes.push(Change { sender, of, marked: true, hard, reason });
            }
        }
        let clear = Duration::from_secs(self.config.clear_s.into());
        let cleared: Vec<_> = self
            .marks
            .iter()
            .filter(|(_, mark)| now.since(mark.bad) >= clear)
            .map(|(node, mark)| (*node, *mark))
            .collect();
        for (sender, mark) in cleared {
            self.marks.remove(&sender);
            let reason = format!("good for {} s", self.config.clear_s);
            changes.push(Change { sender, of: mark.of, marked: false, hard: false, reason });
        }
        changes
    }
}

/// The largest minority of so many.
fn minority(of: usize) -> usize {
    of.saturating_sub(1) / 2
}

#[cfg(test)]
mod tests;
