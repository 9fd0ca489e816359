//! Pipelines: checked, saved, committed, reconciled, read back.

use outplane_p4runtime::p4::config::v1 as info;
use outplane_p4runtime::p4::v1 as proto;
use proto::entity::Entity;
use proto::forwarding_pipeline_config::Cookie;
use proto::get_forwarding_pipeline_config_request::ResponseType;
use proto::set_forwarding_pipeline_config_request::Action;
use proto::update::Type;
use tonic::Code;

use crate::entities::*;
use crate::support::{Bed, Controller, DEVICE, EVERYTHING, config};

async fn get(controller: &mut Controller, wanted: ResponseType) -> Option<proto::ForwardingPipelineConfig> {
    let request =
        proto::GetForwardingPipelineConfigRequest { device_id: DEVICE, response_type: wanted.into() };
    controller.client.get_forwarding_pipeline_config(request).await.unwrap().into_inner().config
}

async fn set_code(
    controller: &mut Controller,
    action: Action,
    config: Option<proto::ForwardingPipelineConfig>,
) -> Code {
    match controller.set_pipeline(action, config).await {
        Ok(()) => Code::Ok,
        Err(status) => status.code(),
    }
}

fn with(change: impl FnOnce(&mut info::P4Info)) -> Option<proto::ForwardingPipelineConfig> {
    let mut config = config(EVERYTHING);
    change(config.p4info.as_mut().unwrap());
    Some(config)
}

#[tokio::test]
async fn what_was_committed_is_read_back() {
    let bed = Bed::start().await;
    let mut controller = bed.primary().await;
    assert_eq!(get(&mut controller, ResponseType::All).await, None);
    let mut given = config(outplane_p4::P4INFO);
    given.p4_device_config = outplane_p4::BMV2_JSON.as_bytes().to_vec();
    given.cookie = Some(Cookie { cookie: 0xfeed });
    controller.set_pipeline(Action::VerifyAndCommit, Some(given.clone())).await.unwrap();
    assert_eq!(get(&mut controller, ResponseType::All).await, Some(given.clone()));
    let cookie = proto::ForwardingPipelineConfig { cookie: given.cookie, ..Default::default() };
    assert_eq!(get(&mut controller, ResponseType::CookieOnly).await, Some(cookie.clone()));
    let only_info = proto::ForwardingPipelineConfig { p4info: given.p4info.clone(), ..cookie.clone() };
    assert_eq!(get(&mut controller, ResponseType::P4infoAndCookie).await, Some(only_info));
    let only_config =
        proto::ForwardingPipelineConfig { p4_device_config: given.p4_device_config.clone(), ..cookie };
    assert_eq!(get(&mut controller, ResponseType::DeviceConfigAndCookie).await, Some(only_config));
    let request = proto::GetForwardingPipelineConfigRequest { device_id: DEVICE, response_type: 77 };
    let refused = controller.client.get_forwarding_pipeline_config(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_config_is_needed_where_one_is_and_nowhere_else() {
    let bed = Bed::start().await;
    let mut controller = bed.primary().await;
    for action in [
        Action::Verify,
        Action::VerifyAndSave,
        Action::VerifyAndCommit,
        Action::ReconcileAndCommit,
        Action::Unspecified,
    ] {
        assert_eq!(set_code(&mut controller, action, None).await, Code::InvalidArgument, "{action:?}");
        let empty = Some(proto::ForwardingPipelineConfig::default());
        assert_eq!(set_code(&mut controller, action, empty).await, Code::InvalidArgument, "{action:?}");
    }
    assert_eq!(set_code(&mut controller, Action::Unspecified, with(|_| {})).await, Code::InvalidArgument);
    assert_eq!(set_code(&mut controller, Action::Commit, None).await, Code::NotFound);
    assert_eq!(set_code(&mut controller, Action::Commit, with(|_| {})).await, Code::InvalidArgument);
    assert_eq!(get(&mut controller, ResponseType::All).await, None);
}

#[tokio::test]
async fn verify_changes_nothing() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    controller.try_write(Type::Insert, entry(EXACT, vec![exact(1, &[1]), exact(2, &[2])], 0)).await.unwrap();
    assert_eq!(set_code(&mut controller, Action::Verify, Some(config(outplane_p4::P4INFO))).await, Code::Ok);
    assert_eq!(controller.read_entries(table(EXACT)).await.unwrap().len(), 1);
    assert_eq!(get(&mut controller, ResponseType::All).await, Some(config(EVERYTHING)));
}

#[tokio::test]
async fn a_commit_clears_everything() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    controller.try_write(Type::Insert, entry(EXACT, vec![exact(1, &[1]), exact(2, &[2])], 0)).await.unwrap();
    controller
        .try_write(Type::Insert, proto::MulticastGroupEntry { multicast_group_id: 1, ..Default::default() })
        .await
        .unwrap();
    controller.try_write(Type::Modify, default_entry(LPM, does(set(3)))).await.unwrap();
    controller.commit(EVERYTHING).await.unwrap();
    assert_eq!(controller.read_entries(table(EXACT)).await.unwrap(), []);
    assert_eq!(controller.read(proto::MulticastGroupEntry::default()).await.unwrap(), []);
    let default = controller.read_entries(default_entry(LPM, None)).await.unwrap();
    assert_eq!(default, [default_entry(LPM, does(action(NO_ACTION, &[])))]);
}

#[tokio::test]
async fn a_saved_pipeline_takes_writes_and_packets_see_it_when_it_is_committed() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(outplane_p4::P4INFO).await;
    let before = bed.state.read().pipeline().unwrap().generation();
    controller.set_pipeline(Action::VerifyAndSave, Some(config(EVERYTHING))).await.unwrap();
    assert_eq!(get(&mut controller, ResponseType::All).await, Some(config(EVERYTHING)));
    controller.try_write(Type::Insert, entry(LPM, vec![exact(1, &[1])], 0)).await.unwrap();
    assert_eq!(bed.state.read().pipeline().unwrap().generation(), before);
    assert!(bed.state.read().lookup(LPM, &[1, 9]).is_none());

    assert_eq!(set_code(&mut controller, Action::Commit, None).await, Code::Ok);
    assert_ne!(bed.state.read().pipeline().unwrap().generation(), before);
    assert!(bed.state.read().lookup(LPM, &[1, 9]).unwrap().is_hit());
    assert_eq!(set_code(&mut controller, Action::Commit, None).await, Code::NotFound);
    // A commit of another one forgets what was saved.
    controller.set_pipeline(Action::VerifyAndSave, Some(config(EVERYTHING))).await.unwrap();
    controller.commit(outplane_p4::P4INFO).await.unwrap();
    assert_eq!(set_code(&mut controller, Action::Commit, None).await, Code::NotFound);
}

/// One of everything.
async fn fill(controller: &mut Controller) -> Vec<Entity> {
    let port = |port| Some(proto::replica::PortKind::Port(vec![port]));
    let replica = |to| proto::Replica { port_kind: port(to), instance: 1, backup_replicas: Vec::new() };
    let member_entry = proto::TableEntry { action: group(1), ..entry(SELECTED, vec![exact(1, &[1])], 0) };
    let weighted = proto::action_profile_group::Member { member_id: 5, weight: 2, ..Default::default() };
    let writes: Vec<(Type, crate::support::Boxed)> = vec![
        (Type::Insert, entry(TERNARY, vec![ternary(1, &[1], &[3])], 7).into()),
        (Type::Insert, entry(TERNARY, Vec::new(), 1).into()),
        (Type::Insert, entry(RANGE, vec![range(2, &[1], &[9])], 7).into()),
        (Type::Insert, entry(LPM, vec![exact(1, &[1]), lpm(2, &[10, 0, 0, 0], 8)], 0).into()),
        (
            Type::Insert,
            proto::TableEntry {
                counter_data: counted(3, 4),
                meter_config: Some(proto::MeterConfig { cir: 1, cburst: 2, pir: 3, pburst: 4, eburst: 0 }),
                metadata: vec![1, 2, 3],
                ..entry(DIRECT, vec![exact(1, &[1])], 0)
            }
            .into(),
        ),
        (
            Type::Insert,
            proto::ActionProfileMember { action_profile_id: SELECTOR, member_id: 5, action: Some(set(4)) }
                .into(),
        ),
        (
            Type::Insert,
            proto::ActionProfileGroup {
                action_profile_id: SELECTOR,
                group_id: 1,
                members: vec![weighted],
                max_size: 4,
            }
            .into(),
        ),
        (Type::Insert, member_entry.into()),
        (Type::Modify, default_entry(KEYLESS, does(set(8))).into()),
        (
            Type::Modify,
            proto::CounterEntry { counter_id: COUNTER, index: index(2), data: counted(1, 2) }.into(),
        ),
        (
            Type::Modify,
            proto::MeterEntry {
                meter_id: TWO_RATES,
                index: index(1),
                config: Some(proto::MeterConfig { cir: 5, cburst: 5, pir: 5, pburst: 5, eburst: 0 }),
                counter_data: None,
            }
            .into(),
        ),
        (
            Type::Insert,
            proto::MulticastGroupEntry {
                multicast_group_id: 9,
                replicas: vec![replica(1), replica(2)],
                metadata: vec![7],
            }
            .into(),
        ),
        (
            Type::Insert,
            proto::CloneSessionEntry { session_id: 4, replicas: vec![replica(3)], ..Default::default() }
                .into(),
        ),
        (
            Type::Insert,
            proto::DigestEntry { digest_id: DIGEST, config: Some(proto::digest_entry::Config::default()) }
                .into(),
        ),
    ];
    for (kind, entity) in writes {
        controller.write(kind, entity.0).await.unwrap();
    }
    everything(controller).await
}

/// All that the switch holds.
async fn everything(controller: &mut Controller) -> Vec<Entity> {
    let all = proto::TableEntry {
        counter_data: counted(0, 0),
        meter_config: Some(proto::MeterConfig::default()),
        ..Default::default()
    };
    let mut found = controller.read(all).await.unwrap();
    found.extend(controller.read(default_entry(KEYLESS, None)).await.unwrap());
    found.extend(controller.read(proto::ActionProfileMember::default()).await.unwrap());
    found.extend(controller.read(proto::ActionProfileGroup::default()).await.unwrap());
    found.extend(controller.read(proto::CounterEntry::default()).await.unwrap());
    found.extend(controller.read(proto::MeterEntry::default()).await.unwrap());
    found.extend(controller.read(proto::RegisterEntry::default()).await.unwrap());
    found.extend(controller.read(proto::MulticastGroupEntry::default()).await.unwrap());
    found.extend(controller.read(proto::CloneSessionEntry::default()).await.unwrap());
    found.extend(controller.read(proto::ValueSetEntry::default()).await.unwrap());
    found.extend(controller.read(proto::DigestEntry::default()).await.unwrap());
    found
}

#[tokio::test]
async fn reconcile_keeps_the_state() {
    let bed = Bed::start().await;
    let mut controller = bed.primary().await;
    assert_eq!(
        set_code(&mut controller, Action::ReconcileAndCommit, with(|_| {})).await,
        Code::InvalidArgument
    );
    controller.commit(EVERYTHING).await.unwrap();
    let before = fill(&mut controller).await;
    assert_eq!(before.len(), 6 + 1 + 1 + 1 + 10 + 8 + 6 + 1 + 1 + 1 + 1);

    // The same program under another cookie; then a larger one.
    let mut same = config(EVERYTHING);
    same.cookie = Some(Cookie { cookie: 2 });
    assert_eq!(set_code(&mut controller, Action::ReconcileAndCommit, Some(same.clone())).await, Code::Ok);
    assert_eq!(get(&mut controller, ResponseType::All).await, Some(same));
    assert_eq!(everything(&mut controller).await, before);
    let wider = with(|info| info.tables[2].match_fields[0].bitwidth = 20);
    assert_eq!(set_code(&mut controller, Action::ReconcileAndCommit, wider.clone()).await, Code::Ok);
    assert_eq!(get(&mut controller, ResponseType::All).await, wider);
    assert_eq!(everything(&mut controller).await, before);

    // A program without the table of an entry has no place for it.
    let without = with(|info| info.tables.retain(|table| table.preamble.as_ref().unwrap().id != RANGE));
    let refused = controller.set_pipeline(Action::ReconcileAndCommit, without).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("can't be preserved"), "{refused:?}");
    assert_eq!(get(&mut controller, ResponseType::All).await, wider);
    assert_eq!(everything(&mut controller).await, before);
}

#[tokio::test]
async fn p4infos_that_cannot_be_realized_are_refused_with_the_reason() {
    let bed = Bed::start().await;
    let mut controller = bed.primary().await;
    let array_of = |info: &mut info::P4Info, size| {
        info.registers[1].type_spec = None;
        info.registers[0].size = size;
    };
    let cases: Vec<(&str, Option<proto::ForwardingPipelineConfig>)> = vec![
        ("128", with(|info| info.tables[0].match_fields[0].bitwidth = 129)),
        ("128", with(|info| info.actions[1].params[0].bitwidth = 512)),
        ("width", with(|info| info.tables[0].match_fields[0].bitwidth = 0)),
        ("width", with(|info| info.tables[0].match_fields[0].bitwidth = -3)),
        ("id", with(|info| info.tables[1].preamble = info.tables[0].preamble.clone())),
        ("action", with(|info| info.tables[0].action_refs[0].id = 0x0100_ffff)),
        ("cells", with(|info| info.counters[0].size = i64::MAX)),
        ("cells", with(|info| info.meters[0].size = 1 << 40)),
        ("size", with(|info| info.counters[0].size = -1)),
        ("type", with(|info| array_of(info, 4))),
        (
            "match kind",
            with(|info| {
                info.tables[0].match_fields[0].r#match =
                    Some(info::match_field::Match::OtherMatchType("fuzzy".to_owned()));
            }),
        ),
        (
            "extern",
            with(|info| {
                let preamble =
                    info::Preamble { id: 0x8100_0001, name: "odd".to_owned(), ..Default::default() };
                let instances = vec![info::ExternInstance { preamble: Some(preamble), info: None }];
                info.externs.push(info::Extern {
                    extern_type_id: 0x81,
                    extern_type_name: "Odd".to_owned(),
                    instances,
                });
            }),
        ),
        (
            "nests",
            with(|info| {
                // Each struct holds two of the next: too large to be written down.
                let types = info.type_info.get_or_insert_default();
                let spec = |name: String| {
                    let named = info::P4NamedType { name };
                    let type_spec = Some(info::p4_data_type_spec::TypeSpec::Struct(named));
                    Some(info::P4DataTypeSpec { type_spec })
                };
                for level in 0..15 {
                    let member = |name: &str| info::p4_struct_type_spec::Member {
                        name: name.to_owned(),
                        type_spec: spec(format!("level{}", level + 1)),
                    };
                    let members = vec![member("a"), member("b")];
                    let level_spec = info::P4StructTypeSpec { members, ..Default::default() };
                    types.structs.insert(format!("level{level}"), level_spec);
                }
                types.structs.insert("level15".to_owned(), info::P4StructTypeSpec::default());
                info.registers[1].type_spec = spec("level0".to_owned());
            }),
        ),
        (
            "nests",
            with(|info| {
                let named = info::P4NamedType { name: "pair".to_owned() };
                let type_spec = Some(info::p4_data_type_spec::TypeSpec::Struct(named));
                let pair = info.type_info.as_mut().unwrap().structs.get_mut("pair").unwrap();
                pair.members[0].type_spec = Some(info::P4DataTypeSpec { type_spec });
            }),
        ),
    ];
    for (reason, config) in cases {
        let refused = controller.set_pipeline(Action::VerifyAndCommit, config).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{reason}: {refused:?}");
        assert!(refused.message().contains(reason), "{reason}: {}", refused.message());
    }
    assert_eq!(get(&mut controller, ResponseType::All).await, None);
}

#[tokio::test]
async fn initial_defaults_are_the_programs() {
    let bed = Bed::start().await;
    let mut controller = bed.ready(EVERYTHING).await;
    let cases = [
        (LPM, does(action(NO_ACTION, &[]))),
        (CONST_DEFAULT, does(action(DROP, &[]))),
        (INITIAL, does(set(7))),
        (INDIRECT, does(action(NO_ACTION, &[]))),
    ];
    for (table, expected) in cases {
        let found = controller.read_entries(default_entry(table, None)).await.unwrap();
        assert_eq!(found, [default_entry(table, expected)], "{table:x}");
    }
    controller.commit(outplane_p4::P4INFO).await.unwrap();
    let schema = outplane_p4runtime::Schema::from_text(outplane_p4::P4INFO).unwrap();
    let table = schema.table_by_name("policy_version").unwrap();
    let found = controller.read_entries(default_entry(table.id, None)).await.unwrap();
    assert_eq!(found, [default_entry(table.id, does(action(table.actions[0].action, &[(1, &[0])])))]);
}
