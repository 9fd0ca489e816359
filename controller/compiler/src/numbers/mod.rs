//! Numbers that are carried on: what compiling one intent gave out, and what compiling the next one goes on from.
//!
//! Nothing in an intent says which class is number 7, or at which priority a rule stands. If each compilation numbered
//! anew, a new policy would give most classes other numbers, and most entries of a switch would be written again. So
//! [`crate::compile::compile_after`] takes the [`Numbers`] of the intent before and gives its own, which are kept with the
//! intent. What has not changed keeps its numbers; the same intent after its own numbers gives the same numbers again, so
//! everybody who has an intent and its numbers arrives at the same bytes.
//!
//! Where nothing is kept, [`Numbers::of_installed`] takes them from what a switch holds.
//!
//! No number has a meaning beyond that, and any numbers give a right result: they decide only how much of it is new.
//!
//! | what | kept as |
//! |---|---|
//! | classes of addresses | the prefixes by which a switch looks them up |
//! | classes of ports | ranges and their ids |
//! | sets of classes | their cubes |
//! | rules' priorities | places in their order, by a digest of the names |
//! | cells of rate limits, segments | slots, by a digest of the names |

mod codec;

use std::collections::BTreeMap;

use crate::classes::{Before, ClassRange, Cube, PortClasses, Prefix, flatten, ranges_of};
use crate::ranges::Point;
pub(crate) use crate::rows::priority::PlaceNumbers;
pub(crate) use crate::rows::slots::SlotNumbers;
pub use codec::NumbersError;

/// See the module. The default: nothing is numbered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Segments; the same on all switches.
    pub(crate) segments: SlotNumbers,
    /// Different numbers of policies.
    pub(crate) policies: Vec<PolicyNumbers>,
    /// By switch, which of them it has.
    pub(crate) switches: BTreeMap<String, u32>,
}

/// The numbers of switches that have the same policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PolicyNumbers {
    /// Classes of addresses, filter policies' and pods', as the switch looks them up; ascending.
    pub(crate) v4: Vec<AddressPrefix<u32>>,
    pub(crate) v6: Vec<AddressPrefix<u128>>,
    /// How few of both there could be, when that was looked at last. None: never.
    pub(crate) fewest: Option<(u32, u32)>,
    pub(crate) filter_covers: Vec<Vec<Cube>>,
    pub(crate) pod_covers: Vec<Vec<Cube>>,
    pub(crate) sport: PortNumbers,
    pub(crate) dport: PortNumbers,
    pub(crate) places: PlaceNumbers,
    pub(crate) cells: SlotNumbers,
    /// How many entries there were when they were last compared with numbers that are all new. None: never.
    pub(crate) entries_anew: Option<u32>,
}

/// How many entries numbers that are carried on may need where new ones need so many: an eighth more, and some that small
/// tables have room for, since numbering anew writes most entries.
pub(crate) fn most_entries(anew: usize) -> usize {
    anew + anew / 8 + 256
}

/// Whether so many entries need not be compared with new numbers again, which needed so many at the last time.
pub(crate) fn is_about(count: u64, anew: u32) -> bool {
    count <= most_entries(anew as usize) as u64 && count * 16 >= u64::from(anew) * 15
}

/// A prefix and its classes, of filter policies and of pods.
pub(crate) type AddressPrefix<T> = Prefix<T, (u16, u16)>;

/// The classes of ports, ascending, and the cubes of their sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortNumbers {
    pub(crate) ports: Vec<ClassRange<u16>>,
    pub(crate) covers: Vec<Vec<Cube>>,
}

impl PortNumbers {
    pub(crate) fn new(classes: &PortClasses) -> Self {
        Self { ports: classes.ports.clone(), covers: classes.classes.covers() }
    }

    pub(crate) fn before(&self) -> Before<'_> {
        Before { ports: &self.ports, covers: &self.covers, ..Before::default() }
    }
}

impl PolicyNumbers {
    /// Of filter policies' addresses, and of pods'.
    pub(crate) fn addresses(&self) -> [Before<'_>; 2] {
        let (v4, v6) = (ranges_of(&self.v4), ranges_of(&self.v6));
        let of = |place: fn((u16, u16)) -> u16, covers| Before {
            v4: only(&v4, place),
            v6: only(&v6, place),
            covers,
            ..Before::default()
        };
        [of(|classes| classes.0, &self.filter_covers), of(|classes| classes.1, &self.pod_covers)]
    }
}

/// The ranges of one of both classes, neighbours that agree as one.
fn only<T: Point>(ranges: &[(T, T, (u16, u16))], place: fn((u16, u16)) -> u16) -> Vec<ClassRange<T>> {
    let mut own: Vec<ClassRange<T>> =
        ranges.iter().map(|(low, high, classes)| (*low, *high, place(*classes))).collect();
    flatten(&mut own);
    own.retain(|(_, _, class)| *class != 0);
    own
}

impl Numbers {
    /// Which of `policies` a switch goes on from; one that is new, from those of the first.
    pub(crate) fn of(&self, switch: &str) -> Option<usize> {
        let known = self.switches.get(switch).map_or(0, |number| *number as usize);
        (known < self.policies.len()).then_some(known)
    }

    /// Adds those of a switch.
    pub(crate) fn add(&mut self, switch: &str, numbers: &PolicyNumbers) {
        let known = self.policies.iter().position(|known| known == numbers);
        let number = known.unwrap_or_else(|| {
            self.policies.push(numbers.clone());
            self.policies.len() - 1
        });
        self.switches.insert(switch.to_owned(), u32::try_from(number).unwrap_or(u32::MAX));
    }
}
