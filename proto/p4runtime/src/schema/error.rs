//! What can be wrong with a P4Info.

use thiserror::Error;

/// Why a P4Info is refused. `object` is what it is about: kind, full name and id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The text is longer than [`super::MAX_TEXT_BYTES`].
    #[error("the P4Info text has {bytes} bytes; more than {limit} are not read")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The text has more messages than [`super::MAX_TEXT_MESSAGES`].
    #[error("the P4Info text has more than {limit} messages; more are not read")]
    TooManyMessages {
        /// The limit.
        limit: usize,
    },
    /// The text has messages in messages deeper than any P4Info.
    #[error(
        "P4Info text, line {line}: messages are nested deeper than {limit} levels, which no P4Info needs"
    )]
    TooDeep {
        /// Line, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// The text is no P4Info in protobuf text format.
    #[error("P4Info text, line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// An object without preamble, id or name, or a field or parameter without id or name.
    #[error("{object} has no {what}; the P4 compiler gives every object one")]
    Missing {
        /// The object.
        object: String,
        /// What it lacks.
        what: &'static str,
    },
    /// The top eight bits of an id say another kind (section 6.3).
    #[error("{object} has an id whose top byte is {found:#04x}; ids of its kind begin with {expected:#04x}")]
    Prefix {
        /// The object.
        object: String,
        /// What its kind has.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// An id, name or alias that two things share.
    #[error("{object} has the {what} {value} that another one has already; make it unique")]
    Duplicate {
        /// The later of the two.
        object: String,
        /// What they share: id, name or alias.
        what: &'static str,
        /// The id, name or alias.
        value: String,
    },
    /// A reference to what is not there.
    #[error("{object} refers to {what} {id}, which the P4Info does not have")]
    Unresolved {
        /// The object that refers.
        object: String,
        /// The kind of what it refers to.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// Two objects that must name each other, and one does not.
    #[error("{object} refers to {what} {id}, which does not refer back to it")]
    OneSided {
        /// The object that refers.
        object: String,
        /// The kind of what it refers to.
        what: &'static str,
        /// The id.
        id: u32,
    },
    /// A width that is no width.
    #[error(
        "{object} is {bits} bits wide; a width is at least 1, or comes from a type that is translated to a string"
    )]
    Width {
        /// The field or parameter.
        object: String,
        /// The width.
        bits: i32,
    },
    /// A negative size.
    #[error("{object} has the {what} {value}; it cannot be negative")]
    Negative {
        /// The object.
        object: String,
        /// What is negative.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// A number that is no value of its enum, or an enum value that says nothing where something must be said.
    #[error("{object} has {value} as {what}, which P4Runtime does not know")]
    Unknown {
        /// The object.
        object: String,
        /// The enum.
        what: &'static str,
        /// The number.
        value: i32,
    },
    /// A table with two direct counters or two direct meters.
    #[error("{object} has more than one {what}; P4Runtime knows at most one of each kind (section 6.4.1)")]
    TooMany {
        /// The table.
        object: String,
        /// Direct counter or direct meter.
        what: &'static str,
    },
    /// A default action that the table cannot have, or with other arguments than its parameters.
    #[error("{object} has the default action {action}: {problem}")]
    DefaultAction {
        /// The table.
        object: String,
        /// The action's id.
        action: u32,
        /// What is wrong with it.
        problem: String,
    },
}
