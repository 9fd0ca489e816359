//! What is written to the store, and deleted from it.

use super::{Checker, Decided, Invariant};
use crate::key::Key;
use crate::object::{Claim, Decision, Object, Outcome};
use crate::sim::store::Change;
use crate::task::{GENERATIONS, TransactionId};

impl Checker {
    /// The store has changed.
    pub(in crate::sim) fn changed(&mut self, real: u64, change: &Change) {
        match change {
            Change::Created(key, object) => self.created(real, key, object),
            Change::Overwritten(Key::Claim(id, attempt), _) => {
                self.fail(
                    Invariant::I1,
                    real,
                    format!("the claim of attempt {attempt} of {id} was replaced"),
                );
            }
            Change::Overwritten(Key::Decision(id), object) => {
                let before = self.decisions.get(id).map(|decided| &decided.decision);
                if let (Object::Decision(new), Some(before)) = (&**object, before)
                    && !same(new, before)
                {
                    self.fail(Invariant::I4, real, format!("the decision of {id} was replaced"));
                }
            }
            Change::Overwritten(..) => {}
            Change::Deleted(key) => self.deleted(real, key),
        }
    }

    fn created(&mut self, real: u64, key: &Key, object: &Object) {
        match (key, object) {
            // Somebody may queue what no log has.
            (Key::Queue(id), Object::Task(_)) if !self.is_real(*id) => {}
            (Key::Queue(id), Object::Task(task)) => {
                let (before, _) = self.queued.entry(*id).or_insert_with(|| (task.event.clone(), real));
                if *before != task.event {
                    self.fail(Invariant::I7, real, format!("{id} names two events"));
                }
            }
            (Key::Audit(..), Object::Audit(entry)) => {
                let task = entry.task().expect("a good audit");
                let said = self.said.get(&(entry.generation, entry.switch.clone()));
                if said.is_none_or(|said| !task.work().is_same_state(said.sha256, said.entries)) {
                    self.fail(Invariant::I16, real, format!("{key} is not what its generation says"));
                }
                self.works.insert(task.id(), *task.work());
            }
            (Key::Claim(id, attempt), Object::Claim(claim)) => self.claimed(real, *id, *attempt, claim),
            (Key::Result(id, attempt), Object::Result(result)) => {
                self.results.insert((*id, *attempt));
                self.acts_by_nonce(real, *id, *attempt, &result.nonce);
            }
            (Key::Decision(id), Object::Decision(decision)) => self.decided(real, *id, decision),
            (Key::Horizon(source, below), _) => {
                let before = self.closed.entry(source.clone()).or_default();
                let (low, high) = (*before, (*below).max(*before));
                *before = high;
                // What was queued less than a grace before the raise was sent may be closed: it came a horizon too late,
                // and the source has gone on since. What lay there for longer has been seen.
                let sent = self.raises.get(&(source.clone(), *below)).copied().unwrap_or(real);
                let seen = sent.saturating_sub(self.grace + self.grace / 20);
                let open: Vec<_> = self
                    .queued
                    .iter()
                    .filter(|(id, (event, queued))| {
                        event.source == *source
                            && (low..high).contains(&event.occurrence)
                            && *queued <= seen
                            && !self.decisions.contains_key(id)
                    })
                    .map(|(id, _)| *id)
                    .collect();
                for id in open {
                    self.fail(
                        Invariant::I5,
                        real,
                        format!("{id} is queued, not decided, and closed by {below}"),
                    );
                }
            }
            _ => {}
        }
    }

    fn claimed(&mut self, real: u64, id: TransactionId, attempt: u32, claim: &Claim) {
        self.must_be_real(real, id, None, "claimed");
        if attempt > 1 {
            let before = self.claims.get(&(id, attempt - 1)).and_then(|(nonce, _)| self.sent.get(nonce));
            let over = before.map(|sent| sent.real + sent.clock.real_length(sent.lease));
            let failed = self.results.contains(&(id, attempt - 1));
            let silent = !self.unfenced.contains(&claim.switch)
                && self.sent.get(&claim.nonce).is_some_and(|sent| sent.over_silent);
            if !failed && !silent && over.is_none_or(|over| real < over) {
                let early = over.map_or(0, |over| (over - real) / 1_000_000);
                self.fail(
                    Invariant::I3,
                    real,
                    format!(
                        "attempt {attempt} of {id} is claimed {early} ms before the one before it is over"
                    ),
                );
            }
        }
        self.claims.insert((id, attempt), (claim.nonce.clone(), real));
    }

    fn acts_by_nonce(&mut self, real: u64, id: TransactionId, attempt: u32, nonce: &str) {
        if let Some(sent) = self.sent.get(nonce) {
            let who = (sent.node, sent.start);
            self.acts(real, id, attempt, who);
        }
    }

    fn decided(&mut self, real: u64, id: TransactionId, decision: &Decision) {
        self.must_be_real(real, id, Some(decision.work), "decided");
        // What was under way when it was swept changes nothing: its id is closed, and sweepers find it.
        let sent = self.recorded.get(&(id, decision.nonce.clone())).copied().unwrap_or(real);
        if self.decisions.get(&id).and_then(|before| before.swept).is_some_and(|swept| sent < swept) {
            return;
        }
        if let Outcome::Superseded { by } = decision.outcome
            && !self.generations.contains(&by)
        {
            self.fail(Invariant::I16, real, format!("{id} is superseded by {by}, which is not there"));
        }
        if self.claims.get(&(id, decision.attempt)).map(|(nonce, _)| nonce) != Some(&decision.nonce) {
            let attempt = decision.attempt;
            self.fail(
                Invariant::I4,
                real,
                format!("{id} is decided by one who does not own attempt {attempt}"),
            );
        }
        self.acts_by_nonce(real, id, decision.attempt, &decision.nonce);
        match self.decisions.get(&id) {
            None => {
                let decided = Decided { decision: decision.clone(), at: real, swept: None };
                self.decisions.insert(id, decided);
            }
            Some(before) if same(&before.decision, decision) => {}
            Some(before) if before.swept.is_some() => {
                self.fail(
                    Invariant::I10,
                    real,
                    format!("{id} is decided again after its decision was swept"),
                );
            }
            Some(_) => self.fail(Invariant::I4, real, format!("{id} is decided twice")),
        }
    }

    fn deleted(&mut self, real: u64, key: &Key) {
        match key {
            Key::Queue(id) => {
                let closed = self.queued.get(id).is_some_and(|(event, _)| self.is_closed(event));
                if self.is_real(*id) && !self.decisions.contains_key(id) && !closed {
                    self.fail(Invariant::I6, real, format!("{id} left the queue undecided"));
                }
            }
            Key::Decision(id) | Key::Claim(id, _) | Key::Result(id, _) => {
                let Some(decided) = self.decisions.get(id) else { return };
                if !self.is_closed(&decided.decision.event) {
                    self.fail(Invariant::I10, real, format!("{key} is deleted while its occurrence is open"));
                }
                if let Key::Decision(id) = key
                    && let Some(decided) = self.decisions.get_mut(id)
                {
                    decided.swept = decided.swept.or(Some(real));
                }
            }
            Key::Generation(generation) => {
                if self.generations.last() == Some(generation) {
                    let what = format!("{key} is deleted, and it is the newest");
                    self.fail(Invariant::I11, real, what);
                }
                let open = self.open().into_iter();
                let open: Vec<_> = open
                    .filter(|id| {
                        self.queued[id].0.occurrence == *generation && self.queued[id].0.source == GENERATIONS
                    })
                    .collect();
                for id in open {
                    self.fail(Invariant::I11, real, format!("{key} is deleted, and {id} of it is pending"));
                }
            }
            Key::Epoch(node, epoch) if self.epochs.get(node) == Some(epoch) => {
                self.fail(Invariant::I11, real, format!("{key} is deleted, and it is the newest"));
            }
            _ => {}
        }
    }
}

fn same(one: &Decision, other: &Decision) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    (one.at_ms, other.at_ms) = (0, 0);
    one == other
}
