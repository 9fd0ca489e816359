//! Intent -> desired state of each switch.
pub mod addresses;
pub mod capacity;
pub mod classes;
pub mod compile;
mod digest;
pub mod lookup;
pub mod origin;
pub mod plan;
pub mod program;
pub mod ranges;
pub mod state;
