//! The pods' sides: NetworkPolicies and ClusterNetworkPolicies.
//!
//! Each direction has a stage for the Admin tier and one for NetworkPolicies with the Baseline tier below them. The same
//! rules, mirrored, are the answers' stages of the other direction: a pod's ingress answers are its egress rules, for
//! the pods whose ingress can deny and lets replies through.

mod facts;
mod live;
mod related;
mod rows;

use std::collections::BTreeMap;
use std::net::IpAddr;

use outplane_intent::deciders;
use outplane_intent::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterRule, ClusterTier, Intent, NetworkPolicy, NetworkPolicyRule,
    NetworkPort, ObjectName, PortProtocol,
};

use super::Findings;
use super::notes::{Decision, Note};
use super::openings;
use super::peers::{NamedPort, PodIndex, Resolver};
use super::priority::{self, Item, Line, Places, TooManyRules};
use super::row::{Addresses, RowMatch, Rows};
use super::terms::{Condition, Direction, Effect, PodTier, Stage};
use crate::addresses::AddressSet;
use crate::origin::Origin;
use crate::ranges::Ranges;
use facts::{Concern, ReplyModes, Says};
pub(crate) use live::{LivePods, UnitRows};

const DIRECTIONS: [Direction; 2] = Direction::ALL;

/// What a rule says of ports, named ones resolved.
#[derive(Debug)]
enum PortTerm {
    Any,
    Protocol(u8),
    Ports(u8, Ranges<u16>),
    Named(u8, std::sync::Arc<NamedPort>),
}

/// A rule and whose it is.
struct Rule<'r> {
    direction: Direction,
    tier: PodTier,
    priority: i32,
    effect: Effect,
    origin: usize,
    subject: &'r AddressSet,
    peers: &'r Addresses,
    ports: &'r [PortTerm],
}

/// Adds the rows of all NetworkPolicies and ClusterNetworkPolicies, and returns who may deny packets to or from pods.
pub(crate) fn compile(
    intent: &Intent,
    places: &mut Places<'_>,
    resolver: &mut Resolver,
    rows: &mut Rows,
    findings: &mut Findings,
) -> Result<Option<Decision>, TooManyRules> {
    let [egress, ingress] = DIRECTIONS.map(|direction| Concern::find(intent, resolver, direction));
    let modes = [&egress, &ingress].map(|concern| concern.reply_modes(resolver));
    let mut compiler = Compiler { modes: &modes, rows };
    for tier in [ClusterTier::Admin, ClusterTier::Baseline] {
        compiler.cluster_tier(intent, tier, places, resolver, findings)?;
        // In the order of evaluation: who is named first has the lower number.
        if tier == ClusterTier::Admin {
            for (name, policy) in &intent.network_policies {
                compiler.network_policy(name, policy, resolver, findings);
            }
            compiler.local_nodes(&ingress, resolver);
            for concern in [&egress, &ingress] {
                compiler.isolation(concern, resolver);
            }
        }
    }
    for direction in DIRECTIONS {
        compiler.undecided(direction);
    }
    let concerns = [&egress, &ingress];
    compiler.related(intent, concerns, resolver);
    report(intent, resolver, concerns, findings);
    Ok(related::denial(intent, concerns, resolver))
}

fn network_rules(policy: &NetworkPolicy, direction: Direction) -> Option<&[NetworkPolicyRule]> {
    match direction {
        Direction::Egress => policy.egress.as_deref(),
        Direction::Ingress => policy.ingress.as_deref(),
    }
}

fn cluster_rules(policy: &ClusterNetworkPolicy, direction: Direction) -> &[ClusterRule] {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

/// What a rule is called.
fn rule_name(rule: &ClusterRule, direction: Direction, place: usize) -> String {
    rule.name.clone().unwrap_or_else(|| format!("{}[{place}]", direction.name()))
}

struct Compiler<'c> {
    /// Of egress and ingress.
    modes: &'c [ReplyModes; 2],
    rows: &'c mut Rows,
}

impl Compiler<'_> {
    fn cluster_tier(
        &mut self,
        intent: &Intent,
        tier: ClusterTier,
        places: &mut Places<'_>,
        resolver: &mut Resolver,
        findings: &mut Findings,
    ) -> Result<(), TooManyRules> {
        let pod_tier = if tier == ClusterTier::Admin { PodTier::Admin } else { PodTier::Main };
        let mut in_order: Vec<(&String, &ClusterNetworkPolicy)> =
            intent.cluster_policies.iter().filter(|(_, policy)| policy.tier == tier).collect();
        in_order.sort_by_key(|(name, policy)| (policy.priority, *name));
        let priorities = cluster_priorities(tier, &in_order, places)?;
        for ((name, policy), priorities) in in_order.into_iter().zip(priorities) {
            let policy_name = deciders::cluster_policy(name);
            let subject = resolver.anywhere(&policy.subject);
            if subject.addresses.is_empty() {
                findings.notes.insert(Note::SelectsNothing { policy: policy_name.clone() });
                continue;
            }
            for direction in DIRECTIONS {
                for (place, rule) in cluster_rules(policy, direction).iter().enumerate() {
                    let rule_name = rule_name(rule, direction, place);
                    let peers = resolver.cluster_peers(&rule.peers);
                    let ports = port_terms(&rule.ports, resolver);
                    findings.matches_nothing(&policy_name, &rule_name, peers.is_empty(), &ports);
                    let origin = self.rows.origin(&policy_name, &rule_name);
                    self.rule(&Rule {
                        direction,
                        tier: pod_tier,
                        priority: priorities[direction as usize][place],
                        effect: match rule.action {
                            ClusterAction::Accept => Effect::Allow,
                            ClusterAction::Deny => Effect::Deny,
                            ClusterAction::Pass => Effect::Pass,
                        },
                        origin,
                        subject: &subject.addresses,
                        peers: &peers,
                        ports: &ports,
                    });
                }
            }
        }
        Ok(())
    }

    fn network_policy(
        &mut self,
        name: &ObjectName,
        policy: &NetworkPolicy,
        resolver: &mut Resolver,
        findings: &mut Findings,
    ) {
        let policy_name = deciders::network_policy(name);
        let subject = resolver.in_namespace(&name.namespace, &policy.pods);
        if subject.addresses.is_empty() {
            findings.notes.insert(Note::SelectsNothing { policy: policy_name });
            return;
        }
        for direction in DIRECTIONS {
            for (place, rule) in network_rules(policy, direction).unwrap_or_default().iter().enumerate() {
                let rule_name = format!("{}[{place}]", direction.name());
                let peers = resolver.network_peers(&name.namespace, &rule.peers);
                let ports = port_terms(&rule.ports, resolver);
                findings.matches_nothing(&policy_name, &rule_name, peers.is_empty(), &ports);
                let origin = self.rows.origin_at(&policy_name, &rule_name, place);
                self.rule(&Rule {
                    direction,
                    tier: PodTier::Main,
                    priority: priority::NETWORK_RULE,
                    effect: Effect::Allow,
                    origin,
                    subject: &subject.addresses,
                    peers: &peers,
                    ports: &ports,
                });
            }
        }
    }

    /// A pod's own node reaches it, whatever isolates it. One rule for the pods of a node that the same policy is the
    /// first to isolate: that policy is named.
    fn local_nodes(&mut self, ingress: &Concern, resolver: &Resolver) {
        let mut groups: BTreeMap<(&ObjectName, &[IpAddr]), Vec<PodIndex>> = BTreeMap::new();
        for (pod, (policy, _)) in ingress.isolated() {
            let nodes = resolver.node_addresses(pod);
            if !nodes.is_empty() {
                groups.entry((policy, nodes)).or_default().push(pod);
            }
        }
        for ((policy, nodes), pods) in groups {
            self.local_node(policy, nodes, &resolver.addresses_of(pods));
        }
    }

    fn local_node(&mut self, policy: &ObjectName, nodes: &[IpAddr], pods: &AddressSet) {
        let origin = self.rows.origin(&deciders::network_policy(policy), deciders::LOCAL_NODE);
        self.rule(&Rule {
            direction: Direction::Ingress,
            tier: PodTier::Main,
            priority: priority::LOCAL_NODE,
            effect: Effect::Allow,
            origin,
            subject: pods,
            peers: &Addresses::new(AddressSet::of_addresses(nodes.iter().copied())),
            ports: &[PortTerm::Any],
        });
    }

    /// One row for the pods that the same policy is the first to isolate, so that no two rows are about one pod: it is
    /// clear who is named and whether the denial is logged.
    fn isolation(&mut self, concern: &Concern, resolver: &Resolver) {
        let direction = concern.direction;
        let mut groups: BTreeMap<(&ObjectName, bool), Vec<PodIndex>> = BTreeMap::new();
        for (pod, (name, log)) in concern.isolated() {
            groups.entry((name, *log)).or_default().push(pod);
        }
        for ((name, log), pods) in groups {
            self.isolated(direction, name, log, &resolver.addresses_of(pods));
        }
        self.isolated_answers(direction, &resolver.addresses_of(concern.isolated().map(|(pod, _)| pod)));
    }

    fn isolated(&mut self, direction: Direction, policy: &ObjectName, log: bool, pods: &AddressSet) {
        let origin = self.rows.origin(&deciders::network_policy(policy), deciders::ISOLATION);
        let effect = if log { Effect::DenyLog { tag: self.rows.tag(origin) } } else { Effect::Deny };
        let stage = Stage::Pods(direction, PodTier::Main);
        self.push(stage, priority::ISOLATION, effect, origin, direction, pods, &[]);
    }

    /// As the answer to a mirror image isolation names nobody, so one row is enough for all `pods` that are isolated.
    fn isolated_answers(&mut self, direction: Direction, pods: &AddressSet) {
        let pods = pods.intersect(&self.modes(direction.other()).replies);
        let origin = self.rows.origin(Origin::COMMON, deciders::ISOLATION);
        let other = direction.other();
        let stage = Stage::Answers(other, PodTier::Main);
        self.push(stage, priority::ISOLATION, Effect::Deny, origin, other, &pods, &[]);
    }

    /// A side that denies an established packet lets it through if the other side has no opinion.
    fn undecided(&mut self, direction: Direction) {
        let pods = self.modes(direction).replies.clone();
        let origin = self.rows.origin(Origin::COMMON, deciders::REPLY);
        let stage = Stage::Answers(direction, PodTier::Main);
        let established = [Condition::Established(true)];
        self.push(stage, priority::LAST, Effect::Allow, origin, direction, &pods, &established);
    }

    /// A row about the packets that some pods send (egress) or get (ingress).
    #[expect(clippy::too_many_arguments, reason = "a row's parts")]
    fn push(
        &mut self,
        stage: Stage,
        priority: i32,
        effect: Effect,
        origin: usize,
        direction: Direction,
        pods: &AddressSet,
        conditions: &[Condition],
    ) {
        let pods = Addresses::Of(pods.clone());
        let (src, dst) = match direction {
            Direction::Egress => (&pods, &Addresses::Any),
            Direction::Ingress => (&Addresses::Any, &pods),
        };
        let conditions = conditions.to_vec();
        let matches = RowMatch { src, dst, sport: None, dport: None, segments: &[], conditions };
        self.rows.push(stage, priority, effect, origin, matches);
    }

    fn modes(&self, direction: Direction) -> &ReplyModes {
        &self.modes[direction as usize]
    }
}

/// The priorities of the rules of each policy, by direction.
fn cluster_priorities(
    tier: ClusterTier,
    policies: &[(&String, &ClusterNetworkPolicy)],
    places: &mut Places<'_>,
) -> Result<Vec<[Vec<i32>; 2]>, TooManyRules> {
    let mut all = vec![[Vec::new(), Vec::new()]; policies.len()];
    for direction in DIRECTIONS {
        let line = match (tier, direction) {
            (ClusterTier::Admin, Direction::Egress) => Line::AdminEgress,
            (ClusterTier::Admin, Direction::Ingress) => Line::AdminIngress,
            (ClusterTier::Baseline, Direction::Egress) => Line::BaselineEgress,
            (ClusterTier::Baseline, Direction::Ingress) => Line::BaselineIngress,
        };
        let rules = policies.iter().enumerate().flat_map(|(number, (name, policy))| {
            let rules = cluster_rules(policy, direction).iter().enumerate();
            rules.map(move |(place, rule)| (number, name, policy.priority, rule_name(rule, direction, place)))
        });
        let rules: Vec<_> = rules.collect();
        let mut items: Vec<Item<'_>> = Vec::with_capacity(rules.len());
        for (_, policy, priority, rule) in &rules {
            items.push(Item { policy, priority: *priority, rule, answers: false });
        }
        for ((number, ..), priority) in rules.iter().zip(places.assign(line, &items)?) {
            all[*number][direction as usize].push(priority);
        }
    }
    Ok(all)
}

/// A rule's ports; ranges of one protocol are one term.
fn port_terms(ports: &[NetworkPort], resolver: &mut Resolver) -> Vec<PortTerm> {
    if ports.is_empty() {
        return vec![PortTerm::Any];
    }
    let mut terms = Vec::new();
    let mut ranges: BTreeMap<PortProtocol, Vec<(u16, u16)>> = BTreeMap::new();
    for port in ports {
        match port {
            NetworkPort::All(protocol) => terms.push(PortTerm::Protocol(protocol.number())),
            NetworkPort::Range(protocol, low, high) => {
                ranges.entry(*protocol).or_default().push((*low, *high));
            }
            NetworkPort::Named(protocol, name) => {
                terms.push(PortTerm::Named(protocol.number(), resolver.named_port(*protocol, name)));
            }
            NetworkPort::NamedAnyProtocol(name) => {
                for protocol in [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp] {
                    terms.push(PortTerm::Named(protocol.number(), resolver.named_port(protocol, name)));
                }
            }
        }
    }
    let ranges = ranges.into_iter().map(|(protocol, ranges)| (protocol.number(), Ranges::new(ranges)));
    terms.extend(ranges.map(|(protocol, ports)| PortTerm::Ports(protocol, ports)));
    terms
}

impl Findings {
    fn matches_nothing(&mut self, policy: &str, rule: &str, no_peers: bool, ports: &[PortTerm]) {
        let no_port = |term: &PortTerm| matches!(term, PortTerm::Named(_, pods) if pods.is_empty());
        let empty = match (no_peers, ports.iter().all(no_port)) {
            (true, _) => "its peers have no address",
            (false, true) => "no pod has a port of that name",
            (false, false) => return,
        };
        let (policy, rule) = (policy.to_owned(), rule.to_owned());
        self.notes.insert(Note::MatchesNothing { policy, rule, empty });
    }
}

/// What the policies' replies open, and of which pods it is not known where they run.
fn report(intent: &Intent, resolver: &mut Resolver, concerns: [&Concern; 2], findings: &mut Findings) {
    let mut open = |policy: &str, said: Says, direction: Direction, pods: &[PodIndex]| {
        // The strictest of a pod's policies holds, so a laxer one, or one that says nothing beside it, opens nothing.
        let [own, other] = [direction, direction.other()].map(|direction| concerns[direction as usize]);
        let opens =
            |pod: &PodIndex| own.facts[*pod].says.is_some_and(|strictest| strictest.replies == said.replies);
        let opened: Vec<PodIndex> = pods.iter().copied().filter(opens).collect();
        let replies = said.replies.unwrap_or(intent.defaults.replies);
        let undecided = opened.iter().any(|pod| other.facts[*pod].isolated.is_none());
        let ingress = direction == Direction::Ingress;
        findings.openings.extend(openings::of_pods(policy, replies, ingress, opened.len(), undecided));
        let tells = |pod: &&PodIndex| {
            own.facts[**pod].says.is_some_and(|strictest| strictest.related_errors == said.related_errors)
        };
        let told = pods.iter().filter(tells).count();
        let related = said.related_errors.unwrap_or(intent.defaults.related_errors);
        findings.openings.extend(openings::errors_of_pods(policy, related, ingress, told));
    };
    let [_, ingress] = concerns;
    let mut homeless =
        ingress.isolated().map(|(pod, _)| pod).filter(|pod| resolver.node_addresses(*pod).is_empty());
    if let Some(first) = homeless.next().and_then(|pod| resolver.name(pod)) {
        let pods = homeless.count() + 1;
        findings
            .notes
            .insert(Note::NodeUnknown { pods, first: format!("{}/{}", first.namespace, first.name) });
    }
    for (name, policy) in &intent.network_policies {
        let selection = resolver.in_namespace(&name.namespace, &policy.pods);
        for direction in DIRECTIONS {
            if network_rules(policy, direction).is_some() {
                let said = Says { replies: policy.replies, related_errors: policy.related_errors };
                open(&deciders::network_policy(name), said, direction, &selection.pods);
            }
        }
    }
    for (name, policy) in &intent.cluster_policies {
        let selection = resolver.anywhere(&policy.subject);
        for direction in DIRECTIONS {
            if cluster_rules(policy, direction).iter().any(|rule| rule.action == ClusterAction::Deny) {
                let said = Says { replies: policy.replies, related_errors: policy.related_errors };
                open(&deciders::cluster_policy(name), said, direction, &selection.pods);
            }
        }
    }
}
