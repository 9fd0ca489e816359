//! Owners that fall silent.

use super::bench::*;
use crate::config::Role;
use crate::io::{Action, Heard, Heartbeat, Input, Machine as _, Notice, NoticeOf, Reply, Request};
use crate::key::{Key, Prefix};
use crate::task::{Fence, Task};

/// A quick heartbeat of c2, which owns this attempt if there is one.
fn beat(bench: &mut Bench, owns: Option<(&Task, u32)>, number: u64) {
    let notice = |(task, attempt): (&Task, u32)| Notice { id: task.id(), attempt, what: NoticeOf::Claimed };
    let heartbeat = Heartbeat {
        role: Role::Controller,
        generation: 0,
        interval_ms: 25,
        notices: owns.map(notice).into_iter().collect(),
        lateness: vec![],
        heard: vec![Heard { sender: 11, epoch: 5 }],
    };
    bench.input(Input::Heartbeat { sender: 12, epoch: 1, sequence: number, heartbeat });
}

/// Time passes, and is lived through.
fn live(bench: &mut Bench, ms: u32) {
    for _ in 0..ms / 5 {
        bench.now = bench.now + MS * 5;
        if bench.controller.deadline().is_some_and(|due| due <= bench.now) {
            bench.input(Input::Tick);
        }
    }
}

fn asks_fence(bench: &mut Bench) -> bool {
    let place = bench.actions.iter().position(|action| matches!(action, Action::AskFence { .. }));
    place.map(|place| bench.actions.remove(place)).is_some()
}

fn fence(bench: &mut Bench, task: &Task, fences: Option<bool>) {
    bench.input(Input::Fence { switch: task.switch().to_owned(), fences });
}

/// What the store says of an attempt of c2 that has just been claimed.
fn seen_in_the_store(bench: &mut Bench, task: &Task) {
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.reply_list(&Prefix::ClaimsOf(task.id()), vec![Key::Claim(task.id(), 1)]);
    bench.reply_get(&Key::Result(task.id(), 1), Reply::Missing);
    bench.reply_get(&Key::Claim(task.id(), 1), claim_of(task, 1, "c2/1/1", 3000));
}

/// c2 owns attempt 1, has beaten quickly and fallen silent: c1, which comes next, looks.
fn silent(change: impl FnOnce(&mut crate::config::SharedConfig)) -> (Bench, Task) {
    let mut bench = Bench::new(change);
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    for number in 1..=8 {
        beat(&mut bench, Some((&task, 1)), number);
        live(&mut bench, 25);
    }
    live(&mut bench, 165);
    assert!(!asks_fence(&mut bench), "it beats, or has just done so");
    live(&mut bench, 30);
    (bench, task)
}

#[test]
fn a_silent_owner_is_taken_over_where_the_switch_fences() {
    let (mut bench, task) = silent(|_| ());
    assert!(asks_fence(&mut bench));
    seen_in_the_store(&mut bench, &task);
    assert!(bench.claims(&task, 2).is_none(), "the switch has not shown anything");
    fence(&mut bench, &task, Some(true));
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.own(&task, 2);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    let (attempt, raised, _) = bench.executes(&task).expect("it executes");
    assert_eq!((attempt, raised), (2, Fence { generation: 1, audit: 0, attempt: 2 }));
    assert_eq!(bench.controller.counters().takeovers, 1);
    // It has slept: nothing is lost, and it is counted.
    beat(&mut bench, None, 9);
    assert_eq!(bench.controller.counters().suspected_falsely, 1);
}

#[test]
fn nobody_is_taken_over_where_the_switch_does_not_fence_or_is_not_known_to() {
    for shown in [Some(false), None] {
        let (mut bench, task) = silent(|_| ());
        assert!(asks_fence(&mut bench));
        seen_in_the_store(&mut bench, &task);
        fence(&mut bench, &task, shown);
        live(&mut bench, 1400);
        let asked = bench.find(|request| matches!(request, Request::Get(Key::Decision(_))));
        assert!(bench.claims(&task, 2).is_none() && asked.is_none(), "{shown:?}");
        assert_eq!(bench.controller.counters().takeovers, 0);
    }
}

#[test]
fn nobody_is_taken_over_where_that_is_turned_off() {
    let mut bench = Bench::new(|config| config.takeover.silence_ms = 0);
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    beat(&mut bench, Some((&task, 1)), 1);
    live(&mut bench, 1200);
    assert!(!asks_fence(&mut bench) && bench.find(|request| matches!(request, Request::Get(_))).is_none());
}

#[test]
fn who_is_heard_again_keeps_the_attempt() {
    let (mut bench, task) = silent(|_| ());
    beat(&mut bench, Some((&task, 1)), 9);
    seen_in_the_store(&mut bench, &task);
    fence(&mut bench, &task, Some(true));
    assert!(bench.find(|_| true).is_none() && bench.claims(&task, 2).is_none());
    live(&mut bench, 150);
    assert!(bench.find(|_| true).is_none());
    // It falls silent for good: the switch has shown that it fences.
    live(&mut bench, 60);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(bench.claims(&task, 2).is_some());
}

#[test]
fn what_one_could_not_hear_oneself_is_no_silence() {
    let mut bench = Bench::new(|_| ());
    let task = converge(1, &switch_of("c1", 1, 0));
    bench.announce(&task);
    beat(&mut bench, Some((&task, 1)), 1);
    live(&mut bench, 100);
    bench.now = bench.now + MS * 1000;
    bench.input(Input::Tick);
    assert!(!asks_fence(&mut bench), "it stood still");
    live(&mut bench, 60);
    assert!(!asks_fence(&mut bench));
    live(&mut bench, 60);
    assert!(asks_fence(&mut bench), "the rest of the silence is lived through");
}

#[test]
fn who_owns_beats_quickly_and_names_what_it_owns() {
    let (mut bench, task) = Bench::executing(|_| ());
    bench.actions.clear();
    live(&mut bench, 250);
    let beats = bench.actions.iter().filter_map(|action| match action {
        Action::Heartbeat(heartbeat) => Some(heartbeat),
        _ => None,
    });
    let beats: Vec<_> = beats.collect();
    assert_eq!(beats.len(), 10, "one each 25 ms");
    let own = Notice { id: task.id(), attempt: 1, what: NoticeOf::Claimed };
    assert!(beats.iter().all(|beat| beat.interval_ms == 25 && beat.notices.contains(&own)), "{beats:?}");
    bench.executed(&task, 1, done());
    let (token, _) = bench.decision(&task);
    bench.reply(token, Reply::Created);
    live(&mut bench, 30);
    bench.actions.clear();
    live(&mut bench, 400);
    let beats = bench.actions.iter().filter(|action| matches!(action, Action::Heartbeat(_))).count();
    assert_eq!(beats, 2, "at rest one each 200 ms");
}

#[test]
fn a_takeover_pushes_nothing_while_the_other_lease_lasts() {
    let (mut bench, task) = silent(|config| config.claims.push_ms = 500);
    seen_in_the_store(&mut bench, &task);
    fence(&mut bench, &task, Some(true));
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    let claim = bench.own(&task, 2);
    assert!(claim.lease_ms > 3000, "whoever goes over this one waits for the first lease, too: {claim:?}");
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    let push = bench.actions.iter().find_map(|action| match action {
        Action::Execute { push, .. } => Some(*push),
        _ => None,
    });
    assert_eq!(push, Some(None));
    bench.executed(&task, 2, crate::io::Execution::NeedsPush);
    let (_, result) = bench.result(&task, 2);
    assert!(result.push && result.unended_ms > 3000, "{result:?}");
}

#[test]
fn too_many_that_were_heard_again_raise_the_limit() {
    let (mut bench, _) = silent(|_| ());
    let limit = bench.controller.silence_limit();
    for number in 0..4 {
        bench.controller.suspects(12, 1);
        beat(&mut bench, None, 10 + number);
    }
    assert_eq!(bench.controller.silence_limit(), limit.map(|limit| limit * 2));
    live(&mut bench, 61_000);
    assert_eq!(bench.controller.silence_limit(), limit, "a minute without one");
}
