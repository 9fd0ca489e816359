//! From objects as they were said to the intent: names are looked up, addresses, ports and VLANs have one owner each.

mod addresses;
mod expectations;
mod filters;
mod groups;
mod network;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::declared::Declared;
use super::decode::Problem;
use super::diagnostic::{Code, Diagnostic, Severity, Sink};
use super::hints::similar;
use super::limits::Limits;
use super::objects::Objects;
use super::render::quoted;
use super::source::Place;
use super::sources::Sources;
use crate::expectation::Expectations;
use crate::model::{Intent, Labels, ObjectName, Pod};

/// The label that the API server gives every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// What resolving needs to say what is wrong.
struct Resolver<'r> {
    sink: &'r mut Sink,
    sources: &'r Sources,
    declared: &'r Declared,
    /// Every document was read: what is not there has not been declared.
    complete: bool,
}

impl Resolver<'_> {
    fn report(&mut self, object: &str, problem: Problem) {
        let diagnostic = problem.diagnostic(self.sources, object);
        self.sink.push(diagnostic);
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
) -> (Intent, Expectations, Vec<Diagnostic>) {
    let Objects { sink, sources, declared, skipped } = objects;
    let mut resolver = Resolver { sink, sources, declared, complete };
    let mut intent = Intent {
        groups: groups::expand(&mut resolver, limits.group_cidrs),
        switches: network::switches(&mut resolver),
        ..Intent::default()
    };
    intent.segments = network::segments(&mut resolver);
    intent.hosts = network::hosts(&mut resolver, &intent.segments);
    let lost = addresses::check(&mut resolver);
    filters::check(&mut resolver, &intent);
    // Faults of Expectations are faults of nothing else: all of theirs are told at once.
    let of_expectation =
        |error: &Diagnostic| error.object().is_some_and(|object| object.starts_with("Expectation/"));
    let alone = resolver.sink.omitted_errors == 0 && resolver.sink.errors.iter().all(of_expectation);
    if !alone {
        return (intent, Expectations::new(), Vec::new());
    }

    intent.filters =
        declared.filters.iter().map(|(name, entry)| (name.clone(), entry.value.policy.clone())).collect();
    intent.nodes = values(&declared.nodes);
    intent.network_policies = values(&declared.network_policies);
    intent.cluster_policies = values(&declared.cluster_policies);
    intent.defaults = declared.defaults.as_ref().map(|entry| entry.value).unwrap_or_default();
    intent.pods = pods(declared, &lost);
    intent.namespaces = namespaces(declared, &intent);
    let before = resolver.sink.errors.len();
    let expectations = expectations::check(&mut resolver, &intent);
    let unjudged = resolver.sink.errors.split_off(before);
    warnings::find(&mut resolver, &intent, skipped);
    // Skipped ones have been told, and folders without files.
    let nothing = intent == Intent::default() && expectations.is_empty() && unjudged.is_empty();
    if nothing && complete && skipped.is_empty() && !resolver.sources.files().is_empty() {
        let message = "there is no object in the input: nothing is meant by it";
        let warning = Diagnostic::new(Severity::Warning, Code::SelectsNothing, message);
        resolver.sink.push(warning.help("did the command that should have written it fail?"));
    }
    (intent, expectations, unjudged)
}

fn values<K: Ord + Clone, T: Clone>(map: &BTreeMap<K, super::declared::Entry<T>>) -> BTreeMap<K, T> {
    map.iter().map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
}

/// Pods with the addresses that are theirs and those of their nodes; without any, policies do not concern them.
fn pods(declared: &Declared, lost: &BTreeSet<(ObjectName, IpAddr)>) -> BTreeMap<ObjectName, Pod> {
    let pods = declared.pods.iter().filter_map(|(name, entry)| {
        let mut pod = entry.value.pod.clone()?;
        if !lost.is_empty() {
            pod.addresses.retain(|address| !lost.contains(&(name.clone(), *address)));
        }
        if let Some(node) = entry.value.node.as_ref().and_then(|node| declared.nodes.get(node)) {
            pod.node_addresses.extend(&node.value.addresses);
            pod.node_addresses.sort_unstable();
            pod.node_addresses.dedup();
        }
        (!pod.addresses.is_empty()).then(|| (name.clone(), pod))
    });
    pods.collect()
}

/// Declared namespaces, and those that objects live in.
fn namespaces(declared: &Declared, intent: &Intent) -> BTreeMap<String, Labels> {
    let mut namespaces = values(&declared.namespaces);
    let inhabited = |name: &ObjectName| name.namespace.clone();
    for name in intent.pods.keys().chain(intent.network_policies.keys()).map(inhabited) {
        namespaces.entry(name).or_default();
    }
    for (name, labels) in &mut namespaces {
        labels.insert(NAMESPACE_NAME.to_owned(), name.clone());
    }
    namespaces
}
