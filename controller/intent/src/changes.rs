//! What differs between two intents, object by object and rule by rule.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use crate::deciders;
use crate::expectation::Expectations;
use crate::model::{FilterPolicy, Intent, KubernetesDefaults, ObjectName};

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// `FilterPolicy/<name>`, `NetworkPolicy/<namespace>/<name>` and the like.
    pub object: String,
    /// The rule of a FilterPolicy, where it is about one.
    pub rule: Option<String>,
    /// What became of it.
    pub change: Changed,
}

/// What became of an object or a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changed {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// The rules of a policy that stayed are asked in another order.
    Reordered,
}

/// All differences, by object, and a policy's rules after it, in the order of the newer one.
pub fn between(before: &Intent, after: &Intent) -> Vec<Change> {
    let mut found = Changes::default();
    found.objects("AddressGroup", &before.groups, &after.groups);
    found.objects("ClusterNetworkPolicy", &before.cluster_policies, &after.cluster_policies);
    found.filters(&before.filters, &after.filters);
    found.objects("Host", &before.hosts, &after.hosts);
    found.defaults(before.defaults, after.defaults);
    found.objects("Namespace", &before.namespaces, &after.namespaces);
    found.objects("NetworkPolicy", &names(&before.network_policies), &names(&after.network_policies));
    found.objects("Node", &before.nodes, &after.nodes);
    found.objects("Pod", &names(&before.pods), &names(&after.pods));
    found.objects("Segment", &before.segments, &after.segments);
    found.objects("Switch", &before.switches, &after.switches);
    found.0
}

/// What differs between expectations.
pub fn between_expectations(before: &Expectations, after: &Expectations) -> Vec<Change> {
    let mut found = Changes::default();
    found.objects("Expectation", before, after);
    found.0
}

fn names<T>(map: &BTreeMap<ObjectName, T>) -> BTreeMap<String, &T> {
    map.iter().map(|(name, value)| (format!("{}/{}", name.namespace, name.name), value)).collect()
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, object: String, rule: Option<&str>, change: Changed) {
        self.0.push(Change { object, rule: rule.map(str::to_owned), change });
    }

    /// An object that says what holds anyway is none.
    fn defaults(&mut self, before: KubernetesDefaults, after: KubernetesDefaults) {
        let none = KubernetesDefaults::default();
        let change = match (before == none, after == none) {
            _ if before == after => return,
            (true, _) => Changed::Added,
            (_, true) => Changed::Removed,
            _ => Changed::Changed,
        };
        self.add("KubernetesDefaults".to_owned(), None, change);
    }

    fn objects<K: Ord + Display, T: PartialEq>(
        &mut self,
        kind: &str,
        before: &BTreeMap<K, T>,
        after: &BTreeMap<K, T>,
    ) {
        for (name, change) in differing(before, after) {
            self.add(format!("{kind}/{name}"), None, change);
        }
    }

    fn filters(&mut self, before: &BTreeMap<String, FilterPolicy>, after: &BTreeMap<String, FilterPolicy>) {
        for (name, change) in differing(before, after) {
            let object = deciders::filter_policy(name);
            match (before.get(name), after.get(name)) {
                (Some(before), Some(after)) => self.policy(&object, before, after),
                _ => self.add(object, None, change),
            }
        }
    }

    fn policy(&mut self, object: &str, before: &FilterPolicy, after: &FilterPolicy) {
        let head = |policy: &FilterPolicy| FilterPolicy { rules: Vec::new(), ..policy.clone() };
        if head(before) != head(after) {
            self.add(object.to_owned(), None, Changed::Changed);
        }
        let by_name = |policy: &FilterPolicy| -> BTreeMap<String, usize> {
            policy.rules.iter().enumerate().map(|(place, rule)| (rule.name.clone(), place)).collect()
        };
        let (were, are) = (by_name(before), by_name(after));
        for rule in before.rules.iter().filter(|rule| !are.contains_key(&rule.name)) {
            self.add(object.to_owned(), Some(&rule.name), Changed::Removed);
        }
        let mut stayed = Vec::new();
        for rule in &after.rules {
            match were.get(&rule.name) {
                None => self.add(object.to_owned(), Some(&rule.name), Changed::Added),
                Some(place) => {
                    stayed.push(*place);
                    if before.rules[*place] != *rule {
                        self.add(object.to_owned(), Some(&rule.name), Changed::Changed);
                    }
                }
            }
        }
        if !stayed.is_sorted() {
            self.add(object.to_owned(), None, Changed::Reordered);
        }
    }
}

/// The names in either map whose values differ, and how.
fn differing<'m, K: Ord, T: PartialEq>(
    before: &'m BTreeMap<K, T>,
    after: &'m BTreeMap<K, T>,
) -> impl Iterator<Item = (&'m K, Changed)> {
    let mut found: BTreeMap<&K, Changed> = BTreeMap::new();
    for (name, value) in before {
        match after.get(name) {
            None => drop(found.insert(name, Changed::Removed)),
            Some(other) if other != value => drop(found.insert(name, Changed::Changed)),
            Some(_) => {}
        }
    }
    found.extend(after.keys().filter(|name| !before.contains_key(name)).map(|name| (name, Changed::Added)));
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::parse;

    fn intent(text: &str) -> Intent {
        parse([("a.yaml", text)]).unwrap_or_else(|error| panic!("{}", error.render(false))).intent
    }

    fn policy(spec: &str) -> String {
        format!(
            "---\n{{apiVersion: outplane.dev/v1alpha1, kind: FilterPolicy, metadata: {{name: edge}}, spec: {spec}}}\n"
        )
    }

    #[test]
    fn objects_and_rules() {
        let before = intent(
            &(policy(
                "{rules: [{name: a, action: allow}, {name: b, action: deny}, {name: c, action: deny}]}",
            ) + "---\n{apiVersion: outplane.dev/v1alpha1, kind: AddressGroup, metadata: {name: old}, spec: {addresses: [10.0.0.0/8]}}\n"),
        );
        let after = intent(
            &(policy(
                "{default: deny, rules: [{name: c, action: deny}, {name: d, action: deny}, {name: a, action: deny}]}",
            ) + "---\n{apiVersion: outplane.dev/v1alpha1, kind: Host, metadata: {name: web}, spec: {addresses: [10.0.0.1]}}\n"),
        );
        let told: Vec<_> = between(&before, &after)
            .into_iter()
            .map(|change| (change.object, change.rule, change.change))
            .collect();
        let edge =
            |rule: Option<&str>, change| ("FilterPolicy/edge".to_owned(), rule.map(str::to_owned), change);
        assert_eq!(
            told,
            [
                ("AddressGroup/old".to_owned(), None, Changed::Removed),
                edge(None, Changed::Changed),
                edge(Some("b"), Changed::Removed),
                edge(Some("d"), Changed::Added),
                edge(Some("a"), Changed::Changed),
                edge(None, Changed::Reordered),
                ("Host/web".to_owned(), None, Changed::Added),
            ]
        );
        assert_eq!(between(&after, &after), []);
        let back = between(&after, &before);
        assert_eq!(back.len(), told.len(), "{back:?}");
    }

    #[test]
    fn defaults_come_change_and_go() {
        let defaults = |said: &str| {
            intent(&format!(
                "{{apiVersion: outplane.dev/v1alpha1, kind: KubernetesDefaults, metadata: {{name: all}}, spec: {{{said}}}}}\n"
            ))
        };
        let (none, reverse, closed) =
            (Intent::default(), defaults("replies: reverse"), defaults("replies: none"));
        for (before, after, change) in [
            (&none, &reverse, Changed::Added),
            (&reverse, &closed, Changed::Changed),
            (&closed, &none, Changed::Removed),
        ] {
            let object = "KubernetesDefaults".to_owned();
            assert_eq!(between(before, after), [Change { object, rule: None, change }]);
        }
        assert_eq!(between(&none, &defaults("replies: established")), []);
    }

    proptest::proptest! {
        #[test]
        fn none_if_and_only_if_equal((one, _) in crate::testing::cases(1), (other, _) in crate::testing::cases(1)) {
            proptest::prop_assert!(between(&one, &one).is_empty());
            proptest::prop_assert_eq!(between(&one, &other).is_empty(), one == other);
        }
    }
}
