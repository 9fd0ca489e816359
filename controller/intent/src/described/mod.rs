//! Packets as users describe them: on the command line of `trace`, in lines of `trace --batch`, in `Expectation` objects.

mod address;
mod fate;
mod fields;
mod form;
mod link;
mod place;
mod side;
mod spec;

pub use fate::Fate;
pub use fields::{Protocol, TcpFlags, port_number};
pub use form::{PacketForm, sentence};
pub use link::{EtherType, LlcSpec, Snap, TagSpec};
pub use place::{Mac, PortSpec};
pub use side::Side;
pub use spec::PacketSpec;
