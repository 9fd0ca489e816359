//! Expectations: their packets are packets, and what they name is there.

use super::Resolver;
use crate::deciders;
use crate::evaluate::IMPLIED_SWITCH;
use crate::expectation::{Expectation, Expectations, ExpectedPacket};
use crate::model::Intent;
use crate::reader::declared::in_file_order;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::expectation::{PacketDecl, is_policy};
use crate::reader::render::quoted;
use crate::reader::source::Placed;

/// Checks them against the whole intent.
pub(super) fn check(resolver: &mut Resolver<'_>, intent: &Intent) -> Expectations {
    let mut expectations = Expectations::new();
    for (name, entry) in in_file_order(&resolver.declared.expectations, resolver.sources) {
        let object = format!("Expectation/{name}");
        let packets = entry.value.packets.iter().filter(|packet| !packet.broken);
        let packets = packets.filter_map(|packet| one(resolver, intent, &object, packet));
        expectations.insert(name.clone(), Expectation { packets: packets.collect() });
    }
    expectations
}

fn one(
    resolver: &mut Resolver<'_>,
    intent: &Intent,
    object: &str,
    said: &PacketDecl,
) -> Option<ExpectedPacket> {
    let mut switches: Vec<&str> = intent.switches.keys().map(String::as_str).collect();
    if switches.is_empty() {
        switches.push(IMPLIED_SWITCH);
    }
    let mut asked = switches.clone();
    let mut known = true;
    if let Some(switch) = &said.switch {
        asked.retain(|name| *name == switch.value);
        if asked.is_empty() {
            resolver.unknown(object, "Switch", &switch.value, switch.at, switches.into_iter());
            known = false;
        }
    }
    if let Some(policy) = &said.policy {
        known &= decider(resolver, intent, object, policy, said.rule.as_ref());
    }
    for (field, message) in said.packet.problems(intent, asked.into_iter()) {
        let at = field.and_then(|field| said.places.get(field)).copied().unwrap_or(said.at);
        let side = matches!(field, Some("src" | "dst"));
        let code = if side { Code::UnknownReference } else { Code::InvalidValue };
        resolver.report(object, Problem::error(code, at, message));
        known = false;
    }
    if !known {
        return None;
    }
    Some(ExpectedPacket {
        name: said.name.clone(),
        packet: said.packet.clone(),
        expect: said.expect?,
        switch: said.switch.as_ref().map(|switch| switch.value.clone()),
        policy: said.policy.as_ref().map(|policy| policy.value.clone()),
        rule: said.rule.as_ref().map(|rule| rule.value.clone()),
    })
}

/// Whether there is such a policy, with such a rule.
fn decider(
    resolver: &mut Resolver<'_>,
    intent: &Intent,
    object: &str,
    policy: &Placed<String>,
    rule: Option<&Placed<String>>,
) -> bool {
    let sources = resolver.sources;
    if !is_policy(&policy.value) || sources.place_of(&policy.value).is_none() {
        let policies: Vec<String> =
            sources.objects().filter(|object| is_policy(object)).map(str::to_owned).collect();
        let bare = |known: &&String| known.rsplit_once('/').is_some_and(|(_, name)| name == policy.value);
        if let Some(meant) = policies.iter().find(bare) {
            let message = format!("there is no policy {}", quoted(&policy.value));
            let problem = Problem::error(Code::UnknownReference, policy.at, message);
            resolver.report(object, problem.help(format!("did you mean {meant}?")));
        } else {
            resolver.unknown(object, "policy", &policy.value, policy.at, policies.iter().map(String::as_str));
        }
        return false;
    }
    let Some(rule) = rule else { return true };
    let mut rules: Vec<String> = resolver.sources.rules(&policy.value).map(str::to_owned).collect();
    let implied: &[&str] = match policy.value.split_once('/') {
        Some(("FilterPolicy", name)) => {
            let has_default = intent.filters.get(name).is_some_and(|policy| policy.default.is_some());
            if has_default { &[deciders::DEFAULT] } else { &[] }
        }
        Some(("NetworkPolicy", _)) => {
            &[deciders::ISOLATION, deciders::LOCAL_NODE, deciders::REPLY, deciders::RELATED]
        }
        _ => &[deciders::REPLY, deciders::RELATED],
    };
    rules.extend(implied.iter().map(|rule| (*rule).to_owned()));
    if !rules.contains(&rule.value) {
        let kind = format!("rule of {}", policy.value);
        resolver.unknown(object, &kind, &rule.value, rule.at, rules.iter().map(String::as_str));
        return false;
    }
    true
}
