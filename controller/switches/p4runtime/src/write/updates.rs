//! Changes of a plan as updates on the wire.

use outplane_compiler::origin;
use outplane_compiler::state::{Change, Installed, Origin};
use outplane_p4runtime::Schema;
use outplane_p4runtime::entry::{Counter, Key, MulticastGroup};
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{MulticastGroupEntry, Update};
use outplane_p4runtime_client::{delete, insert, modify, set_default, update};

/// The key of an entry that a change inserts.
pub(super) fn inserted(change: &Change) -> Option<&Key> {
    match change {
        Change::Insert(entry) => Some(&entry.key),
        _ => None,
    }
}

/// A change on the wire; an entry that it inserts begins to count from `count`.
pub(super) fn to_wire(schema: &Schema, change: &Change, count: Option<Counter>) -> Update {
    match change {
        Change::Insert(entry) => insert(schema, entry, count),
        Change::Modify(entry) => modify(schema, entry),
        Change::Delete(key) => delete(schema, key),
        Change::SetDefault(entry) => set_default(schema, entry),
        Change::InsertGroup(group) => update(Type::Insert, marked(schema, group)),
        Change::ModifyGroup(group) => update(Type::Modify, marked(schema, group)),
        Change::DeleteGroup(id) => {
            let group = MulticastGroupEntry { multicast_group_id: *id, ..MulticastGroupEntry::default() };
            update(Type::Delete, group)
        }
        Change::SetMeter(cell) => update(Type::Modify, schema.meter_cell_to_proto(cell)),
        Change::ClearMeter { meter, index } => {
            update(Type::Modify, schema.meter_reset_to_proto(*meter, *index))
        }
    }
}

/// A group that says whose it is, on switches that keep that.
fn marked(schema: &Schema, group: &MulticastGroup) -> MulticastGroupEntry {
    MulticastGroupEntry { metadata: origin::PREFIX.to_vec(), ..schema.multicast_group_to_proto(group) }
}

/// A change for people.
pub(super) fn describe(schema: &Schema, change: &Change) -> String {
    match change {
        Change::Insert(entry) => format!("insert {}", schema.describe(entry)),
        Change::Modify(entry) => format!("modify {}", schema.describe(entry)),
        Change::Delete(key) => format!("delete {}", schema.describe_key(key)),
        Change::SetDefault(entry) => format!("set {}", schema.describe_default(entry)),
        Change::InsertGroup(group) => {
            format!("insert multicast group {} to ports {:?}", group.id, group.ports)
        }
        Change::ModifyGroup(group) => {
            format!("modify multicast group {} to ports {:?}", group.id, group.ports)
        }
        Change::DeleteGroup(id) => format!("delete multicast group {id}"),
        Change::SetMeter(cell) => format!(
            "set {} to {} with burst {}",
            meter(schema, cell.meter, cell.index),
            cell.cir,
            cell.cburst
        ),
        Change::ClearMeter { meter: id, index } => format!("clear {}", meter(schema, *id, *index)),
    }
}

fn meter(schema: &Schema, id: u32, index: i64) -> String {
    let name = schema.meter(id).map_or_else(|| format!("meter-{id}"), |meter| meter.alias.clone());
    format!("cell {index} of meter {name}")
}

/// The policy and rule that a change is for; for a delete, those of the entry that was installed.
pub(crate) fn origin_of(change: &Change, installed: &Installed) -> Option<Origin> {
    match change {
        Change::Insert(entry) | Change::Modify(entry) => Origin::decode(&entry.metadata),
        Change::Delete(key) => Origin::decode(&installed.entries.get(key)?.metadata),
        _ => None,
    }
}
