//! What keeps an intent from being compiled.

use crate::capacity::Overflow;

/// An intent cannot be compiled; nothing has been written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It needs more than there is.
    #[error("the policy does not fit:{}", lines(overflows))]
    Capacity {
        /// Everything that there is too little of, on all switches.
        overflows: Vec<Overflow>,
    },
    /// Too many rules in policies of one priority.
    #[error(
        "{policy}: the policies at priority {priority} up to this one need {needed} places for rules, and a priority has \
         {places}: give some of them another priority"
    )]
    Places {
        /// The policy that does not fit any more.
        policy: String,
        /// Its priority.
        priority: u16,
        /// Places needed, powers of two for each policy.
        needed: usize,
        /// Places that there are.
        places: u32,
    },
}

fn lines(overflows: &[Overflow]) -> String {
    overflows.iter().fold(String::new(), |lines, overflow| lines + "\n  " + &overflow.to_string())
}
