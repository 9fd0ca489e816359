//! What is authentic and wrong.

use std::time::Duration;

use super::bench::*;
use crate::config::Role;
use crate::io::{Action, Execution, Heartbeat, Input, Level, Note, Reply, Request};
use crate::key::{Key, Prefix};
use crate::object::{Object, Outcome, QueuedTask};
use crate::task::{Digest, Event, Fence, NETWORK, NetworkId, Task, Work};

fn told(bench: &Bench, level: Level, part: &str) -> bool {
    let fits = |action: &Action| matches!(action, Action::Note(Note { level: l, text, .. }) if *l == level && text.contains(part));
    bench.actions.iter().any(fits)
}

/// As it comes; nothing is said by the store.
fn hear(bench: &mut Bench, task: &Task) {
    bench.input(Input::Announced { task: task.clone(), sender: 1 });
}

#[test]
fn a_generation_that_is_not_there_overtakes_nothing_and_is_claimed_by_nobody() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    let absurd = converge(u64::MAX, &switch);
    hear(&mut bench, &absurd);
    bench.reply_get(&Key::Generation(u64::MAX), Reply::Missing);
    let task = converge(1, &switch);
    bench.announce(&task);
    bench.own(&task, 1);
    assert!(bench.executes(&task).is_some());
    bench.executed(&task, 1, done());
    assert!(matches!(bench.decision(&task).1.outcome, Outcome::Done { .. }));
    // It is looked for, more and more seldom, and then given up and told.
    let mut looks = 0;
    for _ in 0..700 {
        bench.pass(100 * MS);
        if let Some((token, _)) = bench.find(|request| *request == Request::Get(Key::Generation(u64::MAX))) {
            looks += 1;
            bench.reply(token, if looks % 2 == 0 { Reply::Unknown } else { Reply::Missing });
        }
        assert!(bench.claims(&absurd, 1).is_none());
    }
    assert!((25..60).contains(&looks), "{looks} looks");
    assert_eq!(bench.controller.counters().unproven, 1);
    assert!(told(&bench, Level::Warn, "told of by d1, but i/18446744073709551615 is not there"));
}

#[test]
fn one_that_was_announced_too_early_is_executed_when_it_is_there() {
    let mut bench = Bench::new(|_| ());
    let task = converge(12, &switch_of("c1", 0, 0));
    hear(&mut bench, &task);
    bench.reply_get(&Key::Generation(12), Reply::Missing);
    bench.pass(40 * MS);
    assert!(bench.claims(&task, 1).is_none());
    // The hint of who has appended it.
    bench.input(Input::Logged { generation: 12 });
    bench.reply_get(&Key::Generation(12), Reply::Found(Box::new(Object::Generation(logged(12)))));
    bench.own(&task, 1);
    assert_eq!(bench.executes(&task).unwrap().1, Fence { generation: 12, audit: 0, attempt: 1 });
    // With the hint first, the announce waits for nothing.
    bench.input(Input::Logged { generation: 13 });
    bench.prove();
    let next = converge(13, &switch_of("c1", 0, 1));
    hear(&mut bench, &next);
    assert!(bench.claims(&next, 1).is_some());
    assert!(bench.find(|request| matches!(request, Request::Get(_))).is_none());
}

#[test]
fn what_a_task_says_is_what_its_log_says() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    let good = converge(3, &switch);
    let work = Work::Converge { generation: 3, desired: Digest([9; 32]), entries: 4_000_000_000 };
    let otherwise = Task::new(good.event().clone(), work).unwrap();
    bench.announce(&otherwise);
    assert!(told(&bench, Level::Alert, "d1: says of"));
    let claim = bench.own(&good, 1);
    assert_eq!(claim.lease_ms, 3000, "nor is the lease as long as it says");
    assert!(bench.executes(&good).is_some(), "as the log says it");
    // Who queues or announces an event first does not say what its task is, even if that is nonsense.
    for work in [Work::Converge { generation: 4, desired: Digest([7; 32]), entries: 0 }, Work::Ask {}] {
        let mut bench = Bench::new(|_| ());
        bench.announce(&Task::new(good.event().clone(), work).unwrap());
        bench.own(&good, 1);
        assert!(bench.executes(&good).is_some(), "{work:?}");
    }
    bench.announce(&converge(3, "elsewhere"));
    assert!(told(&bench, Level::Alert, "a task for `elsewhere`"));
    assert_eq!((bench.controller.tasks(), bench.controller.counters().mismatched), (1, 2));
}

#[test]
fn others_tasks_are_strangers() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    let work = |generation| Work::Converge { generation, desired: Digest([7; 32]), entries: 0 };
    let of = |event: &Event, work| Task::new(event.clone(), work).unwrap();
    let good = Event::generation(NETWORK, 3, &switch);
    let strange = [
        of(&Event { network: NetworkId::new(9), ..good.clone() }, work(3)),
        of(&Event { occurrence: 0, ..good.clone() }, work(0)),
        of(&Event { source: "audience".to_owned(), ..good.clone() }, work(3)),
        of(&Event { object: "x".to_owned(), ..good.clone() }, work(3)),
        of(&Event { kind: "hearsay".to_owned(), ..good.clone() }, work(3)),
    ];
    for task in &strange {
        hear(&mut bench, task);
    }
    assert!(bench.find(|request| matches!(request, Request::Get(_) | Request::Create { .. })).is_none());
    assert_eq!(bench.controller.counters().refused_strange, strange.len() as u64);
    assert!(told(&bench, Level::Warn, "a task of network 0000000000000009"));
}

#[test]
fn a_queued_task_that_nothing_bears_out_is_passed_over_and_stays() {
    let mut bench = Bench::new(|_| ());
    let task = converge(u64::MAX, &switch_of("c1", 0, 0));
    let poll = |bench: &mut Bench| {
        bench.pass(1000 * MS);
        bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
        bench.find(|request| *request == Request::Get(Key::Queue(task.id())))
    };
    let (token, _) = poll(&mut bench).unwrap();
    bench.reply(token, Reply::Found(Box::new(Object::Task(QueuedTask::new(&task, "d9")))));
    let mut given_up = false;
    for _ in 0..65 {
        let again = poll(&mut bench);
        given_up |= again.is_some();
        while let Some((token, _)) = bench.find(|request| matches!(request, Request::Get(Key::Generation(_))))
        {
            bench.reply(token, Reply::Missing);
        }
        assert!(!given_up || bench.controller.counters().unproven == 1);
    }
    assert!(!given_up, "it is left alone for a while");
    assert_eq!(bench.controller.counters().unproven, 1);
    bench.pass(Duration::from_secs(11));
    assert!(bench.find(|request| matches!(request, Request::Delete(_) | Request::Create { .. })).is_none());
}

#[test]
fn heartbeats_and_switches_are_not_believed_either() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    let (role, notices, lateness) = (Role::Distributor, vec![], vec![]);
    let heartbeat =
        Heartbeat { role, generation: u64::MAX, interval_ms: 200, notices, lateness, heard: vec![] };
    bench.input(Input::Heartbeat { sender: 1, epoch: 1, sequence: 1, heartbeat });
    bench.reply_get(&Key::Generation(u64::MAX), Reply::Missing);
    bench.announce(&task);
    bench.own(&task, 1);
    assert!(bench.executes(&task).is_some(), "without a look for the decision of what is not there");
    // The switch names a fence that no generation of the log has.
    let by = Fence { generation: u64::MAX, audit: 0, attempt: 1 };
    bench.executed(&task, 1, Execution::Fenced { by, named: "?".to_owned() });
    bench.reply_get(&Key::Generation(u64::MAX), Reply::Missing);
    assert!(bench.result(&task, 1).1.reason.contains("another program holds the switch"));
}

#[test]
fn many_wrong_ones_leave_room_for_right_ones() {
    let mut bench = Bench::new(|_| ());
    for number in 0..1000 {
        hear(&mut bench, &converge(u64::MAX - number, "leaf1"));
        if let Some((token, _)) = bench.find(|request| matches!(request, Request::Get(Key::Generation(_)))) {
            bench.reply(token, Reply::Missing);
        }
    }
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.announce(&task);
    assert!(bench.claims(&task, 1).is_some());
    let looks = (0..200).map(|_| {
        bench.pass(100 * MS);
        let mut looks = 0;
        while let Some((token, _)) = bench.find(|request| matches!(request, Request::Get(Key::Generation(_))))
        {
            bench.reply(token, Reply::Missing);
            looks += 1;
        }
        looks
    });
    assert!(looks.sum::<u32>() < 64 * 20, "twenty seconds of looks");
}

/// A generation that says of a switch what the one before has said has no task for it, whoever says so.
#[test]
fn what_says_nothing_new_has_no_task() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    let mut record = logged(5);
    record.since.insert(switch.clone(), 3);
    hear(&mut bench, &converge(5, &switch));
    bench.reply_get(&Key::Generation(5), Reply::Found(Box::new(Object::Generation(record))));
    assert!(told(&bench, Level::Alert, "says nothing new"));
    assert!(bench.claims(&converge(5, &switch), 1).is_none());
    // The one that it has is executed under its own fence, whatever newer one is heard of.
    let task = converge(3, &switch);
    bench.alive();
    bench.announce(&task);
    bench.own(&task, 1);
    assert_eq!(bench.executes(&task).unwrap().1, Fence { generation: 3, audit: 0, attempt: 1 });
}
