//! What is authentic may still be wrong: whoever has the key can announce a generation that does not exist, or that is to
//! come, or one with another desired state; so can a distributor of another version. So a task counts, for executing,
//! claiming, deciding and superseding, only once the store's log was read that issues such tasks, and as the log says it.
//!
//! ```text
//!   announce, queue ─► its evidence read before? ─yes─► the switch's work there ─► admitted, as the log says it
//!                        │ no                             └─ none: refused, told
//!                        ▼
//!                     GET i/<N>, p/<N>, once for all its tasks ─► found: as above
//!                        └─ not there: asked again, at once when a hint names it; for as long as receivers drop its
//!                           further copies, then refused and told
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::io::{Action, Level, Reply, Request};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::{Digest, Task, TransactionId, Work};
use crate::time::Instant;

use super::entry::Origin;
use super::{Controller, For, note};

/// Objects of the logs that are asked for at a time.
const ASKED: usize = 64;
/// Objects of the logs whose contents are kept, and their switches altogether.
const KNOWN: usize = 64;
const ROWS: usize = 65_536;
/// The waits between looks at what is not there.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Longer than receivers drop copies of a task as duplicates: who was told too early is not told again before.
const PATIENCE: Duration = Duration::from_secs(64);
/// How long a queued task that nothing bears out is left alone.
const STRANGE_FOR: Duration = Duration::from_secs(10);

/// Something that the store is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Asked {
    /// Tasks that it would bear out, how they came, and when.
    waiting: BTreeMap<TransactionId, (Task, Origin)>,
    /// A heartbeat has told of it.
    heard: bool,
    since: Instant,
    looks: u32,
    /// The next look; none while one is under way.
    due: Option<Instant>,
}

/// What the logs have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Proofs {
    known: BTreeMap<Key, BTreeMap<String, Work>>,
    /// The oldest first.
    order: VecDeque<Key>,
    rows: usize,
    asked: BTreeMap<Key, Asked>,
    /// Tasks that wait, in all of them.
    waiting: usize,
    /// The highest generation that was read.
    newest: u64,
}

impl Proofs {
    /// Whether the intent log is known to have a generation: numbers have no gaps.
    pub(super) fn has(&self, generation: u64) -> bool {
        generation <= self.newest
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.asked.values().filter_map(|asked| asked.due).min()
    }

    /// Whether a task waits to be borne out.
    pub(super) fn holds(&self, id: TransactionId) -> bool {
        self.asked.values().any(|asked| asked.waiting.contains_key(&id))
    }

    /// All tasks that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Task> {
        self.asked.values().flat_map(|asked| asked.waiting.values().map(|(task, _)| task))
    }

    /// So much time has passed unseen.
    pub(super) fn miss(&mut self, missed: Duration) {
        for asked in self.asked.values_mut() {
            asked.since = asked.since + missed;
        }
    }

    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.waiting = 0;
    }

    /// The generation whose task brings a switch to what it should hold by this generation; none: it should hold nothing, or
    /// what the log says has been forgotten.
    pub(super) fn since(&self, generation: u64, switch: &str) -> Option<u64> {
        self.known.get(&Key::Generation(generation))?.get(switch)?.generation()
    }

    fn learn(&mut self, key: Key, works: BTreeMap<String, Work>) {
        if let Key::Generation(generation) = key {
            self.newest = self.newest.max(generation);
        }
        self.rows += works.len();
        if let Some(before) = self.known.insert(key.clone(), works) {
            self.rows -= before.len();
        } else {
            self.order.push_back(key);
        }
        while (self.order.len() > KNOWN || self.rows > ROWS) && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { return };
            // What is the newest is asked for again and again.
            if oldest == Key::Generation(self.newest) {
                self.order.push_back(oldest);
                continue;
            }
            let oldest = self.known.remove(&oldest);
            self.rows -= oldest.map_or(0, |works| works.len());
        }
    }

    /// Gives up what was looked for most often, if anything was looked for before.
    fn make_room(&mut self) -> bool {
        let tried = self.asked.iter().filter(|(_, asked)| asked.looks > 0 && asked.due.is_some());
        let Some(key) = tried.max_by_key(|(_, asked)| asked.looks).map(|(key, _)| key.clone()) else {
            return false;
        };
        let gone = self.asked.remove(&key);
        self.waiting -= gone.map_or(0, |asked| asked.waiting.len());
        true
    }
}

impl Controller {
    /// A task has come: what becomes of it depends on what the store says.
    pub(super) fn take(&mut self, now: Instant, task: Task, origin: Origin, actions: &mut Vec<Action>) {
        if task.event().is_audit() {
            // Whoever keeps the switch has it from the log of audits; others' are refused.
            if let (Origin::Audit, Some(generation)) = (origin, task.work().generation()) {
                self.proofs.newest = self.proofs.newest.max(generation);
            }
            self.admit(now, task, origin, actions);
            return;
        }
        let ours = task.event().network == self.me.network || self.is(Mutant::ForeignBelieved);
        let Some(evidence) = Key::evidence(task.event()).filter(|_| ours) else {
            self.counters.refused_strange += 1;
            self.leave(now, &task, origin);
            if self.counters.refused_strange.is_power_of_two() {
                let from = self.whence(origin);
                let text = format!(
                    "{from}: a task of network {}, source {}, that no log of this network issues; so far {} of that kind",
                    task.event().network,
                    task.event().source,
                    self.counters.refused_strange
                );
                note(Level::Warn, Some(task.id()), text, actions);
            }
            return;
        };
        let event = task.event();
        let closed = self.is_closed(event) && !self.is(Mutant::ClosedClaimed);
        if self.is(Mutant::UnprovenBelieved) {
            self.admit(now, task, origin, actions);
            return;
        }
        if closed {
            // Nobody claims what is closed: it need not be borne out to be refused. It may say anything, though.
            let work = match (*task.work(), &evidence) {
                (Work::Converge { desired, entries, .. }, Key::Generation(generation)) => {
                    Work::Converge { generation: *generation, desired, entries }
                }
                (Work::Ask {}, Key::Generation(generation)) => {
                    Work::Converge { generation: *generation, desired: Digest([0; 32]), entries: 0 }
                }
                _ => Work::Ask {},
            };
            if let Ok(task) = Task::new(task.event().clone(), work) {
                self.admit(now, task, origin, actions);
            }
            return;
        }
        let Some(works) = self.proofs.known.get(&evidence) else {
            if self.decided.has(task.id(), now) {
                self.counters.announced_again += u64::from(origin != Origin::Queue);
            } else if !self.draining {
                self.prove(now, evidence, Some((task, origin)), actions);
            }
            return;
        };
        if self.is(Mutant::UnchangedBelieved) && works.contains_key(task.switch()) {
            self.admit(now, task, origin, actions);
            return;
        }
        // A generation that says of a switch what the one before said has no task for it.
        let issued =
            |work: &Work| work.generation().is_none_or(|generation| generation == task.event().occurrence);
        match works.get(task.switch()).copied().filter(issued) {
            Some(work) if work == *task.work() || self.is(Mutant::UnboundBelieved) => {
                self.admit(now, task, origin, actions);
            }
            Some(work) => {
                self.counters.mismatched += 1;
                let text = format!(
                    "{}: says of {} what {evidence} does not say; the log counts: is another version of outplane at work, or \
                     has somebody else the key?",
                    self.whence(origin),
                    task.switch()
                );
                note(Level::Alert, Some(task.id()), text, actions);
                if let Ok(task) = Task::new(task.event().clone(), work) {
                    self.admit(now, task, origin, actions);
                }
            }
            None => {
                self.counters.mismatched += 1;
                self.leave(now, &task, origin);
                let (from, switch) = (self.whence(origin), task.switch());
                let text = format!(
                    "{from}: a task for `{switch}`, of which {evidence} says nothing new: not believed"
                );
                note(Level::Alert, Some(task.id()), text, actions);
            }
        }
    }

    fn whence(&self, origin: Origin) -> String {
        match origin {
            Origin::Queue => "the queue".to_owned(),
            Origin::Audit => "an audit".to_owned(),
            Origin::Log => "the log".to_owned(),
            Origin::Sender(sender) => {
                self.config.sender(sender).map_or_else(|| sender.to_string(), |member| member.name.clone())
            }
        }
    }

    /// A task that is not believed: in the queue it is passed over for a while, and never deleted.
    fn leave(&mut self, now: Instant, task: &Task, origin: Origin) {
        if origin == Origin::Queue {
            self.poll.pass_over(task.id(), now + STRANGE_FOR, now);
        }
    }

    /// Somebody tells of a generation: if it is there, it is good to have read it when its tasks come.
    pub(super) fn told_of(&mut self, now: Instant, generation: u64, heard: bool, actions: &mut Vec<Action>) {
        if self.is(Mutant::UnprovenBelieved) || self.proofs.has(generation) {
            if heard {
                self.newest_heard = self.newest_heard.max(generation);
            }
            return;
        }
        let key = Key::Generation(generation);
        self.prove(now, key.clone(), None, actions);
        if let Some(asked) = self.proofs.asked.get_mut(&key) {
            asked.heard |= heard;
            if !heard && asked.due.is_some() {
                // A hint says that it is there now.
                asked.due = Some(now);
            }
        }
    }

    /// Asks for what bears tasks out, if it is not asked for already.
    fn prove(&mut self, now: Instant, key: Key, task: Option<(Task, Origin)>, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        let full = !self.proofs.asked.contains_key(&key)
            && self.proofs.asked.len() >= ASKED
            && !self.proofs.make_room();
        let most = (self.config.limits.tasks as usize).max(ASKED);
        if full || task.is_some() && self.proofs.waiting >= most {
            if let Some((_, origin)) = task {
                self.counters.refused_full += 1;
                if origin == Origin::Queue {
                    self.poll.missed();
                }
            }
            return;
        }
        let fresh = !self.proofs.asked.contains_key(&key);
        let asked = self.proofs.asked.entry(key.clone()).or_insert(Asked { since: now, ..Asked::default() });
        if let Some((task, origin)) = task
            && asked.waiting.insert(task.id(), (task, origin)).is_none()
        {
            self.proofs.waiting += 1;
        }
        if fresh {
            self.ask(For::Proof(key.clone()), Request::Get(key), actions);
        }
    }

    /// What the store says.
    pub(super) fn proved(&mut self, now: Instant, key: &Key, reply: Reply, actions: &mut Vec<Action>) {
        let Reply::Found(object) = reply else {
            if let Some(asked) = self.proofs.asked.get_mut(key) {
                let wait = FIRST_WAIT * (1 << asked.looks.min(6));
                asked.looks += u32::from(reply != Reply::Unknown);
                asked.due = Some(now + wait.min(LONGEST_WAIT));
            }
            return;
        };
        let Some((_, works)) = works(&object).filter(|(network, _)| *network == self.me.network) else {
            self.unproven(now, key, "is another network's", actions);
            return;
        };
        self.borne_out(now, key, works, actions);
    }

    /// The shell has read a generation, and compiled it: these are its tasks.
    pub(super) fn has_read(
        &mut self,
        now: Instant,
        generation: u64,
        tasks: &[Task],
        actions: &mut Vec<Action>,
    ) {
        let works = tasks.iter().map(|task| (task.switch().to_owned(), *task.work())).collect();
        self.borne_out(now, &Key::Generation(generation), works, actions);
    }

    fn borne_out(
        &mut self,
        now: Instant,
        key: &Key,
        works: BTreeMap<String, Work>,
        actions: &mut Vec<Action>,
    ) {
        self.proofs.learn(key.clone(), works);
        let Some(asked) = self.proofs.asked.remove(key) else { return };
        self.proofs.waiting -= asked.waiting.len();
        if let (Key::Generation(generation), true) = (key, asked.heard) {
            self.newest_heard = self.newest_heard.max(*generation);
        }
        for (task, origin) in asked.waiting.into_values() {
            self.take(now, task, origin, actions);
        }
    }

    /// The store has been asked for long enough.
    fn unproven(&mut self, now: Instant, key: &Key, why: &str, actions: &mut Vec<Action>) {
        let Some(asked) = self.proofs.asked.remove(key) else { return };
        self.proofs.waiting -= asked.waiting.len();
        self.counters.unproven += 1;
        let mut from = BTreeSet::new();
        for (task, origin) in asked.waiting.into_values() {
            from.insert(self.whence(origin));
            self.leave(now, &task, origin);
        }
        if asked.heard {
            from.insert("a heartbeat".to_owned());
        }
        if !from.is_empty() {
            let from = from.into_iter().collect::<Vec<_>>().join(", ");
            note(Level::Warn, None, format!("told of by {from}, but {key} {why}: not believed"), actions);
        }
    }

    /// Looks again for what was not there.
    pub(super) fn look_for_proofs(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due = |asked: &Asked| asked.due.is_some_and(|due| due <= now);
        let keys: Vec<_> =
            self.proofs.asked.iter().filter(|(_, asked)| due(asked)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(asked) = self.proofs.asked.get(&key) else { continue };
            let events = asked.waiting.values().map(|(task, _)| task.event());
            let closed = |event: &crate::task::Event| self.is_closed(event);
            let open = asked.waiting.is_empty() || events.clone().any(|event| !closed(event));
            if now.since(asked.since) >= PATIENCE {
                self.unproven(now, &key, "is not there", actions);
            } else if open {
                if let Some(asked) = self.proofs.asked.get_mut(&key) {
                    asked.due = None;
                }
                self.ask(For::Proof(key.clone()), Request::Get(key), actions);
            } else if let Some(asked) = self.proofs.asked.remove(&key) {
                self.proofs.waiting -= asked.waiting.len();
                for (task, origin) in asked.waiting.into_values() {
                    self.take(now, task, origin, actions);
                }
            }
        }
    }
}

/// What an object of a log says is to be done, by switch, and in which network.
fn works(object: &Object) -> Option<(crate::task::NetworkId, BTreeMap<String, Work>)> {
    match object {
        Object::Generation(record) => {
            let works = record.desired.iter().map(|(switch, state)| {
                let (generation, desired, entries) = (record.since(switch), state.sha256, state.entries);
                (switch.clone(), Work::Converge { generation, desired, entries })
            });
            Some((record.network, works.collect()))
        }
        Object::Probe(entry) => {
            let works = entry.switches.iter().map(|switch| (switch.clone(), Work::Ask {}));
            Some((entry.network, works.collect()))
        }
        _ => None,
    }
}
