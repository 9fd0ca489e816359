//! Action profiles and selectors: members, groups, one-shot sets.

use outplane_p4runtime::p4::v1 as proto;
use proto::action_profile_group::Member;
use proto::entity::Entity;
use proto::update::Type;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Boxed, Controller, EVERYTHING};

fn a_member(profile: u32, id: u32, action: Option<proto::Action>) -> proto::ActionProfileMember {
    proto::ActionProfileMember { action_profile_id: profile, member_id: id, action }
}

fn weighted(id: u32, weight: i32) -> Member {
    Member { member_id: id, weight, watch_kind: None }
}

fn a_group(profile: u32, id: u32, members: Vec<Member>, max_size: i32) -> proto::ActionProfileGroup {
    proto::ActionProfileGroup { action_profile_id: profile, group_id: id, members, max_size }
}

fn row(table: u32, n: u8, action: Option<proto::TableAction>) -> proto::TableEntry {
    proto::TableEntry { action, ..entry(table, vec![exact(1, &[n])], 0) }
}

fn choice(action: proto::Action, weight: i32) -> proto::ActionProfileAction {
    proto::ActionProfileAction { action: Some(action), weight, watch_kind: None }
}

fn a_set(actions: Vec<proto::ActionProfileAction>) -> proto::ActionProfileActionSet {
    proto::ActionProfileActionSet { action_profile_actions: actions, ..Default::default() }
}

async fn expect(controller: &mut Controller, cases: Vec<(&str, Type, Boxed, Result<(), Code>)>) {
    for (what, kind, entity, expected) in cases {
        let outcome = controller.write(kind, entity.0).await.map_err(|(code, _)| code);
        assert_eq!(outcome, expected, "{what}");
    }
}

#[tokio::test]
async fn members() {
    use Type::{Delete, Insert, Modify};
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let one = a_member(PROFILE, 1, Some(set(1)));
    let cases: Vec<(&str, Type, Boxed, Result<(), Code>)> = vec![
        ("unknown profile", Insert, a_member(9, 1, Some(set(1))).into(), Err(Code::InvalidArgument)),
        ("member 0", Insert, a_member(PROFILE, 0, Some(set(1))).into(), Err(Code::InvalidArgument)),
        ("no action", Insert, a_member(PROFILE, 1, None).into(), Err(Code::InvalidArgument)),
        (
            "not the table's",
            Insert,
            a_member(PROFILE, 1, Some(action(ENTRY_ONLY, &[]))).into(),
            Err(Code::InvalidArgument),
        ),
        (
            "default only",
            Insert,
            a_member(PROFILE, 1, Some(action(NO_ACTION, &[]))).into(),
            Err(Code::PermissionDenied),
        ),
        ("modify unknown", Modify, one.clone().into(), Err(Code::NotFound)),
        ("delete unknown", Delete, one.clone().into(), Err(Code::NotFound)),
        ("entry before its member", Insert, row(INDIRECT, 1, member(1)).into(), Err(Code::NotFound)),
        ("insert", Insert, one.clone().into(), Ok(())),
        ("insert again", Insert, one.clone().into(), Err(Code::AlreadyExists)),
        ("a second", Insert, a_member(PROFILE, 7, Some(action(DROP, &[]))).into(), Ok(())),
        ("one too many", Insert, a_member(PROFILE, 8, Some(set(1))).into(), Err(Code::ResourceExhausted)),
        ("entry", Insert, row(INDIRECT, 1, member(1)).into(), Ok(())),
        ("group in a profile", Insert, row(INDIRECT, 2, group(1)).into(), Err(Code::InvalidArgument)),
        (
            "set in a profile",
            Insert,
            row(INDIRECT, 2, one_shot(a_set(Vec::new()))).into(),
            Err(Code::InvalidArgument),
        ),
        ("action in a profile", Insert, row(INDIRECT, 2, does(set(1))).into(), Err(Code::InvalidArgument)),
        ("delete while used", Delete, one.clone().into(), Err(Code::FailedPrecondition)),
        ("modify while used", Modify, a_member(PROFILE, 1, Some(set(3))).into(), Ok(())),
        ("modify without action", Modify, a_member(PROFILE, 1, None).into(), Err(Code::InvalidArgument)),
        ("to an unknown member", Modify, row(INDIRECT, 1, member(9)).into(), Err(Code::NotFound)),
        ("to the other member", Modify, row(INDIRECT, 1, member(7)).into(), Ok(())),
        ("the other is used now", Delete, a_member(PROFILE, 7, None).into(), Err(Code::FailedPrecondition)),
        ("the first is free", Delete, a_member(PROFILE, 1, None).into(), Ok(())),
        ("entry gone", Delete, row(INDIRECT, 1, None).into(), Ok(())),
        ("the other is free", Delete, a_member(PROFILE, 7, None).into(), Ok(())),
        (
            "groups of a profile",
            Insert,
            a_group(PROFILE, 1, Vec::new(), 0).into(),
            Err(Code::InvalidArgument),
        ),
    ];
    expect(&mut controller, cases).await;
    assert_eq!(controller.read(proto::ActionProfileMember::default()).await.unwrap(), []);
}

#[tokio::test]
async fn groups() {
    use Type::{Delete, Insert, Modify};
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    for id in 1..=4 {
        controller.try_write(Insert, a_member(MEMBER_SELECTOR, id, Some(set(1)))).await.unwrap();
    }
    let g = |id, members: &[(u32, i32)], max_size| -> Boxed {
        let members = members.iter().map(|(id, weight)| weighted(*id, *weight)).collect();
        a_group(MEMBER_SELECTOR, id, members, max_size).into()
    };
    let watched = Member {
        watch_kind: Some(proto::action_profile_group::member::WatchKind::WatchPort(vec![1, 0, 0, 0, 0])),
        ..weighted(1, 1)
    };
    let cases: Vec<(&str, Type, Boxed, Result<(), Code>)> = vec![
        ("group 0", Insert, g(0, &[(1, 1)], 1), Err(Code::InvalidArgument)),
        ("max_size 0", Insert, g(1, &[(1, 1)], 0), Err(Code::InvalidArgument)),
        ("max_size too large", Insert, g(1, &[(1, 1)], 4), Err(Code::InvalidArgument)),
        ("max_size negative", Insert, g(1, &[(1, 1)], -1), Err(Code::InvalidArgument)),
        ("weight 0", Insert, g(1, &[(1, 0)], 3), Err(Code::InvalidArgument)),
        ("weight 101", Insert, g(1, &[(1, 101)], 3), Err(Code::InvalidArgument)),
        ("member twice", Insert, g(1, &[(1, 1), (1, 1)], 3), Err(Code::InvalidArgument)),
        ("unknown member", Insert, g(1, &[(1, 1), (9, 1)], 3), Err(Code::NotFound)),
        ("bad port", Insert, a_group(MEMBER_SELECTOR, 1, vec![watched], 3).into(), Err(Code::OutOfRange)),
        ("larger than max_size", Insert, g(1, &[(1, 1), (2, 1)], 1), Err(Code::ResourceExhausted)),
        ("modify unknown", Modify, g(1, &[(1, 1)], 3), Err(Code::NotFound)),
        ("delete unknown", Delete, g(1, &[], 0), Err(Code::NotFound)),
        ("insert", Insert, g(1, &[(1, 100), (2, 1), (3, 1)], 3), Ok(())),
        ("insert again", Insert, g(1, &[(1, 1)], 3), Err(Code::AlreadyExists)),
        (
            "more members than the selector has",
            Insert,
            g(2, &[(1, 1), (2, 1)], 3),
            Err(Code::ResourceExhausted),
        ),
        ("the last one", Insert, g(2, &[(4, 1)], 3), Ok(())),
        ("another max_size", Modify, g(1, &[(1, 1)], 2), Err(Code::InvalidArgument)),
        (
            "member in a group",
            Delete,
            a_member(MEMBER_SELECTOR, 3, None).into(),
            Err(Code::FailedPrecondition),
        ),
        ("fewer members", Modify, g(1, &[(1, 1)], 3), Ok(())),
        ("member out of the group", Delete, a_member(MEMBER_SELECTOR, 3, None).into(), Ok(())),
        ("entry of a group", Insert, row(MEMBERS, 1, group(1)).into(), Ok(())),
        ("entry of an unknown group", Insert, row(MEMBERS, 2, group(7)).into(), Err(Code::NotFound)),
        ("entry of a member", Insert, row(MEMBERS, 2, member(2)).into(), Ok(())),
        ("delete while used", Delete, g(1, &[], 0), Err(Code::FailedPrecondition)),
        (
            "set beside members",
            Insert,
            row(MEMBERS, 3, one_shot(a_set(vec![choice(set(1), 1)]))).into(),
            Err(Code::InvalidArgument),
        ),
        ("entry gone", Delete, row(MEMBERS, 1, None).into(), Ok(())),
        ("delete", Delete, g(1, &[], 0), Ok(())),
        ("empty group", Modify, g(2, &[], 3), Ok(())),
    ];
    expect(&mut controller, cases).await;
    let group = Entity::ActionProfileGroup(a_group(MEMBER_SELECTOR, 2, Vec::new(), 3));
    for query in [
        proto::ActionProfileGroup::default(),
        a_group(MEMBER_SELECTOR, 0, Vec::new(), 0),
        a_group(MEMBER_SELECTOR, 2, Vec::new(), 0),
    ] {
        assert_eq!(controller.read(query).await.unwrap(), std::slice::from_ref(&group));
    }
    assert_eq!(controller.read(a_group(0, 2, Vec::new(), 0)).await, Err(Code::InvalidArgument));
    assert_eq!(controller.read(a_group(77, 0, Vec::new(), 0)).await, Err(Code::InvalidArgument));
    let read = controller.read(a_member(MEMBER_SELECTOR, 4, None)).await.unwrap();
    assert_eq!(read, [Entity::ActionProfileMember(a_member(MEMBER_SELECTOR, 4, Some(set(1))))]);
}

#[tokio::test]
async fn one_shot_sets() {
    use Type::{Delete, Insert, Modify};
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let watch = |choice: proto::ActionProfileAction, port: &[u8]| proto::ActionProfileAction {
        watch_kind: Some(proto::action_profile_action::WatchKind::WatchPort(port.to_vec())),
        ..choice
    };
    let full = proto::ActionProfileActionSet {
        group_action: Some(action(GROUP_ONLY, &[(1, &[5])])),
        action_profile_actions: vec![
            watch(choice(set(1), 4), &[1]),
            choice(action(DROP, &[]), 3),
            choice(set(1), 3),
        ],
        ..Default::default()
    };
    let with = |set: proto::ActionProfileActionSet| -> Boxed { row(SELECTED, 1, one_shot(set)).into() };
    let simple = || a_set(vec![choice(set(1), 1)]);
    let group_action = |action| proto::ActionProfileActionSet { group_action: Some(action), ..simple() };
    let cases: Vec<(&str, Type, Boxed, Result<(), Code>)> = vec![
        ("weight 0", Insert, with(a_set(vec![choice(set(1), 0)])), Err(Code::InvalidArgument)),
        (
            "no action",
            Insert,
            with(a_set(vec![proto::ActionProfileAction { action: None, ..choice(set(1), 1) }])),
            Err(Code::InvalidArgument),
        ),
        (
            "default only",
            Insert,
            with(a_set(vec![choice(action(NO_ACTION, &[]), 1)])),
            Err(Code::PermissionDenied),
        ),
        (
            "group only",
            Insert,
            with(a_set(vec![choice(action(GROUP_ONLY, &[(1, &[1])]), 1)])),
            Err(Code::PermissionDenied),
        ),
        ("no group action", Insert, with(group_action(set(1))), Err(Code::PermissionDenied)),
        ("not the table's", Insert, with(group_action(action(ENTRY_ONLY, &[]))), Err(Code::InvalidArgument)),
        (
            "bad port",
            Insert,
            with(a_set(vec![watch(choice(set(1), 1), &[1, 0, 0, 0, 0])])),
            Err(Code::OutOfRange),
        ),
        ("larger than a group", Insert, with(a_set(vec![choice(set(1), 11)])), Err(Code::InvalidArgument)),
        (
            "random",
            Insert,
            with(proto::ActionProfileActionSet { action_selection_mode: 2, ..simple() }),
            Err(Code::Unimplemented),
        ),
        (
            "unknown mode",
            Insert,
            with(proto::ActionProfileActionSet { action_selection_mode: 9, ..simple() }),
            Err(Code::InvalidArgument),
        ),
        (
            "other semantics",
            Insert,
            with(proto::ActionProfileActionSet { size_semantics: 2, ..simple() }),
            Err(Code::Unimplemented),
        ),
        (
            "unknown semantics",
            Insert,
            with(proto::ActionProfileActionSet { size_semantics: 9, ..simple() }),
            Err(Code::InvalidArgument),
        ),
        (
            "hash and its own semantics",
            Insert,
            row(
                SELECTED,
                9,
                one_shot(proto::ActionProfileActionSet {
                    action_selection_mode: 1,
                    size_semantics: 1,
                    ..simple()
                }),
            )
            .into(),
            Ok(()),
        ),
        ("that one gone", Delete, row(SELECTED, 9, None).into(), Ok(())),
        ("insert", Insert, with(full.clone()), Ok(())),
        (
            "a member beside it",
            Insert,
            a_member(SELECTOR, 1, Some(set(1))).into(),
            Err(Code::InvalidArgument),
        ),
        ("a group beside it", Insert, a_group(SELECTOR, 1, Vec::new(), 1).into(), Err(Code::InvalidArgument)),
        ("a second full one", Insert, row(SELECTED, 2, one_shot(full.clone())).into(), Ok(())),
        (
            "more than the selector has",
            Insert,
            row(SELECTED, 3, one_shot(simple())).into(),
            Err(Code::ResourceExhausted),
        ),
        ("smaller", Modify, row(SELECTED, 2, one_shot(simple())).into(), Ok(())),
        ("room again", Insert, row(SELECTED, 3, one_shot(simple())).into(), Ok(())),
    ];
    expect(&mut controller, cases).await;
    let read = controller.read_entries(row(SELECTED, 1, None)).await.unwrap();
    assert_eq!(read, [row(SELECTED, 1, one_shot(full))]);
    let cases: Vec<(&str, Type, Boxed, Result<(), Code>)> = vec![
        ("gone", Delete, row(SELECTED, 1, None).into(), Ok(())),
        ("gone", Delete, row(SELECTED, 2, None).into(), Ok(())),
        ("gone", Delete, row(SELECTED, 3, None).into(), Ok(())),
        ("members again", Insert, a_member(SELECTOR, 1, Some(set(1))).into(), Ok(())),
        ("no set beside them", Insert, with(simple()), Err(Code::InvalidArgument)),
    ];
    expect(&mut controller, cases).await;
}
