//! Datagrams that are bad, one by one and by the million.

use outplane_rmdp_wire::{DatagramType, TransactionId};
use outplane_xdp::Verdict;

use crate::support::{Around, KEY, NETWORK, Random, SENDERS, announce, frame, hint, load, settings, task};
use crate::{counters, delivered, reasons, remembers, sender, verdict};

#[test]
fn each_rule_has_its_counter() {
    let Some(mut program) = load("malformed", &settings()) else { return };
    let good = announce(SENDERS[0], 1, 1, 1);
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        frame(&bad)
    };
    let longer = [&good[..], &[0]].concat();
    let mut with_id = hint(SENDERS[0], 1, 1);
    with_id[40..56].copy_from_slice(task(1).0.as_bytes());
    for (reason, bad) in [
        ("truncated", frame(&good[..good.len() - 1])),
        ("truncated", frame(&good[..4])),
        ("truncated", frame(&good[..63])),
        ("truncated", frame(&good)[..200].to_vec()),
        ("truncated", changed(28, &1320_u16.to_be_bytes())),
        ("trailing_bytes", frame(&longer)),
        ("trailing_bytes", changed(28, &0_u16.to_be_bytes())),
        ("too_long", changed(28, &1321_u16.to_be_bytes())),
        ("too_long", changed(28, &0xffff_u16.to_be_bytes())),
        ("unknown_type", changed(5, &[0])),
        ("unknown_type", changed(5, &[4])),
        ("not_zero", changed(30, &[1])),
        ("not_zero", changed(31, &[1])),
        ("no_sequence", changed(32, &[0; 8])),
        ("wrong_id", changed(40, &[0; 16])),
        ("wrong_id", frame(&with_id)),
        ("foreign_network", changed(15, &[9])),
        ("unknown_sender", changed(24, &99_u32.to_be_bytes())),
        ("unknown_key", changed(6, &99_u16.to_be_bytes())),
        ("wrong_tag", changed(good.len() - 1, &[good[good.len() - 1] ^ 1])),
        ("wrong_tag", changed(63, &[9])),
        ("wrong_tag", changed(64, &[9])),
    ] {
        let before = reasons(&program);
        assert_eq!(verdict(&program, &bad), Verdict::Drop, "{reason}");
        let count = |all: &[(&str, u64)]| all.iter().find(|(name, _)| *name == reason).map_or(0, |(_, n)| *n);
        let after = reasons(&program);
        assert_eq!(count(&after), count(&before) + 1, "{reason}: {before:?} {after:?}");
        let sum = |all: &[(&str, u64)]| all.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(sum(&after), sum(&before) + 1, "{reason}: nothing else is counted");
    }
    assert_eq!(counters(&program).reasons.refused(), 22);
    assert_eq!(delivered(&mut program).len(), 0);
    assert!(!remembers(&program, task(1).0));
    assert_eq!(sender(&program, SENDERS[0]).of(DatagramType::TaskAnnounce).received, 0);
    verdict(&program, &frame(&good));
    assert_eq!(delivered(&mut program), [good]);
}

#[test]
fn no_single_bit_may_differ() {
    let Some(mut program) = load("single bits", &settings()) else { return };
    let good = announce(SENDERS[0], 1, 1, 1);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        verdict(&program, &frame(&bad));
    }
    assert_eq!(delivered(&mut program).len(), 0);
    assert_eq!(program.control().remembered().unwrap(), [0, 0]);
    verdict(&program, &frame(&good));
    assert_eq!(delivered(&mut program), [good]);
}

#[test]
fn every_length_is_verified_to_its_last_byte() {
    let Some(mut program) = load("lengths", &settings()) else { return };
    let id = TransactionId::from_bytes([3; 16]);
    for (sequence, length) in (1..).zip(0..=1320) {
        let mut id = id.to_bytes();
        id[..2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        let header = outplane_rmdp_wire::Header {
            datagram_type: DatagramType::TaskAnnounce,
            network: NETWORK,
            epoch: 1,
            sender: SENDERS[0],
            sequence,
            id: TransactionId::from_bytes(id),
            sent: 0,
        };
        let payload: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let good = crate::support::datagram(&header, &payload, &KEY);
        let mut bad = good.clone();
        let last = bad.len() - 17;
        bad[last] ^= 0x80;
        verdict(&program, &frame(&bad));
        verdict(&program, &frame(&good));
        assert_eq!(delivered(&mut program), [good], "{length} bytes of payload");
    }
    assert_eq!(reasons(&program), [("wrong_tag", 1321), ("delivered", 1321)]);
}

/// A million datagrams of somebody who can send to the group and has heard everything, but does not know the key.
#[test]
fn a_million_bad_datagrams_change_nothing() {
    const BAD: u64 = 1_000_000;
    const TRUE: u64 = 200;
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let Some(mut program) = load("a million bad datagrams", &settings()) else { return };
    // What was heard: the last window of each stream, delivered or dropped as a duplicate.
    let mut heard = Vec::new();
    for number in 1..=300 {
        for id in SENDERS {
            let datagram = announce(id, 9, number, number);
            verdict(&program, &frame(&datagram));
            heard.push(datagram);
        }
    }
    assert_eq!(delivered(&mut program).len(), 300);
    let remembered = program.control().remembered().unwrap();
    let before = counters(&program);

    let mut random = Random(seed);
    let mut passed = 0;
    for _ in 0..BAD {
        let mut bytes = heard[random.below(heard.len())].clone();
        match random.below(4) {
            // Forged: a task that does not exist, under a tag that fits by chance alone.
            0 => {
                let sequence = 301 + random.next() % 1000;
                bytes = announce(SENDERS[random.below(4)], 9 + random.next() % 2, sequence, random.next());
                let tag = bytes.len() - 16;
                bytes[tag..tag + 8].copy_from_slice(&random.next().to_ne_bytes());
                bytes[tag + 8..].copy_from_slice(&random.next().to_ne_bytes());
            }
            // Replayed.
            1 => {}
            // Bits flipped.
            2 => {
                for _ in 0..=random.below(3) {
                    let bit = random.below(bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            // Truncated, in the datagram or in the frame.
            _ => {
                let length = random.below(bytes.len());
                if random.below(2) == 0 {
                    bytes.truncate(length);
                } else {
                    let whole = Around::default().frame(&bytes);
                    let cut = &whole[..14 + random.below(whole.len() - 14)];
                    passed += u64::from(verdict(&program, cut) == Verdict::Pass);
                    continue;
                }
            }
        }
        passed += u64::from(verdict(&program, &frame(&bytes)) == Verdict::Pass);
    }
    let after = counters(&program);
    assert_eq!(delivered(&mut program), [] as [Vec<u8>; 0], "seed {seed}");
    assert_eq!(program.control().remembered().unwrap(), remembered, "seed {seed}");
    assert_eq!(after.delivered(), before.delivered());
    assert_eq!(after.duplicates(), before.duplicates());
    println!("seed {seed}: {BAD} bad datagrams, {passed} passed to the stack, {:?}", reasons(&program));

    for number in 1..=TRUE {
        for id in SENDERS {
            verdict(&program, &frame(&announce(id, 9, 300 + number, 1000 + number)));
        }
    }
    assert_eq!(delivered(&mut program).len() as u64, TRUE, "seed {seed}");
}
