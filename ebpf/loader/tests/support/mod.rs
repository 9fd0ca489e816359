//! Datagrams and the frames around them, as the wire has them.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test and the bench use a part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outplane_rmdp_wire::{
    Announce, DEFAULT_GROUP_V4, DEFAULT_PORT, DatagramType, Event, Header, Hint, HintOf, Key, NetworkId,
    TransactionId, Work, encode,
};
use outplane_xdp::{LogLevel, Program, Settings, XdpError};

pub const NETWORK: NetworkId = NetworkId::new(0x0102_0304_0506_0708);
pub const KEY: Key = Key { id: 7, secret: *b"0123456789abcdef" };
pub const NEXT_KEY: Key = Key { id: 8, secret: *b"fedcba9876543210" };
pub const SENDERS: [u32; 4] = [101, 102, 103, 104];

pub fn settings() -> Settings {
    Settings {
        interface: "none".to_owned(),
        network: NETWORK,
        keys: vec![KEY],
        senders: SENDERS.to_vec(),
        capacity: 4096,
        log_level: LogLevel::Off,
        ..Settings::default()
    }
}

/// The program, or nothing and a line that says why.
pub fn load(test: &str, settings: &Settings) -> Option<Program> {
    match Program::load(settings) {
        Ok(program) => Some(program),
        Err(error @ XdpError::NotPermitted { .. }) => {
            println!("SKIPPED: {test}: {error}");
            None
        }
        Err(error) => panic!("{}", chain(&error)),
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// A task of a number: its id and its datagram's payload.
pub fn task(number: u64) -> (TransactionId, Vec<u8>) {
    let event = Event {
        network: NETWORK,
        source: "test",
        kind: "intent",
        object: "policy",
        switch: "leaf-1",
        occurrence: number,
    };
    let work = Work::Converge { generation: number, desired: [0x5a; 32], entries: 12 };
    let mut payload = vec![0; 1320];
    let length = Announce { event, work }.encode(&mut payload).expect("it fits");
    payload.truncate(length);
    (event.id().expect("short strings"), payload)
}

pub fn datagram(header: &Header, payload: &[u8], key: &Key) -> Vec<u8> {
    let mut bytes = vec![0; 1400];
    let length = encode(header, payload, key, &mut bytes).expect("it fits");
    bytes.truncate(length);
    bytes
}

pub fn announce(sender: u32, epoch: u64, sequence: u64, number: u64) -> Vec<u8> {
    let (id, payload) = task(number);
    datagram(&header(DatagramType::TaskAnnounce, sender, epoch, sequence, id), &payload, &KEY)
}

fn header(datagram_type: DatagramType, sender: u32, epoch: u64, sequence: u64, id: TransactionId) -> Header {
    Header { datagram_type, network: NETWORK, epoch, sender, sequence, id, sent: 1 }
}

/// An announce whose message (what the tag covers) has so many bytes; the payload is no real one.
pub fn announce_of(sender: u32, sequence: u64, id: u64, message: usize) -> Vec<u8> {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    let id = TransactionId::from_bytes(bytes);
    let header = header(DatagramType::TaskAnnounce, sender, 1, sequence, id);
    datagram(&header, &vec![0xa5; message - 64], &KEY)
}

pub fn hint(sender: u32, epoch: u64, sequence: u64) -> Vec<u8> {
    let mut payload = [0; 9];
    Hint { what: HintOf::Intent, number: sequence }.encode(&mut payload).expect("it fits");
    let header = header(DatagramType::Hint, sender, epoch, sequence, TransactionId::NONE);
    datagram(&header, &payload, &KEY)
}

/// What lies around a UDP payload.
#[derive(Clone, Debug)]
pub struct Around {
    pub tags: Vec<u16>,
    pub destination: IpAddr,
    pub port: u16,
    /// Of IPv4, in words of four bytes.
    pub options: u8,
    /// Flags and offset of IPv4.
    pub fragment: u16,
    pub protocol: u8,
    /// What the UDP header says if not the truth.
    pub udp_length: Option<u16>,
    /// What the IP header says if not the truth.
    pub ip_length: Option<u16>,
    /// Bytes after the packet, as Ethernet pads short ones.
    pub padding: usize,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            destination: DEFAULT_GROUP_V4.into(),
            port: DEFAULT_PORT,
            options: 0,
            fragment: 0x4000,
            protocol: 17,
            udp_length: None,
            ip_length: None,
            padding: 0,
        }
    }
}

impl Around {
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x01, 0x00, 0x5e, 0x7f, 0x52, 0x4d, 2, 0, 0, 0, 0, 9];
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x00, 0x2a]);
        }
        let udp = u16::try_from(payload.len() + 8).expect("short");
        match self.destination {
            IpAddr::V4(to) => {
                frame.extend([0x08, 0x00, 0x45 + self.options, 0]);
                let total = udp + 20 + 4 * u16::from(self.options);
                frame.extend(self.ip_length.unwrap_or(total).to_be_bytes());
                frame.extend([0, 0]);
                frame.extend(self.fragment.to_be_bytes());
                frame.extend([4, self.protocol, 0, 0]);
                frame.extend(Ipv4Addr::new(10, 0, 0, 9).octets());
                frame.extend(to.octets());
                frame.extend(std::iter::repeat_n(1, 4 * usize::from(self.options)));
            }
            IpAddr::V6(to) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(self.ip_length.unwrap_or(udp).to_be_bytes());
                frame.extend([self.protocol, 4]);
                frame.extend(Ipv6Addr::LOCALHOST.octets());
                frame.extend(to.octets());
            }
        }
        frame.extend(40_000_u16.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(self.udp_length.unwrap_or(udp).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame.extend(std::iter::repeat_n(0, self.padding));
        frame
    }
}

pub fn frame(payload: &[u8]) -> Vec<u8> {
    Around::default().frame(payload)
}

/// Replayable randomness (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is small.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}
