//! From an execution to a decision.

use super::bench::*;
use crate::config::Role;
use crate::io::{Action, Execution, Heartbeat, Input, Level, Note, Reply, Request};
use crate::key::{Key, Prefix};
use crate::object::{Decision, Object, Outcome};
use crate::task::{Event, Fence, NETWORK, Task};

#[test]
fn failures_are_recorded_and_tried_again_until_there_were_enough() {
    let (mut bench, task) = Bench::executing(|config| config.attempts.max = 2);
    bench.executed(&task, 1, Execution::Failed { reason: "no answer".to_owned() });
    let (token, result) = bench.result(&task, 1);
    assert_eq!(result.reason, "no answer");
    // Written over and over: unclear does not count.
    bench.reply(token, Reply::Unknown);
    bench.pass(50 * MS);
    let (token, _) = bench.result(&task, 1);
    bench.reply(token, Reply::Exists);
    // Now it is last in rank: 250 ms and two delays.
    bench.pass(309 * MS);
    assert!(bench.claims(&task, 2).is_none());
    bench.pass(MS);
    bench.own(&task, 2);
    assert!(bench.executes(&task).is_none(), "first it is looked whether attempt 1 was decided after all");
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert_eq!(bench.executes(&task).unwrap().1, Fence { generation: 1, audit: 0, attempt: 2 });
    bench.executed(&task, 2, Execution::Failed { reason: "again".to_owned() });
    let (token, decision) = bench.decision(&task);
    assert_eq!(decision.outcome, Outcome::Failed { attempts: 2, reason: "again".to_owned() });
    bench.reply(token, Reply::Created);
    let alert = |action: &Action| matches!(action, Action::Note(Note { level: Level::Alert, .. }));
    assert!(bench.actions.iter().any(alert));
}

#[test]
fn an_attempt_above_the_limit_only_decides() {
    let mut bench = Bench::new(|config| config.attempts.max = 1);
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    bench.learns_of_failure(&task, "no answer", false, 0);
    bench.pass(250 * MS);
    bench.own(&task, 2);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(bench.executes(&task).is_none());
    let outcome = Outcome::Failed { attempts: 1, reason: "no answer".to_owned() };
    assert_eq!(bench.decision(&task).1.outcome, outcome);
}

#[test]
fn fences() {
    let by = |generation, attempt| Execution::Fenced {
        by: Fence { generation, audit: 0, attempt },
        named: format!("number {generation}"),
    };
    // A later attempt: it decides.
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, by(1, 2));
    bench.pass(30 * MS);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(
        bench.find(|request| matches!(request, Request::List { prefix: Prefix::ClaimsOf(_), .. })).is_some()
    );
    // A newer generation that a task speaks of.
    let (mut bench, task) = Bench::executing(|_| ());
    bench.announce(&converge(2, task.switch()));
    bench.executed(&task, 1, by(2, 1));
    assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 2 });
    // One that nobody has told of: its claim in the store says that it is ours, or a stranger's.
    let sibling = |task: &Task| Key::Claim(converge(9, task.switch()).id(), 1);
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, by(9, 1));
    bench.prove();
    bench.reply_get(&sibling(&task), claim_of(&converge(9, task.switch()), 1, "c3/1/1", 3000));
    assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 9 });
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, by(9, 1));
    bench.prove();
    bench.reply_get(&sibling(&task), Reply::Missing);
    let (_, result) = bench.result(&task, 1);
    assert!(
        result.reason.contains("another program holds the switch")
            && result.reason.contains("it has taken number 9 (generation 9, attempt 1)"),
        "{}",
        result.reason
    );
}

#[test]
fn what_the_log_was_asked_says_nothing_of_claims() {
    let by = Execution::Fenced { by: Fence { generation: 9, audit: 0, attempt: 1 }, named: "?".to_owned() };
    let found = |generation| Reply::Found(Box::new(Object::Generation(logged(generation))));
    for reply in [found(9), Reply::Missing, Reply::Foreign("?".to_owned())] {
        let (mut bench, task) = Bench::executing(|_| ());
        bench.executed(&task, 1, by.clone());
        let ninth = |request: &Request| *request == Request::Get(Key::Generation(9));
        let (token, _) = bench.expect("the log", ninth);
        // Before the answer comes it is known that the log goes on beyond.
        bench.input(Input::Logged { generation: 10 });
        bench.reply_get(&Key::Generation(10), found(10));
        bench.reply(token, reply.clone());
        assert!(bench.find(|request| matches!(request, Request::Create { .. })).is_none(), "{reply:?}");
        assert!(!bench.actions.iter().any(|action| matches!(action, Action::Disown { .. })), "{reply:?}");
        let ninth = converge(9, task.switch());
        bench.reply_get(&Key::Claim(ninth.id(), 1), Reply::Foreign("a claim of another version".to_owned()));
        assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 9 });
    }
    // What is there and cannot be read makes nobody a stranger.
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, by);
    bench.reply_get(&Key::Generation(9), Reply::Foreign("?".to_owned()));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Disown { .. })));
    assert!(bench.result(&task, 1).1.reason.contains("cannot be read"));
}

#[test]
fn what_a_heartbeat_tells_of_newer_generations_is_looked_up_before_execution() {
    for (reply, executes) in
        [(Reply::Missing, true), (Reply::Foreign("?".to_owned()), true), (Reply::Unknown, false)]
    {
        let mut bench = Bench::new(|_| ());
        let heartbeat = Heartbeat {
            role: Role::Distributor,
            generation: 3,
            interval_ms: 200,
            notices: vec![],
            lateness: vec![],
            heard: vec![],
        };
        bench.input(Input::Heartbeat { sender: 1, epoch: 1, sequence: 1, heartbeat });
        bench.prove();
        let task = converge(1, &switch_of("c1", 0, 0));
        bench.announce(&task);
        bench.own(&task, 1);
        assert!(bench.executes(&task).is_none());
        let key = Key::Decision(converge(3, task.switch()).id());
        bench.reply_get(&key, reply);
        assert_eq!(bench.executes(&task).is_some(), executes);
        if !executes {
            bench.pass(50 * MS);
            let outcome = Outcome::Superseded { by: 4 };
            let decision = Decision {
                owner: "c2".to_owned(),
                nonce: "c2/1/1".to_owned(),
                attempt: 1,
                event: Event::generation(NETWORK, 3, task.switch()),
                work: *task.work(),
                outcome,
                at_ms: 0,
            };
            bench.reply_get(&key, Reply::Found(Box::new(Object::Decision(decision))));
            assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 3 });
        }
    }
}

#[test]
fn a_newer_generation_stops_the_older_one_and_goes_first() {
    let (mut bench, task) = Bench::executing(|_| ());
    let newer = converge(2, task.switch());
    let other = converge(2, &switch_of("c1", 0, 1));
    bench.announce(&newer);
    assert!(bench.actions.contains(&Action::Stop { id: task.id(), attempt: 1 }));
    assert!(bench.claims(&newer, 1).is_none(), "one at a time for a switch");
    bench.announce(&other);
    assert!(bench.claims(&other, 1).is_some(), "other switches don't wait");
    bench.executed(&task, 1, Execution::Stopped);
    assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 2 });
    bench.own(&newer, 1);
    assert!(bench.executes(&newer).is_some());
    // What comes later is claimed to decide, not to execute; it does not wait for the switch.
    let mut bench = Bench::new(|_| ());
    bench.announce(&newer);
    bench.announce(&task);
    bench.own(&task, 1);
    assert!(bench.executes(&task).is_none());
    assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 2 });
    // What was done before the stop came is done.
    let (mut bench, task) = Bench::executing(|_| ());
    bench.announce(&newer);
    bench.executed(&task, 1, done());
    assert!(matches!(bench.decision(&task).1.outcome, Outcome::Done { .. }));
}
