//! `outplane show counters` through the store: what rules have counted over the lives of their entries, as controllers
//! added it up.

use std::collections::BTreeMap;
use std::io::{self, Write};

use outplane_rmdp_core::key::{Key, Prefix, switch_id};
use outplane_rmdp_core::object::{KeptSwitches, Object, RuleTotal, SwitchTotals};
use outplane_rmdp_node::chain::Chain;
use outplane_rmdp_node::objects::Objects;
use outplane_rmdp_node::{Error, totals};
use serde::Serialize;

use super::{ISOLATION, counts_answers};
use crate::clocks;
use crate::exit::{Exit, Usage};
use crate::node::NodeArguments;
use crate::options::Format;
use crate::output::{self, BAD, FAINT, HEAD, Report, columns, grouped, styled, wrapped};
use crate::runtime;
use crate::standing;
use crate::targets::Targets;
use crate::times;

/// Switches whose totals are listed at most.
const MOST: usize = 20_000;

/// All switches.
#[derive(Serialize)]
struct Totals {
    switches: Vec<SwitchForm>,
    /// What is there for others and cannot be read.
    unreadable: Vec<Unreadable>,
}

/// An object with totals that cannot be read.
#[derive(Serialize)]
struct Unreadable {
    /// Whose it is; null: of no switch of the newest generation.
    switch: Option<String>,
    key: String,
    /// Why, and the cure.
    why: String,
}

/// A switch.
#[derive(Serialize)]
struct SwitchForm {
    switch: String,
    /// Where the numbers are from: `totals`.
    counted: &'static str,
    /// Since when is counted, RFC 3339.
    since: String,
    /// When the switch was read last, RFC 3339, and how many seconds ago that is.
    read: String,
    age: f64,
    /// Who read it.
    by: String,
    /// By policy and name; those that have counted nothing are left out.
    rules: Vec<RuleForm>,
    /// Entries that are not counted, since there are too many.
    left_out: u64,
}

#[derive(Serialize)]
struct RuleForm {
    policy: String,
    rule: String,
    packets: u64,
    bytes: u64,
}

pub(super) fn run(node: &NodeArguments, targets: &Targets, format: Format) -> anyhow::Result<Exit> {
    let node = node.open()?;
    let ((mut found, mut unreadable), read) =
        runtime::block_on(async { tokio::try_join!(read(&node.objects), read_at(&node.objects)) })??;
    clocks::learn(&node.objects);
    // What has counted nothing is read all the same, and not written each time.
    for totals in &mut found {
        if let Some((at_ms, by)) = read.get(&totals.switch)
            && *at_ms > totals.read_ms
        {
            (totals.read_ms, totals.by) = (*at_ms, by.clone());
        }
    }
    // Of which switch one is that cannot be read is known of the newest generation's alone.
    let is_known = |name: &str| {
        let key = switch_id(name).map(|id| Key::Totals(id).path());
        found.iter().any(|of| of.switch == name)
            || unreadable
                .iter()
                .any(|one| one.switch.as_deref() == Some(name) || key.as_ref() == Some(&one.key))
    };
    if let Some(unknown) = targets.switches().iter().find(|name| !is_known(name)) {
        let known: Vec<&str> = found.iter().map(|totals| totals.switch.as_str()).collect();
        let known =
            if known.is_empty() { "of none yet".to_owned() } else { format!("of {}", known.join(", ")) };
        return Err(Usage(format!("the store has no totals of a switch `{unknown}`, but {known}")).into());
    }
    found.retain(|totals| targets.wants(&totals.switch));
    let wanted: Vec<_> = targets.switches().iter().filter_map(|name| switch_id(name)).collect();
    unreadable.retain(|one| wanted.is_empty() || wanted.iter().any(|id| Key::Totals(*id).path() == one.key));
    let totals = Totals { switches: found.into_iter().map(SwitchForm::from).collect(), unreadable };
    output::print(format, &totals)?;
    Ok(Exit::Done)
}

/// The totals of the switches of the newest generation, and of those that a listing shows; those that cannot be read.
async fn read(objects: &Objects) -> anyhow::Result<(Vec<SwitchTotals>, Vec<Unreadable>)> {
    let listed = objects.list_all(&Prefix::Totals, MOST).await?.0;
    let mut keys: BTreeMap<Key, Option<String>> = listed.into_iter().map(|key| (key, None)).collect();
    if let Some(number) = Chain::Generations.numbers(objects, 0).await?.last()
        && let Some(Object::Generation(record)) = objects.get_readable(&Key::Generation(*number)).await?
    {
        let named = |switch: &String| Some((Key::Totals(switch_id(switch)?), Some(switch.clone())));
        keys.extend(record.desired.keys().filter_map(named));
    }
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for (key, switch) in keys {
        match objects.get(&key).await {
            Ok(Some(Object::Totals(totals))) => found.push(totals),
            Ok(_) => {}
            Err(Error::Object(error)) => {
                unreadable.push(Unreadable { switch, key: key.path(), why: totals::unreadable(&error) });
            }
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by(|one, other| one.switch.cmp(&other.switch));
    Ok((found, unreadable))
}

/// As of when the totals of switches are and who has read them, as those say that keep them.
async fn read_at(objects: &Objects) -> anyhow::Result<BTreeMap<String, (u64, String)>> {
    Ok(last_read(standing::keepers(objects).await?))
}

/// By whom each switch was read last.
fn last_read(told: Vec<KeptSwitches>) -> BTreeMap<String, (u64, String)> {
    let mut read = BTreeMap::new();
    for KeptSwitches { node, switches, .. } in told {
        for kept in switches {
            let Some(at_ms) = kept.counted_ms else { continue };
            let last: &mut (u64, String) = read.entry(kept.switch).or_default();
            if at_ms > last.0 {
                *last = (at_ms, node.clone());
            }
        }
    }
    read
}

impl From<SwitchTotals> for SwitchForm {
    fn from(totals: SwitchTotals) -> Self {
        let SwitchTotals { switch, by, since_ms, read_ms, rules, others, left_out, .. } = totals;
        let form = |RuleTotal { policy, rule, packets, bytes }| RuleForm { policy, rule, packets, bytes };
        let mut rules: Vec<RuleForm> = rules.into_iter().map(form).collect();
        if others != (0, 0) {
            let other = || "others".to_owned();
            rules.push(RuleForm { policy: other(), rule: other(), packets: others.0, bytes: others.1 });
        }
        Self {
            switch,
            counted: "totals",
            since: times::time(since_ms),
            read: times::time(read_ms),
            age: times::age(read_ms),
            by,
            rules,
            left_out,
        }
    }
}

impl Report for Totals {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Unreadable { switch, key, why } in &self.unreadable {
            let switch = switch.as_ref().map_or_else(|| format!("a switch of {key}"), Clone::clone);
            wrapped(out, 0, 2, &format!("{}: totals that cannot be read: {why}", styled(BAD, switch)))?;
        }
        if self.switches.is_empty() {
            if !self.unreadable.is_empty() {
                return Ok(());
            }
            return writeln!(
                out,
                "the store has no totals yet: whoever keeps a switch reads its counters at each look (`audit.interval_s`)"
            );
        }
        for (place, switch) in self.switches.iter().enumerate() {
            if place > 0 || !self.unreadable.is_empty() {
                writeln!(out)?;
            }
            let name = styled(HEAD, format_args!("Switch {}", switch.switch));
            let SwitchForm { since, read, age, by, .. } = switch;
            writeln!(out, "{name}: totals since {since}, as of {read} ({}), by {by}", times::ago(*age))?;
            if switch.rules.is_empty() {
                writeln!(out, "  no rule has counted anything")?;
                continue;
            }
            let row = |rule: &RuleForm| {
                vec![rule.policy.clone(), rule.rule.clone(), grouped(rule.packets), grouped(rule.bytes)]
            };
            columns(out, &["policy", "rule", "packets", "bytes"], &[2, 3], switch.rules.iter().map(row))?;
            if switch.rules.iter().any(|rule| counts_answers(&rule.policy, &rule.rule)) {
                wrapped(out, 2, 4, &styled(FAINT, ISOLATION))?;
            }
            if switch.left_out > 0 {
                let left_out = grouped(switch.left_out);
                writeln!(
                    out,
                    "  {}",
                    styled(FAINT, format_args!("{left_out} entries are too many to be counted"))
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use outplane_rmdp_core::object::{KeptSwitch, Standing};

    use super::*;

    /// The totals were written by one who is gone: the reading after that is of who has read.
    #[test]
    fn who_has_read_last_is_told_with_when() {
        let kept = |node: &str, counted_ms| KeptSwitches {
            node: node.to_owned(),
            at_ms: 9,
            switches: vec![KeptSwitch {
                switch: "core".to_owned(),
                generation: 1,
                standing: Standing::Kept,
                seen: String::new(),
                verified_ms: None,
                what: String::new(),
                repairs: 0,
                version: None,
                primary: None,
                is_fenced: None,
                counted_ms,
            }],
        };
        let read =
            last_read(vec![kept("c1", Some(7)), kept("c2", Some(8)), kept("c3", Some(5)), kept("c4", None)]);
        assert_eq!(read["core"], (8, "c2".to_owned()));
    }
}
