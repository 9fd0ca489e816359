//! Now and then: is it over, and does everybody say of the others what is so?

use std::collections::BTreeSet;

use super::checker::{Invariant, Violation};
use super::clock::MS;
use super::event::Event;
use super::incident::Incident;
use super::node::{Kind, Node};
use super::world::{Backup, LATEST, World};
use crate::io::{Copies, Input, SenderCopies};
use crate::key::Key;
use crate::task::Task;

/// How long after the calm everything has to be decided, beside a grace: for so long a queued task that could not be read is
/// left alone.
const BOUND: u64 = 35_000 * MS;
/// After this a silence has to be known: twice the limit of 1 s, a heartbeat, clocks that differ by 10 %, and what may
/// still be on its way for 3 s.
const LONG_ENOUGH: u64 = 6000 * MS;
/// How long a long history goes on after the calm.
const LONG: u64 = 45_000 * MS;

impl World {
    /// Looks whether it is over.
    pub(super) fn look(&mut self) -> bool {
        self.after(500 * MS, Event::Look);
        self.back_up();
        for node in 0..self.nodes.len() {
            if let Some(Kind::Controller(controller)) = &self.nodes[node].kind {
                self.report.marks += controller.degraded().count() as u64;
                self.dead(node);
            }
            self.copies(node);
        }
        self.look_who_is_told_of();
        if !self.checker.violations.is_empty() {
            return true;
        }
        let Some(calm) = self.calm else { return false };
        let probes: Vec<_> =
            (1..=self.probes).flat_map(|occurrence| self.scenario.probe(occurrence)).collect();
        let wanted: Vec<_> = self.checker.current().chain(&probes).cloned().collect();
        let installed =
            |task: &Task| self.switches.0.get(task.switch()).is_some_and(|switch| switch.holds(task));
        let there = self.newest > self.scenario.first;
        let kept = !there || self.scenario.tasks(self.newest).iter().all(installed);
        let settled = kept
            && wanted.iter().all(|task| self.checker.is_decided_or_closed(task))
            && self.checker.open().is_empty()
            && !self.store.keys().any(|key| matches!(key, Key::Queue(id) if self.checker.is_real(*id)));
        let over = self.now >= calm + if self.scenario.long { LONG } else { 0 }
            && self.nodes.iter().all(|node| !node.frozen);
        if settled && over {
            return true;
        }
        let bound = BOUND + self.scenario.longest_grace();
        if self.now < calm + bound + if self.scenario.long { LONG } else { 0 } {
            return false;
        }
        let wrong =
            self.scenario.tasks(self.newest.max(1)).into_iter().filter(|task| there && !installed(task));
        let wrong: Vec<_> = wrong.map(|task| task.switch().to_owned()).collect();
        let never: Vec<_> =
            wanted.iter().filter(|task| !self.checker.is_decided_or_closed(task)).map(Task::id).collect();
        for id in never {
            let what = format!("{id}, of the newest generation or of a probe, was never decided");
            self.checker.violations.push(Violation { invariant: Invariant::I5, at: self.now, what });
        }
        for switch in wrong {
            let what = format!(
                "{switch} does not hold the newest generation, {} s after the faults",
                bound / (1000 * MS)
            );
            self.checker.violations.push(Violation { invariant: Invariant::I12, at: self.now, what });
        }
        true
    }

    fn back_up(&mut self) {
        let put_back = |(_, incident): &(u64, Incident)| matches!(incident, Incident::PutBack { .. });
        if self.calm.is_none() && self.scenario.incidents.iter().any(put_back) {
            self.backups.push(Backup {
                at: self.now,
                store: self.store.clone(),
                checker: self.checker.clone(),
                newest: self.newest,
                probes: self.probes,
                epochs: self.epochs.clone(),
            });
        }
    }

    /// Whom a controller takes to be alive although he has been down for long.
    fn dead(&mut self, node: usize) {
        let controller = &mut self.nodes[node];
        if controller.paused {
            return;
        }
        let (since, clock) = (controller.since, controller.clock);
        let Some(Kind::Controller(machine)) = &controller.kind else { return };
        let now = clock.local(self.now);
        let alive: BTreeSet<u32> = machine.alive(now).collect();
        let silence =
            clock.real_length(self.scenario.configs[0].silence().as_nanos().try_into().unwrap_or(0));
        let gone = |other: &&Node| {
            other.kind.is_none() && !other.twin && !self.spoken_for(other) && alive.contains(&other.sender)
        };
        let long = |other: &&Node| self.now > other.since.max(since) + LATEST + silence;
        let gone: Vec<_> =
            self.nodes.iter().filter(gone).filter(long).map(|other| other.name.clone()).collect();
        for name in gone {
            let what = format!("node {node} takes {name} to be alive, who is down");
            self.checker.violations.push(Violation { invariant: Invariant::I15, at: self.now, what });
        }
    }

    /// Somebody with the key has spoken in its name, not long ago.
    fn spoken_for(&self, node: &Node) -> bool {
        node.name == self.nodes[0].name && self.forged.is_some_and(|at| self.now < at + LONG_ENOUGH)
    }

    /// Who has not run for long has to be told of by everybody who has, and in the calm nobody else.
    fn look_who_is_told_of(&mut self) {
        let long = |node: &Node| self.now.saturating_sub(node.since) >= LONG_ENOUGH;
        let calm = self.calm.is_some_and(|calm| self.now >= calm + LONG_ENOUGH);
        let mut wrong = Vec::new();
        // Of two under one name each hears others tell of the other one.
        let watched = |node: &&Node| !node.twin && long(node);
        for observer in self.nodes.iter().filter(|node| node.runs() && !node.draining && watched(node)) {
            let troubles = observer.troubles(self.now);
            for other in self.nodes.iter().filter(|node| node.name != observer.name && watched(node)) {
                let told =
                    troubles.iter().any(|text| text.starts_with(&format!("{} has not been", other.name)));
                let (runs, left) = (other.runs() && !other.draining, other.left);
                // An earlier start of it may have left in good order, and nothing was heard of this one.
                let unknown = observer.epochs.get(&other.sender).is_some_and(|start| *start < other.epoch);
                if !runs && !left && !unknown && !self.spoken_for(other) && !told {
                    wrong.push(format!("{} is silent, and {} does not tell", other.name, observer.name));
                }
                if runs && calm && told {
                    wrong.push(format!("{} is well, and {} tells of it", other.name, observer.name));
                }
            }
        }
        // Of two under one name the one that was started first finds out.
        let twins: Vec<_> = self.nodes.iter().filter(|node| node.twin && node.runs() && long(node)).collect();
        if let [one, other] = twins[..]
            && calm
        {
            let first = if one.epoch < other.epoch { one } else { other };
            let told = first.troubles(self.now).iter().any(|text| text.starts_with("another process"));
            if !told && !first.draining && !one.left && !other.left {
                wrong.push(format!("two run as {}, and the first one does not tell", first.name));
            }
        }
        for what in wrong {
            self.checker.violations.push(Violation { invariant: Invariant::Told, at: self.now, what });
        }
    }

    /// How copies came in, made up: sometimes late enough for marks.
    fn copies(&mut self, node: usize) {
        if !self.nodes[node].is_controller || self.rates.copies_late == 0 {
            return;
        }
        let senders = self.scenario.configs[0].distributors().map(|member| member.sender).collect::<Vec<_>>();
        let mut copies = Copies { tasks: 10, senders: Vec::new() };
        for sender in senders {
            let late = self.chance.permille(self.rates.copies_late);
            let lateness_us = vec![if late { 60_000 } else { 100 }; 10];
            copies.senders.push(SenderCopies { sender, copies: 10, lateness_us });
        }
        self.happen(Event::Datagram { node, input: Input::Copies(copies) });
    }
}
