//! The life of a task, as the store tells it: queued, claimed, failed, decided.

use outplane_rmdp_core::key::{Key, Prefix};
use outplane_rmdp_core::object::{AttemptResult, Claim, Decision, Object, QueuedTask};
use outplane_rmdp_core::task::TransactionId;

use crate::error::Error;
use crate::objects::Objects;

/// Most attempts that are read of one task.
const MOST_ATTEMPTS: usize = 1000;

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who owns it, since when, for how long.
    pub claim: Claim,
    /// Why it failed, if it did and its owner could say so.
    pub result: Option<AttemptResult>,
}

/// What is known of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The task.
    pub id: TransactionId,
    /// As it lies in the queue; none before, and soon after the decision.
    pub queued: Option<QueuedTask>,
    /// Its attempts in order. The last one may be under way.
    pub attempts: Vec<Attempt>,
    /// How it ended.
    pub decision: Option<Decision>,
}

impl Life {
    /// A task of which nothing is known yet.
    pub fn new(id: TransactionId) -> Self {
        Self { id, queued: None, attempts: Vec::new(), decision: None }
    }

    /// Reads all of it.
    pub async fn read(objects: &Objects, id: TransactionId) -> Result<Self, Error> {
        let mut life = Self::new(id);
        life.follow(objects).await?;
        Ok(life)
    }

    /// Whether anything is known.
    pub fn is_known(&self) -> bool {
        self.queued.is_some() || !self.attempts.is_empty() || self.decision.is_some()
    }

    /// Reads what may be new. Whether something is. A decided task has nothing new any more.
    pub async fn follow(&mut self, objects: &Objects) -> Result<bool, Error> {
        if self.decision.is_some() {
            return Ok(false);
        }
        let (decision, queued) = (Key::Decision(self.id), Key::Queue(self.id));
        let queued = async {
            // It is written once.
            if self.queued.is_some() { Ok(None) } else { objects.get_readable(&queued).await }
        };
        let (decision, queued) = tokio::join!(objects.get(&decision), queued);
        let mut news = false;
        if let Some(Object::Task(task)) = queued? {
            self.queued = Some(task);
            news = true;
        }
        let decision = decision?;
        news |= self.follow_attempts(objects).await?;
        if let Some(Object::Decision(decision)) = decision {
            self.decision = Some(decision);
            news = true;
        }
        Ok(news)
    }

    async fn follow_attempts(&mut self, objects: &Objects) -> Result<bool, Error> {
        let mut news = false;
        while self.attempts.len() < MOST_ATTEMPTS {
            if let Some(last) = self.attempts.last_mut()
                && last.result.is_none()
                && let Some(Object::Result(result)) =
                    objects.get_readable(&Key::Result(self.id, last.claim.attempt)).await?
            {
                last.result = Some(result);
                news = true;
            }
            let next = self.attempts.last().map_or(1, |last| last.claim.attempt.saturating_add(1));
            let Some(Object::Claim(claim)) = objects.get(&Key::Claim(self.id, next)).await? else { break };
            self.attempts.push(Attempt { claim, result: None });
            news = true;
        }
        Ok(news)
    }
}

/// The ids of the tasks in the queue, at most `limit`; whether these are all.
pub async fn queued(objects: &Objects, limit: usize) -> Result<(Vec<TransactionId>, bool), Error> {
    let (keys, all) = objects.list_all(&Prefix::Queue, limit).await?;
    Ok((keys.iter().filter_map(Key::id).collect(), all))
}
