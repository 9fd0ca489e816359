//! A controller on a bench: one input at a time. The site: controllers c1, c2, c3 (senders 11, 12, 13), distributor d1 (sender 1).

use std::sync::Arc;
use std::time::Duration;

use crate::chain;
use crate::config::{Role, SharedConfig};
use crate::controller::Controller;
use crate::io::{
    Action, Execution, Heard, Heartbeat, Identity, Input, Listed, Machine, Notice, NoticeOf, Reply, Request,
    Token,
};
use crate::key::{Key, Prefix};
use crate::object::{
    AttemptResult, Claim, Decision, DesiredState, Generation, Object, ProbeEntry, QueuedTask,
};
use crate::rank;
use crate::task::{Digest, Event, Fence, NETWORK, Task, Work};
use crate::time::Instant;

pub(super) const MS: Duration = Duration::from_millis(1);

/// What a round of sweeping lists after what the horizon keeps, in this order.
pub(super) const RETAINED: [Prefix; 10] = [
    Prefix::Horizons,
    Prefix::Generations,
    Prefix::Configs,
    Prefix::Epochs,
    Prefix::Audits,
    Prefix::Statuses,
    Prefix::Kept,
    Prefix::Degraded,
    Prefix::Packets,
    Prefix::Blobs,
];

pub(super) fn config() -> SharedConfig {
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

pub(super) fn converge(generation: u64, switch: &str) -> Task {
    let work = Work::Converge { generation, desired: Digest([7; 32]), entries: 0 };
    Task::new(Event::generation(NETWORK, generation, switch), work).unwrap()
}

fn switches() -> impl Iterator<Item = String> {
    (0..1000).map(|number| format!("leaf{number}"))
}

/// A generation of the log, whose tasks [`converge`] gives.
pub(super) fn logged(generation: u64) -> Generation {
    let state = DesiredState { sha256: Digest([7; 32]), entries: 0, place: 0 };
    Generation {
        network: NETWORK,
        generation,
        files: Vec::new(),
        sources: std::collections::BTreeMap::new(),
        numbers: None,
        desired: switches().map(|switch| (switch, state)).collect(),
        since: std::collections::BTreeMap::new(),
        as_of_ms: 0,
        author: "ops".to_owned(),
        at_ms: 0,
    }
}

/// A switch for which this controller has this rank.
pub(super) fn switch_of(me: &str, rank: u32, skip: usize) -> String {
    let names = switches();
    let nodes = || ["c1", "c2", "c3"].into_iter().map(|node| (node, false));
    names.filter(|switch| rank::rank(nodes(), switch, 1, me) == rank).nth(skip).unwrap()
}

/// Time for a round of sweeping, an hour after the start or the last one, when all polls of the last grace have seen this
/// queue, and the horizon of the intent has come so far. What is in the queue, not in mind and not one of these tasks
/// cannot be read.
pub(super) fn seen_for_a_grace(bench: &mut Bench, queue: &[Key], tasks: &[Task], below: u64) {
    bench.pass(Duration::from_hours(1) - Duration::from_secs(605));
    for _ in 0..302 {
        bench.reply_list(&Prefix::Queue, queue.to_vec());
        while let Some((token, request)) =
            bench.find(|request| matches!(request, Request::Get(Key::Queue(_))))
        {
            let task = tasks.iter().find(|task| request == Request::Get(Key::Queue(task.id())));
            let found = |task| Reply::Found(Box::new(Object::Task(QueuedTask::new(task, "d1"))));
            bench.reply(token, task.map_or(Reply::Foreign("schema 2".to_owned()), found));
        }
        bench.pass(2000 * MS);
    }
    bench.reply_list(&Prefix::Queue, queue.to_vec());
    bench.horizons("intent", below);
    bench.actions.retain(|action| !matches!(action, Action::Note(_)));
    bench.pass(1000 * MS);
}

/// Controller c1 with its time; actions that are not looked at are kept.
pub(super) struct Bench {
    pub(super) controller: Controller,
    pub(super) now: Instant,
    pub(super) actions: Vec<Action>,
}

impl Bench {
    /// The horizons and the queue have been read, and are empty.
    pub(super) fn new(change: impl FnOnce(&mut SharedConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let now = Instant::START + Duration::from_secs(1000);
        let me = Identity { name: "c1".to_owned(), network: NETWORK, epoch: 5 };
        let mut bench =
            Self { controller: Controller::new(me, Arc::new(config), now), now, actions: Vec::new() };
        bench.input(Input::Tick);
        bench.horizons("intent", 0);
        bench.reply_list(&Prefix::Queue, vec![]);
        bench.actions.clear();
        bench
    }

    pub(super) fn input(&mut self, input: Input) {
        self.controller.step(self.now, input, &mut self.actions);
    }

    /// Time passes, without a poll's or a sweep's own requests, and is lived through.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.controller.lived = self.now;
        self.input(Input::Tick);
    }

    /// What it says of leaving is said.
    pub(super) fn farewell(&mut self) {
        (0..3).for_each(|_| self.pass(MS * 2));
    }

    /// An announce, which the store bears out.
    pub(super) fn announce(&mut self, task: &Task) {
        self.input(Input::Announced { task: task.clone(), sender: 1 });
        self.prove();
    }

    /// The logs have whatever is asked for: all switches, in the state that [`converge`] says.
    pub(super) fn prove(&mut self) {
        let log = |request: &Request| matches!(request, Request::Get(Key::Generation(_) | Key::Probe(_)));
        while let Some((token, request)) = self.find(log) {
            let object = match request {
                Request::Get(Key::Generation(generation)) => Object::Generation(logged(generation)),
                Request::Get(Key::Probe(number)) => {
                    let (switches, author) = (switches().collect(), "ops".to_owned());
                    Object::Probe(ProbeEntry { network: NETWORK, number, switches, author, at_ms: 0 })
                }
                other => panic!("{other:?}"),
            };
            self.reply(token, Reply::Found(Box::new(object)));
        }
    }

    pub(super) fn notice(&mut self, what: NoticeOf, task: &Task, attempt: u32) {
        let notices = vec![Notice { id: task.id(), attempt, what }];
        self.hear(12, notices);
    }

    /// Others are heard, so that they count as alive.
    pub(super) fn alive(&mut self) {
        for sender in [12, 13] {
            self.hear(sender, vec![]);
        }
    }

    /// The first attempt was another's: a notice says that it has failed, and its result why, whether for want of a push, and
    /// how patient the next ones shall be.
    pub(super) fn learns_of_failure(&mut self, task: &Task, reason: &str, push: bool, patience: u32) {
        self.notice(NoticeOf::Failed, task, 1);
        self.reply_get(&Key::Decision(task.id()), Reply::Missing);
        self.reply_list(&Prefix::ClaimsOf(task.id()), vec![Key::Claim(task.id(), 1)]);
        let result = AttemptResult {
            owner: "c2".to_owned(),
            nonce: "c2/1/1".to_owned(),
            attempt: 1,
            source: "intent".to_owned(),
            occurrence: task.event().occurrence,
            reason: reason.to_owned(),
            push,
            patience,
            unended_ms: 0,
            at_ms: 0,
        };
        self.reply_get(&Key::Result(task.id(), 1), Reply::Found(Box::new(Object::Result(result))));
    }

    /// A heartbeat of one who has heard this start.
    fn hear(&mut self, sender: u32, notices: Vec<Notice>) {
        let heard = vec![Heard { sender: 11, epoch: 5 }];
        let heartbeat = Heartbeat {
            role: Role::Controller,
            generation: 0,
            interval_ms: 200,
            notices,
            lateness: vec![],
            heard,
        };
        self.input(Input::Heartbeat { sender, epoch: 1, sequence: 1, heartbeat });
    }

    /// Takes the request that fits out of the actions.
    pub(super) fn find(&mut self, fits: impl Fn(&Request) -> bool) -> Option<(Token, Request)> {
        let place = self.actions.iter().position(|action| match action {
            Action::Store { request, .. } => fits(request),
            _ => false,
        })?;
        let Action::Store { token, request } = self.actions.remove(place) else { return None };
        Some((token, request))
    }

    pub(super) fn expect(&mut self, what: &str, fits: impl Fn(&Request) -> bool) -> (Token, Request) {
        self.find(fits).unwrap_or_else(|| panic!("no request: {what}, but {:?}", self.actions))
    }

    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.input(Input::Stored { token, reply });
    }

    pub(super) fn reply_list(&mut self, of: &Prefix, keys: Vec<Key>) {
        let fits = |request: &Request| matches!(request, Request::List { prefix, .. } if prefix == of);
        let (token, _) = self.expect("a listing", fits);
        let keys = keys.into_iter().map(|key| Listed { key, age: Duration::ZERO }).collect();
        self.reply(token, Reply::Page { keys, next: None });
    }

    /// The horizons are read: this source's is raised so far, others' are not.
    pub(super) fn horizons(&mut self, source: &str, below: u64) {
        let path = chain::path(below);
        let fits = |request: &Request| matches!(request, Request::Get(Key::Horizon(..)));
        let mut read = false;
        while let Some((token, request)) = self.find(fits) {
            let Request::Get(Key::Horizon(of, number)) = request else { panic!("{request:?}") };
            let there = of == source && path.contains(&number);
            // What it says does not matter.
            self.reply(token, if there { Reply::Foreign("schema 2".to_owned()) } else { Reply::Missing });
            read = true;
        }
        assert!(read, "the horizons are not asked for");
        self.actions.retain(|action| !matches!(action, Action::Note(_)));
    }

    pub(super) fn reply_get(&mut self, key: &Key, reply: Reply) {
        let (token, _) = self.expect("a GET", |request| *request == Request::Get(key.clone()));
        self.reply(token, reply);
        if let Key::Queue(_) = key {
            self.prove();
        }
    }

    pub(super) fn claims(&mut self, task: &Task, attempt: u32) -> Option<(Token, Claim)> {
        let key = Key::Claim(task.id(), attempt);
        let (token, request) =
            self.find(|request| matches!(request, Request::Create { key: at, .. } if *at == key))?;
        let Request::Create { object: Object::Claim(claim), .. } = request else { panic!("no claim") };
        Some((token, claim))
    }

    pub(super) fn claim(&mut self, task: &Task, attempt: u32) -> (Token, Claim) {
        self.claims(task, attempt).unwrap_or_else(|| panic!("no claim of {attempt}: {:?}", self.actions))
    }

    pub(super) fn own(&mut self, task: &Task, attempt: u32) -> Claim {
        let (token, claim) = self.claim(task, attempt);
        self.reply(token, Reply::Created);
        claim
    }

    pub(super) fn executes(&mut self, task: &Task) -> Option<(u32, Fence, Instant)> {
        let found = self.actions.iter().position(|action| match action {
            Action::Execute { task: of, .. } => of == task,
            _ => false,
        })?;
        let Action::Execute { attempt, fence, start_before, .. } = self.actions.remove(found) else {
            return None;
        };
        Some((attempt, fence, start_before))
    }

    pub(super) fn executed(&mut self, task: &Task, attempt: u32, outcome: Execution) {
        self.input(Input::Executed { id: task.id(), attempt, outcome });
    }

    pub(super) fn decision(&mut self, task: &Task) -> (Token, Decision) {
        let key = Key::Decision(task.id());
        let fits = |request: &Request| matches!(request, Request::Create { key: at, .. } if *at == key);
        let (token, request) = self.expect("a decision", fits);
        let Request::Create { object: Object::Decision(decision), .. } = request else {
            panic!("no decision")
        };
        (token, decision)
    }

    pub(super) fn result(&mut self, task: &Task, attempt: u32) -> (Token, AttemptResult) {
        let key = Key::Result(task.id(), attempt);
        let fits = |request: &Request| matches!(request, Request::Create { key: at, .. } if *at == key);
        let (token, request) = self.expect("a result", fits);
        let Request::Create { object: Object::Result(result), .. } = request else { panic!("no result") };
        (token, result)
    }

    /// c1 owns attempt 1 of a task for which it is first in rank, and executes it.
    pub(super) fn executing(change: impl FnOnce(&mut SharedConfig)) -> (Self, Task) {
        let mut bench = Self::new(change);
        let task = converge(1, &switch_of("c1", 0, 0));
        bench.announce(&task);
        bench.own(&task, 1);
        assert!(bench.executes(&task).is_some());
        (bench, task)
    }
}

pub(super) fn done() -> Execution {
    Execution::Done { report: "3 writes".to_owned() }
}

pub(super) fn claim_of(task: &Task, attempt: u32, nonce: &str, lease_ms: u64) -> Reply {
    Reply::Found(Box::new(Object::Claim(Claim {
        owner: "c2".to_owned(),
        nonce: nonce.to_owned(),
        attempt,
        lease_ms,
        source: "intent".to_owned(),
        occurrence: task.event().occurrence,
        switch: task.switch().to_owned(),
        received: "d1".to_owned(),
        waited_us: 0,
        at_ms: 1,
    })))
}
