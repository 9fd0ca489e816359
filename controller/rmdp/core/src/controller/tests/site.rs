//! Bounds, the queue, the horizon, the end.

use std::time::Duration;

use super::bench::*;
use crate::io::{Action, Execution, Input, Listed, Machine, NoticeOf, Reply, Request, Token};
use crate::key::{Key, Prefix};
use crate::object::{Decision, Horizon, Object, Outcome, QueuedTask};
use crate::task::{Event, NETWORK, Task, Work};

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
            let event = Event::probe(NETWORK, occurrence, &switch);
            Task::new(event, Work::Ask {}).unwrap()
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

/// The listing lacks a task that another one had: it may be decided, and it may be a listing that lacks it.
#[test]
fn what_a_listing_lacks_is_looked_after() {
    let seen_and_gone = || {
        let mut bench = Bench::new(|_| ());
        let task = converge(1, &switch_of("c1", 1, 0));
        bench.announce(&task);
        bench.notice(NoticeOf::Claimed, &task, 1);
        bench.pass(1000 * MS);
        bench.reply_list(&Prefix::Queue, vec![]);
        assert_eq!(bench.controller.tasks(), 1, "it may not be queued yet");
        assert!(bench.find(|request| matches!(request, Request::Get(_))).is_none());
        bench.pass(400 * MS);
        bench.input(Input::Look);
        bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
        bench.input(Input::Look);
        bench.reply_list(&Prefix::Queue, vec![]);
        (bench, task)
    };
    let delete = |request: &Request| matches!(request, Request::Delete(_));
    // It is not decided: it stays in mind, nothing of it is deleted, and it is executed in the end.
    let (mut bench, task) = seen_and_gone();
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.reply_list(&Prefix::ClaimsOf(task.id()), vec![]);
    assert_eq!(bench.controller.tasks(), 1);
    bench.input(Input::Look);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
    bench.pass(1000 * MS);
    assert!(bench.find(delete).is_none());
    bench.own(&task, 1);
    assert!(bench.executes(&task).is_some());
    // It is.
    let (mut bench, task) = seen_and_gone();
    bench.reply_get(&Key::Decision(task.id()), Reply::Foreign("schema 2".to_owned()));
    assert_eq!(bench.controller.tasks(), 0);
}

#[test]
fn a_page_of_strangers_is_not_the_end() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.pass(1000 * MS);
    let queue = |request: &Request| matches!(request, Request::List { prefix: Prefix::Queue, .. });
    let (token, _) = bench.expect("a listing", queue);
    bench.reply(token, Reply::Page { keys: vec![], next: Some("q/00/strange".to_owned()) });
    let (token, request) = bench.expect("the next page", queue);
    assert_eq!(request, Request::List { prefix: Prefix::Queue, after: Some("q/00/strange".to_owned()) });
    let listed = Listed { key: Key::Queue(task.id()), age: Duration::ZERO };
    bench.reply(token, Reply::Page { keys: vec![listed], next: None });
    let queued = Object::Task(QueuedTask::new(&task, "d1"));
    bench.reply_get(&Key::Queue(task.id()), Reply::Found(Box::new(queued)));
    assert!(bench.claims(&task, 1).is_some());
}

/// What cannot be read holds up sweeping, so it goes when it is decided, and not before.
#[test]
fn an_unreadable_task_goes_when_it_is_decided() {
    let mut bench = Bench::new(|_| ());
    let (one, other) = (converge(1, "leaf1"), converge(1, "leaf2"));
    bench.pass(1000 * MS);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(one.id()), Key::Queue(other.id())]);
    for task in [&one, &other] {
        bench.reply_get(&Key::Queue(task.id()), Reply::Foreign("schema 2".to_owned()));
    }
    bench.reply_get(&Key::Decision(one.id()), Reply::Missing);
    bench.reply_get(&Key::Decision(other.id()), Reply::Foreign("schema 2".to_owned()));
    bench.pass(200 * MS);
    let (_, delete) = bench.expect("a deletion", |request| matches!(request, Request::Delete(_)));
    assert_eq!(delete, Request::Delete(vec![Key::Queue(other.id())]));
}

#[test]
fn closed_occurrences_are_refused() {
    let mut bench = Bench::new(|_| ());
    bench.pass(60_000 * MS);
    bench.horizons("intent", 5);
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
    bench.horizons("intent", 5);
    bench.pass(20 * MS);
    assert!(bench.claims(&other, 1).is_some());
}

/// A raise that breaks off is none, and a queue that was seen once says nothing.
#[test]
fn a_horizon_is_not_raised_by_one_listing_nor_over_what_cannot_be_read() {
    let raises = |bench: &mut Bench| {
        let task = converge(3, "old");
        let listed = Listed { key: Key::Decision(task.id()), age: Duration::from_hours(24) };
        let (token, _) = bench.expect("a listing of decisions", |request| {
            matches!(request, Request::List { prefix: Prefix::Decisions, .. })
        });
        bench.reply(token, Reply::Page { keys: vec![listed], next: None });
        let decision = Decision {
            owner: "c2".to_owned(),
            nonce: "c2/1/1".to_owned(),
            attempt: 1,
            event: task.event().clone(),
            work: *task.work(),
            outcome: Outcome::Superseded { by: 99 },
            at_ms: 0,
        };
        bench.reply_get(&Key::Decision(task.id()), Reply::Found(Box::new(Object::Decision(decision))));
        bench.reply_list(&Prefix::Claims, vec![]);
        bench.reply_list(&Prefix::Results, vec![]);
        bench.find(|request| matches!(request, Request::Create { key: Key::Horizon(..), .. })).is_some()
    };
    let mut bench = Bench::new(|_| ());
    bench.pass(Duration::from_secs(3599));
    bench.reply_list(&Prefix::Queue, vec![]);
    bench.horizons("intent", 0);
    bench.pass(1000 * MS);
    assert!(!raises(&mut bench), "seen whole, but only once");
    let strange = converge(2, "strange").id();
    let mut bench = Bench::new(|_| ());
    seen_for_a_grace(&mut bench, &[Key::Queue(strange)], &[], 0);
    assert!(!raises(&mut bench), "it may be older");
    let mut bench = Bench::new(|_| ());
    seen_for_a_grace(&mut bench, &[], &[], 0);
    assert!(raises(&mut bench));
}

#[test]
fn horizons_are_raised_first_and_never_over_what_is_pending() {
    let day = Duration::from_hours(24);
    let mut bench = Bench::new(|_| ());
    let pending = converge(7, &switch_of("c1", 1, 0));
    // The sweeper is the first in rank for it; alone it is this one.
    bench.announce(&pending);
    bench.notice(NoticeOf::Claimed, &pending, 1);
    seen_for_a_grace(&mut bench, &[Key::Queue(pending.id())], &[], 0);
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
    // What 7 is found by comes before it, one after the other.
    for below in [1, 2, 4, 6, 7] {
        let raises = |request: &Request| matches!(request, Request::Create { key: Key::Horizon(..), .. });
        let (token, raise) = bench.expect("a raise", raises);
        let object = Horizon { source: "intent".to_owned(), below, by: "c1".to_owned(), at_ms: 0 };
        let key = Key::Horizon("intent".to_owned(), below);
        assert_eq!(raise, Request::Create { key, object: Object::Horizon(object) });
        assert!(bench.find(raises).is_none());
        assert!(
            bench.find(|request| matches!(request, Request::Delete(_))).is_none(),
            "nothing is deleted yet"
        );
        bench.reply(token, Reply::Created);
    }
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
    assert!(!bench.controller.is_drained(), "it has not said that it leaves");
    bench.farewell();
    assert!(bench.controller.is_drained());
    let leaving = |action: &Action| matches!(action, Action::Heartbeat(heartbeat) if heartbeat.leaves());
    assert_eq!(bench.actions.iter().filter(|action| leaving(action)).count(), 3);
    let failing = Execution::Failed { reason: "x".to_owned() };
    let (mut bench, task) = Bench::executing(|_| ());
    bench.input(Input::Drain);
    bench.executed(&task, 1, failing);
    let (token, _) = bench.result(&task, 1);
    bench.reply(token, Reply::Created);
    bench.farewell();
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
