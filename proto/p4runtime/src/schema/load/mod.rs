//! From P4Info to index, with every check.

use std::collections::{BTreeMap, BTreeSet};

use super::info::Object;
use super::{
    ActionInfo, Cells, CounterInfo, CounterUnit, DigestInfo, ExternInfo, FieldInfo, MatchKind, MetadataInfo,
    MeterInfo, MeterKind, MeterUnit, Objects, PacketHeaderInfo, ParamInfo, ProfileInfo, RegisterInfo, Schema,
    SchemaError, ValueSetInfo,
};
use crate::p4::config::v1 as config;
use config::p4_ids::Prefix;

mod table;

pub(super) fn load(p4info: config::P4Info) -> Result<Schema, SchemaError> {
    let mut loader = Loader { types: p4info.type_info.as_ref(), ids: BTreeSet::new() };
    let actions = objects(&p4info.actions, |at, action| loader.action(at, action))?;
    let profiles = objects(&p4info.action_profiles, |at, profile| loader.profile(at, profile))?;
    let mut counters = Vec::new();
    for (at, counter) in p4info.counters.iter().enumerate() {
        counters.push(loader.counter(at, counter)?);
    }
    for (at, counter) in p4info.direct_counters.iter().enumerate() {
        counters.push(loader.direct_counter(at, counter)?);
    }
    let mut meters = Vec::new();
    for (at, meter) in p4info.meters.iter().enumerate() {
        meters.push(loader.meter(at, meter)?);
    }
    for (at, meter) in p4info.direct_meters.iter().enumerate() {
        meters.push(loader.direct_meter(at, meter)?);
    }
    let mut externs = Vec::new();
    for group in &p4info.externs {
        for (at, instance) in group.instances.iter().enumerate() {
            externs.push(loader.extern_instance(at, group, instance)?);
        }
    }
    let counters = index("counter", counters)?;
    let meters = index("meter", meters)?;
    let tables = objects(&p4info.tables, |at, table| loader.table(at, table, &actions, &counters, &meters))?;
    let schema = Schema {
        tables,
        actions,
        profiles,
        counters,
        meters,
        packet_headers: objects(&p4info.controller_packet_metadata, |at, header| {
            loader.packet_header(at, header)
        })?,
        value_sets: objects(&p4info.value_sets, |at, set| loader.value_set(at, set))?,
        registers: objects(&p4info.registers, |at, register| loader.register(at, register))?,
        digests: objects(&p4info.digests, |at, digest| loader.digest(at, digest))?,
        externs: index("extern instance", externs)?,
        p4info,
    };
    table::check_back_references(&schema)?;
    Ok(schema)
}

/// Kind of a message as people call it.
trait Kind {
    const KIND: &'static str;
}

macro_rules! kinds {
    ($($message:ident $kind:literal,)*) => {$(
        impl Kind for config::$message {
            const KIND: &'static str = $kind;
        }
    )*};
}
kinds! {
    Table "table", Action "action", ActionProfile "action profile", Counter "counter", DirectCounter "direct counter",
    Meter "meter", DirectMeter "direct meter", ControllerPacketMetadata "packet header", ValueSet "value set",
    Register "register", Digest "digest", ExternInstance "extern instance",
}

/// Loads the objects of a kind.
fn objects<M: Kind, T: Object>(
    messages: &[M],
    mut load: impl FnMut(usize, &M) -> Result<T, SchemaError>,
) -> Result<Objects<T>, SchemaError> {
    let all =
        messages.iter().enumerate().map(|(at, message)| load(at, message)).collect::<Result<Vec<_>, _>>()?;
    index(M::KIND, all)
}

/// Indexes objects of a kind. A name or alias is another object's neither as name nor as alias.
fn index<T: Object>(kind: &'static str, all: Vec<T>) -> Result<Objects<T>, SchemaError> {
    let mut by_id = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    for (at, object) in all.iter().enumerate() {
        by_id.insert(object.id(), at);
        for (what, name) in [("name", object.name()), ("alias", object.alias())] {
            if by_name.insert(name.to_owned(), at).is_some_and(|other| other != at) {
                let object = describe(kind, object.name(), object.id());
                return Err(SchemaError::Duplicate { object, what, value: format!("{name:?}") });
            }
        }
    }
    Ok(Objects { all, by_id, by_name })
}

fn describe(kind: &str, name: &str, id: u32) -> String {
    format!("{kind} {name:?} (id {id})")
}

/// Id, full name and alias of an object, and how to call it in errors.
struct Head {
    id: u32,
    name: String,
    alias: String,
    object: String,
}

struct Loader<'a> {
    types: Option<&'a config::P4TypeInfo>,
    /// Ids of all objects so far, whatever their kind.
    ids: BTreeSet<u32>,
}

impl Loader<'_> {
    /// Checks a preamble. `prefix` is none where the standard's own examples do not keep to one.
    fn head<M: Kind>(
        &mut self,
        at: usize,
        preamble: Option<&config::Preamble>,
        prefix: Option<u32>,
    ) -> Result<Head, SchemaError> {
        let kind = M::KIND;
        let missing = |object: String, what| SchemaError::Missing { object, what };
        let nameless = || format!("{kind} number {}", at + 1);
        let preamble = preamble.ok_or_else(|| missing(nameless(), "preamble"))?;
        let config::Preamble { id, name, alias, .. } = preamble.clone();
        if name.is_empty() {
            return Err(missing(nameless(), "name"));
        }
        let object = describe(kind, &name, id);
        if id == 0 {
            return Err(missing(object, "id"));
        }
        if let Some(expected) = prefix
            && id >> 24 != expected
        {
            return Err(SchemaError::Prefix { object, expected, found: id >> 24 });
        }
        if !self.ids.insert(id) {
            return Err(SchemaError::Duplicate { object, what: "id", value: id.to_string() });
        }
        let alias = if alias.is_empty() { name.clone() } else { alias };
        Ok(Head { id, name, alias, object })
    }

    /// The width of a field or parameter: what is stated, else what its type is translated to (0 for strings).
    fn width(
        &self,
        object: &str,
        bits: i32,
        type_name: Option<&config::P4NamedType>,
    ) -> Result<u32, SchemaError> {
        use config::p4_new_type_spec::Representation;
        use config::p4_new_type_translation::SdnType;
        let width = |bits: i32| {
            u32::try_from(bits)
                .ok()
                .filter(|&bits| bits > 0)
                .ok_or_else(|| SchemaError::Width { object: object.to_owned(), bits })
        };
        if bits != 0 {
            return width(bits);
        }
        let new_type = type_name.zip(self.types).and_then(|(name, types)| types.new_types.get(&name.name));
        match new_type.and_then(|new_type| new_type.representation.as_ref()) {
            Some(Representation::TranslatedType(config::P4NewTypeTranslation {
                sdn_type: Some(SdnType::SdnString(_)),
                ..
            })) => Ok(0),
            Some(Representation::TranslatedType(config::P4NewTypeTranslation {
                sdn_type: Some(SdnType::SdnBitwidth(bits)),
                ..
            })) => width(*bits),
            _ => width(0),
        }
    }

    /// The fields of a key.
    fn fields(&self, owner: &str, fields: &[config::MatchField]) -> Result<Vec<FieldInfo>, SchemaError> {
        use config::match_field::{Match, MatchType};
        check_members("match field", owner, fields.iter().map(|field| (field.id, field.name.as_str())))?;
        fields
            .iter()
            .map(|field| {
                let object = || format!("match field {:?} of {owner}", field.name);
                let kind = match &field.r#match {
                    None => return Err(SchemaError::Missing { object: object(), what: "match type" }),
                    Some(Match::OtherMatchType(name)) => MatchKind::Other(name.clone()),
                    Some(Match::MatchType(value)) => match MatchType::try_from(*value) {
                        Ok(MatchType::Exact) => MatchKind::Exact,
                        Ok(MatchType::Lpm) => MatchKind::Lpm,
                        Ok(MatchType::Ternary) => MatchKind::Ternary,
                        Ok(MatchType::Range) => MatchKind::Range,
                        Ok(MatchType::Optional) => MatchKind::Optional,
                        Ok(MatchType::Unspecified) | Err(_) => {
                            return Err(SchemaError::Unknown {
                                object: object(),
                                what: "match type",
                                value: *value,
                            });
                        }
                    },
                };
                let bits = self.width(&object(), field.bitwidth, field.type_name.as_ref())?;
                Ok(FieldInfo { id: field.id, name: field.name.clone(), bits, kind })
            })
            .collect()
    }

    fn action(&mut self, at: usize, action: &config::Action) -> Result<ActionInfo, SchemaError> {
        let head = self.head::<config::Action>(at, action.preamble.as_ref(), Some(Prefix::Action as u32))?;
        check_members(
            "parameter",
            &head.object,
            action.params.iter().map(|param| (param.id, param.name.as_str())),
        )?;
        let mut params = Vec::new();
        for param in &action.params {
            let object = format!("parameter {:?} of {}", param.name, head.object);
            let bits = self.width(&object, param.bitwidth, param.type_name.as_ref())?;
            params.push(ParamInfo { id: param.id, name: param.name.clone(), bits });
        }
        let params_by_id = positions(params.iter().map(|param| param.id));
        Ok(ActionInfo { id: head.id, name: head.name, alias: head.alias, params, params_by_id })
    }

    fn profile(&mut self, at: usize, profile: &config::ActionProfile) -> Result<ProfileInfo, SchemaError> {
        let head = self.head::<config::ActionProfile>(
            at,
            profile.preamble.as_ref(),
            Some(Prefix::ActionProfile as u32),
        )?;
        Ok(ProfileInfo {
            size: not_negative(&head.object, "size", profile.size)?,
            max_group_size: not_negative(&head.object, "largest group size", profile.max_group_size)?,
            id: head.id,
            name: head.name,
            alias: head.alias,
            tables: profile.table_ids.clone(),
            with_selector: profile.with_selector,
        })
    }

    fn counter(&mut self, at: usize, counter: &config::Counter) -> Result<CounterInfo, SchemaError> {
        let head =
            self.head::<config::Counter>(at, counter.preamble.as_ref(), Some(Prefix::Counter as u32))?;
        let cells = Cells::Indexed(not_negative(&head.object, "size", counter.size)?);
        counter_info(head, counter.spec, cells)
    }

    fn direct_counter(
        &mut self,
        at: usize,
        counter: &config::DirectCounter,
    ) -> Result<CounterInfo, SchemaError> {
        let prefix = Prefix::DirectCounter as u32;
        let head = self.head::<config::DirectCounter>(at, counter.preamble.as_ref(), Some(prefix))?;
        counter_info(head, counter.spec, Cells::Direct(counter.direct_table_id))
    }

    fn meter(&mut self, at: usize, meter: &config::Meter) -> Result<MeterInfo, SchemaError> {
        let head = self.head::<config::Meter>(at, meter.preamble.as_ref(), Some(Prefix::Meter as u32))?;
        let cells = Cells::Indexed(not_negative(&head.object, "size", meter.size)?);
        meter_info(head, meter.spec, cells)
    }

    fn direct_meter(&mut self, at: usize, meter: &config::DirectMeter) -> Result<MeterInfo, SchemaError> {
        let head =
            self.head::<config::DirectMeter>(at, meter.preamble.as_ref(), Some(Prefix::DirectMeter as u32))?;
        meter_info(head, meter.spec, Cells::Direct(meter.direct_table_id))
    }

    fn packet_header(
        &mut self,
        at: usize,
        header: &config::ControllerPacketMetadata,
    ) -> Result<PacketHeaderInfo, SchemaError> {
        // No prefix: the specification's own example (section 6.4.6) has ids without one, and so had p4c.
        let head = self.head::<config::ControllerPacketMetadata>(at, header.preamble.as_ref(), None)?;
        let names = header.metadata.iter().map(|field| (field.id, field.name.as_str()));
        check_members("field", &head.object, names)?;
        let mut fields = Vec::new();
        for field in &header.metadata {
            let object = format!("field {:?} of {}", field.name, head.object);
            fields.push(MetadataInfo {
                id: field.id,
                name: field.name.clone(),
                bits: self.width(&object, field.bitwidth, field.type_name.as_ref())?,
                padding: field.annotations.iter().any(|annotation| annotation == "@padding"),
            });
        }
        Ok(PacketHeaderInfo { id: head.id, name: head.name, alias: head.alias, fields })
    }

    fn value_set(&mut self, at: usize, set: &config::ValueSet) -> Result<ValueSetInfo, SchemaError> {
        let head = self.head::<config::ValueSet>(at, set.preamble.as_ref(), Some(Prefix::ValueSet as u32))?;
        Ok(ValueSetInfo {
            fields: self.fields(&head.object, &set.r#match)?,
            size: not_negative(&head.object, "size", set.size)?,
            id: head.id,
            name: head.name,
            alias: head.alias,
        })
    }

    fn register(&mut self, at: usize, register: &config::Register) -> Result<RegisterInfo, SchemaError> {
        let head =
            self.head::<config::Register>(at, register.preamble.as_ref(), Some(Prefix::Register as u32))?;
        let size = not_negative(&head.object, "size", register.size)?;
        Ok(RegisterInfo { id: head.id, name: head.name, alias: head.alias, size })
    }

    fn digest(&mut self, at: usize, digest: &config::Digest) -> Result<DigestInfo, SchemaError> {
        let head = self.head::<config::Digest>(at, digest.preamble.as_ref(), Some(Prefix::Digest as u32))?;
        Ok(DigestInfo { id: head.id, name: head.name, alias: head.alias })
    }

    fn extern_instance(
        &mut self,
        at: usize,
        group: &config::Extern,
        instance: &config::ExternInstance,
    ) -> Result<ExternInfo, SchemaError> {
        let type_id = group.extern_type_id;
        let head = self.head::<config::ExternInstance>(at, instance.preamble.as_ref(), Some(type_id))?;
        let type_name = group.extern_type_name.clone();
        Ok(ExternInfo { id: head.id, name: head.name, alias: head.alias, type_id, type_name })
    }
}

/// The members of an object: none without id or name, no id or name twice.
fn check_members<'a>(
    kind: &str,
    owner: &str,
    members: impl Iterator<Item = (u32, &'a str)>,
) -> Result<(), SchemaError> {
    let mut ids = BTreeSet::new();
    let mut names = BTreeSet::new();
    for (at, (id, name)) in members.enumerate() {
        let object = || format!("{kind} {name:?} of {owner}");
        if name.is_empty() {
            let object = format!("{kind} number {} of {owner}", at + 1);
            return Err(SchemaError::Missing { object, what: "name" });
        }
        if id == 0 {
            return Err(SchemaError::Missing { object: object(), what: "id" });
        }
        if !ids.insert(id) {
            return Err(SchemaError::Duplicate { object: object(), what: "id", value: id.to_string() });
        }
        if !names.insert(name) {
            return Err(SchemaError::Duplicate {
                object: object(),
                what: "name",
                value: format!("{name:?}"),
            });
        }
    }
    Ok(())
}

fn positions(ids: impl Iterator<Item = u32>) -> BTreeMap<u32, usize> {
    ids.enumerate().map(|(at, id)| (id, at)).collect()
}

fn not_negative<S, T>(object: &str, what: &'static str, value: S) -> Result<T, SchemaError>
where
    S: Copy + Into<i64>,
    T: TryFrom<S>,
{
    T::try_from(value).map_err(|_| SchemaError::Negative {
        object: object.to_owned(),
        what,
        value: value.into(),
    })
}

fn counter_info(
    head: Head,
    spec: Option<config::CounterSpec>,
    cells: Cells,
) -> Result<CounterInfo, SchemaError> {
    use config::counter_spec::Unit;
    let value = spec.unwrap_or_default().unit;
    let unit = match Unit::try_from(value) {
        Ok(Unit::Unspecified) => CounterUnit::Unspecified,
        Ok(Unit::Bytes) => CounterUnit::Bytes,
        Ok(Unit::Packets) => CounterUnit::Packets,
        Ok(Unit::Both) => CounterUnit::Both,
        Err(_) => return Err(SchemaError::Unknown { object: head.object, what: "unit", value }),
    };
    Ok(CounterInfo { id: head.id, name: head.name, alias: head.alias, unit, cells })
}

fn meter_info(head: Head, spec: Option<config::MeterSpec>, cells: Cells) -> Result<MeterInfo, SchemaError> {
    use config::meter_spec::{Type, Unit};
    let spec = spec.unwrap_or_default();
    let unit = match Unit::try_from(spec.unit) {
        Ok(Unit::Unspecified) => MeterUnit::Unspecified,
        Ok(Unit::Bytes) => MeterUnit::Bytes,
        Ok(Unit::Packets) => MeterUnit::Packets,
        Err(_) => return Err(SchemaError::Unknown { object: head.object, what: "unit", value: spec.unit }),
    };
    let kind = match Type::try_from(spec.r#type) {
        Ok(Type::TwoRateThreeColor) => MeterKind::TwoRateThreeColor,
        Ok(Type::SingleRateThreeColor) => MeterKind::SingleRateThreeColor,
        Ok(Type::SingleRateTwoColor) => MeterKind::SingleRateTwoColor,
        Err(_) => {
            return Err(SchemaError::Unknown { object: head.object, what: "meter type", value: spec.r#type });
        }
    };
    Ok(MeterInfo { id: head.id, name: head.name, alias: head.alias, unit, kind, cells })
}
