//! Whether what should be is much less than what there is: half an input looks like this.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use outplane_intent::deciders;
use outplane_intent::reader::UNMARKED;
use outplane_p4runtime::entry::Entry;

use crate::plan::seen;
use crate::program::{ActionKind, Program};
use crate::rules::{self, RuleChanged, RuleChanges};
use crate::state::{Desired, Installed, Origin};

/// Fewer than these are never much fewer: people remove one or two things, of two or three.
const FEW: usize = 3;

/// Something of which there would be much less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// What, in the plural: `Pods`, `NetworkPolicies`, `rules of FilterPolicies`.
    pub what: String,
    /// How many there are.
    pub before: usize,
    /// How many there would be.
    pub after: usize,
}

/// What is known of the input that says less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// It has an end, but whoever wrote it may have had half of what there is.
    Whole,
    /// It may have been cut off anywhere after a line.
    Cut {
        /// The last rule that it says, policy and rule, of each text: its end may be missing.
        last: &'a [(String, String)],
    },
}

/// What a switch would have less of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Less {
    /// Much less of a kind.
    Much(Shrunk),
    /// Nothing that it does not have, and less of that.
    Only(Shrunk),
    /// A policy's default.
    Default {
        /// `FilterPolicy/edge`.
        policy: String,
        /// It is gone, or shadowed; else it denies no more.
        gone: bool,
    },
    /// There is no policy to compare with.
    Unknown,
    /// The policy that the input ends with is not there as the input says it.
    Last {
        /// `FilterPolicy/edge`.
        policy: String,
        /// The rule that differs.
        rule: String,
        /// What becomes of it.
        change: RuleChanged,
    },
    /// A condition of a rule, so that it matches more.
    Condition {
        /// `FilterPolicy/edge`.
        policy: String,
        /// Its rule.
        rule: String,
    },
}

impl fmt::Display for Less {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Much(Shrunk { what, before, after }) => {
                write!(f, "packets see {before} {what} there, and the input has {after} for it")
            }
            Self::Only(Shrunk { what, before, after }) => {
                write!(f, "the input has {after} of the {before} {what} there, and no rule that is new")
            }
            Self::Default { policy, gone: true } => {
                write!(f, "{policy} has a `default` there; by the input it has none, or no packet reaches it")
            }
            Self::Default { policy, gone: false } => {
                write!(f, "the `default` of {policy} denies there, and does not in the input")
            }
            Self::Unknown => {
                write!(f, "{UNMARKED}, and there is no policy to compare it with")
            }
            Self::Last { policy, rule, change } => {
                let how = match change {
                    RuleChanged::Added => "new there",
                    RuleChanged::Removed => "gone",
                    _ => "another one there",
                };
                write!(f, "{UNMARKED}, and of {policy}, its last policy, rule {rule} is {how}")
            }
            Self::Condition { policy, rule } => {
                write!(f, "{policy}, rule {rule}, has lost a condition there, and matches more")
            }
        }
    }
}

/// Whether a number would shrink by more than half, and by three at least.
pub fn is_much_less(before: usize, after: usize) -> bool {
    let fewer = before.saturating_sub(after);
    fewer >= FEW && fewer * 2 > before
}

/// Kinds whose last object is never lost unasked: a dump that forgot one looks as if nobody had any.
const POLICIES: [&str; 3] = ["ClusterNetworkPolicies", "FilterPolicies", "NetworkPolicies"];

/// The first kind of which there would be much less, or, of policies, none any more.
pub fn between<K: AsRef<str> + Ord>(
    before: &BTreeMap<K, usize>,
    after: &BTreeMap<K, usize>,
) -> Option<Shrunk> {
    before.iter().find_map(|(kind, before)| {
        let after = after.get(kind).copied().unwrap_or(0);
        let what = kind.as_ref().to_owned();
        let last = *before > 0 && after == 0 && POLICIES.contains(&what.as_str());
        (last || is_much_less(*before, after)).then_some(Shrunk { what, before: *before, after })
    })
}

/// How many policies and rules some entries are for, by kind.
pub fn counted<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<String, usize> {
    let (mut policies, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for origin in entries.into_iter().filter_map(|entry| Origin::decode(&entry.metadata)) {
        if origin.policy != Origin::COMMON {
            policies.insert(origin.policy.clone());
            rules.insert((origin.policy, origin.rule));
        }
    }
    let mut counts = BTreeMap::new();
    let kind = |policy: &str| plural(policy.split_once('/').map_or("policy", |(kind, _)| kind));
    for policy in &policies {
        *counts.entry(kind(policy)).or_default() += 1;
    }
    for (policy, _) in &rules {
        *counts.entry(format!("rules of {}", kind(policy))).or_default() += 1;
    }
    counts
}

/// What a switch would have less of than packets see there now: much less, or (of input that may be cut off) what such a
/// cut takes away.
pub fn of_switch(
    program: &Program,
    installed: &Installed,
    desired: &Desired,
    input: Input<'_>,
) -> Option<Less> {
    let now: Vec<_> =
        installed.entries.iter().filter(|entry| seen(program, entry, installed.version)).collect();
    let much = between(&counted(now.iter().copied()), &counted(&desired.entries)).map(Less::Much);
    let (None, Input::Cut { last }) = (&much, input) else { return much };
    let before = by_rule(now);
    let after = by_rule(&desired.entries);
    let any = |rules: &ByRule<'_>| rules.keys().any(|(policy, _)| policy != Origin::COMMON);
    // Where everything passes already, and would go on to, nothing is lost.
    if !any(&before) && (any(&after) || installed.version == 0) {
        return Some(Less::Unknown);
    }
    let meters = (installed.meters.len(), desired.meters.len());
    condition(program, &before, &after).or_else(|| only_less(&before, &after, meters)).or_else(|| {
        let changes = rules::between(program, installed, desired);
        last.iter().find_map(|last| ends_otherwise(last, &changes))
    })
}

/// The last rule is new or says something else, or its policy has lost one; of policies of Kubernetes any rule counts, since
/// what all of them depend on comes behind.
fn ends_otherwise((policy, rule): &(String, String), changes: &RuleChanges) -> Option<Less> {
    let of_ours = deciders::is_filter_policy(policy);
    changes.rules.iter().filter(|change| change.policy == *policy).find_map(|found| {
        let named = found.rule.as_deref()?;
        let differs = match found.change {
            RuleChanged::Added | RuleChanged::Changed => !of_ours || named == rule,
            // Behind its default nothing stood.
            RuleChanged::Removed => !of_ours || rule != deciders::DEFAULT,
            RuleChanged::Reordered | RuleChanged::Rewritten => false,
        };
        let (policy, rule) = (policy.clone(), named.to_owned());
        differs.then_some(Less::Last { policy, rule, change: found.change })
    })
}

/// Entries by policy and rule.
type ByRule<'e> = BTreeMap<(String, String), Vec<&'e Entry>>;

fn by_rule<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> ByRule<'e> {
    let mut rules = ByRule::new();
    for entry in entries {
        if let Some(Origin { policy, rule, .. }) = Origin::decode(&entry.metadata) {
            rules.entry((policy, rule)).or_default().push(entry);
        }
    }
    rules
}

/// The first policy that lost its default, or rule that lost a condition.
fn condition(program: &Program, before: &ByRule<'_>, after: &ByRule<'_>) -> Option<Less> {
    let stays: BTreeSet<&str> = after.keys().map(|(policy, _)| policy.as_str()).collect();
    before.iter().find_map(|((policy, rule), before)| {
        let (policy, rule) = (policy.clone(), rule.clone());
        let Some(after) = after.get(&(policy.clone(), rule.clone())) else {
            let lost =
                rule == deciders::DEFAULT && policy != Origin::COMMON && stays.contains(policy.as_str());
            return lost.then_some(Less::Default { policy, gone: true });
        };
        if policy == Origin::COMMON {
            return None;
        }
        if rule == deciders::DEFAULT && denies(program, before) && !denies(program, after) {
            return Some(Less::Default { policy, gone: false });
        }
        let (before, after) = (shapes(program, before), shapes(program, after));
        let wider = |shape: &Shape| {
            let within = |other: &&Shape| other.0 == shape.0 && shape.1.is_subset(&other.1);
            before.iter().any(|other| within(&other) && other != shape)
                && !before.iter().any(|other| other.0 == shape.0 && other.1.is_subset(&shape.1))
        };
        after.iter().any(wider).then_some(Less::Condition { policy, rule })
    })
}

fn denies(program: &Program, entries: &[&Entry]) -> bool {
    let is_denial = |kind| matches!(kind, ActionKind::AdminDeny | ActionKind::BaselineDeny);
    entries.iter().any(|entry| program.action_of(entry.action.id).is_some_and(is_denial))
}

/// A table, and which of its fields are matched.
type Shape = (u32, BTreeSet<u32>);

fn shapes(program: &Program, entries: &[&Entry]) -> BTreeSet<Shape> {
    let shape = |entry: &&Entry| {
        let table = entry.key.table;
        let version = program.version_field(table);
        let fields = entry.key.matches.iter().map(|matched| matched.field);
        (table, fields.filter(|field| Some(*field) != version).collect())
    };
    entries.iter().map(shape).collect()
}

/// No rule is new, and there are fewer of them, of their entries or of what they limit.
fn only_less(
    before: &ByRule<'_>,
    after: &ByRule<'_>,
    (meters, meters_after): (usize, usize),
) -> Option<Less> {
    // What serves all policies is no rule, and there may be more of it where a policy goes.
    if meters_after > meters
        || after.keys().any(|rule| rule.0 != Origin::COMMON && !before.contains_key(rule))
    {
        return None;
    }
    let all = |rules: &ByRule<'_>| rules.values().map(Vec::len).sum::<usize>();
    let (rules, entries) = ((before.len(), after.len()), (all(before), all(after)));
    for (what, (before, after)) in
        [("rules", rules), ("entries", entries), ("rate limits", (meters, meters_after))]
    {
        if after < before {
            return Some(Less::Only(Shrunk { what: what.to_owned(), before, after }));
        }
    }
    None
}

/// `FilterPolicies`, `Pods`.
pub fn plural(kind: &str) -> String {
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => kind.to_owned(),
        None if kind.ends_with("ch") => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Table;

    #[test]
    fn more_than_half_and_three_at_least() {
        for (before, after, much) in [
            (0, 0, false),
            (2, 0, false),
            (3, 0, true),
            (3, 1, false),
            (4, 1, true),
            (4, 2, false),
            (6, 3, false),
            (6, 2, true),
            (100, 51, false),
            (100, 49, true),
            (3, 100, false),
        ] {
            assert_eq!(is_much_less(before, after), much, "{before} to {after}");
        }
    }

    #[test]
    fn the_last_policy_of_a_kind_is_much() {
        let counts = |pairs: &[(&'static str, usize)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let before = counts(&[("ClusterNetworkPolicies", 1), ("NetworkPolicies", 2), ("Hosts", 1)]);
        for (after, lost) in [
            (counts(&[("NetworkPolicies", 2), ("Hosts", 1)]), Some("ClusterNetworkPolicies")),
            (counts(&[("ClusterNetworkPolicies", 1), ("Hosts", 1)]), Some("NetworkPolicies")),
            (counts(&[("ClusterNetworkPolicies", 1), ("NetworkPolicies", 1)]), None),
        ] {
            let found = between(&before, &after);
            assert_eq!(found.as_ref().map(|shrunk| shrunk.what.as_str()), lost);
        }
    }

    #[test]
    fn policies_and_rules_are_counted_by_kind() {
        let program = Program::outplane();
        let entry = |policy: &str, rule: &str| Entry {
            key: program.key(Table::FilterAdmin, 1, []),
            action: program.action(ActionKind::AdminPermit, &[]),
            metadata: Origin { policy: policy.into(), rule: rule.into(), order: 0 }.encode(),
        };
        let entries = [
            entry("FilterPolicy/a", "x"),
            entry("FilterPolicy/a", "x"),
            entry("FilterPolicy/a", "y"),
            entry("NetworkPolicy/shop/b", "isolation"),
            entry("-", "segment"),
        ];
        let told: Vec<_> = counted(&entries).into_iter().collect();
        let expected = [
            ("FilterPolicies", 1),
            ("NetworkPolicies", 1),
            ("rules of FilterPolicies", 2),
            ("rules of NetworkPolicies", 1),
        ];
        assert_eq!(told, expected.map(|(kind, number)| (kind.to_owned(), number)));
        assert_eq!(
            ["Switch", "KubernetesDefaults", "Pod"].map(plural),
            ["Switches", "KubernetesDefaults", "Pods"]
        );
    }
}
