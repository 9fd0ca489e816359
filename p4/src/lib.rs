//! What runs in the switch: `outplane.p4`, compiled and committed, so that neither users nor tests need a
//! P4 compiler. The compiler crate writes entries for these tables, the driver pushes this pipeline, the
//! soft switch forwards by the model of this program.
//!
//! `cargo xtask p4` rebuilds [`P4INFO`] and [`BMV2_JSON`] with p4c. README.md beside this crate explains
//! each table with an example entry; [`Table`], [`Field`] and [`ActionKind`] are what all of them speak of.

mod program;

pub use program::{ActionKind, DropCounter, Dropped, Field, MatchKind, NO_ACTION, RATE_LIMITER, Table};

/// The program's P4Info, protobuf text format (`p4.config.v1.P4Info`).
pub const P4INFO: &str = include_str!("../outplane.p4info.txt");

/// The program compiled for BMv2's `simple_switch`, JSON: the device config of a pipeline push.
pub const BMV2_JSON: &str = include_str!("../outplane.json");

/// The program's source, `P4_16` for the v1model architecture.
pub const SOURCE: &str = include_str!("../outplane.p4");

/// The port number that the program takes for the controller: packet-in leaves and packet-out enters there.
pub const CPU_PORT: u16 = 510;

/// Reason of a packet-in: a rule with `log` denied the packet.
pub const REASON_DENY_LOG: u8 = 1;
