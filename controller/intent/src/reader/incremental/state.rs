//! All objects, and what comes of them: changed by what was said and is gone, and what is said now.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::pieces::{File, Held};
use crate::model::{Intent, ObjectName, Pod};
use crate::reader::declaration::{Declaration, Key};
use crate::reader::declared::Declared;
use crate::reader::limits::Limits;
use crate::reader::objects::Skipped;
use crate::reader::resolve::{self, Lost, PodIndex, Resolver, Shared};
use crate::reader::sink::Sink;
use crate::reader::sources::ObjectPlaces;
use crate::reader::{Loaded, in_order};
use crate::touched::Touched;

/// A piece that was read, and what it says.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) held: Held,
    pub(super) declarations: Vec<Declaration>,
    pub(super) placed: Vec<(String, ObjectPlaces)>,
}

/// What is to be taken out, and put in.
pub(super) struct Delta<'d> {
    pub(super) gone: &'d [Held],
    pub(super) fresh: Vec<Fresh>,
}

/// What is known of the texts that were read last.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) loaded: Loaded,
    declared: Declared,
    /// How often each address of a host or pod is said, and those that are more than once.
    addresses: HashMap<IpAddr, usize>,
    shared: Shared,
    lost: Lost,
    /// The intent's pods, and how many of them run at each address of a node.
    index: PodIndex,
    nodes: HashMap<IpAddr, usize>,
    /// NetworkPolicies that select nothing.
    idle: BTreeSet<ObjectName>,
    found: Found,
}

/// What was found odd of what neither pods nor their policies have much of a part in.
#[derive(Debug, Default)]
struct Found {
    filters: Sink,
    network: Sink,
    spoofing: Sink,
}

/// Names of what was said and is gone, or is said now.
#[derive(Default)]
struct Hit {
    pods: BTreeSet<ObjectName>,
    network_policies: BTreeSet<ObjectName>,
    namespaces: BTreeSet<String>,
    nodes: BTreeSet<String>,
    /// Objects that are resolved as a whole.
    others: bool,
}

/// What leads back.
#[derive(Default)]
struct Undo {
    inserted: Vec<Key>,
    placed: Vec<String>,
    taken: Vec<Declaration>,
    places: Vec<(String, ObjectPlaces)>,
}

/// What comes of the objects as they are said now.
struct Resolved {
    /// Without pods, their policies and namespaces, if anything else was hit.
    others: Option<(Intent, Sink)>,
    lost: Lost,
    addresses: Sink,
}

impl State {
    /// Takes out and puts in. The sources know the files already. None, and all is as it was, if there is an error.
    pub(super) fn change(&mut self, delta: Delta<'_>, files: &[File], limits: &Limits) -> Option<Touched> {
        let gone = delta.gone.iter().flat_map(|held| &held.piece.keys);
        let fresh = delta.fresh.iter().flat_map(|fresh| &fresh.held.piece.keys);
        let mut hit = Hit::default();
        gone.chain(fresh).for_each(|key| hit.add(key));
        let undo = self.swap(delta)?;
        let Some(resolved) = self.resolved(&hit, limits) else {
            self.undo(undo);
            return None;
        };
        Some(self.commit(hit, resolved, files, limits))
    }

    fn swap(&mut self, delta: Delta<'_>) -> Option<Undo> {
        let mut undo = Undo::default();
        for Held { piece, .. } in delta.gone {
            undo.taken.extend(piece.keys.iter().filter_map(|key| self.take(key)));
            let objects = piece.objects.iter();
            let places =
                objects.filter_map(|name| Some((name.clone(), self.loaded.sources.remove_object(name)?)));
            undo.places.extend(places);
        }
        let mut placed = Vec::new();
        for fresh in delta.fresh {
            for declaration in fresh.declarations {
                let key = declaration.key();
                if !self.put(declaration) {
                    self.undo(undo);
                    return None;
                }
                undo.inserted.push(key);
            }
            placed.extend(fresh.placed);
        }
        for (name, places) in placed {
            undo.placed.push(name.clone());
            self.loaded.sources.add_object(name, places);
        }
        Some(undo)
    }

    fn undo(&mut self, undo: Undo) {
        for key in &undo.inserted {
            self.take(key);
        }
        for name in &undo.placed {
            self.loaded.sources.remove_object(name);
        }
        for declaration in undo.taken {
            self.put(declaration);
        }
        for (name, places) in undo.places {
            self.loaded.sources.add_object(name, places);
        }
    }

    /// Whether there was none of its name.
    fn put(&mut self, declaration: Declaration) -> bool {
        let addresses = addresses(&declaration);
        if !self.declared.insert(declaration) {
            return false;
        }
        for address in addresses {
            let said = self.addresses.entry(address).or_default();
            *said += 1;
            if *said > 1 {
                self.shared.insert(address);
            }
        }
        true
    }

    fn take(&mut self, key: &Key) -> Option<Declaration> {
        let declaration = self.declared.remove(key)?;
        for address in addresses(&declaration) {
            let Some(said) = self.addresses.get_mut(&address) else { continue };
            *said -= 1;
            let left = *said;
            if left < 2 {
                self.shared.remove(&address);
            }
            if left == 0 {
                self.addresses.remove(&address);
            }
        }
        Some(declaration)
    }

    fn resolved(&self, hit: &Hit, limits: &Limits) -> Option<Resolved> {
        let good = |sink: &Sink| (sink.error_count() == 0).then_some(());
        let (mut addresses, mut filters) = (Sink::new(limits.diagnostics), Sink::new(limits.diagnostics));
        let mut intent = None;
        if hit.others {
            let mut sink = Sink::new(limits.diagnostics);
            intent = Some(resolve::network(&mut self.resolver(&mut sink), limits));
            good(&sink)?;
        }
        let lost = resolve::losers(&mut self.resolver(&mut addresses), Some(&self.shared));
        good(&addresses)?;
        if let Some(intent) = &mut intent {
            resolve::others(&mut self.resolver(&mut filters), intent);
            good(&filters)?;
            resolve::fill(intent, &self.declared);
        }
        Some(Resolved { others: intent.map(|intent| (intent, filters)), lost, addresses })
    }

    fn resolver<'r>(&'r self, sink: &'r mut Sink) -> Resolver<'r> {
        Resolver { sink, sources: &self.loaded.sources, declared: &self.declared, complete: true }
    }

    fn commit(&mut self, mut hit: Hit, resolved: Resolved, files: &[File], limits: &Limits) -> Touched {
        let mut touched = Touched::default();
        let without_policies = self.loaded.intent.network_policies.is_empty();
        if let Some((others, filters)) = resolved.others {
            touched.others = self.take_over(others);
            self.found.filters = filters;
            let mut network = Sink::new(limits.diagnostics);
            resolve::network_warnings(&mut self.resolver(&mut network), &self.loaded.intent);
            self.found.network = network;
        }
        if !hit.nodes.is_empty() {
            let on = |node: &Option<String>| node.as_ref().is_some_and(|node| hit.nodes.contains(node));
            let pods = self.declared.pods.iter().filter(|(_, entry)| on(&entry.value.node));
            hit.pods.extend(pods.map(|(name, _)| name.clone()));
        }
        let lost = std::mem::replace(&mut self.lost, resolved.lost);
        hit.pods.extend(lost.symmetric_difference(&self.lost).map(|(name, _)| name.clone()));
        let (pods, other_nodes) = self.pods(hit.pods);
        touched.pods = pods;
        touched.network_policies = self.policies(hit.network_policies);
        let inhabited = touched.pods.iter().chain(&touched.network_policies);
        hit.namespaces.extend(inhabited.map(|name| name.namespace.clone()));
        touched.namespaces = self.namespaces(hit.namespaces);
        self.look_for_idle(&touched);
        if hit.others || other_nodes || without_policies != self.loaded.intent.network_policies.is_empty() {
            let mut spoofing = Sink::new(limits.diagnostics);
            resolve::spoofing(&mut self.resolver(&mut spoofing), &self.loaded.intent);
            self.found.spoofing = spoofing;
        }
        self.tell(&resolved.addresses, files, limits);
        touched
    }

    /// Takes over what is neither pods, their policies nor namespaces. Whether anything differs.
    fn take_over(&mut self, others: Intent) -> bool {
        let intent = &mut self.loaded.intent;
        let pods = std::mem::take(&mut intent.pods);
        let network_policies = std::mem::take(&mut intent.network_policies);
        let namespaces = std::mem::take(&mut intent.namespaces);
        let differs = *intent != others;
        *intent = Intent { namespaces, pods, network_policies, ..others };
        differs
    }

    /// Resolves pods. Those that differ, and whether pods run on other nodes altogether.
    fn pods(&mut self, names: BTreeSet<ObjectName>) -> (BTreeSet<ObjectName>, bool) {
        let mut other_nodes = false;
        let changed = names.into_iter().filter(|name| {
            let after = resolve::pod(&self.declared, name, &self.lost);
            if self.loaded.intent.pods.get(name) == after.as_ref() {
                return false;
            }
            if let Some(before) = self.loaded.intent.pods.remove(name) {
                self.index.remove(name, &before);
                other_nodes |= self.leave(&before);
            }
            if let Some(after) = after {
                self.index.insert(name, &after);
                other_nodes |= self.enter(&after);
                self.loaded.intent.pods.insert(name.clone(), after);
            }
            true
        });
        (changed.collect(), other_nodes)
    }

    /// Counts a pod on its node. Whether it is the first there.
    fn enter(&mut self, pod: &Pod) -> bool {
        let mut first = false;
        for address in &pod.node_addresses {
            let there = self.nodes.entry(*address).or_default();
            first |= *there == 0;
            *there += 1;
        }
        first
    }

    /// Whether it was the last there.
    fn leave(&mut self, pod: &Pod) -> bool {
        let mut last = false;
        for address in &pod.node_addresses {
            let Some(there) = self.nodes.get_mut(address) else { continue };
            *there -= 1;
            if *there == 0 {
                self.nodes.remove(address);
                last = true;
            }
        }
        last
    }

    fn policies(&mut self, mut names: BTreeSet<ObjectName>) -> BTreeSet<ObjectName> {
        names.retain(|name| {
            let after = self.declared.network_policies.get(name).map(|entry| &entry.value);
            match (self.loaded.intent.network_policies.entry(name.clone()), after) {
                (MapEntry::Occupied(before), Some(after)) if before.get() == after => return false,
                (MapEntry::Occupied(mut before), Some(after)) => _ = before.insert(after.clone()),
                (MapEntry::Vacant(before), Some(after)) => _ = before.insert(after.clone()),
                (MapEntry::Occupied(before), None) => _ = before.remove(),
                (MapEntry::Vacant(_), None) => return false,
            }
            true
        });
        names
    }

    fn namespaces(&mut self, mut names: BTreeSet<String>) -> BTreeSet<String> {
        names.retain(|name| {
            let after = resolve::namespace(&self.declared, &self.loaded.intent, name);
            if self.loaded.intent.namespaces.get(name) == after.as_ref() {
                return false;
            }
            match after {
                Some(after) => self.loaded.intent.namespaces.insert(name.clone(), after),
                None => self.loaded.intent.namespaces.remove(name),
            };
            true
        });
        names
    }

    /// Policies that are new, and all of namespaces with other pods.
    fn look_for_idle(&mut self, touched: &Touched) {
        let declared = &self.declared;
        let with_pods: BTreeSet<&str> = touched.pods.iter().map(|name| name.namespace.as_str()).collect();
        let of_pods = with_pods
            .into_iter()
            .flat_map(|namespace| resolve::of_namespace(&declared.network_policies, namespace))
            .map(|(name, _)| name);
        for name in touched.network_policies.iter().chain(of_pods) {
            if resolve::selects_nothing(declared, &self.loaded.intent, &self.index, name) {
                self.idle.insert(name.clone());
            } else {
                self.idle.remove(name);
            }
        }
    }

    /// Finds what is left to find, and tells it with the rest, in the order in which reading from nothing finds it.
    fn tell(&mut self, addresses: &Sink, files: &[File], limits: &Limits) {
        let mut all = Sink::new(limits.diagnostics);
        for piece in files.iter().flat_map(File::odd) {
            all.warn_of(&piece.warnings, piece.omitted_warnings);
        }
        let of = |all: &mut Sink, found: &Sink| all.warn_of(&found.warnings, found.omitted_warnings);
        of(&mut all, addresses);
        of(&mut all, &self.found.filters);
        let kinds = skipped(files);
        let intent = &self.loaded.intent;
        let (expectations, unjudged) = resolve::expected(&mut self.resolver(&mut all), intent);
        resolve::skipped(&mut self.resolver(&mut all), &kinds);
        of(&mut all, &self.found.network);
        of(&mut all, &self.found.spoofing);
        let idle = self.idle.iter().collect();
        resolve::policies(&mut self.resolver(&mut all), intent, &self.index, &idle);
        if kinds.is_empty() && expectations.is_empty() && unjudged.is_empty() {
            resolve::nothing(&mut self.resolver(&mut all), intent);
        }
        let sources = &self.loaded.sources;
        let (warnings, unjudged) = (in_order(&all.warnings, sources), in_order(&unjudged, sources));
        self.loaded.expectations = expectations;
        (self.loaded.warnings, self.loaded.unjudged) = (warnings, unjudged);
        self.loaded.omitted_warnings = all.omitted_warnings;
    }
}

impl Hit {
    fn add(&mut self, key: &Key) {
        match key {
            Key::Pod(name) => _ = self.pods.insert(name.clone()),
            Key::NetworkPolicy(name) => _ = self.network_policies.insert(name.clone()),
            Key::Namespace(name) => _ = self.namespaces.insert(name.clone()),
            Key::Node(name) => {
                self.nodes.insert(name.clone());
                self.others = true;
            }
            // They are resolved each time: they may name anything.
            Key::Expectation(_) => {}
            Key::Switch(_)
            | Key::Segment(_)
            | Key::Host(_)
            | Key::AddressGroup(_)
            | Key::FilterPolicy(_)
            | Key::ClusterNetworkPolicy(_)
            | Key::KubernetesDefaults => self.others = true,
        }
    }
}

/// The addresses that a host or pod says, as often as it says them.
fn addresses(declaration: &Declaration) -> Vec<IpAddr> {
    match declaration {
        Declaration::Host(_, entry) => entry.value.addresses.iter().map(|address| address.value).collect(),
        Declaration::Pod(_, entry) => {
            entry.value.pod.iter().flat_map(|pod| &pod.addresses).copied().collect()
        }
        _ => Vec::new(),
    }
}

/// Kinds that are not read: how many, and where the first one is.
fn skipped(files: &[File]) -> Skipped {
    let mut all = Skipped::new();
    for piece in files.iter().flat_map(File::odd) {
        for (kind, (count, at)) in &piece.skipped {
            all.entry(kind.clone()).or_insert((0, *at)).0 += count;
        }
    }
    all
}
