use std::time::Duration;

use super::*;
use crate::chain;
use crate::io::Notice;
use crate::task::{Digest, Event, NETWORK};

const MS: Duration = Duration::from_millis(1);

fn task(generation: u64, switch: &str) -> Task {
    let work = Work::Converge { generation, desired: Digest([7; 32]), entries: 0 };
    Task::new(Event::generation(NETWORK, generation, switch), work).unwrap()
}

struct Bench {
    distributor: Distributor,
    now: Instant,
    actions: Vec<Action>,
}

impl Bench {
    fn new() -> Self {
        let config = SharedConfig {
            limits: crate::config::Limits { requests: 8, ..Default::default() },
            queue: crate::config::Queue { delay_ms: 0, ..Default::default() },
            ..Default::default()
        };
        Self::with(config)
    }

    fn with(config: SharedConfig) -> Self {
        let now = Instant::START + Duration::from_secs(7);
        let me = Identity { name: "d1".to_owned(), network: NETWORK, epoch: 1 };
        Self { distributor: Distributor::new(me, Arc::new(config), now), now, actions: Vec::new() }
    }

    /// One that has emitted before, so that nothing is checked.
    fn settled() -> Self {
        Self::new().settle()
    }

    /// One of two distributors: its tasks wait for 40 ms, or for 80 where it is the second in rank.
    fn of_two() -> Self {
        let mut config = SharedConfig::default();
        config.queue.delay_ms = 40;
        for (name, sender) in [("d1", 1), ("d2", 2)] {
            let address = std::net::SocketAddr::from(([192, 0, 2, 1], 8277));
            let role = Role::Distributor;
            config.members.push(crate::config::Member {
                name: name.to_owned(),
                sender,
                role,
                address,
                http: None,
            });
        }
        Self::with(config).settle()
    }

    fn settle(mut self) -> Self {
        self.emit(1, &[]);
        self.horizons("intent", 0);
        self
    }

    fn input(&mut self, input: Input) {
        self.distributor.step(self.now, input, &mut self.actions);
    }

    fn emit(&mut self, generation: u64, tasks: &[Task]) {
        self.input(Input::Emit { generation, tasks: tasks.to_vec() });
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick);
    }

    /// What it says of leaving is said.
    fn farewell(&mut self) {
        (0..3).for_each(|_| self.pass(MS * 2));
    }

    fn hear(&mut self, notices: Vec<Notice>) {
        let heartbeat = Heartbeat {
            role: Role::Controller,
            generation: 0,
            interval_ms: 200,
            notices,
            lateness: vec![],
            heard: vec![],
        };
        self.input(Input::Heartbeat { sender: 9, epoch: 1, sequence: 1, heartbeat });
    }

    fn find(&mut self, fits: impl Fn(&Request) -> bool) -> Option<Token> {
        let place = self.actions.iter().position(|action| match action {
            Action::Store { request, .. } => fits(request),
            _ => false,
        })?;
        let Action::Store { token, .. } = self.actions.remove(place) else { return None };
        Some(token)
    }

    fn answer(&mut self, reply: Reply, fits: impl Fn(&Request) -> bool) {
        let token = self.find(fits).unwrap_or_else(|| panic!("no such request, but {:?}", self.actions));
        self.input(Input::Stored { token, reply });
    }

    /// The horizons are read: this source's is raised so far, others' are not.
    fn horizons(&mut self, source: &str, below: u64) {
        let path = chain::path(below);
        let place = |action: &Action| match action {
            Action::Store { token, request: Request::Get(Key::Horizon(source, below)) } => {
                Some((*token, source.clone(), *below))
            }
            _ => None,
        };
        while let Some((token, of, number)) = self.actions.iter().find_map(place) {
            self.actions.retain(|action| place(action).is_none_or(|(other, ..)| other != token));
            let there = of == source && path.contains(&number);
            let reply = if there { Reply::Foreign("schema 2".to_owned()) } else { Reply::Missing };
            self.input(Input::Stored { token, reply });
        }
    }

    fn announced(&mut self) -> Vec<Task> {
        let mut announced = Vec::new();
        self.actions.retain(|action| match action {
            Action::Announce { task, .. } => {
                announced.push(task.clone());
                false
            }
            _ => true,
        });
        announced
    }
}

fn blob(request: &Request) -> bool {
    matches!(request, Request::CreateBlob(_))
}

fn queue(request: &Request) -> bool {
    matches!(request, Request::Create { key: Key::Queue(_), .. })
}

fn decision(request: &Request) -> bool {
    matches!(request, Request::Get(Key::Decision(_)))
}

#[test]
fn announces_at_once_and_queues_what_can_be_executed() {
    let mut bench = Bench::settled();
    let one = task(2, "leaf1");
    bench.emit(2, std::slice::from_ref(&one));
    assert_eq!(bench.announced(), [one], "before any reply of the store");
    assert!(bench.find(queue).is_none(), "its desired state first");
    bench.answer(Reply::Unknown, blob);
    bench.pass(50 * MS);
    bench.answer(Reply::Exists, blob);
    bench.answer(Reply::Unknown, queue);
    bench.pass(50 * MS);
    bench.answer(Reply::Created, queue);
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().queued), (0, 1));
    assert!(bench.announced().is_empty(), "once");
}

/// A switch for which d1 has this rank of two.
fn switch_of_rank(wanted: u32) -> String {
    let names = || ["d1", "d2"].into_iter().map(|name| (name, false));
    let mut switches = (1..).map(|number| format!("leaf{number}"));
    switches.find(|switch| rank(names(), switch, 1, "d1") == wanted).unwrap()
}

#[test]
fn queues_by_rank_what_is_not_decided_soon() {
    let mut bench = Bench::of_two();
    let [one, two] = [0, 1].map(|rank| probe(1, &switch_of_rank(rank)));
    bench.input(Input::Probe { tasks: vec![one.clone(), two.clone()], old: false });
    assert_eq!(bench.announced(), [one, two.clone()], "at once");
    bench.pass(39 * MS);
    assert!(bench.find(queue).is_none());
    bench.pass(MS);
    bench.answer(Reply::Created, queue);
    bench.pass(39 * MS);
    assert!(bench.find(queue).is_none(), "the other one is the first in rank");
    let notice = |what| Notice { id: two.id(), attempt: 1, what };
    bench.hear(vec![notice(NoticeOf::Claimed), notice(NoticeOf::Failed)]);
    assert_eq!(bench.distributor.tasks(), 1, "a claim may be lost");
    bench.hear(vec![notice(NoticeOf::Decided)]);
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().needless), (0, 1));
    bench.pass(100 * MS);
    assert!(bench.find(queue).is_none());
}

#[test]
fn a_stream_of_generations_does_not_keep_the_queue_empty() {
    let mut bench = Bench::of_two();
    let switch = switch_of_rank(0);
    for generation in 2..6 {
        bench.emit(generation, &[task(generation, &switch)]);
        assert!(bench.find(blob).is_none());
        bench.pass(13 * MS);
    }
    bench.emit(6, &[task(6, &switch)]);
    assert!(bench.find(blob).is_some(), "52 ms after the first one was announced");
    bench.emit(7, &[task(7, &switch)]);
    assert!(bench.find(blob).is_some(), "the one before was under way");
}

#[test]
fn a_drain_waits_for_no_decision() {
    let mut bench = Bench::of_two();
    bench.input(Input::Probe { tasks: vec![probe(1, "leaf1")], old: false });
    bench.input(Input::Drain);
    bench.answer(Reply::Created, queue);
    bench.farewell();
    assert!(bench.distributor.is_drained());
}

#[test]
fn after_a_start_only_what_is_needed_is_emitted() {
    let mut bench = Bench::new();
    let tasks = [task(5, "leaf1"), task(5, "leaf2")];
    bench.emit(5, &tasks);
    assert!(bench.announced().is_empty() && bench.find(decision).is_none(), "the horizons first");
    bench.horizons("intent", 5);
    bench.answer(Reply::Foreign("somebody's".to_owned()), decision);
    bench.answer(Reply::Missing, decision);
    assert_eq!(bench.announced().len(), 1);
    assert_eq!(bench.distributor.counters().needless, 1);
    let mut bench = Bench::new();
    bench.emit(5, &tasks);
    bench.horizons("intent", 6);
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().needless), (0, 2), "closed");
}

#[test]
fn newer_generations_overtake() {
    let mut bench = Bench::settled();
    bench.emit(2, &[task(2, "leaf1"), task(2, "leaf2")]);
    bench.emit(3, &[task(3, "leaf1")]);
    assert_eq!(bench.distributor.tasks(), 2, "leaf2's is still of use");
    bench.emit(2, &[task(2, "leaf1")]);
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().overtaken), (2, 2));
    // Replies to forgotten requests change nothing.
    for _ in 0..3 {
        bench.answer(Reply::Created, blob);
    }
    for _ in 0..2 {
        bench.answer(Reply::Created, queue);
    }
    assert!(bench.find(queue).is_none() && bench.distributor.tasks() == 0);
}

#[test]
fn requests_have_a_bound_and_announces_do_not_wait() {
    let mut bench = Bench::settled();
    let tasks: Vec<_> = (0..20).map(|number| task(2, &format!("leaf{number}"))).collect();
    bench.emit(2, &tasks);
    assert_eq!(bench.announced().len(), 20);
    let mut tokens: Vec<_> = std::iter::from_fn(|| bench.find(blob)).collect();
    assert_eq!(tokens.len(), 8);
    let mut answered = 0;
    while let Some(token) = tokens.pop() {
        answered += 1;
        bench.input(Input::Stored { token, reply: Reply::Created });
        tokens.extend(std::iter::from_fn(|| bench.find(|request| blob(request) || queue(request))));
        assert!(tokens.len() <= 8);
    }
    assert_eq!((answered, bench.distributor.tasks()), (40, 0));
}

#[test]
fn drains_when_all_is_queued() {
    let mut bench = Bench::settled();
    bench.emit(2, &[task(2, "leaf1")]);
    bench.input(Input::Drain);
    assert!(!bench.distributor.is_drained());
    bench.emit(3, &[task(3, "leaf1")]);
    assert_eq!(bench.distributor.tasks(), 1);
    bench.answer(Reply::Created, blob);
    bench.answer(Reply::Created, queue);
    bench.farewell();
    assert!(bench.distributor.is_drained());
}

fn probe(number: u64, switch: &str) -> Task {
    Task::new(Event::probe(NETWORK, number, switch), Work::Ask {}).unwrap()
}

#[test]
fn probes_and_generations_do_not_overtake_each_other() {
    let mut bench = Bench::settled();
    bench.emit(2, &[task(2, "leaf1")]);
    bench.input(Input::Probe { tasks: vec![probe(7, "leaf1")], old: false });
    bench.emit(3, &[task(3, "leaf1")]);
    assert_eq!(bench.announced(), [task(2, "leaf1"), probe(7, "leaf1"), task(3, "leaf1")]);
    assert_eq!((bench.distributor.tasks(), bench.distributor.generation()), (2, 3));
    assert_eq!(bench.distributor.counters().overtaken, 1, "generation 2 alone");
    bench.answer(Reply::Created, |request| match request {
        Request::Create { object: Object::Task(queued), .. } => queued.work == Work::Ask {},
        _ => false,
    });
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().queued), (1, 1));
}

#[test]
fn old_probes_are_emitted_only_where_they_are_needed() {
    let mut bench = Bench::new();
    let old = |numbers: &[u64]| numbers.iter().map(|number| probe(*number, "leaf1")).collect();
    bench.input(Input::Probe { tasks: old(&[3, 4]), old: true });
    bench.emit(5, &[]);
    bench.horizons("probe", 4);
    bench.answer(Reply::Missing, decision);
    assert_eq!((bench.announced(), bench.distributor.counters().needless), (old(&[4]), 1));
    bench.input(Input::Probe { tasks: old(&[1, 5]), old: true });
    assert_eq!(bench.distributor.counters().needless, 2, "closed");
    bench.answer(Reply::Foreign("somebody's".to_owned()), decision);
    assert_eq!((bench.announced(), bench.distributor.counters().needless), (vec![], 3), "decided");
}

#[test]
fn generations_come_before_probes() {
    let mut bench = Bench::settled();
    let probes = (0..20).map(|number| probe(1, &format!("leaf{number}"))).collect();
    bench.input(Input::Probe { tasks: probes, old: false });
    bench.emit(2, &[task(2, "leaf99")]);
    assert!(bench.find(blob).is_none(), "8 requests are under way");
    bench.answer(Reply::Created, queue);
    assert!(bench.find(blob).is_some(), "the generation has the next turn");
}

#[test]
fn probes_leave_room_for_a_generation() {
    let mut bench = Bench::settled();
    let room = bench.distributor.room();
    let probes = (0..room).map(|number| probe(1, &format!("leaf{number}"))).collect();
    bench.input(Input::Probe { tasks: probes, old: false });
    assert_eq!((bench.distributor.room(), bench.distributor.counters().refused_full), (0, 0));
    bench.input(Input::Probe { tasks: vec![probe(2, "leaf1")], old: false });
    assert_eq!(bench.distributor.counters().refused_full, 1);
    bench.emit(2, &[task(2, "leaf1")]);
    assert_eq!(bench.distributor.tasks(), room + 1);
}

/// What says nothing new is emitted once; what a generation that was passed over has said is emitted with the next.
#[test]
fn only_what_has_changed_is_emitted() {
    let announced = |bench: &mut Bench| {
        let task = |action: Action| match action {
            Action::Announce { task, .. } => Some(task),
            _ => None,
        };
        std::mem::take(&mut bench.actions).into_iter().filter_map(task).collect::<Vec<_>>()
    };
    let mut bench = Bench::of_two();
    bench.actions.clear();
    let (one, two) = (task(2, "leaf1"), task(2, "leaf2"));
    bench.emit(2, &[one.clone(), two.clone()]);
    assert_eq!(announced(&mut bench), [one.clone(), two.clone()]);
    bench.emit(3, &[one.clone(), two.clone()]);
    assert_eq!((announced(&mut bench), bench.distributor.tasks()), (vec![], 2));
    // Generation 4 was not followed here.
    let (newer, newest) = (task(4, "leaf1"), task(5, "leaf3"));
    bench.emit(5, &[newer.clone(), two.clone(), newest.clone()]);
    assert_eq!(announced(&mut bench), [newer, newest]);
    assert_eq!((bench.distributor.tasks(), bench.distributor.counters().overtaken), (3, 1));
    // Whoever starts does not know what was emitted: it looks at the tasks of earlier generations as well.
    let mut bench = Bench::new();
    bench.emit(5, std::slice::from_ref(&one));
    bench.horizons("intent", 0);
    bench.answer(Reply::Missing, |request| *request == Request::Get(Key::Decision(one.id())));
    assert_eq!(announced(&mut bench), [one]);
}
