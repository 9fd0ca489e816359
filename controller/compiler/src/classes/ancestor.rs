//! Which cover of before a set had: the one that matches the same ids, or else most of them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use super::cover::{Cube, within};

/// The covers of before, by the ids that they match.
pub(super) struct Ancestors<'a> {
    covers: &'a [Vec<Cube>],
    /// Those that each matches, ascending.
    matched: Vec<Vec<u16>>,
    /// By a digest of the ids that they match.
    exact: HashMap<u64, usize>,
    /// By id; who looks like whom is rarely asked.
    by_id: OnceCell<BTreeMap<u16, Vec<u32>>>,
}

/// Members that are asked where a set has changed: enough to find who most of them were with.
pub(super) const ASKED: usize = 64;

impl<'a> Ancestors<'a> {
    /// `ids`: those of before that are still somebody's, ascending.
    pub(super) fn new(covers: &'a [Vec<Cube>], ids: &[u16]) -> Self {
        let matched: Vec<Vec<u16>> = covers.iter().map(|cubes| matched(cubes, ids)).collect();
        let mut exact = HashMap::with_capacity(covers.len());
        // Of several the one with fewest cubes.
        for (number, ids) in matched.iter().enumerate() {
            let best = exact.entry(digest(ids)).or_insert(number);
            if covers[number].len() < covers[*best].len() {
                *best = number;
            }
        }
        Self { covers, matched, exact, by_id: OnceCell::new() }
    }

    fn by_id(&self) -> &BTreeMap<u16, Vec<u32>> {
        self.by_id.get_or_init(|| {
            let mut by_id: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            for (number, ids) in (0u32..).zip(&self.matched) {
                for id in ids {
                    by_id.entry(*id).or_default().push(number);
                }
            }
            by_id
        })
    }

    /// The cubes of a set's ancestor, and whether it matches exactly these ids; none if nobody is like it.
    pub(super) fn of(&self, members: &[u16]) -> Option<(&'a [Cube], bool)> {
        if members.is_empty() {
            return None;
        }
        if let Some(number) = self.exact.get(&digest(members)) {
            return Some((&self.covers[*number], true));
        }
        let asked = members.len().div_ceil(ASKED);
        let mut votes: BTreeMap<u32, usize> = BTreeMap::new();
        for id in members.iter().step_by(asked) {
            for cover in self.by_id().get(id).into_iter().flatten() {
                *votes.entry(*cover).or_default() += 1;
            }
        }
        let like = |(cover, votes): (u32, usize)| {
            let size = self.matched[cover as usize].len();
            let near = near(votes * asked, size, members.len())?;
            Some((near, std::cmp::Reverse(size), std::cmp::Reverse(cover)))
        };
        let best = votes.into_iter().filter_map(like).max();
        best.map(|(_, _, cover)| (self.covers[cover.0 as usize].as_slice(), false))
    }
}

/// Those of some ids, ascending, that the cubes match, ascending.
pub(super) fn matched(cubes: &[Cube], ids: &[u16]) -> Vec<u16> {
    let mut matched: Vec<u16> = cubes.iter().flat_map(|cube| within(*cube, ids)).collect();
    matched.sort_unstable();
    matched.dedup();
    matched
}

/// How many members two sets of these sizes have in common, if that is more than half of what either has.
pub(super) fn near(common: usize, size: usize, own: usize) -> Option<usize> {
    let near = common.min(size).min(own);
    (2 * near > size.max(own)).then_some(near)
}

pub(super) fn digest(ids: &[u16]) -> u64 {
    ids.iter().fold(0, |digest, id| digest ^ super::partition::mix(u32::from(*id)))
}
