//! Intent -> desired state of each switch.
//!
//! 1. Peers become sets of addresses, ports sets of ports (`peers`), rules become rows over these sets (`filter`,
//!    `pods`), with priorities from their places (`priority`).
//! 2. What the rows' sets tell apart becomes classes ([`crate::classes`]).
//! 3. Rows become entries: one for each combination of their sets' cubes (`row`); what they come to is held against
//!    the sizes of the tables ([`crate::capacity`]) before there are any.
//! 4. Segments and forwarding are added (`forward`), and which source addresses may enter where (`guard`).

mod error;
mod filter;
mod forward;
mod guard;
mod meters;
mod notes;
mod openings;
mod peers;
mod pods;
mod priority;
mod related;
mod row;
mod unread;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::model::{FilterPolicy, Intent};
use outplane_p4runtime::entry::{Entry, Match, MeterCell};

use crate::capacity::{self, Overflow, Resource, ResourceUsage};
use crate::classes::{ClassRange, Prefix, longest_prefixes, overlay};
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Point;
use crate::state::{Desired, Origin};

pub use error::CompileError;
pub(crate) use filter::TRAFFIC_UNREAD;
pub use forward::{MAX_SEGMENTS, NO_SEGMENT_GROUP, segment_ids};
pub use notes::{Note, OpenedBy, Opening, Unread};

/// Rule of the entries that let established packets through because the pod's other side has no opinion: who denied is
/// named, with this as the rule.
pub const REPLY_RULE: &str = "reply";

/// Rule of the entries that let ICMP errors through to a pod that may have sent what they answer: who denied is named,
/// with this as the rule.
pub const RELATED_RULE: &str = "related";

/// What a compilation depends on beside the intent.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rules that have expired by then are left out.
    pub at: Timestamp,
}

/// A compiled intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// By switch; without Switch objects one, [`IMPLIED_SWITCH`].
    pub switches: BTreeMap<String, SwitchState>,
    /// What has no effect, sorted.
    pub notes: Vec<Note>,
    /// What replies open: filter policies first, those of a rule in the order of what it allows.
    pub openings: Vec<Opening>,
    /// Ids of segments by name, the same on every switch.
    pub segments: BTreeMap<String, u16>,
}

/// What becomes of one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchState {
    /// What it should hold.
    pub desired: Desired,
    /// How much of it that takes, by policy: tables, rate limits, classes.
    pub usage: Vec<ResourceUsage>,
    /// What becomes of frames that it cannot read: everywhere first, then what differs.
    pub unread: Vec<Unread>,
}

/// Compiles an intent for all its switches.
///
/// The result depends on the intent and the options alone: equal intents give equal states and equal
/// [`Desired::digest`]s.
pub fn compile(intent: &Intent, options: &Options) -> Result<Compiled, CompileError> {
    let program = Program::outplane();
    let names: Vec<&str> = if intent.switches.is_empty() {
        vec![IMPLIED_SWITCH]
    } else {
        intent.switches.keys().map(String::as_str).collect()
    };
    let segments = forward::segment_ids(intent.segments.keys())
        .ok_or_else(|| too_many(names[0], Resource::Segments, intent.segments.len()))?;
    let scene = Scene { program, segments: &segments, at: options.at };
    let mut findings = Findings::default();
    let mut overflows = Vec::new();
    let mut switches = BTreeMap::new();
    // Switches with the same filter policies have the same policy entries.
    let mut policies: BTreeMap<Vec<&str>, Result<PolicyState, Vec<Overflow>>> = BTreeMap::new();
    for name in names {
        let filters: Vec<(&str, &FilterPolicy)> = intent
            .filters
            .iter()
            .filter(|(_, policy)| {
                policy.switches.is_empty() || policy.switches.iter().any(|switch| switch == name)
            })
            .map(|(name, policy)| (name.as_str(), policy))
            .collect();
        let key: Vec<&str> = filters.iter().map(|(name, _)| *name).collect();
        if !policies.contains_key(&key) {
            let state = policy_state(intent, &filters, &scene, &mut findings)?;
            policies.insert(key.clone(), state);
        }
        match &policies[&key] {
            Ok(policy) => {
                let state = switch_state(intent, &scene, name, policy);
                overflows.extend(state.usage.iter().filter_map(|usage| usage.overflow(name)).map(
                    |mut overflow| {
                        if let Resource::Table(table) = overflow.resource
                            && let Some(users) = policy.users.get(&table)
                        {
                            overflow.biggest.clone_from(users);
                        }
                        if let Resource::Table(table @ (Table::SourceGuardV4 | Table::SourceGuardV6)) =
                            overflow.resource
                        {
                            overflow.biggest = guard::users(&scene, table, &state.desired.entries);
                        }
                        overflow
                    },
                ));
                switches.insert(name.to_owned(), state);
            }
            Err(found) => {
                overflows.extend(
                    found.iter().cloned().map(|overflow| Overflow { switch: name.to_owned(), ..overflow }),
                );
            }
        }
    }
    if !overflows.is_empty() {
        return Err(CompileError::Capacity { overflows });
    }
    Ok(Compiled {
        switches,
        notes: findings.notes.into_iter().collect(),
        openings: findings.openings.in_order(),
        segments,
    })
}

/// What all parts of a compilation share.
struct Scene<'s> {
    program: &'s Program,
    segments: &'s BTreeMap<String, u16>,
    at: Timestamp,
}

/// What compiling finds beside entries. Switches find the same things again.
#[derive(Debug, Default)]
struct Findings {
    notes: BTreeSet<Note>,
    openings: Openings,
}

/// Each with the place at which it was found first.
#[derive(Debug, Default)]
struct Openings(BTreeMap<Opening, usize>);

impl Openings {
    fn extend(&mut self, openings: impl IntoIterator<Item = Opening>) {
        for opening in openings {
            let place = self.0.len();
            self.0.entry(opening).or_insert(place);
        }
    }

    fn in_order(self) -> Vec<Opening> {
        let mut openings: Vec<(Opening, usize)> = self.0.into_iter().collect();
        openings.sort_unstable_by_key(|(_, place)| *place);
        openings.into_iter().map(|(opening, _)| opening).collect()
    }
}

/// What switches with the same filter policies have in common.
struct PolicyState {
    entries: Vec<Entry>,
    meters: Vec<MeterCell>,
    /// Of classes.
    usage: Vec<ResourceUsage>,
    unread: Vec<Unread>,
    /// Whose addresses and ports fill the tables of classes, if one of them overflows.
    users: BTreeMap<Table, Vec<(String, u64)>>,
}

fn too_many(switch: &str, resource: Resource, used: usize) -> CompileError {
    let size = resource.size(Program::outplane());
    let overflow =
        Overflow { switch: switch.to_owned(), resource, used: used as u64, size, biggest: Vec::new() };
    CompileError::Capacity { overflows: vec![overflow] }
}

/// More entries than this many times a table's size are not even made.
const HOPELESS: u64 = 2;

fn policy_state(
    intent: &Intent,
    filters: &[(&str, &FilterPolicy)],
    scene: &Scene<'_>,
    findings: &mut Findings,
) -> Result<Result<PolicyState, Vec<Overflow>>, CompileError> {
    let program = scene.program;
    let limited = filter::limited(filters, scene.at);
    let mut limits: BTreeMap<String, u64> = BTreeMap::new();
    for limited in &limited {
        *limits.entry(limited.policy.clone()).or_default() += 1;
    }
    let limits = ResourceUsage {
        resource: Resource::RateLimits,
        used: limited.len() as u64,
        size: program.rate_limiter_cells(),
        policies: limits,
    };
    let Some(limiters) = meters::Limiters::assign(limited, program.rate_limiter_cells()) else {
        return Ok(Err(limits.overflow("").into_iter().collect()));
    };

    let mut resolver = peers::Resolver::new(intent);
    let mut rows = row::Rows::default();
    filter::compile(filters, scene, &limiters, &mut resolver, &mut rows, findings)?;
    let denial = pods::compile(intent, program, &mut resolver, &mut rows, findings)?;
    let unread = unread::compile(filters, scene, &limiters, denial.as_ref(), &mut rows);
    rows.prune();
    let spaces = match rows.classify() {
        Ok(spaces) => spaces,
        Err(overflows) => return Ok(Err(overflows)),
    };
    let counts = rows.count(program, &spaces);
    if counts.iter().any(|usage| usage.used > usage.size.saturating_mul(HOPELESS)) {
        return Ok(Err(counts.iter().filter_map(|usage| usage.overflow("")).collect()));
    }
    let mut entries = rows.expand(program, &spaces);
    let classes = class_entries(program, &spaces);
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in &classes {
        *sizes.entry(entry.key.table).or_default() += 1;
    }
    let full = Table::ALL.iter().any(|table| sizes.get(&program.table(*table)) > Some(&program.size(*table)));
    let users = if full { rows.class_users() } else { BTreeMap::new() };
    entries.extend(classes);
    let usage = spaces.usage(program);
    let meters = limiters.meter_cells(program.rate_limiter());
    Ok(Ok(PolicyState { entries, meters, usage, unread, users }))
}

fn switch_state(intent: &Intent, scene: &Scene<'_>, name: &str, policy: &PolicyState) -> SwitchState {
    let forwarding = forward::compile(intent, scene.program, name, intent.switches.get(name), scene.segments);
    let mut entries = policy.entries.clone();
    entries.extend(forwarding.entries);
    entries.extend(guard::compile(intent, scene.program, name, intent.switches.get(name), scene.segments));
    entries.sort_unstable_by(|left, right| left.key.cmp(&right.key));
    let desired = Desired { entries, groups: forwarding.groups, meters: policy.meters.clone() };
    let mut usage = capacity::measure(scene.program, &desired);
    usage.extend(policy.usage.iter().cloned());
    SwitchState { desired, usage, unread: policy.unread.clone() }
}

/// The tables that map addresses and ports to classes.
fn class_entries(program: &Program, spaces: &row::Spaces) -> Vec<Entry> {
    let origin =
        |rule: &str| Origin { policy: Origin::COMMON.to_owned(), rule: rule.to_owned(), order: 0 }.encode();
    let mut entries = Vec::new();
    let v4 = longest_prefixes(&overlay(&spaces.filter.v4, &spaces.pod.v4));
    let v6 = longest_prefixes(&overlay(&spaces.filter.v6, &spaces.pod.v6));
    for (table, action) in
        [(Table::SrcV4Class, ActionKind::SetSrcClass), (Table::DstV4Class, ActionKind::SetDstClass)]
    {
        entries.extend(v4.iter().map(|prefix| address_entry(program, table, action, prefix)));
    }
    for (table, action) in
        [(Table::SrcV6Class, ActionKind::SetSrcClass), (Table::DstV6Class, ActionKind::SetDstClass)]
    {
        entries.extend(v6.iter().map(|prefix| address_entry(program, table, action, prefix)));
    }
    for entry in &mut entries {
        entry.metadata = origin("address class");
    }
    for (table, action, ports) in [
        (Table::SportClass, ActionKind::SetSportClass, &spaces.sport.ports),
        (Table::DportClass, ActionKind::SetDportClass, &spaces.dport.ports),
    ] {
        for range in ports {
            let (key, action) = (port_key(program, table, *range), program.action(action, &[range.2.into()]));
            entries.push(Entry { key, action, metadata: origin("port class") });
        }
    }
    entries
}

/// Longer prefixes stand above shorter ones; all addresses are no match at all.
fn address_entry<T: Point>(
    program: &Program,
    table: Table,
    action: ActionKind,
    prefix: &Prefix<T, (u16, u16)>,
) -> Entry {
    let host = T::MAX.prefix(prefix.length).0;
    let mask = host.value();
    let matches = (mask != 0).then(|| (Field::Address, Match::Ternary { value: prefix.value.value(), mask }));
    let priority = i32::try_from(prefix.length).expect("at most 128") + 1;
    let (filter, pod) = prefix.class;
    let action = program.action(action, &[filter.into(), pod.into()]);
    Entry { key: program.key(table, priority, matches), action, metadata: Vec::new() }
}

/// Ranges do not overlap, so one priority does for all.
fn port_key(
    program: &Program,
    table: Table,
    (low, high, _): ClassRange<u16>,
) -> outplane_p4runtime::entry::Key {
    let whole = (low, high) == (u16::MIN, u16::MAX);
    let matches = (!whole).then(|| (Field::Port, Match::Range { low: low.into(), high: high.into() }));
    program.key(table, 1, matches)
}
