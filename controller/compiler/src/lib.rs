//! Intent -> desired state of each switch, and the way there.
//!
//! The second step of every change: [`compile`] turns an intent into what each switch should hold ([`state::Desired`]),
//! or says what does not fit ([`capacity`]); [`plan`] orders the writes that lead there from what a switch holds.
//! [`rules`] says what that means rule by rule, [`lookup`] what entries do to a packet; [`program`] binds all of it to the
//! ids of `outplane.p4`.
//!
//! | folder | what |
//! |---|---|
//! | `rows` | policies as rows over sets of addresses and ports, in words of no switch |
//! | `classes` | sets, cut into classes: pure algebra |
//! | `p4` | rows as entries of `outplane.p4`, and everything that handles entries |
//! | `compile` | the way through all of them: from nothing, or from what has changed |
//!
//! Pure: values in, values out, no clock, no sockets. Equal intents give equal bytes on every machine. The meaning of
//! policies is docs/policy-semantics.md; `outplane_intent::evaluate` is the same page without tables, and the tests hold
//! one against the other.

pub mod addresses;
pub mod classes;
pub mod compile;
pub mod numbers;
mod order;
pub mod origin;
mod p4;
pub mod ranges;
mod rows;

pub use p4::{capacity, entries, lookup, plan, program, rules, shrink, state};
