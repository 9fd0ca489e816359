//! The P4Info as an index: every object by id and by name, checked once so that nobody has to check again.
//!
//! A [`Schema`] is made from any valid P4Info, of our program or of others. What it holds, it has checked: ids and
//! names are there and unique, id prefixes say the right kind (section 6.3), references lead somewhere and back,
//! widths are widths, enums have values that the standard knows.

use std::collections::BTreeMap;

use prost::Message;
use sha2::{Digest, Sha256};

use crate::p4::config::v1::P4Info;

mod error;
mod info;
mod load;
mod text;

pub use error::SchemaError;
pub use info::*;

/// Longest P4Info text that is read, bytes. outplane.p4 has about 30,000.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// Most messages (tables, match fields, ..) in a P4Info text. outplane.p4 has some hundreds.
pub const MAX_TEXT_MESSAGES: usize = 1 << 18;

/// The objects of one kind.
#[derive(Clone, Debug)]
struct Objects<T> {
    /// In the P4Info's order.
    all: Vec<T>,
    by_id: BTreeMap<u32, usize>,
    /// Full names and aliases.
    by_name: BTreeMap<String, usize>,
}

impl<T> Objects<T> {
    fn get(&self, id: u32) -> Option<&T> {
        self.by_id.get(&id).map(|&index| &self.all[index])
    }

    fn by_name(&self, name: &str) -> Option<&T> {
        self.by_name.get(name).map(|&index| &self.all[index])
    }
}

/// A P4Info, checked and indexed.
///
/// Names are full names or aliases. Lists are in the P4Info's order.
#[derive(Clone, Debug)]
pub struct Schema {
    p4info: P4Info,
    tables: Objects<TableInfo>,
    actions: Objects<ActionInfo>,
    profiles: Objects<ProfileInfo>,
    counters: Objects<CounterInfo>,
    meters: Objects<MeterInfo>,
    packet_headers: Objects<PacketHeaderInfo>,
    value_sets: Objects<ValueSetInfo>,
    registers: Objects<RegisterInfo>,
    digests: Objects<DigestInfo>,
    externs: Objects<ExternInfo>,
}

macro_rules! accessors {
    ($($what:literal, $all:ident, $field:ident, $get:ident, $by_name:ident, $info:ty;)*) => {$(
        #[doc = concat!("All ", $what, "s.")]
        pub fn $all(&self) -> &[$info] {
            &self.$field.all
        }

        #[doc = concat!("The ", $what, " with this id.")]
        pub fn $get(&self, id: u32) -> Option<&$info> {
            self.$field.get(id)
        }

        #[doc = concat!("The ", $what, " with this full name or alias.")]
        pub fn $by_name(&self, name: &str) -> Option<&$info> {
            self.$field.by_name(name)
        }
    )*};
}

impl Schema {
    /// Reads a P4Info in protobuf text format, of at most [`MAX_TEXT_BYTES`] and [`MAX_TEXT_MESSAGES`].
    ///
    /// # Errors
    /// The first thing wrong with the text or with the P4Info in it.
    pub fn from_text(text: &str) -> Result<Self, SchemaError> {
        load::load(text::parse(text)?)
    }

    /// Checks and indexes a P4Info.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn from_p4info(p4info: &P4Info) -> Result<Self, SchemaError> {
        load::load(p4info.clone())
    }

    /// The P4Info itself.
    pub fn p4info(&self) -> &P4Info {
        &self.p4info
    }

    /// A name for the pipeline of this P4Info and a device config, to put into `ForwardingPipelineConfig.cookie`: the
    /// first 64 bits of the SHA-256 of both. The same on every machine; a difference in either makes another cookie.
    pub fn cookie(&self, device_config: &[u8]) -> u64 {
        let p4info = self.p4info.encode_to_vec();
        let digest = Sha256::new()
            .chain_update((p4info.len() as u64).to_be_bytes())
            .chain_update(&p4info)
            .chain_update(device_config)
            .finalize();
        digest.iter().take(8).fold(0, |cookie, &byte| (cookie << 8) | u64::from(byte))
    }

    accessors! {
        "table", tables, tables, table, table_by_name, TableInfo;
        "action", actions, actions, action, action_by_name, ActionInfo;
        "action profile or selector", profiles, profiles, profile, profile_by_name, ProfileInfo;
        "counter (indexed or direct)", counters, counters, counter, counter_by_name, CounterInfo;
        "meter (indexed or direct)", meters, meters, meter, meter_by_name, MeterInfo;
        "packet header", packet_headers, packet_headers, packet_header, packet_header_by_name, PacketHeaderInfo;
        "value set", value_sets, value_sets, value_set, value_set_by_name, ValueSetInfo;
        "register", registers, registers, register, register_by_name, RegisterInfo;
        "digest", digests, digests, digest, digest_by_name, DigestInfo;
        "extern instance", externs, externs, extern_instance, extern_instance_by_name, ExternInfo;
    }

    /// The header of packets to the controller.
    pub fn packet_in(&self) -> Option<&PacketHeaderInfo> {
        self.packet_header_by_name("packet_in")
    }

    /// The header of packets from the controller.
    pub fn packet_out(&self) -> Option<&PacketHeaderInfo> {
        self.packet_header_by_name("packet_out")
    }
}

#[cfg(test)]
mod tests;
