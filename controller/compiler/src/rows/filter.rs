//! Filter policies: two ordered lists, one before and one after the pods' policies.

use jiff::Timestamp;
use outplane_intent::deciders;
use outplane_intent::model::{FilterAction, FilterPolicy, FilterRule, FilterTier, RelatedErrors, Replies};

use super::meters::{Limited, Limiters, Packets};
use super::notes::Note;
use super::openings;
use super::peers::Resolver;
use super::priority::{Item, Line, Places, TooManyRules};
use super::related;
use super::row::{Addresses, RowMatch, Rows};
use super::terms::{Condition, Effect, Stage};
use super::traffic::{self, Conditions, IP};
use super::{Findings, Scene};

/// What the rules of these policies that have not expired limit the rate of.
pub(crate) fn limited(policies: &[(&str, &FilterPolicy)], at: Timestamp) -> Vec<Limited> {
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
pub(crate) fn compile<'i>(
    policies: &[(&'i str, &'i FilterPolicy)],
    scene: &Scene<'_>,
    limiters: &Limiters,
    places: &mut Places<'_>,
    resolver: &mut Resolver,
    rows: &mut Rows,
    findings: &mut Findings,
) -> Result<(), TooManyRules> {
    for (tier, line, stage) in [
        (FilterTier::Admin, Line::FilterAdmin, Stage::FilterAdmin),
        (FilterTier::Baseline, Line::FilterBaseline, Stage::FilterBaseline),
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
            let mut compiler = PolicyCompiler { stage, name: full_name, policy, segments, rows: &mut *rows };
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

pub(crate) fn policy_name(name: &str) -> String {
    deciders::filter_policy(name)
}

pub(crate) fn has_expired(rule: &FilterRule, at: Timestamp) -> bool {
    rule.expires.is_some_and(|expires| expires <= at)
}

struct PolicyCompiler<'c> {
    stage: Stage,
    name: String,
    policy: &'c FilterPolicy,
    /// Ids; empty: all.
    segments: Vec<u16>,
    rows: &'c mut Rows,
}

impl PolicyCompiler<'_> {
    fn default(&mut self, action: FilterAction, priority: i32) {
        let origin = self.rows.origin(&self.name, deciders::DEFAULT);
        let effect = match action {
            FilterAction::Allow => Effect::Allow,
            FilterAction::Deny => Effect::Deny,
            FilterAction::Pass => Effect::Pass,
        };
        let conditions = Conditions::of(&[IP]);
        self.push(priority, effect, origin, &Addresses::Any, &Addresses::Any, conditions);
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
        let effect = self.effect(rule, origin, limiters, Packets::Direct);
        let addressed = !rule.from.is_empty() || !rule.to.is_empty();
        for conditions in traffic::direct(rule, addressed) {
            self.push(direct, effect, origin, from, to, conditions);
        }
        if !may_be_answered(self.policy, rule) {
            return;
        }
        let effect = self.effect(rule, origin, limiters, Packets::Answers);
        let everything = rule.traffic.is_empty() && matches!((from, to), (Addresses::Any, Addresses::Any));
        if self.policy.replies != Replies::None && !everything {
            for conditions in traffic::mirrored(rule, self.policy.replies) {
                self.push(answers, effect, origin, to, from, conditions);
            }
        }
        if self.policy.related_errors == RelatedErrors::Allow && !everything {
            let senders = related::senders(rule, self.policy.replies, from, to);
            let conditions = Conditions::of(&[IP, Condition::Related(true)]);
            self.push(answers, effect, origin, &Addresses::Any, &senders, conditions);
        }
    }

    fn effect(&self, rule: &FilterRule, origin: usize, limiters: &Limiters, packets: Packets) -> Effect {
        match (rule.action, rule.rate_limit) {
            (FilterAction::Allow, Some(limit)) => {
                let (policy, rule) = (self.name.clone(), rule.name.clone());
                let limited = Limited { policy, rule, limit, packets };
                let cell = limiters.cell(&limited).expect("all that is limited has a cell");
                Effect::AllowLimited { cell }
            }
            (FilterAction::Allow, None) => Effect::Allow,
            (FilterAction::Deny, _) if rule.log => Effect::DenyLog { tag: self.rows.tag(origin) },
            (FilterAction::Deny, _) => Effect::Deny,
            (FilterAction::Pass, _) => Effect::Pass,
        }
    }

    fn push(
        &mut self,
        priority: i32,
        effect: Effect,
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
            conditions: conditions.also,
        };
        self.rows.push(self.stage, priority, effect, origin, matches);
    }
}
