//! A session that has been the only primary knows what its switch holds and does not read it; whoever cannot know it reads.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use outplane_compiler::program::ActionKind;
use outplane_compiler::state::Desired;
use outplane_driver::{Fence, Session as _};
use outplane_driver_p4runtime::{
    Connection, ConvergeOptions, Counted, CountedEntry, Problem, Reading, Session, election_id,
};
use outplane_p4runtime::entry::{Counter, Entry, Key, MulticastGroup};
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_p4runtime::schema::TableInfo;
use outplane_softswitch::server::Config;
use outplane_softswitch::state::Limits;
use outplane_softswitch::{Switch, SwitchConfig};
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::bmv2::Bmv2;
use crate::fake::{Fake, Fault};
use crate::fence::{Any, Watcher, assert_switch_holds, fence, wire};
use crate::states::{VERIFY, assert_holds, class, filter, flood, options, pipeline, policy, program, target};

const PLAIN: ConvergeOptions<'static> = ConvergeOptions { verify: false, ..VERIFY };

fn state(rules: u32) -> Desired {
    policy(rules, ActionKind::AdminPermit)
}

fn session(address: SocketAddr) -> Session {
    Session::new(target(address), pipeline(), options())
}

async fn holds(address: &str, state: &Desired) {
    let connection =
        Connection::open_read_only(target(address), pipeline(), options()).await.expect("a connection");
    assert_holds(&connection.read_installed(state, false).await.expect("a read").installed, state);
}

/// The entries of the fake switch, as messages.
async fn entries(address: SocketAddr) -> Vec<proto::TableEntry> {
    let connection =
        Connection::open_read_only(target(address), pipeline(), options()).await.expect("a connection");
    let installed = connection.read_installed(&Desired::default(), false).await.expect("a read").installed;
    installed.entries.iter().map(|entry| program().schema().entry_to_proto(entry)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_alone_does_not_read_and_others_do() {
    for switch in Any::all().await {
        let (mut a, mut b) = (switch.session(options()), switch.session(options()));
        for (generation, rules) in [(1, 10), (2, 60), (3, 60), (4, 3), (5, 80)] {
            let report =
                a.converge_with(None, fence(generation, 1), &state(rules), PLAIN).await.expect("converges");
            assert_eq!((report.remembered, report.rounds), (generation > 1, 1));
            assert!(!report.remembered || report.reading.is_zero());
            holds(&switch.address(), &state(rules)).await;
        }
        // The same task once more, and what it plans to verify.
        let again = a.converge_with(None, fence(5, 1), &state(80), PLAIN).await.expect("converges");
        assert_eq!((again.remembered, again.plan.total), (true, 0));
        let report = a.converge_with(None, fence(6, 1), &state(81), VERIFY).await.expect("converges");
        assert!(report.remembered);

        // Somebody in between, who stays or goes: where the switch forgets, A is primary again.
        for (round, goes) in [(10, false), (20, true)] {
            let report = b.converge_with(None, fence(round, 1), &state(20), PLAIN).await;
            assert!(!report.expect("converges").remembered);
            if goes {
                let mut watcher = Watcher::new(&switch.address()).await;
                watcher.wait_for_the_end_of(Fence::default()).await;
                b.close();
                watcher.wait_for_the_end_of(fence(round, 1)).await;
            }
            let report = a.converge_with(None, fence(round + 1, 1), &state(21), PLAIN).await;
            assert!(!report.expect("converges").remembered);
            assert_switch_holds(&a, &state(21)).await;
            let report = a.converge_with(None, fence(round + 2, 1), &state(22), PLAIN).await;
            assert!(report.expect("converges").remembered);
        }

        // Whoever has closed the connection, or has heard of a stranger, knows nothing.
        a.disown(fence(77, 7));
        let report = a.converge_with(None, fence(22, 1), &state(22), PLAIN).await.expect("converges");
        assert!(!report.remembered, "under the same fence as before");
        a.close();
        let report = a.converge_with(None, fence(23, 1), &state(23), PLAIN).await.expect("converges");
        assert!(!report.remembered);
        // Nor whoever has failed.
        a.converge_with(None, fence(9, 0), &state(24), PLAIN).await.expect_err("too low");
        let report = a.converge_with(None, fence(24, 1), &state(24), PLAIN).await.expect("converges");
        assert!(!report.remembered);
        holds(&switch.address(), &state(24)).await;
    }
}

/// A restart ends the stream, however soon the switch is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_restarted_empty_is_read_and_brought_back() {
    fn start(listener: TcpListener) -> Switch {
        let config =
            SwitchConfig { listener, server: Config::new(1), ports: Vec::new(), limits: Limits::default() };
        Switch::start(config).expect("starts")
    }
    let mut switch = start(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let address = switch.server().address();
    let mut soft = session(address);
    for round in 0..3 {
        for generation in [1, 2] {
            let fence = fence(round * 10 + generation, 1);
            let rules = 10 + u32::try_from(generation).expect("small");
            let report = soft.converge_with(None, fence, &state(rules), PLAIN).await.expect("converges");
            assert_eq!(report.remembered, generation == 2);
            holds(&address.to_string(), &state(rules)).await;
        }
        switch.shutdown().await.expect("ends");
        switch = start(TcpListener::bind(address).await.expect("the port"));
    }

    let Some(mut switch) = Bmv2::start() else { return };
    let mut bmv2 = session(switch.address);
    for round in 0..2 {
        for generation in [1, 2] {
            let fence = fence(round * 10 + generation, 1);
            let report = bmv2.converge_with(None, fence, &state(10), PLAIN).await.expect("converges");
            assert_eq!(report.remembered, generation == 2);
            holds(&switch.address.to_string(), &state(10)).await;
        }
        switch.restart().await;
    }
}

/// Without a read there is none of any table, nor of the cookie.
#[tokio::test]
async fn nothing_is_read_of_a_switch_that_is_known() {
    let switch = Fake::start().await;
    let mut a = session(switch.address);
    a.converge_with(None, fence(1, 1), &state(10), PLAIN).await.expect("converges");
    switch.manners().reads.clear();
    // It would take longer than anybody waits.
    switch.manners().slow_cookie = Some(Duration::from_hours(1));
    for generation in 2..6 {
        assert!(a.read_ahead().await.is_none());
        let rules = 10 + u32::try_from(generation).expect("small");
        let report =
            a.converge_with(None, fence(generation, 1), &state(rules), PLAIN).await.expect("converges");
        assert!(report.remembered && report.plan.total > 0);
    }
    assert_eq!(switch.manners().reads, [0usize; 0]);
    switch.manners().slow_cookie = None;

    // Somebody who needs no primacy takes an entry away: no task sees it, an audit does, and then the task that mends it.
    let taken = entries(switch.address).await.pop().expect("an entry");
    switch.remove(&taken);
    let report = a.converge_with(None, fence(6, 1), &state(15), PLAIN).await.expect("converges");
    assert_eq!((report.remembered, report.plan.total), (true, 0));
    assert!(a.audit(&state(15)).await.expect("an audit").difference.is_some());
    let report = a.converge_with(None, fence(7, 1), &state(15), PLAIN).await.expect("converges");
    assert_eq!((report.remembered, report.plan.total), (false, 1));
    holds(&switch.address.to_string(), &state(15)).await;

    // It was another one who has looked: whoever repairs reads all the same.
    switch.remove(&taken);
    let mut keeper = session(switch.address);
    assert!(keeper.audit(&state(15)).await.expect("an audit").difference.is_some());
    let repair = Fence { audit: 1, ..fence(7, 1) };
    a.doubt();
    let report = a.converge_with(None, repair, &state(15), PLAIN).await.expect("converges");
    assert_eq!((report.remembered, report.plan.total), (false, 1));
    holds(&switch.address.to_string(), &state(15)).await;

    // An audit that finds all as it should be says so.
    assert!(a.audit(&state(15)).await.expect("an audit").difference.is_none());
    let report = a.converge_with(None, fence(8, 1), &state(16), PLAIN).await.expect("converges");
    assert!(report.remembered);
    holds(&switch.address.to_string(), &state(16)).await;
}

/// What somebody without primacy does to a switch before a rule comes, or goes.
type Meddle = fn(&Fake, &dyn Fn(Entry) -> proto::TableEntry);

/// What is planned from memory goes wrong where that is wrong. The switch says so, is read, and all ends well.
#[tokio::test]
async fn a_memory_that_is_wrong_is_given_up_when_the_switch_says_so() {
    let schema = program().schema();
    let of = |entry: Entry| schema.entry_to_proto(&entry);
    let with = |rules: &[u128]| {
        let comes = rules.iter().map(|rule| filter(*rule, ActionKind::AdminPermit));
        Desired { entries: state(10).entries.iter().cloned().chain(comes).collect(), ..state(10) }
    };
    let meddle: [(&str, &[u128], &[u128], Meddle); 4] = [
        ("inserts what comes, otherwise", &[], &[20], |switch, of| {
            switch.put(of(filter(20, ActionKind::AdminDeny)));
        }),
        ("inserts what comes, just so, and deletes another", &[], &[20], |switch, of| {
            switch.put(of(filter(20, ActionKind::AdminPermit)));
            switch.remove(&of(class(1, 2)));
        }),
        ("deletes what goes", &[20], &[], |switch, of| {
            switch.remove(&of(filter(20, ActionKind::AdminPermit)));
        }),
        ("deletes what goes, and more", &[20], &[], |switch, of| {
            switch.remove(&of(filter(20, ActionKind::AdminPermit)));
            switch.remove(&of(class(1, 2)));
        }),
    ];
    for (what, before, after, meddle) in meddle {
        let switch = Fake::start().await;
        let mut a = session(switch.address);
        a.converge_with(None, fence(1, 1), &with(before), PLAIN).await.expect("converges");
        meddle(&switch, &of);
        let report = a.converge_with(None, fence(2, 1), &with(after), PLAIN).await.expect("converges");
        assert_eq!((report.rounds, report.remembered), (2, false), "{what}");
        holds(&switch.address.to_string(), &with(after)).await;
        let report = a.converge_with(None, fence(3, 1), &state(12), PLAIN).await.expect("converges");
        assert!(report.remembered, "{what}");
        holds(&switch.address.to_string(), &state(12)).await;
    }

    // An entry that is to act otherwise is gone: no such entry to modify.
    let switch = Fake::start().await;
    let mut a = session(switch.address);
    let forwarding = |group| Desired {
        entries: state(10).entries.iter().cloned().chain([flood(2, group)]).collect(),
        groups: [1, 2, 3].map(|id| MulticastGroup { id, ports: vec![id] }).to_vec(),
        meters: Vec::new(),
    };
    a.converge_with(None, fence(1, 1), &forwarding(2), PLAIN).await.expect("converges");
    switch.remove(&of(flood(2, 2)));
    let report = a.converge_with(None, fence(2, 1), &forwarding(3), PLAIN).await.expect("converges");
    assert_eq!((report.rounds, report.remembered), (2, false));
    holds(&switch.address.to_string(), &forwarding(3)).await;

    // There is less room than was known: it is tried from what it holds, once, and then it is an error as ever.
    let comes = of(class(11, 12));
    let refuses = move |update: &proto::Update| {
        let entity = update.entity.as_ref().and_then(|entity| entity.entity.clone());
        matches!(entity, Some(proto::entity::Entity::TableEntry(entry)) if entry.r#match == comes.r#match)
            .then_some((Code::ResourceExhausted, "full"))
    };
    let before = forwarding(3);
    switch.manners().refuses = Some(Box::new(refuses));
    switch.manners().reads.clear();
    let more = Desired {
        entries: before.entries.iter().cloned().chain([class(11, 12)]).collect(),
        ..before.clone()
    };
    let error = a.converge_with(None, fence(3, 1), &more, PLAIN).await.expect_err("it is full");
    assert!(matches!(*error.problem, Problem::Refused(_)), "{error}");
    assert!(!switch.manners().reads.is_empty());
    holds(&switch.address.to_string(), &before).await;
    switch.manners().refuses = None;
    let report = a.converge_with(None, fence(4, 1), &more, PLAIN).await.expect("converges");
    assert!(!report.remembered);
    holds(&switch.address.to_string(), &more).await;
}

/// A chunk whose answer was lost comes twice: what is there then may be our own, and is compared. It is no reason to begin
/// anew, and one to read before the next task.
#[tokio::test]
async fn what_came_twice_is_read_the_next_time() {
    let switch = Fake::start().await;
    let mut a = session(switch.address);
    a.converge_with(None, fence(1, 1), &state(10), PLAIN).await.expect("converges");
    switch.script(|number, _| match number {
        0 => Fault::Lie(Status::internal("received trailing metadata size exceeds limit")),
        _ => Fault::None,
    });
    let report = a.converge_with(None, fence(2, 1), &state(11), PLAIN).await.expect("converges");
    assert!(report.remembered && report.rounds == 1 && report.written.repeated > 0, "{report:?}");
    holds(&switch.address.to_string(), &state(11)).await;
    for (generation, remembered) in [(3, false), (4, true)] {
        let report = a.converge_with(None, fence(generation, 1), &state(12), PLAIN).await.expect("converges");
        assert_eq!(report.remembered, remembered);
    }
}

/// Whose primacy nobody speaks of, and what does not let itself be read, is never known.
#[tokio::test]
async fn whoever_cannot_know_reads() {
    let switch = Fake::start().await;
    switch.manners().no_arbitration = true;
    let mut a = session(switch.address);
    for generation in 1..4 {
        let report = a.converge_with(None, fence(generation, 1), &state(10), PLAIN).await.expect("converges");
        assert!(!report.remembered);
    }
    let switch = Fake::start().await;
    switch.manners().no_groups = true;
    let mut a = session(switch.address);
    for generation in 1..4 {
        let report = a.converge_with(None, fence(generation, 1), &state(10), PLAIN).await.expect("converges");
        assert!(!report.remembered);
    }
    // A group that comes may be another's.
    let switch = Fake::start().await;
    let mut a = session(switch.address);
    a.converge_with(None, fence(1, 1), &state(10), PLAIN).await.expect("converges");
    switch.put_group(proto::MulticastGroupEntry {
        multicast_group_id: 7,
        metadata: b"theirs".to_vec(),
        ..proto::MulticastGroupEntry::default()
    });
    let mut more = state(10);
    more.groups.push(MulticastGroup { id: 7, ports: vec![1] });
    let error = a.converge_with(None, fence(2, 1), &more, PLAIN).await.expect_err("it is theirs");
    assert!(matches!(*error.problem, Problem::ForeignGroup { group: 7 }), "{error}");
}

/// What readings say of each rule, added up as whoever keeps them for long does.
#[derive(Default)]
struct Totals {
    known: HashMap<Key, u64>,
    rules: HashMap<String, u64>,
}

impl Totals {
    fn add(&mut self, reading: Reading) {
        let (entries, whole) = match reading {
            Reading::Whole(entries) => (entries, true),
            Reading::Part(entries) => (entries, false),
            Reading::Inserted(entries) => {
                self.known.extend(entries.into_iter().map(|entry| (entry.key, 0)));
                return;
            }
            Reading::Deleted(keys) => {
                self.known.retain(|key, _| !keys.contains(key));
                return;
            }
        };
        let before = if whole { std::mem::take(&mut self.known) } else { HashMap::new() };
        for CountedEntry { key, origin, counter } in entries {
            let known = before.get(&key).or_else(|| self.known.get(&key)).copied().unwrap_or_default();
            let more = counter.packets.checked_sub(known).expect("it goes on");
            if more > 0 {
                *self.rules.entry(origin.rule).or_default() += more;
            }
            self.known.insert(key, counter.packets);
        }
    }
}

/// Tells the switch that an entry has counted so much, as its packets would.
async fn count(
    client: &mut P4RuntimeClient<tonic::transport::Channel>,
    fence: Fence,
    key: &Key,
    packets: u64,
) {
    let counter = Counter { packets, bytes: packets * 100 };
    let entry = proto::DirectCounterEntry {
        table_entry: Some(program().schema().key_to_proto(key)),
        data: Some(proto::CounterData {
            packet_count: i64::try_from(counter.packets).expect("little"),
            byte_count: i64::try_from(counter.bytes).expect("little"),
        }),
    };
    let update = proto::Update {
        r#type: proto::update::Type::Modify.into(),
        entity: Some(proto::Entity { entity: Some(proto::entity::Entity::DirectCounterEntry(entry)) }),
    };
    let request = proto::WriteRequest {
        device_id: 1,
        election_id: Some(wire(fence)),
        updates: vec![update],
        ..proto::WriteRequest::default()
    };
    client.write(request).await.expect("counts");
}

/// Twenty changes of a switch that is not read: what is deleted has been read before, by its key, and comes back to count
/// from nothing; rules go, come, are denied and permitted in turn, and are renamed where they stand.
#[tokio::test(flavor = "multi_thread")]
async fn counters_are_whole_though_nothing_is_read() {
    for switch in Any::all().await {
        let counted = Counted::default();
        let mut a = switch.session(options()).with_counted(counted.clone());
        let mut client =
            P4RuntimeClient::connect(format!("http://{}", switch.address())).await.expect("connects");
        let mut totals = Totals::default();
        let mut truth: HashMap<String, u64> = HashMap::new();
        let (mut parts, mut wholes) = (0, 0);
        for generation in 1..=20u64 {
            let step = u32::try_from(generation).expect("small");
            let action = [ActionKind::AdminPermit, ActionKind::AdminDeny][(step / 4 % 2) as usize];
            let mut desired = policy(50 + step % 3, action);
            if step.is_multiple_of(5) {
                // Another rule asks for the same.
                let rename = |entry: &Entry| {
                    let is_it = entry.key == filter(1, action).key;
                    let metadata = if is_it { class(1, 2).metadata } else { entry.metadata.clone() };
                    Entry { metadata, ..entry.clone() }
                };
                desired.entries = desired.entries.iter().map(rename).collect();
            }
            let fence = fence(generation, 1);
            let report = a.converge_with(None, fence, &desired, PLAIN).await.expect("converges");
            assert_eq!(report.remembered, generation > 1);
            for reading in counted.take() {
                parts += usize::from(matches!(reading, Reading::Part(_)));
                wholes += usize::from(reading.is_whole() && generation > 1);
                totals.add(reading);
            }
            // Packets on some of the rules, old and new.
            assert_eq!(a.connection().expect("connected").election_id(), Some(election_id(fence)));
            let installed =
                a.connection().expect("connected").read_installed(&desired, true).await.expect("a read");
            let counts = installed.installed.entries.iter().filter(|entry| {
                program().schema().table(entry.key.table).is_some_and(TableInfo::has_direct_counter)
                    && entry.metadata != flood(1, 1).metadata
            });
            for (at, entry) in counts.enumerate().filter(|(at, _)| at % 7 < 3) {
                let now = installed.installed.counters.get(&entry.key).map_or(0, |counter| counter.packets);
                let more = generation + at as u64;
                count(&mut client, fence, &entry.key, now + more).await;
                let origin = outplane_compiler::state::Origin::decode(&entry.metadata).expect("ours");
                *truth.entry(origin.rule).or_default() += more;
            }
        }
        assert!(parts >= 10 && wholes == 0, "{parts} and {wholes}");
        let desired = policy(50 + 20 % 3, ActionKind::AdminPermit);
        let _ = a.audit(&desired).await.expect("an audit");
        for reading in counted.take() {
            totals.add(reading);
        }
        assert!(truth.len() > 20 && truth.values().sum::<u64>() > 1000);
        assert_eq!(totals.rules, truth);
    }
}

/// Counters are asked for by key, of entries that somebody may have taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_switch_tells_of_those_entries_that_are_there() {
    for switch in Any::all().await {
        let mut a = switch.session(options());
        a.converge_with(None, fence(1, 1), &state(10), PLAIN).await.expect("converges");
        let mut client =
            P4RuntimeClient::connect(format!("http://{}", switch.address())).await.expect("connects");
        let query = |entry: &Entry| {
            let counter_data = Some(proto::CounterData::default());
            let entry = proto::TableEntry { counter_data, ..program().schema().key_to_proto(&entry.key) };
            proto::Entity { entity: Some(proto::entity::Entity::TableEntry(entry)) }
        };
        let asked = [3, 77, 5].map(|rule| query(&filter(rule, ActionKind::AdminPermit)));
        let request =
            proto::ReadRequest { device_id: 1, entities: asked.to_vec(), ..proto::ReadRequest::default() };
        let mut answer = client.read(request).await.expect("an answer").into_inner();
        let mut rules = Vec::new();
        while let Some(part) = answer.message().await.expect("a part") {
            rules.extend(part.entities.into_iter().map(|entity| match entity.entity {
                Some(proto::entity::Entity::TableEntry(entry)) if entry.counter_data.is_some() => {
                    entry.metadata
                }
                other => panic!("{other:?}"),
            }));
        }
        assert_eq!(rules, [3, 5].map(|rule| filter(rule, ActionKind::AdminPermit).metadata));
    }
}
