//! Pushes of the pipeline stand within leases as long as pushes take.

use std::time::Duration;

use super::bench::*;
use crate::io::{Action, Execution, Input, Reply};
use crate::key::Key;
use crate::task::Task;
use crate::time::Instant;

/// What the agent may push, by the action that lets it execute.
fn push(bench: &mut Bench, task: &Task) -> Option<(Instant, Duration)> {
    let found = bench
        .actions
        .iter()
        .position(|action| matches!(action, Action::Execute { task: of, .. } if of == task));
    let Action::Execute { push, .. } = bench.actions.remove(found.expect("it executes")) else { panic!() };
    push
}

#[test]
fn an_attempt_that_needs_a_push_is_followed_at_once_by_one_whose_lease_has_room_for_it() {
    let mut bench = Bench::new(|config| config.attempts.max = 1);
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.announce(&task);
    assert_eq!(bench.own(&task, 1).lease_ms, 3000);
    assert_eq!(push(&mut bench, &task), None, "30 s do not fit");
    bench.executed(&task, 1, Execution::NeedsPush);
    let (token, result) = bench.result(&task, 1);
    assert!(result.push && result.reason.contains("lacks our pipeline"), "{result:?}");
    let at = bench.now;
    bench.reply(token, Reply::Created);
    bench.pass(Duration::from_millis(60));
    // It costs no attempt, although there is only one.
    let sent = bench.now;
    assert!(sent.since(at) <= Duration::from_millis(60));
    assert_eq!(bench.own(&task, 2).lease_ms, 33_000);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert_eq!(push(&mut bench, &task), Some((sent + Duration::from_secs(3), Duration::from_secs(30))));
    // It took 9 s. From now on that is known, and what does not fit into an ordinary lease is not begun in one.
    bench.input(Input::Pushed { switch: task.switch().to_owned(), took: Duration::from_secs(9) });
    bench.executed(&task, 2, done());
    let (token, _) = bench.decision(&task);
    bench.reply(token, Reply::Created);
    let next = converge(2, task.switch());
    bench.announce(&next);
    assert_eq!(bench.own(&next, 1).lease_ms, 3000);
    assert_eq!(push(&mut bench, &next), None);
}

#[test]
fn a_quick_push_fits_into_any_lease() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.input(Input::Pushed { switch: task.switch().to_owned(), took: Duration::from_millis(100) });
    bench.announce(&task);
    let sent = bench.now;
    assert_eq!(bench.own(&task, 1).lease_ms, 3000);
    let within = Duration::from_millis(1400);
    assert_eq!(push(&mut bench, &task), Some(((sent + Duration::from_secs(3)).before(within), within)));
}

#[test]
fn another_hears_that_a_push_is_needed_and_waits_for_other_tasks_of_the_switch() {
    let mut bench = Bench::new(|_| ());
    let switch = switch_of("c1", 1, 0);
    // Generation 1 is another's, and under way.
    let (older, task) = (converge(1, &switch), converge(2, &switch));
    bench.announce(&older);
    bench.pass(Duration::from_millis(30));
    let (token, _) = bench.claim(&older, 1);
    bench.reply(token, Reply::Exists);
    bench.reply_get(&Key::Claim(older.id(), 1), claim_of(&older, 1, "c2/1/1", 20_000));
    bench.announce(&task);
    bench.learns_of_failure(&task, "it lacks our pipeline", true, 0);
    bench.alive();
    for _ in 0..29 {
        bench.alive();
        bench.pass(Duration::from_secs(1));
        assert!(bench.claims(&task, 2).is_none(), "the other may be pushing");
        if bench.find(|request| *request == crate::io::Request::Get(Key::Decision(older.id()))).is_some() {
            break;
        }
    }
}
