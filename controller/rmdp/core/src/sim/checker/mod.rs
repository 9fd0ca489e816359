//! Watches everything that happens and knows what must never happen.

mod invariant;
mod store;
mod switches;

use std::collections::{BTreeMap, BTreeSet};

pub use invariant::{Invariant, Violation};

use super::clock::Clock;
use super::scenario::Scenario;
use crate::io::Request;
use crate::key::Key;
use crate::object::{Decision, DesiredState, Generation, Object};
use crate::task::{Event, Task, TransactionId, Work};
use crate::time::Instant;

/// A claim as its owner sent it first.
#[derive(Clone, Debug)]
struct Sent {
    node: usize,
    start: u32,
    local: Instant,
    real: u64,
    lease: u64,
    clock: Clock,
    /// Whose: sender and epoch.
    who: (u32, u64),
    /// When it was sent first, the owner of the attempt before had been silent for long.
    over_silent: bool,
}

#[derive(Clone, Debug, Default)]
struct Effects {
    /// Since the switch started, or was pushed or edited: tasks and the parts that they have changed.
    seen: BTreeSet<(TransactionId, usize)>,
    newest: u64,
}

#[derive(Clone, Debug)]
struct Decided {
    decision: Decision,
    at: u64,
    /// When it was swept.
    swept: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Checker {
    pub(super) violations: Vec<Violation>,
    sent: BTreeMap<String, Sent>,
    own: BTreeMap<(usize, u32, TransactionId, u32), String>,
    owners: BTreeMap<(TransactionId, u32), (usize, u32)>,
    /// Nonces of the claims in the store, and when they landed.
    claims: BTreeMap<(TransactionId, u32), (String, u64)>,
    results: BTreeSet<(TransactionId, u32)>,
    decisions: BTreeMap<TransactionId, Decided>,
    /// When decisions were sent first, by the nonce of who did.
    recorded: BTreeMap<(TransactionId, String), u64>,
    /// When it was queued first.
    queued: BTreeMap<TransactionId, (Event, u64)>,
    /// Raises, and when they were sent first.
    raises: BTreeMap<(String, u64), u64>,
    grace: u64,
    /// The shortest silence that is one, what a stop of one's own may count of it, and the switches that do not fence.
    silence: u64,
    unlived: u64,
    unfenced: BTreeSet<String>,
    /// By node and start: when it began, its stops with their lengths, and whom it heard last, when.
    hearing: BTreeMap<(usize, u32), Hearing>,
    /// By switch, since it forgot: the last attempt of a task that has taken it, and when.
    raised: BTreeMap<(String, TransactionId), (u32, u64)>,
    closed: BTreeMap<String, u64>,
    effects: BTreeMap<String, Effects>,
    /// Pushes that a switch is at work on.
    pushing: BTreeSet<(TransactionId, u32)>,
    /// What the logs have: the tasks that there are, and what each is to do.
    works: BTreeMap<TransactionId, Work>,
    generations: BTreeSet<u64>,
    /// What each generation says of each switch.
    said: BTreeMap<(u64, String), DesiredState>,
    /// The task that brings each switch to the newest generation: of the first one that has said what that says, and all
    /// between.
    current: BTreeMap<String, Task>,
    /// The newest stream epoch of each node.
    epochs: BTreeMap<String, u64>,
}

/// What a start of a node has lived through and heard.
#[derive(Clone, Debug, Default)]
struct Hearing {
    born: u64,
    stops: Vec<(u64, u64)>,
    last: BTreeMap<(u32, u64), u64>,
}

impl Checker {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let silence = scenario.least_silence();
        let quick = scenario.configs.iter().map(|config| config.quick_interval().as_nanos()).max();
        Self {
            grace: scenario.longest_grace(),
            // Clocks are up to 5 % too fast.
            silence: silence / 100 * 95,
            unlived: quick.and_then(|quick| u64::try_from(quick).ok()).unwrap_or(0),
            unfenced: scenario.unfenced.clone(),
            ..Self::default()
        }
    }

    /// A node hears a heartbeat of a start.
    pub(super) fn hears(&mut self, who: (usize, u32), of: (u32, u64), real: u64) {
        self.hearing.entry(who).or_default().last.insert(of, real);
    }

    /// A node goes on after a stop of this length; 0: its clock has jumped.
    pub(super) fn stood_still(&mut self, who: (usize, u32), real: u64, length: u64) {
        self.hearing.entry(who).or_default().stops.push((real, length));
    }

    /// Whether a node has listened for long and heard nothing of a start.
    fn has_been_silent(&self, real: u64, who: (usize, u32), of: (u32, u64)) -> bool {
        let Some(hearing) = self.hearing.get(&who) else { return false };
        let last = hearing.last.get(&of).copied().unwrap_or(hearing.born);
        let since = |&(until, length): &(u64, u64)| until.saturating_sub(last.max(until - length));
        let stops: Vec<_> = hearing.stops.iter().filter(|(until, _)| *until >= last).collect();
        let missed: u64 = stops.iter().map(|stop| since(stop)).sum();
        // Of each stop, and of each jump of the clock, so much may count.
        let unlived = self.unlived * stops.len() as u64;
        real - last + unlived >= self.silence.saturating_add(missed)
    }

    /// The log of probes has got an entry with these tasks.
    pub(super) fn probed(&mut self, tasks: &[Task]) {
        self.works.extend(tasks.iter().map(|task| (task.id(), *task.work())));
    }

    /// The intent log has got a generation. Which tasks there are follows from what it wants alone.
    pub(super) fn appended(&mut self, record: &Generation) {
        let generation = record.generation;
        self.current.retain(|switch, _| record.desired.contains_key(switch));
        for (switch, state) in &record.desired {
            let before = self.said.get(&(generation - 1, switch.clone()));
            if before != Some(state) {
                let work = Work::Converge { generation, desired: state.sha256, entries: state.entries };
                let event = Event::generation(record.network, generation, switch);
                let task = Task::new(event, work).expect("a good event");
                self.works.insert(task.id(), work);
                self.current.insert(switch.clone(), task);
            }
            self.said.insert((generation, switch.clone()), *state);
        }
        self.generations.insert(generation);
    }

    /// The tasks that bring the switches to the newest generation.
    pub(super) fn current(&self) -> impl Iterator<Item = &Task> {
        self.current.values()
    }

    /// Whether a log has this task.
    pub(super) fn is_real(&self, id: TransactionId) -> bool {
        self.works.contains_key(&id)
    }

    /// The generation that a task is of, as the log says.
    pub(super) fn generation(&self, id: TransactionId) -> Option<u64> {
        self.works.get(&id)?.generation()
    }

    fn must_be_real(&mut self, real: u64, id: TransactionId, work: Option<Work>, what: &str) {
        let said = self.works.get(&id).copied();
        if said.is_none() || work.is_some() && work != said {
            self.fail(Invariant::I16, real, format!("{id} is {what}, and the logs say {said:?} of it"));
        }
    }

    /// A node has taken an epoch.
    pub(super) fn started(&mut self, (node, start, real): (usize, u32, u64), name: &str, epoch: u64) {
        self.hearing.insert((node, start), Hearing { born: real, ..Hearing::default() });
        self.epochs.insert(name.to_owned(), epoch);
    }

    /// A task is executed, and nobody can tell what for.
    pub(super) fn cannot(&mut self, real: u64, task: &Task) {
        let (id, generation) = (task.id(), task.work().generation());
        self.fail(
            Invariant::I11,
            real,
            format!("{id} is executed, but its desired state and generation {generation:?} are swept"),
        );
    }

    fn fail(&mut self, invariant: Invariant, at: u64, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(Violation { invariant, at, what });
        }
    }

    fn is_closed(&self, event: &Event) -> bool {
        self.closed.get(&event.source).is_some_and(|below| event.occurrence < *below)
    }

    /// A node sends a request.
    pub(super) fn request(
        &mut self,
        real: u64,
        (node, start): (usize, u32),
        who: (u32, u64),
        clock: Clock,
        request: &Request,
    ) {
        if let Request::Create { key: Key::Horizon(source, below), .. } = request {
            self.raises.entry((source.clone(), *below)).or_insert(real);
        }
        if let Request::Create { key: Key::Decision(id), object: Object::Decision(decision) } = request {
            self.recorded.entry((*id, decision.nonce.clone())).or_insert(real);
        }
        let Request::Create { key: Key::Claim(id, attempt), object: Object::Claim(claim) } = request else {
            return;
        };
        self.own.insert((node, start, *id, *attempt), claim.nonce.clone());
        let before = self.claims.get(&(*id, attempt.saturating_sub(1)));
        let before = before.and_then(|(nonce, _)| self.sent.get(nonce)).map(|sent| sent.who);
        let over_silent = before.is_some_and(|owner| self.has_been_silent(real, (node, start), owner));
        self.sent.entry(claim.nonce.clone()).or_insert(Sent {
            node,
            start,
            local: clock.local(real),
            real,
            lease: claim.lease_ms * 1_000_000,
            clock,
            who,
            over_silent,
        });
    }

    /// A node acts as the owner of an attempt.
    fn acts(&mut self, real: u64, id: TransactionId, attempt: u32, who: (usize, u32)) {
        let owner = *self.owners.entry((id, attempt)).or_insert(who);
        if owner != who {
            self.fail(
                Invariant::I1,
                real,
                format!("attempt {attempt} of {id} has two owners: {owner:?} and {who:?} (node, start)"),
            );
        }
    }

    /// A node lets its agent execute.
    pub(super) fn execute(&mut self, real: u64, who: (usize, u32), task: &Task, attempt: u32, told: u64) {
        let id = task.id();
        self.must_be_real(real, id, Some(*task.work()), "executed");
        self.acts(real, id, attempt, who);
        if task.work().generation().is_some_and(|generation| generation < told) {
            self.fail(
                Invariant::Superseded,
                real,
                format!("{id} is executed by {who:?}, which knows of generation {told}"),
            );
        }
        let Some(decided) = self.decisions.get(&id) else { return };
        let claimed = self.claims.get(&(id, attempt)).map_or(0, |(_, at)| *at);
        if decided.swept.is_some() {
            self.fail(Invariant::I10, real, format!("{id} is executed after its decision was swept"));
        } else if decided.at < claimed {
            self.fail(
                Invariant::Decided,
                real,
                format!("{id} was decided when {who:?} claimed attempt {attempt}, and is executed"),
            );
        }
    }

    /// Tasks that were queued and are neither decided nor closed.
    pub(super) fn open(&self) -> Vec<TransactionId> {
        let open = self
            .queued
            .iter()
            .filter(|(id, (event, _))| !self.decisions.contains_key(id) && !self.is_closed(event));
        open.map(|(id, _)| *id).collect()
    }

    pub(super) fn is_decided_or_closed(&self, task: &Task) -> bool {
        self.decisions.contains_key(&task.id()) || self.is_closed(task.event())
    }

    /// Everything has settled, or has had its time.
    pub(super) fn end(&mut self, real: u64, left_in_queue: Vec<TransactionId>) {
        for id in self.open() {
            self.fail(Invariant::I5, real, format!("{id} was queued and never decided"));
        }
        for id in left_in_queue {
            if self.decisions.contains_key(&id) {
                self.fail(Invariant::I5, real, format!("{id} is decided and still in the queue"));
            }
        }
    }

    /// Outcomes: done, superseded, failed.
    pub(super) fn outcomes(&self) -> [u64; 3] {
        let mut outcomes = [0; 3];
        for decided in self.decisions.values() {
            let place = match decided.decision.outcome {
                crate::object::Outcome::Done { .. } => 0,
                crate::object::Outcome::Superseded { .. } => 1,
                crate::object::Outcome::Failed { .. } => 2,
            };
            outcomes[place] += 1;
        }
        outcomes
    }
}
