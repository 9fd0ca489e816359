//! Host and switch agree on what is IP: whatever a socket of this machine's own Linux stack receives, the parser has
//! taken for that very packet, or has dropped. So no frame is judged as something else than what a host makes of it.

#[path = "support/lab.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod lab;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lab::{PATIENCE, Tap, in_namespace, ip, wait_until_up};
use outplane_intent::packet::{NON_IP_ETHER_TYPES, Packet, TPIDS};
use outplane_intent::testing::config;
use outplane_intent::testing::frame::{Layout, frame};
use outplane_softswitch::dataplane::parse::{Parsed, ParserError, Traffic, parse};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

const SERVICE: u16 = 4000;
const CLIENT: u16 = 5000;
const FRAMES: usize = 20_000;
/// So many are sent before anybody looks what has come.
const BATCH: usize = 100;

const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
const V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)];

/// What stands between the addresses of Ethernet and an IP packet.
#[derive(Clone, Debug)]
struct Wrapping {
    v6: bool,
    destination: [u8; 6],
    /// What announces each tag, and its number.
    tags: Vec<(u16, u16)>,
    inner: Inner,
    /// A byte that is not what it was, from the first EtherType on.
    damage: Option<(usize, u8)>,
}

#[derive(Clone, Debug)]
enum Inner {
    /// The packet's own EtherType.
    Plain,
    /// Another EtherType, and so many bytes before the packet.
    Other(u16, usize),
    /// LLC and SNAP of this organization.
    Snap([u8; 3]),
    /// LLC alone.
    Llc(u8),
}

fn wrappings() -> impl Strategy<Value = Wrapping> {
    let other =
        NON_IP_ETHER_TYPES.into_iter().chain([0x8847, 0x8848, 0x8864, 0x88e5, 0x88e7, 0x892f, 0x4305]);
    let other: Vec<u16> = other.chain([0x22f3, 0x894f, 0xa0ed, 0x6558, 0x0600, 0xffff]).collect();
    let inner = prop_oneof![
        6 => Just(Inner::Plain),
        2 => (prop_oneof![select(other), any::<u16>()], select(vec![0_usize, 2, 4, 6, 8, 16]))
            .prop_map(|(ether_type, bytes)| Inner::Other(ether_type, bytes)),
        1 => select(vec![[0, 0, 0], [0, 0, 0xf8], [0, 0, 0x0c]]).prop_map(Inner::Snap),
        1 => select(vec![6_u8, 0x42, 0xfe, 0xaa]).prop_map(Inner::Llc),
    ];
    let tag = (select(&TPIDS[..]), prop_oneof![3 => Just(0_u16), 1 => select(vec![1_u16, 10, 4095])]);
    let tag = prop_oneof![2 => tag.clone(), 2 => tag.prop_map(|(_, vlan)| (TPIDS[0], vlan))];
    let tags = prop_oneof![2 => Just(0_usize), 2 => Just(1), 2 => Just(2), 2 => Just(3), 1 => 4..9_usize];
    let tags = tags.prop_flat_map(move |count| vec(tag.clone(), count));
    let destination =
        select(vec![[2, 0, 0, 0, 0, 2], [0xff; 6], [1, 0x80, 0xc2, 0, 0, 0], [2, 0, 0, 0, 0, 9]]);
    let damage = option::weighted(0.3, (0..60_usize, any::<u8>()));
    (any::<bool>(), destination, tags, inner, damage)
        .prop_map(|(v6, destination, tags, inner, damage)| Wrapping { v6, destination, tags, inner, damage })
}

impl Wrapping {
    /// The frame of a UDP datagram with this number in it.
    fn frame(&self, number: u32) -> Vec<u8> {
        let [a, b] = if self.v6 { V6.map(IpAddr::from) } else { V4.map(IpAddr::from) };
        let layout = Layout { payload: number.to_be_bytes().to_vec(), ..Layout::default() };
        let plain = frame(&Packet::udp(a, CLIENT, b, SERVICE), &layout);
        let (own, packet) = ([plain[12], plain[13]], &plain[14..]);
        let (ether_type, body) = match self.inner {
            Inner::Plain => (own, packet.to_vec()),
            Inner::Other(ether_type, bytes) => (ether_type.to_be_bytes(), [&vec![0; bytes], packet].concat()),
            Inner::Snap(oui) => with_length([&[0xaa, 0xaa, 3], &oui[..], &own, packet].concat()),
            Inner::Llc(sap) => with_length([&[sap, sap, 3], packet].concat()),
        };
        let mut bytes = [&self.destination[..], &[2, 0, 0, 0, 0, 1]].concat();
        for (tpid, vlan) in &self.tags {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(vlan.to_be_bytes());
        }
        bytes.extend(ether_type);
        bytes.extend(body);
        if let Some((at, value)) = self.damage {
            let at = 12 + at % (bytes.len() - 12);
            bytes[at] = value;
        }
        bytes
    }
}

fn with_length(body: Vec<u8>) -> ([u8; 2], Vec<u8>) {
    (u16::try_from(body.len()).unwrap().to_be_bytes(), body)
}

/// What a socket has received, and from whom.
type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

fn received(sockets: &[UdpSocket]) -> Vec<Datagram> {
    let mut found = Vec::new();
    for socket in sockets {
        let mut buffer = [0; 2048];
        loop {
            match socket.recv_from(&mut buffer) {
                Ok((bytes, from)) => {
                    found.push((from, socket.local_addr().unwrap(), buffer[..bytes].to_vec()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    found
}

/// Whether the parser takes a frame for this datagram, or drops it.
fn agrees(bytes: &[u8], (from, to, _): &Datagram) -> bool {
    let Parsed { hdr, meta, error } = parse(bytes, 1);
    if error.is_some() {
        return true;
    }
    let addresses = match (hdr.ipv4, hdr.ipv6) {
        (Some(ipv4), None) => {
            Some((Ipv4Addr::from_bits(ipv4.src).into(), Ipv4Addr::from_bits(ipv4.dst).into()))
        }
        (None, Some(ipv6)) => {
            Some((Ipv6Addr::from_bits(ipv6.src).into(), Ipv6Addr::from_bits(ipv6.dst).into()))
        }
        _ => None,
    };
    meta.traffic == Traffic::Ip
        && addresses == Some((from.ip(), to.ip()))
        && (meta.protocol, meta.sport, meta.dport) == (17, from.port(), to.port())
}

#[test]
fn what_a_host_receives_is_what_the_switch_has_read() {
    in_namespace(|| {
        ip("link add sender type veth peer name host");
        ip("link set host address 02:00:00:00:00:02");
        ip("address add 10.0.0.2/24 dev host");
        let v6 = std::path::Path::new("/proc/sys/net/ipv6/conf/host").exists();
        if v6 {
            ip("address add fd00::2/64 dev host nodad");
        } else {
            println!("this kernel has no IPv6: IPv4 alone is tried");
        }
        for end in ["sender", "host"] {
            ip(&format!("link set {end} up"));
        }
        wait_until_up("sender");
        wait_until_up("host");
        let addresses = [Some(IpAddr::from(V4[1])), v6.then_some(V6[1].into())];
        let sockets: Vec<UdpSocket> = addresses
            .into_iter()
            .flatten()
            .map(|address| {
                let socket = UdpSocket::bind((address, SERVICE)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let mut tap = Tap::new("sender");

        let strategy = wrappings();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(config(1), rng);
        let mut frames: BTreeMap<u32, (Wrapping, Vec<u8>)> = BTreeMap::new();
        let (mut delivered, mut dropped) = (0, 0);
        let sentinel = Wrapping {
            v6: false,
            destination: [2, 0, 0, 0, 0, 2],
            tags: Vec::new(),
            inner: Inner::Plain,
            damage: None,
        };
        for number in 0..u32::try_from(FRAMES).unwrap() {
            let last = number % u32::try_from(BATCH).unwrap() == u32::try_from(BATCH).unwrap() - 1;
            let wrapping =
                if last { sentinel.clone() } else { strategy.new_tree(&mut runner).unwrap().current() };
            let bytes = wrapping.frame(number);
            tap.send(&bytes);
            frames.insert(number, (wrapping, bytes));
            let end = Instant::now() + PATIENCE;
            let mut seen = !last;
            loop {
                for datagram in if last { received(&sockets) } else { Vec::new() } {
                    // Damaged ones may say another number: then some frame of the batch must agree.
                    let told = datagram.2.get(..4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
                    seen |= told == Some(number);
                    let by_number = told.and_then(|told| frames.get(&told));
                    let right = by_number.is_some_and(|(_, bytes)| agrees(bytes, &datagram))
                        || frames
                            .values()
                            .any(|(_, bytes)| agrees(bytes, &datagram) && contains(bytes, &datagram.2));
                    assert!(
                        right,
                        "a host received {datagram:x?}, the switch has read something else: {by_number:x?}"
                    );
                    delivered += 1;
                    let stopped = |bytes: &[u8]| parse(bytes, 1).error == Some(ParserError::TooManyTags);
                    dropped += usize::from(by_number.is_some_and(|(_, bytes)| stopped(bytes)));
                }
                if seen {
                    break;
                }
                assert!(Instant::now() < end, "the last datagram of a batch does not arrive");
                std::thread::sleep(Duration::from_millis(1));
            }
            if last {
                frames.clear();
            }
        }
        println!(
            "{FRAMES} frames, {delivered} datagrams received, {dropped} of which the switch would have dropped"
        );
        // The host does take off more tags than the switch looks behind.
        assert!(delivered > 1000 && dropped > 100, "{delivered} received, {dropped} with too many tags");
    });
}

fn contains(bytes: &[u8], payload: &[u8]) -> bool {
    !payload.is_empty() && bytes.windows(payload.len()).any(|window| window == payload)
}
