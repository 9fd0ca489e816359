//! The embedded P4Runtime switch.
