//! Random entries and frames that have something to do with each other.

use std::collections::BTreeSet;

use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Key, Match, MulticastGroup};
use outplane_p4runtime::schema::{FieldInfo, MatchKind, TableInfo};

use crate::support::device::PORTS;
use crate::support::frames::{ACK, Frame, RST, SYN};

const SEGMENTS: u128 = 4;
const CLASSES: u128 = 4;
const V4: [[u8; 4]; 5] = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 1, 1], [192, 168, 0, 1], [10, 0, 0, 3]];
const V6: [u128; 4] = [0xfd00 << 112 | 1, 0xfd00 << 112 | 2, 0xfd00 << 112 | 1 << 64 | 1, 0xfe80 << 112 | 1];
const PORT_NUMBERS: [u16; 7] = [0, 1, 53, 80, 443, 1024, 65535];
const MACS: [[u8; 6]; 4] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3], [0xff; 6]];
const VLANS: [u16; 5] = [0, 10, 20, 4095, 0];
const TPIDS: [u16; 7] = [0x8100, 0x8100, 0x8100, 0x88a8, 0x9100, 0x9200, 0x9300];
/// Read, unread, and lengths.
const ETHER_TYPES: [u16; 10] =
    [0x0800, 0x88cc, 0x8863, 0x0101, 0x8847, 0x8864, 0x05ff, 0x0600, 0xffff, 0x88e5];
const PROTOCOLS: [u8; 6] = [6, 17, 1, 58, 132, 47];
const FLAGS: [u8; 6] = [SYN, SYN | ACK, ACK, RST, 0, 0xff];

/// A generator of random numbers (splitmix64): the same test every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn number(&mut self, bound: u128) -> u128 {
        u128::from(self.next()) % bound
    }

    /// True in `percent` of cases.
    fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The value of a key field.
fn value(random: &mut Random, field: &FieldInfo) -> u128 {
    match (field.name.as_str(), field.bits) {
        ("version", _) => random.number(3) + 1,
        ("ingress_port", _) => random.number(u128::from(PORTS)) + 1,
        ("vlan_id", _) => random.pick(&[0, 10, 20, 4095]),
        ("address", 32) => u32::from_be_bytes(random.pick(&V4)).into(),
        ("address", _) => random.pick(&V6),
        ("protocol", _) => random.pick(&PROTOCOLS).into(),
        ("port", _) => random.pick(&PORT_NUMBERS).into(),
        ("segment", _) => random.number(SEGMENTS),
        ("traffic", _) => random.number(6),
        ("ether_type", _) => random.pick(&ETHER_TYPES).into(),
        ("tcp_flags", _) => random.pick(&FLAGS).into(),
        ("icmp_type", _) => random.pick(&[0, 3, 2, 8, 128, 129, 135, 143]),
        ("dst_mac", _) => mac(random.pick(&MACS)),
        ("icmp_code", _) | (_, 1) => random.number(2),
        (name, _) if name.ends_with("_class") => random.number(CLASSES),
        other => panic!("the program has a new field, {other:?}"),
    }
}

fn mac(bytes: [u8; 6]) -> u128 {
    bytes.iter().fold(0, |mac, byte| mac << 8 | u128::from(*byte))
}

/// The value of an action's parameter.
fn parameter(random: &mut Random, name: &str) -> u128 {
    match name {
        "segment" => random.number(SEGMENTS),
        "filter_class" | "pod_class" | "port_class" => random.number(CLASSES),
        "limiter" => random.number(1024),
        "rule" => u128::from(random.next()) & 0x7fff_ffff,
        // Four ports, one that no interface is, the drop port.
        "port" => random.pick(&[1, 2, 3, 4, 1, 2, 3, 4, 7, 511]),
        // Three groups, one that isn't there, and 0, which is none.
        "group" => random.pick(&[1, 2, 3, 1, 2, 3, 4, 0]),
        other => panic!("the program has a new parameter, {other}"),
    }
}

/// A condition on a field; none for don't-care.
fn condition(random: &mut Random, field: &FieldInfo) -> Option<Match> {
    let value = value(random, field);
    match field.kind {
        MatchKind::Exact => Some(Match::Exact(value)),
        MatchKind::Range => {
            let high = value.max(random.pick(&PORT_NUMBERS).into());
            let (low, high) = if random.often(30) { (value, value) } else { (value, high) };
            (random.often(80) && (low, high) != (0, 0xffff)).then_some(Match::Range { low, high })
        }
        MatchKind::Ternary => {
            let all = u128::MAX >> (128 - field.bits);
            let mask = match random.below(10) {
                0..6 => 0,
                6 | 7 => all,
                // A prefix, or any bits.
                8 => all & !(all >> random.below(field.bits as usize)),
                _ => all & (u128::from(random.next()) << 64 | u128::from(random.next())),
            };
            (mask != 0).then_some(Match::Ternary { value: value & mask, mask })
        }
        ref other => panic!("the program has a new match kind, {other:?}"),
    }
}

fn entry(random: &mut Random, schema: &Schema, table: &TableInfo, priority: i32) -> Entry {
    let fields = table.fields.iter();
    let matches =
        fields.filter_map(|field| Some(FieldMatch { field: field.id, matches: condition(random, field)? }));
    let matches = matches.collect();
    let actions: Vec<u32> =
        table.actions.iter().filter(|action| action.scope.in_entries()).map(|action| action.action).collect();
    let action = schema.action(random.pick(&actions)).unwrap();
    let params = action.params.iter().map(|param| (param.id, parameter(random, &param.name))).collect();
    let key = Key { table: table.id, matches, priority };
    Entry { key, action: Action { id: action.id, params }, metadata: Vec::new() }
}

/// Some entries for every table, all of different priorities.
pub(crate) fn entries(random: &mut Random, schema: &Schema) -> Vec<Entry> {
    let cross_connect = random.often(30);
    let mut entries = Vec::new();
    for table in schema.tables() {
        let count = match table.alias.as_str() {
            "policy_version" => 0,
            "cross_connect" => {
                if cross_connect {
                    2
                } else {
                    0
                }
            }
            "l2_forward" | "flood" => 6,
            name if name.ends_with("_class") || name == "segment_of" => 4 + random.below(8),
            _ => random.below(10),
        };
        let mut keys = BTreeSet::new();
        for n in 0..count {
            let priority = if table.needs_priority() { i32::try_from(n).unwrap() + 1 } else { 0 };
            let entry = entry(random, schema, table, priority);
            if keys.insert(entry.key.clone()) {
                entries.push(entry);
            }
        }
    }
    entries
}

pub(crate) fn groups(random: &mut Random) -> Vec<MulticastGroup> {
    let mut group = |id| {
        let ports = (1..=u32::from(PORTS)).filter(|_| random.often(70)).collect();
        MulticastGroup { id, ports }
    };
    vec![group(1), group(2), group(3)]
}

fn ip(random: &mut Random, frame: Frame) -> Frame {
    if random.often(50) {
        let options = if random.often(20) { u8::try_from(random.below(11)).unwrap() } else { 0 };
        let offset = if random.often(25) { random.pick(&[0x2000, 1, 2, 0x1fff, 0x4000]) } else { 0 };
        return frame.ipv4_with(random.pick(&V4), random.pick(&V4), options, offset);
    }
    let mut frame = frame.ipv6(random.pick(&V6), random.pick(&V6));
    if random.often(40) {
        for _ in 0..=random.below(5) {
            frame = match random.below(5) {
                0 => frame.hop_by_hop(),
                1 => frame.extension(43, 1, 16),
                2 => frame.extension(60, 0, 8),
                3 => frame.extension(51, 4, 24),
                _ => frame.fragment(random.pick(&[0, 0, 0, 1, 9])),
            };
        }
    }
    frame
}

fn transport(random: &mut Random, frame: Frame) -> Frame {
    let (sport, dport) = (random.pick(&PORT_NUMBERS), random.pick(&PORT_NUMBERS));
    match random.below(8) {
        0..3 => frame.tcp(sport, dport, random.pick(&FLAGS)),
        3 | 4 => frame.udp(sport, dport),
        5 => frame.sctp(sport, dport),
        6 => frame.icmp(random.pick(&[0, 8, 3, 11, 12, 4]), random.pick(&[0, 1])),
        _ => frame.icmpv6(
            random.pick(&[1, 2, 4, 5, 128, 129, 130, 132, 133, 135, 137, 138, 143]),
            random.pick(&[0, 1]),
        ),
    }
}

/// LLC, where a length stands before it; else payload.
fn llc(random: &mut Random) -> [u8; 8] {
    let sap = random.pick(&[0x42, 0xfe, 0xaa, 0x06]);
    let source = if random.often(80) { sap } else { 0x42 };
    let control = if random.often(80) { 3 } else { 0xbf };
    let [o0, o1, o2] = random.pick(&[[0, 0, 0], [0, 0, 0x0c], [0x82, 0, 0], [0x83, 1, 2], [0xcc, 0, 0]]);
    let [p0, p1] = random.pick(&[0x0800_u16, 0x86dd, 0x010b, 0x0111, 0x2000, 0x2003, 0x2004]).to_be_bytes();
    [sap, source, control, o0, o1, o2, p0, p1]
}

/// A frame, at times cut or damaged. The source address holds its number.
pub(crate) fn frame(random: &mut Random, number: u32) -> Vec<u8> {
    let [a, b, c, d] = number.to_be_bytes();
    let mut frame = Frame::between([2, 0xee, a, b, c, d], random.pick(&MACS));
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 2, 3]) {
        frame = frame.tag(random.pick(&TPIDS), random.pick(&VLANS));
    }
    frame = match random.below(10) {
        0 => frame.arp(random.pick(&V4), random.pick(&V4)),
        1 => {
            let frame = frame.ether_type(random.pick(&ETHER_TYPES[1..]));
            frame.bytes(&llc(random))
        }
        2 => ip(random, frame).protocol(random.pick(&[0, 44, 47, 50, 59, 255])),
        _ => {
            let frame = ip(random, frame);
            transport(random, frame)
        }
    };
    let payload = random.below(50);
    let mut bytes = frame.bytes(&vec![0x5a; payload]).build();
    if random.often(10) {
        let at = 12 + random.below(bytes.len() - 12);
        bytes[at] = u8::try_from(random.next() & 0xff).unwrap();
    }
    if random.often(10) {
        bytes.truncate(14 + random.below(bytes.len() - 13));
    }
    bytes
}
