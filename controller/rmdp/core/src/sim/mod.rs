//! Seeded simulation of a whole site: distributors, controllers, a store, switches and a network, with faults. Single
//! threaded and deterministic: a seed gives one history, always.
//!
//! ```text
//!  seed ─► Scenario ─► World: events in order of time ─► machines of this crate ─► actions ─► events ..
//!                        │ every action, stored object and effect
//!                        ▼
//!                      Checker: I1 .. I16 ─► Violation
//! ```
//!
//! Faults until the calm: datagrams lost, doubled, late, replayed, authentic and wrong; requests lost before or after they
//! took effect, answered with an error, landing seconds or a horizon late; listings that lack keys, are stale, out of order
//! and full of strangers; objects that nobody can read; the store gone, or put back to what it was a while ago; nodes crashed
//! and restarted without memory, paused, asleep over a whole horizon, or twice under one name; clocks that start anywhere,
//! drift by 5 %, jump ahead, stand still in a pause; times of day that are wrong by a day; new versions of the shared
//! configuration that not all follow at once; switches restarted, edited by hand, unreachable, refusing, slow with their
//! pipelines; requests that take effect long after their sender has given up; half of the sites have lax switches, which also
//! forget the ids of streams that have ended; some switches fence nobody. After the calm everything queued has to be decided, and every switch to hold what the newest generation wants, within a bound.
//!
//! `OUTPLANE_SEEDS` says how many seeds the tests try, from `OUTPLANE_FIRST_SEED` on; `OUTPLANE_SEED` replays one.

mod agent;
mod chance;
mod checker;
mod clock;
mod draw;
mod event;
mod incident;
mod incidents;
mod look;
mod network;
mod node;
mod scenario;
mod store;
mod switch;
mod troubles;
mod world;

pub use crate::mutant::Mutant;
pub use checker::{Invariant, Violation};
pub use world::Report;

/// Runs one seed, with a deliberate fault or without.
pub fn run(seed: u64, mutant: Option<Mutant>) -> Report {
    world::World::new(seed, mutant).run()
}

/// Runs one seed and keeps what happened, a line for each event, for people.
pub fn trace(seed: u64, mutant: Option<Mutant>) -> (Report, Vec<String>) {
    world::World::new(seed, mutant).traced().run_traced()
}

#[cfg(test)]
mod tests;
