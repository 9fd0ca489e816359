//! What nodes tell each other.

use outplane_rmdp_wire as wire;
pub use outplane_rmdp_wire::Heard;

use crate::config::Role;
use crate::task::TransactionId;

/// A heartbeat's contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heartbeat {
    /// What the sender is.
    pub role: Role,
    /// The newest generation that it knows of; 0 for none.
    pub generation: u64,
    /// How long until its sender's next one at most, milliseconds; 0: it leaves in good order, and no regular one follows.
    pub interval_ms: u16,
    /// What became of tasks: hints.
    pub notices: Vec<Notice>,
    /// How senders look from there.
    pub lateness: Vec<Row>,
    /// Starts of others that the sender has heard, or a part of them.
    pub heard: Vec<Heard>,
}

/// What became of a task, as its owner says. It saves requests, and nothing is decided by it: controllers look for
/// themselves, distributors don't queue what is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Notice {
    /// The task.
    pub id: TransactionId,
    /// The attempt.
    pub attempt: u32,
    /// What became of it.
    pub what: NoticeOf,
}

/// See [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeOf {
    /// The attempt is owned by the sender.
    Claimed,
    /// The decision is in the store.
    Decided,
    /// The attempt has failed; its result is in the store.
    Failed,
}

impl From<wire::Notice> for Notice {
    fn from(notice: wire::Notice) -> Self {
        let what = match notice.what {
            wire::NoticeOf::Claimed => NoticeOf::Claimed,
            wire::NoticeOf::Decided => NoticeOf::Decided,
            wire::NoticeOf::Failed => NoticeOf::Failed,
        };
        Self { id: notice.id, attempt: notice.attempt, what }
    }
}

impl From<Notice> for wire::Notice {
    fn from(notice: Notice) -> Self {
        let what = match notice.what {
            NoticeOf::Claimed => wire::NoticeOf::Claimed,
            NoticeOf::Decided => wire::NoticeOf::Decided,
            NoticeOf::Failed => wire::NoticeOf::Failed,
        };
        Self { id: notice.id, attempt: notice.attempt, what }
    }
}

/// How a sender looks from a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// The sender.
    pub sender: u32,
    /// Copies that came, of the last 50 tasks.
    pub copies: u32,
    /// Copies that did not.
    pub missing: u32,
    /// Median of arrival minus first copy's arrival, microseconds.
    pub median_us: u32,
    /// Late ones of the last 20.
    pub late: u8,
}

impl From<wire::Lateness> for Row {
    fn from(row: wire::Lateness) -> Self {
        let wire::Lateness { sender, copies, missing, median_us, late } = row;
        Self { sender, copies, missing, median_us, late }
    }
}

impl From<Row> for wire::Lateness {
    fn from(row: Row) -> Self {
        let Row { sender, copies, missing, median_us, late } = row;
        Self { sender, copies, missing, median_us, late }
    }
}

impl Heartbeat {
    /// Its sender leaves in good order: no regular one follows.
    pub fn leaves(&self) -> bool {
        self.interval_ms == 0
    }

    /// As it came.
    pub fn of_wire(heartbeat: &wire::Heartbeat<'_>) -> Self {
        let role = match heartbeat.beat.role {
            wire::Role::Distributor => Role::Distributor,
            wire::Role::Controller => Role::Controller,
        };
        Self {
            role,
            generation: heartbeat.beat.generation,
            interval_ms: heartbeat.beat.interval_ms,
            notices: heartbeat.notices.iter().map(Notice::from).collect(),
            lateness: heartbeat.lateness.iter().map(Row::from).collect(),
            heard: heartbeat.heard.iter().collect(),
        }
    }
}
