//! Watches everything that happens and knows what must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::node::Clock;
use super::scenario::Scenario;
use super::store::Change;
use crate::io::Request;
use crate::key::Key;
use crate::object::{Claim, Decision, DesiredState, Generation, Object, Outcome};
use crate::task::{Event, GENERATIONS, Task, TransactionId, Work};
use crate::time::Instant;

/// What must hold, whatever fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At most one owner per (id, attempt).
    I1,
    /// No switch write starts outside the executor's own lease.
    I2,
    /// Attempt k+1 exists only after attempt k was over: its lease on its owner's clock, or by its result; or whoever
    /// claimed it had not heard its owner for the limit, in time that it lived through itself, and the switch fences.
    I3,
    /// One immutable terminal decision per id, by the owner of an attempt.
    I4,
    /// Every queued task reaches a terminal state while one controller and the store live.
    I5,
    /// Nothing that is queued is lost: it leaves the queue only decided, or closed.
    I6,
    /// Same event, same id; distinct occurrences, distinct ids.
    I7,
    /// Each task's effect shows once, and never after that of a newer generation.
    I8,
    /// A degraded mark never changes safety: the others hold with marks as without.
    I9,
    /// Clean-up never opens an id again.
    I10,
    /// What is pending can be executed: its generation is kept, and its desired state, or what that is made again from. The
    /// highest number of a chain stays.
    I11,
    /// Policy is a state: after the faults every switch of the newest generation comes to what that wants, whatever has
    /// restarted it, emptied it or changed it behind our back.
    I12,
    /// What a decision says of a switch was so, after everything of older attempts was answered or over.
    I13,
    /// No attempt pushes a pipeline beside another attempt's push.
    I14,
    /// Who is not there does not count as alive, whatever is sent in his name.
    I15,
    /// Only what a log has is claimed, executed, decided or supersedes, and as the log says it.
    I16,
    /// Once an attempt has taken a switch that fences, it takes no write of an attempt before it.
    I17,
    /// Nobody executes what he knows to be overtaken.
    Superseded,
    /// Nobody executes an attempt that he claimed after the decision.
    Decided,
    /// Whoever is silent for long is told of by everybody else, and nobody who is well.
    Told,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When, nanoseconds of simulated time.
    pub at: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.at / 1_000_000;
        write!(f, "{:?} at {}.{:03} s: {}", self.invariant, ms / 1000, ms % 1000, self.what)
    }
}

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

    /// An attempt has taken a switch.
    pub(super) fn raises(&mut self, real: u64, task: &Task, attempt: u32) {
        let place = (task.switch().to_owned(), task.id());
        let raised = self.raised.entry(place).or_insert((attempt, real));
        if attempt > raised.0 {
            *raised = (attempt, real);
        }
    }

    /// A switch takes a write of an attempt that was sent then.
    pub(super) fn accepted(&mut self, real: u64, task: &Task, attempt: u32, sent: u64) {
        let raised = self.raised.get(&(task.switch().to_owned(), task.id())).copied();
        let Some((by, at)) = raised.filter(|(by, at)| *by > attempt && sent >= *at) else { return };
        if !self.unfenced.contains(task.switch()) {
            let (id, switch) = (task.id(), task.switch());
            let ago = (real - at) / 1_000_000;
            self.fail(
                Invariant::I17,
                real,
                format!("{switch} takes a write of attempt {attempt} of {id}, {ago} ms after attempt {by} has taken it"),
            );
        }
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

    /// An agent starts a write to a switch.
    pub(super) fn write_starts(
        &mut self,
        (real, local): (u64, Instant),
        who: (usize, u32),
        id: TransactionId,
        attempt: u32,
        budget: u64,
    ) {
        let nonce = self.own.get(&(who.0, who.1, id, attempt));
        let Some(sent) = nonce.and_then(|nonce| self.sent.get(nonce)) else {
            self.fail(
                Invariant::I2,
                real,
                format!("{who:?} writes for {id}, attempt {attempt}, without a claim"),
            );
            return;
        };
        let end = sent.local.as_nanos() + sent.lease - budget;
        let local = local.as_nanos();
        if local >= end {
            let late = (local - end) / 1_000_000;
            self.fail(
                Invariant::I2,
                real,
                format!("{who:?} starts a write for {id}, attempt {attempt}, {late} ms after its lease less budget"),
            );
        }
    }

    /// The store has changed.
    pub(super) fn changed(&mut self, real: u64, change: &Change) {
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

    /// A part of a switch changes what it does. A lax switch lets what it has begun run on beside the next primary's, so
    /// nothing is asked of it here: it has to come right in the end.
    pub(super) fn effect(&mut self, real: u64, task: &Task, attempt: u32, part: usize, lax: bool) {
        let (id, generation) = (task.id(), task.work().generation().unwrap_or(0));
        let effects = self.effects.entry(task.switch().to_owned()).or_default();
        let (newest, twice) = (effects.newest, !effects.seen.insert((id, part)));
        effects.newest = newest.max(generation);
        if lax {
            return;
        }
        if twice {
            let what = format!("{id} shows twice in part {part} of {}, by attempt {attempt}", task.switch());
            self.fail(Invariant::I8, real, what);
        }
        if generation < newest {
            let switch = task.switch();
            self.fail(
                Invariant::I8,
                real,
                format!("generation {generation} shows on {switch} after {newest}"),
            );
        }
    }

    /// A switch begins with a push, perhaps beside another one.
    pub(super) fn push_begins(
        &mut self,
        real: u64,
        who: (usize, u32),
        task: &Task,
        attempt: u32,
        beside: bool,
    ) {
        let (id, pushing) = (task.id(), &mut self.pushing);
        // One that has lain in a socket until its lease was over is stopped by a switch that fences, and by nobody else.
        let sent = self.own.get(&(who.0, who.1, id, attempt)).and_then(|nonce| self.sent.get(nonce));
        if sent.is_some_and(|sent| real > sent.real + sent.clock.real_length(sent.lease)) {
            return;
        }
        pushing.insert((id, attempt));
        let other = pushing.iter().find(|(of, other)| *of == id && *other != attempt).copied();
        if let Some((_, other)) = other.filter(|_| beside) {
            let what =
                format!("attempts {other} and {attempt} of {id} push side by side on {}", task.switch());
            self.fail(Invariant::I14, real, what);
        }
    }

    /// It is through with it: the switch is empty.
    pub(super) fn push_ends(&mut self, task: &Task, attempt: u32) {
        self.pushing.remove(&(task.id(), attempt));
        if let Some(effects) = self.effects.get_mut(task.switch()) {
            effects.seen.clear();
        }
    }

    /// An agent says that a switch is as it should be, and it is not.
    pub(super) fn untrue(&mut self, real: u64, task: &Task, attempt: u32) {
        let what = format!(
            "attempt {attempt} of {} is done, and that is not what {} does",
            task.id(),
            task.switch()
        );
        self.fail(Invariant::I13, real, what);
    }

    /// All switches are restarted: whatever they were at work on.
    pub(super) fn forget_pushes(&mut self) {
        self.pushing.clear();
    }

    /// A switch has forgotten something.
    pub(super) fn restarted(&mut self, switch: &str) {
        self.effects.insert(switch.to_owned(), Effects::default());
        self.raised.retain(|(of, _), _| of != switch);
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

fn same(one: &Decision, other: &Decision) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    (one.at_ms, other.at_ms) = (0, 0);
    one == other
}
