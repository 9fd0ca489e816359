//! Switches that are slow but alive: no attempt fails for want of time in the same way for ever.

use std::time::Duration;

use super::bench::*;
use crate::io::{Action, Audit, Execution, Input, Reply, Request};
use crate::key::{Key, Prefix, switch_id};
use crate::object::{Object, Outcome};
use crate::task::Task;

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> Execution {
    Execution::Slow { reason: "its time had passed after 9 of 50 writes".to_owned() }
}

/// The time that the agent is given: until its last write may start, and for each.
fn given(bench: &mut Bench, task: &Task) -> (Duration, Duration) {
    let found = bench
        .actions
        .iter()
        .position(|action| matches!(action, Action::Execute { task: of, .. } if of == task));
    let found = found.unwrap_or_else(|| panic!("no execution: {:?}", bench.actions));
    let Action::Execute { start_before, budget, .. } = bench.actions.remove(found) else { panic!() };
    (start_before.since(bench.now), budget)
}

/// c1 has this attempt at last, whoever is before it in rank; what it has had of time.
fn attempt(bench: &mut Bench, task: &Task, number: u32) -> (Duration, Duration) {
    for _ in 0..1200 {
        if let Some((token, _)) = bench.claims(task, number) {
            bench.reply(token, Reply::Created);
            if number > 1 {
                bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
            }
            return given(bench, task);
        }
        bench.pass(MS * 10);
    }
    panic!("no attempt {number}: {:?}", bench.actions);
}

/// When it is looked at again, the switch holds a half.
fn differs(bench: &mut Bench, task: &Task) {
    let number = loop {
        bench.alive();
        let found = bench.actions.iter().find_map(|action| match action {
            Action::Audit { number, .. } => Some(*number),
            _ => None,
        });
        if let Some(found) = found {
            break found;
        }
        bench.pass(MS * 100);
    };
    bench.actions.retain(|action| !matches!(action, Action::Audit { .. }));
    let outcome = Audit::Differs { seen: "half of it".to_owned(), what: "a half is missing".to_owned() };
    bench.input(Input::Audited { switch: task.switch().to_owned(), number, outcome });
}

#[test]
fn each_attempt_that_had_too_little_time_doubles_the_next_ones() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.announce(&task);
    // Of 3 s the last one is for a write that has started, of longer leases the last quarter.
    for (number, start_before, budget, patience) in
        [(1, 2000, 1000, 1), (2, 4500, 1500, 2), (3, 9000, 3000, 3)]
    {
        assert_eq!(attempt(&mut bench, &task, number), (MS * start_before, MS * budget));
        bench.executed(&task, number, if number == 2 { Execution::TooLate } else { slow() });
        let (token, result) = bench.result(&task, number);
        assert_eq!(result.patience, patience, "{result:?}");
        bench.reply(token, Reply::Created);
    }
    assert_eq!(attempt(&mut bench, &task, 4), (SECOND * 18, SECOND * 6));
    // It takes 4 s. What is known from now on is that, and not what was feared.
    bench.pass(SECOND * 4);
    bench.executed(&task, 4, done());
    let (token, _) = bench.decision(&task);
    bench.reply(token, Reply::Created);
    let next = converge(2, task.switch());
    bench.announce(&next);
    assert_eq!(attempt(&mut bench, &next, 1), (SECOND * 9, SECOND * 3));
    bench.executed(&next, 1, done());
    let (token, _) = bench.decision(&next);
    bench.reply(token, Reply::Created);
    let last = converge(3, task.switch());
    bench.announce(&last);
    assert_eq!(attempt(&mut bench, &last, 1), (SECOND * 2, SECOND));
}

#[test]
fn other_failures_teach_nothing_about_time() {
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, Execution::Failed { reason: "it refused".to_owned() });
    let (token, result) = bench.result(&task, 1);
    assert_eq!(result.patience, 0);
    bench.reply(token, Reply::Created);
    assert_eq!(attempt(&mut bench, &task, 2), (SECOND * 2, SECOND));
}

#[test]
fn what_another_has_seen_of_a_slow_switch_counts_here() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    bench.learns_of_failure(&task, "no answer to Write", false, 3);
    assert_eq!(attempt(&mut bench, &task, 2), (SECOND * 18, SECOND * 6));
}

#[test]
fn a_switch_that_was_too_slow_for_all_attempts_is_brought_to_its_policy_all_the_same() {
    let mut bench = Bench::new(|config| config.attempts.max = 2);
    let task = converge(3, &switch_of("c1", 0, 0));
    bench.announce(&task);
    bench.input(Input::Wanted { generation: 3, tasks: vec![task.clone()] });
    let needs = SECOND * 40;
    for number in 1..=2 {
        assert!(attempt(&mut bench, &task, number).0 < needs);
        bench.executed(&task, number, slow());
        if number == 1 {
            let (token, _) = bench.result(&task, number);
            bench.reply(token, Reply::Created);
        }
    }
    let (token, decision) = bench.decision(&task);
    assert!(matches!(decision.outcome, Outcome::Failed { attempts: 2, .. }));
    bench.reply(token, Reply::Created);
    // Whoever keeps it goes on, and does not begin again with a lease that is known to be too short.
    let mut leases = Vec::new();
    for number in 1..=3 {
        differs(&mut bench, &task);
        if number == 1 {
            bench.reply_get(&Key::Decision(task.id()), Reply::Foreign("any".to_owned()));
            differs(&mut bench, &task);
        }
        let next = task.work().generation().unwrap() + 1;
        bench.reply_get(&Key::Generation(next), Reply::Missing);
        let key = |number| Key::Audit(number, switch_id(task.switch()).unwrap());
        bench.reply_list(&Prefix::Audits, (1..number).map(key).collect());
        let key = key(number);
        let (token, request) = bench
            .expect("an entry", |request| matches!(request, Request::Create { key: at, .. } if *at == key));
        let Request::Create { object: Object::Audit(entry), .. } = request else { panic!() };
        bench.reply(token, Reply::Created);
        let repair = entry.task().unwrap();
        for number in 1..=2 {
            let time = attempt(&mut bench, &repair, number).0;
            leases.push(time);
            if time >= needs {
                bench.pass(needs);
                bench.executed(&repair, number, done());
                let (_, decision) = bench.decision(&repair);
                assert!(matches!(decision.outcome, Outcome::Done { .. }));
                assert_eq!(leases, [SECOND * 9, SECOND * 18, SECOND * 36, SECOND * 45]);
                return;
            }
            bench.executed(&repair, number, slow());
            if number == 1 {
                let (token, _) = bench.result(&repair, number);
                bench.reply(token, Reply::Created);
            }
        }
        let (token, _) = bench.decision(&repair);
        bench.reply(token, Reply::Created);
    }
    panic!("never: {leases:?}");
}
