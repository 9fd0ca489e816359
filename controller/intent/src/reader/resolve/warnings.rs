//! What is allowed and still looks like a mistake.

use std::collections::{BTreeMap, BTreeSet};

use super::Resolver;
use crate::evaluate::selects;
use crate::model::{FilterPeer, Intent, LabelOperator, LabelSelector, Labels, ObjectName};
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::source::Place;

pub(super) fn find(
    resolver: &mut Resolver<'_>,
    intent: &Intent,
    skipped: &BTreeMap<(String, String), (usize, Place)>,
) {
    for ((version, kind), (count, at)) in skipped {
        let message = match count {
            1 => format!("{kind} ({version}) is not read: 1 object is skipped"),
            _ => format!("{kind} ({version}) is not read: {count} objects are skipped"),
        };
        resolver.report("", Problem::warning(Code::Skipped, *at, message));
    }
    groups(resolver, intent);
    hosts(resolver, intent);
    segments(resolver, intent);
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

/// Policies that select no pod. Where there are no pods at all, that is said once.
fn policies(resolver: &mut Resolver<'_>, intent: &Intent) {
    let declared = resolver.declared;
    let mut idle: Vec<(String, Place)> = Vec::new();
    let by_namespace = PodIndex::new(intent);
    for (name, entry) in &declared.network_policies {
        if !by_namespace.selects(&name.namespace, &entry.value.pods) {
            idle.push((format!("NetworkPolicy/{}/{}", name.namespace, name.name), entry.at));
        }
    }
    for (name, entry) in &declared.cluster_policies {
        let subject = &entry.value.subject;
        let namespaces = intent.namespaces.iter().filter(|(_, labels)| selects(&subject.namespaces, labels));
        if !namespaces.into_iter().any(|(namespace, _)| by_namespace.selects(namespace, &subject.pods)) {
            idle.push((format!("ClusterNetworkPolicy/{name}"), entry.at));
        }
    }
    if intent.pods.is_empty() {
        if let Some((_, at)) = idle.first() {
            let message = format!(
                "no pods are given, so {} select nothing",
                match idle.len() {
                    1 => "1 policy".to_owned(),
                    many => format!("{many} policies"),
                }
            );
            let problem = Problem::warning(Code::SelectsNothing, *at, message);
            resolver.report("", problem.help("add the pods: `kubectl get namespaces,pods -A -o yaml`"));
        }
        return;
    }
    for (object, at) in idle {
        let problem = Problem::warning(Code::SelectsNothing, at, "this policy selects no pod");
        resolver.report(&object, problem);
    }
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
