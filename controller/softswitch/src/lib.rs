//! The embedded P4Runtime switch.

pub mod dataplane;
pub mod state;
