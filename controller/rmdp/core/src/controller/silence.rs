//! Who owns an attempt and has fallen silent. Where the switch refuses whoever was overtaken, nobody has to wait for the end
//! of a lease: the next attempt begins, raises the fence, and the old owner, if it lives after all, is refused.
//!
//! ```text
//!   Claimed, said at each quick heartbeat ─► told ──silence──► d/, c/, r/ looked at ─► c/<k> is there, its owner silent ─┐
//!                        c/<k> seen in the store ─► Watching ──silence──► d/ looked at ─────────────────────────────────┤
//!                                                                 │ at the same time                                    ▼
//!                                                                 └─► AskFence: the switch shows that it fences ─► attempt k+1
//! ```
//! Silence is what this node has lived through and heard nothing in, by its own clock: a loop that came late has not listened
//! meanwhile. It is no proof of anything. It is a reason only where the store has the claim and neither result nor decision,
//! and where the switch itself has just shown that it fences; elsewhere the lease stands.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::SharedConfig;
use crate::io::{Action, Level};
use crate::liveness::seconds;
use crate::mutant::Mutant;
use crate::object::Claim;
use crate::task::TransactionId;
use crate::time::Instant;

use super::entry::{Held, Look, Owner, State, Tracked, Watched};
use super::{Controller, note};

/// Attempts of a task that silence may end; those after them stand until their leases end, so that two that do not hear each
/// other do not take turns for ever.
const SILENT_ATTEMPTS: u32 = 3;
/// For how long a switch's word about its fence is believed, and how soon it is asked again where it gave none.
const FENCE_KNOWN: Duration = Duration::from_secs(5);
const FENCE_ASKED_AGAIN: Duration = Duration::from_secs(1);
/// So many owners that were heard again within a minute raise the limit.
const TOO_MANY: usize = 4;
const MINUTE: Duration = Duration::from_mins(1);
/// How often the limit is doubled at most.
const MOST_RAISED: u32 = 8;

/// What a switch has shown of its fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct FenceSeen {
    /// When it was asked last.
    asked: Option<Instant>,
    /// When it last showed that it fences, if it has not shown the contrary since.
    shown: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stream {
    /// The newest start that was heard, since when, and when last; in time lived through.
    epoch: u64,
    began: Instant,
    last: Instant,
    /// It has promised quick heartbeats, and so it makes them whenever it owns something.
    quick: bool,
}

/// How the others are heard, for takeovers. Bounded by the members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owners {
    silence: Option<Duration>,
    /// For those who promise no quick heartbeats.
    regular: Duration,
    quick: Duration,
    /// The time that this node has lived through: it stands still while the node does.
    listened: Instant,
    streams: BTreeMap<u32, Stream>,
    /// Until then each moment has to be lived through: somebody's silence counts.
    vigil: Instant,
    /// Starts that were taken over for their silence, by sender.
    suspected: BTreeMap<u32, u64>,
    /// When some of them were heard again, within the last minute.
    falsely: VecDeque<Instant>,
    /// How often the limit is doubled, and when that changed last.
    raised: u32,
    changed: Instant,
}

impl Owners {
    pub(super) fn new(config: &SharedConfig, now: Instant) -> Self {
        let mut owners = Self {
            silence: None,
            regular: Duration::ZERO,
            quick: Duration::ZERO,
            listened: now,
            streams: BTreeMap::new(),
            vigil: now,
            suspected: BTreeMap::new(),
            falsely: VecDeque::new(),
            raised: 0,
            changed: now,
        };
        owners.configure(config);
        owners
    }

    pub(super) fn configure(&mut self, config: &SharedConfig) {
        self.silence = config.takeover_silence();
        (self.regular, self.quick) = (config.silence(), config.quick_interval());
        self.streams.retain(|sender, _| config.sender(*sender).is_some());
        self.suspected.retain(|sender, _| config.sender(*sender).is_some());
    }

    /// At each step, so long after the last one. One that came late has not listened for longer than from one quick
    /// heartbeat to the next.
    pub(super) fn live(&mut self, now: Instant, gap: Duration, all: bool) {
        let lived = if all { gap } else { gap.min(self.quick) };
        self.listened = self.listened + lived;
        while self.falsely.front().is_some_and(|at| now.since(*at) > MINUTE) {
            self.falsely.pop_front();
        }
        if self.raised > 0 && self.falsely.is_empty() && now.since(self.changed) > MINUTE {
            (self.raised, self.changed) = (self.raised - 1, now);
        }
    }

    /// A member's heartbeat. Whether it had been taken over for silence.
    fn heard(&mut self, now: Instant, owner: Owner, quick: bool, fresh: bool) -> bool {
        let at = self.listened;
        let new = Stream { epoch: owner.epoch, began: at, last: at, quick };
        let stream = self.streams.entry(owner.sender).or_insert(new);
        if owner.epoch < stream.epoch {
            return false;
        }
        if owner.epoch > stream.epoch {
            *stream = new;
        }
        (stream.last, stream.quick) = (at, stream.quick || quick);
        // What is sent once more says nothing of now.
        let falsely = fresh && self.suspected.get(&owner.sender) == Some(&owner.epoch);
        if falsely {
            self.suspected.remove(&owner.sender);
            self.falsely.push_back(now);
            if self.falsely.len() >= TOO_MANY {
                self.falsely.clear();
                (self.raised, self.changed) = ((self.raised + 1).min(MOST_RAISED), now);
            }
        }
        falsely
    }

    /// The limit for those who beat quickly; none: nobody is taken over for silence.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.silence.map(|silence| silence * (1 << self.raised))
    }

    /// How much longer its owner has to be silent for an attempt to be over; none: that says nothing of it.
    fn left(&self, held: &Held) -> Option<Duration> {
        let limit = self.limit()?;
        let Owner { sender, epoch } = held.owner;
        let (last, limit) = match self.streams.get(&sender) {
            Some(stream) if stream.epoch == epoch && stream.quick => (stream.last, limit),
            Some(stream) if stream.epoch == epoch => (stream.last, limit.max(self.regular)),
            // It has started again, and that start is not heard any more.
            Some(stream) if stream.epoch > epoch => (stream.began, limit),
            _ => (Instant::START, limit.max(self.regular)),
        };
        let limit = limit * (1 << held.attempt.saturating_sub(1).min(SILENT_ATTEMPTS));
        Some(limit.saturating_sub(self.listened.since(last.max(held.since))))
    }

    /// When this node has to live on at the latest.
    pub(super) fn due(&self, lived: Instant) -> Option<Instant> {
        (self.vigil > lived).then(|| lived + self.quick)
    }
}

impl Controller {
    /// A member's heartbeat, of whichever start.
    pub(super) fn owner_heard(
        &mut self,
        now: Instant,
        owner: Owner,
        (interval_ms, fresh): (u16, bool),
        actions: &mut Vec<Action>,
    ) {
        let Some(member) = self.config.sender(owner.sender) else { return };
        if !self.owners.heard(now, owner, self.config.is_quick(interval_ms), fresh) {
            return;
        }
        self.counters.suspected_falsely += 1;
        let limit = self.owners.limit().unwrap_or_default();
        let text = format!(
            "{} is heard again, which was taken over for its silence: some work was done twice; owners are taken to be silent \
             after {} s",
            member.name,
            seconds(limit)
        );
        note(Level::Warn, None, text, actions);
    }

    /// Somebody says that it owns an attempt: its silence counts from here.
    pub(super) fn told_owner(&mut self, id: TransactionId, owner: Owner, attempt: u32) {
        let since = self.owners.listened;
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let is_known = entry.told.is_some_and(|told| told.owner == owner && told.attempt == attempt);
        if !is_known {
            entry.told = Some(Held { owner, attempt, since });
        }
    }

    /// Whose attempt a claim is, as its silence is judged from here on.
    pub(super) fn holder(&self, id: TransactionId, attempt: u32, claim: &Claim) -> Option<Held> {
        let sender = self.config.member(&claim.owner)?.sender;
        let owner = Owner { sender, epoch: claim.epoch()? };
        let told = self.tasks.get(&id)?.told.filter(|told| told.owner == owner && told.attempt == attempt);
        let since = told.map_or(self.owners.listened, |told| told.since);
        if self.is(Mutant::SilenceByOthersClock) {
            let since = Instant::START + Duration::from_millis(claim.at_ms);
            return Some(Held { owner, attempt, since });
        }
        Some(Held { owner, attempt, since })
    }

    /// The attempt of another that this entry waits for, if its owner's silence may end it. The last attempt stands: none
    /// that could do better comes after it.
    fn may_fall_silent(&self, entry: &Tracked) -> Option<Held> {
        let held = match &entry.state {
            State::Watching(watched) | State::Looking(_, Some(watched)) => watched.held?,
            State::Looking(_, None) => entry.told.filter(|told| told.attempt >= entry.attempt)?,
            _ => return None,
        };
        (held.attempt <= SILENT_ATTEMPTS && held.attempt < self.attempts(entry)).then_some(held)
    }

    fn left_of(&self, held: &Held) -> Option<Duration> {
        if self.is(Mutant::SilenceByOthersClock) {
            return Some(self.owners.limit()?.saturating_sub(self.lived.since(held.since)));
        }
        self.owners.left(held)
    }

    fn is_silent(&self, held: &Held) -> bool {
        self.left_of(held).is_some_and(|left| left.is_zero())
    }

    /// Sets the timer of one who waits for another's attempt: to look then, or when its owner may have fallen silent.
    pub(super) fn look_at(&mut self, now: Instant, id: TransactionId, at: Instant) {
        self.set_due(id, Some(at));
        let Some(entry) = self.tasks.get(&id) else { return };
        let left = self.may_fall_silent(entry).and_then(|held| self.left_of(&held));
        // Who is silent already was looked after: the switch's word is waited for, or the lease's end.
        let Some(left) = left.filter(|left| !left.is_zero()) else { return };
        self.owners.vigil = self.owners.vigil.max(now + left);
        if now + left < at {
            self.set_due(id, Some(now + left));
            if let Some(entry) = self.tasks.get_mut(&id) {
                entry.look_at = Some(at);
            }
        }
    }

    /// The timer of [`Self::look_at`] before its time: whether the owner is silent, so that it is time to look.
    pub(super) fn has_fallen_silent(
        &mut self,
        now: Instant,
        id: TransactionId,
        at: Instant,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(entry) = self.tasks.get(&id) else { return false };
        let silent = self.may_fall_silent(entry).is_some_and(|held| self.is_silent(&held));
        if silent {
            self.ask_fence(now, id, actions);
        } else {
            self.look_at(now, id, at);
        }
        silent
    }

    /// Has the switch show whether it fences, unless it has, or is about to.
    fn ask_fence(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get(&id) else { return };
        let fence = &mut self.switches.entry(entry.task.switch().to_owned()).or_default().fence;
        let recent = |at: Option<Instant>, long| at.is_some_and(|at| now.since(at) < long);
        if !recent(fence.shown, FENCE_KNOWN) && !recent(fence.asked, FENCE_ASKED_AGAIN) {
            fence.asked = Some(now);
            actions.push(Action::AskFence { task: entry.task.clone() });
        }
    }

    /// A switch has shown whether it fences: those whose owners are silent are looked after.
    pub(super) fn fence_shown(
        &mut self,
        now: Instant,
        name: &str,
        fences: Option<bool>,
        actions: &mut Vec<Action>,
    ) {
        let Some(switch) = self.switches.get_mut(name) else { return };
        match fences {
            Some(fences) => switch.fence.shown = fences.then_some(now),
            None => return,
        }
        let silent: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, entry)| entry.task.switch() == name)
            .filter_map(|(id, entry)| match entry.state {
                State::Watching(watched) if self.is_over(now, entry, &watched) => Some((*id, watched)),
                _ => None,
            })
            .collect();
        for (id, watched) in silent {
            self.set_due(id, None);
            self.set_state(id, State::Looking(Look::Decision, Some(watched)));
            self.look(id, actions);
        }
    }

    /// Whether an attempt of another is over because its owner is silent and the switch refuses whoever was overtaken.
    fn is_over(&self, now: Instant, entry: &Tracked, watched: &Watched) -> bool {
        let shown = self.switches.get(entry.task.switch()).and_then(|switch| switch.fence.shown);
        let fences =
            shown.is_some_and(|at| now.since(at) < FENCE_KNOWN) || self.is(Mutant::UnfencedOvertaken);
        let held = watched.held.filter(|held| self.may_fall_silent(entry).as_ref() == Some(held));
        fences && held.is_some_and(|held| self.is_silent(&held))
    }

    /// Goes over a silent owner's attempt, if that may be; the store has just said that it is neither decided nor failed.
    pub(super) fn overtakes(
        &mut self,
        now: Instant,
        id: TransactionId,
        watched: Watched,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(entry) = self.tasks.get(&id) else { return false };
        let Some(held) = watched.held.filter(|_| self.is_over(now, entry, &watched)) else {
            let silent = self.may_fall_silent(entry).is_some_and(|held| self.is_silent(&held));
            if silent {
                self.ask_fence(now, id, actions);
            }
            return false;
        };
        let name = self.config.sender(held.owner.sender).map_or("", |member| member.name.as_str());
        let text = format!(
            "the owner of attempt {}, {name}, is silent, and the switch refuses whoever was overtaken: the next attempt begins",
            held.attempt
        );
        let reason = format!("the owner of attempt {}, {name}, fell silent", held.attempt);
        note(Level::Warn, Some(id), text, actions);
        let Some(entry) = self.tasks.get_mut(&id) else { return false };
        entry.reason.get_or_insert(reason);
        entry.attempt = held.attempt + 1;
        entry.over = Some(held);
        // What it had begun may run on for so long on a switch that is lax.
        entry.unended = entry.unended.max(Some(watched.until));
        self.wait(now, id, Duration::ZERO, actions);
        true
    }

    /// Before a claim that goes over a silent owner: whether it is silent still, or its time has passed. Otherwise it is
    /// looked after again.
    pub(super) fn goes_over(&mut self, now: Instant, id: TransactionId, actions: &mut Vec<Action>) -> bool {
        let Some(entry) = self.tasks.get(&id) else { return false };
        let Some(over) = entry.over.filter(|over| over.attempt + 1 == entry.attempt) else { return true };
        let expired = entry.unended.is_some_and(|until| until <= now);
        if expired || self.is_silent(&over) {
            return true;
        }
        self.unblock(now, id);
        if let Some(entry) = self.tasks.get_mut(&id) {
            (entry.attempt, entry.over, entry.told) = (over.attempt, None, None);
        }
        self.set_due(id, None);
        self.set_state(id, State::Looking(Look::Decision, None));
        self.look(id, actions);
        false
    }

    #[cfg(test)]
    pub(super) fn suspects(&mut self, sender: u32, epoch: u64) {
        self.owners.suspected.insert(sender, epoch);
    }

    /// The claim goes out. It counts as a takeover if it goes over a silent owner.
    pub(super) fn went_over(&mut self, id: TransactionId) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        let over = entry.over.take().filter(|over| over.attempt + 1 == entry.attempt);
        if let Some(over) = over {
            self.counters.takeovers += 1;
            self.owners.suspected.insert(over.owner.sender, over.owner.epoch);
        }
    }
}
