//! The distributor: makes each event's task known, to the controllers at once and to the store for certain.
//!
//! ```text
//!  Emit ───► [after a start: h/, d/: still needed?] ──► announce (at once)
//!  Probe                                            └─► (a while, by rank) ──► b/<sha256> ──► q/<id> ──► queued
//!                                                          └─ decided ──► gone
//! ```
//!
//! The queue is for tasks whose announce got lost, and for the memory of those whose controllers die. Most tasks are
//! decided within the while, so that neither they nor the claims of others have to wait for requests that nobody needs:
//! a controller says "decided" when the decision is in the store, so believing it loses nothing.
//!
//! The task is queued after its desired state is stored, so whatever lies in the queue can be executed. Both are tried
//! until they are there. A newer generation takes the place of an older one that is not queued yet. Probes have no
//! desired state; nothing overtakes them, and where requests have to wait, generations come first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::beats::Beats;
use crate::config::{MAX_SWITCHES, Role, SharedConfig};
use crate::counters::Counters;
use crate::freshness::Freshness;
use crate::horizons::Horizons;
use crate::io::{Action, Heartbeat, Identity, Input, Level, Machine, Note, NoticeOf, Reply, Request, Token};
use crate::key::Key;
use crate::liveness::{Heard, Liveness};
use crate::news;
use crate::object::{Object, QueuedTask};
use crate::rank::rank;
use crate::task::{Task, TransactionId, Work};
use crate::time::Instant;

/// Longest wait between tries of a request.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Is it decided already?
    Checking,
    /// Its desired state is stored, or will be when it is due.
    Blob,
    /// It is queued, or will be when it is due.
    Queue,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum For {
    Task(TransactionId),
    Horizon(Key),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Emission {
    task: Task,
    stage: Stage,
    due: Option<Instant>,
    token: Option<Token>,
    unclear: u32,
}

/// The state machine of a distributor. It keeps at most the tasks of one generation and `limits.tasks` others:
/// [`Distributor::room`] says for how many probes there is room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distributor {
    me: Identity,
    config: Arc<SharedConfig>,
    tasks: BTreeMap<TransactionId, Emission>,
    timers: BTreeSet<(Instant, TransactionId)>,
    /// Tasks that wait for a request's turn, probes last.
    ready: BTreeSet<(bool, TransactionId)>,
    /// Of them all, those that are probes.
    probes: usize,
    requests: BTreeMap<Token, For>,
    next_token: u64,
    newest: u64,
    /// Before they were read, nothing is emitted that may have been emitted before.
    horizons: Horizons,
    liveness: Liveness,
    beats: Beats,
    freshness: Freshness,
    draining: bool,
    counters: Counters,
}

impl Distributor {
    /// A distributor that knows nothing yet. The first thing it is told to emit is checked against the store, because a
    /// distributor may have emitted it before it was restarted.
    pub fn new(me: Identity, config: Arc<SharedConfig>, now: Instant) -> Self {
        Self {
            beats: Beats::new(config.heartbeat_interval(), config.heartbeat_interval()),
            freshness: Freshness::new(me.epoch),
            liveness: Liveness::new(&me.name, &config, now),
            me,
            config,
            tasks: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: BTreeSet::new(),
            probes: 0,
            requests: BTreeMap::new(),
            next_token: 0,
            newest: 0,
            horizons: Horizons::new(now),
            draining: false,
            counters: Counters::default(),
        }
    }

    /// How often things happened.
    pub fn counters(&self) -> Counters {
        Counters { notices_dropped: self.beats.dropped, ..self.counters }
    }

    /// Tasks that are not queued yet.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// For how many probes there is room; others have to wait outside.
    pub fn room(&self) -> usize {
        (self.config.limits.tasks as usize).saturating_sub(self.probes)
    }

    /// The newest generation that it was told to emit.
    pub fn generation(&self) -> u64 {
        self.newest
    }

    /// How the other nodes are heard here.
    pub fn heard_others(&self, now: Instant) -> Vec<Heard> {
        self.liveness.others(now).collect()
    }

    /// What is wrong now, in words.
    pub fn troubles(&self, now: Instant) -> Vec<String> {
        let mut told = news::silent(&self.liveness, &self.config, now);
        told.extend(news::twin(&self.freshness, &self.config, &self.me.name, now));
        told
    }

    fn ask(&mut self, what: For, request: Request, actions: &mut Vec<Action>) {
        self.counters.request(&request);
        let token = Token(self.next_token);
        self.next_token += 1;
        if let For::Task(id) = &what
            && let Some(entry) = self.tasks.get_mut(id)
        {
            entry.token = Some(token);
        }
        self.requests.insert(token, what);
        actions.push(Action::Store { token, request });
    }

    fn set_due(&mut self, id: TransactionId, due: Option<Instant>) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut entry.due, due) {
            self.timers.remove(&(old, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }

    /// Due no later than this, if it is waiting to be queued.
    fn hurry(&mut self, id: TransactionId, due: Instant) {
        let waits =
            |entry: &Emission| entry.stage != Stage::Checking && entry.due.is_some_and(|own| due < own);
        if self.tasks.get(&id).is_some_and(waits) {
            self.set_due(id, Some(due));
        }
    }

    fn forget(&mut self, id: TransactionId) -> Option<Emission> {
        let entry = self.tasks.remove(&id)?;
        if let Some(due) = entry.due {
            self.timers.remove(&(due, id));
        }
        let gives_way = entry.task.work().kind().gives_way;
        self.probes -= usize::from(gives_way);
        self.ready.remove(&(gives_way, id));
        if let Some(token) = entry.token {
            self.requests.remove(&token);
        }
        Some(entry)
    }

    fn emit(&mut self, now: Instant, generation: u64, tasks: Vec<Task>, actions: &mut Vec<Action>) {
        if generation < self.newest || self.draining {
            self.counters.overtaken += tasks.len() as u64;
            return;
        }
        // Checked against the store once: nobody has emitted a generation before it was there.
        let first = self.newest == 0;
        let before = std::mem::replace(&mut self.newest, generation);
        let of = |task: &Task| task.work().generation().unwrap_or(0);
        let current: BTreeMap<_, _> = tasks.iter().map(|task| (task.switch().to_owned(), of(task))).collect();
        let older = |entry: &Emission| {
            let current = current.get(entry.task.switch());
            entry.task.work().generation().is_some_and(|own| current.is_some_and(|current| own < *current))
        };
        // The newer one waits no longer than the older one would have: a steady stream must not keep the queue empty.
        let mut dues = BTreeMap::new();
        let overtaken: Vec<_> =
            self.tasks.iter().filter(|(_, entry)| older(entry)).map(|(id, _)| *id).collect();
        for id in overtaken {
            self.counters.overtaken += 1;
            if let Some(entry) = self.forget(id) {
                dues.insert(entry.task.switch().to_owned(), entry.due.unwrap_or(now));
            }
        }
        // What no generation since has changed was emitted with the one before.
        for task in tasks.into_iter().filter(|task| first || of(task) > before) {
            let (id, due) = (task.id(), dues.remove(task.switch()));
            self.take(now, task, first, actions);
            if let Some(due) = due {
                self.hurry(id, due);
            }
        }
    }

    /// Tasks that belong to no generation.
    fn probe(&mut self, now: Instant, tasks: Vec<Task>, old: bool, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        for task in tasks {
            self.take(now, task, old, actions);
        }
    }

    /// A task to be emitted, at once or after a look whether it is still needed.
    fn take(&mut self, now: Instant, task: Task, old: bool, actions: &mut Vec<Action>) {
        let (id, gives_way) = (task.id(), task.work().kind().gives_way);
        if self.tasks.contains_key(&id) {
            return;
        }
        let full = self.tasks.len() >= MAX_SWITCHES + self.config.limits.tasks as usize;
        if full || gives_way && self.room() == 0 {
            self.counters.refused_full += 1;
            let text = "too many tasks wait for the store: this one has to be emitted again".to_owned();
            actions.push(Action::Note(Note { level: Level::Alert, id: Some(id), text }));
            return;
        }
        let event = task.event();
        if old && self.horizons.is_closed(&event.source, event.occurrence) {
            self.counters.needless += 1;
            return;
        }
        let read = self.horizons.read(&event.source).is_some();
        if old && !read {
            self.horizons.want(&event.source, now);
        }
        let entry = Emission { task, stage: Stage::Checking, due: None, token: None, unclear: 0 };
        self.tasks.insert(id, entry);
        self.probes += usize::from(gives_way);
        if old {
            self.set_due(id, read.then_some(now));
        } else {
            self.announce(now, id, actions);
        }
    }

    /// Known to be needed: told to the controllers, and in a while to the store.
    fn announce(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        let burst = self.config.datagrams.burst;
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        entry.stage = match entry.task.work() {
            Work::Converge { .. } => Stage::Blob,
            Work::Ask {} => Stage::Queue,
        };
        actions.push(Action::Announce { task: entry.task.clone(), burst });
        let distributors = self.config.distributors().map(|member| (member.name.as_str(), false));
        let rank = rank(distributors, entry.task.switch(), 1, &self.me.name);
        let wait = self.config.queue_delay() * (rank + 1);
        self.set_due(id, Some(if self.draining { now } else { now + wait }));
    }

    fn told(
        &mut self,
        now: Instant,
        sender: u32,
        place: (u64, u64),
        heartbeat: &Heartbeat,
        actions: &mut Vec<Action>,
    ) {
        let streams = (&mut self.freshness, &mut self.liveness);
        let said = (sender, place, &heartbeat.heard[..]);
        if news::is_fresh(streams, &self.config, &self.me.name, said, now, actions) {
            self.liveness.heard(sender, heartbeat.leaves(), now);
        } else {
            self.counters.heartbeats_stale += 1;
        }
        for notice in heartbeat.notices.iter().filter(|notice| notice.what == NoticeOf::Decided) {
            if self.forget(notice.id).is_some() {
                self.counters.needless += 1;
            }
        }
    }

    /// Whatever waits is queued at once.
    fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.beats.leave();
        let waiting: Vec<_> = self.tasks.keys().copied().collect();
        for id in waiting {
            self.hurry(id, now);
        }
    }

    /// The next request about a task, as soon as there is room for it.
    fn wake(&mut self, id: TransactionId, actions: &mut Vec<Action>) {
        self.set_due(id, None);
        let Some(entry) = self.tasks.get(&id) else { return };
        if self.requests.len() >= self.config.limits.requests as usize {
            self.ready.insert((entry.task.work().kind().gives_way, id));
            return;
        }
        let request = match (entry.stage, entry.task.work()) {
            (Stage::Checking, _) => Request::Get(Key::Decision(id)),
            (Stage::Blob, Work::Converge { desired, .. }) => Request::CreateBlob(*desired),
            (Stage::Blob | Stage::Queue, _) => {
                let object = Object::Task(QueuedTask::new(&entry.task, &self.me.name));
                Request::Create { key: Key::Queue(id), object }
            }
        };
        self.ask(For::Task(id), request, actions);
    }

    fn stored(&mut self, now: Instant, token: Token, reply: Reply, actions: &mut Vec<Action>) {
        if reply == Reply::Unknown {
            self.counters.requests_unknown += 1;
        }
        let Some(what) = self.requests.remove(&token) else { return };
        let id = match what {
            For::Task(id) => id,
            For::Horizon(key) => {
                self.horizon_read(now, &key, &reply, actions);
                return;
            }
        };
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if entry.token != Some(token) {
            return;
        }
        entry.token = None;
        if reply != Reply::Unknown {
            entry.unclear = 0;
        }
        match (entry.stage, reply) {
            (_, Reply::Unknown) => {
                let wait = (Duration::from_millis(50) * (1 << entry.unclear.min(6))).min(LONGEST_RETRY);
                entry.unclear += 1;
                self.set_due(id, Some(now + wait));
            }
            (Stage::Checking, Reply::Missing) => self.announce(now, id, actions),
            (Stage::Checking, _) => {
                self.counters.needless += 1;
                self.forget(id);
            }
            (Stage::Blob, _) => {
                entry.stage = Stage::Queue;
                self.set_due(id, Some(now));
            }
            (Stage::Queue, reply) => {
                match reply {
                    Reply::Created => self.counters.queued += 1,
                    _ => self.counters.queued_by_others += 1,
                }
                self.forget(id);
            }
        }
    }

    fn ask_horizons(&mut self, keys: Vec<Key>, actions: &mut Vec<Action>) {
        for key in keys {
            self.ask(For::Horizon(key.clone()), Request::Get(key), actions);
        }
    }

    fn horizon_read(&mut self, now: Instant, key: &Key, reply: &Reply, actions: &mut Vec<Action>) {
        // Only what comes after a start is asked for; knowing less than all only costs looks.
        let pause = self.config.grace();
        let keys = self.horizons.answer(now, key, reply, pause);
        self.ask_horizons(keys, actions);
        let Key::Horizon(source, _) = key else { return };
        if self.horizons.read(source).is_none() {
            return;
        }
        let waits = |entry: &Emission| {
            let event = entry.task.event();
            entry.stage == Stage::Checking
                && event.source == *source
                && entry.due.is_none()
                && entry.token.is_none()
        };
        let waiting: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, entry)| waits(entry))
            .map(|(id, entry)| (*id, self.horizons.is_closed(source, entry.task.event().occurrence)))
            .collect();
        for (id, closed) in waiting {
            if closed {
                self.counters.needless += 1;
                self.forget(id);
            } else {
                self.set_due(id, Some(now));
            }
        }
    }

    fn run(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let keys = self.horizons.ask(now);
        self.ask_horizons(keys, actions);
        let room = (self.config.limits.requests as usize).saturating_sub(self.requests.len());
        for _ in 0..room {
            let Some((_, id)) = self.ready.pop_first() else { break };
            self.wake(id, actions);
        }
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.wake(id, actions);
        }
        if self.beats.due().is_some_and(|due| due <= now) {
            news::tell(&mut self.liveness, &self.config, &mut self.counters, now, actions);
            let interval_ms = self.beats.promise();
            let notices = self.beats.beat(now, 0);
            actions.push(Action::Heartbeat(Heartbeat {
                role: Role::Distributor,
                generation: self.newest,
                interval_ms,
                notices,
                lateness: Vec::new(),
                heard: self.freshness.rows(),
            }));
        }
    }
}

impl Machine for Distributor {
    fn step(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        news::look(&mut self.liveness, &mut self.counters, now, actions);
        match input {
            Input::Config(config) => {
                self.liveness.configure(&self.me.name, &config, now);
                self.beats.configure(config.heartbeat_interval(), config.heartbeat_interval());
                self.freshness.configure(|sender| config.sender(sender).is_some());
                self.config = config;
            }
            Input::Emit { generation, tasks } => self.emit(now, generation, tasks, actions),
            Input::Probe { tasks, old } => self.probe(now, tasks, old, actions),
            Input::Stored { token, reply } => self.stored(now, token, reply, actions),
            Input::Drain => self.drain(now),
            Input::Heartbeat { sender, epoch, sequence, heartbeat } => {
                self.told(now, sender, (epoch, sequence), &heartbeat, actions);
            }
            Input::Announced { .. }
            | Input::Copies(_)
            | Input::Executed { .. }
            | Input::Pushed { .. }
            | Input::Wanted { .. }
            | Input::Fence { .. }
            | Input::Stirred { .. }
            | Input::Audited { .. }
            | Input::Logged { .. }
            | Input::Look
            | Input::Tick => {}
        }
        self.run(now, actions);
    }

    fn deadline(&self) -> Option<Instant> {
        let timers = self.timers.first().map(|(due, _)| *due);
        [timers, self.horizons.due(), self.beats.due()].into_iter().flatten().min()
    }

    fn is_drained(&self) -> bool {
        self.draining && self.tasks.is_empty() && self.beats.has_left()
    }
}

#[cfg(test)]
mod tests;
