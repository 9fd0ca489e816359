//! A path that reorders and duplicates, from a seed.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use common::{KEY, NETWORK, TaskList, next, receive_all, settings};
use outplane_rmdp_transport::{Destinations, Receiver, Sender, SenderSettings, Settings};
use outplane_rmdp_wire::{Beat, Role};

/// splitmix64: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// Batches of datagrams of three senders, shuffled as a whole, some twice, some three times: each task is delivered once,
/// each repetition of a datagram is a replay.
#[tokio::test]
async fn reordered_and_duplicated() {
    for seed in 1..=5 {
        path(seed).await;
    }
}

async fn path(seed: u64) {
    let mut random = Random(seed);
    let unicast = vec!["127.0.0.1:0".parse().unwrap()];
    let mut receiver = Receiver::open(Settings { unicast, ..settings() }).await.unwrap();
    let address = receiver.unicast().next().unwrap();
    let middle = UdpSocket::bind("127.0.0.1:0").unwrap();
    middle.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let open = |sender, to: SocketAddr| {
        let destinations = Destinations { unicast: vec![to], ..Destinations::default() };
        Sender::open(SenderSettings {
            network: NETWORK,
            sender,
            epoch: 1,
            key: KEY,
            interface: None,
            destinations,
        })
        .unwrap()
    };
    let mut senders: Vec<Sender> = (1..=3).map(|id| open(id, middle.local_addr().unwrap())).collect();
    let tasks = TaskList::new(200);
    let mut repeated = 0;
    let mut ids = Vec::new();
    // 40 tasks, 120 datagrams a batch: a window has room for what is late by one.
    for batch in 0..5 {
        let mut datagrams = Vec::new();
        for task in batch * 40..(batch + 1) * 40 {
            for sender in &mut senders {
                sender.announce(&tasks.announce(task), 1).unwrap();
                let mut buffer = vec![0; 2048];
                let length = middle.recv(&mut buffer).unwrap();
                buffer.truncate(length);
                for _ in 0..[1, 1, 2, 3][random.below(4)] {
                    datagrams.push(buffer.clone());
                }
            }
        }
        repeated += datagrams.len() as u64 - 120;
        for last in (1..datagrams.len()).rev() {
            datagrams.swap(last, random.below(last + 1));
        }
        for datagram in datagrams {
            middle.send_to(&datagram, address).unwrap();
        }
        ids.extend(receive_all(&mut receiver, 40).await);
    }
    ids.sort_unstable();
    assert_eq!(ids, tasks.ids(), "seed {seed}");
    let beat = Beat { role: Role::Distributor, interval_ms: 200, generation: 1 };
    let mut last = senders.remove(1);
    last.set_destinations(&Destinations { unicast: vec![address], ..Destinations::default() }).unwrap();
    last.heartbeat(&beat, &[], &[], &[]).unwrap();
    next(&mut receiver).await;
    let counters = receiver.counters().unwrap();
    let sum = |count: fn(&outplane_rmdp_transport::TypeCounters) -> u64| -> u64 {
        counters.senders.values().map(|sender| count(&sender.announces)).sum()
    };
    let told =
        (sum(|one| one.first), sum(|one| one.duplicates), sum(|one| one.replays), counters.drops.too_old);
    assert_eq!(told, (200, 400, repeated, 0), "seed {seed}");
}
