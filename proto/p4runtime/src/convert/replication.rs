//! Multicast groups, meter cells and counters.

use super::{EntryError, unknown};
use crate::bytestring::{self, canonical};
use crate::entry::{Counter, MeterCell, MulticastGroup};
use crate::p4::v1;
use crate::schema::{Cells, Schema};
use v1::replica::PortKind;

/// Widest port number, bits.
const PORT_BITS: u32 = 32;

impl Schema {
    /// A multicast group as entry of the packet replication engine, instance 0 for every port.
    pub fn multicast_group_to_proto(&self, group: &MulticastGroup) -> v1::MulticastGroupEntry {
        let replica = |&port: &u32| v1::Replica {
            port_kind: Some(PortKind::Port(canonical(port.into()))),
            ..Default::default()
        };
        v1::MulticastGroupEntry {
            multicast_group_id: group.id,
            replicas: group.ports.iter().map(replica).collect(),
            metadata: Vec::new(),
        }
    }

    /// A multicast group as value. Ports come as bytes or, from older servers, as numbers; instances are not looked at.
    ///
    /// # Errors
    /// [`EntryError`] for group 0, replicas without port, a port twice, and backup replicas.
    pub fn multicast_group_from_proto(
        &self,
        group: &v1::MulticastGroupEntry,
    ) -> Result<MulticastGroup, EntryError> {
        let id = group.multicast_group_id;
        let form = |problem| EntryError::Form { object: format!("multicast group {id}"), problem };
        if id == 0 {
            return Err(form("0 is no group"));
        }
        let mut ports = Vec::with_capacity(group.replicas.len());
        for replica in &group.replicas {
            if !replica.backup_replicas.is_empty() {
                return Err(form("backup replicas have no form as a value"));
            }
            ports.push(replica_port(id, replica)?);
        }
        ports.sort_unstable();
        if ports.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(form("more than one replica for the same port has no form as a value"));
        }
        Ok(MulticastGroup { id, ports })
    }

    /// A meter cell as entry.
    pub fn meter_cell_to_proto(&self, cell: &MeterCell) -> v1::MeterEntry {
        v1::MeterEntry {
            meter_id: cell.meter,
            index: Some(v1::Index { index: cell.index }),
            config: Some(v1::MeterConfig {
                cir: cell.cir,
                cburst: cell.cburst,
                pir: cell.pir,
                pburst: cell.pburst,
                eburst: 0,
            }),
            counter_data: None,
        }
    }

    /// The entry that resets a meter cell to its default: everything green.
    pub fn meter_reset_to_proto(&self, meter: u32, index: i64) -> v1::MeterEntry {
        v1::MeterEntry { meter_id: meter, index: Some(v1::Index { index }), config: None, counter_data: None }
    }

    /// A meter entry as value; none for a cell in its default configuration.
    ///
    /// # Errors
    /// [`EntryError`] for meters that the P4Info does not have or that are direct, cells outside of the meter, negative
    /// rates and bursts, and an excess burst.
    pub fn meter_cell_from_proto(&self, entry: &v1::MeterEntry) -> Result<Option<MeterCell>, EntryError> {
        let meter = self.meter(entry.meter_id).ok_or_else(|| unknown("meter", entry.meter_id))?;
        let form = |problem| EntryError::Form { object: format!("meter {}", meter.alias), problem };
        let Cells::Indexed(size) = meter.cells else {
            return Err(form("it is a direct meter, whose cells are in table entries"));
        };
        let index = entry.index.ok_or_else(|| form("the index is missing"))?.index;
        if !u64::try_from(index).is_ok_and(|index| index < size) {
            return Err(form("the index is outside of the meter"));
        }
        let Some(config) = entry.config else {
            return Ok(None);
        };
        let v1::MeterConfig { cir, cburst, pir, pburst, eburst } = config;
        if [cir, cburst, pir, pburst].iter().any(|&value| value < 0) {
            return Err(form("rates and bursts cannot be negative"));
        }
        if eburst != 0 {
            return Err(form("an excess burst has no form as a value"));
        }
        Ok(Some(MeterCell { meter: meter.id, index, cir, cburst, pir, pburst }))
    }
}

fn replica_port(group: u32, replica: &v1::Replica) -> Result<u32, EntryError> {
    let member = || format!("a port of multicast group {group}");
    match &replica.port_kind {
        #[expect(deprecated, reason = "what servers before P4Runtime 1.4 send")]
        Some(PortKind::EgressPort(port)) => Ok(*port),
        Some(PortKind::Port(bytes)) => {
            let port = super::number(&member, PORT_BITS, bytes)?;
            u32::try_from(port).map_err(|_| EntryError::Value {
                member: member(),
                source: bytestring::BytestringError::TooWide {
                    needed: bytestring::bit_length(bytes),
                    bits: PORT_BITS,
                },
            })
        }
        None => Err(EntryError::Missing { member: member() }),
    }
}

impl From<v1::CounterData> for Counter {
    /// Negative counts, which no switch should send, are 0.
    fn from(data: v1::CounterData) -> Self {
        Self {
            packets: u64::try_from(data.packet_count).unwrap_or(0),
            bytes: u64::try_from(data.byte_count).unwrap_or(0),
        }
    }
}

impl From<Counter> for v1::CounterData {
    /// Counts beyond `i64::MAX` stay there.
    fn from(counter: Counter) -> Self {
        Self {
            packet_count: i64::try_from(counter.packets).unwrap_or(i64::MAX),
            byte_count: i64::try_from(counter.bytes).unwrap_or(i64::MAX),
        }
    }
}

impl From<v1::TableEntry> for v1::Entity {
    fn from(entry: v1::TableEntry) -> Self {
        Self { entity: Some(v1::entity::Entity::TableEntry(entry)) }
    }
}

impl From<v1::MeterEntry> for v1::Entity {
    fn from(entry: v1::MeterEntry) -> Self {
        Self { entity: Some(v1::entity::Entity::MeterEntry(entry)) }
    }
}

impl From<v1::MulticastGroupEntry> for v1::Entity {
    fn from(group: v1::MulticastGroupEntry) -> Self {
        let r#type = v1::packet_replication_engine_entry::Type::MulticastGroupEntry(group);
        let entry = v1::PacketReplicationEngineEntry { r#type: Some(r#type) };
        Self { entity: Some(v1::entity::Entity::PacketReplicationEngineEntry(entry)) }
    }
}
