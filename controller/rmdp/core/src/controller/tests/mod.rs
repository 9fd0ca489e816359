//! Rules, one by one.

mod bench;
mod claims;
mod outcomes;
mod retention;
mod site;
