//! Senders and a receiver in network namespaces, with veth pairs, loss and XDP between them. Needs root.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{KEY, NETWORK, NEXT, TaskList, next, receive_all, settings};
use nix::sched::{CloneFlags, unshare};
use outplane_rmdp_transport::{
    Counters, Destinations, Mode, Receiver, Sender, SenderSettings, Settings, Xdp, copies_between,
    monotonic_nanos,
};
use outplane_rmdp_wire::datagram::{MAX_LENGTH, MAX_PAYLOAD};
use outplane_rmdp_wire::{Beat, DEFAULT_PORT, DatagramType, Header, Key, Role, TransactionId, encode};
use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 82, 77));

/// Runs two things in two network namespaces with a veth pair between them: `near` has the interface `n0`, `far` has
/// `f0`. Each is on a thread of its own, and the namespaces go with the threads.
fn pair<N: Send, F: Send>(
    near: impl AsyncFnOnce() -> N + Send,
    far: impl AsyncFnOnce() -> F + Send,
) -> Option<(N, F)> {
    if let Err(why) = std::thread::spawn(enter).join().unwrap() {
        println!("SKIPPED: namespaces: {why}");
        return None;
    }
    let (far_thread, of_far_thread) = mpsc::channel();
    let (linked, wait_for_link) = mpsc::channel();
    // The link goes with either namespace: both stay until both are done.
    let (far_works, wait_for_far) = mpsc::channel::<()>();
    let (near_works, wait_for_near) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let far = scope.spawn(move || {
            enter().unwrap();
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            far_thread.send(thread.file_name().unwrap().to_str().unwrap().to_owned()).unwrap();
            wait_for_link.recv().unwrap();
            set_up("f0", 2);
            let result = run(far);
            drop(far_works);
            let _ = wait_for_near.recv();
            result
        });
        let near = scope.spawn(move || {
            enter().unwrap();
            let far = of_far_thread.recv().unwrap();
            ip(&["link", "add", "n0", "type", "veth", "peer", "name", "f0", "netns", &far]).unwrap();
            linked.send(()).unwrap();
            set_up("n0", 1);
            let result = run(near);
            drop(near_works);
            let _ = wait_for_far.recv();
            result
        });
        Some((near.join().unwrap(), far.join().unwrap()))
    })
}

/// Puts this thread into a namespace of its own.
fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))?;
    ip(&["link", "set", "lo", "up"])
}

fn set_up(interface: &str, host: u8) {
    ip(&["addr", "add", &format!("192.0.2.{host}/24"), "dev", interface]).unwrap();
    // Without duplicate address detection it can be used at once.
    ip(&["addr", "add", &format!("2001:db8::{host}/64"), "dev", interface, "nodad"]).unwrap();
    ip(&["link", "set", interface, "up"]).unwrap();
    // The kernel adds this route, which IPv6 groups need, some time after both ends are up.
    let route = ["-6", "route", "show", "table", "local", "type", "multicast", "dev", interface];
    let started = Instant::now();
    while Command::new("ip").args(route).output().unwrap().stdout.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(20), "{interface} has no route for IPv6 groups");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    command("ip", arguments)
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn run<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work())
}

fn senders(interface: &str, group: IpAddr) -> Vec<Sender> {
    let destinations = Destinations { groups: vec![group], port: DEFAULT_PORT, ttl: 1, unicast: Vec::new() };
    let open = |id| SenderSettings {
        network: NETWORK,
        sender: id,
        epoch: 1,
        key: KEY,
        interface: Some(interface.to_owned()),
        destinations: destinations.clone(),
    };
    (1..=3).map(|id| Sender::open(open(id)).unwrap()).collect()
}

fn beat() -> Beat {
    Beat { role: Role::Distributor, interval_ms: 200, generation: 1 }
}

/// Takes announces until heartbeats say that no more come; gives their ids in the order of arrival.
async fn receive_until_heartbeat(receiver: &mut Receiver) -> Vec<TransactionId> {
    let mut ids = Vec::new();
    loop {
        let datagram = next(receiver).await;
        if datagram.header.id.is_none() {
            return ids;
        }
        ids.push(datagram.header.id);
    }
}

/// Drops 30 % of the task announces that come to `f0`; heartbeats, which end a test, are spared. Byte 5 of the datagram is
/// its type.
const LOSS: &str = "table netdev lossy { chain in { type filter hook ingress device f0 priority 0; \
                    udp dport 8277 @th,104,8 1 numgen random mod 100 < 30 drop\n}\n}";

/// Three senders announce each task in three rounds over a path that loses 30 % (or nothing).
fn over_a_path(group: IpAddr, loss: bool, xdp: Xdp) -> Option<(Counters, usize)> {
    let tasks = &TaskList::new(300);
    let (ready, wait) = mpsc::channel();
    let near = async move || {
        if wait.recv().is_err() {
            return;
        }
        let mut senders = senders("n0", group);
        for task in 0..tasks.len() {
            for sender in &mut senders {
                assert_eq!(sender.announce(&tasks.announce(task), 3).unwrap(), 3);
            }
        }
        senders[0].heartbeat(&beat(), &[], &[], &[]).unwrap();
    };
    let far = async move || {
        if loss && let Err(why) = command("nft", &[LOSS]) {
            println!("SKIPPED: loss: {why}");
            return None;
        }
        let pins = match bpffs() {
            Ok(pins) => pins,
            Err(why) if xdp == Xdp::Required => {
                println!("SKIPPED: XDP: no bpffs: {why}");
                return None;
            }
            Err(_) => tempfile::tempdir().unwrap(),
        };
        let mut receiver = Receiver::open(Settings {
            interface: Some("f0".to_owned()),
            xdp,
            pin_root: pins.path().join("pins"),
            groups: vec![group],
            ..settings()
        })
        .await
        .unwrap();
        let before = receiver.counters().unwrap();
        ready.send(()).unwrap();
        let mut ids = receive_until_heartbeat(&mut receiver).await;
        let counters = receiver.counters().unwrap();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "a task was delivered twice");
        assert_eq!(counters.tasks, count as u64);
        let copies = copies_between(&before, &counters, 3);
        assert_eq!(copies.tasks as usize, count);
        assert_eq!(copies.senders.len(), 3);
        if xdp == Xdp::Required {
            assert!(matches!(receiver.mode(), Mode::XdpDriver | Mode::XdpGeneric), "{:?}", receiver.mode());
        }
        receiver.detach().unwrap();
        Some((counters, count))
    };
    pair(near, far)?.1
}

fn copies(counters: &Counters) -> u64 {
    counters.senders.values().map(|sender| sender.announces.copies).sum()
}

fn nothing_lost(result: Option<(Counters, usize)>) {
    let Some((counters, count)) = result else { return };
    assert_eq!((count, copies(&counters)), (300, 2700));
    for sender in counters.senders.values() {
        let announces = sender.announces;
        assert_eq!(announces.copies, announces.first + announces.duplicates);
    }
    assert_eq!(counters.drops, outplane_rmdp_transport::Drops::default());
}

#[test]
fn multicast_v4_over_veth() {
    nothing_lost(over_a_path(GROUP, false, Xdp::Off));
}

#[test]
fn multicast_v6_over_veth() {
    nothing_lost(over_a_path(outplane_rmdp_wire::DEFAULT_GROUP_V6.into(), false, Xdp::Off));
}

/// Nodes of one machine hear each other over a real interface, in both families.
#[test]
fn nodes_of_one_machine() {
    for group in [GROUP, outplane_rmdp_wire::DEFAULT_GROUP_V6.into()] {
        let tasks = &TaskList::new(20);
        let far = async move || {
            let settings = Settings { interface: Some("f0".to_owned()), groups: vec![group], ..settings() };
            let mut receivers =
                [Receiver::open(settings.clone()).await.unwrap(), Receiver::open(settings).await.unwrap()];
            let mut senders = senders("f0", group);
            for task in 0..tasks.len() {
                for sender in &mut senders {
                    assert_eq!(sender.announce(&tasks.announce(task), 1).unwrap(), 1);
                }
            }
            for receiver in &mut receivers {
                assert_eq!(receive_all(receiver, tasks.len()).await, tasks.ids());
            }
        };
        pair(async || (), far);
    }
}

/// Nine copies of a task, of which 30 % are lost: one in 50,000 tasks does not come.
#[test]
fn loss_of_30_percent() {
    let Some((counters, count)) = over_a_path(GROUP, true, Xdp::Off) else { return };
    let copies = copies(&counters);
    println!("{count} of 300 tasks came, with {copies} of 2700 copies");
    assert!(count >= 297, "{count} of 300 tasks came");
    assert!((1600..=2200).contains(&copies), "{copies} of 2700 copies");
}

/// A bpffs that only this thread and those that it starts see, and that goes with them.
fn bpffs() -> Result<TempDir, String> {
    let folder = tempfile::tempdir().unwrap();
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| format!("unshare: {error}"))?;
    command("mount", &["--make-rprivate", "/"])?;
    command("mount", &["-t", "bpf", "bpf", folder.path().to_str().unwrap()])?;
    Ok(folder)
}

#[test]
fn xdp_v4_over_veth() {
    nothing_lost(over_a_path(GROUP, false, Xdp::Required));
}

#[test]
fn xdp_v6_over_veth() {
    nothing_lost(over_a_path(outplane_rmdp_wire::DEFAULT_GROUP_V6.into(), false, Xdp::Required));
}

/// A task that came by XDP does not come again from a node of the same machine, nor the other way round; and XDP outlives
/// the daemon until it is turned off.
#[test]
fn ring_and_sockets_are_one() {
    let tasks = TaskList::new(20);
    let mut settings = Settings {
        interface: Some("f0".to_owned()),
        xdp: Xdp::Required,
        groups: vec![GROUP],
        unicast: vec!["127.0.0.1:0".parse().unwrap()],
        ..settings()
    };
    let (hand_over, take) = mpsc::channel();
    let near = async move || hand_over.send(senders("n0", GROUP).pop().unwrap()).unwrap();
    let far = async move || {
        let pins = match bpffs() {
            Ok(pins) => pins,
            Err(why) => return println!("SKIPPED: XDP: no bpffs: {why}"),
        };
        settings.pin_root = pins.path().join("pins");
        let mut receiver = Receiver::open(settings.clone()).await.unwrap();
        let unicast: Vec<SocketAddr> = receiver.unicast().collect();
        let destinations = Destinations { unicast, ..Destinations::default() };
        let mut local = Sender::open(SenderSettings {
            network: NETWORK,
            sender: 1,
            epoch: 1,
            key: KEY,
            interface: None,
            destinations,
        })
        .unwrap();
        // Its sockets are in the other namespace.
        let mut remote = take.recv().unwrap();
        for task in 0..tasks.len() {
            let [first, second] =
                if task % 2 == 0 { [&mut local, &mut remote] } else { [&mut remote, &mut local] };
            first.announce(&tasks.announce(task), 1).unwrap();
            let datagram = next(&mut receiver).await;
            assert_eq!(datagram.header.id, tasks.announce(task).event.id().unwrap());
            second.announce(&tasks.announce(task), 1).unwrap();
            second.heartbeat(&beat(), &[], &[], &[]).unwrap();
            let datagram = next(&mut receiver).await;
            assert!(datagram.header.id.is_none(), "{datagram:?} twice");
        }
        let counters = receiver.counters().unwrap();
        assert_eq!(counters.tasks, 20);
        for sender in [1, 3] {
            let announces = counters.senders[&sender].announces;
            assert_eq!((announces.copies, announces.first, announces.duplicates), (20, 10, 10), "{sender}");
        }

        // Keys change under XDP: the sender in the middle, the receiver before and after.
        receiver.tick(monotonic_nanos()).unwrap();
        let more = TaskList::new(60);
        for task in 30..more.len() {
            match task {
                35 => receiver.set_keys(&[KEY, NEXT]).await.unwrap(),
                40 => remote.set_key(NEXT),
                45 => receiver.set_keys(&[NEXT]).await.unwrap(),
                50 => receiver.set_senders(&[3]).await.unwrap(),
                55 => receiver
                    .set_groups(&[GROUP, Ipv4Addr::new(239, 255, 82, 78).into()], DEFAULT_PORT)
                    .await
                    .unwrap(),
                _ => {}
            }
            remote.announce(&more.announce(task), 1).unwrap();
            let datagram = next(&mut receiver).await;
            assert_eq!(datagram.header.id, more.announce(task).event.id().unwrap(), "{task}");
        }
        assert_eq!(receiver.groups().count(), 2);
        let three = [KEY, NEXT, Key { id: 3, ..KEY }];
        let error = receiver.set_keys(&three).await.unwrap_err().to_string();
        assert!(error.contains("3 keys: at most 2"), "{error}");
        remote.announce(&more.announce(29), 1).unwrap();
        let datagram = next(&mut receiver).await;
        assert_eq!(datagram.header.id, more.announce(29).event.id().unwrap());
        settings.keys = vec![NEXT];

        // Between two lives of the daemon.
        drop(receiver);
        let more = TaskList::new(29);
        for task in 20..more.len() {
            remote.announce(&more.announce(task), 1).unwrap();
        }
        let mut receiver = Receiver::open(settings.clone()).await.unwrap();
        let mut ids = receive_all(&mut receiver, 9).await;
        ids.extend(tasks.ids());
        ids.sort_unstable();
        assert_eq!(ids, more.ids());

        // Without XDP from now on: what the earlier start has left does not keep datagrams from the socket.
        drop(receiver);
        let mut receiver = Receiver::open(Settings { xdp: Xdp::Off, ..settings.clone() }).await.unwrap();
        assert_eq!(receiver.mode().name(), "socket");
        // The kernel takes the program off a moment after it was told to.
        let heard = async {
            loop {
                remote.heartbeat(&beat(), &[], &[], &[]).unwrap();
                let one = tokio::time::timeout(Duration::from_millis(20), receiver.next()).await;
                if let Ok(datagram) = one {
                    return datagram;
                }
            }
        };
        let datagram = tokio::time::timeout(Duration::from_secs(20), heard).await.expect("no heartbeat came");
        assert!(datagram.header.id.is_none());
    };
    pair(near, far);
}

/// Nobody reads for a while: the ring is full, and what comes then waits in a socket. Nothing is lost, and nothing comes
/// twice when another sender's copies go the other way.
#[test]
fn a_full_ring_loses_nothing() {
    // A record takes 536 bytes of the ring's 8 MiB.
    let tasks = &TaskList::new(18_000);
    let mut settings =
        Settings { interface: Some("f0".to_owned()), xdp: Xdp::Required, groups: vec![GROUP], ..settings() };
    let (hand_over, take) = mpsc::channel();
    let near = async move || hand_over.send(senders("n0", GROUP)).unwrap();
    let far = async move || {
        let pins = match bpffs() {
            Ok(pins) => pins,
            Err(why) => return println!("SKIPPED: XDP: no bpffs: {why}"),
        };
        settings.pin_root = pins.path().join("pins");
        let mut receiver = Receiver::open(settings).await.unwrap();
        let mut senders = take.recv().unwrap();
        for task in 0..tasks.len() {
            senders[0].announce(&tasks.announce(task), 1).unwrap();
        }
        let full = receiver.counters().unwrap();
        assert!(full.ring_full > 1000, "{}", full.ring_full);
        assert_eq!(full.socket_overflows, 0);
        // The copies of tasks that a socket holds find the ring full too, or come first by it.
        let mut ids = Vec::new();
        for task in (0..tasks.len()).rev() {
            senders[1].announce(&tasks.announce(task), 1).unwrap();
            if task % 2 == 0 && ids.len() < tasks.len() {
                ids.push(next(&mut receiver).await.header.id);
            }
        }
        senders[1].heartbeat(&beat(), &[], &[], &[]).unwrap();
        while ids.len() < tasks.len() {
            let datagram = next(&mut receiver).await;
            if !datagram.header.id.is_none() {
                ids.push(datagram.header.id);
            }
        }
        ids.sort_unstable();
        assert!(ids == tasks.ids(), "not each task once");
        // Whatever is left is no task.
        while let Ok(datagram) = tokio::time::timeout(Duration::from_millis(200), receiver.next()).await {
            assert!(datagram.header.id.is_none(), "{datagram:?} twice");
        }
        let counters = receiver.counters().unwrap();
        assert_eq!((counters.tasks, counters.socket_overflows), (18_000, 0));
        for sender in [1, 2] {
            let announces = counters.senders[&sender].announces;
            assert_eq!((announces.copies, announces.replays), (18_000, 0), "{sender}");
            assert_eq!(announces.first + announces.duplicates, 18_000, "{sender}");
        }
    };
    pair(near, far);
}

/// The announce of a task by sender 1, as it travels.
fn announced(tasks: &TaskList, task: usize, sequence: u64) -> Vec<u8> {
    let announce = tasks.announce(task);
    let mut payload = [0; MAX_PAYLOAD];
    let length = announce.encode(&mut payload).unwrap();
    let header = Header {
        datagram_type: DatagramType::TaskAnnounce,
        network: NETWORK,
        epoch: 1,
        sender: 1,
        sequence,
        id: announce.event.id().unwrap(),
        sent: 0,
    };
    let mut bytes = vec![0; MAX_LENGTH];
    let length = encode(&header, &payload[..length], &KEY, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// Sends a datagram to f0 in two IPv4 fragments. The kernel fills in checksums of the network layer.
fn send_in_fragments(bytes: &[u8], identification: u16) {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
    let length = u16::try_from(bytes.len() + 8).unwrap();
    let mut udp = Vec::new();
    for field in [40_000, DEFAULT_PORT, length, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(bytes);
    let (first, second) = udp.split_at(64);
    for (part, flags) in [(first, 0x2000_u16), (second, 64 / 8)] {
        let mut packet = vec![0x45, 0];
        packet.extend(u16::try_from(20 + part.len()).unwrap().to_be_bytes());
        packet.extend(identification.to_be_bytes());
        packet.extend(flags.to_be_bytes());
        packet.extend([64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(part);
        let to: SocketAddr = "192.0.2.2:0".parse().unwrap();
        assert_eq!(socket.send_to(&packet, &to.into()).unwrap(), packet.len());
    }
}

/// What the kernel puts together from fragments goes past XDP: a replay is one there as well, when the memory of tasks has
/// long forgotten it.
#[test]
fn a_replay_in_fragments_is_a_replay() {
    let tasks = &TaskList::new(2);
    let (ask, asked) = mpsc::channel();
    let near = async move || {
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        let replayed = announced(tasks, 0, 1);
        for (round, ()) in asked.iter().enumerate() {
            if round == 0 {
                socket.send_to(&replayed, ("192.0.2.2", DEFAULT_PORT)).unwrap();
            } else {
                send_in_fragments(&replayed, 1);
                send_in_fragments(&announced(tasks, 1, 2), 2);
            }
        }
    };
    let far = async move || {
        let pins = match bpffs() {
            Ok(pins) => pins,
            Err(why) => return println!("SKIPPED: XDP: no bpffs: {why}"),
        };
        let mut receiver = Receiver::open(Settings {
            interface: Some("f0".to_owned()),
            xdp: Xdp::Required,
            pin_root: pins.path().join("pins"),
            unicast: vec![SocketAddr::new("192.0.2.2".parse().unwrap(), DEFAULT_PORT)],
            window: Duration::from_secs(1),
            ..settings()
        })
        .await
        .unwrap();
        ask.send(()).unwrap();
        let id = |task: usize| tasks.announce(task).event.id().unwrap();
        assert_eq!(next(&mut receiver).await.header.id, id(0));
        // Two windows, and a tick in each.
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            receiver.tick(monotonic_nanos()).unwrap();
        }
        ask.send(()).unwrap();
        assert_eq!(next(&mut receiver).await.header.id, id(1), "a fragmented one that is new is taken");
        let counters = receiver.counters().unwrap();
        assert_eq!((counters.drops.seen, counters.fragments, counters.tasks), (1, 4, 2));
        receiver.detach().unwrap();
    };
    pair(near, far);
}
