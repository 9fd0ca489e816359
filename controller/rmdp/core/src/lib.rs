//! RMDP's decisions: distributor, controller, watchdog, degradation; pure state machines. The protocol is
//! docs/rmdp.md.
//!
//! Nothing here does I/O, reads a clock, rolls dice or depends on the order of a hash map: (state, input, now) gives
//! (state, actions). The node (`controller/rmdp/node`) drives the machines with sockets, a store and switches; the
//! simulator (feature `sim`) drives the same ones with a seed.
//!
//! - [`chain`]: how the newest number of a chain is found.
//! - [`task`]: events, tasks, fences; [`key`] and [`object`]: what lies in the store; [`config`]: what all nodes share.
//! - [`io`]: inputs and actions, and what the shell owes the machines.
//! - [`Controller`], [`Distributor`]: the machines; [`Degradation`], [`liveness`], [`rank`]: their parts.

mod beats;
pub mod chain;
pub mod config;
mod controller;
mod counters;
mod degradation;
mod distributor;
mod freshness;
mod horizons;
pub mod io;
pub mod key;
pub mod liveness;
mod memory;
mod mutant;
mod name;
mod news;
pub mod object;
pub mod rank;
#[cfg(feature = "sim")]
pub mod sim;
pub mod task;
mod time;

pub use controller::{Controller, KeptView};
pub use counters::Counters;
pub use degradation::{Change, Degradation, Fault};
pub use distributor::Distributor;
pub use time::Instant;
