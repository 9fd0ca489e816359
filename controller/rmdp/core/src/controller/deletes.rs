//! Queued tasks whose decision is in the store are swept, many in one request.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::io::{Action, Reply, Request};
use crate::key::Key;
use crate::task::TransactionId;
use crate::time::Instant;

use super::{Controller, For};

/// How long deletions are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// Before a deletion without an answer is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Keys in a request; more wait for the next one.
const BATCH: usize = 500;
/// Most that wait; what is above is found by the polls again.
const BOUND: usize = 8192;

/// Deletions that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Deletes {
    waiting: BTreeSet<TransactionId>,
    due: Option<Instant>,
    under_way: Vec<TransactionId>,
}

impl Deletes {
    /// False if there is no room.
    pub(super) fn add(&mut self, id: TransactionId, now: Instant) -> bool {
        if self.waiting.len() >= BOUND {
            return false;
        }
        self.waiting.insert(id);
        self.due = self.due.or(Some(now + GATHER));
        true
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.under_way.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }
}

impl Controller {
    pub(super) fn send_deletes(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let full = self.deletes.waiting.len() >= BATCH || self.draining && !self.deletes.waiting.is_empty();
        if !self.deletes.under_way.is_empty() || !(full || self.deletes.due.is_some_and(|due| due <= now)) {
            return;
        }
        while self.deletes.under_way.len() < BATCH
            && let Some(id) = self.deletes.waiting.pop_first()
        {
            self.deletes.under_way.push(id);
        }
        self.deletes.due = (!self.deletes.waiting.is_empty()).then_some(now);
        let keys = self.deletes.under_way.iter().map(|id| Key::Queue(*id)).collect();
        self.ask(For::Deletes, Request::Delete(keys), actions);
    }

    pub(super) fn swept(&mut self, now: Instant, reply: &Reply) {
        let ids = std::mem::take(&mut self.deletes.under_way);
        if *reply == Reply::Done {
            self.counters.swept_queue += ids.len() as u64;
        } else if !ids.is_empty() {
            self.deletes.waiting.extend(ids);
            self.deletes.due = Some(now + RETRY);
        }
    }
}
