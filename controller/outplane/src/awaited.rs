//! Tasks that a command waits for: progress while it does, and what became of each switch.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use outplane_rmdp_core::object::Outcome;
use outplane_rmdp_core::task::TransactionId;
use outplane_rmdp_node::life::Life;
use outplane_rmdp_node::objects::Objects;
use serde::Serialize;

use crate::alike::{Told, alike};
use crate::exit::Exit;
use crate::output::{BAD, FAINT, GOOD, WARN, styled, wrapped};
use crate::overtaken::Overtaken;
use crate::progress::{Line, Lines};
use crate::runtime::Signals;
use crate::standing::Standing;

/// How long to wait for the switches, if nobody says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A switch of which a generation says nothing new, and that was brought to that before.
pub(crate) const UNCHANGED: &str = "unchanged";

/// Between two looks at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// After this long without a task, somebody should be asked why.
const SILENCE: Duration = Duration::from_secs(2);
/// And then so much less often.
const WHY: Duration = Duration::from_secs(1);

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Not at all.
    pub(crate) no_wait: bool,
    /// At most so long.
    pub(crate) timeout: Duration,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That switches hold a generation.
    Converged,
    /// That they answer.
    Answered,
}

/// What became of all of them.
pub(crate) struct Ended {
    /// By switch, in the order given.
    pub(crate) switches: Vec<SwitchEnd>,
    /// From the append to the last decision.
    pub(crate) seconds: f64,
    /// All are done.
    pub(crate) done: bool,
    pub(crate) exit: Exit,
}

/// Waits for these tasks, and shows how they come along. `start` is when they were asked for. Those of a generation may be
/// `overtaken` before there is one.
pub(crate) async fn wait(
    objects: &Objects,
    (wish, overtaken): (Wish, Option<Overtaken>),
    tasks: Vec<(String, TransactionId)>,
    waiting: Waiting,
    lines: &Lines,
    signals: Signals,
    start: Instant,
) -> Ended {
    let mut watched: Vec<Watched> = tasks
        .into_iter()
        .map(|(switch, id)| Watched {
            wish,
            line: lines.line(&switch),
            switch,
            life: Life::new(id),
            told: String::new(),
            reasons: BTreeSet::new(),
            seen: None,
            overtaken: None,
        })
        .collect();
    let mut interrupted = false;
    if !waiting.no_wait {
        let watch = watch(objects, &mut watched, overtaken, lines, start);
        tokio::select! {
            ended = watch => ended,
            () = tokio::time::sleep(waiting.timeout) => {}
            () = signals.wait() => interrupted = true,
        }
    }
    let hint = if waiting.no_wait { None } else { why(objects, &watched).await.map(Why::words) };
    let end = watched.iter().filter_map(|watched| watched.seen).max();
    let seconds = rounded(end.unwrap_or_else(|| start.elapsed()));
    let done = watched.iter().all(|watched| watched.state() == "done");
    let patience = waiting.timeout;
    let switches = watched
        .into_iter()
        .map(|watched| watched.ended(waiting.no_wait, interrupted, patience, hint.as_ref()))
        .collect();
    let exit = match (interrupted, done || waiting.no_wait) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Done,
        (false, false) => Exit::Switch,
    };
    Ended { switches, seconds, done, exit }
}

/// What became of a task.
#[derive(Serialize)]
pub(crate) struct SwitchEnd {
    #[serde(skip)]
    wish: Wish,
    switch: String,
    /// The task's transaction id: `outplane tasks ID` tells its life.
    task: String,
    /// `waiting`, `queued`, `claimed`, `failed-attempt`, `done`, `superseded`, `failed`, `unchanged`; where nothing was
    /// appended also, as its keeper tells: `kept`, `drifted`, `unreachable`.
    state: &'static str,
    /// The controller that has it, or had it.
    by: Option<String>,
    /// The newest attempt; 0 before the first.
    attempt: u32,
    /// From the append to when the decision was seen.
    seconds: Option<f64>,
    /// What was written, or how a probe was answered, in words.
    report: Option<String>,
    /// Attempts that failed, with their reasons.
    failed_attempts: Vec<Failed>,
    /// Why it is not done; null if it is, or if nobody waits.
    error: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    attempt: u32,
    by: String,
    reason: String,
}

/// A switch that is waited for.
struct Watched {
    wish: Wish,
    switch: String,
    life: Life,
    line: Line,
    /// The last news that were shown.
    told: String,
    /// Why attempts have failed, as far as that was shown: each reason once.
    reasons: BTreeSet<String>,
    /// When its decision was seen, since the append.
    seen: Option<Duration>,
    /// The generation that was appended before anything of the task was: nobody makes it any more.
    overtaken: Option<u64>,
}

/// Until all are decided, or will not be.
async fn watch(
    objects: &Objects,
    watched: &mut [Watched],
    mut overtaken: Option<Overtaken>,
    lines: &Lines,
    start: Instant,
) {
    let mut pause = LOOK.0;
    let (mut fault, mut looked, mut said) = (String::new(), start, BTreeSet::new());
    let mut told = Told::default();
    loop {
        let mut news = false;
        let mut undecided = 0;
        let mut failed = None;
        for one in watched.iter_mut().filter(|one| one.seen.is_none()) {
            match one.life.follow(objects).await {
                Ok(new) => news |= new,
                // It is the same store for all of them.
                Err(error) => {
                    undecided += 1;
                    failed = Some(error.to_string());
                    break;
                }
            }
            if !one.life.is_known() {
                one.overtaken = overtaken.as_ref().and_then(|overtaken| overtaken.of(&one.switch));
            }
            if one.life.decision.is_some() || one.overtaken.is_some() {
                one.seen = Some(start.elapsed());
            } else {
                undecided += 1;
            }
            one.news(start.elapsed(), &mut told);
        }
        if undecided == 0 {
            return;
        }
        let unknown = watched.iter().any(|one| one.seen.is_none() && !one.life.is_known());
        if let Some(overtaken) = overtaken.as_mut().filter(|_| unknown && failed.is_none())
            && let Err(error) = overtaken.look(objects).await
        {
            failed = Some(error.to_string());
        }
        if let Some(failed) = &failed
            && *failed != fault
        {
            lines.say(&format!("the store: {failed}"));
        }
        fault = failed.unwrap_or_default();
        // Nobody at work is told as such, and not of each switch.
        if looked.elapsed() >= SILENCE && fault.is_empty() {
            looked = Instant::now() + WHY;
            let standing = Standing::read(objects).await.unwrap_or_default();
            for what in standing.nobody {
                if said.insert(role(&what)) {
                    lines.say(&what);
                }
            }
        }
        pause = if news { LOOK.0 } else { (pause * 3 / 2).min(LOOK.1) };
        tokio::time::sleep(pause).await;
    }
}

/// Of what there is nobody: how long for changes.
fn role(nobody: &str) -> String {
    nobody.split(" (").next().unwrap_or_default().to_owned()
}

/// Why tasks are not decided.
struct Why {
    /// Nobody is up who would do it.
    nobody: Vec<String>,
    /// What nodes say, if there is not even a task, or a claim.
    says: Vec<String>,
}

/// What is in the way, as far as nodes that are up say it, or that none is.
async fn why(objects: &Objects, watched: &[Watched]) -> Option<Why> {
    if watched.iter().all(|one| one.seen.is_some()) {
        return None;
    }
    let Standing { nobody, says } = Standing::asked(objects).await?;
    Some(Why { nobody, says })
}

impl Why {
    /// For tasks that nobody knows of or has claimed, and for those that are under way.
    fn words(self) -> [Option<String>; 2] {
        let join = |words: &[String]| (!words.is_empty()).then(|| words.join("; "));
        let all: Vec<String> = self.nobody.iter().chain(&self.says).cloned().collect();
        [join(&all), join(&self.nobody)]
    }
}

impl Wish {
    fn failed(self, attempts: u32, reason: &str) -> String {
        match self {
            Self::Converged => format!("failed after {attempts} attempts: {reason}"),
            Self::Answered => format!("does not answer: {reason}"),
        }
    }
}

impl Watched {
    fn state(&self) -> &'static str {
        match (&self.life.decision, self.life.attempts.last()) {
            (Some(decision), _) => match decision.outcome {
                Outcome::Done { .. } => "done",
                Outcome::Superseded { .. } => "superseded",
                Outcome::Failed { .. } => "failed",
            },
            (None, Some(attempt)) if attempt.result.is_some() => "failed-attempt",
            (None, Some(_)) => "claimed",
            (None, None) if self.life.queued.is_some() => "queued",
            (None, None) if self.overtaken.is_some() => "superseded",
            (None, None) => "waiting",
        }
    }

    fn news(&mut self, since: Duration, told: &mut Told) {
        let attempts = self.life.attempts.len();
        // Of several switches that have the same trouble it is told once.
        let mut first = |reason: &str, owner: &str| {
            told.before(&self.switch, alike(reason, &[&self.switch, owner])).map(str::to_owned)
        };
        let text = match (&self.life.decision, self.life.attempts.last(), &self.life.queued) {
            (Some(decision), ..) => match &decision.outcome {
                Outcome::Done { .. } if self.wish == Wish::Answered => {
                    format!("has answered {} in {}", decision.owner, millis(since))
                }
                Outcome::Done { .. } => format!("done by {} in {}", decision.owner, millis(since)),
                Outcome::Superseded { by } => format!("superseded by generation {by}"),
                Outcome::Failed { attempts, reason } if self.reasons.contains(reason) => {
                    self.wish.failed(*attempts, "as said above")
                }
                Outcome::Failed { attempts, reason } => self.wish.failed(*attempts, reason),
            },
            (None, Some(attempt), _) => match &attempt.result {
                Some(result) if self.is_told(attempts, &result.reason) => {
                    format!("attempt {attempts} by {} failed likewise", result.owner)
                }
                Some(result) => match first(&result.reason, &result.owner) {
                    Some(first) => {
                        format!(
                            "attempt {attempts} by {} failed for the same reason as {first}",
                            result.owner
                        )
                    }
                    None => format!("attempt {attempts} by {} failed: {}", result.owner, result.reason),
                },
                None => format!("claimed by {}, attempt {attempts}", attempt.claim.owner),
            },
            (None, None, Some(queued)) => format!("queued by {}", queued.by),
            (None, None, None) if self.overtaken.is_some() => self.superseded().unwrap_or_default(),
            (None, None, None) if since < SILENCE => "waiting for a distributor".to_owned(),
            (None, None, None) => "no distributor has queued it yet".to_owned(),
        };
        self.tell(&text);
    }

    /// That a newer generation was there before this one's task was.
    fn superseded(&self) -> Option<String> {
        Some(format!("superseded by generation {}, before it had a task", self.overtaken?))
    }

    /// Whether an attempt before this one has failed for the same reason.
    fn is_told(&self, attempts: usize, reason: &str) -> bool {
        let before = self.life.attempts.iter().take(attempts.saturating_sub(1));
        before.filter_map(|attempt| attempt.result.as_ref()).any(|result| result.reason == reason)
    }

    fn tell(&mut self, text: &str) {
        if self.told != text {
            let results = self.life.attempts.iter().filter_map(|attempt| attempt.result.as_ref());
            self.reasons.extend(results.map(|result| result.reason.clone()));
            text.clone_into(&mut self.told);
            self.line.news(text);
        }
    }

    fn ended(
        self,
        no_wait: bool,
        interrupted: bool,
        patience: Duration,
        why: Option<&[Option<String>; 2]>,
    ) -> SwitchEnd {
        let state = self.state();
        let last = self.life.attempts.last();
        let decision = self.life.decision.as_ref();
        let failed_attempts: Vec<Failed> = self
            .life
            .attempts
            .iter()
            .filter_map(|attempt| attempt.result.as_ref())
            .map(|result| Failed {
                attempt: result.attempt,
                by: result.owner.clone(),
                reason: result.reason.clone(),
            })
            .collect();
        let waited = || {
            let told = if interrupted {
                "when it was interrupted".to_owned()
            } else {
                format!("after {patience:?}")
            };
            match (state, why) {
                ("waiting", Some([Some(why), _])) => format!("no task {told}: {why}"),
                // Nobody has even claimed it: what nodes say may be why.
                ("queued", Some([Some(why), _])) => format!("not decided {told}: {}; {why}", self.told),
                (_, Some([_, Some(nobody)])) => format!("not decided {told}: {}; {nobody}", self.told),
                _ => format!("not decided {told}: {}", self.told),
            }
        };
        let error = match decision.map(|decision| &decision.outcome) {
            Some(Outcome::Done { .. }) => None,
            Some(Outcome::Superseded { by }) => Some(format!("superseded by generation {by}")),
            Some(Outcome::Failed { attempts, reason }) => Some(self.wish.failed(*attempts, reason)),
            None if no_wait => None,
            None => self.superseded().or_else(|| Some(waited())),
        };
        let report = decision.and_then(|decision| match &decision.outcome {
            Outcome::Done { report, .. } => Some(report.clone()),
            _ => None,
        });
        SwitchEnd {
            wish: self.wish,
            task: self.life.id.to_string(),
            state,
            by: decision
                .map(|decision| decision.owner.clone())
                .or_else(|| last.map(|attempt| attempt.claim.owner.clone())),
            attempt: decision
                .map(|decision| decision.attempt)
                .or_else(|| last.map(|attempt| attempt.claim.attempt))
                .unwrap_or(0),
            seconds: self.seen.map(rounded),
            report,
            failed_attempts,
            error,
            switch: self.switch,
        }
    }
}

/// To the tenth of a millisecond.
fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10_000.0
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// For people: what several have in common is told of the first.
pub(crate) fn text<'s>(
    switches: impl IntoIterator<Item = &'s SwitchEnd>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut told = Told::default();
    for switch in switches {
        let first = switch.trouble().and_then(|trouble| told.before(&switch.switch, trouble));
        match first {
            Some(first) => switch.likewise(first, out)?,
            None => switch.text(out)?,
        }
    }
    Ok(())
}

impl SwitchEnd {
    /// How a switch stands to a generation whose task nobody waits for.
    pub(crate) fn stands(
        switch: String,
        task: TransactionId,
        state: &'static str,
        error: Option<String>,
    ) -> Self {
        Self {
            wish: Wish::Converged,
            switch,
            task: task.to_string(),
            state,
            by: None,
            attempt: 0,
            seconds: None,
            report: None,
            failed_attempts: Vec::new(),
            error,
        }
    }

    pub(crate) fn switch(&self) -> &str {
        &self.switch
    }

    /// Whether it holds what it should, as far as is known.
    pub(crate) fn is_converged(&self) -> bool {
        self.error.is_none() && matches!(self.state, "done" | "kept" | UNCHANGED)
    }

    /// What went wrong, without the names of who it went wrong for.
    fn trouble(&self) -> Option<String> {
        let error = self.error.as_deref()?;
        let owners = self.failed_attempts.iter().map(|failed| failed.by.as_str()).chain(self.by.as_deref());
        let names: Vec<&str> = owners.chain([self.switch.as_str()]).collect();
        let mut trouble = format!("{} {}", self.state, alike(error, &names));
        for Failed { reason, .. } in &self.failed_attempts {
            trouble.push('\n');
            trouble.push_str(&alike(reason, &names));
        }
        Some(trouble)
    }

    /// As another, which was told of.
    fn likewise(&self, first: &str, out: &mut dyn Write) -> io::Result<()> {
        let is = match self.wish {
            Wish::Converged => "not converged",
            Wish::Answered => "does not answer",
        };
        writeln!(out, "  {}: {}: for the same reason as {first}", self.switch, styled(BAD, is))?;
        writeln!(out, "    {}", styled(FAINT, format_args!("task {}", self.task)))
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { switch: name, task, state, by, attempt, seconds, .. } = self;
        let by = by.as_deref().unwrap_or("nobody");
        match (&self.error, *state) {
            (None, "done") => {
                let seconds = seconds.unwrap_or_default();
                let done = match self.wish {
                    Wish::Converged => styled(GOOD, "done") + " by",
                    Wish::Answered => styled(GOOD, "answers"),
                };
                writeln!(out, "  {name}: {done} {by}, attempt {attempt}, in {seconds:.4} s")?;
            }
            (None, state) => writeln!(out, "  {name}: {state}")?,
            (Some(error), "superseded") => wrapped(out, 2, 4, &format!("{name}: {}", styled(WARN, error)))?,
            (Some(error), _) if self.wish == Wish::Answered => {
                wrapped(out, 2, 4, &format!("{name}: {}", styled(BAD, error)))?;
            }
            (Some(error), _) => {
                wrapped(out, 2, 4, &format!("{name}: {}: {error}", styled(BAD, "not converged")))?;
            }
        }
        let mut told = self.error.clone().unwrap_or_default();
        for Failed { attempt, by, reason } in &self.failed_attempts {
            // A reason is told once.
            if told.contains(reason.as_str()) {
                writeln!(out, "    attempt {attempt} by {by} failed likewise")?;
            } else {
                wrapped(out, 4, 6, &format!("attempt {attempt} by {by} failed: {reason}"))?;
                told.push_str(reason);
            }
        }
        if *state == "failed" && self.wish == Wish::Converged {
            let goes_on =
                "its keeper goes on trying by itself, until a newer generation: `outplane status` shows it";
            writeln!(out, "    {}", styled(FAINT, goes_on))?;
        }
        if let Some(report) = &self.report {
            writeln!(out, "    {}", styled(FAINT, report))?;
        }
        writeln!(out, "    {}", styled(FAINT, format_args!("task {task}")))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(switch: &str, address: &str, by: &str, why: &str) -> SwitchEnd {
        let reason = format!("switch {switch} ({address}): cannot connect: {why}");
        SwitchEnd {
            wish: Wish::Converged,
            switch: switch.to_owned(),
            task: format!("task-of-{switch}"),
            state: "failed",
            by: Some(by.to_owned()),
            attempt: 2,
            seconds: Some(1.0),
            report: None,
            failed_attempts: vec![Failed { attempt: 1, by: by.to_owned(), reason: reason.clone() }],
            error: Some(Wish::Converged.failed(2, &reason)),
        }
    }

    #[test]
    fn what_two_switches_fail_for_is_told_once() {
        let switches = [
            dead("leaf1", "192.0.2.1:9559", "c1", "refused"),
            dead("leaf2", "192.0.2.2:9559", "c2", "refused"),
            dead("leaf3", "192.0.2.3:9559", "c1", "timeout"),
        ];
        let mut out = Vec::new();
        text(&switches, &mut out).unwrap();
        let out = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
        assert_eq!(out.matches("refused").count(), 1, "{out}");
        assert!(
            out.contains("leaf2: not converged: for the same reason as leaf1\n    task task-of-leaf2"),
            "{out}"
        );
        assert!(out.contains("timeout"), "{out}");
    }
}
