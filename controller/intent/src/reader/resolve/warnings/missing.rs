//! Policies go by labels and names of what is not in the input: a dump without its Namespaces says everything else right,
//! and what it denied by their labels passes.

use std::collections::{BTreeMap, BTreeSet};

use crate::deciders;
use crate::evaluate::selects;
use crate::model::{
    ClusterPeer, FilterPeer, Intent, LabelSelector, Labels, NetworkPeer, NetworkPort, ObjectName,
    PodsAnywhere,
};
use crate::reader::declared::Declared;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::resolve::{NAMESPACE_NAME, PodIndex, Resolver};
use crate::reader::source::Place;

/// So many are named.
const NAMED: usize = 3;

/// A policy.
enum Policy<'i> {
    Filter(&'i str),
    Network(&'i ObjectName),
    Cluster(&'i str),
}

impl Policy<'_> {
    /// As warnings name it.
    fn object(&self) -> String {
        match self {
            Self::Filter(name) => deciders::filter_policy(name),
            Self::Network(name) => deciders::network_policy(name),
            Self::Cluster(name) => deciders::cluster_policy(name),
        }
    }
}

/// What a policy asks for.
struct Asking<'i> {
    policy: Policy<'i>,
    at: Place,
    /// By labels of namespaces, if it says any, and of pods.
    pods: Vec<(Option<&'i LabelSelector>, &'i LabelSelector)>,
    nodes: bool,
    port_names: Vec<&'i str>,
}

/// Each thing is told once, and never left out because there were other warnings: who takes text that may lack a part
/// looks for these.
pub(super) fn find(resolver: &mut Resolver<'_>, intent: &Intent, pods: &PodIndex) {
    // Without pods no policy of pods means anything: that is told.
    if intent.pods.is_empty() {
        return;
    }
    let declared = resolver.declared;
    let is_bare = |name: &str| !declared.namespaces.contains_key(name);
    let of_labels = intent.pods.values().any(|pod| !pod.labels.is_empty());
    let of_ports = intent.pods.values().any(|pod| !pod.named_ports.is_empty());
    // Only cluster policies are about nodes.
    let all_there = declared.cluster_policies.is_empty() && of_labels && of_ports;
    if all_there && !pods.namespaces().any(is_bare) {
        return;
    }
    let asking = asking(declared);
    let found = [
        namespaces(declared, intent, pods, &asking),
        nodes(declared, &asking),
        if of_labels { None } else { labels(&asking) },
        if of_ports { None } else { ports(&asking) },
    ];
    for (object, problem) in found.into_iter().flatten() {
        resolver.sink.warnings.push(problem.of(&object));
    }
}

fn asking(declared: &Declared) -> Vec<Asking<'_>> {
    fn names(ports: &[NetworkPort]) -> impl Iterator<Item = &str> {
        ports.iter().filter_map(|port| match port {
            NetworkPort::Named(_, name) | NetworkPort::NamedAnyProtocol(name) => Some(name.as_str()),
            NetworkPort::All(_) | NetworkPort::Range(..) => None,
        })
    }
    fn anywhere(pods: &PodsAnywhere) -> (Option<&LabelSelector>, &LabelSelector) {
        (Some(&pods.namespaces), &pods.pods)
    }
    let filters = declared.filters.iter().map(|(name, entry)| {
        let peers = entry.value.policy.rules.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
        let pods = peers.filter_map(|peer| match peer {
            FilterPeer::Pods { namespaces, pods } => Some((namespaces.as_ref(), pods)),
            _ => None,
        });
        let (policy, pods) = (Policy::Filter(name), pods.collect());
        Asking { policy, at: entry.at, pods, nodes: false, port_names: Vec::new() }
    });
    let network = declared.network_policies.iter().map(|(name, entry)| {
        let rules = || entry.value.ingress.iter().chain(&entry.value.egress).flatten();
        let peers = rules().flat_map(|rule| &rule.peers).filter_map(|peer| match peer {
            NetworkPeer::Pods { namespaces, pods } => Some((namespaces.as_ref(), pods)),
            NetworkPeer::IpBlock { .. } => None,
        });
        Asking {
            policy: Policy::Network(name),
            at: entry.at,
            pods: std::iter::once((None, &entry.value.pods)).chain(peers).collect(),
            nodes: false,
            port_names: rules().flat_map(|rule| names(&rule.ports)).collect(),
        }
    });
    let cluster = declared.cluster_policies.iter().map(|(name, entry)| {
        let rules = || entry.value.ingress.iter().chain(&entry.value.egress);
        let peers = || rules().flat_map(|rule| &rule.peers);
        let of_pods = peers().filter_map(|peer| match peer {
            ClusterPeer::Pods(pods) => Some(pods),
            ClusterPeer::Nodes(_) | ClusterPeer::Networks(_) => None,
        });
        Asking {
            policy: Policy::Cluster(name),
            at: entry.at,
            pods: std::iter::once(&entry.value.subject).chain(of_pods).map(anywhere).collect(),
            nodes: peers().any(|peer| matches!(peer, ClusterPeer::Nodes(_))),
            port_names: rules().flat_map(|rule| names(&rule.ports)).collect(),
        }
    });
    filters.chain(network).chain(cluster).collect()
}

/// Namespaces with pods and without an object of their own, where a selector by their labels decides about these pods.
fn namespaces(
    declared: &Declared,
    intent: &Intent,
    pods: &PodIndex,
    asking: &[Asking<'_>],
) -> Option<(String, Problem)> {
    let bare: Vec<(&str, &Labels)> = pods
        .namespaces()
        .filter(|name| !declared.namespaces.contains_key(*name))
        .filter_map(|name| Some((name, intent.namespaces.get(name)?)))
        .collect();
    let mut known: BTreeMap<(&LabelSelector, &LabelSelector), Vec<&str>> = BTreeMap::new();
    let (mut met, mut by) = (BTreeSet::new(), Vec::new());
    for policy in asking.iter().filter(|_| !bare.is_empty()) {
        let mut meets = false;
        for (of, selector) in &policy.pods {
            let Some(of) = of.filter(|of| of.requirements.iter().any(|asked| asked.key != NAMESPACE_NAME))
            else {
                continue;
            };
            let found = known.entry((of, selector)).or_insert_with(|| {
                // Its name is known of each: what does not have the right one is out, whatever its labels.
                let by_name = of.requirements.iter().filter(|asked| asked.key == NAMESPACE_NAME);
                let by_name = LabelSelector { requirements: by_name.cloned().collect() };
                let may = |(name, labels): &&(&str, &Labels)| {
                    selects(&by_name, labels) && pods.selects(&intent.pods, name, selector)
                };
                bare.iter().filter(may).map(|(name, _)| *name).collect()
            });
            meets |= !found.is_empty();
            met.extend(found.iter().copied());
        }
        if meets {
            by.push(policy);
        }
    }
    let first = by.first()?;
    let met: Vec<&str> = met.into_iter().collect();
    let (which, have) = match met.as_slice() {
        [one] => (format!("namespace {one} has"), "it has"),
        many => (format!("namespaces {} have", listed(many)), "they have"),
    };
    let message = format!(
        "{} by labels of namespaces, and {which} pods but no Namespace object: which labels {have} is not known, and none is \
         taken for granted",
        selecting(&by)
    );
    let problem = Problem::warning(Code::MissingObject, first.at, message);
    let help = "add them: `kubectl get namespaces -o yaml`; one without labels needs its object, too";
    Some((first.policy.object(), problem.help(help)))
}

/// Nodes that pods run on, or any at all, where a policy is about nodes.
fn nodes(declared: &Declared, asking: &[Asking<'_>]) -> Option<(String, Problem)> {
    let by: Vec<_> = asking.iter().filter(|policy| policy.nodes).collect();
    let first = by.first()?;
    let used: BTreeSet<&str> =
        declared.pods.values().filter_map(|entry| entry.value.node.as_deref()).collect();
    let bare: Vec<&str> = used.into_iter().filter(|name| !declared.nodes.contains_key(*name)).collect();
    let what = match bare.as_slice() {
        [] if declared.nodes.is_empty() => "there is no Node object".to_owned(),
        [] => return None,
        [one] => format!("node {one} runs pods and has no Node object"),
        many => format!("nodes {} run pods and have no Node object", listed(many)),
    };
    let message = format!("{} nodes, and {what}: nothing is denied or allowed about them", selecting(&by));
    let problem = Problem::warning(Code::MissingObject, first.at, message);
    Some((first.policy.object(), problem.help("add them: `kubectl get nodes -o yaml`")))
}

/// Pods none of which has a label, where policies go by labels.
fn labels(asking: &[Asking<'_>]) -> Option<(String, Problem)> {
    let asks = |policy: &&Asking<'_>| policy.pods.iter().any(|(_, pods)| !pods.requirements.is_empty());
    let by: Vec<_> = asking.iter().filter(asks).collect();
    let first = by.first()?;
    let message = format!("{} by labels of pods, and no pod has any label", selecting(&by));
    let problem = Problem::warning(Code::MissingObject, first.at, message);
    let help = "give the pods as they are, with `metadata.labels`: `kubectl get pods -A -o yaml`";
    Some((first.policy.object(), problem.help(help)))
}

/// Pods none of which has a name for a port, where policies go by these names.
fn ports(asking: &[Asking<'_>]) -> Option<(String, Problem)> {
    let by: Vec<_> = asking.iter().filter(|policy| !policy.port_names.is_empty()).collect();
    let first = by.first()?;
    let port = first.port_names.first()?;
    let message = format!("{} by names of ports ({port}), and no pod has a name for a port", selecting(&by));
    let problem = Problem::warning(Code::MissingObject, first.at, message);
    let help = "give the pods as they are, with the ports of their containers: `kubectl get pods -A -o yaml`";
    Some((first.policy.object(), problem.help(help)))
}

/// `NetworkPolicy/shop/web and 2 more select`.
fn selecting(policies: &[&Asking<'_>]) -> String {
    match policies {
        [] => String::new(),
        [one] => format!("{} selects", one.policy.object()),
        [first, more @ ..] => format!("{} and {} more select", first.policy.object(), more.len()),
    }
}

/// `a, b, c and 27 more`.
fn listed(names: &[&str]) -> String {
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}
