//! Switches are kept at what they should hold.

use std::time::Duration;

use super::bench::*;
use crate::config::SharedConfig;
use crate::io::{Action, Audit, Execution, Input, Level, Note, NoticeOf, Reply, Request};
use crate::key::{Key, Prefix, switch_id};
use crate::object::{AuditEntry, Object, Outcome, Standing};
use crate::task::{Event, Fence, NETWORK, Task};

/// The audit that is asked for, if any: the number to answer with.
fn audit(bench: &mut Bench, task: &Task) -> Option<u64> {
    let found = bench
        .actions
        .iter()
        .position(|action| matches!(action, Action::Audit { task: of, .. } if of == task))?;
    let Action::Audit { number, .. } = bench.actions.remove(found) else { return None };
    Some(number)
}

fn answer(bench: &mut Bench, task: &Task, outcome: Audit) {
    let number = audit(bench, task).unwrap_or_else(|| panic!("no audit: {:?}", bench.actions));
    bench.input(Input::Audited { switch: task.switch().to_owned(), number, outcome });
}

fn differs() -> Audit {
    Audit::Differs { seen: "no pipeline".to_owned(), what: "everything is missing".to_owned() }
}

/// c1 keeps a switch of generation 3, whose task somebody has decided.
fn keeper() -> (Bench, Task) {
    keeper_with(|_| ())
}

fn keeper_with(change: impl FnOnce(&mut SharedConfig)) -> (Bench, Task) {
    let mut bench = Bench::new(change);
    let task = converge(3, &switch_of("c1", 0, 0));
    bench.input(Input::Wanted { generation: 3, tasks: vec![task.clone()] });
    bench.pass(Duration::from_secs(1));
    (bench, task)
}

/// The switch differs, the generation's task is decided, and the switch still differs.
fn drifts(bench: &mut Bench, task: &Task) {
    answer(bench, task, differs());
    decided(bench, task);
    answer(bench, task, differs());
    not_overtaken(bench, task);
}

/// Nobody has begun with the next generation.
fn not_overtaken(bench: &mut Bench, task: &Task) {
    let next = task.work().generation().unwrap() + 1;
    bench.reply_get(&Key::Generation(next), Reply::Missing);
}

/// It drifts, and this controller owns the first repair.
fn owns_repair(bench: &mut Bench, task: &Task) -> Task {
    drifts(bench, task);
    bench.reply_list(&Prefix::Audits, vec![]);
    begins_repair(bench, task, 1)
}

/// Its audit gets this number, and this controller owns it.
fn begins_repair(bench: &mut Bench, task: &Task, number: u64) -> Task {
    let key = Key::Audit(number, switch_id(task.switch()).unwrap());
    let (token, _) =
        bench.expect("an entry", |request| matches!(request, Request::Create { key: at, .. } if *at == key));
    bench.reply(token, Reply::Created);
    let repair = entry(number, task).task().unwrap();
    bench.own(&repair, 1);
    repair
}

fn decided(bench: &mut Bench, task: &Task) {
    let (token, _) =
        bench.expect("the decision", |request| *request == Request::Get(Key::Decision(task.id())));
    bench.reply(token, Reply::Foreign("any".to_owned()));
}

fn entry(number: u64, task: &Task) -> AuditEntry {
    let crate::task::Work::Converge { generation, desired, entries } = *task.work() else { panic!() };
    let (switch, why, by) = (task.switch().to_owned(), "everything is missing".to_owned(), "c1".to_owned());
    AuditEntry { network: NETWORK, number, switch, generation, desired, entries, why, by, at_ms: 0 }
}

#[test]
fn a_switch_that_differs_is_brought_back_under_a_fence_above_all_attempts() {
    let (mut bench, task) = keeper();
    drifts(&mut bench, &task);
    assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Drifted);
    let alert = |action: &Action| matches!(action, Action::Note(Note { level: Level::Alert, text, .. }) if text.contains("does not hold generation 3"));
    assert!(bench.actions.iter().any(alert), "{:?}", bench.actions);
    // Another switch has had audit 8.
    let other = switch_id("another").unwrap();
    bench.reply_list(&Prefix::Audits, vec![Key::Audit(8, other)]);
    let key = Key::Audit(9, switch_id(task.switch()).unwrap());
    let (token, request) =
        bench.expect("an entry", |request| matches!(request, Request::Create { key: at, .. } if *at == key));
    assert_eq!(request, Request::Create { key, object: Object::Audit(entry(9, &task)) });
    bench.reply(token, Reply::Created);
    let repair = entry(9, &task).task().unwrap();
    assert_eq!(bench.own(&repair, 1).received, "audit");
    assert_eq!(bench.executes(&repair).unwrap().1, Fence { generation: 3, audit: 9, attempt: 1 });
    bench.executed(&repair, 1, done());
    let (token, decision) = bench.decision(&repair);
    assert_eq!(decision.event, Event::audit(NETWORK, 9, task.switch()));
    bench.reply(token, Reply::Created);
    let kept = bench.controller.kept().next().unwrap();
    assert_eq!((kept.standing, kept.verified, kept.repairs), (Standing::Kept, Some(bench.now), 1));
    let decided_at = bench.now;
    // And again after the interval, which costs the store nothing.
    bench.actions.clear();
    bench.alive();
    for _ in 0..75 {
        bench.alive();
        bench.pass(Duration::from_secs(1));
    }
    answer(&mut bench, &task, Audit::Holds { primary: true });
    assert!(bench.claims(&repair, 1).is_none());
    let again = bench.controller.kept().next().unwrap().verified.unwrap();
    assert!((45..=75).contains(&again.since(decided_at).as_secs()), "{again}");
}

/// A switch that stays as it is was not brought back, however often that is tried; the status says why.
#[test]
fn what_was_not_brought_back_does_not_count() {
    let (mut bench, task) = keeper_with(|config| config.attempts.max = 1);
    let repair = owns_repair(&mut bench, &task);
    bench.executes(&repair).unwrap();
    bench.executed(&repair, 1, Execution::Failed { reason: "a stranger holds it".to_owned() });
    let (token, _) = bench.decision(&repair);
    bench.reply(token, Reply::Created);
    let kept = bench.controller.kept().next().unwrap();
    assert_eq!((kept.standing, kept.repairs), (Standing::Drifted, 0));
    assert_eq!(kept.vain, Some("a stranger holds it"));
}

#[test]
fn a_change_goes_before_an_audit() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, differs());
    // Not decided: the switch is the task's own attempts'.
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(bench.find(|request| matches!(request, Request::List { prefix: Prefix::Audits, .. })).is_none());
    // That is no drift, and nobody is alarmed.
    assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Unknown);
    let alert = |action: &Action| matches!(action, Action::Note(Note { level: Level::Alert, .. }));
    assert!(!bench.actions.iter().any(alert), "{:?}", bench.actions);
    bench.pass(Duration::from_secs(1));
    let repair = owns_repair(&mut bench, &task);
    assert!(bench.executes(&repair).is_some());
    // A newer generation stops a repair, and nothing older is looked at any more.
    let newer = converge(4, task.switch());
    bench.announce(&newer);
    let stop = Action::Stop { id: repair.id(), attempt: 1 };
    assert!(bench.actions.contains(&stop));
    bench.executed(&repair, 1, Execution::Stopped);
    let (token, decision) = bench.decision(&repair);
    assert_eq!(decision.outcome, Outcome::Superseded { by: 4 });
    bench.reply(token, Reply::Created);
    bench.own(&newer, 1);
    for _ in 0..100 {
        bench.alive();
        bench.pass(Duration::from_secs(1));
        assert_eq!(audit(&mut bench, &task), None);
    }
}

/// No distributor is alive: whoever keeps a switch carries the newest generation out by itself.
#[test]
fn a_task_that_nobody_brings_is_taken_from_the_log() {
    for empty in [true, false] {
        let (mut bench, task) = keeper();
        for _ in 0..3 {
            assert!(bench.claims(&task, 1).is_none());
            bench.alive();
            bench.pass(Duration::from_millis(900));
            answer(&mut bench, &task, if empty { differs() } else { Audit::Holds { primary: true } });
            bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
        }
        let kept = bench.controller.kept().next().unwrap();
        assert_eq!(kept.standing, if empty { Standing::Unknown } else { Standing::Kept });
        assert_eq!(bench.own(&task, 1).received, "log");
        assert!(bench.executes(&task).is_some());
        bench.executed(&task, 1, done());
        let (token, _) = bench.decision(&task);
        bench.reply(token, Reply::Created);
        assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Kept);
    }
}

/// Who stood still has not heard of the generation after, which the switch holds.
#[test]
fn what_the_next_generation_has_changed_is_no_drift() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, differs());
    decided(&mut bench, &task);
    answer(&mut bench, &task, differs());
    let next = converge(4, task.switch());
    bench.reply_get(&Key::Generation(4), Reply::Found(Box::new(Object::Generation(logged(4)))));
    bench.reply_get(&Key::Claim(next.id(), 1), claim_of(&next, 1, "c2/1/1", 3000));
    let alert =
        |action: &Action| matches!(action, Action::Note(Note { text, .. }) if text.contains("does not hold"));
    assert!(!bench.actions.iter().any(alert), "{:?}", bench.actions);
    assert!(bench.find(|request| matches!(request, Request::List { prefix: Prefix::Audits, .. })).is_none());
    assert_ne!(bench.controller.kept().next().unwrap().standing, Standing::Drifted);
    // It was another who claimed, and left: without the store, too, what differs is told.
    bench.pass(Duration::from_secs(1));
    answer(&mut bench, &task, differs());
    bench.reply_get(&Key::Generation(4), Reply::Found(Box::new(Object::Generation(logged(4)))));
    bench.reply_get(&Key::Claim(next.id(), 1), Reply::Unknown);
    assert!(bench.actions.iter().any(alert), "{:?}", bench.actions);
}

/// A generation of the log that says of all switches what generation 3 has said.
fn same_as_third(generation: u64) -> Reply {
    let mut record = logged(generation);
    record.since = record.desired.keys().map(|switch| (switch.clone(), 3)).collect();
    Reply::Found(Box::new(Object::Generation(record)))
}

/// Generations that want nothing new of a switch change nothing in how it is kept; it is brought back under the newest one's
/// fence.
#[test]
fn a_generation_that_says_nothing_new_of_a_switch_leaves_it_as_it_was() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, Audit::Holds { primary: true });
    decided(&mut bench, &task);
    let before = bench.controller.kept().next().unwrap().verified;
    bench.input(Input::Wanted { generation: 5, tasks: vec![task.clone()] });
    bench.pass(Duration::from_secs(10));
    let kept = bench.controller.kept().next().unwrap();
    assert_eq!((kept.generation, kept.standing, kept.verified), (5, Standing::Kept, before));
    assert!(before.is_some() && !bench.actions.iter().any(|action| matches!(action, Action::Audit { .. })));
    bench.input(Input::Stirred { switch: task.switch().to_owned() });
    let fifth = converge(5, task.switch());
    answer(&mut bench, &fifth, differs());
    // Of two more that this one has not heard of neither wants anything new.
    bench.reply_get(&Key::Generation(6), same_as_third(6));
    bench.reply_get(&Key::Generation(7), same_as_third(7));
    bench.reply_get(&Key::Generation(8), Reply::Missing);
    // A repair that was left undone is taken up: it makes the same of the switch.
    let key = Key::Audit(2, switch_id(task.switch()).unwrap());
    bench.reply_list(&Prefix::Audits, vec![key.clone()]);
    let undone = AuditEntry { generation: 4, ..entry(2, &task) };
    let id = undone.task().unwrap().id();
    bench.reply_get(&Key::Decision(id), Reply::Missing);
    bench.reply_get(&key, Reply::Found(Box::new(Object::Audit(undone.clone()))));
    let repair = undone.task().unwrap();
    bench.own(&repair, 1);
    assert_eq!(bench.executes(&repair).unwrap().1, Fence { generation: 4, audit: 2, attempt: 1 });
    bench.executed(&repair, 1, done());
    let (token, _) = bench.decision(&repair);
    bench.reply(token, Reply::Created);
    assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Kept);
}

/// Whoever claims under a generation that wants something new goes before a keeper, however many that want nothing new lie
/// between.
#[test]
fn what_a_later_generation_has_changed_is_no_drift() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, differs());
    decided(&mut bench, &task);
    answer(&mut bench, &task, differs());
    bench.reply_get(&Key::Generation(4), same_as_third(4));
    bench.reply_get(&Key::Generation(5), Reply::Found(Box::new(Object::Generation(logged(5)))));
    let next = converge(5, task.switch());
    bench.reply_get(&Key::Claim(next.id(), 1), claim_of(&next, 1, "c2/1/1", 3000));
    assert!(bench.find(|request| matches!(request, Request::List { prefix: Prefix::Audits, .. })).is_none());
    assert_ne!(bench.controller.kept().next().unwrap().standing, Standing::Drifted);
}

#[test]
fn a_change_that_another_has_done_is_looked_at_when_it_is_heard_of() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.alive();
    bench.announce(&task);
    // Another was quicker.
    let (token, _) = bench.claim(&task, 1);
    bench.reply(token, Reply::Exists);
    bench.reply_get(&Key::Claim(task.id(), 1), claim_of(&task, 1, "c2/1/1", 3000));
    bench.input(Input::Wanted { generation: 1, tasks: vec![task.clone()] });
    bench.pass(Duration::from_secs(1));
    answer(&mut bench, &task, differs());
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.pass(Duration::from_millis(10));
    assert_eq!(audit(&mut bench, &task), None);
    bench.notice(NoticeOf::Decided, &task, 1);
    bench.pass(Duration::from_millis(100));
    answer(&mut bench, &task, Audit::Holds { primary: true });
    assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Kept);
}

#[test]
fn what_another_has_left_undone_is_taken_up() {
    let (mut bench, task) = keeper();
    drifts(&mut bench, &task);
    let key = Key::Audit(5, switch_id(task.switch()).unwrap());
    bench.reply_list(&Prefix::Audits, vec![key.clone(), Key::Audit(6, switch_id("another").unwrap())]);
    let left = entry(5, &task);
    let repair = left.task().unwrap();
    bench.reply_get(&Key::Decision(repair.id()), Reply::Missing);
    bench.reply_get(&key, Reply::Found(Box::new(Object::Audit(left))));
    // It is claimed, and so it shows that somebody may be at work still.
    let (token, _) = bench.claim(&repair, 1);
    bench.reply(token, Reply::Exists);
    bench.reply_get(&Key::Claim(repair.id(), 1), claim_of(&repair, 1, "c2/1/1", 3000));
    assert!(bench.claims(&repair, 2).is_none() && bench.executes(&repair).is_none());
}

#[test]
fn whoever_is_not_the_first_in_rank_does_not_look() {
    let mut bench = Bench::new(|_| ());
    let task = converge(3, &switch_of("c1", 1, 0));
    bench.alive();
    bench.input(Input::Wanted { generation: 3, tasks: vec![task.clone()] });
    for _ in 0..10 {
        bench.alive();
        bench.pass(Duration::from_millis(800));
    }
    assert_eq!((audit(&mut bench, &task), bench.controller.kept().count()), (None, 0));
    // The others have died.
    bench.pass(Duration::from_secs(10));
    assert!(audit(&mut bench, &task).is_some());
}

#[test]
fn a_switch_that_stirs_is_looked_at_and_one_that_nobody_is_primary_of_is_taken_over() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, Audit::Holds { primary: true });
    decided(&mut bench, &task);
    bench.pass(Duration::from_secs(1));
    assert_eq!(audit(&mut bench, &task), None);
    bench.input(Input::Stirred { switch: task.switch().to_owned() });
    answer(&mut bench, &task, Audit::Failed { reason: "no answer".to_owned() });
    assert_eq!(bench.controller.kept().next().unwrap().standing, Standing::Unreachable);
    bench.pass(Duration::from_millis(250));
    answer(&mut bench, &task, Audit::Holds { primary: false });
    assert!(bench.find(|request| matches!(request, Request::List { prefix: Prefix::Audits, .. })).is_some());
}

#[test]
fn two_keepers_do_not_take_a_switch_from_each_other_again_and_again() {
    let (mut bench, task) = keeper();
    answer(&mut bench, &task, Audit::Holds { primary: true });
    decided(&mut bench, &task);
    bench.pass(Duration::from_secs(1));
    assert_eq!(audit(&mut bench, &task), None);
    bench.input(Input::Stirred { switch: task.switch().to_owned() });
    answer(&mut bench, &task, Audit::Holds { primary: false });
    bench.reply_list(&Prefix::Audits, vec![]);
    let repair = begins_repair(&mut bench, &task, 1);
    bench.executed(&repair, 1, done());
    let (token, _) = bench.decision(&repair);
    bench.reply(token, Reply::Created);
    bench.pass(Duration::from_secs(2));
    // The other one takes it: this one looks, and leaves it to him.
    bench.input(Input::Stirred { switch: task.switch().to_owned() });
    bench.pass(Duration::from_secs(1));
    answer(&mut bench, &task, Audit::Holds { primary: false });
    bench.pass(Duration::from_secs(1));
    let listed = bench.find(|request| matches!(request, Request::List { prefix: Prefix::Audits, .. }));
    assert_eq!(listed, None);
}

#[test]
fn a_strangers_fence_is_disowned_and_audits_go_above_it() {
    let (mut bench, task) = keeper();
    let repair = |bench: &mut Bench, listed: Vec<Key>, number| {
        answer(bench, &task, differs());
        if let Some((token, _)) = bench.find(|request| *request == Request::Get(Key::Decision(task.id()))) {
            bench.reply(token, Reply::Foreign("any".to_owned()));
            answer(bench, &task, differs());
        }
        not_overtaken(bench, &task);
        bench.reply_list(&Prefix::Audits, listed);
        let repair = begins_repair(bench, &task, number);
        assert_eq!(bench.executes(&repair).unwrap().1.audit, number);
        repair
    };
    let first = repair(&mut bench, vec![], 1);
    let stranger = Fence { generation: 3, audit: 40, attempt: 7 };
    bench.executed(&first, 1, Execution::Fenced { by: stranger, named: "?".to_owned() });
    let claim = Key::Claim(Event::audit(NETWORK, 40, task.switch()).id().unwrap(), 1);
    bench.reply_get(&claim, Reply::Missing);
    let disown = Action::Disown { switch: task.switch().to_owned(), fence: stranger };
    assert!(bench.actions.contains(&disown), "{:?}", bench.actions);
    let (token, result) = bench.result(&first, 1);
    assert!(result.reason.contains("another program holds the switch"), "{}", result.reason);
    bench.reply(token, Reply::Created);
    // The rest of its attempts fail alike.
    for attempt in 2..=5 {
        bench.pass(Duration::from_secs(5));
        bench.own(&first, attempt);
        bench.reply_get(&Key::Decision(first.id()), Reply::Missing);
        bench.executed(&first, attempt, Execution::Failed { reason: "no".to_owned() });
        if attempt < 5 {
            let (token, _) = bench.result(&first, attempt);
            bench.reply(token, Reply::Created);
        }
    }
    let (token, _) = bench.decision(&first);
    bench.reply(token, Reply::Created);
    bench.pass(Duration::from_secs(1));
    repair(&mut bench, vec![Key::Audit(1, switch_id(task.switch()).unwrap())], 41);
}

#[test]
fn audits_never_travel() {
    let mut bench = Bench::new(|_| ());
    let repair = entry(1, &converge(3, &switch_of("c1", 0, 0))).task().unwrap();
    bench.announce(&repair);
    assert_eq!((bench.controller.tasks(), bench.controller.counters().audits_refused), (0, 1));
    assert!(bench.claims(&repair, 1).is_none());
}

#[test]
fn a_change_that_was_done_here_is_the_first_look() {
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, done());
    let (token, _) = bench.decision(&task);
    bench.reply(token, Reply::Created);
    let at = bench.now;
    bench.pass(Duration::from_secs(2));
    bench.input(Input::Wanted { generation: 1, tasks: vec![task.clone()] });
    bench.pass(Duration::from_secs(20));
    assert_eq!(audit(&mut bench, &task), None);
    let kept = bench.controller.kept().next().unwrap();
    assert_eq!((kept.standing, kept.verified, kept.generation), (Standing::Kept, Some(at), 1));
}

#[test]
fn a_switch_that_stirs_right_after_a_change_is_looked_at() {
    let stirs = |bench: &mut Bench, task: &Task| {
        bench.input(Input::Stirred { switch: task.switch().to_owned() });
    };
    // Before its decision is answered, and before the generation is compiled here: then nothing keeps it yet.
    for early in [true, false] {
        for wanted_first in [true, false] {
            let (mut bench, task) = Bench::executing(|_| ());
            let wanted = |bench: &mut Bench| {
                bench.input(Input::Wanted { generation: 1, tasks: vec![task.clone()] });
            };
            if wanted_first {
                wanted(&mut bench);
            }
            bench.executed(&task, 1, done());
            let (token, _) = bench.decision(&task);
            if early {
                stirs(&mut bench, &task);
            }
            bench.reply(token, Reply::Created);
            if !early {
                stirs(&mut bench, &task);
            }
            if !wanted_first {
                bench.pass(Duration::from_millis(900));
                wanted(&mut bench);
            }
            bench.pass(Duration::from_secs(1));
            assert!(audit(&mut bench, &task).is_some(), "early {early}, wanted first {wanted_first}");
        }
    }
}
