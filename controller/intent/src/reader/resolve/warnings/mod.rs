//! What is allowed and still looks like a mistake.

mod missing;
mod spoofing;

use std::collections::{BTreeMap, BTreeSet};

use super::Resolver;
use crate::deciders;
use crate::evaluate::selects;
use crate::model::{FilterPeer, Intent, LabelOperator, LabelSelector, Labels, ObjectName};
use crate::reader::declared::Declared;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::objects::is_of_a_mesh;
use crate::reader::source::Place;

pub(super) fn find(
    resolver: &mut Resolver<'_>,
    intent: &Intent,
    skipped: &BTreeMap<(String, String), (usize, Place)>,
) {
    for ((version, kind), (count, at)) in skipped {
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
    groups(resolver, intent);
    hosts(resolver, intent);
    segments(resolver, intent);
    spoofing::find(resolver, intent);
    policies(resolver, intent);
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

/// Policies that select no pod, and why. Where there are no pods at all, that is said once.
fn policies(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    let mut idle: Vec<(String, Place, Option<&ObjectName>)> = Vec::new();
    let by_namespace = PodIndex::new(intent);
    missing::find(resolver, intent, &by_namespace);
    for (name, entry) in &declared.network_policies {
        if !by_namespace.selects(&name.namespace, &entry.value.pods) {
            let object = deciders::network_policy(name);
            idle.push((object, entry.at, Some(name)));
        }
    }
    for (name, entry) in &declared.cluster_policies {
        let subject = &entry.value.subject;
        let namespaces = intent.namespaces.iter().filter(|(_, labels)| selects(&subject.namespaces, labels));
        if !namespaces.into_iter().any(|(namespace, _)| by_namespace.selects(namespace, &subject.pods)) {
            idle.push((deciders::cluster_policy(name), entry.at, None));
        }
    }
    if intent.pods.is_empty() {
        let Some((_, at, _)) = idle.first() else { return };
        let unplaced =
            idle.iter().filter(|(.., name)| name.is_some_and(|name| declared.unplaced.contains(name)));
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
    for (object, at, name) in idle {
        let (why, help) = name.map_or_else(
            || ("no pod of the namespaces that it is about has its labels".to_owned(), None),
            |name| why_nothing(declared, &by_namespace, name),
        );
        let mut problem =
            Problem::warning(Code::SelectsNothing, at, format!("this policy selects no pod: {why}"));
        if let Some(help) = help {
            problem = problem.help(help);
        }
        resolver.report(&object, problem);
    }
}

/// What a policy without namespace means.
const PLACE: &str = "which means `default`, as kubectl without `-n` has it";

/// Why a NetworkPolicy selects no pod, and what may be meant.
fn why_nothing(declared: &Declared, pods: &PodIndex<'_>, name: &ObjectName) -> (String, Option<String>) {
    let unplaced = declared.unplaced.contains(name);
    let namespace = &name.namespace;
    let there = pods.count(namespace);
    let of_others = || {
        let bare = declared
            .pods
            .iter()
            .filter(|(pod, entry)| pod.namespace == *namespace && entry.value.pod.is_none());
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
    let elsewhere =
        selector.and_then(|selector| pods.namespaces().find(|other| pods.selects(other, selector)));
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

/// Pods by namespace, and in it by label: thousands of policies look for theirs among thousands of pods.
struct PodIndex<'i> {
    namespaces: BTreeMap<&'i str, Namespace<'i>>,
}

#[derive(Default)]
struct Namespace<'i> {
    pods: Vec<&'i Labels>,
    by_label: BTreeMap<(&'i str, &'i str), Vec<&'i Labels>>,
}

impl<'i> PodIndex<'i> {
    fn new(intent: &'i Intent) -> Self {
        let mut namespaces: BTreeMap<&str, Namespace<'_>> = BTreeMap::new();
        for (ObjectName { namespace, .. }, pod) in &intent.pods {
            let known = namespaces.entry(namespace).or_default();
            known.pods.push(&pod.labels);
            for (key, value) in &pod.labels {
                known.by_label.entry((key, value)).or_default().push(&pod.labels);
            }
        }
        Self { namespaces }
    }

    /// Namespaces with pods.
    fn namespaces(&self) -> impl Iterator<Item = &'i str> {
        self.namespaces.keys().copied()
    }

    fn count(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, |known| known.pods.len())
    }

    fn selects(&self, namespace: &str, selector: &LabelSelector) -> bool {
        let Some(known) = self.namespaces.get(namespace) else { return false };
        let narrow = selector.requirements.iter().find_map(|requirement| match &requirement.operator {
            LabelOperator::In(values) if values.len() == 1 => {
                let label = (requirement.key.as_str(), values[0].as_str());
                Some(known.by_label.get(&label).map_or(&[][..], Vec::as_slice))
            }
            _ => None,
        });
        narrow.unwrap_or(&known.pods).iter().any(|labels| selects(selector, labels))
    }
}
