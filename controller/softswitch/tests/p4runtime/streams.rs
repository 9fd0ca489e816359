//! What goes over streams besides arbitration: packets, digests, idle entries, errors.

use std::sync::{Arc, Mutex};

use outplane_p4runtime::p4::v1 as proto;
use outplane_softswitch::dataplane::{Busy, PacketIn, PacketInHeader};
use outplane_softswitch::server::{Config, PacketIo};
use outplane_softswitch::state::Limits;
use proto::stream_error::Details;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Response;
use proto::update::Type;
use tokio::sync::mpsc;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Controller, DEVICE, EVERYTHING, code};

/// Nanoseconds.
const DAY: i64 = 86_400_000_000_000;

/// Metadata ids and values.
type Fields<'a> = &'a [(u32, &'a [u8])];

/// Frames that were sent, with their ports.
type Sent = Arc<Mutex<Vec<(u16, Vec<u8>)>>>;

/// A switch whose data plane is this test.
struct Wire {
    bed: Bed,
    packet_ins: mpsc::Sender<PacketIn>,
    sent: Sent,
}

/// A frame that the data plane has no room for.
const UNWANTED: &[u8] = b"unwanted";

async fn wire() -> Wire {
    let (packet_ins, queue) = mpsc::channel(16);
    let sent = Sent::default();
    let send_packet = {
        let sent = sent.clone();
        move |port: u16, frame: Vec<u8>| {
            if frame == UNWANTED {
                return Err(Busy);
            }
            sent.lock().unwrap().push((port, frame));
            Ok(())
        }
    };
    let packet_io = PacketIo { packet_ins: Some(queue), send_packet: Some(Arc::new(send_packet)) };
    Wire { bed: Bed::with(Config::new(DEVICE), Limits::default(), packet_io).await, packet_ins, sent }
}

fn metadata(fields: Fields<'_>) -> Vec<proto::PacketMetadata> {
    let field = |(metadata_id, value): &(u32, &[u8])| proto::PacketMetadata {
        metadata_id: *metadata_id,
        value: value.to_vec(),
    };
    fields.iter().map(field).collect()
}

async fn stream_error(controller: &mut Controller) -> proto::StreamError {
    match controller.next().await.unwrap() {
        Response::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn packet_ins_go_to_the_primaries() {
    let wire = wire().await;
    let mut primary = wire.bed.ready(outplane_p4::P4INFO).await;
    let mut backup = Controller::connect(&wire.bed).await;
    backup.arbitrate("", None).await.unwrap();
    let mut other_role = Controller::connect(&wire.bed).await;
    other_role.arbitrate("monitor", Some(4)).await.unwrap();
    let header = PacketInHeader { ingress_port: 300, reason: 1, segment: 5, rule: 0x0102_0304 };
    wire.packet_ins.send(PacketIn { header, frame: vec![1, 2, 3] }).await.unwrap();
    for controller in [&mut primary, &mut other_role] {
        let Response::Packet(packet) = controller.next().await.unwrap() else { panic!("a packet") };
        assert_eq!(packet.payload, [1, 2, 3]);
        let fields: [(u32, &[u8]); 5] =
            [(1, &[1, 0x2c]), (2, &[0]), (3, &[1]), (4, &[5]), (5, &[1, 2, 3, 4])];
        assert_eq!(packet.metadata, metadata(&fields));
    }
    // The backup hears of its promotion next, and not of the packet before it.
    let advice = backup.arbitrate("", Some(9)).await.unwrap();
    assert_eq!(code(&advice), Code::Ok);
}

#[tokio::test]
async fn packet_outs_come_from_primaries_and_have_just_the_metadata() {
    let wire = wire().await;
    let mut primary = wire.bed.primary().await;
    let out = |payload: &[u8], fields: &[(u32, &[u8])]| {
        Request::Packet(proto::PacketOut { payload: payload.to_vec(), metadata: metadata(fields) })
    };
    let good: [(u32, &[u8]); 2] = [(1, &[0, 7]), (2, &[0])];
    primary.send(out(b"early", &good)).await;
    assert_eq!(stream_error(&mut primary).await.canonical_code, i32::from(Code::FailedPrecondition));
    primary.commit(outplane_p4::P4INFO).await.unwrap();
    let mut backup = Controller::connect(&wire.bed).await;
    backup.arbitrate("", None).await.unwrap();
    backup.send(out(b"backup", &good)).await;
    assert_eq!(stream_error(&mut backup).await.canonical_code, i32::from(Code::PermissionDenied));
    let mut stranger = Controller::connect(&wire.bed).await;
    stranger.send(out(b"stranger", &good)).await;
    assert_eq!(stream_error(&mut stranger).await.canonical_code, i32::from(Code::PermissionDenied));

    let bad: [(&str, Fields<'_>); 6] = [
        ("none", &[]),
        ("one missing", &[(1, &[7])]),
        ("one too many", &[(1, &[7]), (2, &[0]), (7, &[1])]),
        ("twice", &[(1, &[7]), (1, &[7]), (2, &[0])]),
        ("too wide", &[(1, &[2, 0]), (2, &[0])]),
        ("empty", &[(1, &[]), (2, &[0])]),
    ];
    for (what, fields) in bad {
        primary.send(out(what.as_bytes(), fields)).await;
        let error = stream_error(&mut primary).await;
        assert_eq!(error.canonical_code, i32::from(Code::InvalidArgument), "{what}: {error:?}");
        let Some(Details::PacketOut(proto::PacketOutError { packet_out: Some(packet) })) = error.details
        else {
            panic!("{error:?}")
        };
        assert_eq!(packet.payload, what.as_bytes());
    }
    primary.send(out(&vec![0; 70_000], &good)).await;
    assert_eq!(stream_error(&mut primary).await.canonical_code, i32::from(Code::InvalidArgument));
    primary.send(out(UNWANTED, &good)).await;
    assert_eq!(stream_error(&mut primary).await.canonical_code, i32::from(Code::ResourceExhausted));
    assert!(wire.sent.lock().unwrap().is_empty());
    primary.send(out(b"good", &good)).await;
    // The stream is in order: with the answer to this, the packet is through.
    primary.send(Request::DigestAck(proto::DigestListAck { digest_id: 1, list_id: 1 })).await;
    stream_error(&mut primary).await;
    assert_eq!(*wire.sent.lock().unwrap(), [(7, b"good".to_vec())]);
}

#[tokio::test]
async fn other_messages_are_answered() {
    let bed = Bed::start().await;
    let mut primary = bed.ready(EVERYTHING).await;
    primary.send(Request::DigestAck(proto::DigestListAck { digest_id: 1, list_id: 5 })).await;
    let error = stream_error(&mut primary).await;
    assert_eq!(error.canonical_code, i32::from(Code::InvalidArgument));
    assert!(matches!(error.details, Some(Details::DigestListAck(_))));
    // An acknowledgement of a digest that there is is fine; the next error is the next message's.
    primary.send(Request::DigestAck(proto::DigestListAck { digest_id: DIGEST, list_id: 5 })).await;
    primary.send(Request::Other(outplane_p4runtime::google::protobuf::Any::default())).await;
    let error = stream_error(&mut primary).await;
    assert_eq!(error.canonical_code, i32::from(Code::Unimplemented));
    assert!(matches!(error.details, Some(Details::Other(_))));
    // A switch without ports has nowhere to send packets.
    let fields: [(u32, &[u8]); 2] = [(1, &[1]), (2, &[1])];
    primary.send(Request::Packet(proto::PacketOut { payload: vec![1], metadata: metadata(&fields) })).await;
    assert_eq!(stream_error(&mut primary).await.canonical_code, i32::from(Code::FailedPrecondition));
}

#[tokio::test]
async fn idle_entries_are_told() {
    let bed = Bed::start().await;
    let mut primary = bed.ready(EVERYTHING).await;
    let mut backup = Controller::connect(&bed).await;
    backup.arbitrate("", None).await.unwrap();
    let aging = |n: u8, idle_timeout_ns| proto::TableEntry {
        idle_timeout_ns,
        metadata: vec![n],
        ..entry(AGING, vec![exact(1, &[n])], 0)
    };
    for entry in [aging(1, 1_000_000), aging(2, DAY), aging(3, 0)] {
        primary.try_write(Type::Insert, entry).await.unwrap();
    }
    for _ in 0..2 {
        let Response::IdleTimeoutNotification(notification) = primary.next().await.unwrap() else {
            panic!("a notification")
        };
        assert_eq!(notification.table_entry, [proto::TableEntry { action: None, ..aging(1, 1_000_000) }]);
        assert!(notification.timestamp > 1_600_000_000_000_000_000);
    }
    let query = proto::TableEntry { time_since_last_hit: Some(Default::default()), ..table(AGING) };
    let elapsed = |entry: &proto::TableEntry| entry.time_since_last_hit.as_ref().unwrap().elapsed_ns;
    let found = primary.read_entries(query.clone()).await.unwrap();
    assert!(found.iter().all(|entry| (1_000_000..DAY).contains(&elapsed(entry))), "{found:?}");
    // A hit starts the time anew.
    let before = elapsed(&found[1]);
    bed.state.read().lookup(AGING, &[2]).unwrap().entry().count(60);
    assert!(elapsed(&primary.read_entries(query).await.unwrap()[1]) < before);
    // Time is not told where nobody asks.
    assert_eq!(primary.read_entries(aging(3, 0)).await.unwrap(), [aging(3, 0)]);

    let refused = [
        proto::TableEntry { idle_timeout_ns: 5, ..entry(LPM, vec![exact(1, &[1])], 0) },
        proto::TableEntry { idle_timeout_ns: -5, ..aging(4, 0) },
        proto::TableEntry { time_since_last_hit: Some(Default::default()), ..aging(4, 0) },
    ];
    for entry in refused {
        assert_eq!(primary.try_write(Type::Insert, entry).await, Err(Code::InvalidArgument));
    }
    let advice = backup.arbitrate("", Some(0)).await.unwrap();
    assert_eq!(code(&advice), Code::AlreadyExists);
}
