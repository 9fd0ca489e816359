//! The intent.
pub mod evaluate;
pub mod model;
pub mod packet;
