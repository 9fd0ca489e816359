//! The switch as its clients see it: through gRPC on loopback.

mod arbitration;
mod batches;
mod direct;
mod engine;
mod entities;
mod entries;
mod pipeline;
mod profiles;
mod reads;
mod streams;
mod support;
mod tls;
