//! The data plane on real interfaces: frames in, frames out, interfaces that come and go.

#[allow(dead_code, reason = "each test uses some of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use outplane_softswitch::dataplane::tables::{Action, DropCounter, Lookup, Table, Tables};
use outplane_softswitch::dataplane::{
    Dataplane, Discard, PacketIn, PacketInHeader, PortCounters, PortSpec, Source,
};
use outplane_softswitch::meter::Color;
use support::frames::{Frame, MAC_A, MAC_B};
use support::lab::{PATIENCE, Tap, in_namespace, ip, veth, wait_until_up};
use tokio::sync::mpsc;

const LOGGED_PORT: u128 = 4067;

/// Port 1 and 2 are joined, the others are one flooded segment; VLAN 66 is denied, VLAN 67 and UDP to [`LOGGED_PORT`]
/// denied with log.
struct Policy {
    pushed: AtomicBool,
}

impl Tables for Policy {
    fn lookup(&self, table: Table, key: &[u128], _: usize) -> Lookup {
        let hit = |action| Lookup { hit: true, action };
        match (table, key) {
            (Table::PolicyVersion, _) => hit(Action::SetVersion { version: 1 }),
            (Table::SegmentOf, [_, _, _, vlan]) => {
                hit(Action::SetSegment { segment: u16::try_from(*vlan).unwrap() })
            }
            (Table::FilterAdmin, [_, 66, ..]) => hit(Action::Deny),
            (Table::DportClass, [_, 17, LOGGED_PORT]) => hit(Action::SetDportClass { port_class: 1 }),
            (Table::FilterAdmin, [_, 67, ..] | [_, _, _, _, _, _, _, _, 1, ..]) => {
                hit(Action::DenyLog { rule: 1234 })
            }
            (Table::CrossConnect, [1]) => hit(Action::Forward { port: 2 }),
            (Table::CrossConnect, [2]) => hit(Action::Forward { port: 1 }),
            (Table::Flood, _) => hit(Action::FloodTo { group: 7 }),
            _ => Lookup { hit: false, action: Action::NoAction },
        }
    }

    fn rate_limiter(&self, _: u16, _: usize, _: Duration) -> Option<Color> {
        None
    }

    fn count(&self, _: DropCounter, _: usize, _: usize) {}

    fn group(&self, group: u16, ports: &mut Vec<u16>) {
        assert_eq!(group, 7);
        ports.extend([3, 4, 5]);
    }
}

#[derive(Clone)]
struct Program(Arc<Policy>);

impl Program {
    fn new() -> Self {
        Self(Arc::new(Policy { pushed: AtomicBool::new(true) }))
    }
}

impl Source for Program {
    fn read<R>(&self, run: impl FnOnce(Option<&dyn Tables>) -> R) -> R {
        let pushed = self.0.pushed.load(Ordering::Acquire);
        run(pushed.then_some(&*self.0 as &dyn Tables))
    }
}

fn start(ports: &[&str]) -> (Dataplane, mpsc::Receiver<PacketIn>) {
    let specs: Vec<PortSpec> = ports.iter().map(|port| port.parse().unwrap()).collect();
    let (sender, receiver) = mpsc::channel(2);
    (Dataplane::start(&specs, Program::new(), sender).unwrap(), receiver)
}

fn counters(dataplane: &Dataplane, port: u16) -> PortCounters {
    dataplane.ports().into_iter().find(|status| status.number == port).unwrap().counters
}

/// Waits for something that happens in another thread and cannot be awaited.
fn eventually(what: &str, happened: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

fn frame() -> Frame {
    Frame::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).bytes(b"payload")
}

#[test]
fn frames_pass_unchanged_both_ways() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, mut host2) = (Tap::new("host1"), Tap::new("host2"));
        for frame in [
            frame().build(),
            Frame::new().vlan(100).ipv6(1, 2).tcp(3, 4, 5).build(),
            Frame::new().tag(0x88a8, 100).vlan(200).arp([1; 4], [2; 4]).bytes(&[0xab; 18]).build(),
            Frame::new().vlan(1).vlan(2).ether_type(0x88cc).bytes(&[1; 60]).build(),
            Frame::between([1, 0, 0x5e, 0, 0, 1], [0xff; 6]).ether_type(0x1234).bytes(&[7; 1500]).build(),
        ] {
            host1.send(&frame);
            assert_eq!(host2.receive(), frame);
            host2.send(&frame);
            assert_eq!(host1.receive(), frame);
        }
        assert!(host1.nothing_more() && host2.nothing_more());
        // A frame is counted after it is sent.
        eventually("five frames are counted", || counters(&dataplane, 1).tx_frames == 5);
        let counters = counters(&dataplane, 1);
        assert_eq!((counters.rx_frames, counters.missed), (5, 0));
        assert_eq!(counters.rx_bytes, counters.tx_bytes);
        assert_eq!(counters.drops, []);
    });
}

#[test]
fn floods_reach_each_port_but_the_one_they_came_from() {
    in_namespace(|| {
        for port in 3..=4 {
            veth(&format!("host{port}"), &format!("port{port}"));
        }
        let (dataplane, _packet_in) = start(&["3=port3", "4=port4"]);
        let (mut host3, mut host4) = (Tap::new("host3"), Tap::new("host4"));
        host3.send(&frame().build());
        assert_eq!(host4.receive(), frame().build());
        let last = frame().bytes(b"last").build();
        host4.send(&last);
        assert!(host3.receive_until(|frame| frame == last).is_empty());
        // Port 5 is in the group and not in the switch.
        for port in [3, 4] {
            eventually("copies for port 5 are counted", || {
                counters(&dataplane, port).dropped(Discard::NoSuchPort) == 1
            });
        }
    });
}

#[test]
fn denied_frames_are_counted_or_told() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let (dataplane, mut packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        let logged = |n: u8| Frame::new().vlan(67).ether_type(0x88cc).bytes(&[n; 50]).build();
        host1.send(&Frame::new().vlan(66).arp([1; 4], [2; 4]).build());
        host1.send(&Frame::new().ether_type(0x0800).bytes(&[0x45]).build());
        // The channel holds two.
        for n in 0..3 {
            host1.send(&logged(n));
        }
        host1.send(&frame().build());
        assert_eq!(host2.receive(), frame().build());
        assert!(host2.nothing_more());
        let header = PacketInHeader { ingress_port: 1, reason: 1, segment: 67, rule: 1234 };
        for n in 0..2 {
            assert_eq!(packet_in.blocking_recv(), Some(PacketIn { header, frame: logged(n) }));
        }
        packet_in.try_recv().unwrap_err();
        let counters = counters(&dataplane, 1);
        assert_eq!(counters.to_controller, 2);
        assert_eq!(
            counters.drops,
            [(Discard::TooShort, 1), (Discard::Denied, 1), (Discard::ControllerBusy, 1)]
        );
    });
}

#[test]
fn packet_out() {
    in_namespace(|| {
        veth("host1", "port1");
        let (dataplane, _packet_in) = start(&["1=port1"]);
        let host1 = Tap::new("host1");
        for n in 0..10 {
            dataplane.packet_out(1, frame().bytes(&[n]).build()).unwrap();
        }
        for n in 0..10 {
            assert_eq!(host1.receive(), frame().bytes(&[n]).build());
        }
        for port in [0, 2, 510, 511] {
            dataplane.packet_out(port, frame().build()).unwrap();
        }
        eventually("packet-outs to nowhere are counted", || dataplane.packet_out_discards() == 4);
    });
}

#[test]
fn nothing_passes_without_a_pipeline() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let program = Program::new();
        let specs = ["1=port1".parse().unwrap(), "2=port2".parse().unwrap()];
        program.0.pushed.store(false, Ordering::Release);
        let dataplane = Dataplane::start(&specs, program.clone(), mpsc::channel(1).0).unwrap();
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        host1.send(&frame().build());
        dataplane.packet_out(2, frame().build()).unwrap();
        eventually("the frame is counted", || counters(&dataplane, 1).dropped(Discard::NoProgram) == 1);
        eventually("the packet-out is counted", || dataplane.packet_out_discards() == 1);
        program.0.pushed.store(true, Ordering::Release);
        let last = frame().bytes(b"last").build();
        host1.send(&last);
        assert!(host2.receive_until(|frame| frame == last).is_empty());
    });
}

#[test]
fn frames_longer_than_the_egress_mtu() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        ip("link set host1 mtu 9000");
        ip("link set port1 mtu 9000");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        host1.send(&Frame::new().ether_type(0x88cc).bytes(&[0; 4000]).build());
        host1.send(&frame().build());
        assert_eq!(host2.receive(), frame().build());
        assert_eq!(counters(&dataplane, 2).drops, [(Discard::TooLong, 1)]);
    });
}

#[test]
fn the_longest_frames_pass() {
    in_namespace(|| {
        for pair in 1..=2 {
            veth(&format!("host{pair}"), &format!("port{pair}"));
            for end in ["host", "port"] {
                ip(&format!("link set {end}{pair} mtu 65535"));
            }
        }
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        let long = Frame::new().ether_type(0x88cc).bytes(&vec![7; 65_535]).build();
        host1.send(&long);
        assert_eq!(host2.receive(), long);
        assert_eq!(counters(&dataplane, 1).drops, []);
    });
}

/// Runs `host` in a network namespace of its own, in which the interface that is called so here is, with this address.
fn host<T: Send + 'static>(
    interface: &str,
    address: &str,
    host: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let (interface, address) = (interface.to_owned(), address.to_owned());
    let thread = thread::spawn({
        let interface = interface.clone();
        move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            may_go.recv().unwrap();
            ip(&format!("address add {address}/24 dev {interface}"));
            ip(&format!("link set {interface} up"));
            wait_until_up(&interface);
            host()
        }
    });
    ip(&format!("link set {interface} netns {}", is_ready.recv().unwrap()));
    go.send(()).unwrap();
    thread
}

#[test]
fn tcp_passes_between_interfaces_that_leave_checksums_and_segments_to_the_hardware() {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    const BYTES: usize = 8 << 20;

    in_namespace(|| {
        for pair in 1..=2 {
            veth(&format!("host{pair}"), &format!("port{pair}"));
        }
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let server = host("host2", "10.0.0.2", || {
            let listener = TcpListener::bind("10.0.0.2:4000").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = vec![0; BYTES];
            stream.read_exact(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let client = host("host1", "10.0.0.1", || {
            let end = Instant::now() + PATIENCE;
            let mut stream = loop {
                match TcpStream::connect("10.0.0.2:4000") {
                    Ok(stream) => break stream,
                    // The other host may not be there yet.
                    Err(error) => assert!(Instant::now() < end, "{error}"),
                }
                thread::yield_now();
            };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let sent: Vec<u8> = (0..BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
            stream.write_all(&sent).unwrap();
            let mut back = vec![0; BYTES];
            stream.read_exact(&mut back).unwrap();
            assert!(sent == back, "bytes have changed on their way");
        });
        client.join().unwrap();
        server.join().unwrap();
        eventually("they are counted", || counters(&dataplane, 1).rx_bytes > BYTES as u64);
        let counters = counters(&dataplane, 1);
        let bytes_a_frame = counters.rx_bytes / counters.rx_frames;
        println!("{counters}: {bytes_a_frame} bytes a frame");
        assert!(bytes_a_frame > 2_000, "nothing was left to the hardware: this test has shown nothing");
    });
}

#[test]
fn what_goes_to_the_controller_has_its_checksum() {
    in_namespace(|| {
        for pair in 1..=2 {
            veth(&format!("host{pair}"), &format!("port{pair}"));
        }
        let (_dataplane, mut packet_in) = start(&["1=port1", "2=port2"]);
        let sent = host("host1", "10.0.0.1", || {
            ip("neighbour replace 10.0.0.2 lladdr 02:00:00:00:00:02 dev host1");
            let socket = std::net::UdpSocket::bind("10.0.0.1:1000").unwrap();
            socket.send_to(b"hello", "10.0.0.2:4067").unwrap();
        });
        sent.join().unwrap();
        let frame = packet_in.blocking_recv().unwrap().frame;
        let udp = &frame[34..];
        // Pseudo header and datagram sum up to all ones (RFC 768).
        let pseudo = [&frame[26..34], &[0, 17], &udp[4..6]].concat();
        let sum: u64 = [&pseudo, udp]
            .concat()
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{frame:x?}");
    });
}

#[test]
fn an_interface_that_goes_away_and_comes_back() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let up = |number: u16| {
            let ports = dataplane.ports();
            ports.into_iter().find(|status| status.number == number).unwrap().up
        };
        assert!(up(1) && up(2));
        ip("link delete port2");
        eventually("port 2 is down", || !up(2));
        let mut host1 = Tap::new("host1");
        host1.send(&frame().build());
        eventually("frames for it are counted", || counters(&dataplane, 2).dropped(Discard::PortDown) == 1);
        veth("host2", "port2");
        eventually("port 2 is up again", || up(2));
        let mut host2 = Tap::new("host2");
        host1.send(&frame().build());
        assert_eq!(host2.receive(), frame().build());
        host2.send(&frame().build());
        assert_eq!(host1.receive(), frame().build());
    });
}

#[test]
fn an_interface_that_is_down_for_a_while() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        ip("link set port2 down");
        host1.send(&frame().build());
        eventually("the frame is counted", || counters(&dataplane, 2).dropped(Discard::PortDown) == 1);
        ip("link set port2 up");
        wait_until_up("port2");
        wait_until_up("host2");
        let last = frame().bytes(b"last").build();
        host1.send(&last);
        assert!(host2.receive_until(|frame| frame == last).is_empty());
    });
}

#[test]
fn interfaces_that_are_not_there_yet_are_waited_for() {
    in_namespace(|| {
        veth("host1", "port1");
        ip("link set port1 down");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let up = |number: u16| {
            let ports = dataplane.ports();
            ports.into_iter().find(|status| status.number == number).unwrap().up
        };
        assert!(!up(1) && !up(2));
        ip("link set port1 up");
        veth("host2", "port2");
        wait_until_up("port1");
        eventually("both ports are up", || up(1) && up(2));
        let (mut host1, host2) = (Tap::new("host1"), Tap::new("host2"));
        host1.send(&frame().build());
        assert_eq!(host2.receive(), frame().build());
    });
}

#[test]
fn interfaces_that_cannot_be_ports() {
    in_namespace(|| {
        let mut tunnel = std::process::Command::new("ip");
        tunnel.args(["tuntap", "add", "dev", "tunnel", "mode", "tun"]);
        if !tunnel.output().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: an interface without Ethernet: this system has no tun");
            return;
        }
        let error = Dataplane::start(&["1=tunnel".parse().unwrap()], Program::new(), mpsc::channel(1).0);
        let error = error.err().expect("a tunnel is no port").to_string();
        assert_eq!(error, "port 1=tunnel: it carries no Ethernet frames");
    });
}

#[test]
fn every_thread_ends_with_its_owner() {
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let program = Program::new();
        let specs = ["1=port1".parse().unwrap(), "2=port2".parse().unwrap()];
        let dataplane = Dataplane::start(&specs, program.clone(), mpsc::channel(1).0).unwrap();
        ip("link delete port2"); // one of them waits for its interface
        eventually("port 2 is down", || !dataplane.ports()[1].up);
        assert!(Arc::strong_count(&program.0) > 1);
        let begin = Instant::now();
        drop(dataplane);
        assert_eq!(Arc::strong_count(&program.0), 1, "a thread still has the program");
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_thousand_frames_each_way_at_once() {
    const FRAMES: u32 = 1000;
    in_namespace(|| {
        veth("host1", "port1");
        veth("host2", "port2");
        let (dataplane, _packet_in) = start(&["1=port1", "2=port2"]);
        let (mut host1, mut host2) = (Tap::new("host1"), Tap::new("host2"));
        let numbered = |from, to, n: u32| {
            Frame::between(from, to).ether_type(0x88cc).bytes(&n.to_be_bytes()).bytes(&[0; 50]).build()
        };
        for n in 0..FRAMES {
            host1.send(&numbered(MAC_A, MAC_B, n));
            host2.send(&numbered(MAC_B, MAC_A, n));
            // Hosts that send faster than the switch's rings are long would lose frames, here as anywhere.
            if n % 100 == 99 {
                for n in n - 99..=n {
                    assert_eq!(host2.receive(), numbered(MAC_A, MAC_B, n));
                    assert_eq!(host1.receive(), numbered(MAC_B, MAC_A, n));
                }
            }
        }
        eventually("they are counted", || {
            let counters = counters(&dataplane, 1);
            (counters.rx_frames, counters.tx_frames) == (FRAMES.into(), FRAMES.into())
        });
    });
}
