//! What rules have counted (`t/<switch>`), as it was read one time after the other: it only grows.

use std::collections::BTreeMap;

use anyhow::Result;
use outplane_rmdp_core::key::{Key, Prefix, switch_id};
use outplane_rmdp_core::object::{Object, SwitchTotals};

use super::read::{list, with_store};
use super::{History, Verdict};
use crate::cluster::Cluster;

/// By the switch that the key names: each object that was found there, the oldest first.
pub type Totals = BTreeMap<Key, Vec<SwitchTotals>>;

impl History {
    /// Reads the totals of all switches, and keeps those that are not what they were.
    pub fn read_totals(cluster: &Cluster, seen: &mut Totals) -> Result<()> {
        with_store(cluster, async |store| {
            for path in list(&store, &Prefix::Totals).await? {
                let key = Key::parse(&path)?;
                let Some(bytes) = store.get(&path).await? else { continue };
                let Object::Totals(totals) = Object::decode(&key, &bytes)? else { continue };
                let known = seen.entry(key).or_default();
                if known.last() != Some(&totals) {
                    known.push(totals);
                }
            }
            Ok(())
        })
    }

    /// Totals are of their switch, are written by controllers, one after the other, and lose nothing.
    pub(super) fn judge_totals(&self, verdict: &mut Verdict) {
        for (key, readings) in &self.totals {
            verdict.totals += readings.len();
            let mut wrong = |fault: String| verdict.miscounted.push(format!("{key}: {fault}"));
            for totals in readings {
                if switch_id(&totals.switch).map(Key::Totals).as_ref() != Some(key) {
                    wrong(format!("it has the totals of {}", totals.switch));
                }
                if !self.owners.values().any(|owner| *owner == totals.by) {
                    wrong(format!(
                        "number {} was written by {}, who is no controller",
                        totals.number, totals.by
                    ));
                }
            }
            for pair in readings.windows(2) {
                let [before, after] = pair else { continue };
                follows(before, after).into_iter().for_each(&mut wrong);
            }
        }
    }
}

/// What is wrong with one that came after another.
fn follows(before: &SwitchTotals, after: &SwitchTotals) -> Vec<String> {
    let mut wrong = Vec::new();
    let number = after.number;
    if number <= before.number {
        wrong.push(format!("number {number} after {}: two have written it", before.number));
    }
    if after.since_ms != before.since_ms {
        wrong.push(format!("number {number} begins anew"));
    }
    if after.read_ms < before.read_ms {
        wrong.push(format!("number {number} is of an older reading than number {}", before.number));
    }
    let mut sums: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for rule in &after.rules {
        sums.insert((&rule.policy, &rule.rule), (rule.packets, rule.bytes));
    }
    let rules = before.rules.iter().map(|rule| {
        let now = sums.get(&(rule.policy.as_str(), rule.rule.as_str())).copied().unwrap_or_default();
        (format!("{}, rule {}", rule.policy, rule.rule), (rule.packets, rule.bytes), now)
    });
    let others = ("all other rules".to_owned(), before.others, after.others);
    for (what, was, now) in rules.chain([others]) {
        if now.0 < was.0 || now.1 < was.1 {
            wrong.push(format!("number {number}: {what} had counted {was:?}, and now {now:?}"));
        }
    }
    wrong
}
