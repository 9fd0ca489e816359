//! Priorities of entries from the places of rules.
//!
//! ```text
//! policies at priority 0       1000 << 21 ..    rules of policy a .. rules of policy b ..
//! policies at priority 1        999 << 21 ..
//! ..
//! policies at priority 1000       0 << 21 ..
//! ```
//! Each of the 1001 policy priorities is a level of 2^21 places, the lower number above the higher. Within a level stand
//! policies by name, and of each its rules in order, with room between them. A rule keeps its place as long as its
//! order among the others allows ([`PlaceNumbers`]): who comes between two goes between their places, and only where
//! there is no room left some neighbours move.

use std::collections::{BTreeMap, HashMap};

use sha2::Digest;

use super::slots;
use crate::order::longest_increasing;

/// Entry priorities of a level.
const LEVEL: u32 = 1 << 21;
/// The lowest entry priority that rules get; what stands below all rules has 1.
const LOWEST: u32 = 2;
/// Places that a level has.
const PLACES: u32 = LEVEL - LOWEST + 1;
/// Room that is left between rules where there is enough.
const STEP: u64 = 64;
const HIGHEST_POLICY_PRIORITY: u16 = 1000;

/// NetworkPolicies of a pod add up, so their rules share one priority, above everything in their tables.
pub(crate) const NETWORK_RULE: i32 = 0x7fff_8000;
/// ICMP errors, in tables of replies: what lets them through above what keeps them from everything else there.
pub(crate) const RELATED: i32 = 0x7fff_a000;
pub(crate) const UNRELATED: i32 = 0x7fff_9000;
/// What comes from a pod's own node: below the rules, which are named where they allow it, too.
pub(crate) const LOCAL_NODE: i32 = 0x7fff_4000;
/// The isolation of pods: below the rules that make holes in it, above the Baseline tier.
pub(crate) const ISOLATION: i32 = 0x7fff_0000;
/// What is left when no rule has matched.
pub(crate) const LAST: i32 = 1;

/// Rules that are asked one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    FilterAdmin = 0,
    FilterBaseline = 1,
    AdminEgress = 2,
    AdminIngress = 3,
    BaselineEgress = 4,
    BaselineIngress = 5,
}

/// The places of rules: by line and level, in order, each with a digest of its name.
pub(crate) type PlaceNumbers = BTreeMap<(u8, u16), Vec<(u64, u32)>>;

/// A rule that needs a place.
pub(crate) struct Item<'i> {
    pub(crate) policy: &'i str,
    /// The policy's priority.
    pub(crate) priority: u16,
    pub(crate) rule: &'i str,
    /// It is the place of answers to what the rule allows.
    pub(crate) answers: bool,
}

impl Item<'_> {
    fn digest(&self) -> u64 {
        rule_digest(self.policy, self.rule, self.answers)
    }
}

/// What stands for a rule in [`PlaceNumbers`].
pub(crate) fn rule_digest(policy: &str, rule: &str, answers: bool) -> u64 {
    let digest = slots::named([policy, rule]).chain_update([u8::from(answers)]).finalize();
    slots::beginning(&digest.into())
}

/// The level and place of a rule's priority; none for what has no place.
pub(crate) fn line_place(priority: i32) -> Option<(u16, u32)> {
    let below = u32::try_from(priority).ok()?.checked_sub(LOWEST - 1)?;
    let (level, place) = (below / LEVEL, LEVEL - 1 - below % LEVEL);
    let level = u16::try_from(level).ok().and_then(|level| HIGHEST_POLICY_PRIORITY.checked_sub(level))?;
    (place < PLACES).then_some((level, place))
}

/// There are more rules in policies of one priority than places.
#[derive(Debug)]
pub(crate) struct TooManyRules {
    /// The last policy among them.
    pub(crate) policy: String,
    pub(crate) priority: u16,
    pub(crate) needed: usize,
    pub(crate) places: u32,
}

/// Hands out places.
#[derive(Debug)]
pub(crate) struct Places<'b> {
    before: &'b PlaceNumbers,
    /// What the next compilation goes on from.
    pub(crate) now: PlaceNumbers,
}

impl<'b> Places<'b> {
    pub(crate) fn new(before: &'b PlaceNumbers) -> Self {
        Self { before, now: PlaceNumbers::new() }
    }

    /// The priority of each rule of a line. Items come by priority, then in their order.
    pub(crate) fn assign(&mut self, line: Line, items: &[Item<'_>]) -> Result<Vec<i32>, TooManyRules> {
        let mut priorities = Vec::with_capacity(items.len());
        let level_of = |item: &Item<'_>| item.priority.min(HIGHEST_POLICY_PRIORITY);
        for level in items.chunk_by(|one, other| level_of(one) == level_of(other)) {
            let priority = level_of(&level[0]);
            if level.len() > PLACES as usize {
                let policy = level[level.len() - 1].policy.to_owned();
                return Err(TooManyRules { policy, priority, needed: level.len(), places: PLACES });
            }
            let key = (line as u8, priority);
            let digests: Vec<u64> = level.iter().map(Item::digest).collect();
            let known: HashMap<u64, u32> = self.before.get(&key).into_iter().flatten().copied().collect();
            let places = places(&digests, &known);
            let base = u32::from(HIGHEST_POLICY_PRIORITY - priority) * LEVEL;
            priorities.extend(
                places
                    .iter()
                    .map(|place| i32::try_from(base + LEVEL - place).expect("priorities end before 2^31")),
            );
            self.now.insert(key, digests.into_iter().zip(places).collect());
        }
        Ok(priorities)
    }
}

/// A place for each of some rules, ascending; those that are known keep theirs where that is possible.
fn places(digests: &[u64], known: &HashMap<u64, u32>) -> Vec<u32> {
    let known = |digest| known.get(digest).copied().filter(|place| *place < PLACES);
    let carried: Vec<(usize, u32)> =
        digests.iter().enumerate().filter_map(|(at, digest)| Some((at, known(digest)?))).collect();
    let numbers: Vec<usize> = carried.iter().map(|(_, place)| *place as usize).collect();
    let mut fixed: Vec<(usize, u32)> =
        longest_increasing(&numbers).into_iter().map(|at| carried[at]).collect();
    // Where there is too little room, neighbours give theirs up: more and more of them until it is enough.
    let mut gap = 0;
    while gap <= fixed.len() {
        let mut neighbours = 1;
        while room(&fixed, gap, digests.len()).is_none() {
            let start = gap.saturating_sub(neighbours);
            fixed.drain(start..(gap + neighbours).min(fixed.len()));
            gap = start;
            neighbours *= 2;
        }
        gap += 1;
    }
    let mut places = vec![0; digests.len()];
    for gap in 0..=fixed.len() {
        let room = room(&fixed, gap, digests.len()).unwrap_or_default();
        room.fill(&mut places);
        if let Some((at, place)) = fixed.get(gap) {
            places[*at] = *place;
        }
    }
    places
}

/// Rules without a place between two that have one, and the room there.
#[derive(Debug, Default)]
struct Room {
    first: usize,
    count: usize,
    /// The first free place.
    low: u64,
    free: u64,
    is_first: bool,
    is_last: bool,
}

/// The room before the fixed rule of this number; none if there is too little.
fn room(fixed: &[(usize, u32)], gap: usize, items: usize) -> Option<Room> {
    let before = gap.checked_sub(1).map(|gap| fixed[gap]);
    let after = fixed.get(gap).copied();
    let first = before.map_or(0, |(at, _)| at + 1);
    let count = after.map_or(items, |(at, _)| at) - first;
    let low = before.map_or(0, |(_, place)| u64::from(place) + 1);
    let free = after.map_or(u64::from(PLACES), |(_, place)| u64::from(place)) - low;
    let (is_first, is_last) = (before.is_none(), after.is_none());
    (count as u64 <= free).then_some(Room { first, count, low, free, is_first, is_last })
}

impl Room {
    fn fill(&self, places: &mut [u32]) {
        let (count, all) = (self.count as u64, self.free + 1);
        let even = all / (count + 1);
        for (number, place) in (1u64..).zip(&mut places[self.first..self.first + self.count]) {
            let offset = match (self.is_first, self.is_last) {
                (_, true) => number * even.min(STEP) - 1,
                (true, false) => self.free - (count + 1 - number) * even.min(STEP),
                _ => number * all / (count + 1) - 1,
            };
            *place = u32::try_from(self.low + offset).expect("places end before 2^32");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assign(line: &[(u16, String)], before: &PlaceNumbers) -> (Vec<i32>, PlaceNumbers) {
        let items: Vec<Item<'_>> = line
            .iter()
            .map(|(priority, rule)| Item { policy: "p", priority: *priority, rule, answers: false })
            .collect();
        let mut places = Places::new(before);
        let priorities = places.assign(Line::FilterAdmin, &items).unwrap();
        (priorities, places.now)
    }

    fn named(priority: u16, rules: impl IntoIterator<Item = u32>) -> Vec<(u16, String)> {
        rules.into_iter().map(|rule| (priority, rule.to_string())).collect()
    }

    #[test]
    fn earlier_is_higher_and_all_fit() {
        let mut rules = named(0, 0..3);
        rules.extend(named(7, 0..17_000));
        rules.extend(named(1000, 0..5));
        let (priorities, _) = assign(&rules, &PlaceNumbers::new());
        assert!(priorities[0] < ISOLATION && priorities[priorities.len() - 1] > LAST);
        assert!(priorities.windows(2).all(|pair| pair[0] > pair[1]));
        let (full, _) = assign(&named(1000, 0..PLACES), &PlaceNumbers::new());
        assert_eq!(full.last(), Some(&LOWEST.cast_signed()));
        let items = named(1000, 0..=PLACES);
        let items: Vec<Item<'_>> = items
            .iter()
            .map(|(priority, rule)| Item { policy: "big", priority: *priority, rule, answers: false })
            .collect();
        let error = Places::new(&PlaceNumbers::new()).assign(Line::FilterAdmin, &items).unwrap_err();
        assert_eq!((error.policy.as_str(), error.priority), ("big", 1000));
    }

    #[test]
    fn priorities_say_their_places() {
        let (priorities, numbers) =
            assign(&[named(0, 0..3), named(7, 0..200), named(1000, 0..3)].concat(), &PlaceNumbers::new());
        let told: Vec<(u16, u32)> = priorities.iter().filter_map(|priority| line_place(*priority)).collect();
        let known =
            numbers.iter().flat_map(|((_, level), places)| places.iter().map(|(_, place)| (*level, *place)));
        assert_eq!(told, known.collect::<Vec<_>>());
        assert_eq!((line_place(LAST), line_place(ISOLATION)), (None, None));
    }

    #[test]
    fn who_comes_between_moves_nobody() {
        let (before, numbers) = assign(&named(5, 0..100), &PlaceNumbers::new());
        let (after, _) = assign(&named(5, (0..50).chain([1000, 1001]).chain(50..100)), &numbers);
        assert_eq!(before[..50], after[..50]);
        assert_eq!(before[50..], after[52..]);
    }

    proptest! {
        #[test]
        fn in_order_and_few_move(edits in proptest::collection::vec((any::<u16>(), any::<bool>()), 1..200)) {
            let mut rules: Vec<u32> = Vec::new();
            let mut numbers = PlaceNumbers::new();
            for (next, (at, remove)) in (0u32..).zip(edits) {
                let at = usize::from(at) % (rules.len() + 1);
                if remove && at < rules.len() { rules.remove(at); } else { rules.insert(at, next); }
                let (priorities, after) = assign(&named(5, rules.iter().copied()), &numbers);
                prop_assert!(priorities.windows(2).all(|pair| pair[0] > pair[1]));
                let (again, same) = assign(&named(5, rules.iter().copied()), &after);
                prop_assert_eq!(&again, &priorities);
                prop_assert_eq!(&same, &after);
                numbers = after;
            }
        }
    }
}
