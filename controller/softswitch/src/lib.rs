//! The embedded P4Runtime switch: what Outplane drives where there is no BMv2 and no hardware.
//!
//! Controllers talk P4Runtime to it like to any other switch, and as strictly as the standard says; it forwards real
//! frames between its ports by the model of `p4/outplane.p4`. It is the reference in tests, and good for development
//! and small labs; it is no product to put in front of anything that matters.
//!
//! ```text
//!   controllers ──gRPC──► server ──updates──► state ◄──lookups── dataplane ◄──frames──► ports
//!                           ▲   tables, groups, meters, counters      │
//!                           └────────────── packet-in / -out ─────────┘
//! ```
//!
//! [`state`] holds what clients have written, for any valid P4Info; [`server`] lets them in; [`dataplane`] forwards,
//! if the pipeline is `outplane.p4`. [`Switch`] is all three.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod dataplane;
pub mod meter;
pub mod server;
pub mod state;
mod switch;

pub use switch::{Switch, SwitchConfig, SwitchError};
