//! What the index says about each object of a P4Info. Ids are the P4Info's.

use std::collections::BTreeMap;

/// How a match field matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// Equal; never left out.
    Exact,
    /// By prefix.
    Lpm,
    /// By value and mask.
    Ternary,
    /// By lowest and highest value.
    Range,
    /// Equal or left out.
    Optional,
    /// A match kind that the architecture adds, by its name.
    Other(String),
}

/// A match field of a table, or a field of a parser value set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldInfo {
    /// Id, unique in its table.
    pub id: u32,
    /// Name, unique in its table.
    pub name: String,
    /// Width in bits; 0 where the values are strings (`@p4runtime_translation` to `sdn_string`).
    pub bits: u32,
    /// How it matches.
    pub kind: MatchKind,
}

/// A parameter of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParamInfo {
    /// Id, unique in its action.
    pub id: u32,
    /// Name, unique in its action.
    pub name: String,
    /// Width in bits; 0 where the values are strings.
    pub bits: u32,
}

/// Where a table may use an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In entries and as default action.
    TableAndDefault,
    /// In entries only.
    TableOnly,
    /// As default action only.
    DefaultOnly,
    /// As `group_action` of a one-shot action set only.
    GroupAction,
}

impl Scope {
    /// Whether entries may use the action.
    pub fn in_entries(self) -> bool {
        matches!(self, Self::TableAndDefault | Self::TableOnly)
    }

    /// Whether it may be the default action.
    pub fn as_default(self) -> bool {
        matches!(self, Self::TableAndDefault | Self::DefaultOnly)
    }
}

/// An action of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionRef {
    /// The action's id.
    pub action: u32,
    /// Where the table may use it.
    pub scope: Scope,
}

/// An action that the program itself calls, and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionCall {
    /// The action's id.
    pub action: u32,
    /// Parameter id and value as byte string, sorted by id, one for every parameter.
    pub arguments: Vec<(u32, Vec<u8>)>,
}

/// A match-action table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Match fields, in the key's order.
    pub fields: Vec<FieldInfo>,
    /// Actions, in the P4Info's order.
    pub actions: Vec<ActionRef>,
    /// Entries that it is meant to hold; 0 where the P4Info does not say.
    pub size: u64,
    /// The default action, where it is const.
    pub const_default_action: Option<u32>,
    /// What a miss does until somebody changes it, where the P4Info says so.
    pub initial_default_action: Option<ActionCall>,
    /// The action profile or selector that holds its actions; none in most tables.
    pub implementation: Option<u32>,
    /// Its direct counter.
    pub direct_counter: Option<u32>,
    /// Its direct meter.
    pub direct_meter: Option<u32>,
    /// Its entries can age.
    pub idle_timeout: bool,
    /// Its entries are const: nobody writes it.
    pub is_const: bool,
    /// The program itself brings entries.
    pub has_initial_entries: bool,
    pub(super) fields_by_id: BTreeMap<u32, usize>,
    pub(super) actions_by_id: BTreeMap<u32, usize>,
}

impl TableInfo {
    /// A match field by id.
    pub fn field(&self, id: u32) -> Option<&FieldInfo> {
        self.fields_by_id.get(&id).map(|&index| &self.fields[index])
    }

    /// A match field by name.
    pub fn field_by_name(&self, name: &str) -> Option<&FieldInfo> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// One of its actions by id.
    pub fn action(&self, id: u32) -> Option<ActionRef> {
        self.actions_by_id.get(&id).map(|&index| self.actions[index])
    }

    /// Whether entries have a priority (not 0): they do when a field is ternary, range or optional (section 9.1).
    pub fn needs_priority(&self) -> bool {
        self.fields
            .iter()
            .any(|field| matches!(field.kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional))
    }

    /// Whether each entry counts.
    pub fn has_direct_counter(&self) -> bool {
        self.direct_counter.is_some()
    }
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActionInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Parameters, in their order.
    pub params: Vec<ParamInfo>,
    pub(super) params_by_id: BTreeMap<u32, usize>,
}

impl ActionInfo {
    /// A parameter by id.
    pub fn param(&self, id: u32) -> Option<&ParamInfo> {
        self.params_by_id.get(&id).map(|&index| &self.params[index])
    }

    /// A parameter by name.
    pub fn param_by_name(&self, name: &str) -> Option<&ParamInfo> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// An action profile, or an action selector.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProfileInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Tables that share it.
    pub tables: Vec<u32>,
    /// It has groups: it is a selector.
    pub with_selector: bool,
    /// Members that it is meant to hold; 0 where the P4Info does not say.
    pub size: u64,
    /// Bound on each group; 0 where the P4Info does not say.
    pub max_group_size: u32,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterUnit {
    /// The P4Info does not say.
    Unspecified,
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
    /// Bytes and packets.
    Both,
}

/// A counter, indexed or direct.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// What it counts.
    pub unit: CounterUnit,
    /// Its cells.
    pub cells: Cells,
}

/// What a meter measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterUnit {
    /// The P4Info does not say.
    Unspecified,
    /// Bytes.
    Bytes,
    /// Packets.
    Packets,
}

/// How a meter colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterKind {
    /// RFC 2698.
    TwoRateThreeColor,
    /// RFC 2697.
    SingleRateThreeColor,
    /// Committed rate and burst only.
    SingleRateTwoColor,
}

/// A meter, indexed or direct.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeterInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// What it measures.
    pub unit: MeterUnit,
    /// How it colours.
    pub kind: MeterKind,
    /// Its cells.
    pub cells: Cells,
}

/// How many cells a counter or meter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// This many, by index from 0.
    Indexed(u64),
    /// One in each entry of this table.
    Direct(u32),
}

/// A field of a packet-in or packet-out header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetadataInfo {
    /// Id, unique in its header.
    pub id: u32,
    /// Name, unique in its header.
    pub name: String,
    /// Width in bits; 0 where the values are strings.
    pub bits: u32,
    /// It only fills the header up to whole bytes (`@padding`); messages carry it all the same (section 16.1).
    pub padding: bool,
}

/// The header of packets to (`packet_in`) or from (`packet_out`) the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketHeaderInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Fields, in their order.
    pub fields: Vec<MetadataInfo>,
}

impl PacketHeaderInfo {
    /// A field by id.
    pub fn field(&self, id: u32) -> Option<&MetadataInfo> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// A field by name.
    pub fn field_by_name(&self, name: &str) -> Option<&MetadataInfo> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A parser value set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueSetInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Fields of a member, in their order.
    pub fields: Vec<FieldInfo>,
    /// Members that it is meant to hold.
    pub size: u32,
}

/// A register.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisterInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Cells, by index from 0.
    pub size: u32,
}

/// A digest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
}

/// An instance of an extern that the architecture adds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExternInfo {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name; the full one where the P4Info gives none.
    pub alias: String,
    /// Id of the extern type: the top eight bits of `id`.
    pub type_id: u32,
    /// Name of the extern type.
    pub type_name: String,
}

/// What all objects have: an id, a name, an alias.
pub(super) trait Object {
    fn id(&self) -> u32;
    fn name(&self) -> &str;
    fn alias(&self) -> &str;
}

macro_rules! object {
    ($($type:ty),*) => {$(
        impl Object for $type {
            fn id(&self) -> u32 { self.id }
            fn name(&self) -> &str { &self.name }
            fn alias(&self) -> &str { &self.alias }
        }
    )*};
}
object!(
    TableInfo,
    ActionInfo,
    ProfileInfo,
    CounterInfo,
    MeterInfo,
    PacketHeaderInfo,
    ValueSetInfo,
    RegisterInfo,
    DigestInfo,
    ExternInfo
);
