//! Agents and switches. Nothing is atomic: a switch has a pipeline and parts, each of which is written by a request of its
//! own; a push takes long and empties it at its end; requests may sit in a socket for seconds and land after their sender has
//! given up. A lax switch lets what has begun run on beside the next primary's writes, as BMv2 does; others are through with
//! it before they take the next primary.

use super::clock::MS;
use super::event::Event;
use super::incident::{Incident, Pause};
use super::switch::{Op, PARTS, Parts, Run, Stage, Switch, desired};
use super::world::World;
use crate::io::{Audit, Execution, Input};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::task::{Fence, Task, Work};
use crate::time::Instant;

/// Rounds of an execution whose last look shows another state than it has written.
const ROUNDS: u8 = 4;

impl World {
    pub(super) fn execute(
        &mut self,
        node: usize,
        task: Task,
        attempt: u32,
        fence: Fence,
        (start_before, budget): (Instant, std::time::Duration),
        push: Option<(Instant, std::time::Duration)>,
    ) {
        let budget = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        let start = self.nodes[node].start;
        let told = self.nodes[node].told.get(task.switch());
        // Who drains takes nothing new, and ends what he has.
        let told = told.filter(|_| !self.nodes[node].draining);
        let told =
            told.and_then(|told| told.intersection(&self.nodes[node].read).max()).copied().unwrap_or(0);
        self.checker.execute(self.now, (node, start), &task, attempt, told);
        if let Work::Converge { generation, desired, .. } = task.work()
            && !self.store.has(&Key::Blob(*desired))
            && !self.store.has(&Key::Generation(*generation))
        {
            self.checker.cannot(self.now, &task);
        }
        if self.chance.permille(self.rates.crash_executing) {
            let (wait, restart_after) = (self.chance.range(0, 60 * MS), self.chance.range(50, 2500) * MS);
            let old = self.chance.permille(300);
            self.after(wait, Event::Incident(Incident::Crash { node, restart_after, old }));
        }
        if self.chance.permille(self.rates.sleep_executing) {
            let (wait, length) = (self.chance.range(0, 60 * MS), self.chance.range(18_000, 28_000) * MS);
            self.after(wait, Event::Incident(Incident::Pause { node, length, kind: Pause::Frozen }));
        }
        if self.chance.permille(self.rates.pause_executing) {
            let (wait, length) = (self.chance.range(0, 60 * MS), self.chance.range(20, 1500) * MS);
            self.after(wait, Event::Incident(Incident::Pause { node, length, kind: Pause::Plain }));
        }
        let push =
            push.map(|(before, within)| (before, u64::try_from(within.as_nanos()).unwrap_or(u64::MAX)));
        let (connection, piped, parts) = (0, false, Parts::default());
        let (op, orphan, takes, rounds, sent) = (Op::Push, false, 0, 0, 0);
        let run = Run {
            node,
            start,
            task,
            attempt,
            fence,
            start_before,
            budget,
            push,
            connection,
            piped,
            parts,
            op,
            orphan,
            takes,
            rounds,
            sent,
        };
        let wait = self.chance.range(MS / 10, 8 * MS);
        self.after(wait, Event::Agent(run, Stage::Connect));
    }

    fn agent_later(&mut self, run: Run, stage: Stage) {
        let wait = self.chance.range(MS / 10, 10 * MS);
        self.after(wait, Event::Agent(run, stage));
    }

    /// Ends an execution in a while.
    fn agent_ends(&mut self, run: Run, outcome: Execution) {
        self.agent_later(run, Stage::End(outcome));
    }

    /// A step of an agent; its node is up and runs.
    pub(super) fn agent(&mut self, run: Run, stage: Stage) {
        match stage {
            Stage::Connect => self.connect(run),
            Stage::Next => self.next_write(run),
            Stage::Verify => self.verify(run),
            Stage::End(outcome) => {
                let (id, attempt) = (run.task.id(), run.attempt);
                self.nodes[run.node].stopping.remove(&(id, attempt));
                self.input(run.node, Input::Executed { id, attempt, outcome });
            }
        }
    }

    fn connect(&mut self, mut run: Run) {
        let name = run.task.switch().to_owned();
        let (fences, lax) = (self.is_fenced(&name), self.scenario.lax);
        if let Some(by) = self.overtaken(&run) {
            self.agent_ends(run, fenced(by));
            return;
        }
        let switch = self.switches.0.entry(name.clone()).or_default();
        if switch.gone {
            self.agent_ends(run, Execution::Failed { reason: "the switch cannot be reached".to_owned() });
            return;
        }
        // Probes only read, which needs no fence.
        if matches!(run.task.work(), Work::Ask {}) {
            self.agent_ends(run, done("alive"));
            return;
        }
        if let Some(by) = switch.fence.filter(|seen| *seen > run.fence && fences) {
            self.nodes[run.node].overtaken.insert(name, by);
            self.agent_ends(run, fenced(by));
            return;
        }
        switch.fence = switch.fence.max(Some(run.fence));
        switch.streams.insert((run.node, run.start), run.fence);
        for (&(node, start), fence) in &switch.streams {
            // Each is told in order, before its owner writes again.
            if *fence < run.fence && self.nodes[node].start == start && fences {
                let told = self.nodes[node].overtaken.entry(name.clone()).or_insert(run.fence);
                *told = (*told).max(run.fence);
            }
        }
        if switch.pushing > 0 && !lax {
            // It is through with what has begun before it answers.
            self.agent_later(run, Stage::Connect);
            return;
        }
        let me = (run.node, run.start);
        (run.connection, run.piped, run.parts) = (switch.starts, switch.piped, switch.parts);
        self.checker.raises(self.now, &run.task, run.attempt);
        if let Some(old) = switch.primary.replace(me).filter(|old| *old != me) {
            self.stir(name, old);
        }
        self.agent_later(run, Stage::Next);
    }

    fn next_write(&mut self, mut run: Run) {
        let (id, attempt) = (run.task.id(), run.attempt);
        if self.nodes[run.node].stopping.contains(&(id, attempt)) {
            self.agent_ends(run, Execution::Stopped);
            return;
        }
        if let Some(by) = self.overtaken(&run) {
            self.agent_ends(run, fenced(by));
            return;
        }
        let wanted = desired(&run.task);
        let part = run.parts.iter().position(|part| *part != wanted);
        run.op = match part {
            _ if !run.piped => Op::Push,
            Some(part) => Op::Part(part),
            None if self.mutant == Some(Mutant::NoVerify) => {
                self.concludes(run);
                return;
            }
            None => {
                self.agent_later(run, Stage::Verify);
                return;
            }
        };
        let now = self.nodes[run.node].clock.local(self.now);
        let budget = run.budget;
        let (before, within) = match (run.op, run.push) {
            (Op::Part(_), _) => (run.start_before, budget),
            (Op::Push, Some(push)) => push,
            (Op::Push, None) => {
                self.agent_ends(run, Execution::NeedsPush);
                return;
            }
        };
        if now >= before && self.mutant != Some(Mutant::LateStart) {
            let outcome = if matches!(run.op, Op::Push) { Execution::NeedsPush } else { Execution::TooLate };
            self.agent_ends(run, outcome);
            return;
        }
        self.checker.write_starts((self.now, now), (run.node, run.start), id, attempt, within);
        run.sent = self.now;
        // A request may sit in a socket for long, whatever becomes of its sender.
        let stuck = self.chance.permille(self.rates.write_stuck);
        let arrives =
            if stuck { self.chance.range(500, 8000) * MS } else { self.chance.range(MS / 10, 20 * MS) };
        // Who gives up waiting says so when nothing can be under way any more, or others have begun.
        let clock = self.nodes[run.node].clock;
        let longest = run.push.map_or(0, |(_, within)| within).max(budget);
        let settle_by = clock.real(run.start_before) + clock.real_length(2 * longest);
        let patience = match self.mutant {
            Some(Mutant::EarlyExecuted) => clock.real_length(within),
            _ => settle_by.saturating_sub(self.now).max(clock.real_length(within)),
        };
        run.takes = self.takes(&run);
        if arrives + run.takes > patience {
            let mut given_up = run.clone();
            given_up.orphan = true;
            self.after(arrives, Event::Land(given_up));
            let outcome = Execution::Failed { reason: "the switch does not answer".to_owned() };
            self.after(patience, Event::Agent(run, Stage::End(outcome)));
            return;
        }
        self.after(arrives, Event::Land(run));
    }

    /// How long the switch works on a request.
    fn takes(&mut self, run: &Run) -> u64 {
        match run.op {
            Op::Push => {
                let (base, within) = (self.scenario.push_takes, run.push.map_or(0, |(_, within)| within));
                if self.chance.permille(self.rates.write_stuck * 3) {
                    // More than it is given, by up to a half.
                    within + within / 200 * self.chance.range(1, 100)
                } else {
                    base / 2 + base / 200 * self.chance.range(0, 100)
                }
            }
            Op::Part(_) if self.scenario.lax => self.chance.range(0, 60) * MS,
            Op::Part(_) => 0,
        }
    }

    /// A request reaches its switch.
    pub(super) fn land(&mut self, run: Run) {
        let fails = self.chance.permille(self.rates.write_fails);
        let fences = self.is_fenced(run.task.switch());
        let takes = run.takes;
        let switch = self.switches.0.entry(run.task.switch().to_owned()).or_default();
        let broken = switch.gone || switch.starts != run.connection;
        let over = switch.fence.filter(|seen| *seen > run.fence && fences);
        let outcome = match over {
            _ if broken => Some(Execution::Failed { reason: "the connection broke".to_owned() }),
            Some(by) => Some(fenced(by)),
            None if fails => Some(Execution::Failed { reason: "the switch refused".to_owned() }),
            None => None,
        };
        if let Some(outcome) = outcome {
            if !run.orphan {
                if let Execution::Fenced { by, .. } = outcome {
                    self.nodes[run.node].overtaken.insert(run.task.switch().to_owned(), by);
                }
                self.agent_ends(run, outcome);
            }
            return;
        }
        // One that was under way is taken by a switch that has forgotten whom it had let overtake it.
        let sent = if self.scenario.lax { run.sent } else { u64::MAX };
        self.checker.accepted(self.now, &run.task, run.attempt, sent);
        if let Op::Push = run.op {
            switch.pushing += 1;
            let beside = switch.pushing > 1;
            self.checker.push_begins(self.now, (run.node, run.start), &run.task, run.attempt, beside);
        }
        self.after(takes, Event::Effect(run));
    }

    /// A request takes effect. What the switch has begun runs on, whoever is primary by now.
    pub(super) fn effect(&mut self, mut run: Run) {
        let (name, lax) = (run.task.switch().to_owned(), self.scenario.lax);
        let switch = self.switches.0.entry(name.clone()).or_default();
        if switch.starts != run.connection {
            if !run.orphan {
                self.agent_ends(run, Execution::Failed { reason: "the connection broke".to_owned() });
            }
            return;
        }
        match run.op {
            Op::Push => {
                (switch.piped, switch.parts) = (true, Parts::default());
                switch.pushing -= 1;
                (run.piped, run.parts) = (true, Parts::default());
                self.checker.push_ends(&run.task, run.attempt);
                let took = std::time::Duration::from_nanos(self.scenario.push_takes);
                if !run.orphan {
                    self.happen(Event::Pushed {
                        node: run.node,
                        start: run.start,
                        switch: name.clone(),
                        took,
                    });
                }
                self.line(|| format!("{name} has our pipeline, and is empty"));
            }
            Op::Part(part) if switch.piped => {
                let wanted = desired(&run.task);
                if switch.parts[part] != wanted {
                    switch.parts[part] = wanted;
                    let lax = lax || self.scenario.unfenced.contains(&name);
                    self.checker.effect(self.now, &run.task, run.attempt, part, lax);
                    self.line(|| {
                        format!("{name} does generation {:?} in part {part}", run.task.work().generation())
                    });
                }
                run.parts[part] = wanted;
            }
            // A write into nothing.
            Op::Part(_) => {
                if !run.orphan {
                    self.agent_ends(run, Execution::Failed { reason: "there is no pipeline".to_owned() });
                }
                return;
            }
        }
        if !run.orphan {
            self.agent_later(run, Stage::Next);
        }
    }

    /// All is written: is it so?
    fn verify(&mut self, mut run: Run) {
        let switch = self.switches.0.entry(run.task.switch().to_owned()).or_default();
        if switch.gone || switch.starts != run.connection {
            self.agent_ends(run, Execution::Failed { reason: "the connection broke".to_owned() });
            return;
        }
        if switch.holds(&run.task) {
            self.concludes(run);
            return;
        }
        (run.piped, run.parts) = (switch.piped, switch.parts);
        run.rounds += 1;
        if run.rounds >= ROUNDS {
            let reason = "somebody else changes the switch at the same time".to_owned();
            self.agent_ends(run, Execution::Failed { reason });
        } else {
            self.agent_later(run, Stage::Next);
        }
    }

    /// The agent says that the switch is as it should be.
    fn concludes(&mut self, run: Run) {
        let switch = self.switches.0.entry(run.task.switch().to_owned()).or_default();
        // Whoever came after may have changed it, and where nobody is fenced, whoever was before.
        let unfenced = self.scenario.unfenced.contains(run.task.switch());
        let alone = !unfenced && switch.starts == run.connection && switch.fence == Some(run.fence);
        if alone && !switch.holds(&run.task) {
            self.checker.untrue(self.now, &run.task, run.attempt);
        }
        self.agent_ends(run, done("written"));
    }

    /// Whether a switch refuses who was overtaken.
    fn is_fenced(&self, switch: &str) -> bool {
        self.mutant != Some(Mutant::NoFence) && !self.scenario.unfenced.contains(switch)
    }

    /// The fence that an execution's own session knows to be above its own, whatever the switch says.
    fn overtaken(&self, run: &Run) -> Option<Fence> {
        let above = self.nodes[run.node].overtaken.get(run.task.switch()).copied();
        above.filter(|above| *above > run.fence && self.mutant != Some(Mutant::OvertakenGoesOn))
    }

    /// A switch shows whether it refuses who was overtaken.
    pub(super) fn shows_fence(&mut self, node: usize, switch: String) {
        let gone = self.switches.0.get(&switch).is_some_and(|switch| switch.gone);
        // A mutant's switches say that they do, and do not.
        let fences = (!gone).then(|| !self.scenario.unfenced.contains(&switch));
        self.input(node, Input::Fence { switch, fences });
    }

    /// A node is down: what was told to its streams goes with them, and lax switches know only the others' fences then.
    pub(super) fn streams_end(&mut self, node: usize) {
        let lax = self.scenario.lax;
        for switch in self.switches.0.values_mut() {
            switch.streams.retain(|(of, _), _| *of != node);
            if lax {
                switch.fence = switch.streams.values().max().copied();
            }
        }
    }

    /// A node's stream to a switch tells it something.
    fn stir(&mut self, switch: String, (node, start): (usize, u32)) {
        let wait = self.chance.range(MS / 10, 5 * MS);
        self.after(wait, Event::Stir { node, start, switch });
    }

    /// The agent begins to look at a switch.
    pub(super) fn audit(&mut self, node: usize, task: Task, number: u64) {
        let start = self.nodes[node].start;
        let wait = self.chance.range(MS / 10, 20 * MS);
        self.after(wait, Event::Audit { node, start, task, number });
    }

    /// It has looked.
    pub(super) fn audited(&mut self, node: usize, start: u32, task: &Task, number: u64) {
        let name = task.switch().to_owned();
        let switch = self.switches.0.entry(name.clone()).or_default();
        let outcome = if switch.gone {
            Audit::Failed { reason: "the switch cannot be reached".to_owned() }
        } else if switch.holds(task) {
            Audit::Holds { primary: switch.primary == Some((node, start)) }
        } else {
            Audit::Differs { seen: "something else".to_owned(), what: "some of it".to_owned() }
        };
        self.input(node, Input::Audited { switch: name, number, outcome });
    }

    /// Somebody changes a part of a switch by hand, or takes its pipeline away.
    pub(super) fn edit(&mut self, name: &str) {
        let (part, by_hand) = (self.chance.index(PARTS), self.chance.next().to_be_bytes());
        let all = self.chance.permille(200);
        let switch = self.switches.0.entry(name.to_owned()).or_default();
        let mut other = [0xee; 32];
        other[..8].copy_from_slice(&by_hand);
        switch.parts[part] = Some(other);
        if all {
            (switch.piped, switch.parts) = (false, Parts::default());
        }
        self.checker.restarted(name);
    }

    pub(super) fn switch_restarts(&mut self, name: &str) {
        if let Some(primary) = self.switches.0.get(name).and_then(|switch| switch.primary) {
            self.stir(name.to_owned(), primary);
        }
        let switch = self.switches.0.entry(name.to_owned()).or_default();
        *switch = Switch { starts: switch.starts + 1, gone: switch.gone, ..Switch::default() };
        self.checker.restarted(name);
    }
}

fn fenced(by: Fence) -> Execution {
    Execution::Fenced { by, named: by.to_string() }
}

fn done(report: &str) -> Execution {
    Execution::Done { report: report.to_owned() }
}
