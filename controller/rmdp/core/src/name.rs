//! Names of nodes and of sources of events.

/// Longest name of a node or a source, in bytes.
pub const MAX_NAME: usize = 63;

/// A name that cannot stand in a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is no name: 1 to {MAX_NAME} of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit, are expected"
)]
pub struct BadName {
    /// What was given, cut to a readable length.
    pub name: String,
}

/// Names of nodes and sources stand in keys and in configuration: a-z, 0-9, `-`, `_`, `.`, the first a letter or digit.
pub fn check_name(name: &str) -> Result<(), BadName> {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first && name.len() <= MAX_NAME && name.bytes().all(fine) {
        Ok(())
    } else {
        Err(BadName { name: name.chars().take(MAX_NAME).collect() })
    }
}
