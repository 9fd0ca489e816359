//! RMDP on the wire: datagrams, authentication tags, payloads, transaction ids.
//!
//! Pure bytes and values: no I/O, no clock, no allocation, no `std`, so that the XDP program and the daemons share it.
//! `docs/rmdp.md` is the protocol; this crate is its layout.
//!
//! ```text
//!   Event ──id()──► TransactionId                         (feature `id`)
//!   Announce | Heartbeat | Hint ──encode──► payload ──┐
//!                                 Header ─────────────┴─► encode(&Header, payload, &Key) ─► bytes
//!   bytes ──► Datagram::parse ──► Datagram::verify(&Key) ──► Window::accept ──► Payload::parse
//! ```
//!
//! All numbers are big-endian. A datagram, byte by byte:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `RMDP` |
//! | 4 | 1 | version, 2 |
//! | 5 | 1 | type: 1 task announce, 2 heartbeat, 3 hint |
//! | 6 | 2 | key id |
//! | 8 | 8 | network id |
//! | 16 | 8 | stream epoch |
//! | 24 | 4 | sender id |
//! | 28 | 2 | payload length n, at most 1,320 |
//! | 30 | 2 | zero |
//! | 32 | 8 | sequence, from 1 |
//! | 40 | 16 | transaction id; zero but in task announces |
//! | 56 | 8 | sent time, Unix nanoseconds |
//! | 64 | n | payload |
//! | 64+n | 16 | SipHash-2-4-128 tag over bytes 0 .. 64+n |
//!
//! The payloads are described in [`payload`].
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod datagram;
mod id;
mod network;
pub mod payload;
pub mod siphash;
mod window;

pub use datagram::{Datagram, DatagramType, EncodeError, Forged, Header, Key, Malformed, ParseError, encode};
pub use id::{BadId, TransactionId};
pub use network::{BadNetwork, NetworkId};
pub use payload::{
    Announce, Beat, Event, Heard, Heartbeat, Hint, HintOf, Lateness, Notice, NoticeOf, Payload, PayloadError,
    Records, Role, Work, notices_that_fit,
};
pub use window::{Replay, Window};

/// UDP port where nothing else is configured.
pub const DEFAULT_PORT: u16 = 8277;

/// Multicast group for IPv4 where nothing else is configured: local scope (RFC 2365, 6.1).
pub const DEFAULT_GROUP_V4: core::net::Ipv4Addr = core::net::Ipv4Addr::new(239, 255, 82, 77);

/// Multicast group for IPv6 where nothing else is configured: transient, site-local scope (RFC 4291, 2.7).
pub const DEFAULT_GROUP_V6: core::net::Ipv6Addr =
    core::net::Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x524d, 0x4450);
