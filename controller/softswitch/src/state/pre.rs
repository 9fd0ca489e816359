//! The packet replication engine: multicast groups and clone sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A port, and the number that tells copies to one port apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Copy {
    /// Egress port.
    pub port: u32,
    /// `egress_rid` of the copy.
    pub instance: u32,
}

/// One replica and what takes its place when its port is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where the copy goes.
    pub copy: Copy,
    /// Written with the deprecated `egress_port`, and read back so.
    pub numeric: bool,
    /// Fallbacks, the most preferred first.
    pub backups: Box<[Copy]>,
}

/// A multicast group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MulticastGroup {
    /// Its copies.
    pub replicas: Box<[Replica]>,
    /// Opaque bytes, returned on read.
    pub metadata: Box<[u8]>,
}

impl MulticastGroup {
    /// The copies that a packet becomes, all ports taken to be up.
    pub fn copies(&self) -> impl Iterator<Item = Copy> {
        self.replicas.iter().map(|replica| replica.copy)
    }
}

/// A clone session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneSession {
    /// Its copies.
    pub replicas: Box<[Replica]>,
    /// Class of service of the clones.
    pub class_of_service: u32,
    /// Clones are cut to this many bytes; 0 for not at all.
    pub packet_length_bytes: i32,
}

/// All groups and sessions, by id.
#[derive(Debug, Default)]
pub struct ReplicationEngine {
    /// Multicast groups.
    pub groups: BTreeMap<u32, Arc<MulticastGroup>>,
    /// Clone sessions.
    pub sessions: BTreeMap<u32, Arc<CloneSession>>,
}
