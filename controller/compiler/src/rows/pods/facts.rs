//! What concerns each pod, in one direction: who isolates it, and what its policies say of answers.

use outplane_intent::model::{Intent, KubernetesDefaults, NetworkPolicy, ObjectName, RelatedErrors, Replies};

use super::super::peers::{PodIndex, Resolver};
use super::super::terms::Direction;
use super::{cluster_rules, network_rules};
use crate::addresses::AddressSet;

/// What concerns one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The NetworkPolicy that is named for its isolation, the first without rules or else the first by name, and whether
    /// any of them logs.
    pub(super) isolated: Option<(ObjectName, bool)>,
    /// Some rule lets everything pass to or from it all the same.
    pub(super) unrestricted: bool,
    /// What the policies that may deny say, where there are some.
    pub(super) says: Option<Says>,
}

/// What policies say of answers: the strictest, of those that say anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Says {
    pub(super) replies: Option<Replies>,
    pub(super) related_errors: Option<RelatedErrors>,
}

/// The NetworkPolicies of a namespace, by name.
pub(super) fn local_policies<'i>(
    intent: &'i Intent,
    namespace: &str,
) -> impl Iterator<Item = (&'i ObjectName, &'i NetworkPolicy)> {
    let first = ObjectName { namespace: namespace.to_owned(), name: String::new() };
    let namespace = namespace.to_owned();
    intent.network_policies.range(first..).take_while(move |(name, _)| name.namespace == namespace)
}

/// The smaller one of what is said.
fn stricter<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

impl Facts {
    pub(super) fn of(intent: &Intent, resolver: &mut Resolver, pod: PodIndex, direction: Direction) -> Self {
        let mut facts = Self::default();
        let Some(namespace) = resolver.name(pod).map(|name| name.namespace.clone()) else { return facts };
        let mut named: Option<(bool, &ObjectName)> = None;
        let mut log = false;
        for (name, policy) in local_policies(intent, &namespace) {
            let Some(rules) = network_rules(policy, direction) else { continue };
            if !resolver.in_namespace(&namespace, &policy.pods).has(pod) {
                continue;
            }
            // Those that let nothing through are named before the others; within both, by name.
            let place = (!rules.is_empty(), name);
            named = Some(named.map_or(place, |named| named.min(place)));
            log |= policy.log;
            facts.unrestricted |= rules.iter().any(|rule| rule.peers.is_empty() && rule.ports.is_empty());
            facts.hear(policy.replies, policy.related_errors);
        }
        facts.isolated = named.map(|(_, name)| (name.clone(), log));
        for policy in intent.cluster_policies.values() {
            if !cluster_rules(policy, direction).is_empty() && resolver.anywhere(&policy.subject).has(pod) {
                facts.hear(policy.replies, policy.related_errors);
            }
        }
        facts
    }

    fn hear(&mut self, replies: Option<Replies>, errors: Option<RelatedErrors>) {
        let said = self.says.get_or_insert_default();
        said.replies = stricter(said.replies, replies);
        said.related_errors = stricter(said.related_errors, errors);
    }

    /// The reply mode, where policies may deny something.
    pub(super) fn replies(&self, defaults: KubernetesDefaults) -> Option<Replies> {
        self.says.map(|said| said.replies.unwrap_or(defaults.replies))
    }

    /// And whether ICMP errors get through.
    pub(super) fn related_errors(&self, defaults: KubernetesDefaults) -> Option<RelatedErrors> {
        self.says.map(|said| said.related_errors.unwrap_or(defaults.related_errors))
    }
}

/// What concerns all pods in one direction.
pub(super) struct Concern {
    pub(super) direction: Direction,
    /// By pod.
    pub(super) facts: Vec<Facts>,
    pub(super) defaults: KubernetesDefaults,
}

impl Concern {
    pub(super) fn find(intent: &Intent, resolver: &mut Resolver, direction: Direction) -> Self {
        let pods: Vec<PodIndex> = resolver.pods().collect();
        let facts = pods.into_iter().map(|pod| Facts::of(intent, resolver, pod, direction)).collect();
        Self { direction, facts, defaults: intent.defaults }
    }

    /// The isolated pods, each with who is named for it and whether that is logged.
    pub(super) fn isolated(&self) -> impl Iterator<Item = (PodIndex, &(ObjectName, bool))> {
        let pods = self.facts.iter().enumerate();
        pods.filter_map(|(pod, facts)| Some((pod, facts.isolated.as_ref()?)))
    }

    pub(super) fn reply_modes(&self, resolver: &Resolver) -> ReplyModes {
        let of = |least: Replies| {
            let pods = self.facts.iter().enumerate();
            let pods =
                pods.filter(|(_, facts)| facts.replies(self.defaults).is_some_and(|mode| mode >= least));
            resolver.addresses_of(pods.map(|(pod, _)| pod))
        };
        ReplyModes { replies: of(Replies::Established), reverse: of(Replies::Reverse) }
    }
}

/// The pods of each reply mode, for one direction: those that something may deny.
#[derive(Debug, Default)]
pub(super) struct ReplyModes {
    /// `established` or `reverse`.
    pub(super) replies: AddressSet,
    /// `reverse`.
    pub(super) reverse: AddressSet,
}
