//! From objects as they were said to the intent: names are looked up, addresses, ports and VLANs have one owner each.

mod addresses;
mod expectations;
mod filters;
mod groups;
mod index;
mod network;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use super::declared::Declared;
use super::decode::Problem;
use super::diagnostic::{Code, Diagnostic, Severity};
use super::hints::similar;
use super::limits::Limits;
use super::objects::Objects;
use super::render::quoted;
use super::sink::{Report, Sink};
use super::source::Place;
use super::sources::Sources;
use crate::expectation::Expectations;
use crate::model::{Intent, Labels, ObjectName, Pod};

/// The label that the API server gives every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

pub(crate) use self::addresses::{Lost, Shared, losers};
pub(crate) use self::index::PodIndex;
pub(crate) use self::warnings::{network as network_warnings, policies, selects_nothing, skipped, spoofing};

/// What resolving needs to say what is wrong.
pub(crate) struct Resolver<'r> {
    pub(crate) sink: &'r mut Sink,
    pub(crate) sources: &'r Sources,
    pub(crate) declared: &'r Declared,
    /// Every document was read: what is not there has not been declared.
    pub(crate) complete: bool,
}

impl Resolver<'_> {
    fn report(&mut self, object: &str, problem: Problem) {
        self.sink.push(problem.of(object));
    }

    /// The kind that has a name, and its field in a rule's peers.
    fn field_of(&self, name: &str) -> Option<(&'static str, &'static str)> {
        let declared = self.declared;
        match () {
            () if declared.segments.contains_key(name) => Some(("Segment", "segment")),
            () if declared.hosts.contains_key(name) => Some(("Host", "host")),
            () if declared.groups.contains_key(name) => Some(("AddressGroup", "group")),
            () => None,
        }
    }

    /// A name that nothing has.
    fn unknown<'n>(
        &mut self,
        object: &str,
        kind: &str,
        name: &str,
        at: Place,
        names: impl Iterator<Item = &'n str>,
    ) {
        if !self.complete {
            return;
        }
        if self.sink.is_full() {
            self.sink.omit_error();
            return;
        }
        let other = self.field_of(name).filter(|(other, _)| *other != kind);
        let help = match (other, similar(name, names)) {
            (Some((other, field)), _) => {
                format!("{name} is of kind {other}: as a peer it is `{field}: {name}`")
            }
            (None, Some(meant)) => format!("did you mean {meant}?"),
            (None, None) => "declare it, or correct the name".to_owned(),
        };
        let message = format!("there is no {kind} {}", quoted(name));
        self.report(object, Problem::error(Code::UnknownReference, at, message).help(help));
    }
}

/// Resolves everything that was read. What it finds wrong goes to the sink; the intent counts only without errors.
/// Expectations that name what is not there come last, apart from the errors: they keep nobody from the rest.
pub(crate) fn resolve(
    objects: &mut Objects,
    limits: &Limits,
    complete: bool,
) -> (Intent, Expectations, Vec<Report>) {
    let Objects { sink, sources, declared, skipped: kinds, .. } = objects;
    let mut resolver = Resolver { sink, sources, declared, complete };
    let mut intent = network(&mut resolver, limits);
    let lost = losers(&mut resolver, None);
    others(&mut resolver, &intent);
    // Faults of Expectations are faults of nothing else: all of theirs are told at once.
    let of_expectation = |error: &Report| error.object().starts_with("Expectation/");
    let alone = resolver.sink.omitted_errors == 0 && resolver.sink.errors.iter().all(of_expectation);
    if !alone {
        return (intent, Expectations::new(), Vec::new());
    }

    fill(&mut intent, declared);
    intent.network_policies = values(&declared.network_policies);
    let pods = declared.pods.keys().filter_map(|name| Some((name.clone(), pod(declared, name, &lost)?)));
    intent.pods = pods.collect();
    intent.namespaces = namespaces(declared, &intent);
    let (expectations, unjudged) = expected(&mut resolver, &intent);
    skipped(&mut resolver, kinds);
    network_warnings(&mut resolver, &intent);
    spoofing(&mut resolver, &intent);
    let mut index = PodIndex::default();
    intent.pods.iter().for_each(|(name, pod)| index.insert(name, pod));
    let idle =
        declared.network_policies.keys().filter(|name| selects_nothing(declared, &intent, &index, name));
    policies(&mut resolver, &intent, &index, &idle.collect());
    if complete && kinds.is_empty() && expectations.is_empty() && unjudged.is_empty() {
        nothing(&mut resolver, &intent);
    }
    (intent, expectations, unjudged)
}

/// Groups, switches, segments and hosts: what the rest goes by.
pub(crate) fn network(resolver: &mut Resolver<'_>, limits: &Limits) -> Intent {
    let mut intent = Intent {
        groups: groups::expand(resolver, limits.group_cidrs),
        switches: network::switches(resolver),
        ..Intent::default()
    };
    intent.segments = network::segments(resolver);
    intent.hosts = network::hosts(resolver, &intent.segments);
    intent
}

/// Subnets and filter policies: what neither pods nor their policies have a part in.
pub(crate) fn others(resolver: &mut Resolver<'_>, intent: &Intent) {
    addresses::subnets(resolver);
    filters::check(resolver, intent);
}

/// What is said of neither pods, their policies nor namespaces, and stands for itself.
pub(crate) fn fill(intent: &mut Intent, declared: &Declared) {
    intent.filters =
        declared.filters.iter().map(|(name, entry)| (name.clone(), entry.value.policy.clone())).collect();
    intent.nodes = values(&declared.nodes);
    intent.cluster_policies = values(&declared.cluster_policies);
    intent.defaults = declared.defaults.as_ref().map(|entry| entry.value).unwrap_or_default();
}

/// The Expectations, and why packets of them cannot be judged.
pub(crate) fn expected(resolver: &mut Resolver<'_>, intent: &Intent) -> (Expectations, Vec<Report>) {
    let before = resolver.sink.errors.len();
    let expectations = expectations::check(resolver, intent);
    (expectations, resolver.sink.errors.split_off(before))
}

/// Says so if there is no object: skipped ones have been told, and folders without files.
pub(crate) fn nothing(resolver: &mut Resolver<'_>, intent: &Intent) {
    if *intent == Intent::default() && !resolver.sources.files().is_empty() {
        let message = "there is no object in the input: nothing is meant by it";
        let warning = Diagnostic::new(Severity::Warning, Code::SelectsNothing, message);
        resolver.sink.push(warning.help("did the command that should have written it fail?"));
    }
}

fn values<K: Ord + Clone, T: Clone>(map: &BTreeMap<K, super::declared::Entry<T>>) -> BTreeMap<K, T> {
    map.iter().map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
}

/// A pod with the addresses that are its and those of its node; without any, policies do not concern it.
pub(crate) fn pod(declared: &Declared, name: &ObjectName, lost: &Lost) -> Option<Pod> {
    let entry = declared.pods.get(name)?;
    let mut pod = entry.value.pod.clone()?;
    if !lost.is_empty() {
        pod.addresses.retain(|address| !lost.contains(&(name.clone(), *address)));
    }
    if let Some(node) = entry.value.node.as_ref().and_then(|node| declared.nodes.get(node)) {
        pod.node_addresses.extend(&node.value.addresses);
        pod.node_addresses.sort_unstable();
        pod.node_addresses.dedup();
    }
    (!pod.addresses.is_empty()).then_some(pod)
}

/// Declared namespaces, and those that objects live in.
fn namespaces(declared: &Declared, intent: &Intent) -> BTreeMap<String, Labels> {
    let inhabited = intent.pods.keys().chain(intent.network_policies.keys()).map(|name| &name.namespace);
    let names: BTreeSet<&String> = declared.namespaces.keys().chain(inhabited).collect();
    let known = names.into_iter().filter_map(|name| Some((name.clone(), namespace(declared, intent, name)?)));
    known.collect()
}

/// The labels of a namespace; none if it is not declared and nothing lives in it.
pub(crate) fn namespace(declared: &Declared, intent: &Intent, name: &str) -> Option<Labels> {
    let mut labels = match declared.namespaces.get(name) {
        Some(entry) => entry.value.clone(),
        None if lives_in(&intent.pods, name) || lives_in(&intent.network_policies, name) => Labels::new(),
        None => return None,
    };
    labels.insert(NAMESPACE_NAME.to_owned(), name.to_owned());
    Some(labels)
}

fn lives_in<T>(objects: &BTreeMap<ObjectName, T>, namespace: &str) -> bool {
    of_namespace(objects, namespace).next().is_some()
}

/// The objects of a namespace, in the order of their names.
pub(crate) fn of_namespace<'o, T>(
    objects: &'o BTreeMap<ObjectName, T>,
    namespace: &'o str,
) -> impl Iterator<Item = (&'o ObjectName, &'o T)> {
    let first = ObjectName { namespace: namespace.to_owned(), name: String::new() };
    objects.range(first..).take_while(move |(name, _)| name.namespace == namespace)
}
