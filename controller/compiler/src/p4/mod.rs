//! Switches that run `outplane.p4`: what rows are on them, and everything that handles entries.
//!
//! ```text
//!   rows -> classes (`spaces`, `classes`) -> entries (`rows`, `terms`) -> a state (`state`) -> the writes to it (`plan`)
//! ```

pub mod capacity;
pub(crate) mod classes;
mod digest;
pub mod entries;
pub(crate) mod forward;
pub(crate) mod guard;
pub mod lookup;
pub(crate) mod meters;
mod numbers;
pub mod plan;
pub mod program;
pub(crate) mod rows;
pub mod rules;
pub mod shrink;
pub(crate) mod space;
pub(crate) mod spaces;
pub mod state;
pub(crate) mod terms;
