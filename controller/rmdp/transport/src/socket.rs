//! Sockets that datagrams come to: one a group, one a unicast address.
//!
//! A socket that is bound to a group's address gets that group's datagrams alone, and each of several nodes on one
//! machine gets its own copy. A unicast address belongs to one node: only a node that listens on all addresses shares
//! its port with the sockets of the groups.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket as StdSocket};
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::fstat;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::error::TransportError;
use crate::interface::Interface;

/// Room for datagrams that nobody has read yet, bytes. The kernel counts some 2 KiB for a datagram of any length.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A socket and what it is for.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) socket: UdpSocket,
    /// What the kernel calls it in `/proc/net/udp`.
    inode: u64,
    pub(crate) address: SocketAddr,
}

/// A socket in a group.
pub(crate) fn join(
    group: IpAddr,
    port: u16,
    interface: Option<&Interface>,
) -> Result<Incoming, TransportError> {
    let index = interface.map_or(0, |interface| interface.index);
    let (domain, address) = match group {
        IpAddr::V4(_) => (Domain::IPV4, SocketAddr::new(group, port)),
        IpAddr::V6(group) => (Domain::IPV6, SocketAddr::V6(SocketAddrV6::new(group, port, 0, index))),
    };
    let failed = |source| TransportError::Join { group, source };
    let socket = open(domain, true).map_err(failed)?;
    socket.bind(&address.into()).map_err(|source| TransportError::Bind { address, source })?;
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index)),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index),
    }
    .map_err(failed)?;
    finish(socket, address)
}

/// A socket for unicast. Port 0 takes one that is free.
pub(crate) fn bind(address: SocketAddr) -> Result<Incoming, TransportError> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    // Two nodes at one address would take each other's datagrams, so that the second gets an error.
    let shared = address.ip().is_unspecified();
    let failed = |source| TransportError::Bind { address, source };
    let socket = open(domain, shared).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
    finish(socket, address)
}

fn open(domain: Domain, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(shared)?;
    // Only what this very socket has joined, not what others on the machine have.
    if domain == Domain::IPV4 {
        socket.set_multicast_all_v4(false)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_multicast_all_v6(false)?;
    }
    // With CAP_NET_ADMIN beyond `net.core.rmem_max`, else up to it.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    Ok(socket)
}

fn finish(socket: Socket, address: SocketAddr) -> Result<Incoming, TransportError> {
    let inode = fstat(socket.as_fd()).map_or(0, |stat| stat.st_ino);
    let socket =
        UdpSocket::from_std(StdSocket::from(socket)).map_err(TransportError::socket("watch a socket"))?;
    Ok(Incoming { socket, inode, address })
}

/// How many datagrams the kernel has dropped since these sockets' buffers were full. Reads files of `/proc`.
pub(crate) fn overflows<'a>(sockets: &(impl Iterator<Item = &'a Incoming> + Clone)) -> u64 {
    // Threads may be in network namespaces of their own.
    let tables = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let tables = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| {
            // sl local remote st queues timer retransmits uid timeout inode references pointer drops
            let mut fields = line.split_ascii_whitespace();
            let inode: u64 = fields.nth(9)?.parse().ok()?;
            let drops: u64 = fields.nth(2)?.parse().ok()?;
            sockets.clone().any(|socket| socket.inode == inode).then_some(drops)
        })
        .sum()
}
