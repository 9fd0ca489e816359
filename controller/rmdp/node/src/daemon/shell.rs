//! The shell around a state machine: carries its actions out and brings it what became of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use outplane_rmdp_core::config::SharedConfig;
use outplane_rmdp_core::io::{Action, Audit, Execution, Heartbeat, Input, Level, Note, Reply, Request};
use outplane_rmdp_core::object::{Decision, Object, Outcome};
use outplane_rmdp_core::task::{Event, Task};
use outplane_rmdp_transport::Sender;
use outplane_rmdp_wire as wire;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::alerts::{Alert, Alerts, away};
use super::executions::{Executed, Executions};
use super::inside::Inside;
use super::quiet::Quiet;
use super::requests::{Answered, Requests};
use crate::agent::{Agent, Job};
use crate::clock;
use crate::generation::States;
use crate::http::{Lacking, Readiness};
use crate::metrics::{AttemptEnd, Metrics, Step, TaskEnd, TaskKind};
use crate::objects::{Objects, Pulse};
use crate::refusals::{self, Refusal, Right};
use crate::watch::Watch;

/// Fetches ahead under way at once; more are left to the execution itself.
const AHEAD: usize = 64;

/// Ended tasks that the status shows.
const RECENT: usize = 20;

/// A store that has given nobody here a useful answer for so long is away. Chains are asked for twice a second.
const AWAY: Duration = Duration::from_secs(3);

/// A store that answers reads, and no write for so long, takes none. Statuses are written each 5 s.
const UNTAKEN: Duration = Duration::from_secs(10);
/// It is not known any more what became of writes so long ago.
const TRIED: Duration = Duration::from_secs(30);

/// A machine and what serves it.
pub(crate) struct Shell<M> {
    pub(crate) machine: M,
    pub(crate) requests: Requests,
    /// None for distributors.
    pub(crate) executions: Option<Executions>,
    watch: Option<Watch>,
    pub(crate) sender: Sender,
    pub(crate) config: Arc<SharedConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    /// Desired states that tasks of this distributor name: of the last two generations.
    states: VecDeque<States>,
    /// What executions will need, while their claims are under way.
    ahead: JoinSet<()>,
    /// Audits under way: the switch, the audit's number, what was found.
    audits: JoinSet<(String, u64, Audit)>,
    /// Switches that are asked whether they fence.
    fences: JoinSet<(String, Option<bool>)>,
    actions: Vec<Action>,
    /// Ended tasks, the newest last.
    pub(crate) recent: VecDeque<String>,
    /// For how long the store has given no useful answer.
    quiet: Quiet,
    /// The store is away.
    away: bool,
    /// When it came back last.
    back: Duration,
    /// What it refuses that the role has to do, by code, in words.
    refused: BTreeMap<String, String>,
    /// What is wrong, and what was.
    pub(crate) alerts: Alerts,
    pub(crate) generation: u64,
    /// The status has something new to say.
    pub(crate) changed: bool,
}

/// Counts of the shell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    pub(crate) most_requests: usize,
    pub(crate) executions: usize,
}

impl<M: Inside> Shell<M> {
    pub(crate) fn new(
        machine: M,
        objects: Objects,
        agent: Option<Agent>,
        sender: Sender,
        config: Arc<SharedConfig>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> Self {
        Self {
            machine,
            requests: Requests::new(objects),
            watch: agent.as_ref().map(|agent| agent.watch().clone()),
            executions: agent.map(Executions::new),
            sender,
            config,
            metrics,
            readiness,
            states: VecDeque::new(),
            ahead: JoinSet::new(),
            audits: JoinSet::new(),
            fences: JoinSet::new(),
            actions: Vec::new(),
            recent: VecDeque::new(),
            quiet: Quiet::default(),
            away: false,
            back: Duration::ZERO,
            refused: BTreeMap::new(),
            alerts: Alerts::default(),
            generation: 0,
            changed: false,
        }
    }

    pub(crate) fn load(&self) -> Load {
        Load {
            requests: self.requests.len(),
            most_requests: self.requests.most(),
            executions: self.executions.as_ref().map_or(0, Executions::len),
        }
    }

    /// The next thing that has ended. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Ended {
        let executions = async {
            match &mut self.executions {
                Some(executions) => executions.next().await,
                None => std::future::pending().await,
            }
        };
        let watch = self.watch.clone();
        let stirred = async {
            match &watch {
                Some(watch) => watch.stirred().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answered = self.requests.next() => Ended::Request(answered),
            executed = executions => Ended::Execution(executed),
            switch = stirred => Ended::Stream(switch),
            Some(audited) = self.audits.join_next() => match audited {
                Ok((switch, number, outcome)) => Ended::Audit(switch, number, outcome),
                // A panic, which its own message has told.
                Err(_) => Ended::Nothing,
            },
            Some(shown) = self.fences.join_next() => match shown {
                Ok((switch, fences)) => Ended::Fence(switch, fences),
                Err(_) => Ended::Nothing,
            },
            Some(_) = self.ahead.join_next() => Ended::Nothing,
        }
    }

    /// Hands over what has ended.
    pub(crate) fn take(&mut self, ended: Ended) {
        match ended {
            Ended::Nothing => {}
            Ended::Request(answered) => self.answered(answered),
            Ended::Execution(executed) => self.executed(executed),
            Ended::Fence(switch, fences) => self.step(Input::Fence { switch, fences }),
            Ended::Stream(switch) => {
                tracing::info!(switch, "its stream has ended, or another is its primary");
                self.step(Input::Stirred { switch });
            }
            Ended::Audit(switch, number, outcome) => {
                tracing::debug!(switch, ?outcome, "audited");
                self.changed |= !matches!(outcome, Audit::Holds { .. });
                self.step(Input::Audited { switch, number, outcome });
            }
        }
    }

    /// Gives the machine an input, and carries out what it wants.
    pub(crate) fn step(&mut self, input: Input) {
        if let Input::Config(config) = &input {
            self.config = Arc::clone(config);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.step(clock::instant(), input, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }

    /// A generation whose tasks are about to be emitted.
    pub(crate) fn keep_states(&mut self, states: States) {
        self.states.push_back(states);
        if self.states.len() > 2 {
            self.states.pop_front();
        }
    }

    /// What carries out tasks; none in a distributor.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.executions.as_ref().map(Executions::agent)
    }

    /// A generation that the node knows of.
    pub(crate) fn knows(&mut self, generation: u64) {
        if generation > self.generation {
            self.generation = generation;
            self.changed = true;
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { token, reply, about, took, fault } = answered;
        about.count(&self.metrics, &reply, took);
        if let Some(fault) = fault {
            let task = about.id.map(|id| id.to_string()).unwrap_or_default();
            tracing::debug!(task, request = about.what, fault, "no clear answer from the store");
        }
        // Only what the log has is known; announces say anything.
        if let Reply::Found(object) = &reply
            && let Object::Generation(record) = &**object
        {
            self.knows(record.generation);
        }
        if let Some(id) = about.id {
            tracing::debug!(task = %id, request = about.what, took_us = took.as_micros(), reply = word(&reply), "store");
        }
        self.step(Input::Stored { token, reply });
    }

    /// Whether the store answers anybody in this node: its claims, the chains that it follows, its status.
    /// Whether it is back just now.
    pub(crate) fn feel_store(&mut self, pulse: &Pulse, since: Duration) -> bool {
        let now = clock::now();
        let quiet = self.quiet.of(now, pulse.answered.unwrap_or(since));
        let text = if quiet < AWAY && pulse.shut.is_none() {
            let Some(text) = untaken(pulse, now, self.back) else {
                // A start before this may have lacked it as well.
                self.readiness.has(Lacking::Store);
                let is_back = std::mem::take(&mut self.away);
                if is_back {
                    self.back = now;
                    tracing::info!("the store answers again");
                }
                return is_back;
            };
            text
        } else {
            let why =
                pulse.shut.as_deref().or(pulse.fault.as_deref()).unwrap_or("no request has had an answer");
            format!("the store is away, no new work until it is back: {why}")
        };
        self.readiness.lacks(Lacking::Store, text.clone());
        if !std::mem::replace(&mut self.away, true) {
            tracing::error!(alert = true, "{text}");
            self.alert(away(text));
        }
        false
    }

    /// Which rights the store refuses: a node without them does not do its work, whatever else it does.
    pub(crate) fn feel_rights(&mut self, refusals: Vec<Refusal>) {
        let controller = self.executions.is_some();
        // Distributors need not delete.
        let needed = refusals.into_iter().filter(|refusal| controller || refusal.right != Right::Delete);
        let needed: Vec<Refusal> = needed.collect();
        let words = refusals::words(&needed);
        let words: BTreeMap<String, String> =
            words.into_iter().map(|(code, text)| (code.to_owned(), text)).collect();
        for (_, text) in words.iter().filter(|(code, _)| !self.refused.contains_key(*code)) {
            tracing::error!(alert = true, "{text}");
            self.metrics.alert();
            self.changed = true;
        }
        if words.is_empty() {
            self.readiness.has(Lacking::Rights);
        } else {
            let all: Vec<&str> = words.values().map(String::as_str).collect();
            self.readiness.lacks(Lacking::Rights, all.join("\n"));
        }
        self.changed |= words.len() != self.refused.len();
        self.refused = words;
    }

    /// Whether something cannot be written that this node has to write.
    pub(crate) fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    pub(crate) fn alert(&mut self, alert: impl Into<Alert>) {
        self.metrics.alert();
        self.changed = true;
        self.alerts.news(alert, clock::unix_millis());
    }

    fn executed(&mut self, executed: Executed) {
        let Executed { id, attempt, switch, outcome, took } = executed;
        self.metrics.step(Step::Execute, took);
        let (end, words) = match &outcome {
            Execution::Done { report } => (AttemptEnd::Done, report.clone()),
            Execution::Failed { reason } => (AttemptEnd::Failed, reason.clone()),
            Execution::Fenced { by, .. } => (AttemptEnd::Fenced, format!("{by} was there")),
            Execution::Slow { reason } => (AttemptEnd::TooLate, reason.clone()),
            Execution::TooLate => (AttemptEnd::TooLate, "no time was left".to_owned()),
            Execution::NeedsPush => (AttemptEnd::NeedsPush, "the switch lacks our pipeline".to_owned()),
            Execution::Stopped => (AttemptEnd::Stopped, "stopped".to_owned()),
        };
        self.metrics.attempt_ended(end);
        tracing::info!(task = %id, switch, attempt, end = end.word(), took_us = took.as_micros(), "{words}");
        let pushed = self.executions.as_ref().and_then(|executions| executions.agent().take_pushed(&switch));
        if let Some(took) = pushed {
            tracing::info!(switch, took_ms = took.as_millis(), "its pipeline was pushed");
            self.step(Input::Pushed { switch, took });
        }
        self.step(Input::Executed { id, attempt, outcome });
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Store { token, request } => {
                let state = match &request {
                    Request::CreateBlob(digest) => {
                        self.states.iter().rev().find_map(|states| states.get(digest)).cloned()
                    }
                    _ => None,
                };
                self.requests.send(token, request, state);
            }
            Action::Prepare { task } => self.prepare(task),
            Action::Ended { decision, took } => self.task_ended(&decision, took),
            Action::Execute { task, attempt, fence, start_before, budget, push } => {
                tracing::debug!(task = %task.id(), switch = task.switch(), attempt, "executing");
                let stop = CancellationToken::new();
                let job = Job { task, fence, start_before, budget, push, stop };
                if let Some(executions) = &mut self.executions {
                    executions.start(job, Arc::clone(&self.config));
                }
            }
            Action::Audit { task, number } => self.audit(task, number),
            Action::AskFence { task } => self.ask_fence(task),
            Action::Disown { switch, fence } => {
                tracing::warn!(switch, %fence, "taken for a stranger's");
                if let Some(executions) = &self.executions {
                    let agent = executions.agent().clone();
                    self.ahead.spawn(async move { agent.disown(&switch, fence).await });
                }
            }
            Action::Stop { id, attempt } => {
                if let Some(executions) = &self.executions {
                    executions.stop(id, attempt);
                }
            }
            Action::Announce { task, burst } => {
                if let Err(error) = self.sender.announce(&task.announce(), burst) {
                    tracing::error!(task = %task.id(), %error, "cannot announce; the queue has it");
                } else {
                    tracing::debug!(task = %task.id(), switch = task.switch(), "announced");
                }
            }
            Action::Heartbeat(heartbeat) => self.beat(&heartbeat),
            Action::Note(note) => self.note(note),
        }
    }

    fn audit(&mut self, task: Task, number: u64) {
        let Some(executions) = &self.executions else { return };
        let (agent, config) = (executions.agent().clone(), Arc::clone(&self.config));
        self.audits.spawn(async move {
            let outcome = agent.audit(&task, &config).await;
            (task.switch().to_owned(), number, outcome)
        });
    }

    fn ask_fence(&mut self, task: Task) {
        let Some(executions) = &self.executions else { return };
        let (agent, config) = (executions.agent().clone(), Arc::clone(&self.config));
        self.fences.spawn(async move {
            let fences = agent.fences(&task, &config).await;
            (task.switch().to_owned(), fences)
        });
    }

    fn prepare(&mut self, task: Task) {
        tracing::debug!(task = %task.id(), "claiming");
        let Some(executions) = &self.executions else { return };
        if self.ahead.len() >= AHEAD {
            return;
        }
        let (agent, config) = (executions.agent().clone(), Arc::clone(&self.config));
        self.ahead.spawn(async move { agent.prepare(&task, &config).await });
    }

    fn task_ended(&mut self, decision: &Decision, took: Duration) {
        let Decision { event, attempt, outcome, .. } = decision;
        let end = match outcome {
            Outcome::Done { .. } => TaskEnd::Done,
            Outcome::Superseded { .. } => TaskEnd::Superseded,
            Outcome::Failed { .. } => TaskEnd::Failed,
        };
        self.metrics.task_ended(end, TaskKind::of(&event.kind));
        if end == TaskEnd::Done {
            self.metrics.step(Step::Total, took);
        }
        self.changed = true;
        let id = event.id().map(|id| format!("{id} ")).unwrap_or_default();
        let Event { switch, kind, occurrence, .. } = event;
        let how = outcome_words(outcome);
        self.recent.push_back(format!("{id}{switch} {kind} {occurrence} attempt {attempt} {how}"));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn beat(&mut self, heartbeat: &Heartbeat) {
        let beat = wire::Beat {
            role: heartbeat.role.into(),
            interval_ms: heartbeat.interval_ms,
            generation: heartbeat.generation,
        };
        let rows: Vec<wire::Lateness> = heartbeat.lateness.iter().map(|row| (*row).into()).collect();
        let heard = &heartbeat.heard;
        let room = wire::notices_that_fit(rows.len(), heard.len());
        let notices: Vec<wire::Notice> =
            heartbeat.notices.iter().take(room).map(|notice| (*notice).into()).collect();
        if let Err(error) = self.sender.heartbeat(&beat, &notices, &rows, heard) {
            tracing::error!(%error, "cannot send a heartbeat");
        }
    }

    fn note(&mut self, note: Note) {
        let Note { level, id, text } = note;
        let task = id.map(|id| id.to_string());
        let task = task.as_deref();
        match level {
            Level::Debug => tracing::debug!(task, "{text}"),
            Level::Info => {
                tracing::info!(task, "{text}");
                self.changed |= task.is_none();
            }
            Level::Warn => {
                tracing::warn!(task, "{text}");
                self.changed |= task.is_none();
            }
            // The status shows the state itself, for as long as it holds.
            Level::State => {
                tracing::error!(task, alert = true, "{text}");
                self.metrics.alert();
                self.changed = true;
            }
            Level::Alert => {
                tracing::error!(task, alert = true, "{text}");
                self.alert(match task {
                    Some(task) => format!("task {task}: {text}"),
                    None => text,
                });
            }
        }
    }
}

/// That the store answers and takes nothing, if that is so since it came `back`.
fn untaken(pulse: &Pulse, now: Duration, back: Duration) -> Option<String> {
    let untaken = pulse.untaken.as_ref()?;
    let is_so =
        now.saturating_sub(untaken.since.max(back)) >= UNTAKEN && now.saturating_sub(untaken.last) < TRIED;
    is_so.then(|| format!("the store answers and takes nothing that is written: {}", untaken.why))
}

/// Something has ended.
pub(crate) enum Ended {
    Request(Answered),
    Execution(Executed),
    Stream(String),
    Audit(String, u64, Audit),
    Fence(String, Option<bool>),
    Nothing,
}

fn word(reply: &Reply) -> &'static str {
    match reply {
        Reply::Created => "created",
        Reply::Exists => "exists",
        Reply::Found(_) => "found",
        Reply::Missing => "missing",
        Reply::Foreign(_) => "foreign",
        Reply::Page { .. } => "page",
        Reply::Done => "done",
        Reply::Unknown => "unknown",
    }
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { report, steps } => format!(
            "done: claim sent {} us, claimed {} us, executed {} us after it was known; {report}",
            steps.claim_sent_us, steps.claimed_us, steps.executed_us
        ),
        Outcome::Superseded { by } => format!("superseded by generation {by}"),
        Outcome::Failed { attempts, reason } => format!("failed after {attempts} attempts: {reason}"),
    }
}
