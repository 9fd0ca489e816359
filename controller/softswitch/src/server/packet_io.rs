//! Packets between data plane and stream: the standard's section 16.1.

use std::sync::Arc;

use outplane_p4runtime::bytestring;
use outplane_p4runtime::p4::v1 as proto;
use outplane_p4runtime::schema::{PacketHeaderInfo, Schema};

use crate::dataplane::{Busy, PacketIn};
use crate::state::{Outcome, Refusal, wire};

/// Longest packet-out payload, bytes.
const MAX_FRAME: usize = 65_535;

/// Takes a frame for an egress port. Does not wait.
pub type SendPacket = Arc<dyn Fn(u16, Vec<u8>) -> Result<(), Busy> + Send + Sync>;

/// A frame as message, with the metadata that the P4Info asks for; none if the program has no packet-in header.
pub fn packet_in(schema: &Schema, packet: PacketIn) -> Option<proto::PacketIn> {
    let header = schema.packet_in()?;
    let value = |name: &str| match name {
        "ingress_port" => u128::from(packet.header.ingress_port),
        "reason" => u128::from(packet.header.reason),
        "segment" => u128::from(packet.header.segment),
        "rule" => u128::from(packet.header.rule),
        // Padding is zero.
        _ => 0,
    };
    let metadata = header.fields.iter().map(|field| proto::PacketMetadata {
        metadata_id: field.id,
        value: bytestring::canonical(value(&field.name)),
    });
    Some(proto::PacketIn { metadata: metadata.collect(), payload: packet.frame })
}

/// The egress port of a packet-out, whose metadata must be just what the P4Info asks for.
pub fn egress_port(schema: &Schema, packet: &proto::PacketOut) -> Outcome<u16> {
    let none = || Refusal::invalid("the program has no packet-out header with an egress_port");
    let header: &PacketHeaderInfo = schema.packet_out().ok_or_else(none)?;
    let metadata = packet.metadata.iter().map(|field| (field.metadata_id, field.value.as_slice()));
    let values = wire::values(&header.fields, metadata, |message| format!("packet-out metadata: {message}"))
        .map_err(|refusal| Refusal::invalid(refusal.message))?;
    if packet.payload.len() > MAX_FRAME {
        return Err(Refusal::invalid(format!("the payload is longer than {MAX_FRAME} bytes")));
    }
    let mut fields = header.fields.iter().zip(&values);
    let port = fields.find(|(field, _)| field.name == "egress_port").map(|(_, value)| *value);
    port.and_then(|port| u16::try_from(port).ok()).ok_or_else(none)
}
