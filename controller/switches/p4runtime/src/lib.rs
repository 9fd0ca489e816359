//! Driver for switches that speak `P4Runtime`.
//!
//! It brings a switch from what it holds to what the compiler says it should hold, and decides nothing itself:
//!
//! ```text
//!   Target ──► Connection::open ──► ensure_pipeline ──► read_installed ──► compiler::plan ──► write
//!              TLS, arbitration     only if another      tables, groups,    steps in order    chunks in flight,
//!              (primary or error)   cookie               meters, version                      step after step
//!                      └──────────────────────── converge: all of it, again if the connection breaks ──────┘
//! ```
//!
//! - Entries of others (their metadata is not an [`Origin`](outplane_compiler::state::Origin)) are counted, never touched.
//! - Whatever stops an update (a kill, a broken line, a new primary), packets see a whole policy, and the next
//!   [`Connection::apply`] reads, plans from there and finishes. A switch that refuses a write before the flip gets back
//!   what it had.
//! - Who executes one task after the other on a switch keeps a [`Session`]: a connection that stays, an election id that
//!   is raised to each task's fence ([`election_id`]), and no write that starts too late. What of that a switch enforces itself is in
//!   docs/fence.md.
//! - Every call has a deadline ([`Options`]), every queue a bound, and every task ends with its [`Connection`].
//!
//! Connections, arbitration, batches and reads are `outplane-p4runtime-client`'s, which knows no policy; here is what they are
//! for. Works with BMv2 (`simple_switch_grpc`), the soft switch of this project, and what else follows the standard. Servers
//! without Capabilities, arbitration, or reads of groups and meters are tolerated; what cannot be read is written each
//! time. Section numbers are the `P4Runtime` specification's.

mod arbitration;
mod audit;
mod connection;
mod converge;
mod counted;
mod drops;
mod errors;
mod fence;
mod memory;
mod pipeline;
mod push;
mod read;
mod session;
mod switch;
mod write;

pub use arbitration::{Highest, Primary, fences, highest};
pub use audit::{Audited, Difference};
pub use connection::Connection;
pub use converge::{ConvergeOptions, Report, Rules};
pub use counted::{Counted, CountedEntry, Reading};
pub use drops::{Drops, Guarded};
pub use errors::{Aftermath, Error, Failure, Problem, Refusal};
pub use fence::{election_id, fence_of};
pub use pipeline::{Pipeline, Push, Pushed};
pub use read::Read;
pub use session::{Ahead, Session};
pub use switch::Reach;
pub use write::{Progress, WriteOptions, Written};

// What the client says of connections is said here as well.
pub use outplane_p4runtime_client::{
    Backoff, Deadlines, FromSwitch, Options, PUSH, PacketIn, Packets, Primacy, Problem as ClientProblem,
    Taken, Tap, Target, TlsFiles,
};
