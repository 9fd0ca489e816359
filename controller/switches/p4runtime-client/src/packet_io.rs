//! Packets from and to a switch, with the fields of the program's packet-in and packet-out headers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outplane_p4runtime::bytestring::parse;
use outplane_p4runtime::p4::v1::{self, PacketMetadata};
use outplane_p4runtime::schema::{PacketHeaderInfo, Schema};
use tokio::sync::mpsc;

/// A packet that the switch sent to the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketIn {
    /// The frame.
    pub payload: Vec<u8>,
    /// Fields of the header by name, without padding.
    pub fields: BTreeMap<String, u128>,
}

/// Where packets of a switch arrive. It outlives reconnects.
#[derive(Debug)]
pub struct Packets {
    pub(crate) receiver: mpsc::Receiver<v1::PacketIn>,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) header: Option<PacketHeaderInfo>,
}

impl Packets {
    /// The next packet; none when the connection is gone. Fields that the program does not have are left out.
    pub async fn next(&mut self) -> Option<PacketIn> {
        let packet = self.receiver.recv().await?;
        Some(from_wire(self.header.as_ref(), packet))
    }

    /// Packets that were dropped because nobody took the earlier ones in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Bytes of a frame that a [`Tap`] keeps: all headers that somebody reads. The rest would only take room.
const KEPT: usize = 256;

/// Where packets of several switches go together: one queue with a bound, which outlives every session. Clones share it.
#[derive(Clone, Debug)]
pub struct Tap {
    sender: mpsc::Sender<(String, Tapped)>,
    dropped: Arc<AtomicU64>,
}

/// A packet in the queue, cut.
#[derive(Debug)]
struct Tapped {
    packet: v1::PacketIn,
    length: usize,
}

/// The other end of a [`Tap`].
#[derive(Debug)]
pub struct Taken {
    receiver: mpsc::Receiver<(String, Tapped)>,
    dropped: Arc<AtomicU64>,
    header: Option<PacketHeaderInfo>,
}

/// A packet that some switch sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromSwitch {
    /// Which.
    pub switch: String,
    /// The packet, with the first 256 bytes of the frame.
    pub packet: PacketIn,
    /// How long the frame was.
    pub length: usize,
}

impl Tap {
    /// A queue for so many packets of switches that run the schema's program; what comes on top is dropped and counted.
    pub fn new(schema: &Schema, bound: usize) -> (Self, Taken) {
        let (sender, receiver) = mpsc::channel(bound.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let taken = Taken { receiver, dropped: Arc::clone(&dropped), header: schema.packet_in().cloned() };
        (Self { sender, dropped }, taken)
    }

    pub(crate) fn put(&self, switch: &str, mut packet: v1::PacketIn) {
        let length = packet.payload.len();
        if length > KEPT {
            // A copy, so that what a hostile switch sends is not kept beyond this.
            packet.payload = packet.payload[..KEPT].to_vec();
        }
        packet.metadata.truncate(16);
        if self.sender.try_send((switch.to_owned(), Tapped { packet, length })).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Taken {
    /// The next packet; none when no [`Tap`] is left.
    pub async fn next(&mut self) -> Option<FromSwitch> {
        let (switch, Tapped { packet, length }) = self.receiver.recv().await?;
        Some(FromSwitch { switch, packet: from_wire(self.header.as_ref(), packet), length })
    }

    /// Packets that were dropped because nobody took the earlier ones in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn from_wire(header: Option<&PacketHeaderInfo>, packet: v1::PacketIn) -> PacketIn {
    let field = |metadata: &PacketMetadata| {
        let info = header?.field(metadata.metadata_id).filter(|info| !info.padding)?;
        Some((info.name.clone(), parse(&metadata.value, info.bits).ok()?))
    };
    PacketIn { fields: packet.metadata.iter().filter_map(field).collect(), payload: packet.payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_name_whatever_their_bytes() {
        let schema = Schema::from_text(outplane_p4runtime::EXAMPLE_P4INFO).expect("a P4Info");
        let header = schema.packet_in().expect("in the program");
        let value = |name: &str, value: &[u8]| PacketMetadata {
            metadata_id: header.field_by_name(name).expect("in the program").id,
            value: value.to_vec(),
        };
        let packet = v1::PacketIn {
            payload: vec![1, 2, 3],
            metadata: vec![
                value("ingress_port", &[0, 0, 1, 5]),
                value("pad", &[0]),
                value("queue", &[0xff]),
                value("reason", &[1, 0, 0]),
                PacketMetadata { metadata_id: 99, value: vec![1] },
            ],
        };
        let packet = from_wire(Some(header), packet);
        // The reason does not fit its eight bits, so there is none.
        assert_eq!(packet.fields, BTreeMap::from([("ingress_port".into(), 261), ("queue".into(), 255)]));
        assert_eq!(packet.payload, [1, 2, 3]);
    }
}
