//! ICMP errors past a pod's denial, and whom the pods' policies let talk at all.

use std::collections::BTreeMap;

use outplane_intent::deciders;
use outplane_intent::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterTier, Intent, KubernetesDefaults, NetworkPolicy, NetworkPort,
    ObjectName, PortProtocol, RelatedErrors, Replies,
};

use super::super::notes::Decision;
use super::super::peers::{PodIndex, Resolver};
use super::super::priority;
use super::super::row::{Addresses, RowMatch};
use super::super::terms::{Condition, Direction, Effect, PodTier, Stage};
use super::facts::{Concern, Facts, local_policies};
use super::{Compiler, DIRECTIONS, cluster_rules, network_rules};
use crate::addresses::AddressSet;
use crate::origin::Origin;

/// The policies about a pod in one direction, ClusterNetworkPolicies of both tiers in their order.
type Policies<'i> = (Vec<(usize, &'i ClusterNetworkPolicy)>, Vec<(&'i ObjectName, &'i NetworkPolicy)>);

/// With whom a pod's side lets packets pass.
#[derive(Clone, Debug)]
struct Passing {
    /// Some policy lets some packets pass.
    allowed: AddressSet,
    /// No policy has an opinion about some packets.
    undecided: AddressSet,
}

/// Every pod's policies, in both directions.
pub(super) struct Sides<'i> {
    intent: &'i Intent,
    cluster: Vec<(&'i String, &'i ClusterNetworkPolicy)>,
    /// By direction, protocol, numbers of policies, and names of ports.
    known: BTreeMap<Question<'i>, Passing>,
}

type Question<'i> =
    (Direction, Option<PortProtocol>, Vec<usize>, Vec<&'i ObjectName>, BTreeMap<(String, PortProtocol), u16>);

impl<'i> Sides<'i> {
    pub(super) fn new(intent: &'i Intent) -> Self {
        Self { intent, cluster: in_order(intent), known: BTreeMap::new() }
    }

    fn policies(&self, pod: PodIndex, direction: Direction, resolver: &mut Resolver) -> Policies<'i> {
        let Some(namespace) = resolver.name(pod).map(|name| name.namespace.clone()) else {
            return Policies::default();
        };
        let mut cluster = Vec::new();
        for (n, (_, policy)) in self.cluster.iter().enumerate() {
            if !cluster_rules(policy, direction).is_empty() && resolver.anywhere(&policy.subject).has(pod) {
                cluster.push((n, *policy));
            }
        }
        let mut network = Vec::new();
        for (name, policy) in local_policies(self.intent, &namespace) {
            if network_rules(policy, direction).is_some()
                && resolver.in_namespace(&namespace, &policy.pods).has(pod)
            {
                network.push((name, policy));
            }
        }
        (cluster, network)
    }

    /// With whom a pod's side lets packets pass; with a protocol, packets of this protocol.
    fn passing(
        &mut self,
        pod: PodIndex,
        direction: Direction,
        protocol: Option<PortProtocol>,
        resolver: &mut Resolver,
    ) -> Passing {
        let (cluster, network) = self.policies(pod, direction, resolver);
        let numbers: Vec<usize> = cluster.iter().map(|(n, _)| *n).collect();
        let names: Vec<&ObjectName> = network.iter().map(|(name, _)| *name).collect();
        let named_ports = resolver.pod(pod).map(|pod| pod.named_ports.clone()).unwrap_or_default();
        let question = (direction, protocol, numbers, names, named_ports);
        if let Some(passing) = self.known.get(&question) {
            return passing.clone();
        }
        let mut walk = Walk {
            direction,
            protocol,
            named_ports: &question.4,
            resolver,
            allowed: AddressSet::default(),
            open: AddressSet::full(),
        };
        walk.tier(&cluster, ClusterTier::Admin);
        if network.is_empty() {
            walk.tier(&cluster, ClusterTier::Baseline);
        } else {
            walk.isolation(&network);
        }
        let passing = Passing { allowed: walk.allowed, undecided: walk.open };
        self.known.insert(question, passing.clone());
        passing
    }

    /// The addresses of a pod from which it may have sent something: by its egress side, or as a reply to what its
    /// ingress side lets in.
    fn may_have_sent(&mut self, pod: PodIndex, replies: Replies, resolver: &mut Resolver) -> AddressSet {
        let egress = self.passing(pod, Direction::Egress, None, resolver);
        let mut to = AddressSet::union_of([&egress.allowed, &egress.undecided]);
        if replies != Replies::None && (to.v4.is_empty() || to.v6.is_empty()) {
            let protocol = (replies == Replies::Established).then_some(PortProtocol::Tcp);
            let ingress = self.passing(pod, Direction::Ingress, protocol, resolver);
            to = AddressSet::union_of([&to, &ingress.allowed]);
        }
        let mut own = resolver.addresses_of([pod]);
        if to.v4.is_empty() {
            own.v4 = crate::ranges::Ranges::default();
        }
        if to.v6.is_empty() {
            own.v6 = crate::ranges::Ranges::default();
        }
        own
    }
}

/// ClusterNetworkPolicies in the order of evaluation.
fn in_order(intent: &Intent) -> Vec<(&String, &ClusterNetworkPolicy)> {
    let mut policies: Vec<_> = intent.cluster_policies.iter().collect();
    policies.sort_by_key(|(name, policy)| (policy.priority, *name));
    policies
}

/// One pod's side, stage by stage.
struct Walk<'w> {
    direction: Direction,
    protocol: Option<PortProtocol>,
    named_ports: &'w BTreeMap<(String, PortProtocol), u16>,
    resolver: &'w mut Resolver,
    allowed: AddressSet,
    /// Nobody has decided about all packets with these yet.
    open: AddressSet,
}

impl Walk<'_> {
    fn tier(&mut self, policies: &[(usize, &ClusterNetworkPolicy)], tier: ClusterTier) {
        let mut passed = AddressSet::default();
        for (_, policy) in policies.iter().filter(|(_, policy)| policy.tier == tier) {
            for rule in cluster_rules(policy, self.direction) {
                let peers = set_of(self.resolver.cluster_peers(&rule.peers));
                let everything = rule.ports.is_empty();
                let some = self.with_ports(&peers, &rule.ports).intersect(&self.open);
                match rule.action {
                    ClusterAction::Accept => {
                        self.open = self.open.minus(&some);
                        self.allowed = AddressSet::union_of([&self.allowed, &some]);
                    }
                    ClusterAction::Deny if everything => self.open = self.open.minus(&peers),
                    ClusterAction::Deny => {}
                    ClusterAction::Pass => {
                        passed = AddressSet::union_of([&passed, &some]);
                        if everything {
                            self.open = self.open.minus(&peers);
                        }
                    }
                }
            }
        }
        self.open = AddressSet::union_of([&self.open, &passed]);
    }

    fn isolation(&mut self, policies: &[(&ObjectName, &NetworkPolicy)]) {
        let mut allowed = vec![self.allowed.clone()];
        for (name, policy) in policies {
            for rule in network_rules(policy, self.direction).unwrap_or_default() {
                let peers = set_of(self.resolver.network_peers(&name.namespace, &rule.peers));
                allowed.push(self.with_ports(&peers, &rule.ports).intersect(&self.open));
            }
        }
        self.allowed = AddressSet::union_of(&allowed);
        self.open = AddressSet::default();
    }

    /// The peers with which there are packets to these ports.
    fn with_ports(&mut self, peers: &AddressSet, ports: &[NetworkPort]) -> AddressSet {
        if ports.is_empty() {
            return peers.clone();
        }
        let mut found = Vec::new();
        for port in ports {
            match port {
                NetworkPort::All(by) | NetworkPort::Range(by, ..) => {
                    if self.wants(*by) {
                        return peers.clone();
                    }
                }
                NetworkPort::Named(by, name) => found.push(self.named(peers, *by, name)),
                NetworkPort::NamedAnyProtocol(name) => {
                    for by in [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp] {
                        found.push(self.named(peers, by, name));
                    }
                }
            }
        }
        AddressSet::union_of(&found)
    }

    fn named(&mut self, peers: &AddressSet, by: PortProtocol, name: &str) -> AddressSet {
        let has_name = || self.named_ports.contains_key(&(name.to_owned(), by));
        match self.direction {
            _ if !self.wants(by) => AddressSet::default(),
            Direction::Ingress if has_name() => peers.clone(),
            Direction::Ingress => AddressSet::default(),
            Direction::Egress => {
                let named = self.resolver.named_port(by, name);
                peers.intersect(&AddressSet::union_of(named.values()))
            }
        }
    }

    fn wants(&self, by: PortProtocol) -> bool {
        self.protocol.is_none_or(|wanted| wanted == by)
    }
}

fn set_of(addresses: Addresses) -> AddressSet {
    match addresses {
        Addresses::Any => AddressSet::full(),
        Addresses::Of(set) => set,
    }
}

impl Compiler<'_> {
    /// The rows by which ICMP errors get past denials. They stand above the replies' rows, and keep errors away from
    /// these.
    pub(super) fn related(&mut self, intent: &Intent, concerns: [&Concern; 2], resolver: &mut Resolver) {
        let mut sides = Sides::new(intent);
        for direction in DIRECTIONS {
            let concern = concerns[direction as usize];
            if concern.facts.iter().all(|facts| facts.says.is_none()) {
                continue;
            }
            self.unrelated(direction);
            let mut groups: BTreeMap<AddressSet, Vec<AddressSet>> = BTreeMap::new();
            let pods: Vec<PodIndex> = resolver.pods().collect();
            for pod in pods {
                let facts = concerns.map(|concern| &concern.facts[pod]);
                if let Some((peers, own)) = sides.related(pod, direction, facts, intent.defaults, resolver) {
                    groups.entry(peers).or_default().push(own);
                }
            }
            for (peers, pods) in groups {
                self.related_group(direction, &peers, &AddressSet::union_of(&pods));
            }
        }
    }

    /// The rows that keep errors away from those of replies.
    pub(super) fn unrelated(&mut self, direction: Direction) {
        let origin = self.rows.origin(Origin::COMMON, deciders::RELATED);
        for (tier, effect, priority) in [
            (PodTier::Admin, Effect::Pass, priority::RELATED),
            (PodTier::Main, Effect::Deny, priority::UNRELATED),
        ] {
            let conditions = vec![Condition::Related(true)];
            let (src, dst) = (&Addresses::Any, &Addresses::Any);
            let matches = RowMatch { src, dst, sport: None, dport: None, segments: &[], conditions };
            self.rows.push(Stage::Answers(direction, tier), priority, effect, origin, matches);
        }
    }

    /// The row by which errors pass between some pods and peers.
    pub(super) fn related_group(&mut self, direction: Direction, peers: &AddressSet, pods: &AddressSet) {
        let origin = self.rows.origin(Origin::COMMON, deciders::RELATED);
        let (pods, peers) = (Addresses::Of(pods.clone()), Addresses::new(peers.clone()));
        let (src, dst) = match direction {
            Direction::Egress => (&pods, &peers),
            Direction::Ingress => (&peers, &pods),
        };
        let conditions = vec![Condition::Related(true)];
        let matches = RowMatch { src, dst, sport: None, dport: None, segments: &[], conditions };
        let stage = Stage::Answers(direction, PodTier::Main);
        self.rows.push(stage, priority::RELATED, Effect::Allow, origin, matches);
    }
}

impl Sides<'_> {
    /// Between whom errors past a pod's denial pass: its peers, and those of its addresses that they are about. `facts`: the
    /// pod's, of egress and ingress.
    pub(super) fn related(
        &mut self,
        pod: PodIndex,
        direction: Direction,
        facts: [&Facts; 2],
        defaults: KubernetesDefaults,
        resolver: &mut Resolver,
    ) -> Option<(AddressSet, AddressSet)> {
        if facts[direction as usize].related_errors(defaults) != Some(RelatedErrors::Allow) {
            return None;
        }
        let (peers, own) = match direction {
            Direction::Ingress => {
                let replies = facts[Direction::Egress as usize].replies(defaults).unwrap_or_default();
                (AddressSet::full(), self.may_have_sent(pod, replies, resolver))
            }
            Direction::Egress => {
                let peers = self.passing(pod, Direction::Ingress, None, resolver).allowed;
                (peers, resolver.addresses_of([pod]))
            }
        };
        (!peers.is_empty() && !own.is_empty()).then_some((peers, own))
    }
}

/// The first policy that may deny a packet to or from a pod with an address.
pub(super) fn denial(intent: &Intent, concerns: [&Concern; 2], resolver: &mut Resolver) -> Option<Decision> {
    let decision =
        |policy: String, rule: String, log: bool| Decision { allow: false, policy, rule, log, limit: None };
    let of_cluster = |tier: ClusterTier, resolver: &mut Resolver| {
        for (name, policy) in in_order(intent).into_iter().filter(|(_, policy)| policy.tier == tier) {
            let subject = resolver.anywhere(&policy.subject);
            for direction in DIRECTIONS {
                let facts = &concerns[direction as usize].facts;
                let reached = subject.pods.iter().any(|pod| {
                    (tier == ClusterTier::Admin || facts[*pod].isolated.is_none())
                        && !resolver.addresses_of([*pod]).is_empty()
                });
                let mut rules = cluster_rules(policy, direction).iter().enumerate();
                if let Some((place, rule)) =
                    rules.find(|(_, rule)| reached && rule.action == ClusterAction::Deny)
                {
                    let rule = super::rule_name(rule, direction, place);
                    return Some(decision(deciders::cluster_policy(name), rule, false));
                }
            }
        }
        None
    };
    if let Some(found) = of_cluster(ClusterTier::Admin, resolver) {
        return Some(found);
    }
    for pod in resolver.by_name() {
        for direction in DIRECTIONS {
            let facts = &concerns[direction as usize].facts[pod];
            if let Some((name, log)) = &facts.isolated
                && !facts.unrestricted
                && !resolver.own_addresses(pod).is_empty()
            {
                return Some(decision(deciders::network_policy(name), deciders::ISOLATION.to_owned(), *log));
            }
        }
    }
    of_cluster(ClusterTier::Baseline, resolver)
}
