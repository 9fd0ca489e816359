//! Rules whose packets are all taken by others before them.

use std::collections::BTreeSet;

use super::order::{Order, Taker};
use super::space::Region;
use super::{Item, Kind, Work};
use crate::deciders;
use crate::model::{FilterAction, FilterRule, FilterTier, TrafficMatch};
use crate::packet;

/// So many takers are named.
const NAMED: usize = 3;

pub(super) fn find(order: &Order<'_>, work: &mut Work) -> Vec<Item> {
    let mut found = Vec::new();
    for (place, taker) in order.takers.iter().enumerate() {
        let Some(rule) = taker.rule.filter(|rule| is_ip(rule)) else { continue };
        if !work.next() {
            continue;
        }
        if taker.unknown {
            work.miss();
            continue;
        }
        if taker.direct.is_empty() {
            // Its peers have no addresses: the reader says so.
            continue;
        }
        let covered = taken(order, &taker.direct, place, work);
        if work.is_over() {
            work.miss();
        }
        let Some(by) = covered else { continue };
        let indirect: Vec<_> = taker.replies.iter().chain(&taker.errors).cloned().collect();
        let answers = taken(order, &indirect, place, work).is_none();
        found.push(unreached(order, taker, rule, &by, answers));
    }
    found
}

/// Who takes all of these regions before a place, now and when rules have expired; none: nobody, or it is too much work
/// to say.
fn taken(order: &Order<'_>, regions: &[Region], end: usize, work: &mut Work) -> Option<Vec<usize>> {
    let mut by = BTreeSet::new();
    let mut all = true;
    for region in regions {
        let known = order.follow(region.clone(), end, true, work, |leaf| {
            all = leaf.by.is_some();
            by.extend(leaf.by);
            all
        });
        if !known || !all {
            return None;
        }
    }
    // One that would have been enough is all that people want to hear of.
    let alone = |place: &&usize| {
        let taker = &order.takers[**place];
        regions.iter().all(|region| {
            let left = taker.regions().fold(vec![region.clone()], |left, theirs| {
                left.into_iter()
                    .flat_map(|piece| piece.cut(theirs).map_or_else(|| vec![piece], |cut| cut.1))
                    .collect()
            });
            left.is_empty()
        })
    };
    if let (true, Some(one)) = (by.len() > 1 && by.len() <= 64, by.iter().find(alone)) {
        return Some(vec![*one]);
    }
    Some(by.into_iter().collect())
}

fn unreached(order: &Order<'_>, taker: &Taker<'_>, rule: &FilterRule, by: &[usize], answers: bool) -> Item {
    let others: Vec<_> = by.iter().map(|place| &order.takers[*place]).collect();
    let mut texts: Vec<String> = others.iter().take(NAMED).map(|other| text(other, taker)).collect();
    if others.len() > NAMED {
        texts.push(format!("{} others", others.len() - NAMED));
    }
    let by = match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last} together", rest.join(", ")),
        _ => texts.concat(),
    };
    let verb = if others.len() == 1 { "takes" } else { "take" };
    let name = &rule.name;
    let message = if answers {
        format!(
            "rule {name} lets nothing through that it names: {by} {verb} all of it before; at most what looks like an \
             answer to it, or an error about it, passes by this rule"
        )
    } else {
        format!("no IP packet reaches rule {name}: {by} {verb} all that it matches before it")
    };
    let denied = rule.action == FilterAction::Deny
        && others.iter().any(|other| other.action != FilterAction::Deny)
        && !others.iter().any(|other| is_everything(other));
    let help = if denied {
        "put it before that, or remove it (frames that the switch cannot read may then pass: see that part of the output)"
    } else {
        "put it before that, or remove it"
    };
    Item {
        object: deciders::filter_policy(taker.name),
        rule: Some(name.clone()),
        kind: Kind::Unreached { answers },
        message,
        help: help.to_owned(),
    }
}

/// What is called so in a message about a rule of another.
fn text(other: &Taker<'_>, taker: &Taker<'_>) -> String {
    let tier = match other.policy.tier {
        tier if tier == taker.policy.tier => "",
        FilterTier::Admin => " (tier admin)",
        FilterTier::Baseline => " (tier baseline)",
    };
    other.text(taker.name) + tier
}

/// Whether it is about all IP packets without conditions.
fn is_everything(taker: &Taker<'_>) -> bool {
    taker.rule.is_none_or(|rule| rule.from.is_empty() && rule.to.is_empty() && rule.traffic.is_empty())
}

/// Whether a rule is about IP packets alone: nothing else is looked at here.
fn is_ip(rule: &FilterRule) -> bool {
    use TrafficMatch as T;
    rule.traffic.iter().all(|traffic| match traffic {
        T::Ports { .. } | T::Icmp(_) | T::Protocol(_) => true,
        T::IcmpV6(matched) => matched.icmp_type.is_none_or(|icmp_type| !packet::is_discovery(icmp_type)),
        T::Arp | T::NeighborDiscovery | T::NonIp | T::EtherType(_) => false,
    })
}
