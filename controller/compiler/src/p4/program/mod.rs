//! The binding: tables, fields, actions and parameters of `outplane.p4` and the ids that a P4Info gives them.
//!
//! The compiler and the lookup speak of [`Table::FilterAdmin`] and [`Field::SrcClass`]; here they become numbers, once,
//! and a P4Info that lacks one of them or has it in another shape is refused.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use outplane_p4::RATE_LIMITER;
use outplane_p4runtime::entry::{Action, DefaultEntry, FieldMatch, Key, Match};
use outplane_p4runtime::schema::{Cells, MatchKind, Schema};

pub use outplane_p4::{ActionKind, DropCounter, Field, Table};

/// A P4Info is not that of `outplane.p4`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Something is not there.
    #[error("the P4Info has no {what} {name}: it is not that of this version's outplane.p4")]
    Missing {
        /// Table, action, ..
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something is there in another shape.
    #[error("the P4Info's {what} {name} is not as in this version's outplane.p4: {difference}")]
    Different {
        /// Table, action, ..
        what: &'static str,
        /// Its name.
        name: String,
        /// What differs.
        difference: String,
    },
}

#[derive(Clone, Debug)]
struct BoundTable {
    id: u32,
    size: u64,
    /// Ids in the order of [`Table::fields`].
    fields: Vec<u32>,
}

#[derive(Clone, Debug)]
struct BoundAction {
    id: u32,
    /// Ids in the order of [`ActionKind::params`].
    params: Vec<u32>,
}

/// The ids that a P4Info of `outplane.p4` gives to everything that entries speak of.
#[derive(Clone, Debug)]
pub struct Program {
    schema: Schema,
    /// In the order of [`Table::ALL`].
    tables: Vec<BoundTable>,
    /// In the order of [`ActionKind::ALL`].
    actions: Vec<BoundAction>,
    table_ids: BTreeMap<u32, Table>,
    /// By table: the field that says in which versions of the policy an entry exists.
    version_fields: BTreeMap<u32, u32>,
    action_ids: BTreeMap<u32, ActionKind>,
    rate_limiter: u32,
    rate_limiter_cells: u64,
    /// In the order of [`DropCounter::ALL`].
    drop_counters: Vec<u32>,
}

impl Program {
    /// The program as committed with this version: what is pushed to switches.
    ///
    /// # Panics
    /// If the committed P4Info is not that of the program; a test of this crate would have failed.
    pub fn outplane() -> &'static Self {
        static PROGRAM: OnceLock<Program> = OnceLock::new();
        PROGRAM.get_or_init(|| {
            let schema = Schema::from_text(outplane_p4::P4INFO).expect("the committed P4Info is valid");
            Self::new(schema).expect("the committed P4Info is that of outplane.p4")
        })
    }

    /// Looks up everything by name.
    pub fn new(schema: Schema) -> Result<Self, ProgramError> {
        let tables =
            Table::ALL.iter().map(|table| bind_table(&schema, *table)).collect::<Result<Vec<_>, _>>()?;
        let actions =
            ActionKind::ALL.iter().map(|kind| bind_action(&schema, *kind)).collect::<Result<Vec<_>, _>>()?;
        for (table, bound) in Table::ALL.iter().zip(&tables) {
            for kind in table.actions() {
                let action = schema.table(bound.id).and_then(|info| info.action(actions[*kind as usize].id));
                if action.is_none() {
                    return Err(different("table", table.name(), format!("it has no action {kind}")));
                }
            }
        }
        let limiter = schema.meter_by_name(RATE_LIMITER).ok_or_else(|| missing("meter", RATE_LIMITER))?;
        let Cells::Indexed(rate_limiter_cells) = limiter.cells else {
            return Err(different("meter", RATE_LIMITER, "it has no index".to_owned()));
        };
        let rate_limiter = limiter.id;
        let drop_counters = DropCounter::ALL.iter().map(|counter| {
            let info = schema.counter_by_name(counter.name());
            info.map(|info| info.id).ok_or_else(|| missing("counter", counter.name()))
        });
        let drop_counters = drop_counters.collect::<Result<Vec<_>, _>>()?;
        let table_ids = tables.iter().zip(Table::ALL).map(|(bound, table)| (bound.id, *table)).collect();
        let version_of = |(bound, table): (&BoundTable, &Table)| {
            let place = table.fields().iter().position(|(field, _)| *field == Field::Version)?;
            Some((bound.id, bound.fields[place]))
        };
        let version_fields = tables.iter().zip(Table::ALL).filter_map(version_of).collect();
        let action_ids = actions.iter().zip(ActionKind::ALL).map(|(bound, kind)| (bound.id, *kind)).collect();
        Ok(Self {
            schema,
            tables,
            actions,
            table_ids,
            version_fields,
            action_ids,
            rate_limiter,
            rate_limiter_cells,
            drop_counters,
        })
    }

    /// The id of a counter of drops.
    pub fn drop_counter(&self, counter: DropCounter) -> u32 {
        self.drop_counters[counter as usize]
    }

    /// The index of the P4Info behind it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// A table's id.
    pub fn table(&self, table: Table) -> u32 {
        self.tables[table as usize].id
    }

    /// The table with this id.
    pub fn table_of(&self, id: u32) -> Option<Table> {
        self.table_ids.get(&id).copied()
    }

    /// Entries that a table holds.
    pub fn size(&self, table: Table) -> u64 {
        self.tables[table as usize].size
    }

    /// The id of a table's match field; none if the table has no such field.
    pub fn field(&self, table: Table, field: Field) -> Option<u32> {
        let place = table.fields().iter().position(|(own, _)| *own == field)?;
        Some(self.tables[table as usize].fields[place])
    }

    /// The match field of a table, by its id, that says in which versions of the policy an entry exists: in all (no match on
    /// it), or in one. None for tables whose entries all versions share.
    pub(crate) fn version_field(&self, table: u32) -> Option<u32> {
        self.version_fields.get(&table).copied()
    }

    /// Which match field of a table has this id.
    pub fn field_of(&self, table: Table, id: u32) -> Option<Field> {
        let place = self.tables[table as usize].fields.iter().position(|own| *own == id)?;
        Some(table.fields()[place].0)
    }

    /// An action with its arguments in the order of [`ActionKind::params`].
    pub fn action(&self, kind: ActionKind, arguments: &[u128]) -> Action {
        let bound = &self.actions[kind as usize];
        debug_assert_eq!(bound.params.len(), arguments.len(), "arguments of {kind}");
        let mut params: Vec<(u32, u128)> =
            bound.params.iter().copied().zip(arguments.iter().copied()).collect();
        params.sort_unstable();
        Action { id: bound.id, params }
    }

    /// Which action this is.
    pub fn action_of(&self, id: u32) -> Option<ActionKind> {
        self.action_ids.get(&id).copied()
    }

    /// An argument of an action by its place in [`ActionKind::params`].
    pub fn argument(&self, action: &Action, place: usize) -> Option<u128> {
        let kind = self.action_of(action.id)?;
        let id = self.actions[kind as usize].params.get(place)?;
        action.params.iter().find(|(param, _)| param == id).map(|(_, value)| *value)
    }

    /// The place among an action's arguments of a parameter, both by their ids.
    pub(crate) fn place_of(&self, action: u32, param: u32) -> Option<usize> {
        let bound = &self.actions[self.action_of(action)? as usize];
        bound.params.iter().position(|own| *own == param)
    }

    /// A class that an action sets, by its place among the arguments.
    pub(crate) fn class(&self, action: &Action, place: usize) -> Option<u16> {
        self.argument(action, place).and_then(|class| u16::try_from(class).ok())
    }

    /// How an entry of a table matches a field; none if it does not.
    pub(crate) fn matched(&self, table: Table, matches: &[FieldMatch], field: Field) -> Option<Match> {
        let id = self.field(table, field)?;
        matches.iter().find(|matched| matched.field == id).map(|matched| matched.matches)
    }

    /// A key; matches in any order, each on a field that the table has.
    pub fn key(&self, table: Table, priority: i32, matches: impl IntoIterator<Item = (Field, Match)>) -> Key {
        let mut matches: Vec<FieldMatch> = matches
            .into_iter()
            .filter_map(|(field, matches)| {
                let id = self.field(table, field);
                debug_assert!(id.is_some(), "{table} has no field {field}");
                Some(FieldMatch { field: id?, matches })
            })
            .collect();
        matches.sort_unstable();
        Key { table: self.table(table), matches, priority }
    }

    /// The version that a default entry of `policy_version` says; none if it is another table's.
    pub fn version_of(&self, entry: &DefaultEntry) -> Option<u8> {
        let action = entry.action.as_ref().filter(|_| entry.table == self.table(Table::PolicyVersion))?;
        let is_set = self.action_of(action.id) == Some(ActionKind::SetVersion);
        self.argument(action, 0).filter(|_| is_set).and_then(|version| u8::try_from(version).ok())
    }

    /// The id of the meter whose cells limit rates.
    pub fn rate_limiter(&self) -> u32 {
        self.rate_limiter
    }

    /// How many cells that meter has.
    pub fn rate_limiter_cells(&self) -> u64 {
        self.rate_limiter_cells
    }
}

fn missing(what: &'static str, name: &str) -> ProgramError {
    ProgramError::Missing { what, name: name.to_owned() }
}

fn different(what: &'static str, name: &str, difference: String) -> ProgramError {
    ProgramError::Different { what, name: name.to_owned(), difference }
}

fn bind_table(schema: &Schema, table: Table) -> Result<BoundTable, ProgramError> {
    let info = schema.table_by_name(table.name()).ok_or_else(|| missing("table", table.name()))?;
    let mut fields = Vec::with_capacity(table.fields().len());
    for (field, bits) in table.fields() {
        let found = info
            .field_by_name(field.name())
            .ok_or_else(|| missing("match field", &format!("{table}.{field}")))?;
        let kind = match table.match_kind(*field) {
            outplane_p4::MatchKind::Exact => MatchKind::Exact,
            outplane_p4::MatchKind::Ternary => MatchKind::Ternary,
            outplane_p4::MatchKind::Range => MatchKind::Range,
        };
        if found.bits != *bits || found.kind != kind {
            let difference =
                format!("{field} is {:?} of {} bits, expected {kind:?} of {bits}", found.kind, found.bits);
            return Err(different("table", table.name(), difference));
        }
        fields.push(found.id);
    }
    // A field that entries do not mention would match everything, whatever it is there for.
    if let Some(unknown) = info.fields.iter().find(|field| !fields.contains(&field.id)) {
        return Err(different("table", table.name(), format!("it has a field {}", unknown.name)));
    }
    Ok(BoundTable { id: info.id, size: info.size, fields })
}

fn bind_action(schema: &Schema, kind: ActionKind) -> Result<BoundAction, ProgramError> {
    let info = schema.action_by_name(kind.name()).ok_or_else(|| missing("action", kind.name()))?;
    let mut params = Vec::with_capacity(kind.params().len());
    for (name, bits) in kind.params() {
        let param = info
            .param_by_name(name)
            .filter(|param| param.bits == *bits)
            .ok_or_else(|| different("action", kind.name(), format!("it has no {name} of {bits} bits")))?;
        params.push(param.id);
    }
    if info.params.len() != params.len() {
        let difference = format!("it has {} parameters, expected {}", info.params.len(), params.len());
        return Err(different("action", kind.name(), difference));
    }
    Ok(BoundAction { id: info.id, params })
}
