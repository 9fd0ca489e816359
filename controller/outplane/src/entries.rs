//! Entries by name, as `compile`, `plan`, `trace` and `show` print them.

use std::fmt::Write as _;

use outplane_compiler::state::{Change, Origin};
use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Key, Match, MeterCell, MulticastGroup};
use serde::Serialize;

use crate::names::{Names, with};
use crate::values::{origin_text, value_text};

/// A table entry by name. Numbers are hexadecimal strings, because JSON's numbers end before IPv6 addresses do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EntryForm {
    /// The table's alias.
    pub(crate) table: String,
    /// Larger wins; 0 in tables of exact matches only.
    pub(crate) priority: i32,
    /// What it matches; fields that are not named match everything.
    #[serde(rename = "match")]
    pub(crate) matches: Vec<MatchForm>,
    /// What it does.
    pub(crate) action: ActionForm,
    /// The policy that asked for it, or `-` for those that serve all.
    pub(crate) policy: Option<String>,
    /// The rule of it, or what the entry is for.
    pub(crate) rule: Option<String>,
}

/// One match by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MatchForm {
    field: String,
    #[serde(flatten)]
    matches: MatchValue,
}

/// A match's kind and numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum MatchValue {
    Exact { value: String },
    Lpm { value: String, prefix_len: u8 },
    Ternary { value: String, mask: String },
    Range { low: String, high: String },
    Optional { value: String },
}

/// An action by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ActionForm {
    name: String,
    params: Vec<ParamForm>,
}

/// A parameter by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ParamForm {
    name: String,
    value: String,
}

/// A multicast group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GroupForm {
    id: u32,
    ports: Vec<u32>,
}

/// A meter cell by name; rates and bursts are -1 where the cell limits nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MeterForm {
    meter: String,
    index: i64,
    cir: i64,
    cburst: i64,
    pir: i64,
    pburst: i64,
}

fn hex(value: u128) -> String {
    format!("{value:#x}")
}

/// A table's alias, or its number where the P4Info has no such table.
pub(crate) fn table_name(schema: &Schema, id: u32) -> String {
    schema.table(id).map_or_else(|| format!("table {id:#010x}"), |table| table.alias.clone())
}

impl EntryForm {
    /// The entry in names.
    pub(crate) fn new(schema: &Schema, entry: &Entry) -> Self {
        let origin = Origin::decode(&entry.metadata);
        Self {
            table: table_name(schema, entry.key.table),
            priority: entry.key.priority,
            matches: matches(schema, &entry.key),
            action: ActionForm::new(schema, &entry.action),
            policy: origin.as_ref().map(|origin| origin.policy.clone()),
            rule: origin.map(|origin| origin.rule),
        }
    }
}

/// The matches of a key in names.
pub(crate) fn matches(schema: &Schema, key: &Key) -> Vec<MatchForm> {
    let table = schema.table(key.table);
    let name = |field: &FieldMatch| {
        table
            .and_then(|table| table.field(field.field))
            .map_or_else(|| format!("field {}", field.field), |info| info.name.clone())
    };
    let value = |matches: Match| match matches {
        Match::Exact(value) => MatchValue::Exact { value: hex(value) },
        Match::Lpm { value, prefix_len } => MatchValue::Lpm { value: hex(value), prefix_len },
        Match::Ternary { value, mask } => MatchValue::Ternary { value: hex(value), mask: hex(mask) },
        Match::Range { low, high } => MatchValue::Range { low: hex(low), high: hex(high) },
        Match::Optional(value) => MatchValue::Optional { value: hex(value) },
    };
    key.matches.iter().map(|field| MatchForm { field: name(field), matches: value(field.matches) }).collect()
}

impl ActionForm {
    /// The action in names.
    pub(crate) fn new(schema: &Schema, action: &Action) -> Self {
        let info = schema.action(action.id);
        let param = |(id, value): &(u32, u128)| ParamForm {
            name: info
                .and_then(|info| info.param(*id))
                .map_or_else(|| format!("parameter {id}"), |param| param.name.clone()),
            value: hex(*value),
        };
        Self {
            name: info.map_or_else(|| format!("action {:#010x}", action.id), |info| info.alias.clone()),
            params: action.params.iter().map(param).collect(),
        }
    }
}

impl From<&MulticastGroup> for GroupForm {
    fn from(group: &MulticastGroup) -> Self {
        Self { id: group.id, ports: group.ports.clone() }
    }
}

impl MeterForm {
    /// The cell in names.
    pub(crate) fn new(schema: &Schema, cell: &MeterCell) -> Self {
        Self {
            meter: meter_name(schema, cell.meter),
            index: cell.index,
            cir: cell.cir,
            cburst: cell.cburst,
            pir: cell.pir,
            pburst: cell.pburst,
        }
    }
}

impl std::fmt::Display for GroupForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(u32::to_string).collect();
        write!(f, "multicast group {}: ports {}", self.id, ports.join(", "))
    }
}

/// A multicast group for people: `multicast group 56 (segment guests): ports 4 (guests), 5 (uplink)`.
pub(crate) fn group_text(group: &MulticastGroup, names: &Names) -> String {
    let ports: Vec<String> = group.ports.iter().map(|port| names.port(*port)).collect();
    let group = with(&group.id.to_string(), names.of_group(group));
    format!("multicast group {group}: ports {}", ports.join(", "))
}

/// A meter cell for people: `filter_rate_limiter[293] (FilterPolicy/servers, rule ping): rate 100 (burst 20), ..`.
pub(crate) fn meter_text(schema: &Schema, cell: &MeterCell, names: &Names) -> String {
    let text = MeterForm::new(schema, cell).to_string();
    match (names.of_meter(cell), text.split_once(": ")) {
        (Some(rule), Some((cell, rate))) => format!("{cell} ({rule}): {rate}"),
        _ => text,
    }
}

impl std::fmt::Display for MeterForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { meter, index, cir, cburst, pir, pburst } = self;
        write!(f, "{meter}[{index}]: rate {cir} (burst {cburst}), peak {pir} (burst {pburst})")
    }
}

fn meter_name(schema: &Schema, id: u32) -> String {
    schema.meter(id).map_or_else(|| format!("meter {id:#010x}"), |meter| meter.alias.clone())
}

/// A write by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeForm {
    /// The step of the plan that it belongs to.
    step: &'static str,
    /// `insert`, `modify` or `delete`.
    change: &'static str,
    #[serde(flatten)]
    what: Changed,
    #[serde(skip)]
    text: String,
}

/// What a write is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Changed {
    Entry(EntryForm),
    /// An entry that is deleted.
    Key {
        table: String,
        priority: i32,
        #[serde(rename = "match")]
        matches: Vec<MatchForm>,
    },
    Default {
        table: String,
        action: Option<ActionForm>,
    },
    Group(GroupForm),
    Meter(MeterForm),
}

impl ChangeForm {
    /// The write in names.
    pub(crate) fn new(schema: &Schema, step: &'static str, change: &Change) -> Self {
        let entry = |sign: char, entry: &Entry| {
            let table = table_name(schema, entry.key.table);
            let action = schema.describe_action(&entry.action);
            let matches = matches_text(schema, &entry.key, &Names::default());
            format!(
                "{sign} {table} {}: {matches} -> {action}  {}",
                entry.key.priority,
                origin_text(&entry.metadata)
            )
        };
        let meter = |meter: u32, index: i64| MeterForm {
            meter: meter_name(schema, meter),
            index,
            cir: -1,
            cburst: -1,
            pir: -1,
            pburst: -1,
        };
        let (change, what, text) = match change {
            Change::Insert(new) => ("insert", Changed::Entry(EntryForm::new(schema, new)), entry('+', new)),
            Change::Modify(new) => ("modify", Changed::Entry(EntryForm::new(schema, new)), entry('~', new)),
            Change::Delete(key) => {
                let table = table_name(schema, key.table);
                let text =
                    format!("- {table} {}: {}", key.priority, matches_text(schema, key, &Names::default()));
                (
                    "delete",
                    Changed::Key { table, priority: key.priority, matches: matches(schema, key) },
                    text,
                )
            }
            Change::SetDefault(default) => {
                let action = default.action.as_ref().map(|action| ActionForm::new(schema, action));
                let what = Changed::Default { table: table_name(schema, default.table), action };
                ("modify", what, format!("~ {}", schema.describe_default(default)))
            }
            Change::InsertGroup(group) => {
                ("insert", Changed::Group(group.into()), format!("+ {}", GroupForm::from(group)))
            }
            Change::ModifyGroup(group) => {
                ("modify", Changed::Group(group.into()), format!("~ {}", GroupForm::from(group)))
            }
            Change::DeleteGroup(id) => {
                let group = GroupForm { id: *id, ports: Vec::new() };
                ("delete", Changed::Group(group), format!("- multicast group {id}"))
            }
            Change::SetMeter(cell) => {
                let form = MeterForm::new(schema, cell);
                let text = format!("~ {form}");
                ("modify", Changed::Meter(form), text)
            }
            Change::ClearMeter { meter: id, index } => {
                let form = meter(*id, *index);
                let text = format!("- {}[{index}]", form.meter);
                ("delete", Changed::Meter(form), text)
            }
        };
        Self { step, change, what, text }
    }

    /// The write for people: `+ filter_admin 100: dst_class=5 -> admin_permit()  FilterPolicy/servers, rule web`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// What a key matches, for people: `src_class=5 (host web), tcp_flags=0x2/0x12`, addresses as addresses.
pub(crate) fn matches_text(schema: &Schema, key: &Key, names: &Names) -> String {
    if key.matches.is_empty() {
        return "anything".to_owned();
    }
    let table = schema.table(key.table);
    let mut text = String::new();
    for field in &key.matches {
        if !text.is_empty() {
            text.push_str(", ");
        }
        let info = table.and_then(|table| table.field(field.field));
        let bits = info.map_or(0, |info| info.bits);
        let name = info.map_or_else(|| format!("field {}", field.field), |info| info.name.clone());
        let value = value_text(field.matches, bits);
        let known = names.of_match(key.table, field.field, field.matches);
        let _ = write!(text, "{name}={}", with(&value, known));
    }
    text
}
