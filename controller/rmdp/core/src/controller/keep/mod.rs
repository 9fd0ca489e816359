//! Keeps switches at what they should hold. The first in rank for a switch looks: at an interval, when its stream has
//! ended, when somebody else has become primary, when it becomes the first in rank.
//!
//! ```text
//!          due, stirred                holds, and we are primary
//!  Idle ───────────────► Auditing ─► [Noting: is d/ there, too?] ─► Idle, for the interval
//!   ▲ ▲                     │ differs, or nobody of ours is primary
//!   │ └── not decided, ─ Deciding: d/ of the newest generation's task
//!   │     or just now       ▼
//!   │ └── claimed ────── Overtaking: i/ of the next generation; if that is there, c/ of its task, and so on
//!   │                       │ and what differs is drift
//!   │                       ▼
//!   │                    Listing a/ ─► Earlier: an audit that somebody has left undone? ─► Fetching
//!   │                       ▼                                                                │
//!   │                    Appending a/<N>/<switch> ─────────────────────────► Repairing ◄─────┘
//!   └──────────────────────────────────────────────── task ended ────────────────┘
//! ```
//!
//! A repair is a task like any other: claimed, under a lease and a fence, decided once. Its fence stands above all attempts
//! at the generation's own task and all repairs before it, and below the next generation: a change goes before it. Two
//! controllers that both think they keep a switch take turns and do not fight: each repair makes the same of the switch,
//! one that was left undone is taken up instead of begun anew, and a switch that holds what it should is only taken over
//! once in an interval.
//!
//! A task of the newest generation that is not decided, and that nobody has brought here for a while, is taken from the
//! log: no distributor may be alive, and a switch that has restarted empty waits for nobody.
//!
//! Without the store it is still looked at and told what differs; nothing is written then.

mod repair;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::MAX_SWITCHES;
use crate::io::{Action, Audit, Level, Token};
use crate::mutant::Mutant;
use crate::object::text;
use crate::rank::weight;
use crate::task::{Event, Task, TransactionId, Work};
use crate::time::Instant;

use super::entry::Origin;
use super::{Controller, note};
pub use view::KeptView;
use view::{differs, unreachable};

/// Audits of a controller at a time.
const AUDITS_AT_ONCE: usize = 16;
/// When there is no room, or a task runs on the switch.
const SOON: Duration = Duration::from_millis(100);
/// The first wait after a failure; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest, if the interval is not shorter: a switch that is back need not wait long.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// So many failures in a row are an alert.
const ALERT_AFTER: u32 = 4;
/// So many looks in a row at a switch whose task is not decided: then the task is taken from the log.
const UNBROUGHT: u32 = 3;
/// Whether it has become the first in rank for a switch is asked so often in an interval.
const RANK_LOOKS: u32 = 8;

/// What has to be done about a switch next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Waits for its time.
    Idle,
    /// The agent looks.
    Auditing(u64),
    /// It holds what it should: is the generation's own task decided?
    Noting,
    /// Is the generation's own task decided? Before, the switch is its.
    Deciding,
    /// Does the log have this generation, of which nobody has told here yet, and does it want something new of the switch?
    Overtaking(u64),
    /// Has somebody begun with its task?
    Overtaken(u64),
    /// The log of audits: its highest number so far, this switch's, and where the listing goes on.
    Listing(u64, u64, Option<String>),
    /// Is this switch's last audit decided?
    Earlier(u64, u64),
    /// What is this switch's last audit, which is not decided, about?
    Fetching(u64, u64),
    /// The entry of this number is created.
    Appending(u64),
    /// Its task is in mind.
    Repairing(TransactionId),
}

/// The log of audits, from its beginning.
const LIST: Step = Step::Listing(0, 0, None);

/// What was found last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Found {
    Nothing,
    /// It was reached; the generation's own task has it.
    Awaits,
    Holds,
    Differs(String),
    Failed(String),
}

/// A switch of the newest generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that is known by itself")]
struct Kept {
    /// What brings the switch to what it should hold: the newest generation's task, or an earlier one's that has said the same.
    task: Task,
    /// The newest generation: repairs are of it.
    generation: u64,
    /// This controller is the first in rank for it.
    mine: bool,
    step: Step,
    due: Instant,
    token: Option<Token>,
    /// When the audit at hand began.
    began: Instant,
    /// It has stirred since.
    stirred: bool,
    /// In a row.
    failures: u32,
    /// The generation's task is decided.
    decided: bool,
    verified: Option<Instant>,
    found: Found,
    seen: String,
    /// Why it is brought back.
    why: String,
    /// What differs, until it is known that nobody has begun with the next generation.
    differing: Option<(String, String)>,
    /// The repair at hand brings it back, and does not only take it over.
    differs: bool,
    /// Why the last repair that was tried here did not bring it back, if one has not.
    vain: Option<String>,
    /// How often it differed and was brought back.
    repairs: u64,
    /// The last repair has succeeded here.
    done: bool,
    /// Its audits up to this number are decided.
    finished: u64,
    /// Numbers have to be above this one: a stranger was there.
    above: u64,
    /// When it was last taken over since nobody of ours was its primary.
    took_over: Option<Instant>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Keep {
    generation: u64,
    kept: BTreeMap<String, Kept>,
    timers: BTreeSet<(Instant, String)>,
    /// Audits under way.
    auditing: BTreeSet<u64>,
    next_number: u64,
}

impl Keep {
    pub(super) fn due(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn set_due(&mut self, name: &str, due: Instant) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        self.timers.remove(&(kept.due, name.to_owned()));
        kept.due = due;
        self.timers.insert((due, name.to_owned()));
    }
}

impl Kept {
    /// Whether a switch that was brought to this generation holds what it should.
    fn is_at(&self, generation: u64) -> bool {
        self.task.work().generation().is_some_and(|own| (own..=self.generation).contains(&generation))
    }

    /// What it should hold by the newest generation, to look for it.
    fn looked_for(&self) -> Option<Task> {
        let Work::Converge { desired, entries, .. } = *self.task.work() else { return None };
        let work = Work::Converge { generation: self.generation, desired, entries };
        let event = self.task.event();
        Task::new(Event::generation(event.network, self.generation, &event.switch), work).ok()
    }
}

impl Controller {
    /// The newest generation, compiled: its switches are those that are kept. Where it says of a switch what the one before
    /// said, what is known of that switch stays.
    pub(super) fn wanted(&mut self, now: Instant, generation: u64, tasks: Vec<Task>) {
        if generation <= self.keep.generation || self.is(Mutant::NotKept) {
            return;
        }
        if self.keep.generation > 0 && self.is(Mutant::OldKept) {
            return;
        }
        self.keep.generation = generation;
        self.keep.timers.clear();
        let mut before = std::mem::take(&mut self.keep.kept);
        for task in tasks.into_iter().take(MAX_SWITCHES) {
            let name = task.switch().to_owned();
            let old = match before.remove(&name) {
                Some(mut kept) if kept.task == task => {
                    kept.generation = generation;
                    if kept.step != Step::Idle {
                        // What is under way is of the generation before: it is looked at again.
                        (kept.step, kept.token, kept.due) = (Step::Idle, None, now + SOON);
                    }
                    self.keep.timers.insert((kept.due, name.clone()));
                    self.keep.kept.insert(name, kept);
                    continue;
                }
                old => old,
            };
            let done = self.switches.get(&name).and_then(|switch| switch.done);
            let own = task.work().generation().unwrap_or(0);
            let verified = done.filter(|(done, _)| (own..=generation).contains(done)).map(|(_, at)| at);
            let due = match verified {
                // What another had begun there before may run on beside the change, on a switch that is lax.
                Some(at) => at + self.interval(&name, generation) / 2,
                // Not all of them at once.
                None => now + self.interval(&name, generation).min(LONGEST_PAUSE) / 16,
            };
            let took_over = old.as_ref().and_then(|old| old.took_over);
            let kept = Kept {
                task,
                generation,
                mine: old.as_ref().is_some_and(|old| old.mine) || verified.is_some(),
                step: Step::Idle,
                due,
                token: None,
                began: now,
                stirred: false,
                failures: 0,
                decided: false,
                verified,
                found: if verified.is_some() { Found::Holds } else { Found::Nothing },
                seen: String::new(),
                why: String::new(),
                differing: None,
                differs: false,
                vain: None,
                repairs: old.as_ref().map_or(0, |old| old.repairs),
                done: false,
                finished: old.map_or(0, |old| old.finished),
                took_over,
                above: 0,
            };
            self.keep.timers.insert((due, name.clone()));
            self.keep.kept.insert(name, kept);
        }
    }

    /// It may not be what it was.
    pub(super) fn stirred(&mut self, now: Instant, name: &str) {
        // Also where it is not kept yet, or by another: what was done here says nothing of it any more.
        if let Some(switch) = self.switches.get_mut(name) {
            (switch.done, switch.stirred) = (None, true);
        }
        self.look_soon(now, name);
    }

    /// Looks at it, if it is kept.
    fn look_soon(&mut self, now: Instant, name: &str) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        if kept.step == Step::Idle {
            // A stream that comes and goes costs one look in a while.
            let due = kept.due.min((kept.began + SOON).max(now));
            self.keep.set_due(name, due);
        } else {
            kept.stirred = true;
        }
    }

    /// Does what is due.
    pub(super) fn run_keep(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        while let Some((due, name)) = self.keep.timers.first().cloned()
            && due <= now
        {
            self.keep.timers.pop_first();
            self.keep_on(now, &name, actions);
        }
    }

    fn keep_on(&mut self, now: Instant, name: &str, actions: &mut Vec<Action>) {
        let (first, stubborn) = (self.rank(now, name, 1) == 0, self.is(Mutant::OldKept));
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        match kept.step {
            Step::Idle if !first => {
                (kept.mine, kept.verified, kept.found) = (false, None, Found::Nothing);
                self.keep.set_due(name, now + self.config.audit_interval() / RANK_LOOKS);
            }
            Step::Idle => {
                kept.mine = true;
                let busy = self
                    .switches
                    .get(name)
                    .is_some_and(|switch| switch.running.is_some() || switch.newest > kept.generation);
                let busy = busy && !stubborn;
                if busy || self.keep.auditing.len() >= AUDITS_AT_ONCE {
                    self.keep.set_due(name, now + SOON);
                    return;
                }
                let Some(task) = kept.looked_for() else { return };
                let number = self.keep.next_number;
                (kept.step, kept.began, kept.stirred) = (Step::Auditing(number), now, false);
                self.keep.next_number += 1;
                self.keep.auditing.insert(number);
                self.counters.audits += 1;
                actions.push(Action::Audit { task, number });
            }
            Step::Auditing(_) => {}
            Step::Repairing(id) if self.tasks.contains_key(&id) => self.keep.set_due(name, now + SOON * 10),
            Step::Repairing(_) => self.keep_rests(now, name),
            // A request that had no answer.
            Step::Noting
            | Step::Deciding
            | Step::Overtaking(_)
            | Step::Overtaken(_)
            | Step::Listing(..)
            | Step::Earlier(..)
            | Step::Fetching(..)
            | Step::Appending(_) => self.keep_asks(name, actions),
        }
    }

    /// An audit has ended.
    pub(super) fn audited(
        &mut self,
        now: Instant,
        name: &str,
        number: u64,
        outcome: Audit,
        actions: &mut Vec<Action>,
    ) {
        self.keep.auditing.remove(&number);
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        if kept.step != Step::Auditing(number) {
            return;
        }
        let generation = kept.generation;
        match outcome {
            Audit::Holds { primary } => {
                let back = !matches!(kept.found, Found::Holds | Found::Nothing | Found::Awaits);
                (kept.verified, kept.found, kept.seen) = (Some(kept.began), Found::Holds, String::new());
                kept.vain = None;
                if back {
                    note(Level::Info, None, format!("{name} holds generation {generation}"), actions);
                }
                kept.decided |= self.decided.has(kept.task.id(), now);
                // Another keeper may have done the same: the two would take it from each other without end.
                let interval = self.config.audit_interval();
                let was_taken = kept.took_over.is_some_and(|at| now.since(at) < interval);
                let primary = primary || was_taken;
                if primary && kept.decided {
                    kept.failures = 0;
                    self.keep_rests(now, name);
                } else if primary {
                    self.keep_goes_on(name, Step::Noting, actions);
                } else {
                    kept.took_over = Some(now);
                    "nobody of ours is its primary".clone_into(&mut kept.why);
                    self.bring_back(name, actions);
                }
            }
            // Is the generation's own task still at work? Then this is no drift; if it has just ended, this is old.
            Audit::Differs { seen, .. } if !kept.decided => {
                kept.stirred = true;
                (kept.found, kept.seen) = (Found::Awaits, text(&seen));
                self.bring_back(name, actions);
            }
            Audit::Differs { seen, what } => {
                kept.differing = Some((text(&seen), text(&what)));
                self.keep_goes_on(name, Step::Overtaking(generation.saturating_add(1)), actions);
            }
            Audit::Stopped => {
                kept.stirred = true;
                self.keep_rests(now, name);
            }
            Audit::Failed { reason } => {
                self.counters.audits_failed += 1;
                kept.failures += 1;
                let reason = text(&reason);
                // It stands in the status until it can be looked at.
                let told = kept.failures > ALERT_AFTER && matches!(kept.found, Found::Failed(_));
                if kept.failures >= ALERT_AFTER && !told {
                    note(Level::State, None, unreachable(name, generation, &reason), actions);
                }
                kept.found = Found::Failed(reason);
                self.keep_rests(now, name);
            }
        }
    }

    /// What differs is drift: the generation's own task is decided, and nobody has begun with the next one.
    fn drifted(&mut self, now: Instant, name: &str, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        let Some((seen, what)) = kept.differing.take() else {
            self.keep_rests(now, name);
            return;
        };
        let generation = kept.generation;
        self.counters.drifts += 1;
        if kept.found != Found::Differs(what.clone()) {
            let told = differs(name, generation, kept.verified, now, &what, &seen);
            note(Level::Alert, None, told, actions);
        }
        kept.why.clone_from(&what);
        (kept.found, kept.seen) = (Found::Differs(what), seen);
        self.bring_back(name, actions);
    }

    /// The generation's own task is not decided. Its attempts end, and then the switch is looked at again. What nobody has
    /// brought here by then is taken from the log.
    fn own_task(&mut self, now: Instant, name: &str, actions: &mut Vec<Action>) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        (kept.failures, kept.stirred) = (kept.failures.saturating_add(1), false);
        let (task, waited) = (kept.task.clone(), kept.failures >= UNBROUGHT);
        self.keep_rests(now, name);
        if waited && !self.tasks.contains_key(&task.id()) {
            let generation = task.work().generation().unwrap_or(0);
            let told = format!(
                "nobody has brought the task of generation {generation} for {name}: it is taken from the log; does a \
                 distributor run?"
            );
            note(Level::Warn, Some(task.id()), told, actions);
            self.take(now, task, Origin::Log, actions);
        }
    }

    /// Waits for its next time: the interval, or less after failures.
    fn keep_rests(&mut self, now: Instant, name: &str) {
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        kept.step = Step::Idle;
        let (failures, stirred, number) = (kept.failures, kept.stirred, self.keep.next_number);
        let interval = self.interval(name, number);
        let wait = match failures {
            _ if stirred => SOON,
            0 => interval,
            _ => (FIRST_PAUSE * (1 << (failures - 1).min(10))).min(LONGEST_PAUSE).min(interval),
        };
        self.keep.set_due(name, now + wait);
    }

    /// The interval, give or take a quarter: so that not all switches are read at once.
    fn interval(&self, name: &str, number: u64) -> Duration {
        let interval = self.config.audit_interval();
        let chance = weight(name, &format!("{}/{number}", self.me.name)) % 512;
        interval * 3 / 4 + interval / 1024 * u32::try_from(chance).unwrap_or(0)
    }

    /// A switch was seen to hold a generation, by a task that was done here.
    pub(super) fn keep_done(&mut self, name: &str, generation: u64, at: Instant) {
        let mut wait = self.interval(name, self.keep.next_number);
        if let Some(switch) = self.switches.get_mut(name) {
            switch.done = (!switch.stirred).then_some((generation, at));
            wait = if switch.stirred { SOON } else { wait };
        }
        let Some(kept) = self.keep.kept.get_mut(name) else { return };
        if !kept.is_at(generation) {
            return;
        }
        (kept.verified, kept.found, kept.seen) = (Some(at), Found::Holds, String::new());
        (kept.failures, kept.decided, kept.done, kept.vain) = (0, true, true, None);
        if kept.step == Step::Idle {
            self.keep.set_due(name, at + wait);
        }
    }

    /// The newest generation's own task may be decided: then the switch is looked at, whoever has done it.
    pub(super) fn keep_hears(&mut self, now: Instant, id: TransactionId) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let name = entry.task.switch().to_owned();
        if self.keep.kept.get(&name).is_some_and(|kept| !kept.decided && kept.task.id() == id) {
            self.look_soon(now, &name);
        }
    }
}
