//! What keeps an intent from being compiled.

use crate::capacity::Overflow;
use crate::rows::priority::TooManyRules;

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
        "{policy}: the policies at priority {priority} have {needed} rules, and a priority has {places} places: give some \
         of them another priority"
    )]
    Places {
        /// The last one of them.
        policy: String,
        /// Its priority.
        priority: u16,
        /// Places needed: one a rule, two where answers have a rate of their own.
        needed: usize,
        /// Places that there are.
        places: u32,
    },
}

impl From<TooManyRules> for CompileError {
    fn from(TooManyRules { policy, priority, needed, places }: TooManyRules) -> Self {
        Self::Places { policy, priority, needed, places }
    }
}

fn lines(overflows: &[Overflow]) -> String {
    overflows.iter().fold(String::new(), |lines, overflow| lines + "\n  " + &overflow.to_string())
}
