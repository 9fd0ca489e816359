//! The prefixes by which a switch looks up classes of addresses, kept from one intent to the next.

use std::collections::BTreeMap;

use crate::classes::{ClassRange, Prefix, differing, is_about, overlay, ranges_of, rewrite};
use crate::numbers::AddressPrefix;
use crate::ranges::{Point, Ranges};

/// Of filter policies and of pods.
pub(super) type Classes = (u16, u16);

/// Prefixes of one family, and what they say.
#[derive(Debug)]
pub(super) struct Prefixes<T> {
    entries: BTreeMap<(T, u32), Classes>,
    /// What they say, by where a range begins: where it ends, and its classes.
    says: BTreeMap<T, (T, Classes)>,
    /// What was there before, under keys that have changed.
    before: BTreeMap<(T, u32), Option<Classes>>,
}

impl<T: Point> Prefixes<T> {
    pub(super) fn new(prefixes: &[AddressPrefix<T>]) -> Self {
        let entries = prefixes.iter().map(|prefix| ((prefix.value, prefix.length), prefix.class));
        let says = ranges_of(prefixes).into_iter().map(|(low, high, classes)| (low, (high, classes)));
        Self { entries: entries.collect(), says: says.collect(), before: BTreeMap::new() }
    }

    /// Addresses may have other classes: `filter`, all of them, and `pod`, those between two.
    pub(super) fn update(
        &mut self,
        changed: Vec<(T, T)>,
        filter: &[ClassRange<T>],
        pod: impl Fn(T, T) -> Vec<ClassRange<T>>,
    ) {
        for (low, high) in Ranges::new(changed).as_slice() {
            let own = &filter[filter.partition_point(|range| range.1 < *low)..];
            let own = own.iter().take_while(|range| range.0 <= *high);
            let own: Vec<ClassRange<T>> =
                own.map(|(from, to, class)| ((*from).max(*low), (*to).min(*high), *class)).collect();
            let now = overlay(&own, &pod(*low, *high));
            let before = self.take(*low, *high);
            for range in differing(&before, &now) {
                let Self { entries, before, .. } = self;
                rewrite(entries, range, &mut |key, was| _ = before.entry(key).or_insert(was));
            }
            self.says.extend(now.into_iter().map(|(from, to, classes)| (from, (to, classes))));
        }
    }

    /// Takes out what they say between two addresses.
    fn take(&mut self, low: T, high: T) -> Vec<(T, T, Classes)> {
        let first = self
            .says
            .range(..low)
            .next_back()
            .filter(|(_, (end, _))| *end >= low)
            .map_or(low, |(low, _)| *low);
        let found: Vec<T> = self.says.range(first..=high).map(|(low, _)| *low).collect();
        let mut taken = Vec::with_capacity(found.len());
        for start in found {
            let Some((end, classes)) = self.says.remove(&start) else { continue };
            if let Some(before) = low.previous().filter(|before| start <= *before) {
                self.says.insert(start, (before, classes));
            }
            if let Some(after) = high.next().filter(|after| *after <= end) {
                self.says.insert(after, (end, classes));
            }
            taken.push((start.max(low), end.min(high), classes));
        }
        taken
    }

    /// The prefixes that have changed, with what they say now.
    pub(super) fn changed(&self) -> impl Iterator<Item = (Prefix<T, ()>, Option<Classes>)> {
        self.before.iter().filter_map(|(key, was)| {
            let now = self.entries.get(key).copied();
            let prefix = Prefix { value: key.0, length: key.1, class: () };
            (now != *was).then_some((prefix, now))
        })
    }

    pub(super) fn settle(&mut self) {
        self.before.clear();
    }

    /// Whether how few there could be is still known.
    pub(super) fn is_about(&self, fewest: u32) -> bool {
        is_about(self.entries.len(), fewest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How they were before what has changed since they were settled.
    pub(super) fn numbers(&self) -> Vec<AddressPrefix<T>> {
        let mut entries = self.entries.clone();
        for (key, was) in &self.before {
            match was {
                Some(classes) => _ = entries.insert(*key, *classes),
                None => _ = entries.remove(key),
            }
        }
        entries.into_iter().map(|((value, length), class)| Prefix { value, length, class }).collect()
    }
}
