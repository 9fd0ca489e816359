//! Entities of the program `everything`.

use outplane_p4runtime::p4::v1 as proto;
use proto::field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};

pub(crate) const EXACT: u32 = 0x0200_0001;
pub(crate) const LPM: u32 = 0x0200_0002;
pub(crate) const TERNARY: u32 = 0x0200_0003;
pub(crate) const RANGE: u32 = 0x0200_0004;
pub(crate) const OPTIONAL: u32 = 0x0200_0005;
pub(crate) const KEYLESS: u32 = 0x0200_0006;
pub(crate) const CONSTANT: u32 = 0x0200_0007;
pub(crate) const CONST_DEFAULT: u32 = 0x0200_0008;
pub(crate) const DIRECT: u32 = 0x0200_0009;
pub(crate) const AGING: u32 = 0x0200_000a;
pub(crate) const INDIRECT: u32 = 0x0200_000b;
pub(crate) const SELECTED: u32 = 0x0200_000c;
pub(crate) const MEMBERS: u32 = 0x0200_000d;
pub(crate) const INITIAL: u32 = 0x0200_000e;
pub(crate) const BOTH: u32 = 0x0200_000f;

pub(crate) const NO_ACTION: u32 = 0x0100_0001;
pub(crate) const SET: u32 = 0x0100_0002;
pub(crate) const DROP: u32 = 0x0100_0003;
pub(crate) const ENTRY_ONLY: u32 = 0x0100_0004;
pub(crate) const DEFAULT_ONLY: u32 = 0x0100_0005;
pub(crate) const GROUP_ONLY: u32 = 0x0100_0006;

pub(crate) const PROFILE: u32 = 0x1100_0001;
pub(crate) const SELECTOR: u32 = 0x1100_0002;
pub(crate) const MEMBER_SELECTOR: u32 = 0x1100_0003;
pub(crate) const COUNTER: u32 = 0x1200_0001;
pub(crate) const OTHER_COUNTER: u32 = 0x1200_0002;
pub(crate) const TWO_RATES: u32 = 0x1400_0001;
pub(crate) const ONE_RATE: u32 = 0x1400_0002;
pub(crate) const TWO_COLORS: u32 = 0x1400_0003;
pub(crate) const PLAIN: u32 = 0x1600_0001;
pub(crate) const STRUCTURED: u32 = 0x1600_0002;
pub(crate) const DIGEST: u32 = 0x1700_0001;
pub(crate) const VALUE_SET: u32 = 0x0300_0001;

pub(crate) fn field(field_id: u32, matches: FieldMatchType) -> proto::FieldMatch {
    proto::FieldMatch { field_id, field_match_type: Some(matches) }
}

pub(crate) fn exact(id: u32, value: &[u8]) -> proto::FieldMatch {
    field(id, FieldMatchType::Exact(Exact { value: value.to_vec() }))
}

pub(crate) fn lpm(id: u32, value: &[u8], prefix_len: i32) -> proto::FieldMatch {
    field(id, FieldMatchType::Lpm(Lpm { value: value.to_vec(), prefix_len }))
}

pub(crate) fn ternary(id: u32, value: &[u8], mask: &[u8]) -> proto::FieldMatch {
    field(id, FieldMatchType::Ternary(Ternary { value: value.to_vec(), mask: mask.to_vec() }))
}

pub(crate) fn range(id: u32, low: &[u8], high: &[u8]) -> proto::FieldMatch {
    field(id, FieldMatchType::Range(Range { low: low.to_vec(), high: high.to_vec() }))
}

pub(crate) fn optional(id: u32, value: &[u8]) -> proto::FieldMatch {
    field(id, FieldMatchType::Optional(Optional { value: value.to_vec() }))
}

pub(crate) fn action(action_id: u32, params: &[(u32, &[u8])]) -> proto::Action {
    let params = params
        .iter()
        .map(|(param_id, value)| proto::action::Param { param_id: *param_id, value: value.to_vec() });
    proto::Action { action_id, params: params.collect() }
}

pub(crate) fn set(port: u8) -> proto::Action {
    action(SET, &[(1, &[port])])
}

pub(crate) fn does(action: proto::Action) -> Option<proto::TableAction> {
    Some(proto::TableAction { r#type: Some(proto::table_action::Type::Action(action)) })
}

pub(crate) fn member(id: u32) -> Option<proto::TableAction> {
    Some(proto::TableAction { r#type: Some(proto::table_action::Type::ActionProfileMemberId(id)) })
}

pub(crate) fn group(id: u32) -> Option<proto::TableAction> {
    Some(proto::TableAction { r#type: Some(proto::table_action::Type::ActionProfileGroupId(id)) })
}

pub(crate) fn one_shot(set: proto::ActionProfileActionSet) -> Option<proto::TableAction> {
    Some(proto::TableAction { r#type: Some(proto::table_action::Type::ActionProfileActionSet(set)) })
}

/// An entry that sets port 1.
pub(crate) fn entry(table_id: u32, matches: Vec<proto::FieldMatch>, priority: i32) -> proto::TableEntry {
    proto::TableEntry { table_id, r#match: matches, priority, action: does(set(1)), ..Default::default() }
}

/// A query of a whole table.
pub(crate) fn table(table_id: u32) -> proto::TableEntry {
    proto::TableEntry { table_id, ..Default::default() }
}

/// A default entry.
pub(crate) fn default_entry(table_id: u32, action: Option<proto::TableAction>) -> proto::TableEntry {
    proto::TableEntry { table_id, action, is_default_action: true, ..Default::default() }
}

pub(crate) fn index(index: i64) -> Option<proto::Index> {
    Some(proto::Index { index })
}

pub(crate) fn counted(packet_count: i64, byte_count: i64) -> Option<proto::CounterData> {
    Some(proto::CounterData { byte_count, packet_count })
}
