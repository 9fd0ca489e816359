//! Tasks, and how they end.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// Which task: what it is about, and the number of its event. Its text is what follows `q/`, `c/` and `d/` in keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// What it is about, such as a switch: tasks of one object are executed one after the other, newer ones overtake.
    pub object: String,
    /// Grows with every event of the object.
    pub number: u64,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:020}", self.object, self.number)
    }
}

impl FromStr for TaskId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (object, number) = text.rsplit_once('-').with_context(|| format!("{text:?} is no task"))?;
        let number = number.parse().with_context(|| format!("{text:?} is no task"))?;
        Ok(Self { object: object.to_owned(), number })
    }
}

/// A task that this worker has claimed.
#[derive(Clone, Debug)]
pub struct Task {
    /// Which.
    pub id: TaskId,
    /// What was put.
    pub value: Vec<u8>,
    /// The revision of the claim: higher than that of every claim before it, so it serves as a fence.
    pub claim: i64,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// A newer task of the same object has taken its place.
    Superseded,
}

/// What lies under `d/`: `<worker> <outcome> <Unix milliseconds>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The worker.
    pub by: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When, by the worker's clock.
    pub at_ms: u64,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::Superseded => "superseded",
        };
        write!(f, "{} {outcome} {}", self.by, self.at_ms)
    }
}

impl FromStr for Decision {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<_> = text.split(' ').collect();
        let [by, outcome, at_ms] = words[..] else { bail!("{text:?} is no decision") };
        let outcome = match outcome {
            "done" => Outcome::Done,
            "superseded" => Outcome::Superseded,
            _ => bail!("{text:?} is no decision"),
        };
        Ok(Self { by: by.to_owned(), outcome, at_ms: at_ms.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_again() {
        let id = TaskId { object: "leaf-1".to_owned(), number: 7 };
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        for outcome in [Outcome::Done, Outcome::Superseded] {
            let decision = Decision { by: "w1".to_owned(), outcome, at_ms: 3 };
            assert_eq!(decision.to_string().parse::<Decision>().unwrap(), decision);
        }
        assert!("leaf".parse::<TaskId>().is_err() && "w1 lost 3".parse::<Decision>().is_err());
    }
}
