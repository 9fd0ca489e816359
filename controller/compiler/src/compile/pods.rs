//! The pods' sides: NetworkPolicies and ClusterNetworkPolicies.
//!
//! Each direction has a table for the Admin tier and one for NetworkPolicies with the Baseline tier below them. The same
//! rules, mirrored, are the reply tables of the other direction: a pod's ingress reply tables hold its egress rules, for
//! the pods whose ingress can deny and lets replies through.

use std::collections::BTreeMap;

use outplane_intent::model::{
    ClusterAction, ClusterNetworkPolicy, ClusterTier, Intent, NetworkPolicy, NetworkPolicyRule, NetworkPort,
    ObjectName, PortProtocol, Replies,
};
use outplane_p4runtime::entry::{Action, Match};

use super::error::CompileError;
use super::notes::Note;
use super::openings;
use super::peers::{NamedPort, PodIndex, Resolver};
use super::priority::{self, Places};
use super::row::{Addresses, RowMatch, Rows, whole};
use super::{Findings, REPLY_RULE};
use crate::addresses::AddressSet;
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Ranges;
use crate::state::Origin;

const TCP: u8 = 6;

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Egress,
    Ingress,
}

const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

impl Direction {
    fn other(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

/// Where a rule's rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Admin,
    /// NetworkPolicies and the Baseline tier.
    Main,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Permit,
    Deny,
    DenyLog,
    Pass,
}

/// The pods of each reply mode, for one direction: those that something may deny.
#[derive(Debug, Default)]
struct ReplyModes {
    /// `established` or `reverse`.
    replies: AddressSet,
    /// `reverse`.
    reverse: AddressSet,
}

/// What a rule says of ports, named ones resolved.
#[derive(Debug)]
enum PortTerm {
    Any,
    Protocol(u8),
    Ports(u8, Ranges<u16>),
    Named(u8, std::rc::Rc<NamedPort>),
}

/// A rule and whose it is.
struct Rule<'r> {
    direction: Direction,
    stage: Stage,
    priority: i32,
    effect: Effect,
    origin: usize,
    subject: &'r AddressSet,
    peers: &'r Addresses,
    ports: &'r [PortTerm],
}

/// Adds the rows of all NetworkPolicies and ClusterNetworkPolicies.
pub(super) fn compile(
    intent: &Intent,
    program: &Program,
    resolver: &mut Resolver<'_>,
    rows: &mut Rows,
    findings: &mut Findings,
) -> Result<(), CompileError> {
    let [egress, ingress] = DIRECTIONS.map(|direction| Concern::find(intent, resolver, direction));
    let modes = [&egress, &ingress].map(|concern| concern.reply_modes(resolver));
    let mut compiler = Compiler { program, modes, rows };
    for tier in [ClusterTier::Admin, ClusterTier::Baseline] {
        compiler.cluster_tier(intent, tier, resolver, findings)?;
        // In the order of evaluation: who is named first has the lower number.
        if tier == ClusterTier::Admin {
            for (name, policy) in &intent.network_policies {
                compiler.network_policy(name, policy, resolver, findings);
            }
            for concern in [&egress, &ingress] {
                compiler.isolation(concern, resolver);
            }
        }
    }
    for direction in DIRECTIONS {
        compiler.undecided(direction);
    }
    report(intent, resolver, [&egress, &ingress], findings);
    Ok(())
}

/// What concerns each pod in one direction.
struct Concern {
    direction: Direction,
    /// The first NetworkPolicy by name that isolates a pod, and whether any of them logs.
    isolated: BTreeMap<PodIndex, (ObjectName, bool)>,
    /// The strictest reply mode of the policies that may deny.
    modes: Vec<Option<Replies>>,
}

impl Concern {
    fn find(intent: &Intent, resolver: &mut Resolver<'_>, direction: Direction) -> Self {
        let mut isolated: BTreeMap<PodIndex, (ObjectName, bool)> = BTreeMap::new();
        let mut modes: Vec<Option<Replies>> = vec![None; resolver.pod_count()];
        let mut stricter = |pod: PodIndex, replies: Replies| {
            modes[pod] = Some(modes[pod].map_or(replies, |mode| mode.min(replies)));
        };
        for (name, policy) in &intent.network_policies {
            if network_rules(policy, direction).is_none() {
                continue;
            }
            for pod in &resolver.in_namespace(&name.namespace, &policy.pods).pods {
                isolated.entry(*pod).or_insert_with(|| (name.clone(), false)).1 |= policy.log;
                stricter(*pod, policy.replies);
            }
        }
        for policy in intent.cluster_policies.values() {
            if cluster_rules(policy, direction).is_empty() {
                continue;
            }
            for pod in &resolver.anywhere(&policy.subject).pods {
                stricter(*pod, policy.replies);
            }
        }
        Self { direction, isolated, modes }
    }

    fn reply_modes(&self, resolver: &Resolver<'_>) -> ReplyModes {
        let of = |least: Replies| {
            let pods =
                self.modes.iter().enumerate().filter(|(_, mode)| mode.is_some_and(|mode| mode >= least));
            resolver.addresses_of(pods.map(|(pod, _)| pod))
        };
        ReplyModes { replies: of(Replies::Established), reverse: of(Replies::Reverse) }
    }
}

fn network_rules(policy: &NetworkPolicy, direction: Direction) -> Option<&[NetworkPolicyRule]> {
    match direction {
        Direction::Egress => policy.egress.as_deref(),
        Direction::Ingress => policy.ingress.as_deref(),
    }
}

fn cluster_rules(
    policy: &ClusterNetworkPolicy,
    direction: Direction,
) -> &[outplane_intent::model::ClusterRule] {
    match direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    }
}

fn network_name(name: &ObjectName) -> String {
    format!("NetworkPolicy/{}/{}", name.namespace, name.name)
}

struct Compiler<'c> {
    program: &'c Program,
    /// Of egress and ingress.
    modes: [ReplyModes; 2],
    rows: &'c mut Rows,
}

impl Compiler<'_> {
    fn cluster_tier(
        &mut self,
        intent: &Intent,
        tier: ClusterTier,
        resolver: &mut Resolver<'_>,
        findings: &mut Findings,
    ) -> Result<(), CompileError> {
        let stage = if tier == ClusterTier::Admin { Stage::Admin } else { Stage::Main };
        let mut in_order: Vec<(&String, &ClusterNetworkPolicy)> =
            intent.cluster_policies.iter().filter(|(_, policy)| policy.tier == tier).collect();
        in_order.sort_by_key(|(name, policy)| (policy.priority, *name));
        let mut places = Places::default();
        for (name, policy) in in_order {
            let policy_name = format!("ClusterNetworkPolicy/{name}");
            let block =
                places.block(&policy_name, policy.priority, policy.ingress.len().max(policy.egress.len()))?;
            let subject = resolver.anywhere(&policy.subject);
            if subject.addresses.is_empty() {
                findings.notes.insert(Note::SelectsNothing { policy: policy_name.clone() });
                continue;
            }
            for direction in DIRECTIONS {
                for (place, rule) in cluster_rules(policy, direction).iter().enumerate() {
                    let rule_name =
                        rule.name.clone().unwrap_or_else(|| format!("{}[{place}]", direction.name()));
                    let peers = resolver.cluster_peers(&rule.peers);
                    let ports = port_terms(&rule.ports, resolver);
                    findings.matches_nothing(&policy_name, &rule_name, peers.is_empty(), &ports);
                    let origin = self.rows.origin(&policy_name, rule_name);
                    self.rule(&Rule {
                        direction,
                        stage,
                        priority: block.rule(place),
                        effect: match rule.action {
                            ClusterAction::Accept => Effect::Permit,
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
        resolver: &mut Resolver<'_>,
        findings: &mut Findings,
    ) {
        let policy_name = network_name(name);
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
                let origin = self.rows.origin(&policy_name, rule_name);
                self.rule(&Rule {
                    direction,
                    stage: Stage::Main,
                    priority: priority::NETWORK_RULE,
                    effect: Effect::Permit,
                    origin,
                    subject: &subject.addresses,
                    peers: &peers,
                    ports: &ports,
                });
            }
        }
    }

    /// One row for the pods that the same policy is the first to isolate, so that no two rows are about one pod: it is
    /// clear who is named and whether the denial is logged.
    fn isolation(&mut self, concern: &Concern, resolver: &Resolver<'_>) {
        let direction = concern.direction;
        let mut groups: BTreeMap<&(ObjectName, bool), Vec<PodIndex>> = BTreeMap::new();
        for (pod, first) in &concern.isolated {
            groups.entry(first).or_default().push(*pod);
        }
        for ((name, log), pods) in groups {
            let origin = self.rows.origin(&network_name(name), "isolation".to_owned());
            let pods = resolver.addresses_of(pods);
            let effect = if *log { Effect::DenyLog } else { Effect::Deny };
            let (table, action) = self.decision(direction, Stage::Main, effect, origin);
            self.push(table, priority::ISOLATION, action, origin, direction, &pods, &Addresses::Any, &[]);
        }
        // As the answer to a mirror image it names nobody, so one row is enough.
        let isolated = resolver.addresses_of(concern.isolated.keys().copied());
        let isolated = isolated.intersect(&self.modes(direction.other()).replies);
        let origin = self.rows.origin(Origin::COMMON, "isolation".to_owned());
        let (table, action) = self.answer(direction, Stage::Main, Effect::Deny);
        self.push(
            table,
            priority::ISOLATION,
            action,
            origin,
            direction.other(),
            &isolated,
            &Addresses::Any,
            &[],
        );
    }

    /// A side that denies an established packet lets it through if the other side has no opinion.
    fn undecided(&mut self, direction: Direction) {
        let pods = self.modes(direction).replies.clone();
        let origin = self.rows.origin(Origin::COMMON, REPLY_RULE.to_owned());
        let (table, action) = self.answer(direction.other(), Stage::Main, Effect::Permit);
        let established = whole(table, Field::Established, 1);
        self.push(table, priority::LAST, action, origin, direction, &pods, &Addresses::Any, &[established]);
    }

    fn modes(&self, direction: Direction) -> &ReplyModes {
        &self.modes[direction as usize]
    }

    fn rule(&mut self, rule: &Rule<'_>) {
        for term in rule.ports {
            self.direct(rule, term);
            self.mirrored(rule, term);
        }
    }

    /// The rows of a rule in its own direction's table.
    fn direct(&mut self, rule: &Rule<'_>, term: &PortTerm) {
        let (table, action) = self.decision(rule.direction, rule.stage, rule.effect, rule.origin);
        let deny = matches!(rule.effect, Effect::Deny | Effect::DenyLog);
        let (subject, peers) = (Addresses::Of(rule.subject.clone()), rule.peers);
        let (src, dst) = match rule.direction {
            Direction::Egress => (&subject, peers),
            Direction::Ingress => (peers, &subject),
        };
        let mut push = |dst: &Addresses, dport: Option<&Ranges<u16>>, fixed: &[(Field, u128)]| {
            let fixed = fixed.iter().map(|(field, value)| whole(table, *field, *value)).collect();
            let matches = RowMatch { src, dst, sport: None, dport, segments: &[], fixed };
            self.rows.push(table, rule.priority, action.clone(), rule.origin, matches);
        };
        match term {
            PortTerm::Any => push(dst, None, &[]),
            PortTerm::Protocol(protocol) => push(dst, None, &[(Field::Protocol, (*protocol).into())]),
            PortTerm::Ports(protocol, ports) => {
                let protocol = (Field::Protocol, u128::from(*protocol));
                match (deny, ports.is_full()) {
                    // Class 0 keeps later fragments away; where no class is matched, the field must.
                    (true, true) => push(dst, None, &[protocol, (Field::Fragment, 0)]),
                    (false, true) => push(dst, None, &[protocol]),
                    (true, false) => push(dst, Some(ports), &[protocol]),
                    (false, false) => {
                        push(dst, Some(ports), &[protocol]);
                        push(dst, None, &[protocol, (Field::Fragment, 1)]);
                    }
                }
            }
            PortTerm::Named(protocol, named) => {
                let protocol = (Field::Protocol, u128::from(*protocol));
                for (port, pods) in named.iter() {
                    push(&dst.intersect(pods), Some(&Ranges::new(vec![(*port, *port)])), &[protocol]);
                }
                if !deny {
                    let named = AddressSet::union_of(named.values());
                    push(&dst.intersect(&named), None, &[protocol, (Field::Fragment, 1)]);
                }
            }
        }
    }

    /// The rows of a rule, mirrored, in the reply table of the same pods' other direction. Only what may be a reply comes
    /// there: established TCP and, for pods in mode `reverse`, UDP, SCTP and echo replies.
    fn mirrored(&mut self, rule: &Rule<'_>, term: &PortTerm) {
        let modes = self.modes(rule.direction.other());
        let replies = rule.subject.intersect(&modes.replies);
        let reverse = rule.subject.intersect(&modes.reverse);
        if replies.is_empty() {
            return;
        }
        let of_protocol = |protocol: u8| if protocol == TCP { &replies } else { &reverse };
        match term {
            PortTerm::Any if rule.effect == Effect::Deny => {
                self.answers(rule, &replies, None, None, None, &[]);
            }
            PortTerm::Any => {
                self.answers(rule, &replies, None, None, None, &[(Field::Established, 1)]);
                self.answers(rule, &reverse, None, None, None, &[(Field::Established, 0)]);
            }
            PortTerm::Protocol(protocol) => {
                self.answers(rule, of_protocol(*protocol), None, Some(*protocol), None, &[]);
            }
            PortTerm::Ports(protocol, ports) => {
                self.answers(rule, of_protocol(*protocol), None, Some(*protocol), Some(ports), &[]);
            }
            PortTerm::Named(protocol, named) => {
                for (port, pods) in named.iter() {
                    let ports = Ranges::new(vec![(*port, *port)]);
                    let subject = of_protocol(*protocol);
                    self.answers(rule, subject, Some(pods), Some(*protocol), Some(&ports), &[]);
                }
            }
        }
    }

    /// `named`: the addresses that may be the mirror image's destination.
    fn answers(
        &mut self,
        rule: &Rule<'_>,
        subject: &AddressSet,
        named: Option<&AddressSet>,
        protocol: Option<u8>,
        ports: Option<&Ranges<u16>>,
        fields: &[(Field, u128)],
    ) {
        let (table, mut action) = self.answer(rule.direction, rule.stage, rule.effect);
        let mut origin = rule.origin;
        // A Pass of the Baseline tier leaves the side undecided: enough for established TCP, not for the others.
        if rule.effect == Effect::Pass && rule.stage == Stage::Main {
            let established = protocol == Some(TCP) || fields.contains(&(Field::Established, 1));
            let effect = if established { Effect::Permit } else { Effect::Deny };
            action = self.answer(rule.direction, rule.stage, effect).1;
            if established {
                origin = self.rows.origin(Origin::COMMON, REPLY_RULE.to_owned());
            }
        }
        let mut subject = Addresses::Of(subject.clone());
        let mut peers = rule.peers.clone();
        if let Some(named) = named {
            match rule.direction {
                Direction::Ingress => subject = subject.intersect(named),
                Direction::Egress => peers = peers.intersect(named),
            }
        }
        // What the rule calls source is the destination here.
        let (src, dst) = match rule.direction {
            Direction::Egress => (&peers, &subject),
            Direction::Ingress => (&subject, &peers),
        };
        let mut fixed: Vec<(Field, Match)> =
            fields.iter().map(|(field, value)| whole(table, *field, *value)).collect();
        fixed.extend(protocol.map(|protocol| whole(table, Field::Protocol, protocol.into())));
        let matches = RowMatch { src, dst, sport: ports, dport: None, segments: &[], fixed };
        self.rows.push(table, rule.priority, action, origin, matches);
    }

    /// A row about the packets that some pods send (egress) or get (ingress).
    #[expect(clippy::too_many_arguments, reason = "a row's parts")]
    fn push(
        &mut self,
        table: Table,
        priority: i32,
        action: Action,
        origin: usize,
        direction: Direction,
        pods: &AddressSet,
        peers: &Addresses,
        fixed: &[(Field, Match)],
    ) {
        let pods = Addresses::Of(pods.clone());
        let (src, dst) = match direction {
            Direction::Egress => (&pods, peers),
            Direction::Ingress => (peers, &pods),
        };
        let matches = RowMatch { src, dst, sport: None, dport: None, segments: &[], fixed: fixed.to_vec() };
        self.rows.push(table, priority, action, origin, matches);
    }

    /// The table and action by which a side decides.
    fn decision(&self, direction: Direction, stage: Stage, effect: Effect, origin: usize) -> (Table, Action) {
        use ActionKind as A;
        let (table, [permit, deny, deny_log, pass]) = match (direction, stage) {
            (Direction::Egress, Stage::Admin) => {
                let deny = A::EgressAdminDeny;
                (Table::PodEgressAdmin, [A::EgressAdminPermit, deny, deny, A::EgressAdminPass])
            }
            (Direction::Egress, Stage::Main) => {
                (Table::PodEgress, [A::EgressPermit, A::EgressDeny, A::EgressDenyLog, A::EgressPass])
            }
            (Direction::Ingress, Stage::Admin) => {
                let deny = A::IngressAdminDeny;
                (Table::PodIngressAdmin, [A::IngressAdminPermit, deny, deny, A::IngressAdminPass])
            }
            (Direction::Ingress, Stage::Main) => {
                (Table::PodIngress, [A::IngressPermit, A::IngressDeny, A::IngressDenyLog, A::IngressPass])
            }
        };
        let action = match effect {
            Effect::Permit => self.program.action(permit, &[]),
            Effect::DenyLog if stage == Stage::Main => {
                self.program.action(deny_log, &[self.rows.origin_of(origin).tag().into()])
            }
            Effect::Deny | Effect::DenyLog => self.program.action(deny, &[]),
            Effect::Pass => self.program.action(pass, &[]),
        };
        (table, action)
    }

    /// The table and action by which a rule of one direction answers the other direction's denial.
    fn answer(&self, direction: Direction, stage: Stage, effect: Effect) -> (Table, Action) {
        use ActionKind as A;
        let (table, [reply, no_reply, pass]) = match (direction.other(), stage) {
            (Direction::Egress, Stage::Admin) => (
                Table::PodEgressAdminReply,
                [A::EgressAdminReply, A::EgressAdminNoReply, A::EgressAdminReplyPass],
            ),
            (Direction::Egress, Stage::Main) => {
                (Table::PodEgressReply, [A::EgressReply, A::EgressNoReply, A::EgressNoReply])
            }
            (Direction::Ingress, Stage::Admin) => (
                Table::PodIngressAdminReply,
                [A::IngressAdminReply, A::IngressAdminNoReply, A::IngressAdminReplyPass],
            ),
            (Direction::Ingress, Stage::Main) => {
                (Table::PodIngressReply, [A::IngressReply, A::IngressNoReply, A::IngressNoReply])
            }
        };
        let action = match effect {
            Effect::Permit => reply,
            Effect::Deny | Effect::DenyLog => no_reply,
            Effect::Pass => pass,
        };
        (table, self.program.action(action, &[]))
    }
}

/// A rule's ports; ranges of one protocol are one term.
fn port_terms(ports: &[NetworkPort], resolver: &mut Resolver<'_>) -> Vec<PortTerm> {
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

/// What the policies' replies open.
fn report(intent: &Intent, resolver: &mut Resolver<'_>, concerns: [&Concern; 2], findings: &mut Findings) {
    let mut open = |policy: &str, replies: Replies, direction: Direction, pods: &[PodIndex]| {
        // The strictest of a pod's policies holds, so a laxer one opens nothing there.
        let [own, other] = [direction, direction.other()].map(|direction| concerns[direction as usize]);
        let opened: Vec<PodIndex> =
            pods.iter().copied().filter(|pod| own.modes[*pod] == Some(replies)).collect();
        let undecided = opened.iter().any(|pod| !other.isolated.contains_key(pod));
        let ingress = direction == Direction::Ingress;
        findings.openings.extend(openings::of_pods(policy, replies, ingress, opened.len(), undecided));
    };
    for (name, policy) in &intent.network_policies {
        let selection = resolver.in_namespace(&name.namespace, &policy.pods);
        for direction in DIRECTIONS {
            if network_rules(policy, direction).is_some() {
                open(&network_name(name), policy.replies, direction, &selection.pods);
            }
        }
    }
    for (name, policy) in &intent.cluster_policies {
        let selection = resolver.anywhere(&policy.subject);
        for direction in DIRECTIONS {
            if cluster_rules(policy, direction).iter().any(|rule| rule.action == ClusterAction::Deny) {
                open(&format!("ClusterNetworkPolicy/{name}"), policy.replies, direction, &selection.pods);
            }
        }
    }
}
