//! Counters, meters, registers, value sets, digests: direct and indexed.

use std::time::Duration;

use outplane_p4runtime::p4::v1 as proto;
use outplane_softswitch::meter::Color;
use proto::entity::Entity;
use proto::p4_data::Data;
use proto::update::Type;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Boxed, Controller, EVERYTHING};

const GREEN_FOR_ALL: Option<proto::MeterConfig> = None;

fn rates(cir: i64, cburst: i64, pir: i64, pburst: i64) -> Option<proto::MeterConfig> {
    Some(proto::MeterConfig { cir, cburst, pir, pburst, eburst: 0 })
}

fn direct(n: u8) -> proto::TableEntry {
    entry(DIRECT, vec![exact(1, &[n])], 0)
}

/// The entry with all of its direct resources.
async fn with_resources(controller: &mut Controller, n: u8) -> proto::TableEntry {
    let query = proto::TableEntry {
        action: None,
        counter_data: counted(0, 0),
        meter_config: Some(proto::MeterConfig::default()),
        meter_counter_data: Some(proto::MeterCounterData::default()),
        ..direct(n)
    };
    controller.read_entries(query).await.unwrap().remove(0)
}

#[tokio::test]
async fn direct_resources_through_their_entry() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    controller.try_write(Type::Insert, direct(1)).await.unwrap();
    let found = with_resources(&mut controller, 1).await;
    assert_eq!((found.counter_data, found.meter_config), (counted(0, 0), GREEN_FOR_ALL));
    let zero = counted(0, 0);
    assert_eq!(
        found.meter_counter_data,
        Some(proto::MeterCounterData { green: zero, yellow: zero, red: zero })
    );
    // What is not asked for is not told.
    assert_eq!(controller.read_entries(direct(1)).await.unwrap(), [direct(1)]);

    let given =
        proto::TableEntry { counter_data: counted(5, 600), meter_config: rates(1, 2, 3, 4), ..direct(2) };
    controller.try_write(Type::Insert, given.clone()).await.unwrap();
    let found = with_resources(&mut controller, 2).await;
    assert_eq!((found.counter_data, found.meter_config), (counted(5, 600), rates(1, 2, 3, 4)));

    // A modification leaves the counter, and takes the meter back to its default.
    controller
        .try_write(Type::Modify, proto::TableEntry { action: does(set(9)), ..direct(2) })
        .await
        .unwrap();
    let found = with_resources(&mut controller, 2).await;
    assert_eq!((found.counter_data, found.meter_config), (counted(5, 600), GREEN_FOR_ALL));
    // Without an action, the resources alone.
    let resources = proto::TableEntry {
        action: None,
        counter_data: counted(7, 8),
        meter_config: rates(5, 5, 5, 5),
        ..direct(2)
    };
    controller.try_write(Type::Modify, resources).await.unwrap();
    let found = with_resources(&mut controller, 2).await;
    assert_eq!(found.action, does(set(9)));
    assert_eq!((found.counter_data, found.meter_config), (counted(7, 8), rates(5, 5, 5, 5)));

    // What the data plane counts is what is read.
    {
        let state = bed.state.read();
        let lookup = state.lookup(DIRECT, &[2]).unwrap();
        assert!(lookup.is_hit());
        lookup.entry().count(92);
        let cell = lookup.entry().direct.meter.as_ref().unwrap();
        let colors: Vec<Color> = (0..7).map(|_| cell.mark(Duration::ZERO, 1, 60)).collect();
        assert_eq!(colors.iter().filter(|color| **color == Color::Green).count(), 5);
    }
    let found = with_resources(&mut controller, 2).await;
    assert_eq!(found.counter_data, counted(8, 100));
    let marked = proto::MeterCounterData { green: counted(5, 300), yellow: zero, red: counted(2, 120) };
    assert_eq!(found.meter_counter_data, Some(marked));
    let clear = proto::TableEntry { action: None, meter_counter_data: Some(Default::default()), ..direct(2) };
    controller.try_write(Type::Modify, clear).await.unwrap();
    let found = with_resources(&mut controller, 2).await;
    assert_eq!(
        found.meter_counter_data,
        Some(proto::MeterCounterData { green: zero, yellow: zero, red: zero })
    );
}

#[tokio::test]
async fn direct_resources_where_there_are_none() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let plain = || entry(LPM, vec![exact(1, &[1])], 0);
    let nonzero = Some(proto::MeterCounterData { green: counted(1, 0), ..Default::default() });
    let cases = [
        proto::TableEntry { counter_data: counted(1, 1), ..plain() },
        proto::TableEntry { meter_config: rates(1, 1, 1, 1), ..plain() },
        proto::TableEntry { meter_counter_data: Some(Default::default()), ..plain() },
        proto::TableEntry { counter_data: counted(-1, 0), ..direct(1) },
        proto::TableEntry { meter_config: rates(-1, 0, 0, 0), ..direct(1) },
        proto::TableEntry { meter_config: rates(5, 5, 4, 5), ..direct(1) },
        proto::TableEntry { meter_counter_data: nonzero, ..direct(1) },
    ];
    for entry in cases {
        assert_eq!(
            controller.try_write(Type::Insert, entry.clone()).await,
            Err(Code::InvalidArgument),
            "{entry:?}"
        );
        let query = proto::TableEntry { r#match: Vec::new(), action: None, ..entry };
        let expected = if query.table_id == LPM { Err(Code::InvalidArgument) } else { Ok(Vec::new()) };
        assert_eq!(controller.read_entries(query).await, expected);
    }
}

#[tokio::test]
async fn direct_entries() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    for n in [1, 2] {
        controller.try_write(Type::Insert, direct(n)).await.unwrap();
    }
    let key = |n: u8| Some(proto::TableEntry { action: None, ..direct(n) });
    let default = Some(proto::TableEntry { table_id: DIRECT, is_default_action: true, ..Default::default() });
    let counter = |table_entry, data| proto::DirectCounterEntry { table_entry, data };
    let meter = |table_entry, config| proto::DirectMeterEntry { table_entry, config, counter_data: None };
    controller.try_write(Type::Modify, counter(key(1), counted(1, 2))).await.unwrap();
    controller.try_write(Type::Modify, counter(default.clone(), counted(3, 4))).await.unwrap();
    controller.try_write(Type::Modify, meter(key(2), rates(1, 1, 1, 1))).await.unwrap();
    // Nothing given: a counter stays, a meter is reset.
    controller.try_write(Type::Modify, counter(key(1), None)).await.unwrap();
    let read = controller.read(counter(key(1), None)).await.unwrap();
    assert_eq!(read, [Entity::DirectCounterEntry(counter(key(1), counted(1, 2)))]);
    let read = controller.read(counter(default.clone(), None)).await.unwrap();
    assert_eq!(read, [Entity::DirectCounterEntry(counter(default, counted(3, 4)))]);
    let all_meters = [meter(key(1), None), meter(key(2), rates(1, 1, 1, 1))].map(Entity::DirectMeterEntry);
    for query in [Some(table(DIRECT)), Some(table(0))] {
        assert_eq!(controller.read(meter(query.clone(), None)).await.unwrap(), all_meters);
        let counters = [counter(key(1), counted(1, 2)), counter(key(2), counted(0, 0))];
        let counters = counters.map(Entity::DirectCounterEntry);
        assert_eq!(controller.read(counter(query, None)).await.unwrap(), counters);
    }
    controller.try_write(Type::Modify, meter(key(2), None)).await.unwrap();
    let read = controller.read(meter(key(2), None)).await.unwrap();
    assert_eq!(read, [Entity::DirectMeterEntry(meter(key(2), None))]);

    let lpm_key =
        Some(proto::TableEntry { table_id: LPM, r#match: vec![exact(1, &[1])], ..Default::default() });
    let cases: Vec<(Type, Boxed, Code)> = vec![
        (Type::Insert, counter(key(1), None).into(), Code::InvalidArgument),
        (Type::Delete, meter(key(1), None).into(), Code::InvalidArgument),
        (Type::Modify, counter(key(9), counted(1, 1)).into(), Code::NotFound),
        (Type::Modify, meter(key(9), None).into(), Code::NotFound),
        (Type::Modify, counter(None, None).into(), Code::InvalidArgument),
        (Type::Modify, counter(lpm_key.clone(), None).into(), Code::NotFound),
        (Type::Modify, counter(key(1), counted(0, -1)).into(), Code::InvalidArgument),
        (Type::Modify, meter(key(1), rates(2, 2, 1, 2)).into(), Code::InvalidArgument),
    ];
    for (kind, entity, expected) in cases {
        assert_eq!(
            controller.write(kind, entity.0.clone()).await.map_err(|(code, _)| code),
            Err(expected),
            "{:?}",
            entity.0
        );
    }
    assert_eq!(controller.read(counter(key(9), None)).await, Err(Code::NotFound));
    assert_eq!(controller.read(meter(key(9), None)).await, Err(Code::NotFound));
    assert_eq!(controller.read(counter(None, None)).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(counter(lpm_key, None)).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(counter(Some(table(0x0200_ffff)), None)).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn indexed_counters() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let cell = |counter_id, index, data| proto::CounterEntry { counter_id, index, data };
    controller.try_write(Type::Modify, cell(COUNTER, index(0), counted(1, 2))).await.unwrap();
    controller.try_write(Type::Modify, cell(COUNTER, index(7), counted(3, 4))).await.unwrap();
    controller.try_write(Type::Modify, cell(COUNTER, index(7), None)).await.unwrap();
    let read = controller.read(cell(COUNTER, index(7), None)).await.unwrap();
    assert_eq!(read, [Entity::CounterEntry(cell(COUNTER, index(7), counted(3, 4)))]);
    assert_eq!(controller.read(cell(COUNTER, None, None)).await.unwrap().len(), 8);
    assert_eq!(controller.read(cell(0, None, None)).await.unwrap().len(), 10);
    controller.try_write(Type::Modify, cell(OTHER_COUNTER, None, counted(9, 9))).await.unwrap();
    let read = controller.read(cell(OTHER_COUNTER, None, None)).await.unwrap();
    assert_eq!(read, [0, 1].map(|n| Entity::CounterEntry(cell(OTHER_COUNTER, index(n), counted(9, 9)))));
    for (kind, entry, expected) in [
        (Type::Insert, cell(COUNTER, index(0), None), Code::InvalidArgument),
        (Type::Delete, cell(COUNTER, index(0), None), Code::InvalidArgument),
        (Type::Modify, cell(COUNTER, index(-1), counted(1, 1)), Code::InvalidArgument),
        (Type::Modify, cell(COUNTER, index(8), counted(1, 1)), Code::OutOfRange),
        (Type::Modify, cell(0x1200_ffff, index(0), counted(1, 1)), Code::InvalidArgument),
        (Type::Modify, cell(0, index(0), counted(1, 1)), Code::InvalidArgument),
        (Type::Modify, cell(COUNTER, index(0), counted(-1, 1)), Code::InvalidArgument),
    ] {
        assert_eq!(controller.try_write(kind, entry).await, Err(expected), "{entry:?}");
    }
    assert_eq!(controller.read(cell(COUNTER, index(8), None)).await, Err(Code::OutOfRange));
    assert_eq!(controller.read(cell(0, index(1), None)).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(cell(0x1200_ffff, None, None)).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn indexed_meters_of_each_type() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let cell = |meter_id, index, config| proto::MeterEntry { meter_id, index, config, counter_data: None };
    let excess =
        |config: Option<proto::MeterConfig>| config.map(|config| proto::MeterConfig { eburst: 9, ..config });
    for (meter, config, expected) in [
        (TWO_RATES, rates(1, 2, 3, 4), Ok(())),
        (TWO_RATES, rates(3, 2, 3, 1), Ok(())),
        (TWO_RATES, rates(3, 2, 2, 4), Err(Code::InvalidArgument)),
        (TWO_RATES, rates(1, -2, 3, 4), Err(Code::InvalidArgument)),
        (TWO_RATES, excess(rates(1, 2, 3, 4)), Err(Code::InvalidArgument)),
        (ONE_RATE, rates(1, 2, 1, 2), Ok(())),
        (ONE_RATE, excess(rates(1, 2, 1, 2)), Ok(())),
        (ONE_RATE, rates(1, 2, 3, 2), Err(Code::InvalidArgument)),
        (ONE_RATE, rates(1, 2, 1, 3), Err(Code::InvalidArgument)),
        (TWO_COLORS, rates(1, 2, 1, 2), Ok(())),
        (TWO_COLORS, excess(rates(1, 2, 1, 2)), Err(Code::InvalidArgument)),
        (TWO_COLORS, rates(1, 2, 2, 2), Err(Code::InvalidArgument)),
    ] {
        let entry = cell(meter, index(1), config);
        assert_eq!(controller.try_write(Type::Modify, entry).await, expected, "{entry:?}");
        if expected.is_ok() {
            let read = controller.read(cell(meter, index(1), None)).await.unwrap();
            assert_eq!(read, [Entity::MeterEntry(entry)]);
        }
    }
    assert_eq!(controller.read(cell(0, None, None)).await.unwrap().len(), 8);
    // What was marked, and cleared again.
    bed.state.read().meter_cell(TWO_RATES, 1).unwrap().mark(Duration::ZERO, 1, 60);
    let with_marks =
        proto::MeterEntry { counter_data: Some(Default::default()), ..cell(TWO_RATES, index(1), None) };
    let marks = |entities: Vec<Entity>| match entities.as_slice() {
        [Entity::MeterEntry(entry)] => entry.counter_data.unwrap(),
        other => panic!("{other:?}"),
    };
    let marked = marks(controller.read(with_marks).await.unwrap());
    assert_eq!((marked.green, marked.yellow, marked.red), (counted(1, 60), counted(0, 0), counted(0, 0)));
    controller.try_write(Type::Modify, with_marks).await.unwrap();
    let marked = marks(controller.read(with_marks).await.unwrap());
    assert_eq!((marked.green, marked.yellow, marked.red), (counted(0, 0), counted(0, 0), counted(0, 0)));
    // All cells at once; that also takes them back to their default.
    controller.try_write(Type::Modify, cell(TWO_RATES, None, rates(1, 1, 1, 1))).await.unwrap();
    controller.try_write(Type::Modify, cell(TWO_RATES, index(3), None)).await.unwrap();
    let read = controller.read(cell(TWO_RATES, None, None)).await.unwrap();
    let expected = (0..4).map(|n| cell(TWO_RATES, index(n), if n == 3 { None } else { rates(1, 1, 1, 1) }));
    assert_eq!(read, expected.map(Entity::MeterEntry).collect::<Vec<_>>());
    for (kind, entry, expected) in [
        (Type::Insert, cell(TWO_RATES, index(0), None), Code::InvalidArgument),
        (Type::Delete, cell(TWO_RATES, index(0), None), Code::InvalidArgument),
        (Type::Modify, cell(TWO_RATES, index(-1), None), Code::InvalidArgument),
        (Type::Modify, cell(TWO_RATES, index(4), None), Code::OutOfRange),
        (Type::Modify, cell(0x1400_ffff, index(0), None), Code::InvalidArgument),
        // A direct meter has no index.
        (Type::Modify, cell(0x1500_0009, index(0), None), Code::InvalidArgument),
    ] {
        assert_eq!(controller.try_write(kind, entry).await, Err(expected), "{entry:?}");
    }
}

fn bits(bytes: &[u8]) -> Option<proto::P4Data> {
    Some(proto::P4Data { data: Some(Data::Bitstring(bytes.to_vec())) })
}

fn pair(signed: &[u8], header: Option<[&[u8]; 2]>) -> Option<proto::P4Data> {
    let bitstrings = header.map(|fields| fields.map(<[u8]>::to_vec).to_vec()).unwrap_or_default();
    let header = proto::P4Header { is_valid: header.is_some(), bitstrings };
    let members = vec![
        proto::P4Data { data: Some(Data::Bitstring(signed.to_vec())) },
        proto::P4Data { data: Some(Data::Header(header)) },
    ];
    Some(proto::P4Data { data: Some(Data::Struct(proto::P4StructLike { members })) })
}

#[tokio::test]
async fn registers() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let cell = |register_id, index, data| proto::RegisterEntry { register_id, index, data };
    let read = controller.read(cell(0, None, None)).await.unwrap();
    let zeros = [
        (PLAIN, 0, bits(&[0])),
        (PLAIN, 1, bits(&[0])),
        (PLAIN, 2, bits(&[0])),
        (PLAIN, 3, bits(&[0])),
        (STRUCTURED, 0, pair(&[0], None)),
        (STRUCTURED, 1, pair(&[0], None)),
    ];
    assert_eq!(read, zeros.map(|(id, n, data)| Entity::RegisterEntry(cell(id, index(n), data))));

    for (given, stored) in [
        (pair(&[0xff, 0x9d], Some([&[0, 4], &[1, 0]])), pair(&[0x9d], Some([&[4], &[1, 0]]))),
        (pair(&[0xfd, 0x1d], None), pair(&[0xfd, 0x1d], None)),
        (pair(&[0x00, 0x63], None), pair(&[0x63], None)),
        (pair(&[0x00, 0x9d], None), pair(&[0x00, 0x9d], None)),
        (pair(&[0xff, 0xff, 0xff], None), pair(&[0xff], None)),
        (pair(&[0, 0], None), pair(&[0], None)),
    ] {
        controller.try_write(Type::Modify, cell(STRUCTURED, index(1), given.clone())).await.unwrap();
        let read = controller.read(cell(STRUCTURED, index(1), None)).await.unwrap();
        assert_eq!(read, [Entity::RegisterEntry(cell(STRUCTURED, index(1), stored))], "{given:?}");
    }
    controller.try_write(Type::Modify, cell(PLAIN, None, bits(&[0, 7]))).await.unwrap();
    assert_eq!(
        controller.read(cell(PLAIN, index(2), None)).await.unwrap(),
        [Entity::RegisterEntry(cell(PLAIN, index(2), bits(&[7])))]
    );
    let one_field = proto::P4Header { is_valid: true, bitstrings: vec![vec![1]] };
    let one_field = proto::P4Data { data: Some(Data::Header(one_field)) };
    let number = proto::P4Data { data: Some(Data::Bitstring(vec![1])) };
    let half = Data::Struct(proto::P4StructLike { members: vec![number.clone(), one_field] });
    let short = Data::Struct(proto::P4StructLike { members: vec![number] });
    for (kind, entry, expected) in [
        (Type::Insert, cell(PLAIN, index(0), bits(&[1])), Code::InvalidArgument),
        (Type::Delete, cell(PLAIN, index(0), None), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(0), None), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(0), bits(&[0x10, 0])), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(0), bits(&[])), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(0), pair(&[1], None)), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(-1), bits(&[1])), Code::InvalidArgument),
        (Type::Modify, cell(PLAIN, index(4), bits(&[1])), Code::OutOfRange),
        (Type::Modify, cell(0x1600_ffff, index(0), bits(&[1])), Code::InvalidArgument),
        (Type::Modify, cell(STRUCTURED, index(0), pair(&[0x08, 0x00], None)), Code::InvalidArgument),
        (Type::Modify, cell(STRUCTURED, index(0), pair(&[1], Some([&[0x10], &[1]]))), Code::InvalidArgument),
        (
            Type::Modify,
            cell(STRUCTURED, index(0), Some(proto::P4Data { data: Some(half) })),
            Code::InvalidArgument,
        ),
        (
            Type::Modify,
            cell(STRUCTURED, index(0), Some(proto::P4Data { data: Some(short) })),
            Code::InvalidArgument,
        ),
        (Type::Modify, cell(STRUCTURED, index(0), Some(proto::P4Data::default())), Code::InvalidArgument),
    ] {
        assert_eq!(controller.try_write(kind, entry.clone()).await, Err(expected), "{entry:?}");
    }
    assert_eq!(controller.read(cell(PLAIN, index(4), None)).await, Err(Code::OutOfRange));
}

#[tokio::test]
async fn value_sets() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let member = |matches| proto::ValueSetMember { r#match: matches };
    let members = |members| proto::ValueSetEntry { value_set_id: VALUE_SET, members };
    assert_eq!(
        controller.read(members(Vec::new())).await.unwrap(),
        [Entity::ValueSetEntry(members(Vec::new()))]
    );
    let both = members(vec![
        member(vec![exact(1, &[0x22, 0xf3])]),
        member(vec![exact(1, &[0x22, 0xf3]), ternary(2, &[1], &[1])]),
    ]);
    controller.try_write(Type::Modify, both.clone()).await.unwrap();
    for query in [VALUE_SET, 0] {
        let query = proto::ValueSetEntry { value_set_id: query, members: Vec::new() };
        assert_eq!(controller.read(query).await.unwrap(), [Entity::ValueSetEntry(both.clone())]);
    }
    let nth = |n: u8| member(vec![exact(1, &[n])]);
    for (kind, entry, expected) in [
        (Type::Insert, both.clone(), Code::InvalidArgument),
        (Type::Delete, both.clone(), Code::InvalidArgument),
        (Type::Modify, members((0..4).map(nth).collect()), Code::ResourceExhausted),
        (Type::Modify, members(vec![nth(1), nth(1)]), Code::AlreadyExists),
        (Type::Modify, members(vec![member(Vec::new())]), Code::InvalidArgument),
        (Type::Modify, members(vec![member(vec![exact(1, &[1, 0, 0])])]), Code::OutOfRange),
        (Type::Modify, proto::ValueSetEntry { value_set_id: 9, members: Vec::new() }, Code::InvalidArgument),
    ] {
        assert_eq!(controller.try_write(kind, entry.clone()).await, Err(expected), "{entry:?}");
    }
    assert_eq!(controller.read(both.clone()).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(members(Vec::new())).await.unwrap(), [Entity::ValueSetEntry(both)]);
    controller.try_write(Type::Modify, members(Vec::new())).await.unwrap();
    assert_eq!(
        controller.read(members(Vec::new())).await.unwrap(),
        [Entity::ValueSetEntry(members(Vec::new()))]
    );
}

#[tokio::test]
async fn digests() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let config = |max_list_size| {
        let config = proto::digest_entry::Config { max_timeout_ns: 5, max_list_size, ack_timeout_ns: 7 };
        proto::DigestEntry { digest_id: DIGEST, config: Some(config) }
    };
    let all = proto::DigestEntry::default();
    assert_eq!(controller.try_write(Type::Modify, config(1)).await, Err(Code::NotFound));
    assert_eq!(controller.try_write(Type::Delete, config(1)).await, Err(Code::NotFound));
    assert_eq!(controller.read(all).await.unwrap(), []);
    controller.try_write(Type::Insert, config(1)).await.unwrap();
    assert_eq!(controller.try_write(Type::Insert, config(1)).await, Err(Code::AlreadyExists));
    controller.try_write(Type::Modify, config(2)).await.unwrap();
    assert_eq!(controller.try_write(Type::Modify, config(-2)).await, Err(Code::InvalidArgument));
    let unset = proto::DigestEntry { digest_id: DIGEST, config: None };
    assert_eq!(controller.try_write(Type::Modify, unset).await, Err(Code::InvalidArgument));
    for query in [all, unset] {
        assert_eq!(controller.read(query).await.unwrap(), [Entity::DigestEntry(config(2))]);
    }
    controller.try_write(Type::Delete, unset).await.unwrap();
    assert_eq!(controller.read(all).await.unwrap(), []);
    let unknown = proto::DigestEntry { digest_id: 0x1700_ffff, config: None };
    assert_eq!(controller.try_write(Type::Insert, unknown).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(unknown).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn externs_are_not_supported() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let entry = proto::ExternEntry { extern_type_id: 0x81, extern_id: 1, entry: None };
    assert_eq!(controller.try_write(Type::Insert, entry.clone()).await, Err(Code::Unimplemented));
    assert_eq!(controller.read(entry).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(proto::ExternEntry::default()).await, Ok(Vec::new()));
}
