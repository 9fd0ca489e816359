//! What retention keeps, and what goes.

use std::time::Duration;

use super::bench::*;
use crate::io::{Input, Listed, Reply, Request};
use crate::key::{Key, Prefix};
use crate::task::{Digest, Event, NETWORK, Task, Work};

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
            let after = number.checked_sub(1).map(|before| pages[before].last().unwrap().key.path());
            assert_eq!(request, Request::List { prefix: prefix.clone(), after });
            let next = (number + 1 < pages.len()).then(|| page.last().unwrap().key.path());
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

/// Time for a round; nothing is pending.
fn due(bench: &mut Bench, below: u64) {
    seen_for_a_grace(bench, &[], &[], below);
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
    let young = |number, young| if number == young { DAY / 2 } else { DAY };
    let epochs = (8..=30).map(|number| listed(epoch("c1", number), DAY));
    let snapshot = |number| Key::Snapshot(number, Digest([1; 32]));
    let generations = (1..=200).map(Key::Generation).chain([1, 7, 64, 128, 130, 192, 200, 999].map(snapshot));
    let generations = generations.map(|key| listed(key, DAY * 9));
    let listings = [
        (Prefix::Generations, generations.collect()),
        (Prefix::Configs, (1..=14).map(|number| listed(Key::Config(number), young(number, 5))).collect()),
        (
            Prefix::Epochs,
            epochs
                .chain([
                    listed(epoch("gone", 3), DAY),
                    listed(epoch("gone", 5), Duration::from_secs(599)),
                    // The one before the newest is there as well; what stands alone is garbage.
                    listed(epoch("gone", 29), DAY),
                    listed(epoch("gone", 30), DAY),
                    listed(epoch("gone", u64::MAX), DAY),
                ])
                .collect(),
        ),
    ];
    // Nothing is closed yet: generations stay. Of the others those stay that the newest one is found by.
    due(&mut bench, 0);
    let configs = [3, 6, 7, 9].map(Key::Config);
    let epochs = [9, 10, 11, 13].map(|number| epoch("c1", number));
    let others: Vec<_> = configs.into_iter().chain(epochs).chain([epoch("gone", 3)]).collect();
    assert_eq!(round(&mut bench, &listings), others);
    // Closed, but not for a grace.
    due(&mut bench, 64);
    assert_eq!(round(&mut bench, &listings), others);
    // 64 is open. What rests on one that is, and the newest two, stay whatever is closed, with all that they rest on.
    due(&mut bench, 64);
    let gone = |numbers: &mut dyn Iterator<Item = u64>, snapshots: &[u64]| -> Vec<Key> {
        let numbers = numbers.filter(|number| !number.is_power_of_two()).map(Key::Generation);
        numbers.chain(snapshots.iter().copied().map(snapshot)).chain(others.clone()).collect()
    };
    let first = gone(&mut (1..64), &[7]);
    assert_eq!(round(&mut bench, &listings), first);
    due(&mut bench, 190);
    assert_eq!(round(&mut bench, &listings), first);
    due(&mut bench, 190);
    let second = gone(&mut (1..128), &[7]);
    assert_eq!(round(&mut bench, &listings), second);
    due(&mut bench, 201);
    assert_eq!(round(&mut bench, &listings), second);
    due(&mut bench, 201);
    let third = gone(&mut (1..192), &[7, 130]);
    assert_eq!(round(&mut bench, &listings), third);
    let swept = 2 * others.len() + 2 * (first.len() + second.len()) + third.len();
    assert_eq!(bench.controller.counters().swept_old, swept as u64);
}

/// Horizons go as other numbers do, and one that nobody would find gets its path.
#[test]
fn horizons_stay_where_they_are_found_by() {
    let mut bench = Bench::new(|_| ());
    let horizon = |below| Key::Horizon("intent".to_owned(), below);
    due(&mut bench, 96);
    let raises = (1..=96).map(|below| listed(horizon(below), DAY)).collect();
    let gone: Vec<_> = (1..96).filter(|number| crate::chain::may_go(*number, 96, 64)).map(horizon).collect();
    assert!(gone.contains(&horizon(28)) && !gone.contains(&horizon(16)) && !gone.contains(&horizon(33)));
    assert_eq!(round(&mut bench, &[(Prefix::Horizons, raises)]), gone);
    let shown = || [(Prefix::Horizons, vec![listed(horizon(100), DAY)])];
    due(&mut bench, 96);
    assert_eq!(round(&mut bench, &shown()), []);
    let creates = |request: &Request| matches!(request, Request::Create { .. });
    assert!(bench.find(creates).is_none(), "it may be found by now");
    due(&mut bench, 96);
    for prefix in [Prefix::Decisions, Prefix::Claims, Prefix::Results] {
        bench.reply_list(&prefix, vec![]);
    }
    bench.reply_list(&Prefix::Horizons, vec![horizon(100)]);
    let (token, raise) = bench.expect("its path", creates);
    assert!(matches!(raise, Request::Create { key, .. } if key == horizon(100)), "96 is its prefix");
    bench.reply(token, Reply::Exists);
    bench.announce(&converge(99, &switch_of("c1", 0, 0)));
    assert_eq!(bench.controller.counters().refused_closed, 1);
}

#[test]
fn what_nodes_said_goes_when_they_have_left_and_alerts_when_nobody_repeats_them() {
    let mut bench = Bench::new(|_| ());
    let keys = |of: fn(String) -> Key| {
        let names = [("c1", DAY), ("gone", Duration::from_mins(10)), ("new", Duration::from_secs(599))];
        names.map(|(name, age)| listed(of(name.to_owned()), age)).to_vec()
    };
    due(&mut bench, 0);
    let listings = [
        (Prefix::Statuses, keys(Key::Status)),
        (Prefix::Degraded, keys(Key::Degraded)),
        (Prefix::Packets, keys(|node| Key::Packets(node, 3))),
    ];
    let gone = [
        Key::Status("gone".to_owned()),
        Key::Degraded("c1".to_owned()),
        Key::Degraded("gone".to_owned()),
        Key::Packets("gone".to_owned(), 3),
    ];
    assert_eq!(round(&mut bench, &listings), gone);
}

/// Others may still follow the version before, and claim by its grace.
#[test]
fn a_shorter_grace_counts_after_the_longer_one() {
    let (short, usual) = (Duration::from_secs(20), Duration::from_mins(10));
    let nearly = usual.saturating_sub(Duration::from_secs(1));
    let mut bench = Bench::new(|_| ());
    let mut shorter = config();
    (shorter.claims.lease_max_ms, shorter.retention.grace_s) = (3000, 20);
    bench.input(Input::Config(std::sync::Arc::new(shorter)));
    bench.pass(nearly);
    assert_eq!(bench.controller.grace(bench.now), usual);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.controller.grace(bench.now), short);
    // At a start the version before is unknown but for what the shell has read.
    let hours = Duration::from_hours(3);
    bench.controller.hold_grace(hours, bench.now);
    bench.controller.hold_grace(usual, bench.now);
    assert_eq!(bench.controller.grace(bench.now), hours);
    bench.pass(hours);
    assert_eq!(bench.controller.grace(bench.now), short);
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
    let queued = Task::new(Event::generation(NETWORK, 2, &switch_of("c1", 1, 1)), work).unwrap();
    bench.announce(&announced);
    bench.notice(crate::io::NoticeOf::Claimed, &announced, 1);
    let keys = [Key::Queue(announced.id()), Key::Queue(queued.id())];
    seen_for_a_grace(&mut bench, &keys, &[queued], 0);
    assert_eq!(round(&mut bench, &listings), [blob(1)]);
    // A task that cannot be read may name any.
    let stranger = Key::Queue(converge(4, "strange").id());
    let all = [keys[0].clone(), keys[1].clone(), stranger.clone()];
    seen_for_a_grace(&mut bench, &all, &[], 0);
    assert_eq!(round(&mut bench, &listings), []);
    // And so may one that could not be fetched.
    let mut bench = Bench::new(|_| ());
    seen_for_a_grace(&mut bench, &[], &[], 0);
    bench.reply_list(&Prefix::Queue, vec![stranger.clone()]);
    bench.reply_get(&stranger, Reply::Unknown);
    assert_eq!(round(&mut bench, &listings), []);
    bench.input(Input::Drain);
}
