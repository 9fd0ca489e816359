//! Single objects of what is declared: put in, taken out, by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;

use super::declared::{Declared, Entry, FilterDecl, GroupDecl, HostDecl, PodDecl, SegmentDecl, SwitchDecl};
use super::expectation::ExpectationDecl;
use crate::model::{ClusterNetworkPolicy, KubernetesDefaults, Labels, NetworkPolicy, Node, ObjectName};

macro_rules! declarations {
    ($($kind:ident($name:ty, $value:ty) in $map:ident,)*) => {
        /// An object and its name.
        #[derive(Debug)]
        pub(crate) enum Declaration {
            $($kind($name, Entry<$value>),)*
            /// And whether it says no namespace.
            NetworkPolicy(ObjectName, Entry<NetworkPolicy>, bool),
            KubernetesDefaults(Entry<KubernetesDefaults>),
        }

        /// Which object.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Key {
            $($kind($name),)*
            NetworkPolicy(ObjectName),
            KubernetesDefaults,
        }

        impl Declaration {
            pub(crate) fn key(&self) -> Key {
                match self {
                    $(Self::$kind(name, _) => Key::$kind(name.clone()),)*
                    Self::NetworkPolicy(name, ..) => Key::NetworkPolicy(name.clone()),
                    Self::KubernetesDefaults(_) => Key::KubernetesDefaults,
                }
            }
        }

        impl Declared {
            /// Takes everything out.
            pub(crate) fn drain(&mut self) -> Vec<Declaration> {
                let mut all = Vec::new();
                let Self { $($map,)* network_policies, unplaced, defaults } = std::mem::take(self);
                $(all.extend($map.into_iter().map(|(name, entry)| Declaration::$kind(name, entry)));)*
                all.extend(network_policies.into_iter().map(|(name, entry)| {
                    let is_unplaced = unplaced.contains(&name);
                    Declaration::NetworkPolicy(name, entry, is_unplaced)
                }));
                all.extend(defaults.map(Declaration::KubernetesDefaults));
                all
            }

            /// Puts an object in. Whether there was none of its name.
            pub(crate) fn insert(&mut self, declaration: Declaration) -> bool {
                match declaration {
                    $(Declaration::$kind(name, entry) => vacant(&mut self.$map, name, entry),)*
                    Declaration::NetworkPolicy(name, entry, unplaced) => {
                        let key = name.clone();
                        let inserted = vacant(&mut self.network_policies, name, entry);
                        if inserted && unplaced {
                            self.unplaced.insert(key);
                        }
                        inserted
                    }
                    Declaration::KubernetesDefaults(entry) => {
                        let inserted = self.defaults.is_none();
                        self.defaults.get_or_insert(entry);
                        inserted
                    }
                }
            }

            /// Takes an object out.
            pub(crate) fn remove(&mut self, key: &Key) -> Option<Declaration> {
                match key {
                    $(Key::$kind(name) => {
                        let (name, entry) = self.$map.remove_entry(name)?;
                        Some(Declaration::$kind(name, entry))
                    })*
                    Key::NetworkPolicy(name) => {
                        let (name, entry) = self.network_policies.remove_entry(name)?;
                        let unplaced = self.unplaced.remove(&name);
                        Some(Declaration::NetworkPolicy(name, entry, unplaced))
                    }
                    Key::KubernetesDefaults => self.defaults.take().map(Declaration::KubernetesDefaults),
                }
            }
        }
    };
}

declarations! {
    Switch(String, SwitchDecl) in switches,
    Segment(String, SegmentDecl) in segments,
    Host(String, HostDecl) in hosts,
    AddressGroup(String, GroupDecl) in groups,
    FilterPolicy(String, FilterDecl) in filters,
    Namespace(String, Labels) in namespaces,
    Pod(ObjectName, PodDecl) in pods,
    Node(String, Node) in nodes,
    ClusterNetworkPolicy(String, ClusterNetworkPolicy) in cluster_policies,
    Expectation(String, ExpectationDecl) in expectations,
}

fn vacant<K: Ord, T>(map: &mut BTreeMap<K, T>, name: K, value: T) -> bool {
    let MapEntry::Vacant(place) = map.entry(name) else { return false };
    place.insert(value);
    true
}
