//! Rules, one by one. The site: controllers c1, c2, c3 (senders 11, 12, 13), distributor d1 (sender 1).

use std::time::Duration;

use super::*;
use crate::io::{Execution, Listed};
use crate::key::Prefix;
use crate::object::{AttemptResult, Claim, Decision, Horizon, Outcome, QueuedTask, Steps};
use crate::task::{Digest, Event, Fence, Work};

const MS: Duration = Duration::from_millis(1);

fn config() -> SharedConfig {
    let member = |name: &str, sender: u32, role: &str| {
        format!(
            "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"192.0.2.{sender}:1\"\n"
        )
    };
    let text = member("d1", 1, "distributor")
        + &member("c1", 11, "controller")
        + &member("c2", 12, "controller")
        + &member("c3", 13, "controller");
    SharedConfig::from_toml(&text).unwrap()
}

fn converge(generation: u64, switch: &str) -> Task {
    let work = Work::Converge { generation, desired: Digest([7; 32]), entries: 0 };
    Task::new(Event::generation(generation, switch), work).unwrap()
}

/// A switch for which this controller has this rank.
fn switch_of(me: &str, rank: u32, skip: usize) -> String {
    let names = (0..1000).map(|number| format!("leaf{number}"));
    let nodes = || ["c1", "c2", "c3"].into_iter().map(|node| (node, false));
    names.filter(|switch| rank::rank(nodes(), switch, 1, me) == rank).nth(skip).unwrap()
}

/// Controller c1 with its time; actions that are not looked at are kept.
struct Bench {
    controller: Controller,
    now: Instant,
    actions: Vec<Action>,
}

impl Bench {
    /// The horizons and the queue have been read, and are empty.
    fn new(change: impl FnOnce(&mut SharedConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let now = Instant::START + Duration::from_secs(1000);
        let me = Identity { name: "c1".to_owned(), epoch: 5 };
        let mut bench =
            Self { controller: Controller::new(me, Arc::new(config), now), now, actions: Vec::new() };
        bench.input(Input::Tick);
        bench.reply_list(&Prefix::Horizons, vec![]);
        bench.reply_list(&Prefix::Queue, vec![]);
        bench.actions.clear();
        bench
    }

    fn input(&mut self, input: Input) {
        self.controller.step(self.now, input, &mut self.actions);
    }

    /// Time passes, without a poll's or a sweep's own requests.
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick);
    }

    fn announce(&mut self, task: &Task) {
        self.input(Input::Announced { task: task.clone(), sender: 1 });
    }

    fn notice(&mut self, what: NoticeOf, task: &Task, attempt: u32) {
        let notices = vec![Notice { id: task.id(), attempt, what }];
        let heartbeat = Heartbeat { role: Role::Controller, generation: 0, notices, lateness: vec![] };
        self.input(Input::Heartbeat { sender: 12, heartbeat });
    }

    /// Others are heard, so that they count as alive.
    fn alive(&mut self) {
        for sender in [12, 13] {
            let heartbeat =
                Heartbeat { role: Role::Controller, generation: 0, notices: vec![], lateness: vec![] };
            self.input(Input::Heartbeat { sender, heartbeat });
        }
    }

    /// Takes the request that fits out of the actions.
    fn find(&mut self, fits: impl Fn(&Request) -> bool) -> Option<(Token, Request)> {
        let place = self.actions.iter().position(|action| match action {
            Action::Store { request, .. } => fits(request),
            _ => false,
        })?;
        let Action::Store { token, request } = self.actions.remove(place) else { return None };
        Some((token, request))
    }

    fn expect(&mut self, what: &str, fits: impl Fn(&Request) -> bool) -> (Token, Request) {
        self.find(fits).unwrap_or_else(|| panic!("no request: {what}, but {:?}", self.actions))
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        self.input(Input::Stored { token, reply });
    }

    fn reply_list(&mut self, of: &Prefix, keys: Vec<Key>) {
        let fits = |request: &Request| matches!(request, Request::List { prefix, .. } if prefix == of);
        let (token, _) = self.expect("a listing", fits);
        let keys = keys.into_iter().map(|key| Listed { key, age: Duration::ZERO }).collect();
        self.reply(token, Reply::Page { keys, next: None });
    }

    fn reply_get(&mut self, key: &Key, reply: Reply) {
        let (token, _) = self.expect("a GET", |request| *request == Request::Get(key.clone()));
        self.reply(token, reply);
    }

    fn claims(&mut self, task: &Task, attempt: u32) -> Option<(Token, Claim)> {
        let key = Key::Claim(task.id(), attempt);
        let (token, request) =
            self.find(|request| matches!(request, Request::Create { key: at, .. } if *at == key))?;
        let Request::Create { object: Object::Claim(claim), .. } = request else { panic!("no claim") };
        Some((token, claim))
    }

    fn claim(&mut self, task: &Task, attempt: u32) -> (Token, Claim) {
        self.claims(task, attempt).unwrap_or_else(|| panic!("no claim of {attempt}: {:?}", self.actions))
    }

    fn own(&mut self, task: &Task, attempt: u32) -> Claim {
        let (token, claim) = self.claim(task, attempt);
        self.reply(token, Reply::Created);
        claim
    }

    fn executes(&mut self, task: &Task) -> Option<(u32, Fence, Instant)> {
        let found = self.actions.iter().position(|action| match action {
            Action::Execute { task: of, .. } => of == task,
            _ => false,
        })?;
        let Action::Execute { attempt, fence, start_before, .. } = self.actions.remove(found) else {
            return None;
        };
        Some((attempt, fence, start_before))
    }

    fn executed(&mut self, task: &Task, attempt: u32, outcome: Execution) {
        self.input(Input::Executed { id: task.id(), attempt, outcome });
    }

    fn decision(&mut self, task: &Task) -> (Token, Decision) {
        let key = Key::Decision(task.id());
        let fits = |request: &Request| matches!(request, Request::Create { key: at, .. } if *at == key);
        let (token, request) = self.expect("a decision", fits);
        let Request::Create { object: Object::Decision(decision), .. } = request else {
            panic!("no decision")
        };
        (token, decision)
    }

    fn result(&mut self, task: &Task, attempt: u32) -> (Token, AttemptResult) {
        let key = Key::Result(task.id(), attempt);
        let fits = |request: &Request| matches!(request, Request::Create { key: at, .. } if *at == key);
        let (token, request) = self.expect("a result", fits);
        let Request::Create { object: Object::Result(result), .. } = request else { panic!("no result") };
        (token, result)
    }

    /// c1 owns attempt 1 of a task for which it is first in rank, and executes it.
    fn executing(change: impl FnOnce(&mut SharedConfig)) -> (Self, Task) {
        let mut bench = Self::new(change);
        let task = converge(1, &switch_of("c1", 0, 0));
        bench.announce(&task);
        bench.own(&task, 1);
        assert!(bench.executes(&task).is_some());
        (bench, task)
    }
}

fn done() -> Execution {
    Execution::Done { report: "3 writes".to_owned() }
}

fn claim_of(task: &Task, attempt: u32, nonce: &str, lease_ms: u64) -> Reply {
    Reply::Found(Box::new(Object::Claim(Claim {
        owner: "c2".to_owned(),
        nonce: nonce.to_owned(),
        attempt,
        lease_ms,
        source: "intent".to_owned(),
        occurrence: task.event().occurrence,
        switch: task.switch().to_owned(),
        received: "d1".to_owned(),
        at_ms: 1,
    })))
}

#[test]
fn the_first_in_rank_claims_at_once_and_executes_within_its_lease() {
    let mut bench = Bench::new(|_| ());
    let task = converge(4, &switch_of("c1", 0, 0));
    bench.announce(&task);
    let (token, claim) = bench.claim(&task, 1);
    let sent = bench.now;
    assert_eq!((claim.owner.as_str(), claim.nonce.as_str(), claim.lease_ms), ("c1", "c1/5/1", 3000));
    assert_eq!((claim.received.as_str(), claim.occurrence), ("d1", 4));
    bench.now = bench.now + 9 * MS;
    bench.reply(token, Reply::Created);
    let execute = bench.executes(&task).unwrap();
    assert_eq!(execute, (1, Fence { generation: 4, attempt: 1 }, sent + 2000 * MS));
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
    assert_eq!((requests.requests_create, requests.requests_delete, requests.requests_get), (2, 1, 0));
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
    assert_eq!(bench.executes(&task).unwrap().1, Fence { generation: 1, attempt: 2 });
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
    bench.notice(NoticeOf::Failed, &task, 1);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    bench.reply_list(&Prefix::ClaimsOf(task.id()), vec![Key::Claim(task.id(), 1)]);
    let result = AttemptResult {
        owner: "c2".to_owned(),
        nonce: "c2/1/1".to_owned(),
        attempt: 1,
        source: "intent".to_owned(),
        occurrence: 1,
        reason: "no answer".to_owned(),
        at_ms: 0,
    };
    bench.reply_get(&Key::Result(task.id(), 1), Reply::Found(Box::new(Object::Result(result))));
    bench.pass(250 * MS);
    bench.own(&task, 2);
    bench.reply_get(&Key::Decision(task.id()), Reply::Missing);
    assert!(bench.executes(&task).is_none());
    let outcome = Outcome::Failed { attempts: 1, reason: "no answer".to_owned() };
    assert_eq!(bench.decision(&task).1.outcome, outcome);
}

#[test]
fn fences() {
    let by = |generation, attempt| Execution::Fenced { by: Fence { generation, attempt } };
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
    bench.reply_get(&sibling(&task), claim_of(&converge(9, task.switch()), 1, "c3/1/1", 3000));
    assert_eq!(bench.decision(&task).1.outcome, Outcome::Superseded { by: 9 });
    let (mut bench, task) = Bench::executing(|_| ());
    bench.executed(&task, 1, by(9, 1));
    bench.reply_get(&sibling(&task), Reply::Missing);
    assert!(bench.result(&task, 1).1.reason.contains("another program holds it"));
}

#[test]
fn what_a_heartbeat_tells_of_newer_generations_is_looked_up_before_execution() {
    for (reply, executes) in
        [(Reply::Missing, true), (Reply::Foreign("?".to_owned()), true), (Reply::Unknown, false)]
    {
        let mut bench = Bench::new(|_| ());
        let heartbeat =
            Heartbeat { role: Role::Distributor, generation: 3, notices: vec![], lateness: vec![] };
        bench.input(Input::Heartbeat { sender: 1, heartbeat });
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
                event: Event::generation(3, task.switch()),
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

#[test]
fn executions_have_a_bound() {
    let mut bench = Bench::new(|config| config.limits.executions = 2);
    let tasks: Vec<_> = (0..3).map(|skip| converge(1, &switch_of("c1", 0, skip))).collect();
    tasks.iter().for_each(|task| bench.announce(task));
    bench.own(&tasks[0], 1);
    bench.own(&tasks[1], 1);
    assert!(bench.claims(&tasks[2], 1).is_none(), "a lease would run while it waits");
    bench.executed(&tasks[0], 1, done());
    assert!(bench.claims(&tasks[2], 1).is_some());
}

#[test]
fn tasks_have_a_bound_and_the_queue_has_the_rest() {
    let mut bench = Bench::new(|config| config.limits.tasks = 16);
    let tasks: Vec<_> = (0..17).map(|skip| converge(1, &switch_of("c1", 0, skip))).collect();
    tasks.iter().for_each(|task| bench.announce(task));
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
    bench.pass(3600 * Duration::from_secs(1) - 1000 * MS);
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
        let keys = keys.chain([Listed { key: Key::Decision(decided(50).0), age: day - MS }]).collect();
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
