//! The intent.
pub mod model;
