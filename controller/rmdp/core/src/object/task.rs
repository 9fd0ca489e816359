use serde::{Deserialize, Serialize};

use crate::task::{BadEvent, Event, Task, Work};

/// `q/<id[0:2]>/<id>`: a task that waits for its decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueuedTask {
    /// Why.
    pub event: Event,
    /// What.
    pub work: Work,
    /// The distributor that won the race to write it.
    pub by: String,
    /// When, Unix milliseconds, for people.
    #[serde(default)]
    pub at_ms: u64,
}

impl QueuedTask {
    /// As distributor `by` writes it.
    pub fn new(task: &Task, by: &str) -> Self {
        Self { event: task.event().clone(), work: *task.work(), by: by.to_owned(), at_ms: 0 }
    }

    /// The task, with its id derived again.
    pub fn task(&self) -> Result<Task, BadEvent> {
        Task::new(self.event.clone(), self.work)
    }
}
