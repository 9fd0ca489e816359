//! Agents and switches: connect under the fence, read, write in several steps, each before `start_before`.

use std::collections::BTreeMap;

use super::scenario::{Incident, MS};
use super::world::{Event, World};
use crate::io::{Execution, Input};
use crate::key::Key;
use crate::mutant::Mutant;
use crate::task::{Fence, Task, Work};
use crate::time::Instant;

/// A switch.
#[derive(Clone, Debug, Default)]
pub(super) struct Switch {
    /// What it does: a desired state, whole.
    pub(super) installed: Option<[u8; 32]>,
    /// The highest fence that it has seen; a restart forgets it.
    fence: Option<Fence>,
    starts: u32,
    pub(super) gone: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Switches(pub(super) BTreeMap<String, Switch>);

/// An execution.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) node: usize,
    pub(super) start: u32,
    pub(super) task: Task,
    pub(super) attempt: u32,
    pub(super) fence: Fence,
    pub(super) start_before: Instant,
    /// The switch's start that it is connected to.
    connection: u32,
    /// Writes that it still has to make.
    writes: u8,
}

/// Where an execution is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Connect,
    Write,
    End(Execution),
}

impl World {
    pub(super) fn execute(
        &mut self,
        node: usize,
        task: Task,
        attempt: u32,
        fence: Fence,
        start_before: Instant,
    ) {
        let start = self.nodes[node].start;
        let told = self.nodes[node].told.get(task.switch()).copied().unwrap_or(0);
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
        let writes = u8::try_from(self.chance.range(1, 3)).unwrap_or(1);
        let run = Run { node, start, task, attempt, fence, start_before, connection: 0, writes };
        let wait = self.chance.range(MS / 10, 8 * MS);
        self.after(wait, Event::Agent(run, Stage::Connect));
    }

    fn agent_later(&mut self, run: Run, stage: Stage) {
        let wait = self.chance.range(MS / 10, 10 * MS);
        self.after(wait, Event::Agent(run, stage));
    }

    /// A step of an agent; its node is up and runs.
    pub(super) fn agent(&mut self, mut run: Run, stage: Stage) {
        let fenced = self.mutant != Some(Mutant::NoFence);
        let name = run.task.switch().to_owned();
        match stage {
            Stage::Connect => {
                let switch = self.switches.0.entry(name).or_default();
                if switch.gone {
                    let outcome = Execution::Failed { reason: "the switch cannot be reached".to_owned() };
                    self.agent_later(run, Stage::End(outcome));
                    return;
                }
                // Probes only read, which needs no fence.
                let writes = matches!(run.task.work(), Work::Converge { .. });
                if let Some(by) = switch.fence.filter(|seen| *seen > run.fence && fenced && writes) {
                    self.agent_later(run, Stage::End(Execution::Fenced { by }));
                    return;
                }
                if writes {
                    switch.fence = switch.fence.max(Some(run.fence));
                }
                run.connection = switch.starts;
                let stage = if writes { Stage::Write } else { Stage::End(done("alive")) };
                self.agent_later(run, stage);
            }
            Stage::Write => self.write(run),
            Stage::End(outcome) => {
                let (id, attempt) = (run.task.id(), run.attempt);
                self.nodes[run.node].stopping.remove(&(id, attempt));
                self.input(run.node, Input::Executed { id, attempt, outcome });
            }
        }
    }

    fn write(&mut self, run: Run) {
        let (id, attempt) = (run.task.id(), run.attempt);
        if self.nodes[run.node].stopping.contains(&(id, attempt)) {
            self.agent_later(run, Stage::End(Execution::Stopped));
            return;
        }
        let switch = self.switches.0.entry(run.task.switch().to_owned()).or_default();
        if switch.installed == desired(&run.task) {
            self.agent_later(run, Stage::End(done("nothing to write")));
            return;
        }
        if run.writes == 0 {
            self.agent_later(run, Stage::End(done("written")));
            return;
        }
        let now = self.nodes[run.node].clock.local(self.now);
        if now >= run.start_before && self.mutant != Some(Mutant::LateStart) {
            self.agent_later(run, Stage::End(Execution::TooLate));
            return;
        }
        let budget = u64::from(self.scenario.config.claims.budget_ms) * MS;
        self.checker.write_starts(self.now, (run.node, run.start), id, attempt, budget);
        // A write may sit in a socket for long, whatever becomes of its sender.
        let stuck = self.chance.permille(self.rates.write_stuck);
        let wait =
            if stuck { self.chance.range(500, 8000) * MS } else { self.chance.range(MS / 10, 20 * MS) };
        self.after(wait, Event::Land(run));
    }

    /// A write reaches its switch.
    pub(super) fn land(&mut self, mut run: Run) {
        let fails = self.chance.permille(self.rates.write_fails);
        let fenced = self.mutant != Some(Mutant::NoFence);
        let name = run.task.switch().to_owned();
        let switch = self.switches.0.entry(name.clone()).or_default();
        let failed = |reason: &str| Execution::Failed { reason: reason.to_owned() };
        if switch.gone || switch.starts != run.connection {
            self.agent_later(run, Stage::End(failed("the connection broke")));
            return;
        }
        if let Some(by) = switch.fence.filter(|seen| *seen > run.fence && fenced) {
            self.agent_later(run, Stage::End(Execution::Fenced { by }));
            return;
        }
        if fails {
            self.agent_later(run, Stage::End(failed("the switch refused")));
            return;
        }
        run.writes -= 1;
        if run.writes == 0 && switch.installed != desired(&run.task) {
            switch.installed = desired(&run.task);
            self.checker.effect(self.now, &run.task, run.attempt);
            self.line(|| format!("{name} does generation {:?}", run.task.work().generation()));
        }
        self.agent_later(run, Stage::Write);
    }

    pub(super) fn switch_restarts(&mut self, name: &str) {
        let switch = self.switches.0.entry(name.to_owned()).or_default();
        *switch = Switch { starts: switch.starts + 1, gone: switch.gone, ..Switch::default() };
        self.checker.restarted(self.now, name);
    }
}

fn done(report: &str) -> Execution {
    Execution::Done { report: report.to_owned() }
}

fn desired(task: &Task) -> Option<[u8; 32]> {
    match task.work() {
        Work::Converge { desired, .. } => Some(desired.0),
        Work::Probe {} => None,
    }
}
