//! RMDP's decisions: distributor, controller, watchdog, degradation; pure state machines. The protocol is
//! docs/rmdp.md.
//!
//! Nothing here does I/O, reads a clock, rolls dice or depends on the order of a hash map: (state, input, now) gives
//! (state, actions). The node (`controller/rmdp/node`) drives the machines with sockets, a store and switches; the
//! simulator (feature `sim`) drives the same ones with a seed.
//!
//! - [`task`]: events, tasks, fences; [`key`] and [`object`]: what lies in the store; [`config`]: what all nodes share.
//! - [`io`]: inputs and actions, and what the shell owes the machines.

pub mod config;
pub mod io;
pub mod key;
pub mod object;
pub mod task;
mod time;

pub use time::Instant;
