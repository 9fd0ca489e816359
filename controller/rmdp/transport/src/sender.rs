//! Sends the datagrams of one stream.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use outplane_rmdp_wire::datagram::{MAX_LENGTH, MAX_PAYLOAD};
use outplane_rmdp_wire::{
    Announce, Beat, DatagramType, Header, Heard, Heartbeat, Hint, Key, Lateness, NetworkId, Notice,
    TransactionId, encode,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clock;
use crate::error::TransportError;
use crate::interface::Interface;

/// Room for datagrams that the network card has not taken yet, bytes.
const SEND_BUFFER: usize = 1 << 20;
/// A destination that fails is in the log this often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Who sends, as what, and where to.
#[derive(Clone, Debug)]
pub struct SenderSettings {
    /// The network that it belongs to, as the store says.
    pub network: NetworkId,
    /// Sender id of the shared configuration.
    pub sender: u32,
    /// Stream epoch, issued by the store: of this start alone.
    pub epoch: u64,
    /// What datagrams are signed with.
    pub key: Key,
    /// Interface that multicast leaves by; none: as the routing table says.
    pub interface: Option<String>,
    /// Where to.
    pub destinations: Destinations,
}

/// Where datagrams go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    /// Multicast groups.
    pub groups: Vec<IpAddr>,
    /// UDP port of the groups.
    pub port: u16,
    /// How many hops multicast may take (IPv4 TTL, IPv6 hop limit).
    pub ttl: u8,
    /// Addresses of receivers that multicast does not reach, one a receiver.
    pub unicast: Vec<SocketAddr>,
}

/// What came of sending to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationCounters {
    /// The group with its port, or the receiver.
    pub address: SocketAddr,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that it did not take.
    pub failed: u64,
    /// Why not, as of the last line in the log.
    pub last_error: Option<String>,
}

struct Destination {
    counters: DestinationCounters,
    logged: Option<Instant>,
    failed_when_logged: u64,
}

/// Signs and sends the datagrams of the stream (sender, epoch).
///
/// Nothing here waits: what the kernel does not take at once is lost, counted and logged; the queue in the store makes
/// up for it. A destination that fails does not keep the others from getting theirs.
///
/// A round is one datagram a group and one for all unicast receivers together (the same bytes, as in multicast), each
/// with a sequence of its own: a receiver that is reached by two ways sees two copies and no replay.
pub struct Sender {
    network: NetworkId,
    id: u32,
    epoch: u64,
    sequence: u64,
    key: Key,
    interface: Option<Interface>,
    groups: Vec<Destination>,
    unicast: Vec<Destination>,
    /// Hints go to whom the caller says; they are counted here together.
    hints: u64,
    v4: Option<Socket>,
    v6: Option<Socket>,
    payload: [u8; MAX_PAYLOAD],
    datagram: [u8; MAX_LENGTH],
}

impl Sender {
    /// Opens what the destinations need.
    pub fn open(settings: SenderSettings) -> Result<Self, TransportError> {
        let SenderSettings { network, sender, epoch, key, interface, destinations } = settings;
        let interface = interface.map(|name| Interface::find(&name)).transpose()?;
        let mut sender = Self {
            network,
            id: sender,
            epoch,
            sequence: 0,
            key,
            interface,
            groups: Vec::new(),
            unicast: Vec::new(),
            hints: 0,
            v4: None,
            v6: None,
            payload: [0; MAX_PAYLOAD],
            datagram: [0; MAX_LENGTH],
        };
        sender.set_destinations(&destinations)?;
        Ok(sender)
    }

    /// Signs with this key from now on.
    pub fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    /// Sends there from now on. Those that stay keep their counts; on an error nothing changes.
    ///
    /// A family that the machine does not have is no error: sending there fails and is counted.
    pub fn set_destinations(&mut self, destinations: &Destinations) -> Result<(), TransportError> {
        let scope = self.interface.as_ref().map_or(0, |interface| interface.index);
        let address = |group: &IpAddr| match group {
            IpAddr::V4(_) => SocketAddr::new(*group, destinations.port),
            // Link-local groups exist once a link.
            IpAddr::V6(group) => SocketAddr::V6(SocketAddrV6::new(*group, destinations.port, 0, scope)),
        };
        let ttl = u32::from(destinations.ttl.max(1));
        if self.v4.is_none() {
            self.v4 = open(Domain::IPV4)?;
        }
        if self.v6.is_none() {
            self.v6 = open(Domain::IPV6)?;
        }
        if let Some(socket) = &self.v4 {
            if let (Some(interface), Some(group)) = (&self.interface, first_v4(&destinations.groups)) {
                let source = interface.ipv4(group)?;
                socket
                    .set_multicast_if_v4(&source)
                    .map_err(TransportError::socket("choose the interface"))?;
            }
            socket.set_multicast_ttl_v4(ttl).map_err(TransportError::socket("set the TTL"))?;
        }
        if let Some(socket) = &self.v6 {
            socket.set_multicast_if_v6(scope).map_err(TransportError::socket("choose the interface"))?;
            socket.set_multicast_hops_v6(ttl).map_err(TransportError::socket("set the hop limit"))?;
        }
        let mut known = std::mem::take(&mut self.groups);
        known.append(&mut self.unicast);
        let mut keep = |address| match known.iter().position(|old| old.counters.address == address) {
            Some(index) => known.swap_remove(index),
            None => Destination::new(address),
        };
        self.groups = destinations.groups.iter().map(address).map(&mut keep).collect();
        self.unicast = destinations.unicast.iter().copied().map(&mut keep).collect();
        Ok(())
    }

    /// Announces a task everywhere, in `burst` rounds (at least one). Gives how many datagrams the kernel took.
    pub fn announce(&mut self, announce: &Announce<'_>, burst: u8) -> Result<usize, TransportError> {
        let id = announce.event.id()?;
        let length = announce.encode(&mut self.payload)?;
        let mut sent = 0;
        for _ in 0..burst.max(1) {
            sent += self.round(DatagramType::TaskAnnounce, id, length)?;
        }
        Ok(sent)
    }

    /// Sends a heartbeat everywhere. Gives how many datagrams the kernel took.
    pub fn heartbeat(
        &mut self,
        beat: &Beat,
        notices: &[Notice],
        lateness: &[Lateness],
        heard: &[Heard],
    ) -> Result<usize, TransportError> {
        let length = Heartbeat::encode(beat, notices, lateness, heard, &mut self.payload)?;
        self.round(DatagramType::Heartbeat, TransactionId::NONE, length)
    }

    /// Sends a hint to one node. Gives whether the kernel took it.
    pub fn hint(&mut self, to: SocketAddr, hint: &Hint) -> Result<bool, TransportError> {
        let payload = hint.encode(&mut self.payload)?;
        let length = self.sign(DatagramType::Hint, TransactionId::NONE, payload)?;
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let sent = send(socket.as_ref(), to, &self.datagram[..length]);
        match &sent {
            Ok(()) => self.hints += 1,
            Err(error) => tracing::debug!(%to, %error, "cannot send a hint"),
        }
        Ok(sent.is_ok())
    }

    /// What came of sending, by destination: groups first.
    pub fn counters(&self) -> Vec<DestinationCounters> {
        self.groups.iter().chain(&self.unicast).map(|destination| destination.counters.clone()).collect()
    }

    /// Hints that the kernel took.
    pub fn hints(&self) -> u64 {
        self.hints
    }

    /// The sequence of the last datagram; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn round(
        &mut self,
        of: DatagramType,
        id: TransactionId,
        payload: usize,
    ) -> Result<usize, TransportError> {
        let mut sent = 0;
        for index in 0..self.groups.len() {
            let length = self.sign(of, id, payload)?;
            let datagram = &self.datagram[..length];
            sent += usize::from(self.groups[index].send(self.v4.as_ref(), self.v6.as_ref(), datagram));
        }
        if !self.unicast.is_empty() {
            let length = self.sign(of, id, payload)?;
            let datagram = &self.datagram[..length];
            for destination in &mut self.unicast {
                sent += usize::from(destination.send(self.v4.as_ref(), self.v6.as_ref(), datagram));
            }
        }
        Ok(sent)
    }

    /// Writes the next datagram of the stream; gives its length.
    fn sign(&mut self, of: DatagramType, id: TransactionId, payload: usize) -> Result<usize, TransportError> {
        let header = Header {
            datagram_type: of,
            network: self.network,
            epoch: self.epoch,
            sender: self.id,
            sequence: self.sequence + 1,
            id,
            sent: clock::unix_nanos(),
        };
        let length = encode(&header, &self.payload[..payload], &self.key, &mut self.datagram)?;
        self.sequence += 1;
        Ok(length)
    }
}

impl Destination {
    fn new(address: SocketAddr) -> Self {
        let counters = DestinationCounters { address, sent: 0, failed: 0, last_error: None };
        Self { counters, logged: None, failed_when_logged: 0 }
    }

    fn send(&mut self, v4: Option<&Socket>, v6: Option<&Socket>, datagram: &[u8]) -> bool {
        let counters = &mut self.counters;
        let socket = if counters.address.is_ipv4() { v4 } else { v6 };
        let Err(error) = send(socket, counters.address, datagram) else {
            counters.sent += 1;
            return true;
        };
        counters.failed += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            let since = counters.failed - self.failed_when_logged;
            tracing::warn!(to = %counters.address, %error, failed = since, "cannot send datagrams");
            self.logged = Some(Instant::now());
            self.failed_when_logged = counters.failed;
            counters.last_error = Some(error.to_string());
        }
        false
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("id", &self.id)
            .field("epoch", &self.epoch)
            .field("sequence", &self.sequence)
            .field("destinations", &self.counters())
            .finish_non_exhaustive()
    }
}

fn first_v4(groups: &[IpAddr]) -> Option<Ipv4Addr> {
    groups.iter().find_map(|group| if let IpAddr::V4(group) = group { Some(*group) } else { None })
}

/// A socket that never blocks; none if the machine does not have the family.
fn open(domain: Domain) -> Result<Option<Socket>, TransportError> {
    let socket = match Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => return Ok(None),
        Err(error) => return Err(TransportError::socket("open a UDP socket")(error)),
    };
    // Other nodes of this machine are in the groups too.
    if domain == Domain::IPV4 {
        socket.set_multicast_loop_v4(true).map_err(TransportError::socket("turn multicast loop on"))?;
    } else {
        socket.set_only_v6(true).map_err(TransportError::socket("keep IPv4 out of an IPv6 socket"))?;
        socket.set_multicast_loop_v6(true).map_err(TransportError::socket("turn multicast loop on"))?;
    }
    // As much as the machine allows.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    Ok(Some(socket))
}

fn send(socket: Option<&Socket>, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
    let socket = socket.ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))?;
    loop {
        match socket.send_to(datagram, &to.into()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
