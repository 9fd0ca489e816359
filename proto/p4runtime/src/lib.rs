//! P4Runtime v1 on the wire and as values: messages, the P4Info index, entries as values and by names.
//!
//! Who talks P4Runtime in Outplane talks through this crate: the compiler makes [`entry`] values for tables that it
//! finds by name in a [`Schema`], the driver and the soft switch put them on the wire and take them off it. Others find
//! [`builder`], which makes entries for any program by the names in its P4Info.
//!
//! ```text
//!   proto/*.proto ──► p4, google        messages (and gRPC stubs), generated at build time without protoc
//!   P4Info        ──► schema            tables, fields, actions, .. by id and name, checked
//!   p4::v1::*     ◄─► bytestring        numbers as P4Runtime's byte strings
//!   p4::v1::*     ◄─► convert ◄─► entry table entries, groups, meters as values (methods of Schema)
//!   names         ──► builder ──► entry table entries by the names of tables, fields, actions (methods of Schema)
//!                     describe          an entry as a line for people (method of Schema)
//!   bytes         ──► wire              bounds on messages before they are decoded
//! ```
//!
//! No I/O, no clock. Bytes from outside (P4Info, entities) give errors and never panic; messages are measured before
//! they are decoded ([`wire`]), and P4Info text, whose parser takes a multiple of its length, is bounded.
//!
//! The feature `grpc` adds client and server stubs over tonic (`p4::v1::p4_runtime_client`, `p4_runtime_server`) and the
//! codec that they use. Without it there is no tonic, no HTTP/2 and no runtime among the dependencies: messages can be
//! carried by whatever carries them.
//!
//! The standard is the P4Runtime specification 1.5 (<https://p4.org>); section numbers in this crate are its.
//! `tests/descriptors.rs` compares the messages with the official ones field by field.

pub mod builder;
pub mod bytestring;
mod convert;
mod describe;
pub mod entry;
pub mod schema;
pub mod wire;

pub use convert::EntryError;
pub use schema::{Schema, SchemaError};

// Crates whose types and traits stand in this one's interface.
pub use prost;
pub use prost_types;
#[cfg(feature = "grpc")]
pub use tonic;

/// The messages and services of P4Runtime, as generated.
#[expect(missing_docs, clippy::doc_markdown, reason = "generated code")]
#[cfg_attr(
    feature = "grpc",
    expect(clippy::too_many_lines, clippy::default_trait_access, reason = "generated stubs")
)]
pub mod p4 {
    /// P4Runtime: `p4runtime.proto`, `p4data.proto`.
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/p4.v1.rs"));
    }
    /// What a P4 program is to a controller.
    pub mod config {
        /// P4Info: `p4info.proto`, `p4types.proto`.
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/p4.config.v1.rs"));
        }
    }
}

/// What P4Runtime borrows from Google's protocols.
pub mod google {
    /// Well-known types.
    pub mod protobuf {
        pub use prost_types::Any;
    }
    /// gRPC's error model.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/google.rpc.rs"));
    }
}

/// The P4Info of a small router with an access list, in text format: to try things on.
pub const EXAMPLE_P4INFO: &str = include_str!("../examples/router.p4info.txt");

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// All .proto files of this crate and what they import, as an encoded `google.protobuf.FileDescriptorSet`: for the
/// text format, for gRPC reflection, for tests.
pub fn file_descriptor_set() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"))
}
