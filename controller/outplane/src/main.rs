//! The outplane command.
fn main() {}
