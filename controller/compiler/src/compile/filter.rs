//! Filter policies: two ordered lists, one before and one after the pods' policies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use outplane_intent::deciders;
use outplane_intent::model::{
    FilterAction, FilterPolicy, FilterRule, FilterTier, IcmpMatch, PortProtocol, RelatedErrors, Replies,
    TcpFlags, TrafficMatch,
};
use outplane_intent::packet::{
    ECHO_REQUEST, ECHO_REQUEST_V6, ICMP, ICMPV6, LISTENER_DISCOVERY, NON_IP_ETHER_TYPES, SCTP, TCP, UDP,
};
use outplane_p4runtime::entry::{Action, Match};

use super::error::CompileError;
use super::meters::{Limited, Limiters, Packets};
use super::notes::Note;
use super::openings;
use super::peers::Resolver;
use super::priority::{Item, Line, Places};
use super::related;
use super::row::{Addresses, RowMatch, Rows, whole};
use super::{Findings, Scene};
use crate::program::{ActionKind, Field, Program, Table};
use crate::ranges::Ranges;

const TRAFFIC_IP: u128 = 0;
const TRAFFIC_ARP: u128 = 1;
const TRAFFIC_ND: u128 = 2;
const TRAFFIC_NON_IP: u128 = 3;
/// Frames that the switch cannot read.
pub(crate) const TRAFFIC_UNREAD: u128 = 4;

/// What a tier's table and actions are called.
pub(super) struct Tier {
    pub(super) table: Table,
    pub(super) permit: ActionKind,
    pub(super) permit_limited: ActionKind,
    pub(super) deny: ActionKind,
    pub(super) deny_log: ActionKind,
    pub(super) pass: ActionKind,
}

pub(super) const ADMIN: Tier = Tier {
    table: Table::FilterAdmin,
    permit: ActionKind::AdminPermit,
    permit_limited: ActionKind::AdminPermitLimited,
    deny: ActionKind::AdminDeny,
    deny_log: ActionKind::AdminDenyLog,
    pass: ActionKind::AdminPass,
};

const BASELINE: Tier = Tier {
    table: Table::FilterBaseline,
    permit: ActionKind::BaselinePermit,
    permit_limited: ActionKind::BaselinePermitLimited,
    deny: ActionKind::BaselineDeny,
    deny_log: ActionKind::BaselineDenyLog,
    pass: ActionKind::BaselinePass,
};

/// What the rules of these policies that have not expired limit the rate of.
pub(super) fn limited(policies: &[(&str, &FilterPolicy)], at: Timestamp) -> Vec<Limited> {
    let mut limited = Vec::new();
    for (name, policy) in policies {
        for rule in policy.rules.iter().filter(|rule| !has_expired(rule, at)) {
            if let (FilterAction::Allow, Some(limit)) = (rule.action, rule.rate_limit) {
                let (policy_name, rule_name) = (policy_name(name), rule.name.clone());
                let direct =
                    Limited { policy: policy_name, rule: rule_name, limit, packets: Packets::Direct };
                if may_be_answered(policy, rule) {
                    limited.push(Limited { packets: Packets::Answers, ..direct.clone() });
                }
                limited.push(direct);
            }
        }
    }
    limited
}

/// Whether packets may match this rule as answers to what it allows, and only so.
fn may_be_answered(policy: &FilterPolicy, rule: &FilterRule) -> bool {
    let everything = rule.traffic.is_empty() && rule.from.is_empty() && rule.to.is_empty();
    let any = policy.replies != Replies::None || policy.related_errors == RelatedErrors::Allow;
    rule.action == FilterAction::Allow && any && !everything
}

/// Answers that have a cell of their own stand below what the rule matches by itself, for packets may be both.
fn has_place_for_answers(policy: &FilterPolicy, rule: &FilterRule) -> bool {
    rule.rate_limit.is_some() && may_be_answered(policy, rule)
}

/// The rules of a tier's policies, each with the places that it needs, and defaults.
fn items<'p>(policies: &[(&'p str, &'p FilterPolicy)]) -> Vec<Item<'p>> {
    let mut items = Vec::new();
    for (name, policy) in policies {
        let item = |rule, answers| Item { policy: name, priority: policy.priority, rule, answers };
        for rule in &policy.rules {
            items.push(item(rule.name.as_str(), false));
            if has_place_for_answers(policy, rule) {
                items.push(item(rule.name.as_str(), true));
            }
        }
        if policy.default.is_some() {
            items.push(item(deciders::DEFAULT, false));
        }
    }
    items
}

/// Adds the rows of these policies.
pub(super) fn compile<'i>(
    policies: &[(&'i str, &'i FilterPolicy)],
    scene: &Scene<'_>,
    limiters: &Limiters,
    places: &mut Places<'_>,
    resolver: &mut Resolver,
    rows: &mut Rows,
    findings: &mut Findings,
) -> Result<(), CompileError> {
    for (tier, line, names) in [
        (FilterTier::Admin, Line::FilterAdmin, ADMIN),
        (FilterTier::Baseline, Line::FilterBaseline, BASELINE),
    ] {
        let mut in_order: Vec<(&'i str, &'i FilterPolicy)> =
            policies.iter().filter(|(_, policy)| policy.tier == tier).copied().collect();
        in_order.sort_by_key(|(name, policy)| (policy.priority, *name));
        let mut priorities = places.assign(line, &items(&in_order))?.into_iter();
        let mut next = || priorities.next().expect("every rule has a place");
        for (name, policy) in in_order {
            let full_name = policy_name(name);
            // All of them, also where the policy is nowhere.
            let of_rules: Vec<[i32; 2]> = policy
                .rules
                .iter()
                .map(|rule| {
                    let direct = next();
                    [direct, if has_place_for_answers(policy, rule) { next() } else { direct }]
                })
                .collect();
            let of_default = policy.default.map(|default| (default, next()));
            let segments: Vec<u16> =
                policy.segments.iter().filter_map(|name| scene.segments.get(name).copied()).collect();
            if segments.is_empty() && !policy.segments.is_empty() {
                continue;
            }
            let mut compiler = PolicyCompiler {
                program: scene.program,
                tier: &names,
                name: full_name,
                policy,
                segments,
                rows: &mut *rows,
            };
            for (rule, priorities) in policy.rules.iter().zip(of_rules) {
                let policy = || compiler.name.clone();
                if let Some(since) = rule.expires.filter(|_| has_expired(rule, scene.at)) {
                    let rule = rule.name.clone();
                    findings.notes.insert(Note::Expired { policy: policy(), rule, since });
                    continue;
                }
                let (from, to) = (
                    resolver.filter_peers(scene.intent, &rule.from),
                    resolver.filter_peers(scene.intent, &rule.to),
                );
                for (peers, empty) in
                    [(&from, "its `from` holds no address"), (&to, "its `to` holds no address")]
                {
                    if peers.is_empty() {
                        let rule = rule.name.clone();
                        findings.notes.insert(Note::MatchesNothing { policy: policy(), rule, empty });
                    }
                }
                if from.is_empty() || to.is_empty() {
                    continue;
                }
                findings.openings.extend(openings::of_filter_rule(&compiler.name, compiler.policy, rule));
                compiler.rule(rule, priorities, &from, &to, limiters);
            }
            if let Some((default, priority)) = of_default {
                compiler.default(default, priority);
            }
        }
    }
    Ok(())
}

pub(super) fn policy_name(name: &str) -> String {
    deciders::filter_policy(name)
}

pub(super) fn has_expired(rule: &FilterRule, at: Timestamp) -> bool {
    rule.expires.is_some_and(|expires| expires <= at)
}

struct PolicyCompiler<'c> {
    program: &'c Program,
    tier: &'c Tier,
    name: String,
    policy: &'c FilterPolicy,
    /// Ids; empty: all.
    segments: Vec<u16>,
    rows: &'c mut Rows,
}

/// What packets a row matches, addresses and segments aside.
#[derive(Clone, Debug, Default)]
struct Conditions {
    fixed: Vec<(Field, Match)>,
    source: Option<Ranges<u16>>,
    destination: Option<Ranges<u16>>,
}

impl PolicyCompiler<'_> {
    fn default(&mut self, action: FilterAction, priority: i32) {
        let origin = self.rows.origin(&self.name, deciders::DEFAULT);
        let action = match action {
            FilterAction::Allow => self.tier.permit,
            FilterAction::Deny => self.tier.deny,
            FilterAction::Pass => self.tier.pass,
        };
        let action = self.program.action(action, &[]);
        let conditions = self.conditions(&[(Field::Traffic, TRAFFIC_IP)]);
        self.push(priority, action, origin, &Addresses::Any, &Addresses::Any, conditions);
    }

    /// `priorities`: of what it matches by itself, and of answers to that.
    fn rule(
        &mut self,
        rule: &FilterRule,
        [direct, answers]: [i32; 2],
        from: &Addresses,
        to: &Addresses,
        limiters: &Limiters,
    ) {
        let origin = self.rows.origin(&self.name, &rule.name);
        let action = self.action(rule, origin, limiters, Packets::Direct);
        let addressed = !rule.from.is_empty() || !rule.to.is_empty();
        for conditions in self.direct(rule, addressed) {
            self.push(direct, action.clone(), origin, from, to, conditions);
        }
        if !may_be_answered(self.policy, rule) {
            return;
        }
        let action = self.action(rule, origin, limiters, Packets::Answers);
        let everything = rule.traffic.is_empty() && matches!((from, to), (Addresses::Any, Addresses::Any));
        if self.policy.replies != Replies::None && !everything {
            for conditions in self.mirrored(rule) {
                self.push(answers, action.clone(), origin, to, from, conditions);
            }
        }
        if self.policy.related_errors == RelatedErrors::Allow && !everything {
            let senders = related::senders(rule, self.policy.replies, from, to);
            let conditions = self.conditions(&[(Field::Traffic, TRAFFIC_IP), (Field::Related, 1)]);
            self.push(answers, action, origin, &Addresses::Any, &senders, conditions);
        }
    }

    fn action(&self, rule: &FilterRule, origin: usize, limiters: &Limiters, packets: Packets) -> Action {
        let tier = self.tier;
        match (rule.action, rule.rate_limit) {
            (FilterAction::Allow, Some(limit)) => {
                let (policy, rule) = (self.name.clone(), rule.name.clone());
                let limited = Limited { policy, rule, limit, packets };
                let cell = limiters.cell(&limited).expect("all that is limited has a cell");
                self.program.action(tier.permit_limited, &[cell.into()])
            }
            (FilterAction::Allow, None) => self.program.action(tier.permit, &[]),
            (FilterAction::Deny, _) if rule.log => {
                self.program.action(tier.deny_log, &[self.rows.origin_of(origin).tag().into()])
            }
            (FilterAction::Deny, _) => self.program.action(tier.deny, &[]),
            (FilterAction::Pass, _) => self.program.action(tier.pass, &[]),
        }
    }

    fn push(
        &mut self,
        priority: i32,
        action: Action,
        origin: usize,
        src: &Addresses,
        dst: &Addresses,
        conditions: Conditions,
    ) {
        let matches = RowMatch {
            src,
            dst,
            sport: conditions.source.as_ref(),
            dport: conditions.destination.as_ref(),
            segments: &self.segments,
            fixed: conditions.fixed,
        };
        self.rows.push(self.tier.table, priority, action, origin, matches);
    }

    /// Conditions on fields, all bits of each.
    fn conditions(&self, fields: &[(Field, u128)]) -> Conditions {
        let fixed = fields.iter().map(|(field, value)| whole(self.tier.table, *field, *value)).collect();
        Conditions { fixed, ..Conditions::default() }
    }

    fn protocol(&self, protocol: u8, more: &[(Field, u128)]) -> Conditions {
        let mut fields = vec![(Field::Traffic, TRAFFIC_IP), (Field::Protocol, protocol.into())];
        fields.extend_from_slice(more);
        self.conditions(&fields)
    }

    /// What a rule matches by itself.
    fn direct(&self, rule: &FilterRule, addressed: bool) -> Vec<Conditions> {
        let deny = rule.action == FilterAction::Deny;
        let mut all = Vec::new();
        if rule.traffic.is_empty() {
            all.push(self.conditions(&[(Field::Traffic, TRAFFIC_IP)]));
        }
        for PortMatch { protocol, source, destination, flags } in port_matches(&rule.traffic) {
            let number = protocol.number();
            let conditional = source.is_some() || destination.is_some() || flags.is_some();
            let narrow = |ports: &Option<Ranges<u16>>| ports.as_ref().is_some_and(|ports| !ports.is_full());
            let by_class = narrow(&source) || narrow(&destination);
            // Class 0 keeps later fragments away from conditions on ports, whatever the action.
            let mut conditions = if deny && conditional && !by_class {
                self.protocol(number, &[(Field::Fragment, 0)])
            } else {
                self.protocol(number, &[])
            };
            if let Some(TcpFlags { set, clear }) = flags
                && set | clear != 0
            {
                let matches = Match::Ternary { value: set.into(), mask: (set | clear).into() };
                conditions.fixed.push((Field::TcpFlags, matches));
            }
            conditions.source = source;
            conditions.destination = destination;
            all.push(conditions);
            if conditional && !deny {
                all.push(self.protocol(number, &[(Field::Fragment, 1)]));
            }
        }
        for traffic in &rule.traffic {
            match traffic {
                TrafficMatch::Icmp(icmp) => all.extend(self.icmp(ICMP, *icmp, deny)),
                TrafficMatch::IcmpV6(icmp) => {
                    all.extend(self.icmp(ICMPV6, *icmp, deny));
                    all.extend(self.listener_discovery(*icmp));
                }
                TrafficMatch::Protocol(number) => all.push(self.protocol(*number, &[])),
                TrafficMatch::Arp => all.push(self.conditions(&[(Field::Traffic, TRAFFIC_ARP)])),
                TrafficMatch::NeighborDiscovery => all.push(self.conditions(&[(Field::Traffic, TRAFFIC_ND)])),
                // Such a frame has no addresses that could be the rule's.
                TrafficMatch::NonIp | TrafficMatch::EtherType(_) if addressed => {}
                TrafficMatch::NonIp => all.push(self.conditions(&[(Field::Traffic, TRAFFIC_NON_IP)])),
                TrafficMatch::EtherType(number) if NON_IP_ETHER_TYPES.contains(number) => {
                    let fields = [(Field::Traffic, TRAFFIC_NON_IP), (Field::EtherType, (*number).into())];
                    all.push(self.conditions(&fields));
                }
                // Ports are done above. Frames that the switch cannot read have entries of their own, in `unread`.
                TrafficMatch::Ports { .. } | TrafficMatch::EtherType(_) => {}
            }
        }
        all
    }

    fn icmp(&self, protocol: u8, icmp: IcmpMatch, deny: bool) -> Vec<Conditions> {
        let mut fields: Vec<(Field, u128)> = Vec::new();
        fields.extend(icmp.icmp_type.map(|value| (Field::IcmpType, value.into())));
        fields.extend(icmp.code.map(|value| (Field::IcmpCode, value.into())));
        if fields.is_empty() {
            return vec![self.protocol(protocol, &[])];
        }
        if deny {
            // A later fragment has type 0 and code 0 in the switch.
            fields.push((Field::Fragment, 0));
            return vec![self.protocol(protocol, &fields)];
        }
        vec![self.protocol(protocol, &fields), self.protocol(protocol, &[(Field::Fragment, 1)])]
    }

    /// Multicast listener discovery, which is meant by who gives its type.
    fn listener_discovery(&self, icmp: IcmpMatch) -> Option<Conditions> {
        let icmp_type = icmp.icmp_type.filter(|icmp_type| LISTENER_DISCOVERY.contains(icmp_type))?;
        let mut fields = vec![(Field::Traffic, TRAFFIC_ND), (Field::IcmpType, icmp_type.into())];
        fields.extend(icmp.code.map(|code| (Field::IcmpCode, u128::from(code))));
        Some(self.conditions(&fields))
    }

    /// The mirror image of what a rule allows, addresses not yet swapped.
    fn mirrored(&self, rule: &FilterRule) -> Vec<Conditions> {
        let reverse = self.policy.replies == Replies::Reverse;
        let mut all = Vec::new();
        if rule.traffic.is_empty() {
            let field = if reverse { Field::Reply } else { Field::Established };
            all.push(self.conditions(&[(Field::Traffic, TRAFFIC_IP), (field, 1)]));
        }
        for PortMatch { protocol, source, destination, flags } in port_matches(&rule.traffic) {
            let answer = match protocol {
                PortProtocol::Tcp => Field::Established,
                PortProtocol::Udp | PortProtocol::Sctp if reverse => Field::Reply,
                PortProtocol::Udp | PortProtocol::Sctp => continue,
            };
            if flags.is_none() {
                let mut conditions = self.protocol(protocol.number(), &[(answer, 1)]);
                (conditions.source, conditions.destination) = (destination, source);
                all.push(conditions);
            }
        }
        for traffic in &rule.traffic {
            match traffic {
                TrafficMatch::Icmp(icmp) if reverse => all.extend(self.echo_reply(ICMP, ECHO_REQUEST, *icmp)),
                TrafficMatch::IcmpV6(icmp) if reverse => {
                    all.extend(self.echo_reply(ICMPV6, ECHO_REQUEST_V6, *icmp));
                }
                TrafficMatch::Protocol(TCP) => all.push(self.protocol(TCP, &[(Field::Established, 1)])),
                TrafficMatch::Protocol(number @ (UDP | SCTP | ICMP | ICMPV6)) if reverse => {
                    all.push(self.protocol(*number, &[(Field::Reply, 1)]));
                }
                _ => {}
            }
        }
        all
    }

    /// Echo replies, if the match has echo requests.
    fn echo_reply(&self, protocol: u8, request: u8, icmp: IcmpMatch) -> Option<Conditions> {
        let mut fields = vec![(Field::Reply, 1)];
        fields.extend(icmp.code.map(|code| (Field::IcmpCode, u128::from(code))));
        icmp.icmp_type.is_none_or(|wanted| wanted == request).then(|| self.protocol(protocol, &fields))
    }
}

/// Matches on ports that differ in their destination only, as one.
struct PortMatch {
    protocol: PortProtocol,
    source: Option<Ranges<u16>>,
    destination: Option<Ranges<u16>>,
    flags: Option<TcpFlags>,
}

fn port_matches(traffic: &[TrafficMatch]) -> Vec<PortMatch> {
    type Rest = (PortProtocol, Option<(u16, u16)>, Option<(u8, u8)>);
    let mut any_destination: BTreeSet<Rest> = BTreeSet::new();
    let mut destinations: BTreeMap<Rest, Vec<(u16, u16)>> = BTreeMap::new();
    for each in traffic {
        if let TrafficMatch::Ports { protocol, source, destination, tcp_flags } = each {
            let rest = (*protocol, *source, tcp_flags.map(|flags| (flags.set, flags.clear)));
            match destination {
                None => {
                    any_destination.insert(rest);
                }
                Some(range) => destinations.entry(rest).or_default().push(*range),
            }
        }
    }
    let any_destination = any_destination.into_iter().map(|rest| (rest, None));
    let destinations = destinations.into_iter().map(|(rest, ranges)| (rest, Some(Ranges::new(ranges))));
    any_destination
        .chain(destinations)
        .map(|((protocol, source, flags), destination)| PortMatch {
            protocol,
            source: source.map(|range| Ranges::new(vec![range])),
            destination,
            flags: flags.map(|(set, clear)| TcpFlags { set, clear }),
        })
        .collect()
}
