//! What travels: datagrams, and requests to the store.

use std::time::Duration;

use super::clock::MS;
use super::event::Event;
use super::node::Node;
use super::store::Change;
use super::world::{LATEST, World};
use crate::io::{Heartbeat, Input, Reply, Request, Token};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::object::Object;
use crate::task::Task;

/// Heartbeats that somebody has recorded.
const RECORDED: usize = 200;
/// How long a node waits for a reply.
const PATIENCE: u64 = 400 * MS;

impl World {
    pub(super) fn heartbeat(&mut self, node: usize, heartbeat: Heartbeat) {
        self.nodes[node].sequence += 1;
        let Node { sender, epoch, sequence, .. } = self.nodes[node];
        let input = Input::Heartbeat { sender, epoch, sequence, heartbeat };
        self.multicast(node, &input);
        self.recorded.push_back((self.now, node, input));
        if self.recorded.len() > RECORDED {
            self.recorded.pop_front();
        }
    }

    /// To everybody: what is not for a distributor says nothing to it.
    pub(super) fn multicast(&mut self, from: usize, input: &Input) {
        for node in (0..self.nodes.len()).filter(|node| *node != from) {
            if self.cuts.iter().any(|cut| cut.0 == from && cut.1 == node && self.now < cut.2) {
                continue;
            }
            let copies = 1 + u64::from(self.chance.permille(self.rates.datagram_twice));
            for _ in 0..copies {
                if self.chance.permille(self.rates.datagram_lost) {
                    continue;
                }
                let late = self.chance.permille(self.rates.datagram_late);
                let wait = if late {
                    self.chance.range(20 * MS, LATEST)
                } else {
                    self.chance.range(MS / 10, 4 * MS)
                };
                self.after(wait, Event::Datagram { node, input: input.clone() });
            }
        }
    }

    /// The receiver lets the first copy through.
    pub(super) fn datagram(&mut self, node: usize, input: Input) {
        if let Input::Heartbeat { sender, epoch, .. } = &input {
            let newest = self.nodes[node].epochs.entry(*sender).or_default();
            *newest = (*newest).max(*epoch);
            // What an older start has sent is refused.
            if *newest == *epoch {
                self.checker.hears((node, self.nodes[node].start), (*sender, *epoch), self.now);
            }
        }
        if let Input::Announced { task, .. } = &input {
            if !self.nodes[node].copies.insert(task.id()) {
                return;
            }
            let task = task.clone();
            self.tell(node, &task);
        }
        self.input(node, input);
    }

    /// Somebody sends heartbeats of before once more. A receiver refuses what has come in its life, not what has come before
    /// it started.
    pub(super) fn replay_beats(&mut self) {
        for node in 0..self.nodes.len() {
            let born = self.nodes[node].born;
            let old = self.recorded.iter().filter(|(at, of, _)| *at < born && *of != node);
            let old: Vec<_> = old.cloned().collect();
            for (number, (_, _, input)) in (0..).zip(old) {
                self.after(number * 40 * MS, Event::Datagram { node, input });
            }
        }
    }

    pub(super) fn tell(&mut self, node: usize, task: &Task) {
        // What it says of itself need not be so.
        if let Some(generation) = self.checker.generation(task.id()) {
            self.nodes[node].told.entry(task.switch().to_owned()).or_default().insert(generation);
        }
    }

    pub(super) fn send(&mut self, node: usize, token: Token, mut request: Request) {
        let Node { start, clock, sender, epoch, .. } = self.nodes[node];
        self.checker.request(self.now, (node, start), (sender, epoch), clock, &request);
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
        let wait = match late {
            true if self.chance.permille(self.rates.lands_next_day) => self.chance.range(8000, 30_000) * MS,
            true => self.chance.range(100, 6000) * MS,
            false => self.chance.range(MS / 2, 8 * MS),
        };
        self.after(wait, Event::Arrive { node, start, token, request, phase: 0 });
    }

    pub(super) fn arrive(&mut self, node: usize, start: u32, token: Token, request: Request, phase: u8) {
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
                        let (_, mut changes) = self.ask_store(node, put);
                        if !existed && let Some(Change::Overwritten(key, object)) = changes.pop() {
                            changes.push(Change::Created(key, object));
                        }
                        self.changed(&changes);
                    }
                    let wait = self.chance.range(MS / 2, 8 * MS);
                    self.after(wait, Event::Arrive { node, start, token, request, phase: phase + 1 });
                    return;
                }
            }
        } else {
            let (reply, changes) = self.ask_store(node, request);
            self.changed(&changes);
            reply
        };
        if self.chance.permille(self.rates.reply_lost) {
            return;
        }
        let wait = self.chance.range(MS / 2, 8 * MS);
        self.after(wait, Event::Answer { node, start, token, reply });
    }

    fn ask_store(&mut self, node: usize, request: Request) -> (Reply, Vec<Change>) {
        let faults = (&self.rates.store, self.mutant);
        let (mut reply, changes) = self.store.apply(self.now, node, request, &mut self.chance, faults);
        if let Reply::Page { keys, .. } = &mut reply {
            for listed in keys {
                let age = i128::try_from(listed.age.as_nanos()).unwrap_or(0) + self.nodes[node].wall;
                listed.age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
            }
        }
        (reply, changes)
    }

    pub(super) fn changed(&mut self, changes: &[Change]) {
        for change in changes {
            self.checker.changed(self.now, change);
            if let Change::Created(Key::Horizon(source, below), _) = change
                && self.chance.permille(self.rates.closed_again)
            {
                self.announce_closed(source, *below);
            }
        }
    }
}

impl World {
    /// Some of what a raise has just closed is announced again, to controllers who do not know of it yet.
    fn announce_closed(&mut self, source: &str, below: u64) {
        let closed = |task: &&Task| task.event().source == source && task.event().occurrence < below;
        let closed: Vec<_> = self.emitted.iter().filter(closed).cloned().collect();
        for _ in 0..if closed.is_empty() { 0 } else { self.chance.range(1, 10) } {
            let task = closed[self.chance.index(closed.len())].clone();
            let node = self.chance.index(self.nodes.len());
            let wait = self.chance.range(0, 3000 * MS);
            if self.nodes[node].is_controller {
                self.after(wait, Event::Again { node, task });
            }
        }
    }

    /// An announce comes that the receiver has forgotten.
    pub(super) fn again(&mut self, node: usize, task: Task) {
        self.nodes[node].copies.remove(&task.id());
        self.happen(Event::Datagram { node, input: Input::Announced { task, sender: 1 } });
    }
}

fn nonce(object: &Object) -> Option<&str> {
    match object {
        Object::Claim(claim) => Some(&claim.nonce),
        _ => None,
    }
}
