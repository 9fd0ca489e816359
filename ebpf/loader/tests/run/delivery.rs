//! First copies, duplicates, replays, keys and senders.

use outplane_rmdp_wire::{DatagramType, Header};
use outplane_xdp::{TypeCounters, Verdict};

use crate::support::{KEY, NEXT_KEY, SENDERS, announce, datagram, frame, hint, load, settings, task};
use crate::{delivered, reasons, remembers, sender, verdict};

#[test]
fn of_four_copies_one_is_delivered() {
    let Some(mut program) = load("four copies", &settings()) else { return };
    for number in 1..=20 {
        let copies = SENDERS.map(|sender| announce(sender, 1, number, number));
        for copy in &copies {
            assert_eq!(verdict(&program, &frame(copy)), Verdict::Drop);
        }
        assert_eq!(delivered(&mut program), [copies[0].clone()], "task {number}");
        assert!(remembers(&program, task(number).0));
    }
    assert_eq!(reasons(&program), [("duplicate", 60), ("delivered", 20)]);
    let first = sender(&program, SENDERS[0]);
    let expected = TypeCounters { received: 20, delivered: 20, ..TypeCounters::default() };
    assert_eq!(*first.of(DatagramType::TaskAnnounce), expected);
    assert_eq!((first.epoch, first.sequence, first.recent), (1, 20, vec![0; 20]));
    assert_eq!(first.lateness[0], 20);
    for id in &SENDERS[1..] {
        let other = sender(&program, *id);
        let expected = TypeCounters { received: 20, duplicates: 20, ..TypeCounters::default() };
        assert_eq!(*other.of(DatagramType::TaskAnnounce), expected);
        assert_eq!(other.recent.len(), 20);
        assert_eq!(other.lateness.iter().sum::<u64>(), 20);
    }
}

#[test]
fn arrival_is_of_the_monotonic_clock_and_lateness_is_measured_by_it() {
    let Some(mut program) = load("lateness", &settings()) else { return };
    verdict(&program, &frame(&announce(SENDERS[0], 1, 1, 1)));
    std::thread::sleep(std::time::Duration::from_millis(20));
    verdict(&program, &frame(&announce(SENDERS[1], 1, 1, 1)));
    let arrival = program.try_next().expect("the first copy").arrival;
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now = u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap();
    assert!(arrival < now && now - arrival < 60_000_000_000, "{arrival} {now}");
    let late = sender(&program, SENDERS[1]);
    assert!(late.recent[0] >= 20_000 && late.recent[0] < 60_000_000, "{:?}", late.recent);
    let class = late.lateness.iter().position(|count| *count == 1).expect("one copy");
    let end = outplane_xdp::lateness_class_end(class).unwrap_or(u64::MAX);
    assert!(u64::from(late.recent[0]) < end && u64::from(late.recent[0]) >= end / 2);
}

#[test]
fn recent_lateness_is_a_ring_of_32() {
    let Some(mut program) = load("recent lateness", &settings()) else { return };
    for number in 1..=50 {
        verdict(&program, &frame(&announce(SENDERS[0], 1, number, number)));
        verdict(&program, &frame(&announce(SENDERS[1], 1, number, number)));
    }
    assert_eq!(sender(&program, SENDERS[1]).recent.len(), 32);
    assert_eq!(sender(&program, SENDERS[1]).lateness.iter().sum::<u64>(), 50);
    delivered(&mut program);
}

#[test]
fn a_sender_s_own_repetition_is_a_duplicate_without_lateness() {
    let Some(program) = load("own repetition", &settings()) else { return };
    verdict(&program, &frame(&announce(SENDERS[0], 1, 1, 5)));
    verdict(&program, &frame(&announce(SENDERS[0], 1, 2, 5)));
    let counters = sender(&program, SENDERS[0]);
    assert_eq!(counters.of(DatagramType::TaskAnnounce).duplicates, 1);
    assert_eq!(counters.recent, [0]);
}

#[test]
fn replays_are_refused_and_a_restart_is_not_one() {
    let Some(mut program) = load("replays", &settings()) else { return };
    let id = SENDERS[2];
    for sequence in [1, 300, 200] {
        assert_eq!(verdict(&program, &frame(&hint(id, 5, sequence))), Verdict::Drop);
    }
    assert_eq!(delivered(&mut program).len(), 3);
    verdict(&program, &frame(&hint(id, 5, 200)));
    verdict(&program, &frame(&hint(id, 5, 300)));
    verdict(&program, &frame(&hint(id, 5, 44)));
    verdict(&program, &frame(&hint(id, 4, 301)));
    // Task announces go the same way, also of tasks that nobody knows yet.
    verdict(&program, &frame(&announce(id, 5, 300, 1)));
    assert!(!remembers(&program, task(1).0));
    assert_eq!(delivered(&mut program), [] as [Vec<u8>; 0]);
    assert_eq!(reasons(&program), [("old_epoch", 1), ("too_old", 1), ("seen", 3), ("delivered", 3)]);
    let counters = sender(&program, id);
    let expected = TypeCounters { received: 7, delivered: 3, replays: 4, ..TypeCounters::default() };
    assert_eq!(*counters.of(DatagramType::Hint), expected);
    assert_eq!(counters.of(DatagramType::TaskAnnounce).replays, 1);
    // The last of the window, and the next start of the sender.
    verdict(&program, &frame(&hint(id, 5, 45)));
    verdict(&program, &frame(&hint(id, 6, 1)));
    assert_eq!(delivered(&mut program).len(), 2);
    assert_eq!((sender(&program, id).epoch, sender(&program, id).sequence), (6, 1));
}

#[test]
fn duplicates_advance_the_window_too() {
    let Some(program) = load("duplicates in the window", &settings()) else { return };
    verdict(&program, &frame(&announce(SENDERS[0], 1, 1, 1)));
    let copy = frame(&announce(SENDERS[1], 1, 1, 1));
    verdict(&program, &copy);
    verdict(&program, &copy);
    let counters = sender(&program, SENDERS[1]);
    let expected = TypeCounters { received: 2, duplicates: 1, replays: 1, ..TypeCounters::default() };
    assert_eq!(*counters.of(DatagramType::TaskAnnounce), expected);
}

#[test]
fn keys_rotate_without_a_gap() {
    let Some(program) = load("key rotation", &settings()) else { return };
    let (id, payload) = task(1);
    let under = |sequence, key| {
        let datagram_type = DatagramType::TaskAnnounce;
        let header = Header {
            datagram_type,
            network: crate::support::NETWORK,
            epoch: 1,
            sender: SENDERS[0],
            sequence,
            id,
            sent: 1,
        };
        frame(&datagram(&header, &payload, key))
    };
    verdict(&program, &under(1, &NEXT_KEY));
    assert_eq!(reasons(&program), [("unknown_key", 1)]);
    program.control().set_keys(&[KEY, NEXT_KEY]).unwrap();
    verdict(&program, &under(2, &KEY));
    verdict(&program, &under(3, &NEXT_KEY));
    assert_eq!(reasons(&program), [("unknown_key", 1), ("duplicate", 1), ("delivered", 1)]);
    program.control().set_keys(&[NEXT_KEY]).unwrap();
    verdict(&program, &under(4, &KEY));
    verdict(&program, &under(5, &NEXT_KEY));
    assert_eq!(reasons(&program), [("unknown_key", 2), ("duplicate", 2), ("delivered", 1)]);
    // The right id with the wrong secret.
    program.control().set_keys(&[outplane_rmdp_wire::Key { id: KEY.id, secret: [0; 16] }]).unwrap();
    verdict(&program, &under(6, &KEY));
    assert_eq!(reasons(&program)[1], ("wrong_tag", 1));
}

#[test]
fn senders_come_and_go_and_their_replays_stay_known() {
    let Some(program) = load("senders", &settings()) else { return };
    verdict(&program, &frame(&hint(999, 1, 1)));
    let seen = frame(&hint(SENDERS[0], 1, 1));
    verdict(&program, &seen);
    program.control().set_senders(&[999, SENDERS[1]]).unwrap();
    verdict(&program, &frame(&hint(SENDERS[0], 1, 2)));
    assert_eq!(reasons(&program), [("unknown_sender", 2), ("delivered", 1)]);
    verdict(&program, &frame(&hint(999, 1, 1)));
    program.control().set_senders(&SENDERS).unwrap();
    verdict(&program, &seen);
    verdict(&program, &frame(&hint(SENDERS[0], 1, 2)));
    assert_eq!(reasons(&program), [("unknown_sender", 2), ("seen", 1), ("delivered", 3)]);
    assert!(!sender(&program, 999).enabled && sender(&program, SENDERS[0]).enabled);
}
