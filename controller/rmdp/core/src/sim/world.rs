//! Events in order of time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::chance::Chance;
use super::checker::{Checker, Violation};
use super::clock::{Clock, MS};
use super::event::Event;
use super::incident::{Incident, Pause};
use super::node::{Kind, Node};
use super::scenario::{Rates, Scenario};
use super::store::Store;
use super::switch::Switches;
use crate::config::{Role, SharedConfig};
use crate::io::{Action, Input, Reply};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::Task;

/// No datagram is longer under way.
pub(super) const LATEST: u64 = 3000 * MS;

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

fn strangers(scenario: &Scenario) -> Store {
    let mut store = Store::default();
    for path in &scenario.strangers {
        store.write_stranger(path.clone());
    }
    if scenario.far {
        store.write_garbage(Key::Generation(u64::MAX - 3));
        store.write_garbage(Key::Epoch("c1".to_owned(), 1 << 40));
    }
    store
}

/// The store at a time.
#[derive(Clone, Debug)]
pub(super) struct Backup {
    pub(super) at: u64,
    pub(super) store: Store,
    pub(super) checker: Checker,
    pub(super) newest: u64,
    pub(super) probes: u64,
    pub(super) epochs: BTreeMap<String, u64>,
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
    pub(super) store: Store,
    pub(super) store_gone: bool,
    pub(super) store_keeps: bool,
    pub(super) held: Vec<Event>,
    /// From whom nothing comes to whom, and until when.
    pub(super) cuts: Vec<(usize, usize, u64)>,
    pub(super) switches: Switches,
    pub(super) checker: Checker,
    pub(super) newest: u64,
    /// Entries of the log of probes.
    pub(super) probes: u64,
    pub(super) emitted: Vec<Task>,
    /// Some of the heartbeats that were sent, when and by which node.
    pub(super) recorded: VecDeque<(u64, usize, Input)>,
    pub(super) calm: Option<u64>,
    /// The stream epochs that the store has issued, by name.
    pub(super) epochs: BTreeMap<String, u64>,
    /// The newest version of the configuration.
    pub(super) version: usize,
    /// What the store was, and what was known of it, now and then; kept only where it is put back.
    pub(super) backups: Vec<Backup>,
    /// How often it was.
    pub(super) era: u8,
    /// When somebody with the key last spoke in the first node's name.
    pub(super) forged: Option<u64>,
    hasher: SipHasher13,
    lines: Option<Vec<String>>,
    pub(super) report: Report,
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut chance = Chance::new(seed);
        let mut scenario = Scenario::new(seed, &mut chance);
        scenario.mutant = mutant;
        let nodes = scenario.configs[0].members.iter().map(|member| Node {
            name: member.name.clone(),
            sender: member.sender,
            is_controller: member.role == Role::Controller,
            kind: None,
            start: 0,
            epoch: 0,
            cut: 0,
            version: 0,
            twin: false,
            born: 0,
            since: 0,
            sequence: 0,
            clock: Clock {
                offset: (chance.range(0, 20_000) * MS).into(),
                drift: i64::try_from(chance.range(0, 100_000)).unwrap_or(0) - 50_000,
            },
            wall: 0,
            still: false,
            paused: false,
            inbox: VecDeque::new(),
            waiting: BTreeSet::new(),
            copies: BTreeSet::new(),
            tick: None,
            stopping: BTreeSet::new(),
            overtaken: BTreeMap::new(),
            read: BTreeSet::new(),
            told: BTreeMap::new(),
            draining: false,
            left: false,
            frozen: false,
            epochs: BTreeMap::new(),
        });
        let mut nodes: Vec<_> = nodes.collect();
        if let Some(of) = scenario.twin {
            nodes[of].twin = true;
            nodes.push(nodes[of].clone());
        }
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
            store: strangers(&scenario),
            store_gone: false,
            store_keeps: false,
            held: Vec::new(),
            cuts: Vec::new(),
            switches: Switches::default(),
            checker: Checker::new(&scenario),
            newest: scenario.first,
            probes: 0,
            emitted: Vec::new(),
            recorded: VecDeque::new(),
            calm: None,
            epochs: BTreeMap::new(),
            version: 0,
            backups: Vec::new(),
            era: 0,
            forged: None,
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
        // From a stream of its own, so that it changes nothing in the seeds that have none.
        let mut freeze = Chance::new(seed ^ 0x00f2_0e2e);
        if freeze.permille(80) {
            let node = freeze.index(world.nodes.len());
            let (at, length) = (freeze.range(0, 2000) * MS, freeze.range(7000, 10_000) * MS);
            world.after(at, Event::Incident(Incident::Pause { node, length, kind: Pause::Frozen }));
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
            let us = self.now / 1000;
            lines.push(format!("{:>6}.{:03} ms  {}", us / 1000, us % 1000, text()));
        }
    }

    pub(super) fn after(&mut self, wait: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now + wait, self.number), event);
    }

    /// Heartbeats that are under way do not come.
    pub(super) fn drop_heartbeats(&mut self) {
        let heartbeat =
            |event: &Event| matches!(event, Event::Datagram { input: Input::Heartbeat { .. }, .. });
        self.events.retain(|_, event| !heartbeat(event));
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
        if self.checker.violations.is_empty() {
            self.checker.end(self.now, left);
        }
        self.report.seed = self.seed;
        self.report.hash = self.hasher.finish();
        self.report.outcomes = self.checker.outcomes();
        self.report.violations = std::mem::take(&mut self.checker.violations);
        (self.report, self.lines.unwrap_or_default())
    }

    pub(super) fn happen(&mut self, event: Event) {
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
            Event::Again { node, task } => self.again(node, task),
            Event::Arrive { node, start, .. } if start < self.nodes[node].cut => {}
            Event::Arrive { node, start, token, request, phase } => {
                self.arrive(node, start, token, request, phase);
            }
            Event::Answer { node, token, reply, .. } => {
                if self.nodes[node].waiting.remove(&token) {
                    if let Reply::Found(object) = &reply
                        && let Object::Generation(record) = &**object
                    {
                        self.nodes[node].read.insert(record.generation);
                    }
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
            Event::Effect(run) => self.effect(run),
            Event::Pushed { node, switch, took, .. } => self.input(node, Input::Pushed { switch, took }),
            Event::Emit { node, generation, .. } => {
                let tasks = self.scenario.tasks(generation);
                self.input(node, Input::Emit { generation, tasks });
            }
            Event::ProbeFor { node, start, occurrence, old, from } => {
                let Some(Kind::Distributor(distributor)) = &self.nodes[node].kind else { return };
                let tasks = self.scenario.probe(occurrence);
                let until = tasks.len().min(from + distributor.room());
                if until < tasks.len() {
                    self.after(50 * MS, Event::ProbeFor { node, start, occurrence, old, from: until });
                }
                self.input(node, Input::Probe { tasks: tasks[from..until].to_vec(), old });
            }
            Event::Wanted { node, generation, .. } => {
                let tasks = self.scenario.tasks(generation);
                self.nodes[node].read.insert(generation);
                self.input(node, Input::Wanted { generation, tasks });
            }
            Event::Stir { node, switch, .. } => self.input(node, Input::Stirred { switch }),
            Event::Audit { node, start, task, number } => self.audited(node, start, &task, number),
            Event::Fence { node, switch, .. } => self.shows_fence(node, switch),
            Event::Incident(incident) => self.incident(&incident),
            Event::Follow { node, version, .. } => {
                if version > self.nodes[node].version {
                    self.nodes[node].version = version;
                    let config = self.config_of(node);
                    self.input(node, Input::Config(config));
                }
            }
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
            self.nodes[node].crash(self.now);
            return;
        }
        self.ask_tick(node);
    }

    /// The configuration that a node follows.
    pub(super) fn config_of(&self, node: usize) -> Arc<SharedConfig> {
        Arc::clone(&self.scenario.configs[self.nodes[node].version])
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
            Action::Execute { task, attempt, fence, start_before, budget, push } => {
                self.execute(node, task, attempt, fence, (start_before, budget), push);
            }
            Action::Audit { task, number } => self.audit(node, task, number),
            Action::AskFence { task } => {
                let (start, switch) = (self.nodes[node].start, task.switch().to_owned());
                let wait = self.chance.range(MS / 10, 10 * MS);
                self.after(wait, Event::Fence { node, start, switch });
            }
            Action::Stop { id, attempt } => {
                self.nodes[node].stopping.insert((id, attempt));
            }
            Action::Announce { task, burst } => {
                let sender = self.nodes[node].sender;
                self.emitted.push(task.clone());
                let lost = self.chance.permille(self.rates.announce_lost);
                for _ in 0..if lost { 0 } else { burst } {
                    self.multicast(node, &Input::Announced { task: task.clone(), sender });
                }
            }
            Action::Heartbeat(heartbeat) => self.heartbeat(node, heartbeat),
            // There are no strangers here.
            Action::Prepare { .. } | Action::Ended { .. } | Action::Disown { .. } | Action::Note(_) => {}
        }
    }

    /// Before a machine is gone: what it has counted.
    pub(super) fn count(&mut self, node: usize) {
        let counters = match &self.nodes[node].kind {
            Some(Kind::Controller(controller)) => controller.counters(),
            Some(Kind::Distributor(distributor)) => distributor.counters(),
            None => return,
        };
        for (name, count) in counters.each() {
            *self.report.counters.entry(name).or_default() += count;
        }
    }
}
