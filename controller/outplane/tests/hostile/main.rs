//! Peers that mean harm, and processes that stay below their stated peaks: docs/limits.md has the same numbers.

mod node;
mod process;
mod s3;
mod store;
mod switch;
mod wire;
