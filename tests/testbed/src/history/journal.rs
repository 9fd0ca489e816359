//! A switch's journal, see docs/command.md.

use std::net::SocketAddr;

use outplane_driver_p4runtime::fence_of;
use outplane_rmdp_core::task::Fence;
use serde::Deserialize;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JournalLine {
    schema: u32,
    /// Since 1970.
    pub unix_ns: u64,
    /// Who.
    pub election_id: Option<ElectionId>,
    /// From where.
    pub peer: Option<SocketAddr>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Stands for a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ElectionId {
    high: u64,
    low: u64,
}

impl ElectionId {
    /// Whose it is: every id is some fence's.
    pub fn fence(self) -> Fence {
        let fence = fence_of(u128::from(self.high) << 64 | u128::from(self.low));
        Fence { generation: fence.generation, audit: fence.audit, attempt: fence.attempt }
    }
}

/// What a switch was asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// Somebody has become primary.
    Primary,
    /// A write.
    Write {
        /// `OK`, or why the whole request was refused.
        result: String,
        /// What was done.
        changes: Vec<String>,
    },
    /// A pipeline.
    Pipeline {
        /// `OK`, or why it was refused.
        result: String,
    },
}

/// A line that is none.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ParseJournalError {
    line: usize,
    why: String,
}

impl JournalLine {
    /// Reads a journal.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, ParseJournalError> {
        let line = |(number, line): (usize, &str)| {
            let error = |why: String| ParseJournalError { line: number + 1, why };
            let line: Self = serde_json::from_str(line).map_err(|why| error(why.to_string()))?;
            if line.schema == 1 { Ok(line) } else { Err(error(format!("schema {}", line.schema))) }
        };
        text.lines().enumerate().map(line).collect()
    }
}
