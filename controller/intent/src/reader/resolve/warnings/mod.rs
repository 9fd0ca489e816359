//! What is allowed and still looks like a mistake.

mod missing;
mod spoofing;

use std::collections::BTreeSet;

pub(crate) use self::spoofing::find as spoofing;
use super::{PodIndex, Resolver, of_namespace};
use crate::deciders;
use crate::evaluate::selects;
use crate::model::{FilterPeer, Intent, ObjectName};
use crate::reader::declared::Declared;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::objects::{Skipped, is_of_a_mesh};
use crate::reader::source::Place;

/// Kinds that are not read.
pub(crate) fn skipped(resolver: &mut Resolver<'_>, kinds: &Skipped) {
    for ((version, kind), (count, at)) in kinds {
        let objects = if *count == 1 { "1 object is".to_owned() } else { format!("{count} objects are") };
        let (by_mesh, help) = if is_of_a_mesh(version, kind) {
            (
                "; the proxies of the mesh enforce it, and no switch does",
                Some("say what has to hold on the wire, too, by a NetworkPolicy"),
            )
        } else {
            ("", None)
        };
        let message = format!("{kind} ({version}) is not read: {objects} skipped{by_mesh}");
        let problem = Problem::warning(Code::Skipped, *at, message);
        resolver.report(
            "",
            match help {
                Some(help) => problem.help(help),
                None => problem,
            },
        );
    }
}

/// Groups, hosts and segments.
pub(crate) fn network(resolver: &mut Resolver<'_>, intent: &Intent) {
    groups(resolver, intent);
    hosts(resolver, intent);
    segments(resolver, intent);
}

fn groups(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    let nested =
        declared.groups.values().flat_map(|entry| &entry.value.groups).map(|name| name.value.as_str());
    let rules = intent.filters.values().flat_map(|policy| &policy.rules);
    let peers = rules.flat_map(|rule| rule.from.iter().chain(&rule.to)).filter_map(|peer| match peer {
        FilterPeer::Group(name) => Some(name.as_str()),
        _ => None,
    });
    let used: BTreeSet<&str> = nested.chain(peers).collect();
    for (name, entry) in &declared.groups {
        let object = format!("AddressGroup/{name}");
        if !used.contains(name.as_str()) {
            let problem = Problem::warning(Code::Unused, entry.at, "no policy and no group uses this group");
            resolver.report(&object, problem);
        } else if intent.groups.get(name).is_some_and(|group| group.cidrs.is_empty()) {
            let problem =
                Problem::warning(Code::SelectsNothing, entry.at, "this group is empty: it matches nothing");
            resolver.report(&object, problem);
        }
    }
}

fn hosts(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    for (name, entry) in &declared.hosts {
        let object = format!("Host/{name}");
        let segment = entry.value.segment.as_ref().and_then(|name| intent.segments.get(&name.value));
        let Some(segment) = segment.filter(|segment| !segment.subnets.is_empty()) else { continue };
        for address in &entry.value.addresses {
            if !segment.subnets.iter().any(|subnet| subnet.contains(&address.value)) {
                let message = format!("{} is in none of its segment's subnets", address.value);
                resolver.report(&object, Problem::warning(Code::Conflict, address.at, message));
            }
        }
        if let (None, Some(vlan)) = (segment.vlan, &entry.value.vlan) {
            let message = "its segment has frames without a VLAN tag, the host's have one";
            let problem = Problem::warning(Code::Conflict, vlan.at, message);
            resolver.report(&object, problem.help("its frames do not enter in that segment"));
        }
    }
}

fn segments(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    let inhabited: BTreeSet<&String> =
        intent.hosts.values().filter_map(|host| host.segment.as_ref()).collect();
    for (name, entry) in &declared.segments {
        let Some(segment) = intent.segments.get(name) else { continue };
        let place = segment.vlan.is_some() || !segment.ports.is_empty() || !segment.subnets.is_empty();
        if !place && !inhabited.contains(name) {
            let message = "this segment has no VLAN, ports, subnets and hosts: it means nothing";
            resolver.report(
                &format!("Segment/{name}"),
                Problem::warning(Code::SelectsNothing, entry.at, message),
            );
        }
    }
}

/// Whether a NetworkPolicy selects no pod.
pub(crate) fn selects_nothing(
    declared: &Declared,
    intent: &Intent,
    index: &PodIndex,
    name: &ObjectName,
) -> bool {
    let policy = declared.network_policies.get(name);
    policy.is_some_and(|entry| !index.selects(&intent.pods, &name.namespace, &entry.value.pods))
}

/// Policies that select no pod, and why. Where there are no pods at all, that is said once. Which NetworkPolicies are `idle`,
/// [`selects_nothing`] tells.
pub(crate) fn policies(
    resolver: &mut Resolver<'_>,
    intent: &Intent,
    index: &PodIndex,
    idle: &BTreeSet<&ObjectName>,
) {
    let declared = resolver.declared;
    missing::find(resolver, intent, index);
    let places = |name: &ObjectName| declared.network_policies.get(name).map(|entry| entry.at);
    let network = idle.iter().filter_map(|name| Some((places(name)?, Idle::Network(name))));
    let cluster = declared.cluster_policies.iter().filter(|(_, entry)| {
        let subject = &entry.value.subject;
        let mut namespaces =
            intent.namespaces.iter().filter(|(_, labels)| selects(&subject.namespaces, labels));
        !namespaces.any(|(namespace, _)| index.selects(&intent.pods, namespace, &subject.pods))
    });
    let cluster = cluster.map(|(name, entry)| (entry.at, Idle::Cluster(name)));
    let idle: Vec<(Place, Idle<'_>)> = network.chain(cluster).collect();
    if intent.pods.is_empty() {
        let Some((at, _)) = idle.first() else { return };
        let unplaced = idle
            .iter()
            .filter(|(_, idle)| matches!(idle, Idle::Network(name) if declared.unplaced.contains(name)));
        let unplaced = match unplaced.count() {
            0 => String::new(),
            1 if idle.len() == 1 => format!("; it has no `namespace`, {PLACE}"),
            1 => format!("; 1 of them has no `namespace`, {PLACE}"),
            many => format!("; {many} of them have no `namespace`, {PLACE}"),
        };
        let policies = match idle.len() {
            1 => "1 policy selects nothing".to_owned(),
            many => format!("{many} policies select nothing"),
        };
        let message = format!("no pods are given, so {policies}{unplaced}");
        let problem = Problem::warning(Code::SelectsNothing, *at, message);
        resolver.report("", problem.help("add the pods: `kubectl get namespaces,pods -A -o yaml`"));
        return;
    }
    for (at, policy) in idle {
        // Why it is takes a look at all pods.
        if resolver.sink.is_full_of_warnings() {
            resolver.sink.omit_warning();
            continue;
        }
        let (object, (why, help)) = match policy {
            Idle::Network(name) => {
                (deciders::network_policy(name), why_nothing(declared, intent, index, name))
            }
            Idle::Cluster(name) => {
                let why = "no pod of the namespaces that it is about has its labels";
                (deciders::cluster_policy(name), (why.to_owned(), None))
            }
        };
        let mut problem =
            Problem::warning(Code::SelectsNothing, at, format!("this policy selects no pod: {why}"));
        if let Some(help) = help {
            problem = problem.help(help);
        }
        resolver.report(&object, problem);
    }
}

/// A policy that selects no pod.
enum Idle<'d> {
    Network(&'d ObjectName),
    Cluster(&'d str),
}

/// What a policy without namespace means.
const PLACE: &str = "which means `default`, as kubectl without `-n` has it";

/// Why a NetworkPolicy selects no pod, and what may be meant.
fn why_nothing(
    declared: &Declared,
    intent: &Intent,
    pods: &PodIndex,
    name: &ObjectName,
) -> (String, Option<String>) {
    let unplaced = declared.unplaced.contains(name);
    let namespace = &name.namespace;
    let there = pods.count(namespace);
    let of_others = || {
        let bare = of_namespace(&declared.pods, namespace).filter(|(_, entry)| entry.value.pod.is_none());
        bare.count()
    };
    let mut why = match (there, of_others()) {
        (0, 0) => format!("there are no pods in namespace {namespace}"),
        (0, bare) => format!(
            "namespace {namespace} has only pods without addresses of their own ({bare}): in the host's network, \
             finished, or not started"
        ),
        (1, _) => format!("the one pod of namespace {namespace} has not the labels that it asks for"),
        (many, _) => {
            format!("none of the {many} pods of namespace {namespace} has the labels that it asks for")
        }
    };
    if unplaced {
        why = format!("it has no `namespace`, {PLACE}, and {why}");
    }
    let selector = declared.network_policies.get(name).map(|entry| &entry.value.pods);
    let elsewhere = selector
        .and_then(|selector| pods.namespaces().find(|other| pods.selects(&intent.pods, other, selector)));
    let help = match (elsewhere, unplaced) {
        (Some(other), true) => Some(format!(
            "pods of namespace {other} have these labels: say `namespace: {other}` if it is for them"
        )),
        (Some(other), false) => Some(format!("pods of namespace {other} have these labels; is it for them?")),
        (None, true) => {
            Some("say `namespace` in its metadata, or add the pods of namespace default".to_owned())
        }
        (None, false) if there == 0 => {
            Some("add its pods: `kubectl get namespaces,pods -A -o yaml`".to_owned())
        }
        (None, false) => None,
    };
    (why, help)
}
