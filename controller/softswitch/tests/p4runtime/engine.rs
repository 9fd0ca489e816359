//! Multicast groups and clone sessions.

use outplane_p4runtime::p4::v1 as proto;
use proto::entity::Entity;
use proto::replica::PortKind;
use proto::update::Type;
use tonic::Code;

use crate::support::{Bed, Boxed, EVERYTHING};

fn replica(port: &[u8], instance: u32) -> proto::Replica {
    proto::Replica { port_kind: Some(PortKind::Port(port.to_vec())), instance, backup_replicas: Vec::new() }
}

fn group(id: u32, replicas: Vec<proto::Replica>) -> proto::MulticastGroupEntry {
    proto::MulticastGroupEntry { multicast_group_id: id, replicas, metadata: vec![1, 2] }
}

fn session(id: u32, replicas: Vec<proto::Replica>) -> proto::CloneSessionEntry {
    proto::CloneSessionEntry { session_id: id, replicas, class_of_service: 2, packet_length_bytes: 128 }
}

fn entities(list: impl IntoIterator<Item = impl Into<Boxed>>) -> Vec<Entity> {
    list.into_iter().map(|entry| entry.into().0).collect()
}

#[tokio::test]
async fn groups_and_sessions_come_change_and_go() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    #[expect(deprecated, reason = "clients before 1.4 write ports as numbers")]
    let numeric = proto::Replica { port_kind: Some(PortKind::EgressPort(5)), ..Default::default() };
    let backup = |port: u8, instance| proto::BackupReplica { port: vec![port], instance };
    let backed_up =
        proto::Replica { backup_replicas: vec![backup(0x1a, 9), backup(0x19, 8)], ..replica(&[0x18], 4) };
    let first = group(1, vec![replica(&[5], 1), numeric, backed_up]);
    let second = group(0xffff_ffff, Vec::new());
    for kind in [Type::Modify, Type::Delete] {
        assert_eq!(controller.try_write(kind, first.clone()).await, Err(Code::NotFound));
    }
    controller.try_write(Type::Insert, second.clone()).await.unwrap();
    controller.try_write(Type::Insert, first.clone()).await.unwrap();
    assert_eq!(controller.try_write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    assert_eq!(
        controller.read(group(0, Vec::new())).await.unwrap(),
        entities([first.clone(), second.clone()])
    );
    assert_eq!(controller.read(group(1, Vec::new())).await.unwrap(), entities([first.clone()]));
    assert_eq!(controller.read(group(2, Vec::new())).await.unwrap(), []);
    let ports: Vec<u32> = {
        let state = bed.state.read();
        assert!(state.multicast_group(2).is_none());
        state.multicast_group(1).unwrap().copies().map(|copy| copy.port).collect()
    };
    assert_eq!(ports, [5, 5, 0x18]);
    // Longer numbers mean the same and come back in the shortest form.
    controller.try_write(Type::Modify, group(1, vec![replica(&[0, 0, 6], 1)])).await.unwrap();
    assert_eq!(
        controller.read(group(1, Vec::new())).await.unwrap(),
        entities([group(1, vec![replica(&[6], 1)])])
    );
    controller.try_write(Type::Delete, group(1, Vec::new())).await.unwrap();
    assert_eq!(controller.read(group(0, Vec::new())).await.unwrap(), entities([second]));

    let first = session(100, vec![replica(&[0xff, 0xff, 0xff, 0xfd], 1)]);
    assert_eq!(controller.try_write(Type::Modify, first.clone()).await, Err(Code::NotFound));
    controller.try_write(Type::Insert, first.clone()).await.unwrap();
    assert_eq!(controller.try_write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    assert_eq!(controller.read(session(0, Vec::new())).await.unwrap(), entities([first]));
    let changed = proto::CloneSessionEntry { packet_length_bytes: 0, ..session(100, Vec::new()) };
    controller.try_write(Type::Modify, changed.clone()).await.unwrap();
    assert_eq!(controller.read(session(100, Vec::new())).await.unwrap(), entities([changed]));
    controller.try_write(Type::Delete, session(100, Vec::new())).await.unwrap();
    assert_eq!(controller.read(session(0, Vec::new())).await.unwrap(), []);
}

#[tokio::test]
async fn refusals() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let backed = |port: u8, instance| proto::Replica {
        backup_replicas: vec![proto::BackupReplica { port: vec![port], instance }],
        ..replica(&[1], 1)
    };
    let many = (0..2000).map(|instance| replica(&[1], instance)).collect();
    let cases: Vec<(&str, Boxed, Code)> = vec![
        ("group 0", group(0, Vec::new()).into(), Code::InvalidArgument),
        ("session 0", session(0, Vec::new()).into(), Code::InvalidArgument),
        ("no port", group(1, vec![proto::Replica::default()]).into(), Code::InvalidArgument),
        ("port 0", group(1, vec![replica(&[0], 1)]).into(), Code::InvalidArgument),
        ("empty port", group(1, vec![replica(&[], 1)]).into(), Code::OutOfRange),
        ("port of 40 bits", group(1, vec![replica(&[1, 0, 0, 0, 0], 1)]).into(), Code::OutOfRange),
        ("twice", group(1, vec![replica(&[1], 1), replica(&[0, 1], 1)]).into(), Code::InvalidArgument),
        ("its own backup", group(1, vec![backed(1, 2)]).into(), Code::InvalidArgument),
        ("backup twice", group(1, vec![backed(2, 1), replica(&[2], 1)]).into(), Code::InvalidArgument),
        ("too many", group(1, many).into(), Code::ResourceExhausted),
        ("session twice", session(1, vec![replica(&[1], 1); 2]).into(), Code::InvalidArgument),
        (
            "negative length",
            proto::CloneSessionEntry { packet_length_bytes: -1, ..session(1, Vec::new()) }.into(),
            Code::InvalidArgument,
        ),
        (
            "class of service",
            proto::CloneSessionEntry { class_of_service: 256, ..session(1, Vec::new()) }.into(),
            Code::InvalidArgument,
        ),
        (
            "neither",
            Boxed(Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry::default())),
            Code::InvalidArgument,
        ),
    ];
    for (what, entity, expected) in cases {
        let outcome = controller.write(Type::Insert, entity.0).await.map_err(|(code, _)| code);
        assert_eq!(outcome, Err(expected), "{what}");
    }
    assert_eq!(controller.read(group(0, Vec::new())).await.unwrap(), []);
    let neither = Boxed(Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry::default()));
    assert_eq!(controller.read(neither).await, Err(Code::InvalidArgument));
}
