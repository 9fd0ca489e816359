//! Senders d1..d4 are 1..4, receivers c1..c4 are 11..14; c1 judges.

use super::*;
use crate::io::SenderCopies;

fn config(distributors: u32, controllers: u32) -> SharedConfig {
    let member = |name: String, sender: u32, role: &str| {
        format!(
            "[[member]]\nname = \"{name}\"\nsender = {sender}\nrole = \"{role}\"\naddress = \"192.0.2.{sender}:1\"\n"
        )
    };
    let distributors = (1..=distributors).map(|number| member(format!("d{number}"), number, "distributor"));
    let controllers = (1..=controllers).map(|number| member(format!("c{number}"), 10 + number, "controller"));
    SharedConfig::from_toml(&distributors.chain(controllers).collect::<String>()).unwrap()
}

fn at(ms: u64) -> Instant {
    Instant::START + Duration::from_millis(ms)
}

/// 20 tasks, with this lateness for each sender; None: its copies are missing.
fn copies(lateness: &[Option<u32>]) -> Copies {
    let senders = (1..).zip(lateness).filter_map(|(sender, late)| {
        late.map(|late| SenderCopies { sender, copies: 20, lateness_us: vec![late; 20] })
    });
    Copies { tasks: 20, senders: senders.collect() }
}

/// As a receiver at another place would share it.
fn rows(lateness: &[Option<u32>]) -> Vec<Row> {
    let config = config(u32::try_from(lateness.len()).unwrap(), 4);
    let mut there = Degradation::new("c1", &config);
    (0..3).for_each(|_| there.observe(at(0), &copies(lateness)));
    there.rows(at(0))
}

const FINE: Option<u32> = Some(100);
const LATE: Option<u32> = Some(8_000);
const AWFUL: Option<u32> = Some(60_000);

/// What each receiver sees of each sender, and who is marked for it.
fn judge(matrix: &[&[Option<u32>]]) -> Vec<(u32, Fault, bool)> {
    changes(matrix, 4).into_iter().map(|change| (change.sender, change.of, change.hard)).collect()
}

/// The same, of so many receivers, with everything that is told.
fn changes(matrix: &[&[Option<u32>]], receivers: u32) -> Vec<Change> {
    let config = config(u32::try_from(matrix[0].len()).unwrap(), receivers);
    let mut degradation = Degradation::new("c1", &config);
    (0..3).for_each(|_| degradation.observe(at(0), &copies(matrix[0])));
    for (receiver, seen) in (12..).zip(&matrix[1..]) {
        degradation.heard(at(0), receiver, &rows(seen));
    }
    degradation.judge(at(1))
}

/// Who is told of, as what, and whether ranks are moved for it.
fn moves(matrix: &[&[Option<u32>]]) -> Vec<(u32, Fault, bool)> {
    let receivers = u32::try_from(matrix.len()).unwrap();
    changes(matrix, receivers).into_iter().map(|change| (change.sender, change.of, change.moved)).collect()
}

/// What happened, what each receiver sees, who is marked.
type Case<'a> = (&'a str, &'a [&'a [Option<u32>]], Vec<(u32, Fault, bool)>);

#[test]
fn rows_and_columns() {
    use Fault::{Path, Receiver, Sender};
    let fine: &[_] = &[FINE; 4];
    let slow2: &[_] = &[FINE, LATE, FINE, FINE];
    let awful2: &[_] = &[FINE, AWFUL, FINE, FINE];
    let lost2: &[_] = &[FINE, None, FINE, FINE];
    let slow_here: &[_] = &[FINE, LATE, LATE, LATE];
    let cases: [Case; 11] = [
        ("all is well", &[fine, fine, fine, fine], vec![]),
        ("a slow sender", &[slow2, slow2, slow2, fine], vec![(2, Sender, false)]),
        ("a very slow sender", &[awful2, awful2, awful2, awful2], vec![(2, Sender, true)]),
        ("a sender whose copies get lost", &[lost2, lost2, lost2, fine], vec![(2, Sender, false)]),
        (
            "slow for this receiver: a path, neither end's fault",
            &[slow2, fine, fine, fine],
            vec![(2, Path, false)],
        ),
        ("slow for another receiver, which tells of it", &[fine, slow2, fine, fine], vec![]),
        ("slow for half of the receivers", &[slow2, slow2, fine, fine], vec![(2, Path, false)]),
        ("a slow receiver, this one", &[slow_here, fine, fine, fine], vec![(11, Receiver, false)]),
        ("a slow receiver, another", &[fine, fine, slow_here, fine], vec![(13, Receiver, false)]),
        (
            "a slow receiver counts against no sender",
            &[slow_here, slow2, slow2, slow2],
            vec![(11, Receiver, false), (2, Sender, false)],
        ),
        (
            "all that are found are told of",
            &[slow_here, slow_here, slow_here, slow_here],
            vec![(4, Sender, false), (3, Sender, false), (2, Sender, false)],
        ),
    ];
    for (name, matrix, expected) in cases {
        assert_eq!(judge(matrix), expected, "{name}");
    }
}

/// Ranks are spared where no minority is left, people are told all the same: in the smallest networks, too.
#[test]
fn ranks_are_moved_for_a_minority_and_everything_is_told() {
    use Fault::{Path, Receiver, Sender};
    let two: &[_] = &[FINE, AWFUL];
    let lost: &[_] = &[FINE, None];
    let three: &[_] = &[FINE, AWFUL, LATE];
    let slow: &[_] = &[FINE, LATE, LATE];
    let fine: &[_] = &[FINE, FINE, FINE];
    let four: &[_] = &[FINE, LATE, LATE, LATE];
    let cases: [Case; 8] = [
        (
            "of four senders one is moved, three are told",
            &[four, four, four, four],
            vec![(4, Sender, true), (3, Sender, false), (2, Sender, false)],
        ),
        ("of three senders the worst", &[three, three, three], vec![(2, Sender, true), (3, Sender, false)]),
        ("of two nobody is moved", &[two, two, two, two], vec![(2, Sender, false)]),
        ("one of two is silent", &[lost, lost], vec![(2, Sender, false)]),
        ("and one receiver is enough to tell", &[lost], vec![(2, Sender, false)]),
        ("one of two receivers lacks them", &[lost, &[FINE, FINE]], vec![(2, Path, false)]),
        ("one of two receivers is slow", &[slow, fine], vec![(11, Receiver, false)]),
        ("one of three receivers is slow", &[slow, fine, fine], vec![(11, Receiver, true)]),
    ];
    for (name, matrix, expected) in cases {
        assert_eq!(moves(matrix), expected, "{name}");
    }
}

#[test]
fn a_place_that_is_free_again_is_taken() {
    let mut degradation = Degradation::new("c1", &config(3, 1));
    let mut seen = |ms, lateness: &[Option<u32>]| {
        degradation.observe(at(ms), &copies(lateness));
        degradation.judge(at(ms));
        [2, 3].map(|sender| degradation.is_moved(sender))
    };
    for ms in [0, 1000, 2000] {
        assert_eq!(seen(ms, &[FINE, AWFUL, LATE]), [true, false], "one of three");
    }
    for ms in (3000..32_000).step_by(1000) {
        assert_eq!(seen(ms, &[FINE, FINE, LATE]), [true, false], "not well for long enough yet");
    }
    seen(40_000, &[FINE, FINE, LATE]);
    assert_eq!(seen(41_000, &[FINE, FINE, LATE]), [false, true]);
}

#[test]
fn late_is_later_than_the_usual() {
    let config = config(4, 1);
    let row = |values: &[u32]| {
        let mut degradation = Degradation::new("c1", &config);
        let senders = vec![SenderCopies { sender: 1, copies: 1, lateness_us: values.to_vec() }];
        degradation.observe(at(0), &Copies { tasks: 1, senders });
        degradation.rows(at(0))[0]
    };
    // (lateness, late of the last 20, median): 5 ms are always allowed.
    let spread =
        |low: u32, high: u32| (0..40).map(|n| if n % 2 == 0 { low } else { high }).collect::<Vec<_>>();
    let cases = [
        (vec![5_000; 40], 0, 5_000),
        (vec![5_001; 40], 20, 5_001),
        (spread(100, 4_900), 0, 4_900),
        ([vec![1_000; 40], vec![6_000; 4]].concat(), 4, 1_000),
        // Scattered as it is, 8 ms is not unusual: 3 ms + 4 x MAD of 2 ms or so.
        ([spread(1_000, 4_500), vec![8_000; 5]].concat(), 0, 4_500),
    ];
    for (values, late, median) in cases {
        let row = row(&values);
        assert_eq!((row.late, row.median_us), (late, median), "{values:?}");
    }
}

#[test]
fn missing_copies_need_enough_tasks() {
    let config = config(2, 1);
    let mut degradation = Degradation::new("c1", &config);
    let seen = |tasks, copies| Copies {
        tasks,
        senders: vec![SenderCopies { sender: 1, copies, lateness_us: vec![] }],
    };
    let mut bad = |tasks, copies| {
        degradation.observe(at(0), &seen(tasks, copies));
        let row = degradation.rows(at(0))[0];
        (row.copies, row.missing, degradation.is_bad(&row))
    };
    assert_eq!(bad(40, 0), (0, 40, false), "too few tasks to tell");
    assert_eq!(bad(20, 20), (20, 40, true));
    assert_eq!(bad(50, 40), (40, 10, false), "20 % are allowed, and what is long ago is forgotten");
    assert_eq!(bad(50, 39), (39, 11, true));
    assert_eq!(bad(50, 90), (50, 0, false), "more copies than tasks are as many");
}

#[test]
fn marks_clear_after_a_good_time() {
    let mut degradation = Degradation::new("c1", &config(3, 1));
    let mut told = |ms, lateness: &[Option<u32>]| {
        degradation.observe(at(ms), &copies(lateness));
        let changes = degradation.judge(at(ms));
        let marked = degradation.is_moved(2);
        (
            changes.into_iter().map(|change| (change.sender, change.found, change.hard)).collect::<Vec<_>>(),
            marked,
        )
    };
    let (bad, worse, good) = ([FINE, LATE, FINE], [FINE, AWFUL, FINE], [FINE, FINE, FINE]);
    assert_eq!(told(0, &bad), (vec![(2, true, false)], true));
    assert_eq!(told(1000, &bad), (vec![], true));
    for ms in [2000, 3000] {
        told(ms, &worse);
    }
    assert!(told(4000, &worse).1);
    assert!(told(5000, &good).1);
    assert_eq!(told(33_999, &good), (vec![], true), "good since 5 s");
    assert_eq!(told(34_000, &good), (vec![(2, false, false)], false));
    assert_eq!(told(35_000, &bad), (vec![(2, true, false)], true));
}

#[test]
fn strangers_and_silent_ones_count_nothing() {
    let awful = [FINE, AWFUL, FINE, FINE];
    let mut degradation = Degradation::new("c1", &config(4, 4));
    for receiver in [99, 1, 11] {
        degradation.heard(at(0), receiver, &rows(&awful));
    }
    assert!(degradation.judge(at(1)).is_empty());
    for receiver in [12, 13, 14] {
        degradation.heard(at(0), receiver, &rows(&awful));
    }
    assert!(degradation.judge(at(5001)).is_empty(), "too old");
    assert_eq!(degradation.judge(at(5000)).len(), 1);
}

/// Others' rows come with each heartbeat, whether there was a task or not.
#[test]
fn what_came_long_ago_is_not_told_of_again() {
    let mut there = Degradation::new("c2", &config(4, 1));
    there.observe(at(0), &copies(&[FINE, LATE, FINE, FINE]));
    assert_eq!(there.rows(at(5000)).len(), 4);
    there.observe(at(5001), &Copies { tasks: 0, senders: Vec::new() });
    assert!(there.rows(at(5001)).is_empty() && there.judge(at(5001)).is_empty());
}

#[test]
fn the_words_say_what_was_measured() {
    let reason = |seen: &[Option<u32>]| changes(&[seen, seen, seen], 3)[0].reason.clone();
    let late = "its copies come late at 3 of 3 receivers: 20 of the last 20 came more than 5 ms after the first copy \
                (median 8.0 ms)";
    assert_eq!(reason(&[FINE, LATE, FINE, FINE]), late);
    let lost = "its copies do not come at 3 of 3 receivers: 100 % of the last 50 tasks' are missing";
    assert_eq!(reason(&[FINE, None, FINE, FINE]), lost);
}

/// On machines that have too much to do each of two is late now and then, and the other then.
#[test]
fn where_most_are_late_now_and_then_nobody_is() {
    let config = config(2, 3);
    let one: Vec<u32> = (0..20).map(|task| if task % 3 == 0 { 9000 } else { 0 }).collect();
    let other: Vec<u32> = (0..20).map(|task| if task % 3 == 1 { 9000 } else { 0 }).collect();
    let seen = |lateness: [&[u32]; 2]| Copies {
        tasks: 20,
        senders: (1..)
            .zip(lateness)
            .map(|(sender, late)| SenderCopies { sender, copies: 20, lateness_us: late.to_vec() })
            .collect(),
    };
    let told = |lateness: [&[u32]; 2]| {
        let (mut here, mut there) = (Degradation::new("c1", &config), Degradation::new("c2", &config));
        for _ in 0..3 {
            here.observe(at(0), &seen(lateness));
            there.observe(at(0), &seen(lateness));
        }
        here.heard(at(0), 12, &there.rows(at(0)));
        here.heard(at(0), 13, &there.rows(at(0)));
        here.judge(at(1)).into_iter().map(|change| (change.sender, change.of)).collect::<Vec<_>>()
    };
    assert_eq!(told([&one, &other]), []);
    // One alone is.
    assert_eq!(told([&one, &[0; 20]]), [(1, Fault::Sender)]);
    // And who is late by half of its copies is, whatever the other does now and then.
    assert_eq!(told([&one, &[9000; 20]]).len(), 2);
}
