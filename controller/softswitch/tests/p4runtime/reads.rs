//! Queries: filters, wildcards, parts, errors.

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use outplane_p4runtime::p4::v1 as proto;
use proto::entity::Entity;
use proto::update::Type;
use proto::write_request::Atomicity;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Boxed, Controller, DEVICE, EVERYTHING, errors, update};

async fn insert(controller: &mut Controller, entries: &[proto::TableEntry]) {
    let updates =
        entries.iter().map(|entry| update(Type::Insert, Entity::TableEntry(entry.clone()))).collect();
    controller.write_all(updates, Atomicity::ContinueOnError).await.unwrap();
}

#[tokio::test]
async fn entries_are_filtered() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let on = |value: &[u8], priority| entry(TERNARY, vec![ternary(1, value, &[3])], priority);
    let all = [
        on(&[1], 5),
        proto::TableEntry { action: does(action(DROP, &[])), ..on(&[1], 6) },
        proto::TableEntry { metadata: vec![7], ..on(&[2], 5) },
        proto::TableEntry { controller_metadata: 4, ..entry(TERNARY, Vec::new(), 5) },
    ];
    let elsewhere = entry(LPM, vec![exact(1, &[1])], 0);
    insert(&mut controller, &all).await;
    insert(&mut controller, std::slice::from_ref(&elsewhere)).await;
    let [first, drops, tagged, any] = all.clone();
    let query = |change: &dyn Fn(&mut proto::TableEntry)| {
        let mut query = table(TERNARY);
        change(&mut query);
        query
    };
    let cases: Vec<(&str, proto::TableEntry, Vec<&proto::TableEntry>)> = vec![
        ("all tables", table(0), vec![&elsewhere, &first, &drops, &tagged, &any]),
        ("table", table(TERNARY), vec![&first, &drops, &tagged, &any]),
        ("priority", query(&|it| it.priority = 5), vec![&first, &tagged, &any]),
        ("match", query(&|it| it.r#match = on(&[1], 0).r#match), vec![&drops, &first]),
        (
            "match and priority",
            query(&|it| {
                it.r#match = on(&[1], 0).r#match;
                it.priority = 5;
            }),
            vec![&first],
        ),
        ("no such match", query(&|it| it.r#match = vec![ternary(1, &[1], &[1])]), vec![]),
        ("action", query(&|it| it.action = does(action(DROP, &[]))), vec![&drops]),
        (
            "action, whatever its parameters",
            query(&|it| it.action = does(set(99))),
            vec![&first, &tagged, &any],
        ),
        ("metadata", query(&|it| it.metadata = vec![7]), vec![&tagged]),
        ("controller metadata", query(&|it| it.controller_metadata = 4), vec![&any]),
        ("nothing left", query(&|it| (it.priority, it.metadata) = (6, vec![7])), vec![]),
    ];
    for (what, query, expected) in cases {
        let found = controller.read_entries(query).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{what}");
    }
    let narrowed: [&dyn Fn(&mut proto::TableEntry); 6] = [
        &|it| it.r#match = vec![exact(1, &[1])],
        &|it| it.action = does(set(1)),
        &|it| it.priority = 1,
        &|it| it.controller_metadata = 1,
        &|it| it.metadata = vec![1],
        &|it| it.is_default_action = true,
    ];
    for (index, narrow) in narrowed.into_iter().enumerate() {
        let mut query = table(0);
        narrow(&mut query);
        assert_eq!(controller.read_entries(query).await, Err(Code::InvalidArgument), "{index}");
    }
    let refused: Vec<(&str, proto::TableEntry, Code)> = vec![
        ("unknown table", table(0x0200_ffff), Code::InvalidArgument),
        ("not a match of the table", query(&|it| it.r#match = vec![exact(1, &[1])]), Code::InvalidArgument),
        ("too wide", query(&|it| it.r#match = vec![ternary(1, &[1], &[0xff, 0xff])]), Code::OutOfRange),
        ("by member", query(&|it| it.action = member(1)), Code::InvalidArgument),
        (
            "default with matches",
            proto::TableEntry { is_default_action: true, ..first.clone() },
            Code::InvalidArgument,
        ),
        (
            "no idle timeout",
            query(&|it| it.time_since_last_hit = Some(Default::default())),
            Code::InvalidArgument,
        ),
        (
            "idle timeout of the default entry",
            proto::TableEntry { time_since_last_hit: Some(Default::default()), ..default_entry(AGING, None) },
            Code::InvalidArgument,
        ),
    ];
    for (what, query, expected) in refused {
        assert_eq!(controller.read_entries(query).await, Err(expected), "{what}");
    }
}

#[tokio::test]
async fn a_batch_of_queries_answers_what_it_can() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let there = entry(LPM, vec![exact(1, &[1])], 0);
    insert(&mut controller, std::slice::from_ref(&there)).await;
    let queries: Vec<Boxed> = vec![
        table(LPM).into(),
        table(0x0200_ffff).into(),
        proto::CounterEntry { counter_id: OTHER_COUNTER, ..Default::default() }.into(),
        proto::CounterEntry { counter_id: OTHER_COUNTER, index: index(9), data: None }.into(),
    ];
    let (found, end) = controller.read_all(queries.into_iter().map(|query| query.0).collect()).await;
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], Entity::TableEntry(there));
    let codes: Vec<Code> = errors(&end.unwrap_err()).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::Ok, Code::OutOfRange]);

    let nothing = proto::ReadRequest {
        device_id: DEVICE,
        entities: vec![proto::Entity { entity: None }],
        ..Default::default()
    };
    let mut parts = controller.client.read(nothing).await.unwrap().into_inner();
    let status = parts.message().await.unwrap_err();
    assert_eq!(errors(&status)[0].0, Code::InvalidArgument);
    let (found, end) = controller.read_all(Vec::new()).await;
    assert!(found.is_empty() && end.is_ok());
}

#[tokio::test]
async fn anybody_reads_once_there_is_a_pipeline() {
    let bed = Bed::start().await;
    let mut stranger = Controller::connect(&bed).await;
    assert_eq!(stranger.read_entries(table(0)).await, Err(Code::FailedPrecondition));
    let _primary = bed.ready(EVERYTHING).await;
    assert_eq!(stranger.read_entries(table(0)).await, Ok(Vec::new()));
}

#[tokio::test]
async fn large_answers_come_in_parts() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(outplane_p4::P4INFO).await;
    let schema = outplane_p4runtime::Schema::from_text(outplane_p4::P4INFO).unwrap();
    let filter = schema.table_by_name("filter_baseline").unwrap();
    let permit = schema.action_by_name("baseline_permit").unwrap().id;
    let entries: Vec<proto::TableEntry> = (1..=20_000_u32)
        .map(|n| proto::TableEntry {
            table_id: filter.id,
            r#match: vec![ternary(2, &n.to_be_bytes()[2..], &[0xff, 0xff])],
            priority: n.cast_signed(),
            action: does(action(permit, &[])),
            metadata: vec![0xab; 100],
            ..Default::default()
        })
        .collect();
    insert(&mut controller, &entries).await;
    let request = proto::ReadRequest {
        device_id: DEVICE,
        entities: vec![proto::Entity { entity: Some(Entity::TableEntry(table(filter.id))) }],
        ..Default::default()
    };
    let mut parts = controller.client.read(request).await.unwrap().into_inner();
    let (mut found, mut sizes) = (Vec::new(), Vec::new());
    while let Some(part) = parts.message().await.unwrap() {
        sizes.push(prost::Message::encoded_len(&part));
        found.extend(part.entities.into_iter().map(|entity| entity.entity.unwrap()));
    }
    assert!(sizes.len() > 4 && sizes.iter().all(|size| *size <= 1 << 20), "{sizes:?}");
    // In the order of insertion, with every number in its shortest form.
    let canonical = |mut entry: proto::TableEntry| {
        if let Some(proto::field_match::FieldMatchType::Ternary(ternary)) =
            &mut entry.r#match[0].field_match_type
        {
            ternary.value = outplane_p4runtime::bytestring::canonicalize(&ternary.value).to_vec();
        }
        Entity::TableEntry(entry)
    };
    assert!(found == entries.into_iter().map(canonical).collect::<Vec<_>>());
}

/// A read between two batches sees all of each or nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_see_whole_batches() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let mut reader = Controller::connect(&bed).await;
    let row = |n: u8| entry(BOTH, vec![ternary(2, &[n], &[0xff])], 1);
    let batch = move |kind, rows: std::ops::Range<u8>| {
        rows.map(|n| update(kind, Entity::TableEntry(row(n)))).collect::<Vec<_>>()
    };
    let writer = tokio::spawn(async move {
        for _ in 0..50 {
            controller.write_all(batch(Type::Insert, 0..60), Atomicity::ContinueOnError).await.unwrap();
            controller.write_all(batch(Type::Delete, 0..60), Atomicity::ContinueOnError).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let count = reader.read_entries(table(BOTH)).await.unwrap().len();
        assert!(count == 0 || count == 60, "{count}");
    }
    writer.await.unwrap();
}
