//! Batches: one error for each update, and the three atomicities.

use std::sync::atomic::{AtomicBool, Ordering};

use outplane_p4runtime::google::rpc;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::p4::v1::p4_runtime_client::P4RuntimeClient;
use outplane_softswitch::server::{Config, PacketIo};
use outplane_softswitch::state::Limits;
use prost::Message as _;
use proto::update::Type;
use proto::write_request::Atomicity;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Boxed, Controller, DEVICE, EVERYTHING, errors, update, with_room};

fn nth(n: u8) -> proto::TableEntry {
    entry(LPM, vec![exact(1, &[n])], 0)
}

fn change(kind: Type, entity: impl Into<Boxed>) -> proto::Update {
    update(kind, entity.into().0)
}

async fn keys(controller: &mut Controller) -> Vec<u8> {
    let found = controller.read_entries(table(LPM)).await.unwrap();
    let key = |entry: &proto::TableEntry| match entry.r#match[0].field_match_type.as_ref().unwrap() {
        proto::field_match::FieldMatchType::Exact(exact) => exact.value[0],
        other => panic!("{other:?}"),
    };
    found.iter().map(key).collect()
}

#[tokio::test]
async fn every_update_is_tried_and_answered_in_its_place() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let updates = vec![
        change(Type::Insert, nth(1)),
        change(Type::Delete, nth(9)),
        change(Type::Insert, nth(2)),
        change(Type::Insert, nth(1)),
        proto::Update { r#type: Type::Insert.into(), entity: None },
        proto::Update { r#type: Type::Insert.into(), entity: Some(proto::Entity { entity: None }) },
        change(Type::Insert, nth(3)),
    ];
    let status = controller.write_all(updates, Atomicity::ContinueOnError).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let codes: Vec<Code> = errors(&status).into_iter().map(|(code, _)| code).collect();
    let expected = [
        Code::Ok,
        Code::NotFound,
        Code::Ok,
        Code::AlreadyExists,
        Code::InvalidArgument,
        Code::InvalidArgument,
        Code::Ok,
    ];
    assert_eq!(codes, expected);
    assert_eq!(keys(&mut controller).await, [1, 2, 3]);
    controller.write_all(Vec::new(), Atomicity::ContinueOnError).await.unwrap();
}

#[tokio::test]
async fn updates_of_a_batch_see_those_before_them() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let member =
        proto::ActionProfileMember { action_profile_id: PROFILE, member_id: 1, action: Some(set(1)) };
    let row = proto::TableEntry { action: member_action(1), ..entry(INDIRECT, vec![exact(1, &[1])], 0) };
    let updates = vec![change(Type::Insert, member), change(Type::Insert, row)];
    controller.write_all(updates, Atomicity::ContinueOnError).await.unwrap();
}

fn member_action(id: u32) -> Option<proto::TableAction> {
    member(id)
}

/// A batch that touches every kind of entity and is refused at its last update.
fn refused_batch() -> Vec<proto::Update> {
    let port = |port| Some(proto::replica::PortKind::Port(vec![port]));
    let replica = proto::Replica { port_kind: port(1), ..Default::default() };
    let weighted = proto::action_profile_group::Member { member_id: 5, weight: 1, ..Default::default() };
    let rates = proto::MeterConfig { cir: 1, cburst: 1, pir: 1, pburst: 1, eburst: 0 };
    let data = proto::P4Data { data: Some(proto::p4_data::Data::Bitstring(vec![5])) };
    let direct_key =
        proto::TableEntry { table_id: DIRECT, r#match: vec![exact(1, &[1])], ..Default::default() };
    let set_of = |n| proto::ValueSetMember { r#match: vec![exact(1, &[n])] };
    vec![
        change(Type::Insert, nth(7)),
        change(Type::Modify, proto::TableEntry { action: does(set(8)), metadata: vec![1], ..nth(1) }),
        change(Type::Delete, nth(2)),
        change(Type::Modify, default_entry(LPM, does(set(5)))),
        change(
            Type::Modify,
            proto::TableEntry {
                action: does(set(3)),
                counter_data: counted(9, 9),
                meter_config: Some(rates),
                meter_counter_data: Some(Default::default()),
                ..direct_key.clone()
            },
        ),
        change(
            Type::Modify,
            proto::DirectCounterEntry { table_entry: Some(direct_key.clone()), data: counted(1, 1) },
        ),
        change(
            Type::Modify,
            proto::DirectMeterEntry { table_entry: Some(direct_key), config: None, counter_data: None },
        ),
        change(Type::Modify, proto::CounterEntry { counter_id: COUNTER, index: None, data: counted(1, 1) }),
        change(
            Type::Modify,
            proto::MeterEntry { meter_id: TWO_RATES, index: None, config: Some(rates), counter_data: None },
        ),
        change(Type::Modify, proto::RegisterEntry { register_id: PLAIN, index: None, data: Some(data) }),
        change(
            Type::Insert,
            proto::MulticastGroupEntry {
                multicast_group_id: 2,
                replicas: vec![replica.clone()],
                metadata: Vec::new(),
            },
        ),
        change(Type::Delete, proto::MulticastGroupEntry { multicast_group_id: 1, ..Default::default() }),
        change(
            Type::Insert,
            proto::CloneSessionEntry { session_id: 1, replicas: vec![replica], ..Default::default() },
        ),
        change(
            Type::Insert,
            proto::ActionProfileMember { action_profile_id: SELECTOR, member_id: 5, action: Some(set(4)) },
        ),
        change(
            Type::Insert,
            proto::ActionProfileGroup {
                action_profile_id: SELECTOR,
                group_id: 1,
                members: vec![weighted],
                max_size: 4,
            },
        ),
        change(
            Type::Insert,
            proto::TableEntry { action: group(1), ..entry(SELECTED, vec![exact(1, &[1])], 0) },
        ),
        change(
            Type::Modify,
            proto::ValueSetEntry { value_set_id: VALUE_SET, members: vec![set_of(1), set_of(2)] },
        ),
        change(Type::Insert, proto::DigestEntry { digest_id: DIGEST, config: Some(Default::default()) }),
        change(Type::Delete, nth(99)),
    ]
}

/// All that can be read.
async fn everything(controller: &mut Controller) -> Vec<proto::entity::Entity> {
    let entries = proto::TableEntry {
        counter_data: counted(0, 0),
        meter_config: Some(Default::default()),
        meter_counter_data: Some(Default::default()),
        ..Default::default()
    };
    let queries: Vec<Boxed> = vec![
        entries.into(),
        default_entry(LPM, None).into(),
        proto::CounterEntry::default().into(),
        proto::MeterEntry { counter_data: Some(Default::default()), ..Default::default() }.into(),
        proto::RegisterEntry::default().into(),
        proto::MulticastGroupEntry::default().into(),
        proto::CloneSessionEntry::default().into(),
        proto::ActionProfileMember::default().into(),
        proto::ActionProfileGroup::default().into(),
        proto::ValueSetEntry::default().into(),
        proto::DigestEntry::default().into(),
    ];
    let (found, end) = controller.read_all(queries.into_iter().map(|query| query.0).collect()).await;
    end.unwrap();
    found
}

#[tokio::test]
async fn all_or_none() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let direct = proto::TableEntry {
        counter_data: counted(5, 6),
        meter_config: Some(proto::MeterConfig { cir: 9, cburst: 9, pir: 9, pburst: 9, eburst: 0 }),
        ..entry(DIRECT, vec![exact(1, &[1])], 0)
    };
    let prepared = vec![
        change(Type::Insert, nth(1)),
        change(Type::Insert, nth(2)),
        change(Type::Insert, nth(3)),
        change(Type::Insert, direct),
        change(Type::Insert, proto::MulticastGroupEntry { multicast_group_id: 1, ..Default::default() }),
        change(
            Type::Modify,
            proto::CounterEntry { counter_id: COUNTER, index: index(1), data: counted(7, 7) },
        ),
    ];
    controller.write_all(prepared, Atomicity::RollbackOnError).await.unwrap();
    let before = everything(&mut controller).await;
    for atomicity in [Atomicity::RollbackOnError, Atomicity::DataplaneAtomic] {
        let batch = refused_batch();
        let last = batch.len() - 1;
        let status = controller.write_all(batch, atomicity).await.unwrap_err();
        let codes: Vec<Code> = errors(&status).into_iter().map(|(code, _)| code).collect();
        assert!(codes[..last].iter().all(|code| *code == Code::Aborted), "{codes:?}");
        assert_eq!(codes[last], Code::NotFound);
        assert_eq!(everything(&mut controller).await, before, "{atomicity:?}");
    }
    // Nothing holds on to what was undone: the same batch without its end works, in either way.
    let mut good = refused_batch();
    good.pop();
    controller.write_all(good, Atomicity::DataplaneAtomic).await.unwrap();
    assert_ne!(everything(&mut controller).await, before);
    assert_eq!(keys(&mut controller).await, [1, 3, 7]);
}

#[tokio::test]
async fn errors_after_the_refused_one_say_not_tried() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let batch =
        vec![change(Type::Insert, nth(1)), change(Type::Delete, nth(9)), change(Type::Insert, nth(2))];
    let status = controller.write_all(batch, Atomicity::RollbackOnError).await.unwrap_err();
    let errors = errors(&status);
    assert_eq!(
        errors.iter().map(|(code, _)| *code).collect::<Vec<_>>(),
        [Code::Aborted, Code::NotFound, Code::Aborted]
    );
    assert!(errors[0].1.starts_with("undone"), "{errors:?}");
    assert!(errors[2].1.starts_with("not tried"), "{errors:?}");
    assert_eq!(keys(&mut controller).await, [] as [u8; 0]);
}

#[tokio::test]
async fn batches_are_bounded() {
    let limits = Limits { atomic_updates: 2, updates: 3, ..Limits::default() };
    let bed = Bed::with(Config::new(DEVICE), limits, PacketIo::default()).await;
    let mut controller = bed.ready(EVERYTHING).await;
    let batch = |count: u8| (0..count).map(|n| change(Type::Insert, nth(n))).collect::<Vec<_>>();
    for atomicity in [Atomicity::RollbackOnError, Atomicity::DataplaneAtomic] {
        let refused = controller.write_all(batch(3), atomicity).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
    }
    let refused = controller.write_all(batch(4), Atomicity::ContinueOnError).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    controller.write_all(batch(3), Atomicity::ContinueOnError).await.unwrap();
    let mut request = controller.write_request(Vec::new(), Atomicity::ContinueOnError);
    request.atomicity = 9;
    assert_eq!(controller.client.write(request).await.unwrap_err().code(), Code::InvalidArgument);
}

/// gRPC's libraries take 8 KiB of metadata, and say `RESOURCE_EXHAUSTED` ("the table is full") about more.
#[tokio::test]
async fn the_errors_of_a_large_batch_reach_a_client_with_the_usual_limit() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", bed.handle.address())).unwrap();
    let channel = endpoint.http2_max_header_list_size(8192).connect().await.unwrap();
    let mut usual = P4RuntimeClient::new(channel);
    // None of them is there.
    let gone = |count: usize| vec![change(Type::Delete, nth(9)); count];
    for count in [1, 59, 61, 200, 250, 600, 5000] {
        let request = controller.write_request(gone(count), Atomicity::ContinueOnError);
        let refused = usual.write(request.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unknown, "{count}: {refused:?}");
        if count <= 250 {
            let details = rpc::Status::decode(refused.details()).unwrap().details;
            let errors: Vec<_> =
                details.iter().map(|any| proto::Error::decode(any.value.as_slice()).unwrap()).collect();
            assert_eq!(errors.len(), count);
            assert!(errors.iter().all(|error| error.canonical_code == Code::NotFound as i32), "{count}");
            assert!(!errors[0].message.is_empty(), "the first ones keep their words");
        } else {
            assert!(refused.message().contains("send fewer at once"), "{count}: {refused:?}");
        }
        // Who says that it takes more gets all of it.
        let refused = controller.client.write(with_room(request)).await.unwrap_err();
        let errors = errors(&refused);
        assert_eq!(errors.len(), count);
        assert!(errors.iter().all(|(code, words)| *code == Code::NotFound && !words.is_empty()), "{count}");
    }
}

/// Two entries that are swapped by each batch: a packet sees the one or the other, never both or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_see_an_atomic_batch_at_once() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    controller.try_write(Type::Insert, nth(1)).await.unwrap();
    let (state, done) = (bed.state.clone(), std::sync::Arc::new(AtomicBool::new(false)));
    let watcher = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let state = state.read();
                let hits = [1, 2].map(|n| state.lookup(LPM, &[n, 5]).unwrap().is_hit());
                assert_eq!(hits.iter().filter(|hit| **hit).count(), 1, "{hits:?}");
                looks += 1;
            }
            looks
        }
    });
    for round in 0..100 {
        let (old, new) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        let mut batch = vec![change(Type::Delete, nth(old))];
        batch.extend((0..40).map(|n| change(Type::Insert, nth(100 + n))));
        batch.extend((0..40).map(|n| change(Type::Delete, nth(100 + n))));
        batch.push(change(Type::Insert, nth(new)));
        // Every other batch is refused at its end, and must not have been seen at all.
        if round % 3 == 2 {
            batch.push(change(Type::Delete, nth(99)));
            controller.write_all(batch, Atomicity::DataplaneAtomic).await.unwrap_err();
            let swap = vec![change(Type::Delete, nth(old)), change(Type::Insert, nth(new))];
            controller.write_all(swap, Atomicity::DataplaneAtomic).await.unwrap();
        } else {
            controller.write_all(batch, Atomicity::DataplaneAtomic).await.unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
}
