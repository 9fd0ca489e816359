//! Events in order of time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use super::agent::{Run, Stage, Switches};
use super::chance::Chance;
use super::checker::{Checker, Violation};
use super::node::{Clock, Kind, Node};
use super::scenario::{Incident, MS, Rates, Scenario};
use super::store::Store;
use crate::config::Role;
use crate::controller::Controller;
use crate::distributor::Distributor;
use crate::io::{Action, Copies, Heartbeat, Identity, Input, Reply, Request, SenderCopies, Token};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::Task;

/// How long a node waits for a reply.
const PATIENCE: u64 = 400 * MS;
/// How long after the calm everything has to be decided.
const BOUND: u64 = 40_000 * MS;
/// How long a long history goes on after the calm.
const LONG: u64 = 45_000 * MS;

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Tick { node: usize, start: u32 },
    Datagram { node: usize, input: Input },
    Arrive { node: usize, start: u32, token: Token, request: Request, phase: u8 },
    Answer { node: usize, start: u32, token: Token, reply: Reply },
    Agent(Run, Stage),
    Land(Run),
    Emit { node: usize, start: u32, generation: u64 },
    ProbeFor { node: usize, start: u32, occurrence: u64 },
    Incident(Incident),
    Start(usize),
    Resume(usize),
    StoreBack,
    SwitchBack(usize),
    Look,
}

impl Event {
    /// The node that has to be up and running for it, and which of its starts.
    fn of(&self) -> Option<(usize, Option<u32>)> {
        match self {
            Self::Tick { node, start }
            | Self::Answer { node, start, .. }
            | Self::Emit { node, start, .. }
            | Self::ProbeFor { node, start, .. } => Some((*node, Some(*start))),
            Self::Datagram { node, .. } => Some((*node, None)),
            Self::Agent(run, _) => Some((run.node, Some(run.start))),
            _ => None,
        }
    }
}

/// What a seed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Over every action with its time: equal histories have equal hashes.
    pub hash: u64,
    /// What must not have happened.
    pub violations: Vec<Violation>,
    /// Tasks that ended done, superseded, failed.
    pub outcomes: [u64; 3],
    /// Events that were simulated.
    pub events: u64,
    /// Requests that reached the store.
    pub requests: u64,
    /// Times that a node was seen to have marked another as degraded.
    pub marks: u64,
    /// The counters of all machines and all their starts, summed up.
    pub counters: BTreeMap<&'static str, u64>,
}

pub(super) struct World {
    seed: u64,
    pub(super) mutant: Option<Mutant>,
    pub(super) chance: Chance,
    pub(super) scenario: Scenario,
    pub(super) rates: Rates,
    pub(super) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    pub(super) nodes: Vec<Node>,
    store: Store,
    store_gone: bool,
    store_keeps: bool,
    held: Vec<Event>,
    pub(super) switches: Switches,
    pub(super) checker: Checker,
    newest: u64,
    emitted: Vec<Task>,
    calm: Option<u64>,
    hasher: SipHasher13,
    lines: Option<Vec<String>>,
    report: Report,
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance::new(seed);
        let scenario = Scenario::new(&mut chance);
        let nodes = scenario.config.members.iter().map(|member| Node {
            name: member.name.clone(),
            sender: member.sender,
            is_controller: member.role == Role::Controller,
            kind: None,
            start: 0,
            clock: Clock {
                offset: chance.range(0, 20_000) * MS,
                drift: i64::try_from(chance.range(0, 100_000)).unwrap_or(0) - 50_000,
            },
            paused: false,
            inbox: VecDeque::new(),
            waiting: BTreeSet::new(),
            copies: BTreeSet::new(),
            tick: None,
            stopping: BTreeSet::new(),
            told: BTreeMap::new(),
            draining: false,
        });
        let nodes: Vec<_> = nodes.collect();
        let report = Report {
            seed,
            hash: 0,
            violations: Vec::new(),
            outcomes: [0; 3],
            events: 0,
            requests: 0,
            marks: 0,
            counters: BTreeMap::new(),
        };
        let mut world = Self {
            seed,
            mutant,
            rates: scenario.rates.clone(),
            chance,
            now: 0,
            events: BTreeMap::new(),
            number: 0,
            store: Store::default(),
            store_gone: false,
            store_keeps: false,
            held: Vec::new(),
            switches: Switches::default(),
            checker: Checker::default(),
            newest: 0,
            emitted: Vec::new(),
            calm: None,
            hasher: SipHasher13::new(),
            lines: None,
            report,
            nodes,
            scenario,
        };
        for node in 0..world.nodes.len() {
            let at = world.chance.range(0, 300 * MS);
            world.after(at, Event::Start(node));
        }
        for (at, incident) in world.scenario.incidents.clone() {
            world.after(at, Event::Incident(incident));
        }
        world.after(500 * MS, Event::Look);
        world
    }

    pub(super) fn traced(mut self) -> Self {
        self.lines = Some(Vec::new());
        self
    }

    pub(super) fn line(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>10.3} ms  {}", self.now as f64 / 1e6, text()));
        }
    }

    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now + wait, self.number), event);
    }

    pub(super) fn run(self) -> Report {
        self.run_traced().0
    }

    pub(super) fn run_traced(mut self) -> (Report, Vec<String>) {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.report.events += 1;
            if matches!(event, Event::Look) {
                if self.look() {
                    break;
                }
            } else {
                self.happen(event);
            }
        }
        for node in 0..self.nodes.len() {
            self.count(node);
        }
        let left = self.store.keys().filter_map(|key| match key {
            Key::Queue(id) => Some(*id),
            _ => None,
        });
        let left: Vec<_> = left.collect();
        let installed = self.switches.0.iter();
        let installed =
            installed.filter_map(|(name, switch)| Some((name.clone(), switch.installed?))).collect();
        if self.checker.violations.is_empty() {
            self.checker.end(self.now, left, &installed);
        }
        self.report.seed = self.seed;
        self.report.hash = self.hasher.finish();
        self.report.outcomes = self.checker.outcomes();
        self.report.violations = std::mem::take(&mut self.checker.violations);
        (self.report, self.lines.unwrap_or_default())
    }

    /// Looks whether it is over.
    fn look(&mut self) -> bool {
        self.after(500 * MS, Event::Look);
        for node in 0..self.nodes.len() {
            if let Some(Kind::Controller(controller)) = &self.nodes[node].kind {
                self.report.marks += controller.degraded().count() as u64;
            }
            self.copies(node);
        }
        if !self.checker.violations.is_empty() {
            return true;
        }
        let Some(calm) = self.calm else { return false };
        let newest: Vec<_> =
            (1..=self.newest).flat_map(|generation| self.scenario.tasks(generation)).collect();
        let mut last: BTreeMap<&str, &Task> = BTreeMap::new();
        for task in &newest {
            last.insert(task.switch(), task);
        }
        let current: Vec<_> = self.scenario.tasks(self.newest.max(1)).iter().map(Task::id).collect();
        let wanted = last.values().filter(|task| current.contains(&task.id()));
        let settled = wanted.clone().all(|task| self.checker.is_decided_or_closed(task))
            && self.checker.open().is_empty()
            && !self.store.keys().any(|key| matches!(key, Key::Queue(_)));
        let over = self.now >= calm + if self.scenario.long { LONG } else { 0 };
        if settled && over {
            return true;
        }
        if self.now < calm + BOUND + if self.scenario.long { LONG } else { 0 } {
            return false;
        }
        let never: Vec<_> =
            wanted.filter(|task| !self.checker.is_decided_or_closed(task)).map(|task| task.id()).collect();
        for id in never {
            let what = format!("{id}, of the newest generation, was never decided");
            self.checker.violations.push(Violation { invariant: super::Invariant::I5, at: self.now, what });
        }
        true
    }

    /// How copies came in, made up: sometimes late enough for marks.
    fn copies(&mut self, node: usize) {
        if !self.nodes[node].is_controller || self.rates.copies_late == 0 {
            return;
        }
        let senders = self.scenario.config.distributors().map(|member| member.sender).collect::<Vec<_>>();
        let mut copies = Copies { tasks: 10, senders: Vec::new() };
        for sender in senders {
            let late = self.chance.permille(self.rates.copies_late);
            let lateness_us = vec![if late { 60_000 } else { 100 }; 10];
            copies.senders.push(SenderCopies { sender, copies: 10, lateness_us });
        }
        self.happen(Event::Datagram { node, input: Input::Copies(copies) });
    }

    fn happen(&mut self, event: Event) {
        if let Some((node, start)) = event.of() {
            let node = &mut self.nodes[node];
            if node.kind.is_none() || start.is_some_and(|start| start != node.start) {
                return;
            }
            if node.paused {
                node.inbox.push_back(event);
                return;
            }
        }
        match event {
            Event::Tick { node, .. } => {
                if self.nodes[node].tick == Some(self.now) {
                    self.nodes[node].tick = None;
                    self.input(node, Input::Tick);
                } else {
                    self.ask_tick(node);
                }
            }
            Event::Datagram { node, input } => self.datagram(node, input),
            Event::Arrive { node, start, token, request, phase } => {
                self.arrive(node, start, token, request, phase);
            }
            Event::Answer { node, token, reply, .. } => {
                if self.nodes[node].waiting.remove(&token) {
                    if let Reply::Found(object) = &reply
                        && let Object::Task(queued) = &**object
                        && let Ok(task) = queued.task()
                    {
                        self.tell(node, &task);
                    }
                    self.input(node, Input::Stored { token, reply });
                }
            }
            Event::Agent(run, stage) => self.agent(run, stage),
            Event::Land(run) => self.land(run),
            Event::Emit { node, generation, .. } => {
                let tasks = self.scenario.tasks(generation);
                self.input(node, Input::Emit { generation, tasks });
            }
            Event::ProbeFor { node, occurrence, .. } => {
                let tasks = vec![self.scenario.probe(occurrence)];
                let generation = self.newest;
                self.input(node, Input::Emit { generation, tasks });
            }
            Event::Incident(incident) => self.incident(&incident),
            Event::Start(node) => self.start(node, false),
            Event::Resume(node) => self.resume(node),
            Event::StoreBack => {
                self.store_gone = false;
                for event in std::mem::take(&mut self.held) {
                    self.happen(event);
                }
            }
            Event::SwitchBack(switch) => {
                let name = self.scenario.switches[switch].clone();
                self.switches.0.entry(name).or_default().gone = false;
            }
            Event::Look => {}
        }
    }

    /// Gives a node's machine an input, and does what it says.
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let mut actions = Vec::new();
        self.nodes[node].step(self.now, input, &mut actions);
        (self.now, node, actions.len()).hash(&mut self.hasher);
        for action in actions {
            action.hash(&mut self.hasher);
            self.act(node, action);
        }
        if self.nodes[node].draining
            && self.nodes[node].kind.as_mut().is_some_and(|kind| kind.machine().is_drained())
        {
            self.line(|| format!("node {node} is drained"));
            self.count(node);
            self.nodes[node].crash();
            return;
        }
        self.ask_tick(node);
    }

    fn ask_tick(&mut self, node: usize) {
        let Some(due) = self.nodes[node].deadline() else { return };
        let at = due.max(self.now);
        if self.nodes[node].tick.is_some_and(|tick| tick <= at) {
            return;
        }
        self.nodes[node].tick = Some(at);
        let start = self.nodes[node].start;
        self.after(at - self.now, Event::Tick { node, start });
    }

    fn act(&mut self, node: usize, action: Action) {
        if self.lines.is_some() && !matches!(action, Action::Heartbeat(_)) {
            let name = self.nodes[node].name.clone();
            self.line(|| format!("{name} {action:?}"));
        }
        match action {
            Action::Store { token, request } => self.send(node, token, request),
            Action::Execute { task, attempt, fence, start_before } => {
                self.execute(node, task, attempt, fence, start_before);
            }
            Action::Stop { id, attempt } => {
                self.nodes[node].stopping.insert((id, attempt));
            }
            Action::Announce { task, burst } => {
                let sender = self.nodes[node].sender;
                self.emitted.push(task.clone());
                for _ in 0..burst {
                    self.multicast(node, &Input::Announced { task: task.clone(), sender });
                }
            }
            Action::Heartbeat(heartbeat) => self.heartbeat(node, heartbeat),
            Action::Note(_) => {}
        }
    }

    fn heartbeat(&mut self, node: usize, heartbeat: Heartbeat) {
        let sender = self.nodes[node].sender;
        self.multicast(node, &Input::Heartbeat { sender, heartbeat });
    }

    fn multicast(&mut self, from: usize, input: &Input) {
        for node in 0..self.nodes.len() {
            if node == from || !self.nodes[node].is_controller {
                continue;
            }
            let copies = 1 + u64::from(self.chance.permille(self.rates.datagram_twice));
            for _ in 0..copies {
                if self.chance.permille(self.rates.datagram_lost) {
                    continue;
                }
                let late = self.chance.permille(self.rates.datagram_late);
                let wait =
                    if late { self.chance.range(20, 3000) * MS } else { self.chance.range(MS / 10, 4 * MS) };
                self.after(wait, Event::Datagram { node, input: input.clone() });
            }
        }
    }

    /// The receiver lets the first copy through.
    fn datagram(&mut self, node: usize, input: Input) {
        if let Input::Announced { task, .. } = &input {
            if !self.nodes[node].copies.insert(task.id()) {
                return;
            }
            let task = task.clone();
            self.tell(node, &task);
        }
        self.input(node, input);
    }

    fn tell(&mut self, node: usize, task: &Task) {
        let told = self.nodes[node].told.entry(task.switch().to_owned()).or_default();
        *told = (*told).max(task.work().generation().unwrap_or(0));
    }

    fn send(&mut self, node: usize, token: Token, mut request: Request) {
        let (start, clock) = (self.nodes[node].start, self.nodes[node].clock);
        self.checker.request(self.now, node, start, clock, &request);
        if let Request::Create { object, .. } | Request::Put { object, .. } = &mut request {
            object.stamp(clock.local(self.now).as_nanos() / MS);
        }
        self.nodes[node].waiting.insert(token);
        self.after(PATIENCE, Event::Answer { node, start, token, reply: Reply::Unknown });
        if self.chance.permille(self.rates.refused) {
            let wait = self.chance.range(MS, 5 * MS);
            self.after(wait, Event::Answer { node, start, token, reply: Reply::Unknown });
            return;
        }
        if self.chance.permille(self.rates.request_lost) {
            return;
        }
        let late = self.chance.permille(self.rates.lands_late);
        let wait = if late { self.chance.range(100, 6000) * MS } else { self.chance.range(MS / 2, 8 * MS) };
        self.after(wait, Event::Arrive { node, start, token, request, phase: 0 });
    }

    fn arrive(&mut self, node: usize, start: u32, token: Token, request: Request, phase: u8) {
        if self.store_gone {
            if self.store_keeps {
                self.held.push(Event::Arrive { node, start, token, request, phase });
            }
            return;
        }
        self.report.requests += 1;
        let reply = if self.mutant == Some(Mutant::GetPutGet)
            && let Request::Create { key: key @ Key::Claim(..), object } = &request
        {
            // Three requests instead of one.
            let there = self.store.get(key);
            match phase {
                0 if there.is_some() => Reply::Exists,
                2 if there.is_some_and(|there| nonce(there) == nonce(object)) => Reply::Created,
                2 => Reply::Exists,
                phase => {
                    if phase == 1 {
                        let existed = there.is_some();
                        let put = Request::Put { key: key.clone(), object: object.clone() };
                        let (_, mut changes) = self.store.apply(self.now, put, self.mutant);
                        if !existed
                            && let Some(super::store::Change::Overwritten(key, object)) = changes.pop()
                        {
                            changes.push(super::store::Change::Created(key, object));
                        }
                        changes.iter().for_each(|change| self.checker.changed(self.now, change));
                    }
                    let wait = self.chance.range(MS / 2, 8 * MS);
                    self.after(wait, Event::Arrive { node, start, token, request, phase: phase + 1 });
                    return;
                }
            }
        } else {
            let (reply, changes) = self.store.apply(self.now, request, self.mutant);
            changes.iter().for_each(|change| self.checker.changed(self.now, change));
            reply
        };
        if self.chance.permille(self.rates.reply_lost) {
            return;
        }
        let wait = self.chance.range(MS / 2, 8 * MS);
        self.after(wait, Event::Answer { node, start, token, reply });
    }

    fn start(&mut self, node: usize, old: bool) {
        let lost = self.calm.is_some() && self.scenario.lost_for_ever.contains(&node);
        if self.nodes[node].kind.is_some() || lost {
            return;
        }
        let now = self.nodes[node].clock.local(self.now);
        self.nodes[node].start += 1;
        let start = self.nodes[node].start;
        let me = Identity { name: self.nodes[node].name.clone(), epoch: u64::from(start) };
        let config = self.scenario.config.clone();
        let kind = if self.nodes[node].is_controller {
            let mut controller = Controller::new(me, config, now);
            if let Some(mutant) = self.mutant {
                controller.mutate(mutant);
            }
            Kind::Controller(Box::new(controller))
        } else {
            Kind::Distributor(Box::new(Distributor::new(me, config, now)))
        };
        self.nodes[node].kind = Some(kind);
        self.line(|| format!("node {node} starts, the {start}. time"));
        if !self.nodes[node].is_controller && self.newest > 0 {
            let mut wait = self.chance.range(MS, 200 * MS);
            if old {
                let generation = self.chance.range(1, self.newest);
                self.after(wait, Event::Emit { node, start, generation });
                wait += self.chance.range(MS, 500 * MS);
            }
            let generation = self.newest;
            self.after(wait, Event::Emit { node, start, generation });
        }
        self.input(node, Input::Tick);
    }

    fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].paused) {
            return;
        }
        self.line(|| format!("node {node} goes on"));
        // What it was about to do, it does now, and what came, comes now.
        for event in std::mem::take(&mut self.nodes[node].inbox) {
            if let Event::Tick { .. } = event {
                self.nodes[node].tick = None;
                self.input(node, Input::Tick);
            } else {
                self.happen(event);
            }
        }
    }

    /// Before a machine is gone: what it has counted.
    fn count(&mut self, node: usize) {
        let counters = match &self.nodes[node].kind {
            Some(Kind::Controller(controller)) => controller.counters(),
            Some(Kind::Distributor(distributor)) => distributor.counters(),
            None => return,
        };
        for (name, count) in counters.each() {
            *self.report.counters.entry(name).or_default() += count;
        }
    }

    fn incident(&mut self, incident: &Incident) {
        self.line(|| format!("{incident:?}"));
        match *incident {
            Incident::Append { generation } => {
                self.newest = generation;
                for node in 0..self.nodes.len() {
                    if !self.nodes[node].is_controller {
                        let (start, wait) = (self.nodes[node].start, self.chance.range(MS, 50 * MS));
                        self.after(wait, Event::Emit { node, start, generation });
                    }
                }
            }
            Incident::Probe { occurrence } => {
                for node in 0..self.nodes.len() {
                    if !self.nodes[node].is_controller {
                        let (start, wait) = (self.nodes[node].start, self.chance.range(MS, 50 * MS));
                        self.after(wait, Event::ProbeFor { node, start, occurrence });
                    }
                }
            }
            Incident::Crash { node, restart_after, .. } | Incident::Drain { node, restart_after }
                if self.nodes[node].kind.is_none() || self.calm.is_some() =>
            {
                let _ = restart_after;
            }
            Incident::Crash { node, restart_after, old } => {
                self.count(node);
                self.nodes[node].crash();
                self.after(restart_after, Event::Start(node));
                if old {
                    self.after(restart_after.saturating_sub(1), Event::Start(node));
                }
            }
            Incident::Drain { node, restart_after } => {
                if !self.nodes[node].paused {
                    self.nodes[node].draining = true;
                    self.input(node, Input::Drain);
                    self.after(
                        restart_after,
                        Event::Incident(Incident::Crash { node, restart_after: MS, old: false }),
                    );
                }
                self.after(restart_after + 10 * MS, Event::Start(node));
            }
            Incident::Pause { node, length } => {
                if self.nodes[node].kind.is_some() && !self.nodes[node].paused {
                    self.nodes[node].paused = true;
                    self.after(length, Event::Resume(node));
                }
            }
            Incident::StoreGone { length, keeps } => {
                (self.store_gone, self.store_keeps) = (true, keeps);
                self.after(length, Event::StoreBack);
            }
            Incident::SwitchRestart { switch } => {
                let name = self.scenario.switches[switch].clone();
                self.switch_restarts(&name);
            }
            Incident::SwitchGone { switch, length } => {
                let name = self.scenario.switches[switch].clone();
                self.switches.0.entry(name).or_default().gone = true;
                self.after(length, Event::SwitchBack(switch));
            }
            Incident::Replay => self.replay(),
            Incident::ForgetCopies => self.nodes.iter_mut().for_each(|node| node.copies.clear()),
            Incident::Calm => self.calm_down(),
        }
    }

    /// An old announce comes again, or an old task is queued again by somebody who has slept.
    fn replay(&mut self) {
        if self.emitted.is_empty() {
            return;
        }
        let which = self.chance.index(self.emitted.len());
        let task = self.emitted[which].clone();
        let node = self.chance.index(self.nodes.len());
        if self.chance.permille(500) {
            let queued = crate::object::QueuedTask::new(&task, "late");
            let request = Request::Create { key: Key::Queue(task.id()), object: Object::Task(queued) };
            self.arrive(node, u32::MAX, Token(u64::MAX), request, 0);
        } else if self.nodes[node].is_controller {
            self.nodes[node].copies.remove(&task.id());
            let sender = 1;
            self.happen(Event::Datagram { node, input: Input::Announced { task, sender } });
        }
    }

    fn calm_down(&mut self) {
        self.calm = Some(self.now);
        self.rates = Rates::CALM;
        self.happen(Event::StoreBack);
        for switch in 0..self.scenario.switches.len() {
            self.happen(Event::SwitchBack(switch));
        }
        for node in 0..self.nodes.len() {
            self.resume(node);
            if self.scenario.lost_for_ever.contains(&node) {
                self.count(node);
                self.nodes[node].crash();
                continue;
            }
            if self.nodes[node].draining {
                self.count(node);
                self.nodes[node].crash();
            }
            self.start(node, false);
        }
    }
}

fn nonce(object: &Object) -> Option<&str> {
    match object {
        Object::Claim(claim) => Some(&claim.nonce),
        _ => None,
    }
}
