//! Rules, one by one.

mod bench;
mod claims;
mod outcomes;
mod probes;
mod retention;
mod site;
