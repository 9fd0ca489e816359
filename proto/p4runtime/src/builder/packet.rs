//! Packets from the controller, by the names of their header's fields.

use super::{BuildError, Value, listed, number, width};
use crate::bytestring::canonical;
use crate::convert::EntryError;
use crate::p4::v1::{PacketMetadata, PacketOut};
use crate::schema::{PacketHeaderInfo, Schema};

impl Schema {
    /// Begins a packet from the controller. Fields of the program's packet-out header that are not named are zero.
    ///
    /// ```
    /// use outplane_p4runtime::{EXAMPLE_P4INFO, Schema};
    ///
    /// let schema = Schema::from_text(EXAMPLE_P4INFO)?;
    /// let packet = schema.build_packet_out(b"a frame".to_vec()).field("egress_port", 5).build()?;
    /// assert_eq!(packet.metadata[0].value, [5]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build_packet_out(&self, frame: impl Into<Vec<u8>>) -> PacketOutBuilder<'_> {
        let header = self.packet_out().ok_or_else(|| BuildError::UnknownObject {
            what: "packet header",
            name: "packet_out".to_owned(),
            has: listed(self.packet_headers().iter().map(|header| header.alias.clone())),
        });
        let frame = frame.into();
        PacketOutBuilder(header.map(|header| Draft { header, fields: Vec::new(), frame }))
    }
}

/// A packet in the making: see [`Schema::build_packet_out`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is built"]
pub struct PacketOutBuilder<'a>(Result<Draft<'a>, BuildError>);

#[derive(Clone, Debug)]
struct Draft<'a> {
    header: &'a PacketHeaderInfo,
    fields: Vec<(u32, u128)>,
    frame: Vec<u8>,
}

impl PacketOutBuilder<'_> {
    /// A field of the packet-out header, by its name.
    pub fn field(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self(self.0.and_then(|mut draft| {
            let header = draft.header;
            let info = header.field_by_name(name).filter(|info| !info.padding).ok_or_else(|| {
                let named = header.fields.iter().filter(|field| !field.padding);
                BuildError::UnknownMember {
                    owner: "the packet-out header".to_owned(),
                    what: "field",
                    name: name.to_owned(),
                    has: listed(named.map(|field| format!("{} ({})", field.name, width(field.bits)))),
                }
            })?;
            let member = format!("field {name} of the packet-out header");
            if draft.fields.iter().any(|&(id, _)| id == info.id) {
                return Err(EntryError::Twice { member }.into());
            }
            draft.fields.push((info.id, number(&member, info.bits, value)?));
            Ok(draft)
        }))
    }

    /// The packet.
    ///
    /// # Errors
    /// [`BuildError`] for the first name or value that does not fit, and for a program without a packet-out header.
    pub fn build(self) -> Result<PacketOut, BuildError> {
        let Draft { header, fields, frame } = self.0?;
        let value = |id| fields.iter().find(|&&(given, _)| given == id).map_or(0, |&(_, value)| value);
        let metadata = header
            .fields
            .iter()
            .map(|field| PacketMetadata { metadata_id: field.id, value: canonical(value(field.id)) })
            .collect();
        Ok(PacketOut { payload: frame, metadata })
    }
}
