//! The packet replication engine: multicast groups and clone sessions (the standard's section 9.5).

#![expect(deprecated, reason = "old clients still use the fields that newer ones have taken the place of")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outplane_p4runtime::bytestring;
use outplane_p4runtime::p4::v1 as proto;
use proto::replica::PortKind;

use super::refusal::{Outcome, Refusal};
use super::wire;

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

/// Bytes that a group or session takes besides its replicas, and a replica, by estimate.
const GROUP_BYTES: usize = 160;
const REPLICA_BYTES: usize = 48;

pub(super) fn cost(replicas: &[Replica], metadata: &[u8]) -> usize {
    let replicas: usize = replicas.iter().map(|replica| REPLICA_BYTES + 8 * replica.backups.len()).sum();
    GROUP_BYTES + replicas + metadata.len()
}

/// The replicas of a group or session: each pair of port and instance once, and no replica backed up by its own port.
pub(super) fn replicas(list: &[proto::Replica], limit: usize) -> Outcome<Box<[Replica]>> {
    let total: usize = list.iter().map(|replica| 1 + replica.backup_replicas.len()).sum();
    if total > limit {
        return Err(Refusal::exhausted(format!("{total} replicas; this switch takes {limit}")));
    }
    let mut seen = BTreeSet::new();
    let mut once = |copy: Copy| {
        if seen.insert(copy) {
            return Ok(copy);
        }
        Err(Refusal::invalid(format!("port {} with instance {} is there twice", copy.port, copy.instance)))
    };
    list.iter()
        .map(|replica| {
            let (port, numeric) = match &replica.port_kind {
                Some(PortKind::Port(port)) => (wire::port(port, "replica port")?, false),
                Some(PortKind::EgressPort(port)) => (*port, true),
                None => return Err(Refusal::invalid("a replica has no port")),
            };
            if port == 0 {
                return Err(Refusal::invalid("a replica's port is 0, which is no port's"));
            }
            let copy = once(Copy { port, instance: replica.instance })?;
            let backups = replica.backup_replicas.iter().map(|backup| {
                let backup =
                    Copy { port: wire::port(&backup.port, "backup port")?, instance: backup.instance };
                if backup.port == port {
                    return Err(Refusal::invalid(format!("port {port} is backed up by itself")));
                }
                once(backup)
            });
            Ok(Replica { copy, numeric, backups: backups.collect::<Outcome<_>>()? })
        })
        .collect()
}

/// Replicas as they are read back.
pub(crate) fn replicas_to_proto(replicas: &[Replica]) -> Vec<proto::Replica> {
    let port = |port: u32| bytestring::canonical(u128::from(port));
    let replicas = replicas.iter().map(|replica| proto::Replica {
        port_kind: Some(if replica.numeric {
            PortKind::EgressPort(replica.copy.port)
        } else {
            PortKind::Port(port(replica.copy.port))
        }),
        instance: replica.copy.instance,
        backup_replicas: replica
            .backups
            .iter()
            .map(|backup| proto::BackupReplica { port: port(backup.port), instance: backup.instance })
            .collect(),
    });
    replicas.collect()
}
