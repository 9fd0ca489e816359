//! What becomes of answers when pods and namespaces change.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use outplane_intent::model::Intent;
use outplane_intent::touched::Touched;

use super::{PodEntry, PodIndex, Resolver, selects};

impl Resolver {
    /// Takes in what has been touched, and says which pods (also those that are gone by now) have other labels, addresses
    /// or namespaces than before.
    pub(crate) fn update(&mut self, intent: &Intent, touched: &Touched) -> BTreeSet<PodIndex> {
        self.update += 1;
        let mut dirty: BTreeSet<PodIndex> = BTreeSet::new();
        for name in &touched.namespaces {
            match intent.namespaces.get(name) {
                Some(labels) => _ = self.namespaces.insert(name.clone(), labels.clone()),
                None => _ = self.namespaces.remove(name),
            }
            for (wanted, labelled) in &mut self.labelled {
                if self.namespaces.get(name).is_some_and(|labels| selects(wanted, labels)) {
                    labelled.namespaces.insert(name.clone());
                } else {
                    labelled.namespaces.remove(name);
                }
            }
            dirty.extend(self.inhabitants(name));
        }
        let mut before: HashMap<PodIndex, PodEntry> = HashMap::new();
        let mut gone = Vec::new();
        for name in &touched.pods {
            let old = self.names.remove(name);
            if let Some(index) = old {
                dirty.extend(self.replaced(index, &mut before));
                gone.push(index);
            }
            if let Some(pod) = intent.pods.get(name) {
                let index = if old.is_some() { gone.pop() } else { self.free.pop() };
                let index = index.unwrap_or(self.pods.len());
                dirty.extend(self.owners.add(name, index, &pod.addresses));
                dirty.insert(index);
                self.insert(index, name, pod);
            }
        }
        for index in &dirty {
            if let Some(entry) = &self.pods[*index] {
                before.entry(*index).or_insert_with(|| entry.clone());
            }
            self.own(*index);
        }
        // An address may pass from one pod to another, so all go before any comes.
        for comes in [false, true] {
            for index in &dirty {
                self.reselect(*index, before.get(index), comes);
                self.rename_ports(*index, before.get(index), comes);
            }
        }
        // Numbers of those that are gone are free for the next update.
        self.free.extend(gone);
        dirty
    }

    /// Takes a pod away; who has its addresses now.
    fn replaced(&mut self, index: PodIndex, before: &mut HashMap<PodIndex, PodEntry>) -> Vec<PodIndex> {
        let Some(entry) = self.pods[index].take() else { return Vec::new() };
        self.labels.remove(index, &entry.pod.labels);
        if let Some(pods) = self.inhabitants.get_mut(&entry.name.namespace) {
            pods.remove(&index);
        }
        let mut dirty = self.owners.remove(&entry.name, &entry.pod.addresses);
        dirty.push(index);
        before.insert(index, entry);
        dirty
    }

    /// Takes out of all selections what a pod has been there, or puts in what it is now.
    fn reselect(&mut self, pod: PodIndex, before: Option<&PodEntry>, comes: bool) {
        let now = self.pods[pod].as_ref();
        let Some(namespace) = now.or(before).map(|entry| entry.name.namespace.as_str()) else { return };
        let local = self.local.get(namespace).into_iter().flatten();
        let own = self.everywhere.iter().chain(local).map(|(selector, number)| (true, selector, *number));
        let labelled = self.labelled.values().flat_map(|labelled| {
            let is_in = labelled.namespaces.contains(namespace);
            labelled.selections.iter().map(move |(selector, number)| (is_in, selector, *number))
        });
        let none: &[IpAddr] = &[];
        let old = before.map_or(none, |entry| &entry.addresses);
        let new = now.map_or(none, |entry| &entry.addresses);
        for (is_in, selector, number) in own.chain(labelled) {
            let kept = &mut self.selections[number];
            let place = kept.value.pods.binary_search(&pod);
            let is = is_in && now.is_some_and(|entry| selects(selector, &entry.pod.labels));
            if is && place.is_ok() && old == new || if comes { !is } else { place.is_err() } {
                continue;
            }
            let selection = Arc::make_mut(&mut kept.value);
            match place {
                Ok(place) if !comes => {
                    selection.addresses.remove(old);
                    if !is {
                        selection.pods.remove(place);
                    }
                }
                place => {
                    if let Err(place) = place {
                        selection.pods.insert(place, pod);
                    }
                    selection.addresses.insert(new);
                }
            }
            kept.changed = self.update;
        }
    }

    /// The same of named ports.
    fn rename_ports(&mut self, pod: PodIndex, before: Option<&PodEntry>, comes: bool) {
        let entry = if comes { self.pods[pod].as_ref() } else { before };
        let Some(entry) = entry else { return };
        for (key, port) in &entry.pod.named_ports {
            let Some(number) = self.named_ports.get(key) else { continue };
            let kept = &mut self.named[*number];
            let ports = Arc::make_mut(&mut kept.value);
            let addresses = ports.entry(*port).or_default();
            if comes {
                addresses.insert(&entry.addresses);
            } else {
                addresses.remove(&entry.addresses);
            }
            if addresses.is_empty() {
                ports.remove(port);
            }
            kept.changed = self.update;
        }
    }
}
