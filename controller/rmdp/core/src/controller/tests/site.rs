//! Bounds, the queue, the horizon, the end.

use std::time::Duration;

use super::bench::*;
use crate::io::{Action, Execution, Input, Listed, Machine, NoticeOf, Reply, Request, Token};
use crate::key::{Key, Prefix};
use crate::object::{Decision, Horizon, Object, Outcome, QueuedTask};
use crate::task::{Event, Task, Work};

#[test]
fn executions_have_a_bound() {
    let mut bench = Bench::new(|config| config.limits.executions = 2);
    let tasks: Vec<_> = (0..3).map(|skip| converge(1, &switch_of("c1", 0, skip))).collect();
    for task in &tasks {
        bench.announce(task);
    }
    bench.own(&tasks[0], 1);
    bench.own(&tasks[1], 1);
    assert!(bench.claims(&tasks[2], 1).is_none(), "a lease would run while it waits");
    bench.executed(&tasks[0], 1, done());
    assert!(bench.claims(&tasks[2], 1).is_some());
}

#[test]
fn a_switch_is_handed_on_whoever_gives_up_waiting() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    let probes: Vec<_> = (1..=60)
        .map(|occurrence| {
            let (source, kind) = ("audit".to_owned(), "probe".to_owned());
            let event = Event { source, kind, object: String::new(), occurrence, switch: switch.clone() };
            Task::new(event, Work::Probe {}).unwrap()
        })
        .collect();
    for probe in &probes {
        bench.announce(probe);
    }
    // Others have a third of them, another third is decided elsewhere.
    let mut executed = 0;
    for (number, probe) in probes[1..].iter().enumerate() {
        match number % 3 {
            0 => bench.notice(NoticeOf::Claimed, probe, 1),
            1 => bench.notice(NoticeOf::Decided, probe, 1),
            _ => {}
        }
    }
    while let Some(probe) = probes.iter().find(|probe| {
        let key = Key::Claim(probe.id(), 1);
        let claims = |action: &Action| matches!(action, Action::Store { request: Request::Create { key: at, .. }, .. } if *at == key);
        bench.actions.iter().any(claims)
    }) {
        bench.own(probe, 1);
        assert!(bench.executes(probe).is_some());
        assert!(bench.find(|request| matches!(request, Request::Create { key: Key::Claim(..), .. })).is_none());
        bench.executed(probe, 1, done());
        executed += 1;
    }
    assert_eq!(executed, 1 + 19);
}

#[test]
fn tasks_have_a_bound_and_the_queue_has_the_rest() {
    let mut bench = Bench::new(|config| config.limits.tasks = 16);
    let tasks: Vec<_> = (0..17).map(|skip| converge(1, &switch_of("c1", 0, skip))).collect();
    for task in &tasks {
        bench.announce(task);
    }
    assert_eq!((bench.controller.tasks(), bench.controller.counters().refused_full), (16, 1));
    bench.pass(1000 * MS);
    bench.reply_list(&Prefix::Queue, tasks.iter().map(|task| Key::Queue(task.id())).collect());
    assert!(bench.find(|request| matches!(request, Request::Get(Key::Queue(_)))).is_none(), "no room yet");
    bench.own(&tasks[0], 1);
    bench.executed(&tasks[0], 1, done());
    let (token, _) = bench.decision(&tasks[0]);
    bench.reply(token, Reply::Created);
    let queued = Object::Task(QueuedTask::new(&tasks[16], "d1"));
    bench.reply_get(&Key::Queue(tasks[16].id()), Reply::Found(Box::new(queued)));
    assert!(bench.claims(&tasks[16], 1).is_some());
    assert_eq!(bench.controller.counters().found_in_queue, 1);
}

#[test]
fn what_has_left_the_queue_is_decided() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    bench.notice(NoticeOf::Claimed, &task, 1);
    bench.pass(1000 * MS);
    bench.reply_list(&Prefix::Queue, vec![]);
    assert_eq!(bench.controller.tasks(), 1, "it may not be queued yet");
    bench.pass(1000 * MS);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
    bench.pass(1000 * MS);
    bench.reply_list(&Prefix::Queue, vec![]);
    assert_eq!(bench.controller.tasks(), 0);
}

#[test]
fn closed_occurrences_are_refused() {
    let mut bench = Bench::new(|_| ());
    bench.pass(60_000 * MS);
    bench.reply_list(&Prefix::Horizons, vec![Key::Horizon("intent".to_owned(), 5)]);
    let switch = switch_of("c1", 0, 0);
    bench.announce(&converge(4, &switch));
    assert_eq!((bench.controller.tasks(), bench.controller.counters().refused_closed), (0, 1));
    bench.announce(&converge(5, &switch));
    assert!(bench.claims(&converge(5, &switch), 1).is_some());
    // Without news of the horizons nothing is claimed.
    bench.pass(200_000 * MS);
    let other = converge(5, &switch_of("c1", 0, 1));
    bench.announce(&other);
    assert!(bench.claims(&other, 1).is_none());
    bench.reply_list(&Prefix::Horizons, vec![Key::Horizon("intent".to_owned(), 5)]);
    bench.pass(20 * MS);
    assert!(bench.claims(&other, 1).is_some());
}

#[test]
fn horizons_are_raised_first_and_never_over_what_is_pending() {
    let day = Duration::from_hours(24);
    let mut bench = Bench::new(|_| ());
    let pending = converge(7, &switch_of("c1", 1, 0));
    // The sweeper is the first in rank for it; alone it is this one.
    bench.pass(Duration::from_secs(3599));
    bench.reply_list(&Prefix::Horizons, vec![]);
    bench.announce(&pending);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(pending.id())]);
    bench.pass(1000 * MS);
    let decided = |generation| {
        let task = converge(generation, "old");
        let outcome = Outcome::Superseded { by: 99 };
        let decision = Decision {
            owner: "c2".to_owned(),
            nonce: "c2/1/1".to_owned(),
            attempt: 1,
            event: task.event().clone(),
            work: *task.work(),
            outcome,
            at_ms: 0,
        };
        (task.id(), Object::Decision(decision))
    };
    let round = |bench: &mut Bench, old: &[u64]| {
        let (token, _) = bench.expect("a listing of decisions", |request| {
            matches!(request, Request::List { prefix: Prefix::Decisions, .. })
        });
        let keys =
            old.iter().map(|generation| Listed { key: Key::Decision(decided(*generation).0), age: day });
        let keys = keys
            .chain([Listed { key: Key::Decision(decided(50).0), age: Duration::from_hours(23) }])
            .collect();
        bench.reply(token, Reply::Page { keys, next: None });
        for generation in old {
            let (id, decision) = decided(*generation);
            bench.reply_get(&Key::Decision(id), Reply::Found(Box::new(decision)));
        }
    };
    round(&mut bench, &[3, 9]);
    bench.reply_list(&Prefix::Claims, vec![]);
    bench.reply_list(&Prefix::Results, vec![]);
    let (token, raise) =
        bench.expect("a raise", |request| matches!(request, Request::Create { key: Key::Horizon(..), .. }));
    let below = Horizon { source: "intent".to_owned(), below: 7, by: "c1".to_owned(), at_ms: 0 };
    assert_eq!(
        raise,
        Request::Create { key: Key::Horizon("intent".to_owned(), 7), object: Object::Horizon(below) }
    );
    assert!(bench.find(|request| matches!(request, Request::Delete(_))).is_none(), "nothing is deleted yet");
    bench.reply(token, Reply::Created);
    for prefix in RETAINED {
        bench.reply_list(&prefix, vec![]);
    }
    // The next round comes after the grace: 3 is closed and goes, claims before the decision; 9 stays.
    bench.pass(Duration::from_hours(1));
    round(&mut bench, &[3, 9]);
    let (id, _) = decided(3);
    let (token, delete) = bench.expect("a deletion", |request| matches!(request, Request::Delete(_)));
    assert_eq!(delete, Request::Delete(vec![Key::Claim(id, 1), Key::Claim(id, 2), Key::Result(id, 1)]));
    bench.reply(token, Reply::Done);
    let (_, delete) = bench.expect("a deletion", |request| matches!(request, Request::Delete(_)));
    assert_eq!(delete, Request::Delete(vec![Key::Decision(id)]));
}

#[test]
fn draining_finishes_what_it_owns() {
    let (mut bench, task) = Bench::executing(|_| ());
    let waiting = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&waiting);
    bench.input(Input::Drain);
    assert_eq!((bench.controller.tasks(), bench.controller.is_drained()), (1, false));
    bench.announce(&converge(1, &switch_of("c1", 0, 1)));
    assert_eq!(bench.controller.tasks(), 1, "nothing new");
    bench.executed(&task, 1, done());
    let (token, _) = bench.decision(&task);
    bench.reply(token, Reply::Created);
    let (token, _) = bench.expect("a deletion", |request| matches!(request, Request::Delete(_)));
    assert!(!bench.controller.is_drained());
    bench.reply(token, Reply::Done);
    assert!(bench.controller.is_drained());
    let failing = Execution::Failed { reason: "x".to_owned() };
    let (mut bench, task) = Bench::executing(|_| ());
    bench.input(Input::Drain);
    bench.executed(&task, 1, failing);
    let (token, _) = bench.result(&task, 1);
    bench.reply(token, Reply::Created);
    assert!(bench.controller.is_drained(), "the next attempt is another's");
}

#[test]
fn replies_to_nobody_change_nothing() {
    let (mut bench, task) = Bench::executing(|_| ());
    let before = bench.controller.clone();
    bench.actions.clear();
    for token in [Token(0), Token(1), Token(99), Token(u64::MAX)] {
        bench.reply(token, Reply::Created);
        bench.reply(token, Reply::Missing);
    }
    bench.executed(&task, 2, done());
    bench.executed(&converge(8, "else"), 1, done());
    assert_eq!(bench.controller, before);
    assert!(bench.actions.is_empty(), "{:?}", bench.actions);
}
