//! What retention keeps, and what goes.

use std::time::Duration;

use super::bench::*;
use crate::io::{Input, Listed, Reply, Request};
use crate::key::{Key, Prefix};
use crate::object::{Object, QueuedTask};
use crate::task::{Digest, Event, Task, Work};

const DAY: Duration = Duration::from_hours(24);

/// A round of sweeping begins; what it lists has these keys and ages. What it deletes.
fn round(bench: &mut Bench, listings: &[(Prefix, Vec<Listed>)]) -> Vec<Key> {
    let mut deleted = Vec::new();
    for prefix in [Prefix::Decisions, Prefix::Claims, Prefix::Results] {
        bench.reply_list(&prefix, vec![]);
    }
    for prefix in RETAINED {
        let keys = listings.iter().find(|(of, _)| *of == prefix).map(|(_, keys)| keys.clone());
        // In pages of two.
        let keys = keys.unwrap_or_default();
        let pages: Vec<_> = if keys.is_empty() { vec![&keys[..]] } else { keys.chunks(2).collect() };
        for (number, page) in pages.iter().enumerate() {
            let (token, request) = bench.expect(
                "a listing",
                |request| matches!(request, Request::List { prefix: of, .. } if *of == prefix),
            );
            let after = number.checked_sub(1).map(|before| pages[before].last().unwrap().key.clone());
            assert_eq!(request, Request::List { prefix: prefix.clone(), after });
            let next = (number + 1 < pages.len()).then(|| page.last().unwrap().key.clone());
            bench.reply(token, Reply::Page { keys: page.to_vec(), next });
            while let Some((token, request)) = bench.find(|request| matches!(request, Request::Delete(_))) {
                let Request::Delete(keys) = request else { panic!("{request:?}") };
                deleted.extend(keys);
                bench.reply(token, Reply::Done);
            }
        }
    }
    let polls = [Prefix::Queue, Prefix::Horizons];
    let sweeps =
        |request: &Request| matches!(request, Request::List { prefix, .. } if !polls.contains(prefix));
    assert!(bench.find(sweeps).is_none(), "the round is over");
    deleted
}

/// Time for a round, after a poll that has seen this queue and these horizons.
fn due(bench: &mut Bench, queue: &[Key], below: u64) {
    bench.pass(Duration::from_secs(3599));
    bench.reply_list(&Prefix::Horizons, vec![Key::Horizon("intent".to_owned(), below)]);
    bench.reply_list(&Prefix::Queue, queue.to_vec());
    bench.pass(1000 * MS);
}

fn listed(key: Key, age: Duration) -> Listed {
    Listed { key, age }
}

#[test]
fn numbers_beyond_what_is_kept_go() {
    let mut bench = Bench::new(|config| {
        config.retention.generations = 2;
        config.retention.configs = 3;
    });
    let epoch = |node: &str, number| Key::Epoch(node.to_owned(), number);
    let listings = [
        (Prefix::Generations, (1..=6).map(|number| listed(Key::Generation(number), DAY * 9)).collect()),
        (
            Prefix::Configs,
            (1..=6)
                .map(|number| listed(Key::Config(number), if number == 2 { DAY / 2 } else { DAY }))
                .collect(),
        ),
        (
            Prefix::Epochs,
            vec![
                listed(epoch("c1", 8), DAY),
                listed(epoch("c1", 9), DAY),
                listed(epoch("gone", 1), DAY),
                listed(epoch("gone", 2), Duration::from_secs(599)),
                listed(epoch("gone", 3), DAY),
            ],
        ),
    ];
    // Nothing is closed yet: generations stay.
    due(&mut bench, &[], 0);
    let others = [Key::Config(1), Key::Config(3), epoch("c1", 8), epoch("gone", 1)];
    assert_eq!(round(&mut bench, &listings), others);
    // Closed, but not for a grace.
    due(&mut bench, &[], 4);
    assert_eq!(round(&mut bench, &listings), others);
    // 4 is open, and the newest two stay whatever is closed.
    due(&mut bench, &[], 4);
    let closed: Vec<_> = (1..=3).map(Key::Generation).chain(others.clone()).collect();
    assert_eq!(round(&mut bench, &listings), closed);
    due(&mut bench, &[], 9);
    assert_eq!(round(&mut bench, &listings), closed);
    due(&mut bench, &[], 9);
    let closed: Vec<_> = (1..=4).map(Key::Generation).chain(others).collect();
    assert_eq!(round(&mut bench, &listings), closed);
    assert_eq!(bench.controller.counters().swept_old, 4 * 5 + 3 + 3 + 4);
}

#[test]
fn what_nodes_said_goes_when_they_have_left() {
    let mut bench = Bench::new(|_| ());
    let keys = |of: fn(String) -> Key| {
        let names = [("c1", DAY), ("gone", Duration::from_mins(10)), ("new", Duration::from_secs(599))];
        names.map(|(name, age)| listed(of(name.to_owned()), age)).to_vec()
    };
    due(&mut bench, &[], 0);
    let listings = [(Prefix::Statuses, keys(Key::Status)), (Prefix::Degraded, keys(Key::Degraded))];
    let gone = [Key::Status("gone".to_owned()), Key::Degraded("gone".to_owned())];
    assert_eq!(round(&mut bench, &listings), gone);
}

#[test]
fn desired_states_go_when_no_pending_task_names_them() {
    let old = DAY + Duration::from_mins(10);
    let young = DAY + Duration::from_secs(599);
    let blob = |number: u8| Key::Blob(Digest([number; 32]));
    let listings = [(
        Prefix::Blobs,
        vec![listed(blob(1), old), listed(blob(2), young), listed(blob(7), old), listed(blob(8), old)],
    )];
    let mut bench = Bench::new(|_| ());
    // Announced, and in another's hands: names 7. Queued, and not yet known: names 8.
    let announced = converge(3, &switch_of("c1", 1, 0));
    let work = Work::Converge { generation: 2, desired: Digest([8; 32]), entries: 0 };
    let queued = Task::new(Event::generation(2, &switch_of("c1", 1, 1)), work).unwrap();
    bench.announce(&announced);
    bench.notice(crate::io::NoticeOf::Claimed, &announced, 1);
    due(&mut bench, &[Key::Queue(announced.id()), Key::Queue(queued.id())], 0);
    let object = Object::Task(QueuedTask::new(&queued, "d1"));
    bench.reply_get(&Key::Queue(queued.id()), Reply::Found(Box::new(object)));
    assert_eq!(round(&mut bench, &listings), [blob(1)]);
    // A task that cannot be read may name any.
    bench.pass(Duration::from_secs(3599));
    bench.reply_list(&Prefix::Horizons, vec![]);
    let stranger = converge(4, "strange");
    bench.reply_list(
        &Prefix::Queue,
        vec![Key::Queue(announced.id()), Key::Queue(queued.id()), Key::Queue(stranger.id())],
    );
    bench.reply_get(&Key::Queue(stranger.id()), Reply::Foreign("schema 2".to_owned()));
    bench.pass(1000 * MS);
    assert_eq!(round(&mut bench, &listings), []);
    // And so may one that could not be fetched.
    bench.pass(Duration::from_secs(3599));
    bench.reply_list(&Prefix::Horizons, vec![]);
    bench.reply_list(&Prefix::Queue, vec![Key::Queue(stranger.id())]);
    bench.reply_get(&Key::Queue(stranger.id()), Reply::Unknown);
    bench.pass(1000 * MS);
    assert_eq!(round(&mut bench, &listings), []);
    bench.input(Input::Drain);
}
