//! The life of one task, for `outplane tasks ID`.

use std::io::{self, Write};

use anyhow::bail;
use outplane_rmdp_core::object::Claim;
use outplane_rmdp_core::task::{TransactionId, Work};
use outplane_rmdp_node::life::{Attempt, Life};
use serde::Serialize;

use super::TaskLine;
use crate::node::Node;
use crate::output::{BAD, FAINT, HEAD, Report, styled};
use crate::times;

/// The life of a task.
#[derive(Serialize)]
pub(super) struct Story {
    #[serde(flatten)]
    line: TaskLine,
    source: Option<String>,
    /// Entries that the switch should hold.
    entries: Option<u32>,
    /// SHA-256 of the desired state.
    desired: Option<String>,
    queued: Option<Queued>,
    attempts: Vec<AttemptForm>,
}

#[derive(Serialize)]
struct Queued {
    by: String,
    at: String,
}

#[derive(Serialize)]
struct AttemptForm {
    attempt: u32,
    by: String,
    /// The sender of the first copy that its owner got, or `queue`.
    received: String,
    /// When its owner came to know of the task.
    known: String,
    claimed: String,
    lease_ms: u64,
    failed: Option<String>,
    reason: Option<String>,
    /// Why the next attempt began: `failed`, `silent` (its owner had fallen silent), `lease` (it ran out), `restarted` (its
    /// owner was); null: there is none.
    over: Option<&'static str>,
}

/// Why an attempt was over, as the next one's claim shows.
fn over(attempt: &Attempt, next: &Claim) -> &'static str {
    let claim = &attempt.claim;
    if attempt.result.is_some() {
        "failed"
    } else if claim.owner == next.owner {
        if claim.epoch() == next.epoch() { "lease" } else { "restarted" }
    } else if next.at_ms < claim.at_ms.saturating_add(claim.lease_ms) {
        "silent"
    } else {
        "lease"
    }
}

/// Reads all of it.
pub(super) async fn story(node: &Node, id: TransactionId) -> anyhow::Result<Story> {
    let life = Life::read(&node.objects, id).await?;
    if !life.is_known() {
        bail!(
            "the store knows no task {id}; what was decided is forgotten after the horizon of the configuration"
        );
    }
    let (event, work) = match (&life.decision, &life.queued) {
        (Some(decision), _) => (Some(decision.event.clone()), Some(decision.work)),
        (None, Some(queued)) => (Some(queued.event.clone()), Some(queued.work)),
        (None, None) => (None, None),
    };
    let desired = match work {
        Some(Work::Converge { desired, entries, .. }) => Some((desired, entries)),
        _ => None,
    };
    let next = life.attempts.iter().skip(1).map(|attempt| Some(&attempt.claim)).chain([None]);
    let attempts = life.attempts.iter().zip(next).map(|(attempt, next)| AttemptForm::new(attempt, next));
    Ok(Story {
        source: event.as_ref().map(|event| event.source.clone()),
        entries: desired.map(|(_, entries)| entries),
        desired: desired.map(|(desired, _)| desired.to_string()),
        queued: life
            .queued
            .as_ref()
            .map(|queued| Queued { by: queued.by.clone(), at: times::time(queued.at_ms) }),
        attempts: attempts.collect(),
        line: TaskLine::of(&life, None),
    })
}

impl AttemptForm {
    /// With the claim of the one after it.
    fn new(attempt: &Attempt, next: Option<&Claim>) -> Self {
        Self {
            attempt: attempt.claim.attempt,
            by: attempt.claim.owner.clone(),
            received: attempt.claim.received.clone(),
            known: times::time(attempt.claim.at_ms.saturating_sub(attempt.claim.waited_us / 1000)),
            claimed: times::time(attempt.claim.at_ms),
            lease_ms: attempt.claim.lease_ms,
            failed: attempt.result.as_ref().map(|result| times::time(result.at_ms)),
            reason: attempt.result.as_ref().map(|result| result.reason.clone()),
            over: next.map(|next| over(attempt, next)),
        }
    }

    /// Why it was gone over, for who reads of the next one; none: it failed, which is told.
    fn gone_over(&self) -> Option<String> {
        let Self { attempt, by, .. } = self;
        match self.over? {
            "silent" => Some(format!(", which goes over attempt {attempt}: {by} had fallen silent")),
            "lease" => Some(format!(", which goes over attempt {attempt}: the lease of {by} had run out")),
            "restarted" => Some(format!(", which goes over attempt {attempt}: {by} was started anew")),
            _ => None,
        }
    }
}

impl Story {
    /// What happened before the decision, in order.
    fn events(&self) -> Vec<(&str, String)> {
        let mut events = Vec::new();
        let mut before: Option<&AttemptForm> = None;
        for attempt in &self.attempts {
            let AttemptForm {
                attempt: number, by, received, known, claimed, lease_ms, failed, reason, ..
            } = attempt;
            let gone_over = before.and_then(AttemptForm::gone_over).unwrap_or_default();
            before = Some(attempt);
            events.push((
                known.as_str(),
                match received.as_str() {
                    "queue" => format!("found in the queue by {by}"),
                    "log" => format!("taken from the log by {by}"),
                    "audit" => format!("begun by an audit of {by}"),
                    sender => format!("announced by {sender}, as {by} heard first"),
                },
            ));
            events.push((claimed, format!("attempt {number} claimed by {by} for {lease_ms} ms{gone_over}")));
            if let (Some(failed), Some(reason)) = (failed, reason) {
                events.push((failed, format!("attempt {number} {}: {reason}", styled(BAD, "failed"))));
            }
        }
        if let Some(Queued { by, at }) = &self.queued {
            events.push((at, format!("queued by {by}")));
        }
        // Times of one length: their order is that of the texts.
        events.sort_by_key(|(at, _)| *at);
        // Each attempt of one owner says how that one came to know of the task.
        events.dedup();
        events
    }
}

impl Report for Story {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let TaskLine { id, switch, occurrence, .. } = &self.line;
        writeln!(out, "{}", styled(HEAD, format_args!("Task {id}")))?;
        let (source, kind) =
            (self.source.as_deref().unwrap_or("-"), self.line.kind.as_deref().unwrap_or("-"));
        // An audit is its own source.
        let because = if source == kind { kind.to_owned() } else { format!("{source} {kind}") };
        writeln!(out, "  for switch {switch}, because of {because} {occurrence}")?;
        if let (Some(entries), Some(desired)) = (self.entries, &self.desired) {
            writeln!(out, "  desired: {entries} entries, {}", styled(FAINT, format_args!("b/{desired}")))?;
        }
        for (at, what) in self.events() {
            writeln!(out, "  {at} {what}")?;
        }
        let by = self.line.by.as_deref().unwrap_or("-");
        match &self.line.decided {
            None => writeln!(out, "  not decided yet: {}", self.line.state_text())?,
            Some(decided) => {
                let words = self.line.words.as_deref().unwrap_or_default();
                writeln!(out, "  {decided} {} by {by}: {words}", self.line.state_text())?;
            }
        }
        if let Some(steps) = self.line.steps {
            writeln!(
                out,
                "  {}",
                styled(
                    FAINT,
                    format_args!(
                        "since {by} knew of it: claim sent {} us, owned {} us, executed {} us",
                        steps.claim_sent_us, steps.claimed_us, steps.executed_us
                    )
                )
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::AttemptResult;

    use super::*;

    fn claim(owner: &str, attempt: u32, at_ms: u64) -> Claim {
        Claim {
            owner: owner.to_owned(),
            nonce: format!("{owner}/{attempt}/1"),
            attempt,
            lease_ms: 2000,
            source: "intent".to_owned(),
            occurrence: 7,
            switch: "core".to_owned(),
            received: "d1".to_owned(),
            waited_us: 0,
            at_ms,
        }
    }

    fn told(kind: &str, source: &str, attempts: &[Attempt]) -> String {
        let next = attempts.iter().skip(1).map(|attempt| Some(&attempt.claim)).chain([None]);
        let forms = attempts.iter().zip(next).map(|(attempt, next)| AttemptForm::new(attempt, next));
        let life = Life { attempts: attempts.to_vec(), ..Life::new(TransactionId::from_bytes([1; 16])) };
        let story = Story {
            line: TaskLine { kind: Some(kind.to_owned()), ..TaskLine::of(&life, None) },
            source: Some(source.to_owned()),
            entries: None,
            desired: None,
            queued: None,
            attempts: forms.collect(),
        };
        let mut out = Vec::new();
        story.text(&mut out).unwrap();
        String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap()
    }

    #[test]
    fn why_an_attempt_was_gone_over_is_said() {
        let attempt = |claim| Attempt { claim, result: None };
        let mut attempts = vec![
            attempt(claim("c2", 1, 10_000)),
            attempt(claim("c1", 2, 10_300)),
            attempt(claim("c2", 3, 13_400)),
            attempt(claim("c2", 4, 14_000)),
            attempt(claim("c1", 5, 14_100)),
        ];
        let text = told("generation", "intent", &attempts);
        for words in [
            "because of intent generation 7\n",
            "attempt 1 claimed by c2 for 2000 ms\n",
            "attempt 2 claimed by c1 for 2000 ms, which goes over attempt 1: c2 had fallen silent\n",
            "attempt 3 claimed by c2 for 2000 ms, which goes over attempt 2: the lease of c1 had run out\n",
            "attempt 4 claimed by c2 for 2000 ms, which goes over attempt 3: c2 was started anew\n",
            "attempt 5 claimed by c1 for 2000 ms, which goes over attempt 4: c2 had fallen silent\n",
        ] {
            assert!(text.contains(words), "{words} {text}");
        }
        attempts[0].result = Some(AttemptResult {
            owner: "c2".to_owned(),
            nonce: String::new(),
            attempt: 1,
            source: "intent".to_owned(),
            occurrence: 7,
            reason: "it is full".to_owned(),
            push: false,
            patience: 0,
            unended_ms: 0,
            at_ms: 10_200,
        });
        let text = told("audit", "audit", &attempts[..2]);
        assert!(text.contains("because of audit 7\n"), "{text}");
        assert!(text.contains("attempt 1 failed: it is full") && !text.contains("goes over"), "{text}");
    }
}
