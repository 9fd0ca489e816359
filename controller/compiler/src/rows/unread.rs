//! Frames that the switch cannot read: some host may find IP in them.
//!
//! They have no addresses, so what becomes of one depends on where it enters and on its EtherType alone, and can be
//! worked out here: it passes where everything passes that may be in it, unless a rule names the frame. One row
//! of the first stage says the whole verdict, whoever gives it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use outplane_intent::deciders;
use outplane_intent::model::{
    FilterAction, FilterPolicy, FilterRule, FilterTier, IcmpMatch, RateLimit, TrafficMatch,
};
use outplane_intent::packet::LISTENER_DISCOVERY;

use super::Scene;
use super::filter::{has_expired, policy_name};
use super::meters::{Limited, Limiters, Packets};
use super::notes::{Decision, Unread};
use super::row::{Addresses, RowMatch, Rows};
use super::terms::{Condition, Effect, Stage, Traffic};
use crate::origin::Origin;

/// Kinds of packets that may be in a frame.
const IP: u8 = 1;
const ARP: u8 = 2;
const DISCOVERY: u8 = 4;

/// A rule, or a policy's default, as far as it concerns such frames.
struct Item<'i> {
    tier: FilterTier,
    /// None: everywhere.
    segments: Option<Vec<u16>>,
    /// It names frames of these EtherTypes themselves.
    names: Names<'i>,
    /// It is about all packets of these kinds.
    all: u8,
    /// It is about some packets of these kinds.
    some: u8,
    action: FilterAction,
    policy: &'i str,
    rule: &'i str,
    log: bool,
    limit: Option<RateLimit>,
}

#[derive(Clone, Copy)]
enum Names<'i> {
    Nothing,
    All,
    Some(&'i [TrafficMatch]),
}

impl Item<'_> {
    fn decision(&self) -> Decision {
        Decision {
            allow: self.action == FilterAction::Allow,
            policy: policy_name(self.policy),
            rule: self.rule.to_owned(),
            log: self.log,
            limit: self.limit,
        }
    }

    fn names(&self, ether_type: Option<u16>) -> bool {
        match self.names {
            Names::Nothing => false,
            Names::All => true,
            Names::Some(traffic) => traffic.iter().any(
                |traffic| matches!(traffic, TrafficMatch::EtherType(number) if Some(*number) == ether_type),
            ),
        }
    }
}

/// Adds the rows, and returns what becomes of such frames: everywhere, then what differs by EtherType and by segment.
/// `denial` is the pods' part: who may deny a packet to or from one of them.
pub(crate) fn compile(
    policies: &[(&str, &FilterPolicy)],
    scene: &Scene<'_>,
    limiters: &Limiters,
    denial: Option<&Decision>,
    rows: &mut Rows,
) -> Vec<Unread> {
    let items = items(policies, scene);
    let ether_types: BTreeSet<u16> = items
        .iter()
        .filter_map(|item| if let Names::Some(traffic) = item.names { Some(traffic) } else { None })
        .flatten()
        .filter_map(
            |traffic| if let TrafficMatch::EtherType(number) = traffic { Some(*number) } else { None },
        )
        .collect();
    let ether_types: Vec<Option<u16>> = [None].into_iter().chain(ether_types.into_iter().map(Some)).collect();
    let named: BTreeMap<u16, &str> = policies
        .iter()
        .flat_map(|(_, policy)| &policy.segments)
        .filter_map(|name| Some((*scene.segments.get(name)?, name.as_str())))
        .collect();
    let judged = |segment: Option<u16>| -> Vec<(Option<u16>, Option<Decision>)> {
        ether_types
            .iter()
            .map(|ether_type| (*ether_type, judge(&items, segment, *ether_type, denial)))
            .collect()
    };

    let mut found = Vec::new();
    let everywhere = judged(None);
    let segments = named.into_iter().map(|(id, name)| (Some((id, name)), judged(Some(id))));
    let segments: Vec<_> = segments.filter(|(_, judged)| *judged != everywhere).collect();
    for (segment, judged) in [(None, everywhere)].into_iter().chain(segments) {
        let other = judged[0].1.clone();
        for (ether_type, decision) in judged {
            // What the less special row says anyway, or the switch without any.
            let redundant = match (segment, ether_type) {
                (None, None) => decision.is_none(),
                (_, Some(_)) => decision == other,
                (Some(_), None) => false,
            };
            if !redundant {
                push(segment.map(|(id, _)| id), ether_type, decision.as_ref(), limiters, rows);
            }
            if !redundant || (segment, ether_type) == (None, None) {
                found.push(Unread::new(segment.map(|(_, name)| name), ether_type, decision.as_ref()));
            }
        }
    }
    found
}

fn items<'i>(policies: &[(&'i str, &'i FilterPolicy)], scene: &Scene<'_>) -> Vec<Item<'i>> {
    let mut in_order: Vec<&(&str, &FilterPolicy)> = policies.iter().collect();
    in_order.sort_by_key(|(name, policy)| (policy.tier, policy.priority, *name));
    let mut items = Vec::new();
    for (name, policy) in in_order {
        let ids = policy.segments.iter().filter_map(|name| scene.segments.get(name).copied());
        let segments = (!policy.segments.is_empty()).then(|| ids.collect::<Vec<u16>>());
        items.extend(policy.rules.iter().filter(|rule| is_live(rule, scene.at)).map(|rule| {
            let (all, some) = shares(rule);
            Item {
                tier: policy.tier,
                segments: segments.clone(),
                names: names(rule),
                all,
                some,
                action: rule.action,
                policy: name,
                rule: &rule.name,
                log: rule.log,
                limit: rule.rate_limit,
            }
        }));
        items.extend(policy.default.map(|action| Item {
            tier: policy.tier,
            segments,
            names: Names::Nothing,
            all: IP,
            some: 0,
            action,
            policy: name,
            rule: deciders::DEFAULT,
            log: false,
            limit: None,
        }));
    }
    items
}

fn is_live(rule: &FilterRule, at: Timestamp) -> bool {
    !has_expired(rule, at)
}

fn names(rule: &FilterRule) -> Names<'_> {
    if !rule.from.is_empty() || !rule.to.is_empty() {
        Names::Nothing
    } else if rule.traffic.contains(&TrafficMatch::NonIp) {
        Names::All
    } else {
        Names::Some(&rule.traffic)
    }
}

/// The kinds of which a rule is about all packets, and those of which it is about some.
fn shares(rule: &FilterRule) -> (u8, u8) {
    let (mut all, mut some) = if rule.traffic.is_empty() { (IP, 0) } else { (0, 0) };
    for traffic in &rule.traffic {
        match traffic {
            TrafficMatch::Arp => all |= ARP,
            TrafficMatch::NeighborDiscovery => all |= DISCOVERY,
            TrafficMatch::NonIp | TrafficMatch::EtherType(_) => {}
            TrafficMatch::IcmpV6(IcmpMatch { icmp_type: Some(icmp_type), .. })
                if LISTENER_DISCOVERY.contains(icmp_type) =>
            {
                some |= IP | DISCOVERY;
            }
            _ => some |= IP,
        }
    }
    if rule.from.is_empty() && rule.to.is_empty() { (all, some) } else { (0, all | some) }
}

/// What becomes of such a frame; none: nobody has an opinion, and it passes.
fn judge(
    items: &[Item<'_>],
    segment: Option<u16>,
    ether_type: Option<u16>,
    denial: Option<&Decision>,
) -> Option<Decision> {
    let mut open = IP | ARP | DISCOVERY;
    let mut allowed = None;
    for tier in [FilterTier::Admin, FilterTier::Baseline] {
        if tier == FilterTier::Baseline
            && open & IP != 0
            && let Some(denial) = denial
        {
            return Some(denial.clone());
        }
        let mut left = 0;
        let here = |item: &&Item<'_>| {
            item.tier == tier
                && item.segments.as_ref().is_none_or(|ids| segment.is_some_and(|id| ids.contains(&id)))
        };
        for item in items.iter().filter(here) {
            if item.names(ether_type) {
                match item.action {
                    FilterAction::Allow | FilterAction::Deny => return Some(item.decision()),
                    FilterAction::Pass => break,
                }
            }
            let touched = (item.all | item.some) & open;
            match item.action {
                FilterAction::Deny if touched != 0 => return Some(item.decision()),
                FilterAction::Deny => {}
                FilterAction::Allow => {
                    if item.all & open & IP != 0 {
                        allowed = Some(item.decision());
                    }
                    open &= !item.all;
                }
                FilterAction::Pass => {
                    left |= touched;
                    open &= !item.all;
                }
            }
        }
        open |= left;
    }
    if open & IP == 0 { allowed } else { None }
}

fn push(
    segment: Option<u16>,
    ether_type: Option<u16>,
    decision: Option<&Decision>,
    limiters: &Limiters,
    rows: &mut Rows,
) {
    let origin = match decision {
        Some(decision) => rows.origin(&decision.policy, &decision.rule),
        None => rows.origin(Origin::COMMON, "unread"),
    };
    let effect = match decision {
        None => Effect::Pass,
        Some(Decision { allow: true, limit: Some(limit), policy, rule, .. }) => {
            let (policy, rule) = (policy.clone(), rule.clone());
            let limited = Limited { policy, rule, limit: *limit, packets: Packets::Direct };
            let cell = limiters.cell(&limited).expect("all that is limited has a cell");
            Effect::AllowLimited { cell }
        }
        Some(Decision { allow: true, .. }) => Effect::Allow,
        Some(Decision { log: true, .. }) => Effect::DenyLog { tag: rows.tag(origin) },
        Some(_) => Effect::Deny,
    };
    let mut conditions = vec![Condition::Traffic(Traffic::Unread)];
    conditions.extend(ether_type.map(Condition::EtherType));
    // The more special row stands above; no other row is about such frames.
    let priority = 1 + i32::from(ether_type.is_some()) + 2 * i32::from(segment.is_some());
    let segments: Vec<u16> = segment.into_iter().collect();
    let (src, dst) = (&Addresses::Any, &Addresses::Any);
    let matches = RowMatch { src, dst, sport: None, dport: None, segments: &segments, conditions };
    rows.push(Stage::FilterAdmin, priority, effect, origin, matches);
}
