//! What can be wrong with an entry that is built by names.

use thiserror::Error;

use crate::convert::EntryError;

/// Why an entry cannot be built. Each message names the object and what would fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A table, action or packet header that the P4Info does not have.
    #[error("the P4Info has no {what} {name}; it has {has}")]
    UnknownObject {
        /// Table, action, ..
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are.
        has: String,
    },
    /// A match field or parameter that its owner does not have.
    #[error("{owner} has no {what} {name}; it has {has}")]
    UnknownMember {
        /// The table or action.
        owner: String,
        /// Match field or parameter.
        what: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are, with their widths.
        has: String,
    },
    /// An action that the table's entries may not use.
    #[error("table {table}: its entries may not use action {action}; they may use {has}")]
    Action {
        /// The table.
        table: String,
        /// The action.
        action: String,
        /// Those that they may use.
        has: String,
    },
    /// A match that the field's kind has no form for.
    #[error("{member} is matched by {kind}, and {given} is {form}; give {fits}")]
    Kind {
        /// The match field.
        member: String,
        /// Exact, LPM, ..
        kind: String,
        /// What was given.
        given: String,
        /// What that is.
        form: &'static str,
        /// What the kind takes.
        fits: &'static str,
    },
    /// A value that is not one of the member's width.
    #[error("{member} is {bits} bits wide, and {given} does not fit: {problem}")]
    Value {
        /// The match field or parameter.
        member: String,
        /// Its width.
        bits: u32,
        /// What was given.
        given: String,
        /// Why it does not fit.
        problem: String,
    },
    /// An action was not named, or its parameters were given before it.
    #[error("table {table}: {problem}; name one of {has}")]
    NoAction {
        /// The table.
        table: String,
        /// What is missing.
        problem: &'static str,
        /// The actions that its entries may use.
        has: String,
    },
    /// What conversions find wrong as well: something missing, given twice, a wrong priority, values that are no numbers.
    #[error(transparent)]
    Entry(#[from] EntryError),
}
