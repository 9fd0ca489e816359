//! Entries by the names of a P4Info.
//!
//! A program is somebody else's, its ids are its compiler's; what people know are names. From a [`Schema`] and names
//! come the values of [`crate::entry`], checked: widths, match kinds, what is missing, which actions a table takes.
//! Numbers may be integers, addresses, MAC addresses ([`Value`]); matches also prefixes, ranges and masks ([`Pattern`]).
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use outplane_p4runtime::builder::{Mac, Pattern, Prefix};
//! use outplane_p4runtime::{EXAMPLE_P4INFO, Schema};
//!
//! let schema = Schema::from_text(EXAMPLE_P4INFO)?;
//!
//! let route = schema
//!     .build_entry("ipv4_lpm")
//!     .field("dst_addr", "10.1.0.0/16".parse::<Prefix>()?)
//!     .action("forward")
//!     .param("port", 3)
//!     .param("mac", Mac([2, 0, 0, 0, 0, 1]))
//!     .build()?;
//! assert_eq!(schema.describe(&route), "ipv4_lpm: dst_addr=0xa010000/16 -> forward(port=3, mac=0x20000000001)");
//!
//! let rule = schema
//!     .build_entry("acl")
//!     .field("src_addr", Ipv4Addr::new(10, 1, 0, 7))
//!     .field("dst_port", 8000..=8099)
//!     .field("tcp_flags", Pattern::masked(0x02, 0x12))
//!     .priority(10)
//!     .action("drop")
//!     .build()?;
//! assert_eq!(rule.key.matches.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is wrong is said with what would fit:
//!
//! ```
//! # let schema = outplane_p4runtime::Schema::from_text(outplane_p4runtime::EXAMPLE_P4INFO)?;
//! let error = schema.build_key("ipv4_lpm").field("dst", 1).build().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "table ipv4_lpm has no match field dst; it has dst_addr (LPM, 32 bits)"
//! );
//! let error = schema.build_action("forward").param("port", 512).build().unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "parameter port of action forward is 9 bits wide, and 512 does not fit: the most that fits is 511"
//! );
//! # Ok::<(), outplane_p4runtime::SchemaError>(())
//! ```

mod error;
mod packet;
mod value;

pub use error::BuildError;
pub use packet::PacketOutBuilder;
pub use value::{Mac, ParseError, Pattern, Prefix, Value};

use std::net::IpAddr;

use crate::bytestring::{self, max_value};
use crate::convert::{EntryError, check_complete, member, profile};
use crate::entry::{Action, DefaultEntry, Entry, FieldMatch, Key, Match};
use crate::schema::{ActionInfo, FieldInfo, MatchKind, Schema, Scope, TableInfo};
use value::PatternOf;

/// Names that a message lists.
const LISTED: usize = 16;

impl Schema {
    /// Begins the key of an entry of this table, by full name or alias: for reads and deletes.
    pub fn build_key(&self, table: &str) -> KeyBuilder<'_> {
        KeyBuilder(self.named_table(table).map(|table| KeyDraft {
            table,
            matches: Vec::new(),
            given: Vec::new(),
            priority: 0,
        }))
    }

    /// Begins an action with its arguments, by full name or alias.
    pub fn build_action(&self, action: &str) -> ActionBuilder<'_> {
        ActionBuilder(self.named_action(action).map(|info| ActionDraft { info, params: Vec::new() }))
    }

    /// Begins an entry of this table, by full name or alias.
    pub fn build_entry(&self, table: &str) -> EntryBuilder<'_> {
        EntryBuilder { schema: self, key: self.build_key(table), action: None, metadata: Vec::new() }
    }

    /// The default entry of a table, by full name or alias, with this action; none sets it back to the program's own.
    ///
    /// # Errors
    /// [`BuildError`] for a table that is not there, an action that may not be its default, or arguments that do not fit.
    pub fn build_default(
        &self,
        table: &str,
        action: Option<ActionBuilder<'_>>,
    ) -> Result<DefaultEntry, BuildError> {
        let info = self.named_table(table)?;
        let action = action.map(ActionBuilder::build).transpose()?;
        let entry = DefaultEntry { table: info.id, action };
        Ok(self.default_entry_from_proto(&self.default_entry_to_proto(&entry))?)
    }

    fn named_table(&self, name: &str) -> Result<&TableInfo, BuildError> {
        self.table_by_name(name).ok_or_else(|| BuildError::UnknownObject {
            what: "table",
            name: name.to_owned(),
            has: listed(self.tables().iter().map(|table| table.alias.clone())),
        })
    }

    fn named_action(&self, name: &str) -> Result<&ActionInfo, BuildError> {
        self.action_by_name(name).ok_or_else(|| BuildError::UnknownObject {
            what: "action",
            name: name.to_owned(),
            has: listed(self.actions().iter().map(|action| action.alias.clone())),
        })
    }

    /// The actions that entries of a table may use.
    fn actions_of(&self, table: &TableInfo) -> String {
        let usable = table.actions.iter().filter(|reference| reference.scope.in_entries());
        listed(usable.filter_map(|reference| Some(self.action(reference.action)?.alias.clone())))
    }
}

/// A key in the making: see [`Schema::build_key`]. The first thing that is wrong is said by [`KeyBuilder::build`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is built"]
pub struct KeyBuilder<'a>(Result<KeyDraft<'a>, BuildError>);

#[derive(Clone, Debug)]
struct KeyDraft<'a> {
    table: &'a TableInfo,
    matches: Vec<FieldMatch>,
    /// Fields that were named, also those that match anything.
    given: Vec<u32>,
    priority: i32,
}

impl KeyBuilder<'_> {
    /// What a match field, by its name, must be. Fields that are not named match anything; exact ones must be named.
    pub fn field(self, name: &str, pattern: impl Into<Pattern>) -> Self {
        let pattern = pattern.into();
        Self(self.0.and_then(|mut draft| {
            let table = draft.table;
            let info = table.field_by_name(name).ok_or_else(|| BuildError::UnknownMember {
                owner: format!("table {}", table.alias),
                what: "match field",
                name: name.to_owned(),
                has: listed(table.fields.iter().map(field_words)),
            })?;
            if draft.given.contains(&info.id) {
                return Err(EntryError::Twice { member: member(table, info) }.into());
            }
            draft.given.push(info.id);
            let found = matched(&member(table, info), info, pattern)?;
            draft.matches.extend(found.map(|matches| FieldMatch { field: info.id, matches }));
            Ok(draft)
        }))
    }

    /// Which entry wins where several match: the larger one. Tables with ternary, range or optional fields want at least
    /// 1, others none.
    pub fn priority(self, priority: i32) -> Self {
        Self(self.0.map(|draft| KeyDraft { priority, ..draft }))
    }

    /// The key.
    ///
    /// # Errors
    /// [`BuildError`] for the first name or value that does not fit, an exact field that was not named, a wrong priority.
    pub fn build(self) -> Result<Key, BuildError> {
        let mut draft = self.0?;
        draft.matches.sort_unstable_by_key(|matched| matched.field);
        let key = Key { table: draft.table.id, matches: draft.matches, priority: draft.priority };
        check_complete(draft.table, &key)?;
        Ok(key)
    }
}

/// An action in the making: see [`Schema::build_action`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is built"]
pub struct ActionBuilder<'a>(Result<ActionDraft<'a>, BuildError>);

#[derive(Clone, Debug)]
struct ActionDraft<'a> {
    info: &'a ActionInfo,
    params: Vec<(u32, u128)>,
}

impl ActionBuilder<'_> {
    /// The argument for a parameter, by its name.
    pub fn param(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self(self.0.and_then(|mut draft| {
            let info = draft.info;
            let param = info.param_by_name(name).ok_or_else(|| BuildError::UnknownMember {
                owner: format!("action {}", info.alias),
                what: "parameter",
                name: name.to_owned(),
                has: listed(
                    info.params.iter().map(|param| format!("{} ({})", param.name, width(param.bits))),
                ),
            })?;
            let member = format!("parameter {name} of action {}", info.alias);
            if draft.params.iter().any(|&(id, _)| id == param.id) {
                return Err(EntryError::Twice { member }.into());
            }
            draft.params.push((param.id, number(&member, param.bits, value)?));
            Ok(draft)
        }))
    }

    /// The action.
    ///
    /// # Errors
    /// [`BuildError`] for the first name or value that does not fit, and for a parameter that is missing.
    pub fn build(self) -> Result<Action, BuildError> {
        let ActionDraft { info, mut params } = self.0?;
        params.sort_unstable_by_key(|&(id, _)| id);
        let given = |id| params.iter().any(|&(given, _)| given == id);
        if let Some(missing) = info.params.iter().find(|param| !given(param.id)) {
            let member = format!("parameter {} of action {}", missing.name, info.alias);
            return Err(EntryError::Missing { member }.into());
        }
        Ok(Action { id: info.id, params })
    }
}

/// An entry in the making: see [`Schema::build_entry`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is built"]
pub struct EntryBuilder<'a> {
    schema: &'a Schema,
    key: KeyBuilder<'a>,
    action: Option<ActionBuilder<'a>>,
    metadata: Vec<u8>,
}

impl EntryBuilder<'_> {
    /// See [`KeyBuilder::field`].
    pub fn field(self, name: &str, pattern: impl Into<Pattern>) -> Self {
        Self { key: self.key.field(name, pattern), ..self }
    }

    /// See [`KeyBuilder::priority`].
    pub fn priority(self, priority: i32) -> Self {
        Self { key: self.key.priority(priority), ..self }
    }

    /// What the entry does; its arguments follow.
    pub fn action(self, name: &str) -> Self {
        Self { action: Some(self.schema.build_action(name)), ..self }
    }

    /// The argument for a parameter of the action that was named.
    pub fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        let Some(action) = self.action.take() else {
            let failed = |draft: KeyDraft<'_>| {
                Err(no_action(self.schema, draft.table, "an argument stands before its action"))
            };
            return Self { key: KeyBuilder(self.key.0.and_then(failed)), ..self };
        };
        self.action = Some(action.param(name, value));
        self
    }

    /// Bytes that the switch keeps with the entry and gives back when it is read.
    pub fn metadata(self, metadata: impl Into<Vec<u8>>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// The entry.
    ///
    /// # Errors
    /// [`BuildError`] for the first thing that is wrong with its key, then with its action.
    pub fn build(self) -> Result<Entry, BuildError> {
        let table = self.key.0.as_ref().map(|draft| draft.table).ok();
        let key = self.key.build()?;
        // There is a table where there is a key.
        let Some(table) = table else { return Err(unknown_table(key.table)) };
        let Some(action) = self.action else {
            return Err(no_action(self.schema, table, "the entry has no action"));
        };
        if table.implementation.is_some() {
            return Err(profile(table).into());
        }
        let name = action.0.as_ref().map(|draft| draft.info.alias.clone()).unwrap_or_default();
        let action = action.build()?;
        if !table.action(action.id).is_some_and(|reference| Scope::in_entries(reference.scope)) {
            let has = self.schema.actions_of(table);
            return Err(BuildError::Action { table: table.alias.clone(), action: name, has });
        }
        Ok(Entry { key, action, metadata: self.metadata })
    }
}

fn unknown_table(id: u32) -> BuildError {
    EntryError::UnknownObject { what: "table", id }.into()
}

fn no_action(schema: &Schema, table: &TableInfo, problem: &'static str) -> BuildError {
    BuildError::NoAction { table: table.alias.clone(), problem, has: schema.actions_of(table) }
}

/// The match that a pattern is for a field; none for anything.
fn matched(member: &str, field: &FieldInfo, pattern: Pattern) -> Result<Option<Match>, BuildError> {
    let number = |value| number(member, field.bits, value);
    let (form, kind) = (pattern.0, &field.kind);
    Ok(match (kind, form) {
        (MatchKind::Exact, PatternOf::Value(value)) => Some(Match::Exact(number(value)?)),
        (MatchKind::Optional, PatternOf::Value(value)) => Some(Match::Optional(number(value)?)),
        (MatchKind::Lpm, PatternOf::Value(value)) => {
            let value = number(value)?;
            let prefix_len = u8::try_from(field.bits).unwrap_or(u8::MAX);
            Some(Match::Lpm { value, prefix_len })
        }
        (MatchKind::Lpm, PatternOf::Prefix(prefix)) => {
            let (value, _) = prefix_bits(member, field.bits, prefix)?;
            (prefix.len > 0).then_some(Match::Lpm { value, prefix_len: prefix.len })
        }
        (MatchKind::Ternary, PatternOf::Value(value)) => {
            Some(Match::Ternary { value: number(value)?, mask: max_value(field.bits) })
        }
        (MatchKind::Ternary, PatternOf::Prefix(prefix)) => {
            let (value, mask) = prefix_bits(member, field.bits, prefix)?;
            (mask != 0).then_some(Match::Ternary { value, mask })
        }
        (MatchKind::Ternary, PatternOf::Masked(value, mask)) => {
            let (value, mask) = (number(value)?, number(mask)?);
            (mask != 0).then_some(Match::Ternary { value: value & mask, mask })
        }
        (MatchKind::Range, PatternOf::Value(value)) => {
            let value = number(value)?;
            Some(Match::Range { low: value, high: value })
        }
        (MatchKind::Range, PatternOf::Range(low, high)) => {
            let (low, high) = (number(low)?, number(high)?);
            if low > high {
                return Err(EntryError::EmptyRange { member: member.to_owned(), low, high }.into());
            }
            (low != 0 || high != max_value(field.bits)).then_some(Match::Range { low, high })
        }
        _ => {
            return Err(BuildError::Kind {
                member: member.to_owned(),
                kind: kind_words(kind).to_owned(),
                given: pattern.to_string(),
                form: match form {
                    PatternOf::Value(_) => "a value",
                    PatternOf::Prefix(_) => "a prefix",
                    PatternOf::Masked(..) => "a value with a mask",
                    PatternOf::Range(..) => "a range",
                },
                fits: match kind {
                    MatchKind::Exact => "one value",
                    MatchKind::Optional => "one value, or leave it out",
                    MatchKind::Lpm => "a prefix or one value",
                    MatchKind::Ternary => "a value with a mask, a prefix or one value",
                    MatchKind::Range => "a range or one value",
                    MatchKind::Other(_) => "it through the messages, as builders have no form for it",
                },
            });
        }
    })
}

/// A prefix as value and mask.
fn prefix_bits(member: &str, bits: u32, prefix: Prefix) -> Result<(u128, u128), BuildError> {
    let value = number(member, bits, Value::from(prefix.address))?;
    let wrong =
        |problem| BuildError::Value { member: member.to_owned(), bits, given: prefix.to_string(), problem };
    // The address has the field's width by now.
    let Some(host_bits) = bits.checked_sub(prefix.len.into()) else {
        return Err(wrong(format!("the longest prefix has {bits} bits")));
    };
    let mask = max_value(bits) & !max_value(host_bits);
    if value & !mask != 0 {
        let first = match prefix.address {
            #[expect(clippy::cast_possible_truncation, reason = "it came from 32 bits")]
            IpAddr::V4(_) => IpAddr::V4(((value & mask) as u32).into()),
            IpAddr::V6(_) => IpAddr::V6((value & mask).into()),
        };
        return Err(wrong(format!("bits are set behind the prefix, which is {first}/{}", prefix.len)));
    }
    Ok((value, mask))
}

/// A value as number of a member's width.
fn number(member: &str, bits: u32, value: Value) -> Result<u128, BuildError> {
    if !(1..=bytestring::MAX_BITS).contains(&bits) {
        return Err(EntryError::Unsupported { member: member.to_owned(), width: unsupported(bits) }.into());
    }
    value.number(bits).map_err(|problem| BuildError::Value {
        member: member.to_owned(),
        bits,
        given: value.to_string(),
        problem,
    })
}

fn unsupported(bits: u32) -> String {
    if bits == 0 { width(bits) } else { format!("{} wide", width(bits)) }
}

fn width(bits: u32) -> String {
    match bits {
        0 => "of strings".to_owned(),
        1 => "1 bit".to_owned(),
        bits => format!("{bits} bits"),
    }
}

fn kind_words(kind: &MatchKind) -> &str {
    match kind {
        MatchKind::Exact => "exact",
        MatchKind::Lpm => "LPM",
        MatchKind::Ternary => "ternary",
        MatchKind::Range => "range",
        MatchKind::Optional => "optional",
        MatchKind::Other(name) => name,
    }
}

fn field_words(field: &FieldInfo) -> String {
    format!("{} ({}, {})", field.name, kind_words(&field.kind), width(field.bits))
}

/// Names for a message.
fn listed(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(LISTED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names[..LISTED].join(", ")),
    }
}

#[cfg(test)]
mod tests;
