//! Queries: which entities a request means, as they are at one moment (the standard's sections 9 and 13).
//!
//! An answer is taken under the lock as references to what never changes, and turned into messages afterwards, as
//! the client takes them.

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use std::sync::Arc;

use outplane_p4runtime::bytestring;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::TableInfo;
use proto::entity::Entity;
use proto::packet_replication_engine_entry::Type as EngineEntry;
use proto::{table_action, table_entry};

use super::action::{ActionSet, EntryAction, Watch};
use super::direct::{Counted, MeterConfig};
use super::entries::check_default_key;
use super::forwarding::Forwarding;
use super::pipeline::Pipeline;
use super::profile::Group;
use super::refusal::{Outcome, Refusal};
use super::table::{Entry, Table};
use super::{State, arrays, pre, register, wire};

/// Entities of one kind, made one by one; it knows how many at most.
pub(crate) type Entities = Box<dyn Iterator<Item = Entity> + Send>;

/// The entities that a query means, in parts.
pub(crate) type Selection = Vec<Entities>;

fn one(entities: impl Iterator<Item = Entity> + Send + 'static) -> Selection {
    vec![Box::new(entities)]
}

/// What a table entry query asks for besides the entry itself.
#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four things that a query may ask for or not")]
struct Wanted {
    counter: bool,
    meter: bool,
    marked: bool,
    idle: bool,
}

/// What was asked for of an entry's direct resources, at the moment of the query.
#[derive(Default)]
struct Sample {
    counter: Option<Counted>,
    meter: Option<MeterConfig>,
    marked: Option<[Counted; 3]>,
    idle_ns: Option<i64>,
}

impl Sample {
    fn of(entry: &Entry, wanted: Wanted) -> Option<Box<Self>> {
        let Wanted { counter, meter, marked, idle } = wanted;
        let cell = entry.direct.meter.as_deref();
        (counter || meter || marked || idle).then(|| {
            Box::new(Self {
                counter: counter.then(|| entry.direct.counter.get()),
                meter: cell.filter(|_| meter).and_then(super::MeterCell::config),
                marked: cell.filter(|_| marked).map(super::MeterCell::marked),
                idle_ns: entry.direct.idle.as_ref().filter(|_| idle).map(|idle| idle.elapsed_ns()),
            })
        })
    }
}

type Sampled = (Arc<Entry>, Option<Box<Sample>>);

impl Forwarding {
    /// The entities that one query means.
    pub(crate) fn select(&self, query: Option<&proto::Entity>) -> Outcome<Selection> {
        let query = query.and_then(|entity| entity.entity.as_ref());
        match query.ok_or_else(|| Refusal::invalid("the query names no kind of entity"))? {
            Entity::TableEntry(query) => self.select_entries(query),
            Entity::DirectCounterEntry(query) => self.select_direct_counters(query),
            Entity::DirectMeterEntry(query) => self.select_direct_meters(query),
            Entity::CounterEntry(query) => self.select_counters(query),
            Entity::MeterEntry(query) => self.select_meters(query),
            Entity::RegisterEntry(query) => self.select_registers(query),
            Entity::PacketReplicationEngineEntry(query) => self.select_replication(query),
            Entity::ActionProfileMember(query) => self.select_members(query),
            Entity::ActionProfileGroup(query) => self.select_groups(query),
            Entity::ValueSetEntry(query) => self.select_value_sets(query),
            Entity::DigestEntry(query) => self.select_digests(query),
            Entity::ExternEntry(query) if query.extern_type_id == 0 => Ok(Vec::new()),
            Entity::ExternEntry(_) => Err(Refusal::invalid("this switch has no externs that are not in PSA")),
        }
    }

    /// Entries of one table in the order of their insertion, those that `keep` keeps.
    fn sampled(&self, table: u32, wanted: Wanted, keep: impl Fn(&Entry) -> bool) -> Vec<Sampled> {
        let entries = self.tables.get(&table).into_iter().flat_map(Table::entries);
        let kept = entries.filter(|entry| keep(entry));
        let mut list: Vec<Sampled> = kept.map(|entry| (entry.clone(), Sample::of(entry, wanted))).collect();
        list.sort_unstable_by_key(|(entry, _)| entry.handle);
        list
    }

    fn select_entries(&self, query: &proto::TableEntry) -> Outcome<Selection> {
        let wanted = Wanted {
            counter: query.counter_data.is_some(),
            meter: query.meter_config.is_some(),
            marked: query.meter_counter_data.is_some(),
            idle: query.time_since_last_hit.is_some(),
        };
        if query.table_id == 0 {
            return self.select_all_entries(query, wanted);
        }
        let info = self.table_info(query.table_id)?;
        self.select_entries_of(info, query, wanted).map_err(|refusal| refusal.within(&info.alias))
    }

    fn select_all_entries(&self, query: &proto::TableEntry, wanted: Wanted) -> Outcome<Selection> {
        let filters = !query.r#match.is_empty()
            || query.action.is_some()
            || query.priority != 0
            || query.controller_metadata != 0
            || !query.metadata.is_empty()
            || query.is_default_action;
        if filters {
            return Err(Refusal::invalid("a query of all tables (table_id 0) can have no other filter"));
        }
        let tables = self.pipeline.schema().tables().iter();
        let parts = tables
            .map(|info| {
                let wanted = Wanted { counter: wanted.counter && info.has_direct_counter(), ..wanted };
                self.entities(info, self.sampled(info.id, wanted, |_| true))
            })
            .collect();
        Ok(parts)
    }

    fn select_entries_of(
        &self,
        info: &TableInfo,
        query: &proto::TableEntry,
        wanted: Wanted,
    ) -> Outcome<Selection> {
        if wanted.counter && !info.has_direct_counter() {
            return Err(Refusal::invalid("counter_data, but the table has no direct counter"));
        }
        if (wanted.meter || wanted.marked) && info.direct_meter.is_none() {
            return Err(Refusal::invalid(
                "meter_config or meter_counter_data, but the table has no direct meter",
            ));
        }
        if (wanted.idle || query.idle_timeout_ns != 0) && (!info.idle_timeout || query.is_default_action) {
            return Err(Refusal::invalid(
                "time_since_last_hit or idle_timeout_ns, but there is no idle timeout",
            ));
        }
        let action = match &query.action {
            None => None,
            Some(proto::TableAction { r#type: Some(table_action::Type::Action(action)) }) => {
                Some(action.action_id)
            }
            Some(_) => return Err(Refusal::invalid("entries can be filtered by action id only")),
        };
        let keep = |entry: &Entry| {
            action.is_none_or(|id| matches!(&entry.action, EntryAction::Call(call) if call.id == id))
                && (query.priority == 0 || entry.priority == query.priority)
                && (query.controller_metadata == 0 || entry.controller_metadata == query.controller_metadata)
                && (query.metadata.is_empty() || *entry.metadata == *query.metadata)
        };
        let list = if query.is_default_action {
            check_default_key(query)?;
            let default = self.tables.get(&info.id).map(Table::default_entry);
            let kept = default.filter(|entry| keep(entry));
            kept.map(|entry| (entry.clone(), Sample::of(entry, wanted))).into_iter().collect()
        } else if query.r#match.is_empty() {
            self.sampled(info.id, wanted, keep)
        } else {
            let matches = wire::matches(&info.fields, &query.r#match)?;
            let table = self.tables.get(&info.id);
            let found = table.into_iter().flat_map(|table| table.with_matches(&matches));
            found
                .filter(|entry| keep(entry))
                .map(|entry| (entry.clone(), Sample::of(entry, wanted)))
                .collect()
        };
        Ok(vec![self.entities(info, list)])
    }

    fn entities(&self, info: &TableInfo, list: Vec<Sampled>) -> Entities {
        let (pipeline, table) = (self.pipeline.clone(), info.id);
        Box::new(list.into_iter().filter_map(move |(entry, sample)| {
            let info = pipeline.schema().table(table)?;
            Some(Entity::TableEntry(entry_to_proto(&pipeline, info, &entry, &sample.unwrap_or_default())))
        }))
    }

    /// The entries whose direct resources a query means, and how to make an entity of each.
    fn select_direct(
        &self,
        query: Option<&proto::TableEntry>,
        wanted: Wanted,
        has: fn(&TableInfo) -> bool,
        entity: fn(proto::TableEntry, Sample) -> Entity,
    ) -> Outcome<Selection> {
        let query = query.ok_or_else(|| Refusal::invalid("the table entry is missing"))?;
        let part = |info: &TableInfo, list: Vec<Sampled>| -> Entities {
            let (pipeline, table) = (self.pipeline.clone(), info.id);
            Box::new(list.into_iter().filter_map(move |(entry, sample)| {
                let key = key_to_proto(pipeline.schema().table(table)?, &entry);
                Some(entity(key, sample.map(|sample| *sample).unwrap_or_default()))
            }))
        };
        if query.table_id == 0 {
            let tables = self.pipeline.schema().tables().iter().filter(|info| has(info));
            return Ok(tables.map(|info| part(info, self.sampled(info.id, wanted, |_| true))).collect());
        }
        let info = self.table_info(query.table_id)?;
        if !has(info) {
            return Err(Refusal::invalid(format!("table {} has no such direct resource", info.alias)));
        }
        if query.r#match.is_empty() && !query.is_default_action {
            let keep = |entry: &Entry| query.priority == 0 || entry.priority == query.priority;
            return Ok(vec![part(info, self.sampled(info.id, wanted, keep))]);
        }
        let entry = self.named_entry(info, query).map_err(|refusal| refusal.within(&info.alias))?;
        Ok(vec![part(info, vec![(entry.clone(), Sample::of(entry, wanted))])])
    }

    fn select_direct_counters(&self, query: &proto::DirectCounterEntry) -> Outcome<Selection> {
        let wanted = Wanted { counter: true, ..Wanted::default() };
        self.select_direct(
            query.table_entry.as_ref(),
            wanted,
            TableInfo::has_direct_counter,
            |key, sample| {
                let data = sample.counter.map(arrays::counter_data);
                Entity::DirectCounterEntry(proto::DirectCounterEntry { table_entry: Some(key), data })
            },
        )
    }

    fn select_direct_meters(&self, query: &proto::DirectMeterEntry) -> Outcome<Selection> {
        let wanted = Wanted { meter: true, marked: query.counter_data.is_some(), ..Wanted::default() };
        let has = |info: &TableInfo| info.direct_meter.is_some();
        self.select_direct(query.table_entry.as_ref(), wanted, has, |key, sample| {
            Entity::DirectMeterEntry(proto::DirectMeterEntry {
                table_entry: Some(key),
                config: sample.meter.map(arrays::meter_config_to_proto),
                counter_data: sample.marked.map(arrays::meter_counter_data),
            })
        })
    }

    fn select_counters(&self, query: &proto::CounterEntry) -> Outcome<Selection> {
        let ids = ids(query.counter_id, query.index.is_some(), self.counters.keys())?;
        let mut list = Vec::new();
        for id in ids {
            let counter = self.indexed_counter(id)?;
            let cells = arrays::cells(counter.len(), query.index.as_ref())?;
            list.extend(cells.map(|cell| (id, cell, counter[cell].get())));
        }
        Ok(one(list.into_iter().map(|(counter_id, cell, counted)| {
            let data = Some(arrays::counter_data(counted));
            Entity::CounterEntry(proto::CounterEntry { counter_id, index: index(cell), data })
        })))
    }

    fn select_meters(&self, query: &proto::MeterEntry) -> Outcome<Selection> {
        let ids = ids(query.meter_id, query.index.is_some(), self.meters.keys())?;
        let mut list = Vec::new();
        for id in ids {
            let (_, meter) = self.indexed_meter(id)?;
            let cells = arrays::cells(meter.len(), query.index.as_ref())?;
            let marked = |cell: usize| query.counter_data.as_ref().map(|_| meter[cell].marked());
            list.extend(cells.map(|cell| (id, cell, meter[cell].config(), marked(cell))));
        }
        Ok(one(list.into_iter().map(|(meter_id, cell, config, marked)| {
            Entity::MeterEntry(proto::MeterEntry {
                meter_id,
                index: index(cell),
                config: config.map(arrays::meter_config_to_proto),
                counter_data: marked.map(arrays::meter_counter_data),
            })
        })))
    }

    fn select_registers(&self, query: &proto::RegisterEntry) -> Outcome<Selection> {
        let ids = ids(query.register_id, query.index.is_some(), self.registers.keys())?;
        let mut parts = Selection::new();
        for id in ids {
            let cells = arrays::cells(self.register_size(id)?, query.index.as_ref())?;
            let (spec, types) = self.pipeline.register_type(id);
            let zero = Arc::new(register::zero(&spec, types)?);
            let written = self.registers.get(&id).map(|register| &register.cells);
            let written: std::collections::BTreeMap<usize, Arc<proto::P4Data>> = written
                .into_iter()
                .flat_map(|all| all.range(cells.clone()))
                .map(|(cell, data)| (*cell, data.clone()))
                .collect();
            parts.push(Box::new(cells.map(move |cell| {
                let data = written.get(&cell).unwrap_or(&zero).as_ref().clone();
                let entry = proto::RegisterEntry { register_id: id, index: index(cell), data: Some(data) };
                Entity::RegisterEntry(entry)
            })));
        }
        Ok(parts)
    }

    fn select_replication(&self, query: &proto::PacketReplicationEngineEntry) -> Outcome<Selection> {
        fn entity(entry: EngineEntry) -> Entity {
            Entity::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(entry) })
        }
        match &query.r#type {
            None => Err(Refusal::invalid("the query names neither multicast groups nor clone sessions")),
            Some(EngineEntry::MulticastGroupEntry(query)) => {
                let wanted = query.multicast_group_id;
                let found = self.pre.groups.iter().filter(|(id, _)| wanted == 0 || **id == wanted);
                let list: Vec<_> = found.map(|(id, group)| (*id, group.clone())).collect();
                Ok(one(list.into_iter().map(|(id, group)| {
                    entity(EngineEntry::MulticastGroupEntry(proto::MulticastGroupEntry {
                        multicast_group_id: id,
                        replicas: pre::replicas_to_proto(&group.replicas),
                        metadata: group.metadata.to_vec(),
                    }))
                })))
            }
            Some(EngineEntry::CloneSessionEntry(query)) => {
                let wanted = query.session_id;
                let found = self.pre.sessions.iter().filter(|(id, _)| wanted == 0 || **id == wanted);
                let list: Vec<_> = found.map(|(id, session)| (*id, session.clone())).collect();
                Ok(one(list.into_iter().map(|(id, session)| {
                    entity(EngineEntry::CloneSessionEntry(proto::CloneSessionEntry {
                        session_id: id,
                        replicas: pre::replicas_to_proto(&session.replicas),
                        class_of_service: session.class_of_service,
                        packet_length_bytes: session.packet_length_bytes,
                    }))
                })))
            }
        }
    }

    fn select_members(&self, query: &proto::ActionProfileMember) -> Outcome<Selection> {
        let wanted = query.member_id;
        let mut list = Vec::new();
        for id in ids(query.action_profile_id, wanted != 0, self.profiles.keys())? {
            let members = &self.profile(id)?.members;
            let found = members.iter().filter(|(member, _)| wanted == 0 || **member == wanted);
            list.extend(found.map(|(member, call)| (id, *member, call.clone())));
        }
        let pipeline = self.pipeline.clone();
        Ok(one(list.into_iter().map(move |(action_profile_id, member_id, call)| {
            let action = Some(wire::call_to_proto(pipeline.schema(), &call));
            Entity::ActionProfileMember(proto::ActionProfileMember { action_profile_id, member_id, action })
        })))
    }

    fn select_groups(&self, query: &proto::ActionProfileGroup) -> Outcome<Selection> {
        let wanted = query.group_id;
        let mut list = Vec::new();
        for id in ids(query.action_profile_id, wanted != 0, self.profiles.keys())? {
            let groups = &self.profile(id)?.groups;
            let found = groups.iter().filter(|(group, _)| wanted == 0 || **group == wanted);
            list.extend(found.map(|(group_id, group)| (id, *group_id, group.clone())));
        }
        Ok(one(list.into_iter().map(|(profile, id, group)| group_to_proto(profile, id, &group))))
    }

    fn select_value_sets(&self, query: &proto::ValueSetEntry) -> Outcome<Selection> {
        if !query.members.is_empty() {
            return Err(Refusal::invalid("value sets cannot be filtered by members"));
        }
        let mut list = Vec::new();
        for id in ids(query.value_set_id, false, self.value_sets.keys())? {
            let members = self.value_sets.get(&id);
            let members =
                members.ok_or_else(|| Refusal::invalid(format!("there is no value set with id {id}")))?;
            list.push((id, members.clone()));
        }
        let pipeline = self.pipeline.clone();
        Ok(one(list.into_iter().map(move |(value_set_id, members)| {
            let fields = pipeline.schema().value_set(value_set_id).map_or(&[][..], |set| &set.fields);
            let members = members
                .iter()
                .map(|member| proto::ValueSetMember { r#match: wire::matches_to_proto(fields, member) })
                .collect();
            Entity::ValueSetEntry(proto::ValueSetEntry { value_set_id, members })
        })))
    }

    fn select_digests(&self, query: &proto::DigestEntry) -> Outcome<Selection> {
        let wanted = query.digest_id;
        if wanted != 0 && self.pipeline.schema().digest(wanted).is_none() {
            return Err(Refusal::invalid(format!("there is no digest with id {wanted}")));
        }
        let found = self.digests.iter().filter(|(id, _)| wanted == 0 || **id == wanted);
        let list: Vec<_> = found.map(|(id, config)| (*id, *config)).collect();
        Ok(one(list.into_iter().map(|(digest_id, config)| {
            Entity::DigestEntry(proto::DigestEntry { digest_id, config: Some(config) })
        })))
    }
}

/// The ids that a query means: the one it gives, or all when that is 0, which leaves nothing else to ask for.
fn ids<'a>(id: u32, narrowed: bool, all: impl Iterator<Item = &'a u32>) -> Outcome<Vec<u32>> {
    match id {
        0 if narrowed => Err(Refusal::invalid("an index or id without the id of what it belongs to")),
        0 => Ok(all.copied().collect()),
        id => Ok(vec![id]),
    }
}

fn index(cell: usize) -> Option<proto::Index> {
    i64::try_from(cell).ok().map(|index| proto::Index { index })
}

/// The key of an entry as it is read back.
pub(crate) fn key_to_proto(info: &TableInfo, entry: &Entry) -> proto::TableEntry {
    proto::TableEntry {
        table_id: info.id,
        r#match: wire::matches_to_proto(&info.fields, &entry.matches),
        priority: entry.priority,
        is_default_action: entry.handle == 0,
        ..proto::TableEntry::default()
    }
}

fn entry_to_proto(
    pipeline: &Pipeline,
    info: &TableInfo,
    entry: &Entry,
    sample: &Sample,
) -> proto::TableEntry {
    proto::TableEntry {
        action: action_to_proto(pipeline, &entry.action),
        controller_metadata: entry.controller_metadata,
        metadata: entry.metadata.to_vec(),
        idle_timeout_ns: entry.idle_timeout_ns,
        counter_data: sample.counter.map(arrays::counter_data),
        meter_config: sample.meter.map(arrays::meter_config_to_proto),
        meter_counter_data: sample.marked.map(arrays::meter_counter_data),
        time_since_last_hit: sample.idle_ns.map(|elapsed_ns| table_entry::IdleTimeout { elapsed_ns }),
        ..key_to_proto(info, entry)
    }
}

fn action_to_proto(pipeline: &Pipeline, action: &EntryAction) -> Option<proto::TableAction> {
    let r#type = match action {
        EntryAction::None => return None,
        EntryAction::Call(call) => table_action::Type::Action(wire::call_to_proto(pipeline.schema(), call)),
        EntryAction::Member(id) => table_action::Type::ActionProfileMemberId(*id),
        EntryAction::Group(id) => table_action::Type::ActionProfileGroupId(*id),
        EntryAction::Set(set) => table_action::Type::ActionProfileActionSet(set_to_proto(pipeline, set)),
    };
    Some(proto::TableAction { r#type: Some(r#type) })
}

fn set_to_proto(pipeline: &Pipeline, set: &ActionSet) -> proto::ActionProfileActionSet {
    use proto::action_profile_action::WatchKind;
    let actions = set.actions.iter().map(|weighted| proto::ActionProfileAction {
        action: Some(wire::call_to_proto(pipeline.schema(), &weighted.call)),
        weight: weighted.weight,
        watch_kind: match weighted.watch {
            Watch::None => None,
            Watch::Port(port) => Some(WatchKind::WatchPort(bytestring::canonical(u128::from(port)))),
            Watch::Number(number) => Some(WatchKind::Watch(number)),
        },
    });
    proto::ActionProfileActionSet {
        group_action: set.group_action.as_ref().map(|call| wire::call_to_proto(pipeline.schema(), call)),
        action_profile_actions: actions.collect(),
        action_selection_mode: set.selection_mode,
        size_semantics: set.size_semantics,
    }
}

fn group_to_proto(action_profile_id: u32, group_id: u32, group: &Group) -> Entity {
    use proto::action_profile_group::member::WatchKind;
    let members = group.members.iter().map(|member| proto::action_profile_group::Member {
        member_id: member.id,
        weight: member.weight,
        watch_kind: match member.watch {
            Watch::None => None,
            Watch::Port(port) => Some(WatchKind::WatchPort(bytestring::canonical(u128::from(port)))),
            Watch::Number(number) => Some(WatchKind::Watch(number)),
        },
    });
    let members = members.collect();
    Entity::ActionProfileGroup(proto::ActionProfileGroup {
        action_profile_id,
        group_id,
        members,
        max_size: group.max_size,
    })
}

impl State {
    /// Entries of the committed pipeline that have been idle for their timeout, and were not told for as long; one
    /// list a table. Telling them here starts their time anew.
    pub fn idle_entries(&self) -> Vec<Vec<proto::TableEntry>> {
        let Some(state) = self.forwarding() else { return Vec::new() };
        let tables = state.pipeline.schema().tables().iter().filter(|info| info.idle_timeout);
        let idle = tables.map(|info| {
            let entries = state.tables.get(&info.id).into_iter().flat_map(Table::entries);
            let expired = entries.filter(|entry| {
                entry.direct.idle.as_ref().is_some_and(|idle| idle.expired(entry.idle_timeout_ns))
            });
            let mut expired: Vec<_> = expired.collect();
            expired.sort_unstable_by_key(|entry| entry.handle);
            expired.into_iter().map(|entry| idle_to_proto(info, entry)).collect::<Vec<_>>()
        });
        idle.filter(|entries| !entries.is_empty()).collect()
    }
}

/// The entry as it is told to be idle.
fn idle_to_proto(info: &TableInfo, entry: &Entry) -> proto::TableEntry {
    proto::TableEntry {
        controller_metadata: entry.controller_metadata,
        metadata: entry.metadata.to_vec(),
        idle_timeout_ns: entry.idle_timeout_ns,
        ..key_to_proto(info, entry)
    }
}
