//! Probes beside changes of policy.

use super::bench::*;
use crate::io::{Action, Execution, Input, Level, Note, Reply, Request};
use crate::key::{Key, Prefix};
use crate::object::{Object, Outcome, QueuedTask};
use crate::task::{Event, Fence, NETWORK, Task, Work};

fn probe(number: u64, switch: &str) -> Task {
    Task::new(Event::probe(NETWORK, number, switch), Work::Ask {}).unwrap()
}

#[test]
fn a_switch_that_does_not_answer_is_asked_by_one_more_and_no_alert() {
    let mut bench = Bench::new(|_| ());
    let task = probe(3, &switch_of("c1", 0, 0));
    bench.announce(&task);
    bench.own(&task, 1);
    assert_eq!(bench.executes(&task).unwrap().1, Fence { generation: 0, audit: 0, attempt: 1 });
    bench.executed(&task, 1, Execution::Failed { reason: "no answer".to_owned() });
    let (token, _) = bench.result(&task, 1);
    bench.reply(token, Reply::Created);
    bench.pass(310 * MS);
    bench.own(&task, 2);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(bench.executes(&task).is_some());
    bench.executed(&task, 2, Execution::Failed { reason: "nor now".to_owned() });
    let (token, decision) = bench.decision(&task);
    assert_eq!(decision.outcome, Outcome::Failed { attempts: 2, reason: "nor now".to_owned() });
    bench.reply(token, Reply::Created);
    let alert = |action: &Action| matches!(action, Action::Note(Note { level: Level::Alert, .. }));
    assert!(!bench.actions.iter().any(alert), "whoever asked has the answer");
}

#[test]
fn a_change_waits_for_the_probe_that_runs_and_for_no_other() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    for number in 1..=9 {
        bench.announce(&probe(number, &switch));
    }
    let change = converge(1, &switch);
    bench.announce(&change);
    bench.own(&probe(1, &switch), 1);
    assert!(bench.claims(&change, 1).is_none(), "one task a switch at a time");
    bench.executed(&probe(1, &switch), 1, done());
    assert!(bench.claims(&change, 1).is_some());
    // Nor for a slot.
    let mut bench = Bench::new(|config| config.limits.executions = 1);
    let [one, two, three] = [0, 1, 2].map(|skip| switch_of("c1", 0, skip));
    bench.announce(&probe(1, &one));
    bench.announce(&probe(1, &two));
    bench.announce(&converge(1, &three));
    bench.own(&probe(1, &one), 1);
    bench.executed(&probe(1, &one), 1, done());
    assert!(bench.claims(&converge(1, &three), 1).is_some() && bench.claims(&probe(1, &two), 1).is_none());
}

#[test]
fn probes_supersede_nothing_and_nothing_supersedes_them() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 0, 0);
    bench.announce(&converge(5, &switch));
    bench.own(&converge(5, &switch), 1);
    bench.announce(&probe(7, &switch));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Stop { .. })));
    bench.executed(&converge(5, &switch), 1, done());
    assert!(matches!(bench.decision(&converge(5, &switch)).1.outcome, Outcome::Done { .. }));
    bench.own(&probe(7, &switch), 1);
    assert!(bench.executes(&probe(7, &switch)).is_some());
    bench.announce(&converge(6, &switch));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Stop { .. })));
    bench.executed(&probe(7, &switch), 1, done());
    assert!(matches!(bench.decision(&probe(7, &switch)).1.outcome, Outcome::Done { .. }));
}

#[test]
fn probes_give_way_where_too_many_tasks_are_in_mind() {
    let mut bench = Bench::new(|config| config.limits.tasks = 2);
    let [own, other] = [0, 1].map(|rank| switch_of("c1", rank, 0));
    bench.announce(&probe(1, &own));
    bench.announce(&probe(1, &other));
    bench.announce(&probe(2, &other));
    assert_eq!((bench.controller.tasks(), bench.controller.counters().refused_full), (2, 1));
    bench.announce(&converge(1, &own));
    assert_eq!((bench.controller.tasks(), bench.controller.counters().refused_full), (2, 2));
    // The queue still has what gave way.
    bench.own(&probe(1, &own), 1);
    bench.executed(&probe(1, &own), 1, done());
    let (token, _) = bench.decision(&probe(1, &own));
    bench.reply(token, Reply::Created);
    bench.input(Input::Look);
    let queued = probe(1, &other);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(queued.id())]);
    let object = Object::Task(QueuedTask::new(&queued, "d1"));
    bench.reply_get(&Key::Queue(queued.id()), Reply::Found(Box::new(object)));
    bench.pass(30 * MS);
    assert!(bench.find(|request| matches!(request, Request::Create { key: Key::Claim(id, 1), .. } if *id == queued.id())).is_some());
}
