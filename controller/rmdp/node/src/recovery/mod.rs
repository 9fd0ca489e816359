//! Recovery: a store that has gone back to an earlier time, or was emptied, becomes one that nodes and switches can go on
//! with.
//!
//! ```text
//!   nodes: /status or their file ─┐
//!   switches: their fences ───────┼─► gather ─► plan ─► carry_out: e/, i/ lifted, old q/ deleted, recovery/<network>, network
//!   the store: what it has        ─┘                       └─► nodes of the networks before join by themselves
//! ```
//! Numbers that were given once must not be given again: a switch refuses a fence below one that it has seen, and nodes
//! take datagrams of an older start for replays. So everything that somebody remembers is asked for, and new numbers
//! begin above it. Whoever does not answer may remember more: that is said, and has to be accepted by name.
//!
//! Nothing is written to switches: they go on with what they have until the next `outplane apply`.

mod carry_out;
mod gather;
mod memory;
mod plan;
mod switches;

pub use carry_out::{Awaited, Carried, carry_out, joined};
pub use gather::{Source, ask_nodes, read_store};
pub use memory::{Earlier, Memory};
pub use plan::{Plan, StoreState, Unanswered, also_to_ask, plan};
pub use switches::{Remembered, ask_switches, targets};
