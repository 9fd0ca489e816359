//! What keeps a sender or a receiver from starting.

use std::io;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

/// A problem with sockets, interfaces or XDP, or with what was to be sent.
#[derive(Debug, Error)]
pub enum TransportError {
    /// There is no such interface.
    #[error("interface {name}: {source}; `ip link` shows the interfaces there are")]
    Interface {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// IPv4 multicast leaves by the interface that has the source address.
    #[error(
        "interface {name} has no IPv4 address, which sending to {group} needs; give it one, name another interface, or leave the group out of the configuration"
    )]
    NoAddress {
        /// Its name.
        name: String,
        /// The group.
        group: IpAddr,
    },
    /// A socket cannot be made or set up.
    #[error("cannot {what}: {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error(
        "cannot take datagrams at {address}: {source}; is it an address of this machine, and not another node's?"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// None of the groups can be joined.
    #[error(
        "cannot join multicast group {group}: {source}; name an interface that is up, or give the network a route to the group"
    )]
    Join {
        /// The last of them.
        group: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// There is nothing to listen on.
    #[error("neither a multicast group nor an address to take datagrams at is configured")]
    Nowhere,
    /// XDP is required and does not work.
    #[error("XDP is required and cannot be used: {reason}")]
    Required {
        /// Why.
        reason: String,
    },
    /// The XDP program of an earlier start would keep datagrams from the sockets.
    #[error(
        "the XDP program of an earlier start is still on the interface and cannot be taken over or away: {reason}"
    )]
    LeftBehind {
        /// Why.
        reason: String,
    },
    /// The running XDP program cannot be told or asked something.
    #[error("XDP: {reason}")]
    Xdp {
        /// Why.
        reason: String,
    },
    /// The payload does not fit, or its strings are too long.
    #[error("cannot encode: {0}")]
    Payload(#[from] outplane_rmdp_wire::PayloadError),
    /// The datagram cannot be written.
    #[error("cannot encode: {0}")]
    Encode(#[from] outplane_rmdp_wire::EncodeError),
}

impl TransportError {
    pub(crate) fn socket(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { what, source }
    }
}
