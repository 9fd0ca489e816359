//! Pods by their labels, and whose an address is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use outplane_intent::model::{LabelOperator, LabelSelector, Labels, ObjectName};

use super::PodIndex;

/// Pods by label and value.
#[derive(Debug, Default)]
pub(super) struct ByLabel(HashMap<String, HashMap<String, BTreeSet<PodIndex>>>);

impl ByLabel {
    pub(super) fn add(&mut self, pod: PodIndex, labels: &Labels) {
        for (key, value) in labels {
            if !self.0.contains_key(key) {
                self.0.insert(key.clone(), HashMap::new());
            }
            let Some(values) = self.0.get_mut(key) else { continue };
            match values.get_mut(value) {
                Some(pods) => _ = pods.insert(pod),
                None => _ = values.insert(value.clone(), BTreeSet::from([pod])),
            }
        }
    }

    pub(super) fn remove(&mut self, pod: PodIndex, labels: &Labels) {
        for (key, value) in labels {
            let Some(values) = self.0.get_mut(key) else { continue };
            let Some(pods) = values.get_mut(value) else { continue };
            pods.remove(&pod);
            if pods.is_empty() {
                values.remove(value);
            }
        }
    }

    /// For each requirement that can be looked up, the pods that meet it.
    pub(super) fn meeting(&self, selector: &LabelSelector) -> Vec<Vec<&BTreeSet<PodIndex>>> {
        let met = selector.requirements.iter().filter_map(|requirement| {
            let LabelOperator::In(values) = &requirement.operator else { return None };
            let known = self.0.get(&requirement.key);
            Some(values.iter().filter_map(|value| known?.get(value)).collect())
        });
        met.collect()
    }
}

/// Whose an address is: of all pods that have it the first by name.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<IpAddr, BTreeMap<ObjectName, PodIndex>>);

impl Owners {
    pub(super) fn of(&self, address: &IpAddr) -> Option<PodIndex> {
        self.0.get(address)?.values().next().copied()
    }

    /// Adds a pod, and says who has had its addresses.
    pub(super) fn add(&mut self, name: &ObjectName, pod: PodIndex, addresses: &[IpAddr]) -> Vec<PodIndex> {
        let mut others = Vec::new();
        for address in addresses {
            others.extend(self.of(address));
            self.0.entry(*address).or_default().insert(name.clone(), pod);
        }
        others
    }

    /// Takes a pod away, and says who has its addresses now.
    pub(super) fn remove(&mut self, name: &ObjectName, addresses: &[IpAddr]) -> Vec<PodIndex> {
        let mut others = Vec::new();
        for address in addresses {
            let Some(owners) = self.0.get_mut(address) else { continue };
            owners.remove(name);
            if owners.is_empty() {
                self.0.remove(address);
            } else {
                others.extend(self.of(address));
            }
        }
        others
    }
}
