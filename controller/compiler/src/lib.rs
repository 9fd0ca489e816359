//! Intent -> desired state of each switch.
pub mod state;
