//! Intent -> desired state of each switch.
//!
//! 1. Policies become rows over sets of addresses and ports ([`crate::rows`]), in words of no switch.
//! 2. What the rows' sets tell apart becomes classes ([`crate::classes`]).
//! 3. Rows become entries: one for each combination of their sets' cubes ([`crate::p4::rows`]); what they come to is held
//!    against the sizes of the tables ([`crate::capacity`]) before there are any.
//! 4. Segments and forwarding are added ([`crate::p4::forward`]), and which source addresses may enter where
//!    ([`crate::p4::guard`]).

mod error;
mod incremental;

use std::collections::BTreeMap;

use jiff::Timestamp;
use outplane_intent::evaluate::IMPLIED_SWITCH;
use outplane_intent::model::{FilterPolicy, Intent};
use outplane_p4runtime::entry::{Entry, MeterCell};

use crate::capacity::{self, Overflow, Resource, ResourceUsage};
use crate::numbers::{self, Numbers, PolicyNumbers, PortNumbers};
use crate::p4::classes::{AddressTables, class_entries};
use crate::p4::meters::meter_cells;
use crate::p4::spaces::{Spaces, Uses, class_users};
use crate::p4::{self, forward, guard};
use crate::program::{Program, Table};
use crate::rows::meters::Limiters;
use crate::rows::priority::Places;
use crate::rows::{self, Findings, Scene, filter};
use crate::state::Desired;

pub use crate::p4::forward::NO_SEGMENT_GROUP;
pub use crate::rows::notes::{Note, OpenedBy, Opening, Unread};
pub use error::CompileError;
pub use incremental::{Compiler, Way};

/// What a compilation depends on beside the intent.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rules that have expired by then are left out.
    pub at: Timestamp,
}

/// A compiled intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// By switch; without Switch objects one, [`IMPLIED_SWITCH`].
    pub switches: BTreeMap<String, SwitchState>,
    /// What has no effect, sorted.
    pub notes: Vec<Note>,
    /// What replies open: filter policies first, those of a rule in the order of what it allows.
    pub openings: Vec<Opening>,
    /// Ids of segments by name, the same on every switch.
    pub segments: BTreeMap<String, u16>,
    /// What the next intent is to be compiled after.
    pub numbers: Numbers,
}

/// What becomes of one switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchState {
    /// What it should hold.
    pub desired: Desired,
    /// How much of it that takes, by policy: tables, rate limits, classes.
    pub usage: Vec<ResourceUsage>,
    /// What becomes of frames that it cannot read: everywhere first, then what differs.
    pub unread: Vec<Unread>,
}

/// Compiles an intent for all its switches, all numbers anew: [`compile_after`] no other one.
pub fn compile(intent: &Intent, options: &Options) -> Result<Compiled, CompileError> {
    compile_after(intent, options, &Numbers::default())
}

/// The ids of an intent's segments.
pub fn segment_ids(intent: &Intent, before: &Numbers) -> BTreeMap<String, u16> {
    let ids = forward::segment_ids(intent.segments.keys(), &before.segments);
    ids.map(|(ids, _)| ids).unwrap_or_default()
}

/// Compiles an intent for all its switches; what is as it was keeps its numbers.
///
/// The result depends on the intent, the options and the numbers alone: equal ones give equal states and equal
/// [`Desired::digest`]s. After its own numbers the same intent gives the same result.
pub fn compile_after(intent: &Intent, options: &Options, before: &Numbers) -> Result<Compiled, CompileError> {
    let names = switch_names(intent);
    let (segments, slots) = forward::segment_ids(intent.segments.keys(), &before.segments)
        .ok_or_else(|| too_many(names[0], Resource::Segments, intent.segments.len()))?;
    let scene = Scene { intent, segments: &segments, at: options.at };
    let mut numbers = Numbers { segments: slots, ..Numbers::default() };
    let mut findings = Findings::default();
    let mut overflows = Vec::new();
    let mut switches = BTreeMap::new();
    // Switches with the same filter policies and numbers have the same policy entries.
    let mut shared: BTreeMap<(Option<usize>, Vec<&str>), Shared> = BTreeMap::new();
    let of_switches = names.into_iter().map(|name| {
        let (known, filters) = (before.of(name), filters_of(intent, name));
        let key = (known, filters.iter().map(|(name, _)| *name).collect::<Vec<&str>>());
        shared.entry(key.clone()).or_default().switches += 1;
        (name, filters, key)
    });
    let of_switches: Vec<_> = of_switches.collect();
    let nothing = PolicyNumbers::default();
    for (name, filters, key) in of_switches {
        let before = key.0.map_or(&nothing, |known| &before.policies[known]);
        let Shared { switches: left, state } = shared.entry(key).or_default();
        let result = if let Some(known) = state {
            known
        } else {
            state.insert(numbered_state(&filters, &scene, before, &mut findings)?)
        };
        *left = left.saturating_sub(1);
        match result {
            Ok(policy) => {
                let is_last = *left == 0;
                let entries =
                    if is_last { std::mem::take(&mut policy.entries) } else { policy.entries.clone() };
                let state = switch_state(intent, &scene, name, policy, entries);
                overflows.extend(overflows_of(&scene, name, &state, policy));
                switches.insert(name.to_owned(), state);
                numbers.add(name, &policy.numbers);
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
        numbers,
    })
}

/// The switches that are compiled for.
fn switch_names(intent: &Intent) -> Vec<&str> {
    if intent.switches.is_empty() {
        vec![IMPLIED_SWITCH]
    } else {
        intent.switches.keys().map(String::as_str).collect()
    }
}

/// The filter policies of a switch, by name.
fn filters_of<'i>(intent: &'i Intent, switch: &str) -> Vec<(&'i str, &'i FilterPolicy)> {
    let here = |policy: &FilterPolicy| {
        policy.switches.is_empty() || policy.switches.iter().any(|name| name == switch)
    };
    let filters = intent.filters.iter().filter(|(_, policy)| here(policy));
    filters.map(|(name, policy)| (name.as_str(), policy)).collect()
}

/// What a switch has too little of, and who takes most of it.
fn overflows_of(scene: &Scene<'_>, name: &str, state: &SwitchState, policy: &PolicyState) -> Vec<Overflow> {
    let mut overflows: Vec<Overflow> = state.usage.iter().filter_map(|usage| usage.overflow(name)).collect();
    for overflow in &mut overflows {
        let Resource::Table(table) = overflow.resource else { continue };
        if let Some(users) = policy.users.get(&table) {
            overflow.biggest.clone_from(users);
        }
        if matches!(table, Table::SourceGuardV4 | Table::SourceGuardV6) {
            overflow.biggest = guard::users(scene.segments, table, &state.desired.entries);
        }
    }
    overflows
}

/// What switches with the same filter policies have in common, once it is known.
#[derive(Default)]
struct Shared {
    /// How many of them are still to come.
    switches: usize,
    state: Option<PolicyResult>,
}

/// Their policies' entries, and what these take.
struct PolicyState {
    /// Sorted by key.
    entries: Vec<Entry>,
    meters: Vec<MeterCell>,
    /// Of classes.
    usage: Vec<ResourceUsage>,
    unread: Vec<Unread>,
    /// Whose addresses and ports fill the tables of classes, if one of them overflows.
    users: BTreeMap<Table, Vec<(String, u64)>>,
    numbers: PolicyNumbers,
}

impl PolicyState {
    fn count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// With how many entries numbers that are all new would need.
    fn compared_with(mut self, anew: u32) -> Self {
        self.numbers.entries_anew = Some(anew);
        self
    }
}

/// The state, or what there is too little of.
type PolicyResult = Result<PolicyState, Vec<Overflow>>;

fn too_many(switch: &str, resource: Resource, used: usize) -> CompileError {
    let size = resource.size(Program::outplane());
    let overflow =
        Overflow { switch: switch.to_owned(), resource, used: used as u64, size, biggest: Vec::new() };
    CompileError::Capacity { overflows: vec![overflow] }
}

/// The state with numbers that are carried on, or all of them anew where these have come to need many more entries.
fn numbered_state(
    filters: &[(&str, &FilterPolicy)],
    scene: &Scene<'_>,
    before: &PolicyNumbers,
    findings: &mut Findings,
) -> Result<PolicyResult, CompileError> {
    let mut state = |numbers| policy_state(filters, scene, numbers, &mut *findings);
    let too_many = |entries: u32, anew: u32| entries as usize > numbers::most_entries(anew as usize);
    let carried = state(before)?;
    let known = match (&carried, before.entries_anew) {
        (Err(_), None) => return Ok(carried),
        (Ok(state), None) => Some(state.count()),
        // There may be far fewer by now.
        (Ok(state), Some(known)) => numbers::is_about(state.count().into(), known).then_some(known),
        (Err(_), Some(_)) => None,
    };
    if let Some(known) = known {
        return Ok(carried.map(|state| state.compared_with(known)));
    }
    Ok(match (carried, state(&PolicyNumbers::default())?) {
        (Ok(carried), Ok(anew)) if !too_many(carried.count(), anew.count()) => {
            Ok(carried.compared_with(anew.count()))
        }
        (_, Ok(anew)) => {
            let count = anew.count();
            Ok(anew.compared_with(count))
        }
        (_, overflows) => overflows,
    })
}

fn policy_state(
    filters: &[(&str, &FilterPolicy)],
    scene: &Scene<'_>,
    before: &PolicyNumbers,
    findings: &mut Findings,
) -> Result<PolicyResult, CompileError> {
    let program = Program::outplane();
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
    let Some(limiters) = Limiters::assign(limited, program.rate_limiter_cells(), &before.cells) else {
        return Ok(Err(limits.overflow("").into_iter().collect()));
    };

    let mut places = Places::new(&before.places);
    let (mut rows, unread) = rows::compile(filters, scene, &limiters, &mut places, findings)?;
    let uses = Uses::of(&rows);
    rows.prune();
    let spaces = match Spaces::classify(&rows, before, &uses) {
        Ok(spaces) => spaces,
        Err(overflows) => return Ok(Err(overflows)),
    };
    let hopeless = p4::rows::hopeless(&rows, program, &spaces);
    if !hopeless.is_empty() {
        return Ok(Err(hopeless));
    }
    let mut entries = p4::rows::expand(&rows, program, &spaces);
    let classes = AddressTables::new(&spaces, before);
    let numbers = PolicyNumbers {
        filter_covers: spaces.filter.classes.covers(),
        pod_covers: spaces.pod.classes.covers(),
        sport: PortNumbers::new(&spaces.sport),
        dport: PortNumbers::new(&spaces.dport),
        places: places.now,
        cells: limiters.numbers.clone(),
        v4: classes.v4.clone(),
        v6: classes.v6.clone(),
        fewest: Some(classes.fewest),
        entries_anew: None,
    };
    let classes = class_entries(program, &classes, &spaces);
    let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in &classes {
        *sizes.entry(entry.key.table).or_default() += 1;
    }
    let full = Table::ALL.iter().any(|table| sizes.get(&program.table(*table)) > Some(&program.size(*table)));
    let biggest = if full { class_users(&rows) } else { BTreeMap::new() };
    entries.extend(classes);
    // Stable sorting makes use of what is in order already.
    entries.sort_by(|left, right| left.key.cmp(&right.key));
    let usage = spaces.usage(program);
    let meters = meter_cells(&limiters, program.rate_limiter());
    Ok(Ok(PolicyState { entries, meters, usage, unread, users: biggest, numbers }))
}

/// `entries`: those of the policy.
fn switch_state(
    intent: &Intent,
    scene: &Scene<'_>,
    name: &str,
    policy: &PolicyState,
    mut entries: Vec<Entry>,
) -> SwitchState {
    let program = Program::outplane();
    let forwarding = forward::compile(intent, program, name, intent.switches.get(name), scene.segments);
    entries.extend(forwarding.entries);
    entries.extend(guard::compile(intent, program, name, intent.switches.get(name), scene.segments));
    let desired =
        Desired { entries: entries.into(), groups: forwarding.groups, meters: policy.meters.clone() };
    let mut usage = capacity::measure(program, &desired);
    usage.extend(policy.usage.iter().cloned());
    SwitchState { desired, usage, unread: policy.unread.clone() }
}
