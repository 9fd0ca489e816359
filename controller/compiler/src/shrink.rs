//! Whether what should be is much less than what there is: half an input looks like this.

use std::collections::{BTreeMap, BTreeSet};

use outplane_p4runtime::entry::Entry;

use crate::plan::seen;
use crate::program::Program;
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

/// What a switch would have much less of than packets see there now.
pub fn of_switch(program: &Program, installed: &Installed, desired: &Desired) -> Option<Shrunk> {
    let now = installed.entries.iter().filter(|entry| seen(program, entry, installed.version));
    between(&counted(now), &counted(&desired.entries))
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
    use crate::program::{ActionKind, Table};

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
