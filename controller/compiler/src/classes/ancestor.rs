//! Which cover of before a set had: the one that matches the same ids, or else most of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::cover::{Cube, within};

/// The covers of before, by the ids that they match.
pub(super) struct Ancestors<'a> {
    covers: &'a [Vec<Cube>],
    /// How many ids each matches.
    sizes: Vec<usize>,
    /// By a digest of the ids that they match.
    exact: HashMap<u64, usize>,
    /// By id.
    by_id: BTreeMap<u16, Vec<u32>>,
}

/// Members that are asked where a set has changed: enough to find who most of them were with.
const ASKED: usize = 64;

impl<'a> Ancestors<'a> {
    /// `ids`: those of before that are still somebody's, ascending.
    pub(super) fn new(covers: &'a [Vec<Cube>], ids: &[u16]) -> Self {
        let mut ancestors = Self {
            covers,
            sizes: Vec::with_capacity(covers.len()),
            exact: HashMap::with_capacity(covers.len()),
            by_id: BTreeMap::new(),
        };
        for (number, cubes) in (0u32..).zip(covers) {
            let matched = matched(cubes, ids);
            ancestors.exact.entry(digest(&matched)).or_insert(number as usize);
            ancestors.sizes.push(matched.len());
            for id in matched {
                ancestors.by_id.entry(id).or_default().push(number);
            }
        }
        ancestors
    }

    /// The cubes of a set's ancestor, and whether it matches exactly these ids; none if nobody is like it.
    pub(super) fn of(&self, members: &BTreeSet<u16>) -> Option<(&'a [Cube], bool)> {
        if members.is_empty() {
            return None;
        }
        if let Some(number) = self.exact.get(&digest(members)) {
            return Some((&self.covers[*number], true));
        }
        let asked = members.len().div_ceil(ASKED);
        let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
        for id in members.iter().step_by(asked) {
            for cover in self.by_id.get(id).into_iter().flatten() {
                *votes.entry(*cover).or_default() += 1;
            }
        }
        let like = |(cover, votes): (u32, usize)| {
            let common = votes * asked;
            let (size, own) = (self.sizes[cover as usize], members.len());
            // More than half of what either has.
            let near = common.min(size).min(own);
            (2 * near > size.max(own)).then_some((near, std::cmp::Reverse(size), std::cmp::Reverse(cover)))
        };
        let best = votes.into_iter().filter_map(like).max();
        best.map(|(_, _, cover)| (self.covers[cover.0 as usize].as_slice(), false))
    }
}

/// Those of some ids, ascending, that the cubes match.
pub(super) fn matched(cubes: &[Cube], ids: &[u16]) -> BTreeSet<u16> {
    cubes.iter().flat_map(|cube| within(*cube, ids)).collect()
}

fn digest<'i>(ids: impl IntoIterator<Item = &'i u16>) -> u64 {
    let mut digest = 0;
    for id in ids {
        digest ^= super::partition::mix(u32::from(*id));
    }
    digest
}
