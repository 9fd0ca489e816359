//! Expectations: their packets are packets, and what they name is there.

use super::Resolver;
use crate::evaluate::IMPLIED_SWITCH;
use crate::expectation::{Expectation, Expectations, ExpectedPacket};
use crate::model::Intent;
use crate::reader::declared::in_file_order;
use crate::reader::decode::Problem;
use crate::reader::diagnostic::Code;
use crate::reader::expectation::{PacketDecl, is_policy};

/// Checks them against the whole intent.
pub(super) fn check(resolver: &mut Resolver<'_>, intent: &Intent) -> Expectations {
    let mut expectations = Expectations::new();
    for (name, entry) in in_file_order(&resolver.declared.expectations) {
        let object = format!("Expectation/{name}");
        let packets = entry.value.packets.iter().filter_map(|packet| one(resolver, intent, &object, packet));
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
    if let Some(switch) = &said.switch {
        asked.retain(|name| *name == switch.value);
        if asked.is_empty() {
            resolver.unknown(object, "Switch", &switch.value, switch.at, switches.into_iter());
            return None;
        }
    }
    if let Some(policy) = &said.policy {
        let policies = || resolver.sources.objects().filter(|object| is_policy(object));
        if !policies().any(|known| known == policy.value) {
            let names: Vec<String> = policies().map(str::to_owned).collect();
            let (name, at) = (policy.value.clone(), policy.at);
            resolver.unknown(object, "policy", &name, at, names.iter().map(String::as_str));
            return None;
        }
    }
    if let Err(message) = said.packet.packet(intent, asked.into_iter()) {
        let side = ["src", "dst"].into_iter().find(|side| message.starts_with(&format!("{side}: ")));
        let at = side.and_then(|side| said.places.get(side)).copied().unwrap_or(said.at);
        let code = if side.is_some() { Code::UnknownReference } else { Code::InvalidValue };
        resolver.report(object, Problem::error(code, at, message));
        return None;
    }
    Some(ExpectedPacket {
        name: said.name.clone(),
        packet: said.packet.clone(),
        expect: said.expect?,
        switch: said.switch.as_ref().map(|switch| switch.value.clone()),
        policy: said.policy.as_ref().map(|policy| policy.value.clone()),
        rule: said.rule.clone(),
    })
}
