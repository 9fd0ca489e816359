//! Sends RMDP datagrams, and receives the first copy of each.
//!
//! ```text
//!   Announce, Heartbeat, Hint ─► Sender: sign ─┬─► groups (IPv4, IPv6)
//!                                              └─► unicast receivers
//!
//!   interface ─► XDP: verify, first copy ─► ring ─────────┐
//!                 └─ passed on ─► sockets ─► the same ────┴─► Receiver::next
//! ```
//!
//! Where there is no XDP (no privilege, an old kernel, turned off) the sockets do all of it, and [`Receiver::mode`] says
//! why. Counters have one shape either way; [`copies_between`] makes of two snapshots what the core judges senders by.

mod clock;
mod copies;
mod counters;
mod dedup;
mod error;
mod filter;
mod interface;
mod received;
mod receiver;
mod ring;
mod sender;
mod settings;
mod socket;
mod sockets;

pub use clock::monotonic_nanos;
pub use copies::copies_between;
pub use counters::{CLASSES, Counters, Drops, Lateness, RECENT, SenderCounters, TypeCounters};
pub use error::TransportError;
pub use received::Received;
pub use receiver::Receiver;
pub use sender::{DestinationCounters, Destinations, Sender, SenderSettings};
pub use settings::{Mode, Settings, Xdp};
