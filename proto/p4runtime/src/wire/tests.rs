use std::mem::size_of;

use outplane_p4::P4INFO;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;
use crate::p4::v1 as proto;
use proto::entity::Entity as Kind;
use proto::field_match::{Exact, FieldMatchType, Ternary};
use proto::packet_replication_engine_entry::Type as Replication;
use proto::table_action::Type as Action;

/// An entry as small as any that a policy makes: one match, one parameter, an owner's mark.
fn entry(number: u32) -> proto::Entity {
    let exact = FieldMatchType::Exact(Exact { value: number.to_be_bytes()[2..].to_vec() });
    let ternary = FieldMatchType::Ternary(Ternary { value: vec![1], mask: vec![1] });
    let field =
        |field_id, field_match_type| proto::FieldMatch { field_id, field_match_type: Some(field_match_type) };
    let action = proto::Action {
        action_id: 0x0123_4567,
        params: vec![proto::action::Param { param_id: 1, value: vec![7] }],
    };
    proto::Entity {
        entity: Some(Kind::TableEntry(proto::TableEntry {
            table_id: 0x0212_3456,
            r#match: vec![field(1, exact), field(2, ternary)],
            action: Some(proto::TableAction { r#type: Some(Action::Action(action)) }),
            priority: 1,
            metadata: b"op1 policy 1".to_vec(),
            ..proto::TableEntry::default()
        })),
    }
}

fn write(updates: usize) -> proto::WriteRequest {
    let update = |number| proto::Update { r#type: 1, entity: Some(entry(number)) };
    let numbers = 0..u32::try_from(updates).unwrap();
    proto::WriteRequest { device_id: 1, updates: numbers.map(update).collect(), ..Default::default() }
}

#[test]
fn what_is_legal_passes() {
    for count in [0, 1, 10, 1000, 10_000] {
        let bytes = write(count).encode_to_vec();
        let taken = check::<proto::WriteRequest>(&bytes).unwrap();
        assert!(
            taken >= bytes.len(),
            "{count} updates: {taken} bytes of memory for {} on the wire",
            bytes.len()
        );
    }
    let response = proto::ReadResponse { entities: (0..50_000).map(entry).collect() };
    check::<proto::ReadResponse>(&response.encode_to_vec()).unwrap();
    // Cells without limits, which are little more than a number.
    let cell = |index| {
        let index = Some(proto::Index { index });
        proto::Entity {
            entity: Some(Kind::MeterEntry(proto::MeterEntry {
                meter_id: 1 << 24,
                index,
                ..Default::default()
            })),
        }
    };
    let response = proto::ReadResponse { entities: (0..65_536).map(cell).collect() };
    check::<proto::ReadResponse>(&response.encode_to_vec()).unwrap();
    // A group of all ports, which is little more than numbers.
    let replica = |port: u32| proto::Replica {
        instance: 1,
        port_kind: Some(proto::replica::PortKind::Port(port.to_be_bytes().to_vec())),
        ..Default::default()
    };
    let group = proto::MulticastGroupEntry {
        multicast_group_id: 1,
        replicas: (0..1024).map(replica).collect(),
        metadata: Vec::new(),
    };
    let group = proto::PacketReplicationEngineEntry { r#type: Some(Replication::MulticastGroupEntry(group)) };
    let entity = proto::Entity { entity: Some(Kind::PacketReplicationEngineEntry(group)) };
    let update = proto::Update { r#type: 1, entity: Some(entity) };
    let request = proto::WriteRequest { updates: vec![update; 100], ..Default::default() };
    check::<proto::WriteRequest>(&request.encode_to_vec()).unwrap();
    // The program with its P4Info.
    let schema = crate::Schema::from_text(P4INFO).unwrap();
    let config = proto::ForwardingPipelineConfig {
        p4info: Some(schema.p4info().clone()),
        p4_device_config: outplane_p4::BMV2_JSON.as_bytes().to_vec(),
        cookie: None,
    };
    let request = proto::SetForwardingPipelineConfigRequest { config: Some(config), ..Default::default() };
    check::<proto::SetForwardingPipelineConfigRequest>(&request.encode_to_vec()).unwrap();
    let packet = proto::PacketOut { payload: vec![0; 65_535], metadata: Vec::new() };
    let update = proto::stream_message_request::Update::Packet(packet);
    let request = proto::StreamMessageRequest { update: Some(update) };
    check::<proto::StreamMessageRequest>(&request.encode_to_vec()).unwrap();
}

/// `count` empty elements of a field: two bytes each.
fn empties(field: u8, count: usize) -> Vec<u8> {
    [field << 3 | 2, 0].repeat(count)
}

/// One field with these bytes in it.
fn wrapped(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

#[test]
fn empty_elements_are_counted_and_not_decoded() {
    // 14 million updates in 28 MB, which took 7 GB.
    let long = check::<proto::WriteRequest>(&empties(4, 14_000_000)).unwrap_err();
    assert!(matches!(long, WireError::TooLong { .. }), "{long}");
    let large = check::<proto::WriteRequest>(&empties(4, 8_000_000)).unwrap_err();
    assert!(matches!(large, WireError::TooMany { .. }), "{large}");
    // Few enough, and more than they explain.
    let large = check::<proto::WriteRequest>(&empties(4, 60_000)).unwrap_err();
    assert!(matches!(large, WireError::TooLarge { .. }), "{large}");
    // Long enough for what they take, and too many.
    let padded: Vec<u8> = (0..70_000).flat_map(|_| wrapped(4, &wrapped(9, &[0; 60]))).collect();
    let many = check::<proto::WriteRequest>(&padded).unwrap_err();
    assert_eq!(many.to_string(), "p4.v1.WriteRequest.updates has more than 65536 elements");
}

/// Every repeated field of every message, at every depth that a request or an answer reaches: none can be filled with
/// empty elements without end.
#[test]
fn no_repeated_field_grows_without_bound() {
    let entity = |entity: Vec<u8>| wrapped(4, &wrapped(2, &entity));
    let table_entry = |inside: Vec<u8>| entity(wrapped(2, &inside));
    let count = 4_000_000;
    let hostile = [
        ("match", table_entry(empties(2, count))),
        ("action.params", table_entry(wrapped(3, &wrapped(1, &empties(4, count))))),
        ("action_profile_actions", table_entry(wrapped(3, &wrapped(4, &empties(1, count))))),
        ("members", entity(wrapped(4, &empties(3, count)))),
        ("replicas", entity(wrapped(9, &wrapped(1, &empties(2, count))))),
    ];
    for (what, bytes) in hostile {
        let error = check::<proto::WriteRequest>(&bytes).unwrap_err();
        assert!(matches!(error, WireError::TooMany { .. } | WireError::TooLarge { .. }), "{what}: {error}");
    }
    let error = check::<proto::ReadResponse>(&empties(1, count)).unwrap_err();
    assert!(matches!(error, WireError::TooMany { .. } | WireError::TooLarge { .. }), "{error}");
    let error = check::<proto::ReadRequest>(&empties(2, 5000)).unwrap_err();
    assert!(matches!(error, WireError::TooMany { .. } | WireError::TooLarge { .. }), "{error}");
    let error = check::<proto::StreamMessageRequest>(&wrapped(2, &empties(2, 60_000))).unwrap_err();
    assert!(matches!(error, WireError::TooMany { .. }), "{error}");
    let error = check::<proto::StreamMessageResponse>(&wrapped(2, &empties(2, 100_000))).unwrap_err();
    assert!(matches!(error, WireError::TooMany { .. }), "{error}");
}

#[test]
fn nesting_ends() {
    // P4Data in a tuple in P4Data: a value set member's, a register's, a digest's.
    let data = |depth| (0..depth).fold(Vec::new(), |inside, _| wrapped(5, &wrapped(1, &inside)));
    let register = |data: Vec<u8>| wrapped(4, &wrapped(2, &wrapped(11, &wrapped(3, &data))));
    check::<proto::WriteRequest>(&register(data(10))).unwrap();
    assert!(check::<proto::WriteRequest>(&register(data(500))).is_err());
}

#[test]
fn what_is_no_protobuf_is_an_error() {
    for bytes in [&[0x22, 5, 1][..], &[0x80], &[0xff; 11], &[0x23], &[0x21, 1]] {
        let error = check::<proto::WriteRequest>(bytes).unwrap_err();
        assert_eq!(error, WireError::Malformed { message: "p4.v1.WriteRequest" }, "{bytes:?}");
    }
    assert!(check::<proto::CapabilitiesResponse>(&vec![0; 65 << 10]).is_err());
}

/// What is estimated is never less than what prost's types take.
#[test]
fn sizes_are_upper_bounds() {
    macro_rules! sizes {
        ($($type:ty),+ $(,)?) => {
            $({
                let shape = SHAPES.by_name(&<$type>::full_name()).expect("in the descriptors");
                assert!(
                    shape.size >= size_of::<$type>() && shape.size <= 3 * size_of::<$type>() + 64,
                    "{}: {} for {}", shape.name, shape.size, size_of::<$type>()
                );
            })+
        };
    }
    sizes!(
        proto::Update,
        proto::Entity,
        proto::TableEntry,
        proto::FieldMatch,
        proto::Action,
        proto::action::Param,
        proto::TableAction,
        proto::ActionProfileAction,
        proto::ActionProfileMember,
        proto::ActionProfileGroup,
        proto::action_profile_group::Member,
        proto::Replica,
        proto::BackupReplica,
        proto::MulticastGroupEntry,
        proto::PacketMetadata,
        proto::PacketOut,
        proto::MeterEntry,
        proto::RegisterEntry,
        proto::P4Data,
        proto::P4StructLike,
        proto::StreamMessageRequest,
        proto::StreamMessageResponse,
        proto::MasterArbitrationUpdate,
        proto::WriteRequest,
        proto::ReadRequest,
        proto::ReadResponse,
        proto::ForwardingPipelineConfig,
        crate::p4::config::v1::Table,
        crate::p4::config::v1::MatchField,
        crate::p4::config::v1::Action,
        crate::p4::config::v1::Preamble,
    );
}

#[test]
fn every_message_has_a_shape() {
    let files = FileDescriptorSet::decode(crate::file_descriptor_set()).unwrap();
    let numbers = files.file.iter().flat_map(|file| &file.message_type).flat_map(|message| &message.field);
    assert!(numbers.clone().count() > 200);
    assert!(numbers.map(prost_types::FieldDescriptorProto::number).max().unwrap() < 1024);
    for name in
        ["p4.v1.WriteRequest", "p4.v1.ReadResponse", "p4.v1.StreamMessageRequest", "google.rpc.Status"]
    {
        assert!(SHAPES.by_name(name).is_some(), "{name}");
    }
}

proptest::proptest! {
    /// Any bytes give an answer, and bytes that pass decode within what was said, or not at all.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000)) {
        if let Ok(taken) = check::<proto::WriteRequest>(&bytes) {
            proptest::prop_assert!(taken <= Limits::of("p4.v1.WriteRequest").decoded_at(bytes.len()));
            let _ = proto::WriteRequest::decode(&bytes[..]);
        }
    }
}
