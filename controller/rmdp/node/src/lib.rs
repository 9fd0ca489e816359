//! Distributors and controllers: RMDP's decisions with sockets, a store and switches.
//!
//! The decisions are `outplane-rmdp-core`'s; here is the shell around them, and what only touches the store.
//!
//! ```text
//!   apply ──► chain (i/N) ──► hinter ─┐              ┌─► life (d/, c/, r/): progress, `outplane tasks`
//!                                     ▼              │
//!   daemon: chain ─► generation ─► blob ─► distributor ─► datagrams, b/, q/
//!           probes (p/N) ───────────────►
//!           chain (config/N) ─► all nodes    controller ─► claims ─► agent ─► switch, decisions
//! ```
//!
//! - [`objects`], [`chain`], [`log`], [`probes`], [`life`]: the store in keys and objects; write-once chains; the
//!   intent log; the log of probes; a task's life.
//! - [`generation`], [`blob`], [`blobs`], [`intents`]: what a generation means for each switch, and as bytes. `expiry`:
//!   generations that rules which expire give rise to.
//! - [`agent`]: executes under a fence, looks what switches hold, and decides nothing; [`watch`] their streams. [`daemon`]: the loop around a state machine.
//! - [`packets`]: what rules with `log` deny, as switches tell their primary.
//! - [`totals`]: what the rules of switches have counted, over the lives of their entries.
//! - [`plain`]: what goes over a network in plain text.
//! - [`backup`]: all of a store in one file, and back. [`network`], [`recovery`]: what a store is of, that it has gone back, and how it becomes one to go on with.
//! - [`file`], [`http`], [`metrics`], [`notify`]: a node's file, its pages, its numbers, its service manager.
//!
//! Bounds: requests under way as the core asks for them and `limits.requests` of the client; executions by
//! `limits.executions`; 256 desired states or 64 MiB of them, 4 compiled generations, which share what they have in
//! common, and the reader's and compiler's memory of the last one, some ten times its text; 8 generations' switches,
//! 4,096 sessions and remembered tasks, 64 fetches and reads of switches ahead; 4 events of followed chains; 2,048
//! packets from switches, cut to 256 bytes each, and 48 KiB of lines about them; totals of 4,096 switches, 256
//! readings of counters that wait for theirs.
//! Counters of most stand in `/metrics` and in the status.

pub mod agent;
pub mod backup;
pub mod blob;
pub mod blobs;
pub mod chain;
mod chains;
pub mod clock;
pub mod daemon;
pub mod epoch;
mod error;
mod expiry;
pub mod file;
pub mod generation;
pub mod hinter;
pub mod http;
pub mod intents;
pub mod life;
pub mod lines;
pub mod log;
pub mod metrics;
pub mod network;
pub mod notify;
pub mod objects;
pub mod packets;
pub mod plain;
pub mod probes;
pub mod recovery;
pub mod refusals;
pub mod strangers;
pub mod totals;
pub mod watch;

pub use error::Error;
