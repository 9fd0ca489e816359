//! Rules behind one that takes every IP packet.

use jiff::Timestamp;

use super::{Advice, AdviceKind};
use crate::model::{FilterPolicy, FilterRule, FilterTier, Intent, TrafficMatch};

/// So many rules that take everything are remembered at most: more scopes than that are nobody's.
const MOST: usize = 64;

/// A rule, or a default, that takes every IP packet of where its policy looks.
struct Taker<'a> {
    name: &'a str,
    policy: &'a FilterPolicy,
    rule: Option<&'a str>,
}

impl Taker<'_> {
    /// Whether it looks wherever this policy does.
    fn covers(&self, policy: &FilterPolicy) -> bool {
        within(&policy.switches, &self.policy.switches) && within(&policy.segments, &self.policy.segments)
    }

    fn text(&self, policy: &str) -> String {
        let of = if self.name == policy { String::new() } else { format!(" of FilterPolicy/{}", self.name) };
        match self.rule {
            Some(rule) => format!("rule {rule}{of}"),
            None => format!("the default{of}"),
        }
    }
}

/// Empty lists mean all.
fn within(names: &[String], all: &[String]) -> bool {
    all.is_empty() || !names.is_empty() && names.iter().all(|name| all.contains(name))
}

pub(super) fn find(intent: &Intent, at: Timestamp) -> Vec<Advice> {
    let mut advice = Vec::new();
    for tier in [FilterTier::Admin, FilterTier::Baseline] {
        let mut policies: Vec<_> = intent.filters.iter().filter(|(_, policy)| policy.tier == tier).collect();
        policies.sort_by_key(|(name, policy)| (policy.priority, *name));
        let mut takers: Vec<Taker<'_>> = Vec::new();
        for (name, policy) in policies {
            for rule in policy.rules.iter().filter(|rule| rule.is_in_force(at)) {
                let taker = takers.iter().find(|taker| is_ip(rule) && taker.covers(policy));
                if let Some(taker) = taker {
                    advice.push(unreached(name, rule, taker));
                } else if takes_all(rule) && takers.len() < MOST {
                    takers.push(Taker { name, rule: Some(&rule.name), policy });
                }
            }
            if policy.default.is_some()
                && takers.len() < MOST
                && !takers.iter().any(|taker| taker.covers(policy))
            {
                takers.push(Taker { name, rule: None, policy });
            }
        }
    }
    advice.sort_by(|left, right| left.object.cmp(&right.object));
    advice
}

fn unreached(policy: &str, rule: &FilterRule, taker: &Taker<'_>) -> Advice {
    Advice {
        object: format!("FilterPolicy/{policy}"),
        rule: Some(rule.name.clone()),
        kind: AdviceKind::Unreached,
        message: format!(
            "no packet reaches rule {}: {} takes every IP packet before it",
            rule.name,
            taker.text(policy)
        ),
        help: "put it before that, or remove it".to_owned(),
    }
}

/// Whether a rule matches every IP packet, now and later.
fn takes_all(rule: &FilterRule) -> bool {
    rule.from.is_empty() && rule.to.is_empty() && rule.traffic.is_empty() && rule.expires.is_none()
}

/// Whether a rule is about IP packets alone. Neighbour discovery is not taken by rules that take every IP packet.
fn is_ip(rule: &FilterRule) -> bool {
    use TrafficMatch as T;
    rule.traffic.iter().all(|traffic| match traffic {
        T::Ports { .. } | T::Icmp(_) | T::Protocol(_) => true,
        T::IcmpV6(matched) => {
            matched.icmp_type.is_none_or(|icmp_type| !crate::packet::is_discovery(icmp_type))
        }
        T::Arp | T::NeighborDiscovery | T::NonIp | T::EtherType(_) => false,
    })
}
