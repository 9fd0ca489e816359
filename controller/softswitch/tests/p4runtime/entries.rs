//! Table entries: every rule of the standard's section 9.1.

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use outplane_p4runtime::p4::v1 as proto;
use proto::update::Type;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Controller, EVERYTHING};

/// Each entry is refused with the code when it is inserted.
async fn refused_inserts(controller: &mut Controller, cases: Vec<(&str, Code, proto::TableEntry)>) {
    for (what, expected, entry) in cases {
        assert_eq!(controller.try_write(Type::Insert, entry).await, Err(expected), "{what}");
    }
}

#[tokio::test]
async fn matches_have_the_standards_form() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let invalid = Code::InvalidArgument;
    let range_error = Code::OutOfRange;
    let wrong_kind = ternary(1, &[1], &[1]);
    let nothing = proto::FieldMatch { field_id: 1, field_match_type: None };
    let cases = vec![
        ("unknown table", invalid, entry(0x0200_ffff, vec![exact(1, &[1])], 0)),
        ("table 0", invalid, entry(0, vec![exact(1, &[1])], 0)),
        ("unknown field", invalid, entry(EXACT, vec![exact(1, &[1]), exact(2, &[1]), exact(3, &[1])], 0)),
        ("field given twice", invalid, entry(EXACT, vec![exact(1, &[1]), exact(1, &[1]), exact(2, &[1])], 0)),
        ("exact field left out", invalid, entry(EXACT, vec![exact(1, &[1])], 0)),
        ("another match kind", invalid, entry(EXACT, vec![wrong_kind, exact(2, &[1])], 0)),
        ("no match kind", invalid, entry(EXACT, vec![nothing, exact(2, &[1])], 0)),
        ("exact: too wide", range_error, entry(EXACT, vec![exact(1, &[2, 0]), exact(2, &[1])], 0)),
        ("exact: empty", range_error, entry(EXACT, vec![exact(1, &[]), exact(2, &[1])], 0)),
        ("lpm: bits beyond", invalid, entry(LPM, vec![exact(1, &[1]), lpm(2, &[10, 0, 0, 1], 8)], 0)),
        ("lpm: length 0", invalid, entry(LPM, vec![exact(1, &[1]), lpm(2, &[0], 0)], 0)),
        ("lpm: length 33", invalid, entry(LPM, vec![exact(1, &[1]), lpm(2, &[0], 33)], 0)),
        ("lpm: negative", invalid, entry(LPM, vec![exact(1, &[1]), lpm(2, &[0], -1)], 0)),
        ("lpm: too wide", range_error, entry(LPM, vec![exact(1, &[1]), lpm(2, &[1, 0, 0, 0, 0], 8)], 0)),
        ("ternary: zero mask", invalid, entry(TERNARY, vec![ternary(1, &[0], &[0])], 1)),
        ("ternary: outside mask", invalid, entry(TERNARY, vec![ternary(1, &[3], &[1])], 1)),
        ("ternary: wide mask", range_error, entry(TERNARY, vec![ternary(1, &[1], &[0x1f, 0xff])], 1)),
        ("ternary: empty value", range_error, entry(TERNARY, vec![ternary(1, &[], &[1])], 1)),
        ("ternary: empty mask", range_error, entry(TERNARY, vec![ternary(1, &[1], &[])], 1)),
        ("range: backwards", invalid, entry(RANGE, vec![range(2, &[9], &[8])], 1)),
        ("range: everything", invalid, entry(RANGE, vec![range(2, &[0], &[0xff, 0xff])], 1)),
        ("range: too wide", range_error, entry(RANGE, vec![range(2, &[1], &[1, 0, 0])], 1)),
        (
            "optional: too wide",
            range_error,
            entry(OPTIONAL, vec![optional(1, &[1, 0, 0]), exact(2, &[1])], 1),
        ),
        ("priority missing", invalid, entry(TERNARY, vec![ternary(1, &[1], &[1])], 0)),
        ("priority negative", invalid, entry(TERNARY, vec![ternary(1, &[1], &[1])], -5)),
        ("priority missing, range", invalid, entry(RANGE, vec![range(2, &[1], &[2])], 0)),
        ("priority missing, optional", invalid, entry(OPTIONAL, vec![exact(2, &[1])], 0)),
        ("priority too many", invalid, entry(LPM, vec![exact(1, &[1])], 1)),
        ("keyless", invalid, entry(KEYLESS, Vec::new(), 0)),
    ];
    refused_inserts(&mut controller, cases).await;
    assert_eq!(controller.read_entries(proto::TableEntry::default()).await.unwrap(), []);
}

#[tokio::test]
async fn numbers_come_in_any_length_and_go_out_in_the_shortest() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let wide = |value: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, value];
    let given = proto::TableEntry {
        action: does(action(SET, &[(1, &wide(9))])),
        ..entry(TERNARY, vec![ternary(2, &wide(0), &wide(4)), ternary(1, &wide(1), &[0, 3])], 5)
    };
    controller.try_write(Type::Insert, given).await.unwrap();
    let canonical = proto::TableEntry {
        action: does(set(9)),
        ..entry(TERNARY, vec![ternary(1, &[1], &[3]), ternary(2, &[0], &[4])], 5)
    };
    assert_eq!(controller.read_entries(table(TERNARY)).await.unwrap(), std::slice::from_ref(&canonical));
    // It is the same entry, however it is written.
    assert_eq!(controller.try_write(Type::Insert, canonical.clone()).await, Err(Code::AlreadyExists));
    controller.try_write(Type::Delete, canonical).await.unwrap();
    assert_eq!(controller.read_entries(table(TERNARY)).await.unwrap(), []);
}

#[tokio::test]
async fn actions_are_the_tables_and_complete() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let with = |action: Option<proto::TableAction>| proto::TableEntry {
        action,
        ..entry(EXACT, vec![exact(1, &[1]), exact(2, &[2])], 0)
    };
    let call = |id, params: &[(u32, &[u8])]| with(does(action(id, params)));
    let cases = vec![
        ("no action", Code::InvalidArgument, with(None)),
        ("empty action", Code::InvalidArgument, with(Some(proto::TableAction { r#type: None }))),
        ("unknown action", Code::InvalidArgument, call(0x0100_ffff, &[])),
        ("another table's action", Code::InvalidArgument, call(GROUP_ONLY, &[(1, &[1])])),
        ("default-only action", Code::PermissionDenied, call(DEFAULT_ONLY, &[])),
        ("missing parameter", Code::InvalidArgument, call(SET, &[])),
        ("parameter given twice", Code::InvalidArgument, call(SET, &[(1, &[1]), (1, &[1])])),
        ("unknown parameter", Code::InvalidArgument, call(SET, &[(1, &[1]), (2, &[1])])),
        ("parameter too wide", Code::OutOfRange, call(SET, &[(1, &[2, 0])])),
        ("empty parameter", Code::OutOfRange, call(SET, &[(1, &[])])),
        ("member in a direct table", Code::InvalidArgument, with(member(1))),
        ("group in a direct table", Code::InvalidArgument, with(group(1))),
        ("set in a direct table", Code::InvalidArgument, with(one_shot(Default::default()))),
    ];
    refused_inserts(&mut controller, cases).await;
    controller.try_write(Type::Insert, call(ENTRY_ONLY, &[])).await.unwrap();
    controller.try_write(Type::Modify, call(SET, &[(1, &[1, 0xff])])).await.unwrap();
    let refused = controller.try_write(Type::Modify, call(SET, &[(1, &[2, 0])])).await;
    assert_eq!(refused, Err(Code::OutOfRange));
}

#[tokio::test]
async fn entries_come_change_and_go() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let first = proto::TableEntry {
        metadata: vec![1, 2],
        controller_metadata: 77,
        ..entry(TERNARY, vec![ternary(1, &[1], &[1])], 5)
    };
    let other_priority = proto::TableEntry { priority: 6, ..first.clone() };
    let other_mask = entry(TERNARY, vec![ternary(1, &[1], &[3])], 5);
    for unknown in [Type::Modify, Type::Delete] {
        assert_eq!(controller.try_write(unknown, first.clone()).await, Err(Code::NotFound));
    }
    controller.try_write(Type::Insert, first.clone()).await.unwrap();
    assert_eq!(controller.try_write(Type::Insert, first.clone()).await, Err(Code::AlreadyExists));
    for unknown in [&other_priority, &other_mask] {
        assert_eq!(controller.try_write(Type::Delete, unknown.clone()).await, Err(Code::NotFound));
        controller.try_write(Type::Insert, unknown.clone()).await.unwrap();
    }
    let all = [first.clone(), other_priority.clone(), other_mask.clone()];
    assert_eq!(controller.read_entries(table(TERNARY)).await.unwrap(), all);

    // A modification is a whole new state.
    let modified = proto::TableEntry {
        action: does(set(2)),
        metadata: Vec::new(),
        controller_metadata: 0,
        ..first.clone()
    };
    controller.try_write(Type::Modify, modified.clone()).await.unwrap();
    // Without an action it is none.
    controller.try_write(Type::Modify, proto::TableEntry { action: None, ..first.clone() }).await.unwrap();
    let all = [modified, other_priority, other_mask];
    assert_eq!(controller.read_entries(table(TERNARY)).await.unwrap(), all);

    // What is not the key is ignored by a deletion, however wrong it is.
    let nonsense = proto::TableEntry {
        action: does(action(0x0100_ffff, &[])),
        idle_timeout_ns: 5,
        meter_config: Some(proto::MeterConfig::default()),
        ..first
    };
    controller.try_write(Type::Delete, nonsense).await.unwrap();
    assert_eq!(controller.read_entries(table(TERNARY)).await.unwrap(), all[1..]);
    assert_eq!(controller.try_write(Type::Unspecified, all[1].clone()).await, Err(Code::InvalidArgument));
}

#[tokio::test]
async fn a_table_holds_its_size() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let nth = |n: u8| entry(EXACT, vec![exact(1, &[n]), exact(2, &[1])], 0);
    for n in 0..8 {
        controller.try_write(Type::Insert, nth(n)).await.unwrap();
    }
    assert_eq!(controller.try_write(Type::Insert, nth(8)).await, Err(Code::ResourceExhausted));
    assert_eq!(controller.try_write(Type::Insert, nth(7)).await, Err(Code::AlreadyExists));
    controller.try_write(Type::Modify, nth(7)).await.unwrap();
    controller.try_write(Type::Delete, nth(0)).await.unwrap();
    controller.try_write(Type::Insert, nth(8)).await.unwrap();
}

#[tokio::test]
async fn memory_is_bounded() {
    use outplane_softswitch::server::{Config, PacketIo};
    use outplane_softswitch::state::Limits;
    let limits = Limits { bytes: 4000, ..Limits::default() };
    let bed = Bed::with(Config::new(crate::support::DEVICE), limits, PacketIo::default()).await;
    let mut controller = bed.ready(EVERYTHING).await;
    let with = |n: u8, metadata| proto::TableEntry {
        metadata: vec![0; metadata],
        ..entry(EXACT, vec![exact(1, &[n]), exact(2, &[1])], 0)
    };
    controller.try_write(Type::Insert, with(1, 3000)).await.unwrap();
    assert_eq!(controller.try_write(Type::Insert, with(2, 3000)).await, Err(Code::ResourceExhausted));
    assert_eq!(controller.try_write(Type::Modify, with(1, 5000)).await, Err(Code::ResourceExhausted));
    controller.try_write(Type::Modify, with(1, 10)).await.unwrap();
    controller.try_write(Type::Insert, with(2, 3000)).await.unwrap();
    controller.try_write(Type::Delete, with(2, 0)).await.unwrap();
    controller.try_write(Type::Insert, with(3, 3000)).await.unwrap();
}

#[tokio::test]
async fn default_entries_can_be_modified_and_nothing_else() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let port = |n| does(set(n));
    let default = |table, action| default_entry(table, action);
    let cases = [
        (Type::Insert, default(LPM, port(1)), Code::InvalidArgument),
        (Type::Delete, default(LPM, None), Code::InvalidArgument),
        (Type::Modify, proto::TableEntry { priority: 1, ..default(LPM, port(1)) }, Code::InvalidArgument),
        (
            Type::Modify,
            proto::TableEntry { r#match: vec![exact(1, &[1])], ..default(LPM, port(1)) },
            Code::InvalidArgument,
        ),
        (Type::Modify, default(LPM, does(action(ENTRY_ONLY, &[]))), Code::PermissionDenied),
        (Type::Modify, default(LPM, does(action(0x0100_ffff, &[]))), Code::InvalidArgument),
        (Type::Modify, default(LPM, member(1)), Code::InvalidArgument),
        (
            Type::Modify,
            proto::TableEntry { idle_timeout_ns: 1, ..default(AGING, port(1)) },
            Code::InvalidArgument,
        ),
        (Type::Modify, default(CONST_DEFAULT, port(1)), Code::PermissionDenied),
        (Type::Modify, default(CONST_DEFAULT, None), Code::PermissionDenied),
        (Type::Modify, default(INDIRECT, port(1)), Code::PermissionDenied),
        (Type::Modify, proto::TableEntry { is_const: true, ..default(LPM, port(1)) }, Code::InvalidArgument),
    ];
    for (kind, entry, expected) in cases {
        assert_eq!(controller.try_write(kind, entry.clone()).await, Err(expected), "{entry:?}");
    }
    for action in [port(5), does(action(DEFAULT_ONLY, &[]))] {
        let given = proto::TableEntry { metadata: vec![9], ..default(LPM, action) };
        controller.try_write(Type::Modify, given.clone()).await.unwrap();
        assert_eq!(controller.read_entries(default(LPM, None)).await.unwrap(), [given]);
    }
    // Default entries are no entries of the table.
    assert_eq!(controller.read_entries(table(LPM)).await.unwrap(), []);
    // Without an action it is reset, metadata and all.
    controller
        .try_write(Type::Modify, proto::TableEntry { metadata: vec![8], ..default(LPM, None) })
        .await
        .unwrap();
    let reset = default(LPM, does(action(NO_ACTION, &[])));
    assert_eq!(controller.read_entries(default(LPM, None)).await.unwrap(), [reset]);
    controller.try_write(Type::Modify, default(INITIAL, port(1))).await.unwrap();
    controller.try_write(Type::Modify, default(INITIAL, None)).await.unwrap();
    assert_eq!(controller.read_entries(default(INITIAL, None)).await.unwrap(), [default(INITIAL, port(7))]);
    // A table without a key has its default entry and no other.
    controller.try_write(Type::Modify, default(KEYLESS, port(3))).await.unwrap();
    assert_eq!(controller.read_entries(default(KEYLESS, None)).await.unwrap(), [default(KEYLESS, port(3))]);
}

#[tokio::test]
async fn constant_tables_are_the_programs() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let constant = entry(CONSTANT, vec![exact(1, &[1])], 0);
    for kind in [Type::Insert, Type::Modify, Type::Delete] {
        assert_eq!(controller.try_write(kind, constant.clone()).await, Err(Code::PermissionDenied));
    }
    // Direct resources could be modified, if there were an entry.
    let counter = proto::TableEntry { action: None, counter_data: counted(1, 1), ..constant };
    assert_eq!(controller.try_write(Type::Modify, counter).await, Err(Code::NotFound));
    let is_const = proto::TableEntry { is_const: true, ..entry(LPM, vec![exact(1, &[1])], 0) };
    for kind in [Type::Insert, Type::Modify, Type::Delete] {
        assert_eq!(controller.try_write(kind, is_const.clone()).await, Err(Code::InvalidArgument));
    }
}

#[tokio::test]
async fn entries_of_both_prefix_and_mask_have_a_priority() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let short = entry(BOTH, vec![lpm(1, &[10, 0, 0, 0], 8)], 9);
    let long = entry(BOTH, vec![lpm(1, &[10, 0, 0, 0], 24)], 3);
    controller.try_write(Type::Insert, long).await.unwrap();
    controller.try_write(Type::Insert, short).await.unwrap();
    let state = bed.state.read();
    let found = state.lookup(BOTH, &[0x0a00_0001, 4]).unwrap();
    assert!(found.is_hit());
    assert_eq!(found.entry().priority, 9);
}
