//! Changes under load: restarts, key rotation, generations. Nothing is lost, nothing comes twice.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use outplane_rmdp_wire::{
    DEFAULT_GROUP_V4, DEFAULT_PORT, Datagram, DatagramType, Header, Key, TransactionId,
};
use outplane_xdp::{LogLevel, Settings, XdpReceiver};

use crate::lab::{Lab, PATIENCE, attach};
use crate::support::{KEY, NEXT_KEY, SENDERS, datagram, task};

const TASKS: u64 = 6000;

/// What the sending threads and the test tell each other.
#[derive(Default)]
struct Shared {
    /// Tasks that were sent in all four copies.
    sent: AtomicU64,
    /// Sign with the next key.
    next_key: AtomicBool,
}

/// Begins to send all tasks, some thousands a second with four copies each.
fn load(lab: &Lab, shared: &Arc<Shared>) -> JoinHandle<()> {
    let socket = lab.sender(DEFAULT_GROUP_V4.into(), DEFAULT_PORT);
    let shared = Arc::clone(shared);
    std::thread::spawn(move || send(&socket, &shared))
}

fn send(socket: &UdpSocket, shared: &Shared) {
    for number in 1..=TASKS {
        let (id, payload) = task(number);
        let key: &Key = if shared.next_key.load(Ordering::SeqCst) { &NEXT_KEY } else { &KEY };
        for sender in SENDERS {
            let datagram_type = DatagramType::TaskAnnounce;
            let header = Header {
                datagram_type,
                network: crate::support::NETWORK,
                epoch: 1,
                sender,
                sequence: number,
                id,
                sent: number,
            };
            socket.send(&datagram(&header, &payload, key)).expect("the interface is up");
        }
        shared.sent.store(number, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How often each task was delivered.
#[derive(Default)]
struct Seen(BTreeMap<TransactionId, u32>);

impl Seen {
    fn note(&mut self, bytes: &[u8]) {
        let datagram = Datagram::parse(bytes).expect("only well-formed ones are delivered");
        assert!(datagram.verify(&[KEY, NEXT_KEY]).is_ok());
        *self.0.entry(datagram.header.id).or_default() += 1;
    }

    /// Reads until so many tasks are there, or for a while.
    async fn read(&mut self, receiver: &mut XdpReceiver, tasks: usize, patience: Duration) {
        let end = tokio::time::Instant::now() + patience;
        while self.0.len() < tasks {
            match tokio::time::timeout_at(end, receiver.next()).await {
                Ok(delivered) => self.note(&delivered.expect("the ring is readable").bytes),
                Err(_) => break,
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.0.len() as u64, TASKS, "every task was delivered");
        let twice = self.0.values().filter(|count| **count > 1).count();
        assert_eq!(twice, 0, "no task was delivered twice");
    }
}

fn settings(lab: &Lab) -> Settings {
    Settings { capacity: 20_000, ring_bytes: 16 << 20, log_level: LogLevel::Info, ..lab.settings() }
}

#[test]
fn restarts_lose_nothing_and_keep_what_was_seen() {
    Lab::run("xr", |lab| async move {
        let shared = Arc::new(Shared::default());
        let mut seen = Seen::default();
        let mut receiver = attach(settings(&lab)).await;
        let sending = load(&lab, &shared);
        let mut starts = 1;
        while shared.sent.load(Ordering::SeqCst) < TASKS {
            // Some are read, some wait in the ring for the next start, which replaces the program in the link.
            let already = seen.0.len();
            seen.read(&mut receiver, already + 50, Duration::from_millis(50)).await;
            drop(receiver);
            receiver = attach(settings(&lab)).await;
            starts += 1;
        }
        sending.join().unwrap();
        let all = usize::try_from(TASKS).unwrap();
        seen.read(&mut receiver, all, PATIENCE).await;
        // Whatever else there is would be a second delivery.
        seen.read(&mut receiver, usize::MAX, Duration::from_millis(100)).await;
        seen.check();
        let counters = receiver.control().counters().unwrap();
        println!("{starts} starts of the daemon under load: {TASKS} tasks, {} datagrams", 4 * TASKS);
        assert!(starts > 3, "{starts}");
        assert_eq!((counters.delivered(), counters.duplicates()), (TASKS, 3 * TASKS));
        assert_eq!((counters.reasons.ring_full, counters.reasons.refused()), (0, 0));
        receiver.detach().unwrap();
    });
}

#[test]
fn keys_rotate_under_load() {
    Lab::run("xk", |lab| async move {
        let shared = Arc::new(Shared::default());
        let mut seen = Seen::default();
        let mut receiver = attach(settings(&lab)).await;
        let control = receiver.control();
        let sending = load(&lab, &shared);
        let third = usize::try_from(TASKS / 3).unwrap();
        seen.read(&mut receiver, third, PATIENCE).await;
        control.set_keys(&[KEY, NEXT_KEY]).unwrap();
        shared.next_key.store(true, Ordering::SeqCst);
        seen.read(&mut receiver, 2 * third, PATIENCE).await;
        control.set_keys(&[NEXT_KEY]).unwrap();
        seen.read(&mut receiver, 3 * third, PATIENCE).await;
        sending.join().unwrap();
        seen.read(&mut receiver, usize::MAX, Duration::from_millis(100)).await;
        seen.check();
        assert_eq!(control.counters().unwrap().reasons.refused(), 0);
        receiver.detach().unwrap();
    });
}

#[test]
fn generations_change_under_load() {
    Lab::run("xg", |lab| async move {
        let shared = Arc::new(Shared::default());
        let mut seen = Seen::default();
        let mut receiver = attach(settings(&lab)).await;
        let control = receiver.control();
        let sending = load(&lab, &shared);
        let mut changes = 0;
        while shared.sent.load(Ordering::SeqCst) < TASKS {
            let already = seen.0.len();
            seen.read(&mut receiver, already + 500, Duration::from_millis(200)).await;
            // All copies of a task are sent within far less than the two changes that make it forgotten.
            let control = control.clone();
            tokio::task::spawn_blocking(move || control.switch_generation()).await.unwrap().unwrap();
            changes += 1;
        }
        sending.join().unwrap();
        seen.read(&mut receiver, usize::MAX, Duration::from_millis(200)).await;
        seen.check();
        println!("{changes} changes of generation under load");
        assert!(changes > 2, "{changes}");
        receiver.detach().unwrap();
    });
}
