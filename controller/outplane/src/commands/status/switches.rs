//! The switches: what each holds, how it stands to what it should hold, and who wrote it last.

use std::io::{self, Write};

use outplane_rmdp_core::object::Standing;
use outplane_rmdp_node::daemon::VAIN;
use serde::Serialize;

use crate::alike::{Told, alike};
use crate::commands::tasks::TaskLine;
use crate::output::{BAD, FAINT, HEAD, WARN, columns, styled, wrapped};
use crate::times;

/// How a switch stands that nobody looks at any more.
pub(super) const UNWATCHED: &str = "unwatched";

/// How a switch stands that a newer generation wants something else of.
pub(super) const PENDING: &str = "pending";

/// How a switch stands of which nobody knows what the newest generation wants, since that cannot be read.
pub(super) const DOUBTED: &str = "doubted";

/// How a switch stands that the newest generation does not name.
pub(super) const LEFT: &str = "left";

/// Reasons that are longer are told once.
const LONG: usize = 40;

/// How a switch stands to what it should hold, as the controller says that keeps it, and as the last decisions say.
#[derive(Serialize)]
pub(super) struct SwitchForm {
    pub(super) switch: String,
    /// The newest generation that wants something of it, as far as the last ones tell; else the one that it is kept at.
    pub(super) desired: u64,
    /// What it was seen to hold at the last look; empty: nobody has told.
    pub(super) seen: String,
    /// The version of the policy that its packets were seen to see.
    pub(super) version: Option<u8>,
    /// `kept`, `pending` (what its keeper has told is older than what is desired, or nobody has told of it, and that is not
    /// done yet), `drifted`, `unreachable`, `unknown` (nobody has looked yet), `unwatched` (nobody looks any more), `left`
    /// (the newest generation does not name it).
    pub(super) standing: &'static str,
    /// What differs, or why it cannot be looked at.
    pub(super) what: String,
    /// When it was last seen to hold what it should have held then, by that node's clock, RFC 3339.
    pub(super) verified: Option<String>,
    /// Seconds since then, by the clocks of this machine and the node.
    pub(super) verified_age: Option<f64>,
    /// Who saw that.
    pub(super) verified_by: Option<String>,
    /// Which generation that was.
    pub(super) verified_generation: Option<u64>,
    /// Who keeps it, as far as anybody has told; null: nobody.
    pub(super) by: Option<String>,
    /// When that one has told of it last, RFC 3339, and how many seconds ago that is.
    pub(super) told: Option<String>,
    pub(super) told_age: Option<f64>,
    /// How often that one has brought it back since its start.
    pub(super) repairs: u64,
    /// The election id that may write to it, as controllers read it; null: not known.
    pub(super) primary: Option<String>,
    /// That is not its keeper's: it has told its keeper of a higher one.
    pub(super) fenced: bool,
    /// Whether it refuses writes of whoever was overtaken, as it has shown its keeper; null: it has shown nothing. Where it
    /// does not, nobody is taken over before its lease ends.
    pub(super) is_fenced: Option<bool>,
    /// Who changed it last, as far as the last tasks tell.
    pub(super) written: Option<Written>,
}

/// A change of a switch.
#[derive(Clone, Serialize)]
pub(super) struct Written {
    by: String,
    /// `generation 7`, `audit 3`.
    because: String,
    at: Option<String>,
    age: f64,
    /// What has failed since then: what it has written of that, if anything, is not known. Null: nothing.
    failed_since: Option<String>,
}

impl Written {
    fn words(&self) -> String {
        let Self { by, because, age, failed_since, .. } = self;
        let failed =
            failed_since.as_ref().map_or_else(String::new, |failed| format!("; {failed} failed since"));
        format!("{by}, {because}, {}{failed}", times::ago(*age))
    }
}

/// What is wrong with switches, in long words.
pub(super) fn reasons(switches: &[SwitchForm]) -> Vec<&str> {
    let mut reasons: Vec<&str> = switches.iter().flat_map(|switch| switch.what.split(VAIN)).collect();
    reasons.retain(|reason| reason.len() > LONG);
    // One may be a part of another.
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.len()));
    reasons
}

/// The last task that changed something there.
pub(super) fn written(switch: &str, tasks: &[TaskLine]) -> Option<Written> {
    let changed = |task: &&TaskLine| {
        let words = task.words.as_deref().unwrap_or_default();
        task.switch == switch
            && task.state == "done"
            && task.kind.as_deref() != Some("probe")
            && !words.starts_with("nothing to change")
    };
    let last = tasks.iter().filter(changed).max_by_key(|task| task.decided_ms)?;
    let because = |task: &TaskLine| format!("{} {}", task.kind.as_deref().unwrap_or("task"), task.occurrence);
    let failed = |task: &&TaskLine| {
        let is_later = match task.state {
            "failed" => task.decided_ms > last.decided_ms,
            // It is under way still.
            "failed-attempt" => true,
            _ => false,
        };
        is_later && task.switch == switch && task.kind.as_deref() != Some("probe")
    };
    let failed_since = tasks.iter().filter(failed).max_by_key(|task| (task.decided_ms == 0, task.decided_ms));
    Some(Written {
        by: last.by.clone()?,
        because: because(last),
        failed_since: failed_since.map(because),
        at: last.decided.clone(),
        age: last.age?,
    })
}

impl SwitchForm {
    /// For how long its keeper has told nothing, in words.
    pub(super) fn silence(&self) -> Option<String> {
        Some(format!("{} has told nothing of it for {}", self.by.as_ref()?, times::lasting(self.told_age?)))
    }
}

/// All of them for people.
pub(super) fn text(
    switches: &[SwitchForm],
    placeholder: Option<u64>,
    unreadable: Option<&str>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "\n{}", styled(HEAD, "Switches"))?;
    if let Some(why) = unreadable {
        // What is wrong may name the cure already.
        let cure =
            if why.contains("outplane apply") { "" } else { "; apply again (`outplane apply --anyway`)" };
        let note = format!("the newest generation cannot be read: {why}{cure}");
        wrapped(out, 2, 4, &styled(BAD, note))?;
    }
    if let Some(newest) = placeholder {
        let note = format!(
            "the newest generation, {newest}, was left by `outplane store recover` and wants nothing: nobody keeps switches, which \
             hold what they held, until the next `outplane apply`"
        );
        wrapped(out, 2, 4, &styled(WARN, note))?;
    }
    if switches.is_empty() {
        return writeln!(out, "  none is kept yet");
    }
    let dash = || "-".to_owned();
    let rows = switches.iter().map(|switch| {
        let verified = match (&switch.verified, switch.verified_age) {
            (Some(at), Some(age)) => format!("{}, {}", clock_time(at), times::ago(age)),
            _ => "not yet".to_owned(),
        };
        // It is of what is desired unless something else is said.
        let earlier = switch.verified_generation.filter(|of| *of != switch.desired);
        let verified = earlier.map_or(verified.clone(), |of| format!("{verified}, at generation {of}"));
        vec![
            switch.switch.clone(),
            switch.desired.to_string(),
            if switch.seen.is_empty() { dash() } else { switch.seen.clone() },
            switch.version.map_or_else(dash, |version| version.to_string()),
            switch.standing.to_owned(),
            verified,
            switch.verified_by.clone().unwrap_or_else(dash),
            switch.written.as_ref().map_or_else(dash, Written::words),
            switch.repairs.to_string(),
        ]
    });
    let head = [
        "switch",
        "desired",
        "seen",
        "version",
        "standing",
        "verified",
        "by",
        "last written",
        "brought back",
    ];
    columns(out, &head, &[1, 3, 8], rows)?;
    let (kept, mut told) = (Standing::Kept.word(), Told::default());
    for switch in switches {
        let (what, keeper) = (&switch.what, switch.by.as_deref());
        let by = keeper.unwrap_or("its keeper");
        let said = format!("{} {}", switch.standing, alike(what, &[&switch.switch]));
        let name = styled(WARN, &switch.switch);
        if switch.standing == UNWATCHED {
            let silence = switch.silence().unwrap_or_else(|| "nobody has told of it".to_owned());
            wrapped(out, 2, 4, &format!("{name}: {silence}, and nobody else looks"))?;
        } else if switch.standing != kept
            && what.len() > LONG
            && let Some(first) = told.before(&switch.switch, said)
        {
            writeln!(out, "  {name}: {}, for the same reason as {first}", switch.standing)?;
        } else if switch.standing != kept && !what.is_empty() {
            wrapped(out, 2, 4, &format!("{name}: {what}"))?;
            if switch.standing == Standing::Unreachable.word() {
                let goes_on = format!("{by} goes on trying by itself");
                writeln!(out, "    {}", styled(FAINT, goes_on))?;
            }
        }
        if switch.is_fenced == Some(false) && switch.standing != UNWATCHED {
            let text = format!(
                "{name}: it takes writes of whoever was overtaken: what a controller that dies had begun waits for the end \
                 of its lease"
            );
            wrapped(out, 2, 4, &text)?;
        }
        if let Some(primary) =
            switch.primary.as_ref().filter(|_| switch.fenced && switch.standing != UNWATCHED)
        {
            let text = format!("{name}: fenced: it takes writes under {primary}, which is not {by}'s");
            wrapped(out, 2, 4, &text)?;
        }
    }
    Ok(())
}

/// The time of day of a time: `11:02:03Z`.
fn clock_time(time: &str) -> String {
    let Some((_, of_day)) = time.split_once('T') else { return time.to_owned() };
    format!("{}Z", of_day.split(['.', 'Z']).next().unwrap_or(of_day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        assert_eq!(clock_time("2026-11-30T11:02:03.456Z"), "11:02:03Z");
        assert_eq!(clock_time("2026-11-30T11:02:03Z"), "11:02:03Z");
        assert_eq!(clock_time(&times::time(u64::MAX)), times::NONSENSE);
        assert_eq!(times::ago(1.8e9), "at a time that is nonsense");
        assert_eq!(times::ago(-3e15), "at a time that is nonsense");
        for (seconds, text) in
            [(0.4, "0 s ago"), (119.0, "119 s ago"), (180.0, "3 min ago"), (90_000.0, "25 h ago")]
        {
            assert_eq!(times::ago(seconds), text);
        }
    }

    #[test]
    fn what_failed_since_stands_with_what_was_written_last() {
        let line = |kind: &str, occurrence, state, decided_ms| TaskLine {
            id: String::new(),
            switch: "core".to_owned(),
            kind: Some(kind.to_owned()),
            occurrence,
            state,
            by: Some("c1".to_owned()),
            attempt: 1,
            steps: None,
            decided: None,
            age: Some(180.0),
            words: None,
            decided_ms,
            generation: None,
        };
        let told = |more: Vec<TaskLine>| {
            let lines: Vec<TaskLine> =
                [line("generation", 7, "done", 1000)].into_iter().chain(more).collect();
            written("core", &lines).unwrap().words()
        };
        assert_eq!(told(vec![line("generation", 6, "failed", 900)]), "c1, generation 7, 3 min ago");
        assert_eq!(told(vec![line("probe", 3, "failed", 2000)]), "c1, generation 7, 3 min ago");
        let failed = vec![line("generation", 8, "failed", 2000), line("audit", 3, "failed", 1500)];
        assert_eq!(told(failed), "c1, generation 7, 3 min ago; generation 8 failed since");
        let under_way =
            vec![line("generation", 8, "failed", 2000), line("generation", 9, "failed-attempt", 0)];
        assert_eq!(told(under_way), "c1, generation 7, 3 min ago; generation 9 failed since");
    }
}
