//! A P4Runtime client for any program: what a controller has to do with a switch, and nothing of what it wants there.
//!
//! ```text
//!   Target ──► Connection::open ──► arbitration: primary, or an error   (open_read_only: none)
//!                    │
//!                    ├─ schema, cookie, push      the program: its P4Info from the switch, or ours into it
//!                    ├─ insert, modify, delete    entries by names (outplane_p4runtime::builder), one error an update
//!                    ├─ entries, counter, meter   what the switch holds and has counted, bounded
//!                    ├─ packets, send_packet      packets both ways, their header's fields by names
//!                    └─ raise, reopen, primacy    a higher election id, a new connection, who is primary
//! ```
//!
//! - Every call has a deadline ([`Options`]), every queue and every answer a bound; messages are measured before they are
//!   decoded ([`outplane_p4runtime::wire`]).
//! - Writes go out in chunks that shrink where a switch cannot take them, several under way at once; each refused update
//!   is told by its place, name and the switch's words ([`Refusal`]).
//! - A controller that was overtaken stays so: [`Primacy::Backup`] does not become primary by itself again, also on
//!   switches that would have it so.
//! - A write whose answer did not come in time may still be carried out; [`UnderWay`] knows.
//!
//! Works with BMv2 (`simple_switch_grpc`), with the soft switch of Outplane, and what else follows the standard. Section
//! numbers are the P4Runtime specification's (1.5).
//!
//! ```no_run
//! use outplane_p4runtime::builder::Prefix;
//! use outplane_p4runtime_client::{Connection, Options, Target};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut switch = Connection::open(Target::new("192.0.2.1:9559"), Options::default()).await?;
//! let schema = switch.schema().await?;
//! let route = schema
//!     .build_entry("ipv4_lpm")
//!     .field("dst_addr", "10.1.0.0/16".parse::<Prefix>()?)
//!     .action("forward")
//!     .param("port", 3)
//!     .param("mac", [2, 0, 0, 0, 0, 1])
//!     .build()?;
//! switch.insert(&schema, &[route]).await?;
//! for found in switch.entries(&schema, "ipv4_lpm").await? {
//!     println!("{} {:?}", schema.describe(&found.entry), found.counter);
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod arbitration;
mod connect;
mod connection;
mod errors;
mod fence;
mod pacer;
mod packet_io;
mod pipeline;
mod read;
mod refusal;
mod resources;
mod status;
mod target;
mod under_way;
mod write;

pub use arbitration::{Primacy, Seen};
pub use connection::{Connection, Shared};
pub use errors::{Error, Peer, Problem, says_another_device};
pub use fence::fences;
pub use pacer::Pacer;
pub use packet_io::{FromSwitch, PacketIn, Packets, Taken, Tap};
pub use pipeline::PUSH;
pub use read::{Bound, MAX_MESSAGE, ReadFailure};
pub use refusal::{Failure, Refusal};
pub use resources::{FoundEntry, Meter};
pub use status::{UpdateStatus, broken, timed_out};
pub use target::{Backoff, Deadlines, Options, Target, TlsFiles};
pub use under_way::UnderWay;
pub use write::{Batch, Ended, Sent, Until, Verdict, delete, insert, modify, set_default, update};

// Crates whose types stand in this one's interface.
pub use outplane_p4runtime;
pub use tokio_util::sync::CancellationToken;
