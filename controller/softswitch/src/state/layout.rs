//! The P4Info as the switch uses it: widths, match kinds, scopes and sizes, all references resolved.

use std::collections::{BTreeMap, HashMap};

use outplane_p4runtime::p4::config::v1 as config;
use outplane_p4runtime::p4::config::v1::{
    action_profile::SelectorSizeSemantics, action_ref::Scope, match_field, match_field::MatchType,
    table::IdleTimeoutBehavior,
};

use super::action::ActionCall;
use super::limits::Limits;
use super::refusal::{Outcome, Refusal};
use super::wire;

/// Widest field, parameter or packet metadata that the switch realizes, in bits.
pub const MAX_BITS: u32 = 128;

/// A match field of a table or value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its width, 1..=[`MAX_BITS`].
    pub bits: u32,
    /// How it matches; never unspecified.
    pub kind: MatchType,
}

/// A parameter of an action, or a field of a packet header to or from the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its width, 1..=[`MAX_BITS`].
    pub bits: u32,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// Its id.
    pub id: u32,
    /// Its fully qualified name.
    pub name: String,
    /// Its short name, or the full one where there is none.
    pub alias: String,
    /// Its key.
    pub fields: Vec<Field>,
    /// Its actions and where each may stand.
    pub actions: Vec<(u32, Scope)>,
    /// The default entry cannot be changed.
    pub const_default: bool,
    /// What the default entry does at first; none where the P4Info doesn't say.
    pub initial_default: Option<ActionCall>,
    /// The action profile that implements it.
    pub profile: Option<u32>,
    /// The direct counter.
    pub counter: Option<u32>,
    /// The direct meter.
    pub meter: Option<u32>,
    /// Most entries that it takes.
    pub size: usize,
    /// Entries may have idle timeouts.
    pub idle_timeout: bool,
    /// Its entries are the program's, for ever.
    pub constant: bool,
    /// Some field is ternary, range or optional: entries have priorities.
    pub by_priority: bool,
}

/// An action profile or selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileLayout {
    /// Its id.
    pub id: u32,
    /// Its short name.
    pub alias: String,
    /// Its tables.
    pub tables: Vec<u32>,
    /// It has groups.
    pub selector: bool,
    /// Most members (profiles), or what groups may sum up to (selectors); 0 for no limit of its own.
    pub size: u64,
    /// Greatest size of a group; 0 for no limit of its own.
    pub max_group_size: u64,
    /// Sizes count members and not their weights.
    pub sum_of_members: bool,
    /// Greatest weight of a member, with `sum_of_members`; 0 for any.
    pub max_member_weight: i32,
    /// Weights are the switch's business.
    pub weights_disallowed: bool,
}

/// A meter, indexed or direct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterLayout {
    /// Its id.
    pub id: u32,
    /// Its short name.
    pub alias: String,
    /// Cells; 0 for a direct meter.
    pub size: usize,
    /// It counts packets and not bytes.
    pub packets: bool,
    /// How it colours.
    pub kind: config::meter_spec::Type,
}

/// An indexed counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterLayout {
    /// Its id.
    pub id: u32,
    /// Its short name.
    pub alias: String,
    /// Cells.
    pub size: usize,
}

/// A register.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterLayout {
    /// Its id.
    pub id: u32,
    /// Its short name.
    pub alias: String,
    /// Cells.
    pub size: usize,
    /// What a cell holds.
    pub spec: config::P4DataTypeSpec,
}

/// A parser value set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSetLayout {
    /// Its id.
    pub id: u32,
    /// Its short name.
    pub alias: String,
    /// What a member matches.
    pub fields: Vec<Field>,
    /// Most members.
    pub size: usize,
}

/// Everything in a P4Info that the switch acts by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Tables by id.
    pub tables: BTreeMap<u32, TableLayout>,
    /// Actions by id.
    pub actions: HashMap<u32, Action>,
    /// Action profiles by id.
    pub profiles: BTreeMap<u32, ProfileLayout>,
    /// Indexed counters by id.
    pub counters: BTreeMap<u32, CounterLayout>,
    /// Indexed meters by id.
    pub meters: BTreeMap<u32, MeterLayout>,
    /// Direct meters by id.
    pub direct_meters: BTreeMap<u32, MeterLayout>,
    /// Registers by id.
    pub registers: BTreeMap<u32, RegisterLayout>,
    /// Value sets by id.
    pub value_sets: BTreeMap<u32, ValueSetLayout>,
    /// Digests: short names by id.
    pub digests: BTreeMap<u32, String>,
    /// Header of packets to the controller, none if the program has none.
    pub packet_in: Option<Vec<Param>>,
    /// Header of packets from the controller, none if the program has none.
    pub packet_out: Option<Vec<Param>>,
    /// Types that registers refer to.
    pub types: config::P4TypeInfo,
}

fn alias(preamble: &config::Preamble) -> String {
    if preamble.alias.is_empty() { preamble.name.clone() } else { preamble.alias.clone() }
}

fn bits(what: &str, name: &str, bitwidth: i32) -> Outcome<u32> {
    match u32::try_from(bitwidth) {
        Ok(bits) if (1..=MAX_BITS).contains(&bits) => Ok(bits),
        Ok(0) => Err(Refusal::invalid(format!(
            "{what} {name} has no bit width; types that are translated to strings are not supported"
        ))),
        _ => Err(Refusal::invalid(format!(
            "{what} {name} is {bitwidth} bits wide; this switch takes 1 to {MAX_BITS}"
        ))),
    }
}

fn fields(owner: &str, fields: &[config::MatchField]) -> Outcome<Vec<Field>> {
    fields
        .iter()
        .map(|field| {
            let name = format!("{owner}.{}", field.name);
            let kind = match &field.r#match {
                Some(match_field::Match::MatchType(kind)) => {
                    MatchType::try_from(*kind).ok().filter(|kind| *kind != MatchType::Unspecified)
                }
                _ => None,
            };
            Ok(Field {
                id: field.id,
                bits: bits("match field", &name, field.bitwidth)?,
                kind: kind.ok_or_else(|| {
                    Refusal::invalid(format!(
                        "match field {name} has a match type that this switch doesn't know"
                    ))
                })?,
                name: field.name.clone(),
            })
        })
        .collect()
}

impl Layout {
    /// Resolves a P4Info that is valid by itself (see `Schema::from_p4info`), and refuses what the switch cannot
    /// realize: fields wider than 128 bits, unknown match types, more cells or tables than `limits` allow.
    pub fn new(info: &config::P4Info, limits: &Limits) -> Outcome<Self> {
        let mut layout = Self { types: info.type_info.clone().unwrap_or_default(), ..Self::default() };
        let mut cells = Cells { left: limits.cells };
        layout.add_actions(info)?;
        layout.add_profiles(info);
        layout.add_arrays(info, &mut cells)?;
        layout.add_tables(info, limits)?;
        for set in &info.value_sets {
            let preamble = set.preamble.clone().unwrap_or_default();
            let alias = alias(&preamble);
            let size =
                usize::try_from(set.size).ok().filter(|size| *size > 0).unwrap_or(limits.unsized_table);
            let fields = fields(&alias, &set.r#match)?;
            layout.value_sets.insert(preamble.id, ValueSetLayout { id: preamble.id, alias, fields, size });
        }
        for digest in &info.digests {
            let preamble = digest.preamble.clone().unwrap_or_default();
            layout.digests.insert(preamble.id, alias(&preamble));
        }
        for header in &info.controller_packet_metadata {
            let name = header.preamble.as_ref().map_or("", |preamble| preamble.name.as_str());
            let fields: Outcome<Vec<Param>> = header
                .metadata
                .iter()
                .map(|field| {
                    let bits = bits("packet metadata", &format!("{name}.{}", field.name), field.bitwidth)?;
                    Ok(Param { id: field.id, name: field.name.clone(), bits })
                })
                .collect();
            match name {
                "packet_in" => layout.packet_in = Some(fields?),
                "packet_out" => layout.packet_out = Some(fields?),
                _ => {
                    return Err(Refusal::invalid(format!(
                        "controller packet metadata named {name:?}: the standard has packet_in and packet_out"
                    )));
                }
            }
        }
        if !info.externs.is_empty() {
            return Err(Refusal::invalid(
                "the P4Info has externs that are not in PSA; this switch has none of them",
            ));
        }
        Ok(layout)
    }

    fn add_actions(&mut self, info: &config::P4Info) -> Outcome<()> {
        for action in &info.actions {
            let preamble = action.preamble.clone().unwrap_or_default();
            let name = alias(&preamble);
            let params: Outcome<Vec<Param>> = action
                .params
                .iter()
                .map(|param| {
                    let bits = bits("action parameter", &format!("{name}.{}", param.name), param.bitwidth)?;
                    Ok(Param { id: param.id, name: param.name.clone(), bits })
                })
                .collect();
            self.actions.insert(preamble.id, Action { id: preamble.id, name, params: params? });
        }
        Ok(())
    }

    fn add_profiles(&mut self, info: &config::P4Info) {
        for profile in &info.action_profiles {
            let preamble = profile.preamble.clone().unwrap_or_default();
            let (sum_of_members, max_member_weight) = match &profile.selector_size_semantics {
                Some(SelectorSizeSemantics::SumOfMembers(semantics)) => (true, semantics.max_member_weight),
                _ => (false, 0),
            };
            let layout = ProfileLayout {
                id: preamble.id,
                alias: alias(&preamble),
                tables: profile.table_ids.clone(),
                selector: profile.with_selector,
                size: u64::try_from(profile.size).unwrap_or(0),
                max_group_size: u64::try_from(profile.max_group_size).unwrap_or(0),
                sum_of_members,
                max_member_weight,
                weights_disallowed: profile.weights_disallowed,
            };
            self.profiles.insert(preamble.id, layout);
        }
    }

    /// Counters, meters and registers.
    fn add_arrays(&mut self, info: &config::P4Info, cells: &mut Cells) -> Outcome<()> {
        for counter in &info.counters {
            let preamble = counter.preamble.clone().unwrap_or_default();
            let alias = alias(&preamble);
            let size = cells.take("counter", &alias, counter.size)?;
            self.counters.insert(preamble.id, CounterLayout { id: preamble.id, alias, size });
        }
        for meter in &info.meters {
            let preamble = meter.preamble.clone().unwrap_or_default();
            let size = cells.take("meter", &alias(&preamble), meter.size)?;
            self.meters.insert(preamble.id, meter_layout(&preamble, meter.spec.as_ref(), size));
        }
        for meter in &info.direct_meters {
            let preamble = meter.preamble.clone().unwrap_or_default();
            self.direct_meters.insert(preamble.id, meter_layout(&preamble, meter.spec.as_ref(), 0));
        }
        for register in &info.registers {
            let preamble = register.preamble.clone().unwrap_or_default();
            let alias = alias(&preamble);
            let size = cells.take("register", &alias, i64::from(register.size))?;
            let spec = register.type_spec.clone().unwrap_or_default();
            super::register::check_spec(&spec, &self.types)
                .map_err(|refusal| refusal.within(&format!("register {alias}")))?;
            self.registers.insert(preamble.id, RegisterLayout { id: preamble.id, alias, size, spec });
        }
        Ok(())
    }

    fn add_tables(&mut self, info: &config::P4Info, limits: &Limits) -> Outcome<()> {
        if info.tables.len() > limits.tables {
            return Err(Refusal::invalid(format!(
                "{} tables; this switch takes {}",
                info.tables.len(),
                limits.tables
            )));
        }
        for table in &info.tables {
            let preamble = table.preamble.clone().unwrap_or_default();
            let alias = alias(&preamble);
            let fields = fields(&alias, &table.match_fields)?;
            let by_priority = fields.iter().any(|field| {
                matches!(field.kind, MatchType::Ternary | MatchType::Range | MatchType::Optional)
            });
            let id_of =
                |preamble: &Option<config::Preamble>| preamble.as_ref().map_or(0, |preamble| preamble.id);
            let direct = |ids: Vec<u32>| ids.into_iter().find(|id| table.direct_resource_ids.contains(id));
            let layout = TableLayout {
                id: preamble.id,
                name: preamble.name,
                fields,
                actions: table.action_refs.iter().map(|action| (action.id, action.scope())).collect(),
                const_default: table.const_default_action_id != 0,
                initial_default: self.initial_default(table).map_err(|refusal| refusal.within(&alias))?,
                profile: (table.implementation_id != 0).then_some(table.implementation_id),
                counter: direct(
                    info.direct_counters.iter().map(|counter| id_of(&counter.preamble)).collect(),
                ),
                meter: direct(info.direct_meters.iter().map(|meter| id_of(&meter.preamble)).collect()),
                size: usize::try_from(table.size)
                    .ok()
                    .filter(|size| *size > 0)
                    .unwrap_or(limits.unsized_table),
                idle_timeout: table.idle_timeout_behavior() == IdleTimeoutBehavior::NotifyControl,
                constant: table.is_const_table,
                by_priority,
                alias,
            };
            self.tables.insert(layout.id, layout);
        }
        Ok(())
    }

    /// What a miss does at first: as the P4Info says, or `NoAction` where the table has it.
    fn initial_default(&self, table: &config::Table) -> Outcome<Option<ActionCall>> {
        if let Some(initial) = &table.initial_default_action {
            let action = self.actions.get(&initial.action_id);
            let action =
                action.ok_or_else(|| Refusal::invalid("the initial default action is not in the P4Info"))?;
            let arguments =
                initial.arguments.iter().map(|argument| (argument.param_id, argument.value.as_slice()));
            return wire::params(action, arguments).map(Some);
        }
        let without_params = |id: u32| self.actions.get(&id).filter(|action| action.params.is_empty());
        let constant = without_params(table.const_default_action_id);
        let no_action = || {
            let ids = table.action_refs.iter().map(|action| action.id);
            ids.filter_map(without_params).find(|action| action.name == "NoAction")
        };
        Ok(constant.or_else(no_action).map(|action| ActionCall { id: action.id, params: Box::default() }))
    }

    /// A table by its short or full name.
    pub fn table_named(&self, name: &str) -> Option<&TableLayout> {
        self.tables.values().find(|table| table.alias == name || table.name == name)
    }

    /// An indexed meter by its short name.
    pub fn meter_named(&self, alias: &str) -> Option<&MeterLayout> {
        self.meters.values().find(|meter| meter.alias == alias)
    }
}

fn meter_layout(preamble: &config::Preamble, spec: Option<&config::MeterSpec>, size: usize) -> MeterLayout {
    let packets = spec.is_some_and(|spec| spec.unit() == config::meter_spec::Unit::Packets);
    let kind = spec.map_or(config::meter_spec::Type::TwoRateThreeColor, config::MeterSpec::r#type);
    MeterLayout { id: preamble.id, alias: alias(preamble), size, packets, kind }
}

/// Cells of counters, meters and registers that may still be allocated.
struct Cells {
    left: usize,
}

impl Cells {
    fn take(&mut self, what: &str, name: &str, size: i64) -> Outcome<usize> {
        let size = usize::try_from(size).ok().filter(|size| *size <= self.left).ok_or_else(|| {
            let left = self.left;
            Refusal::invalid(format!(
                "{what} {name} has a size of {size}; this switch has {left} cells left for it"
            ))
        })?;
        self.left -= size;
        Ok(size)
    }
}

impl Layout {
    /// Whether `other` has all that this program has under the same names, whatever the ids and sizes.
    pub(crate) fn same_program(&self, other: &Self) -> bool {
        let names = |params: &[Param]| {
            params.iter().map(|param| (param.name.clone(), param.bits)).collect::<Vec<_>>()
        };
        let tables = self.tables.values().all(|own| {
            other.table_named(&own.name).is_some_and(|table| {
                let key = |fields: &[Field]| {
                    fields
                        .iter()
                        .map(|field| (field.name.clone(), field.bits, field.kind))
                        .collect::<Vec<_>>()
                };
                let actions = |layout: &Self, table: &TableLayout| {
                    let actions = table.actions.iter().filter_map(|(id, _)| layout.actions.get(id));
                    actions.map(|action| (action.name.clone(), names(&action.params))).collect::<Vec<_>>()
                };
                key(&own.fields) == key(&table.fields)
                    && actions(self, own) == actions(other, table)
                    && own.profile == table.profile
                    && own.counter.is_some() == table.counter.is_some()
            })
        });
        let meters = self
            .meters
            .values()
            .all(|own| other.meter_named(&own.alias).is_some_and(|meter| meter.packets == own.packets));
        let header = |params: &Option<Vec<Param>>| params.as_deref().map(names);
        tables
            && meters
            && header(&self.packet_in) == header(&other.packet_in)
            && header(&self.packet_out) == header(&other.packet_out)
    }
}
