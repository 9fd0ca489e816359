//! Entries as values to and from P4Runtime entities.
//!
//! Out: canonical byte strings, don't-care matches omitted, everything sorted by id. In: byte strings of any length,
//! don't-care matches in any form; what comes out of it is in the one form that [`crate::entry`] has for it.
//! This is how a client reads. What a strict server must refuse besides (byte strings that are not canonical, bits
//! outside of a mask) it finds with [`crate::bytestring`] in the entity itself.

mod error;
mod replication;

pub use error::EntryError;

use crate::bytestring::{self, canonical, max_value};
use crate::entry::{Action, DefaultEntry, Entry, FieldMatch, Key, Match};
use crate::p4::v1;
use crate::schema::{ActionInfo, FieldInfo, MatchKind, Schema, Scope, TableInfo};
use v1::field_match::FieldMatchType;

impl Schema {
    /// A key as the table entry that names it: for deletes and reads. Ids and values go out as they are; see
    /// [`Schema::check_entry`] for whether they are the program's.
    pub fn key_to_proto(&self, key: &Key) -> v1::TableEntry {
        v1::TableEntry {
            table_id: key.table,
            r#match: key.matches.iter().map(match_to_proto).collect(),
            priority: key.priority,
            ..Default::default()
        }
    }

    /// An entry as table entry, without direct resources: for inserts and modifies.
    pub fn entry_to_proto(&self, entry: &Entry) -> v1::TableEntry {
        v1::TableEntry {
            action: Some(table_action(&entry.action)),
            metadata: entry.metadata.clone(),
            ..self.key_to_proto(&entry.key)
        }
    }

    /// A default entry as table entry. Without an action it resets the default to the program's own.
    pub fn default_entry_to_proto(&self, entry: &DefaultEntry) -> v1::TableEntry {
        v1::TableEntry {
            table_id: entry.table,
            action: entry.action.as_ref().map(table_action),
            is_default_action: true,
            ..Default::default()
        }
    }

    /// The key of a table entry, whatever else is in it.
    ///
    /// # Errors
    /// [`EntryError`] for what is not the program's, or has no form as a value.
    pub fn key_from_proto(&self, entry: &v1::TableEntry) -> Result<Key, EntryError> {
        let table = self.table_of(entry)?;
        if entry.is_default_action {
            return Err(form(table, "a default entry has no key"));
        }
        let mut matches = Vec::with_capacity(entry.r#match.len());
        for field_match in &entry.r#match {
            let id = field_match.field_id;
            let field = table.field(id).ok_or_else(|| EntryError::UnknownMember {
                owner: format!("table {}", table.alias),
                what: "match field",
                id,
            })?;
            let value = match_from_proto(table, field, field_match.field_match_type.as_ref())?;
            matches.push((id, value));
        }
        matches.sort_unstable_by_key(|&(id, _)| id);
        if let Some(twice) = matches.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(EntryError::Twice { member: member_of(table, twice[0].0) });
        }
        let matches = matches
            .into_iter()
            .filter_map(|(field, matches)| matches.map(|matches| FieldMatch { field, matches }))
            .collect();
        let key = Key { table: table.id, matches, priority: entry.priority };
        check_complete(table, &key)?;
        Ok(key)
    }

    /// A table entry as value. Counters, meters and idle timeouts are not in it.
    ///
    /// # Errors
    /// [`EntryError`] for what is not the program's, or has no form as a value: default entries, actions out of action
    /// profiles, fields wider than 128 bits or of strings.
    pub fn entry_from_proto(&self, entry: &v1::TableEntry) -> Result<Entry, EntryError> {
        let key = self.key_from_proto(entry)?;
        let table = self.table_of(entry)?;
        let action = entry.action.as_ref().ok_or_else(|| form(table, "the entry has no action"))?;
        let action = self.table_action_from_proto(table, action, Use::InEntries)?;
        Ok(Entry { key, action, metadata: entry.metadata.clone() })
    }

    /// A default entry as value. Without an action it means the program's own default.
    ///
    /// # Errors
    /// [`EntryError`] for what is not the program's, or has no form as a value; for entries that are not default ones.
    pub fn default_entry_from_proto(&self, entry: &v1::TableEntry) -> Result<DefaultEntry, EntryError> {
        let table = self.table_of(entry)?;
        if !entry.is_default_action {
            return Err(form(table, "the entry is not the default entry"));
        }
        if !entry.r#match.is_empty() {
            return Err(form(table, "a default entry has no matches"));
        }
        if entry.priority != 0 {
            let rule = "a default entry has priority 0";
            return Err(EntryError::Priority { table: table.alias.clone(), priority: entry.priority, rule });
        }
        let action = entry
            .action
            .as_ref()
            .map(|action| self.table_action_from_proto(table, action, Use::AsDefault))
            .transpose()?;
        Ok(DefaultEntry { table: table.id, action })
    }

    /// An action of the wire as value, its parameters complete and of their widths.
    ///
    /// # Errors
    /// [`EntryError`] for what is not the program's, or has no form as a value.
    pub fn action_from_proto(&self, action: &v1::Action) -> Result<Action, EntryError> {
        arguments(self.action_of(action)?, action)
    }

    /// Whether an entry is one that its table can hold: its ids are the program's, its matches of the fields' kinds and
    /// widths and in the one form that [`crate::entry`] allows, its action one of the table's, its parameters complete.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn check_entry(&self, entry: &Entry) -> Result<(), EntryError> {
        let read = self.entry_from_proto(&self.entry_to_proto(entry))?;
        if read == *entry {
            return Ok(());
        }
        let table = self.table(entry.key.table).ok_or_else(|| unknown("table", entry.key.table))?;
        Err(form(
            table,
            "the entry is not in its one form: sorted, without don't-care matches, zero outside of masks",
        ))
    }

    fn table_of(&self, entry: &v1::TableEntry) -> Result<&TableInfo, EntryError> {
        self.table(entry.table_id).ok_or_else(|| unknown("table", entry.table_id))
    }

    fn action_of(&self, action: &v1::Action) -> Result<&ActionInfo, EntryError> {
        self.action(action.action_id).ok_or_else(|| unknown("action", action.action_id))
    }

    fn table_action_from_proto(
        &self,
        table: &TableInfo,
        action: &v1::TableAction,
        usage: Use,
    ) -> Result<Action, EntryError> {
        let action = match &action.r#type {
            Some(v1::table_action::Type::Action(action)) => action,
            Some(_) => return Err(profile(table)),
            None => return Err(form(table, "its action is empty")),
        };
        let info = self.action_of(action)?;
        let scope = table.action(info.id).map(|reference| reference.scope);
        let (allowed, place) = match usage {
            Use::InEntries => (scope.is_some_and(Scope::in_entries), "its entries may use"),
            Use::AsDefault => (scope.is_some_and(Scope::as_default), "may be its default"),
        };
        if !allowed {
            return Err(EntryError::Action { table: table.alias.clone(), action: info.alias.clone(), place });
        }
        arguments(info, action)
    }
}

/// What a table does with an action.
#[derive(Clone, Copy)]
enum Use {
    InEntries,
    AsDefault,
}

/// An action with its parameters: each of them once, and of its width.
fn arguments(info: &ActionInfo, action: &v1::Action) -> Result<Action, EntryError> {
    let member = |name: &str| format!("parameter {name} of action {}", info.alias);
    let mut params = Vec::with_capacity(action.params.len());
    for param in &action.params {
        let id = param.param_id;
        let Some(param_info) = info.param(id) else {
            let owner = format!("action {}", info.alias);
            return Err(EntryError::UnknownMember { owner, what: "parameter", id });
        };
        let member = || member(&param_info.name);
        params.push((id, number(&member, param_info.bits, &param.value)?));
    }
    params.sort_unstable_by_key(|&(id, _)| id);
    if let Some(twice) = params.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let name = info.param(twice[0].0).map_or("", |param| &param.name);
        return Err(EntryError::Twice { member: member(name) });
    }
    let given = |id| params.binary_search_by_key(&id, |&(id, _)| id).is_ok();
    if let Some(missing) = info.params.iter().find(|param| !given(param.id)) {
        return Err(EntryError::Missing { member: member(&missing.name) });
    }
    Ok(Action { id: info.id, params })
}

fn unknown(what: &'static str, id: u32) -> EntryError {
    EntryError::UnknownObject { what, id }
}

fn form(table: &TableInfo, problem: &'static str) -> EntryError {
    EntryError::Form { object: format!("table {}", table.alias), problem }
}

pub(crate) fn profile(table: &TableInfo) -> EntryError {
    form(table, "its action comes from an action profile, which has no form as a value")
}

pub(crate) fn member(table: &TableInfo, field: &FieldInfo) -> String {
    format!("match field {} of table {}", field.name, table.alias)
}

fn member_of(table: &TableInfo, field: u32) -> String {
    table
        .field(field)
        .map_or_else(|| format!("match field {field} of table {}", table.alias), |info| member(table, info))
}

/// Exact fields are all there, and the priority is as the fields want it.
pub(crate) fn check_complete(table: &TableInfo, key: &Key) -> Result<(), EntryError> {
    let given = |id| key.matches.binary_search_by_key(&id, |matched| matched.field).is_ok();
    if let Some(missing) =
        table.fields.iter().find(|field| field.kind == MatchKind::Exact && !given(field.id))
    {
        return Err(EntryError::Missing { member: member(table, missing) });
    }
    let rule = match (table.needs_priority(), key.priority) {
        (true, 1..) | (false, 0) => return Ok(()),
        (true, _) => "a table with ternary, range or optional fields wants a priority of at least 1",
        (false, _) => "a table of exact and LPM fields wants none, that is 0",
    };
    Err(EntryError::Priority { table: table.alias.clone(), priority: key.priority, rule })
}

/// A byte string as number of a member's width.
fn number(member: &dyn Fn() -> String, bits: u32, bytes: &[u8]) -> Result<u128, EntryError> {
    let width = match bits {
        0 => "of strings".to_owned(),
        1..=bytestring::MAX_BITS => {
            return bytestring::parse(bytes, bits)
                .map_err(|source| EntryError::Value { member: member(), source });
        }
        _ => format!("{bits} bits wide"),
    };
    Err(EntryError::Unsupported { member: member(), width })
}

fn table_action(action: &Action) -> v1::TableAction {
    let params = action
        .params
        .iter()
        .map(|&(param_id, value)| v1::action::Param { param_id, value: canonical(value) })
        .collect();
    v1::TableAction {
        r#type: Some(v1::table_action::Type::Action(v1::Action { action_id: action.id, params })),
    }
}

fn match_to_proto(field_match: &FieldMatch) -> v1::FieldMatch {
    let kind = match field_match.matches {
        Match::Exact(value) => FieldMatchType::Exact(v1::field_match::Exact { value: canonical(value) }),
        Match::Lpm { value, prefix_len } => FieldMatchType::Lpm(v1::field_match::Lpm {
            value: canonical(value),
            prefix_len: prefix_len.into(),
        }),
        Match::Ternary { value, mask } => FieldMatchType::Ternary(v1::field_match::Ternary {
            value: canonical(value),
            mask: canonical(mask),
        }),
        Match::Range { low, high } => {
            FieldMatchType::Range(v1::field_match::Range { low: canonical(low), high: canonical(high) })
        }
        Match::Optional(value) => {
            FieldMatchType::Optional(v1::field_match::Optional { value: canonical(value) })
        }
    };
    v1::FieldMatch { field_id: field_match.field, field_match_type: Some(kind) }
}

/// A match as value; none for don't-care.
fn match_from_proto(
    table: &TableInfo,
    field: &FieldInfo,
    found: Option<&FieldMatchType>,
) -> Result<Option<Match>, EntryError> {
    let member = || member(table, field);
    let number = |bytes: &[u8]| number(&member, field.bits, bytes);
    // In these kinds the standard lets values be absent, which protobuf cannot tell from empty: zero.
    let optional_number = |bytes: &[u8]| number(if bytes.is_empty() { &[0] } else { bytes });
    let all = max_value(field.bits);
    Ok(match (&field.kind, found) {
        (MatchKind::Exact, Some(FieldMatchType::Exact(exact))) => Some(Match::Exact(number(&exact.value)?)),
        (MatchKind::Optional, Some(FieldMatchType::Optional(optional))) => {
            Some(Match::Optional(number(&optional.value)?))
        }
        (MatchKind::Lpm, Some(FieldMatchType::Lpm(lpm))) => {
            let value = optional_number(&lpm.value)?;
            let prefix_len = u8::try_from(lpm.prefix_len).ok().filter(|&len| u32::from(len) <= field.bits);
            let Some(prefix_len) = prefix_len else {
                return Err(EntryError::PrefixLength {
                    member: member(),
                    prefix_len: lpm.prefix_len,
                    bits: field.bits,
                });
            };
            let host_bits = max_value(field.bits - u32::from(prefix_len));
            (prefix_len > 0).then_some(Match::Lpm { value: value & !host_bits, prefix_len })
        }
        (MatchKind::Ternary, Some(FieldMatchType::Ternary(ternary))) => {
            let (value, mask) = (optional_number(&ternary.value)?, optional_number(&ternary.mask)?);
            (mask != 0).then_some(Match::Ternary { value: value & mask, mask })
        }
        (MatchKind::Range, Some(FieldMatchType::Range(range))) => {
            let (low, high) = (optional_number(&range.low)?, optional_number(&range.high)?);
            if low > high {
                return Err(EntryError::EmptyRange { member: member(), low, high });
            }
            (low != 0 || high != all).then_some(Match::Range { low, high })
        }
        (kind, found) => {
            let expected = match kind {
                MatchKind::Exact => "exact",
                MatchKind::Lpm => "LPM",
                MatchKind::Ternary => "ternary",
                MatchKind::Range => "range",
                MatchKind::Optional => "optional",
                MatchKind::Other(_) => "one that the architecture adds and this crate has no form for",
            };
            let found = match found {
                None => "nothing",
                Some(FieldMatchType::Exact(_)) => "exact",
                Some(FieldMatchType::Lpm(_)) => "LPM",
                Some(FieldMatchType::Ternary(_)) => "ternary",
                Some(FieldMatchType::Range(_)) => "range",
                Some(FieldMatchType::Optional(_)) => "optional",
                Some(FieldMatchType::Other(_)) => "a kind that the architecture adds",
            };
            return Err(EntryError::Kind { member: member(), expected, found });
        }
    })
}

#[cfg(test)]
mod tests;
