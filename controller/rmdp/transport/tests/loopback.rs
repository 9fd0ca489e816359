//! Senders and receivers of several nodes on one machine, over loopback.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{KEY, NETWORK, NEXT, TaskList, next, receive_all, settings};
use outplane_rmdp_transport::{
    Destinations, Mode, Receiver, Sender, SenderSettings, Settings, TransportError, Xdp,
};
use outplane_rmdp_wire::{Beat, Hint, HintOf, Key, Payload, Role};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 82, 77));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x524d, 0x4450));

/// A sender to these destinations.
fn sender(id: u32, destinations: Destinations) -> Sender {
    Sender::open(SenderSettings {
        network: NETWORK,
        sender: id,
        epoch: 1,
        key: KEY,
        interface: Some("lo".to_owned()),
        destinations,
    })
    .unwrap()
}

/// A receiver of unicast.
async fn open(unicast: Vec<SocketAddr>) -> Receiver {
    Receiver::open(Settings { unicast, ..settings() }).await.unwrap()
}

fn to_group(group: IpAddr, port: u16) -> Destinations {
    Destinations { groups: vec![group], port, ttl: 1, unicast: Vec::new() }
}

/// Two receivers that are members of a group.
async fn two_members(group: IpAddr) -> Result<(Receiver, Receiver, u16), TransportError> {
    let port = outplane_loopback::port();
    let settings = Settings { groups: vec![group], port, ..settings() };
    Ok((Receiver::open(settings.clone()).await?, Receiver::open(settings).await?, port))
}

async fn both_members_get_each_task_once(group: IpAddr) {
    let (mut one, mut two, port) = match two_members(group).await {
        Ok(members) => members,
        Err(error) => {
            println!("SKIPPED: multicast to {group} over loopback: {error}");
            return;
        }
    };
    assert_eq!(*one.mode(), Mode::Socket { reason: "it is switched off".to_owned() });
    let mut senders: Vec<Sender> = (1..=3).map(|id| sender(id, to_group(group, port))).collect();
    let tasks = TaskList::new(50);
    if senders[0].heartbeat(&beat(), &[], &[], &[]).unwrap() == 0 {
        // Loopback seldom has a route for IPv6 groups; tests/namespaces.rs has real links.
        return println!(
            "SKIPPED: multicast to {group} over loopback: {:?}",
            senders[0].counters()[0].last_error
        );
    }
    for receiver in [&mut one, &mut two] {
        assert!(matches!(next(receiver).await.payload(), Ok(Payload::Heartbeat(_))));
    }
    for task in 0..tasks.len() {
        for sender in &mut senders {
            assert_eq!(sender.announce(&tasks.announce(task), 2).unwrap(), 2);
        }
    }
    for receiver in [&mut one, &mut two] {
        let ids = receive_all(receiver, tasks.len()).await;
        assert_eq!(ids, tasks.ids());
        // The last copies are read with the next datagram.
        senders[0].heartbeat(&beat(), &[], &[], &[]).unwrap();
        let heartbeat = next(receiver).await;
        assert!(matches!(heartbeat.payload(), Ok(Payload::Heartbeat(_))), "{heartbeat:?}");
        let counters = receiver.counters().unwrap();
        assert_eq!(counters.tasks, 50);
        let all: Vec<_> = counters.senders.values().map(|sender| sender.announces).collect();
        assert_eq!(all.iter().map(|sender| sender.first).sum::<u64>(), 50);
        assert_eq!(all.iter().map(|sender| sender.duplicates).sum::<u64>(), 250);
        assert_eq!(all.iter().map(|sender| sender.replays).sum::<u64>(), 0);
    }
}

fn beat() -> Beat {
    Beat { role: Role::Distributor, interval_ms: 200, generation: 1 }
}

#[tokio::test]
async fn multicast_v4() {
    both_members_get_each_task_once(V4).await;
}

#[tokio::test]
async fn multicast_v6() {
    both_members_get_each_task_once(V6).await;
}

#[tokio::test]
async fn unicast_fan_out_and_hints_in_both_families() {
    let mut receivers = Vec::new();
    for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
        let unicast = vec![address.parse().unwrap()];
        match Receiver::open(Settings { unicast, ..settings() }).await {
            Ok(receiver) => receivers.push(receiver),
            Err(error) => println!("SKIPPED: {address}: {error}"),
        }
    }
    let unicast: Vec<SocketAddr> = receivers.iter().flat_map(Receiver::unicast).collect();
    let destinations = Destinations { unicast: unicast.clone(), ..Destinations::default() };
    let mut sender = sender(1, destinations);
    let tasks = TaskList::new(5);
    for task in 0..tasks.len() {
        sender.announce(&tasks.announce(task), 1).unwrap();
    }
    // One datagram for all of them.
    assert_eq!(sender.sequence(), 5);
    for (receiver, address) in receivers.iter_mut().zip(unicast) {
        assert_eq!(receive_all(receiver, tasks.len()).await, tasks.ids());
        let hint = Hint { what: HintOf::Intent, number: 7 };
        assert!(sender.hint(address, &hint).unwrap());
        assert_eq!(next(receiver).await.payload(), Ok(Payload::Hint(hint)));
    }
    assert!(sender.counters().iter().all(|destination| destination.sent == 5 && destination.failed == 0));
}

/// A destination that fails does not keep the others from theirs.
#[tokio::test]
async fn a_destination_that_fails_is_counted() {
    let mut receiver = open(vec!["127.0.0.1:0".parse().unwrap()]).await;
    let good = receiver.unicast().next().unwrap();
    // Port 0 cannot be sent to, and broadcast is not allowed on this socket.
    let bad: [SocketAddr; 2] = ["127.0.0.1:0".parse().unwrap(), "255.255.255.255:9".parse().unwrap()];
    let mut sender =
        sender(1, Destinations { unicast: vec![bad[0], good, bad[1]], ..Destinations::default() });
    let tasks = TaskList::new(3);
    for task in 0..tasks.len() {
        assert_eq!(sender.announce(&tasks.announce(task), 1).unwrap(), 1);
    }
    assert_eq!(receive_all(&mut receiver, tasks.len()).await, tasks.ids());
    let counters = sender.counters();
    assert_eq!(
        counters.iter().map(|one| (one.sent, one.failed)).collect::<Vec<_>>(),
        [(0, 3), (3, 0), (0, 3)]
    );
    assert!(counters[0].last_error.is_some());

    // Those that stay keep their counts.
    sender.set_destinations(&Destinations { unicast: vec![good], ..Destinations::default() }).unwrap();
    assert_eq!(sender.counters().iter().map(|one| one.sent).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn forged_replayed_and_truncated_datagrams_are_counted() {
    let mut receiver = open(vec!["127.0.0.1:0".parse().unwrap()]).await;
    let address = receiver.unicast().next().unwrap();
    // In the middle: gets the datagrams, and sends what it likes.
    let spy = UdpSocket::bind("127.0.0.1:0").unwrap();
    spy.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let through_spy = vec![spy.local_addr().unwrap()];
    let mut true_sender = sender(1, Destinations { unicast: through_spy.clone(), ..Destinations::default() });
    let mut forger = sender(1, Destinations { unicast: through_spy, ..Destinations::default() });
    forger.set_key(Key { secret: [99; 16], ..KEY });
    let tasks = TaskList::new(20);
    let mut buffer = [0; 2048];
    for task in 0..tasks.len() {
        forger.announce(&tasks.announce(task), 1).unwrap();
        let length = spy.recv(&mut buffer).unwrap();
        spy.send_to(&buffer[..length], address).unwrap();
        true_sender.announce(&tasks.announce(task), 1).unwrap();
        let length = spy.recv(&mut buffer).unwrap();
        spy.send_to(&buffer[..length - 1], address).unwrap();
        buffer[length] = 0;
        spy.send_to(&buffer[..=length], address).unwrap();
        for _ in 0..3 {
            spy.send_to(&buffer[..length], address).unwrap();
        }
        // Longer than any datagram.
        spy.send_to(&[buffer[..length].to_vec(), vec![0; 60_000]].concat(), address).unwrap();
        spy.send_to(b"", address).unwrap();
    }
    assert_eq!(receive_all(&mut receiver, tasks.len()).await, tasks.ids());
    true_sender
        .set_destinations(&Destinations { unicast: vec![address], ..Destinations::default() })
        .unwrap();
    true_sender.heartbeat(&beat(), &[], &[], &[]).unwrap();
    next(&mut receiver).await;
    let counters = receiver.counters().unwrap();
    let drops = counters.drops;
    assert_eq!((drops.forged, drops.malformed, drops.seen, drops.not_rmdp), (20, 60, 40, 20), "{drops:?}");
    assert_eq!((counters.tasks, counters.remembered, counters.socket_overflows), (20, 20, 0));
}

/// The sender changes its key while receivers follow earlier and later: nothing is lost.
#[tokio::test]
async fn keys_change_under_load() {
    let mut receivers =
        [open(vec!["127.0.0.1:0".parse().unwrap()]).await, open(vec!["127.0.0.1:0".parse().unwrap()]).await];
    let unicast = receivers.iter().flat_map(Receiver::unicast).collect();
    let mut sender = sender(1, Destinations { unicast, ..Destinations::default() });
    let tasks = TaskList::new(600);
    let mut got = [Vec::new(), Vec::new()];
    for task in 0..tasks.len() {
        match task {
            100 => receivers[0].set_keys(&[KEY, NEXT]).await.unwrap(),
            200 => receivers[1].set_keys(&[KEY, NEXT]).await.unwrap(),
            300 => sender.set_key(NEXT),
            400 => receivers[1].set_keys(&[NEXT]).await.unwrap(),
            500 => receivers[0].set_keys(&[NEXT]).await.unwrap(),
            _ => {}
        }
        sender.announce(&tasks.announce(task), 1).unwrap();
        for (receiver, got) in receivers.iter_mut().zip(&mut got) {
            got.push(next(receiver).await.header.id);
        }
    }
    for (receiver, mut got) in receivers.iter().zip(got) {
        got.sort_unstable();
        assert_eq!(got, tasks.ids());
        assert_eq!(receiver.counters().unwrap().drops, outplane_rmdp_transport::Drops::default());
    }
}

#[tokio::test]
async fn one_address_is_one_nodes() {
    let first = open(vec!["127.0.0.1:0".parse().unwrap()]).await;
    let unicast: Vec<_> = first.unicast().collect();
    let error =
        Receiver::open(Settings { unicast: unicast.clone(), ..settings() }).await.unwrap_err().to_string();
    assert!(error.contains(&unicast[0].to_string()) && error.contains("another node's"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let nowhere = Receiver::open(settings()).await.unwrap_err();
    assert!(matches!(nowhere, TransportError::Nowhere), "{nowhere}");
    let interface = Some("no-such-if".to_owned());
    let error = Receiver::open(Settings { interface, ..settings() }).await.unwrap_err().to_string();
    assert!(error.starts_with("interface no-such-if: "), "{error}");
    let unicast = vec!["127.0.0.1:0".parse().unwrap()];
    let required = Settings { unicast, xdp: Xdp::Required, interface: None, ..settings() };
    let error = Receiver::open(required).await.unwrap_err().to_string();
    assert!(error.starts_with("XDP is required and cannot be used: "), "{error}");
}

/// Where XDP cannot be, sockets do its work and the mode says why.
#[tokio::test]
async fn without_xdp_there_is_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::open(Settings {
        unicast: vec!["127.0.0.1:0".parse().unwrap()],
        xdp: Xdp::Auto,
        pin_root: folder.path().join("no-bpffs"),
        ..settings()
    })
    .await
    .unwrap();
    let Mode::Socket { reason } = receiver.mode() else { panic!("{:?}", receiver.mode()) };
    assert!(reason.contains("bpffs") || reason.contains("not permitted"), "{reason}");
    let unicast = receiver.unicast().collect();
    sender(1, Destinations { unicast, ..Destinations::default() }).heartbeat(&beat(), &[], &[], &[]).unwrap();
    assert!(next(&mut receiver).await.header.id.is_none());
}

/// `next` may be dropped whenever it likes, as `select!` does: nothing is lost.
#[tokio::test]
async fn receiving_is_cancel_safe() {
    let mut receiver = open(vec!["127.0.0.1:0".parse().unwrap()]).await;
    let unicast = receiver.unicast().collect();
    let mut sender = sender(1, Destinations { unicast, ..Destinations::default() });
    let tasks = TaskList::new(200);
    let mut ids = Vec::new();
    for task in 0..tasks.len() {
        sender.announce(&tasks.announce(task), 1).unwrap();
        tokio::select! {
            biased;
            datagram = receiver.next() => ids.push(datagram.header.id),
            () = std::future::ready(()) => {}
        }
    }
    while ids.len() < tasks.len() {
        ids.push(next(&mut receiver).await.header.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, tasks.ids());
}

#[tokio::test]
async fn groups_change_while_running() {
    let (mut one, _two, port) = match two_members(V4).await {
        Ok(members) => members,
        Err(error) => return println!("SKIPPED: multicast over loopback: {error}"),
    };
    let other = IpAddr::V4(Ipv4Addr::new(239, 255, 82, 78));
    let mut sender = sender(1, Destinations { groups: vec![V4, other], port, ttl: 1, unicast: Vec::new() });
    let tasks = TaskList::new(3);
    let heard = |receiver: &Receiver| receiver.counters().unwrap().senders[&1].announces.copies;

    sender.announce(&tasks.announce(0), 1).unwrap();
    next(&mut one).await;
    one.set_groups(&[other, V4], port).await.unwrap();
    sender.announce(&tasks.announce(1), 1).unwrap();
    next(&mut one).await;
    one.set_groups(&[other], port).await.unwrap();
    assert_eq!(one.groups().count(), 1);
    sender.announce(&tasks.announce(2), 1).unwrap();
    next(&mut one).await;
    // Group, then both (the second copy was not read before its socket was closed, or was), then the other.
    assert!((3..=4).contains(&heard(&one)), "{}", heard(&one));
}
