//! Rules, one by one.

mod bench;
mod claims;
mod keep;
mod outcomes;
mod probes;
mod pushes;
mod retention;
mod site;
mod slow;
mod takeover;
mod truth;
