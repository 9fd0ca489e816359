//! The switches: what each holds, how it stands to what it should hold, and who wrote it last.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use outplane_rmdp_core::object::{KeptSwitches, Standing};
use outplane_rmdp_node::clock;
use outplane_rmdp_node::daemon::VAIN;
use serde::Serialize;

use super::nodes::age;
use crate::alike::{Told, alike};
use crate::commands::tasks::TaskLine;
use crate::node;
use crate::output::{FAINT, HEAD, WARN, columns, styled, wrapped};
use crate::standing::{self, STALE};

/// How a switch stands that nobody looks at any more.
const UNWATCHED: &str = "unwatched";

/// How a switch stands that a newer generation wants something else of.
const PENDING: &str = "pending";
/// Reasons that are longer are told once.
const LONG: usize = 40;

/// How a switch stands to what it should hold, as the controller says that keeps it.
#[derive(Serialize)]
pub(super) struct SwitchForm {
    switch: String,
    /// The newest generation that wants something of it, as far as the last ones tell; else the one that it is kept at.
    desired: u64,
    /// What it was seen to hold at the last look.
    seen: String,
    /// The version of the policy that its packets were seen to see.
    version: Option<u8>,
    /// `kept`, `pending` (what its keeper has told is older than what is desired, and that is not done yet), `drifted`,
    /// `unreachable`, `unknown` (nobody has looked yet), `unwatched` (nobody looks any more).
    standing: &'static str,
    /// What differs, or why it cannot be looked at.
    what: String,
    /// When it was last seen to hold what it should, by the node's clock, RFC 3339.
    verified: Option<String>,
    /// Seconds since then, by the clocks of this machine and the node.
    verified_age: Option<f64>,
    /// Who keeps it.
    by: String,
    /// When that one has told of it last, RFC 3339, and how many seconds ago that is.
    told: String,
    told_age: f64,
    /// How often that one has brought it back since its start.
    repairs: u64,
    /// The election id that may write to it, as controllers read it; null: not known.
    primary: Option<String>,
    /// That is not its keeper's: it has told its keeper of a higher one.
    fenced: bool,
    /// Who changed it last, as far as the last tasks tell.
    written: Option<Written>,
}

/// A change of a switch.
#[derive(Clone, Serialize)]
struct Written {
    by: String,
    /// `generation 7`, `audit 3`.
    because: String,
    at: Option<String>,
    age: f64,
}

/// By name. Whoever told of a switch last keeps it; those that are not kept are told again, last.
pub(super) fn forms(kept: Vec<(KeptSwitches, Option<Duration>)>, tasks: &[TaskLine]) -> Vec<SwitchForm> {
    let now = clock::unix_millis();
    let mut kept: Vec<KeptSwitches> = kept.into_iter().map(set_right).collect();
    kept.sort_by_key(|kept| kept.at_ms);
    let mut switches: BTreeMap<String, SwitchForm> = BTreeMap::new();
    for KeptSwitches { node, switches: those, at_ms } in kept {
        for kept in those {
            // Who was frozen still tells of a generation that is over, until it hears of the newer one.
            if let Some(other) = switches.get(&kept.switch)
                && other.standing != UNWATCHED
                && other.desired > kept.generation
            {
                continue;
            }
            let standing = if age(at_ms, now) > STALE { UNWATCHED } else { kept.standing.word() };
            let form = SwitchForm {
                desired: kept.generation,
                seen: kept.seen,
                version: kept.version,
                standing,
                what: kept.what,
                verified: kept.verified_ms.map(node::time),
                verified_age: kept.verified_ms.map(node::age),
                by: node.clone(),
                told: node::time(at_ms),
                told_age: node::age(at_ms),
                repairs: kept.repairs,
                fenced: kept.primary.as_ref().is_some_and(|primary| !primary.ours),
                primary: kept.primary.map(|primary| primary.fence),
                written: written(&kept.switch, tasks),
                switch: kept.switch.clone(),
            };
            switches.insert(kept.switch, form);
        }
    }
    let mut switches: Vec<SwitchForm> = switches.into_values().collect();
    for switch in &mut switches {
        switch.newer(tasks);
    }
    switches
}

/// Times of the future are taken for as much earlier as the keeper's clock is ahead, and those that are of the future still
/// say so.
fn set_right((mut kept, taken): (KeptSwitches, Option<Duration>)) -> KeptSwitches {
    if let Some(by) = standing::ahead(kept.at_ms, taken) {
        standing::earlier(&mut kept.at_ms, by);
        kept.switches.iter_mut().flat_map(|of| &mut of.verified_ms).for_each(|at| standing::earlier(at, by));
    }
    kept
}

impl SwitchForm {
    /// A keeper tells of its switches every few seconds, and begins with nothing: what the log and its decisions say counts
    /// for more where it is newer.
    fn newer(&mut self, tasks: &[TaskLine]) {
        let own = |task: &&TaskLine| task.switch == self.switch && task.kind.as_deref() == Some("generation");
        let newest = tasks.iter().filter(own).max_by_key(|task| task.occurrence);
        let Some(newest) = newest.filter(|task| task.occurrence > self.desired) else { return };
        self.desired = newest.occurrence;
        let is_watched = self.standing != UNWATCHED;
        // Whoever cannot reach it since then knows better.
        let unreachable =
            self.standing == Standing::Unreachable.word() && newest.age.is_none_or(|age| age > self.told_age);
        if newest.state == "done" && !unreachable {
            self.seen = format!("generation {}", newest.occurrence);
            (self.verified, self.verified_age) = (newest.decided.clone(), newest.age);
            if is_watched {
                self.standing = Standing::Kept.word();
                self.what.clear();
            }
        } else if is_watched && !unreachable {
            self.standing = PENDING;
            self.what = format!("generation {} is not done yet: {}", newest.occurrence, newest.state);
        }
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
fn written(switch: &str, tasks: &[TaskLine]) -> Option<Written> {
    let changed = |task: &&TaskLine| {
        let words = task.words.as_deref().unwrap_or_default();
        task.switch == switch
            && task.state == "done"
            && task.kind.as_deref() != Some("probe")
            && !words.starts_with("nothing to change")
    };
    let last = tasks.iter().filter(changed).max_by_key(|task| task.decided_ms)?;
    Some(Written {
        by: last.by.clone()?,
        because: format!("{} {}", last.kind.as_deref().unwrap_or("task"), last.occurrence),
        at: last.decided.clone(),
        age: last.age?,
    })
}

/// All of them for people.
pub(super) fn text(switches: &[SwitchForm], placeholder: Option<u64>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{}", styled(HEAD, "Switches"))?;
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
            (Some(at), Some(age)) => format!("{}, {}", clock_time(at), node::ago(age)),
            _ => "never".to_owned(),
        };
        let written =
            |written: &Written| format!("{}, {}, {}", written.by, written.because, node::ago(written.age));
        vec![
            switch.switch.clone(),
            switch.desired.to_string(),
            switch.seen.clone(),
            switch.version.map_or_else(dash, |version| version.to_string()),
            switch.standing.to_owned(),
            verified,
            switch.by.clone(),
            switch.written.as_ref().map_or_else(dash, written),
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
        let SwitchForm { what, by, told_age, .. } = switch;
        let said = format!("{} {}", switch.standing, alike(what, &[&switch.switch]));
        let name = styled(WARN, &switch.switch);
        if switch.standing == UNWATCHED {
            let text =
                format!("{name}: {by} has told nothing of it for {told_age:.0} s, and nobody else looks");
            wrapped(out, 2, 4, &text)?;
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
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    format!("{}Z", of_day.split(['.', 'Z']).next().unwrap_or(of_day))
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::KeptSwitch;

    use super::*;

    #[test]
    fn times_of_day() {
        assert_eq!(clock_time("2026-11-30T11:02:03.456Z"), "11:02:03Z");
        assert_eq!(clock_time("2026-11-30T11:02:03Z"), "11:02:03Z");
        assert_eq!(clock_time("-"), "-Z");
        for (seconds, text) in
            [(0.4, "0 s ago"), (119.0, "119 s ago"), (180.0, "3 min ago"), (90_000.0, "25 h ago")]
        {
            assert_eq!(node::ago(seconds), text);
        }
    }

    #[test]
    fn who_was_frozen_does_not_speak_of_a_switch_against_a_newer_generation() {
        let now = clock::unix_millis();
        let kept = |node: &str, ago: u64, generation, standing| KeptSwitches {
            node: node.to_owned(),
            at_ms: now - ago,
            switches: vec![KeptSwitch {
                switch: "core".to_owned(),
                generation,
                standing,
                seen: String::new(),
                verified_ms: None,
                what: String::new(),
                repairs: 0,
                version: None,
                primary: None,
                counted_ms: None,
            }],
        };
        let told = |of: [KeptSwitches; 2]| {
            let of = of.into_iter().map(|kept| (kept, None)).collect();
            let form = forms(of, &[]).remove(0);
            (form.by, form.desired, form.standing)
        };
        let frozen = kept("c2", 100, 11, Standing::Drifted);
        let now_kept = told([kept("c1", 2000, 12, Standing::Kept), frozen.clone()]);
        assert_eq!(now_kept, ("c1".to_owned(), 12, "kept"));
        // Whoever told of the newer one is gone: what is left is the older word.
        let gone = told([kept("c1", 60_000, 12, Standing::Kept), frozen]);
        assert_eq!(gone, ("c2".to_owned(), 11, "drifted"));
    }

    /// Its keeper is gone, and its clock was an hour ahead: nobody has verified it now.
    #[test]
    fn what_was_verified_in_the_future_was_verified_when_it_was_written() {
        let ahead = clock::unix_millis() + 3_600_000;
        let kept = |at_ms, taken| {
            let switch = KeptSwitch {
                switch: "core".to_owned(),
                generation: 7,
                standing: Standing::Kept,
                seen: String::new(),
                verified_ms: Some(ahead - 30_000),
                what: String::new(),
                repairs: 0,
                version: None,
                primary: None,
                counted_ms: None,
            };
            let kept = KeptSwitches { node: "c1".to_owned(), at_ms, switches: vec![switch] };
            let form = forms(vec![(kept, taken)], &[]).remove(0);
            (form.standing, form.verified_age.unwrap().round())
        };
        assert_eq!(kept(ahead, Some(Duration::from_secs(4))), ("kept", 34.0));
        assert_eq!(kept(ahead, Some(Duration::from_secs(100))), (UNWATCHED, 130.0));
        assert_eq!(kept(ahead, None).0, UNWATCHED);
        // The clock was set right since then.
        let (standing, age) = kept(clock::unix_millis(), None);
        assert_eq!((standing, node::ago(age)), ("kept", "by a clock that is 3570 s ahead".to_owned()));
    }
}
