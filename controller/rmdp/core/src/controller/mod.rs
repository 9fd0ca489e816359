//! The controller: receives, ranks, claims, lets execute, records, watches over the others' claims, polls the queue and
//! sweeps. See [`entry`] for the life of a task.
//!
//! Everything that it keeps is bounded: tasks by `limits.tasks` (what is above stays in the queue), memories of ids,
//! notices and deletions by constants; [`Counters`] show when a bound is hit.
//!
//! Only the owner of an attempt writes decisions and results. A task that is superseded or out of attempts is claimed
//! once more, not to execute it, but to decide.

mod claim;
mod deletes;
mod entry;
mod horizon;
mod keep;
mod lapse;
mod look;
mod mind;
mod news;
mod numbers;
mod poll;
mod proof;
mod record;
mod retention;
mod silence;
mod sweep;
mod turns;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::beats::Beats;
use crate::config::{MAX_SWITCHES, SharedConfig};
use crate::counters::Counters;
use crate::degradation::Degradation;
use crate::freshness::Freshness;
use crate::horizons::Horizons;
use crate::io::{Action, Identity, Input, Level, Machine, Note, Reply, Request, Token};
use crate::key::Key;
use crate::liveness::Liveness;
use crate::memory::Memory;
use crate::mutant::Mutant;
use crate::news as words;
use crate::task::TransactionId;
use crate::time::Instant;

use deletes::Deletes;
use entry::{Look, Origin, Owner, State, Tracked};
use keep::Keep;
use news::Told;
use poll::Poll;
use proof::Proofs;
use silence::{FenceSeen, Owners};
use sweep::{Step, Sweep};

/// Decided tasks that are remembered, so that late copies cost nothing.
const DECIDED: usize = 16_384;
/// How long a notice that a task is decided keeps it out of mind, until the queue is asked.
const HINT: Duration = Duration::from_secs(5);
/// How long a claim waits when the horizons have to be read first.
const HORIZON_WAIT: Duration = Duration::from_millis(20);
/// Longest wait between tries of a request.
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum For {
    Task(TransactionId),
    Fetch(TransactionId),
    Stranger(TransactionId),
    Queue,
    Horizon(Key),
    Deletes,
    Sweep(Step),
    Alert(u32),
    Keep(String),
    Proof(Key),
}

/// What a controller knows of a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Switch {
    /// The newest generation that a task wants there.
    newest: u64,
    /// The task that is claimed or executed here.
    running: Option<TransactionId>,
    /// Tasks that wait for it, probes last.
    blocked: BTreeSet<(bool, TransactionId)>,
    /// The generation that a task of it was done for here last, and when.
    done: Option<(u64, Instant)>,
    /// It has stirred since the last change of it here has begun, whose own streams are not watched.
    stirred: bool,
    /// The longest push of our pipeline that was seen here.
    pushed: Option<Duration>,
    /// How often leases for it are doubled: so often attempts had too little time.
    patience: u32,
    /// Whether it fences, as it has shown.
    fence: FenceSeen,
}

/// The state machine of a controller. One `step` costs a few map operations; a tick costs what is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    me: Identity,
    config: Arc<SharedConfig>,
    tasks: BTreeMap<TransactionId, Tracked>,
    timers: BTreeSet<(Instant, TransactionId)>,
    switches: BTreeMap<String, Switch>,
    /// Tasks that wait for one of the slots, in the order they came, probes last.
    ready: BTreeSet<(bool, Instant, TransactionId)>,
    /// Slots taken: switches with a running task.
    slots: usize,
    requests: BTreeMap<Token, For>,
    next_token: u64,
    next_nonce: u64,
    liveness: Liveness,
    freshness: Freshness,
    /// The newest generation that any task wants.
    newest_told: u64,
    /// The newest generation that any heartbeat has told of.
    newest_heard: u64,
    beats: Beats,
    owners: Owners,
    /// Attempts that are, or may be, this controller's; some are over already, which the next heartbeat finds.
    own: BTreeMap<TransactionId, u32>,
    /// Of them, the one that a heartbeat has named last.
    named: Option<TransactionId>,
    degradation: Degradation,
    /// Known to be decided: seen in the store.
    decided: Memory,
    /// Said to be decided.
    hinted: Memory,
    poll: Poll,
    horizons: Horizons,
    proofs: Proofs,
    deletes: Deletes,
    sweep: Sweep,
    keep: Keep,
    /// Alerts that this node writes, by whom they are about.
    alerts: BTreeMap<u32, Told>,
    /// The longest grace of configurations that others may still follow, and until when.
    held_grace: Option<(Duration, Instant)>,
    /// The last step.
    lived: Instant,
    draining: bool,
    counters: Counters,
    mutant: Option<Mutant>,
}

impl Controller {
    /// A controller that knows nothing yet.
    pub fn new(me: Identity, config: Arc<SharedConfig>, now: Instant) -> Self {
        Self {
            liveness: Liveness::new(&me.name, &config, now),
            freshness: Freshness::new(me.epoch),
            beats: Beats::new(config.heartbeat_interval(), config.quick_interval()),
            owners: Owners::new(&config, now),
            own: BTreeMap::new(),
            named: None,
            degradation: Degradation::new(&me.name, &config),
            tasks: BTreeMap::new(),
            timers: BTreeSet::new(),
            switches: BTreeMap::new(),
            ready: BTreeSet::new(),
            slots: 0,
            requests: BTreeMap::new(),
            newest_told: 0,
            newest_heard: 0,
            next_token: 0,
            next_nonce: 0,
            decided: Memory::new(DECIDED),
            hinted: Memory::new(DECIDED),
            poll: Poll::new(now),
            horizons: Horizons::new(now),
            proofs: Proofs::default(),
            deletes: Deletes::default(),
            sweep: Sweep::new(now, config.horizon()),
            alerts: BTreeMap::new(),
            keep: Keep::default(),
            held_grace: None,
            lived: now,
            draining: false,
            counters: Counters::default(),
            mutant: None,
            me,
            config,
        }
    }

    /// Turns on a deliberate fault.
    #[cfg(feature = "sim")]
    pub fn mutate(&mut self, mutant: Mutant) {
        self.mutant = Some(mutant);
    }

    fn is(&self, mutant: Mutant) -> bool {
        cfg!(feature = "sim") && self.mutant == Some(mutant)
    }

    fn ask(&mut self, what: For, request: Request, actions: &mut Vec<Action>) -> Token {
        self.counters.request(&request);
        let token = Token(self.next_token);
        self.next_token += 1;
        self.requests.insert(token, what);
        actions.push(Action::Store { token, request });
        token
    }

    /// A request about a task, whose reply goes to it.
    fn ask_for(&mut self, id: TransactionId, request: Request, actions: &mut Vec<Action>) {
        let token = self.ask(For::Task(id), request, actions);
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.token = Some(token);
        }
        self.set_due(id, None);
    }

    fn stored(&mut self, now: Instant, token: Token, reply: Reply, actions: &mut Vec<Action>) {
        if reply == Reply::Unknown {
            self.counters.requests_unknown += 1;
        }
        let Some(what) = self.requests.remove(&token) else { return };
        if let Reply::Foreign(reason) = &reply {
            self.counters.foreign += 1;
            let id = match what {
                For::Task(id) | For::Fetch(id) | For::Stranger(id) => Some(id),
                _ => None,
            };
            note(Level::Alert, id, reason.clone(), actions);
        }
        match what {
            For::Task(id) => self.answered(now, id, token, reply, actions),
            For::Fetch(id) => self.fetched(now, id, reply, actions),
            For::Queue => self.listed(now, reply, actions),
            For::Stranger(id) if matches!(reply, Reply::Found(_) | Reply::Foreign(_)) => {
                self.decided(now, id);
            }
            For::Stranger(_) => {}
            For::Horizon(key) => self.horizon_read(now, &key, &reply, actions),
            For::Deletes => self.swept(now, &reply),
            For::Sweep(step) => self.sweep_reply(now, step, reply, actions),
            For::Alert(sender) => self.alert_written(now, sender, &reply),
            For::Keep(name) => self.keep_reply(now, &name, token, reply, actions),
            For::Proof(key) => self.proved(now, &key, reply, actions),
        }
    }

    /// The reply to a task's request.
    fn answered(
        &mut self,
        now: Instant,
        id: TransactionId,
        token: Token,
        reply: Reply,
        actions: &mut Vec<Action>,
    ) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        if entry.token != Some(token) {
            return;
        }
        entry.token = None;
        if reply != Reply::Unknown {
            entry.unclear = 0;
        }
        match entry.state {
            State::Claiming(_) => self.claim_reply(now, id, &reply, actions),
            State::Confirming(_) => self.confirm_reply(now, id, reply, actions),
            State::Checking(_) => self.check_reply(now, id, &reply, actions),
            State::Doubting(..) => self.doubt_reply(now, id, &reply, actions),
            State::Recording(_) => self.record_reply(now, id, &reply, actions),
            State::Looking(..) => self.look_reply(now, id, reply, actions),
            State::Waiting | State::Executing(_) | State::Stopping(_) | State::Watching(_) => {}
        }
    }

    /// A task's timer.
    fn wake(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        let look_at = self.tasks.get(&id).and_then(|entry| entry.look_at);
        self.set_due(id, None);
        if let Some(at) = look_at
            && !self.has_fallen_silent(now, id, at, actions)
        {
            return;
        }
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        match &entry.state {
            State::Waiting => self.claim(now, id, actions),
            State::Claiming(_) => self.send_claim(now, id, actions),
            State::Confirming(_) => {
                let key = Key::Claim(id, entry.attempt);
                self.ask_for(id, Request::Get(key), actions);
            }
            State::Checking(_) => self.ask_for(id, Request::Get(Key::Decision(id)), actions),
            State::Doubting(..) => self.doubt(id, actions),
            State::Recording(_) => self.record(now, id, actions),
            State::Looking(..) => self.look(id, actions),
            State::Watching(watched) => {
                entry.state = State::Looking(Look::Decision, Some(*watched));
                self.look(id, actions);
            }
            State::Executing(_) | State::Stopping(_) => {}
        }
    }

    /// Does what is due.
    fn run(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let free = (self.config.limits.executions as usize).saturating_sub(self.slots);
        for _ in 0..free {
            let Some((.., id)) = self.ready.pop_first() else { break };
            self.wake(now, id, actions);
        }
        while let Some(&(due, id)) = self.timers.first()
            && due <= now
        {
            self.wake(now, id, actions);
        }
        self.read_horizons(now, actions);
        self.look_for_proofs(now, actions);
        self.poll_queue(now, actions);
        self.send_deletes(now, actions);
        self.run_sweep(now, actions);
        self.run_keep(now, actions);
        let due = self.alerts.iter().filter(|(_, told)| told.due.is_some_and(|due| due <= now));
        let due: Vec<_> = due.map(|(sender, _)| *sender).collect();
        for sender in due {
            self.write_alert(sender, actions);
        }
        self.beat(now, actions);
    }
}

impl Machine for Controller {
    fn step(&mut self, now: Instant, input: Input, actions: &mut Vec<Action>) {
        self.live(now);
        words::look(&mut self.liveness, &mut self.counters, now, actions);
        match input {
            Input::Config(config) => self.configure(now, config),
            Input::Announced { task, sender } => {
                self.counters.announced += 1;
                self.take(now, task, Origin::Sender(sender), actions);
            }
            Input::Heartbeat { sender, epoch, sequence, heartbeat } => {
                self.heard(now, sender, (epoch, sequence), &heartbeat, actions);
            }
            Input::Copies(copies) => self.degradation.observe(now, &copies),
            Input::Stored { token, reply } => self.stored(now, token, reply, actions),
            Input::Executed { id, attempt, outcome } => self.executed(now, id, attempt, outcome, actions),
            Input::Pushed { switch, took } => {
                let switch = self.switches.entry(switch).or_default();
                switch.pushed = switch.pushed.max(Some(took));
            }
            Input::Wanted { generation, tasks } => {
                self.has_read(now, generation, &tasks, actions);
                self.wanted(now, generation, tasks);
            }
            Input::Stirred { switch } => self.stirred(now, &switch),
            Input::Fence { switch, fences } => self.fence_shown(now, &switch, fences, actions),
            Input::Audited { switch, number, outcome } => {
                self.audited(now, &switch, number, outcome, actions);
            }
            Input::Logged { generation } => self.told_of(now, generation, false, actions),
            Input::Look => self.poll.hurry(now),
            Input::Drain => self.drain(now),
            Input::Emit { .. } | Input::Probe { .. } | Input::Tick => {}
        }
        self.run(now, actions);
    }

    fn deadline(&self) -> Option<Instant> {
        let timers = self.timers.first().map(|(due, _)| *due);
        let alerts = self.alerts.values().filter_map(|told| told.due).min();
        let poll = if self.draining { None } else { self.poll.due() };
        let sweep = if self.draining { None } else { self.sweep.due() };
        let keep = if self.draining { None } else { self.keep.due() };
        let (deletes, beats, proofs) = (self.deletes.due(), self.beats.due(), self.proofs.due());
        let (horizons, vigil) = (self.horizons.due(), self.owners.due(self.lived));
        [timers, alerts, poll, horizons, sweep, keep, deletes, beats, proofs, vigil]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_drained(&self) -> bool {
        self.draining && self.tasks.is_empty() && self.deletes.is_empty() && self.beats.has_left()
    }
}

pub use keep::KeptView;

fn note(level: Level, id: Option<TransactionId>, text: String, actions: &mut Vec<Action>) {
    actions.push(Action::Note(Note { level, id, text }));
}

#[cfg(test)]
mod tests;
