//! From objects as they were said to the intent: names are looked up, addresses, ports and VLANs have one owner each.

mod addresses;
mod filters;
mod groups;
mod network;
mod warnings;

use std::collections::BTreeMap;

use super::declared::Declared;
use super::decode::{Problem, similar};
use super::diagnostic::{Code, Sink};
use super::limits::Limits;
use super::objects::Objects;
use super::render::quoted;
use super::source::{Place, Sources};
use crate::model::{Intent, Labels, ObjectName};

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
        let help = match similar(name, names) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "declare it, or correct the name".to_owned(),
        };
        let message = format!("there is no {kind} {}", quoted(name));
        self.report(object, Problem::error(Code::UnknownReference, at, message).help(help));
    }
}

/// Resolves everything that was read. What it finds wrong goes to the sink; the intent counts only without errors.
pub(crate) fn resolve(objects: &mut Objects, limits: &Limits, complete: bool) -> Intent {
    let Objects { sink, sources, declared, skipped } = objects;
    let mut resolver = Resolver { sink, sources, declared, complete };
    let mut intent = Intent {
        groups: groups::expand(&mut resolver, limits.group_cidrs),
        switches: network::switches(&mut resolver),
        ..Intent::default()
    };
    intent.segments = network::segments(&mut resolver);
    intent.hosts = network::hosts(&mut resolver, &intent.segments);
    addresses::check(&mut resolver);
    filters::check(&mut resolver, &intent);
    if resolver.sink.error_count() > 0 {
        return intent;
    }

    intent.filters =
        declared.filters.iter().map(|(name, entry)| (name.clone(), entry.value.policy.clone())).collect();
    intent.nodes = values(&declared.nodes);
    intent.network_policies = values(&declared.network_policies);
    intent.cluster_policies = values(&declared.cluster_policies);
    let pods = declared.pods.iter();
    intent.pods = pods.filter_map(|(name, entry)| Some((name.clone(), entry.value.pod.clone()?))).collect();
    intent.namespaces = namespaces(declared, &intent);
    warnings::find(&mut resolver, &intent, skipped);
    intent
}

fn values<K: Ord + Clone, T: Clone>(map: &BTreeMap<K, super::declared::Entry<T>>) -> BTreeMap<K, T> {
    map.iter().map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
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
