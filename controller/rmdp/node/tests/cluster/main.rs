//! Distributors and controllers in one process, with an embedded store and soft switches: real sockets, real HTTP,
//! real gRPC.

mod backup;
mod change;
mod epochs;
mod expiry;
mod faults;
mod garbage;
mod keep;
mod listings;
mod probes;
mod proxy;
mod recovery;
mod retention;
mod rights;
mod support;
mod totals;
mod truth;
