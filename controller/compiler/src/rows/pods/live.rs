//! The pods' sides, kept from one intent to the next: which units have other rows than before.
//!
//! ```text
//!   touched pods, namespaces, policies
//!     -> selections that have changed       (Resolver::update)
//!     -> pods that other policies concern   (Facts)
//!     -> policies, groups of pods           (Unit) -> rows
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use outplane_intent::model::{ClusterTier, Intent, ObjectName, Replies};
use outplane_intent::touched::Touched;

use super::super::Findings;
use super::super::content::Content;
use super::super::notes::Decision;
use super::super::peers::{Asked, PodIndex, Resolver};
use super::super::priority::{PlaceNumbers, Places, TooManyRules};
use super::super::row::Rows;
use super::super::terms::Direction;
use super::super::unit::Unit;
use super::facts::{Concern, Facts, ReplyModes, local_policies};
use super::related::{self, Sides};
use super::{Compiler, DIRECTIONS};
use crate::addresses::AddressSet;

/// Units and their rows.
pub(crate) type UnitRows = Vec<(Unit, Vec<Content>)>;

/// What somebody has asked for, and when.
#[derive(Debug, Default)]
struct Used {
    asked: Vec<Asked>,
    at: u64,
}

impl Used {
    fn is_old(&self, resolver: &Resolver) -> bool {
        self.asked.iter().any(|asked| resolver.changed(*asked) > self.at)
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    addresses: Vec<IpAddr>,
    nodes: Vec<IpAddr>,
    /// In both directions.
    facts: [Facts; 2],
}

/// Pods by the peers that errors past their denials come from, or go to.
#[derive(Debug, Default)]
struct Related {
    numbers: HashMap<Arc<AddressSet>, u32>,
    groups: BTreeMap<u32, Group>,
    pods: HashMap<PodIndex, (u32, Vec<IpAddr>)>,
    next: u32,
}

#[derive(Debug, Default)]
struct Group {
    peers: Arc<AddressSet>,
    addresses: AddressSet,
    pods: usize,
}

/// See the module.
pub(crate) struct LivePods {
    places: PlaceNumbers,
    resolver: Resolver,
    records: Vec<Record>,
    concerns: [Concern; 2],
    modes: [ReplyModes; 2],
    /// All isolated pods, in both directions.
    isolated: [AddressSet; 2],
    /// The pods of local nodes and of isolation.
    groups: BTreeMap<Unit, AddressSet>,
    /// How many pods policies may deny something, in both directions.
    concerned: [usize; 2],
    related: [Related; 2],
    networks: BTreeMap<ObjectName, Used>,
    cluster: Used,
    filters: Used,
    denial: Option<Decision>,
    /// How many answers there were at first.
    answers: usize,
}

impl LivePods {
    /// Of an intent; all its units. `places`: of ClusterNetworkPolicies' rules.
    pub(crate) fn new(intent: &Intent, places: &PlaceNumbers) -> Result<(Self, UnitRows), TooManyRules> {
        let concern = |direction| Concern { direction, facts: Vec::new(), defaults: intent.defaults };
        let mut live = Self {
            places: places.clone(),
            resolver: Resolver::new(intent),
            records: Vec::new(),
            concerns: DIRECTIONS.map(concern),
            modes: Default::default(),
            isolated: Default::default(),
            groups: BTreeMap::new(),
            concerned: [0; 2],
            related: Default::default(),
            networks: BTreeMap::new(),
            cluster: Used::default(),
            filters: Used::default(),
            denial: None,
            answers: 0,
        };
        let pods = live.resolver.pods().collect();
        let policies = intent.network_policies.keys().cloned().collect();
        let units = live.refresh(intent, &pods, policies, true)?;
        live.answers = live.resolver.answers();
        Ok((live, units))
    }

    /// Who may deny packets to or from pods.
    pub(crate) fn denial(&self) -> Option<&Decision> {
        self.denial.as_ref()
    }

    /// The addresses of the node that a pod runs on.
    pub(crate) fn nodes_of(&self, name: &ObjectName) -> &[IpAddr] {
        self.resolver.number(name).map_or(&[], |pod| self.resolver.node_addresses(pod))
    }

    /// What filter policies have asked the resolver for is what they depend on.
    pub(crate) fn for_filters(&mut self) -> &mut Resolver {
        self.resolver.take_asked();
        &mut self.resolver
    }

    pub(crate) fn filters_have_asked(&mut self) {
        let asked = self.resolver.take_asked();
        self.filters.asked.extend(asked);
        self.filters.at = self.resolver.updates();
    }

    /// Takes in what has been touched; the units that have other rows. None: other things than pods are concerned.
    pub(crate) fn update(
        &mut self,
        intent: &Intent,
        touched: &Touched,
    ) -> Result<Option<UnitRows>, TooManyRules> {
        let mut pods = self.resolver.update(intent, touched);
        if self.filters.is_old(&self.resolver) || self.resolver.answers() > 2 * self.answers + 10_000 {
            return Ok(None);
        }
        for policy in &touched.network_policies {
            pods.extend(self.resolver.inhabitants(&policy.namespace));
        }
        let policies = touched.network_policies.iter().cloned().collect();
        self.refresh(intent, &pods, policies, false).map(Some)
    }

    /// Looks at some pods and policies again, and at what depends on them.
    fn refresh(
        &mut self,
        intent: &Intent,
        pods: &BTreeSet<PodIndex>,
        mut policies: BTreeSet<ObjectName>,
        all: bool,
    ) -> Result<UnitRows, TooManyRules> {
        let mut dirty: BTreeSet<Unit> = BTreeSet::new();
        let changed = self.records(intent, pods, &mut policies, &mut dirty);
        let mut units = UnitRows::new();
        let old = self.networks.iter().filter(|(_, used)| used.is_old(&self.resolver));
        policies.extend(old.map(|(name, _)| name.clone()));
        let mut answering: BTreeSet<PodIndex> = changed.iter().copied().collect();
        for name in policies {
            let Some(policy) = intent.network_policies.get(&name) else {
                self.networks.remove(&name);
                units.push((Unit::Network(name), Vec::new()));
                continue;
            };
            answering.extend(&self.resolver.in_namespace(&name.namespace, &policy.pods).pods);
            self.resolver.take_asked();
            let mut rows = Rows::default();
            let mut compiler = Compiler { modes: &self.modes, rows: &mut rows };
            compiler.network_policy(&name, policy, &mut self.resolver, &mut Findings::default());
            let used = Used { asked: self.resolver.take_asked(), at: self.resolver.updates() };
            self.networks.insert(name.clone(), used);
            units.push((Unit::Network(name), rows.into_contents()));
        }
        let of_cluster = !intent.cluster_policies.is_empty();
        if all || of_cluster && (!changed.is_empty() || self.cluster.is_old(&self.resolver)) {
            self.cluster_tiers(intent, &mut units)?;
            if of_cluster {
                answering.extend(self.resolver.pods());
            }
        }
        if all {
            dirty.extend(DIRECTIONS.into_iter().flat_map(|direction| {
                [Unit::IsolatedAnswers(direction), Unit::Undecided(direction), Unit::Unrelated(direction)]
            }));
        }
        self.relate(intent, &answering, &mut dirty);
        units.extend(dirty.into_iter().map(|unit| {
            let contents = self.group(&unit);
            (unit, contents)
        }));
        let concerns = [&self.concerns[0], &self.concerns[1]];
        self.denial = related::denial(intent, concerns, &mut self.resolver);
        self.resolver.take_asked();
        Ok(units)
    }

    /// Looks at pods again; those of which something else is known than before.
    fn records(
        &mut self,
        intent: &Intent,
        pods: &BTreeSet<PodIndex>,
        policies: &mut BTreeSet<ObjectName>,
        dirty: &mut BTreeSet<Unit>,
    ) -> Vec<PodIndex> {
        let mut changed: Vec<(PodIndex, Record)> = Vec::new();
        for pod in pods {
            let facts = DIRECTIONS.map(|direction| Facts::of(intent, &mut self.resolver, *pod, direction));
            let addresses = self.resolver.own_addresses(*pod).to_vec();
            let nodes = self.resolver.node_addresses(*pod).to_vec();
            let record = Record { addresses, nodes, facts };
            if self.records.len() <= *pod {
                self.records.resize(*pod + 1, Record::default());
                self.concerns.iter_mut().for_each(|concern| concern.facts.resize(*pod + 1, Facts::default()));
            }
            if self.records[*pod] != record {
                changed.push((*pod, record));
            }
        }
        // An address may pass from one pod to another, so all go before any comes.
        for (pod, _) in &changed {
            let record = std::mem::take(&mut self.records[*pod]);
            self.count(&record, false, dirty);
            self.records[*pod] = record;
        }
        for (pod, record) in &changed {
            self.count(record, true, dirty);
            let before = std::mem::replace(&mut self.records[*pod], record.clone());
            for (concern, facts) in self.concerns.iter_mut().zip(&record.facts) {
                concern.facts[*pod] = facts.clone();
            }
            // What policies say of replies to a pod is in the rows of all that select it.
            let said = |record: &Record| record.facts.each_ref().map(|facts| facts.says);
            if said(&before) != said(record)
                && let Some(namespace) = self.resolver.name(*pod).map(|name| name.namespace.clone())
            {
                for (name, policy) in local_policies(intent, &namespace) {
                    if self.resolver.in_namespace(&namespace, &policy.pods).has(*pod) {
                        policies.insert(name.clone());
                    }
                }
            }
        }
        changed.into_iter().map(|(pod, _)| pod).collect()
    }

    /// Counts a pod among those that have something in common, or no longer.
    fn count(&mut self, record: &Record, comes: bool, dirty: &mut BTreeSet<Unit>) {
        let Record { addresses, nodes, facts } = record;
        let put = |set: &mut AddressSet| if comes { set.insert(addresses) } else { set.remove(addresses) };
        for direction in DIRECTIONS {
            let at = direction as usize;
            let facts = &facts[at];
            if facts.says.is_some() {
                let none = self.concerned[at] == 0;
                if comes {
                    self.concerned[at] += 1;
                } else {
                    self.concerned[at] -= 1;
                }
                if none || self.concerned[at] == 0 {
                    dirty.insert(Unit::Unrelated(direction));
                }
            }
            let replies = facts.replies(self.concerns[at].defaults);
            if replies.is_some_and(|mode| mode >= Replies::Established) {
                put(&mut self.modes[at].replies);
                dirty.extend([Unit::Undecided(direction), Unit::IsolatedAnswers(direction.other())]);
            }
            if replies.is_some_and(|mode| mode >= Replies::Reverse) {
                put(&mut self.modes[at].reverse);
            }
            let Some((policy, log)) = &facts.isolated else { continue };
            put(&mut self.isolated[at]);
            dirty.insert(Unit::IsolatedAnswers(direction));
            let mut groups = vec![Unit::Isolated(direction, policy.clone(), *log)];
            if direction == Direction::Ingress && !nodes.is_empty() {
                groups.push(Unit::LocalNode(policy.clone(), nodes.clone()));
            }
            for unit in groups {
                put(self.groups.entry(unit.clone()).or_default());
                dirty.insert(unit);
            }
        }
    }

    fn cluster_tiers(&mut self, intent: &Intent, units: &mut UnitRows) -> Result<(), TooManyRules> {
        self.resolver.take_asked();
        for (tier, unit) in [(ClusterTier::Admin, Unit::Admin), (ClusterTier::Baseline, Unit::Baseline)] {
            let mut rows = Rows::default();
            let mut compiler = Compiler { modes: &self.modes, rows: &mut rows };
            let mut places = Places::new(&self.places);
            compiler.cluster_tier(intent, tier, &mut places, &mut self.resolver, &mut Findings::default())?;
            units.push((unit, rows.into_contents()));
        }
        self.cluster = Used { asked: self.resolver.take_asked(), at: self.resolver.updates() };
        Ok(())
    }

    /// Between whom errors pass, of pods of which that may have changed.
    fn relate(&mut self, intent: &Intent, pods: &BTreeSet<PodIndex>, dirty: &mut BTreeSet<Unit>) {
        let mut sides = Sides::new(intent);
        let mut changed = Vec::new();
        for pod in pods {
            for direction in DIRECTIONS {
                let facts = [&self.records[*pod].facts[0], &self.records[*pod].facts[1]];
                let found = sides.related(*pod, direction, facts, intent.defaults, &mut self.resolver);
                let now = found.map(|(peers, own)| {
                    let own =
                        self.records[*pod].addresses.iter().copied().filter(|address| own.contains(*address));
                    (peers, own.collect::<Vec<IpAddr>>())
                });
                let related = &self.related[direction as usize];
                let before = related.pods.get(pod).map(|(number, own)| (&related.groups[number].peers, own));
                let same = match (&now, before) {
                    (None, None) => true,
                    (Some((peers, own)), Some((before, of))) => *peers == **before && own == of,
                    _ => false,
                };
                if !same {
                    changed.push((*pod, direction, now));
                }
            }
        }
        for (pod, direction, _) in &changed {
            let number = self.related[*direction as usize].leave(*pod);
            dirty.extend(number.map(|number| Unit::Related(*direction, number)));
        }
        for (pod, direction, now) in changed {
            if let Some((peers, own)) = now {
                let number = self.related[direction as usize].join(pod, peers, own);
                dirty.insert(Unit::Related(direction, number));
            }
        }
        self.related.iter_mut().for_each(Related::settle);
    }

    /// The rows of a unit that is not a policy.
    fn group(&mut self, unit: &Unit) -> Vec<Content> {
        let mut rows = Rows::default();
        let mut compiler = Compiler { modes: &self.modes, rows: &mut rows };
        match unit {
            Unit::LocalNode(policy, nodes) => {
                if let Some(pods) = self.groups.get(unit).filter(|pods| !pods.is_empty()) {
                    compiler.local_node(policy, nodes, pods);
                } else {
                    self.groups.remove(unit);
                }
            }
            Unit::Isolated(direction, policy, log) => {
                if let Some(pods) = self.groups.get(unit).filter(|pods| !pods.is_empty()) {
                    compiler.isolated(*direction, policy, *log, pods);
                } else {
                    self.groups.remove(unit);
                }
            }
            Unit::IsolatedAnswers(direction) => {
                compiler.isolated_answers(*direction, &self.isolated[*direction as usize]);
            }
            Unit::Undecided(direction) => compiler.undecided(*direction),
            Unit::Unrelated(direction) if self.concerned[*direction as usize] > 0 => {
                compiler.unrelated(*direction);
            }
            Unit::Related(direction, number) => {
                if let Some(group) = self.related[*direction as usize].groups.get(number) {
                    compiler.related_group(*direction, &group.peers, &group.addresses);
                }
            }
            _ => {}
        }
        rows.into_contents()
    }
}

impl Related {
    fn leave(&mut self, pod: PodIndex) -> Option<u32> {
        let (number, own) = self.pods.remove(&pod)?;
        if let Some(group) = self.groups.get_mut(&number) {
            group.addresses.remove(&own);
            group.pods -= 1;
        }
        Some(number)
    }

    fn join(&mut self, pod: PodIndex, peers: AddressSet, own: Vec<IpAddr>) -> u32 {
        let number = if let Some(number) = self.numbers.get(&peers) {
            *number
        } else {
            self.next += 1;
            let peers = Arc::new(peers);
            self.numbers.insert(Arc::clone(&peers), self.next);
            self.groups.insert(self.next, Group { peers, ..Group::default() });
            self.next
        };
        if let Some(group) = self.groups.get_mut(&number) {
            group.addresses.insert(&own);
            group.pods += 1;
        }
        self.pods.insert(pod, (number, own));
        number
    }

    /// Groups of nobody are no more.
    fn settle(&mut self) {
        let numbers = &mut self.numbers;
        self.groups.retain(|_, group| {
            if group.pods == 0 {
                numbers.remove(&group.peers);
            }
            group.pods > 0
        });
    }
}
