//! Full ring, full generation, change of generations, impossible settings.

use std::net::IpAddr;
use std::time::Duration;

use outplane_rmdp_wire::DatagramType;
use outplane_xdp::{MAX_SENDERS, Settings, Verdict, XdpError};

use crate::support::{KEY, NEXT_KEY, SENDERS, announce, announce_of, frame, hint, load, settings, task};
use crate::{delivered, reasons, remembers, sender, verdict};

#[test]
fn a_full_ring_marks_nothing() {
    let Some(mut program) = load("full ring", &Settings { ring_bytes: 4096, ..settings() }) else { return };
    let mut sent = Vec::new();
    let full = loop {
        let number = sent.len() as u64 + 1;
        let datagram = announce(SENDERS[0], 1, number, number);
        match verdict(&program, &frame(&datagram)) {
            Verdict::Drop => sent.push(datagram),
            _ => break number,
        }
    };
    assert!((5..=10).contains(&full), "{full}");
    assert!(!remembers(&program, task(full).0));
    // Others' copies pass too; so does a heartbeat or hint.
    assert_eq!(verdict(&program, &frame(&announce(SENDERS[1], 1, full, full))), Verdict::Pass);
    assert_eq!(verdict(&program, &frame(&hint(SENDERS[2], 1, 1))), Verdict::Pass);
    // Duplicates of what was delivered need no room.
    assert_eq!(verdict(&program, &frame(&announce(SENDERS[1], 1, 1, 1))), Verdict::Drop);
    assert_eq!(sender(&program, SENDERS[0]).of(DatagramType::TaskAnnounce).ring_full, 1);
    assert_eq!(sender(&program, SENDERS[2]).of(DatagramType::Hint).ring_full, 1);
    assert_eq!(delivered(&mut program), sent);
    // The same datagrams, again: nothing was marked, so nothing is lost.
    let again = announce(SENDERS[0], 1, full, full);
    assert_eq!(verdict(&program, &frame(&again)), Verdict::Drop);
    verdict(&program, &frame(&hint(SENDERS[2], 1, 1)));
    assert_eq!(delivered(&mut program).len(), 2);
    assert_eq!(reasons(&program), [("ring_full", 3), ("duplicate", 1), ("delivered", full + 1)]);
}

#[test]
fn large_datagrams_take_full_records() {
    let Some(mut program) = load("large datagrams", &settings()) else { return };
    for (sequence, message) in (1..).zip([496, 497, 1000, 1384]) {
        let datagram = announce_of(SENDERS[0], sequence, sequence, message);
        verdict(&program, &frame(&datagram));
        assert_eq!(delivered(&mut program), [datagram], "{message}");
    }
}

#[test]
fn a_full_generation_delivers_and_counts() {
    let Some(mut program) = load("full generation", &Settings { capacity: 4, ..settings() }) else { return };
    for number in 1..=6 {
        verdict(&program, &frame(&announce(SENDERS[0], 1, number, number)));
    }
    assert_eq!(delivered(&mut program).len(), 6);
    assert_eq!(reasons(&program), [("unmarked", 2), ("delivered", 4)]);
    // Twice is better than never; the marked ones are still told apart.
    for number in 1..=6 {
        verdict(&program, &frame(&announce(SENDERS[1], 1, number, number)));
    }
    assert_eq!(delivered(&mut program).len(), 2);
    assert_eq!(sender(&program, SENDERS[1]).of(DatagramType::TaskAnnounce).unmarked, 2);
}

#[test]
fn a_task_is_remembered_for_one_window_at_least() {
    let Some(program) = load("generations", &settings()) else { return };
    let mut sequence = 0;
    let mut copy = |number| {
        sequence += 1;
        frame(&announce(SENDERS[1], 1, sequence, number))
    };
    let first = frame(&announce(SENDERS[0], 1, 1, 1));
    verdict(&program, &first);
    program.control().switch_generation().unwrap();
    verdict(&program, &copy(1));
    verdict(&program, &copy(2));
    assert_eq!(program.control().remembered().unwrap(), [1, 1]);
    program.control().switch_generation().unwrap();
    // Task 1 is forgotten, task 2 is not; the replay of task 1's datagram is refused all the same.
    assert_eq!(program.control().remembered().unwrap(), [0, 1]);
    verdict(&program, &copy(2));
    verdict(&program, &first);
    assert_eq!(reasons(&program), [("seen", 1), ("duplicate", 2), ("delivered", 2)]);
    verdict(&program, &copy(1));
    assert_eq!(reasons(&program), [("seen", 1), ("duplicate", 2), ("delivered", 3)]);
    for _ in 0..2 {
        program.control().switch_generation().unwrap();
    }
    assert_eq!(program.control().remembered().unwrap(), [0, 0]);
}

#[tokio::test]
async fn the_tick_switches_once_a_window() {
    let short = Settings { window: Duration::from_secs(1), ..settings() };
    let Some(program) = load("tick", &short) else { return };
    verdict(&program, &frame(&announce(SENDERS[0], 1, 1, 1)));
    let mut switches = 0;
    let begin = std::time::Instant::now();
    while switches < 2 {
        switches += u32::from(program.control().tick().await.unwrap());
        assert!(begin.elapsed() < Duration::from_mins(1), "no switch");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    assert!(!remembers(&program, task(1).0));
}

/// Copies of each task race on all processors while generations change under them: one delivery each.
#[test]
fn processors_race_and_one_wins() {
    const TASKS: u64 = 20_000;
    let racing = Settings { capacity: 100_000, ring_bytes: 32 << 20, ..settings() };
    let Some(mut program) = load("race", &racing) else { return };
    std::thread::scope(|scope| {
        for id in SENDERS {
            let program = &program;
            scope.spawn(move || {
                for number in 1..=TASKS {
                    program.run(&frame(&announce(id, 1, number, number)), 1).unwrap();
                }
            });
        }
        // One change in the middle of the race; a second one would forget what is raced for.
        std::thread::sleep(Duration::from_millis(50));
        program.control().switch_generation().unwrap();
    });
    let mut numbers: Vec<_> = delivered(&mut program)
        .iter()
        .map(|bytes| outplane_rmdp_wire::Datagram::parse(bytes).unwrap().header.id)
        .collect();
    numbers.sort_unstable();
    let count = numbers.len();
    numbers.dedup();
    assert_eq!((count as u64, numbers.len() as u64), (TASKS, TASKS));
    assert_eq!(reasons(&program), [("duplicate", 3 * TASKS), ("delivered", TASKS)]);
}

#[test]
fn impossible_settings_are_refused_in_words() {
    let group: (IpAddr, u16) = ("239.1.1.1".parse().unwrap(), 1);
    for (part, bad) in [
        ("17 groups", Settings { groups: vec![group; 17], ..settings() }),
        ("port 0", Settings { groups: vec![(group.0, 0)], ..settings() }),
        ("3 keys", Settings { keys: vec![KEY, NEXT_KEY, KEY], ..settings() }),
        ("the id 7", Settings { keys: vec![KEY, KEY], ..settings() }),
        ("257 senders", Settings { senders: (0..257).collect(), ..settings() }),
        ("window", Settings { window: Duration::ZERO, ..settings() }),
        ("capacity", Settings { capacity: 0, ..settings() }),
        ("5000 bytes", Settings { ring_bytes: 5000, ..settings() }),
    ] {
        let Err(error) = outplane_xdp::Program::load(&bad) else { panic!("{part} was taken") };
        assert!(matches!(error, XdpError::Settings(_)) && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_256_senders_of_the_pins_life_are_a_bound() {
    let all = Settings { senders: (0..256).collect(), ..settings() };
    let Some(mut program) = load("many senders", &all) else { return };
    assert_eq!(MAX_SENDERS, 256);
    verdict(&program, &frame(&hint(255, 1, 1)));
    assert_eq!(delivered(&mut program).len(), 1);
    let error = program.control().set_senders(&[1000]).unwrap_err();
    assert!(error.to_string().contains("256 senders were configured"), "{error}");
}
