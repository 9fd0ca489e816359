//! Datagrams of each type: fixed vectors, round trips, and bytes of all kinds.

use outplane_rmdp_wire::datagram::{HEADER_LENGTH, MAX_PAYLOAD, MIN_LENGTH};
use outplane_rmdp_wire::{
    Announce, Beat, Datagram, DatagramType, EncodeError, Event, Forged, Header, Heard, Heartbeat, Hint,
    HintOf, Key, Lateness, Malformed, NetworkId, Notice, NoticeOf, ParseError, Payload, PayloadError, Role,
    TransactionId, Work, encode, notices_that_fit,
};
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId::new(0x0a0b_0c0d_0e0f_1011);
const KEY: Key = Key { id: 0x0102, secret: *b"outplane-key-001" };

fn header(datagram_type: DatagramType, id: TransactionId) -> Header {
    Header {
        datagram_type,
        network: NETWORK,
        epoch: 3,
        sender: 41,
        sequence: 77,
        id,
        sent: 1_700_000_000_000_000_000,
    }
}

fn datagram(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1400];
    let length = encode(header, payload, &KEY, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn payload(encode: impl FnOnce(&mut [u8]) -> Result<usize, PayloadError>) -> Vec<u8> {
    let mut bytes = vec![0; MAX_PAYLOAD];
    let length = encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn notice(number: u8) -> Notice {
    let what = if number.is_multiple_of(2) { NoticeOf::Claimed } else { NoticeOf::Decided };
    Notice { id: TransactionId::from_bytes([number; 16]), attempt: u32::from(number) + 1, what }
}

fn row(number: u8) -> Lateness {
    let n = u32::from(number);
    Lateness { sender: n, copies: 1000 + n, missing: n * 3, median_us: 40 * n, late: number % 21 }
}

fn heard(number: u8) -> Heard {
    Heard { sender: number.into(), epoch: 1 << 40 | u64::from(number) }
}

const BEAT: Beat = Beat { role: Role::Controller, interval_ms: 200, generation: 12 };

/// Name and bytes of one datagram of each kind, as other implementations should make them.
fn vectors() -> Vec<(&'static str, Vec<u8>)> {
    let event = Event {
        network: NETWORK,
        source: "intent",
        kind: "generation",
        object: "prod",
        switch: "leaf-1",
        occurrence: 12,
    };
    let id = event.id().unwrap();
    let converge = Work::Converge { generation: 12, desired: [0xd5; 32], entries: 345 };
    let announce = |work| {
        datagram(
            &header(DatagramType::TaskAnnounce, id),
            &payload(|out| Announce { event, work }.encode(out)),
        )
    };
    let heartbeat = |notices: &[Notice], rows: &[Lateness], heard: &[Heard]| {
        let payload = payload(|out| Heartbeat::encode(&BEAT, notices, rows, heard, out));
        datagram(&header(DatagramType::Heartbeat, TransactionId::NONE), &payload)
    };
    let hint = |what| {
        let payload = payload(|out| Hint { what, number: 12 }.encode(out));
        datagram(&header(DatagramType::Hint, TransactionId::NONE), &payload)
    };
    vec![
        ("converge", announce(converge)),
        ("probe", announce(Work::Ask)),
        ("heartbeat without news", heartbeat(&[], &[], &[])),
        ("heartbeat", heartbeat(&[notice(1), notice(2)], &[row(5)], &[heard(6)])),
        ("hint of intent", hint(HintOf::Intent)),
        ("hint of configuration", hint(HintOf::Config)),
    ]
}

#[test]
fn fixed_vectors() {
    use std::fmt::Write;

    let mut text = format!("# key {:04x} {}\n", KEY.id, String::from_utf8_lossy(&KEY.secret));
    for (name, bytes) in vectors() {
        writeln!(text, "\n# {name}").unwrap();
        for line in bytes.chunks(32) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/datagrams.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{}: UPDATE_GOLDEN=1 writes it anew", path.display());
}

#[test]
fn the_id_of_an_event_is_sha_256_with_the_bits_of_a_uuid_v8() {
    let event = Event {
        network: NETWORK,
        source: "intent",
        kind: "generation",
        object: "prod",
        switch: "leaf-1",
        occurrence: 12,
    };
    // The first 16 bytes of `printf 'outplane-event-2\n\v\f\r\16\17\20\21\0\6intent\0\ngeneration\0\4prod\0\6leaf-1\0\0\0\0\0\0\0\f' | sha256sum`
    // with the version (8) and variant (8 to b) set.
    assert_eq!(event.id().unwrap().to_string(), include_str!("data/event-id.txt").trim());
    let id = event.id().unwrap().to_bytes();
    assert_eq!((id[6] >> 4, id[8] >> 6), (8, 2));
    for other in [
        Event { network: NetworkId::new(1), ..event },
        Event { occurrence: 13, ..event },
        Event { switch: "leaf-2", ..event },
        Event { source: "intentg", kind: "eneration", ..event },
    ] {
        assert_ne!(other.id().unwrap(), event.id().unwrap());
    }
}

#[test]
fn the_key_is_not_printed() {
    assert_eq!(format!("{KEY:?}"), "Key { id: 258, .. }");
}

#[test]
fn each_rule_has_its_error() {
    let good = vectors().remove(0).1;
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    let all = u16::from_be_bytes([good[28], good[29]]);
    let hint = vectors().remove(4).1;
    let mut with_id = hint;
    with_id[40] = 1;
    for (bytes, error) in [
        (b"RMD".to_vec(), ParseError::NotRmdp),
        (changed(0, b"r"), ParseError::NotRmdp),
        (changed(4, &[1]), ParseError::UnknownVersion(1)),
        (good[..4].to_vec(), ParseError::Malformed(Malformed::Truncated(MIN_LENGTH - 4))),
        (good[..63].to_vec(), ParseError::Malformed(Malformed::Truncated(MIN_LENGTH - 63))),
        (good[..good.len() - 1].to_vec(), ParseError::Malformed(Malformed::Truncated(1))),
        ([&good[..], &[0]].concat(), ParseError::Malformed(Malformed::TrailingBytes(1))),
        (changed(28, &(all - 2).to_be_bytes()), ParseError::Malformed(Malformed::TrailingBytes(2))),
        (changed(28, &1321_u16.to_be_bytes()), ParseError::Malformed(Malformed::TooLong(1321))),
        (changed(5, &[4]), ParseError::Malformed(Malformed::UnknownType(4))),
        (changed(31, &[1]), ParseError::Malformed(Malformed::NotZero)),
        (changed(32, &[0; 8]), ParseError::Malformed(Malformed::NoSequence)),
        (changed(40, &[0; 16]), ParseError::Malformed(Malformed::WrongId)),
        (with_id, ParseError::Malformed(Malformed::WrongId)),
    ] {
        assert_eq!(Datagram::parse(&bytes).unwrap_err(), error);
    }
    let parsed = Datagram::parse(&good).unwrap();
    assert_eq!(parsed.verify(&[KEY]), Ok(()));
    assert_eq!(parsed.verify(&[Key { secret: [0; 16], ..KEY }]), Err(Forged::WrongTag));
    assert_eq!(parsed.verify(&[Key { id: 9, ..KEY }]), Err(Forged::UnknownKey(KEY.id)));
    // The id must be that of the metadata, whatever the tag says.
    let other = header(DatagramType::TaskAnnounce, TransactionId::from_bytes([1; 16]));
    let bytes = datagram(&other, parsed.payload);
    assert_eq!(Payload::parse(&Datagram::parse(&bytes).unwrap()), Err(PayloadError::WrongId));
}

#[test]
fn what_cannot_be_encoded() {
    let announce = header(DatagramType::TaskAnnounce, TransactionId::from_bytes([1; 16]));
    let hint = header(DatagramType::Hint, TransactionId::NONE);
    let mut out = [0; 1400];
    let mut refused =
        |header: &Header, length| encode(header, &[0; 1400][..length], &KEY, &mut out).unwrap_err();
    assert_eq!(refused(&announce, 1321), EncodeError::PayloadTooLong(1321));
    assert_eq!(refused(&Header { sequence: 0, ..announce }, 1), EncodeError::NoSequence);
    assert_eq!(refused(&Header { id: TransactionId::NONE, ..announce }, 1), EncodeError::WrongId);
    assert_eq!(refused(&Header { id: announce.id, ..hint }, 1), EncodeError::WrongId);
    assert_eq!(encode(&hint, &[0; 9], &KEY, &mut [0; 88]), Err(EncodeError::BufferTooShort(89)));
    let long = "x".repeat(256);
    let event = Event { network: NETWORK, source: "s", kind: "k", object: &long, switch: "w", occurrence: 1 };
    assert_eq!(event.id(), Err(PayloadError::StringTooLong("object", 256)));
}

#[test]
fn a_heartbeat_takes_as_many_notices_as_it_says() {
    for (rows, starts) in [(0, 0), (1, 1), (4, 32), (16, 3), (75, 1), (0, 108)] {
        let rows: Vec<_> = (0..rows).map(row).collect();
        let starts: Vec<_> = (0..starts).map(heard).collect();
        let fit = notices_that_fit(rows.len(), starts.len());
        let notices: Vec<_> = (0..=fit).map(|number| notice(u8::try_from(number).unwrap())).collect();
        let bytes = payload(|out| Heartbeat::encode(&BEAT, &notices[..fit], &rows, &starts, out));
        let heartbeat = Heartbeat::parse(&bytes).unwrap();
        assert_eq!(heartbeat.notices.len(), fit);
        assert!(heartbeat.notices.iter().eq(notices[..fit].iter().copied()));
        assert!(heartbeat.lateness.iter().eq(rows.iter().copied()));
        assert!(heartbeat.heard.iter().eq(starts.iter().copied()));
        let error = Heartbeat::encode(&BEAT, &notices, &rows, &starts, &mut [0; 4096]).unwrap_err();
        assert!(matches!(error, PayloadError::TooMany(_)), "{error}");
    }
    assert_eq!((notices_that_fit(usize::MAX, 0), notices_that_fit(0, usize::MAX)), (0, 0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        if let Ok(datagram) = Datagram::parse(&bytes) {
            let _ = Payload::parse(&datagram);
        }
        let _ = Announce::parse(&bytes);
        let _ = Heartbeat::parse(&bytes).map(|heartbeat| heartbeat.notices.iter().count());
        let _ = Hint::parse(&bytes);
    }

    #[test]
    fn events_round_trip(
        strings in prop::array::uniform4("[a-zA-Zäß/:.-]{0,80}"), occurrence: u64, generation: u64, desired: [u8; 32],
        entries: u32, probe: bool, network: u64,
    ) {
        let [source, kind, object, switch] = strings.each_ref().map(String::as_str);
        let event = Event { network: NetworkId::new(network), source, kind, object, switch, occurrence };
        let work = if probe { Work::Ask } else { Work::Converge { generation, desired, entries } };
        let announce = Announce { event, work };
        let bytes = datagram(
            &header(DatagramType::TaskAnnounce, event.id().unwrap()),
            &payload(|out| announce.encode(out)),
        );
        let parsed = Datagram::parse(&bytes).unwrap();
        prop_assert_eq!(Payload::parse(&parsed), Ok(Payload::Announce(announce)));
        // A shorter payload is never taken for a whole one.
        for length in 0..parsed.payload.len() {
            prop_assert!(Announce::parse(&parsed.payload[..length]).is_err());
        }
    }

    #[test]
    fn headers_round_trip(
        number in 0_usize..3, network: u64, epoch: u64, sender: u32, sequence in 1_u64.., id in 1_u128.., sent: u64, key: u16,
        secret: [u8; 16], payload in prop::collection::vec(any::<u8>(), 0..=MAX_PAYLOAD),
    ) {
        let datagram_type = DatagramType::ALL[number];
        let id = if number == 0 { TransactionId::from_bytes(id.to_be_bytes()) } else { TransactionId::NONE };
        let header = Header { datagram_type, network: NetworkId::new(network), epoch, sender, sequence, id, sent };
        let key = Key { id: key, secret };
        let mut out = [0; 1400];
        let length = encode(&header, &payload, &key, &mut out).unwrap();
        let parsed = Datagram::parse(&out[..length]).unwrap();
        prop_assert_eq!((parsed.header, parsed.key, parsed.payload), (header, key.id, &payload[..]));
        prop_assert_eq!(parsed.verify(&[key]), Ok(()));
    }

    #[test]
    fn a_flipped_bit_is_refused(length in 0_usize..=MAX_PAYLOAD, bit: prop::sample::Index) {
        let good = datagram(&header(DatagramType::TaskAnnounce, TransactionId::from_bytes([9; 16])), &vec![7; length]);
        let mut bad = good.clone();
        let bit = bit.index(good.len() * 8);
        bad[bit / 8] ^= 1 << (bit % 8);
        let accepted = Datagram::parse(&bad).is_ok_and(|datagram| datagram.verify(&[KEY]).is_ok());
        prop_assert!(!accepted);
        prop_assert!(Datagram::parse(&good).unwrap().verify(&[KEY]).is_ok());
    }
}

#[test]
fn the_header_has_the_length_that_it_says() {
    assert_eq!((HEADER_LENGTH, MAX_PAYLOAD, MIN_LENGTH), (64, 1320, 80));
}
