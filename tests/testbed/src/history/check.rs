//! The judgement, without any I/O.

use std::collections::{BTreeMap, BTreeSet};

use outplane_rmdp_core::key::Key;
use outplane_rmdp_core::object::{AttemptResult, Claim, Decision, Object, Outcome, QueuedTask};
use outplane_rmdp_core::task::{Event, Fence, NetworkId, TransactionId};

use super::journal::{ElectionId, What};
use super::{History, JournalLine, Verdict};

/// Tasks that are named since they took the most attempts.
const HARDEST: usize = 5;

/// A task and all that the store has of it.
#[derive(Default)]
struct Life<'a> {
    queued: Option<&'a QueuedTask>,
    claims: BTreeMap<u32, &'a Claim>,
    results: BTreeMap<u32, &'a AttemptResult>,
    decision: Option<&'a Decision>,
}

/// What an attempt wrote to a switch.
#[derive(Default)]
struct Writing<'a> {
    /// Only what changed something.
    changes: Vec<&'a str>,
    owners: BTreeSet<String>,
    /// Of the last one.
    unix_ns: u64,
}

/// By fence, and by how many pipelines were pushed before: a push empties a switch.
type Writings<'a> = BTreeMap<(Fence, u32), Writing<'a>>;

impl History {
    /// Judges. `expected` are the events that had to be dealt with, each of which changes its switch.
    pub fn check(&self, expected: &[Event]) -> Verdict {
        let mut verdict =
            Verdict { tasks: expected.len(), nonsense: self.unreadable.clone(), ..Verdict::default() };
        let lives = self.lives();
        let mut events = BTreeMap::new();
        for event in expected {
            match event.id() {
                Ok(id) => drop(events.insert(id, event.clone())),
                Err(error) => verdict.nonsense.push(format!("{event:?}: {error}")),
            }
        }
        let is_decided =
            |(id, _): &(&TransactionId, &Event)| lives.get(id).is_some_and(|life| life.decision.is_some());
        let decided: Vec<_> = events.iter().filter(is_decided).map(|(_, event)| event).collect();
        for (id, event) in &events {
            let of = name(&events, *id);
            let life = lives.get(id);
            match life.and_then(|life| life.decision) {
                // Nobody has queued it, so nobody has lost it, if a newer one took its place.
                None if life.is_none() && overtaken(&decided, event) => verdict.dropped += 1,
                None => verdict.lost.push(format!("{of}: there is no decision")),
                Some(decision) => match decision.outcome {
                    Outcome::Done { .. } => verdict.done += 1,
                    Outcome::Superseded { .. } => verdict.superseded += 1,
                    Outcome::Failed { .. } => verdict.failed += 1,
                },
            }
        }
        let (mut nonces, mut hardest) = (BTreeSet::new(), Vec::new());
        for (id, life) in &lives {
            let of = name(&events, *id);
            if life.queued.is_some() && life.decision.is_none() && !events.contains_key(id) {
                verdict.lost.push(format!("{of}: it is queued, and there is no decision"));
            }
            for claim in life.claims.values() {
                *verdict.by_owner.entry(claim.owner.clone()).or_default() += 1;
                *verdict.received.entry(claim.received.clone()).or_default() += 1;
                if !nonces.insert(&claim.nonce) {
                    verdict.two_owners.push(format!("{of}: nonce {} came before", claim.nonce));
                }
            }
            verdict.attempts += life.claims.len();
            verdict.retried += usize::from(life.claims.len() > 1);
            verdict.results += life.results.len();
            for result in life.results.values() {
                let same: String = result.reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
                *verdict.reasons.entry(same).or_default() += 1;
            }
            hardest.push((life.claims.len(), *id));
            life.owners(&of, &mut verdict);
            life.order(&of, self.silence_ms, &mut verdict);
        }
        hardest.sort_unstable_by(|one, other| other.cmp(one));
        verdict.hardest = hardest.into_iter().map(|(_, id)| id).take(HARDEST).collect();
        self.judge_totals(&mut verdict);
        let writings = self.writings(&mut verdict);
        for (switch, writings) in &writings {
            judge_writings((self.network, switch), writings, &lives, &mut verdict);
        }
        for (id, event) in &events {
            let done = lives.get(id).and_then(|life| life.decision);
            let done = done.is_some_and(|decision| matches!(decision.outcome, Outcome::Done { .. }));
            let wrote = writings.get(&event.switch).is_some_and(|writings| {
                writings.keys().any(|(fence, _)| fence.generation == event.occurrence)
            });
            if done && !wrote {
                verdict.lost.push(format!("{}: done, and nothing was written", name(&events, *id)));
            }
        }
        verdict
    }

    fn lives(&self) -> BTreeMap<TransactionId, Life<'_>> {
        let mut lives: BTreeMap<_, Life<'_>> = BTreeMap::new();
        for (key, object) in &self.objects {
            match (key, object) {
                (Key::Queue(id), Object::Task(task)) => lives.entry(*id).or_default().queued = Some(task),
                (Key::Claim(id, attempt), Object::Claim(claim)) => {
                    lives.entry(*id).or_default().claims.insert(*attempt, claim);
                }
                (Key::Result(id, attempt), Object::Result(result)) => {
                    lives.entry(*id).or_default().results.insert(*attempt, result);
                }
                (Key::Decision(id), Object::Decision(decision)) => {
                    lives.entry(*id).or_default().decision = Some(decision);
                }
                _ => {}
            }
        }
        lives
    }

    /// What was accepted, by switch and fence. Fences must not go down from line to line.
    fn writings(&self, verdict: &mut Verdict) -> BTreeMap<String, Writings<'_>> {
        let mut switches = BTreeMap::new();
        for (switch, lines) in &self.journals {
            let mut writings = Writings::new();
            let mut highest = None;
            let mut pipelines = 0;
            let mut held = BTreeMap::new();
            for line in lines {
                let JournalLine { election_id, peer, unix_ns, what, .. } = line;
                let (result, changes) = match what {
                    What::Write { result, changes } => (result, changes.as_slice()),
                    What::Pipeline { result } => {
                        if result == "OK" {
                            pipelines += 1;
                            held.clear();
                        }
                        (result, &[][..])
                    }
                    What::Primary => continue,
                };
                if result == "PERMISSION_DENIED" {
                    verdict.fenced += 1;
                }
                if result != "OK" {
                    continue;
                }
                let Some(fence) = election_id.map(ElectionId::fence) else {
                    verdict.nonsense.push(format!("{switch}: a write without an election id was accepted"));
                    continue;
                };
                if let Some(highest) = highest.filter(|highest| fence < *highest) {
                    verdict
                        .doubled
                        .push(format!("{switch}: a write under {fence} after one under {highest}"));
                }
                highest = highest.max(Some(fence));
                verdict.updates += changes.len();
                if changes.is_empty() {
                    continue;
                }
                let writing = writings.entry((fence, pipelines)).or_default();
                for change in changes {
                    match effect(&mut held, change) {
                        Some(true) => writing.changes.push(change),
                        Some(false) => verdict.idle += 1,
                        None => verdict.nonsense.push(format!("{switch}: {change:?} is no change")),
                    }
                }
                writing.unix_ns = *unix_ns;
                let ip = peer.map(|peer| peer.ip().to_canonical());
                let owner = ip.and_then(|ip| self.owners.get(&ip).cloned());
                writing.owners.insert(owner.unwrap_or_else(|| format!("{peer:?}, who is no controller")));
            }
            switches.insert(switch.clone(), writings);
        }
        switches
    }
}

impl Life<'_> {
    /// Whoever wrote a result or a decision owned the attempt.
    fn owners(&self, of: &str, verdict: &mut Verdict) {
        let mut belongs = |what: &str, attempt: u32, owner: &str, nonce: &str| match self.claims.get(&attempt)
        {
            Some(claim) if claim.owner == owner && claim.nonce == nonce => {}
            Some(claim) => verdict.two_owners.push(format!(
                "{of}: attempt {attempt} was claimed by {} ({}), and its {what} is {owner}'s ({nonce})",
                claim.owner, claim.nonce
            )),
            None => verdict
                .two_owners
                .push(format!("{of}: {what} of {owner} without a claim of attempt {attempt}")),
        };
        for (attempt, result) in &self.results {
            belongs("result", *attempt, &result.owner, &result.nonce);
        }
        if let Some(decision) = self.decision {
            belongs("decision", decision.attempt, &decision.owner, &decision.nonce);
        }
    }

    /// An attempt comes after the one before has failed or expired, or its owner was silent for so long: all switches here
    /// fence. Times are those of one machine's clock here.
    fn order(&self, of: &str, silence_ms: Option<u64>, verdict: &mut Verdict) {
        for (attempt, claim) in self.claims.range(2..) {
            let Some(before) = self.claims.get(&(attempt - 1)) else {
                verdict.too_early.push(format!("{of}: attempt {attempt}, and nobody claimed the one before"));
                continue;
            };
            let expired = before.at_ms + before.lease_ms + before.lease_ms / 2;
            let failed = self.results.get(&(attempt - 1)).map(|result| result.at_ms);
            let early = claim.at_ms < expired && failed.is_none_or(|failed| claim.at_ms < failed);
            if early && silence_ms.is_some_and(|silence| claim.at_ms >= before.at_ms + silence) {
                verdict.taken_over += 1;
            } else if early {
                verdict.too_early.push(format!(
                    "{of}: attempt {attempt} was claimed {} ms after the one before, whose lease is {} ms",
                    claim.at_ms.saturating_sub(before.at_ms),
                    before.lease_ms
                ));
            }
        }
    }
}

/// Whether a change changes what the switch holds: a MODIFY of what is so already does not. None if it is no change.
fn effect<'a>(held: &mut BTreeMap<&'a str, &'a str>, change: &'a str) -> Option<bool> {
    let (kind, rest) = change.split_once(':')?;
    let (key, whole) = rest.split_once(':')?;
    match kind {
        "insert" | "modify" => Some(held.insert(key, whole) != Some(whole)),
        // What was there before the journal is gone, too.
        "delete" => {
            held.remove(key);
            Some(true)
        }
        _ => None,
    }
}

fn judge_writings(
    (network, switch): (NetworkId, &str),
    writings: &Writings<'_>,
    lives: &BTreeMap<TransactionId, Life<'_>>,
    verdict: &mut Verdict,
) {
    let mut seen: BTreeMap<(u64, u32), BTreeMap<&str, Fence>> = BTreeMap::new();
    for ((fence, pipelines), writing) in writings {
        let of = format!("{switch}, {fence}");
        // A repair has a task of its own.
        let life = fence.event(network, switch).id().ok().and_then(|id| lives.get(&id));
        let claim = life.and_then(|life| life.claims.get(&fence.attempt).copied());
        match claim {
            None => {
                verdict.two_owners.push(format!("{of}: written by {:?}, claimed by nobody", writing.owners));
            }
            Some(claim) if writing.owners.iter().any(|owner| *owner != claim.owner) => {
                verdict
                    .two_owners
                    .push(format!("{of}: claimed by {}, written by {:?}", claim.owner, writing.owners));
            }
            Some(_) => {}
        }
        if let Some(Decision { at_ms, outcome, owner, attempt, .. }) = life.and_then(|life| life.decision) {
            let late_ms = (writing.unix_ns / 1_000_000).saturating_sub(*at_ms);
            match outcome {
                _ if late_ms == 0 => {}
                // Whoever decided that raised no fence: a silent owner whose attempt was gone over, or a write that was under way, is
                // refused from the newer task's fence on, and the order of fences is held against that.
                Outcome::Superseded { .. } => verdict.late += 1,
                Outcome::Done { .. } | Outcome::Failed { .. } => verdict.doubled.push(format!(
                    "{of}: written to {late_ms} ms after attempt {attempt} of {owner} was decided: {outcome:?}"
                )),
            }
        }
        let seen = seen.entry((fence.generation, *pipelines)).or_default();
        verdict.shared += usize::from(!seen.is_empty());
        for change in &writing.changes {
            if let Some(before) = seen.insert(change, *fence) {
                verdict.doubled.push(format!("{of}: {change} again, after {before}"));
            }
        }
    }
}

/// Whether a newer event of the same switch has its decision.
fn overtaken(decided: &[&Event], event: &Event) -> bool {
    decided.iter().any(|newer| newer.switch == event.switch && newer.occurrence > event.occurrence)
}

fn name(events: &BTreeMap<TransactionId, Event>, id: TransactionId) -> String {
    events.get(&id).map_or_else(
        || id.to_string(),
        |event| format!("{id} (generation {} of {})", event.occurrence, event.switch),
    )
}
