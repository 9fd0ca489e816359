//! From an announce to an execution.

use super::bench::*;
use crate::io::{Listed, NoticeOf, Reply, Request};
use crate::key::{Key, Prefix};
use crate::object::{Object, Outcome, QueuedTask, Steps};
use crate::task::Fence;

#[test]
fn the_first_in_rank_claims_at_once_and_executes_within_its_lease() {
    let mut bench = Bench::new(|_| ());
    let task = converge(4, &switch_of("c1", 0, 0));
    let before = bench.controller.counters().requests_get;
    bench.announce(&task);
    let (token, claim) = bench.claim(&task, 1);
    let sent = bench.now;
    assert_eq!((claim.owner.as_str(), claim.nonce.as_str(), claim.lease_ms), ("c1", "c1/5/1", 3000));
    assert_eq!((claim.received.as_str(), claim.occurrence), ("d1", 4));
    bench.now = bench.now + 9 * MS;
    bench.reply(token, Reply::Created);
    let execute = bench.executes(&task).unwrap();
    assert_eq!(execute, (1, Fence { generation: 4, audit: 0, attempt: 1 }, sent + 2000 * MS));
    bench.now = bench.now + 5 * MS;
    bench.executed(&task, 1, done());
    let (token, decision) = bench.decision(&task);
    let steps = Steps { claim_sent_us: 0, claimed_us: 9000, executed_us: 14_000 };
    assert_eq!(decision.outcome, Outcome::Done { report: "3 writes".to_owned(), steps });
    bench.reply(token, Reply::Created);
    assert_eq!(bench.controller.tasks(), 0);
    bench.pass(200 * MS);
    let (_, delete) = bench.expect("a deletion", |request| matches!(request, Request::Delete(_)));
    assert_eq!(delete, Request::Delete(vec![Key::Queue(task.id())]));
    // A late copy costs nothing.
    bench.announce(&task);
    assert!(bench.claims(&task, 1).is_none());
    let requests = bench.controller.counters();
    let gets = requests.requests_get - before;
    assert_eq!(
        (requests.requests_create, requests.requests_delete, gets),
        (2, 1, 1),
        "the generation is read"
    );
}

#[test]
fn ranks_wait_and_hints_save_the_claim() {
    for (rank, silent, waits) in [(1, false, 30), (2, false, 60), (2, true, 0)] {
        let task = converge(1, &switch_of("c1", rank, 0));
        let mut bench = Bench::new(|_| ());
        if silent {
            bench.pass(1001 * MS);
        }
        bench.announce(&task);
        if waits > 0 {
            assert!(bench.claims(&task, 1).is_none());
            bench.pass((waits - 1) * MS);
            assert!(bench.claims(&task, 1).is_none(), "rank {rank}");
            bench.pass(MS);
        }
        assert!(bench.claims(&task, 1).is_some(), "rank {rank} after {waits} ms");
    }
    let task = converge(1, &switch_of("c1", 1, 0));
    let mut bench = Bench::new(|_| ());
    bench.announce(&task);
    bench.notice(NoticeOf::Claimed, &task, 1);
    bench.pass(1499 * MS);
    assert!(bench.find(|request| matches!(request, Request::Get(_))).is_none());
    bench.pass(MS);
    // Nobody has said more: the store is asked, and the claim in it is seen now, whatever the hint said.
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.reply_list(&Prefix::ClaimsOf(task.id()), vec![Key::Claim(task.id(), 1)]);
    bench.reply_get(&Key::Result(task.id(), 1), Reply::Missing);
    bench.reply_get(&Key::Claim(task.id(), 1), claim_of(&task, 1, "c2/1/1", 2000));
    for _ in 0..2 {
        bench.pass(1499 * MS);
        assert!(bench.claims(&task, 2).is_none());
        bench.pass(MS);
        bench.alive();
        bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
        if let Some((token, _)) =
            bench.find(|request| matches!(request, Request::List { prefix: Prefix::ClaimsOf(_), .. }))
        {
            let keys = vec![Listed { key: Key::Claim(task.id(), 1), age: MS }];
            bench.reply(token, Reply::Page { keys, next: None });
            bench.reply_get(&Key::Result(task.id(), 1), Reply::Missing);
        }
    }
    // 3,000 ms after it was seen: expired. For attempt 2 this one is the first in rank.
    let (_, claim) = bench.claim(&task, 2);
    assert_eq!(claim.attempt, 2);
}

#[test]
fn a_hint_that_it_is_decided_holds_until_the_queue_is_asked() {
    let mut bench = Bench::new(|config| config.queue.poll_ms = 4000);
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    bench.notice(NoticeOf::Decided, &task, 1);
    assert_eq!(bench.controller.tasks(), 0);
    bench.announce(&task);
    bench.pass(4000 * MS);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
    assert!(bench.find(|request| matches!(request, Request::Get(_))).is_none(), "the hint holds");
    bench.pass(4000 * MS);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(task.id())]);
    let queued = Object::Task(QueuedTask::new(&task, "d1"));
    bench.reply_get(&Key::Queue(task.id()), Reply::Found(Box::new(queued)));
    assert_eq!(bench.controller.tasks(), 1, "the queue is the truth");
}

#[test]
fn unclear_claims_are_read_back() {
    let task = converge(1, &switch_of("c1", 0, 0));
    let start = || {
        let mut bench = Bench::new(|_| ());
        bench.announce(&task);
        let (token, claim) = bench.claim(&task, 1);
        (bench, token, claim)
    };
    let key = Key::Claim(task.id(), 1);
    for unclear in [Reply::Unknown, Reply::Exists] {
        let (mut bench, token, claim) = start();
        bench.pass(150 * MS);
        bench.reply(token, unclear.clone());
        assert!(bench.executes(&task).is_none());
        bench.reply_get(&key, claim_of(&task, 1, &claim.nonce, 3000));
        assert!(bench.executes(&task).is_some(), "{unclear:?} and the own nonce");

        let (mut bench, token, _) = start();
        bench.reply(token, unclear.clone());
        bench.reply_get(&key, claim_of(&task, 1, "c2/9/9", 3000));
        assert!(bench.executes(&task).is_none(), "{unclear:?} and another's nonce");
    }
    // Not there: the same claim again, and the lease has begun with the first try.
    let (mut bench, token, claim) = start();
    let sent = bench.now;
    bench.pass(150 * MS);
    bench.reply(token, Reply::Unknown);
    bench.reply_get(&key, Reply::Missing);
    bench.pass(50 * MS);
    let (token, again) = bench.claim(&task, 1);
    assert_eq!(again.nonce, claim.nonce);
    bench.reply(token, Reply::Created);
    assert_eq!(bench.executes(&task).unwrap().2, sent + 2000 * MS);
    // Not there, and too late for it: a new claim, once the store was asked how it stands.
    let (mut bench, token, claim) = start();
    bench.pass(2000 * MS);
    bench.reply(token, Reply::Unknown);
    bench.reply_get(&key, Reply::Missing);
    bench.pass(50 * MS);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.reply_list(&Prefix::ClaimsOf(task.id()), vec![]);
    assert_ne!(bench.claim(&task, 1).1.nonce, claim.nonce);
    // Somebody's unreadable object counts as a claim with the longest lease.
    let (mut bench, token, _) = start();
    bench.reply(token, Reply::Exists);
    bench.reply_get(&key, Reply::Foreign("strange".to_owned()));
    assert_eq!(bench.controller.counters().foreign, 1);
    bench.pass(89_000 * MS);
    assert!(bench.claims(&task, 2).is_none());
}

#[test]
fn a_claim_that_comes_back_late_is_not_executed() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 0, 0));
    bench.announce(&task);
    let (token, claim) = bench.claim(&task, 1);
    bench.now = bench.now + 2000 * MS;
    bench.reply(token, Reply::Created);
    assert!(bench.executes(&task).is_none());
    let (_, result) = bench.result(&task, 1);
    assert_eq!(result.nonce, claim.nonce);
    assert_eq!(bench.controller.counters().attempts_late, 1);
}

#[test]
fn claimed_to_execute_and_overtaken_before_the_reply() {
    let mut bench = Bench::new(|_| ());
    let (older, newer) = (converge(1, &switch_of("c1", 0, 0)), converge(2, &switch_of("c1", 0, 0)));
    bench.announce(&older);
    let (token, _) = bench.claim(&older, 1);
    bench.announce(&newer);
    bench.reply(token, Reply::Created);
    assert!(bench.executes(&older).is_none());
    assert_eq!(bench.decision(&older).1.outcome, Outcome::Superseded { by: 2 });
    bench.own(&newer, 1);
    assert!(bench.executes(&newer).is_some());
}
