//! What can be wrong with an entity of the wire.

use thiserror::Error;

use crate::bytestring::BytestringError;

/// Why an entity has no form as a value of [`crate::entry`]. Objects are named as the P4Info names them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// An id that the P4Info does not have.
    #[error("the P4Info has no {what} with id {id}")]
    UnknownObject {
        /// Table, action or meter.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// An action that is not the table's, or not for this use of it.
    #[error("table {table}: action {action} is not among those that {place}")]
    Action {
        /// The table's alias.
        table: String,
        /// The action's alias.
        action: String,
        /// "its entries may use" or "may be its default".
        place: &'static str,
    },
    /// A match field or parameter id that the table or action does not have.
    #[error("{owner} has no {what} with id {id}")]
    UnknownMember {
        /// Table or action.
        owner: String,
        /// Match field or parameter.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// A match field or parameter that is there twice.
    #[error("{member} is given twice")]
    Twice {
        /// The match field or parameter.
        member: String,
    },
    /// A match field or parameter that must be there and is not.
    #[error("{member} is missing")]
    Missing {
        /// The match field or parameter.
        member: String,
    },
    /// A match of another kind than the field's.
    #[error("{member} is matched as {found}, but its match kind is {expected}")]
    Kind {
        /// The match field.
        member: String,
        /// The P4Info's kind.
        expected: &'static str,
        /// The entry's.
        found: &'static str,
    },
    /// A byte string that is no number of the member's width.
    #[error("{member}: {source}")]
    Value {
        /// The match field, parameter or port.
        member: String,
        /// What is wrong with it.
        source: BytestringError,
    },
    /// A prefix length outside the field.
    #[error("{member} has the prefix length {prefix_len}; it is {bits} bits wide")]
    PrefixLength {
        /// The match field.
        member: String,
        /// The prefix length.
        prefix_len: i32,
        /// The field's width.
        bits: u32,
    },
    /// A range that ends before it begins.
    #[error("{member}: the range {low}..={high} is empty")]
    EmptyRange {
        /// The match field.
        member: String,
        /// Its low end.
        low: u128,
        /// Its high end.
        high: u128,
    },
    /// A field or parameter whose values are no numbers of at most 128 bits.
    #[error("{member} is {width}; only numbers of at most 128 bits have a form here")]
    Unsupported {
        /// The match field or parameter.
        member: String,
        /// Its width in words.
        width: String,
    },
    /// A priority where there must be none, or none where there must be one (section 9.1).
    #[error("table {table}: the priority {priority} is wrong: {rule}")]
    Priority {
        /// The table's alias.
        table: String,
        /// The priority.
        priority: i32,
        /// What it must be.
        rule: &'static str,
    },
    /// Something that values of [`crate::entry`] cannot say, or that is not what was expected.
    #[error("{object}: {problem}")]
    Form {
        /// The entity.
        object: String,
        /// What is odd about it.
        problem: &'static str,
    },
}
