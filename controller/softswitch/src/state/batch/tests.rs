//! Random batches: all or none means just that, and nothing that a client sends makes the switch fail.

use outplane_p4runtime::Schema;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use proto::entity::Entity;
use proto::field_match::{Exact, FieldMatchType, Range, Ternary};
use proto::packet_replication_engine_entry::Type as EngineEntry;
use proto::table_action::Type as ActionType;
use proto::update::Type;

use super::*;
use crate::state::Limits;

const INFO: &str = include_str!("../../../tests/p4runtime/everything.p4info.txt");
const LPM: u32 = 0x0200_0002;
const RANGE: u32 = 0x0200_0004;
const DIRECT: u32 = 0x0200_0009;
const SELECTED: u32 = 0x0200_000c;
const SELECTOR: u32 = 0x1100_0002;
const COUNTER: u32 = 0x1200_0001;
const METER: u32 = 0x1400_0001;
const REGISTER: u32 = 0x1600_0001;
const DIGEST: u32 = 0x1700_0001;
const SET: u32 = 0x0100_0002;

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(6), ..Config::default() }
}

fn switch() -> Shared {
    let state = Shared::new(Limits { bytes: 8000, ..Limits::default() });
    let p4info = Some(Schema::from_text(INFO).unwrap().p4info().clone());
    let config = proto::ForwardingPipelineConfig { p4info, ..proto::ForwardingPipelineConfig::default() };
    state.commit(state.verify(config).unwrap());
    state
}

/// All that can be read, and what is counted behind it.
fn everything(state: &Shared) -> (Vec<proto::Entity>, String) {
    let entries = proto::TableEntry {
        counter_data: Some(proto::CounterData::default()),
        meter_config: Some(proto::MeterConfig::default()),
        ..proto::TableEntry::default()
    };
    let default =
        proto::TableEntry { table_id: LPM, is_default_action: true, ..proto::TableEntry::default() };
    let engine = |entry| {
        Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(entry) })
    };
    let queries = [
        Entity::TableEntry(entries),
        Entity::TableEntry(default),
        Entity::ActionProfileMember(proto::ActionProfileMember::default()),
        Entity::ActionProfileGroup(proto::ActionProfileGroup::default()),
        Entity::CounterEntry(proto::CounterEntry::default()),
        Entity::MeterEntry(proto::MeterEntry::default()),
        Entity::RegisterEntry(proto::RegisterEntry::default()),
        engine(EngineEntry::MulticastGroupEntry(proto::MulticastGroupEntry::default())),
        engine(EngineEntry::CloneSessionEntry(proto::CloneSessionEntry::default())),
        Entity::DigestEntry(proto::DigestEntry::default()),
    ];
    let queries = queries.map(|entity| proto::Entity { entity: Some(entity) });
    let state = state.read();
    let mut answer = state.query(&queries).unwrap();
    let mut entities: Vec<proto::Entity> = answer.by_ref().collect();
    assert!(answer.into_outcomes().iter().all(Result::is_ok));
    // An entry that was deleted and put back has the place that it had, among entries that are numbered otherwise.
    entities.sort_by_key(|entity| format!("{entity:?}"));
    let forwarding = state.forwarding().unwrap();
    (entities, format!("{} {:?}", forwarding.budget.used(), forwarding.profiles))
}

fn call(port: u8) -> proto::Action {
    let params = vec![proto::action::Param { param_id: 1, value: vec![port] }];
    proto::Action { action_id: SET, params }
}

fn exact(value: u8) -> proto::FieldMatch {
    let matches = FieldMatchType::Exact(Exact { value: vec![value] });
    proto::FieldMatch { field_id: 1, field_match_type: Some(matches) }
}

fn table_action() -> impl Strategy<Value = Option<proto::TableAction>> {
    let kind = prop_oneof![
        4 => (0_u8..5).prop_map(|port| ActionType::Action(call(port))),
        1 => (1_u32..4).prop_map(ActionType::ActionProfileMemberId),
        1 => (1_u32..3).prop_map(ActionType::ActionProfileGroupId),
        1 => (1_i32..8).prop_map(|weight| {
            let action = proto::ActionProfileAction { action: Some(call(1)), weight, watch_kind: None };
            let action_profile_actions = vec![action];
            ActionType::ActionProfileActionSet(proto::ActionProfileActionSet {
                action_profile_actions,
                ..proto::ActionProfileActionSet::default()
            })
        }),
    ];
    prop_oneof![9 => kind.prop_map(|kind| Some(proto::TableAction { r#type: Some(kind) })), 1 => Just(None)]
}

fn table_entry() -> impl Strategy<Value = proto::TableEntry> {
    let range = |low: u8, high: u8| {
        let matches = FieldMatchType::Range(Range { low: vec![low.min(high)], high: vec![high.max(low)] });
        proto::FieldMatch { field_id: 2, field_match_type: Some(matches) }
    };
    let proto_field = FieldMatchType::Ternary(Ternary { value: vec![6], mask: vec![0xff] });
    let proto_field = proto::FieldMatch { field_id: 1, field_match_type: Some(proto_field) };
    let key = prop_oneof![
        (0_u8..4).prop_map(|value| (LPM, vec![exact(value)], 0)),
        (0_u8..4).prop_map(|value| (DIRECT, vec![exact(value)], 0)),
        (0_u8..4).prop_map(|value| (SELECTED, vec![exact(value)], 0)),
        (0_u8..9, 0_u8..9, 0..3, any::<bool>()).prop_map(move |(low, high, priority, tcp)| {
            let mut matches = vec![range(low, high)];
            matches.extend(tcp.then(|| proto_field.clone()));
            (RANGE, matches, priority)
        }),
    ];
    let meter = prop_oneof![
        Just(None),
        (0_i64..9).prop_map(|cir| Some(proto::MeterConfig { cir, pir: 9, ..Default::default() }))
    ];
    let counter = prop_oneof![3 => Just(None), 1 => (0_i64..9).prop_map(|packet_count| Some(proto::CounterData { packet_count, byte_count: 1 }))];
    let metadata = prop_oneof![3 => Just(0_usize), 1 => 0_usize..900];
    (key, table_action(), meter, counter, metadata, prop::bool::weighted(0.05)).prop_map(
        |((table_id, matches, priority), action, meter, counter_data, metadata, default)| proto::TableEntry {
            table_id: if default { LPM } else { table_id },
            r#match: if default { Vec::new() } else { matches },
            priority: if default { 0 } else { priority },
            action,
            meter_config: meter.filter(|_| table_id == DIRECT && !default),
            counter_data: counter_data.filter(|_| table_id == DIRECT && !default),
            metadata: vec![7; metadata],
            is_default_action: default,
            ..proto::TableEntry::default()
        },
    )
}

fn entity() -> impl Strategy<Value = Entity> {
    let index = prop_oneof![1 => Just(None), 4 => (0_i64..9).prop_map(|index| Some(proto::Index { index }))];
    let weighted = (1_u32..4, 1_i32..9).prop_map(|(member_id, weight)| proto::action_profile_group::Member {
        member_id,
        weight,
        watch_kind: None,
    });
    let replicas = prop::collection::vec((1_u8..5, 0_u32..3), 0..3).prop_map(|copies| {
        let replica = |(port, instance)| proto::Replica {
            port_kind: Some(proto::replica::PortKind::Port(vec![port])),
            instance,
            backup_replicas: Vec::new(),
        };
        copies.into_iter().map(replica).collect::<Vec<_>>()
    });
    prop_oneof![
        8 => table_entry().prop_map(Entity::TableEntry),
        2 => (1_u32..4, 0_u8..5).prop_map(|(member_id, port)| Entity::ActionProfileMember(proto::ActionProfileMember {
            action_profile_id: SELECTOR,
            member_id,
            action: Some(call(port)),
        })),
        2 => (1_u32..3, prop::collection::vec(weighted, 0..3)).prop_map(|(group_id, members)| {
            let group = proto::ActionProfileGroup { action_profile_id: SELECTOR, group_id, members, max_size: 10 };
            Entity::ActionProfileGroup(group)
        }),
        1 => (index.clone(), 0_i64..9).prop_map(|(index, packet_count)| Entity::CounterEntry(proto::CounterEntry {
            counter_id: COUNTER,
            index,
            data: Some(proto::CounterData { packet_count, byte_count: 2 }),
        })),
        1 => (index.clone(), 0_i64..9).prop_map(|(index, cir)| Entity::MeterEntry(proto::MeterEntry {
            meter_id: METER,
            index,
            config: Some(proto::MeterConfig { cir, pir: 9, ..proto::MeterConfig::default() }),
            counter_data: None,
        })),
        1 => (index, 0_u8..9).prop_map(|(index, value)| Entity::RegisterEntry(proto::RegisterEntry {
            register_id: REGISTER,
            index,
            data: Some(proto::P4Data { data: Some(proto::p4_data::Data::Bitstring(vec![value])) }),
        })),
        2 => (0_u32..3, replicas, any::<bool>()).prop_map(|(id, replicas, group)| {
            let entry = if group {
                EngineEntry::MulticastGroupEntry(proto::MulticastGroupEntry {
                    multicast_group_id: id,
                    replicas,
                    metadata: Vec::new(),
                })
            } else {
                EngineEntry::CloneSessionEntry(proto::CloneSessionEntry {
                    session_id: id,
                    replicas,
                    ..proto::CloneSessionEntry::default()
                })
            };
            Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(entry) })
        }),
        1 => (0_i64..9).prop_map(|max_timeout_ns| Entity::DigestEntry(proto::DigestEntry {
            digest_id: DIGEST,
            config: Some(proto::digest_entry::Config { max_timeout_ns, ..proto::digest_entry::Config::default() }),
        })),
    ]
}

fn updates(count: usize) -> impl Strategy<Value = Vec<proto::Update>> {
    let kind = prop_oneof![3 => Just(Type::Insert), 2 => Just(Type::Modify), 1 => Just(Type::Delete)];
    let update = (kind, entity()).prop_map(|(kind, entity)| proto::Update {
        r#type: kind.into(),
        entity: Some(proto::Entity { entity: Some(entity) }),
    });
    prop::collection::vec(update, 0..count)
}

proptest! {
    #![proptest_config(config(400))]

    /// A batch that is refused leaves nothing behind; one that is not does what it does by itself.
    #[test]
    fn all_or_none(before in updates(60), batch in updates(6), at_once: bool) {
        let atomicity = if at_once { Atomicity::DataplaneAtomic } else { Atomicity::RollbackOnError };
        let (state, twin) = (switch(), switch());
        state.apply(&before, Atomicity::ContinueOnError).unwrap();
        twin.apply(&before, Atomicity::ContinueOnError).unwrap();
        let start = everything(&state);
        let outcomes = state.apply(&batch, atomicity).unwrap();
        if outcomes.iter().all(Result::is_ok) {
            twin.apply(&batch, Atomicity::ContinueOnError).unwrap();
            prop_assert_eq!(everything(&state), everything(&twin));
        } else {
            prop_assert_eq!(everything(&state), start);
            // What was undone can be done.
            let again = state.apply(&batch, Atomicity::ContinueOnError).unwrap();
            prop_assert_eq!(twin.apply(&batch, Atomicity::ContinueOnError).unwrap(), again);
            prop_assert_eq!(everything(&state), everything(&twin));
        }
    }

    /// What is inserted is read back, and everything that is read can be deleted.
    #[test]
    fn what_is_read_can_be_deleted(before in updates(80)) {
        let state = switch();
        state.apply(&before, Atomicity::ContinueOnError).unwrap();
        let (found, _) = everything(&state);
        let rank = |entity: &proto::Entity| match &entity.entity {
            Some(Entity::TableEntry(_)) => 0,
            Some(Entity::ActionProfileGroup(_)) => 1,
            _ => 2,
        };
        let mut found: Vec<_> = found.into_iter().filter(|entity| match &entity.entity {
            Some(Entity::TableEntry(entry)) => !entry.is_default_action,
            Some(Entity::CounterEntry(_) | Entity::MeterEntry(_) | Entity::RegisterEntry(_)) => false,
            _ => true,
        }).collect();
        found.sort_by_key(rank);
        for entity in found {
            let update = proto::Update { r#type: Type::Delete.into(), entity: Some(entity) };
            let outcomes = state.apply(&[update], Atomicity::ContinueOnError).unwrap();
            prop_assert_eq!(&outcomes[0], &Ok(()));
        }
        let reset = proto::TableEntry { table_id: LPM, is_default_action: true, ..proto::TableEntry::default() };
        let entity = Some(proto::Entity { entity: Some(Entity::TableEntry(reset)) });
        let reset = proto::Update { r#type: Type::Modify.into(), entity };
        state.apply(&[reset], Atomicity::ContinueOnError).unwrap();
        let used = state.read().forwarding().unwrap().budget.used();
        let registers: usize = state.read().forwarding().unwrap().registers.values()
            .flat_map(|register| register.cells.values()).map(|cell| crate::state::register::cost(cell)).sum();
        let untouched = switch().read().forwarding().unwrap().budget.used();
        prop_assert_eq!(used, untouched + registers);
        prop_assert!(state.read().forwarding().unwrap().tables.values().all(crate::state::Table::is_empty));
    }

    /// Bytes that are some message, but no sensible one.
    #[test]
    fn nonsense_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use prost::Message;
        let state = switch();
        if let Ok(request) = proto::WriteRequest::decode(bytes.as_slice()) {
            for atomicity in [Atomicity::ContinueOnError, Atomicity::DataplaneAtomic] {
                let _ = state.apply(&request.updates, atomicity);
            }
        }
        if let Ok(request) = proto::ReadRequest::decode(bytes.as_slice()) {
            let answer = state.read().query(&request.entities);
            answer.into_iter().flatten().for_each(drop);
        }
        if let Ok(config) = proto::ForwardingPipelineConfig::decode(bytes.as_slice()) {
            let _ = state.verify(config);
        }
    }
}
