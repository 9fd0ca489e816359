//! The cluster's network by itself: datagrams pass, are lost, doubled and reordered as told, and nothing stays behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use outplane_testbed::{
    Chaos, Cluster, ClusterOptions, DATAGRAM_PORT, Namespace, Programs, SharedConfig, StoreKind, Xdp,
};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 82, 77);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x524d, 0x4450);
const COUNT: u32 = 1000;
/// After so long nothing more comes.
const SILENCE: Duration = Duration::from_millis(500);

/// What a receiver gets of both groups.
fn receive(namespace: &Namespace, ready: std::sync::mpsc::Sender<()>) -> Vec<u32> {
    let receive = move || {
        let v4 =
            UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, DATAGRAM_PORT))).expect("a free port");
        v4.join_multicast_v4(&GROUP_V4, &Ipv4Addr::UNSPECIFIED).expect("a route to the group");
        v4.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        // What a busy machine has no time to read is not lost.
        setsockopt(&v4, RcvBufForce, &(8 << 20)).expect("root may");
        ready.send(()).expect("somebody waits");
        let (mut numbers, mut buffer) = (Vec::new(), [0; 4]);
        while v4.recv(&mut buffer).is_ok() {
            numbers.push(u32::from_be_bytes(buffer));
            v4.set_read_timeout(Some(SILENCE)).expect("a timeout");
        }
        numbers
    };
    namespace.inside(receive).expect("the namespace is there")
}

/// d1 sends numbers to the group; what c1 and c2 get.
fn exchange(cluster: &Cluster) -> [Vec<u32>; 2] {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let receivers = ["c1", "c2"].map(|name| {
            let namespace = cluster.namespace(name).expect("a namespace");
            let ready = ready.clone();
            scope.spawn(move || receive(namespace, ready))
        });
        for _ in &receivers {
            is_ready.recv().expect("a receiver");
        }
        let send = || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            for number in 0..COUNT {
                socket
                    .send_to(&number.to_be_bytes(), (GROUP_V4, DATAGRAM_PORT))
                    .expect("a route to the group");
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        };
        cluster.namespace("d1").expect("a namespace").inside(send).expect("the namespace is there");
        receivers.map(|receiver| receiver.join().expect("a receiver"))
    })
}

fn count(numbers: &[u32]) -> u64 {
    numbers.len() as u64
}

fn namespaces_of(pid: u32) -> usize {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.starts_with(&format!("op{pid}-")))
        .count()
}

fn bpffs_of(pid: u32) -> usize {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    mounts.lines().filter(|line| line.contains(&format!("/op{pid}-cluster-"))).count()
}

/// What a killed run leaves behind: a namespace, and a folder with a bpffs in it.
fn leave_something() -> (u32, PathBuf) {
    let mut child = Command::new("true").spawn().expect("true starts");
    child.wait().expect("it ends");
    let (pid, run) = (child.id(), |words: &[&str]| {
        let status = Command::new(words[0]).args(&words[1..]).status().expect("it runs");
        assert!(status.success(), "{words:?}");
    });
    run(&["ip", "netns", "add", &format!("op{pid}-left")]);
    let folder = std::env::temp_dir().join(format!("op{pid}-cluster-left"));
    std::fs::create_dir_all(folder.join("bpf")).expect("a folder");
    run(&["mount", "-t", "bpf", "bpf", folder.join("bpf").to_str().expect("UTF-8")]);
    assert_eq!((namespaces_of(pid), bpffs_of(pid)), (1, 1));
    (pid, folder)
}

#[test]
fn datagrams_suffer_as_told_and_nothing_stays() {
    if let Some(why) = outplane_testbed::why_not().or_else(outplane_testbed::why_no_faults) {
        println!("SKIPPED: faults of a cluster's network: {why}");
        return;
    }
    let (left, folder_left) = leave_something();
    let options = ClusterOptions {
        distributors: 1,
        controllers: 2,
        switches: 0,
        ports: 0,
        store: StoreKind::Embedded,
        xdp: Xdp::Required,
        relays: vec!["c1".to_owned()],
        shared: SharedConfig::default(),
    };
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_outplane-lab-agent"));
    // Nothing but the relay is started here.
    let cluster = Cluster::new(options, Programs { outplane: "/nowhere".into(), agent }).expect("a cluster");
    assert_eq!((namespaces_of(left), bpffs_of(left), folder_left.exists()), (0, 0, false), "swept");
    let me = std::process::id();
    assert_eq!((namespaces_of(me), bpffs_of(me)), (6, 1), "bridge, d1, c1, c2, store, admin");

    let all: Vec<_> = (0..COUNT).collect();
    let [first, second] = exchange(&cluster);
    assert!(first == all && second == all, "a calm network: {} and {}", first.len(), second.len());

    cluster.spoil(30, 0).expect("rules");
    let [first, second] = exchange(&cluster);
    let counts = cluster.spoilt().expect("counters");
    assert!(counts.seen == 2 * u64::from(COUNT), "{counts:?}");
    assert_eq!(count(&first) + count(&second) + counts.lost, 2 * u64::from(COUNT), "{counts:?}");
    assert!((200..400).contains(&(u64::from(COUNT) - count(&second))), "{} came", second.len());
    assert_ne!(first, second, "each copy is drawn for by itself");

    cluster.spoil(0, 20).expect("rules");
    let [first, second] = exchange(&cluster);
    let counts = cluster.spoilt().expect("counters");
    assert_eq!(count(&first) + count(&second), 2 * u64::from(COUNT) + counts.doubled, "{counts:?}");
    assert!((250..550).contains(&counts.doubled), "{counts:?}");

    cluster.spoil(0, 0).expect("rules");
    cluster
        .chaos("c1", &Chaos { seed: 1, port: DATAGRAM_PORT, loss: 10, duplicate: 10, delay_us: 5000 })
        .expect("a relay");
    let [first, second] = exchange(&cluster);
    let counts = cluster.chaos("c1", &Chaos::default()).expect("a relay");
    assert_eq!(second, all, "c2 has no relay");
    assert_eq!(count(&first), counts.drawn - counts.lost + counts.doubled, "{counts:?}");
    assert!(counts.lost > 50 && counts.doubled > 50 && counts.overtaken > 50, "{counts:?}");
    assert_eq!((counts.overflowed, counts.unsent), (0, 0));
    assert!(!first.is_sorted(), "they overtake each other");

    cluster.connect("c2", false).expect("a link");
    let [first, second] = exchange(&cluster);
    assert_eq!((first.len(), second.len()), (all.len(), 0), "c2 is cut off");
    cluster.connect("c2", true).expect("a link");

    // Both families, and TCP through the relay with frames as large as they come.
    let [v4, v6] = cluster.addresses("c1").expect("addresses");
    for address in [v4, v6] {
        bulk(&cluster, address);
    }
    multicast_v6(&cluster);
    drop(cluster);
    assert_eq!((namespaces_of(me), bpffs_of(me)), (0, 0));
}

/// d1 sends a megabyte to c1.
fn bulk(cluster: &Cluster, address: IpAddr) {
    let (port, bound) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let receive = || {
                let listener = std::net::TcpListener::bind((address, 0)).expect("c1's address");
                port.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let (mut stream, _) = listener.accept().expect("d1 connects");
                std::io::copy(&mut stream, &mut std::io::sink()).expect("all of it comes")
            };
            cluster.namespace("c1").expect("a namespace").inside(receive).expect("the namespace is there")
        });
        let address = bound.recv().expect("c1 listens");
        let send = || {
            let mut stream = std::net::TcpStream::connect(address).expect("c1 listens");
            std::io::Write::write_all(&mut stream, &vec![7; 1 << 20]).expect("c1 takes it");
        };
        cluster.namespace("d1").expect("a namespace").inside(send).expect("the namespace is there");
        assert_eq!(receiver.join().expect("c1"), 1 << 20);
    });
}

/// One datagram to the IPv6 group.
fn multicast_v6(cluster: &Cluster) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let receive = || {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, DATAGRAM_PORT)).expect("a free port");
                socket.join_multicast_v6(&GROUP_V6, 0).expect("a route to the group");
                socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
                ready.send(()).expect("somebody waits");
                socket.recv(&mut [0; 4]).is_ok()
            };
            cluster.namespace("c2").expect("a namespace").inside(receive).expect("the namespace is there")
        });
        is_ready.recv().expect("c2 listens");
        let send = || {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a socket");
            socket.send_to(b"four", (GROUP_V6, DATAGRAM_PORT)).expect("a route to the group");
        };
        cluster.namespace("d1").expect("a namespace").inside(send).expect("the namespace is there");
        assert!(receiver.join().expect("c2"), "the IPv6 group");
    });
}
