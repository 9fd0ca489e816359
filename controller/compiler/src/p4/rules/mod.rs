//! What an update means, rule by rule: the entries that packets see now, and those that they are to see.
//!
//! Entries say which rule asked for them, and match numbers of classes, which are given out anew for each compilation. So
//! a rule whose entries differ may mean what it did. Whether it does is seen on the classes' contents: an address is of
//! some class now and of some class then, and a pair of classes that some address has is an *atom*. Both sides' entries
//! come down to sets of atoms, which can be compared.
//!
//! ```text
//!   class tables now, then ──► ranges with both classes ──► atoms ─┐
//!   a rule's entries now, then ──► boxes: cubes of classes ────────┴─► boxes of atoms ──► merged ──► equal?
//! ```

mod meaning;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use outplane_p4runtime::entry::{Action, Entry, FieldMatch, Match, MeterCell};
use serde::Serialize;

use crate::entries::Entries;
use crate::order::longest_increasing;
use crate::p4::terms::TRAFFIC_UNREAD;
use crate::plan::seen;
use crate::program::{Field, Program, Table};
use crate::state::{Desired, Installed, Origin};
use meaning::Meaning;

/// What entries for frames are called that the switch cannot read.
const UNREAD: &str = "frames that the switch cannot read";

/// What becomes of a rule, or of a policy's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleChange {
    /// `FilterPolicy/<name>`, `NetworkPolicy/<namespace>/<name>` and the like.
    pub policy: String,
    /// The rule; none: the order of the policy's rules, or its place among policies.
    pub rule: Option<String>,
    /// What becomes of it.
    pub change: RuleChanged,
}

/// See [`RuleChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleChanged {
    /// Packets see none of its entries yet.
    Added,
    /// Packets will see none of its entries any more.
    Removed,
    /// It will mean something else.
    Changed,
    /// It is asked at another place.
    Reordered,
    /// It will mean what it does, with other entries: classes or priorities have other numbers.
    Rewritten,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleChanges {
    /// Policies in the order of evaluation, the newer one's first; a policy's rules likewise.
    pub rules: Vec<RuleChange>,
    /// What differs of that which serves all policies: `address class`, `flood`.
    pub shared: Vec<String>,
}

/// Where a rule stands: the first stage that asks it, the priority there, and its place among its policy's.
type Place = (Stage, Reverse<i32>, u32);

/// In the order of evaluation; rules of filter policies first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    FilterAdmin,
    FilterBaseline,
    PodAdmin,
    Pod,
}

impl Stage {
    fn of(program: &Program, entry: &Entry) -> Self {
        match program.table_of(entry.key.table) {
            Some(Table::FilterAdmin) => Self::FilterAdmin,
            Some(Table::FilterBaseline) => Self::FilterBaseline,
            Some(
                Table::PodEgressAdmin
                | Table::PodIngressAdmin
                | Table::PodEgressAdminReply
                | Table::PodIngressAdminReply,
            ) => Self::PodAdmin,
            _ => Self::Pod,
        }
    }
}

/// A rule's entries.
#[derive(Debug)]
struct Rule<'e> {
    place: Place,
    entries: Vec<&'e Entry>,
}

/// The entries that packets of one version see.
struct Side<'e> {
    rules: BTreeMap<(String, String), Rule<'e>>,
    shared: BTreeMap<String, Vec<&'e Entry>>,
    all: Vec<&'e Entry>,
    meters: &'e [MeterCell],
}

impl<'e> Side<'e> {
    fn new(program: &Program, version: u8, entries: &'e Entries, meters: &'e [MeterCell]) -> Self {
        let mut side = Self { rules: BTreeMap::new(), shared: BTreeMap::new(), all: Vec::new(), meters };
        for entry in entries.iter().filter(|entry| seen(program, entry, version)) {
            let Some(Origin { policy, rule, order }) = Origin::decode(&entry.metadata) else { continue };
            side.all.push(entry);
            if policy == Origin::COMMON || is_unread(program, entry) {
                let rule = if policy == Origin::COMMON { rule } else { UNREAD.to_owned() };
                side.shared.entry(rule).or_default().push(entry);
                continue;
            }
            let place = (Stage::of(program, entry), Reverse(entry.key.priority), order);
            let rule = side.rules.entry((policy, rule)).or_insert(Rule { place, entries: Vec::new() });
            rule.place = rule.place.min(place);
            rule.entries.push(entry);
        }
        side
    }

    /// Policies by the place of their first rule.
    fn policies(&self) -> Vec<&str> {
        let mut places: BTreeMap<&str, Place> = BTreeMap::new();
        for ((policy, _), rule) in &self.rules {
            let place = places.entry(policy).or_insert(rule.place);
            *place = rule.place.min(*place);
        }
        // Policies of one priority come by name; what counts places within a policy says nothing there.
        let mut policies: Vec<_> = places
            .into_iter()
            .map(|(policy, (stage, priority, _))| {
                (stage, priority, policy.split('/').collect::<Vec<_>>(), policy)
            })
            .collect();
        policies.sort_unstable();
        policies.into_iter().map(|(.., policy)| policy).collect()
    }

    /// A policy's rules in order.
    fn rules_of(&self, policy: &str) -> Vec<&str> {
        let from = (policy.to_owned(), String::new());
        let own = self.rules.range(from..).take_while(|((of, _), _)| of == policy);
        let mut own: Vec<_> = own.map(|((_, name), rule)| (rule.place, name.as_str())).collect();
        own.sort_unstable();
        own.into_iter().map(|(_, name)| name).collect()
    }
}

/// Whether an entry is for frames that the switch cannot read. The first rule that may deny what is in them is named for
/// them, so they pass from rule to rule although none has changed.
fn is_unread(program: &Program, entry: &Entry) -> bool {
    let field = program.table_of(entry.key.table).and_then(|table| program.field(table, Field::Traffic));
    let unread = |matches| matches!(matches, Match::Ternary { value: TRAFFIC_UNREAD, .. });
    entry.key.matches.iter().any(|matched| Some(matched.field) == field && unread(matched.matches))
}

/// What an entry matches, without the version.
fn unversioned(program: &Program, entry: &Entry) -> Vec<FieldMatch> {
    let field = program.version_field(entry.key.table);
    entry.key.matches.iter().filter(|matched| Some(matched.field) != field).copied().collect()
}

/// What becomes of rules on the way from what a switch holds to what it should hold.
pub fn between(program: &Program, installed: &Installed, desired: &Desired) -> RuleChanges {
    let before = Side::new(program, installed.version, &installed.entries, &installed.meters);
    // Desired entries have no version.
    let after = Side::new(program, 1, &desired.entries, &desired.meters);
    let mut meaning = Meaning::new(program, [(&before.all, before.meters), (&after.all, after.meters)]);
    let mut changes = Vec::new();
    let (policies, moved) = order(&before.policies(), &after.policies());
    for policy in policies {
        let (were, are) = (before.rules_of(policy), after.rules_of(policy));
        let (rules, shuffled) = order(&were, &are);
        let mut add = |rule: Option<&str>, change| {
            changes.push(RuleChange { policy: policy.to_owned(), rule: rule.map(str::to_owned), change });
        };
        if moved.contains(policy) || !shuffled.is_empty() {
            add(None, RuleChanged::Reordered);
        }
        for name in rules {
            let key = (policy.to_owned(), name.to_owned());
            match (before.rules.get(&key), after.rules.get(&key)) {
                (None, _) => add(Some(name), RuleChanged::Added),
                (_, None) => add(Some(name), RuleChanged::Removed),
                (Some(old), Some(new)) => {
                    let of = |rule: &Rule<'_>| {
                        rule.entries.iter().map(|entry| bare(program, entry)).collect::<BTreeSet<_>>()
                    };
                    let same_entries = of(old) == of(new);
                    if same_entries && !meaning.is_renumbered(&new.entries) {
                        continue;
                    }
                    match (meaning.same(&old.entries, &new.entries), same_entries) {
                        (true, true) => {}
                        (true, false) => add(Some(name), RuleChanged::Rewritten),
                        (false, _) => add(Some(name), RuleChanged::Changed),
                    }
                }
            }
        }
    }
    let names: BTreeSet<&String> = before.shared.keys().chain(after.shared.keys()).collect();
    let differs = |name: &&String| {
        let of =
            |entries: &Vec<&_>| entries.iter().map(|entry| bare(program, entry)).collect::<BTreeSet<_>>();
        let (were, are) = (before.shared.get(*name).map(of), after.shared.get(*name).map(of));
        were != are
    };
    let shared = names.into_iter().filter(differs);
    RuleChanges { rules: changes, shared: shared.cloned().collect() }
}

/// An entry as it is written, but for its version and origin.
fn bare(program: &Program, entry: &Entry) -> (u32, i32, Vec<FieldMatch>, Action) {
    (entry.key.table, entry.key.priority, unversioned(program, entry), entry.action.clone())
}

/// All names of two lists, those of the newer one in its order and the others where they were; and those of both that have
/// to be moved to come from one order to the other, as few as can be.
fn order<'n>(before: &[&'n str], after: &[&'n str]) -> (Vec<&'n str>, BTreeSet<&'n str>) {
    let places: BTreeMap<&str, usize> =
        before.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let known: BTreeSet<&str> = after.iter().copied().collect();
    let mut all = after.to_vec();
    // What has gone stands behind what stood before it.
    for (at, name) in before.iter().enumerate().filter(|(_, name)| !known.contains(**name)) {
        let behind = before[..at].last().and_then(|last| all.iter().position(|known| known == last));
        all.insert(behind.map_or(0, |place| place + 1), name);
    }
    let both: Vec<(usize, &str)> =
        after.iter().filter_map(|name| Some((*places.get(name)?, *name))).collect();
    let stay = longest_increasing(&both.iter().map(|(place, _)| *place).collect::<Vec<_>>());
    let moved = both.iter().enumerate().filter(|(at, _)| !stay.contains(at)).map(|(_, (_, name))| *name);
    (all, moved.collect())
}

#[cfg(test)]
mod tests;
