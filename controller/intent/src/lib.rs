//! The intent.
pub mod model;
pub mod packet;
