//! A desired state as a P4Runtime `WriteRequest`, for other tools.

use anyhow::Context as _;
use clap::ValueEnum;
use outplane_compiler::program::{ActionKind, Program, Table};
use outplane_compiler::state::Desired;
use outplane_p4runtime::entry::DefaultEntry;
use outplane_p4runtime::p4::v1::update::Type;
use outplane_p4runtime::p4::v1::{Entity, Update, WriteRequest};
use prost::Message as _;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage};

/// The version that the request makes packets see. Its entries exist in all versions.
const VERSION: u128 = 1;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Protobuf's text format
    Text,
    /// Protobuf's binary format
    Binary,
}

impl Form {
    /// Of the files' names.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Text => "txtpb",
            Self::Binary => "binpb",
        }
    }
}

/// One request that fills an empty switch: groups, meters and entries, and at last the version. Whoever sends it adds
/// an election id.
pub(crate) fn request(desired: &Desired, device_id: u64) -> WriteRequest {
    let program = Program::outplane();
    let schema = program.schema();
    let show = DefaultEntry {
        table: program.table(Table::PolicyVersion),
        action: Some(program.action(ActionKind::SetVersion, &[VERSION])),
    };
    let groups =
        desired.groups.iter().map(|group| (Type::Insert, schema.multicast_group_to_proto(group).into()));
    let meters = desired.meters.iter().map(|cell| (Type::Modify, schema.meter_cell_to_proto(cell).into()));
    let entries = desired.entries.iter().map(|entry| (Type::Insert, schema.entry_to_proto(entry).into()));
    let version = (Type::Modify, schema.default_entry_to_proto(&show).into());
    let update = |(kind, entity): (Type, Entity)| Update { r#type: kind.into(), entity: Some(entity) };
    let updates = groups.chain(meters).chain(entries).chain([version]).map(update).collect();
    WriteRequest { device_id, updates, ..WriteRequest::default() }
}

/// A request as bytes.
pub(crate) fn encode(request: &WriteRequest, form: Form) -> anyhow::Result<Vec<u8>> {
    if form == Form::Binary {
        return Ok(request.encode_to_vec());
    }
    let pool = DescriptorPool::decode(outplane_p4runtime::file_descriptor_set())?;
    let descriptor =
        pool.get_message_by_name("p4.v1.WriteRequest").context("the request has no descriptor")?;
    let mut message = DynamicMessage::new(descriptor);
    message.transcode_from(request)?;
    Ok(message.to_text_format_with_options(&FormatOptions::new().pretty(true)).into_bytes())
}
