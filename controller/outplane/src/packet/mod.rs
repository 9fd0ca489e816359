//! Packets as users describe them, on the command line of `trace` and in lines of `trace --batch`.

mod address;
mod fate;
mod fields;
mod form;
mod link;
mod place;
mod spec;

use address::addresses;
pub(crate) use fate::Fate;
pub(crate) use fields::{Protocol, TcpFlags};
pub(crate) use form::{PacketForm, sentence};
pub(crate) use link::{EtherType, LlcSpec, Snap, TagSpec};
pub(crate) use place::{Mac, PortSpec};
pub(crate) use spec::PacketSpec;
