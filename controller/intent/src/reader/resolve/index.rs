//! Pods by namespace, and in it by label: thousands of policies look for theirs among thousands of pods.

use std::collections::{BTreeMap, BTreeSet};

use crate::evaluate::selects;
use crate::model::{LabelOperator, LabelSelector, ObjectName, Pod};

/// Names of pods of an intent.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodIndex {
    namespaces: BTreeMap<String, Namespace>,
}

#[derive(Clone, Debug, Default)]
struct Namespace {
    pods: usize,
    /// By key and value.
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<ObjectName>>>,
}

impl PodIndex {
    pub(crate) fn insert(&mut self, name: &ObjectName, pod: &Pod) {
        let known = self.namespaces.entry(name.namespace.clone()).or_default();
        known.pods += 1;
        for (key, value) in &pod.labels {
            let values = known.by_label.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(name.clone());
        }
    }

    /// Takes a pod out that was put in with these labels.
    pub(crate) fn remove(&mut self, name: &ObjectName, pod: &Pod) {
        let Some(known) = self.namespaces.get_mut(&name.namespace) else { return };
        known.pods -= 1;
        for (key, value) in &pod.labels {
            let Some(values) = known.by_label.get_mut(key) else { continue };
            let Some(names) = values.get_mut(value) else { continue };
            names.remove(name);
            if names.is_empty() {
                values.remove(value);
            }
        }
        if known.pods == 0 {
            self.namespaces.remove(&name.namespace);
        }
    }

    /// Namespaces with pods.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(String::as_str)
    }

    pub(crate) fn count(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, |known| known.pods)
    }

    /// Whether a selector selects one of the intent's pods in a namespace.
    pub(crate) fn selects(
        &self,
        pods: &BTreeMap<ObjectName, Pod>,
        namespace: &str,
        selector: &LabelSelector,
    ) -> bool {
        let Some(known) = self.namespaces.get(namespace) else { return false };
        if selector.requirements.is_empty() {
            return known.pods > 0;
        }
        let narrow = selector.requirements.iter().find_map(|requirement| match &requirement.operator {
            LabelOperator::In(values) if values.len() == 1 => Some((&requirement.key, &values[0])),
            _ => None,
        });
        let Some((key, value)) = narrow else {
            return super::of_namespace(pods, namespace).any(|(_, pod)| selects(selector, &pod.labels));
        };
        let names = known.by_label.get(key).and_then(|values| values.get(value));
        names.is_some_and(|names| {
            selector.requirements.len() == 1
                || names.iter().filter_map(|name| pods.get(name)).any(|pod| selects(selector, &pod.labels))
        })
    }
}
