//! Batches of updates (the standard's section 12.2) and of queries (section 13).

use outplane_p4runtime::p4::v1 as proto;
use proto::write_request::Atomicity;

use super::forwarding::Forwarding;
use super::read::Entities;
use super::refusal::{Outcome, Refusal};
use super::write::Journal;
use super::{Shared, State};

/// Updates between two packets at most: a packet waits no longer than these take.
const RUN: usize = 64;

impl Shared {
    /// Applies the updates of a batch in their order. The result has one outcome for each update, or one refusal for
    /// all of them, with nothing tried. The caller keeps other batches and queries away meanwhile; packets see the
    /// state between runs of updates, or, with `DATAPLANE_ATOMIC`, only before and after the batch.
    pub fn apply(&self, updates: &[proto::Update], atomicity: Atomicity) -> Outcome<Vec<Outcome<()>>> {
        let limits = self.read().limits.clone();
        if self.read().control().is_none() {
            return Err(Refusal::failed_precondition("there is no forwarding pipeline yet: push one first"));
        }
        if updates.len() > limits.updates {
            let message =
                format!("{} updates in a batch; this switch takes {}", updates.len(), limits.updates);
            return Err(Refusal::exhausted(message));
        }
        if atomicity == Atomicity::ContinueOnError {
            let mut outcomes = Vec::with_capacity(updates.len());
            for run in updates.chunks(RUN) {
                self.with_control(|state| {
                    outcomes.extend(run.iter().map(|update| state.apply(update, &mut Journal::default())));
                })?;
            }
            return Ok(outcomes);
        }
        if updates.len() > limits.atomic_updates {
            let (count, limit) = (updates.len(), limits.atomic_updates);
            let message = format!("a batch of {count} updates; {} takes {limit}", atomicity.as_str_name());
            return Err(Refusal::unimplemented(message));
        }
        self.apply_all_or_none(updates, atomicity == Atomicity::DataplaneAtomic)
    }

    /// Stops at the first update that is refused, and undoes what was done. With `at_once`, no packet sees any of it
    /// before it is complete, or undone.
    fn apply_all_or_none(&self, updates: &[proto::Update], at_once: bool) -> Outcome<Vec<Outcome<()>>> {
        let run = if at_once { updates.len().max(1) } else { RUN };
        let mut journal = Journal::recording();
        let mut done = 0;
        for run in updates.chunks(run) {
            let refusal = self.with_control(|state| {
                for update in run {
                    if let Err(refusal) = state.apply(update, &mut journal) {
                        if at_once {
                            undo(state, &mut journal, usize::MAX);
                        }
                        return Some(refusal);
                    }
                    done += 1;
                }
                None
            })?;
            if let Some(refusal) = refusal {
                while self.with_control(|state| undo(state, &mut journal, RUN))? {}
                let aborted = |index: usize| {
                    let what = if index < done { "undone" } else { "not tried" };
                    Err(Refusal::aborted(format!("{what}: update {done} of the batch was refused")))
                };
                let mut outcomes: Vec<_> = (0..updates.len()).map(aborted).collect();
                outcomes[done] = Err(refusal);
                return Ok(outcomes);
            }
        }
        Ok(vec![Ok(()); updates.len()])
    }
}

/// Undoes the last `count` updates; false when there was nothing left.
fn undo(state: &mut Forwarding, journal: &mut Journal, count: usize) -> bool {
    let steps = journal.take_last(count);
    let any = !steps.is_empty();
    for step in steps {
        step(state);
    }
    any
}

/// The answer to a batch of queries.
#[derive(Default)]
pub struct Answer {
    entities: std::iter::Flatten<std::vec::IntoIter<Entities>>,
    outcomes: Vec<Outcome<()>>,
}

impl State {
    /// Answers the queries of a batch, as of this moment. The entities come first; what was refused is told apart
    /// from them.
    pub fn query(&self, queries: &[proto::Entity]) -> Outcome<Answer> {
        let state = self.control().ok_or_else(|| {
            Refusal::failed_precondition("there is no forwarding pipeline yet: push one first")
        })?;
        if queries.len() > self.limits.queries {
            let message =
                format!("{} queries in a batch; this switch takes {}", queries.len(), self.limits.queries);
            return Err(Refusal::exhausted(message));
        }
        let mut parts = Vec::new();
        let mut left = self.limits.entities;
        let mut answer = |query| {
            let selection = state.select(Some(query))?;
            let mut counts = selection.iter().map(|part| part.size_hint().1.unwrap_or(usize::MAX));
            left = counts.try_fold(left, usize::checked_sub).ok_or_else(|| {
                let limit = self.limits.entities;
                Refusal::exhausted(format!("the answer has more than {limit} entities: ask for less"))
            })?;
            parts.extend(selection);
            Ok(())
        };
        let outcomes = queries.iter().map(&mut answer).collect();
        Ok(Answer { entities: parts.into_iter().flatten(), outcomes })
    }
}

impl Iterator for Answer {
    type Item = proto::Entity;

    fn next(&mut self) -> Option<proto::Entity> {
        self.entities.next().map(|entity| proto::Entity { entity: Some(entity) })
    }
}

impl Answer {
    /// One outcome for each query.
    pub fn into_outcomes(self) -> Vec<Outcome<()>> {
        self.outcomes
    }
}

#[cfg(test)]
mod tests;
