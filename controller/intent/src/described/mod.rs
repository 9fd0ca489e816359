//! Packets as users describe them: on the command line of `trace`, in lines of `trace --batch`, in `Expectation` objects.

mod address;
mod fate;
mod fields;
mod form;
mod link;
mod place;
mod spec;

use self::address::addresses;
pub use fate::Fate;
pub use fields::{Protocol, TcpFlags};
pub use form::{PacketForm, sentence};
pub use link::{EtherType, LlcSpec, Snap, TagSpec};
pub use place::{Mac, PortSpec};
pub use spec::PacketSpec;
