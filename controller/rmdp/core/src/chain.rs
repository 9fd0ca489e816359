//! How the newest number of a chain is found without believing a listing.
//!
//! A listing may lack keys that are there, so "there is none above" is never read from one. It is asked for key by key:
//! what a GET does not find is not there, the one thing that claims rest on as well. Numbers are given in order, and
//! sweeping keeps, beside the newest ones, those of which the newest number is made: with n = 0b1101 these are 0b1000,
//! 0b1100 and 0b1101, its *prefixes*. So whoever knows of a number k that was there once, or of none (0), need only try
//! the places at which the prefixes of a higher number part from k: one a bit, all at once, and again from what it finds.
//!
//! The chains of numbers of the shell (`i/`, `p/`, `config/`, `e/`) and the horizons (`h/`) are searched like this.

/// Powers of two that are tried beyond the next one; all of them below the newest number are kept.
const AHEAD: u32 = 8;

/// No number is higher: nobody comes to it by appending, and there has to be room above what is.
pub const HIGHEST: u64 = 1 << 48;

/// Where a number above `known` would be found, ascending. None of them is there: `known` is the newest. One is: search
/// on from the highest that is.
pub fn places(known: u64) -> Vec<u64> {
    let bits = u64::BITS - known.leading_zeros();
    let mut places = Vec::new();
    for bit in 0..(bits + 1 + AHEAD).min(u64::BITS) {
        let place = (u128::from(known >> bit) + 1) << bit;
        if let Ok(place) = u64::try_from(place)
            && places.last() != Some(&place)
        {
            places.push(place);
        }
    }
    places
}

/// The numbers that have to be there for this one to be found, ascending, itself the last: its prefixes, and all powers
/// of two below it.
pub fn path(number: u64) -> Vec<u64> {
    let bits = u64::BITS - number.leading_zeros();
    let powers = (0..bits).map(|bit| 1 << bit);
    let prefixes = (0..bits).map(|bit| number >> bit << bit);
    let path: std::collections::BTreeSet<u64> = powers.chain(prefixes).collect();
    path.into_iter().collect()
}

/// Whether a number may be deleted without anybody missing the newest one, if at least `keep` above it stay, too. `newest`
/// may be lower than the newest really is.
pub fn may_go(number: u64, newest: u64, keep: u32) -> bool {
    if number == 0 || number.is_power_of_two() {
        return false;
    }
    // It is a prefix of all numbers below this one.
    let until = number.checked_add(1 << number.trailing_zeros());
    until.is_some_and(|until| until.saturating_add(keep.into()) <= newest)
}

/// So many generations rest on one another at most.
pub const BLOCK: u64 = 64;

/// The first number of the block that a generation is in.
pub fn block(generation: u64) -> u64 {
    generation - generation % BLOCK
}

/// The last one.
pub fn block_end(generation: u64) -> u64 {
    block(generation) | (BLOCK - 1)
}

/// Whether a generation of this number may not rest on the one before it: the first of each block, and the powers of two,
/// which stay for ever.
pub fn is_base(generation: u64) -> bool {
    generation.is_multiple_of(BLOCK) || generation.is_power_of_two()
}

/// [`may_go`] for generations, of which one may rest on all before it in its block: these stay as long as one of them, so
/// that whatever is there can be read.
pub fn generation_may_go(generation: u64, newest: u64, keep: u32) -> bool {
    may_go(generation, newest, keep) && (is_base(generation) || may_go(block_end(generation), newest, keep))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The newest, by GETs alone.
    fn search(there: &BTreeSet<u64>, mut known: u64) -> u64 {
        while let Some(higher) = places(known).into_iter().rev().find(|place| there.contains(place)) {
            known = higher;
        }
        known
    }

    #[test]
    fn places_part_from_what_is_known() {
        assert_eq!(places(0)[..4], [1, 2, 4, 8]);
        assert_eq!(places(0b0110)[..5], [0b0111, 0b1000, 0b1_0000, 0b10_0000, 0b100_0000]);
        assert_eq!(places(u64::MAX), [] as [u64; 0]);
        assert_eq!(places(u64::MAX - 1), [u64::MAX]);
        assert_eq!(path(0b1101), [0b0001, 0b0010, 0b0100, 0b1000, 0b1100, 0b1101]);
        assert_eq!((path(0), path(1)), (vec![], vec![1]));
        assert!(!may_go(0b1100, 0b1111, 0) && may_go(0b1100, 0b1_0000, 0) && !may_go(0b1100, 0b1_0000, 1));
        assert!(!may_go(u64::MAX, u64::MAX, 0) && !may_go(64, u64::MAX, 0));
    }

    proptest! {
        /// Whatever has been swept meanwhile, from wherever one starts.
        #[test]
        fn the_newest_is_found(newest in 0u64..5000, keep in 0u32..20, from in 0u64..5000, swept in any::<u64>()) {
            let mut left = swept;
            let there: BTreeSet<u64> = (1..=newest).filter(|number| {
                left = left.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                !may_go(*number, newest, keep) || left >> 60 == 0
            }).collect();
            prop_assert_eq!(search(&there, 0), newest);
            prop_assert_eq!(search(&there, from.min(newest)), newest);
            prop_assert!(there.range(newest.saturating_sub(keep.into()) + 1..).count() as u64 == newest.min(keep.into()));
        }

        /// Few stay: it does not grow with the number.
        #[test]
        fn few_stay(newest in 1u64..1_000_000) {
            let kept = (1..=newest).filter(|number| !may_go(*number, newest, 10)).count();
            prop_assert!(kept <= 10 + 2 * 20 + 20, "{kept} of {newest}");
        }

        /// Whatever generation stays can be read: so do all that it may rest on.
        #[test]
        fn what_a_generation_rests_on_stays(newest in 1u64..3000, keep in 0u32..200) {
            let stays = |number: u64| !generation_may_go(number, newest, keep);
            for number in (1..=newest).filter(|number| stays(*number) && !is_base(*number)) {
                prop_assert!(number == 1 || stays(number - 1), "{} without {}", number, number - 1);
            }
            let kept = (1..=newest).filter(|number| stays(*number)).count() as u64;
            prop_assert!(kept <= u64::from(keep) + 2 * BLOCK + 30, "{} of {}", kept, newest);
        }

        /// A raise that names only its path is found as well, from whatever raise was known before.
        #[test]
        fn a_path_is_enough(raises in prop::collection::vec(1u64..1_000_000, 1..6), from in 0usize..6) {
            let mut raises = raises;
            raises.sort_unstable();
            let there: BTreeSet<u64> = raises.iter().flat_map(|raise| path(*raise)).collect();
            let newest = *raises.last().unwrap();
            prop_assert_eq!(search(&there, 0), newest);
            prop_assert_eq!(search(&there, raises[from.min(raises.len() - 1)]), newest);
        }
    }
}
