//! The switch as its clients see it: through gRPC on loopback.
#![expect(clippy::default_trait_access, reason = "the field's name says what is left at its default")]
#![expect(clippy::unnecessary_wraps, reason = "fields of messages are optional, and these make fields")]
#![expect(clippy::too_many_lines, reason = "tables of cases")]

mod arbitration;
mod batches;
mod client;
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
