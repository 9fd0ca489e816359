//! The store over HTTP.

mod bad;
mod client;
mod limits;
mod objects;
mod restart;
mod support;
mod writers;
