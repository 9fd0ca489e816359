//! Priorities of entries from the places of rules.
//!
//! ```text
//! policies at priority 0       1000 << 21 ..    block of policy a | block of policy b | ..
//! policies at priority 1        999 << 21 ..
//! ..
//! policies at priority 1000       0 << 21 ..
//! ```
//! Each of the 1001 policy priorities is a level of 2^21 entry priorities, the lower number above the higher. Within a
//! level each policy, by name, has a block of a power of two of at least 64, from the top down, and within its block its
//! rules in order. So a policy may grow to the end of its block, and others may change, while the rest keeps its
//! priorities and an update does not touch it.

use super::error::CompileError;

/// Entry priorities of a level.
const LEVEL: u32 = 1 << 21;
/// The lowest entry priority that rules get; what stands below all rules has 1.
const LOWEST: u32 = 2;
/// Places that a level has.
const PLACES: u32 = LEVEL - LOWEST + 1;
const SMALLEST_BLOCK: usize = 64;
const HIGHEST_POLICY_PRIORITY: u16 = 1000;

/// NetworkPolicies of a pod add up, so their rules share one priority, above everything in their tables.
pub(super) const NETWORK_RULE: i32 = 0x7fff_8000;
/// ICMP errors, in tables of replies: what lets them through above what keeps them from everything else there.
pub(super) const RELATED: i32 = 0x7fff_a000;
pub(super) const UNRELATED: i32 = 0x7fff_9000;
/// What comes from a pod's own node: below the rules, which are named where they allow it, too.
pub(super) const LOCAL_NODE: i32 = 0x7fff_4000;
/// The isolation of pods: below the rules that make holes in it, above the Baseline tier.
pub(super) const ISOLATION: i32 = 0x7fff_0000;
/// What is left when no rule has matched.
pub(super) const LAST: i32 = 1;

/// Hands out places. Policies must come by priority, then name.
#[derive(Debug, Default)]
pub(super) struct Places {
    level: u16,
    used: usize,
}

/// The entry priorities of a policy's rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    top: u32,
}

impl Places {
    /// A block for a policy with so many rules (a default counts as one).
    pub(super) fn block(&mut self, policy: &str, priority: u16, rules: usize) -> Result<Block, CompileError> {
        let priority = priority.min(HIGHEST_POLICY_PRIORITY);
        if priority != self.level {
            (self.level, self.used) = (priority, 0);
        }
        let size = rules.max(SMALLEST_BLOCK).checked_next_power_of_two().unwrap_or(usize::MAX);
        let end = self.used.saturating_add(size);
        let base = u32::from(HIGHEST_POLICY_PRIORITY - priority) * LEVEL;
        match (u32::try_from(self.used), end <= PLACES as usize) {
            (Ok(used), true) => {
                self.used = end;
                Ok(Block { top: base + LEVEL - used })
            }
            _ => {
                Err(CompileError::Places { policy: policy.to_owned(), priority, needed: end, places: PLACES })
            }
        }
    }
}

impl Block {
    /// The priority of the rule at this place, from 0.
    pub(super) fn rule(self, place: usize) -> i32 {
        let place = u32::try_from(place).expect("blocks end before 2^32");
        i32::try_from(self.top - place).expect("priorities end before 2^31")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_is_higher_and_all_fit() {
        let mut places = Places::default();
        let mut last = ISOLATION;
        for (priority, rules) in
            [(0, 3), (0, 64), (0, 65), (7, 17_000), (7, 1), (500, 0), (1000, 5), (1000, 1)]
        {
            let block = places.block("p", priority, rules).unwrap();
            for place in 0..rules {
                let priority = block.rule(place);
                assert!(priority < last && priority > LAST, "{priority} after {last}");
                last = priority;
            }
        }
    }

    #[test]
    fn a_policy_that_grows_moves_nobody() {
        let after = |rules| {
            let mut places = Places::default();
            places.block("a", 5, rules).unwrap();
            places.block("b", 5, 1).unwrap().rule(0)
        };
        assert_eq!(after(3), after(64));
        assert_ne!(after(3), after(65));
    }

    #[test]
    fn the_last_place_of_the_last_level() {
        let mut places = Places::default();
        for half in 0..2 {
            let size = 1 << (20 - half);
            let block = places.block("p", 1000, size).unwrap();
            assert!(block.rule(size - 1) >= LOWEST.cast_signed());
        }
        let error = places.block("big", 1000, 1 << 19).unwrap_err().to_string();
        assert!(error.contains("big") && error.contains("1000"), "{error}");
    }
}
