//! Faults, starts, and the calm.

use super::clock::MS;
use super::event::Event;
use super::incident::{Forged, Incident, Pause};
use super::node::Kind;
use super::scenario::Rates;
use super::world::World;
use crate::config::Role;
use crate::controller::Controller;
use crate::distributor::Distributor;
use crate::io::{Heartbeat, Identity, Input, Request, Token};
use crate::key::Key;
use crate::object::{Object, QueuedTask};
use crate::task::{Digest, Event as Cause, NETWORK, NetworkId, Task, Work};

impl World {
    pub(super) fn start(&mut self, node: usize, old: bool) {
        let lost = self.calm.is_some() && self.scenario.lost_for_ever.contains(&node);
        if self.nodes[node].kind.is_some() || lost {
            return;
        }
        let now = self.nodes[node].clock.local(self.now);
        self.nodes[node].start += 1;
        (self.nodes[node].born, self.nodes[node].since, self.nodes[node].sequence) = (self.now, self.now, 0);
        let (start, name) = (self.nodes[node].start, self.nodes[node].name.clone());
        let epoch = self.epochs.entry(name.clone()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        (self.nodes[node].epoch, self.nodes[node].version) = (epoch, self.version);
        self.store.write(self.now, Key::Epoch(name.clone(), epoch));
        self.checker.started((node, start, self.now), &name, epoch);
        let me = Identity { name, network: NETWORK, epoch };
        let config = self.config_of(node);
        let kind = if self.nodes[node].is_controller {
            let mut controller = Controller::new(me, config, now);
            if let Some(mutant) = self.mutant {
                controller.mutate(mutant);
            }
            if let Some(before) = self.version.checked_sub(1) {
                controller.hold_grace(self.scenario.configs[before].grace(), now);
            }
            Kind::Controller(Box::new(controller))
        } else {
            Kind::Distributor(Box::new(Distributor::new(me, config, now)))
        };
        self.nodes[node].kind = Some(kind);
        self.nodes[node].left = false;
        self.line(|| format!("node {node} starts, the {start}. time"));
        if !self.nodes[node].is_controller && self.newest > self.scenario.first {
            let mut wait = self.chance.range(MS, 200 * MS);
            if old {
                let generation = self.chance.range(self.scenario.first + 1, self.newest);
                self.after(wait, Event::Emit { node, start, generation });
                wait += self.chance.range(MS, 500 * MS);
            }
            let generation = self.newest;
            self.after(wait, Event::Emit { node, start, generation });
        }
        if self.nodes[node].is_controller && self.newest > self.scenario.first {
            let (wait, generation) = (self.chance.range(MS, 500 * MS), self.newest);
            self.after(wait, Event::Wanted { node, start, generation });
        }
        if !self.nodes[node].is_controller {
            for occurrence in 1..=self.probes {
                let wait = self.chance.range(MS, 200 * MS);
                self.after(wait, Event::ProbeFor { node, start, occurrence, old: true, from: 0 });
            }
        }
        self.input(node, Input::Tick);
    }

    pub(super) fn resume(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].paused) {
            return;
        }
        if std::mem::take(&mut self.nodes[node].still) {
            let clock = self.nodes[node].clock;
            let slept = clock.local(self.now).since(clock.local(self.nodes[node].since));
            self.nodes[node].clock.offset -= i128::try_from(slept.as_nanos()).unwrap_or(0);
        }
        let since = std::mem::replace(&mut self.nodes[node].since, self.now);
        self.nodes[node].frozen = false;
        self.checker.stood_still((node, self.nodes[node].start), self.now, self.now - since);
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

    /// The intent log gets a generation, and whoever follows it reads it in a while.
    fn append(&mut self) {
        let generation = self.newest.max(self.scenario.first) + 1;
        self.newest = generation;
        if self.era > 0 {
            self.scenario.eras.insert(generation, self.era);
        }
        let record = self.scenario.generation(generation);
        self.checker.appended(&record);
        self.store.append(self.now, Key::Generation(generation), Object::Generation(record));
        for node in 0..self.nodes.len() {
            let start = self.nodes[node].start;
            if self.nodes[node].is_controller {
                let wait = self.chance.range(100, 1500) * MS;
                self.after(wait, Event::Wanted { node, start, generation });
            } else {
                let wait = self.chance.range(MS, 50 * MS);
                self.after(wait, Event::Emit { node, start, generation });
            }
        }
    }

    /// So does the log of probes.
    fn append_probe(&mut self) {
        let occurrence = self.probes + 1;
        self.probes = occurrence;
        let entry = Object::Probe(self.scenario.entry(occurrence));
        self.store.append(self.now, Key::Probe(occurrence), entry);
        self.checker.probed(&self.scenario.probe(occurrence));
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_controller {
                let (start, wait) = (self.nodes[node].start, self.chance.range(MS, 50 * MS));
                self.after(wait, Event::ProbeFor { node, start, occurrence, old: false, from: 0 });
            }
        }
    }

    pub(super) fn incident(&mut self, incident: &Incident) {
        self.line(|| format!("{incident:?}"));
        match *incident {
            Incident::Append => self.append(),
            Incident::Probe => self.append_probe(),
            Incident::Crash { node, restart_after, .. } | Incident::Drain { node, restart_after }
                if self.nodes[node].kind.is_none() || self.calm.is_some() =>
            {
                let _ = restart_after;
            }
            Incident::Crash { node, restart_after, old } => {
                self.count(node);
                self.nodes[node].crash(self.now);
                self.streams_end(node);
                self.after(restart_after, Event::Start(node));
                if old {
                    self.after(restart_after.saturating_sub(1), Event::Start(node));
                }
            }
            Incident::Drain { node, restart_after } => {
                if !self.nodes[node].paused {
                    (self.nodes[node].draining, self.nodes[node].left) = (true, true);
                    self.input(node, Input::Drain);
                    self.after(
                        restart_after,
                        Event::Incident(Incident::Crash { node, restart_after: MS, old: false }),
                    );
                }
                self.after(restart_after + 10 * MS, Event::Start(node));
            }
            Incident::Pause { node, length, kind } => {
                if self.nodes[node].runs() {
                    let paused = &mut self.nodes[node];
                    (paused.paused, paused.since) = (true, self.now);
                    (paused.frozen, paused.still) = (kind == Pause::Frozen, kind == Pause::Still);
                    self.after(length, Event::Resume(node));
                }
            }
            Incident::Cut { from, to, length } => {
                self.cuts.push((from, to, self.now + length));
            }
            Incident::PutBack { by } => self.put_back(by),
            Incident::ClockJumps { node, by } => {
                self.nodes[node].clock.offset += i128::from(by);
                if self.nodes[node].runs() {
                    // It begins anew to listen.
                    self.nodes[node].since = self.now;
                    self.checker.stood_still((node, self.nodes[node].start), self.now, 0);
                    self.input(node, Input::Tick);
                }
            }
            Incident::WallClock { node, by } => self.nodes[node].wall = by.into(),
            Incident::Configure { version } => {
                self.version = version;
                for node in 0..self.nodes.len() {
                    let (start, wait) =
                        (self.nodes[node].start, self.chance.range(MS, self.scenario.follows(version)));
                    self.after(wait, Event::Follow { node, start, version });
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
            Incident::SwitchEdited { switch } => {
                let name = self.scenario.switches[switch].clone();
                self.edit(&name);
            }
            Incident::SwitchGone { switch, length } => {
                let name = self.scenario.switches[switch].clone();
                self.switches.0.entry(name).or_default().gone = true;
                self.after(length, Event::SwitchBack(switch));
            }
            Incident::Replay => self.replay(),
            Incident::ReplayBeats => self.replay_beats(),
            Incident::Forge { what, switch, queued } => self.forge(what, switch, queued),
            Incident::ForgetCopies => self.nodes.iter_mut().for_each(|node| node.copies.clear()),
            Incident::Calm => self.calm_down(),
        }
    }

    /// All nodes are stopped, the store is put back to what it was a while ago, the switches and the nodes are started: as
    /// docs/rmdp.md tells people to do it. What was appended since is lost; its numbers are given again, to other things.
    fn put_back(&mut self, by: u64) {
        let then = self.now.saturating_sub(by);
        let Some(backup) = self.backups.iter().rev().find(|backup| backup.at <= then).cloned() else {
            return;
        };
        for node in 0..self.nodes.len() {
            if self.nodes[node].kind.is_some() {
                self.count(node);
                self.nodes[node].crash(self.now);
                let wait = self.chance.range(300, 2000) * MS;
                self.after(wait, Event::Start(node));
            }
            // What is on its way to the store does not come.
            self.nodes[node].start += 1;
            self.nodes[node].cut = self.nodes[node].start;
        }
        let violations = std::mem::take(&mut self.checker.violations);
        (self.store, self.checker) = (backup.store, backup.checker);
        (self.newest, self.probes, self.epochs) = (backup.newest, backup.probes, backup.epochs);
        self.checker.violations = violations;
        self.checker.forget_pushes();
        self.held.clear();
        // Stream epochs are given again as well: nobody sends once more what was recorded under them.
        self.recorded.clear();
        self.drop_heartbeats();
        self.era += 1;
        for switch in 0..self.scenario.switches.len() {
            let name = self.scenario.switches[switch].clone();
            self.switch_restarts(&name);
        }
    }

    /// An old announce comes again, or an old task is queued again by somebody who has slept.
    pub(super) fn replay(&mut self) {
        if self.emitted.is_empty() {
            return;
        }
        let which = self.chance.index(self.emitted.len());
        let task = self.emitted[which].clone();
        let node = self.chance.index(self.nodes.len());
        if self.chance.permille(500) {
            let queued = QueuedTask::new(&task, "late");
            let request = Request::Create { key: Key::Queue(task.id()), object: Object::Task(queued) };
            self.arrive(node, u32::MAX, Token(u64::MAX), request, 0);
        } else if self.nodes[node].is_controller {
            self.again(node, task);
        }
    }

    /// Somebody with the key says what is not so, to everybody.
    fn forge(&mut self, what: Forged, switch: usize, queued: bool) {
        let name = self.scenario.switches[switch].clone();
        let newest = self.newest.max(1);
        let converge =
            |generation, byte| Work::Converge { generation, desired: Digest([byte; 32]), entries: 3 };
        let (event, work) = match what {
            Forged::Absurd => (Cause::generation(NETWORK, u64::MAX, &name), converge(u64::MAX, 0xaa)),
            Forged::Early => {
                let tasks = self.scenario.tasks(self.newest + 1);
                let Some(task) = tasks.into_iter().find(|task| task.switch() == name) else { return };
                (task.event().clone(), *task.work())
            }
            Forged::Otherwise => {
                let generation = newest + self.chance.range(0, 1);
                (Cause::generation(NETWORK, generation, &name), converge(generation, 0xbb))
            }
            Forged::Foreign => (Cause::generation(NetworkId::new(2), newest, &name), converge(newest, 0xcc)),
            Forged::Uneven => (Cause::generation(NETWORK, newest, &name), converge(newest + 5, 0xdd)),
            Forged::Elsewhere => (Cause::generation(NETWORK, newest, "leaf99"), converge(newest, 0xee)),
            Forged::Unchanged => {
                let record = self.scenario.generation(self.newest);
                let Some(state) = record.desired.get(&name).filter(|_| record.since(&name) < newest) else {
                    return;
                };
                let work =
                    Work::Converge { generation: newest, desired: state.sha256, entries: state.entries };
                (Cause::generation(NETWORK, newest, &name), work)
            }
            Forged::Heartbeat => {
                let generation = if queued { u64::MAX } else { newest + 1 };
                let (role, notices, lateness) = (Role::Distributor, Vec::new(), Vec::new());
                let heartbeat =
                    Heartbeat { role, generation, interval_ms: 250, notices, lateness, heard: Vec::new() };
                let (epoch, sequence) = (self.nodes[0].epoch, self.nodes[0].sequence + 1);
                let input = Input::Heartbeat { sender: self.nodes[0].sender, epoch, sequence, heartbeat };
                self.multicast(0, &input);
                self.forged = Some(self.now);
                return;
            }
        };
        let task = Task::new(event, work).expect("a good event");
        self.line(|| format!("forged: {task:?}"));
        if queued {
            let object = Object::Task(QueuedTask::new(&task, "forger"));
            let request = Request::Create { key: Key::Queue(task.id()), object };
            self.arrive(0, u32::MAX, Token(u64::MAX), request, 0);
        } else {
            self.multicast(usize::MAX, &Input::Announced { task, sender: 1 });
        }
    }

    pub(super) fn calm_down(&mut self) {
        self.calm = Some(self.now);
        self.nodes.iter_mut().for_each(|node| node.wall = 0);
        self.rates = Rates::CALM;
        self.cuts.clear();
        self.happen(Event::StoreBack);
        for switch in 0..self.scenario.switches.len() {
            self.happen(Event::SwitchBack(switch));
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].frozen {
                self.resume(node);
            }
            if self.scenario.lost_for_ever.contains(&node) {
                self.count(node);
                self.nodes[node].crash(self.now);
                continue;
            }
            if self.nodes[node].draining {
                self.count(node);
                self.nodes[node].crash(self.now);
            }
            self.start(node, false);
        }
    }
}
