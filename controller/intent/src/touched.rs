//! Which objects differ between an intent and the one before it: what whoever keeps results of the one before has to look
//! at again.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Intent, ObjectName};

/// The objects that are new, gone, or say something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Pods.
    pub pods: BTreeSet<ObjectName>,
    /// NetworkPolicies.
    pub network_policies: BTreeSet<ObjectName>,
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// Something else, too: switches, segments, hosts, groups, filter and cluster policies, nodes, defaults.
    pub others: bool,
}

impl Touched {
    /// By comparing all objects.
    pub fn between(before: &Intent, after: &Intent) -> Self {
        Self {
            pods: differing(&before.pods, &after.pods),
            network_policies: differing(&before.network_policies, &after.network_policies),
            namespaces: differing(&before.namespaces, &after.namespaces),
            others: before.switches != after.switches
                || before.segments != after.segments
                || before.hosts != after.hosts
                || before.groups != after.groups
                || before.filters != after.filters
                || before.nodes != after.nodes
                || before.cluster_policies != after.cluster_policies
                || before.defaults != after.defaults,
        }
    }

    /// What differs here or there.
    pub fn extend(&mut self, other: Self) {
        self.pods.extend(other.pods);
        self.network_policies.extend(other.network_policies);
        self.namespaces.extend(other.namespaces);
        self.others |= other.others;
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The names whose values differ, walked side by side.
fn differing<K: Ord + Clone, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> BTreeSet<K> {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    let mut found = BTreeSet::new();
    loop {
        let name = match (old.peek(), new.peek()) {
            (Some((one, was)), Some((other, is))) if one == other => {
                let differs = was != is;
                let name = *one;
                old.next();
                new.next();
                if !differs {
                    continue;
                }
                name
            }
            (Some((one, _)), other) if other.is_none_or(|(other, _)| one < other) => {
                let name = *one;
                old.next();
                name
            }
            (_, Some((other, _))) => {
                let name = *other;
                new.next();
                name
            }
            (_, None) => return found,
        };
        found.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AddressGroup;
    use crate::testing::Cluster;

    #[test]
    fn an_edit_touches_one_object() {
        let mut cluster = Cluster::new(20, 100, 40, 7);
        for _ in 0..200 {
            let before = cluster.intent().clone();
            let kind = cluster.edit();
            let touched = Touched::between(&before, cluster.intent());
            let objects = touched.pods.len() + touched.network_policies.len() + touched.namespaces.len();
            assert!(!touched.others && objects <= 1, "{kind:?}: {touched:?}");
            assert_eq!(touched.is_empty(), before == *cluster.intent(), "{kind:?}");
            assert_eq!(touched, Touched::between(cluster.intent(), &before), "{kind:?}");
        }
        let more = Intent { groups: [("g".to_owned(), AddressGroup::default())].into(), ..Intent::default() };
        assert!(Touched::between(&Intent::default(), &more).others);
    }
}
