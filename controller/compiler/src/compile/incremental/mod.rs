//! Compiling what has changed.
//!
//! A [`Compiler`] keeps what it has made of an intent: which pods are selected by whom, rows, classes, entries. When
//! told which objects are others now, it looks at what depends on them. It comes to what [`compile_after`] comes to after
//! the numbers of the intent before, entry by entry and number by number; where it cannot go on from what it has (other
//! objects than pods, namespaces and NetworkPolicies are touched, so much has changed that numbers are given anew, tables
//! are full), it does that instead.
//!
//! ```text
//!   Touched -> LivePods -> units with other rows -> Store -> sets that hold other addresses
//!                                                              |
//!                entries <- rows with other cubes <- classes (Live) -> prefixes (Prefixes)
//! ```

mod group;
mod store;
mod tables;

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use outplane_intent::model::Intent;
use outplane_intent::touched::Touched;
use outplane_p4runtime::entry::{Entry, Key};

use super::{CompileError, Compiled, Options, compile_after, filters_of, switch_names};
use crate::numbers::Numbers;
use crate::p4::guard;
use crate::program::{Program, Table};
use crate::rows::Scene;
use crate::rows::pods::LivePods;
use crate::rows::priority::{Line, PlaceNumbers};
use crate::state::Desired;
use group::Group;

/// Entries that are others, or no more, by key.
type Edits = BTreeMap<Key, Option<Entry>>;

/// What an update went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the touched objects concern was looked at.
    Changes,
    /// Everything was compiled.
    Everything,
}

/// See the module.
pub struct Compiler {
    at: Timestamp,
    numbers: Numbers,
    segments: BTreeMap<String, u16>,
    switches: BTreeMap<String, Held>,
    /// None: the last intent could not be compiled.
    live: Option<State>,
}

/// What a switch should hold, and which group's policies it has.
struct Held {
    group: usize,
    desired: Desired,
    /// Of `desired`, what says which source addresses may enter where.
    guard: Vec<Entry>,
}

struct State {
    pods: LivePods,
    groups: Vec<Group>,
}

impl Compiler {
    /// Takes in what an intent has been compiled to.
    pub fn of(intent: &Intent, options: &Options, compiled: Compiled) -> Self {
        let Compiled { switches, segments, numbers, .. } = compiled;
        let scene = Scene { intent, segments: &segments, at: options.at };
        let (live, of_switches) = State::new(&scene, &numbers).unzip();
        let of_switches = of_switches.unwrap_or_default();
        let switches = switches.into_iter().map(|(name, state)| {
            let group = of_switches.get(&name).copied().unwrap_or_default();
            let guard = guarded(&scene, &name);
            (name, Held { group, desired: state.desired, guard })
        });
        Self { at: options.at, switches: switches.collect(), segments, numbers, live }
    }

    /// What each switch should hold.
    pub fn switches(&self) -> impl Iterator<Item = (&str, &Desired)> {
        self.switches.iter().map(|(name, held)| (name.as_str(), &held.desired))
    }

    /// What one of them should hold.
    pub fn desired(&self, switch: &str) -> Option<&Desired> {
        self.switches.get(switch).map(|held| &held.desired)
    }

    /// Ids of segments by name, the same on every switch.
    pub fn segments(&self) -> &BTreeMap<String, u16> {
        &self.segments
    }

    /// What the next intent is to be compiled after, by whoever has not compiled this one.
    pub fn numbers(&self) -> Numbers {
        let Some(State { groups, .. }) = &self.live else { return self.numbers.clone() };
        let mut numbers = Numbers { segments: self.numbers.segments.clone(), ..Numbers::default() };
        let of_groups: Vec<_> = groups.iter().map(Group::numbers).collect();
        for (name, held) in &self.switches {
            numbers.add(name, &of_groups[held.group]);
        }
        numbers
    }

    /// Compiles the next intent, of which `touched` says where it differs from this one (it may say more than that).
    ///
    /// # Errors
    /// As [`compile_after`]; what switches should hold is then what it was, and the next intent is compiled from nothing.
    pub fn update(
        &mut self,
        intent: &Intent,
        touched: &Touched,
        options: &Options,
    ) -> Result<Way, CompileError> {
        if self.goes_on(intent, touched, options) {
            let concerns_hosts = self.concerns_hosts(intent, touched);
            if let Some(edits) = self.changes(intent, touched, options)?
                && self.write(intent, &edits, concerns_hosts)
            {
                self.live.iter_mut().flat_map(|live| &mut live.groups).for_each(Group::settle);
                self.at = options.at;
                return Ok(Way::Changes);
            }
        }
        self.numbers = self.numbers();
        self.live = None;
        *self = Self::of(intent, options, compile_after(intent, options, &self.numbers)?);
        Ok(Way::Everything)
    }

    /// Whether nothing is touched that concerns more than pods.
    fn goes_on(&self, intent: &Intent, touched: &Touched, options: &Options) -> bool {
        let (first, last) = (self.at.min(options.at), self.at.max(options.at));
        let expires = intent.expiries().any(|at| first < at && at <= last);
        self.live.is_some() && !touched.others && !expires
    }

    /// Whether the addresses of a pod on some host's machine have changed: its guards let them in.
    fn concerns_hosts(&self, intent: &Intent, touched: &Touched) -> bool {
        let hosts: HashSet<&IpAddr> = intent.hosts.values().flat_map(|host| &host.addresses).collect();
        let Some(State { pods, .. }) = self.live.as_ref().filter(|_| !hosts.is_empty()) else { return false };
        let mut now = touched.pods.iter().filter_map(|name| intent.pods.get(name));
        now.any(|pod| pod.node_addresses.iter().any(|address| hosts.contains(address)))
            || touched.pods.iter().flat_map(|name| pods.nodes_of(name)).any(|address| hosts.contains(address))
    }

    /// Changes what switches should hold. False: everything is to be looked at.
    fn write(&mut self, intent: &Intent, edits: &[Edits], concerns_hosts: bool) -> bool {
        let program = Program::outplane();
        let scene = Scene { intent, segments: &self.segments, at: self.at };
        for (name, held) in &mut self.switches {
            let edits = &edits[held.group];
            if !concerns_hosts {
                held.desired.entries = held.desired.entries.edited(edits);
                continue;
            }
            let guard = guarded(&scene, name);
            let mut edits = edits.clone();
            edits.extend(held.guard.iter().map(|entry| (entry.key.clone(), None)));
            edits.extend(guard.iter().map(|entry| (entry.key.clone(), Some(entry.clone()))));
            held.guard = guard;
            held.desired.entries = held.desired.entries.edited(&edits);
            let overflows = |table| {
                held.desired.entries.of_table(program.table(table)).count() as u64 > program.size(table)
            };
            if [Table::SourceGuardV4, Table::SourceGuardV6].into_iter().any(overflows) {
                return false;
            }
        }
        true
    }

    /// What becomes of the entries of each group. None: everything is to be looked at.
    fn changes(
        &mut self,
        intent: &Intent,
        touched: &Touched,
        options: &Options,
    ) -> Result<Option<Vec<Edits>>, CompileError> {
        let Some(State { pods, groups }) = &mut self.live else { return Ok(None) };
        let scene = Scene { intent, segments: &self.segments, at: options.at };
        let Some(units) = pods.update(intent, touched)? else { return Ok(None) };
        let mut edits = Vec::with_capacity(groups.len());
        for group in groups.iter_mut() {
            let Ok(found) = group.update(&scene, units.clone(), pods.denial()) else { return Ok(None) };
            edits.push(found);
        }
        Ok(Some(edits))
    }
}

/// Which source addresses may enter a switch where.
fn guarded(scene: &Scene<'_>, switch: &str) -> Vec<Entry> {
    let Scene { intent, segments, .. } = scene;
    guard::compile(intent, Program::outplane(), switch, intent.switches.get(switch), segments)
}

impl State {
    /// Of an intent that has been compiled, and which group each switch is in. None: that cannot be gone on from.
    fn new(scene: &Scene<'_>, numbers: &Numbers) -> Option<(Self, BTreeMap<String, usize>)> {
        let intent = scene.intent;
        let nothing = BTreeMap::new();
        let mut all = numbers.policies.iter().map(|policies| &policies.places);
        let places = all.next().unwrap_or(&nothing);
        // Pods' policies stand at the same places on all switches, or each would have its own rows.
        let of_pods = |places: &PlaceNumbers| -> Vec<_> {
            places
                .iter()
                .filter(|((line, _), _)| *line >= Line::AdminEgress as u8)
                .map(|(key, places)| (*key, places.clone()))
                .collect()
        };
        if all.any(|other| of_pods(other) != of_pods(places)) {
            return None;
        }
        let (mut pods, units) = LivePods::new(intent, places).ok()?;
        let mut groups: Vec<Group> = Vec::new();
        let mut known: BTreeMap<(Option<usize>, Vec<&str>), usize> = BTreeMap::new();
        let mut of_switches = BTreeMap::new();
        for name in switch_names(intent) {
            let filters = filters_of(intent, name);
            let key = (numbers.of(name), filters.iter().map(|(name, _)| *name).collect());
            if !known.contains_key(&key) {
                let policies = key.0.map(|known| numbers.policies[known].clone()).unwrap_or_default();
                groups.push(Group::new(scene, &filters, policies, &mut pods, units.clone())?);
            }
            let number = *known.entry(key).or_insert(groups.len() - 1);
            of_switches.insert(name.to_owned(), number);
        }
        Some((Self { pods, groups }, of_switches))
    }
}
