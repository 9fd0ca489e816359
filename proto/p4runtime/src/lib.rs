//! P4Runtime v1 on the wire and as values.
pub mod entry;
