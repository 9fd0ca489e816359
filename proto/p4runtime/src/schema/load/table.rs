//! Tables: their keys, actions and resources, and that what they name names them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Loader, describe, not_negative, positions};
use crate::bytestring;
use crate::p4::config::v1 as config;
use crate::schema::{
    ActionCall, ActionInfo, ActionRef, Cells, CounterInfo, MeterInfo, Objects, Schema, SchemaError, Scope,
    TableInfo,
};
use config::p4_ids::Prefix;

impl Loader<'_> {
    pub(super) fn table(
        &mut self,
        at: usize,
        table: &config::Table,
        actions: &Objects<ActionInfo>,
        counters: &Objects<CounterInfo>,
        meters: &Objects<MeterInfo>,
    ) -> Result<TableInfo, SchemaError> {
        use config::table::IdleTimeoutBehavior;
        let head = self.head::<config::Table>(at, table.preamble.as_ref(), Some(Prefix::Table as u32))?;
        let object = &head.object;
        let fields = self.fields(object, &table.match_fields)?;
        let action_refs = action_refs(object, &table.action_refs, actions)?;
        let idle_timeout = match IdleTimeoutBehavior::try_from(table.idle_timeout_behavior) {
            Ok(IdleTimeoutBehavior::NoTimeout) => false,
            Ok(IdleTimeoutBehavior::NotifyControl) => true,
            Err(_) => {
                let value = table.idle_timeout_behavior;
                return Err(SchemaError::Unknown {
                    object: head.object,
                    what: "idle timeout behavior",
                    value,
                });
            }
        };
        let (direct_counter, direct_meter) =
            direct_resources(object, &table.direct_resource_ids, counters, meters)?;
        let info = TableInfo {
            size: not_negative(object, "size", table.size)?,
            fields_by_id: positions(fields.iter().map(|field| field.id)),
            actions_by_id: positions(action_refs.iter().map(|action| action.action)),
            fields,
            actions: action_refs,
            const_default_action: Some(table.const_default_action_id).filter(|&id| id != 0),
            initial_default_action: None,
            implementation: Some(table.implementation_id).filter(|&id| id != 0),
            direct_counter,
            direct_meter,
            idle_timeout,
            is_const: table.is_const_table,
            has_initial_entries: table.has_initial_entries,
            id: head.id,
            name: head.name,
            alias: head.alias,
        };
        if let Some(action) = info.const_default_action {
            check_default(&head.object, &info, action)?;
        }
        let initial_default_action = match &table.initial_default_action {
            Some(call) => Some(initial_default(&head.object, &info, call, actions)?),
            None => None,
        };
        Ok(TableInfo { initial_default_action, ..info })
    }
}

fn action_refs(
    object: &str,
    refs: &[config::ActionRef],
    actions: &Objects<ActionInfo>,
) -> Result<Vec<ActionRef>, SchemaError> {
    let mut seen = BTreeSet::new();
    refs.iter()
        .map(|reference| {
            let id = reference.id;
            let object = || object.to_owned();
            if actions.get(id).is_none() {
                return Err(SchemaError::Unresolved { object: object(), what: "action", id });
            }
            if !seen.insert(id) {
                let object = format!("an action of {}", object());
                return Err(SchemaError::Duplicate { object, what: "id", value: id.to_string() });
            }
            let scope = match config::action_ref::Scope::try_from(reference.scope) {
                Ok(config::action_ref::Scope::TableAndDefault) => Scope::TableAndDefault,
                Ok(config::action_ref::Scope::TableOnly) => Scope::TableOnly,
                Ok(config::action_ref::Scope::DefaultOnly) => Scope::DefaultOnly,
                Ok(config::action_ref::Scope::GroupAction) => Scope::GroupAction,
                Err(_) => {
                    let value = reference.scope;
                    return Err(SchemaError::Unknown { object: object(), what: "action scope", value });
                }
            };
            Ok(ActionRef { action: id, scope })
        })
        .collect()
}

/// The direct counter and the direct meter of a table. Ids of other kinds are resources that the architecture adds.
fn direct_resources(
    object: &str,
    ids: &[u32],
    counters: &Objects<CounterInfo>,
    meters: &Objects<MeterInfo>,
) -> Result<(Option<u32>, Option<u32>), SchemaError> {
    let (mut counter, mut meter) = (None, None);
    for &id in ids {
        let (slot, what, known) = match id >> 24 {
            prefix if prefix == Prefix::DirectCounter as u32 => {
                (&mut counter, "direct counter", counters.get(id).is_some())
            }
            prefix if prefix == Prefix::DirectMeter as u32 => {
                (&mut meter, "direct meter", meters.get(id).is_some())
            }
            _ => continue,
        };
        if !known {
            return Err(SchemaError::Unresolved { object: object.to_owned(), what, id });
        }
        if slot.replace(id).is_some() {
            return Err(SchemaError::TooMany { object: object.to_owned(), what });
        }
    }
    Ok((counter, meter))
}

/// A default action is one of the table's, and not for entries only.
fn check_default(object: &str, table: &TableInfo, action: u32) -> Result<(), SchemaError> {
    let problem = match table.action(action) {
        None => "it is none of the table's actions",
        Some(reference) if !reference.scope.as_default() => "its scope forbids it",
        Some(_) => return Ok(()),
    };
    Err(SchemaError::DefaultAction { object: object.to_owned(), action, problem: problem.to_owned() })
}

fn initial_default(
    object: &str,
    table: &TableInfo,
    call: &config::TableActionCall,
    actions: &Objects<ActionInfo>,
) -> Result<ActionCall, SchemaError> {
    check_default(object, table, call.action_id)?;
    let error =
        |problem| SchemaError::DefaultAction { object: object.to_owned(), action: call.action_id, problem };
    let Some(action) = actions.get(call.action_id) else {
        return Err(SchemaError::Unresolved {
            object: object.to_owned(),
            what: "action",
            id: call.action_id,
        });
    };
    let mut arguments = BTreeMap::new();
    for argument in &call.arguments {
        let id = argument.param_id;
        let Some(param) = action.param(id) else {
            return Err(error(format!("it has no parameter {id}")));
        };
        if param.bits > 0 && !bytestring::fits(&argument.value, param.bits) {
            return Err(error(format!("its argument {:?} is no number of {} bits", param.name, param.bits)));
        }
        if arguments.insert(id, argument.value.clone()).is_some() {
            return Err(error(format!("its argument {:?} is given twice", param.name)));
        }
    }
    if let Some(param) = action.params.iter().find(|param| !arguments.contains_key(&param.id)) {
        return Err(error(format!("its argument {:?} is missing", param.name)));
    }
    Ok(ActionCall { action: call.action_id, arguments: arguments.into_iter().collect() })
}

/// Tables and their action profiles name each other, so do tables and their direct resources.
pub(super) fn check_back_references(schema: &Schema) -> Result<(), SchemaError> {
    let shared: BTreeSet<(u32, u32)> = schema
        .profiles()
        .iter()
        .flat_map(|profile| profile.tables.iter().map(|&table| (profile.id, table)))
        .collect();
    for table in schema.tables() {
        let object = || describe("table", &table.name, table.id);
        if let Some(id) = table.implementation {
            let what = "action profile";
            if schema.profile(id).is_none() {
                return Err(SchemaError::Unresolved { object: object(), what, id });
            }
            if !shared.contains(&(id, table.id)) {
                return Err(SchemaError::OneSided { object: object(), what, id });
            }
        }
    }
    let table_of = |kind: &str, name: &str, id: u32, table: u32, refers_back: &dyn Fn(&TableInfo) -> bool| {
        let object = || describe(kind, name, id);
        let what = "table";
        let info = schema.table(table).ok_or_else(|| SchemaError::Unresolved {
            object: object(),
            what,
            id: table,
        })?;
        if refers_back(info) {
            Ok(())
        } else {
            Err(SchemaError::OneSided { object: object(), what, id: table })
        }
    };
    for profile in schema.profiles() {
        for &table in &profile.tables {
            table_of("action profile", &profile.name, profile.id, table, &|table| {
                table.implementation == Some(profile.id)
            })?;
        }
    }
    for counter in schema.counters() {
        if let Cells::Direct(table) = counter.cells {
            table_of("direct counter", &counter.name, counter.id, table, &|table| {
                table.direct_counter == Some(counter.id)
            })?;
        }
    }
    for meter in schema.meters() {
        if let Cells::Direct(table) = meter.cells {
            table_of("direct meter", &meter.name, meter.id, table, &|table| {
                table.direct_meter == Some(meter.id)
            })?;
        }
    }
    Ok(())
}
