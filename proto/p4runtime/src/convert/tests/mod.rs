use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed};
use prost::Message;

use super::*;
use crate::entry::{Counter, MeterCell, MulticastGroup};
use random::{Numbers, disguise, entries};

mod random;

/// Ours, and one with all match kinds and odd objects.
static SCHEMAS: LazyLock<[Schema; 2]> = LazyLock::new(|| {
    [outplane_p4::P4INFO, include_str!("../../../tests/data/everything.p4info.txt")]
        .map(|text| Schema::from_text(text).unwrap())
});

fn outplane() -> &'static Schema {
    &SCHEMAS[0]
}

fn everything() -> &'static Schema {
    &SCHEMAS[1]
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..Config::default() }
}

fn byte_strings(entry: &v1::TableEntry) -> Vec<&[u8]> {
    let mut strings: Vec<&[u8]> = Vec::new();
    for field in &entry.r#match {
        match field.field_match_type.as_ref().unwrap() {
            FieldMatchType::Exact(exact) => strings.push(&exact.value),
            FieldMatchType::Optional(optional) => strings.push(&optional.value),
            FieldMatchType::Lpm(lpm) => strings.push(&lpm.value),
            FieldMatchType::Ternary(ternary) => strings.extend([&ternary.value[..], &ternary.mask]),
            FieldMatchType::Range(range) => strings.extend([&range.low[..], &range.high]),
            FieldMatchType::Other(_) => unreachable!("nothing makes it"),
        }
    }
    if let Some(v1::table_action::Type::Action(action)) = &entry.action.as_ref().unwrap().r#type {
        strings.extend(action.params.iter().map(|param| &param.value[..]));
    }
    strings
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn entry_round_trip((schema, entry) in entries()) {
        schema.check_entry(&entry).unwrap();
        let wire = schema.entry_to_proto(&entry);
        prop_assert!(byte_strings(&wire).into_iter().all(bytestring::is_canonical));
        // Through the bytes of the wire, too.
        let wire = v1::TableEntry::decode(wire.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(schema.entry_from_proto(&wire).unwrap(), entry.clone());
        prop_assert_eq!(schema.key_from_proto(&schema.key_to_proto(&entry.key)).unwrap(), entry.key.clone());
        prop_assert!(schema.describe(&entry).starts_with(&schema.table(entry.key.table).unwrap().alias));
    }

    #[test]
    fn other_forms_are_accepted(
        (schema, entry) in entries(),
        numbers in proptest::collection::vec(any::<u128>(), 128),
    ) {
        let mut wire = schema.entry_to_proto(&entry);
        disguise(schema, &mut wire, &mut Numbers(numbers.into_iter()));
        prop_assert_eq!(schema.entry_from_proto(&wire).unwrap(), entry);
    }

    #[test]
    fn hostile_entries_never_panic(
        (schema, entry) in entries(),
        edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = schema.entry_to_proto(&entry).encode_to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(wire) = v1::TableEntry::decode(bytes.as_slice()) {
            // What is accepted is in its one form.
            if let Ok(read) = schema.entry_from_proto(&wire) {
                schema.check_entry(&read).unwrap();
            }
            let _ = schema.default_entry_from_proto(&wire);
        }
    }

    #[test]
    fn groups_and_cells_round_trip(
        id in 1u32.., ports in proptest::collection::btree_set(any::<u32>(), 0..20),
        index in 0i64..32, rates in any::<[u32; 4]>(),
    ) {
        let schema = everything();
        let group = MulticastGroup { id, ports: ports.into_iter().collect() };
        let mut wire = schema.multicast_group_to_proto(&group);
        prop_assert_eq!(schema.multicast_group_from_proto(&wire).unwrap(), group.clone());
        wire.replicas.reverse();
        prop_assert_eq!(schema.multicast_group_from_proto(&wire).unwrap(), group);
        let [cir, cburst, pir, pburst] = rates.map(i64::from);
        let meter = schema.meter_by_name("limiter").unwrap().id;
        let cell = MeterCell { meter, index, cir, cburst, pir, pburst };
        prop_assert_eq!(schema.meter_cell_from_proto(&schema.meter_cell_to_proto(&cell)).unwrap(), Some(cell));
        prop_assert_eq!(schema.meter_cell_from_proto(&schema.meter_reset_to_proto(meter, index)).unwrap(), None);
    }
}

/// An entry of table `acl`: exact `ingress` and an optional `vlan`, action `forward`.
fn acl_entry() -> Entry {
    let schema = everything();
    let table = schema.table_by_name("acl").unwrap();
    let field = |name: &str| table.field_by_name(name).unwrap().id;
    Entry {
        key: Key {
            table: table.id,
            matches: vec![
                FieldMatch { field: field("src"), matches: Match::Ternary { value: 0xa0, mask: 0xf0 } },
                FieldMatch { field: field("port"), matches: Match::Range { low: 80, high: 443 } },
                FieldMatch { field: field("vlan"), matches: Match::Optional(7) },
                FieldMatch { field: field("ingress"), matches: Match::Exact(300) },
                FieldMatch { field: field("dst"), matches: Match::Lpm { value: 0xfd << 120, prefix_len: 8 } },
            ],
            priority: 10,
        },
        action: Action {
            id: schema.action_by_name("forward").unwrap().id,
            params: vec![(1, 5), (2, 0x0200_0000_0001)],
        },
        metadata: b"mine".to_vec(),
    }
}

#[test]
fn on_the_wire() {
    let schema = everything();
    let wire = schema.entry_to_proto(&acl_entry());
    let strings = byte_strings(&wire);
    let expected: [&[u8]; 9] = [
        &[0xa0],
        &[0xf0],
        &[80],
        &[1, 187],
        &[7],
        &[1, 44],
        &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[5],
        &[2, 0, 0, 0, 0, 1],
    ];
    assert_eq!(strings, expected);
    assert_eq!((wire.priority, wire.is_default_action, &wire.metadata[..]), (10, false, &b"mine"[..]));
    let key = schema.key_to_proto(&acl_entry().key);
    assert_eq!((key.action, key.metadata, key.r#match), (None, vec![], wire.r#match));
}

/// Every way to spoil an entry, and what is said about it.
#[test]
fn spoilt_entries_are_refused() {
    type Spoil = fn(&mut v1::TableEntry);
    fn set(entry: &mut v1::TableEntry, at: usize, kind: FieldMatchType) {
        entry.r#match[at].field_match_type = Some(kind);
    }
    fn action(entry: &mut v1::TableEntry) -> &mut v1::Action {
        match entry.action.as_mut().unwrap().r#type.as_mut().unwrap() {
            v1::table_action::Type::Action(action) => action,
            other => panic!("{other:?}"),
        }
    }
    let cases: &[(&str, Spoil)] = &[
        ("the P4Info has no table with id 0", |e| e.table_id = 0),
        ("table acl has no match field with id 99", |e| e.r#match[0].field_id = 99),
        ("match field src of table acl is given twice", |e| e.r#match.push(e.r#match[0].clone())),
        ("match field src of table acl is given twice", |e| {
            // Also where one of the two says nothing.
            let mut dont_care = e.r#match[0].clone();
            dont_care.field_match_type = Some(FieldMatchType::Ternary(v1::field_match::Ternary::default()));
            e.r#match.push(dont_care);
        }),
        ("match field ingress of table acl is missing", |e| {
            e.r#match.remove(3);
        }),
        ("match field src of table acl is matched as nothing, but its match kind is ternary", |e| {
            e.r#match[0].field_match_type = None;
        }),
        ("match field ingress of table acl is matched as optional, but its match kind is exact", |e| {
            set(e, 3, FieldMatchType::Optional(v1::field_match::Optional { value: vec![1] }));
        }),
        ("match field ingress of table acl: the value needs 10 bits, but there is room for 9", |e| {
            set(e, 3, FieldMatchType::Exact(v1::field_match::Exact { value: vec![2, 0] }));
        }),
        ("match field ingress of table acl: the byte string is empty", |e| {
            set(e, 3, FieldMatchType::Exact(v1::field_match::Exact { value: vec![] }));
        }),
        ("match field vlan of table acl: the byte string is empty", |e| {
            set(e, 2, FieldMatchType::Optional(v1::field_match::Optional { value: vec![] }));
        }),
        ("match field src of table acl: the value needs 129 bits", |e| {
            set(
                e,
                0,
                FieldMatchType::Ternary(v1::field_match::Ternary { value: vec![0], mask: vec![1; 17] }),
            );
        }),
        ("match field port of table acl: the value needs 17 bits", |e| {
            set(e, 1, FieldMatchType::Range(v1::field_match::Range { low: vec![0], high: vec![1, 0, 0] }));
        }),
        ("match field port of table acl: the range 9..=8 is empty", |e| {
            set(e, 1, FieldMatchType::Range(v1::field_match::Range { low: vec![9], high: vec![8] }));
        }),
        ("match field dst of table acl has the prefix length 129; it is 128 bits wide", |e| {
            set(e, 4, FieldMatchType::Lpm(v1::field_match::Lpm { value: vec![1], prefix_len: 129 }));
        }),
        ("match field dst of table acl has the prefix length -1", |e| {
            set(e, 4, FieldMatchType::Lpm(v1::field_match::Lpm { value: vec![1], prefix_len: -1 }));
        }),
        ("match field dst of table acl has the prefix length 264", |e| {
            set(e, 4, FieldMatchType::Lpm(v1::field_match::Lpm { value: vec![1], prefix_len: 264 }));
        }),
        ("table acl: the priority 0 is wrong: a table with ternary", |e| e.priority = 0),
        ("table acl: the priority -5 is wrong", |e| e.priority = -5),
        ("table acl: a default entry has no key", |e| e.is_default_action = true),
        ("table acl: the entry has no action", |e| e.action = None),
        ("table acl: its action is empty", |e| e.action.as_mut().unwrap().r#type = None),
        ("table acl: its action comes from an action profile", |e| {
            let member = v1::table_action::Type::ActionProfileMemberId(1);
            e.action.as_mut().unwrap().r#type = Some(member);
        }),
        ("the P4Info has no action with id 16777999", |e| action(e).action_id = 16_777_999),
        ("table acl: action tag is not among those", |e| {
            *action(e) = v1::Action { action_id: 16_777_220, params: vec![] };
        }),
        ("table acl: action NoAction is not among those that its entries may use", |e| {
            *action(e) = v1::Action { action_id: 16_777_219, params: vec![] };
        }),
        ("parameter mac of action forward is missing", |e| {
            action(e).params.pop();
        }),
        ("parameter port of action forward is given twice", |e| {
            action(e).params[1] = action(e).params[0].clone();
        }),
        ("action forward has no parameter with id 3", |e| action(e).params[1].param_id = 3),
        ("parameter port of action forward: the value needs 10 bits", |e| {
            action(e).params[0].value = vec![3, 0];
        }),
        ("parameter port of action forward: the byte string is empty", |e| {
            action(e).params[0].value.clear();
        }),
    ];
    let schema = everything();
    for (expected, spoil) in cases {
        let mut wire = schema.entry_to_proto(&acl_entry());
        spoil(&mut wire);
        let error = schema.entry_from_proto(&wire).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn fields_without_a_form_are_refused_and_not_more() {
    let schema = everything();
    let wide = schema.table_by_name("wide").unwrap();
    let exact = |field_id, value| v1::FieldMatch {
        field_id,
        field_match_type: Some(FieldMatchType::Exact(v1::field_match::Exact { value })),
    };
    for (field, expected) in [
        (
            exact(1, vec![1; 32]),
            "match field digest of table wide is 256 bits wide; only numbers of at most 128",
        ),
        (exact(2, b"red".to_vec()), "match field label of table wide is of strings; only numbers"),
        (
            exact(4, vec![1]),
            "match field odd of table wide is matched as exact, but its match kind is one that",
        ),
    ] {
        let entry = v1::TableEntry { table_id: wide.id, r#match: vec![field], ..Default::default() };
        let error = schema.key_from_proto(&entry).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // A priority in a table of exact and LPM fields.
    let route = schema.table_by_name("route").unwrap();
    let entry = v1::TableEntry {
        table_id: route.id,
        r#match: vec![exact(1, vec![1])],
        priority: 3,
        ..Default::default()
    };
    let error = schema.key_from_proto(&entry).unwrap_err().to_string();
    assert!(
        error.contains("table route: the priority 3 is wrong: a table of exact and LPM fields wants none"),
        "{error}"
    );
}

#[test]
fn entries_out_of_their_one_form_are_found() {
    type Spoil = fn(&mut Entry);
    let cases: &[(&str, Spoil)] = &[
        ("one form", |e| e.key.matches.swap(0, 1)),
        ("one form", |e| e.key.matches[0].matches = Match::Ternary { value: 0xff, mask: 0xf0 }),
        ("one form", |e| e.key.matches[0].matches = Match::Ternary { value: 0, mask: 0 }),
        ("one form", |e| e.key.matches[1].matches = Match::Range { low: 0, high: 0xffff }),
        ("one form", |e| e.key.matches[4].matches = Match::Lpm { value: 1, prefix_len: 8 }),
        ("one form", |e| e.action.params.swap(0, 1)),
        ("needs 10 bits", |e| e.key.matches[3].matches = Match::Exact(512)),
        ("is missing", |e| e.action.params.clear()),
        ("has no table", |e| e.key.table = 1),
    ];
    everything().check_entry(&acl_entry()).unwrap();
    for (expected, spoil) in cases {
        let mut entry = acl_entry();
        spoil(&mut entry);
        let error = everything().check_entry(&entry).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn default_entries() {
    let schema = outplane();
    let table = schema.table_by_name("policy_version").unwrap().id;
    let set_version = schema.action_by_name("set_version").unwrap().id;
    for action in [None, Some(Action { id: set_version, params: vec![(1, 200)] })] {
        let entry = DefaultEntry { table, action };
        let wire = schema.default_entry_to_proto(&entry);
        assert!(wire.is_default_action && wire.r#match.is_empty() && wire.priority == 0);
        assert_eq!(schema.default_entry_from_proto(&wire), Ok(entry));
    }
    let schema = everything();
    let route = schema.table_by_name("route").unwrap();
    let action = |id| Some(Action { id, params: vec![] });
    let default = |action| schema.default_entry_to_proto(&DefaultEntry { table: route.id, action });
    schema.default_entry_from_proto(&default(action(16_777_219))).unwrap();
    let exact = FieldMatch { field: 1, matches: Match::Exact(1) };
    for (wire, expected) in [
        (default(action(16_777_218)), "table route: action drop is not among those that may be its default"),
        (v1::TableEntry { priority: 1, ..default(None) }, "a default entry has priority 0"),
        (
            v1::TableEntry { r#match: vec![match_to_proto(&exact)], ..default(None) },
            "a default entry has no matches",
        ),
        (v1::TableEntry { is_default_action: false, ..default(None) }, "the entry is not the default entry"),
        (v1::TableEntry { table_id: 9, ..default(None) }, "the P4Info has no table with id 9"),
    ] {
        let error = schema.default_entry_from_proto(&wire).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn multicast_groups() {
    use v1::replica::PortKind;
    let schema = outplane();
    let replica = |port_kind| v1::Replica { port_kind: Some(port_kind), ..Default::default() };
    let group = |id, replicas| v1::MulticastGroupEntry { multicast_group_id: id, replicas, metadata: vec![] };
    #[expect(deprecated, reason = "older servers send it")]
    let old = PortKind::EgressPort(3);
    let padded = PortKind::Port(vec![0, 0, 0, 0, 0, 1]);
    let read = schema.multicast_group_from_proto(&group(7, vec![replica(old.clone()), replica(padded)]));
    assert_eq!(read, Ok(MulticastGroup { id: 7, ports: vec![1, 3] }));

    let with_backup = v1::Replica {
        backup_replicas: vec![v1::BackupReplica { port: vec![9], instance: 0 }],
        ..replica(old.clone())
    };
    for (wire, expected) in [
        (group(0, vec![]), "multicast group 0: 0 is no group"),
        (group(1, vec![v1::Replica::default()]), "a port of multicast group 1 is missing"),
        (
            group(1, vec![replica(PortKind::Port(vec![]))]),
            "a port of multicast group 1: the byte string is empty",
        ),
        (
            group(1, vec![replica(PortKind::Port(vec![1; 5]))]),
            "the value needs 33 bits, but there is room for 32",
        ),
        (
            group(1, vec![replica(old.clone()), replica(PortKind::Port(vec![3]))]),
            "more than one replica for the same port",
        ),
        (group(1, vec![with_backup]), "backup replicas have no form"),
    ] {
        let error = schema.multicast_group_from_proto(&wire).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }
}

#[test]
fn meter_cells_and_counters() {
    let schema = everything();
    let cell = MeterCell { meter: 335_544_321, index: 31, cir: 10, cburst: 1, pir: 20, pburst: 2 };
    let wire = schema.meter_cell_to_proto(&cell);
    let edit = |edit: fn(&mut v1::MeterEntry)| {
        let mut wire = wire;
        edit(&mut wire);
        wire
    };
    for (wire, expected) in [
        (edit(|m| m.meter_id = 1), "the P4Info has no meter with id 1"),
        (edit(|m| m.meter_id = 352_321_537), "meter route_meter: it is a direct meter"),
        (edit(|m| m.index = None), "meter limiter: the index is missing"),
        (edit(|m| m.index = Some(v1::Index { index: 32 })), "meter limiter: the index is outside"),
        (edit(|m| m.index = Some(v1::Index { index: -1 })), "meter limiter: the index is outside"),
        (edit(|m| m.config.as_mut().unwrap().pir = -1), "rates and bursts cannot be negative"),
        (edit(|m| m.config.as_mut().unwrap().eburst = 1), "an excess burst has no form"),
    ] {
        let error = schema.meter_cell_from_proto(&wire).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }

    let data = v1::CounterData { byte_count: 1500, packet_count: 1 };
    let counter = Counter { packets: 1, bytes: 1500 };
    assert_eq!((Counter::from(data), v1::CounterData::from(counter)), (counter, data));
    assert_eq!(Counter::from(v1::CounterData { byte_count: -1, packet_count: -1 }), Counter::default());
    let most = v1::CounterData::from(Counter { packets: u64::MAX, bytes: 0 });
    assert_eq!(most.packet_count, i64::MAX);
}

#[test]
fn described_for_people() {
    let schema = everything();
    assert_eq!(
        schema.describe(&acl_entry()),
        "acl priority 10: src=0xa0/0xf0, port=80..=443, vlan=7, ingress=300, \
         dst=0xfd000000000000000000000000000000/8 -> forward(port=5, mac=0x20000000001)"
    );
    let key = Key { table: 5, matches: vec![FieldMatch { field: 2, matches: Match::Exact(1) }], priority: 0 };
    assert_eq!(schema.describe_key(&key), "table-5: field-2=1");
    assert_eq!(schema.describe_action(&Action { id: 6, params: vec![(4, 1)] }), "action-6(param-4=1)");
    let full = Match::Ternary { value: 6, mask: 0xff };
    let protocol = outplane().table_by_name("filter_admin").unwrap();
    let field = protocol.field_by_name("protocol").unwrap().id;
    let key = Key { table: protocol.id, matches: vec![FieldMatch { field, matches: full }], priority: 1 };
    assert_eq!(outplane().describe_key(&key), "filter_admin priority 1: protocol=6");
    let anything = Key { matches: vec![], ..key };
    assert_eq!(outplane().describe_key(&anything), "filter_admin priority 1: anything");
    let route = schema.table_by_name("route").unwrap().id;
    let default = DefaultEntry { table: route, action: None };
    assert_eq!(schema.describe_default(&default), "route default -> the program's own");
}
