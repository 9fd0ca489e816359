//! What to receive and how.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use outplane_rmdp_wire::{Key, NetworkId};

/// Whether datagrams are received by XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Xdp {
    /// If it can be, else by sockets.
    #[default]
    Auto,
    /// Yes, or opening fails.
    Required,
    /// No.
    Off,
}

/// What to receive and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Interface on which groups are joined and where XDP works; none: as the routing table says, without XDP.
    pub interface: Option<String>,
    /// Whether by XDP.
    pub xdp: Xdp,
    /// Folder in a bpffs where the XDP program and its maps stay pinned.
    pub pin_root: PathBuf,
    /// Multicast groups.
    pub groups: Vec<IpAddr>,
    /// UDP port of the groups.
    pub port: u16,
    /// Addresses that take unicast datagrams; port 0 takes one that is free.
    pub unicast: Vec<SocketAddr>,
    /// The network whose datagrams are taken.
    pub network: NetworkId,
    /// The newest start of each sender, by sender id, as far as the store tells: what is of an older one is a replay.
    pub epochs: BTreeMap<u32, u64>,
    /// Keys that are accepted.
    pub keys: Vec<Key>,
    /// Ids of the senders that are taken from.
    pub senders: Vec<u32>,
    /// How long a task that was delivered is remembered, at least.
    pub window: Duration,
    /// How many tasks are remembered in a window, at most.
    pub capacity: usize,
}

impl Default for Settings {
    /// No groups, addresses, network, keys and senders; 30 s at 10,000 tasks a second.
    fn default() -> Self {
        Self {
            interface: None,
            xdp: Xdp::Auto,
            pin_root: PathBuf::from("/sys/fs/bpf/outplane"),
            groups: Vec::new(),
            port: outplane_rmdp_wire::DEFAULT_PORT,
            unicast: Vec::new(),
            network: NetworkId::NONE,
            epochs: BTreeMap::new(),
            keys: Vec::new(),
            senders: Vec::new(),
            window: Duration::from_secs(30),
            capacity: 327_680,
        }
    }
}

/// How datagrams come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By XDP in the network driver.
    XdpDriver,
    /// By XDP in the network stack, since the driver cannot; slower than in the driver.
    XdpGeneric,
    /// By sockets alone.
    Socket {
        /// Why not by XDP.
        reason: String,
    },
}

impl Mode {
    /// A word for metrics and status.
    pub fn name(&self) -> &'static str {
        match self {
            Self::XdpDriver => "xdp-driver",
            Self::XdpGeneric => "xdp-generic",
            Self::Socket { .. } => "socket",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::XdpDriver => f.write_str("XDP in the driver"),
            Self::XdpGeneric => f.write_str("XDP in the network stack (the driver has none)"),
            Self::Socket { reason } => write!(f, "socket, without XDP: {reason}"),
        }
    }
}
