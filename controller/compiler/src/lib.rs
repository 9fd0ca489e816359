//! Intent -> desired state of each switch, and the way there.
//!
//! The second step of every change: [`compile`] turns an intent into what each switch should hold ([`state::Desired`]),
//! or says what does not fit ([`capacity`]); [`plan`] orders the writes that lead there from what a switch holds.
//! [`rules`] says what that means rule by rule, [`lookup`] what entries do to a packet; [`program`] binds all of it to the ids of `outplane.p4`.
//!
//! Pure: values in, values out, no clock, no sockets. Equal intents give equal bytes on every machine. The meaning of
//! policies is docs/policy-semantics.md; `outplane_intent::evaluate` is the same page without tables, and the tests hold
//! one against the other.

pub mod addresses;
pub mod capacity;
pub mod classes;
pub mod compile;
mod digest;
pub mod entries;
pub mod lookup;
pub mod numbers;
mod order;
pub mod origin;
mod p4;
pub mod plan;
pub mod program;
pub mod ranges;
pub mod rules;
pub mod shrink;
mod space;
pub mod state;
