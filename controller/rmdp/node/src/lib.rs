//! Distributors and controllers: RMDP's decisions with sockets, a store and switches.

pub mod agent;
pub mod blob;
pub mod blobs;
pub mod chain;
pub mod clock;
pub mod daemon;
mod error;
pub mod file;
pub mod generation;
pub mod hinter;
pub mod http;
pub mod intents;
pub mod life;
pub mod metrics;
pub mod notify;
pub mod objects;

pub use error::Error;
