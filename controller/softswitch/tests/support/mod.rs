//! What the tests with real frames share.

pub(crate) mod device;
pub(crate) mod frames;
pub(crate) mod lab;
