//! How each switch stands: by what its keeper tells every few seconds, and by decisions where they are newer.

use std::collections::BTreeMap;
use std::time::Duration;

use outplane_rmdp_core::object::{KeptSwitch, KeptSwitches, Standing};

use super::nodes::age;
use super::switches::{DOUBTED, LEFT, PENDING, SwitchForm, UNWATCHED, written};
use crate::clocks::{self, STALE};
use crate::commands::tasks::{Named, Recent, TaskLine, Unreadable};
use crate::standing;
use crate::times;

/// That a switch was seen to hold what a generation wants. The newest generation counts most, then the time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    generation: u64,
    at_ms: u64,
    by: String,
}

/// By name: those that somebody keeps, those that the newest generation names, and those that the one before it named.
/// Whoever told of a switch last keeps it; those that are not kept are told again, last.
pub(super) fn forms(kept: Vec<(KeptSwitches, Option<Duration>)>, recent: &Recent) -> Vec<SwitchForm> {
    let now = clocks::now();
    let mut kept: Vec<KeptSwitches> = kept.into_iter().map(standing::keeper_set_right).collect();
    kept.sort_by_key(|kept| kept.at_ms);
    let mut looks = Looks::default();
    let mut switches: BTreeMap<String, (SwitchForm, u64)> = BTreeMap::new();
    for KeptSwitches { node, switches: those, at_ms } in kept {
        for kept in those {
            if let Some(at_ms) = kept.verified_ms {
                looks.note(&kept.switch, Look { generation: kept.generation, at_ms, by: node.clone() });
            }
            // Who was frozen still tells of a generation that is over, until it hears of the newer one.
            if let Some((other, _)) = switches.get(&kept.switch)
                && other.standing != UNWATCHED
                && other.desired > kept.generation
            {
                continue;
            }
            let form = SwitchForm::told_by(&node, at_ms, age(at_ms, now) > STALE, kept);
            switches.insert(form.switch.clone(), (form, at_ms));
        }
    }
    for line in recent.lines.iter().filter(|line| line.state == "done") {
        if let (Some(generation), Some(by)) = (line.generation, &line.by) {
            looks.note(&line.switch, Look { generation, at_ms: line.decided_ms, by: by.clone() });
        }
    }
    // What a recovery has left wants nothing of any switch.
    let newest = recent.newest.as_ref().filter(|_| recent.placeholder.is_none());
    if let Some(newest) = newest {
        let of_newest = newest.switches.keys().map(|name| (name, newest.generation));
        let before = recent.lines.iter().filter(|line| line.kind.as_deref() == Some("generation"));
        let before = before.map(|line| (&line.switch, line.occurrence));
        for (name, generation) in of_newest.chain(before) {
            switches.entry(name.clone()).or_insert_with(|| (SwitchForm::untold(name, generation), 0));
        }
    }
    let form = |(mut form, told_ms): (SwitchForm, u64)| {
        let look = looks.0.get(&form.switch);
        form.settle(told_ms, look, newest, &recent.lines);
        if let Some(Unreadable { generation, .. }) = &recent.unreadable {
            form.doubt(*generation);
        }
        form
    };
    switches.into_values().map(form).collect()
}

impl Look {
    fn is_of_the_future(&self) -> bool {
        clocks::ahead(self.at_ms, None).is_some()
    }

    fn is_after(&self, told_ms: u64) -> bool {
        self.at_ms > told_ms && !self.is_of_the_future()
    }

    fn is_fresh(&self) -> bool {
        clocks::since(self.at_ms) <= STALE && !self.is_of_the_future()
    }
}

/// The last look at each switch.
#[derive(Default)]
struct Looks(BTreeMap<String, Look>);

impl Looks {
    fn note(&mut self, switch: &str, look: Look) {
        match self.0.get_mut(switch) {
            Some(last) if *last >= look => {}
            Some(last) => *last = look,
            None => {
                self.0.insert(switch.to_owned(), look);
            }
        }
    }
}

impl SwitchForm {
    /// As its keeper tells.
    fn told_by(node: &str, at_ms: u64, stale: bool, kept: KeptSwitch) -> Self {
        Self {
            desired: kept.generation,
            seen: kept.seen,
            version: kept.version,
            standing: if stale { UNWATCHED } else { kept.standing.word() },
            what: kept.what,
            by: Some(node.to_owned()),
            told: Some(times::time(at_ms)),
            told_age: Some(times::age(at_ms)),
            repairs: kept.repairs,
            fenced: kept.primary.as_ref().is_some_and(|primary| !primary.ours),
            primary: kept.primary.map(|primary| primary.fence),
            is_fenced: kept.is_fenced,
            ..Self::untold(&kept.switch, 0)
        }
    }

    /// Nobody tells of it.
    fn untold(switch: &str, generation: u64) -> Self {
        Self {
            switch: switch.to_owned(),
            desired: generation,
            seen: String::new(),
            version: None,
            standing: UNWATCHED,
            what: String::new(),
            verified: None,
            verified_age: None,
            verified_by: None,
            verified_generation: None,
            by: None,
            told: None,
            told_age: None,
            repairs: 0,
            primary: None,
            fenced: false,
            is_fenced: None,
            written: None,
        }
    }

    /// What the newest generation wants of it nobody can read: whatever it was seen to hold was what an earlier one wants.
    fn doubt(&mut self, newest: u64) {
        if newest <= self.desired {
            return;
        }
        let before = std::mem::replace(&mut self.desired, newest);
        let held = match (self.standing, self.what.is_empty()) {
            ("kept", _) | (_, true) => format!("by generation {before} it is {}", self.standing),
            (standing, false) => format!("by generation {before} it is {standing}: {}", self.what),
        };
        self.what =
            format!("generation {newest} cannot be read, so nobody knows what it should hold; {held}");
        self.standing = DOUBTED;
    }

    /// A keeper tells of its switches every few seconds, and begins with nothing: what the log and its decisions say counts
    /// for more where it is newer. `told_ms`: when its keeper told this; 0: nobody has.
    fn settle(&mut self, told_ms: u64, look: Option<&Look>, newest: Option<&Named>, tasks: &[TaskLine]) {
        self.written = written(&self.switch, tasks);
        if let Some(Look { generation, at_ms, by }) = look {
            (self.verified, self.verified_age) = (Some(times::time(*at_ms)), Some(times::age(*at_ms)));
            (self.verified_by, self.verified_generation) = (Some(by.clone()), Some(*generation));
            if self.seen.is_empty() && told_ms == 0 {
                self.seen = format!("generation {generation}");
            }
        }
        let named = newest.filter(|newest| newest.switches.contains_key(&self.switch));
        if let (None, Some(newest)) = (named, newest)
            && newest.generation > self.desired
        {
            self.standing = LEFT;
            self.what = format!(
                "generation {} does not name it any more: it holds what it held, and nobody keeps it",
                newest.generation
            );
            return;
        }
        let own = |task: &&TaskLine| task.switch == self.switch && task.kind.as_deref() == Some("generation");
        let task = tasks.iter().filter(own).max_by_key(|task| task.occurrence);
        let wanted = named.map(|named| named.generation).max(task.map(|task| task.occurrence));
        let told_of = if told_ms == 0 { 0 } else { self.desired };
        self.desired = self.desired.max(wanted.unwrap_or(0));
        // What the newest generation says of it may have been said before, and done then.
        let since = named.filter(|named| named.generation == self.desired);
        let since = since.and_then(|named| named.switches.get(&self.switch).copied()).unwrap_or(self.desired);
        let reached = look.filter(|look| (since..=self.desired).contains(&look.generation));
        let (is_watched, behind) = (self.standing != UNWATCHED, told_of < since);
        // Whoever cannot reach it since then knows better.
        let unreachable = self.standing == Standing::Unreachable.word()
            && task.is_none_or(|task| task.decided_ms <= told_ms);
        let open = task.is_some_and(|task| task.occurrence == since && task.decided_ms == 0);
        match reached {
            Some(look) if look.is_after(told_ms) || behind && !unreachable => {
                self.seen = format!("generation {}", look.generation);
                self.what.clear();
                if self.by.as_ref() != Some(&look.by) {
                    // Who may write was told before another did.
                    (self.primary, self.fenced, self.is_fenced) = (None, false, None);
                }
                if is_watched || look.is_fresh() {
                    self.standing = Standing::Kept.word();
                }
            }
            None if behind && !unreachable || open && !is_watched => {
                let task = task.filter(|task| task.occurrence == since);
                let state = task.map_or_else(String::new, |task| format!(": {}", task.state));
                let silence = self.silence().filter(|_| !is_watched);
                let silence = silence.map_or_else(String::new, |silence| format!("; {silence}"));
                self.what = format!("generation {} is not done yet{state}{silence}", self.desired);
                self.standing = PENDING;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_node::clock;

    use super::super::switches::text;
    use super::*;

    fn kept(node: &str, ago: u64, generation: u64, standing: Standing) -> KeptSwitches {
        let switch = KeptSwitch {
            switch: "core".to_owned(),
            generation,
            standing,
            seen: String::new(),
            verified_ms: None,
            what: String::new(),
            repairs: 0,
            version: None,
            primary: None,
            is_fenced: None,
            counted_ms: None,
        };
        let at_ms = clock::unix_millis() - ago;
        KeptSwitches { node: node.to_owned(), at_ms, switches: vec![switch] }
    }

    /// It has verified it so long ago.
    fn verified(ago: u64, mut kept: KeptSwitches) -> KeptSwitches {
        kept.switches[0].verified_ms = Some(clock::unix_millis() - ago);
        kept
    }

    fn line(generation: u64, state: &'static str, by: &str, ago: Option<u64>) -> TaskLine {
        TaskLine {
            id: String::new(),
            switch: "core".to_owned(),
            kind: Some("generation".to_owned()),
            occurrence: generation,
            state,
            by: Some(by.to_owned()),
            attempt: 1,
            steps: None,
            decided: None,
            age: None,
            words: None,
            decided_ms: ago.map_or(0, |ago| clock::unix_millis() - ago),
            generation: Some(generation),
        }
    }

    fn told(
        kept: Vec<KeptSwitches>,
        lines: Vec<TaskLine>,
        newest: Option<(u64, &[&str])>,
    ) -> Vec<SwitchForm> {
        let newest = newest.map(|(generation, names)| Named {
            generation,
            switches: names.iter().map(|name| ((*name).to_owned(), generation)).collect(),
        });
        let recent = Recent { lines, placeholder: None, newest, unreadable: None };
        forms(kept.into_iter().map(|kept| (kept, None)).collect(), &recent)
    }

    fn core(kept: Vec<KeptSwitches>, lines: Vec<TaskLine>, newest: u64) -> SwitchForm {
        told(kept, lines, Some((newest, &["core"]))).remove(0)
    }

    fn looked(form: &SwitchForm) -> (Option<&str>, Option<u64>) {
        (form.verified_by.as_deref(), form.verified_generation)
    }

    /// c3 kept it and is dead since before the newest generation, which c1 has brought it to.
    #[test]
    fn who_verified_it_is_who_did_at_that_time() {
        let dead = || verified(9000, kept("c3", 8000, 1, Standing::Kept));
        let form = core(
            vec![dead()],
            vec![line(2, "done", "c1", Some(100)), line(1, "done", "c1", Some(60_000))],
            2,
        );
        assert_eq!((form.standing, form.desired, form.seen.as_str()), ("kept", 2, "generation 2"));
        assert_eq!((looked(&form), form.by.as_deref()), ((Some("c1"), Some(2)), Some("c3")));
        assert!(form.verified_age.unwrap() < 5.0);
        // What c3 saw, it saw.
        let form = core(vec![dead()], vec![line(1, "done", "c1", Some(60_000))], 1);
        assert_eq!((form.standing, looked(&form)), ("kept", (Some("c3"), Some(1))));
    }

    /// It says so for as long as it was told of as kept.
    #[test]
    fn one_that_was_verified_earlier_was_not_never_verified() {
        let lines = || vec![line(2, "claimed", "c1", None), line(1, "done", "c2", Some(30_000))];
        let form = core(vec![kept("c1", 100, 2, Standing::Unreachable)], lines(), 2);
        assert_eq!((form.standing, form.desired, looked(&form)), ("unreachable", 2, (Some("c2"), Some(1))));
        let form = core(vec![kept("c1", 100, 1, Standing::Unknown)], vec![line(1, "waiting", "c1", None)], 1);
        assert_eq!((form.standing, form.verified), ("unknown", None));
    }

    #[test]
    fn the_newest_generations_switches_are_there_before_anybody_tells_of_them() {
        let form = core(vec![], vec![line(1, "waiting", "c1", None)], 1);
        assert_eq!((form.standing, form.desired, form.by), ("pending", 1, None));
        assert_eq!(form.what, "generation 1 is not done yet: waiting");
        let form = core(vec![], vec![line(1, "done", "c1", Some(100))], 1);
        assert_eq!((form.standing, form.seen.as_str()), ("kept", "generation 1"));
        // Nobody has looked since then.
        let form = core(vec![], vec![line(1, "done", "c1", Some(100_000))], 1);
        assert_eq!((form.standing, form.seen.as_str()), (UNWATCHED, "generation 1"));
        // Too many to list their tasks.
        let form = core(vec![kept("c1", 100, 1, Standing::Kept)], vec![], 2);
        assert_eq!(
            (form.standing, form.desired, form.what.as_str()),
            ("pending", 2, "generation 2 is not done yet")
        );
    }

    #[test]
    fn one_that_the_newest_generation_does_not_name_has_left() {
        let newest: Option<(u64, &[&str])> = Some((2, &["leaf1"]));
        let all =
            told(vec![kept("c1", 100, 1, Standing::Kept)], vec![line(1, "done", "c1", Some(9000))], newest);
        let standings: Vec<_> =
            all.iter().map(|form| (form.switch.as_str(), form.standing, form.desired)).collect();
        assert_eq!(standings, [("core", LEFT, 1), ("leaf1", "pending", 2)]);
        assert!(all[0].what.starts_with("generation 2 does not name it any more"), "{}", all[0].what);
        // Its keeper has heard of it, and tells no more of it.
        let all = told(vec![], vec![line(1, "done", "c1", Some(9000))], newest);
        assert_eq!((all[0].standing, looked(&all[0])), (LEFT, (Some("c1"), Some(1))));
    }

    #[test]
    fn nobody_calls_unwatched_what_was_just_written() {
        let dead = || kept("c1", 206_000, 2, Standing::Kept);
        let form = core(vec![dead()], vec![line(2, "done", "c2", Some(1000))], 2);
        assert_eq!((form.standing, looked(&form)), ("kept", (Some("c2"), Some(2))));
        // An audit has brought it back.
        let audit =
            TaskLine { kind: Some("audit".to_owned()), occurrence: 7, ..line(2, "done", "c2", Some(1000)) };
        let form = core(vec![dead()], vec![audit, line(2, "done", "c1", Some(300_000))], 2);
        assert_eq!((form.standing, looked(&form)), ("kept", (Some("c2"), Some(2))));
        let form = core(vec![dead()], vec![line(2, "done", "c1", Some(300_000))], 2);
        assert_eq!(form.standing, UNWATCHED);
        let form = core(vec![dead()], vec![line(3, "waiting", "c1", None)], 3);
        let what = "generation 3 is not done yet: waiting; c1 has told nothing of it for 206 s";
        assert_eq!((form.standing, form.what.as_str()), ("pending", what));
    }

    #[test]
    fn who_was_frozen_does_not_speak_of_a_switch_against_a_newer_generation() {
        let told = |of: [KeptSwitches; 2]| {
            let form = told(of.into(), vec![], None).remove(0);
            (form.by, form.desired, form.standing)
        };
        let frozen = kept("c2", 100, 11, Standing::Drifted);
        let now_kept = told([kept("c1", 2000, 12, Standing::Kept), frozen.clone()]);
        assert_eq!(now_kept, (Some("c1".to_owned()), 12, "kept"));
        // Whoever told of the newer one is gone: what is left is the older word.
        let gone = told([kept("c1", 60_000, 12, Standing::Kept), frozen]);
        assert_eq!(gone, (Some("c2".to_owned()), 11, "drifted"));
    }

    /// Its keeper is gone, and its clock was an hour ahead: nobody has verified it now.
    #[test]
    fn what_was_verified_in_the_future_was_verified_when_it_was_written() {
        let ahead = clock::unix_millis() + 3_600_000;
        let kept = |at_ms, taken| {
            let mut kept = kept("c1", 0, 7, Standing::Kept);
            (kept.at_ms, kept.switches[0].verified_ms) = (at_ms, Some(ahead - 30_000));
            let recent = Recent { lines: Vec::new(), placeholder: None, newest: None, unreadable: None };
            let form = forms(vec![(kept, taken)], &recent).remove(0);
            (form.standing, form.verified_age.unwrap().round())
        };
        assert_eq!(kept(ahead, Some(Duration::from_secs(4))), ("kept", 34.0));
        assert_eq!(kept(ahead, Some(Duration::from_secs(100))), (UNWATCHED, 130.0));
        assert_eq!(kept(ahead, None).0, UNWATCHED);
        // The clock was set right since then.
        let (standing, age) = kept(clock::unix_millis(), None);
        assert_eq!(
            (standing, times::ago(age)),
            ("kept", "by its writer's clock, 3570 s ahead of the store's".to_owned())
        );
    }

    #[test]
    fn what_was_verified_is_no_good_news_while_the_newest_generation_cannot_be_read() {
        let newest = Named { generation: 4, switches: [("core".to_owned(), 4)].into() };
        let doubted = |standing| {
            let unreadable = Some(Unreadable { generation: 5, why: "i/5 is garbage".to_owned() });
            let (lines, newest) = (vec![line(4, "done", "c1", Some(9000))], Some(newest.clone()));
            let recent = Recent { lines, placeholder: None, newest, unreadable };
            forms(vec![(verified(1000, kept("c1", 100, 4, standing)), None)], &recent).remove(0)
        };
        let form = doubted(Standing::Kept);
        assert_eq!((form.standing, form.desired, looked(&form)), (DOUBTED, 5, (Some("c1"), Some(4))));
        assert_eq!(
            form.what,
            "generation 5 cannot be read, so nobody knows what it should hold; by generation 4 it is kept"
        );
        let mut out = Vec::new();
        text(&[form], None, Some("i/5 is garbage"), &mut out).unwrap();
        let told = String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).unwrap();
        assert!(told.contains(", at generation 4 ") && told.contains("core: generation 5 cannot"), "{told}");
        assert!(told.contains("i/5 is garbage"), "{told}");
        // What a keeper cannot do is told beside it.
        assert!(doubted(Standing::Unreachable).what.contains("it is unreachable"));
    }
}
