//! Which rule a tag means, by what the switch was made to hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use outplane_compiler::state::{Desired, Origin};

/// Most switches whose rules are known; the one that was not changed for longest gives way.
const MOST_SWITCHES: usize = 4096;

/// Rules that share a tag: one, but for a collision of 32 bits.
type Tags = Arc<BTreeMap<u32, Vec<(String, String)>>>;

/// What a switch holds, or is about to hold.
#[derive(Clone, Debug, Default)]
struct Known {
    /// By generation: the one that the switch runs, the one before it, and the one that is on its way.
    tags: BTreeMap<u64, Tags>,
    runs: u64,
    /// Of all changes of all switches, the number of the last one.
    changed: u64,
}

/// What a tag means on a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The policy; several, with ` or ` between them, where two rules share the tag.
    pub policy: Option<String>,
    /// Its rule, likewise.
    pub rule: Option<String>,
    /// The generation whose entries say so.
    pub generation: Option<u64>,
    /// The newest generation that the switch is known to run, or to be about to.
    pub newest: Option<u64>,
}

/// The tags of every switch. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<(HashMap<String, Known>, u64)>>);

/// The rules of a desired state that send packets to the controller, by tag.
pub fn tags(desired: &Desired) -> BTreeMap<u32, Vec<(String, String)>> {
    let mut tags: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    // Only such an action has the tag as its one parameter.
    for entry in desired.entries.iter().filter(|entry| entry.action.params.len() == 1) {
        let Some(origin) = Origin::decode(&entry.metadata) else { continue };
        let tag = origin.tag();
        if entry.action.params[0].1 != u128::from(tag) {
            continue;
        }
        let rule = (origin.policy, origin.rule);
        let rules = tags.entry(tag).or_default();
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    tags
}

impl Names {
    /// A switch is about to hold this: packets of the old and of the new policy may come from now on.
    pub fn comes(&self, switch: &str, generation: u64, desired: &Desired) {
        let known = |names: &(HashMap<String, Known>, u64)| {
            names.0.get(switch).is_some_and(|known| known.tags.contains_key(&generation))
        };
        if known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let tags = Arc::new(tags(desired));
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.1 += 1;
        let changed = names.1;
        if names.0.len() >= MOST_SWITCHES && !names.0.contains_key(switch) {
            let oldest = names.0.iter().min_by_key(|(_, known)| known.changed).map(|(name, _)| name.clone());
            oldest.map(|oldest| names.0.remove(&oldest));
        }
        let known = names.0.entry(switch.to_owned()).or_default();
        known.changed = changed;
        known.tags.insert(generation, tags);
        while known.tags.len() > 3 {
            let oldest = known.tags.keys().copied().find(|generation| *generation != known.runs);
            oldest.map(|oldest| known.tags.remove(&oldest));
        }
    }

    /// The switch holds it.
    pub fn runs(&self, switch: &str, generation: u64) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.0.get_mut(switch) {
            known.runs = generation;
        }
    }

    /// Which rule a packet of this switch with this tag was denied by: by the generation that it runs, else by the
    /// newest that has the tag.
    pub fn resolve(&self, switch: &str, tag: u32) -> Resolved {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = names.0.get(switch) else { return Resolved::default() };
        let current = known.tags.get_key_value(&known.runs);
        let mut candidates = current.into_iter().chain(known.tags.iter().rev());
        let found = candidates.find_map(|(generation, tags)| Some((*generation, tags.get(&tag)?)));
        let newest = current.or_else(|| known.tags.last_key_value()).map(|(generation, _)| *generation);
        let join = |of: fn(&(String, String)) -> &String, rules: &[(String, String)]| {
            rules.iter().map(|rule| of(rule).as_str()).collect::<Vec<_>>().join(" or ")
        };
        Resolved {
            policy: found.map(|(_, rules)| join(|rule| &rule.0, rules)),
            rule: found.map(|(_, rules)| join(|rule| &rule.1, rules)),
            generation: found.map(|(generation, _)| generation),
            newest,
        }
    }
}
