//! What the plan has to know of a program: which tables are versioned and by which field, how the version that packets
//! see is set, where groups are used.

use std::collections::BTreeMap;

use outplane_p4runtime::Schema;
use outplane_p4runtime::bytestring::max_value;
use outplane_p4runtime::entry::{Action, DefaultEntry, FieldMatch, Match};
use outplane_p4runtime::schema::MatchKind;

use super::PlanError;

/// The field of a table that says in which versions of the policy an entry exists: in all (no match), or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionField {
    /// The match field's id.
    pub id: u32,
    /// All its bits.
    pub mask: u128,
}

impl VersionField {
    /// The match of an entry that exists in one version only.
    pub fn exactly(self, version: u8) -> FieldMatch {
        FieldMatch { field: self.id, matches: Match::Ternary { value: version.into(), mask: self.mask } }
    }
}

/// An action with one parameter, in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setter {
    /// The table's id.
    pub table: u32,
    /// The action's id.
    pub action: u32,
    /// The parameter's id.
    pub param: u32,
}

impl Setter {
    /// The action with this value.
    pub fn action(self, value: u128) -> Action {
        Action { id: self.action, params: vec![(self.param, value)] }
    }

    /// The value in an action; none where it is another action.
    pub fn value(self, action: &Action) -> Option<u128> {
        if action.id != self.action {
            return None;
        }
        action.params.iter().find(|&&(id, _)| id == self.param).map(|&(_, value)| value)
    }

    fn find(schema: &Schema, table: &str, action: &str, param: &str) -> Result<Self, PlanError> {
        let missing = |what, name: &str| PlanError::Program { what, name: name.to_owned() };
        let table = schema.table_by_name(table).ok_or_else(|| missing("table", table))?.id;
        let info = schema.action_by_name(action).ok_or_else(|| missing("action", action))?;
        let param = info.param_by_name(param).ok_or_else(|| missing("action parameter", param))?.id;
        Ok(Self { table, action: info.id, param })
    }
}

/// A program as the plan sees it. Cheap to make: one look at each table.
#[derive(Clone, Debug)]
pub struct Layout<'a> {
    schema: &'a Schema,
    versions: BTreeMap<u32, VersionField>,
    policy_version: Setter,
    flood: Setter,
}

impl<'a> Layout<'a> {
    /// Finds what it needs by name.
    ///
    /// # Errors
    /// [`PlanError::Program`] where the P4Info is not outplane.p4's.
    pub fn new(schema: &'a Schema) -> Result<Self, PlanError> {
        let mut versions = BTreeMap::new();
        for table in schema.tables() {
            let Some(field) = table.field_by_name("version") else { continue };
            if field.kind != MatchKind::Ternary {
                let name = format!("version in {}", table.alias);
                return Err(PlanError::Program { what: "ternary match field", name });
            }
            versions.insert(table.id, VersionField { id: field.id, mask: max_value(field.bits) });
        }
        let policy_version = Setter::find(schema, "policy_version", "set_version", "version")?;
        let flood = Setter::find(schema, "flood", "flood_to", "group")?;
        Ok(Self { schema, versions, policy_version, flood })
    }

    /// The P4Info's index.
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// The version field of a versioned table; none for tables whose entries all versions share.
    pub fn version_field(&self, table: u32) -> Option<VersionField> {
        self.versions.get(&table).copied()
    }

    /// `policy_version`'s default action: which version packets see.
    pub fn policy_version(&self) -> Setter {
        self.policy_version
    }

    /// `flood`'s action: which multicast group frames to unknown addresses go to.
    pub fn flood(&self) -> Setter {
        self.flood
    }

    /// The default entry that makes packets see a version.
    pub fn show_version(&self, version: u8) -> DefaultEntry {
        let setter = self.policy_version;
        DefaultEntry { table: setter.table, action: Some(setter.action(version.into())) }
    }

    /// What a table is called; its id where the program has no such table.
    pub fn table_name(&self, id: u32) -> String {
        self.schema.table(id).map_or_else(|| format!("table-{id}"), |table| table.alias.clone())
    }
}
