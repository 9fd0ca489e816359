//! The table state as the pipeline sees it: `outplane.p4`'s names, resolved once for each pipeline that is pushed.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use outplane_p4::{ActionKind, NO_ACTION, RATE_LIMITER};
use outplane_p4runtime::Schema;

use super::Source;
use super::tables::{Action, DropCounter, Lookup, Table, Tables};
use crate::meter::Color;
use crate::state::{Forwarding, Shared};

/// Makes an action of its parameters, which come in the program's order.
type Decode = fn(&[u128]) -> Action;

/// A parameter; the server has checked that it is there and how wide it is.
fn param<T: TryFrom<u128> + Default>(params: &[u128], index: usize) -> T {
    params.get(index).and_then(|&value| value.try_into().ok()).unwrap_or_default()
}

/// How an entry's call of an action becomes what the pipeline does.
fn decode(kind: ActionKind) -> Decode {
    use ActionKind as A;
    match kind {
        A::SetVersion => |params| Action::SetVersion { version: param(params, 0) },
        A::SetSegment => |params| Action::SetSegment { segment: param(params, 0) },
        A::SourceV4Allow | A::SourceV6Allow => |_| Action::SourceAllow,
        A::SourceV4Deny | A::SourceV6Deny => |_| Action::SourceDeny,
        A::SetSrcClass => {
            |params| Action::SetSrcClass { filter_class: param(params, 0), pod_class: param(params, 1) }
        }
        A::SetDstClass => {
            |params| Action::SetDstClass { filter_class: param(params, 0), pod_class: param(params, 1) }
        }
        A::SetSportClass => |params| Action::SetSportClass { port_class: param(params, 0) },
        A::SetDportClass => |params| Action::SetDportClass { port_class: param(params, 0) },
        A::AdminPermit
        | A::BaselinePermit
        | A::EgressAdminPermit
        | A::EgressPermit
        | A::IngressAdminPermit
        | A::IngressPermit => |_| Action::Permit,
        A::AdminPermitLimited | A::BaselinePermitLimited => {
            |params| Action::PermitLimited { limiter: param(params, 0) }
        }
        A::AdminDeny
        | A::BaselineDeny
        | A::EgressAdminDeny
        | A::EgressDeny
        | A::IngressAdminDeny
        | A::IngressDeny => |_| Action::Deny,
        A::AdminDenyLog | A::BaselineDenyLog | A::EgressDenyLog | A::IngressDenyLog => {
            |params| Action::DenyLog { rule: param(params, 0) }
        }
        A::AdminPass
        | A::BaselinePass
        | A::EgressAdminPass
        | A::EgressPass
        | A::IngressAdminPass
        | A::IngressPass => |_| Action::Pass,
        A::EgressAdminReply | A::EgressReply | A::IngressAdminReply | A::IngressReply => |_| Action::Reply,
        A::EgressAdminNoReply | A::EgressNoReply | A::IngressAdminNoReply | A::IngressNoReply => {
            |_| Action::NoReply
        }
        A::EgressAdminReplyPass | A::IngressAdminReplyPass => |_| Action::ReplyPass,
        A::Forward => |params| Action::Forward { port: param(params, 0) },
        A::FloodTo => |params| Action::FloodTo { group: param(params, 0) },
        A::Drop => |_| Action::Drop,
    }
}

/// The ids that one pipeline gives to the program's tables, actions and meter.
#[derive(Debug)]
struct Binding {
    tables: [u32; Table::ALL.len()],
    actions: HashMap<u32, Decode, RandomState>,
    rate_limiter: u32,
    counters: [u32; DropCounter::ALL.len()],
}

impl Binding {
    /// Resolves the names. None when something is missing: the pipeline is another program's, which the data plane
    /// has no model of.
    fn new(schema: &Schema) -> Option<Self> {
        let mut tables = [0; Table::ALL.len()];
        let mut actions = HashMap::default();
        for table in Table::ALL {
            let found = schema.table_by_name(table.name())?;
            let key = found.fields.iter().map(|field| (field.name.as_str(), field.bits));
            if !key.eq(table.fields().iter().map(|(field, bits)| (field.name(), *bits))) {
                return None;
            }
            tables[*table as usize] = found.id;
            for reference in &found.actions {
                let action = schema.action(reference.action)?;
                if action.alias == NO_ACTION {
                    actions.insert(action.id, (|_| Action::NoAction) as Decode);
                    continue;
                }
                let kind = ActionKind::named(&action.alias)?;
                let params = action.params.iter().map(|param| (param.name.as_str(), param.bits));
                if !params.eq(kind.params().iter().copied()) {
                    return None;
                }
                actions.insert(action.id, decode(kind));
            }
        }
        let mut counters = [0; DropCounter::ALL.len()];
        for counter in DropCounter::ALL {
            counters[*counter as usize] = schema.counter_by_name(counter.name())?.id;
        }
        let rate_limiter = schema.meter_by_name(RATE_LIMITER)?.id;
        Some(Self { tables, actions, rate_limiter, counters })
    }
}

/// The state of one moment, by name.
struct View<'a> {
    forwarding: &'a Forwarding,
    binding: &'a Binding,
}

impl Tables for View<'_> {
    fn lookup(&self, table: Table, key: &[u128], bytes: usize) -> Lookup {
        const MISSING: Lookup = Lookup { hit: false, action: Action::NoAction };
        let Some(table) = self.forwarding.table(self.binding.tables[table as usize]) else { return MISSING };
        let lookup = table.lookup(key);
        if lookup.is_hit() {
            lookup.entry().count(bytes as u64);
        }
        let action = lookup.action().and_then(|call| Some(self.binding.actions.get(&call.id)?(&call.params)));
        Lookup { hit: lookup.is_hit(), action: action.unwrap_or_default() }
    }

    fn rate_limiter(&self, limiter: u16, bytes: usize, now: Duration) -> Option<Color> {
        let cells = self.forwarding.meter(self.binding.rate_limiter)?;
        Some(cells.get(usize::from(limiter))?.mark(now, 1, bytes as u64))
    }

    fn count(&self, counter: DropCounter, index: usize, bytes: usize) {
        let cells = self.forwarding.counter(self.binding.counters[counter as usize]);
        if let Some(cell) = cells.and_then(|cells| cells.get(index)) {
            cell.count(bytes as u64);
        }
    }

    fn group(&self, group: u16, ports: &mut Vec<u16>) {
        let group = self.forwarding.replication().groups.get(&u32::from(group));
        let copies = group.into_iter().flat_map(|group| group.copies());
        ports.extend(copies.filter_map(|copy| u16::try_from(copy.port).ok()));
    }
}

/// The switch's state as a [`Source`].
#[derive(Debug)]
pub struct StateSource {
    state: Shared,
    /// Of the last pipeline that a packet saw; inner none: no model of it.
    binding: RwLock<Option<(u64, Option<Binding>)>>,
}

impl StateSource {
    /// Reads `state`, which the server writes.
    pub fn new(state: Shared) -> Self {
        Self { state, binding: RwLock::default() }
    }
}

impl Source for StateSource {
    fn read<R>(&self, run: impl FnOnce(Option<&dyn Tables>) -> R) -> R {
        let state = self.state.read();
        let Some(forwarding) = state.forwarding() else { return run(None) };
        let generation = forwarding.pipeline().generation();
        loop {
            let binding = self.binding.read().unwrap_or_else(PoisonError::into_inner);
            match &*binding {
                Some((bound, Some(binding))) if *bound == generation => {
                    return run(Some(&View { forwarding, binding }));
                }
                Some((bound, None)) if *bound == generation => return run(None),
                _ => {}
            }
            drop(binding);
            let pipeline = forwarding.pipeline();
            let binding = if pipeline.is_outplane() { Binding::new(pipeline.schema()) } else { None };
            if binding.is_none() {
                tracing::warn!("the pipeline is not outplane.p4: entries are kept, frames are dropped");
            }
            *self.binding.write().unwrap_or_else(PoisonError::into_inner) = Some((generation, binding));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use outplane_p4runtime::p4::config::v1::P4Info;

    use super::*;

    fn schema() -> Schema {
        Schema::from_text(outplane_p4::P4INFO).unwrap()
    }

    #[test]
    fn knows_the_whole_program() {
        let schema = schema();
        Binding::new(&schema).expect("the committed P4Info binds");
        let own: BTreeSet<&str> = ActionKind::ALL.iter().map(|kind| kind.name()).chain([NO_ACTION]).collect();
        let in_tables = schema.tables().iter().flat_map(|table| &table.actions);
        let aliases = in_tables.map(|reference| schema.action(reference.action).unwrap().alias.as_str());
        assert_eq!(own, aliases.collect());
        let own: BTreeSet<&str> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(own, schema.tables().iter().map(|table| table.alias.as_str()).collect());
    }

    #[test]
    fn another_program_does_not_bind() {
        let binds = |change: &dyn Fn(&mut P4Info)| {
            let mut info = schema().p4info().clone();
            change(&mut info);
            Binding::new(&Schema::from_p4info(&info).unwrap()).is_some()
        };
        let alias_of = |preamble: &Option<outplane_p4runtime::p4::config::v1::Preamble>| {
            preamble.as_ref().map_or_else(String::new, |preamble| preamble.alias.clone())
        };
        assert!(binds(&|_| {}));
        assert!(!binds(&|info| info.tables.retain(|table| alias_of(&table.preamble) != "flood")));
        assert!(!binds(&|info| {
            let flood = info.tables.iter_mut().find(|table| alias_of(&table.preamble) == "flood").unwrap();
            flood.match_fields[0].bitwidth = 12;
        }));
        assert!(!binds(&|info| {
            let forward =
                info.actions.iter_mut().find(|action| alias_of(&action.preamble) == "forward").unwrap();
            forward.preamble.as_mut().unwrap().alias = "backward".to_owned();
        }));
        assert!(!binds(&|info| {
            let mut actions = info.actions.iter_mut();
            let classes = actions.find(|action| alias_of(&action.preamble) == "set_src_class").unwrap();
            let (first, second) = (classes.params[0].name.clone(), classes.params[1].name.clone());
            (classes.params[0].name, classes.params[1].name) = (second, first);
        }));
    }
}
