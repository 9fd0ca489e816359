use outplane_rmdp_wire::datagram::{MAX_LENGTH, MAX_PAYLOAD, offset};
use outplane_rmdp_wire::{TransactionId, encode};
use proptest::prelude::*;

use super::*;
use crate::counters::TypeCounters;

const NETWORK: NetworkId = NetworkId::new(3);
const KEY: Key = Key { id: 1, secret: [7; 16] };
const NEXT: Key = Key { id: 2, secret: [8; 16] };
const WINDOW: Duration = Duration::from_secs(30);
const SECOND: u64 = 1_000_000_000;

fn id(number: u8) -> TransactionId {
    TransactionId::from_bytes([number; 16])
}

fn header(sender: u32, epoch: u64, sequence: u64, id: TransactionId) -> Header {
    let datagram_type = if id.is_none() { DatagramType::Heartbeat } else { DatagramType::TaskAnnounce };
    Header { datagram_type, network: NETWORK, epoch, sender, sequence, id, sent: 0 }
}

fn datagram(key: &Key, header: &Header) -> Vec<u8> {
    let mut bytes = vec![0; MAX_LENGTH];
    let length = encode(header, b"payload", key, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn announce(sender: u32, sequence: u64, number: u8) -> Vec<u8> {
    datagram(&KEY, &header(sender, 1, sequence, id(number)))
}

impl Filter {
    /// Without XDP.
    fn alone<'a>(&mut self, bytes: &'a [u8], now: u64) -> Result<Datagram<'a>, Refused> {
        self.take(bytes, now, |_| None)
    }
}

fn filter() -> Filter {
    Filter::new(NETWORK, &[KEY], &[1, 2, 3], WINDOW, 1000)
}

#[test]
fn the_first_copy_and_no_other() {
    let mut filter = filter();
    assert_eq!(filter.alone(&announce(1, 1, 9), 1000).unwrap().header.sender, 1);
    assert_eq!(filter.alone(&announce(2, 1, 9), 6000), Err(Refused::Duplicate));
    assert_eq!(filter.alone(&announce(1, 2, 9), 7000), Err(Refused::Duplicate));
    let counters = filter.counters();
    let expected = TypeCounters { copies: 2, first: 1, duplicates: 1, replays: 0 };
    assert_eq!(of(&counters, 1), expected);
    assert_eq!(of(&counters, 2), TypeCounters { copies: 1, first: 0, duplicates: 1, replays: 0 });
    assert_eq!(counters.senders[&1].lateness.since(0).collect::<Vec<_>>(), [0]);
    assert_eq!(counters.senders[&2].lateness.since(0).collect::<Vec<_>>(), [5]);
    assert_eq!((counters.tasks, counters.remembered), (1, 1));
}

fn of(counters: &Counters, sender: u32) -> TypeCounters {
    counters.senders[&sender].announces
}

#[test]
fn what_is_not_authentic_changes_nothing_but_a_counter() {
    let mut filter = filter();
    let good = announce(1, 1, 9);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut longer = good.clone();
    longer.push(0);
    let cases: [(Vec<u8>, Refused); 12] = [
        (Vec::new(), Refused::NotRmdp),
        (b"GET / HTTP/1.1".to_vec(), Refused::NotRmdp),
        (flipped(0), Refused::NotRmdp),
        (flipped(offset::VERSION), Refused::UnknownVersion),
        (flipped(offset::ZERO), Refused::Malformed),
        (longer, Refused::Malformed),
        (vec![b'R', b'M', b'D', b'P', 2], Refused::Malformed),
        (datagram(&KEY, &header(4, 1, 1, id(9))), Refused::UnknownSender),
        (datagram(&NEXT, &header(1, 1, 1, id(9))), Refused::UnknownKey),
        (datagram(&Key { secret: [9; 16], ..KEY }, &header(1, 1, 1, id(9))), Refused::Forged),
        (flipped(good.len() - 1), Refused::Forged),
        (flipped(offset::PAYLOAD), Refused::Forged),
    ];
    for (bytes, refused) in &cases {
        assert_eq!(filter.alone(bytes, 1), Err(*refused), "{bytes:?}");
    }
    for length in 0..good.len() {
        assert!(filter.alone(&good[..length], 1).is_err(), "{length}");
    }
    for at in 0..good.len() {
        assert!(filter.alone(&flipped(at), 1).is_err(), "{at}");
    }
    let counters = filter.counters();
    assert_eq!((counters.tasks, counters.remembered), (0, 0));
    // It is counted for whoever it says it is of, and nothing else of that sender changes.
    let forged: u64 = counters.senders.values().map(|sender| sender.forged).sum();
    assert_eq!(forged, counters.drops.forged);
    let untouched =
        |sender: &SenderCounters| SenderCounters { forged: 0, ..*sender } == SenderCounters::default();
    assert!(counters.senders.values().all(untouched), "{counters:?}");
    let refused: u64 = counters.drops.named().iter().map(|(_, count)| count).sum();
    assert_eq!(refused, (cases.len() + 2 * good.len()) as u64);
    assert!(filter.alone(&good, 1).is_ok(), "the true one is taken after all of them");
}

#[test]
fn replays_are_refused_for_ever() {
    let mut filter = filter();
    let old = announce(1, 5, 9);
    filter.alone(&old, 0).unwrap();
    assert_eq!(filter.alone(&old, 1), Err(Refused::Replay(Replay::Seen)));
    // Long after the task was forgotten.
    assert_eq!(filter.alone(&old, 1000 * SECOND), Err(Refused::Replay(Replay::Seen)));
    filter.alone(&announce(1, 300, 10), 1000 * SECOND).unwrap();
    assert_eq!(filter.alone(&old, 1000 * SECOND), Err(Refused::Replay(Replay::TooOld)));
    filter.alone(&datagram(&KEY, &header(1, 2, 1, id(11))), 1000 * SECOND).unwrap();
    assert_eq!(filter.alone(&old, 1000 * SECOND), Err(Refused::Replay(Replay::OldEpoch)));
    // A sender that has left and comes back is no way in.
    filter.set_senders(&[2]);
    assert_eq!(filter.alone(&announce(1, 6, 12), 1000 * SECOND), Err(Refused::UnknownSender));
    filter.set_senders(&[1, 2]);
    assert_eq!(filter.alone(&old, 1000 * SECOND), Err(Refused::Replay(Replay::OldEpoch)));
    let drops = filter.counters().drops;
    assert_eq!((drops.seen, drops.too_old, drops.old_epoch, drops.unknown_sender), (2, 1, 2, 1));
}

#[test]
fn both_keys_are_good_while_keys_change() {
    let mut filter = filter();
    filter.alone(&announce(1, 1, 1), 0).unwrap();
    filter.set_keys(&[KEY, NEXT]);
    filter.alone(&announce(1, 2, 2), 0).unwrap();
    filter.alone(&datagram(&NEXT, &header(1, 1, 3, id(3))), 0).unwrap();
    filter.set_keys(&[NEXT]);
    assert_eq!(filter.alone(&announce(1, 4, 4), 0), Err(Refused::UnknownKey));
    filter.alone(&datagram(&NEXT, &header(1, 1, 5, id(5))), 0).unwrap();
}

#[test]
fn heartbeats_are_all_delivered() {
    let mut filter = filter();
    for sequence in 1..100 {
        filter.alone(&datagram(&KEY, &header(1, 1, sequence, TransactionId::NONE)), 0).unwrap();
    }
    let heartbeats = filter.counters().senders[&1].heartbeats;
    assert_eq!((heartbeats.copies, heartbeats.first), (99, 99));
}

#[test]
fn former_senders_are_bounded() {
    let mut filter = filter();
    for round in 0..200_u32 {
        let senders: Vec<u32> = (0..64).map(|number| round * 64 + number).collect();
        filter.set_senders(&senders);
        assert!(filter.senders.len() <= MAX_FORMER + 64);
    }
}

#[test]
fn a_task_is_delivered_once_by_ring_and_sockets() {
    let mut filter = filter();
    assert!(filter.take_from_ring(&header(1, 1, 1000, id(1)), 10));
    assert_eq!(filter.alone(&announce(2, 1, 1), 20), Err(Refused::Duplicate));
    // The ring is full: a socket gets the first copy, and the kernel does not know of it.
    filter.alone(&announce(2, 2, 2), 30).unwrap();
    assert!(!filter.take_from_ring(&header(1, 1, 1001, id(2)), 25));
    assert_eq!(filter.crossed().filter(|(_, crossed)| *crossed > 0).collect::<Vec<_>>(), [(1, 1)]);
    // Datagrams that are read out of order are no replays, whichever way they came.
    filter.alone(&announce(1, 5000, 3), 40).unwrap();
    assert!(filter.take_from_ring(&header(1, 1, 1002, id(4)), 50));
    filter.alone(&announce(1, 4990, 5), 60).unwrap();
    // What came by a socket does not come again by the ring.
    assert!(!filter.take_from_ring(&header(1, 1, 4990, id(5)), 1000 * SECOND));
    // What came by the ring does not come again by a socket.
    let beat = |sequence| datagram(&KEY, &header(1, 1, sequence, TransactionId::NONE));
    let mut window = Window::default();
    window.accept(1, 6000).unwrap();
    let kernel = |_| Some(Kernel { window, passed: 0 });
    assert_eq!(filter.take(&beat(6000), 80, kernel), Err(Refused::Replay(Replay::Seen)));
    filter.take(&beat(6001), 80, kernel).unwrap();
    window.accept(2, 1).unwrap();
    let kernel = |_| Some(Kernel { window, passed: 0 });
    assert_eq!(filter.take(&announce(1, 9000, 7), 100, kernel), Err(Refused::Replay(Replay::OldEpoch)));
}

/// What is too old for XDP's window to tell is taken as often as XDP has passed something on.
#[test]
fn as_many_as_xdp_passed_on() {
    let mut filter = filter();
    let mut window = Window::default();
    window.accept(1, 1000).unwrap();
    let old = |sequence: u8| announce(1, sequence.into(), sequence);
    let kernel = |passed| move |_| Some(Kernel { window, passed });
    filter.beside(1, &Kernel { window, passed: 7 });
    let too_old = Err(Refused::Replay(Replay::TooOld));
    assert_eq!(filter.take(&old(1), 0, kernel(7)), too_old, "the ring was full before this start");
    filter.take(&old(2), 0, kernel(9)).unwrap();
    assert_eq!(filter.take(&old(2), 0, kernel(9)), Err(Refused::Replay(Replay::Seen)));
    let heartbeat = datagram(&KEY, &header(1, 1, 3, TransactionId::NONE));
    assert_eq!(filter.take(&heartbeat, 0, kernel(20)), Err(Refused::Replay(Replay::TooOld)));
    assert_eq!(filter.take(&old(4), 0, kernel(9)), too_old, "both were used, one by a replay");
    // XDP is given up: what it has seen was seen.
    window.accept(1, 1001).unwrap();
    filter.inherit(1, &Kernel { window, passed: 9 });
    assert!(filter.alone(&announce(1, 1001, 5), 0).is_err());
    filter.alone(&announce(1, 1002, 5), 0).unwrap();
}

#[test]
fn older_starts_than_the_store_tells_of_are_replays() {
    let mut filter = filter();
    filter.begun(&BTreeMap::from([(1, 5), (99, 7)]));
    let of = |epoch, sequence, number| datagram(&KEY, &header(1, epoch, sequence, id(number)));
    assert_eq!(filter.alone(&of(4, 1000, 1), 0), Err(Refused::Replay(Replay::OldEpoch)));
    assert!(!filter.take_from_ring(&header(1, 4, 1000, id(1)), 0), "nor by XDP, which may have begun anew");
    for (sequence, number) in [(7, 1), (3, 2)] {
        filter.alone(&of(5, sequence, number), 0).unwrap();
    }
    filter.alone(&of(6, 1, 3), 0).unwrap();
}

#[test]
fn other_networks_are_counted_and_change_nothing() {
    let mut filter = filter();
    let other = Header { network: NetworkId::new(4), ..header(1, 9, 1, id(9)) };
    assert_eq!(filter.alone(&datagram(&KEY, &other), 0), Err(Refused::ForeignNetwork));
    assert_eq!(filter.counters().drops.foreign_network, 1);
    filter.alone(&announce(1, 1, 9), 0).unwrap();
}

proptest! {
    /// Whatever comes in whatever order and how often: each task is delivered, and once.
    #[test]
    fn each_task_once(
        order in prop::collection::vec((1_u32..4, 1_u64..60), 1..400),
        flips in prop::collection::vec(0_usize..79, 400),
    ) {
        let mut filter = filter();
        let mut delivered = std::collections::BTreeSet::new();
        let mut sent = std::collections::BTreeSet::new();
        for (step, (sender, sequence)) in order.into_iter().enumerate() {
            let number = u8::try_from(sequence).unwrap();
            let good = announce(sender, sequence, number);
            let mut bad = good.clone();
            bad[flips[step]] ^= 0x10;
            prop_assert!(filter.alone(&bad, step as u64).is_err());
            sent.insert(number);
            if let Ok(datagram) = filter.alone(&good, step as u64) {
                prop_assert!(delivered.insert(datagram.header.id), "{number} twice");
            }
            prop_assert_eq!(delivered.len(), sent.len());
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        prop_assert!(filter().alone(&bytes, 0).is_err());
    }
}

#[test]
fn the_longest_datagram_is_taken() {
    let mut bytes = vec![0; MAX_LENGTH];
    let length = encode(&header(1, 1, 1, id(1)), &[0; MAX_PAYLOAD], &KEY, &mut bytes).unwrap();
    assert_eq!(length, MAX_LENGTH);
    assert!(filter().alone(&bytes, 0).is_ok());
}
