//! A forwarding pipeline: the configuration that a client gave, and what the switch makes of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use outplane_p4runtime::p4::config::v1 as config;
use outplane_p4runtime::p4::v1::ForwardingPipelineConfig;
use outplane_p4runtime::p4::v1::forwarding_pipeline_config::Cookie;
use outplane_p4runtime::schema::{Cells, FieldInfo, MatchKind, Schema, TableInfo};

use super::action::ActionCall;
use super::limits::Limits;
use super::refusal::{Outcome, Refusal};
use super::{register, wire};

/// Widest field, parameter or packet metadata that the switch realizes, in bits.
pub const MAX_BITS: u32 = 128;

/// How an action selector counts and weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectorRules {
    /// Sizes count members and not their weights.
    pub(crate) sum_of_members: bool,
    /// Greatest weight of a member, with `sum_of_members`; 0 for any.
    pub(crate) max_member_weight: i32,
    /// Weights are the switch's business.
    pub(crate) weights_disallowed: bool,
}

/// A pipeline that the switch can realize.
#[derive(Debug)]
pub struct Pipeline {
    schema: Schema,
    device_config: Vec<u8>,
    cookie: Option<Cookie>,
    generation: u64,
    unsized_table: usize,
    selectors: BTreeMap<u32, SelectorRules>,
}

impl Pipeline {
    /// Checks a configuration. `INVALID_ARGUMENT` with the reason where it has no P4Info, or one that contradicts
    /// itself or asks for what the switch hasn't got. The device config is kept and not looked at.
    pub fn new(config: ForwardingPipelineConfig, limits: &Limits) -> Outcome<Self> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let info = config.p4info.ok_or_else(|| Refusal::invalid("the pipeline config has no P4Info"))?;
        let schema = Schema::from_p4info(&info)
            .map_err(|error| Refusal::invalid(format!("the P4Info is not valid: {error}")))?;
        check(&schema, limits).map_err(|refusal| refusal.within("the P4Info can't be realized"))?;
        Ok(Self {
            selectors: info.action_profiles.iter().map(selector_rules).collect(),
            schema,
            device_config: config.p4_device_config,
            cookie: config.cookie,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            unsized_table: limits.unsized_table,
        })
    }

    /// The P4Info, checked and indexed.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The device config as it was given.
    pub fn device_config(&self) -> &[u8] {
        &self.device_config
    }

    /// The cookie, if one was given.
    pub fn cookie(&self) -> Option<Cookie> {
        self.cookie
    }

    /// A number that no other pipeline of this process has: who keeps something derived from a pipeline sees by it
    /// that there is another one.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether this calls itself `outplane.p4`, the program that the switch can forward by.
    pub fn is_outplane(&self) -> bool {
        self.schema.p4info().pkg_info.as_ref().is_some_and(|package| package.name == "outplane.p4")
    }

    /// Most entries of a table.
    pub(crate) fn table_size(&self, table: &TableInfo) -> usize {
        match table.size {
            0 => self.unsized_table,
            size => usize::try_from(size).unwrap_or(usize::MAX),
        }
    }

    /// The rules of a selector.
    pub(crate) fn selector(&self, id: u32) -> SelectorRules {
        self.selectors.get(&id).copied().unwrap_or_default()
    }

    /// What a register's cells hold, and the types that this refers to.
    pub(crate) fn register_type(&self, id: u32) -> (config::P4DataTypeSpec, &config::P4TypeInfo) {
        static NO_TYPES: std::sync::LazyLock<config::P4TypeInfo> = std::sync::LazyLock::new(Default::default);
        let info = self.schema.p4info();
        let has_id =
            |register: &&config::Register| register.preamble.as_ref().is_some_and(|own| own.id == id);
        let spec = info.registers.iter().find(has_id).and_then(|register| register.type_spec.clone());
        (spec.unwrap_or_default(), info.type_info.as_ref().unwrap_or(&NO_TYPES))
    }

    /// What a miss in a table does before anybody says otherwise: as the P4Info has it, else the constant default
    /// action or `NoAction`; none where the P4Info leaves it open.
    pub(crate) fn initial_default(&self, table: &TableInfo) -> Option<ActionCall> {
        if let Some(initial) = &table.initial_default_action {
            let action = self.schema.action(initial.action)?;
            let arguments = initial.arguments.iter().map(|(id, value)| (*id, value.as_slice()));
            return wire::params(action, arguments).ok();
        }
        let without_params = |id: u32| self.schema.action(id).filter(|action| action.params.is_empty());
        let no_action = || {
            let actions = table.actions.iter().filter_map(|action| without_params(action.action));
            actions.into_iter().find(|action| action.alias == "NoAction")
        };
        if let Some(action) = table.const_default_action.and_then(without_params).or_else(no_action) {
            return Some(ActionCall { id: action.id, params: Box::default() });
        }
        // outplane.p4 says `default_action = set_version(0)`, which its compiler's P4Info has no place for.
        let [only] = table.actions.as_slice() else { return None };
        let policy_version = self.is_outplane() && table.alias == "policy_version";
        policy_version.then(|| ActionCall { id: only.action, params: [0].into() })
    }
}

fn selector_rules(profile: &config::ActionProfile) -> (u32, SelectorRules) {
    use config::action_profile::SelectorSizeSemantics::SumOfMembers;
    let (sum_of_members, max_member_weight) = match &profile.selector_size_semantics {
        Some(SumOfMembers(semantics)) => (true, semantics.max_member_weight),
        _ => (false, 0),
    };
    let id = profile.preamble.as_ref().map_or(0, |preamble| preamble.id);
    (id, SelectorRules { sum_of_members, max_member_weight, weights_disallowed: profile.weights_disallowed })
}

/// Refuses what is valid, but not to be had here.
fn check(schema: &Schema, limits: &Limits) -> Outcome<()> {
    let tables = schema.tables();
    if tables.len() > limits.tables {
        return Err(Refusal::invalid(format!(
            "{} tables; this switch takes {}",
            tables.len(),
            limits.tables
        )));
    }
    for table in tables {
        check_fields(&table.alias, &table.fields)?;
    }
    for set in schema.value_sets() {
        check_fields(&set.alias, &set.fields)?;
    }
    for action in schema.actions() {
        for param in &action.params {
            check_bits(&format!("parameter {}.{}", action.alias, param.name), param.bits)?;
        }
    }
    for header in schema.packet_headers() {
        for field in &header.fields {
            check_bits(&format!("packet metadata {}.{}", header.alias, field.name), field.bits)?;
        }
    }
    if let Some(instance) = schema.externs().first() {
        return Err(Refusal::invalid(format!("extern {} of type {}", instance.alias, instance.type_name)));
    }
    check_cells(schema, limits)
}

fn check_fields(owner: &str, fields: &[FieldInfo]) -> Outcome<()> {
    for field in fields {
        let name = format!("match field {owner}.{}", field.name);
        if let MatchKind::Other(kind) = &field.kind {
            return Err(Refusal::invalid(format!(
                "{name} has the match kind {kind:?}, which this switch doesn't know"
            )));
        }
        check_bits(&name, field.bits)?;
    }
    Ok(())
}

fn check_bits(what: &str, bits: u32) -> Outcome<()> {
    match bits {
        1..=MAX_BITS => Ok(()),
        0 => Err(Refusal::invalid(format!("{what} is translated to a string, which this switch doesn't do"))),
        _ => Err(Refusal::invalid(format!("{what} is {bits} bits wide; this switch takes up to {MAX_BITS}"))),
    }
}

/// Arrays must fit; registers must be of a type that can be held.
fn check_cells(schema: &Schema, limits: &Limits) -> Outcome<()> {
    let mut cells = Room::new(limits.cells);
    for counter in schema.counters() {
        if let Cells::Indexed(size) = counter.cells {
            cells.take("counter", &counter.alias, size)?;
        }
    }
    let mut meter_cells = Room::new(limits.meter_cells);
    for meter in schema.meters() {
        if let Cells::Indexed(size) = meter.cells {
            meter_cells.take("meter", &meter.alias, size)?;
        }
    }
    let info = schema.p4info();
    let types = info.type_info.clone().unwrap_or_default();
    for (register, message) in schema.registers().iter().zip(&info.registers) {
        cells.take("register", &register.alias, register.size.into())?;
        register::check_spec(
            message.type_spec.as_ref().unwrap_or(&config::P4DataTypeSpec::default()),
            &types,
        )
        .map_err(|refusal| refusal.within(&format!("register {}", register.alias)))?;
    }
    Ok(())
}

/// Cells that are left to take.
struct Room {
    left: u64,
    limit: usize,
}

impl Room {
    fn new(limit: usize) -> Self {
        Self { left: u64::try_from(limit).unwrap_or(u64::MAX), limit }
    }

    fn take(&mut self, what: &str, name: &str, size: u64) -> Outcome<()> {
        let Self { left, limit } = *self;
        self.left = left.checked_sub(size).ok_or_else(|| {
            Refusal::invalid(format!(
                "{what} {name} has {size} cells; this switch has {left} left of {limit}"
            ))
        })?;
        Ok(())
    }
}
